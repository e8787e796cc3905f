# SPDX-License-Identifier: MIT
"""A guest's disk while its back-end is killed, comes back, or is replaced.

The guest's writer (guesttool storm) has several requests in flight, and knows what each of its
blocks must hold. The stand-in completes them in no order, so that nothing but the in-flight region
says what a dead one had in hand. QEMU connects once: a connection that vushim closes is lost to it.
"""
import json
import random
import re
import socket
import subprocess
import time

import places
from backends import Qsd
from guest import Guest, bare_qemu, blk
from line import Vushim
from moving import ask, begin, destination, end, take_over
from proc import wait_for
from qmp import Qmp
from standin import Standin
from suite import check, equal, test

NEEDS = [places.QEMU, "gcc"]
# The device's type decides what a restart may do.
HOST = "host,device=blk"
PINNED = ("device=blk,seg_max=on,blk_size=on,flush=on,mq=on,indirect_desc=on,version_1=on,"
          "queues=2,max_ring=128")
KILLS = 20
BIND = ("cd /sys/bus/virtio/drivers/virtio_blk; d=$(ls -d virtio*); echo $d >unbind; "
        "echo $d >bind; guesttool io /dev/vda 0 20")
MESSAGES = 60   # more than any bring-up, shutdown or replay has


class Disk:
    """vushim between one front-end's path and one back-end's, and what it says of itself."""

    def __init__(self, bench, *more, image=None, profile=HOST, name="dev0"):
        self.bench, self.name, self.n = bench, name, 0
        self.image = image or bench.image()
        self.front, self.back = bench.path(f"{name}-front.sock"), bench.path(f"{name}-back.sock")
        self.control = bench.path(f"{name}.ctl")
        self.shim = Vushim(bench, ("listen", self.front), ("connect", self.back), profile, name,
                           f"vushim-{name}", ["--control", self.control, *more])
        self.qmp = Qmp(self.control)
        self.standins = []

    def standin(self, path=None, **options):
        """Another stand-in, each with delays of its own."""
        self.n += 1
        self.standins.append(Standin(
            self.bench, path or self.back, self.image, f"{self.name}-standin{self.n}",
            **{"queues": 2, "seed": self.n, **options}))
        return self.standins[-1]

    def qsd(self, path=None, **export):
        self.n += 1
        return Qsd(self.bench, path or self.back, self.image, f"{self.name}-qsd{self.n}", **export)

    def verdict(self):
        status, state = ask("ctl", self.control, "state", "--json")
        equal(status, 0, f"exit status of vushim ctl state, which says {state!r}")
        return json.loads(state)["restart"]["verdict"]

    def restarts(self):
        return self.qmp.do("query-status")["restarts"]

    def life(self):
        return self.qmp.do("query-status")["life"]

    def switch(self, path):
        """(exit status, what it says)"""
        return ask("ctl", self.control, "switch", f"connect:{path}")

    def wait_life(self, life, seconds=20):
        self.shim.wait_until(lambda: self.life() == life, seconds, f"life {life!r}")

    def wait_event(self, name, count=1):
        self.shim.wait_until(lambda: self.qmp.do("query-status")
                             and self.qmp.count(name) >= count, 20, f"event {name}")

    def end_well(self, *more):
        """One front-end from beginning to end, and nothing said to a back-end that is wrong."""
        self.qmp.do("query-status")
        equal(self.qmp.count("FRONT_CONNECTED"), 1, "front-end's connections")
        for standin in self.standins:
            check(not standin.wrong(), f"{standin.name}: {standin.wrong()[:3]}")
        self.qmp.close()
        self.shim.end_well(*more)


class Storm:
    """Writes and reads that go on until finish()."""

    def __init__(self, guest, depth=8):
        self.guest = guest
        guest.out(f"guesttool storm /dev/vda {depth} 0 >/tmp/storm 2>&1 & echo $! >/tmp/pid")

    def done(self):
        """Requests that the guest has seen completed."""
        return int(self.guest.out("set -- $(cat /sys/block/vda/stat); echo $(($1 + $5))"))

    def goes_on(self):
        """Past everything that may be in flight now."""
        start = self.done()
        wait_for(lambda: self.done() > start + 50, 20, "requests that the guest sees completed")

    def finish(self):
        text = self.guest.sh("kill $(cat /tmp/pid); wait; cat /tmp/storm")[1]
        m = re.search(r"writes=(\d+) reads=(\d+) errors=(\d+) wrong=(\d+) stall_ms=(\d+)", text)
        check(m, f"the writer's last words: {text!r}")
        print(f"# {int(m[1]) + int(m[2])} requests, the slowest {m[5]} ms", flush=True)
        equal((m[3], m[4]), ("0", "0"), f"errors and wrong blocks: {text[-600:]!r}")


def boot(bench, disk, queues=1, options="", devices=None):
    devices = devices or blk(disk.front, options=f"num-queues={queues}{options}")
    return Guest(bench, "guest", devices, "virtio_blk", cpus=queues).boot()


def in_flight(standins):
    """Requests that were taken up again."""
    return sum(int(n) for s in standins for n in re.findall(r"(\d+) in flight", s.log()))


# Killed at any moment.

def kill_often(bench, queues=1, options="", **standin):
    disk = Disk(bench)
    back_end = disk.standin(**standin)
    guest = boot(bench, disk, queues, options)
    equal(disk.verdict(), "sound", "verdict with an in-flight region")
    storm = Storm(guest)
    for n in range(KILLS):
        if n % 5:   # the others are killed while they are told what there is
            back_end.wait_log(r"ring 0 starts")
        time.sleep(random.uniform(0, 0.3))
        back_end.kill()
        back_end = disk.standin(**standin)
    storm.goes_on()
    storm.finish()
    again = in_flight(disk.standins)
    print(f"# requests taken up again: {again}", flush=True)
    check(again > KILLS, f"only {again} requests were in flight in {KILLS} kills")
    equal(guest.quit(), 0, "QEMU's exit status")
    disk.end_well()


@test("restart-blk-in-flight", seconds=90, needs=NEEDS)
def split(bench):
    """Killed 20 times with requests in flight on two split rings: not one is lost or done twice."""
    kill_often(bench, queues=2)


@test("restart-blk-in-flight-packed", seconds=90, needs=NEEDS)
def packed(bench):
    """The same with a packed ring."""
    kill_often(bench, options=",packed=on", packed=True)


@test("restart-blk-in-flight-mem-slots", seconds=90, needs=NEEDS)
def mem_slots(bench):
    """The same with a back-end that is told of guest memory region by region."""
    kill_often(bench, mem_slots=True)


# Without an in-flight region.

@test("restart-blk-rings", seconds=90, needs=[places.QEMU, places.QSD])
def rings(bench):
    """A killed qemu-storage-daemon: the ring shows whether the front-end is held or comes anew."""
    disk = Disk(bench)
    back_end = disk.qsd()
    guest = boot(bench, disk, devices=[
        "-chardev", f"socket,id=blk0,path={disk.front},reconnect=1",
        "-device", "vhost-user-blk-pci,chardev=blk0"])
    equal(disk.verdict(), "rings", "verdict without an in-flight region")
    guest.out("guesttool pat /dev/vda w 5 8", 120)

    back_end.kill()
    disk.wait_life("held")
    check("rings" in disk.shim.log(), "the log does not name the verdict")
    back_end = disk.qsd()
    disk.wait_life("running")
    equal(guest.values("guesttool pat /dev/vda r 5 8")["wrong"], 0, "blocks wrong after a kill")
    equal((disk.restarts()["held"], disk.restarts()["taken_over"]), (1, 1), "restarts")
    equal(disk.qmp.count("FRONT_CONNECTED"), 1, "front-end's connections after an idle kill")

    storm = Storm(guest, 1)
    for _ in range(8):
        storm.goes_on()
        back_end.kill()
        back_end = disk.qsd()
    storm.goes_on()
    storm.finish()
    print(f"# held in {disk.restarts()['held'] - 1} of 8 kills", flush=True)
    guest.quit()
    disk.qmp.close()
    disk.shim.end_well()


@test("restart-blk-unsound", seconds=90, needs=NEEDS)
def unsound(bench):
    """Nobody knows what was in flight: nothing is carried on, but a guest that resets goes on."""
    disk = Disk(bench, "--on-back-end-loss", "hold")
    disk.standin(no_inflight=True, delay=20)
    guest = boot(bench, disk)
    Storm(guest).goes_on()
    disk.standins[-1].kill()
    disk.wait_life("held")
    disk.shim.wait_log("nothing is replayed before the front-end stops its rings")
    back_end = disk.standin(no_inflight=True)
    time.sleep(1)
    check("starts" not in back_end.log(), "a ring has been started")
    guest.reboot()
    for mode in "wr":
        equal(guest.values(f"guesttool pat /dev/vda {mode} 3 8")["wrong"], 0, "blocks wrong")
    equal(guest.quit(), 0, "QEMU's exit status")
    disk.end_well()


# Killed after each single message.

def start_qemu(bench, disk, name):
    """Everything that QEMU asks and tells before its guest runs."""
    path = bench.path(f"{name}.qmp")
    qemu = bare_qemu(bench, name, [*blk(disk.front), "-qmp", f"unix:{path},server=on,wait=off"])
    return qemu, path


def die_while_qemu_starts(bench, disk, option):
    for n in range(1, MESSAGES):
        back_end = disk.standin(**{option: n})
        qemu, path = start_qemu(bench, disk, f"qemu-{option}{n}")
        wait_for(lambda: not back_end.alive() or _serves(path), 20, "end of the back-end, or QMP")
        died = not back_end.alive()
        if died:
            disk.standin()
        equal(Qmp(path).do("query-status")["status"], "prelaunch", f"QEMU after {option} {n}")
        check("econnect" not in qemu.log(), f"QEMU has noticed {option} {n}")
        qemu.kill()
        disk.wait_life("idle")
        disk.standins[-1].kill()
        if not died:
            return n - 1
    raise RuntimeError("a start without end")


def _serves(path):
    """Whether QEMU has come to its main loop. Its greeting comes before."""
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(0.1)
            s.connect(path)
            s.sendall(b'{"execute": "qmp_capabilities"}')
            return bool(s.recv(4096)) and bool(s.recv(4096))
    except OSError:
        return False


@test("restart-blk-each-message-of-a-start", seconds=120, needs=NEEDS)
def each_of_start(bench):
    """Killed before and after each message of QEMU's start: QEMU starts all the same."""
    disk = Disk(bench, profile=PINNED)
    for option in ("die_after", "die_after_answer"):
        n = die_while_qemu_starts(bench, disk, option)
        print(f"# {option}: {n} messages", flush=True)
        check(n > 5, f"only {n} messages until QEMU has started")


def die_while_driver_starts(disk, guest, option):
    """The count begins with SIGUSR1, when the replay is over."""
    for n in range(1, MESSAGES):
        back_end = disk.standins[-1]
        back_end.kill()
        back_end = disk.standin(when_told=True, **{option: n})
        back_end.wait_log("ring 0 starts")
        back_end.tell()
        begun = guest.begin(BIND)
        wait_for(lambda: not back_end.alive() or guest.answered(begun), 20,
                 "end of the back-end, or of the guest's line")
        died = not back_end.alive()
        if died:
            disk.standin()
        status, text = guest.finish(begun, 30)
        check(status == 0 and "errors=0 wrong=0" in text, f"{option} {n}: {text[-300:]!r}")
        if not died:
            return n - 1
    raise RuntimeError("a start without end")


@test("restart-blk-each-message-of-a-driver", seconds=150, needs=NEEDS)
def each_of_driver(bench):
    """Killed before and after each message of a driver's end and start: the disk works."""
    disk = Disk(bench, profile=PINNED)
    disk.standin()
    guest = boot(bench, disk)
    for option in ("die_after", "die_after_answer"):
        n = die_while_driver_starts(disk, guest, option)
        print(f"# {option}: {n} messages", flush=True)
        check(n > 10, f"only {n} messages of a driver's end and start")
    equal(guest.quit(), 0, "QEMU's exit status")
    disk.end_well()


def told_all(back_end):
    """The replay ends with a question."""
    return back_end.log().count("GET_FEATURES") == 2


def die_while_told(disk, option):
    """Without delay it completes requests, too, as soon as its rings are enabled."""
    for n in range(1, MESSAGES):
        disk.standins[-1].kill()
        back_end = disk.standin(delay=0, **{option: n})
        wait_for(lambda: not back_end.alive() or told_all(back_end), 20, "end of a replay")
        time.sleep(0.05)    # until it has got to its own end
        if back_end.alive():
            return n - 1
        disk.standin().wait_log("ring 0 starts")
    raise RuntimeError("a replay without end")


@test("restart-blk-each-message-of-a-replay", seconds=120, needs=NEEDS)
def each_of_replay(bench):
    """Successors that die at each message of the replay: the next one takes over."""
    disk = Disk(bench, profile=PINNED)
    disk.standin()
    guest = boot(bench, disk)
    storm = Storm(guest)
    for option in ("die_after", "die_after_answer"):
        n = die_while_told(disk, option)
        print(f"# {option}: {n} messages", flush=True)
        check(n > 10, f"only {n} messages of a replay")
    storm.goes_on()
    storm.finish()
    equal(guest.quit(), 0, "QEMU's exit status")
    disk.end_well()


# Replaced while it runs.

def run_for_a_while(disk, other, last):
    """A successor whose rings have run when it refuses the last message."""
    equal(disk.switch(disk.back)[0], 0, "exit status of a switch back")
    back_end = disk.standin(other, refuse_at=last, slow=5)
    check(disk.switch(other)[0], "a switch succeeds with a back-end that refuses")
    back_end.kill()
    disk.standin(other)


@test("restart-blk-switch", seconds=120, needs=NEEDS)
def switch(bench):
    """Successors that refuse at each message: the old back-end carries on. Then 20 switches."""
    disk = Disk(bench, profile=PINNED)
    other = bench.path("other.sock")
    first = disk.standin()
    guest = boot(bench, disk)
    storm = Storm(guest)
    for n in range(1, MESSAGES):
        back_end = disk.standin(other, refuse_at=n, delay=0)
        status, said = disk.switch(other)
        storm.goes_on()
        if not status:
            break
        back_end.kill()
        check(said.strip(), f"no word about a switch that fails at message {n}")
        equal(disk.life(), "running", f"life after a switch that fails at message {n}")
    print(f"# {n - 1} messages", flush=True)
    check(10 < n < MESSAGES - 1, f"{n - 1} messages until a switch succeeds")
    run_for_a_while(disk, other, n - 1)
    for n in range(KILLS):
        status, said = disk.switch(disk.back if n % 2 else other)
        equal(status, 0, f"exit status of switch {n}, which says {said!r}")
        time.sleep(random.uniform(0, 0.2))
    print(f"# {said.strip()}", flush=True)
    equal(disk.restarts()["switched"], KILLS + 2, "switches")
    storm.finish()
    check(first.alive(), "the first back-end is not there any more")
    equal(guest.quit(), 0, "QEMU's exit status")
    disk.end_well()


@test("restart-blk-switch-qsd", seconds=90, needs=[places.QEMU, places.QSD])
def switch_qsd(bench):
    """Switches between two qemu-storage-daemons that have more to do than they can: they say where
    a ring stands before they have completed what they took from it."""
    disk = Disk(bench)
    other = bench.path("other.sock")
    disk.qsd(iops=500)
    disk.qsd(other, iops=500)
    guest = boot(bench, disk)
    storm = Storm(guest)
    for n in range(KILLS):
        status, said = disk.switch(disk.back if n % 2 else other)
        equal(status, 0, f"exit status of switch {n}, which says {said!r}")
        storm.goes_on()
    print(f"# {said.strip()}", flush=True)
    storm.finish()
    equal(guest.quit(), 0, "QEMU's exit status")
    disk.end_well()


@test("restart-blk-switch-packed", seconds=90, needs=NEEDS)
def switch_packed(bench):
    """20 switches of a packed ring, and the old back-end killed at any moment of ten more."""
    disk = Disk(bench)
    other = bench.path("other.sock")
    back_ends = [disk.standin(packed=True), disk.standin(other, packed=True)]
    guest = boot(bench, disk, options=",packed=on")
    storm = Storm(guest)
    for n in range(KILLS):
        status, said = disk.switch(disk.back if n % 2 else other)
        equal(status, 0, f"exit status of switch {n}, which says {said!r}")
    print(f"# {said.strip()}", flush=True)
    storm.goes_on()
    for n in range(10):
        path = disk.back if n % 2 else other
        switching = subprocess.Popen([places.VUSHIM, "ctl", disk.control, "switch",
                                      f"connect:{path}"], stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT)
        time.sleep(random.uniform(0, 0.01))
        back_ends[n % 2].kill()
        print(f"# {switching.communicate(timeout=20)[0].decode().strip()}", flush=True)
        back_ends[n % 2] = disk.standin(other if n % 2 else disk.back, packed=True)
        disk.wait_life("running")
        if switching.returncode:
            equal(disk.switch(path)[0], 0, "exit status of a switch after one that failed")
        storm.goes_on()
    storm.finish()
    equal(guest.quit(), 0, "QEMU's exit status")
    disk.end_well()


@test("restart-blk-standby", seconds=90, needs=NEEDS)
def standby(bench):
    """A second back-end stands by, and takes over when the first is killed; ten times in turn."""
    other = bench.path("other.sock")
    disk = Disk(bench, "--standby", f"connect:{other}")
    back_ends = [disk.standin(), disk.standin(other)]
    guest = boot(bench, disk)
    storm = Storm(guest)
    for n in range(10):
        disk.wait_event("STANDBY_READY", n + 1)
        back_ends[n % 2].kill()
        disk.wait_event("BACK_TOOK_OVER", n + 1)
        storm.goes_on()
        back_ends[n % 2] = disk.standin(other if n % 2 else disk.back)
    storm.finish()
    print(f"# {disk.restarts()}", flush=True)
    equal(guest.quit(), 0, "QEMU's exit status")
    disk.end_well()


# Successors that do not fit.

def turn_away(bench, profile):
    disk = Disk(bench, profile=profile)
    disk.standin()
    guest = boot(bench, disk, queues=2)
    storm = Storm(guest)
    storm.goes_on()
    disk.standins[-1].kill()
    for n, (name, options) in enumerate([
            ("queues", {"queues": 1}), (r"\bro\b", {"read_only": True}),
            ("blk_size", {"block_size": 4096}), ("flush", {"withhold": 1 << 9})], 1):
        back_end = disk.standin(**options)
        disk.shim.wait_log(rf"(?=.*{name}).*\[INCOMPATIBLE\]")
        disk.wait_event("BACK_INCOMPATIBLE", n)
        equal(disk.life(), "held", "life with a back-end that does not fit")
        back_end.kill()
    disk.standin()
    storm.goes_on()
    storm.finish()
    equal(guest.quit(), 0, "QEMU's exit status")
    disk.end_well("INCOMPATIBLE")


@test("restart-blk-unfit", seconds=90, needs=NEEDS)
def unfit(bench):
    """Fewer queues, read-only, another block size, no flush: named, and the guest kept."""
    turn_away(bench, PINNED)


@test("restart-blk-unfit-host", seconds=90, needs=NEEDS)
def unfit_host(bench):
    """The same when nothing is pinned but by what the front-end has seen."""
    turn_away(bench, HOST)


@test("restart-blk-while-migrating", seconds=120, needs=NEEDS)
def migrating(bench):
    """Killed five times while a migration copies memory: no page that it wrote is forgotten."""
    first = Disk(bench, name="first")
    second = Disk(bench, name="second", image=first.image)
    back_end = first.standin()
    second.standin()
    guest = boot(bench, first)
    target = destination(bench, "target", blk(second.front, options="num-queues=1"), "virtio_blk")
    storm = Storm(guest)
    begin(guest, target, **{"downtime-limit": 1, "max-bandwidth": 4 << 20})
    for _ in range(5):
        back_end.wait_log(r"SET_LOG_BASE")
        storm.goes_on()
        back_end.kill()
        back_end = first.standin()
    storm.goes_on()
    equal(guest.qmp.do("query-migrate")["status"], "active", "the migration")
    guest.qmp.do("migrate-set-parameters", **{"downtime-limit": 300, "max-bandwidth": 1 << 30})
    equal(end(guest).status, "completed", "the migration")
    take_over(guest, target)
    storm.guest = target
    storm.goes_on()
    storm.finish()
    equal(target.quit(), 0, "QEMU's exit status")
    first.end_well()
    second.end_well()
