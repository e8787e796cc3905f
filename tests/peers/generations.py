# SPDX-License-Identifier: MIT
"""Debian 12's peers and Debian 13's, through vushim with one profile: QEMU 7.2 and 10.0,
dpdk-testpmd 22.11 and 24.11, qemu-storage-daemon 7.2 and 10.0, virtiofsd in C and in Rust.
"""
import json
import re
import subprocess

import debian13
import places
from backends import Qsd, RustVirtiofsd, Testpmd, Virtiofsd, vhost_port
from features import names
from fs import NEEDS as FS_NEEDS
from guest import Guest, blk, net
from migration_blk import MIB, forget_cache, md5_inside, md5_outside
from migration_net import ping
from migration_refused import names_all
from moving import Host, ask, destination, move
from net import ECHO, GUEST
from net import NEEDS as NET_NEEDS
from suite import Skip, check, equal, test

BUILDER = "mmdebstrap"
# What the older and the newer of each pair say of themselves.
GENERATIONS = {"qemu": ("7.2", "10.0"), "dpdk": ("22.11", "24.11"), "storage": ("7.2", "10.0"),
               "virtiofsd": ("7.2", "1.13")}

# One machine for both QEMUs. A processor has to be named as well: "max" is what each can do best.
MACHINE = ["-machine", "pc-q35-7.2", "-cpu", "Nehalem,rdrand=on"]

NET_PROFILE = "org.dpdk.v22.11"
OLD_BLK, NEW_BLK = "org.qemu.storage-daemon.v7.2", "org.qemu.storage-daemon.v10.0"
OLD_FS, NEW_FS = "org.qemu.virtiofsd.v7.2", "org.qemu.virtiofsd.v1.13"
OLD_SLOTS, NEW_SLOTS = 32, 509


def version(program, *question):
    p = subprocess.run([*program, *question], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=30)
    m = re.search(r"(?:version|DPDK|virtiofsd) (\d+\.\d+(\.\d+)*)", p.stdout)
    check(m, f"version of {program[-1]}, which says {p.stdout[:600]!r}")
    return m[1]


def check_generations(what, old, new, *question):
    """These tests say something only if the two are what they are taken for."""
    question = question or ["--version"]
    versions = version(old, *question), version(new, *question)
    for got, want in zip(versions, GENERATIONS[what]):
        if not f"{got}.".startswith(f"{want}."):
            raise Skip(f"{what} {got} is here, not {want}")
    print(f"# {what}: {versions[0]} and {versions[1]}", flush=True)


def check_qemus():
    check_generations("qemu", [places.QEMU], debian13.qemu())


def old_guest(bench, devices, modules):
    return Guest(bench, "old-qemu", [*MACHINE, *devices], modules).boot()


def new_target(bench, devices, modules):
    return destination(bench, "new-qemu", [*MACHINE, *devices], modules, debian13.qemu())


def old_target(bench, devices, modules):
    return destination(bench, "old-qemu-again", [*MACHINE, *devices], modules)


def offered(path, what):
    with open(path) as f:
        return json.load(f)[what]


def serves(spec, offer, missing=()):
    """The answer of `vushim check`: yes, or no with the names of all that is missing."""
    status, said = ask("check", spec, "--offer", offer)
    equal(status, 1 if missing else 0, f"exit status of vushim check {spec}, which says {said!r}")
    names_all(said, missing, "vushim check")


# Network.

def start_testpmds(bench):
    hosts = []
    for name, program in (("old", None), ("new", debian13.testpmd())):
        path = bench.path(f"{name}.sock")
        Testpmd(bench, f"{name}-testpmd", vhost_port(path), program=program).ready()
        hosts.append(Host(bench, name, path, NET_PROFILE))
    return hosts


def travel(guest, target, features):
    """The guest pings while it moves, and then has the same features."""
    guest.out(f"guesttool ping {ECHO} 20 4000 >/tmp/ping & true")
    downtime = move(guest, target).downtime
    gap = int(target.values("wait; cat /tmp/ping")["gap_ms"])
    print(f"# to {target.name}: downtime {downtime} ms, longest gap between pings {gap} ms",
          flush=True)
    ping(target, f"after the migration to {target.name}")
    check_features(target, features)


def check_features(guest, features):
    equal(names("net", guest.features("virtio_net")), names("net", features),
          f"the guest's features on {guest.name}")


def set_up_card(guest):
    guest.out(f"ip link set eth0 up; ip addr add {GUEST}/24 dev eth0")
    ping(guest, f"on {guest.name}")


@test("generations-net-migration", seconds=240, needs=[*NET_NEEDS, BUILDER])
def net_migration(bench):
    """To the newer QEMU on the newer DPDK, where the guest also reboots, and back."""
    check_qemus()
    check_generations("dpdk", [places.TESTPMD], debian13.testpmd(), "-v", "--help")
    old, new = start_testpmds(bench)
    guest = old_guest(bench, net(old.front), "virtio_net")
    set_up_card(guest)
    features = guest.features("virtio_net")

    target = new_target(bench, net(new.front), "virtio_net")
    travel(guest, target, features)
    target.reboot()
    set_up_card(target)
    check_features(target, features)

    again = old_target(bench, net(old.front), "virtio_net")
    travel(target, again, features)
    equal(again.quit(), 0, "QEMU's exit status")
    old.shim.end_well()
    new.shim.end_well()


# Disks.

def start_storage(bench, name, image, program=None):
    path = bench.path(f"{name}.sock")
    Qsd(bench, path, image, f"{name}-storage", program=program)
    return path


@test("generations-blk-offers", seconds=120, needs=[places.QSD, BUILDER])
def blk_offers(bench):
    """The older has 32 memory slots, the newer 509: it alone can serve the newer version."""
    check_generations("storage", [places.QSD], debian13.storage_daemon())
    image = bench.image()
    old = Host(bench, "old", start_storage(bench, "old", image)).save_offer("blk")
    new = Host(bench, "new", start_storage(bench, "new", image, debian13.storage_daemon()))
    new = new.save_offer("blk")
    equal((offered(old, "mem_slots"), offered(new, "mem_slots")), (OLD_SLOTS, NEW_SLOTS),
          "memory slots that vushim probe shows")
    for offer in (old, new):
        serves(OLD_BLK, offer)
    serves(NEW_BLK, new)
    serves(NEW_BLK, old, [f"mem_slots {NEW_SLOTS} wanted, {OLD_SLOTS} offered"])


def carry(guest, target, features, before):
    """Nothing of what the guest writes meanwhile fails, and the rest of its disk is the same."""
    guest.out("guesttool io /dev/vda 10 4000 >/tmp/io & true")
    print(f"# to {target.name}: downtime {move(guest, target).downtime} ms", flush=True)
    io = target.values("wait; cat /tmp/io")
    equal((io["errors"], io["wrong"]), (0, 0), f"failures of {io['ops']} writes and reads")
    check_disk(target, features, before)


def check_disk(guest, features, before):
    equal(names("blk", guest.features("virtio_blk")), names("blk", features),
          f"the guest's features on {guest.name}")
    forget_cache(guest)
    equal(md5_inside(guest), before, f"the disk on {guest.name}")


@test("generations-blk-migration", seconds=240, needs=[places.QEMU, places.QSD, BUILDER])
def blk_migration(bench):
    """The older version's interface on both, for a guest that moves, reboots and moves back."""
    check_qemus()
    check_generations("storage", [places.QSD], debian13.storage_daemon())
    image = bench.image()
    old_path = start_storage(bench, "old", image)
    new_path = start_storage(bench, "new", image, debian13.storage_daemon())
    old = Host(bench, "old", old_path, OLD_BLK)
    guest = old_guest(bench, blk(old.front), "virtio_blk")
    features = guest.features("virtio_blk")
    guest.out(f"guesttool pat /dev/vda w 7 {MIB}", 120)
    before = md5_inside(guest)

    new = Host(bench, "new", new_path, OLD_BLK, ["--expect", old.save_state()])
    target = new_target(bench, blk(new.front), "virtio_blk")
    carry(guest, target, features, before)
    target.reboot()
    check_disk(target, features, before)

    again = old_target(bench, blk(old.front), "virtio_blk")
    carry(target, again, features, before)
    equal(again.quit(), 0, "QEMU's exit status")
    equal(md5_outside(image), before, "the image on the host")
    old.shim.end_well()
    new.shim.end_well()


# Shared folders: the two are too different for a guest to move, and vushim says so.

@test("generations-fs-offers", seconds=120, needs=[*FS_NEEDS, BUILDER])
def fs_offers(bench):
    check_generations("virtiofsd", [places.VIRTIOFSD], debian13.rust_virtiofsd())
    shared = bench.path("shared")
    old, new = bench.path("old.sock"), bench.path("new.sock")
    Virtiofsd(bench, old, shared, "old-virtiofsd")
    old = Host(bench, "old", old).save_offer("fs")
    RustVirtiofsd(bench, new, shared, debian13.rust_virtiofsd(), "new-virtiofsd")
    new = Host(bench, "new", new).save_offer("fs")
    equal((offered(old, "mem_slots"), offered(new, "mem_slots")), (OLD_SLOTS, NEW_SLOTS),
          "memory slots that vushim probe shows")
    serves(OLD_FS, old)
    serves(NEW_FS, new)
    serves(OLD_FS, new, ["notify_on_empty", "host_notifier"])
    serves(NEW_FS, old, ["reset_device", "device_state",
                         f"mem_slots {NEW_SLOTS} wanted, {OLD_SLOTS} offered"])
