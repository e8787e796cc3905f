# SPDX-License-Identifier: MIT
"""A QEMU guest's disk served by qemu-storage-daemon."""
import hashlib
import signal

import places
from backends import Qsd
from features import difference, mask
from guest import Guest, bare_qemu, blk
from line import Line
from suite import check, equal, test

NEEDS = [places.QEMU, places.QSD]
MIB = 8

# Fewer bits than qemu-storage-daemon offers, each of which QEMU passes and Linux accepts, so that
# the guest's own list must be exactly this one.
PROFILE = ("device=blk,seg_max=on,blk_size=on,flush=on,indirect_desc=on,version_1=on,"
           "queues=1,max_ring=128,config.seg_max=64")


def move_data(guest, seed):
    """Write, read back from the disk and not from the cache, compare."""
    for mode in "wr":
        values = guest.values(f"guesttool pat /dev/vda {mode} {seed} {MIB}", 120)
        equal(values["wrong"], 0, "blocks read back wrong")


def same_on_the_host(guest, image):
    """What the guest reads is what is in the image file."""
    inside = guest.out(f"dd if=/dev/vda bs=1M count={MIB} 2>/dev/null | md5sum", 120).split()[0]
    with open(image, "rb") as f:
        outside = hashlib.md5(f.read(MIB << 20)).hexdigest()
    equal(inside, outside, "the disk in the guest and the image on the host")


def check_interface(guest):
    wrong = difference("blk", mask("blk", PROFILE), guest.features("virtio_blk"))
    check(not wrong, f"features in the guest are not the profile: {wrong}")
    equal(guest.out("cat /sys/block/vda/queue/max_segments"), "64", "segments of a request")


@test("blk-pinned", seconds=150, needs=NEEDS)
def pinned(bench):
    """Features, configuration, data; then a reset guest and a killed QEMU on the same vushim."""
    line = Line(bench, PROFILE)
    image = bench.image()
    Qsd(bench, line.back, image)
    guest = Guest(bench, "guest", blk(line.front), "virtio_blk").boot()
    check_interface(guest)

    second = bare_qemu(bench, "second", blk(line.front))
    line.shim.wait_log(r"\[SECOND_FRONT\]")
    check(second.wait_end(20) != 0, "a second QEMU is served while the first is")

    move_data(guest, 1)
    same_on_the_host(guest, image)

    guest.reboot()
    check_interface(guest)
    equal(guest.values(f"guesttool pat /dev/vda r 1 {MIB}")["wrong"], 0, "blocks wrong after reset")

    guest.kill(signal.SIGKILL)
    again = Guest(bench, "again", blk(line.front), "virtio_blk").boot()
    check_interface(again)
    equal(again.values(f"guesttool pat /dev/vda r 1 {MIB}")["wrong"], 0, "blocks wrong after kill")
    move_data(again, 2)
    equal(again.quit(), 0, "QEMU's exit status")
    line.shim.end_well("SECOND_FRONT")


@test("blk-late-back-end", seconds=90, needs=NEEDS)
def late_back_end(bench):
    """QEMU waits in its first question until there is somebody to answer it."""
    line = Line(bench, PROFILE)
    guest = Guest(bench, "guest", blk(line.front), "virtio_blk")
    line.shim.wait_log(r"waits for ")
    Qsd(bench, line.back, bench.image())
    guest.boot()
    check_interface(guest)
    move_data(guest, 4)
    equal(guest.quit(), 0, "QEMU's exit status")
    line.shim.end_well()


@test("blk-incompatible", needs=NEEDS)
def incompatible(bench):
    """A profile that the back-end cannot serve: named, and never a device with less."""
    line = Line(bench, PROFILE + ",zoned=on,secure_erase=on")
    Qsd(bench, line.back, bench.image())
    qemu = bare_qemu(bench, "qemu", blk(line.front))
    check(qemu.wait_end(20) != 0, "QEMU takes a device of an incompatible back-end")
    line.shim.wait_log(r"(?=.*zoned)(?=.*secure_erase).*\[INCOMPATIBLE\]")
    line.shim.end_well("INCOMPATIBLE")


@test("blk-max-ring", needs=NEEDS)
def max_ring(bench):
    """A ring larger than the profile's limit: refused when the firmware sets it."""
    line = Line(bench, PROFILE.replace("max_ring=128", "max_ring=64"))
    Qsd(bench, line.back, bench.image())
    Guest(bench, "guest", blk(line.front), "virtio_blk").connect()
    line.shim.wait_log(r"SET_VRING_NUM.*128.*64.*\[REFUSED\]", 30)
    line.shim.end_well("REFUSED")


def play(bench, line):
    """The same short session on any line."""
    image = bench.image()
    Qsd(bench, line.back, image)
    guest = Guest(bench, "guest", blk(line.front), "virtio_blk").boot()
    move_data(guest, 3)
    same_on_the_host(guest, image)
    equal(guest.quit(), 0, "QEMU's exit status")
