# SPDX-License-Identifier: MIT
"""Rows C20-C24, C29, C43: a front-end whose back-end is lost is held, and is answered meanwhile."""
import random
import select
import signal
import socket
import struct
import threading
import time

import wire
from case import accept
from commands import RUN, one_line
from harness import case
from machine import (ACKED, CONFIG, LOG_ALL, NET, PROTOCOL, QUESTIONS as ASKED, Guest, Ring, Robot,
                     Told, answer_to, begin, client, drops, events, guest, is_held, knows, robot_of,
                     status)
from peers import SLOW, Failure, check, until
from shim import command
from wire import Back, Front, bits, u64

ROWS = {row.id: row for row in wire.ROWS}
# What a front-end may ask while its device is held. kept: answered as before, or from what it has
# said; failed: only a back-end could, and the protocol has a word for that; later: waits.
KEPT, FAILED, LATER = "kept", "failed", "later"
CONFIG_0_20 = wire.config(0, 20, CONFIG[:20])


def asked_before(guest_):
    """The questions of the start, so that their answers are known."""
    for request, payload, answer in ((Front.GET_QUEUE_NUM, b"", u64(16)),
                                     (Front.GET_MAX_MEM_SLOTS, b"", u64(64)),
                                     (Front.GET_CONFIG, wire.config(0, 20), CONFIG_0_20),
                                     (Front.GET_STATUS, b"", u64(0xf))):
        guest_.ask(request, payload, answer)


QUESTIONS = {
    "features": (Front.GET_FEATURES, b"", KEPT, u64(NET.features)),
    "protocol": (Front.GET_PROTOCOL_FEATURES, b"", KEPT, u64(PROTOCOL)),
    "queues": (Front.GET_QUEUE_NUM, b"", KEPT, u64(16)),
    "slots": (Front.GET_MAX_MEM_SLOTS, b"", KEPT, u64(64)),
    "config": (Front.GET_CONFIG, wire.config(0, 20), KEPT, CONFIG_0_20),
    "config_part": (Front.GET_CONFIG, wire.config(4, 8), KEPT, wire.config(4, 8, CONFIG[4:12])),
    "status": (Front.GET_STATUS, b"", KEPT, u64(0xf)),
    "vring_base": (Front.GET_VRING_BASE, wire.state(1), KEPT, wire.state(1, 0x124)),
    "check_state": (Front.CHECK_DEVICE_STATE, b"", FAILED, None),
    "state_fd": (Front.SET_DEVICE_STATE_FD, wire.state(0), FAILED, None),
    "postcopy": (Front.POSTCOPY_ADVISE, b"", FAILED, b""),
    "crypto": (Front.CREATE_CRYPTO_SESSION, bytes(632), FAILED, None),
    "shared_object": (Front.GET_SHARED_OBJECT, bytes(range(16)), FAILED, None),
    "inflight": (Front.GET_INFLIGHT_FD, wire.inflight(2, mmap_size=0), LATER, wire.inflight(2)),
    "config_beyond": (Front.GET_CONFIG, wire.config(16, 20), LATER,
                      wire.config(16, 20, CONFIG[16:36])),
}


def is_failure(request, answer):
    """The protocol's own word for a failure."""
    if request == Front.CREATE_CRYPTO_SESSION:
        return len(answer.payload) == 632 and struct.unpack("=q", answer.payload[-8:])[0] < 0
    if request == Front.SET_DEVICE_STATE_FD:
        return answer.value & 0xff and answer.value & wire.NOFD
    if request == Front.CHECK_DEVICE_STATE:
        return answer.value != 0
    return True                 # without a descriptor


@case({name: {"row": row} for name, row in QUESTIONS.items()}, repeat=1)
def held_questions(t, row):
    """Each question in a back-end's absence, once; and what of it the successor sees."""
    request, payload, how, answer = row
    guest_ = guest(t).runs(2)
    asked_before(guest_)
    guest_.lose()
    fds = [t.pipe()[1]] if request == Front.SET_DEVICE_STATE_FD else []
    guest_.front.send(request, payload, fds=fds, lost=True)
    if how == LATER:
        guest_.front.quiet(0.2)
        is_held(t)
    else:
        got = guest_.front.expect(request, wire.REPLY, answer if how == KEPT else None, 0, own=True,
                                  patience=1.0 * SLOW)
        check(how == KEPT or is_failure(request, got), f"no failure: {got}")
    guest_.model.take(request, payload)
    told = Told(t.end("back", "B2"), guest_.offer)
    guest_.agrees(told.replay)
    guest_.back = told.back
    if how == LATER:
        told.back.expect(request, wire.REQUEST, payload, own=True)
        answer_fds = [t.memfd()] if request == Front.GET_INFLIGHT_FD else []
        told.back.answer(request, answer, answer_fds, own=True)
        guest_.front.expect(request, wire.REPLY, answer, answer_fds, own=True)
    told.back.quiet(0.02)
    guest_.front.quiet(0.02)
    guest_.works()


def state_messages(t):
    """Everything that sets state, to be said to a device that is held."""
    yield Front.SET_MEM_TABLE, wire.mem_table(2), 2
    yield Front.ADD_MEM_REG, wire.single_region(7), 1
    yield Front.REM_MEM_REG, wire.single_region(1), 0
    for request, payload, fds in ((Front.SET_VRING_NUM, wire.state(3, 64), 0),
                                  (Front.SET_VRING_ADDR, wire.ring_addr(3), 0),
                                  (Front.SET_VRING_BASE, wire.state(3, 9), 0),
                                  (Front.SET_VRING_ENDIAN, wire.state(3, 0), 0),
                                  (Front.SET_VRING_CALL, u64(3), 1),
                                  (Front.SET_VRING_ERR, u64(3), 1),
                                  (Front.SET_VRING_ENABLE, wire.state(3, 1), 0),
                                  (Front.SET_STATUS, u64(0xb), 0),
                                  (Front.NET_SET_MTU, u64(1280), 0),
                                  (Front.SET_CONFIG, wire.config(0, 2, b"hi"), 0),
                                  (Front.SET_INFLIGHT_FD, wire.inflight(2), 1),
                                  (Front.SET_PROTOCOL_FEATURES, u64(PROTOCOL), 0),
                                  (Front.SET_OWNER, b"", 0),
                                  (Front.SET_FEATURES, u64(ACKED), 0)):
        yield request, payload, fds


@case({"acked": {"ack": True}, "plain": {"ack": False}})
def held_state(t, ack):
    """What sets state is acknowledged in the back-end's absence, and told to the successor."""
    guest_ = guest(t)
    guest_.memory()
    guest_.lose()
    for request, payload, fds in state_messages(t):
        guest_.say(request, payload, [t.memfd() for _ in range(fds)], ack=ack)
    guest_.succeed()


@case(repeat=1)
def held_transients(t):
    """What means something to a running back-end only is acknowledged and not told."""
    guest_ = guest(t).runs(1)
    guest_.lose()
    for request, payload in ((Front.SEND_RARP, u64(0x563412005452)),
                             (Front.CLOSE_CRYPTO_SESSION, u64(7))):
        guest_.front.send(request, payload, wire.NEED_REPLY, lost=True)
        guest_.front.expect(request, wire.REPLY, own=True)
    guest_.front.send(1000, bytes(8), lost=True)
    guest_.succeed()


@case({"rings": {"n": 2}, "one": {"n": 1}}, repeat=1)
def held_boot_again(t, n):
    """The guest reboots while there is no back-end: rings stopped, set up anew, none of the old."""
    guest_ = guest(t).runs(n)
    guest_.lose()
    for k in range(n):
        guest_.say(Front.SET_VRING_ENABLE, wire.state(k, 0))
    for k in range(n):
        guest_.ask(Front.GET_VRING_BASE, wire.state(k), sees=wire.state(k, 0x123 + k))
    guest_.say(Front.SET_STATUS, u64(0))
    ram = guest_.memory()
    ring = guest_.ring(Ring(ram, 0, 64), 0)
    ring.stands(0, 0)
    guest_.say(Front.SET_STATUS, u64(0xf))
    guest_.model.rebase(guest_.bases())
    guest_.succeed()


@case({"refused": {"request": Front.SET_VRING_NUM, "payload": wire.state(0, 65535)},
       "features": {"request": Front.SET_FEATURES, "payload": u64(ACKED | bits(60))}}, repeat=1)
def held_refuses(t, request, payload):
    """What policy refuses is refused by name without a back-end, too."""
    guest_ = guest(t).runs(1)
    guest_.lose()
    guest_.front.send(request, payload, wire.NEED_REPLY, lost=True)
    guest_.front.refusal(request)
    guest_.succeed()


@case({"at_once": {"busy": False}, "busy": {"busy": True}}, repeat=1)
def held_front_leaves(t, busy):
    """The front-end leaves while it is held: all is forgotten, and the next is a stranger."""
    guest_ = guest(t).runs(2)
    guest_.say(Front.SET_INFLIGHT_FD, wire.inflight(2), [t.memfd()])
    guest_.channel()
    guest_.lose()
    if busy:
        guest_.front.send(Front.GET_INFLIGHT_FD, wire.inflight(2, mmap_size=0), lost=True)
        guest_.front.raw(wire.message(Front.SET_MEM_TABLE, wire.mem_table(2))[:30], [t.memfd()])
    fds = [ram.fd for ram in guest_.rams] + list(guest_.events.values())
    guest_.front.close()
    guest_.to_front.close()
    drops(t.shim, *fds)
    until(lambda: status(t)["life"] != "held", "the life to end")
    again = Guest(t)
    again.works()
    again.restart()


@case(repeat=0)
def held_second_front(t):
    """A second front-end is turned away while the first is held."""
    guest_ = guest(t).runs(1)
    guest_.lose()
    second = t.front("F2")
    second.ended()
    guest_.succeed()


@case({"short": {"seconds": 0.4}}, repeat=0)
def hold_for(t, seconds):
    """--hold-for bounds it; what ends it is named, and the next life is good."""
    guest_ = guest(t, extra=("--hold-for", str(seconds))).runs(1)
    since = t.shim.mark()
    begin_ = time.monotonic()
    guest_.lose()
    guest_.front.ended(seconds + 1.0 * SLOW)
    check(time.monotonic() - begin_ >= seconds, "too early")
    t.shim.said(r"\[HOLD_OVER\]", since)
    guest_.front.close()
    again = Guest(t).runs(1)
    since = t.shim.mark()
    again.restart()
    again.front.quiet(seconds * 1.5)
    t.shim.not_said("HOLD_OVER", since)


@case({"hold_for": {"words": ["--hold-for", "x"]},
       "policy": {"words": ["--on-back-end-loss", "keep"]},
       "late": {"words": ["--when-late", "never"]}, "standby": {"words": ["--standby", "fd:x"]},
       "answer": {"words": ["--answer-within", "-1"]}}, repeat=0)
def hold_wrong_words(_t, words):
    """Each option's wrong word is one clear line."""
    one_line(*command(*RUN, *words), words)


@case({"forever": {"word": "forever"}, "number": {"word": "3600"}}, repeat=0)
def hold_for_long(t, word):
    """Held without end, it costs no processor time."""
    guest_ = guest(t, extra=("--hold-for", word)).runs(1)
    guest_.lose()
    t.ends["back"][2].close()
    before = t.shim.cpu()
    time.sleep(1.0)
    check(t.shim.cpu() - before < 0.15, f"{t.shim.cpu() - before:.2f} s of processor time")
    guest_.front.quiet(0.02)
    t.stop_one(next(key for key, (shim, _) in t.shims.items() if shim is t.shim))


@case({"term": {"number": signal.SIGTERM}}, repeat=0)
def held_signal(t, number):
    """It ends while it holds."""
    guest_ = guest(t).runs(1)
    guest_.lose()
    t.shim.process.send_signal(number)
    check(t.shim.wait() == 0, f"exit status {t.shim.process.returncode}")
    guest_.front.ended()
    t.shim.stop()
    t.shims.clear()


# --- what was outstanding

HALVES = {"nothing": 0, "half_a_header": 5, "header": 12, "half": -3}


def outstanding_rows():
    kept = {Front.GET_FEATURES: u64(NET.features), Front.GET_PROTOCOL_FEATURES: u64(PROTOCOL),
            Front.GET_QUEUE_NUM: u64(16), Front.GET_MAX_MEM_SLOTS: u64(64),
            Front.GET_STATUS: u64(0xf), Front.GET_VRING_BASE: wire.state(0, 0x123)}
    for row in wire.ROWS:
        if row.id in (Front.IOTLB_MSG, Front.VRING_KICK, Front.GET_SHMEM_CONFIG,
                      Front.GET_VRING_BASE_SKIP_DRAIN, Front.RESET_OWNER):
            continue
        name = row.id.name.lower()
        if row.answer is None:
            yield name, {"request": row.id, "payload": row.payload, "fds": row.fds, "want": u64(0)}
        elif row.id == Front.GET_CONFIG:
            yield name, {"request": row.id, "payload": wire.config(0, 20), "want": CONFIG_0_20}
        else:
            yield name, {"request": row.id, "payload": row.payload, "fds": row.fds,
                         "want": kept.get(row.id), "later": row.answer,
                         "later_fds": row.answer_fds}


@case({f"{name}.{half}": {**how, "cut": cut} for name, how in outstanding_rows()
       for half, cut in HALVES.items()
       if half in ("nothing", "half") or name in ("get_vring_base", "get_features", "set_owner")},
      repeat=0)
def C23_outstanding(t, request, payload, want, cut, fds=0, later=None, later_fds=0):
    """A request that the dead back-end has read, and not or half answered: one answer comes, from
    what is known or from the successor, and never the dead one's."""
    guest_ = guest(t).runs(2)
    asked_before(guest_)
    ack = later is None and request != Front.GET_CONFIG and want == u64(0)
    sent = [t.memfd() for _ in range(fds)]
    if request == Front.SET_DEVICE_STATE_FD:
        sent = [t.pipe()[1]]
    elif request == Front.SET_MEM_TABLE:            # rings must stay readable
        sent, payload = [guest_.rams[0].fd], struct.pack("=II", 1, 0) + guest_.rams[0].row()
    elif request == Front.SET_VRING_ADDR:
        payload = guest_.rings[0].address(1)
    flags = wire.NEED_REPLY if ack else wire.REQUEST
    guest_.front.send(request, payload, flags, sent, lost=True)
    guest_.back.expect(request, flags, payload, own=True)
    wrong = wire.reply(request, b"\x77" * len(later or want or u64(0)))
    guest_.back.raw(wrong[:cut])
    guest_.back.close()
    guest_.back = None
    guest_.model.take(request, payload, [t.label(fd) for fd in sent])
    if request in (Front.RESET_DEVICE, Front.GET_VRING_BASE):
        guest_.rings.pop(0)
        guest_.rings.clear() if request == Front.RESET_DEVICE else None
    is_held(t)
    guest_.model.rebase(guest_.bases())
    answered = bool(ready(guest_.front, 0.2))
    if want is not None or request == Front.SET_LOG_BASE:
        check(answered, f"not answered from what is known: m{request}")
    if answered:
        got = guest_.front.expect(request, wire.REPLY, want, own=True)
        check(b"\x77" not in got.payload, f"the dead one's answer: {got}")
    told = Told(t.end("back", "B2"), guest_.offer)
    guest_.agrees(told.replay)
    guest_.back = told.back
    if not answered:
        told.back.expect(request, wire.REQUEST, payload, own=True)
        told.back.answer(request, later, [t.memfd() for _ in range(later_fds)], own=True)
        guest_.front.expect(request, wire.REPLY, later, own=True)
    told.back.quiet(0.02)
    guest_.front.quiet(0.02)
    guest_.works()


def ready(peer, seconds):
    poll = select.poll()
    poll.register(peer.sock, select.POLLIN)
    return poll.poll(seconds * 1000 * SLOW)


@case({"unread": {"read": False}, "read": {"read": True}}, repeat=0)
def C23_pipelined(t, read):
    """Several outstanding requests of all kinds: each is answered once, in order; what the dead
    back-end did not read is not lost."""
    guest_ = guest(t).runs(2)
    asked_before(guest_)
    plan = [(Front.GET_FEATURES, b"", 1, u64(NET.features)),
            (Front.SET_VRING_NUM, wire.state(3, 64), 9, u64(0)),
            (Front.NET_SET_MTU, u64(1300), 1, None),
            (Front.GET_QUEUE_NUM, b"", 1, u64(16)),
            (Front.SET_VRING_ENABLE, wire.state(1, 0), 9, u64(0)),
            (Front.GET_VRING_BASE, wire.state(1), 1, wire.state(1, 0x124)),
            (Front.GET_CONFIG, wire.config(0, 20), 1, CONFIG_0_20),
            (Front.SET_OWNER, b"", 9, u64(0))]
    for request, payload, flags, _ in plan:
        guest_.front.send(request, payload, flags, lost=True)
    for request, payload, flags, _ in plan if read else ():
        guest_.back.expect(request, flags, payload, own=True)
    guest_.back.close()
    guest_.back = None
    for request, payload, _, answer in plan:
        guest_.model.take(request, payload)
        if answer is not None:
            guest_.front.expect(request, wire.REPLY, answer, own=True)
    guest_.rings.pop(1)
    is_held(t)
    guest_.model.rebase(guest_.bases())
    guest_.succeed()


@case(repeat=0)
def C23_answers_not_read(t):
    """Answers of the dead back-end that came whole are the front-end's; later ones are vushim's."""
    guest_ = guest(t).runs(1)
    asked_before(guest_)
    for request in (Front.GET_STATUS, Front.GET_QUEUE_NUM, Front.GET_STATUS):
        guest_.front.send(request, lost=True)
    for request in (Front.GET_STATUS, Front.GET_QUEUE_NUM, Front.GET_STATUS):
        guest_.back.expect(request, own=True)
    guest_.back.answer(Front.GET_STATUS, u64(0x8f), own=True)
    guest_.back.raw(wire.reply(Front.GET_QUEUE_NUM, u64(15))[:19])
    guest_.back.close()
    guest_.back = None
    guest_.front.expect(Front.GET_STATUS, wire.REPLY, u64(0x8f), own=True)
    guest_.front.expect(Front.GET_QUEUE_NUM, wire.REPLY, u64(16), own=True)
    guest_.front.expect(Front.GET_STATUS, wire.REPLY, own=True)
    is_held(t)
    guest_.model.rebase(guest_.bases())
    guest_.succeed()


@case({str(seed): {"seed": seed} for seed in range(4)}, repeat=0)
def C23_stream(t, seed):
    """A front-end that goes on talking while one back-end after the other dies: every request is
    answered once, in order, and the last back-end knows everything."""
    chance = random.Random(seed)
    guest_ = guest(t).runs(2)
    asked_before(guest_)
    listener = t.ends["back"][2]

    spared = threading.Event()

    def mortal(life):
        def at(robot, _message):
            if len(robot.messages) < life or spared.is_set():
                return False
            robot.peer.sock.shutdown(socket.SHUT_RDWR)
            robot.peer.close()
            return True
        return at
    robot = robot_of(t, guest_, at=mortal(10))
    robots = [robot]
    for n in range(400):
        if robot.gone.is_set():
            robot = Robot(t, f"B{n}", guest_.offer, listener=listener,
                          at=mortal(chance.choice((12, 35, 45, 60, 80)) if n < 340 else 1 << 20))
            robots.append(robot)
        plan = [chance.choice(STREAM) for _ in range(chance.randrange(1, 7))]
        for request, payload, flags, fds, _ in plan:
            fds = [t.eventfd() for _ in range(fds)]
            guest_.front.send(request, payload, flags, fds, lost=True)
            guest_.model.take(request, payload, [t.label(fd) for fd in fds])
        for request, _, _, _, answer in plan:
            if answer is not None:
                guest_.front.expect(request, wire.REPLY, answer, own=True)
    check(len(robots) > 2, f"only {len(robots)} back-ends")
    spared.set()        # the last one may be in the middle of its end, or of the replay
    if robot.gone.wait(0.3 * SLOW):
        robot = Robot(t, "last", guest_.offer, listener=listener)
    guest_.ask(Front.GET_FEATURES, sees=u64(guest_.offer.features))
    guest_.front.quiet(0.05)
    guest_.model.rebase(guest_.bases())
    knows(robot, guest_)


STREAM = ((Front.GET_FEATURES, b"", 1, 0, u64(NET.features)),
          (Front.GET_QUEUE_NUM, b"", 1, 0, u64(16)),
          (Front.GET_STATUS, b"", 1, 0, u64(0xf)),
          (Front.GET_CONFIG, wire.config(0, 20), 1, 0, CONFIG_0_20),
          (Front.SET_VRING_NUM, wire.state(3, 64), 9, 0, u64(0)),
          (Front.SET_VRING_CALL, u64(1), 9, 1, u64(0)),
          (Front.SET_VRING_ERR, u64(0), 1, 1, None), (Front.NET_SET_MTU, u64(1333), 1, 0, None),
          (Front.SET_VRING_ENABLE, wire.state(0, 1), 9, 0, u64(0)))


BAD = {"unasked": wire.reply(1, u64(0)), "version": wire.header(1, 6, 8) + u64(0),
       "request": wire.message(1), "huge": wire.header(1, 5, 1 << 30),
       "cut": wire.reply(1, u64(0))[:9]}


@case({name: {"data": data} for name, data in BAD.items()}, repeat=0)
def loss_by_nonsense(t, data):
    """A back-end that is closed for what it said is a lost one like any other."""
    guest_ = guest(t).runs(2)
    guest_.back.raw(data)
    if data is BAD["cut"]:
        guest_.back.close()
    else:
        guest_.back.ended()
        guest_.back.close()
    guest_.back = None
    is_held(t)
    guest_.model.rebase(guest_.bases())
    guest_.succeed()
    guest_.front.quiet(0.02)


# --- the back-end channel

@case(repeat=1)
def C29_fresh_channel(t):
    """Each back-end has a channel of its own; the front-end's end sees neither half messages nor an
    end; an ack for the dead one is not given to the next."""
    guest_ = guest(t).runs(1)
    guest_.channel()
    guest_.to_back.send(Back.CONFIG_CHANGE_MSG, flags=wire.NEED_REPLY, own=True)
    guest_.to_front.expect(Back.CONFIG_CHANGE_MSG, wire.NEED_REPLY, own=True)
    guest_.to_back.raw(wire.message(Back.CONFIG_CHANGE_MSG)[:7])
    guest_.to_back.close()
    guest_.restart()
    guest_.to_front.drain_now(0.02)
    guest_.to_front.answer(Back.CONFIG_CHANGE_MSG, u64(1), own=True)
    guest_.to_back.quiet(0.1)
    guest_.to_back.send(Back.CONFIG_CHANGE_MSG, flags=wire.NEED_REPLY, own=True)
    guest_.to_front.expect(Back.CONFIG_CHANGE_MSG, wire.NEED_REPLY, own=True)
    guest_.to_front.answer(Back.CONFIG_CHANGE_MSG, u64(0), own=True)
    guest_.to_back.expect(Back.CONFIG_CHANGE_MSG, wire.REPLY, u64(0), own=True)
    guest_.to_back.quiet(0.05)


@case({"ours": {"from_front": True}, "theirs": {"from_front": False}}, repeat=0)
def C29_channel_alone_breaks(t, from_front):
    """The channel alone closes: the device goes on, and its successor is told as before."""
    guest_ = guest(t).runs(1)
    guest_.channel()
    (guest_.to_front if from_front else guest_.to_back).close()
    time.sleep(0.05)
    guest_.works()
    guest_.lose()
    told = Told(t.end("back", "B2"), guest_.offer)
    replay = [m for m in told.replay if m.id != Front.SET_BACKEND_REQ_FD]
    guest_.agrees(replay, [m for m in guest_.model.messages() if m.id != Front.SET_BACKEND_REQ_FD])


# What a back-end has announced dies with it: the front-end is told so in its place.
WITHDRAWN = {
    "notifier": (Back.VRING_HOST_NOTIFIER_MSG, wire.notifier(1, 0x1000, 0x2000), 1,
                 Back.VRING_HOST_NOTIFIER_MSG, ""),
    "shared_object": (Back.SHARED_OBJECT_ADD, bytes(range(16)), 0, Back.SHARED_OBJECT_REMOVE, ""),
    "shmem": (Back.SHMEM_MAP, wire.shmem(), 1, Back.SHMEM_UNMAP, ",protocol.shmem=on"),
}


@case({f"{name}_{flags}": {"row": row, "flags": flags} for name, row in WITHDRAWN.items()
       for flags in (wire.REQUEST, wire.NEED_REPLY)}, repeat=0)
def C29_announcements_withdrawn(t, row, flags):
    """Notifiers, shared objects and mapped memory of a dead back-end are taken back."""
    request, payload, count, withdrawal, more = row
    begin(t, more=more)
    offer = NET._replace(protocol=NET.protocol | (bits(22) if more else 0))
    guest_ = Guest(t, offer, protocol=offer.protocol)
    guest_.runs(2)
    guest_.channel()
    fds = [t.memfd() for _ in range(count)]
    guest_.to_back.send(request, payload, flags, fds, own=True)
    guest_.to_front.expect(request, flags, payload, own=True)
    if flags == wire.NEED_REPLY:
        guest_.to_front.answer(request, u64(0), own=True)
        guest_.to_back.expect(request, wire.REPLY, own=True)
    guest_.to_back.close()
    guest_.lose()
    got = guest_.to_front.expect(withdrawal, payload=None, fds=0, own=True)
    if request == Back.VRING_HOST_NOTIFIER_MSG:
        check(got.value & 0x1ff == 1 | wire.NOFD, f"not ring 1 without a descriptor: {got}")
    else:
        check(got.payload == payload, f"not the same: {got}")
    if got.flags == wire.NEED_REPLY:
        guest_.to_front.answer(withdrawal, u64(0), own=True)
    guest_.succeed()
    guest_.to_back.quiet(0.05)


@case(repeat=0)
def C29_taken_back_is_not_withdrawn(t):
    """What the back-end had taken back itself is not taken back twice."""
    guest_ = guest(t).runs(2)
    guest_.channel()
    for request, payload in ((Back.SHARED_OBJECT_ADD, bytes(16)),
                             (Back.SHARED_OBJECT_REMOVE, bytes(16)),
                             (Back.VRING_HOST_NOTIFIER_MSG, wire.notifier(wire.NOFD))):
        guest_.to_back.send(request, payload, own=True)
        guest_.to_front.expect(request, own=True)
    guest_.lose()
    guest_.to_front.quiet(0.1)


@case({"nothing": {"changed": None}, "capacity": {"changed": 0}, "no_channel": {"changed": 0,
                                                                               "channel": False}},
      repeat=0)
def C44_config_changed(t, changed, channel=True):
    """A successor whose configuration space has grown: the front-end is asked to read it again,
    once, if it has a channel; then it sees the new one."""
    guest_ = guest(t, "blk").runs(1)
    guest_.rings[0].stands(5, 5)
    guest_.ask(Front.GET_CONFIG, wire.config(0, 8), wire.config(0, 8, CONFIG[:8]))
    if channel:
        guest_.channel()
    config = bytearray(CONFIG)
    if changed is not None:
        config[6] += 1                  # a disk that has become larger
    guest_.restart(offer=guest_.offer._replace(config=bytes(config)))
    if channel and changed is not None:
        got = guest_.to_front.expect(Back.CONFIG_CHANGE_MSG, own=True)
        if got.flags == wire.NEED_REPLY:
            guest_.to_front.answer(Back.CONFIG_CHANGE_MSG, u64(0), own=True)
    if channel:
        guest_.to_front.quiet(0.05) if changed is not None else guest_.to_front.drain_now(0.05)
        guest_.to_back.quiet(0.02)
    guest_.ask(Front.GET_CONFIG, wire.config(0, 8), wire.config(0, 8, bytes(config[:8])))


# --- postcopy

def postcopy(guest_, until_):
    guest_.ask(Front.POSTCOPY_ADVISE, answer=b"", answer_fds=[guest_.t.memfd()])
    if until_ == "advised":
        return
    for request in (Front.POSTCOPY_LISTEN, Front.POSTCOPY_END):
        guest_.front.send(request, flags=wire.NEED_REPLY, lost=True)
        guest_.back.expect(request, own=True)
        guest_.back.answer(request, u64(0), own=True)
        guest_.front.expect(request, own=True)
        if until_ == request.name.rsplit("_", 1)[1].lower():
            return


@case({"advised": {"phase": "advised", "closed": True},
       "listening": {"phase": "listen", "closed": True},
       "ended": {"phase": "end", "closed": False}}, repeat=0)
def C43_postcopy(t, phase, closed):
    """Lost during postcopy: pages are lost, the migration must fail. Afterwards it is as ever."""
    for policy in (None, "hold"):
        shim = begin(t, policy=policy)
        guest_ = Guest(t).runs(2)
        postcopy(guest_, phase)
        since = shim.mark()
        if not closed:
            guest_.restart()
            t.clear()
            continue
        guest_.back.close()
        guest_.front.ended(1.0 * SLOW)
        shim.said("postcopy", since)
        t.clear()


@case(repeat=0)
def C43_table(t):
    """The table that came back with other addresses is kept with the front-end's."""
    guest_ = guest(t)
    ram = guest_.memory()
    postcopy(guest_, "listen")
    payload = struct.pack("=II", 1, 0) + ram.row()
    other = payload[:24] + u64(0x5500000000) + payload[32:]
    guest_.ask(Front.SET_MEM_TABLE, payload, other, fds=[ram.fd])
    guest_.front.send(Front.SET_MEM_TABLE, u64(0), lost=True)
    guest_.back.expect(Front.SET_MEM_TABLE, own=True)
    guest_.front.send(Front.POSTCOPY_END, flags=wire.NEED_REPLY, lost=True)
    guest_.back.expect(Front.POSTCOPY_END, own=True)
    guest_.back.answer(Front.POSTCOPY_END, u64(0), own=True)
    guest_.front.expect(Front.POSTCOPY_END, own=True)
    guest_.model.take(Front.SET_MEM_TABLE, payload, [t.label(ram.fd)])
    guest_.ring(Ring(ram)).stands(9, 8)
    guest_.restart()


# --- deadlines

LATE = {
    "log_base": (Front.SET_LOG_BASE, wire.log_base(), 1, wire.REQUEST, "SET_LOG_BASE"),
    "features": (Front.GET_FEATURES, b"", 0, wire.REQUEST, "GET_FEATURES"),
    "ack": (Front.SET_VRING_NUM, wire.state(0, 64), 0, wire.NEED_REPLY, "SET_VRING_NUM"),
    "vring_base": (Front.GET_VRING_BASE, wire.state(0), 0, wire.REQUEST, "GET_VRING_BASE"),
    "check_state": (Front.CHECK_DEVICE_STATE, b"", 0, wire.REQUEST, "CHECK_DEVICE_STATE"),
}
NAMED_ONLY = (Front.GET_VRING_BASE, Front.CHECK_DEVICE_STATE)


def late(t, row, policy):
    """A request that the back-end does not answer in time."""
    request, payload, fds, flags, name = row
    then = ("--when-late", policy) if policy else ()
    guest_ = guest(t, extra=("--answer-within", "0.3", *then))
    guest_.runs(2)
    client(t)
    since = t.shim.mark()
    sent = [t.memfd() for _ in range(fds)]
    guest_.front.send(request, payload, flags, sent, lost=True)
    guest_.back.expect(request, own=True)
    line = t.shim.said(f"has not answered {name}", since)
    check("back" in line, f"not the back-end's: {line}")
    events(t, "SLOW_ANSWER")
    guest_.model.take(request, payload, [t.label(fd) for fd in sent])
    return guest_, request


def answers_late(guest_, request):
    """The answer comes after all, and is passed on."""
    answer = wire.state(0, 5) if request == Front.GET_VRING_BASE else u64(0)
    guest_.back.answer(request, answer, own=True)
    guest_.front.expect(request, wire.REPLY, answer if request != Front.GET_FEATURES else None,
                        own=True)


@case({f"{name}.{policy or 'default'}": {"row": row, "policy": policy} for name, row in LATE.items()
       for policy in (None, "wait")}, repeat=0)
def late_is_named(t, row, policy):
    """A slow answer is named, and waited for."""
    guest_, request = late(t, row, policy)
    guest_.front.quiet(0.4)
    answers_late(guest_, request)
    guest_.works()


@case({name: {"row": row} for name, row in LATE.items()}, repeat=0)
def late_fails(t, row):
    """--when-late fail: a failure instead, once; the late answer is dropped. Never for what may
    take minutes."""
    guest_, request = late(t, row, "fail")
    if request in NAMED_ONLY:
        guest_.front.quiet(0.5)
        answers_late(guest_, request)
        return
    if row[3] == wire.NEED_REPLY:
        guest_.front.refusal(request)
    elif request == Front.SET_LOG_BASE:
        guest_.front.expect(request, wire.REPLY, own=True, patience=1.0 * SLOW)
    else:                               # a question that has no word for a failure
        guest_.front.quiet(0.4)
        guest_.back.answer(request, u64(NET.features), own=True)
        guest_.front.expect(request, wire.REPLY, own=True)
        return
    guest_.back.answer(request, u64(0), own=True)
    guest_.front.quiet(0.2)
    guest_.works()


@case({name: {"row": row} for name, row in LATE.items()}, repeat=0)
def late_is_lost(t, row):
    """--when-late lose: as if the back-end were lost. Never for what may take minutes."""
    guest_, request = late(t, row, "lose")
    if request in NAMED_ONLY:
        guest_.front.quiet(0.5)
        answers_late(guest_, request)
        return
    guest_.back.ended()
    guest_.back.close()
    guest_.back = None
    guest_.front.expect(request, wire.REPLY, own=True)
    is_held(t)
    guest_.model.rebase(guest_.bases())
    guest_.succeed()


@case({"inflight": {"request": Front.GET_INFLIGHT_FD, "payload": wire.inflight(2, mmap_size=0)},
       "config": {"request": Front.GET_CONFIG, "payload": wire.config(0, 8)},
       "queues": {"request": Front.GET_QUEUE_NUM, "payload": b""}}, repeat=0)
def held_deadline(t, request, payload):
    """A question that nobody has answered waits for a successor no longer than --answer-within;
    then the protocol's word for failure comes, or the end."""
    guest_ = guest(t, extra=("--answer-within", "0.4")).runs(1)
    guest_.lose()
    begin_ = time.monotonic()
    guest_.front.send(request, payload, lost=True)
    got = guest_.front.next(own=True, patience=2.0 * SLOW)
    took = time.monotonic() - begin_
    check(took > 0.2, f"after {took:.2f} s: {got}")
    if request == Front.GET_INFLIGHT_FD:
        check(got and got.id == request and not got.fds and got.payload[:8] == bytes(8), f"{got}")
    elif request == Front.GET_CONFIG:
        check(got is None or len(got.payload) in (0, 12), f"no failure: {got}")


@case({"greeting": {"silent": Front.GET_PROTOCOL_FEATURES}, "log": {"silent": Front.SET_LOG_BASE},
       "fence": {"silent": "fence"}}, repeat=0)
def C19_successor_silent(t, silent):
    """A successor that does not answer is named, with the message; another one is tried."""
    guest_ = guest(t, extra=("--answer-within", "0.3")).runs(1)
    if silent == Front.SET_LOG_BASE:
        guest_.say(Front.SET_LOG_BASE, wire.log_base(), [t.memfd()])
        guest_.say(Front.SET_FEATURES, u64(ACKED | LOG_ALL))
    guest_.lose()
    since = t.shim.mark()
    back = t.end("back", "B silent")
    asked = []
    while True:
        message = back.next(own=True)
        check(message, "left before it was silent")
        asked.append(message.id)
        fence = message.id == Front.GET_FEATURES and asked.count(Front.GET_FEATURES) == 2
        if message.id == silent or fence:
            break
        if message.id in ASKED:
            back.answer(message.id, answer_to(message, guest_.offer), own=True)
        elif message.id == Front.SET_LOG_BASE:
            back.answer(message.id, u64(0), own=True)
    name = Front.GET_FEATURES.name if silent == "fence" else silent.name
    t.shim.said(rf"back.*\b{name}\b", since)
    guest_.front.quiet(0.02)
    back.close()
    guest_.succeed(name="B3")


@case(repeat=0)
def C22_nothing_answered_early(t):
    """While a successor is being told, an ack that the front-end asks for waits for its own: what
    was acknowledged has been acted upon."""
    guest_ = guest(t).runs(1)
    guest_.lose()
    told = Told(t.end("back", "B2"), guest_.offer, fence=False)
    event = t.eventfd()
    guest_.front.send(Front.SET_VRING_CALL, u64(0), wire.NEED_REPLY, [event], lost=True)
    time.sleep(0.1)
    told.back.quiet(0.02)
    told.back.answer(Front.GET_FEATURES, u64(guest_.offer.features), own=True)
    told.back.expect(Front.SET_VRING_CALL, wire.NEED_REPLY, u64(0), [event], own=True)
    guest_.front.quiet(0.1)
    told.back.answer(Front.SET_VRING_CALL, u64(0), own=True)
    guest_.front.expect(Front.SET_VRING_CALL, wire.REPLY, u64(0), own=True)


@case(repeat=0)
def C24_nobody_accepts(t):
    """A successor that is connected by the kernel and never accepts holds up nothing."""
    guest_ = guest(t).runs(1)
    asked_before(guest_)
    guest_.lose()
    for _ in range(5):
        begin_ = time.monotonic()
        guest_.ask(Front.GET_QUEUE_NUM, sees=u64(16))
        check(time.monotonic() - begin_ < 0.05 * SLOW, "held up")
        time.sleep(0.03)
    back = accept(t.ends["back"][2])
    back.close()
    guest_.succeed()
