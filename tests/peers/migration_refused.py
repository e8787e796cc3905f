# SPDX-License-Identifier: MIT
"""Destinations that cannot carry on what the guest has: what QEMU does not see, vushim names.

All of it is said before a migration begins, so the guest at the source notices nothing.
"""
import places
from backends import Testpmd, vhost_port
from guest import Guest, bare_qemu, blk
from line import Vushim
from migration_blk import IO, NEEDS, start_back_end
from migration_net import ping, start_guest
from moving import Host, ask, destination, move
from net import NEEDS as NET_NEEDS
from suite import check, equal, test

# The size of a disk is the disk's own and in no named version.
SECTORS = 64 << 11
PROFILE = f"org.qemu.storage-daemon.v7.2,config.capacity={SECTORS}"


def block_size(guest):
    return guest.out("cat /sys/block/vda/queue/logical_block_size")


@test("migration-that-qemu-lets-pass", seconds=120, needs=NEEDS)
def qemu_lets_pass(bench):
    """Without vushim: to a disk that cannot be written, and to one with larger blocks."""
    image = bench.image()
    source = start_back_end(bench, "source", image)
    read_only = start_back_end(bench, "read-only", image, writable="off")
    large = start_back_end(bench, "large-blocks", image, logical_block_size=4096)
    guest = Guest(bench, "guest", blk(source), "virtio_blk").boot()
    check("errors=0" in guest.out(f"guesttool io {IO} 300"), "the guest writes at the source")

    target = destination(bench, "target", blk(read_only), "virtio_blk")
    move(guest, target)
    equal(target.log(), "", "what QEMU says of a read-only destination")
    _, io = target.sh(f"guesttool io {IO} 300")
    check("errors=0" not in io, f"the guest writes to a read-only disk: {io}")
    print(f"# after a migration to a read-only disk the guest's writes fail: {io}", flush=True)

    last = destination(bench, "last", blk(large), "virtio_blk")
    move(target, last)
    equal(last.log(), "", "what QEMU says of a destination with other blocks")
    equal(block_size(last), "512", "blocks that the guest goes on with")
    last.reboot()
    equal(block_size(last), "4096", "blocks after a reboot")


def refused_run(host, state, profile):
    """vushim run ends at once, with 1; no front-end has ever come."""
    front = host.bench.path(f"{host.name}-front.sock")
    status, said = ask("run", "--front", f"listen:{front}", "--back", f"connect:{host.back}",
                       "--name", host.name, "--expect", state, "--profile", profile)
    equal(status, 1, f"exit status of vushim run --expect, which says {said!r}")
    return said


def names_all(said, words, what):
    for word in words:
        check(word in said, f"{what} does not name {word}: {said}")


@test("migration-refused-by-name", seconds=120, needs=NEEDS)
def refused_by_name(bench):
    """Such disks with vushim and a profile; the guest's own traffic goes on all the time."""
    image, small = bench.image(), bench.image(32, "small.img")
    source = Host(bench, "source", start_back_end(bench, "disk", image), PROFILE)
    bad = {
        Host(bench, "read-only", start_back_end(bench, "read-only", image, writable="off")):
            ["is ro"],
        Host(bench, "large-blocks",
             start_back_end(bench, "large-blocks", image, logical_block_size=4096)):
            ["config.blk_size 512 wanted, 4096 offered"],
        Host(bench, "small", start_back_end(bench, "small", small)):
            [f"config.capacity {SECTORS} wanted, {SECTORS // 2} offered"],
    }
    guest = Guest(bench, "guest", blk(source.front), "virtio_blk").boot()
    guest.out(f"guesttool io {IO} 4000 >/tmp/io & true")
    for host, words in bad.items():
        status, said = ask("check", PROFILE, "--offer", host.save_offer("blk"))
        equal(status, 1, f"exit status of vushim check for {host.name}, which says {said!r}")
        names_all(said, words, "vushim check")
        no_device(bench, host, words)
    io = guest.values("wait; cat /tmp/io")
    equal((io["errors"], io["wrong"]), (0, 0), f"failures of {io['ops']} writes and reads")
    equal(guest.quit(), 0, "QEMU's exit status")
    source.shim.end_well()


def no_device(bench, host, words):
    """QEMU with such a device does not even start, so nothing can migrate to it."""
    shimmed = Host(bench, f"{host.name}-shim", host.back, PROFILE)
    qemu = bare_qemu(bench, f"{host.name}-qemu", blk(shimmed.front))
    check(qemu.wait_end(30) != 0, f"QEMU takes a device on {host.name}")
    names_all(shimmed.shim.log(), ["[INCOMPATIBLE]", *words], "vushim run")
    shimmed.shim.stop()


WITH_TSO, WITHOUT = "org.dpdk.v20.08", "org.dpdk.v22.11"
TSO = ["host_tso4", "host_tso6"]


@test("migration-refused-before-qemu-starts", seconds=120, needs=NET_NEEDS)
def refused_before_qemu_starts(bench):
    """The state of a running guest, at a destination that cannot carry it on.

    Neither the profile of the guest nor a smaller one will do there: the back-end lacks what the
    first one wants, and the second one what the guest uses.
    """
    more, less = bench.path("more.sock"), bench.path("less.sock")
    Testpmd(bench, "more", vhost_port(more) + ",tso=1").ready()
    Testpmd(bench, "less", vhost_port(less)).ready()
    source = Host(bench, "source", more, WITH_TSO)
    guest = start_guest(bench, "guest", source)
    ping(guest, "before any question")
    state, target = source.save_state(), Host(bench, "target", less)

    offer = target.save_offer("net")
    status, said = ask("check", WITH_TSO, "--offer", offer)
    equal(status, 1, f"exit status of vushim check, which says {said!r}")
    names_all(said, TSO, "vushim check")
    equal(ask("check", WITHOUT, "--offer", offer)[0], 0, "exit status of check without a guest")
    status, said = ask("check", WITHOUT, "--offer", offer, "--state", state)
    equal(status, 1, f"exit status of vushim check --state, which says {said!r}")
    names_all(said, TSO, "vushim check --state")

    for profile in (WITH_TSO, WITHOUT):
        names_all(refused_run(target, state, profile), TSO, "vushim run --expect")
    ping(guest, "after all of this")
    equal(guest.quit(), 0, "QEMU's exit status")
    source.shim.end_well()
