# SPDX-License-Identifier: MIT
"""--start detached: a front-end is served from the profile until a back-end has come."""
import os
import signal
import socket
import time

import wire
from case import Offer
from commands import RUN, one_line
from harness import case
from peers import SLOW, check
from shim import command
from wire import Front, Proto, bits, u64

NAMES = {0: "mq", 1: "log_shmfd", 2: "rarp", 3: "reply_ack", 4: "net_mtu", 5: "backend_req",
         6: "cross_endian", 7: "crypto_session", 8: "pagefault", 9: "config", 12: "inflight_shmfd",
         13: "reset_device", 15: "configure_mem_slots", 16: "status", 18: "shared_object",
         19: "device_state"}
PROTOCOL = bits(*NAMES)
SURE = [f"protocol.{name}=on" for name in NAMES.values()]
NET = "device=net,version_1=on,mtu=on,mrg_rxbuf=on,ctrl_vq=on,mq=on,max_ring=256"
SPEC = ",".join([NET, "queues=2,mem_slots=4,config.mtu=1500", *SURE])
UNPINNED = ",".join([NET, *SURE])
FEATURES = bits(3, 15, 17, 22, 26, 30, 32)
# More than the profile asks for, as a real newcomer has it.
BACK = Offer(FEATURES | bits(0, 1, 28), PROTOCOL | bits(Proto.BACKEND_SEND_FD), 8, 512)
ACKED = FEATURES & ~bits(26)


def begin(t, profile=SPEC, back="listen", extra=()):
    return t.start(profile, back=back, extra=("--start", "detached", *extra))


def say(front, request, payload=b"", fds=(), flags=wire.REQUEST):
    """A message that vushim keeps or answers itself; an ack must come exactly when asked for."""
    front.send(request, payload, flags, fds, lost=True)
    if flags == wire.NEED_REPLY:
        front.expect(request, wire.REPLY, u64(0), fds=0, own=True)


def asks(front, request, payload=b"", answer=None, fds=()):
    front.send(request, payload, fds=fds, lost=True)
    return front.expect(request, wire.REPLY, answer, fds=0, own=True)


def serves(front):
    """The front-end is there, and served without a back-end."""
    asks(front, Front.GET_FEATURES, answer=u64(FEATURES))


def agree(front, protocol=PROTOCOL):
    """The start of a session. Returns what a back-end is to be told of it."""
    say(front, Front.SET_PROTOCOL_FEATURES, u64(protocol))
    say(front, Front.SET_OWNER)
    say(front, Front.SET_FEATURES, u64(ACKED))
    return [(Front.SET_PROTOCOL_FEATURES, u64(protocol), ()), (Front.SET_OWNER, b"", ()),
            (Front.SET_FEATURES, u64(ACKED), ())]


def set_ring(t, front, n, started=True, flags=wire.REQUEST):
    """Returns what a back-end is to be told of the ring, in order but for CALL's announcement."""
    rows = [(Front.SET_VRING_NUM, wire.state(n, 128), ()),
            (Front.SET_VRING_BASE, wire.state(n, 7 + n), ()),
            (Front.SET_VRING_ADDR, wire.ring_addr(n), ()),
            (Front.SET_VRING_ENDIAN, wire.state(n, 0), ()),
            (Front.SET_VRING_ERR, u64(n), [t.eventfd()]),
            (Front.SET_VRING_CALL, u64(n), [t.eventfd()])]
    if started:
        rows.append((Front.SET_VRING_KICK, u64(n), [t.eventfd()]))
    for request, payload, fds in reversed(rows):
        say(front, request, payload, fds, flags)
    return rows


def calls(*rings):
    return [row for ring in rings for row in ring if row[0] == Front.SET_VRING_CALL]


def set_up(t, front, status=0xf, memory="table", flags=wire.REQUEST):
    """A whole session of two rings. Returns what a back-end is to be told of it, in order."""
    head = agree(front)
    for value in sorted({0x3 & status, 0xb & status, status}):
        say(front, Front.SET_STATUS, u64(value), flags=flags)
    if memory == "table":
        region = [(Front.SET_MEM_TABLE, wire.mem_table(2), [t.memfd(), t.memfd()])]
    else:
        region = [(Front.ADD_MEM_REG, wire.single_region(n), [t.memfd()]) for n in range(3)]
    inflight = (Front.SET_INFLIGHT_FD, wire.inflight(2), [t.memfd()])
    more = [(Front.SET_VRING_ENABLE, wire.state(0, 1), ()),
            (Front.SET_VRING_ENABLE, wire.state(1, 0), ()),
            (Front.NET_SET_MTU, u64(1400), ()),
            (Front.SET_CONFIG, wire.config(0, 6, b"\x52\x54\0\1\2\3"), ())]
    for request, payload, fds in [*reversed(more), *region, inflight]:
        say(front, request, payload, fds, flags)
    rings = [set_ring(t, front, n, flags=flags) for n in range(2)]
    return [*head, (Front.SET_STATUS, u64(status & ~4), ()), *calls(*rings), *region, inflight,
            *rings[0], *rings[1], *more, (Front.SET_STATUS, u64(status), ())]


def set_channel(t, front):
    """Returns the front-end's end of its channel, as a peer."""
    ours, theirs = t.socketpair()
    say(front, Front.SET_BACKEND_REQ_FD, fds=[theirs.fileno()])
    t.kept.remove(theirs)
    t.kept.remove(ours)
    theirs.close()
    return t.add_peer(ours, "F channel")


def newcomer(t, front, offer=BACK, name="B"):
    """A back-end comes when vushim has read all that the front-end said."""
    asks(front, Front.GET_FEATURES)
    return t.back(offer, name)


def is_told(back, want):
    for request, payload, fds in want:
        back.expect(request, wire.REQUEST, payload, list(fds), own=True)


def channel_of(t, back):
    message = back.expect(Front.SET_BACKEND_REQ_FD, wire.REQUEST, b"", 1, own=True)
    t.kept.remove(message.fds[0])
    return t.add_peer(socket.socket(fileno=message.fds[0]), "B channel")


def is_fenced(back, offer=BACK):
    back.expect(Front.GET_FEATURES, wire.REQUEST, b"", 0, own=True)
    back.answer(Front.GET_FEATURES, u64(offer.features), own=True)


def take_over(t, front, want, channel=None, offer=BACK, name="B"):
    """A good newcomer. Returns it, and its end of the channel."""
    back = newcomer(t, front, offer, name)
    ends = None
    is_told(back, want[:2])         # how the rest is read; whose
    if channel:
        ends = channel_of(t, back)
    is_told(back, want[2:])
    is_fenced(back, offer)
    t.links.append((front, back))
    if channel:
        t.links.append((channel, ends))
    t.ask(front, back, Front.GET_FEATURES, answer=u64(offer.features), sees=u64(FEATURES))
    return (back, ends) if channel else back


def next_life(t):
    """Nothing of a former life is left: alone again, and a newcomer is told nothing."""
    front = t.front("F next")
    serves(front)
    t.part(front, take_over(t, front, [], name="B next"))


@case()
def detached_answers(t):
    """Each question is answered from the profile, or with the protocol's own "none" or "failed"."""
    begin(t)
    front = t.front()
    serves(front)
    asks(front, Front.GET_PROTOCOL_FEATURES, answer=u64(PROTOCOL))
    agree(front)
    asks(front, Front.GET_QUEUE_NUM, answer=u64(2))
    asks(front, Front.GET_MAX_MEM_SLOTS, answer=u64(4))
    space = bytearray(20)
    space[10:12] = (1500).to_bytes(2, "little")
    asks(front, Front.GET_CONFIG, wire.config(0, 20, b"\xaa" * 20), wire.config(0, 20, space))
    asks(front, Front.GET_CONFIG, wire.config(11, 3), wire.config(11, 3, space[11:14]))
    asks(front, Front.GET_STATUS, answer=u64(0))
    say(front, Front.SET_STATUS, u64(0xb))
    asks(front, Front.GET_STATUS, answer=u64(0xb))
    asks(front, Front.GET_VRING_BASE, wire.state(1), wire.state(1, 0))
    say(front, Front.SET_VRING_BASE, wire.state(1, 4711))
    asks(front, Front.GET_VRING_BASE, wire.state(1), wire.state(1, 4711))
    asks(front, Front.GET_INFLIGHT_FD, wire.inflight(2, mmap_size=0), bytes(24))
    asks(front, Front.GET_SHARED_OBJECT, bytes(range(16)))
    asks(front, Front.POSTCOPY_ADVISE, answer=b"")
    code = asks(front, Front.SET_DEVICE_STATE_FD, wire.state(0), fds=[t.pipe()[1]]).value
    check(code & 0xff and code & wire.NOFD, f"no failure without a descriptor: {code:#x}")
    check(asks(front, Front.CHECK_DEVICE_STATE).value != 0, "a state that nobody has is good")
    serves(front)
    asks(front, Front.GET_PROTOCOL_FEATURES, answer=u64(PROTOCOL))


@case({"small": {"size": 632}, "large": {"size": 1072}}, repeat=0)
def detached_crypto(t, size):
    """A session fails, in an answer as long as this front-end's structure is: QEMU checks it."""
    begin(t)
    front = t.front()
    agree(front)
    answer = asks(front, Front.CREATE_CRYPTO_SESSION, bytes(size)).payload
    check(len(answer) == size, f"{len(answer)} bytes for {size}")
    check(int.from_bytes(answer[-8:], "little", signed=True) < 0, f"no failure: {answer[-8:]}")


@case()
def detached_acks(t):
    """need_reply is answered once REPLY_ACK is acknowledged, and by the rules that were in force
    when it came; SET_LOG_BASE always with LOG_SHMFD."""
    begin(t)
    front = t.front()
    front.send(Front.SET_OWNER, flags=wire.NEED_REPLY, lost=True)
    front.send(Front.SET_PROTOCOL_FEATURES, u64(PROTOCOL), wire.NEED_REPLY, lost=True)
    serves(front)
    say(front, Front.SET_FEATURES, u64(ACKED), flags=wire.NEED_REPLY)
    say(front, Front.SET_LOG_BASE, wire.log_base(), [t.memfd()])
    front.expect(Front.SET_LOG_BASE, wire.REPLY, own=True)
    for request, payload, fds in ((Front.SET_VRING_NUM, wire.state(0, 64), 0),
                                  (Front.SET_MEM_TABLE, wire.mem_table(2), 2),
                                  (Front.REM_MEM_REG, wire.single_region(1), 1),
                                  (Front.SET_VRING_KICK, u64(wire.NOFD), 0),
                                  (Front.SEND_RARP, u64(0x563412005452), 0),
                                  (Front.RESET_DEVICE, b"", 0)):
        say(front, request, payload, [t.memfd() for _ in range(fds)], wire.NEED_REPLY)
        say(front, request, payload, [t.memfd() for _ in range(fds)])
    serves(front)


BAD = {"features": (Front.SET_FEATURES, u64(ACKED | bits(28)), "indirect_desc"),
       "protocol": (Front.SET_PROTOCOL_FEATURES, u64(PROTOCOL | bits(10)), "backend_send_fd"),
       "ring": (Front.SET_VRING_NUM, wire.state(5, 64), "5"),
       "ring_fd": (Front.SET_VRING_CALL, u64(5 | wire.NOFD), "5"),
       "size": (Front.SET_VRING_NUM, wire.state(0, 512), "512"),
       "pinned": (Front.SET_CONFIG, wire.config(10, 2, b"\0\1"), "mtu"),
       "gate": (Front.IOTLB_MSG, wire.iotlb(0x1000, 2), "iommu_platform")}


@case({name: {"row": row} for name, row in BAD.items()}, repeat=1)
def detached_refuses(t, row):
    """What policy refuses is refused as with a back-end: by a failure ack, or by the end."""
    shim = begin(t)
    request, payload, word = row
    for acked in (True, False):
        t.spend()
        shim, since = t.shim, t.shim.mark()
        front = t.front()
        agree(front)
        front.send(request, payload, wire.NEED_REPLY if acked else wire.REQUEST, lost=True)
        if acked:
            front.refusal(request)
            serves(front)
        else:
            front.ended()
        line = shim.said(r"front.*\[REFUSED\]", since)
        check(word in line and request.name in line, f"'{word}' is not in: {line}")
        front.close()
    next_life(t)


@case({"greeting": {"asked": 0}, "later": {"asked": 1}}, repeat=0)
def detached_refuses_beside_newcomer(t, asked):
    """A newcomer that is slow to answer holds up no failure ack, and takes none with it."""
    begin(t)
    front = t.front()
    agree(front)
    back = newcomer(t, front, None)
    for _ in range(asked):
        t.admit_one(back, Front.GET_FEATURES, BACK.features)
    back.expect((Front.GET_FEATURES, Front.GET_PROTOCOL_FEATURES)[asked], own=True)
    front.send(Front.SET_VRING_NUM, wire.state(0, 512), wire.NEED_REPLY, lost=True)
    front.send(Front.GET_FEATURES, lost=True)
    front.refusal(Front.SET_VRING_NUM)
    front.expect(Front.GET_FEATURES, own=True)
    back.close()


@case({"asked": {"silent": "greeting"}, "told": {"silent": "fence"}}, repeat=0)
def detached_front_leaves_beside(t, silent):
    """The front-end leaves while a newcomer is asked or told and says nothing: the life is over."""
    begin(t)
    for _ in range(3):
        front = t.front()
        want = set_up(t, front)
        back = newcomer(t, front, BACK if silent == "fence" else None)
        if silent == "fence":
            is_told(back, want)
        back.expect(Front.GET_FEATURES, own=True)
        front.close()
        back.ended()
        back.close()
    next_life(t)


@case(repeat=0)
def detached_front_leaves_full(t):
    """The same while the newcomer reads nothing and the way to it is full."""
    begin(t, ",".join([NET, "queues=2,mem_slots=509", *SURE]))
    front = t.front()
    agree(front)
    fd = t.memfd()
    for n in range(500):
        say(front, Front.ADD_MEM_REG, wire.single_region(n), [fd])
    back = newcomer(t, front)
    time.sleep(0.1)
    front.close()
    back.drain()
    back.received.clear()
    back.close()
    next_life(t)


@case({"nothing": {"set": False}, "everything": {"set": True}})
def detached_front_leaves(t, set):
    """It leaves without having met a back-end: all that was kept is closed, the next is clean."""
    shim = begin(t)
    for _ in range(3):
        front = t.front()
        if set:
            set_up(t, front)
            set_channel(t, front)
        serves(front)
        front.close()
        shim.check_idle()
    next_life(t)


@case({"term": {"number": signal.SIGTERM}, "int": {"number": signal.SIGINT}}, repeat=0)
def detached_signal(t, number):
    """It ends while alone, and while a newcomer is told: exit 0, sockets removed."""
    for late in (False, True):
        shim = begin(t)
        front = t.front()
        want = set_up(t, front)
        back = newcomer(t, front) if late else None
        if late:
            is_told(back, want)
        serves(front) if not late else None
        shim.process.send_signal(number)
        check(shim.wait() == 0, f"exit status {shim.process.returncode}")
        front.drain()
        left = [name for name in os.listdir(t.dir) if name.startswith(("front", "back"))]
        check(not left, f"files stay: {left}")
        shim.stop()
        t.shims.clear()


@case(repeat=0)
def detached_flood_of_calls(t):
    """Ten thousand eventfds for one ring: the last one is kept."""
    shim = begin(t)
    front = t.front()
    want = agree(front)
    message, fd = wire.message(Front.SET_VRING_CALL, u64(3)), t.eventfd()
    for _ in range(10000):
        front.raw(message, [fd])
    serves(front)
    check(len(shim.fds()) <= len(shim.idle) + 3, f"kept: {len(shim.fds())}")
    last = (Front.SET_VRING_CALL, u64(3), [t.eventfd()])
    say(front, *last)
    take_over(t, front, [*want, last, last])


@case({"pinned": {"slots": 509, "profile": "queues=2,mem_slots=509"},
       "default": {"slots": 8, "profile": "queues=2"}}, repeat=0)
def detached_flood_of_regions(t, slots, profile):
    """Regions as many as there are slots, the others are refused; all of them are handed over."""
    shim = begin(t, ",".join([NET, profile, *SURE]))
    front = t.front()
    want = agree(front)
    fd = t.memfd()
    bad = []
    for n in range(600):
        front.send(Front.ADD_MEM_REG, wire.single_region(n), wire.NEED_REPLY, [fd], lost=True)
        bad.append(front.expect(Front.ADD_MEM_REG, wire.REPLY, own=True).value != 0)
    check(bad.index(True) == slots and all(bad[slots:]), f"first refused: {bad.index(True)}")
    check(len(shim.fds()) <= len(shim.idle) + slots + 3, f"kept: {len(shim.fds())}")
    serves(front)
    take_over(t, front, [*want, *((Front.ADD_MEM_REG, wire.single_region(n), [fd])
                                  for n in range(slots))])


@case(repeat=0)
def detached_second_front(t):
    """A second front-end is turned away, alone or not."""
    begin(t)
    front = t.front()
    agree(front)
    second = t.front("F2")
    second.ended()
    serves(front)


@case({"silent": {"answers": 0}, "half": {"answers": 1}}, repeat=0)
def detached_back_is_first(t, answers):
    """A back-end that came before the front-end and does not answer is none: the profile serves."""
    begin(t)
    back = t.end("back")
    back.expect(Front.GET_FEATURES, own=True)
    if answers:
        back.answer(Front.GET_FEATURES, u64(BACK.features), own=True)
        back.expect(Front.GET_PROTOCOL_FEATURES, own=True)
    front = t.front()
    front.send(Front.GET_FEATURES, lost=True)
    front.expect(Front.GET_FEATURES, payload=u64(FEATURES), own=True, patience=1.0 * SLOW)
    back.close()
    serves(front)


@case()
def detached_back_is_first_and_good(t):
    """A back-end that is there already serves at once, as for any device."""
    begin(t)
    back = t.back(BACK)
    front = t.front()
    t.links.append((front, back))
    t.ask(front, back, Front.GET_FEATURES, answer=u64(BACK.features), sees=u64(FEATURES))


@case(repeat=0)
def detached_connects(t):
    """A back-end's socket that appears later is found at once."""
    begin(t, back="connect")
    listener = t.ends["back"][2]
    path = listener.getsockname()
    listener.close()
    os.unlink(path)
    front = t.front()
    want = set_up(t, front)
    serves(front)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(4)
    t.ends["back"] = ("connect", "", listener)
    moment = time.monotonic()
    taken = take_over(t, front, want)
    check(time.monotonic() - moment < 0.5 * SLOW, "not found at once")
    taken.close()
    front.ended()


WRONG = {"host": ["--profile", "host"], "host_by_default": [],
         "changed": ["--profile", "host,mq=off"],
         "listed": ["--profile", "device=net,version_1=on"],
         "only_off": ["--profile", "device=net,version_1=on,protocol.rarp=off"]}


@case({name: {"words": words} for name, words in WRONG.items()}, repeat=0)
def detached_profile(_t, words):
    """A profile that leaves something to the back-end cannot stand in for it."""
    line = one_line(*command(*RUN, "--start", "detached", *words), words)
    check("profile" in line, f"not clear: {line}")


@case({"word": {"word": "alone"}, "empty": {"word": ""}, "case": {"word": "Detached"}}, repeat=0)
def detached_wrong_word(_t, word):
    one_line(*command(*RUN, "--start", word, "--profile", SPEC), word)


@case(repeat=0)
def detached_says_too_much(t):
    """What cannot be kept for the back-end that is to come ends the front-end, which would wait for
    ever."""
    begin(t)
    front = t.front()
    agree(front)
    since = t.shim.mark()
    front.send(Front.SET_CONFIG, wire.config(250, 20, bytes(20)), lost=True)
    front.ended()
    t.shim.said(r"SET_CONFIG.*\[NOT_KEPT\]", since)
