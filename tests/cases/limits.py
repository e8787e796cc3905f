# SPDX-License-Identifier: MIT
"""Rows C39-C41: memory slots, ring sizes, indices, and that nothing grows."""
import itertools
import threading

import wire
from case import Offer
from harness import case
from peers import check
from policy import RING_MESSAGES, refused_by_close, refused_life
from shim import instrumented
from wire import Back, Front, Proto, bits, u64

SLOTS = bits(Proto.MQ, Proto.REPLY_ACK, Proto.CONFIGURE_MEM_SLOTS)


def add_regions(t, front, back, numbers):
    for number in numbers:
        fd = t.memfd()
        t.tell(front, back, Front.ADD_MEM_REG, wire.single_region(number), [fd])


@case({"more": {"told": 509}, "equal": {"told": 64}})
def C39_slots_shown(t, told):
    """The pinned number of memory slots is shown."""
    t.start("host,mem_slots=64")
    offer = Offer(bits(30, 32), SLOTS, slots=told)
    front, back = t.pair(offer)
    t.ask(front, back, Front.GET_MAX_MEM_SLOTS, answer=u64(told), sees=u64(64))


@case()
def C39_too_few_slots(t):
    """A back-end with fewer slots than pinned is refused by name."""
    t.start("host,mem_slots=64")
    refused_life(t, Offer(bits(30, 32), SLOTS, slots=32), "mem_slots", "64", "32")


@case(repeat=1)
def C39_regions_counted(t):
    """64 regions fit, the next does not; a removed one makes room, an unknown one does not."""
    shim = t.start("host,mem_slots=64")
    offer = Offer(bits(30, 32), SLOTS, slots=64)
    front, back = t.pair(offer)
    t.negotiate(front, back, offer)
    add_regions(t, front, back, range(64))
    for number in (200, 201):
        t.tell(front, back, Front.REM_MEM_REG, wire.single_region(number))
    front.send(Front.ADD_MEM_REG, wire.single_region(64), wire.NEED_REPLY, [t.memfd()], lost=True)
    front.refusal(Front.ADD_MEM_REG)
    for number in (63, 0, 31, 7, 40, 2, 55, 1, 62, 20):
        t.tell(front, back, Front.REM_MEM_REG, wire.single_region(number))
    add_regions(t, front, back, range(64, 74))
    since = shim.mark()
    front.send(Front.ADD_MEM_REG, wire.single_region(74), fds=[t.memfd()], lost=True)
    front.ended()
    back.ended()
    line = shim.said(r"front.*\[REFUSED\]", since)
    check("ADD_MEM_REG" in line and "64" in line, f"not named: {line}")


@case()
def C39_table_counts_too(t):
    """SET_MEM_TABLE replaces all regions, and is checked against the slots."""
    t.start("host,mem_slots=4")
    offer = Offer(bits(30, 32), SLOTS, slots=8)
    front, back = t.pair(offer)
    t.negotiate(front, back, offer)
    t.tell(front, back, Front.SET_MEM_TABLE, wire.mem_table(4), [t.memfd() for _ in range(4)])
    t.tell(front, back, Front.SET_MEM_TABLE, wire.mem_table(3), [t.memfd() for _ in range(3)])
    add_regions(t, front, back, [9])
    t.part(front, back)
    refused_by_close(t, offer, Front.SET_MEM_TABLE, wire.mem_table(5), "5", "4", fds=5)


@case()
def max_ring(t):
    """Rings up to max_ring pass; above they are refused, in SET_VRING_NUM and GET_INFLIGHT_FD."""
    t.start("host,max_ring=256")
    offer = Offer(bits(30, 32), bits(0, 3, Proto.INFLIGHT_SHMFD))
    front, back = t.pair(offer)
    t.negotiate(front, back, offer)
    for size in (1, 64, 256):
        t.tell(front, back, Front.SET_VRING_NUM, wire.state(0, size))
    t.ask(front, back, Front.GET_INFLIGHT_FD, wire.inflight(2, 256), wire.inflight(2, 256),
          answer_fds=[t.memfd()])
    t.part(front, back)
    for request, payload in ((Front.SET_VRING_NUM, wire.state(0, 512)),
                             (Front.SET_VRING_NUM, wire.state(0, 0x10100)),
                             (Front.SET_VRING_NUM, wire.state(0, 0xffffffff)),
                             (Front.GET_INFLIGHT_FD, wire.inflight(2, 512))):
        refused_by_close(t, offer, request, payload, "256",
                         before=lambda f, b: t.negotiate(f, b, offer))


WIDE = {"17_bits": 0x00010000, "sign": 0x80000000, "all_ones": 0xffffffff, "256": 256}


@case({name: {"index": index} for name, index in WIDE.items()})
def C40_index_before_narrowing(t, index):
    """An index is compared as it came, all its bits, with the number of rings."""
    t.start("host,device=net,queues=4")
    offer = Offer(bits(30, 32), 0x10cbf)

    def before(front, back):
        t.negotiate(front, back, offer)
    for request, payload, _ in RING_MESSAGES[:4]:
        refused_by_close(t, offer, request, payload(index), str(index), before=before)
    refused_by_close(t, offer, Front.GET_VRING_BASE, wire.state(index), str(index), before=before)
    t.life(offer)


@case({"9": {"value": 9}, "high_word": {"value": 0x100000000}, "bit_9": {"value": 0x200},
       "all_ones": {"value": 0xffffffffffffffff & ~wire.NOFD}})
def C40_ring_fd_index(t, value):
    """The u64 of KICK, CALL and ERR: all bits but the no-fd one count."""
    t.start("host,device=net,queues=4")
    offer = Offer(bits(30, 32), 0x10cbf)
    for request in (Front.SET_VRING_KICK, Front.SET_VRING_CALL, Front.SET_VRING_ERR):
        refused_by_close(t, offer, request, u64(value), fds=1)
        refused_by_close(t, offer, request, u64(value | wire.NOFD))


@case({"zero": {"queues": 0}, "above": {"queues": 257}, "most": {"queues": 0xffff}})
def C40_inflight_queue_count(t, queues):
    """num_queues of the inflight messages, from the front-end and in the back-end's answer."""
    t.start("host,device=blk,queues=4")
    offer = Offer(bits(30, 32), bits(0, 3, Proto.INFLIGHT_SHMFD), 4)

    def before(front, back):
        t.negotiate(front, back, offer)
    refused_by_close(t, offer, Front.SET_INFLIGHT_FD, wire.inflight(queues), fds=1, before=before)
    refused_by_close(t, offer, Front.GET_INFLIGHT_FD, wire.inflight(queues), before=before)
    front, back = t.pair(offer)
    before(front, back)
    front.send(Front.GET_INFLIGHT_FD, wire.inflight(4))
    back.expect(Front.GET_INFLIGHT_FD)
    fd = t.memfd()
    if queues:
        back.answer(Front.GET_INFLIGHT_FD, wire.inflight(queues), [fd], lost=True)
        front.ended()
        back.ended()
    else:                       # yc-libvhost-server answers with zeroes
        back.answer(Front.GET_INFLIGHT_FD, wire.inflight(0), [fd])
        front.expect(Front.GET_INFLIGHT_FD, payload=wire.inflight(0), fds=[fd])


@case({"plain": {"flags": wire.REQUEST}, "need_reply": {"flags": wire.NEED_REPLY}})
def C40_channel_index(t, flags):
    """The index of the host notifier message, which comes from the back-end."""
    shim = t.start("host,device=net,queues=4")
    offer = Offer(bits(30, 32), 0x10cbf)
    front, back = t.pair(offer)
    t.negotiate(front, back, offer)
    to_front, to_back = t.channel(front, back)
    to_back.send(Back.VRING_HOST_NOTIFIER_MSG, wire.notifier(7 | wire.NOFD))
    to_front.expect(Back.VRING_HOST_NOTIFIER_MSG)
    since = shim.mark()
    to_back.send(Back.VRING_HOST_NOTIFIER_MSG, wire.notifier(0x0e0f), flags, [t.memfd()], lost=True)
    if flags == wire.NEED_REPLY:
        to_back.refusal(Back.VRING_HOST_NOTIFIER_MSG)
        t.works(front, back, offer.features)
    else:
        to_back.ended()
    line = shim.said("REFUSED", since)
    check("VRING_HOST_NOTIFIER_MSG" in line, f"not named: {line}")
    to_front.drain_now()
    check(len(to_front.received) == 1, f"the front-end got {to_front.received}")


@case()
def C40_host_checks_no_index(t):
    """Plain `host` pins nothing: any index that a virtqueue can have passes, and is not used as
    one."""
    t.start("host")
    front, back = t.pair()
    for index in (256, 1023, 1024, 0x8000, 0xffff):
        for request, payload, _ in RING_MESSAGES[:4]:
            t.tell(front, back, request, payload(index))
    t.works(front, back)


def counted(t, front, back, messages, count):
    """Sends so many of these from a thread and counts at the back-end."""
    wires = [wire.message(request, payload) for request, payload in messages]

    def sender():
        for number in range(0, count, 100):
            front.raw(b"".join(itertools.islice(itertools.cycle(wires), number, number + 100)))

    thread = threading.Thread(target=sender, daemon=True)
    thread.start()
    for number in range(count):
        request, payload = messages[number % len(messages)]
        got = back.expect(request, own=True)
        check(got.payload == payload, f"message {number} came out of order: {got}")
    thread.join()


REPEATED = {
    "SET_VRING_NUM": [(Front.SET_VRING_NUM, wire.state(0, 256))],
    "SET_VRING_ADDR": [(Front.SET_VRING_ADDR, wire.ring_addr(0))],
    "SET_CONFIG": [(Front.SET_CONFIG, wire.config(offset, 256)) for offset in range(0, 1000, 40)],
    "IOTLB_MSG": [(Front.IOTLB_MSG, wire.iotlb(n << 12, 2)) for n in range(5000)],
    "unknown": [(1000 + n, bytes(n % 200)) for n in range(1000)],
}


@case({name: {"name": name} for name in REPEATED}, repeat=0, slow=True)
def C41_repeated_message(t, name, count=10000):
    """A harmless message again and again: vushim remembers a bounded state only."""
    shim = t.start()
    front, back = t.pair()
    t.negotiate(front, back)
    counted(t, front, back, REPEATED[name], 1000)
    before = shim.rss()
    counted(t, front, back, REPEATED[name], count)
    limit = (4 if instrumented() else 1) << 20
    check(shim.rss() - before < limit, f"memory grew by {shim.rss() - before} bytes")


@case(repeat=0, slow=True)
def C41_questions_never_answered(t):
    """Requests whose answer never comes pile up in nobody's memory without bound: either vushim
    stops reading, or what it keeps is small."""
    shim = t.start()
    front, back = t.pair()
    before = shim.rss()

    def sender():
        for _ in range(20000):
            if not front.raw(wire.message(46, b"", wire.NEED_REPLY)):
                return

    thread = threading.Thread(target=sender, daemon=True)
    thread.start()
    for _ in range(20000):
        back.expect(46, own=True)
    thread.join()
    check(shim.rss() - before < 8 << 20, f"memory grew by {shim.rss() - before} bytes")
    t.works(front, back)


@case(repeat=0)
def C41_log_is_limited(t):
    """A fault that a peer can repeat without losing its connection does not fill the log."""
    shim = t.start("host,max_ring=256")
    offer = Offer(bits(30, 32), 0x10cbf)
    front, back = t.pair(offer)
    t.negotiate(front, back, offer)
    since = shim.mark()
    for _ in range(500):
        front.send(Front.SET_VRING_NUM, wire.state(0, 512), wire.NEED_REPLY, lost=True)
        front.refusal(Front.SET_VRING_NUM)
    lines = shim.log()[since:].splitlines()
    check(0 < len(lines) <= 100, f"500 refusals made {len(lines)} log lines")
    t.works(front, back, offer.features)
