# SPDX-License-Identifier: MIT
"""The line between a front-end and a back-end: nothing, vushim, recorders, or all of them.

    front-end -- [recorder] -- [vushim] -- [recorder] -- back-end

A path is one hop of it. Who of a hop's two ends listens follows from the outer ends: towards the
front-end every hop is turned as the front-end's own, towards the back-end as the back-end's.
"""
import os
import re
import signal

import places
from proc import Proc
from recorder import Recorder
from suite import check, equal


def _traced(bench, log):
    """Where sessions are recorded ($VUSHIM_TRACES), each of these processes writes a file there."""
    if not places.TRACES:
        return ()
    os.makedirs(places.TRACES, exist_ok=True)
    number = sum(name.startswith(f"{bench.name}.") for name in os.listdir(places.TRACES))
    return "--trace", f"{places.TRACES}/{bench.name}.{number}.{log}.pcapng"


class Vushim(Proc):
    """vushim run between two endpoints."""

    def __init__(self, bench, front, back, profile="host", name="dev0", log="vushim", more=()):
        super().__init__(bench.folder, log, [
            places.VUSHIM, "run", "--front", ":".join(front), "--back", ":".join(back),
            "--profile", profile, "--name", name, "--wait", "forever",
            *_traced(bench, log), *more], nice=0)
        bench.add(self)
        self.listens = [path for kind, path in (front, back) if kind == "listen"]
        for path in self.listens:
            self.wait_path(path)

    def end_well(self, *more):
        """It has logged no fault (besides endings that the test has provoked) and ends cleanly."""
        status = self.kill(signal.SIGTERM, 10)
        equal(status, 0, "vushim's exit status after SIGTERM")
        faults = set(re.findall(r"\[([A-Z_]+)\]", self.log())) - {"LEFT", "STOPPED", *more}
        check(not faults, f"vushim logged {' '.join(sorted(faults))}")
        left = [path + suffix for path in self.listens for suffix in ("", ".lock")
                if os.path.exists(path + suffix)]
        check(not left, f"vushim left {' '.join(left)}")


class Line:
    """front and back are the paths for the outer ends; shim and recorders what is between.

    dials: which outer ends connect by themselves. A QEMU client and a back-end that listens are
    the usual case: dials={"front"}. more: further options of vushim run.
    """

    def __init__(self, bench, profile=None, record=False, dials=("front",), name="dev0", more=()):
        parts = ["recorder"] if record else []
        if profile is not None:
            parts = [*parts, "vushim", *parts]
        paths = [bench.path(f"wire{n}.sock") for n in range(len(parts) + 1)]
        self.bench, self.profile, self.name, self.more = bench, profile, name, more
        self.front, self.back = paths[0], paths[-1]
        self.shim, self.recorders = None, []
        if not parts and set(dials) not in ({"front"}, {"back"}):
            raise ValueError("two that dial, or two that listen, need something between them")
        self._build(parts, paths, "front" in dials, "back" in dials)

    def _build(self, parts, paths, front_dials, back_dials):
        # Hops before the middle part are turned like the front-end's, those after it like the
        # back-end's; a part listens on a hop that is dialled from the other side.
        middle = len(parts) // 2
        plan = []
        for n, part in enumerate(parts):
            towards_back = back_dials if n >= middle else not front_dials
            towards_front = front_dials if n <= middle else not back_dials
            plan.append((part, ("listen" if towards_front else "connect", paths[n]),
                         ("listen" if towards_back else "connect", paths[n + 1])))
        # Who listens towards the other starts first, so that no dialler has to try again.
        order = plan if not front_dials else reversed(plan)
        for part, front, back in order:
            if part == "vushim":
                self.shim = Vushim(self.bench, front, back, self.profile, self.name,
                                   more=self.more)
            else:
                name = "recorder-front" if front[1] == paths[0] else "recorder-back"
                self.recorders.append(Recorder(self.bench, name, front, back))
        self.recorders.sort(key=lambda r: r.name, reverse=True)   # the front-end's first
