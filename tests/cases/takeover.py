# SPDX-License-Identifier: MIT
"""A planned change of the back-end while the guest runs, and a standby that waits for its turn."""
import os
import socket
import threading
import time

import wire
from commands import one_line
from control import Client
from harness import case
from machine import (ACKED, BLK, LOG_ALL, NET, PACKED, PROTOCOL, RING_ORDER, STOPS, Guest, Ram,
                     Ring, Robot, begin, client, events, is_held, knows, lasting, robot_of, status)
from peers import PATIENCE, SLOW, check, until
from shim import command
from wire import Front, Proto, bits, u64

GEOMETRY = (*RING_ORDER[:5], Front.SET_VRING_KICK, Front.SET_VRING_ENABLE)


def listener_at(t, name):
    """A listening socket for one more back-end; the case closes it."""
    path = t.path(name)
    if os.path.exists(path):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(path)
    sock.listen(8)
    t.kept.append(sock)
    return sock, path


NO_STATE = PROTOCOL & ~bits(Proto.DEVICE_STATE)


def running(t, device="net", features=ACKED, rings=3, extra=(), channel=True, policy="hold",
            back="connect", protocol=PROTOCOL):
    begin(t, device, policy, extra, back=back)
    guest_ = Guest(t, BLK if device == "blk" else NET, features, protocol).runs(rings)
    if channel:
        guest_.channel()
    return guest_


def switch(t, path, asker=None):
    """Asks for the change and waits for the answer."""
    return (asker or client(t)).ask("switch", arguments={"back": f"connect:{path}"})


def done(answer):
    check("return" in answer, f"not done: {answer}")
    return answer["return"]


def failed(answer, *words):
    check("error" in answer, f"not failed: {answer}")
    check(answer["error"]["class"] == "GenericError" and len(answer["error"]["desc"]) > 8,
          f"{answer}")
    for word in words:
        check(word in answer["error"]["desc"], f"'{word}' is not in {answer}")


def goes_on(guest_):
    """The front-end is served."""
    guest_.ask(Front.GET_FEATURES, sees=u64(guest_.offer.features))


BASES = {0: 0x80058005, 1: 0x0123, 2: 0xffff}


@case({"net": {}, "one_ring": {"rings": 1}, "packed": {"features": ACKED | PACKED},
       "no_channel": {"channel": False}, "eight": {"rings": 8}}, repeat=0)
def switch_order(t, device="net", features=ACKED, rings=3, channel=True):
    """The new one is told all that may be told, the old one's rings are stopped, its answers are
    the new one's bases with all their bits; then the old one is left and the rings are woken."""
    guest_ = running(t, device, features, rings, channel=channel)
    journal, bases = [], {n: BASES.get(n, n) for n in range(rings)}
    old = robot_of(t, guest_, bases, journal=journal)
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener, journal=journal)
    answer = done(switch(t, path))
    guest_.model.rebase(bases)
    knows(new, guest_)
    check(old.gone.wait(PATIENCE), "the old one is not left")
    stops = [n for n, (who, m) in enumerate(journal) if who == "old" and m.id in STOPS]
    check(len(stops) == rings, f"stopped {len(stops)} times")
    after = [n for n, (who, m) in enumerate(journal) if who == "new" and m.id in GEOMETRY]
    check(after and max(stops) < min(after),
          "the new one's rings were set up before the old one's stopped")
    check([ring["index"] for ring in answer["rings"]] == list(range(rings)) and
          all(0 < ring["blackout_us"] < 5e6 for ring in answer["rings"]), f"{answer}")
    check(answer["back"] == f"connect:{path}" == status(t)["back"],
          f"{answer}, {status(t)['back']}")
    counts = status(t)["restarts"]
    check(counts["switched"] == 1 and counts["held"] == 0 and
          sum(counts["blackout_us"].values()) >= 1,
          f"{counts}")
    events(t, "SWITCHED")
    goes_on(guest_)
    for (n, kind), fd in guest_.events.items():
        os.set_blocking(fd, False)
        check(os.eventfd_read(fd) >= 1, f"{kind} of ring {n} was not woken")


@case(repeat=0)
def switch_waits_for_memory(t):
    """The new one takes long to map memory: the rings do not stand still meanwhile."""
    guest_ = running(t, rings=2)
    moments = {}

    def new_at(robot, message):
        if message.id == Front.SET_MEM_TABLE:
            time.sleep(0.4)
            moments["mapped"] = time.monotonic()
        return False

    def old_at(robot, message):
        if message.id in STOPS:
            moments.setdefault("stopped", time.monotonic())
        return False
    robot_of(t, guest_, {0: 1, 1: 2}, at=old_at)
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener, at=new_at)
    answer = done(switch(t, path))
    guest_.model.rebase({0: 1, 1: 2})
    knows(new, guest_)
    check(moments["mapped"] <= moments["stopped"], "the rings were stopped before that")
    check(all(ring["blackout_us"] < 0.3e6 * SLOW for ring in answer["rings"]), f"{answer}")


@case({"split": {"device": "blk", "why": "in-flight region"},
       "packed": {"device": "blk", "features": ACKED | PACKED, "why": "in-flight region"},
       "fs": {"device": "fs", "why": "table of files"},
       "vsock": {"device": "vsock", "why": "streams"}}, repeat=0)
def switch_would_lose(t, device, why, features=ACKED):
    """Its back-end knows what nobody else would know: refused before a ring is stopped."""
    guest_ = running(t, device, features, rings=2, protocol=NO_STATE)
    old = robot_of(t, guest_, {0: 1, 1: 2})
    listener, path = listener_at(t, "new")
    Robot(t, "new", guest_.offer, listener=listener)
    failed(switch(t, path), why)
    check(not any(old.count(request) for request in STOPS), "a ring was stopped")
    goes_on(guest_)


@case(repeat=0)
def switch_inflight(t):
    """The old one's requests are complete when its rings are stopped, so the new one has a region
    of its own; that one is the newest from then on."""
    guest_ = running(t, rings=2)
    guest_.say(Front.SET_INFLIGHT_FD, wire.inflight(2), [t.memfd()])
    robot_of(t, guest_, {0: 1, 1: 2})
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener)
    done(switch(t, path))
    new.heard(Front.SET_INFLIGHT_FD)
    label = new.model.last[Front.SET_INFLIGHT_FD][1]
    check(label == (t.label(new.region),), f"{label} is not its own")
    new.leave()
    again = Robot(t, "again", guest_.offer, listener=listener)
    again.heard(Front.SET_INFLIGHT_FD)
    check(again.model.last[Front.SET_INFLIGHT_FD] == new.model.last[Front.SET_INFLIGHT_FD],
          f"{again.model.last[Front.SET_INFLIGHT_FD]}")
    check(not again.count(Front.GET_INFLIGHT_FD), "asked for another one")
    again.heard(Front.SET_VRING_KICK, 2)
    goes_on(guest_)


def own_pipe(robot, message):
    """Answers with a descriptor of its own instead of taking the one that it was sent."""
    if message.id != Front.SET_DEVICE_STATE_FD:
        return False
    ours, theirs = reversed(robot.t.pipe()) if message.payload[0] == 0 else robot.t.pipe()
    robot.move_state(message, os.dup(ours))
    robot.peer.answer(message.id, u64(0), [theirs], own=True)
    robot.t.release([ours, theirs])
    return True


@case({"small": {}, "none": {"size": 0}, "large": {"size": 3 << 20}, "fs": {"device": "fs"},
       "own_pipe_out": {"old_at": own_pipe, "size": 200000},
       "own_pipe_in": {"new_at": own_pipe, "size": 200000},
       "own_pipes": {"old_at": own_pipe, "new_at": own_pipe, "size": 200000}}, repeat=0)
def switch_hands_state_on(t, size=100, device="net", old_at=None, new_at=None):
    """What the old one knows beside the rings reaches the new one whole, while no ring runs."""
    guest_ = running(t, device, rings=2)
    journal, bases = [], guest_.bases()
    old = robot_of(t, guest_, bases, old_at, journal)
    old.state = os.urandom(size)
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener, at=new_at, journal=journal)
    done(switch(t, path))
    check(new.state == old.state, f"{len(new.state)} bytes of {len(old.state)} have come, or others")
    check(not any(m.id == Front.SET_DEVICE_STATE_FD and m.payload[4:] != bytes(4)
                  for m in new.messages + old.messages), "another phase than stopped")
    order = [n for n, (_, m) in enumerate(journal)
             if m.id in (Front.SET_DEVICE_STATE_FD, Front.CHECK_DEVICE_STATE)]
    check([journal[n][0] for n in order] == ["old", "new", "old", "new"], f"{order}")
    check(max(n for n, (_, m) in enumerate(journal) if m.id in STOPS) < order[0], "while rings ran")
    check(order[-1] < min(n for n, (who, m) in enumerate(journal)
                          if who == "new" and m.id in GEOMETRY), "not before the rings")
    guest_.model.rebase(bases)
    knows(new, guest_)
    goes_on(guest_)


def undrained(t):
    """A disk whose back-end may leave its requests in the in-flight region, of which some are under
    way: rings 0 and 1 stand at 0x130 and 0x131, used are 0x123 and 0x124."""
    begin(t, "blk", more=",protocol.get_vring_base_inflight=on")
    protocol = PROTOCOL | bits(Proto.GET_VRING_BASE_INFLIGHT)
    guest_ = Guest(t, BLK._replace(protocol=protocol), protocol=protocol).runs(2)
    guest_.say(Front.SET_INFLIGHT_FD, wire.inflight(2), [t.memfd()])
    return guest_


@case({"one_kind": {"more": 0}, "other_kind": {"more": bits(13)}}, repeat=0)
def switch_undrained(t, more):
    """get_vring_base_inflight: the old one says where its rings stand while requests are under way,
    which are in the region: it goes to a new one of the same kind, without a wait; no other can
    read it."""
    guest_ = undrained(t)
    old = robot_of(t, guest_, {0: 0x130, 1: 0x131})
    listener, path = listener_at(t, "new")
    offer = guest_.offer._replace(features=guest_.offer.features | more)
    new = Robot(t, "new", offer, listener=listener)
    begin_ = time.monotonic()
    answer = switch(t, path)
    if more:
        failed(answer, "of the same kind")
        check(not old.count(Front.GET_VRING_BASE), "its rings were stopped")
        goes_on(guest_)
        return
    done(answer)
    check(time.monotonic() - begin_ < 1.0 * SLOW, "waited for what is not to come")
    guest_.model.rebase(old.bases)
    knows(new, guest_)
    check(not new.count(Front.GET_INFLIGHT_FD), "a region of its own, without the requests")
    goes_on(guest_)


@case({"requests": {"answers": True}, "answer": {"answers": False}}, repeat=0)
def switch_never_drained(t, answers):
    """The old one does not complete its requests, or does not answer: the change fails, and it is
    not the new one that is blamed."""
    begin(t, "blk", extra=("--answer-within", "0.5"))
    guest_ = Guest(t, BLK).runs(1)
    guest_.say(Front.SET_INFLIGHT_FD, wire.inflight(1), [t.memfd()])
    go = threading.Event()

    def at(_robot, message):
        if message.id in STOPS and not answers:
            go.wait(PATIENCE)
        return False
    old = robot_of(t, guest_, {0: 0x130}, at=at)
    listener, path = listener_at(t, "new")
    Robot(t, "new", guest_.offer, listener=listener)
    asker, since = client(t), t.shim.mark()
    asker.say(('{"execute": "switch", "arguments": {"back": "connect:%s"}}' % path).encode())
    if not answers:
        old.heard(Front.GET_VRING_BASE)
        time.sleep(0.7 * SLOW)
        go.set()
    failed(asker.hear(), "the old back-end does not")
    t.shim.not_said("SILENT", since)
    guest_.model.rebase(old.bases)
    knows(old, guest_)
    goes_on(guest_)


@case({"net": {"device": "net"}, "disk": {"device": "blk"}}, repeat=0)
def switch_wrong_ring(t, device):
    """The old one answers for another ring than it was asked for: it is left for that, as its word is
    of no use; no position of one ring is told for another."""
    begin(t, device)
    guest_ = Guest(t, NET if device == "net" else BLK).runs(2)
    if device == "blk":
        guest_.say(Front.SET_INFLIGHT_FD, wire.inflight(2), [t.memfd()])

    def at(robot, message):
        if message.id not in STOPS:
            return False
        index = int.from_bytes(message.payload[:4], "little")
        robot.say(message, wire.state(1 - index, 0x700 + index))
        return True
    old = robot_of(t, guest_, at=at)
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener)
    since = t.shim.mark()
    switch(t, path)
    t.shim.said(r"ring 1, asked was 0 \[WRONG_REPLY\]", since)
    check(old.gone.wait(PATIENCE), "the old one stays")
    guest_.model.rebase(guest_.bases())         # as the rings themselves show
    knows(new, guest_)
    goes_on(guest_)


def refuses(request, direction=None):
    """A hook: answers this request with an error."""
    def at(robot, message):
        if message.id != request or direction not in (None, message.payload[:1]):
            return False
        robot.say(message, u64(1 | wire.NOFD if request == Front.SET_DEVICE_STATE_FD else 1))
        return True
    return at


def closes_early(robot, message):
    """A hook: does not read to the end."""
    if message.id != Front.SET_DEVICE_STATE_FD:
        return False
    robot.t.release(message.fds)
    robot.say(message, u64(wire.NOFD))
    return True


STATE_FAULTS = {
    "old_refuses": ("old", refuses(Front.SET_DEVICE_STATE_FD), "old", "cannot write"),
    "new_refuses": ("new", refuses(Front.SET_DEVICE_STATE_FD), "new", "cannot read"),
    "old_incomplete": ("old", refuses(Front.CHECK_DEVICE_STATE), "old", "has not written all"),
    "new_unfit": ("new", refuses(Front.CHECK_DEVICE_STATE), "new", "does not take"),
    "new_closes": ("new", closes_early, "new", "does not read"),
}


@case({name: {"fault": fault} for name, fault in STATE_FAULTS.items()}, repeat=0)
def switch_state_fails(t, fault):
    """Then the old one has its rings back."""
    who, hook, *words = fault
    guest_ = running(t, rings=2)
    bases = {0: 5, 1: 6}
    old = robot_of(t, guest_, bases, hook if who == "old" else None)
    old.state = bytes(300000)
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener, at=hook if who == "new" else None)
    failed(switch(t, path), *words)
    check(new.gone.wait(PATIENCE), "the new one is not left")
    guest_.model.rebase(bases)
    knows(old, guest_)
    goes_on(guest_)


@case({"asked": {"request": Front.SET_DEVICE_STATE_FD},
       "checked": {"request": Front.CHECK_DEVICE_STATE}}, repeat=0)
def switch_state_old_dies(t, request):
    """The old one dies in the middle of it: no new one goes on from half of a state."""
    guest_ = running(t, rings=2)

    later = []

    def dies(robot, message):
        if message.id != request:
            return False
        later.append(Robot(t, "again", guest_.offer, listener=listener))
        robot.peer.sock.shutdown(socket.SHUT_RDWR)
        robot.peer.close()
        return True
    robot_of(t, guest_, {0: 5, 1: 6}, dies)
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener)
    done(switch(t, path))
    again = later[0]
    guest_.model.rebase({0: 5, 1: 6})
    check(new.gone.wait(PATIENCE), "the first new one is not left")
    knows(again, guest_)
    check(not again.count(Front.SET_DEVICE_STATE_FD), "a state from nowhere")
    goes_on(guest_)


@case(repeat=0)
def switch_in_place(t):
    """To the socket where the live back-end listens: refused at once. To one that a new process has
    made in its place: done, while the old one is still connected."""
    guest_ = running(t, rings=2)
    old = robot_of(t, guest_, {0: 11, 1: 12})
    path = t.ends["back"][2].getsockname()
    begin_ = time.monotonic()
    failed(switch(t, path), "listens there")
    check(time.monotonic() - begin_ < 0.5 * SLOW, "not at once")
    check(not old.count(Front.GET_VRING_BASE), "rings were stopped")
    t.ends["back"][2].close()
    listener, _ = listener_at(t, os.path.basename(path))
    t.ends["back"] = ("connect", f"connect:{path}", listener)
    new = Robot(t, "new", guest_.offer, listener=listener, bases={0: 21, 1: 22})
    done(switch(t, path))
    guest_.model.rebase(old.bases)
    knows(new, guest_)
    check(old.gone.wait(PATIENCE), "the old one is not left")
    failed(switch(t, path), "listens there")
    goes_on(guest_)


@case(repeat=0)
def switch_rings_as_they_are(t):
    """Rings that do not run are not stopped; disabled ones stay so; one without a descriptor
    too."""
    begin(t)
    guest_ = Guest(t)
    ram = guest_.memory()
    guest_.ring(Ring(ram, 0), enable=True, more=True)
    guest_.ring(Ring(ram, 1), enable=False)
    guest_.ring(Ring(ram, 2), 17, start=False)
    guest_.ring(Ring(ram, 3))
    guest_.say(Front.SET_VRING_CALL, u64(3 | wire.NOFD))
    guest_.ask(Front.GET_VRING_BASE, wire.state(3), wire.state(3, 7))
    bases = {0: 5, 1: 6}
    old = robot_of(t, guest_, bases)
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener)
    done(switch(t, path))
    guest_.model.rebase(bases)
    knows(new, guest_)
    stopped = [int.from_bytes(m.payload[:4], "little") for m in old.messages if m.id in STOPS]
    check(sorted(stopped) == [0, 1], f"stopped {stopped}")


@case(repeat=0)
def switch_to_and_fro(t):
    """Twenty changes between two: bases follow, nothing is left behind."""
    guest_ = running(t)
    robot = robot_of(t, guest_, {0: 1, 1: 2, 2: 3})
    ends = [listener_at(t, f"end{n}") for n in range(2)]
    fds = None
    for n in range(20):
        listener, path = ends[n % 2]
        new = Robot(t, f"new{n}", guest_.offer, listener=listener,
                    bases={k: n * 10 + k for k in range(3)})
        done(switch(t, path))
        guest_.model.rebase(robot.bases)
        knows(new, guest_)
        check(robot.gone.wait(PATIENCE), "the old one is not left")
        robot.peer.close()
        robot = new
        if fds:
            until(lambda: len(t.shim.fds()) == fds, lambda: f"{fds} descriptors: {t.shim.fds()}")
        if n == 1:
            time.sleep(0.1)
            fds = len(t.shim.fds())
    check(status(t)["restarts"]["switched"] == 20, f"{status(t)['restarts']}")
    goes_on(guest_)


@case(repeat=0)
def switch_then_lost(t):
    """Afterwards the new endpoint is the one that vushim looks at when the back-end is lost."""
    guest_ = running(t)
    robot_of(t, guest_, {0: 1, 1: 2, 2: 3})
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener)
    done(switch(t, path))
    guest_.model.rebase({0: 1, 1: 2, 2: 3})
    knows(new, guest_)
    new.leave()
    again = Robot(t, "again", guest_.offer, listener=listener)
    guest_.model.rebase(guest_.bases())
    again.heard(Front.SET_VRING_KICK, 3)
    knows(again, guest_)
    goes_on(guest_)


def leaves_at(number, how="close"):
    """A hook: gone, or silent, at so many messages."""
    def at(robot, _message):
        if len(robot.messages) < number:
            return False
        if how == "close":
            robot.peer.sock.shutdown(socket.SHUT_RDWR)
            robot.peer.close()
        elif how == "nonsense":
            robot.peer.raw(wire.reply(Front.GET_QUEUE_NUM, bytes(5)))
        return True
    return at


@case({how: {"how": how} for how in ("close", "nonsense")}, repeat=0, slow=True)
def switch_fails_at_each(t, how):
    """The new one fails at each message in turn: the old one has its rings back, where it left
    them."""
    guest_ = running(t, rings=2)
    old = robot_of(t, guest_)
    listener, path = listener_at(t, "new")
    number = 0
    while True:
        number += 1
        old.bases = {0: 100 + number, 1: 200 + number}
        stops = old.count(Front.GET_VRING_BASE)
        new = Robot(t, f"new{number}", guest_.offer, listener=listener, at=leaves_at(number, how))
        answer = switch(t, path)
        if "return" in answer:
            break
        failed(answer)
        if old.count(Front.GET_VRING_BASE) > stops:
            guest_.model.rebase(old.bases)
        knows(old, guest_)
        check(not old.gone.is_set(), "the old one was left")
        goes_on(guest_)
        guest_.say(Front.SET_VRING_CALL, u64(number % 2), [t.eventfd()], ack=True)
        check(number < 60, "no end of messages")
    check(number > 15, f"done when the new one left after {number}")
    check(status(t)["restarts"]["switched"] == 1, f"{status(t)['restarts']}")
    events(t, "SWITCH_FAILED", number - 1)
    del new


@case({"greeting": {"number": 1}, "memory": {"number": 9}, "late": {"number": 20}}, repeat=0)
def switch_silent(t, number):
    """One that stops answering does not hold the rings for ever: the change fails."""
    guest_ = running(t, extra=("--answer-within", "0.5"), rings=2)
    old = robot_of(t, guest_, {0: 11, 1: 12})
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener, at=leaves_at(number, "silent"))
    begin_ = time.monotonic()
    answer = switch(t, path)
    check(time.monotonic() - begin_ < 3.0 * SLOW, "far too late")
    failed(answer)
    if old.count(Front.GET_VRING_BASE):
        guest_.model.rebase(old.bases)
    knows(old, guest_)
    goes_on(guest_)
    del new


@case({"first": {"which": 1}, "second": {"which": 2}}, repeat=0)
def switch_old_dies(t, which):
    """The old one dies while its rings are stopped: the guest is held, and goes on with the new one
    or with the next."""
    guest_ = running(t, rings=2)

    def at(robot, message):
        if message.id in STOPS and robot.count(message.id) == which:
            robot.peer.sock.shutdown(socket.SHUT_RDWR)
            robot.peer.close()
            return True
        return False
    robot_of(t, guest_, {0: 0x123, 1: 0x124}, at=at)
    listener, path = listener_at(t, "new")
    robots = [Robot(t, "new", guest_.offer, listener=listener),
              Robot(t, "again", guest_.offer, listener=t.ends["back"][2])]
    answer = switch(t, path)
    guest_.model.rebase(guest_.bases())
    goes_on(guest_)
    takers = [robot for robot in robots if robot.count(Front.SET_VRING_KICK) >= 2]
    check(takers, f"nobody took over after {answer}")
    knows(takers[-1], guest_)


@case({"before": {"where": "new"}, "stopped": {"where": "old"}}, repeat=0)
def switch_front_asks(t, where):
    """What the front-end says during a change waits or goes to the old one, is answered once, and
    the new one knows of it."""
    guest_ = running(t, rings=2)
    go, reached = threading.Event(), threading.Event()

    def at(_robot, message):
        if message.id in (Front.SET_MEM_TABLE, *STOPS) and not go.is_set():
            reached.set()
            go.wait(PATIENCE)
        return False
    old = robot_of(t, guest_, {0: 11, 1: 12}, at=at if where == "old" else None)
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener, at=at if where == "new" else None)
    asker = client(t)
    asker.say(('{"execute": "switch", "arguments": {"back": "connect:%s"}}' % path).encode())
    check(reached.wait(PATIENCE), "not reached")
    event = t.eventfd()
    plan = ((Front.GET_FEATURES, b"", wire.REQUEST, ()),
            (Front.SET_VRING_CALL, u64(0), wire.NEED_REPLY, [event]),
            (Front.NET_SET_MTU, u64(1300), wire.REQUEST, ()),
            (Front.GET_STATUS, b"", wire.REQUEST, ()),
            (Front.SET_VRING_ENABLE, wire.state(1, 0), wire.NEED_REPLY, ()))
    for request, payload, flags, fds in plan:
        guest_.front.send(request, payload, flags, fds, lost=True)
        guest_.model.take(request, payload, [t.label(fd) for fd in fds])
    time.sleep(0.05)
    go.set()
    done(asker.hear())
    for request, payload, flags, _ in plan:
        if flags == wire.NEED_REPLY or not payload:
            guest_.front.expect(request, wire.REPLY, own=True)
    guest_.front.quiet(0.05)
    guest_.model.rebase(old.bases)
    knows(new, guest_)
    goes_on(guest_)


@case(repeat=0)
def switch_outstanding(t):
    """A question that the old one has not answered yet: it is answered once, by either."""
    guest_ = running(t, rings=2)

    def at(_robot, message):
        if message.id == Front.GET_STATUS:
            time.sleep(0.3)
        return False
    old = robot_of(t, guest_, {0: 11, 1: 12}, at=at)
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener)
    guest_.front.send(Front.GET_STATUS, lost=True)
    old.heard(Front.GET_STATUS)
    done(switch(t, path))
    guest_.front.expect(Front.GET_STATUS, wire.REPLY, u64(0xf), own=True)
    guest_.front.quiet(0.1)
    guest_.model.rebase(old.bases)
    knows(new, guest_)
    goes_on(guest_)


@case(repeat=0)
def switch_twice_at_once(t):
    """A second change during the first is refused; the first is carried out."""
    guest_ = running(t, rings=2)
    go = threading.Event()

    def at(_robot, message):
        if message.id == Front.GET_FEATURES:
            go.wait(PATIENCE)
        return False
    robot_of(t, guest_, {0: 11, 1: 12})
    listener, path = listener_at(t, "new")
    _, other = listener_at(t, "other")
    new = Robot(t, "new", guest_.offer, listener=listener, at=at)
    first, second = client(t), Client(t, t.control)
    first.say(('{"execute": "switch", "arguments": {"back": "connect:%s"}}' % path).encode())
    new.heard(Front.GET_FEATURES)
    check(second.value("query-status")["life"] in ("switching", "running"), f"{status}")
    failed(switch(t, other, second))
    go.set()
    done(first.hear())
    goes_on(guest_)
    guest_.model.rebase({0: 11, 1: 12})
    knows(new, guest_)


@case({"nobody": {"kind": "nobody"}, "stale": {"kind": "stale"}, "file": {"kind": "file"},
       "no_folder": {"kind": "no_folder"}}, repeat=0)
def switch_nobody_there(t, kind):
    """Nobody listens there: it fails, in bounded time, and the old one has heard nothing of it."""
    guest_ = running(t, extra=("--answer-within", "0.5", "--wait", "0.5"))
    old = robot_of(t, guest_)
    path = t.path("gone") if kind != "no_folder" else t.path("none/gone")
    if os.path.exists(path):
        os.unlink(path)
    if kind == "stale":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(path)
        sock.close()
    elif kind == "file":
        with open(path, "w", encoding="ascii"):
            pass
    heard = len(old.messages)
    begin_ = time.monotonic()
    failed(switch(t, path))
    check(time.monotonic() - begin_ < 4.0 * SLOW, "far too late")
    check(len(old.messages) == heard, f"the old one has heard {old.messages[heard:]}")
    goes_on(guest_)


@case(repeat=0)
def switch_while_held(t):
    """Without a live back-end: a successor like any other, or refused; the guest is not lost."""
    guest_ = running(t, rings=2)
    guest_.lose()
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener)
    answer = switch(t, path)
    if "error" in answer:
        failed(answer)
        guest_.succeed()
        return
    knows(new, guest_)
    goes_on(guest_)


@case(repeat=0)
def switch_while_idle(t):
    """Without a front-end there is nothing to carry over: an answer, and the next life is good."""
    begin(t)
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", NET, listener=listener)
    answer = switch(t, path)
    check(("return" in answer) != ("error" in answer), f"{answer}")
    if "error" in answer:
        Guest(t).works()
        return
    check(status(t)["back"] == f"connect:{path}", f"{status(t)['back']}")
    front = t.front()
    front.send(Front.GET_FEATURES, lost=True)
    front.expect(Front.GET_FEATURES, wire.REPLY, u64(NET.features), own=True)
    front.close()
    check(new.gone.wait(PATIENCE), "the back-end is kept")
    t.stop_one(next(key for key, (shim, _) in t.shims.items() if shim is t.shim))


@case({"early": {"request": Front.GET_PROTOCOL_FEATURES},
       "late": {"request": Front.SET_VRING_KICK}}, repeat=0)
def switch_client_leaves(t, request):
    """Whoever asked for the change leaves before it is done: the guest has one back-end, whole."""
    guest_ = running(t, rings=2)
    go, reached = threading.Event(), threading.Event()

    def at(_robot, message):
        if message.id == request and not go.is_set():
            reached.set()
            go.wait(PATIENCE)
        return False
    old = robot_of(t, guest_, {0: 11, 1: 12})
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener, at=at)
    asker = Client(t, t.control)
    asker.say(('{"execute": "switch", "arguments": {"back": "connect:%s"}}' % path).encode())
    check(reached.wait(PATIENCE), "not reached")
    asker.sock.close()
    time.sleep(0.02)
    go.set()
    until(lambda: status(t)["life"] == "running" and old.gone.is_set() != new.gone.is_set(),
          lambda: f"an end of the change: {status(t)}")
    goes_on(guest_)
    if old.count(Front.GET_VRING_BASE):
        guest_.model.rebase(old.bases)
    knows(new if old.gone.is_set() else old, guest_)


WRONG = {"nothing": None, "empty": {}, "number": {"back": 5}, "no_path": {"back": ""},
         "unknown_kind": {"back": "fd:x"}, "long": {"back": "connect:/" + "x" * 200},
         "more": {"back": "connect:/tmp/vc.none", "frob": 1}}


@case({name: {"arguments": arguments} for name, arguments in WRONG.items()}, repeat=0)
def switch_wrong_words(t, arguments):
    """Wrong arguments are an error by name, and nothing happens."""
    guest_ = running(t, rings=1)
    old = robot_of(t, guest_)
    heard = len(old.messages)
    more = {} if arguments is None else {"arguments": arguments}
    answer = client(t).ask("switch", **more)
    check("error" in answer, f"{answer}")
    check(len(old.messages) == heard, "the old one has heard of it")
    goes_on(guest_)


@case(repeat=0)
def switch_program(t):
    """`vushim ctl PATH switch EP`: done is 0, failed is one line."""
    guest_ = running(t, rings=2, extra=("--wait", "0.5"))
    robot_of(t, guest_, {0: 11, 1: 12})
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener)
    one_line(*command("ctl", t.control, "switch"), "switch")
    state, out, err = command("ctl", t.control, "switch", t.path("nobody"), patience=20)
    check(state in (1, 2) and len(err.splitlines()) == 1 and not out, f"{state}: {out} {err}")
    state, out, err = command("ctl", t.control, "switch", f"connect:{path}")
    check(state == 0 and not err and "blackout" in out, f"{state}: {out} {err}")
    guest_.model.rebase({0: 11, 1: 12})
    knows(new, guest_)


@case({"feature": {"change": {"features": NET.features & ~bits(32)}, "word": "version_1"},
       "protocol": {"change": {"protocol": PROTOCOL & ~bits(12)}, "word": "inflight_shmfd"},
       "queues": {"change": {"queues": 1}, "word": "queues"}}, repeat=0)
def switch_unfit(t, change, word):
    """One that does not fit is named in the answer; the old one has heard nothing of it."""
    guest_ = running(t, rings=8)
    old = robot_of(t, guest_)
    heard = len(old.messages)
    listener, path = listener_at(t, "new")
    Robot(t, "new", NET._replace(**change), listener=listener)
    failed(switch(t, path), word)
    check(len(old.messages) == heard, f"the old one has heard {old.messages[heard:]}")
    goes_on(guest_)


@case(repeat=0)
def switch_during_postcopy(t):
    """Not while pages are outstanding."""
    guest_ = running(t, rings=1)
    guest_.ask(Front.POSTCOPY_ADVISE, answer=b"", answer_fds=[t.memfd()])
    old = robot_of(t, guest_)
    listener, path = listener_at(t, "new")
    Robot(t, "new", guest_.offer, listener=listener)
    failed(switch(t, path), "postcopy")
    check(not old.count(Front.GET_VRING_BASE), "rings were stopped")
    goes_on(guest_)


@case(repeat=0)
def switch_logs(t):
    """While LOG_ALL is on: the new one logs, and nothing is lost of the old one's (no mark of
    all)."""
    guest_ = running(t, rings=2)
    log = t.memfd(0x1000)
    guest_.say(Front.SET_LOG_BASE, wire.log_base(), [log])
    guest_.say(Front.SET_FEATURES, u64(ACKED | LOG_ALL))
    robot_of(t, guest_, {0: 11, 1: 12})
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener)
    done(switch(t, path))
    guest_.model.rebase({0: 11, 1: 12})
    knows(new, guest_)
    requests = [m.id for m in new.messages]
    check(requests.index(Front.SET_LOG_BASE) < requests.index(Front.SET_FEATURES),
          "logging before the log")


# --- standby

RINGS_ONLY = (*GEOMETRY, Front.SET_INFLIGHT_FD, Front.GET_INFLIGHT_FD)


def standby(t, state="ready"):
    found = until(lambda: status(t)["standby"] if (status(t)["standby"] or {}).get("state") == state
                  else None, lambda: f"a standby that is {state}: {status(t)['standby']}")
    return found


def with_standby(t, device="net", policy="hold", rings=2, at=None, offer=None, journal=None):
    """A guest that runs, its back-end, and a standby."""
    listener, path = listener_at(t, "standby")
    guest_ = running(t, device, rings=rings, policy=policy, extra=("--standby", f"connect:{path}"))
    live = robot_of(t, guest_, {n: 10 + n for n in range(rings)}, journal=journal, name="live")
    spare = Robot(t, "spare", offer or guest_.offer, listener=listener, at=at, journal=journal)
    return guest_, live, spare, (listener, path)


@case({"net": {"device": "net"}, "blk": {"device": "blk"}}, repeat=0)
def standby_is_told(t, device):
    """A standby is asked and told all that may be told while another one runs, and no more."""
    guest_, live, spare, (_, path) = with_standby(t, device)
    found = standby(t)
    check(found["back"] == f"connect:{path}", f"{found}")
    events(t, "STANDBY_READY")
    heard = [m.id for m in spare.messages]
    for request in (Front.SET_OWNER, Front.SET_FEATURES, Front.SET_MEM_TABLE,
                    Front.SET_BACKEND_REQ_FD):
        check(request in heard, f"not told m{request}: {heard}")
    check(not set(RINGS_ONLY) & set(heard), f"told of rings: {heard}")
    states = [m.value for m in spare.messages if m.id == Front.SET_STATUS]
    check(not any(value & 4 for value in states), f"DRIVER_OK: {states}")
    goes_on(guest_)
    check(live.count(Front.GET_FEATURES) >= 1 and not live.gone.is_set(),
          "the live one is disturbed")


@case(repeat=0)
def standby_not_there(t):
    """A standby that is not there yet is looked for, and the state says so; a slow one is not ready
    before it has taken in all that it was told."""
    listener, path = listener_at(t, "standby")
    os.unlink(path)
    guest_ = running(t, rings=1, extra=("--standby", f"connect:{path}"))
    robot_of(t, guest_)
    check(standby(t, "connecting")["back"] == f"connect:{path}", "not that one")
    go = threading.Event()

    def at(_robot, message):
        if message.id == Front.SET_MEM_TABLE:
            go.wait(PATIENCE)
        return False
    listener, path = listener_at(t, "standby")
    spare = Robot(t, "spare", guest_.offer, listener=listener, at=at)
    spare.heard(Front.SET_MEM_TABLE)
    time.sleep(0.05)
    check((status(t)["standby"] or {}).get("state") != "ready", "ready too early")
    go.set()
    standby(t)


@case({"sound": {"stop": False}, "by_stop": {"stop": True}}, repeat=0)
def standby_takes_over(t, stop):
    """When the live one is lost, the standby gets the rings, with no further greeting."""
    guest_, live, spare, _ = with_standby(t)
    standby(t)
    spare.heard(Front.SET_MEM_TABLE)
    if stop:
        for n in range(2):
            guest_.say(Front.SET_VRING_ENABLE, wire.state(n, 0), ack=True)
            guest_.ask(Front.GET_VRING_BASE, wire.state(n), sees=wire.state(n, 10 + n))
    told = len(spare.messages)
    moment = time.monotonic()
    live.leave()
    guest_.model.rebase(guest_.bases())
    if stop:                    # rings were announced to it when they ran
        spare.heard(Front.GET_FEATURES, 2)
        spare.model.rings = {n: ring for n, ring in spare.model.rings.items()
                             if list(ring) != [Front.SET_VRING_CALL]}
    knows(spare, guest_)
    check(time.monotonic() - moment < 0.5 * SLOW, f"took {time.monotonic() - moment:.2f} s")
    again = [m.id for m in spare.messages[told:] if m.id in
             (Front.GET_PROTOCOL_FEATURES, Front.SET_PROTOCOL_FEATURES, Front.SET_OWNER,
              Front.GET_QUEUE_NUM,
              Front.SET_FEATURES, Front.SET_MEM_TABLE, Front.SET_BACKEND_REQ_FD)]
    check(not again, f"told again: {again}")
    goes_on(guest_)
    events(t, "BACK_TOOK_OVER")
    check(status(t)["restarts"]["taken_over"] >= 1, f"{status(t)['restarts']}")


CHANGES = {
    "table": lambda t: [(Front.SET_MEM_TABLE, u64(1) + ram.row(), [ram.fd])
                        for ram in [Ram(t)]],
    "regions": lambda t: [(Front.ADD_MEM_REG, u64(0) + wire.region(n),
                           [t.memfd()]) for n in range(1, 4)],
    "features": lambda t: [(Front.SET_LOG_BASE, wire.log_base(), [t.memfd()]),
                           (Front.SET_FEATURES, u64(ACKED | LOG_ALL), [])],
    "call": lambda t: [(Front.SET_VRING_CALL, u64(0), [t.eventfd()])],
    "rings": lambda t: [(Front.SET_VRING_NUM, wire.state(3, 64), []),
                        (Front.SET_VRING_ENABLE, wire.state(1, 0), []),
                        (Front.SET_VRING_KICK, u64(1), [t.eventfd()])],
    "others": lambda t: [(Front.NET_SET_MTU, u64(1234), []),
                         (Front.SET_CONFIG, wire.config(0, 2, b"hi"), []),
                         (Front.SET_STATUS, u64(0xb), []),
                         (Front.SET_INFLIGHT_FD, wire.inflight(2), [t.memfd()])],
    "reset": lambda t: [(Front.RESET_DEVICE, b"", [])],
}


@case({name: {"change": change} for name, change in CHANGES.items()}, repeat=0)
def standby_follows(t, change):
    """What changes afterwards reaches the standby as well, at once or with the rings."""
    guest_, live, spare, (listener, _) = with_standby(t)
    standby(t)
    for request, payload, fds in change(t):
        guest_.say(request, payload, fds, ack=request != Front.SET_LOG_BASE)
        if request == Front.RESET_DEVICE:
            guest_.rings.clear()
        if request == Front.SET_MEM_TABLE:
            live.model.take(request, payload, [t.label(fd) for fd in fds])
            ram = Ram(t, fd=fds[0])
            for n, ring in guest_.rings.items():
                ring.ram = ram
                ring.stands(40 + n, 30 + n)
    goes_on(guest_)
    if change is CHANGES["reset"] and spare.gone.wait(0.3):
        # What it was told is worth nothing after a reset: it may be asked anew.
        spare = Robot(t, "spare again", guest_.offer, listener=listener)
    standby(t)
    live.leave()
    guest_.model.rebase(guest_.bases())
    knows(spare, guest_)
    goes_on(guest_)


@case({"feature": {"change": {"features": NET.features & ~bits(32)}, "word": "version_1"},
       "protocol": {"change": {"protocol": PROTOCOL & ~bits(12)}, "word": "inflight_shmfd"}},
      repeat=0)
def standby_unfit(t, change, word):
    """A standby that does not fit is named; the live one is not disturbed; a better one is
    taken."""
    since = t.shim.mark() if getattr(t, "shim", None) else 0
    guest_, live, spare, (listener, _) = with_standby(t, offer=NET._replace(**change))
    line = t.shim.said(word, since)
    check("standby" in line or "back" in line, f"not whose: {line}")
    check(spare.gone.wait(PATIENCE), "the unfit one stays")
    check((status(t)["standby"] or {}).get("state") != "ready", f"{status(t)['standby']}")
    heard = len(live.messages)
    goes_on(guest_)
    check(len(live.messages) == heard + 1, f"{live.messages[heard:]}")
    Robot(t, "better", guest_.offer, listener=listener)
    standby(t)


@case({"close": {"how": "close"}, "nonsense": {"how": "nonsense"}}, repeat=0)
def standby_comes_and_goes(t, how):
    """A standby leaves and comes back; the live one and the front-end see nothing of it."""
    guest_, live, spare, (listener, _) = with_standby(t)
    client(t)
    for n in range(4):
        standby(t)
        heard = len(live.messages)
        if how == "close":
            spare.leave()
        else:
            spare.peer.raw(wire.reply(Front.GET_QUEUE_NUM, bytes(5)))
            check(spare.gone.wait(PATIENCE), "one that talks nonsense stays")
        events(t, "STANDBY_LOST", n + 1)
        goes_on(guest_)
        check(len(live.messages) == heard + 1, f"{live.messages[heard:]}")
        spare = Robot(t, f"spare{n}", guest_.offer, listener=listener)
    standby(t)
    live.leave()
    guest_.model.rebase(guest_.bases())
    knows(spare, guest_)
    goes_on(guest_)


@case({str(number): {"number": number} for number in (1, 3, 7, 9, 12)}, repeat=0)
def standby_dies_as_it_is_needed(t, number):
    """The standby dies at a message of its own take-over: the front-end stays, the next is
    tried."""
    trigger = threading.Event()

    def at(robot, _message):
        if not trigger.is_set():
            return False
        robot.late = getattr(robot, "late", 0) + 1
        if robot.late < number:
            return False
        robot.peer.sock.shutdown(socket.SHUT_RDWR)
        robot.peer.close()
        return True
    guest_, live, spare, (listener, _) = with_standby(t, at=at)
    standby(t)
    spare.heard(Front.SET_MEM_TABLE)
    listener.close()            # its process is gone
    trigger.set()
    live.leave()
    guest_.model.rebase(guest_.bases())
    if not spare.gone.wait(0.5):
        return                              # it was told in fewer messages
    again = Robot(t, "again", guest_.offer, listener=t.ends["back"][2])
    again.heard(Front.SET_VRING_KICK, 2)
    knows(again, guest_)
    goes_on(guest_)


@case(repeat=0)
def standby_not_sound(t):
    """A loss that is not sound is none for a standby either."""
    listener, path = listener_at(t, "standby")
    begin(t, "blk", extra=("--standby", f"connect:{path}"))
    guest_ = Guest(t, BLK)
    ring = Ring(guest_.memory(), 0, 8)
    ring.played([0, 1, 2], [1])
    guest_.ring(ring)
    live = robot_of(t, guest_)
    spare = Robot(t, "spare", guest_.offer, listener=listener)
    standby(t)
    live.leave()
    is_held(t)
    time.sleep(0.2)
    check(not set(RINGS_ONLY) & {m.id for m in spare.messages}, f"told of rings: {spare.messages}")
    guest_.front.quiet(0.02)


@case(repeat=0)
def standby_by_arrival(t):
    """Where back-ends connect: the second is the standby, a third is turned away, and in time takes
    the place that became free."""
    begin(t, back="listen")
    guest_ = Guest(t).runs(2)
    live = robot_of(t, guest_, name="live")
    spare = Robot(t, "spare", guest_.offer, sock=t.end("back", "B2").sock)
    standby(t)
    since = t.shim.mark()
    third = t.end("back", "B3")
    third.ended()
    t.shim.said(r"\[SECOND_BACK\]", since)
    live.leave()
    guest_.model.rebase(guest_.bases())
    knows(spare, guest_)
    until(lambda: status(t)["restarts"]["taken_over"] == 1, "the take-over's end")
    fourth = Robot(t, "fourth", guest_.offer, sock=t.end("back", "B4").sock)
    standby(t)
    spare.leave()
    knows(fourth, guest_)
    goes_on(guest_)


@case(repeat=0)
def standby_many_takeovers(t):
    """Twenty times the standby takes over and another one stands by: nothing is left behind."""
    begin(t, back="listen")
    guest_ = Guest(t).runs(2)
    guest_.channel()
    live, fds = robot_of(t, guest_, name="live"), None
    for n in range(20):
        spare = Robot(t, f"spare{n}", guest_.offer, sock=t.end("back", f"B{n}").sock)
        standby(t)
        if fds:
            until(lambda: len(t.shim.fds()) == fds, lambda: f"{fds} descriptors: {t.shim.fds()}")
        fds = fds or len(t.shim.fds())
        live.leave()
        guest_.model.rebase(guest_.bases())
        knows(spare, guest_)
        until(lambda count=n + 1: status(t)["restarts"]["taken_over"] == count,
              "the take-over's end")
        live = spare
    guest_.to_front.drain_now(0.02)
    goes_on(guest_)


@case({"running": {"held": False}, "held": {"held": True}}, repeat=0)
def standby_front_leaves(t, held):
    """With the front-end's end the standby's is over, too; the next guest has one again."""
    guest_, live, spare, (listener, _) = with_standby(t)
    standby(t)
    if held:
        listener.close()
    guest_.front.close()
    guest_.to_front.close()
    check(live.gone.wait(PATIENCE), "the live one stays")
    until(lambda: status(t)["life"] != "running", "the life to end")


@case(repeat=0)
def switch_beside_standby(t):
    """A change to a third back-end leaves the standby one for the new."""
    guest_, live, spare, (again, _) = with_standby(t)
    standby(t)
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener)
    done(switch(t, path))
    guest_.model.rebase(live.bases)
    knows(new, guest_)
    if spare.gone.wait(0.1):    # it may have had to make room
        spare = Robot(t, "spare again", guest_.offer, listener=again)
    standby(t)
    new.leave()
    guest_.model.rebase(guest_.bases())
    knows(spare, guest_)
    goes_on(guest_)


# --- what stands against a standby

BEYOND = wire.config(250, 20, bytes(20))        # more than any configuration space has


def sought_no_more(t, listener, seconds=0.5):
    """Nobody comes there."""
    listener.settimeout(seconds * SLOW)
    try:
        listener.accept()[0].close()
        check(False, "still looked for")
    except TimeoutError:
        pass
    finally:
        listener.settimeout(None)
    check(not status(t)["standby"], f"{status(t)['standby']}")


@case({"prepared": {"early": False}, "from_the_start": {"early": True}}, repeat=0)
def standby_incomplete(t, early):
    """Something was said that cannot be kept: nobody could take over, so no standby is told
    anything, which is said once."""
    listener, path = listener_at(t, "standby")
    if early:
        listener.close()
    guest_ = running(t, rings=1, extra=("--standby", f"connect:{path}"))
    since = t.shim.mark()
    client(t)
    if not early:
        robot_of(t, guest_)
        spare = Robot(t, "spare", guest_.offer, listener=listener)
        standby(t)
        events(t, "STANDBY_READY")
    guest_.say(Front.SET_CONFIG, BEYOND, note=False) if early else \
        guest_.front.send(Front.SET_CONFIG, BEYOND, lost=True)
    t.shim.said(r"standby: is not prepared: not everything", since)
    if early:
        sought_no_more(t, listener_at(t, "standby")[0])
        guest_.works()
    else:
        check(spare.gone.wait(PATIENCE), "a standby that is of no use stays")
        events(t, "STANDBY_LOST")
        sought_no_more(t, listener)
        goes_on(guest_)
    said = t.shim.log()[since:].count("is not prepared")
    check(said == 1, f"said {said} times")


@case({"sought": {"back": "connect"}, "comes": {"back": "listen"}}, repeat=0)
def standby_in_postcopy(t, back):
    """While pages are outstanding nobody can take over: a standby is left, one that comes by itself
    is told nothing; afterwards one is prepared again, and takes over."""
    listener, path = listener_at(t, "standby")
    extra = ("--standby", f"connect:{path}") if back == "connect" else ()
    guest_ = running(t, rings=1, extra=extra, back=back, channel=False)

    def spare_of(name):
        sock = t.end("back", name).sock if back == "listen" else None
        return Robot(t, name, guest_.offer, sock=sock, listener=listener)
    ram = guest_.rams[0]
    payload = u64(1) + ram.row()

    def at(robot, message):
        if message.id == Front.POSTCOPY_ADVISE:
            robot.peer.answer(message.id, b"", [t.memfd()], own=True)
        elif message.id == Front.SET_MEM_TABLE and message.payload != u64(0):
            robot.say(message, message.payload)
        elif message.id in (Front.POSTCOPY_LISTEN, Front.POSTCOPY_END):
            robot.say(message, u64(0))
        return message.id in (Front.POSTCOPY_ADVISE, Front.SET_MEM_TABLE, Front.POSTCOPY_LISTEN,
                              Front.POSTCOPY_END)
    live = robot_of(t, guest_, at=at)
    spare = spare_of("spare")
    standby(t)
    since = t.shim.mark()
    guest_.front.send(Front.POSTCOPY_ADVISE, lost=True)
    guest_.front.expect(Front.POSTCOPY_ADVISE, own=True)
    t.shim.said(r"standby: is not prepared: a postcopy", since)
    check(spare.gone.wait(PATIENCE), "a standby that is of no use stays")
    events(t, "STANDBY_LOST")
    guest_.front.send(Front.POSTCOPY_LISTEN, flags=wire.NEED_REPLY, lost=True)
    guest_.front.expect(Front.POSTCOPY_LISTEN, own=True)
    if back == "connect":
        sought_no_more(t, listener)
    spare = spare_of("spare again")
    guest_.front.send(Front.SET_MEM_TABLE, payload, fds=[ram.fd], lost=True)
    guest_.front.expect(Front.SET_MEM_TABLE, own=True)
    guest_.front.send(Front.SET_MEM_TABLE, u64(0), lost=True)
    time.sleep(0.3)
    check(not set(RING_ORDER) & {m.id for m in spare.messages} and
          not spare.count(Front.SET_MEM_TABLE), f"told {spare.messages}")
    guest_.front.send(Front.POSTCOPY_END, flags=wire.NEED_REPLY, lost=True)
    guest_.front.expect(Front.POSTCOPY_END, own=True)
    standby(t)
    live.leave()
    guest_.model.take(Front.SET_MEM_TABLE, payload, [t.label(ram.fd)])
    guest_.model.rebase(guest_.bases())
    knows(spare, guest_)
    goes_on(guest_)


# --- one that is mute

def mute_standby(t):
    """Back-ends come by themselves; the standby's place accepts and says nothing. The front-end is
    held."""
    listener, path = listener_at(t, "standby")
    begin(t, back="listen", extra=("--standby", f"connect:{path}", "--answer-within", "20"))
    guest_ = Guest(t).runs(1)
    mute = t.add_peer(lasting(listener), "mute")
    guest_.back.close()
    guest_.back = None
    is_held(t)
    guest_.model.rebase(guest_.bases())
    return guest_, mute, listener


@case({"never_answers": {"accepts": True}, "never_accepts": {"accepts": False}}, repeat=0)
def mute_makes_room(t, accepts):
    """While the front-end is held, one that does not answer its first question makes room for one
    that comes by itself."""
    guest_, mute, _ = mute_standby(t)
    if not accepts:
        mute.close()
        until(lambda: t.shim.log().count("[LEFT]") > 1, "the mute one's end")
        time.sleep(0.1)                 # the next one is in the listener's queue
    since, begin_ = t.shim.mark(), time.monotonic()
    guest_.succeed(name="B good")
    check(time.monotonic() - begin_ < 4.0 * SLOW, "far too late")
    t.shim.not_said("SECOND_BACK", since)
    guest_.front.quiet(0.02)


@case(repeat=0)
def mute_has_its_time(t):
    """One that answers in time is not pushed aside by those that come; the first of them becomes its
    standby."""
    guest_, mute, _ = mute_standby(t)
    robot = Robot(t, "waits", guest_.offer, sock=t.end("back", "waits").sock)
    since = t.shim.mark()
    for n in range(3):
        t.end("back", f"more{n}").ended()
    t.shim.said(r"\[SECOND_BACK\]", since)
    time.sleep(0.1)
    told = Robot(t, "slow", guest_.offer, sock=mute.sock)
    knows(told, guest_)
    goes_on(guest_)
    standby(t)
    told.leave()
    knows(robot, guest_)
    goes_on(guest_)
