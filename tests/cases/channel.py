# SPDX-License-Identifier: MIT
"""Rows C20, C21: the back-end channel, beside the main socket and never behind it."""
import os
import signal
import threading
import time

import wire
from case import EVERYTHING, Offer
from harness import case
from peers import SLOW, Message, check, until
from wire import Back, Front, bits, u64

FEATURES = u64(bits(30, 32))


def ready(t, extra=(), profile="host"):
    """A negotiated session with a channel."""
    t.start(profile, extra=extra)
    offer = EVERYTHING if profile == "host" else Offer(bits(30, 32), 0x10ebf)
    front, back = t.pair(offer if profile != "host" else None)
    t.negotiate(front, back, offer)
    return front, back, *t.channel(front, back)


@case({"plain": {"flags": wire.REQUEST}, "need_reply": {"flags": wire.NEED_REPLY}})
def C20_every_channel_message(t, flags):
    """All messages of the channel, with descriptors and answers, both ways."""
    _, _, to_front, to_back = ready(t)
    for row in wire.CHANNEL_ROWS:
        fds = [t.memfd() for _ in range(row.fds)]
        to_back.send(row.id, row.payload, flags, fds)
        to_front.expect(row.id, flags, row.payload, fds=fds)
        if row.answer is not None or flags == wire.NEED_REPLY:
            fds = [t.memfd() for _ in range(row.answer_fds)]
            to_front.answer(row.id, row.answer or u64(0), fds)
            to_back.expect(row.id, wire.REPLY, row.answer or u64(0), fds=fds)


@case({"ack_asked": {"flags": wire.NEED_REPLY}, "no_ack": {"flags": wire.REQUEST}})
def C20_set_channel(t, flags):
    """SET_BACKEND_REQ_FD gives the back-end a socket of vushim's own, with or without an ack."""
    t.start()
    front, back = t.pair()
    t.negotiate(front, back)
    to_front, to_back = t.channel(front, back, flags)
    to_back.send(Back.CONFIG_CHANGE_MSG)
    to_front.expect(Back.CONFIG_CHANGE_MSG, wire.REQUEST, b"")


@case()
def C20_request_inside_a_request(t):
    """The back-end waits for the channel's ack before it answers the main socket."""
    front, back, to_front, to_back = ready(t)
    begin = time.monotonic()
    front.send(Front.GET_VRING_BASE, wire.state(0))
    back.expect(Front.GET_VRING_BASE)
    to_back.send(Back.IOTLB_MSG, wire.iotlb(0x1000, 1), wire.NEED_REPLY)
    to_front.expect(Back.IOTLB_MSG, wire.NEED_REPLY)
    to_front.answer(Back.IOTLB_MSG, u64(0))
    to_back.expect(Back.IOTLB_MSG, wire.REPLY, u64(0))
    back.answer(Front.GET_VRING_BASE, wire.state(0, 3))
    front.expect(Front.GET_VRING_BASE, payload=wire.state(0, 3))
    check(time.monotonic() - begin < 1.0 * SLOW, "it took longer than a second")


@case()
def C20_main_request_inside_a_channel_request(t):
    """The front-end asks on the main socket before it answers on the channel, as after a change
    of the configuration."""
    front, back, to_front, to_back = ready(t)
    to_back.send(Back.CONFIG_CHANGE_MSG, flags=wire.NEED_REPLY)
    to_front.expect(Back.CONFIG_CHANGE_MSG)
    t.ask(front, back, Front.GET_CONFIG, wire.config(0, 8), wire.config(0, 8, b"capacity"))
    to_front.answer(Back.CONFIG_CHANGE_MSG, u64(0))
    to_back.expect(Back.CONFIG_CHANGE_MSG, wire.REPLY, u64(0))


@case(repeat=0)
def C20_channel_flooded(t):
    """Two thousand requests that the front-end does not read: the main socket answers at once."""
    front, back, to_front, to_back = ready(t)
    count = 2000

    def flood():
        for number in range(count):
            to_back.send(Back.IOTLB_MSG, wire.iotlb(number << 12, 1))

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    end = time.monotonic() + 1.0
    slowest = 0.0
    while time.monotonic() < end:
        begin = time.monotonic()
        t.works(front, back)
        slowest = max(slowest, time.monotonic() - begin)
        time.sleep(0.01)
    check(slowest < 0.3 * SLOW, f"the main socket took {slowest:.2f} s")
    for number in range(count):
        to_front.expect(Back.IOTLB_MSG, payload=wire.iotlb(number << 12, 1))
    thread.join()


@case(repeat=0)
def C20_main_socket_full(t):
    """The back-end reads only its channel for a while: the channel works all the same."""
    front, back, to_front, to_back = ready(t)
    count = 3000

    def flood():
        for number in range(count):
            front.send(Front.SET_VRING_ADDR, wire.ring_addr(number % 4, number << 12))

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    time.sleep(0.3)
    for _ in range(20):
        to_back.send(Back.CONFIG_CHANGE_MSG, flags=wire.NEED_REPLY)
        to_front.expect(Back.CONFIG_CHANGE_MSG, patience=1.0 * SLOW)
        to_front.answer(Back.CONFIG_CHANGE_MSG, u64(0))
        to_back.expect(Back.CONFIG_CHANGE_MSG, wire.REPLY, patience=1.0 * SLOW)
    for number in range(count):
        back.expect(Front.SET_VRING_ADDR, payload=wire.ring_addr(number % 4, number << 12))
    thread.join()


@case()
def C20_channel_pipelined(t):
    """Several requests under way on the channel get their answers in order."""
    _, _, to_front, to_back = ready(t)
    plan = [(Back.IOTLB_MSG, wire.iotlb(0x1000, 1), 9), (Back.CONFIG_CHANGE_MSG, b"", 1),
            (Back.CONFIG_CHANGE_MSG, b"", 9), (Back.SHARED_OBJECT_LOOKUP, bytes(16), 1)]
    for request, payload, flags in plan:
        to_back.send(request, payload, flags)
    for request, payload, flags in plan:
        to_front.expect(request, flags, payload)
    for number, (request, _, flags) in enumerate(plan):
        if flags == 9 or request == Back.SHARED_OBJECT_LOOKUP:
            to_front.answer(request, u64(number))
            to_back.expect(request, wire.REPLY, u64(number))


@case()
def C20_unknown_on_channel(t):
    """Unknown numbers pass on the channel too, with their descriptors."""
    _, _, to_front, to_back = ready(t)
    for number in (0, 11, 12, 1000, 0xffffffff):
        for count in (0, 2):
            fds = [t.memfd() for _ in range(count)]
            to_back.send(number, bytes(40), fds=fds)
            to_front.expect(number, wire.REQUEST, bytes(40), fds=fds)
    to_back.send(1001, b"", wire.NEED_REPLY)
    to_front.expect(1001, wire.NEED_REPLY)
    to_front.answer(1001, u64(0))
    to_back.expect(1001, wire.REPLY, u64(0))


@case({"back_reply_unasked": {"side": "back", "data": wire.reply(2, u64(0))},
       "back_version": {"side": "back", "data": wire.message(2, flags=2)},
       "back_too_large": {"side": "back", "data": wire.header(2, 1, 0xfffffff0)},
       "back_wrong_size": {"side": "back", "data": wire.message(1, bytes(31))},
       "back_descriptors": {"side": "back", "data": wire.message(2), "fds": 1},
       "back_notifier_fds": {"side": "back", "data": wire.message(3, wire.notifier(0)), "fds": 0},
       "front_request": {"side": "front", "data": wire.message(2)},
       "front_unasked": {"side": "front", "data": wire.reply(2, u64(0))},
       "front_half": {"side": "front", "data": wire.reply(2, u64(0))[:7], "leaves": True},
       "back_half": {"side": "back", "data": wire.message(1, bytes(32))[:20], "leaves": True}})
def channel_fault(t, side, data, fds=0, leaves=False):
    """A bad message on the channel reaches nobody; its descriptors are closed, vushim lives."""
    front, back, to_front, to_back = ready(t)
    bad, other = (to_back, to_front) if side == "back" else (to_front, to_back)
    bad.raw(data, [t.memfd() for _ in range(fds)])
    if leaves:
        bad.close()
    else:
        bad.ended()
    until(lambda: "memfd" not in str(t.shim.fds()), "the descriptors to be closed")
    other.drain_now()
    check(not other.received, f"{other.name} got {other.received}")
    for peer in (to_front, to_back, front, back):
        peer.close()
    t.links.clear()
    t.life()


@case({"front": {"side": "front"}, "back": {"side": "back"}})
def channel_closed(t, side):
    """One end of the channel closes while the main socket goes on: so does the session."""
    front, back, to_front, to_back = ready(t)
    (to_front if side == "front" else to_back).close()
    for _ in range(3):
        t.works(front, back)


@case()
def channel_replaced(t):
    """A second SET_BACKEND_REQ_FD takes the first one's place."""
    front, back, old_front, old_back = ready(t)
    count = len(t.shim.fds())
    new_front, new_back = t.channel(front, back)
    new_back.send(Back.CONFIG_CHANGE_MSG, flags=wire.NEED_REPLY)
    new_front.expect(Back.CONFIG_CHANGE_MSG)
    new_front.answer(Back.CONFIG_CHANGE_MSG, u64(0))
    new_back.expect(Back.CONFIG_CHANGE_MSG, wire.REPLY)
    old_front.ended()
    old_back.ended()
    until(lambda: len(t.shim.fds()) <= count, "the old channel to be closed")


@case()
def channel_ends_with_its_life(t):
    """The channel's sockets close with the session, on both sides."""
    front, back, to_front, to_back = ready(t)
    front.close()
    back.ended()
    to_front.ended()
    to_back.ended()


@case({"channel_only": {"dies": False}, "dies": {"dies": True}}, repeat=0)
def channel_last_words(t, dies):
    """Whole channel messages that were on the way when the back-end left still arrive."""
    front, back, to_front, to_back = ready(t)
    t.shim.process.send_signal(signal.SIGSTOP)
    for number in range(10):
        to_back.send(Back.IOTLB_MSG, wire.iotlb(number << 12, 1))
    to_back.close()
    if dies:
        back.close()
    t.shim.process.send_signal(signal.SIGCONT)
    for number in range(10):
        to_front.expect(Back.IOTLB_MSG, payload=wire.iotlb(number << 12, 1))
    to_front.ended()
    if dies:
        front.ended()
    else:
        t.works(front, back)


@case()
def pipe_instead_of_socket(t):
    """UML hands over a pipe: it reaches the back-end untouched."""
    t.start()
    front, back = t.pair()
    t.negotiate(front, back)
    reader, writer = t.pipe()
    front.send(Front.SET_BACKEND_REQ_FD, fds=[writer])
    got = back.expect(Front.SET_BACKEND_REQ_FD)
    check(wire.identity(got.fds[0]) == wire.identity(writer), "not the same pipe")
    os.write(got.fds[0], wire.message(Back.CONFIG_CHANGE_MSG))
    check(os.read(reader, 100) == wire.message(Back.CONFIG_CHANGE_MSG), "the pipe does not work")
    t.works(front, back)


@case()
def gpu_socket_passes(t):
    """GPU_SET_SOCKET's socket speaks another protocol: it passes untouched."""
    t.start()
    front, back = t.pair()
    ours, theirs = t.socketpair()
    front.send(Front.GPU_SET_SOCKET, fds=[theirs.fileno()])
    got = back.expect(Front.GPU_SET_SOCKET, fds=[theirs.fileno()])
    os.write(got.fds[0], wire.message(3, flags=0))
    check(ours.recv(100) == wire.message(3, flags=0), "the GPU socket does not work")
    t.works(front, back)


@case(repeat=0)
def C21_front_end_never_acknowledges(t):
    """After the limit the device is named and the back-end gets a failure, once; the late ack is
    swallowed, the next request is matched correctly, the main socket never notices."""
    front, back, to_front, to_back = ready(t, ("--channel-answer-within", "0.5"))
    since = t.shim.mark()
    to_back.send(Back.CONFIG_CHANGE_MSG, flags=wire.NEED_REPLY)
    to_front.expect(Back.CONFIG_CHANGE_MSG)
    t.works(front, back)
    to_back.quiet(0.3)
    to_back.refusal(Back.CONFIG_CHANGE_MSG)
    t.shim.said("CONFIG_CHANGE_MSG", since, patience=1.0 * SLOW)
    t.works(front, back)
    to_front.answer(Back.CONFIG_CHANGE_MSG, u64(0), lost=True)
    to_back.quiet(0.1)
    to_back.send(Back.IOTLB_MSG, wire.iotlb(0x2000, 1), wire.NEED_REPLY)
    to_front.expect(Back.IOTLB_MSG)
    to_front.answer(Back.IOTLB_MSG, u64(0))
    to_back.expect(Back.IOTLB_MSG, wire.REPLY, u64(0))


@case(repeat=0)
def C21_slow_but_in_time(t):
    """An ack within the limit is the front-end's own."""
    _, _, to_front, to_back = ready(t, ("--channel-answer-within", str(2 * SLOW)))
    to_back.send(Back.CONFIG_CHANGE_MSG, flags=wire.NEED_REPLY)
    to_front.expect(Back.CONFIG_CHANGE_MSG)
    to_back.quiet(0.4)
    to_front.answer(Back.CONFIG_CHANGE_MSG, u64(7))
    to_back.expect(Back.CONFIG_CHANGE_MSG, wire.REPLY, u64(7))


@case({"pinned": {"profile": "host,max_ring=256", "seen": wire.REPLY},
       "host": {"profile": "host", "seen": 0xd}})
def C5_channel_need_reply_bit_in_answer(t, profile, seen):
    """A front-end's ack with bit 3 set, as on the main socket."""
    _, _, to_front, to_back = ready(t, profile=profile)
    to_back.send(Back.CONFIG_CHANGE_MSG, flags=wire.NEED_REPLY)
    to_front.expect(Back.CONFIG_CHANGE_MSG)
    to_front.answer(Back.CONFIG_CHANGE_MSG, u64(0), flags=0xd,
                    becomes=Message(Back.CONFIG_CHANGE_MSG, seen, u64(0)))
    to_back.expect(Back.CONFIG_CHANGE_MSG, seen, u64(0))
