#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The part of tools/demo that comes after the build: back-end, vushim, guest, table.

The same guest boots twice, directly on qemu-storage-daemon and through vushim: a bit that the
guest does not see either way is nobody's merit, and the table says so.
"""
import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/lib"))

import places                               # noqa: E402
from backends import Qsd                    # noqa: E402
from bench import Bench                     # noqa: E402
from features import VHOST_BITS, bit_of, mask, names    # noqa: E402
from guest import Guest, blk                # noqa: E402
from guestimage import guest_image          # noqa: E402
from line import Line                       # noqa: E402

# All of it is offered by qemu-storage-daemon, and QEMU and Linux use all of it when they may: so
# the guest must see this list, no more and no less.
PROFILE = ("device=blk,seg_max=on,blk_size=on,flush=on,topology=on,indirect_desc=on,version_1=on,"
           "queues=1,max_ring=128")
MIB = 16


@dataclass
class Visit:
    """What one guest has seen and done."""
    features: int
    data_is_equal: bool


def say(text):
    print(f"demo: {text}", flush=True)


def probe(path):
    p = subprocess.run([places.VUSHIM, "probe", path, "--device", "blk", "--json"],
                       capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    if p.returncode:
        raise RuntimeError(f"vushim probe: {p.stderr.strip()}")
    return json.loads(p.stdout)


def move_data(guest, image):
    """Write and read back in the guest; then the guest's disk and the image must be the same."""
    wrong = [guest.values(f"guesttool pat /dev/vda {mode} 7 {MIB}", 120)["wrong"] for mode in "wr"]
    inside = guest.out(f"dd if=/dev/vda bs=1M count={MIB} 2>/dev/null | md5sum", 120).split()[0]
    with open(image, "rb") as f:
        outside = hashlib.md5(f.read(MIB << 20)).hexdigest()
    return not any(wrong) and inside == outside


def visit(bench, name, profile=None):
    """Boot a guest on a disk of its own, directly or through vushim."""
    with bench.part(name) as part:
        line = Line(part, profile)
        image = part.image()
        Qsd(part, line.back, image)
        guest = Guest(part, "guest", blk(line.front), "virtio_blk").boot()
        seen = Visit(guest.features("virtio_blk"), move_data(guest, image))
        guest.quit()
        return seen


def note(bit, offered, pinned, direct):
    if 1 << bit & VHOST_BITS:
        return "between QEMU and the back-end; never reaches a guest"
    if pinned:
        return ""
    if direct >> bit & 1:
        return "withheld by vushim"
    return "this guest never sees it, with or without vushim" if offered else ""


def table(offered, seen, direct):
    """offered: {bit: name}. One row a feature that is offered, pinned or seen."""
    want = mask("blk", PROFILE)
    rows = [("feature", "offered", "pinned", "seen in the guest", "without vushim", "")]
    every = want | seen | direct | sum(1 << bit for bit in offered)
    for bit in (n for n in range(64) if every >> n & 1):
        marks = [bit in offered, want >> bit & 1, seen >> bit & 1, direct >> bit & 1]
        rows.append((offered.get(bit) or names("blk", 1 << bit)[0],
                     *("yes" if mark else "-" for mark in marks),
                     note(bit, bit in offered, want >> bit & 1, direct)))
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        print("  " + "  ".join(word.ljust(width) for word, width in zip(row, widths)).rstrip())


def main():
    with Bench("demo") as bench:
        say("preparing the guest (a kernel package, unpacked; kept for next time)")
        guest_image()
        say("asking qemu-storage-daemon what it offers (vushim probe)")
        path = bench.path("probe.sock")
        daemon = Qsd(bench, path, bench.image(1, "probe.img"), "probe")
        offered = {bit_of("blk", name): name for name in probe(path)["features"]}
        daemon.stop()
        say("a guest without vushim, for comparison (emulated: some seconds)")
        direct = visit(bench, "direct")
        say(f"a guest through vushim, pinned to {PROFILE}")
        seen = visit(bench, "pinned", PROFILE)

    print()
    table(offered, seen.features, direct.features)
    print()
    agree = seen.features == mask("blk", PROFILE)
    say("the guest saw exactly the pinned features" if agree else
        "THE GUEST DID NOT SEE EXACTLY THE PINNED FEATURES")
    say(f"{MIB} MiB written in the guest came back equal, in the guest and in the image file"
        if seen.data_is_equal else "DATA WRITTEN IN THE GUEST DID NOT COME BACK EQUAL")
    return 0 if agree and seen.data_is_equal else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # so that all is cleaned up
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (RuntimeError, TimeoutError, OSError) as error:
        sys.exit(f"demo: {error}")
