# SPDX-License-Identifier: MIT
"""The datapath, which goes past vushim: packets between two testpmd, blocks in a guest.

Three lines are measured by turns: two direct ones and one through vushim. The two direct ones do
not differ in anything, so how far they lie apart is the noise that vushim's ratio is held against.

Other work on the machine only ever slows a line down: so the rate is taken in short windows, and
the best of a few is what counts.
"""
import contextlib
import os
import time

import places
from backends import Qsd, Testpmd, vhost_port, virtio_user_port
from guest import Guest
from line import Line
from results import Row, ratios, same_within_noise, spread
from setting import pinned_to_offer, say, turns

PACKETS_NEED = [places.TESTPMD, "stdbuf"]
BLOCKS_NEED = [places.QEMU, places.QSD]
LINES = ("direct", "again", "pinned")
MIB = 128
BEST_OF = 5
TO_BACK = {True: "front-end to back-end", False: "back-end to front-end"}


def _best(windows):
    return [max(windows[n:n + BEST_OF]) for n in range(0, len(windows), BEST_OF)]


def _row(part, what, unit, scale, windows):
    rates = {name: _best(values) for name, values in windows.items()}
    ratio, noise, verdict = same_within_noise(rates["pinned"], rates["direct"], rates["again"])
    means = {name: spread([r / scale for r in values]) for name, values in rates.items()}
    return Row(
        part, f"{what}, pinned / direct", ratio.text(3), f"1.00 within noise ({noise:.3f})",
        verdict, f"direct to itself {ratios(rates['again'], rates['direct']).text(3)}; {unit}: "
        f"direct {means['direct'].text()}, pinned {means['pinned'].text()}; {ratio.n} of each, "
        f"the best of {BEST_OF} windows",
        {"rates": windows, "best_of": BEST_OF, "ratio": vars(ratio), "noise": noise})


# ---- packets ----

def _keep_on(pid, cpu):
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {cpu})


class Pair:
    """A front-end and a back-end, which rest until they are asked to forward.

    Each has a processor of its own: both spin, and where they meet they share one by turns of
    milliseconds, which is all that one would measure.
    """

    def __init__(self, bench, name, profile):
        line = Line(bench, profile)
        self.back = Testpmd(bench, f"back-{name}", vhost_port(line.back), start=False, mib=MIB)
        self.back.ready()
        self.front = Testpmd(bench, f"front-{name}", virtio_user_port(line.front), start=False,
                             mib=MIB)

    def ready(self):
        self.front.ready()
        self.back.wait_log("virtio is now ready for processing")
        cpus = sorted(os.sched_getaffinity(0))
        _keep_on(self.back.pid, cpus[0])
        _keep_on(self.front.pid, cpus[-1])

    def rate(self, to_back, seconds):
        """Packets a second that arrive."""
        sender, receiver = (self.front, self.back) if to_back else (self.back, self.front)
        receiver.forward("rxonly")
        sender.forward("txonly")
        time.sleep(0.1)     # until the rings are as full as they get
        self._rate_since_asked(receiver)
        time.sleep(seconds)
        rate = self._rate_since_asked(receiver)
        sender.halt()
        receiver.halt()
        return rate

    @staticmethod
    def _rate_since_asked(testpmd):
        """By testpmd's own clock: when it looks, only it knows exactly."""
        return int(testpmd.do("show port stats 0", r"Rx-pps:\s*(\d+).*?Tx-bps")[1])


def _packets_offer(bench):
    with bench.part("offer") as part:
        path = part.path("back.sock")
        Testpmd(part, "back-offer", vhost_port(path), start=False, mib=MIB).ready()
        return pinned_to_offer(path, "net")


def packets(bench, quick):
    spec = _packets_offer(bench)
    rounds, windows, seconds = (2, 5, 0.2) if quick else (6, 10, 0.3)
    rates = {to_back: {name: [] for name in LINES} for to_back in TO_BACK}
    for n in range(rounds):
        say(f"packets: {n + 1} of {rounds}")
        with contextlib.ExitStack() as stack:
            parts = {name: stack.enter_context(bench.part(f"{name}{n}")) for name in LINES}
            pairs = {name: Pair(parts[name], f"{name}{n}", spec if name == "pinned" else None)
                     for name in turns(LINES, n)}
            for pair in pairs.values():
                pair.ready()
            for window in range(windows):
                for to_back, of in rates.items():
                    for name in turns(LINES, n + window):
                        of[name].append(pairs[name].rate(to_back, seconds))
    return [_row("packets", what, "million a second", 1e6, rates[to_back])
            for to_back, what in TO_BACK.items()]


# ---- blocks ----

def _disk(name, path):
    return ["-chardev", f"socket,id=c-{name},path={path}",
            "-device", f"vhost-user-blk-pci,chardev=c-{name}"]


def _blocks_offer(bench):
    with bench.part("offer") as part:
        path = part.path("back.sock")
        Qsd(part, path, part.image())
        return pinned_to_offer(path, "blk")


def _boot(bench, stack, spec, n):
    """A guest with one disk for each line, in another order each time: {name: device}."""
    devices, order = [], turns(LINES, n)
    for name in order:
        part = stack.enter_context(bench.part(f"{name}{n}"))
        line = Line(part, spec if name == "pinned" else None)
        Qsd(part, line.back, part.image())
        devices += _disk(name, line.front)
    part = stack.enter_context(bench.part(f"guest{n}"))
    guest = Guest(part, "guest", devices, "virtio_blk").boot()
    return guest, {name: f"/dev/vd{letter}" for name, letter in zip(order, "abc")}


def blocks(bench, quick):
    spec = _blocks_offer(bench)
    boots, windows, ms = (1, 10, 200) if quick else (3, 15, 400)
    rates = {name: [] for name in LINES}
    for n in range(boots):
        say(f"blocks: {n + 1} of {boots}")
        with contextlib.ExitStack() as stack:
            guest, devices = _boot(bench, stack, spec, n)
            for window in range(windows):
                for name in turns(LINES, window):
                    values = guest.values(f"guesttool io {devices[name]} 0 {ms}", 60)
                    rates[name].append(values["ops"] / ms * 1000)
            guest.quit()
    return [_row("blocks", "4 KiB written and read back", "thousand a second", 1e3, rates)]
