# SPDX-License-Identifier: MIT
"""A guest whose back-end is lost and replaced: its memory and rings, what its front-end has said,
and what a successor must be told of it.

The front-end's and the back-ends' messages are not compared by the harness here (`own`, `lost`):
what a successor is told does not come from the front-end at that moment. Instead the front-end's
words are kept in a Model, the successor's too, and the two must agree.
"""
import copy
import os
import select
import socket
import struct
import threading
import time

import wire
from case import Offer, accept, unread
from control import Client
from peers import PATIENCE, SLOW, Failure, Message, check, until
from wire import Front, Proto, bits, u64

PROTOCOL = bits(*range(14), 15, 16, 18, 19)     # all that vushim shows without being asked to
RING = bits(26, 28, 29, 30, 32, 34, 35)
LOG_ALL, PACKED, IN_ORDER, TRANSLATED = bits(26), bits(34), bits(35), bits(33)
CONFIG = bytes(range(60)) + bytes(196)
NET = Offer(RING | bits(3, 5, 13, 14, 15, 17, 22), PROTOCOL, 16, 64, CONFIG)
BLK = Offer(RING | bits(2, 6, 9, 12), PROTOCOL, 16, 64, CONFIG)
OTHER = Offer(RING | TRANSLATED, PROTOCOL, 16, 64, CONFIG)
OFFERS = {"net": NET, "blk": BLK}
ACKED = bits(30, 32)
DRIVER_OK = 4

# The order in which a successor is told; what is in one pair of brackets goes ring by ring.
RING_ORDER = (Front.SET_VRING_NUM, Front.SET_VRING_BASE, Front.SET_VRING_ADDR,
              Front.SET_VRING_ENDIAN, Front.SET_VRING_ERR, Front.SET_VRING_CALL,
              Front.SET_VRING_KICK)
BEFORE = (Front.SET_PROTOCOL_FEATURES, Front.SET_OWNER, Front.SET_BACKEND_REQ_FD,
          Front.GPU_SET_SOCKET, Front.SET_LOG_BASE, Front.SET_LOG_FD, Front.SET_FEATURES)
OF_RING = (*RING_ORDER, Front.SET_VRING_ENABLE)
FD_OF_RING = (Front.SET_VRING_ERR, Front.SET_VRING_CALL, Front.SET_VRING_KICK)
NOT_PASSED = (Front.SET_BACKEND_REQ_FD, Front.REM_MEM_REG)      # with the descriptors as they came
STOPS = (Front.GET_VRING_BASE, Front.GET_VRING_BASE_SKIP_DRAIN)
QUESTIONS = (Front.GET_FEATURES, Front.GET_PROTOCOL_FEATURES, Front.GET_QUEUE_NUM,
             Front.GET_MAX_MEM_SLOTS, Front.GET_CONFIG)


# --- memory

class Ram:
    """A memory region. shift: where it begins in its file."""

    def __init__(self, t, size=0x20000, guest=0x100000, user=0x7f1200000000, shift=0x2000, fd=None):
        self.size, self.guest, self.user, self.shift = size, guest, user, shift
        self.fd = t.memfd(shift + size) if fd is None else fd

    def row(self):
        return struct.pack("=QQQQ", self.guest, self.size, self.user, self.shift)

    def put(self, address, data):
        os.pwrite(self.fd, data, self.shift + address - self.user)


class Ring:
    """A virtqueue in such memory: 256 entries unless said otherwise."""

    def __init__(self, ram, index=0, num=256, place=None, used=None, avail=None):
        place = ram.user + index * 0x4000 if place is None else place
        self.ram, self.index, self.num = ram, index, num
        self.desc = place
        self.avail = place + 0x1000 if avail is None else avail
        self.used = place + 0x2000 if used is None else used
        self.base = None            # where a back-end goes on when this one has died

    def address(self, flags=0):
        return struct.pack("=IIQQQQ", self.index, flags, self.desc, self.used, self.avail, 0)

    def stands(self, avail, used):
        """The two indices. Back-ends go on from the used one."""
        self.ram.put(self.avail + 2, struct.pack("<H", avail & 0xffff))
        self.ram.put(self.used + 2, struct.pack("<H", used & 0xffff))
        self.base = used & 0xffff

    def played(self, made, used, start=0):
        """A history: heads that were made available, and those that were used, since `start`."""
        for n, head in enumerate(made):
            self.ram.put(self.avail + 4 + 2 * ((start + n) % self.num), struct.pack("<H", head))
        for n, head in enumerate(used):
            self.ram.put(self.used + 4 + 8 * ((start + n) % self.num),
                         struct.pack("<II", head, 512))
        self.stands(start + len(made), start + len(used))


# --- what has been said

class Model:
    """The state that a side of the protocol has been told, and the messages that say it again."""

    def __init__(self):
        self.last, self.rings, self.regions, self.config = {}, {}, [], {}
        self.table, self.flags = 0, 0
        self.stopped_enabled = set()    # stopping a ring does not disable it

    def take(self, request, payload, labels=()):
        """Takes one request; messages that set no state change nothing."""
        index = int.from_bytes(payload[:4], "little")
        if request == Front.SET_MEM_TABLE:
            rows = [payload[at:at + 32] for at in range(8, len(payload), 32)]
            self.regions, self.table = list(zip(rows, labels)), len(rows)
        elif request == Front.ADD_MEM_REG:
            self.regions.append((payload[8:], labels[0]))
        elif request == Front.REM_MEM_REG:
            self._remove(payload[8:32])
        elif request in STOPS:
            enable = self.rings.pop(index, {}).get(Front.SET_VRING_ENABLE)
            if enable and enable[0][4]:
                self.stopped_enabled.add(index)
        elif request in (Front.RESET_OWNER, Front.RESET_DEVICE):
            self.rings.clear()
            self.stopped_enabled.clear()
            self.last.pop(Front.SET_STATUS, None)
            self.last.pop(Front.SET_INFLIGHT_FD, None)
        elif request in OF_RING:
            index &= 0xff if request in FD_OF_RING else 0xffffffff
            ring = self.rings.setdefault(index, {})
            ring[request] = payload, tuple(labels)
            if request == Front.SET_VRING_ENABLE:
                self.stopped_enabled.discard(index)
            elif request == Front.SET_VRING_KICK and index in self.stopped_enabled:
                ring[Front.SET_VRING_ENABLE] = wire.state(index, 1), ()
        elif request == Front.SET_CONFIG:
            self._write(payload)
        elif request in KEPT:
            self.last[request] = payload, tuple(labels)
        if request == Front.SET_FEATURES and not payload[3] & LOG_ALL >> 24:
            self.last.pop(Front.SET_LOG_BASE, None)
            self.last.pop(Front.SET_LOG_FD, None)

    def _remove(self, name):
        for n, (row, _) in enumerate(self.regions):
            if row[:24] == name:
                self.table -= n < self.table
                del self.regions[n]
                return

    def _write(self, payload):
        offset, size, self.flags = struct.unpack_from("=III", payload)
        self.config.update(zip(range(offset, offset + size), payload[12:]))

    def started(self):
        return [n for n, ring in sorted(self.rings.items()) if Front.SET_VRING_KICK in ring]

    def rebase(self, bases):
        """Where rings that run go on."""
        for n in self.started():
            self.rings[n][Front.SET_VRING_BASE] = wire.state(n, bases[n]), ()

    def messages(self):
        """What a successor is told, in order."""
        rows = [(request, *self.last[request]) for request in BEFORE if request in self.last]
        status = self.last.get(Front.SET_STATUS)
        if status:
            rows.append((Front.SET_STATUS, u64(status[0][0] & ~DRIVER_OK), ()))
        rows += [(Front.SET_VRING_CALL, *ring[Front.SET_VRING_CALL])
                 for _, ring in sorted(self.rings.items()) if Front.SET_VRING_CALL in ring]
        rows += self._memory()
        rows += self._of_last(Front.SET_INFLIGHT_FD)
        for _, ring in sorted(self.rings.items()):
            rows += [(request, *ring[request]) for request in RING_ORDER if request in ring]
        rows += [(Front.SET_VRING_ENABLE, *ring[Front.SET_VRING_ENABLE])
                 for _, ring in sorted(self.rings.items()) if Front.SET_VRING_ENABLE in ring]
        rows += self._of_last(Front.NET_SET_MTU)
        rows += [(Front.SET_CONFIG, payload, ()) for payload in self._runs()]
        rows += self._of_last(Front.SET_STATUS)
        return [Message(request, wire.REQUEST, payload, (), labels)
                for request, payload, labels in rows]

    def _of_last(self, request):
        return [(request, *self.last[request])] if request in self.last else []

    def _memory(self):
        rows, at = [], self.table
        if at:
            payload = struct.pack("=II", at, 0) + b"".join(row for row, _ in self.regions[:at])
            labels = tuple(label for _, label in self.regions[:at])
            rows.append((Front.SET_MEM_TABLE, payload, labels))
        return rows + [(Front.ADD_MEM_REG, u64(0) + row, (label,))
                       for row, label in self.regions[at:]]

    def _runs(self):
        """The bytes that were written, as messages without a gap."""
        known, payloads = sorted(self.config), []
        while known:
            size = next((n for n, at in enumerate(known) if at != known[0] + n), len(known))
            payloads.append(wire.config(known[0], size,
                                        bytes(self.config[at] for at in known[:size]),
                                        self.flags))
            known = known[size:]
        return payloads

    def state(self):
        """To be compared with another one's: what a back-end makes of the messages."""
        last = {k: v for k, v in self.last.items() if k != Front.SET_BACKEND_REQ_FD}
        return {"last": last, "rings": {n: ring for n, ring in self.rings.items() if ring},
                "regions": sorted(self.regions), "config": self.config}


KEPT = (*BEFORE, Front.SET_STATUS, Front.SET_INFLIGHT_FD, Front.NET_SET_MTU)


def differ(got, want):
    """The first difference between two lists of messages, or None."""
    for n, (a, b) in enumerate(zip(got, want)):
        if a.key() != b.key():
            return f"message {n} of the replay is {a} instead of {b}"
    if len(got) != len(want):
        rest = (got if len(got) > len(want) else want)[min(len(got), len(want))]
        return f"{len(got)} messages in the replay instead of {len(want)}: {rest} " + \
            ("is one too many" if len(got) > len(want) else "is missing")
    return None


# --- back-ends

def answer_to(message, offer):
    """What a back-end of this offer answers to one of vushim's questions."""
    if message.id == Front.GET_CONFIG:
        offset, size = struct.unpack_from("=II", message.payload)
        return wire.config(offset, size, offer.config[offset:offset + size].ljust(size, b"\0"))
    return u64({Front.GET_FEATURES: offer.features, Front.GET_PROTOCOL_FEATURES: offer.protocol,
                Front.GET_QUEUE_NUM: offer.queues,
                Front.GET_MAX_MEM_SLOTS: offer.slots}[message.id])


class Ended(Exception):
    """vushim left this back-end."""


class Told:
    """What a new back-end hears up to the fence. at: called with each message before it is
    answered; what it raises ends the listening."""

    def __init__(self, back, offer, at=None, fence=True):
        self.back, self.offer, self.at = back, offer, at
        self.greeting, self.replay, self.fenced = [], [], False
        while not self.fenced:
            self.one(fence)

    def next(self):
        message = self.back.next(own=True)
        if message is None:
            raise Ended()
        if self.at:
            self.at(message)
        check(message.flags == wire.REQUEST, f"not a plain request: {message}")
        return message

    def one(self, fence):
        message = self.next()
        asked = [m.id for m in self.greeting]
        if message.id == Front.GET_FEATURES and (self.replay or message.id in asked):
            self.fenced = True
            if fence:
                self.back.answer(message.id, u64(self.offer.features), own=True)
        elif message.id in QUESTIONS:
            check(not self.replay, f"asked in the middle of the replay: {message}")
            self.greeting.append(message)
            self.back.answer(message.id, answer_to(message, self.offer), own=True)
        elif message.id == Front.SET_PROTOCOL_FEATURES and message.id not in asked \
                and not self.replay and asked:
            self.greeting.append(message)
        else:
            self.replay.append(message)
            if message.id == Front.SET_LOG_BASE and self.offer.protocol & bits(Proto.LOG_SHMFD):
                self.back.answer(message.id, u64(0), own=True)


class Robot(threading.Thread):
    """A back-end in a thread of its own: takes one connection, answers everything, keeps what it
    was told. bases: ring -> its answer to GET_VRING_BASE. at: called with (robot, message) first; a
    true value means that it has seen to the message itself."""

    def __init__(self, t, name, offer, sock=None, listener=None, bases=None, at=None, journal=None):
        super().__init__(daemon=True)
        self.t, self.robot, self.offer, self.at = t, name, offer, at
        self.sock, self.listener = sock, listener
        self.bases, self.journal = bases or {}, [] if journal is None else journal
        self.model, self.messages, self.peer, self.error = Model(), [], None, None
        self.gone = threading.Event()
        self.state, self.mover = name.encode(), None
        self.start()

    def run(self):
        try:
            sock = self.sock or accept(self.listener, 60 * SLOW)
            self.peer = self.t.add_peer(sock, self.robot)
            while self.one():
                pass
        except (OSError, ValueError) as error:      # closed by the case, or cut off
            self.error = error
        except Failure as failure:
            self.error = failure
        self.gone.set()

    def one(self):
        message = self.peer.next(60 * SLOW, own=True)
        if message is None:
            return False
        self.messages.append(message)
        self.journal.append((self.robot, message))
        if self.at and self.at(self, message):
            return self.peer.sock.fileno() >= 0
        self.model.take(message.id, message.payload, message.labels)
        self.reply(message)
        return True

    def reply(self, message):
        if message.id in QUESTIONS:
            self.say(message, answer_to(message, self.offer))
        elif message.id in STOPS:
            index = int.from_bytes(message.payload[:4], "little")
            self.say(message, wire.state(index, self.bases.get(index, 0)))
        elif message.id == Front.GET_INFLIGHT_FD:
            self.region = self.t.memfd(0x3000)
            payload = u64(0x3000) + message.payload[8:]
            self.peer.answer(message.id, payload, [self.region], own=True)
        elif message.id == Front.SET_DEVICE_STATE_FD:
            self.move_state(message)
            self.say(message, u64(wire.NOFD))
        elif message.id == Front.CHECK_DEVICE_STATE:
            self.mover.join()
            self.say(message, u64(0))
        elif message.id == Front.GET_STATUS:
            status = self.model.last.get(Front.SET_STATUS)
            self.say(message, status[0] if status else u64(0))
        elif message.flags == wire.NEED_REPLY or message.id == Front.SET_LOG_BASE:
            self.say(message, u64(0))

    def move_state(self, message, fd=None):
        """Writes its state, or reads another one's, by the descriptor of the message or another one
        (taken)."""
        if fd is None:
            fd = os.dup(message.fds[0])
        self.t.release(message.fds)
        job = self.read_state if message.payload[0] else self.write_state
        self.mover = threading.Thread(target=job, args=(fd,), daemon=True)
        self.mover.start()

    def write_state(self, fd):
        try:
            with open(fd, "wb") as pipe:
                pipe.write(self.state)
        except BrokenPipeError:
            pass

    def read_state(self, fd):
        with open(fd, "rb") as pipe:
            self.state = pipe.read()

    def say(self, message, payload):
        self.peer.answer(message.id, payload, own=True)

    def count(self, request):
        return sum(message.id == request for message in self.messages)

    def heard(self, request, times=1, patience=PATIENCE):
        until(lambda: self.count(request) >= times, lambda: f"{self.robot} to hear m{request}; "
              f"it has heard {[int(m.id) for m in self.messages]}", patience)

    def leave(self):
        self.peer.sock.shutdown(socket.SHUT_RDWR)
        check(self.gone.wait(PATIENCE), f"{self.robot} stays")
        self.peer.close()


def robot_of(t, guest_, bases=None, at=None, journal=None, name="old"):
    """The guest's present back-end goes on in a thread of its own."""
    robot = Robot(t, name, guest_.offer, sock=guest_.back.sock, bases=bases, at=at, journal=journal)
    robot.model = copy.deepcopy(guest_.model)
    guest_.back = None
    return robot


def knows(robot, guest_):
    """This back-end is in the state that the front-end means."""
    want = guest_.model.state()
    until(lambda: robot.model.state() == want,
          lambda: f"{robot.robot} to have\n{want}\nit has\n{robot.model.state()}")


# --- the front-end

class Guest:
    """A front-end that keeps account of what it has said."""

    def __init__(self, t, offer=NET, features=ACKED, protocol=PROTOCOL, queues=4):
        self.t, self.offer, self.queues = t, offer, queues
        self.model, self.rings = Model(), {}
        self.front = t.front()
        self.back = first_back(t, offer)
        self.to_front = self.to_back = None
        self.ask(Front.GET_FEATURES, answer=u64(offer.features))
        self.ask(Front.GET_PROTOCOL_FEATURES, answer=u64(offer.protocol))
        self.protocol, self.features = protocol, features
        self.say(Front.SET_PROTOCOL_FEATURES, u64(protocol))
        self.say(Front.SET_OWNER)
        self.say(Front.SET_FEATURES, u64(features))

    def say(self, request, payload=b"", fds=(), ack=False, note=True):
        """Sets state; the back-end, if there is one, must get it as it is."""
        flags = wire.NEED_REPLY if ack else wire.REQUEST
        self.front.send(request, payload, flags, fds, lost=True)
        answered = ack or request == Front.SET_LOG_BASE and self.protocol & bits(Proto.LOG_SHMFD)
        if self.back:
            passed = None if request in NOT_PASSED else list(fds)
            message = self.back.expect(request, flags, payload, passed, own=True)
            if answered:
                self.back.answer(request, u64(0), own=True)
        else:
            message = None
        if answered:
            self.front.expect(request, wire.REPLY,
                              None if request == Front.SET_LOG_BASE else u64(0),
                              own=True)
        if note:
            self.model.take(request, payload, [self.t.label(fd) for fd in fds])
        return message

    def ask(self, request, payload=b"", answer=None, sees=None, fds=(), answer_fds=()):
        """A question. Without a back-end somebody else must answer it. Returns the answer."""
        self.front.send(request, payload, fds=fds, lost=True)
        if self.back:
            self.back.expect(request, wire.REQUEST, payload, list(fds), own=True)
            self.back.answer(request, answer, answer_fds, own=True)
        self.model.take(request, payload)
        if request in STOPS:
            self.rings.pop(int.from_bytes(payload[:4], "little"), None)
        return self.front.expect(request, wire.REPLY, answer if sees is None else sees,
                                 fds=list(answer_fds), own=True)

    def memory(self, *rams, how="table"):
        """Sets these regions."""
        self.rams = rams = rams or (Ram(self.t),)
        if how == "table":
            payload = struct.pack("=II", len(rams), 0) + b"".join(ram.row() for ram in rams)
            self.say(Front.SET_MEM_TABLE, payload, [ram.fd for ram in rams])
        for ram in rams if how == "regions" else ():
            self.say(Front.ADD_MEM_REG, u64(0) + ram.row(), [ram.fd], ack=True)
        return rams[0]

    def ring(self, ring, base=0, start=True, enable=True, more=False, ack=False):
        """Sets a ring up. more: everything that can be said of one."""
        n, t = ring.index, self.t
        self.say(Front.SET_VRING_NUM, wire.state(n, ring.num), ack=ack)
        self.say(Front.SET_VRING_BASE, wire.state(n, base), ack=ack)
        self.say(Front.SET_VRING_ADDR, ring.address(), ack=ack)
        if more:
            self.say(Front.SET_VRING_ENDIAN, wire.state(n, 0), ack=ack)
            self.say(Front.SET_VRING_ERR, u64(n), [t.eventfd()], ack=ack)
        self.say(Front.SET_VRING_CALL, u64(n), [self.event(n, "call")], ack=ack)
        if start:
            self.say(Front.SET_VRING_KICK, u64(n), [self.event(n, "kick")], ack=ack)
        if enable is not None:
            self.say(Front.SET_VRING_ENABLE, wire.state(n, int(enable)), ack=ack)
        self.rings[n] = ring
        return ring

    def event(self, n, kind):
        fd = self.t.eventfd()
        self.events = getattr(self, "events", {})
        self.events[n, kind] = fd
        return fd

    def runs(self, count=2, device_status=True):
        """Memory, so many rings that run, the driver is ready."""
        ram = self.memory()
        for n in range(count):
            self.ring(Ring(ram, n)).stands(0x130 + n, 0x123 + n)
        if device_status:
            self.say(Front.SET_STATUS, u64(0xf))
        return self

    def channel(self):
        """A back-end channel: the ends are to_front and to_back."""
        ours, theirs = self.t.socketpair()
        message = self.say(Front.SET_BACKEND_REQ_FD, fds=[theirs.fileno()])
        for end in (ours, theirs):
            self.t.kept.remove(end)
        theirs.close()
        self.to_front = self.t.add_peer(ours, "F channel")
        self.to_back = self.channel_of(message) if message else None
        return self.to_front, self.to_back

    def channel_of(self, message):
        check(len(message.fds) == 1, f"no socket: {message}")
        self.t.kept.remove(message.fds[0])
        return self.t.add_peer(socket.socket(fileno=message.fds[0]), "B channel")

    # --- loss and successor

    def bases(self):
        return {n: ring.base for n, ring in self.rings.items()}

    def lose(self, held=True):
        """The back-end dies. held: vushim has noticed, and keeps the front-end."""
        self.back.close()
        self.back = None
        if held:
            is_held(self.t)
        self.model.rebase(self.bases())

    def succeed(self, offer=None, name="B2", replay=None, at=None):
        """A successor comes: it must be told everything, and then serves."""
        offer = offer or self.offer
        self.heard()
        back = self.t.end("back", name)
        told = Told(back, offer, at)
        self.agrees(told.replay, replay)
        channels = [m for m in told.replay if m.id == Front.SET_BACKEND_REQ_FD]
        if channels and self.to_front:
            self.to_back = self.channel_of(channels[0])
        self.back = back
        self.works()
        return told

    def agrees(self, got, want=None):
        text = differ(got, self.model.messages() if want is None else want)
        if text:
            raise Failure(text + "\n" + "\n".join(str(m) for m in got))

    def works(self):
        """A question passes to the back-end and its answer comes back."""
        self.ask(Front.GET_FEATURES, answer=u64(self.offer.features))

    def heard(self):
        """vushim has read all that was said while nobody else could answer."""
        self.ask(Front.GET_FEATURES, sees=u64(self.offer.features))

    def restart(self, **how):
        self.lose()
        return self.succeed(**how)


# --- vushim

def begin(t, device="net", policy="hold", extra=(), back="connect", more=""):
    """Starts vushim for that kind of device; policy None: its own."""
    profile = "host,max_ring=16384" + (f",device={device}" if device else "") + more
    words = ("--on-back-end-loss", policy) if policy else ()
    path = t.path(f"ctl{abs(hash((profile, policy, tuple(extra), back))) % 99991}")
    t.start(profile, back=back, extra=("--control", path, *words, *extra), loss=None)
    t.control = path
    return t.shim


def lasting(listener):
    """A connection there, of which vushim has not left its end already."""
    while True:
        sock = accept(listener)
        poll = select.poll()
        poll.register(sock, select.POLLRDHUP)
        if not poll.poll(20):
            return sock
        sock.close()


def first_back(t, offer):
    """The back-end of a new life. Where vushim connects, it may have done so before for a front-end
    that has left since: those connections are over."""
    mode, _, listener = t.ends["back"]
    if mode != "connect":
        return t.back(offer)
    back = t.add_peer(lasting(listener), "B")
    check(t.admit(back, offer), "vushim left the back-end")
    until(lambda: unread(back.sock) == 0, "vushim to read the last answer")
    return back


def guest(t, device="net", policy="hold", extra=(), more="", **how):
    """Starts vushim and a guest of that device."""
    begin(t, device, policy, extra, more=more)
    return Guest(t, how.pop("offer", OFFERS.get(device, OTHER)), **how)


def client(t):
    """A client of the control socket; one for each run."""
    if getattr(t, "client_of", None) != t.control or t.client.sock.fileno() < 0:
        t.client_of, t.client = t.control, Client(t, t.control)
    return t.client


def status(t):
    return client(t).value("query-status")


def verdict(t):
    return client(t).value("query-state")["restart"]


def is_held(t):
    until(lambda: status(t)["life"] == "held", lambda: f"the front-end to be held: {status(t)}")


def events(t, name, count=1, patience=PATIENCE):
    """Waits for so many events of that name; returns them."""
    def seen():
        client(t).value("query-version")
        found = [e for e in client(t).events if e["event"] == name]
        return found if len(found) >= count else None
    return until(seen, lambda: f"{count} x {name}: {client(t).events}", patience)


def holds(shim, identity):
    """How many descriptors of that identity (wire.identity) vushim has."""
    found = 0
    for name in os.listdir(f"/proc/{shim.pid}/fd"):
        try:
            stat = os.stat(f"/proc/{shim.pid}/fd/{name}")
            event = ""
            if identity[2]:
                with open(f"/proc/{shim.pid}/fdinfo/{name}", encoding="ascii") as info:
                    event = next((line for line in info if line.startswith("eventfd-id")), "")
        except FileNotFoundError:
            continue
        found += (stat.st_dev, stat.st_ino, event.strip()) == identity
    return found


def drops(shim, *fds):
    """vushim gives these descriptors back at once, and keeps no mapping of them."""
    for fd in fds:
        until(lambda fd=fd: holds(shim, wire.identity(fd)) == 0, "a descriptor to be closed",
              1.0 * SLOW)
        inode = f" {os.fstat(fd).st_ino} "
        with open(f"/proc/{shim.pid}/maps", encoding="utf-8", errors="replace") as maps:
            check(not any(inode in line and "memfd" in line for line in maps), "still mapped")


def keeps(shim, *fds):
    for fd in fds:
        until(lambda fd=fd: holds(shim, wire.identity(fd)) == 1, "a descriptor to be kept")


def nothing_told(t, guest_, name="B unfit", seconds=0.3):
    """A back-end that comes now may be greeted, and is told nothing of the device."""
    offer = guest_.offer
    listener = t.ends["back"][2]
    listener.settimeout(seconds * SLOW)
    try:
        back = t.add_peer(listener.accept()[0], name)
    except TimeoutError:
        return None
    finally:
        listener.settimeout(None)
    end = time.monotonic() + seconds * SLOW
    asked = []
    while time.monotonic() < end:
        try:
            message = back.next(max(0.01, end - time.monotonic()), own=True)
        except Failure:
            break                                   # silence
        if message is None:
            return None
        fresh = message.id not in asked
        asked.append(message.id)
        check(fresh and message.id in (*QUESTIONS, Front.SET_PROTOCOL_FEATURES),
              f"told something of the device: {message}")
        if message.id in QUESTIONS:
            back.answer(message.id, answer_to(message, offer), own=True)
    return back
