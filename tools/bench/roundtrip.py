# SPDX-License-Identifier: MIT
"""Round trip of GET_FEATURES: direct, through the barest relay, through vushim.

A round trip of some 20 us is mostly the scheduler's: where it puts the processes, and whether a
processor falls asleep meanwhile, changes it by more than any relay could. So it is measured with
the processes placed in three ways, and only one of them gives the verdict:

    one     all on one processor: one context switch a hop, nobody sleeps, steady to 1 %
    split   the relay on one processor, both ends on another, both kept awake by idle-class loops
    free    wherever the scheduler likes: what a user sees, and much too unsteady to judge by
"""
import json
import os

import places
from proc import Proc
from results import Row, noise_between, ratio_at_most, ratios, spread
from setting import pinned_to_offer, program, say

NEEDS = ["sh"]
LINES = ("direct", "bare", "again", "host", "pinned", "traced")
GOALS = {"p50": 1.05, "p99": 1.5}
TRACED_GOAL = 1.10          # traced to pinned, the median
WORDS = {"p50": "median", "p99": "99th percentile"}
BLOCKS, ROUNDS = 40, 500


class Place:
    def __init__(self, ends, relay, awake=()):
        self.ends, self.relay, self.awake = ends, relay, awake
        # The loops give way only to processes of their own scheduling group.
        self.session = not awake

    def start(self, bench, name, argv, cpu):
        p = bench.add(Proc(bench.folder, name, argv, nice=0, session=self.session))
        if cpu is not None:
            os.sched_setaffinity(p.pid, {cpu})
        return p

    def keep_awake(self, bench):
        for cpu in self.awake:
            p = self.start(bench, f"awake{cpu}", ["sh", "-c", "while :; do :; done"], cpu)
            os.sched_setscheduler(p.pid, os.SCHED_IDLE, os.sched_param(0))


def _places():
    cpus = sorted(os.sched_getaffinity(0))
    one = {"one": Place(cpus[-1], cpus[-1])}
    if len(cpus) < 2:
        return one
    return {**one, "split": Place(cpus[0], cpus[-1], (cpus[0], cpus[-1])),
            "free": Place(None, None)}


def _relay(name, front, back, spec):
    if name in ("bare", "again"):
        return [program("bench_bare_relay"), front, back]
    trace = ["--trace", front + ".pcapng", "--trace-max", "64M", "--trace-files", "1"]
    return [places.VUSHIM, "run", "--front", front, "--back", back, "--log-level", "warn",
            "--profile", "host" if name == "host" else spec, *(trace if name == "traced" else ())]


def _start_back(bench, place, name):
    path = bench.path(f"{name}.back")
    p = place.start(bench, f"{name}-back", [program("bench_roundtrip"), "back", path], place.ends)
    p.wait_path(path)
    return path


def _spec(bench):
    with bench.part("offer") as part:
        return pinned_to_offer(_start_back(part, Place(None, None), "offer"), "net")


def _blocks(bench, place, spec, blocks):
    """A fresh set of processes for every line; the percentiles of each line in each block."""
    ends = []
    for name in LINES:
        path = _start_back(bench, place, name)
        if name != "direct":
            front = bench.path(f"{name}.front")
            place.start(bench, name, _relay(name, front, path, spec), place.relay).wait_path(front)
            path = front
        ends.append(f"{name}={path}")
    place.keep_awake(bench)
    p = place.start(bench, "front", [program("bench_roundtrip"), "front", "--blocks", blocks,
                                     "--rounds", ROUNDS, *ends], place.ends)
    if p.wait_end(300):
        raise RuntimeError(f"bench_roundtrip: {p.log().strip()}")
    return json.loads(p.log())["blocks"]


def _row(where, percentile, blocks):
    of = {name: [block[name][percentile] for block in blocks] for name in LINES}
    to_bare = {name: ratios(of[name], of["bare"]) for name in LINES}
    us = {name: spread(of[name]).median / 1000 for name in LINES}
    pinned = to_bare["pinned"]
    noise = noise_between(of["again"], of["bare"])
    judged = where == "one"
    return Row(
        "roundtrip", f"{WORDS[percentile]}, pinned / barest relay, {where}", pinned.text(3),
        f"<= {GOALS[percentile]}" if judged else "",
        ratio_at_most(pinned, GOALS[percentile], noise) if judged else "",
        f"host {to_bare['host'].text(3)}, barest to itself {to_bare['again'].text(3)}; us: direct "
        f"{us['direct']:.1f}, barest {us['bare']:.1f}, host {us['host']:.1f}, pinned "
        f"{us['pinned']:.1f}",
        {"place": where, "percentile": percentile, "blocks": len(blocks), "us": us,
         "noise": noise, "ratio_to_barest": {name: vars(s) for name, s in to_bare.items()}})


def _traced_row(where, blocks):
    of = {name: [block[name]["p50"] for block in blocks] for name in LINES}
    ratio = ratios(of["traced"], of["pinned"])
    noise = noise_between(of["again"], of["bare"])
    judged = where == "one"
    return Row(
        "roundtrip", f"median, traced / not traced, {where}", ratio.text(3),
        f"<= {TRACED_GOAL}" if judged else "",
        ratio_at_most(ratio, TRACED_GOAL, noise) if judged else "",
        f"us: pinned {spread(of['pinned']).median / 1000:.1f}, "
        f"traced {spread(of['traced']).median / 1000:.1f}",
        {"place": where, "blocks": len(blocks), "ratio": vars(ratio)})


def measure(bench, quick):
    spec = _spec(bench)
    rows = []
    for where, place in _places().items():
        sets = 2 if quick else 6 if where == "one" else 4
        blocks = []
        for n in range(sets):
            say(f"roundtrip: {where}, {n + 1} of {sets}")
            with bench.part(f"{where}{n}") as part:
                blocks += _blocks(part, place, spec, BLOCKS // 4 if quick else BLOCKS)
        rows += [_row(where, percentile, blocks) for percentile in GOALS]
        rows.append(_traced_row(where, blocks))
    return rows
