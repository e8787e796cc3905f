# SPDX-License-Identifier: MIT
"""While data flows, vushim is not there: no system call but the wait, and no processor time."""
import re
import signal
import time

import blk
import places
import virtio_user
from backends import Qsd
from guest import Guest, blk as blk_device
from line import Line
from proc import Proc
from suite import check, equal, test

SECONDS = 5

# strace's arrival interrupts the wait, which then starts anew.
WAITS = {"epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6",
         "restart_syscall"}


def usage(pid):
    """(processor time in clock ticks, times that it has slept and woken)"""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    with open(f"/proc/{pid}/status") as f:
        switches = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", f.read(), re.M)[1]
    return int(fields[11]) + int(fields[12]), int(switches)


def system_calls(bench, pid):
    """{name: count} of SECONDS of all threads."""
    out = bench.path("calls.txt")
    tracer = bench.add(Proc(bench.folder, "strace", [
        places.STRACE, "-f", "-c", "-U", "name,calls", "-o", out, "-p", pid]))
    tracer.wait_log(r"attached")
    time.sleep(SECONDS)
    tracer.kill(signal.SIGINT)
    with open(out) as f:
        rows = re.findall(r"^\s*(\w+)\s+(\d+)\s*$", f.read(), re.M)
    return {name: int(count) for name, count in rows if name != "total"}


def check_absent(bench, shim, moved):
    """moved() counts what has flowed so far."""
    first = moved()
    ticks, wakes = usage(shim.pid)
    time.sleep(SECONDS)
    ticks_after, wakes_after = usage(shim.pid)
    equal(ticks_after, ticks, "processor time of vushim while data flows")
    # A timer of the set-up, which no longer has anything to do, may run out in these seconds.
    check(wakes_after - wakes <= 1, f"vushim woke {wakes_after - wakes} times while data flows")
    second = moved()
    check(second > first, "data flows while vushim's time is taken")

    calls = system_calls(bench, shim.pid)
    check(moved() > second, "data flows while vushim's calls are counted")
    check(set(calls) <= WAITS, f"system calls while data flows: {calls}")
    check(sum(calls.values()) <= 4, f"vushim wakes while data flows: {calls}")
    shim.end_well()


@test("zero-copy-packets", needs=[*virtio_user.NEEDS, places.STRACE])
def packets(bench):
    line = Line(bench, virtio_user.PROFILE)
    front, back = virtio_user.start_pair(bench, line)
    back.forward("rxonly")
    front.forward("txonly")
    check_absent(bench, line.shim, lambda: back.packets()[0])


@test("zero-copy-blocks", seconds=90, needs=[*blk.NEEDS, places.STRACE])
def blocks(bench):
    line = Line(bench, blk.PROFILE)
    Qsd(bench, line.back, bench.image())
    guest = Guest(bench, "guest", blk_device(line.front), "virtio_blk").boot()
    guest.out("(while guesttool io /dev/vda 0 500 >/tmp/io; do :; done; echo failed >/tmp/failed) "
              ">/dev/null 2>&1 & true")

    def sectors():
        equal(guest.sh("cat /tmp/failed")[0], 1, "the guest's blocks are right")
        return sum(int(guest.out("cat /sys/block/vda/stat").split()[n]) for n in (2, 6))
    check_absent(bench, line.shim, sectors)
