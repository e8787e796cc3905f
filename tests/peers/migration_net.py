# SPDX-License-Identifier: MIT
"""A pinging guest moves between two dpdk-testpmd, one of which offers more (tso=1).

The same journey without vushim and with it: to the back-end that offers more, back, there again;
then the guest reboots there, and wants to go back once more.
"""
import re
import statistics

import places
from backends import Testpmd, vhost_port
from features import mask, names
from guest import Guest, net
from moving import Host, destination, fail_to_move, move
from net import ECHO, GUEST, NEEDS
from suite import check, equal, test

PROFILE = "org.dpdk.v22.11"
TSO = mask("net", "host_tso4=on,host_tso6=on")
UNSUPPORTED = r"Features (0x[0-9a-f]+) unsupported\. Allowed features: (0x[0-9a-f]+)"


def start_guest(bench, name, host):
    guest = Guest(bench, name, net(host.front), "virtio_net").boot()
    guest.out(f"ip link set eth0 up; ip addr add {GUEST}/24 dev eth0")
    return guest


def ping(guest, what):
    """Answers within a few rounds: with two emulated machines at work, some come late."""
    for _ in range(6):
        if guest.values(f"guesttool ping {ECHO} 20 1000 || true").get("got", 0) >= 25:
            return
    check(False, f"pings are not answered {what}")


class Journey:
    """A guest on its way: it pings while it moves, and its features stay what they are."""

    def __init__(self, bench, name, host):
        self.bench, self.name, self.hops, self.downtimes, self.gaps = bench, name, 0, [], []
        self.guest = start_guest(bench, f"{name}0", host)
        ping(self.guest, "before any migration")
        self.features = self.guest.features("virtio_net")

    def target(self, host):
        self.hops += 1
        return destination(self.bench, f"{self.name}{self.hops}", net(host.front), "virtio_net")

    def move(self, host):
        target = self.target(host)
        self.guest.out(f"guesttool ping {ECHO} 20 4000 >/tmp/ping & true")
        self.downtimes.append(move(self.guest, target).downtime)
        self.guest = target
        self.gaps.append(int(target.values("wait; cat /tmp/ping")["gap_ms"]))
        ping(target, f"after the migration to {host.name}")
        equal(names("net", target.features("virtio_net")), names("net", self.features),
              f"the guest's features on {host.name}")

    def reboot(self):
        """A new driver negotiates from nothing."""
        self.guest.reboot()
        self.guest.out(f"ip link set eth0 up; ip addr add {GUEST}/24 dev eth0")
        self.features = self.guest.features("virtio_net")


def travel(bench, name, less, more):
    journey = Journey(bench, name, less)
    check(not journey.features & TSO, "the back-end with less offers no TSO")
    for host in (more, less, more):
        journey.move(host)
    return journey


def report(name, journey):
    print(f"# {name}: QEMU's downtime {statistics.median(journey.downtimes)} ms "
          f"{journey.downtimes}, longest gap between pings {journey.gaps} ms", flush=True)


def start_back_ends(bench):
    less, more = bench.path("less.sock"), bench.path("more.sock")
    started = [Testpmd(bench, "less", vhost_port(less)),
               Testpmd(bench, "more", vhost_port(more) + ",tso=1")]
    for testpmd in started:
        testpmd.ready()
    return ("less", less), ("more", more)


@test("migration-net-without-vushim", seconds=150, needs=NEEDS)
def without_vushim(bench):
    """The guest that reboots on the newer host picks up what that one offers, and is stuck."""
    less, more = (Host(bench, *end) for end in start_back_ends(bench))
    journey = travel(bench, "direct", less, more)
    report("without vushim", journey)
    journey.reboot()
    equal(journey.features & TSO, TSO, "TSO of the guest that has rebooted")

    said = fail_to_move(journey.guest, journey.target(less))
    features, allowed = (int(n, 16) for n in re.search(UNSUPPORTED, said).groups())
    equal(names("net", features & ~allowed), names("net", TSO), "what QEMU misses")
    check("load of migration failed: Operation not permitted" in said, "QEMU's error")
    ping(journey.guest, "by the source, which goes on")
    equal(journey.guest.quit(), 0, "QEMU's exit status")


@test("migration-net-and-back", seconds=150, needs=NEEDS)
def with_vushim(bench):
    """The same with one profile on both sides: the guest never sees which back-end it is on."""
    less, more = (Host(bench, *end, PROFILE) for end in start_back_ends(bench))
    journey = travel(bench, "pinned", less, more)
    report("with vushim", journey)
    before = journey.features
    journey.reboot()
    equal(names("net", journey.features), names("net", before), "features after a reboot")
    journey.move(less)
    equal(journey.guest.quit(), 0, "QEMU's exit status")
    less.shim.end_well()
    more.shim.end_well()
