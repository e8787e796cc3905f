# SPDX-License-Identifier: MIT
"""Known attacks on back-ends end at vushim, with their own reason, and the back-end sees nothing of
them. All are played on a device that pins nothing, where vushim has least to say, unless the number
of virtqueues is what the attack is about."""
import struct

import wire
from case import Offer
from harness import case
from peers import check
from policy import refused_by_close
from replies import fault
from wire import Back, Front, Proto, bits, u64

TOP = 1 << 64


def region(guest=0x1000000, size=0x1000, user=0x7f0000000000, offset=0):
    return struct.pack("=QQQQ", guest % TOP, size % TOP, user % TOP, offset % TOP)


def table(*regions):
    return struct.pack("=II", len(regions), 0) + b"".join(regions)


@case({"get_with_8": {"request": Front.GET_INFLIGHT_FD, "fds": 8},
       "get_with_1": {"request": Front.GET_INFLIGHT_FD, "fds": 1},
       "get_with_253": {"request": Front.GET_INFLIGHT_FD, "fds": 253},
       "set_with_8": {"request": Front.SET_INFLIGHT_FD, "fds": 8},
       "set_with_2": {"request": Front.SET_INFLIGHT_FD, "fds": 2},
       "set_with_253": {"request": Front.SET_INFLIGHT_FD, "fds": 253}})
def CVE_2022_0669(t, request, fds):
    """Descriptors on in-flight messages, which DPDK never closed: until it had none left."""
    shim = t.start()
    line = fault(t, "front", wire.message(request, wire.inflight(2)), "BAD_DESCRIPTORS", fds,
                 before=lambda front, back: t.negotiate(front, back))
    check(request.name in line, f"not named: {line}")
    check(not [n for n in shim.fds().values() if "memfd" in n], "descriptors stay")
    t.life()


@case({str(request): {"request": request} for request in (
    Front.GET_FEATURES, Front.SET_OWNER, Front.SET_VRING_NUM, Front.SET_VRING_BASE)})
def CVE_2019_14818(t, request):
    """The same on messages that carry none at all."""
    t.start()
    row = next(row for row in wire.ROWS if row.id == request)
    line = fault(t, "front", wire.message(request, row.payload), "BAD_DESCRIPTORS", 8)
    check(request.name in line, f"not named: {line}")
    t.life()


@case({"by_one": {"size": 0x1000, "offset": TOP - 0xfff}, "huge": {"size": TOP - 1, "offset": 2},
       "halves": {"size": 1 << 63, "offset": (1 << 63) + 1}})
def CVE_2020_10722(t, size, offset):
    """A log whose size and offset add up to little: DPDK mapped too little of it."""
    t.start()
    line = fault(t, "front", wire.message(Front.SET_LOG_BASE, wire.log_base(size, offset)),
                 "BAD_SPAN", 1)
    check("SET_LOG_BASE" in line, f"not named: {line}")
    t.life()


INDEXED = {
    "SET_VRING_NUM": lambda index: wire.state(index, 256),
    "SET_VRING_ADDR": wire.ring_addr,
    "SET_VRING_BASE": wire.state,
    "GET_VRING_BASE": wire.state,
    "SET_VRING_ENABLE": lambda index: wire.state(index, 1),
}


@case({name: {"name": name} for name in INDEXED})
def CVE_2020_10723(t, name):
    """A virtqueue's number of which 16 bits look good."""
    t.start()
    request = Front[name]
    for index in (0x10000, 0x10001, 0x7fff0000, 0x80000000, 0xffffffff):
        t.spend()
        since = t.shim.mark()
        front, back = t.pair()
        front.send(request, INDEXED[name](index), lost=True)
        front.ended()
        back.ended()
        line = t.shim.said(r"front.*\[REFUSED\]", since)
        check(name in line and str(index) in line, f"not named: {line}")
        for peer in (front, back):
            peer.close()
    front, back = t.pair()                  # 16 bits are the virtio specification's
    if name != "GET_VRING_BASE":
        t.tell(front, back, request, INDEXED[name](0xffff))
    t.works(front, back)


@case(repeat=0)
def CVE_2020_10723_can_be_told(t):
    """Who asked for an acknowledgement gets a failure, and keeps the connection."""
    t.start()
    front, back = t.pair()
    t.negotiate(front, back)
    front.send(Front.SET_VRING_NUM, wire.state(0x10000, 256), wire.NEED_REPLY, lost=True)
    front.refusal(Front.SET_VRING_NUM)
    t.works(front, back)


@case({"many": {"queues": 0xffff}, "one_more": {"queues": 5}, "none": {"queues": 0}})
def CVE_2021_3839(t, queues):
    """An in-flight region for more virtqueues than there are: DPDK wrote behind its array. How many
    there are only a pinned device knows."""
    t.start("host,device=blk,queues=4")
    offer = Offer(bits(30, 32), bits(0, 3, Proto.INFLIGHT_SHMFD), 4)
    refused_by_close(t, offer, Front.SET_INFLIGHT_FD, wire.inflight(queues), fds=1,
                     before=lambda front, back: t.negotiate(front, back, offer))


SIZES = {
    "empty": (Front.SET_VRING_NUM, b""), "short": (Front.SET_VRING_ADDR, bytes(39)),
    "long": (Front.SET_VRING_BASE, bytes(9)), "short_table": (Front.SET_MEM_TABLE, bytes(7)),
    "of_another": (Front.SET_FEATURES, bytes(40)), "inflight": (Front.SET_INFLIGHT_FD, bytes(19)),
    "crypto": (Front.CREATE_CRYPTO_SESSION, bytes(631)), "status": (Front.SET_STATUS, bytes(4)),
}


@case({name: {"name": name} for name in SIZES})
def wrong_payload_size(t, name):
    """A payload of another size than its message has."""
    t.start()
    request, payload = SIZES[name]
    line = fault(t, "front", wire.message(request, payload), "WRONG_SIZE")
    check(request.name in line, f"not named: {line}")
    t.life()


WRAPS = {
    "guest": region(guest=TOP - 0x1000, size=0x1001),
    "guest_at_the_top": region(guest=TOP - 1, size=2),
    "user": region(user=TOP - 0x800),
    "offset": region(offset=TOP - 0x800),
    "size": region(size=TOP - 1),
    "halves": region(guest=(1 << 63) + 0x1000, size=1 << 63, user=0),
}


@case({name: {"name": name} for name in WRAPS})
def region_that_wraps_around(t, name):
    """A memory region beyond the last address, alone, in a table, and behind good ones."""
    t.start()
    bad = WRAPS[name]
    for request, payload, fds in (
            (Front.ADD_MEM_REG, u64(0) + bad, 1), (Front.REM_MEM_REG, u64(0) + bad, 0),
            (Front.SET_MEM_TABLE, table(bad), 1),
            (Front.SET_MEM_TABLE, table(region(), region(guest=0), bad), 3)):
        line = fault(t, "front", wire.message(request, payload), "BAD_SPAN", fds)
        check(request.name in line, f"not named: {line}")
    t.life()


@case()
def regions_up_to_the_last_address(t):
    """The last byte that there is may be named."""
    t.start()
    front, back = t.pair()
    t.tell(front, back, Front.ADD_MEM_REG,
           u64(0) + region(guest=TOP - 0x1000, user=TOP - 0x1000, offset=TOP - 0x1000), [t.memfd()])
    t.tell(front, back, Front.SET_MEM_TABLE, table(region(guest=0, user=0, size=0)), [t.memfd()])
    t.works(front, back)


@case({"offset": {"payload": wire.notifier(1, 0x1000, TOP - 0x800)},
       "size": {"payload": wire.notifier(1, TOP - 1, 2)}})
def back_end_that_wraps_around(t, payload):
    """The front-end is shielded from its back-end, too."""
    shim = t.start()
    front, back = t.pair()
    t.negotiate(front, back)
    _, to_back = t.channel(front, back)
    since = shim.mark()
    to_back.send(Back.VRING_HOST_NOTIFIER_MSG, payload, fds=[t.memfd()], lost=True)
    to_back.ended()
    shim.said(r"back channel.*VRING_HOST_NOTIFIER_MSG.*\[BAD_SPAN\]", since)
