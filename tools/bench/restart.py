# SPDX-License-Identifier: MIT
"""How long a device stands still when its back-end is restarted, or is changed for another one.

The back-end that comes and goes is a stand-in (restart.c) which needs no time of its own; what is
left is vushim's. Beside it stands QEMU, which can connect again by itself: the same guest and the
same stand-in, without vushim. Two living back-ends are two real ones, dpdk-testpmd.
"""
import json
import os

import places
from backends import Testpmd, vhost_port, virtio_user_port
from guest import Guest, net
from line import Line
from monitor import Monitor
from proc import Proc
from results import Row, at_most, spread
from setting import pinned_to_offer, program, say

RESTART_NEED = [places.QEMU]
SWITCH_NEED = [places.TESTPMD, "stdbuf"]
SHARE_MS = {1: 5, 8: 10}        # by queue pairs
STANDBY_MS = 3
SWITCH_MEDIAN_MS, SWITCH_MOST_MS = 1, 5
MIB = 128


def _stand_in(bench, *words):
    return bench.add(Proc(bench.folder, "stand-in", [program("bench_restart"), *words], nice=0))


def _results(stand_in, seconds):
    """Lists of ms, by what they are of."""
    if stand_in.wait_end(seconds):
        raise RuntimeError(f"bench_restart: {stand_in.log().strip()[-500:]}")
    found = json.loads(stand_in.log().strip().splitlines()[-1])
    if found["wrong_bases"]:
        raise RuntimeError(f"{found['wrong_bases']} rings were to begin at the wrong place")
    lives = found["restarts"]
    return {key: [life[key] / 1e6 for life in lives] for key in lives[0]}


def _offer(bench):
    with bench.part("offer") as part:
        path = part.path("back.sock")
        _stand_in(part, path).wait_path(path)
        return pinned_to_offer(path, "net")


def _queues(pairs):
    return f"{pairs} queue pair{'s' if pairs > 1 else ''}"


def _worst(values):
    return f"at most {max(values):.2f}, of {len(values)}"


# ---- a successor ----

def _successor(bench, spec, pairs, times):
    say(f"restart: {pairs} queue pairs, {times} times")
    with bench.part(f"pairs{pairs}") as part:
        line = Line(part, spec)
        ms = _results(_stand_in(part, "--times", times, "--front", line.front, "--pairs", pairs,
                                line.back), 120)
    share = [told - accepted for told, accepted in zip(ms["told"], ms["accepted"])]
    goal, queues = SHARE_MS[pairs], _queues(pairs)
    return [
        Row("restart", f"listen to first used buffer, {queues}", f"{spread(ms['used']).text()} ms",
            note=f"connected after {spread(ms['accepted']).text()}; {_worst(ms['used'])}",
            numbers={"ms": ms}),
        Row("restart", f"of which set-up by vushim, {queues}", f"{spread(share).text()} ms",
            f"<= {goal} ms", at_most(spread(share).median, goal),
            f"accepted to last message, {spread(ms['own']).median:.2f} of it the back-end's own; "
            f"{_worst(share)}", {"ms": share, "pairs": pairs})]


# ---- a standby ----

def _standby(bench, spec, times):
    """A fresh line for each: what becomes of the place of the lost one is another question."""
    taken = []
    for n in range(times):
        say(f"restart: standby, {n + 1} of {times}")
        with bench.part(f"standby{n}") as part:
            second = part.path("second.sock")
            line = Line(part, spec, more=["--standby", f"connect:{second}"])
            taken.append(_results(_stand_in(part, "--front", line.front, "--other", second,
                                            line.back), 90))
    used = [ms["used"][0] for ms in taken]
    told = [ms["told"][0] for ms in taken]
    return Row("restart", "loss to first used buffer, standby", f"{spread(used).text()} ms",
               f"<= {STANDBY_MS} ms", at_most(spread(used).median, STANDBY_MS),
               f"to the last message {spread(told).text()}; {_worst(used)}",
               {"used_ms": used, "told_ms": told})


# ---- QEMU by itself ----

PEER = "192.0.2.2"


def _guest(bench, name, spec, times):
    """Its packets go nowhere, so the address that it sends to is told it beforehand."""
    say(f"restart: a guest, {name}, {times} times")
    with bench.part(name) as part:
        line = Line(part, spec)
        stand_in = _stand_in(part, "--times", times, line.back)
        stand_in.wait_path(line.back)
        # A whole second is the least that QEMU 7.2 takes.
        path = line.front + ("" if spec else ",reconnect=1")
        guest = Guest(part, "guest", net(path), "virtio_net").boot()
        guest.out("ip link set eth0 up; ip addr add 192.0.2.1/24 dev eth0; "
                  f"arp -s {PEER} 52:54:00:00:00:02; "
                  f"(while :; do guesttool ping {PEER} 5 10000; done) >/dev/null 2>&1 & true")
        return _results(stand_in, 120)["used"]


def _guests(bench, spec, times):
    ms = {name: _guest(bench, name, spec if name == "pinned" else None, times)
          for name in ("direct", "pinned")}
    direct, pinned = spread(ms["direct"]), spread(ms["pinned"])
    return Row("restart", "listen to first used buffer, QEMU's guest, pinned / reconnect=1",
               f"{pinned.median / direct.median:.4f}",
               note=f"ms: reconnect=1 {direct.text(0)}, pinned {pinned.text()}; {times} of each",
               numbers={"ms": ms})


def restart(bench, quick):
    spec = _offer(bench)
    times = 5 if quick else 50
    rows = [row for pairs in SHARE_MS for row in _successor(bench, spec, pairs, times)]
    rows.append(_standby(bench, spec, 3 if quick else 20))
    rows.append(_guests(bench, spec, 2 if quick else 7))
    return rows


# ---- from one living back-end to another ----

def _switch_rows(what, ms, note, excuse=False):
    """excuse: too few processors for what spins here, so that a miss says nothing of vushim."""
    def verdict(value, goal):
        return "unclear" if excuse and value > goal else at_most(value, goal)
    most = max(ms)
    return [Row("switch", f"a ring stands still, median, {what}", f"{spread(ms).text()} ms",
                f"<= {SWITCH_MEDIAN_MS} ms", verdict(spread(ms).median, SWITCH_MEDIAN_MS), note,
                {"ms": ms}),
            Row("switch", f"a ring stands still, longest, {what}", f"{most:.2f} ms",
                f"<= {SWITCH_MOST_MS} ms", verdict(most, SWITCH_MOST_MS), f"of {len(ms)}")]


def _between_stand_ins(bench, spec, pairs, times):
    """By the rings themselves: from when the first one is stopped until all have gone on."""
    say(f"switch: stand-ins, {pairs} queue pairs, {times} times")
    with bench.part(f"switch{pairs}") as part:
        control, other = part.path("ctl"), part.path("other.sock")
        line = Line(part, spec, more=["--control", control])
        ms = _results(_stand_in(part, "--times", times, "--front", line.front, "--pairs", pairs,
                                "--other", other, "--switch", control, line.back), 120)
    return _switch_rows(f"stand-ins, {_queues(pairs)}", ms["all_used"],
                        f"first stopped to last one at work again; {spread(ms['own']).median:.2f} "
                        "of it the back-end's own")


def _place(testpmd, worker, rest):
    """The thread that spins, and those that answer."""
    task = f"/proc/{testpmd.pid}/task"
    for thread in os.listdir(task):
        with open(f"{task}/{thread}/comm") as f:
            spins = "worker" in f.read()
        os.sched_setaffinity(int(thread), {worker if spins else rest})


def _between_testpmds(bench, times):
    """Only the one that serves forwards: a thread of DPDK that answers waits for the one that spins,
    and would wait for its turn on a processor that two of them share."""
    say(f"switch: testpmd, {times} times")
    control = bench.path("ctl")
    line = Line(bench, "host,device=net", more=["--control", control])
    paths = [line.back, bench.path("there.sock")]
    backs = [Testpmd(bench, name, vhost_port(path), start=False, mib=MIB).ready()
             for name, path in zip(("here", "there"), paths)]
    front = Testpmd(bench, "front", virtio_user_port(line.front), start=False, mib=MIB).ready()
    backs[0].wait_log("virtio is now ready for processing")
    monitor = Monitor(bench, control)
    cpus = sorted(os.sched_getaffinity(0))
    for testpmd in backs:
        _place(testpmd, cpus[0], cpus[-1])
    _place(front, cpus[-1], cpus[-1])
    backs[0].forward("rxonly")
    front.forward("txonly")
    ms = []
    for n in range(times):
        here, there = backs[n % 2], backs[(n + 1) % 2]
        answer = monitor.ask("switch", back=f"connect:{paths[(n + 1) % 2]}")
        ms += [ring["blackout_us"] / 1000 for ring in answer["rings"]]
        here.halt()
        there.forward("rxonly")
        before = there.packets()[0]
        there.wait_until(lambda: there.packets()[0] > before, 10, "packets")
    front.stop()
    return _switch_rows("two testpmd", ms, "by vushim's own clock, under all packets that "
                        f"virtio-user can send; {times} switches", len(cpus) < 4)


def switch(bench, quick):
    times = 20 if quick else 100
    spec = _offer(bench)
    rows = [row for pairs in SHARE_MS for row in _between_stand_ins(bench, spec, pairs, times)]
    return rows + _between_testpmds(bench, times)
