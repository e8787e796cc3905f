# SPDX-License-Identifier: MIT
"""A folder shared with a QEMU guest by virtiofsd: the C one of QEMU, and Debian 13's Rust one."""
import hashlib

import places
from backends import RustVirtiofsd, Virtiofsd
from debian13 import rust_virtiofsd
from features import difference, mask
from guest import Guest, fs
from line import Line
from suite import check, equal, test

PROFILE = "device=fs,indirect_desc=on,version_1=on,queues=2,max_ring=128"
NEEDS = [places.QEMU, places.VIRTIOFSD]
RUST_NEEDS = [places.QEMU, "mmdebstrap"]


def start_c(bench, path, shared):
    Virtiofsd(bench, path, shared)


def start_rust(bench, path, shared):
    RustVirtiofsd(bench, path, shared, rust_virtiofsd())


def move_files(guest, shared):
    """Files go both ways, and come back the same after the guest has forgotten them."""
    with open(f"{shared}/from-host", "w") as f:
        f.write("from the host\n")
    guest.out("mount -t virtiofs shared /mnt")
    equal(guest.out("cat /mnt/from-host"), "from the host", "the host's file")
    made = guest.out("dd if=/dev/urandom of=/mnt/made bs=64k count=32 2>/dev/null; "
                     "md5sum < /mnt/made; umount /mnt").split()[0]
    again = guest.out("mount -t virtiofs shared /mnt; md5sum < /mnt/made; "
                      "mkdir /mnt/d; echo x > /mnt/d/x; umount /mnt").split()[0]
    with open(f"{shared}/made", "rb") as f:
        host = hashlib.md5(f.read()).hexdigest()
    equal((again, host), (made, made), "the guest's file, read again and on the host")


def pinned(bench, start):
    line = Line(bench, PROFILE)
    shared = bench.path("shared")
    start(bench, line.back, shared)
    guest = Guest(bench, "guest", fs(line.front), "virtiofs").boot()
    wrong = difference("fs", mask("fs", PROFILE), guest.features("virtiofs"))
    check(not wrong, f"features in the guest are not the profile: {wrong}")
    move_files(guest, shared)
    equal(guest.quit(), 0, "QEMU's exit status")
    line.shim.end_well()


def play_with(start):
    def play(bench, line):
        shared = bench.path("shared")
        start(bench, line.back, shared)
        guest = Guest(bench, "guest", fs(line.front), "virtiofs").boot()
        move_files(guest, shared)
        equal(guest.quit(), 0, "QEMU's exit status")
    return play


@test("fs-pinned", seconds=90, needs=NEEDS)
def pinned_c(bench):
    pinned(bench, start_c)


@test("fs-rust-pinned", seconds=180, needs=RUST_NEEDS)
def pinned_rust(bench):
    pinned(bench, start_rust)
