# SPDX-License-Identifier: MIT
"""Peers that come late, leave, return or come twice; and the end of the program."""
import os
import signal
import socket
import threading
import time

import wire
from case import DPDK, Offer, accept, connect
from harness import case
from peers import PATIENCE, SLOW, Failure, check, until
from wire import Front, bits, u64


def late_listener(t, side="back"):
    """Takes the harness's listener away: nobody listens there until `appear` is called."""
    listener = t.ends[side][2]
    path = listener.getsockname()
    listener.close()
    os.unlink(path)

    def appear(pause=0.0, backlog=4):
        fresh = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        fresh.bind(path)
        time.sleep(pause)
        fresh.listen(backlog)
        t.ends[side] = ("connect", "", fresh)
        return fresh
    return path, appear


def in_time(begin, limit=0.05):
    took = time.monotonic() - begin
    check(took < limit * SLOW, f"picked up {took * 1000:.0f} ms after listen()")


DELAYS = {"at_once": {"delay": 0.0, "pause": 0.0}, "after_0.3": {"delay": 0.3, "pause": 0.0},
          "after_1.3": {"delay": 1.3, "pause": 0.0}, "listen_after_bind": {"delay": 0.3,
                                                                           "pause": 0.25},
          "listen_long_after_bind": {"delay": 0.1, "pause": 1.2}}


@case(DELAYS, repeat=0)
def wait_for_back_end(t, delay, pause):
    """The back-end appears while a front-end waits: it is found within 50 ms of its listen()."""
    t.start(extra=("--wait", "30"))
    _, appear = late_listener(t)
    front = t.front()
    front.send(Front.GET_FEATURES)
    time.sleep(delay)
    listener = appear(pause)
    begin = time.monotonic()
    accepted = accept(listener)
    in_time(begin)
    back = t.add_peer(accepted, "B")
    t.links.append((front, back))
    back.expect(Front.GET_FEATURES)
    back.answer(Front.GET_FEATURES, u64(bits(32)))
    front.expect(Front.GET_FEATURES, payload=u64(bits(32)))


@case({"stale_socket": {"kind": "stale"}, "renamed_into_place": {"kind": "rename"},
       "folder_appears": {"kind": "folder"}}, repeat=0)
def wait_for_back_end_other_ways(t, kind):
    """Other ways for a back-end to appear: over a stale socket, by rename, in a new folder."""
    folder = t.path("later")
    path = os.path.join(folder, "s")
    if kind != "folder":
        os.mkdir(folder)
    if kind == "stale":
        stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stale.bind(path)
        stale.close()
    t.start(back=("connect", path), extra=("--wait", "30"))
    front = t.front()
    front.send(Front.GET_FEATURES, lost=True)
    front.quiet(0.3)
    if kind == "folder":
        os.mkdir(folder)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if kind == "stale":
        os.unlink(path)
    listener.bind(path + ".new" if kind == "rename" else path)
    listener.listen(1)
    if kind == "rename":
        os.rename(path + ".new", path)
    begin = time.monotonic()
    back = t.add_peer(accept(listener), "B")
    in_time(begin)
    back.expect(Front.GET_FEATURES, own=True)
    front.close()
    back.ended()
    listener.close()


@case({"short": {"wait": 0.3}, "none": {"wait": 0}}, repeat=0, slow=True)
def wait_is_over(t, wait):
    """No back-end within --wait: the front-end is closed by name, the next life is good."""
    shim = t.start(extra=("--wait", str(wait)))
    _, appear = late_listener(t)
    for _ in range(2):
        since, begin = shim.mark(), time.monotonic()
        front = t.front()
        front.ended()
        took = time.monotonic() - begin
        check(wait * 0.9 <= took < wait + 0.5 * SLOW, f"closed after {took:.2f} s")
        shim.said(r"\[NO_BACK_END\]", since)
        front.close()
    appear()
    t.life()


@case(repeat=0)
def wait_zero_and_a_profile(t):
    """--wait 0 is about a back-end that is not there; one that is there has time to answer."""
    t.start("host,max_ring=256", extra=("--wait", "0"))
    front = t.front()
    back = t.back()
    time.sleep(0.1)
    check(t.admit(back, Offer(bits(30, 32), 0x10cbf)), "left the back-end")
    t.links.append((front, back))
    t.works(front, back)


@case(repeat=0)
def wait_front_end_leaves_meanwhile(t):
    """The front-end gives up while vushim waits for a back-end: that life is over, and a back-end
    that comes afterwards is not bothered."""
    t.start(extra=("--wait", "30"))
    _, appear = late_listener(t)
    for _ in range(3):
        front = t.front()
        front.send(Front.GET_FEATURES, lost=True)
        time.sleep(0.05)
        front.close()
    t.shim.check_idle()
    listener = appear()
    listener.settimeout(0.2)
    try:
        listener.accept()[0].close()
        raise Failure("vushim connects though no front-end is there")
    except TimeoutError:
        listener.settimeout(None)
    t.life()


@case(repeat=0, slow=True)
def wait_costs_nothing(t):
    """Waiting for a back-end is no polling at full speed."""
    shim = t.start(extra=("--wait", "forever"))
    late_listener(t)
    t.front()
    time.sleep(0.2)
    before = shim.cpu()
    time.sleep(0.8)
    check(shim.cpu() - before < 0.1, f"{shim.cpu() - before:.2f} s of processor time in 0.8 s")


@case(repeat=0, slow=True)
def wait_for_front_end(t):
    """With --front connect: the front-end's socket is waited for in the same way."""
    t.start(front="connect", back="connect", extra=("--wait", "30"))
    _, appear = late_listener(t, "front")
    for end in list(t.ends.values())[1:]:
        accept(end[2]).close()              # the life that began before the listener went
    back = t.back()
    time.sleep(0.3)
    listener = appear()
    begin = time.monotonic()
    front = t.add_peer(accept(listener), "F")
    in_time(begin)
    t.links.append((front, back))
    t.works(front, back)


@case({"host": {"profile": "host", "offer": None},
       "pinned": {"profile": "device=net,version_1=on", "offer": DPDK}}, repeat=0)
def front_end_returns(t, profile, offer):
    """A front-end that leaves and comes back finds a new life each time."""
    shim = t.start(profile)
    for _ in range(20):
        front, back = t.pair(offer)
        t.ask(front, back, Front.GET_FEATURES, answer=u64(0x17c66ffcb),
              sees=u64(bits(32) | 0x17c66ffcb & wire.VHOST_BITS) if offer else None)
        t.part(front, back)
        shim.check_idle()


@case(repeat=0)
def front_end_returns_at_once(t):
    """The new connection is made before vushim can have seen the old one's end: it is served, not
    taken for a second front-end."""
    shim = t.start()
    front, back = t.pair()
    t.links.clear()
    for number in range(50):
        shim.process.send_signal(signal.SIGSTOP)
        front.close()
        front = t.front()
        front.send(Front.GET_FEATURES)
        shim.process.send_signal(signal.SIGCONT)
        back.ended()
        back.close()
        try:
            back = t.back()
            back.expect(Front.GET_FEATURES)
            back.answer(Front.GET_FEATURES, u64(number))
            front.expect(Front.GET_FEATURES, payload=u64(number))
        except Failure as failure:
            raise Failure(f"round {number}: {failure}") from None


@case(repeat=0)
def front_end_returns_twice_at_once(t):
    """The same, but it left and came several times meanwhile: the one that stays is served. The
    back-end may see some of the others."""
    shim = t.start()
    request, answer = wire.message(Front.GET_FEATURES), wire.reply(Front.GET_FEATURES, u64(7))

    listener = t.ends["back"][2]

    def back_ends():
        while True:
            try:
                back = listener.accept()[0]
            except OSError:
                return
            try:
                with back:
                    while back.recv(len(request)):
                        back.sendall(answer)
            except (BrokenPipeError, ConnectionResetError):
                pass

    thread = threading.Thread(target=back_ends, daemon=True)
    thread.start()
    front = connect(t.ends["front"][2])
    for number in range(40):
        shim.process.send_signal(signal.SIGSTOP)
        for _ in range(2 + number % 3):
            front.close()
            front = connect(t.ends["front"][2])
            front.sendall(request)
        shim.process.send_signal(signal.SIGCONT)
        front.settimeout(PATIENCE)
        check(front.recv(100) == answer, f"round {number}: vushim turned it away")
    front.close()
    # Else it would wait on, under a number that is the next case's listener by then.
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@case()
def back_end_returns(t):
    """A back-end that leaves takes its front-end with it; the next life has a new one of each."""
    t.start()
    for _ in range(5):
        front, back = t.pair()
        t.works(front, back)
        back.close()
        front.ended()
        front.close()


@case({"before_answer": {"answers": 0}, "after_features": {"answers": 1}}, repeat=0)
def back_end_leaves_during_greeting(t, answers):
    """A back-end that dies while vushim asks it: nothing of the front-end's is lost to it."""
    shim = t.start("host,max_ring=256", extra=("--wait", "1"))
    front = t.front()
    back = t.back()
    for _ in range(answers):
        back.expect(Front.GET_FEATURES, own=True)
        back.answer(Front.GET_FEATURES, u64(bits(30, 32)), own=True)
    back.close()
    front.ended()
    check(shim.alive(), "vushim has died")
    front.close()
    t.life(Offer(bits(30, 32), 0x10cbf))


@case({"wrong_number": {"data": wire.reply(15, u64(0)), "ending": "WRONG_REPLY"},
       "too_short": {"data": wire.reply(1, bytes(4)), "ending": "WRONG_SIZE"},
       "request": {"data": wire.message(1), "ending": "NOT_A_REPLY"},
       "half": {"data": wire.reply(1, u64(0))[:9], "ending": "CUT", "leaves": True},
       "descriptors": {"data": wire.reply(1, u64(0)), "ending": "BAD_DESCRIPTORS", "fds": 3}},
      repeat=0)
def bad_answer_during_greeting(t, data, ending, fds=0, leaves=False):
    """A wrong answer to vushim's own question ends that back-end's connection by name."""
    shim = t.start("host,max_ring=256", extra=("--wait", "1"))
    since = shim.mark()
    front = t.front()
    front.send(Front.GET_FEATURES, lost=True)
    back = t.back()
    back.expect(Front.GET_FEATURES, own=True)
    back.raw(data, [t.memfd() for _ in range(fds)])
    if leaves:
        back.close()
    else:
        back.ended()
    front.ended()
    shim.said(rf"back.*\[{ending}\]", since)
    for peer in (front, back):
        peer.close()
    t.life(Offer(bits(30, 32), 0x10cbf))


@case(repeat=0)
def listening_back_side(t):
    """With --back listen: a back-end may come before its front-end, leave again, come back."""
    shim = t.start(back="listen")
    early = t.end("back", "B0")
    time.sleep(0.05)
    early.close()
    shim.check_idle()
    back = t.end("back", "B")
    time.sleep(0.05)
    front = t.front()
    t.links.append((front, back))
    t.works(front, back)
    since = shim.mark()
    second = t.end("back", "B2")
    second.ended()
    shim.said(r"back.*\[SECOND_BACK\]", since)
    t.works(front, back)
    t.part(front, back)
    second.close()
    t.life()


@case({"host": {"profile": "host", "offer": None},
       "pinned": {"profile": "host,max_ring=256", "offer": Offer(bits(30, 32), 0x10cbf)}},
      repeat=0)
def listening_back_side_front_first(t, profile, offer):
    """The front-end is first and waits for a back-end to connect."""
    t.start(profile, back="listen", extra=("--wait", "30"))
    for _ in range(3):
        front = t.front()
        front.send(Front.GET_FEATURES)
        front.quiet(0.1)
        back = t.back(offer)
        t.links.append((front, back))
        back.expect(Front.GET_FEATURES)
        back.answer(Front.GET_FEATURES, u64(bits(30, 32)))
        front.expect(Front.GET_FEATURES)
        t.part(front, back)


STATES = ("idle", "connected", "inside_message", "waiting", "greeting", "channel", "full")


@case({f"{name}_{state}": {"number": number, "state": state} for state in STATES
       for name, number in (("term", signal.SIGTERM), ("int", signal.SIGINT))
       if state in ("idle", "connected") or name == "term"}, repeat=0)
def signal_ends_it(t, number, state):
    """SIGTERM and SIGINT end it in any state: exit 0, connections closed, sockets removed."""
    shim = t.start("host,max_ring=256" if state == "greeting" else "host",
                   extra=("--wait", "forever"))
    path = t.ends["front"][2]
    peers = []
    if state == "waiting":
        late_listener(t)
        peers = [t.front()]
        time.sleep(0.05)
    elif state == "greeting":
        peers = [t.front(), t.back()]
        peers[1].expect(Front.GET_FEATURES, own=True)
    elif state != "idle":
        peers = list(t.pair())
        t.works(*peers)
        t.links.clear()
    if state == "inside_message":
        peers[0].raw(wire.message(Front.SET_MEM_TABLE, wire.mem_table(2))[:30],
                     [t.memfd(), t.memfd()])
    if state == "channel":
        t.negotiate(*peers)
        peers += t.channel(*peers[:2])
        t.links.clear()
    if state == "full":
        flood(peers[0])
    shim.process.send_signal(number)
    check(shim.wait() == 0, f"exit status {shim.process.returncode}")
    for peer in peers:
        peer.drain()
    left = [name for name in os.listdir(t.dir) if name.startswith("front")]
    check(not left, f"files stay: {left} ({path})")
    shim.stop()
    t.shims.clear()


def flood(peer):
    """Fills everything on the way to a back-end that does not read."""
    peer.lossy = True

    def sender():
        while peer.raw(wire.message(1000, bytes(2000))):
            pass
    threading.Thread(target=sender, daemon=True).start()
    time.sleep(0.1)


@case(repeat=0, slow=True)
def signal_twice(t):
    """A second signal while it ends is not worse than the first."""
    shim = t.start()
    front, back = t.pair()
    t.works(front, back)
    t.links.clear()
    for _ in range(5):
        if shim.alive():
            shim.process.send_signal(signal.SIGTERM)
    check(shim.wait() == 0, f"exit status {shim.process.returncode}")
    t.shims.clear()


@case(repeat=0, slow=True)
def standard_error_gone(t):
    """A log that nobody reads (a closed pipe) kills nobody."""
    shim = t.start(unread_log=True)
    for _ in range(3):
        t.life()
    check(shim.alive(), "vushim has died")


@case(repeat=0, slow=True)
def many_fronts_at_once(t):
    """Many front-ends knock at once: one is served, the others are closed."""
    shim = t.start()
    path = t.ends["front"][2]
    front, back = t.pair()
    t.works(front, back)
    others = [t.add_peer(connect(path), f"F{n}") for n in range(30)]
    for other in others:
        other.ended()
    t.works(front, back)
    until(lambda: len(shim.fds()) <= len(shim.idle) + 2, lambda: f"{shim.fds()} to be closed")
