# SPDX-License-Identifier: MIT
"""dpdk-testpmd on both sides: virtio-user as the front-end, net_vhost as the back-end."""
import re

import places
from backends import Testpmd, vhost_port, virtio_user_port
from features import mask, names
from line import Line
from proc import wait_for
from suite import check, test

NEEDS = [places.TESTPMD, "stdbuf"]
PROFILE = ("device=net,csum=on,guest_csum=on,mrg_rxbuf=on,version_1=on,in_order=on,"
           "queues=1,max_ring=256")
ENOUGH = 10000


def start_pair(bench, line):
    back = Testpmd(bench, "back", vhost_port(line.back), start=False).ready()
    front = Testpmd(bench, "front", virtio_user_port(line.front), start=False).ready()
    # Whoever sends before the back-end has taken the rings up sends nothing, for ever slowly.
    back.wait_log("virtio is now ready for processing")
    return front, back


def check_flow(sender, receiver):
    """Packets sent by one port arrive at the other one."""
    before = receiver.packets()[0]
    receiver.forward("rxonly")
    sender.forward("txonly")
    wait_for(lambda: receiver.packets()[0] - before > ENOUGH, 20,
             f"packets from {sender.name} to {receiver.name}")
    sender.halt()
    receiver.halt()


def negotiated(back):
    """The features that the front-end has set, as the back-end prints them."""
    return int(re.findall(r"negotiated Virtio features: (0x[0-9a-f]+)", back.log())[-1], 16)


@test("virtio-user-pinned", needs=NEEDS)
def pinned(bench):
    line = Line(bench, PROFILE)
    front, back = start_pair(bench, line)
    check_flow(front, back)
    check_flow(back, front)
    beyond = negotiated(back) & ~mask("net", PROFILE) & ~(1 << 30)
    check(not beyond, f"negotiated beyond the profile: {names('net', beyond)}")
    front.stop()
    line.shim.end_well()


def play(bench, line):
    front, back = start_pair(bench, line)
    check_flow(front, back)
    check_flow(back, front)
    front.stop()
