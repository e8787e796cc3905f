# SPDX-License-Identifier: MIT
"""Rows C5, C7, C22, C23: answers, and messages whose header or size is wrong."""
import time

import wire
from case import Offer
from harness import case
from peers import SLOW, Message, check
from wire import Front, Proto, bits, u64

FEATURES = u64(bits(30, 32))


def fault(t, side, data, ending, fds=0, before=None):
    """One bad message costs the life it was sent in, reaches nobody, and the next life is good."""
    t.spend()
    shim = t.shim
    front, back = t.pair()
    if before:
        before(front, back)
    since = shim.mark()
    bad, other = (front, back) if side == "front" else (back, front)
    own = [t.memfd() for _ in range(fds)]
    for part, part_fds in t.cutter.pieces(data, own):
        bad.raw(part, part_fds)
        t.cutter.pause()
    bad.ended()
    other.ended()
    line = shim.said(rf"dev0 {side}.*\[({ending})\]", since)
    for peer in (front, back):
        peer.close()
    return line


def asked(front, back):
    front.send(Front.GET_FEATURES)
    back.expect(Front.GET_FEATURES)


def answered(front, back):
    asked(front, back)
    back.answer(Front.GET_FEATURES, FEATURES)
    front.expect(Front.GET_FEATURES, payload=FEATURES)


@case({"pinned": {"profile": "host,max_ring=256", "seen": wire.REPLY},
       "host": {"profile": "host", "seen": 0xd}})
def C5_need_reply_bit_in_answer(t, profile, seen):
    """libvhost-user leaves bit 3 in its answers, QEMU wants exactly 0x5. Plain `host` is byte for
    byte transparent, so only a pinned device mends it."""
    t.start(profile)
    offer = Offer(bits(30, 32), 0x10cbf)
    front, back = t.pair(offer if profile != "host" else None)
    t.negotiate(front, back, offer)
    for request, answer in ((Front.GET_FEATURES, offer.features), (Front.GET_QUEUE_NUM, 4)):
        front.send(request, flags=wire.NEED_REPLY)
        back.expect(request, wire.NEED_REPLY)
        back.answer(request, u64(answer), flags=0xd, becomes=Message(request, seen, u64(answer)))
        front.expect(request, seen, u64(answer))


@case()
def C5_own_answer_and_need_reply(t):
    """A message with an answer of its own gets one answer, need_reply or not."""
    t.start()
    front, back = t.pair()
    t.negotiate(front, back)
    for _ in range(3):
        t.ask(front, back, Front.GET_FEATURES, answer=FEATURES, flags=wire.NEED_REPLY)
        t.ask(front, back, Front.GET_VRING_BASE, wire.state(1), wire.state(1, 9),
              flags=wire.NEED_REPLY)


WRONG_ANSWERS = {
    "twice": {"before": answered, "data": wire.reply(1, u64(0)), "ending": "UNASKED_REPLY"},
    "nothing_asked": {"before": None, "data": wire.reply(1, u64(0)), "ending": "UNASKED_REPLY"},
    "of_another": {"before": asked, "data": wire.reply(15, u64(0)), "ending": "WRONG_REPLY"},
    "unknown_number": {"before": asked, "data": wire.reply(999, u64(0)), "ending": "WRONG_REPLY"},
    "a_request": {"before": asked, "data": wire.message(1), "ending": "NOT_A_REPLY"},
    "request_unasked": {"before": None, "data": wire.message(1), "ending": "NOT_A_REPLY"},
    "too_short": {"before": asked, "data": wire.reply(1, bytes(4)), "ending": "WRONG_SIZE"},
    "too_long": {"before": asked, "data": wire.reply(1, bytes(12)), "ending": "WRONG_SIZE"},
    "empty": {"before": asked, "data": wire.reply(1), "ending": "WRONG_SIZE"},
    "with_fds": {"before": asked, "data": wire.reply(1, FEATURES), "ending": "BAD_DESCRIPTORS",
                 "fds": 2},
    "version_2": {"before": asked, "data": wire.reply(1, FEATURES, 6), "ending": "BAD_VERSION"},
    "version_0": {"before": asked, "data": wire.reply(1, FEATURES, 4), "ending": "BAD_VERSION"},
    "reserved_flags": {"before": asked, "data": wire.reply(1, FEATURES, 0x15),
                       "ending": "BAD_FLAGS"},
    "too_large": {"before": asked, "data": wire.header(1, 5, wire.MAX_PAYLOAD + 1) + bytes(20),
                  "ending": "TOO_LARGE"},
    "huge": {"before": asked, "data": wire.header(1, 5, 0xffffffff), "ending": "TOO_LARGE"},
}


@case(WRONG_ANSWERS)
def C5_wrong_answer(t, before, data, ending, fds=0):
    """An answer that nobody asked for, or not this one: the front-end never sees it, the back-end's
    connection ends, the next life is good."""
    t.start()
    fault(t, "back", data, ending, fds, before)
    t.life()


@case({"unasked": {"acked": False}, "asked": {"acked": True}})
def C5_ack_without_reply_ack(t, acked):
    """libvhost-user and DPDK acknowledge whenever need_reply is set, negotiated or not."""
    t.start()
    front, back = t.pair()
    if acked:
        t.negotiate(front, back)
    for _ in range(3):
        front.send(Front.SET_VRING_NUM, wire.state(0, 256), wire.NEED_REPLY)
        back.expect(Front.SET_VRING_NUM, wire.NEED_REPLY)
        back.answer(Front.SET_VRING_NUM, u64(0))
        front.expect(Front.SET_VRING_NUM, wire.REPLY, u64(0))
    t.works(front, back)


@case()
def C5_no_ack_without_reply_ack(t):
    """need_reply without REPLY_ACK may stay without an answer, and holds nothing up."""
    t.start()
    front, back = t.pair()
    for ring in range(3):
        front.send(Front.SET_VRING_NUM, wire.state(ring, 256), wire.NEED_REPLY)
        back.expect(Front.SET_VRING_NUM, wire.NEED_REPLY)
    t.works(front, back)


@case()
def C5_failure_ack_passes(t):
    """A back-end's refusal is passed on as it is, and the session goes on."""
    t.start()
    front, back = t.pair()
    t.negotiate(front, back)
    for value in (1, 0xffffffffffffffea):
        front.send(Front.SET_VRING_NUM, wire.state(0, 256), wire.NEED_REPLY)
        back.expect(Front.SET_VRING_NUM, wire.NEED_REPLY)
        back.answer(Front.SET_VRING_NUM, u64(value))
        front.expect(Front.SET_VRING_NUM, wire.REPLY, u64(value))


@case()
def C5_pipelined_answers(t):
    """Requests sent without waiting get their answers in order."""
    t.start()
    front, back = t.pair()
    t.negotiate(front, back)
    plan = [(Front.GET_FEATURES, b"", FEATURES), (Front.SET_VRING_NUM, wire.state(0, 8), u64(0)),
            (Front.GET_VRING_BASE, wire.state(3), wire.state(3, 7)), (46, b"", None),
            (Front.SET_OWNER, b"", u64(0)), (Front.GET_QUEUE_NUM, b"", u64(4))]
    for request, payload, _ in plan:
        front.send(request, payload, wire.NEED_REPLY if request in (8, 3) else wire.REQUEST)
    for request, payload, _ in plan:
        back.expect(request, payload=payload)
    for request, _, answer in plan:
        if answer is not None:
            back.answer(request, answer)
    for request, _, answer in plan:
        if answer is not None:
            front.expect(request, wire.REPLY, answer)


WRONG_REQUESTS = {
    "a_reply": {"data": wire.reply(1, u64(0)), "ending": "NOT_A_REQUEST"},
    "version_0": {"data": wire.message(1, flags=0), "ending": "BAD_VERSION"},
    "version_2": {"data": wire.message(1, flags=2), "ending": "BAD_VERSION"},
    "version_3": {"data": wire.message(1, flags=3), "ending": "BAD_VERSION"},
    "reserved_flags": {"data": wire.message(1, flags=0x11), "ending": "BAD_FLAGS"},
    "high_flag": {"data": wire.message(1, flags=0x80000001), "ending": "BAD_FLAGS"},
    "too_large": {"data": wire.header(1000, 1, wire.MAX_PAYLOAD + 1), "ending": "TOO_LARGE"},
    "huge": {"data": wire.header(5, 1, 0xffffffff), "ending": "TOO_LARGE"},
    "sign_bit": {"data": wire.header(5, 1, 0x80000000), "ending": "TOO_LARGE"},
    "reply_and_huge": {"data": wire.header(1, 5, 0xffffffff), "ending": "TOO_LARGE|NOT_A_REQUEST"},
    "table_count": {"data": wire.message(5, wire.mem_table(3)[:40]), "ending": "BAD_FIELD"},
    "table_huge_count": {"data": wire.message(5, b"\xff\xff\xff\xff" + bytes(36)),
                         "ending": "BAD_FIELD"},
    "config_inner": {"data": wire.message(24, wire.config(0, 256, bytes(4))),
                     "ending": "BAD_FIELD"},
    "config_header": {"data": wire.message(24, bytes(8)), "ending": "WRONG_SIZE"},
}


@case(WRONG_REQUESTS)
def wrong_request(t, data, ending):
    """A bad request costs the front-end's connection and is named."""
    t.start()
    fault(t, "front", data, ending)
    fault(t, "front", data, ending + "|BAD_DESCRIPTORS", fds=3)
    t.life()


FIXED_SIZE = [row for row in wire.ROWS if row.id not in (
    Front.SET_LOG_BASE, Front.SET_MEM_TABLE, Front.GET_INFLIGHT_FD, Front.SET_INFLIGHT_FD,
    Front.ADD_MEM_REG, Front.REM_MEM_REG,
    Front.GET_CONFIG, Front.SET_CONFIG, Front.CREATE_CRYPTO_SESSION, Front.GET_SHARED_OBJECT)]


@case({"shorter": {"change": -1}, "longer": {"change": 1}, "8_more": {"change": 8}}, repeat=1)
def wrong_size(t, change):
    """Every request of fixed size, with one byte less or more. (Some have more than one size.)"""
    t.start()
    for row in FIXED_SIZE:
        body = row.payload + bytes(max(change, 0))
        body = body[:change] if change < 0 else body
        if body != row.payload:
            line = fault(t, "front", wire.message(row.id, body), "WRONG_SIZE", row.fds)
            check(row.id.name in line, f"{row.id.name} not named in: {line}")
    t.life()


# --- configuration space

BLK = Offer(bits(2, 30, 32), bits(Proto.MQ, Proto.REPLY_ACK, Proto.CONFIG), queues=4)
WINDOWS = ((0, 60), (8, 8), (12, 4), (14, 2), (13, 1), (10, 3), (16, 4), (60, 4), (0, 12))


def overlaid(offset, data, at, value):
    """What a front-end must see of the answer `data` when the bytes at `at` are pinned."""
    seen = bytearray(data)
    for number, byte in enumerate(value):
        if 0 <= at + number - offset < len(seen):
            seen[at + number - offset] = byte
    return bytes(seen)


@case({"pinned": {"profile": "host,device=blk,config.seg_max=126", "value": b"\x7e\0\0\0"},
       "host": {"profile": "host", "value": b""}})
def C7_config_windows(t, profile, value):
    """seg_max is at 12..15: only an answer's bytes that fall there are the profile's."""
    t.start(profile)
    front, back = t.pair(BLK if value else None)
    t.negotiate(front, back, BLK)
    for offset, size in WINDOWS:
        for flags in (0, 1):
            data = bytes((0xa0 + offset + n) % 256 for n in range(size))
            t.ask(front, back, Front.GET_CONFIG, wire.config(offset, size, flags=flags),
                  wire.config(offset, size, data, flags),
                  sees=wire.config(offset, size, overlaid(offset, data, 12, value), flags))


@case({"pinned": {"profile": "host,device=blk,config.seg_max=126"}, "host": {"profile": "host"}})
def C7_config_errors_pass(t, profile):
    """SPDK, DPDK and libvhost-user say no with size 0, rust-vmm with an inner size of 0."""
    t.start(profile)
    front, back = t.pair(BLK if profile != "host" else None)
    t.negotiate(front, back, BLK)
    for answer in (b"", wire.config(0, 0), wire.config(8, 0)):
        t.ask(front, back, Front.GET_CONFIG, wire.config(0, 60), answer)


@case({"pinned": {"profile": "host,device=blk,config.seg_max=126"}, "host": {"profile": "host"}},
      repeat=1)
def C7_config_inner_size(t, profile):
    """An inner size beyond the payload is an error, not a read past the end."""
    shim = t.start(profile)
    for inner in (256, 5, 0xffffffff, 0x80000000):
        front, back = t.pair(BLK if profile != "host" else None)
        t.negotiate(front, back, BLK)
        front.send(Front.GET_CONFIG, wire.config(0, 4))
        back.expect(Front.GET_CONFIG)
        since = shim.mark()
        back.raw(wire.reply(Front.GET_CONFIG, wire.config(0, inner, b"abcd")))
        back.ended()
        front.ended()
        shim.said(r"back.*\[BAD_FIELD\]", since)
        front.close()
        back.close()


# --- an answer is a promise

@case({"host": {"profile": "host"}, "pinned": {"profile": "host,mq=off"}}, repeat=0)
def C22_ack_waits_for_back_end(t, profile):
    """An ack, and GET_FEATURES used as a fence, come when the back-end has acted: never before."""
    t.start(profile)
    offer = Offer(bits(30, 32), bits(Proto.REPLY_ACK))
    front, back = t.pair(offer if profile != "host" else None)
    t.negotiate(front, back, offer)
    front.send(Front.SET_VRING_CALL, u64(0), wire.NEED_REPLY, [t.eventfd()])
    front.quiet(0.3)
    back.expect(Front.SET_VRING_CALL)
    back.answer(Front.SET_VRING_CALL, u64(0))
    front.expect(Front.SET_VRING_CALL, payload=u64(0))
    front.send(Front.SET_VRING_ENABLE, wire.state(0, 1))
    front.send(Front.GET_FEATURES)
    front.quiet(0.3)
    back.expect(Front.SET_VRING_ENABLE)
    back.expect(Front.GET_FEATURES)
    back.answer(Front.GET_FEATURES, u64(offer.features))
    front.expect(Front.GET_FEATURES, payload=u64(offer.features))


@case(repeat=0, slow=True)
def C23_vring_base_takes_long(t):
    """GET_VRING_BASE may take minutes: it is waited for, and the log says who is waited for."""
    shim = t.start(extra=("--answer-within", "0.3"))
    front, back = t.pair()
    since = shim.mark()
    front.send(Front.GET_VRING_BASE, wire.state(1))
    back.expect(Front.GET_VRING_BASE)
    shim.said("GET_VRING_BASE", since)
    front.quiet(1.0)
    back.answer(Front.GET_VRING_BASE, wire.state(1, 0x0123))
    front.expect(Front.GET_VRING_BASE, payload=wire.state(1, 0x0123))
    t.works(front, back)
    lines = [line for line in shim.log()[since:].splitlines() if "GET_VRING_BASE" in line]
    check(len(lines) <= 4, f"one slow answer, {len(lines)} lines: {lines}")


@case({"at_once": {"half": b""}, "half_an_answer": {"half": wire.reply(11, bytes(8))[:15]}},
      repeat=0)
def C23_back_end_dies_in_vring_base(t, half):
    """The back-end dies with GET_VRING_BASE unanswered: the front-end is closed within a second
    and gets no invented index."""
    t.start()
    front, back = t.pair()
    front.send(Front.GET_VRING_BASE, wire.state(0))
    back.expect(Front.GET_VRING_BASE)
    time.sleep(0.1)
    back.raw(half)
    begin = time.monotonic()
    back.close()
    front.ended()
    check(time.monotonic() - begin < 1.0 * SLOW, "the front-end was closed late")
    t.links.clear()
    t.life()
