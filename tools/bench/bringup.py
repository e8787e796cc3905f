# SPDX-License-Identifier: MIT
"""Bring-up of a device in a QEMU session: from its first message to its last SET_VRING_ENABLE.

QEMU itself notes when it has sent or received a message, so nothing else sits on the wire. Nearly
all of that time the firmware and the kernel of the guest are busy and the wire is silent. What a
relay can change is the rest, so that is told too: "talking" leaves out the silences which no
answer ends. How long a guest boots depends on what else the machine does: two direct lines that do
not differ in anything show how much.
"""
import re

import places
from backends import Qsd
from guest import Guest, blk
from line import Line
from results import Row, noise_between, ratio_at_most, ratios, spread
from setting import pinned_to_offer, say, turns

NEEDS = [places.QEMU, places.QSD]
GOAL = 1.1
SET_VRING_ENABLE = 18
SILENCE = 0.005
TRACE = ["-trace", "vhost_user_read", "-trace", "vhost_user_write", "-msg", "timestamp=on"]
EVENT = re.compile(r"@(\d+\.\d+):vhost_user_(read|write) req:(\d+) ")


def _offer(bench):
    with bench.part("offer") as part:
        path = part.path("back.sock")
        Qsd(part, path, part.image())
        return pinned_to_offer(path, "blk")


def _bring_up(log):
    """(whole, talking) in ms"""
    events = [(float(m[1]), m[2], int(m[3])) for m in EVENT.finditer(log)]
    last = max(n for n, (_, kind, request) in enumerate(events)
               if (kind, request) == ("write", SET_VRING_ENABLE))
    events = events[:last + 1]
    gaps = [(after[0] - before[0], after[1]) for before, after in zip(events, events[1:])]
    talking = sum(gap for gap, kind in gaps if kind == "read" or gap < SILENCE)
    return (events[-1][0] - events[0][0]) * 1000, talking * 1000


def _session(bench, name, spec):
    with bench.part(name) as part:
        line = Line(part, spec)
        Qsd(part, line.back, part.image())
        guest = Guest(part, "guest", [*blk(line.front), *TRACE], "virtio_blk").boot()
        log = guest.log()       # now: when it quits it disables the rings with the same message
        guest.quit()
        return _bring_up(log)


def measure(bench, quick):
    spec = _offer(bench)
    times = 3 if quick else 7
    taken = {"direct": [], "again": [], "pinned": []}
    for n in range(times):
        say(f"bringup: {n + 1} of {times}")
        for name in turns(list(taken), n):
            profile = spec if name == "pinned" else None
            taken[name].append(_session(bench, f"{name}{n}", profile))
    rows = []
    for n, what, goal in ((0, "first message to last enable", GOAL), (1, "of which talking", None)):
        ms = {name: [both[n] for both in taken[name]] for name in taken}
        ratio = ratios(ms["pinned"], ms["direct"])
        noise = noise_between(ms["again"], ms["direct"])
        rows.append(Row(
            "bringup", f"{what}, pinned / direct", ratio.text(), f"<= {goal}" if goal else "",
            ratio_at_most(ratio, goal, noise) if goal else "",
            f"direct to itself {ratios(ms['again'], ms['direct']).text()}; ms: direct "
            f"{spread(ms['direct']).text(n * 2)}, pinned {spread(ms['pinned']).text(n * 2)}; "
            f"{times} of each by turns", {"ms": ms, "ratio": vars(ratio), "noise": noise}))
    return rows
