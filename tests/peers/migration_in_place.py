# SPDX-License-Identifier: MIT
"""A back-end is upgraded under a running guest, and the new one lacks what the guest uses.

This is how Open vSwitch lost guest_ecn and guest_ufo. The switch is a dpdk-testpmd behind a relay
that connects to its front-end by itself, as a dpdkvhostuserclient port does, and that offers less
after the upgrade.
"""
import re
import struct
import time

from backends import Testpmd, vhost_port
from features import mask, names
from guest import Guest, net
from line import Vushim
from migration_net import ping
from net import GUEST, NEEDS
from proc import wait_for
from recorder import Recorder
from suite import check, equal, test

PROFILE = "org.vushim.common-net.v1"
LOST = mask("net", "guest_ecn=on,guest_ufo=on")
LACKS = r"vhost lacks feature mask 0x([0-9a-f]+) for backend"


class Switch:
    def __init__(self, bench, name, front, testpmd):
        self.withheld = 0
        self.relay = Recorder(bench, name, ("connect", front), ("connect", testpmd), self._change)

    def _change(self, message):
        if message.name != "GET_FEATURES reply":
            return message.payload
        (features,) = struct.unpack("=Q", message.payload)
        return struct.pack("=Q", features & ~self.withheld)

    def upgrade(self):
        self.withheld = LOST
        self.relay.lives[-1].end()

    def lives(self):
        return len(self.relay.lives)


def start_guest(bench, name, path, switch_path, testpmd):
    """QEMU is the server, and waits for its back-end before it starts."""
    guest = Guest(bench, name, net(path, server=True), "virtio_net")
    guest.wait_path(path)
    switch = Switch(bench, f"{name}-switch", switch_path, testpmd)
    guest.boot()
    guest.out(f"ip link set eth0 up; ip addr add {GUEST}/24 dev eth0")
    ping(guest, "before the upgrade")
    return guest, switch


@test("migration-in-place-to-a-back-end-with-less", seconds=150, needs=NEEDS)
def in_place(bench):
    testpmd = bench.path("testpmd.sock")
    Testpmd(bench, "testpmd", vhost_port(testpmd)).ready()
    without_vushim(bench, testpmd)
    with_vushim(bench, testpmd)


def without_vushim(bench, testpmd):
    """QEMU turns the back-end away each time that it comes, and that goes on for ever."""
    path = bench.path("direct.sock")
    guest, switch = start_guest(bench, "direct", path, path, testpmd)
    equal(guest.features("virtio_net") & LOST, LOST, "what the guest uses of the old back-end")
    switch.upgrade()
    lacks = guest.wait_log(LACKS, 20, count=5)
    equal(names("net", int(lacks[1], 16)), names("net", LOST), "what QEMU misses")
    before, start = switch.lives(), time.monotonic()
    equal(guest.sh("guesttool ping 192.0.2.2 20 1000")[0], 1, "status of a ping, unanswered")
    equal(guest.out("cat /sys/class/net/eth0/carrier"), "0", "the guest's link")
    rate = (switch.lives() - before) / (time.monotonic() - start)
    check(rate > 1, f"connections a second: {rate}")
    print(f"# without vushim QEMU takes and drops {rate:.0f} connections a second", flush=True)
    switch.relay.stop()
    guest.kill()


def with_vushim(bench, testpmd):
    front, back = bench.path("pinned.sock"), bench.path("pinned-back.sock")
    shim = Vushim(bench, ("connect", front), ("listen", back), PROFILE)
    guest, switch = start_guest(bench, "pinned", front, back, testpmd)
    features, lives = guest.features("virtio_net"), switch.lives()
    equal(features & LOST, 0, "what the profile leaves out")
    switch.upgrade()
    wait_for(lambda: switch.lives() > lives, 20, "new back-end")
    ping(guest, "after the upgrade")
    equal(switch.lives(), lives + 1, "connections of the new back-end")
    equal(guest.features("virtio_net"), features, "the guest's features")
    check(not re.search(LACKS, guest.log()), "QEMU misses a feature")
    switch.relay.stop()
    shim.end_well()
    guest.kill()
