# SPDX-License-Identifier: MIT
"""Rows C1-C4, C6: messages in pieces, glued, cut short, unknown."""
import random
import re
import signal
import threading
import time

import wire
from harness import case
from peers import check
from wire import Front, bits, u64

FEATURES = u64(bits(30, 32))


def cut(peer, data, at, fds=(), pause=0.001):
    """Writes data in pieces that vushim sees one by one; descriptors with the first."""
    edges = [0, *at, len(data)]
    for begin, end in zip(edges, edges[1:]):
        peer.raw(data[begin:end], fds if begin == 0 else ())
        time.sleep(pause)


def sent_in_pieces(peer, at, request, payload, flags=wire.REQUEST, fds=()):
    """A message written in pieces, known to the flow check as one message."""
    cut(peer, wire.message(request, payload, flags), at, fds)
    peer.note(request, payload, flags, fds)


@case({"plain": {"flags": wire.REQUEST}, "need_reply": {"flags": wire.NEED_REPLY}}, repeat=0)
def C1_pieces(t, flags):
    """SET_FEATURES byte by byte, then with one cut at each place."""
    t.start()
    front, back = t.pair()
    t.negotiate(front, back)
    for at in [range(1, 20), *([n] for n in range(1, 20))]:
        sent_in_pieces(front, at, Front.SET_FEATURES, FEATURES, flags)
        back.expect(Front.SET_FEATURES, flags, FEATURES, fds=0)
        if flags == wire.NEED_REPLY:
            back.answer(Front.SET_FEATURES, u64(0))
            front.expect(Front.SET_FEATURES, wire.REPLY, u64(0))
    back.quiet(0.02)


@case(repeat=0)
def C1_pieces_with_fd(t):
    """The descriptor comes with the first piece and belongs to the message."""
    t.start()
    front, back = t.pair()
    kick = t.eventfd()
    for at in range(1, 20):
        sent_in_pieces(front, [at], Front.SET_VRING_KICK, u64(0), fds=[kick])
        back.expect(Front.SET_VRING_KICK, wire.REQUEST, u64(0), fds=[kick])
    back.quiet(0.02)


@case(repeat=0)
def C1_fd_on_each_piece(t):
    """Descriptors may come with any piece: they all belong to the message they came within."""
    t.start()
    front, back = t.pair()
    data = wire.message(Front.SET_MEM_TABLE, wire.mem_table(2))
    for at in (1, 5, 12, 13, 50, 75):
        fds = [t.memfd(), t.memfd()]
        front.raw(data[:at], fds[:1])
        time.sleep(0.002)
        front.raw(data[at:], fds[1:])
        front.note(Front.SET_MEM_TABLE, wire.mem_table(2), fds=fds)
        back.expect(Front.SET_MEM_TABLE, payload=wire.mem_table(2), fds=fds)


@case(repeat=0)
def C1_answers_in_pieces(t):
    """The same from the back-end: header and payload apart, as libvhost-user writes them."""
    t.start()
    front, back = t.pair()
    for at in [range(1, 20), *([n] for n in range(1, 20))]:
        front.send(Front.GET_FEATURES)
        back.expect(Front.GET_FEATURES)
        cut(back, wire.reply(Front.GET_FEATURES, FEATURES), at)
        back.note(Front.GET_FEATURES, FEATURES, wire.REPLY)
        front.expect(Front.GET_FEATURES, wire.REPLY, FEATURES)


@case(repeat=0)
def C1_other_side_goes_on(t):
    """Half a message from one side holds nothing up that comes from the other."""
    t.start()
    front, back = t.pair()
    front.send(Front.GET_FEATURES)
    back.expect(Front.GET_FEATURES)
    data = wire.message(Front.SET_VRING_NUM, wire.state(0, 256))
    front.raw(data[:7])
    back.answer(Front.GET_FEATURES, FEATURES)
    front.expect(Front.GET_FEATURES, wire.REPLY, FEATURES)
    front.raw(data[7:])
    front.note(Front.SET_VRING_NUM, wire.state(0, 256))
    back.expect(Front.SET_VRING_NUM, payload=wire.state(0, 256))


CUTS = {
    "inside_header": {"data": wire.header(5, 1, 40)[:5], "fds": 2, "words": r"\b5\b.*\b12\b"},
    "one_byte": {"data": b"\x05", "fds": 1, "words": r"\b1\b.*\b12\b"},
    "header_only": {"data": wire.header(2, 1, 8), "fds": 0, "words": r"SET_FEATURES"},
    "inside_payload": {"data": wire.header(2, 1, 8) + b"abc", "fds": 0, "words": r"SET_FEATURES"},
    "payload_with_fds": {"data": wire.header(5, 1, 72) + bytes(8), "fds": 2,
                         "words": r"SET_MEM_TABLE"},
}


@case(CUTS, repeat=40)
def C2_cut_by_front(t, data, fds, words):
    """The front-end dies inside a message: no byte of it reaches the back-end."""
    shim = t.start()
    front, back = t.pair()
    t.works(front, back)
    since = shim.mark()
    front.raw(data, [t.memfd() for _ in range(fds)])
    front.close()
    back.ended()
    line = shim.said(r"front.*\[CUT\]", since)
    check(re.search(words, line), f"'{words}' not in: {line}")


@case({"inside_header": {"data": wire.header(1, 5, 8)[:9]},
       "inside_payload": {"data": wire.header(1, 5, 8) + b"abcd"}})
def C2_cut_by_back(t, data):
    """The back-end dies inside its answer: the front-end gets nothing of it."""
    shim = t.start()
    front, back = t.pair()
    since = shim.mark()
    front.send(Front.GET_FEATURES)
    back.expect(Front.GET_FEATURES)
    back.raw(data)
    back.close()
    front.ended()
    shim.said(r"back.*\[CUT\]", since)


@case({"front": {"side": "front"}, "back": {"side": "back"}})
def C2_clean_close(t, side):
    """End of stream between two messages is a normal close, and no error."""
    shim = t.start()
    front, back = t.pair()
    t.tell(front, back, Front.SET_OWNER)
    since = shim.mark()
    leaver, stayer = (front, back) if side == "front" else (back, front)
    leaver.close()
    stayer.ended()
    shim.said(rf"{side}.*\[LEFT\]", since)
    shim.not_said(r"\[CUT\]|\[IO_ERROR\]", since)


@case({"front": {"side": "front"}, "back": {"side": "back"}}, repeat=100)
def C2_whole_messages_then_close(t, side):
    """What was whole when its sender left still arrives."""
    t.start()
    front, back = t.pair()
    if side == "front":
        for ring in range(8):
            front.send(Front.SET_VRING_NUM, wire.state(ring, 256))
        front.send(Front.SET_VRING_KICK, u64(0), fds=[t.eventfd()])
        front.close()
        for ring in range(8):
            back.expect(Front.SET_VRING_NUM, payload=wire.state(ring, 256))
        back.expect(Front.SET_VRING_KICK, fds=1)
        back.ended()
    else:
        for _ in range(4):
            front.send(Front.GET_FEATURES)
        for _ in range(4):
            back.expect(Front.GET_FEATURES)
        for _ in range(4):
            back.answer(Front.GET_FEATURES, FEATURES)
        back.close()
        for _ in range(4):
            front.expect(Front.GET_FEATURES, payload=FEATURES)
        front.ended()


@case({"front": {"side": "front"}, "back": {"side": "back"}}, repeat=0)
def C2_close_with_unread_data(t, side):
    """A peer that leaves without having read what was sent to it resets the connection: what it
    wrote before that still arrives."""
    t.start()
    front, back = t.pair()
    front.lossy = back.lossy = True
    front.send(Front.GET_FEATURES)
    back.expect(Front.GET_FEATURES)
    if side == "front":
        back.answer(Front.GET_FEATURES, FEATURES)
        front.sock.recv(1)
        front.send(Front.SET_OWNER)
        front.close()
        back.expect(Front.SET_OWNER)
        back.ended()
    else:
        front.send(Front.SET_OWNER)
        time.sleep(0.02)                    # it is there, unread, when the back-end leaves
        back.answer(Front.GET_FEATURES, FEATURES)
        back.close()
        front.expect(Front.GET_FEATURES, payload=FEATURES)
        front.ended()


@case({"front": {"side": "front"}, "back": {"side": "back"}}, repeat=0)
def C2_messages_cross_a_close(t, side):
    """One peer's last message and its close cross a message of the other: the last message
    arrives, although what is sent back meets a closed connection."""
    shim = t.start()
    front, back = t.pair()
    t.works(front, back)
    front.send(Front.GET_FEATURES)
    back.expect(Front.GET_FEATURES)
    front.lossy = back.lossy = True
    shim.process.send_signal(signal.SIGSTOP)
    if side == "back":
        back.answer(Front.GET_FEATURES, FEATURES)
        back.close()
        front.send(Front.SET_OWNER)
    else:
        front.send(Front.SET_OWNER)
        front.close()
        back.answer(Front.GET_FEATURES, FEATURES)
    shim.process.send_signal(signal.SIGCONT)
    if side == "back":
        front.expect(Front.GET_FEATURES, payload=FEATURES)
        front.ended()
    else:
        back.expect(Front.SET_OWNER)
        back.ended()


def stream(source, peer, count, by_byte):
    """A seeded mix of messages of unknown numbers: any size, any number of descriptors."""
    fds = [peer.case.memfd() for _ in range(8)]
    for number in range(count):
        payload = source.randbytes(source.choice((0, 1, 8, 40, 72, source.randrange(269))))
        message = wire.message(1000 + number, payload)
        own = fds[:source.choice((0, 0, 1, 2, 8))]
        pieces = 0
        if number % 2:
            pieces = range(1, len(message)) if by_byte and number % 16 == 1 else \
                sorted(source.sample(range(1, len(message)), 3))
        yield message, own, pieces


def play(t, front, count, seed, by_byte=True):
    """Sends the mix from a thread, so that a slow reader cannot block the case."""
    plan = list(stream(random.Random(seed), front, count, by_byte))

    def sender():
        for message, fds, pieces in plan:
            if not pieces:
                front.raw(message, fds)
            else:
                cut(front, message, pieces, fds, 0)

    thread = threading.Thread(target=sender, daemon=True)
    thread.start()
    return plan, thread


def receive(t, back, plan, whole=True):
    back.strict = whole
    for number, (message, fds, _) in enumerate(plan):
        payload = message[12:]
        got = back.expect(1000 + number, payload=payload, fds=len(fds), own=True)
        labels = tuple(t.label(fd) for fd in fds)
        check(got.labels == labels, f"message {number}: {got.labels} instead of {labels}")
        t.release(got.fds)


@case({"1000": {"count": 1000}, "10000": {"count": 10000}}, repeat=0, slow=True)
def C3_whole_messages(t, count):
    """The back-end reads twelve bytes, then the rest without waiting, as they all do: it never
    meets a short payload, however the front-end wrote."""
    t.start()
    front, back = t.pair()
    plan, thread = play(t, front, count, 3)
    receive(t, back, plan)
    thread.join()


@case(repeat=0)
def C3_small_buffer(t):
    """Messages larger than the send buffer go out in parts, with nothing in between."""
    t.start(front="fd", back="fd", send_buffer=1)       # the kernel makes it its minimum
    front, back = t.pair()
    body = random.Random(1).randbytes(wire.MAX_PAYLOAD)
    fds = [t.memfd(), t.memfd()]
    plan = [(wire.message(1000 + n, body[n:]), fds[:n % 3], ()) for n in range(200)]

    def sender():
        for message, own, _ in plan:
            front.raw(message, own)

    thread = threading.Thread(target=sender, daemon=True)
    thread.start()
    time.sleep(0.05)                        # the stream is full before anybody reads
    receive(t, back, plan, whole=False)
    thread.join()


@case(repeat=0)
def C4_glued(t):
    """Messages that pile up before vushim reads keep their descriptors apart."""
    shim = t.start()
    front, back = t.pair()
    t.works(front, back)
    call = t.eventfd()
    shim.process.send_signal(signal.SIGSTOP)
    front.send(Front.SET_OWNER)
    front.send(Front.SET_VRING_CALL, u64(0), fds=[call])
    front.send(Front.GET_FEATURES)
    front.send(Front.SET_VRING_NUM, wire.state(0, 64))
    shim.process.send_signal(signal.SIGCONT)
    back.expect(Front.SET_OWNER, fds=0)
    back.expect(Front.SET_VRING_CALL, payload=u64(0), fds=[call])
    back.expect(Front.GET_FEATURES, fds=0)
    back.expect(Front.SET_VRING_NUM, fds=0)


@case(repeat=0)
def C4_one_write_many_messages(t):
    """Several messages in one write, no descriptors: each arrives by itself."""
    t.start()
    front, back = t.pair()
    parts = [(Front.SET_VRING_NUM, wire.state(n, 256)) for n in range(20)]
    front.raw(b"".join(wire.message(request, body) for request, body in parts))
    for request, body in parts:
        front.note(request, body)
        back.expect(request, payload=body)


@case({"two_with_fds": {"first": (Front.SET_VRING_CALL, u64(0)),
                        "second": (Front.SET_VRING_KICK, u64(0)), "fds": 2},
       "fds_of_the_second": {"first": (Front.SET_OWNER, b""),
                             "second": (Front.SET_VRING_KICK, u64(0)), "fds": 1}})
def C4_inseparable(t, first, second, fds):
    """One sendmsg with two messages and descriptors that the first cannot own: nobody can tell
    whose they are, so that connection ends and they are closed."""
    shim = t.start()
    front, back = t.pair()
    since = shim.mark()
    front.raw(wire.message(*first) + wire.message(*second), [t.eventfd() for _ in range(fds)])
    front.ended()
    back.ended()
    shim.said(r"front.*\[BAD_DESCRIPTORS\]", since)


@case(repeat=100)
def C4_glued_legal(t):
    """One sendmsg with two messages where the descriptors can only be the first one's."""
    t.start()
    front, back = t.pair()
    kick = t.eventfd()
    front.raw(wire.message(Front.SET_VRING_KICK, u64(0)) + wire.message(Front.SET_OWNER), [kick])
    front.note(Front.SET_VRING_KICK, u64(0), fds=[kick])
    front.note(Front.SET_OWNER)
    back.expect(Front.SET_VRING_KICK, fds=[kick])
    back.expect(Front.SET_OWNER, fds=0)


UNKNOWN = {str(number): {"number": number}
           for number in (0, 46, 60, 1000, 0x7fffffff, 0xffffffff)}


@case(UNKNOWN, repeat=20)
def C6_unknown_request(t, number):
    """A number outside the table is data: it passes with its descriptors and holds nothing up."""
    t.start()
    front, back = t.pair()
    for size in (0, 8, 268, wire.MAX_PAYLOAD):
        for count in (0, 2):
            body, fds = bytes(n % 251 for n in range(size)), [t.memfd() for _ in range(count)]
            front.send(number, body, fds=fds)
            back.expect(number, wire.REQUEST, body, fds=fds)
    t.works(front, back)


@case(UNKNOWN, repeat=20)
def C6_unknown_answered(t, number):
    """An answer with the same number is matched if it comes, with its descriptors."""
    t.start()
    front, back = t.pair()
    fd = t.memfd()
    front.send(number, b"question")
    front.send(Front.GET_FEATURES)
    back.expect(number, payload=b"question")
    back.expect(Front.GET_FEATURES)
    back.answer(number, b"an answer", [fd])
    back.answer(Front.GET_FEATURES, FEATURES)
    front.expect(number, wire.REPLY, b"an answer", fds=[fd])
    front.expect(Front.GET_FEATURES, wire.REPLY, FEATURES)


@case(repeat=100)
def C6_unknown_acknowledged(t):
    """need_reply on an unknown request: its ack passes too."""
    t.start()
    front, back = t.pair()
    t.negotiate(front, back)
    t.tell(front, back, 46, b"private", flags=wire.NEED_REPLY)
    t.tell(front, back, 1004, fds=[t.memfd()], flags=wire.NEED_REPLY)
    t.works(front, back)


@case({"253": {"count": 253}, "32": {"count": 32}, "9": {"count": 9}})
def C6_most_descriptors(t, count):
    """As many descriptors as the kernel carries in one message."""
    t.start()
    front, back = t.pair()
    fds = [t.memfd() for _ in range(count)]
    front.send(2000, b"many", fds=fds)
    back.expect(2000, payload=b"many", fds=fds)


@case(repeat=30)
def every_message_relayed(t):
    """Every request of the protocol, with its descriptors, its answer and theirs."""
    t.start()
    front, back = t.pair()
    t.negotiate(front, back)
    for row in wire.ROWS:
        fds = [t.memfd() for _ in range(row.fds)]
        if row.answer is None:
            t.tell(front, back, row.id, row.payload, fds)
        else:
            t.ask(front, back, row.id, row.payload, row.answer, fds=fds,
                  answer_fds=[t.memfd() for _ in range(row.answer_fds)])
