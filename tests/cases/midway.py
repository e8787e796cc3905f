# SPDX-License-Identifier: MIT
"""What comes in between: a loss, a word of the front-end or a second order while one back-end is being
replaced by another."""
import contextlib
import os
import signal
import socket
import threading
import time

import wire
from control import Client
from harness import case
from machine import (LOG_ALL, NET, PACKED, Guest, Ram, Ring, Robot, begin, client, events, is_held,
                     knows, robot_of, status, verdict)
from peers import PATIENCE, SLOW, check, until
from takeover import (ACKED, done, failed, goes_on, listener_at, running, standby, switch,
                      with_standby)
from wire import Back, Front, bits, u64


def gone(robot):
    robot.peer.sock.shutdown(socket.SHUT_RDWR)
    robot.peer.close()
    return True


def halts_at(request, times=1):
    """A hook that waits at such a message: (hook, it is there, it may go on)."""
    there, go = threading.Event(), threading.Event()

    def at(robot, message):
        if message.id == request and robot.count(request) == times:
            there.set()
            go.wait(PATIENCE)
        return False
    return at, there, go


def order(asker, path):
    asker.say(('{"execute": "switch", "arguments": {"back": "connect:%s"}}' % path).encode())


@case(repeat=0)
def failure_said_once(t):
    """A switch that failed is over: a loss later is not its failure again."""
    guest_ = running(t, rings=1, extra=("--answer-within", "0.3"))
    live = robot_of(t, guest_)
    failed(switch(t, t.path("nowhere")), t.path("nowhere"), "No such file", "running?")
    events(t, "SWITCH_FAILED")
    since = t.shim.mark()
    live.leave()
    events(t, "BACK_HELD")
    is_held(t)
    t.shim.not_said("switch to .* failed", since)
    check(len([e for e in client(t).events if e["event"] == "SWITCH_FAILED"]) == 1, "said again")


def old_lost(t, guest_):
    """A switch whose new one halts at the first kick, and whose old one is lost then: (new one, its
    listener, who has ordered it, it may go on)."""
    old = robot_of(t, guest_, {0: 1, 1: 2})
    listener, path = listener_at(t, "new")
    at, there, go = halts_at(Front.SET_VRING_KICK)
    new = Robot(t, "new", guest_.offer, listener=listener, at=at)
    asker = Client(t, t.control)
    order(asker, path)
    check(there.wait(PATIENCE), "not reached")
    old.leave()
    until(lambda: status(t)["restarts"]["held"] == 1, "the loss")
    return new, listener, asker, go


@case(repeat=0)
def old_lost_region_told(t):
    """The old one is lost when the new one has got a region of its own: that is the device's region
    from then on."""
    guest_ = running(t, rings=2)
    guest_.say(Front.SET_INFLIGHT_FD, wire.inflight(2), [t.memfd()])
    new, listener, asker, go = old_lost(t, guest_)
    go.set()
    done(asker.hear())
    new.heard(Front.SET_STATUS)
    label = new.model.last[Front.SET_INFLIGHT_FD]
    check(label[1] == (t.label(new.region),), f"{label} is not its own")
    guest_.model.rebase({0: 1, 1: 2})
    guest_.model.last[Front.SET_INFLIGHT_FD] = label
    knows(new, guest_)
    new.leave()
    again = Robot(t, "again", guest_.offer, listener=listener)
    again.heard(Front.SET_INFLIGHT_FD)
    check(again.model.last[Front.SET_INFLIGHT_FD] == label,
          f"{again.model.last[Front.SET_INFLIGHT_FD]} instead of {label}")


WORDS = {"memory": lambda t: (Front.SET_MEM_TABLE, u64(1) + Ram(t).row(), [t.memfd(0x22000)]),
         "call": lambda t: (Front.SET_VRING_CALL, u64(0), [t.eventfd()]),
         "off": lambda t: (Front.SET_VRING_ENABLE, wire.state(1, 0), [])}


@case({name: {"word": word} for name, word in WORDS.items()}, repeat=0)
def old_lost_front_speaks(t, word):
    """The old one is lost while the new one is being told the rings: what the front-end says then
    waits, and the new one hears of it."""
    guest_ = running(t, rings=2)
    new, listener, asker, go = old_lost(t, guest_)
    guest_.model.rebase({0: 1, 1: 2})
    request, payload, fds = word(t)
    guest_.front.send(request, payload, wire.NEED_REPLY, fds, lost=True)
    guest_.model.take(request, payload, [t.label(fd) for fd in fds])
    time.sleep(0.05)
    go.set()
    done(asker.hear())
    guest_.front.expect(request, wire.REPLY, u64(0), own=True)
    knows(new, guest_)
    goes_on(guest_)


@case({name: {"word": word} for name, word in WORDS.items()}, repeat=0)
def standby_front_speaks(t, word):
    """A word of the front-end that vushim finds together with the loss: the standby takes over with
    it."""
    guest_, live, spare, _ = with_standby(t)
    standby(t)
    spare.heard(Front.SET_MEM_TABLE)
    request, payload, fds = word(t)
    os.kill(t.shim.pid, signal.SIGSTOP)
    try:
        guest_.front.send(request, payload, wire.NEED_REPLY, fds, lost=True)
        live.leave()
    finally:
        os.kill(t.shim.pid, signal.SIGCONT)
    guest_.model.rebase(guest_.bases())
    guest_.model.take(request, payload, [t.label(fd) for fd in fds])
    guest_.front.expect(request, wire.REPLY, u64(0), own=True)
    if request == Front.SET_MEM_TABLE:      # the rings' place is in the new memory
        for ring in guest_.rings.values():
            ring.base = 0
    spare.heard(Front.SET_STATUS, 2)
    want, got = guest_.model.state(), spare.model.state()
    check(got["regions"] == want["regions"], f"{got['regions']} instead of {want['regions']}")
    check({n: ring.get(Front.SET_VRING_CALL) for n, ring in got["rings"].items()} ==
          {n: ring.get(Front.SET_VRING_CALL) for n, ring in want["rings"].items()}, f"{got['rings']}")
    check(got["rings"][1].get(Front.SET_VRING_ENABLE) == want["rings"][1].get(Front.SET_VRING_ENABLE),
          f"{got['rings'][1]}")
    goes_on(guest_)


@case(repeat=0)
def who_serves(t):
    """The state says which of several back-ends serves, and how long none has; a standby is not said to
    have been told everything for as long as it has stood by."""
    guest_, live, spare, (_, path) = with_standby(t)
    standby(t)
    first = status(t)
    check(first["live"] == first["back"] and first["held_seconds"] is None, f"{first}")
    time.sleep(0.3)
    since = t.shim.mark()
    live.leave()
    t.shim.said("taken over .*as it stood by", since)
    check(status(t)["live"] == f"connect:{path}", f"{status(t)}")
    t.ends["back"][2].close()
    spare.leave()
    is_held(t)
    until(lambda: status(t)["held_seconds"] > 0.05, "time to pass")
    check(status(t)["live"] is None, f"{status(t)}")
    goes_on(guest_)
    t.stop_one(next(key for key, (shim, _) in t.shims.items() if shim is t.shim))


@case(repeat=0)
def switch_to_standby(t):
    """A planned change to the one that stands by: it is not connected to anew, as some end with their
    first connection, and where the old one was the next standby is looked for; and back."""
    guest_, live, spare, (_, path) = with_standby(t)
    standby(t)
    answer = done(switch(t, path))
    check(answer["back"] == f"connect:{path}" == status(t)["live"], f"{answer}")
    guest_.model.rebase({0: 10, 1: 11})
    knows(spare, guest_)
    check(not spare.gone.is_set() and live.gone.wait(PATIENCE), "the wrong one was left")
    first = status(t)["back"]
    again = Robot(t, "again", guest_.offer, listener=t.ends["back"][2])
    check(standby(t)["back"] == first, f"{status(t)}")
    spare.bases = {0: 20, 1: 21}
    done(switch(t, first.removeprefix("connect:")))
    guest_.model.rebase(spare.bases)
    knows(again, guest_)
    check(status(t)["live"] == first and not again.gone.is_set(), f"{status(t)}")
    goes_on(guest_)


@case(repeat=0)
def another_comes_before_new(t):
    """The old one is lost in the middle of a switch and another one takes its place before the new one:
    the switch goes on with that one's rings stopped like those of the first."""
    guest_ = running(t, rings=2, back="listen")
    listener, path = listener_at(t, "new")

    def dies(robot, message):
        if message.id != Front.SET_DEVICE_STATE_FD:
            return False
        listener.close()
        return gone(robot)
    robot_of(t, guest_, {0: 5, 1: 6}, dies)
    Robot(t, "new", guest_.offer, listener=listener)
    asker = Client(t, t.control)
    order(asker, path)
    until(lambda: status(t)["restarts"]["held"] == 1, "the loss")
    other = Robot(t, "other", guest_.offer, sock=t.end("back", "B2").sock, bases={0: 7, 1: 8})
    other.heard(Front.SET_STATUS)
    again, _ = listener_at(t, "new")
    new = Robot(t, "new again", guest_.offer, listener=again)
    done(asker.hear())
    check(other.count(Front.GET_VRING_BASE) == 2, f"stopped {other.count(Front.GET_VRING_BASE)} rings")
    guest_.model.rebase({0: 7, 1: 8})
    knows(new, guest_)
    goes_on(guest_)
    t.stop_one(next(key for key, (shim, _) in t.shims.items() if shim is t.shim))


@case(repeat=0)
def order_during_takeover(t):
    """A held device's next back-end has been told the rings, has used one, and says nothing more; whoever
    orders a switch then gets one that goes on where the rings stand, or a refusal."""
    guest_ = running(t, rings=2)
    guest_.lose()
    fence = threading.Event()

    def mute(robot, message):
        if message.id == Front.GET_FEATURES and robot.count(message.id) == 2:
            fence.set()
            return True
        return False
    Robot(t, "mute", guest_.offer, listener=t.ends["back"][2], at=mute)
    check(fence.wait(PATIENCE), "not reached")
    guest_.rings[0].stands(0x200, 0x1ff)        # it has used some
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener)
    answer = switch(t, path)
    if "error" in answer:
        failed(answer, "taking over")
        return
    guest_.model.rebase(guest_.bases())
    knows(new, guest_)


@case(repeat=0)
def new_ran_not_sound(t):
    """The new one has used packed rings, nobody knows where they stand, and is lost; the device is to be
    held in any case: the old one is not told a guess."""
    guest_ = running(t, rings=1, features=ACKED | PACKED)
    old = robot_of(t, guest_, {0: 0x80058005})
    listener, path = listener_at(t, "new")

    def at(robot, message):
        fence = message.id == Front.GET_FEATURES and robot.count(message.id) == 3
        return fence and gone(robot)
    Robot(t, "new", guest_.offer, listener=listener, at=at)
    failed(switch(t, path))
    time.sleep(0.2)
    check(old.count(Front.SET_VRING_KICK) == 0, "the old one was told a ring")
    check(status(t)["life"] == "held", f"{status(t)['life']}")


@case(repeat=0)
def switch_of_held(t):
    """A held device's rings stand still since their back-end was lost: that is what is said of a switch
    that ends it."""
    guest_ = running(t, rings=2)
    guest_.lose()
    time.sleep(0.2)
    listener, path = listener_at(t, "new")
    Robot(t, "new", guest_.offer, listener=listener)
    since = t.shim.mark()
    answer = done(switch(t, path))
    check([ring["index"] for ring in answer["rings"]] == [0, 1] and
          all(ring["blackout_us"] > 200000 for ring in answer["rings"]), f"{answer}")
    t.shim.said(f"has been switched to connect:{path}, rings stood still for at most [2-9]", since)


@case(repeat=0)
def two_orders_in_a_row(t):
    """One client gives two orders at once, without a front-end: both are answered."""
    begin(t, extra=("--answer-within", "0.3"))
    listener, path = listener_at(t, "new")
    Robot(t, "new", NET, listener=listener)
    asker = Client(t, t.control)
    asker.say(('{"execute": "switch", "arguments": {"back": "connect:%s"}}'
               '{"execute": "switch", "arguments": {"back": "connect:%s"}}' %
               (path, t.path("nowhere"))).encode())
    done(asker.hear())
    failed(asker.hear(), "nowhere")
    t.stop_one(next(key for key, (shim, _) in t.shims.items() if shim is t.shim))


@case(repeat=0)
def client_leaves_with_failure(t):
    """Whoever ordered a switch leaves at the moment when it fails."""
    guest_ = running(t, rings=1, extra=("--answer-within", "0.3"))
    guest_.works()
    asker = Client(t, t.control)
    order(asker, t.path("nowhere"))
    until(lambda: status(t)["life"] == "switching", "the switch")
    os.kill(t.shim.pid, signal.SIGSTOP)
    try:
        asker.sock.close()
        time.sleep(0.5)
    finally:
        os.kill(t.shim.pid, signal.SIGCONT)
    events(t, "SWITCH_FAILED")
    guest_.works()


@case(repeat=0)
def announced_by_failed(t):
    """What the new one has announced on its channel goes with it when it fails."""
    guest_ = running(t, rings=2)
    old = robot_of(t, guest_, {0: 1, 1: 2})
    listener, path = listener_at(t, "new")

    def at(robot, message):
        if message.id == Front.SET_BACKEND_REQ_FD:
            robot.to_front = guest_.channel_of(message)
            return True
        if message.id == Front.SET_VRING_KICK and robot.count(message.id) == 2:
            robot.to_front.send(Back.VRING_HOST_NOTIFIER_MSG, wire.notifier(1, 0x1000, 0x2000),
                                fds=[t.memfd()], lost=True)
            guest_.to_front.expect(Back.VRING_HOST_NOTIFIER_MSG, own=True)
            return gone(robot)
        return False
    Robot(t, "new", guest_.offer, listener=listener, at=at)
    failed(switch(t, path))
    message = guest_.to_front.expect(Back.VRING_HOST_NOTIFIER_MSG, own=True)
    check(message.value & wire.NOFD, f"not taken back: {message}")
    guest_.model.rebase({0: 1, 1: 2})
    knows(old, guest_)
    goes_on(guest_)


@case(repeat=0)
def new_does_not_read_state(t):
    """A state that the new one does not read: that is not the old one's fault."""
    guest_ = running(t, rings=2, extra=("--answer-within", "0.5"))
    old = robot_of(t, guest_, {0: 1, 1: 2})
    old.state = bytes(1 << 20)
    listener, path = listener_at(t, "new")

    def at(robot, message):
        if message.id != Front.SET_DEVICE_STATE_FD:
            return False
        robot.say(message, u64(wire.NOFD))
        return True
    Robot(t, "new", guest_.offer, listener=listener, at=at)
    failed(switch(t, path), "new", "does not read")
    guest_.model.rebase({0: 1, 1: 2})
    knows(old, guest_)
    goes_on(guest_)


def other_end(t, kind):
    """A descriptor that is no pipe."""
    return {"event": t.eventfd, "file": t.memfd, "folder": lambda: t.add_fd(os.open("/", 0), "folder"),
            "socket": lambda: t.add_fd(t.socketpair()[0].detach(), "end")}[kind]()


@case({f"{kind}_{who}": {"kind": kind, "who": who}
       for kind in ("event", "file", "folder", "socket") for who in ("old", "new")}, repeat=0)
def state_by_no_pipe(t, kind, who):
    """A descriptor of the back-end's own that is no pipe could keep vushim waiting."""
    guest_ = running(t, rings=2)

    def at(robot, message):
        if message.id != Front.SET_DEVICE_STATE_FD:
            return False
        t.release(message.fds)
        robot.peer.answer(message.id, u64(0), [other_end(t, kind)], own=True)
        return True
    old = robot_of(t, guest_, {0: 1, 1: 2}, at=at if who == "old" else None)
    listener, path = listener_at(t, "new")
    Robot(t, "new", guest_.offer, listener=listener, at=at if who == "new" else None)
    failed(switch(t, path), who, "pipe")
    guest_.model.rebase({0: 1, 1: 2})
    knows(old, guest_)
    goes_on(guest_)


@case({"asked": {"request": Front.GET_VRING_BASE}, "back": {"request": Front.GET_FEATURES}}, repeat=0)
def switch_mute_old(t, request):
    """The old one does not say where its rings stand, or does not answer when it has got them back: who
    has ordered the switch is told so in time, and the switch is over when it answers."""
    guest_ = running(t, rings=2, extra=("--answer-within", "0.3"))
    go = threading.Event()

    def waits(_robot, message):
        if message.id == request:
            go.wait(PATIENCE)
        return False

    def fails(robot, message):
        return message.id == Front.SET_VRING_KICK and gone(robot)
    old = robot_of(t, guest_, {0: 1, 1: 2}, at=waits)
    listener, path = listener_at(t, "new")
    Robot(t, "new", guest_.offer, listener=listener, at=fails)
    asker = Client(t, t.control)
    order(asker, path)
    failed(asker.hear(2 * SLOW), "stands still until the old back-end answers")
    check(status(t)["life"] == "switching", f"{status(t)['life']}")
    go.set()
    until(lambda: status(t)["life"] == "running", "the end")
    events(t, "SWITCH_FAILED")
    guest_.model.rebase({0: 1, 1: 2})
    knows(old, guest_)
    goes_on(guest_)


@case({"front": {"who": "front"}, "back": {"who": "back"}}, repeat=0)
def switch_device_closed(t, who):
    """The device ends in the middle of a switch: the answer says whose doing it was."""
    guest_ = running(t, "blk", rings=2, policy=None, extra=("--answer-within", "3"))
    there, go = threading.Event(), threading.Event()

    def at(robot, message):
        if message.id == Front.GET_VRING_BASE:
            there.set()
            go.wait(PATIENCE)
            return who == "back" and gone(robot)
        return False
    robot_of(t, guest_, {0: 1, 1: 2}, at=at)
    listener, path = listener_at(t, "new")
    Robot(t, "new", guest_.offer, listener=listener)
    for ring in guest_.rings.values():
        ring.played([0, 1, 2], [1])
    asker = Client(t, t.control)
    order(asker, path)
    check(there.wait(PATIENCE), "not reached")
    if who == "front":
        guest_.front.close()
        guest_.to_front.close()
    go.set()
    failed(asker.hear(), f"closed: {who} closed")


def moves_state(t, direction, **how):
    """A guest that is stopped for its migration and whose back-end has begun to write or read its
    state."""
    guest_ = running(t, "fs", rings=2, **how)
    for n in range(2):
        guest_.ask(Front.GET_VRING_BASE, wire.state(n), wire.state(n, 7 + n))
    guest_.ask(Front.SET_DEVICE_STATE_FD, wire.state(direction), u64(wire.NOFD),
               fds=[t.pipe()[1 - direction]])
    return guest_


@case({"save": {"direction": 0}, "load": {"direction": 1}, "asked": {"direction": 0, "asks": True}},
      repeat=0)
def state_lost_with_back_end(t, direction, asks=False):
    """The back-end dies while it moves its state: whoever has come in its place cannot say that all of it
    has been moved."""
    guest_ = moves_state(t, direction)
    if asks:
        guest_.front.send(Front.CHECK_DEVICE_STATE, lost=True)
        guest_.back.expect(Front.CHECK_DEVICE_STATE, own=True)
    guest_.back.close()
    guest_.back = None
    new = Robot(t, "new", guest_.offer, listener=t.ends["back"][2])
    new.heard(Front.GET_FEATURES)
    if not asks:
        time.sleep(0.1)
        guest_.front.send(Front.CHECK_DEVICE_STATE, lost=True)
    answer = guest_.front.expect(Front.CHECK_DEVICE_STATE, wire.REPLY, own=True)
    check(answer.value != 0, "a state that nobody has moved is good")
    check(not new.count(Front.CHECK_DEVICE_STATE), "the new one was asked")
    knows(new, guest_)
    goes_on(guest_)


@case({"checked": {"request": Front.CHECK_DEVICE_STATE}, "goes_on": {"request": Front.SET_VRING_KICK}},
      repeat=0)
def switch_while_state_moves(t, request):
    """Nor is such a device switched, until the front-end has asked, or goes on."""
    guest_ = moves_state(t, 0)
    listener, path = listener_at(t, "new")
    failed(switch(t, path), "state")
    if request == Front.CHECK_DEVICE_STATE:
        guest_.ask(request, answer=u64(0))
    else:
        guest_.ring(Ring(guest_.rams[0], 0)).stands(0x130, 0x123)
    robot_of(t, guest_, {0: 0x123})
    new = Robot(t, "new", guest_.offer, listener=listener)
    done(switch(t, path))
    if request != Front.CHECK_DEVICE_STATE:
        guest_.model.rebase({0: 0x123})
    knows(new, guest_)
    goes_on(guest_)


@case(repeat=0)
def verdict_in_postcopy(t):
    """What is said of a loss is what it would come to."""
    guest_ = running(t, rings=1)
    check(verdict(t)["verdict"] == "sound", f"{verdict(t)}")
    guest_.ask(Front.POSTCOPY_ADVISE, answer=b"", answer_fds=[t.memfd()])
    said = verdict(t)
    check(said["verdict"] == "none" and said["by"] == "nowhere" and "postcopy" in said["why"], f"{said}")


@case(repeat=0)
def switch_deaf_old(t):
    """A device without rings whose old back-end reads nothing: a switch waits until it does."""
    begin(t)
    guest_ = Guest(t)
    back, guest_.back = guest_.back, None
    words = [wire.message(Front.SET_FEATURES, u64(ACKED | n * LOG_ALL)) for n in range(2)]
    with contextlib.suppress(BlockingIOError):
        for n in range(5000):                   # more than its socket holds
            guest_.front.sock.send(words[n % 2], socket.MSG_DONTWAIT)
            time.sleep(0.0005)
    listener, path = listener_at(t, "new")
    new = Robot(t, "new", guest_.offer, listener=listener)
    asker = Client(t, t.control)
    order(asker, path)
    new.heard(Front.GET_FEATURES, 2)
    time.sleep(0.1)
    check(t.shim.alive(), "vushim is gone")
    Robot(t, "old", guest_.offer, sock=back.sock)
    done(asker.hear())
    goes_on(guest_)
