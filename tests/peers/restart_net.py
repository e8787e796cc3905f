# SPDX-License-Identifier: MIT
"""A network back-end that dies and comes back under a running front-end, which must not notice.

Without vushim, QEMU takes its guest's link down and tries again once a second, takes no back-end
that offers less, and DPDK's virtio-user as a client never connects again.
"""
import os
import statistics
import struct
import time

import places
from backends import Testpmd, vhost_port, virtio_user_port
from features import mask, names
from guest import Guest, net
from line import Line
from monitor import Monitor
from net import ECHO, GUEST, NEEDS
from ovs import ADDRESS, PROGRAMS, Ovs
from proc import wait_for
from recorder import Recorder
from suite import check, equal, test
from virtio_user import NEEDS as PAIR_NEEDS
from virtio_user import check_flow, negotiated

PROFILE = "org.dpdk.v22.11"
TSO = mask("net", "host_tso4=on,host_tso6=on")
LINK = "cat /sys/class/net/eth0/carrier /sys/class/net/eth0/carrier_changes"


def watched(bench, profile=PROFILE, more=(), **how):
    """A line with vushim, and a monitor of it."""
    control = bench.path("ctl")
    line = Line(bench, profile, more=["--control", control, *more], **how)
    return line, Monitor(bench, control)


class BackEnds:
    """testpmds at one path, each started after the one before it was killed."""

    def __init__(self, bench, path, name="testpmd", client=False, **how):
        self.bench, self.path, self.name, self.client, self.how = bench, path, name, client, how
        self.started = 0

    def start(self, options="", **how):
        """DPDK removes no socket that a dead process has left."""
        if not self.client and os.path.exists(self.path):
            os.unlink(self.path)
        self.started += 1
        how = {**self.how, **how}
        port = vhost_port(self.path, how.get("queues", 1), self.client) + options
        return Testpmd(self.bench, f"{self.name}{self.started}", port, **how)


class Unnoticed:
    """What a guest and its QEMU have, and must still have after the back-end was away."""

    def __init__(self, guest):
        self.guest = guest
        self.before = self._look()

    def _look(self):
        return {"link and its changes": self.guest.out(LINK), "QEMU's log": self.guest.log(),
                "QEMU's connections": sorted(self.guest.sockets()),
                "features": names("net", self.guest.features("virtio_net"))}

    def check(self):
        now = self._look()
        for what, before in self.before.items():
            equal(now[what], before, f"{what} after a restart")


def start_guest(bench, path):
    guest = Guest(bench, "guest", net(path), "virtio_net").boot()
    guest.out(f"ip link set eth0 up; ip addr add {GUEST}/24 dev eth0")
    return guest


def answered(guest, address=ECHO, seconds=15):
    """Pings from the guest until one is answered."""
    rounds = seconds * 5
    status, _ = guest.sh(f"n=0; until guesttool ping {address} 20 200 >/dev/null; do "
                         f"n=$((n+1)); [ $n -lt {rounds} ] || break; done; [ $n -lt {rounds} ]",
                         seconds + 30)
    equal(status, 0, f"status of pings to {address} for {seconds} s")


def report(what, seconds):
    print(f"# {what}: median {statistics.median(seconds) * 1000:.0f} ms, longest "
          f"{max(seconds) * 1000:.0f} ms, of {len(seconds)}", flush=True)


TIMES = 20


@test("restart-net", seconds=150, needs=NEEDS)
def many_times(bench):
    line, monitor = watched(bench)
    back_ends = BackEnds(bench, line.back)
    testpmd = back_ends.start().ready()
    guest = start_guest(bench, line.front)
    answered(guest)
    unnoticed = Unnoticed(guest)
    taken, away = [], []
    for n in range(1, TIMES + 1):
        killed = time.monotonic()
        testpmd.kill()
        monitor.wait("BACK_HELD", n)
        testpmd = back_ends.start()
        taken.append(monitor.wait("BACK_TOOK_OVER", n)[0] - killed)
        answered(guest)
        away.append(time.monotonic() - killed)
        unnoticed.check()
    report("from SIGKILL until the next testpmd has taken over", taken)
    report("until the guest's ping is answered", away)
    restarts = monitor.ask("query-status")["restarts"]
    equal((restarts["held"], restarts["taken_over"]), (TIMES, TIMES), "restarts that are counted")
    equal(guest.quit(), 0, "QEMU's exit status")
    line.shim.end_well()


@test("restart-net-ovs", seconds=150, needs=[places.QEMU, *PROGRAMS])
def ovs(bench):
    """The switch connects by itself; its port, and what the guest has in it, are as before."""
    line, monitor = watched(bench, "org.openvswitch.v2.15", dials=("front", "back"))
    switch = Ovs(bench)
    switch.add_client_port(line.back)
    guest = start_guest(bench, line.front)
    wait_for(switch.link_is_up, 20, "link of the switch's port")
    switch.open_address()
    answered(guest, ADDRESS)
    unnoticed = Unnoticed(guest)
    away = []
    for n in range(1, 4):
        killed = time.monotonic()
        switch.switch.kill()
        monitor.wait("BACK_HELD", n)
        switch.start()
        monitor.wait("BACK_TOOK_OVER", n, 30)
        switch.open_address()
        answered(guest, ADDRESS)
        away.append(time.monotonic() - killed)
        unnoticed.check()
    report("from SIGKILL of the switch until the guest's ping is answered", away)
    equal(guest.quit(), 0, "QEMU's exit status")
    line.shim.end_well()


def refused(monitor, count, *words):
    """A back-end is turned away by name, and the device is held for a better one."""
    _, data = monitor.wait("BACK_INCOMPATIBLE", count)
    for word in words:
        check(word in str(data), f"the event does not name {word}: {data}")
    equal(monitor.life(), "held", "the life of a device whose next back-end was refused")


@test("restart-net-with-less", seconds=120, needs=NEEDS)
def with_less(bench):
    """What the guest has acknowledged binds, also where the profile leaves it to the back-end.
    QEMU alone would have a dead card here, until a back-end with the old features comes."""
    line, monitor = watched(bench, "host,device=net")
    back_ends = BackEnds(bench, line.back)
    testpmd = back_ends.start(",tso=1").ready()
    guest = start_guest(bench, line.front)
    answered(guest)
    unnoticed = Unnoticed(guest)
    equal(guest.features("virtio_net") & TSO, TSO, "TSO in the guest")
    testpmd.kill()

    less = back_ends.start(",tso=0").ready()
    refused(monitor, 1, "host_tso4", "host_tso6")
    for word in ("host_tso4", "host_tso6"):
        check(word in line.shim.log(), f"vushim's log does not name {word}")
    equal(monitor.count("BACK_TOOK_OVER"), 0, "takeovers by a back-end with less")
    unnoticed.check()
    less.kill()

    back_ends.start(",tso=1")
    monitor.wait("BACK_TOOK_OVER")
    answered(guest)
    unnoticed.check()
    equal(guest.quit(), 0, "QEMU's exit status")
    line.shim.end_well("INCOMPATIBLE")


@test("restart-net-standby", seconds=120, needs=NEEDS)
def standby(bench):
    """A second testpmd waits, set up as far as can be: it goes on where the first one ended."""
    second = bench.path("second.sock")
    line, monitor = watched(bench, more=["--standby", f"connect:{second}"])
    first = BackEnds(bench, line.back, "first").start().ready()
    BackEnds(bench, second, "second").start().ready()
    guest = start_guest(bench, line.front)
    answered(guest)
    unnoticed = Unnoticed(guest)
    monitor.wait("STANDBY_READY")
    equal(monitor.count("BACK_TOOK_OVER"), 0, "takeovers before the first one has ended")

    guest.out(f"guesttool ping {ECHO} 10 2000 >/tmp/ping & sleep 0.5")
    killed = time.monotonic()
    first.kill()
    taken = monitor.wait("BACK_TOOK_OVER")[0] - killed
    ping = guest.values("wait; cat /tmp/ping")
    print(f"# standby: took over {taken * 1000:.1f} ms after the first one was gone, longest gap "
          f"between pings {ping['gap_ms']:.0f} ms, {ping['got']:.0f} of {ping['sent']:.0f} "
          "answered", flush=True)
    check(ping["gap_ms"] < 1000, f"pings were not answered for {ping['gap_ms']} ms")
    answered(guest)
    unnoticed.check()
    equal(guest.quit(), 0, "QEMU's exit status")
    line.shim.end_well()


QUEUES = "GET_QUEUE_NUM reply"
WANT_TSO = "--tx-offloads=0x20"     # by itself testpmd asks for none, and virtio-user takes no TSO

# virtio-user in the front: as a client it never connects again, so every packet after a restart
# is owed to vushim.

def start_front(bench, path, back, options="", **how):
    front = Testpmd(bench, "front", virtio_user_port(path, how.get("queues", 1)) + options,
                    start=False, **how).ready()
    back.wait_log("virtio is now ready for processing")
    return front


def flows(sender, receiver):
    """More packets arrive than the rings hold."""
    before = receiver.packets()[0]
    wait_for(lambda: receiver.packets()[0] - before > 10000, 20,
             f"packets from {sender.name} to {receiver.name}")


@test("restart-virtio-user", seconds=90, needs=PAIR_NEEDS)
def virtio_user(bench):
    """The back-end is killed while packets go either way as fast as they can."""
    line, monitor = watched(bench, "host,device=net")
    back_ends = BackEnds(bench, line.back, "back", start=False)
    back = back_ends.start().ready()
    front = start_front(bench, line.front, back)
    for n in range(1, 7):
        sender, receiver = (front, back) if n % 2 else (back, front)
        receiver.forward("rxonly")
        sender.forward("txonly")
        flows(sender, receiver)
        back.kill()
        monitor.wait("BACK_HELD", n)
        back = back_ends.start().ready()
        monitor.wait("BACK_TOOK_OVER", n)
        front.halt()
    check_flow(front, back)
    check_flow(back, front)
    front.stop()
    line.shim.end_well()


@test("restart-virtio-user-with-less", seconds=60, needs=PAIR_NEEDS)
def virtio_user_with_less(bench):
    line, monitor = watched(bench, "host,device=net")
    back_ends = BackEnds(bench, line.back, "back", start=False)
    back = back_ends.start(",tso=1").ready()
    front = start_front(bench, line.front, back, more=[WANT_TSO])
    equal(negotiated(back) & TSO, TSO, "TSO that the front-end has set")
    check_flow(front, back)
    back.kill()
    less = back_ends.start().ready()
    refused(monitor, 1, "host_tso4", "host_tso6")
    less.kill()
    back = back_ends.start(",tso=1").ready()
    monitor.wait("BACK_TOOK_OVER")
    check_flow(front, back)
    front.stop()
    line.shim.end_well("INCOMPATIBLE")


@test("restart-virtio-user-fewer-queues", seconds=60, needs=PAIR_NEEDS)
def virtio_user_fewer_queues(bench):
    """DPDK says 128 queues whatever its port has, so a relay says less for it. The relay listens
    all the time: the one that is refused is asked again and again, and less and less often."""
    line, monitor = watched(bench, "host,device=net")
    queues = [128]

    def change(message):
        return struct.pack("=Q", queues[0]) if message.name == QUEUES else message.payload
    testpmd = bench.path("testpmd.sock")
    back = BackEnds(bench, testpmd, "back", queues=2, start=False).start().ready()
    relay = Recorder(bench, "relay", ("listen", line.back), ("connect", testpmd), change)
    front = start_front(bench, line.front, back, queues=2)
    check_flow(front, back)
    queues[0] = 1
    relay.lives[-1].end()
    refused(monitor, 1, "queues")
    began, lives = time.monotonic(), len(relay.lives)
    wait_for(lambda: len(relay.lives) >= lives + 2, 20, "more tries")
    check(time.monotonic() - began > 0.1, "a back-end that was refused is asked without a pause")
    equal(monitor.count("BACK_TOOK_OVER"), 0, "takeovers by a back-end with less")
    queues[0] = 128
    monitor.wait("BACK_TOOK_OVER")
    check_flow(front, back)
    front.stop()
    line.shim.end_well("INCOMPATIBLE")


# A device moves from one living back-end to another, and back.

SWITCHES = 100


def settled(count):
    """A number that has stopped to change."""
    last = [count()]

    def same():
        last.append(count())
        return last[-1] == last[-2]
    wait_for(same, 10, "rest", step=0.1)
    return last[-1]


def switch_and_count(bench, front_options=""):
    """Every packet that has entered a ring leaves it once. The front-end makes packets and counts
    those that come back, the back-ends return what they get: both directions are full, and what a
    driver drops for want of room has not entered a ring and is in no counter."""
    line, monitor = watched(bench, "host,device=net")
    paths = [line.back, bench.path("other.sock")]
    backs = [BackEnds(bench, path, name, forward="io", start=False).start().ready()
             for name, path in zip(("here", "there"), paths)]
    front = start_front(bench, line.front, backs[0], front_options)
    for back in backs:
        back.forward("io")
    front.forward("flowgen")
    flows(front, backs[0])
    blackouts = []
    for n in range(SWITCHES):
        done = monitor.ask("switch", back=f"connect:{paths[(n + 1) % 2]}")
        blackouts += [ring["blackout_us"] for ring in done["rings"]]
    flows(front, backs[SWITCHES % 2])
    front.halt()
    settled(lambda: [back.packets() for back in backs])
    for back in backs:
        back.halt()
    returned, sent = front.packets()        # what was in the ring when it stopped to read is not
    front.forward("rxonly")                 # lost: it is read now
    returned = settled(lambda: front.packets()[0])
    counts = [back.packets() for back in backs]
    for back, (got, _) in zip(backs, counts):
        check(got > 1000, f"{back.name} has seen {got} packets only")
    equal(sum(got for got, _ in counts), sent, "packets at the back-ends, of those sent")
    equal(returned, sum(gave for _, gave in counts), "packets at the front-end, of those returned")
    equal(monitor.ask("query-status")["restarts"]["switched"], SWITCHES, "switches counted")
    print(f"# {SWITCHES} switches, {sent} packets there and {returned} back: a ring stood still for "
          f"{statistics.median(blackouts) / 1000:.2f} ms, at most {max(blackouts) / 1000:.2f} ms",
          flush=True)
    front.stop()
    line.shim.end_well()


@test("restart-switch", seconds=90, needs=PAIR_NEEDS)
def switch(bench):
    switch_and_count(bench)


@test("restart-switch-packed", seconds=90, needs=PAIR_NEEDS)
def switch_packed(bench):
    """Only a living back-end can tell where a packed ring stands."""
    switch_and_count(bench, ",packed_vq=1")
