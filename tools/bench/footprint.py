# SPDX-License-Identifier: MIT
"""What one shim costs: time from exec to listening, private memory, wake-ups while idle."""
import json
import os
import re
import signal
import time

import places
from backends import Qsd
from guest import Guest, blk
from line import Line, Vushim
from proc import Proc
from results import Row, at_most
from setting import pinned_to_offer, program, say

LISTENING_NEED = []
IDLE_NEED = [places.QEMU, places.QSD]
LISTENING_MS = 3
PRIVATE_KIB = 1024
# The timer that would tell of a late answer runs out once, 5 s after the last question.
TIMERS_END = 6
# Any spec that vushim has to parse; nothing connects.
SPEC = ("device=net,any_layout=on,csum=on,event_idx=on,guest_csum=on,indirect_desc=on,mq=on,"
        "mrg_rxbuf=on,packed=on,version_1=on,queues=8,max_ring=1024")


# ---- exec to listening ----

class Starter(Proc):
    """bench_listening and whatever program it has just started."""

    def stop(self):
        if self.alive():
            os.killpg(self.pid, signal.SIGTERM)
        return super().stop()


def _listening(bench, name, path, argv, times):
    p = bench.add(Starter(bench.folder, name, [program("bench_listening"), "--times", times, path,
                                               *argv], nice=0))
    if p.wait_end(120):
        raise RuntimeError(f"bench_listening: {p.log().strip()[-500:]}")
    found = json.loads(re.search(r"^\{.*\}$", p.log(), re.M)[0])
    return {key: found[key] / 1e6 for key in ("min", "p50", "max")}


def listening(bench, quick):
    say("listening")
    times = 20 if quick else 50
    front, back = bench.path("front.sock"), bench.path("back.sock")
    shim = _listening(bench, "shim", front, [
        places.VUSHIM, "run", "--front", front, "--back", back, "--log-level", "error",
        "--profile", SPEC], times)
    bare = _listening(bench, "bare", front, [program("bench_bare_relay"), front, back], times)
    # A machine that takes so long over a program that does nothing first says little of vushim.
    verdict = at_most(shim["p50"], LISTENING_MS)
    if verdict == "missed" and bare["p50"] > LISTENING_MS / 2:
        verdict = "unclear"
    return [Row("listening", "exec to listening, median", f"{shim['p50']:.2f} ms",
                f"<= {LISTENING_MS} ms", verdict,
                f"of {times}: {shim['min']:.2f} to {shim['max']:.2f}; barest relay "
                f"{bare['p50']:.2f}", {"ms": shim, "barest_ms": bare, "times": times})]


# ---- memory and wake-ups ----

def _memory(pid):
    """KiB"""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        kib = {m[1]: int(m[2]) for m in re.finditer(r"^(\w+):\s+(\d+) kB", f.read(), re.M)}
    return {"pss": kib["Pss"], "uss": kib["Private_Clean"] + kib["Private_Dirty"],
            "dirty": kib["Private_Dirty"], "rss": kib["Rss"]}


def _memory_row(what, kib):
    return Row("memory", f"USS {what}", f"{kib['uss']} KiB", f"<= {PRIVATE_KIB} KiB",
               at_most(kib["uss"], PRIVATE_KIB),
               f"PSS {kib['pss']} KiB; of USS {kib['dirty']} KiB are written, the rest is program "
               "text that nobody else maps now", {"kib": kib})


def _switches(pid):
    """Times that any of its threads has been put on a processor."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status") as f:
            total += sum(map(int, re.findall(r"voluntary_ctxt_switches:\s*(\d+)", f.read())))
    return total


def _wakeups_row(pid, seconds):
    time.sleep(TIMERS_END)
    before = _switches(pid)
    time.sleep(seconds)
    count = _switches(pid) - before
    return Row("wakeups", "wake-ups a second, idle and connected", f"{count / seconds:g}", "0",
               at_most(count, 0), f"{count} in {seconds} s; QEMU's guest is up and idle",
               {"count": count, "seconds": seconds})


def _unconnected(bench):
    with bench.part("unconnected") as part:
        shim = Vushim(part, ("listen", part.path("front.sock")),
                      ("connect", part.path("back.sock")), SPEC)
        time.sleep(1)
        return _memory_row("unconnected", _memory(shim.pid))


def idle(bench, quick):
    say("memory, wakeups: a guest and a shim that do nothing")
    rows = [_unconnected(bench)]
    with bench.part("offer") as part:
        Qsd(part, part.path("back.sock"), part.image())
        spec = pinned_to_offer(part.path("back.sock"), "blk")
    with bench.part("connected") as part:
        line = Line(part, spec)
        Qsd(part, line.back, part.image())
        guest = Guest(part, "guest", blk(line.front), "virtio_blk").boot()
        rows.append(_memory_row("idle and connected", _memory(line.shim.pid)))
        rows.append(_wakeups_row(line.shim.pid, 5 if quick else 20))
        guest.quit()
    return rows
