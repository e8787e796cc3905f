# SPDX-License-Identifier: MIT
"""Open vSwitch with DPDK: a dpdkvhostuserclient port, which connects by itself, and a guest that
pings the switch's own address through it."""
import places
from guest import Guest, net
from line import Line
from net import check_features, check_ping
from ovs import ADDRESS, PROGRAMS, Ovs
from proc import wait_for
from suite import equal, test

NEEDS = [places.QEMU, *PROGRAMS]
PROFILE = ("device=net,guest_csum=on,mrg_rxbuf=on,indirect_desc=on,version_1=on,"
           "queues=1,max_ring=1024")


def play(bench, line, server=True, check=lambda guest: None):
    """server: QEMU listens, as it must when the switch is connected to it directly."""
    switch = Ovs(bench)
    switch.add_client_port(line.back)
    guest = Guest(bench, "guest", net(line.front, server=server), "virtio_net").boot()
    check(guest)
    wait_for(switch.link_is_up, 20, "link of the switch's port")
    switch.open_address()
    check_ping(guest, ADDRESS)
    equal(guest.quit(), 0, "QEMU's exit status")


@test("ovs-pinned", seconds=120, needs=NEEDS)
def pinned(bench):
    """Both connect to vushim: QEMU as a client, the switch as a client."""
    line = Line(bench, PROFILE, dials=("front", "back"))
    play(bench, line, server=False, check=lambda guest: check_features(guest, PROFILE))
    line.shim.end_well()
