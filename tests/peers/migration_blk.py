# SPDX-License-Identifier: MIT
"""A guest's disk while the guest moves between two qemu-storage-daemons."""
import hashlib

import places
from backends import Qsd
from features import names
from guest import Guest, bare_qemu, blk
from moving import Host, begin, destination, end, move, take_over
from qmp import Qmp
from suite import check, equal, test

NEEDS = [places.QEMU, places.QSD]
PROFILE = "org.qemu.storage-daemon.v7.2"
MIB = 8
IO = "/dev/vda 10"  # write, read back and compare every 10 ms, clear of the first MIBs
TOO_MANY = "The maximum number of queues supported by the backend is 1"


def start_back_end(bench, name, image, **options):
    path = bench.path(f"{name}.sock")
    Qsd(bench, path, image, name, **options)
    return path


def md5_inside(guest, mib=MIB):
    return guest.out(f"dd if=/dev/vda bs=1M count={mib} 2>/dev/null | md5sum", 120).split()[0]


def md5_outside(image, mib=MIB):
    with open(image, "rb") as f:
        return hashlib.md5(f.read(mib << 20)).hexdigest()


def forget_cache(guest):
    guest.out("sync; echo 3 > /proc/sys/vm/drop_caches")


def start_two_queues(bench, name, host, *more):
    return bare_qemu(bench, name, [*blk(host.front, options="num-queues=2"), *more])


def takes_two_queues(bench, name, host):
    path = bench.path(f"{name}.qmp")
    qemu = start_two_queues(bench, name, host, "-qmp", f"unix:{path},server=on,wait=off")
    equal(Qmp(path).do("query-status")["status"], "prelaunch", "QEMU with two queues")
    qemu.kill()


def refuses_two_queues(bench, name, host):
    qemu = start_two_queues(bench, name, host)
    check(qemu.wait_end(30) != 0, f"QEMU takes two queues on {host.name}")
    check(TOO_MANY in qemu.log(), f"what QEMU says of two queues: {qemu.log()[-600:]}")


@test("migration-blk-queues", seconds=150, needs=NEEDS)
def queues(bench):
    """Two back-ends of one disk with different num-queues, and all the guest's data."""
    image = bench.image()
    two = start_back_end(bench, "two", image, num_queues=2)
    one = start_back_end(bench, "one", image, num_queues=1)

    # Without a profile, a guest starts with what its next host will not have.
    takes_two_queues(bench, "greedy", Host(bench, "two", two))
    refuses_two_queues(bench, "incoming", Host(bench, "one", one))

    # With it, both hosts are the same from the start.
    for name, path in (("two", two), ("one", one)):
        host = Host(bench, f"{name}-pinned", path, PROFILE)
        refuses_two_queues(bench, f"greedy-{name}", host)
        host.shim.end_well("INCOMPATIBLE")
    carry_data(bench, image, two, one)


def carry_data(bench, image, first_path, second_path):
    """The destination's vushim is told what the guest has, and finds that it can carry it on."""
    first = Host(bench, "first", first_path, PROFILE)
    guest = Guest(bench, "guest", blk(first.front), "virtio_blk").boot()
    features = guest.features("virtio_blk")
    guest.out(f"guesttool pat /dev/vda w 7 {MIB}", 120)
    before = md5_inside(guest)
    guest.out(f"guesttool io {IO} 5000 >/tmp/io & true")

    second = Host(bench, "second", second_path, PROFILE, ["--expect", first.save_state()])
    target = destination(bench, "target", blk(second.front), "virtio_blk")
    print(f"# downtime of a guest with disk traffic: {move(guest, target).downtime} ms", flush=True)
    io = target.values("wait; cat /tmp/io")
    equal((io["errors"], io["wrong"]), (0, 0), f"failures of {io['ops']} writes and reads")
    equal(names("blk", target.features("virtio_blk")), names("blk", features), "features")
    forget_cache(target)
    equal(md5_inside(target), before, "the disk after the migration")
    equal(md5_outside(image), before, "the image on the host")

    target.reboot()
    equal(names("blk", target.features("virtio_blk")), names("blk", features),
          "features after a reboot")
    equal(md5_inside(target), before, "the disk after a reboot")
    equal(target.quit(), 0, "QEMU's exit status")
    first.shim.end_well()
    second.shim.end_well()


# Dirty logging: what the back-end writes into memory that QEMU has already sent.

READ_MIB = 24
NEARLY_ALL = 8 << 20    # of what is left, a third of what is read: the rest shows what is lost
DIRTY = "while :; do dd if=/dev/urandom of=/tmp/dirty bs=64k count=16 2>/dev/null; done"


def write_pattern(image, mib):
    with open(image, "r+b") as f:
        for n in range(mib):
            f.write(hashlib.shake_128(str(n).encode()).digest(1 << 20))


def nearly_all_sent(guest):
    ram = guest.qmp.do("query-migrate").get("ram", {"dirty-sync-count": 0})
    return ram["dirty-sync-count"] > 1 or (ram["dirty-sync-count"] == 1
                                           and ram["remaining"] < NEARLY_ALL)


@test("migration-blk-memory-that-the-back-end-writes", seconds=120, needs=NEEDS)
def dirty_memory(bench):
    """The guest reads its disk into the page cache when QEMU has sent nearly all memory once.

    The other back-end has an image of zeros: the sum is right there only if all of it comes as
    memory, and only the back-end has written that memory: Linux is told to clear no page before.
    """
    image, zeros = bench.image(), bench.image(name="zeros.img")
    write_pattern(image, READ_MIB)
    want = md5_outside(image, READ_MIB)
    first = Host(bench, "first", start_back_end(bench, "one", image), PROFILE)
    second = Host(bench, "second", start_back_end(bench, "other", zeros), PROFILE)
    guest = Guest(bench, "guest", blk(first.front), "virtio_blk",
                  kernel_line="init_on_alloc=0").boot()
    target = destination(bench, "target", blk(second.front), "virtio_blk")

    guest.out("exec 9</dev/vda")    # when nobody has a disk open, its cache is thrown away
    forget_cache(guest)
    guest.out(f"{DIRTY} & echo $! >/tmp/dirtier")   # keeps the migration from coming to its end
    begin(guest, target, **{"downtime-limit": 1, "max-bandwidth": 16 << 20})
    guest.wait_until(lambda: nearly_all_sent(guest), 60, "first pass over the memory")
    guest.qmp.do("migrate-set-parameters", **{"max-bandwidth": 256 << 10})
    equal(guest.qmp.do("query-migrate")["status"], "active", "the migration, nearly all sent")
    equal(md5_inside(guest, READ_MIB), want, "the disk before the switch")
    guest.out("kill $(cat /tmp/dirtier)")
    equal(guest.qmp.do("query-migrate")["status"], "active", "the migration, while data was read")

    guest.qmp.do("migrate-set-parameters", **{"downtime-limit": 300, "max-bandwidth": 1 << 30})
    equal(end(guest).status, "completed", "the migration")
    take_over(guest, target)
    equal(md5_inside(target, READ_MIB), want, "the memory that the back-end has written")
    forget_cache(target)
    check(md5_inside(target, READ_MIB) != want, "the other image is another one")
    first.shim.end_well()
    second.shim.end_well()
