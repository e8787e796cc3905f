# SPDX-License-Identifier: MIT
"""The stage of one case: a vushim, the peers on both of its sides, and what holds in every case.

A case is a function that gets a Case, plays its peers and says what must be seen. Afterwards the
harness checks what holds always: vushim lives, every message that one side sent reached the other
once and in order (or the case said that it must not), descriptors and maps are back at idle, and
the canary (an independent vushim with its own peers) was served all the time.
"""
import fcntl
import os
import select
import shutil
import socket
import struct
import sys
import tempfile
import termios
from collections import namedtuple

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tracefile        # noqa: E402
import wire
from peers import PATIENCE, Cutter, Failure, Message, Peer, check, until
from shim import Shim, listening
from wire import Front, Proto, bits, u64

# What a back-end says of itself when vushim (or a front-end) asks.
# config: the configuration space, every limit of it as high as can be
Offer = namedtuple("Offer", "features protocol queues slots config",
                   defaults=(128, 509, b"\xff" * 256))
DPDK = Offer(0xd7c66ffcb, 0x10cbf)
# A back-end that knows everything but the Xen layout, which changes the size of regions.
EVERYTHING = Offer(bits(26, 30, 32, 33), bits(*range(24)) & ~bits(Proto.XEN_MMAP))


LOSS = "--on-back-end-loss"


class Case:
    ENDINGS_LOGGED = 15
    traced = False          # every vushim writes a trace, and each case ends with a look at it

    def __init__(self, name):
        self.name = name
        self.dir = tempfile.mkdtemp(prefix="vc.")
        self.shims = {}
        self.starts = 0
        self.seen = []          # (wire, what its peer received) of all runs
        self.begin(None)

    def begin(self, seed):
        """A fresh run: no peers, no descriptors; the shims of earlier runs stay."""
        self.cutter = Cutter(seed)
        self.peers, self.links, self.kept, self.labels, self.counts = [], [], [], {}, {}
        self.once = None

    # --- descriptors

    def add_fd(self, fd, kind):
        number = self.counts.get(kind, 0)
        self.counts[kind] = number + 1
        self.labels[wire.identity(fd)] = f"{kind}{number}"
        self.kept.append(fd)
        return fd

    def memfd(self, size=4096):
        fd = self.add_fd(os.memfd_create("vushim-case"), "memfd")
        os.ftruncate(fd, size)
        return fd

    def eventfd(self):
        return self.add_fd(os.eventfd(0, os.EFD_CLOEXEC), "eventfd")

    def pipe(self):
        ends = os.pipe()
        return self.add_fd(ends[0], "pipe"), self.add_fd(ends[1], "pipe")

    def socketpair(self):
        """Two connected sockets; the case owns them as objects, the labels know both."""
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        for end in pair:
            self.kept.append(end)
            self.labels[wire.identity(end.fileno())] = f"socket{len(self.labels)}"
        return pair

    def label(self, fd):
        return self.labels.get(wire.identity(fd), "stranger")

    def keep(self, fds):
        self.kept.extend(fds)

    def release(self, fds):
        """Closes descriptors early, in cases that use thousands."""
        for fd in fds:
            self.kept.remove(fd)
            os.close(fd)

    # --- vushim and its endpoints

    def path(self, name):
        return os.path.join(self.dir, name)

    def start(self, profile="host", front="listen", back="connect", extra=(), loss="close",
              **options):
        """Starts vushim, or finds the one that an earlier run of this case started alike.
        front, back: listen, connect, fd (connected), fdlisten, or ("connect", PATH).
        loss: what becomes of a front-end whose back-end is lost; None: vushim's own choice."""
        key = (profile, front, back, tuple(extra), loss)
        self.spec = profile
        if key in self.shims and self.shims[key][0].most_endings() >= self.ENDINGS_LOGGED:
            self.stop_one(key)
        if key in self.shims:
            self.shim, self.ends = self.shims[key]
            return self.shim
        number, self.starts = self.starts, self.starts + 1
        passed = []
        buffer = options.pop("send_buffer", None)
        self.ends = {side: self._endpoint(side, mode, number, passed, buffer)
                     for side, mode in (("front", front), ("back", back))}
        arguments = ["--name", "dev0", "--profile", profile, *extra]
        if loss and LOSS not in extra:
            arguments += [LOSS, loss]
        for side, (_, spec, _) in self.ends.items():
            arguments += [f"--{side}", spec]
        if self.traced and "--trace" not in extra:
            arguments += ["--trace", self.path(f"all{number}.pcapng")]
        self.shim = Shim(arguments, passed, **options)
        for fd in passed:
            os.close(fd)
        if "fd" in (front, back):
            self.once = self.shim       # ends with its connection
        else:
            self.shims[key] = self.shim, self.ends
        for side, (mode, _, where) in self.ends.items():
            if mode == "listen":
                until(lambda path=where: listening(path) or not self.shim.alive(),
                      f"vushim to listen at {where}")
        if not options.get("unread_log") and "--log-level" not in extra:
            until(lambda: "ready: " in self.shim.log() or not self.shim.alive(),
                  "vushim to be ready")
        check(self.shim.alive(), f"vushim did not start")
        if front == "listen" and back in ("connect", "listen", "fdlisten"):
            self.shim.settle()
        return self.shim

    def spend(self):
        """To be called before each fault that must be in the log: lines that a peer can repeat are
        limited, so after some of them the case goes on with a fresh vushim."""
        key = next(key for key, (shim, _) in self.shims.items() if shim is self.shim)
        self.start(*key)

    def _endpoint(self, side, mode, number, passed, send_buffer):
        """Returns (mode, the word for the command line, what the harness uses)."""
        if isinstance(mode, tuple):
            return mode[0], ":".join(mode), None
        path = self.path(f"{side}{number}")
        if mode == "listen":
            return mode, f"listen:{path}", path
        if mode == "fd":
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            if send_buffer:
                theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
            fd = theirs.detach()
            passed.append(fd)
            return mode, f"fd:{fd}", ours
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen(16)
        if mode == "fdlisten":
            fd = listener.detach()
            passed.append(fd)
            return "listen", f"fd:{fd}", path
        return mode, f"connect:{path}", listener

    def end(self, side, name=None):
        """A connection with vushim on that side."""
        mode, _, where = self.ends[side]
        sock = connect(where) if mode == "listen" else \
            accept(where) if mode == "connect" else where
        peer = self.add_peer(sock, name or side)
        peer.wire = side
        return peer

    def add_peer(self, sock, name):
        peer = Peer(self, sock, name)
        self.peers.append(peer)
        return peer

    def check_traces(self, peers):
        """What a peer received is in a trace as sent to it, whole and in its order."""
        sent = {}
        for name in sorted(os.listdir(self.dir)):
            if not name.startswith("all"):
                continue
            for r in tracefile.read(self.path(name)):
                check(r.kind != "gap", f"{name}: {r.lost} records lost")
                if r.kind == "message" and r.sent:
                    # A back-end that takes over has begun as the next one.
                    wire_name = "back" if r.wire == "next back" else r.wire
                    sent.setdefault(wire_name, []).append((r.head[0], r.head[1], r.body,
                                                           len(r.fds)))
        for wire_name, received in peers:
            left = iter(sent.get(wire_name, []))
            for message in received:
                check(message in left, f"the trace lacks m{message[0]} {message[2].hex()} with "
                      f"{message[3]} descriptors on wire {wire_name}, or has it out of order")

    def front(self, name="F"):
        return self.end("front", name)

    def back(self, offer=None, name="B"):
        """A back-end's connection; with an offer it answers vushim's own questions first."""
        peer = self.end("back", name)
        if offer:
            check(self.admit(peer, offer), f"vushim left the back-end")
            # Who comes next shall come after the last answer, also at vushim.
            until(lambda: unread(peer.sock) == 0, "vushim to read the last answer")
        return peer

    def pair(self, offer=None):
        """Both peers of one life, in the order in which vushim wants them."""
        if self.ends["front"][0] == "connect":
            back = self.back(offer)
            front = self.front()
        else:
            front = self.front()
            back = self.back(offer)
        self.links.append((front, back))
        return front, back

    def channel(self, front, back, flags=wire.REQUEST):
        """Sets a back-end channel up; returns (the front-end's end, the back-end's end)."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        fd = self.add_fd(theirs.detach(), "channel")
        front.send(Front.SET_BACKEND_REQ_FD, flags=flags, fds=[fd])
        self.release([fd])
        message = back.expect(Front.SET_BACKEND_REQ_FD, fds=1)
        if flags == wire.NEED_REPLY:
            back.answer(Front.SET_BACKEND_REQ_FD, u64(0))
            front.expect(Front.SET_BACKEND_REQ_FD, payload=u64(0))
        self.kept.remove(message.fds[0])
        ends = (self.add_peer(ours, "F channel"),
                self.add_peer(socket.socket(fileno=message.fds[0]), "B channel"))
        ends[0].wire, ends[1].wire = "front channel", "back channel"
        self.links.append(ends)
        return ends

    # --- conversations

    def admit(self, back, offer):
        """Answers what vushim itself asks of a new back-end. False when vushim leaves instead."""
        if not self.admit_one(back, Front.GET_FEATURES, offer.features):
            return False
        if not offer.features & wire.PROTOCOL_FEATURES:
            return True
        if not self.admit_one(back, Front.GET_PROTOCOL_FEATURES, offer.protocol):
            return False
        message = back.next(own=True)
        if not message:
            return False
        check(message.id == Front.SET_PROTOCOL_FEATURES, f"not m16: {message}")
        check(not message.value & ~offer.protocol, f"more than offered: {message}")
        check(not message.value & bits(Proto.REPLY_ACK), f"REPLY_ACK for vushim itself: {message}")
        for bit, request, value in ((Proto.MQ, Front.GET_QUEUE_NUM, offer.queues),
                                    (Proto.CONFIGURE_MEM_SLOTS, Front.GET_MAX_MEM_SLOTS,
                                     offer.slots)):
            if message.value & bits(bit) and not self.admit_one(back, request, value):
                return False
        return (not message.value & bits(Proto.CONFIG) or "config." not in self.spec or
                self.admit_config(back, offer.config))

    def admit_config(self, back, config):
        """Pinned fields make vushim read the configuration space up to the last of them."""
        message = back.next(own=True)
        if message:
            check(message.id == Front.GET_CONFIG, f"vushim's own question should be m24: {message}")
            offset, size = struct.unpack_from("=II", message.payload)
            check(offset == 0, f"not from the start: {message}")
            back.answer(Front.GET_CONFIG, wire.config(0, size, config[:size]), own=True)
        return message is not None

    def admit_one(self, back, request, value):
        message = back.next(own=True)
        if message:
            check(message.id == request and message.flags == wire.REQUEST,
                  f"vushim's own question should be m{request}, is {message}")
            back.answer(request, u64(value), own=True)
        return message is not None

    def ask(self, front, back, request, payload=b"", answer=u64(0), becomes=None, fds=(),
            answer_fds=(), flags=wire.REQUEST, sees=None):
        """A request with an answer of its own. sees: the answer as the front-end must get it,
        becomes: the request as the back-end must get it. Returns what the front-end got."""
        front.send(request, payload, flags, fds, becomes=becomes)
        back.expect(request, flags, payload if becomes is None else becomes, fds=list(fds))
        back.answer(request, answer, answer_fds, becomes=sees)
        return front.expect(request, wire.REPLY, answer if sees is None else sees,
                            fds=list(answer_fds))

    def tell(self, front, back, request, payload=b"", fds=(), flags=wire.REQUEST, becomes=None):
        """A request without an answer; with need_reply it is acknowledged."""
        front.send(request, payload, flags, fds, becomes=becomes)
        got = back.expect(request, flags, payload if becomes is None else becomes, fds=list(fds))
        if flags == wire.NEED_REPLY:
            back.answer(request, u64(0))
            front.expect(request, wire.REPLY, u64(0))
        return got

    def negotiate(self, front, back, offer=EVERYTHING, ack=None, shown=None):
        """The start of every session. ack, shown: Offers; what the front-end acknowledges and what
        it is shown, where that differs from the back-end's offer."""
        shown = shown or offer
        ack = ack or shown
        self.ask(front, back, Front.GET_FEATURES, answer=u64(offer.features),
                 sees=u64(shown.features))
        self.ask(front, back, Front.GET_PROTOCOL_FEATURES, answer=u64(offer.protocol),
                 sees=u64(shown.protocol))
        self.tell(front, back, Front.SET_PROTOCOL_FEATURES, u64(ack.protocol))
        self.tell(front, back, Front.SET_OWNER)
        self.tell(front, back, Front.SET_FEATURES, u64(ack.features))

    def works(self, front, back, answer=bits(30, 32)):
        """A round trip shows that this life goes on."""
        self.ask(front, back, Front.GET_FEATURES, answer=u64(answer))

    def life(self, offer=None):
        """A whole good life, to show that vushim still serves."""
        front, back = self.pair(offer)
        self.works(front, back, offer.features if offer else bits(30, 32))
        self.part(front, back)

    def part(self, front, back):
        """The front-end leaves, the back-end sees it."""
        front.close()
        back.ended()
        back.close()

    # --- the end of a run

    def finish(self):
        """What holds in every case. Returns the transcript of the run."""
        for left, right in self.links:
            catch_up(left, right)
            catch_up(right, left)
        for left, right in self.links:
            self.hang_up(left, right)
        for left, right in self.links:
            flow(left, right)
            flow(right, left)
        transcript = [(peer.name, [message.key() for message in peer.received])
                      for peer in self.peers]
        self.seen += [(peer.wire, [(m.id, m.flags, m.payload, len(m.labels)) for m in peer.received])
                      for peer in self.peers if peer.wire]
        self.clear()
        for shim, _ in self.shims.values():
            if shim.idle is not None:
                shim.check_idle()
            check(shim.alive(), f"vushim has died: {shim.process.returncode}")
        if self.once:
            self.once.wait()
            self.once.stop()
        return transcript

    def hang_up(self, left, right):
        """One side leaves (the front-end, if the case does not do otherwise), the other sees it."""
        if left.sock.fileno() >= 0 and not left.name.endswith("channel"):
            left.close()
        left.drain()
        right.drain()

    def clear(self):
        for peer in self.peers:
            peer.close()
        for item in self.kept:
            item.close() if isinstance(item, socket.socket) else os.close(item)
        self.peers, self.kept = [], []
        if self.once:
            self.close_listeners(self.ends)

    def close_listeners(self, ends):
        for mode, _, where in ends.values():
            if mode == "connect" and where:
                where.close()

    def logs(self):
        """The last lines of what each vushim of this case said."""
        shims = [shim for shim, _ in self.shims.values()] + ([self.once] if self.once else [])
        return "\n".join(line for shim in shims for line in shim.log().splitlines()[-12:])

    def stop(self):
        """Ends every vushim of this case by signal; each must end well."""
        for key in list(self.shims):
            self.stop_one(key)
        if self.traced:
            self.check_traces(self.seen)

    def stop_one(self, key):
        shim, ends = self.shims.pop(key)
        shim.stop()
        self.close_listeners(ends)

    def discard(self):
        """After a failure: leave nothing behind."""
        self.clear()
        for shim, _ in self.shims.values():
            shim.discard()
        if self.once:
            self.once.discard()

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def catch_up(reader, writer):
    """Reads what was sent and must arrive but that the case did not look at."""
    while not (reader.gone or reader.lossy or reader.sock.fileno() < 0) \
            and len(reader.received) < len(writer.sent):
        reader.next()


def flow(writer, reader):
    """Everything arrived once, in order and unchanged; or, if an end was cut off, a part of it."""
    want = [message.key() for message in writer.sent]
    got = [message.key() for message in reader.received]
    if reader.lossy or writer.lossy:
        want = want[:len(got)]
    if want == got:
        return
    for number, (a, b) in enumerate(zip(want, got)):
        check(a == b, f"{writer.name} to {reader.name}: message {number} was {Message(*a[:3])}, "
              f"arrived as {Message(*b[:3])} ({a[3]} and {b[3]})")
    more, less = (writer.sent, reader.received) if len(want) > len(got) \
        else (reader.received, writer.sent)
    raise Failure(f"{writer.name} to {reader.name}: {len(want)} sent, {len(got)} arrived; "
                  f"first one too many or missing: {more[len(less)]}")


def unread(sock):
    """Bytes that the peer has not taken yet (counted with the kernel's own overhead)."""
    count = bytearray(4)
    fcntl.ioctl(sock, termios.TIOCOUTQ, count)
    return int.from_bytes(count, sys.byteorder)


def connect(path, patience=PATIENCE):
    """Connects as soon as somebody listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def attempt():
        try:
            sock.connect(path)
            return True
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            return False
    until(attempt, f"somebody to listen at {path}", patience)
    return sock


def accept(listener, patience=PATIENCE):
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    if not poll.poll(patience * 1000):
        raise Failure(f"vushim did not connect to {listener.getsockname()}")
    return listener.accept()[0]
