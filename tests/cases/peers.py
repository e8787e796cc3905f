# SPDX-License-Identifier: MIT
"""Scripted peers: one end of a vhost-user stream, with bounded waits and descriptor passing.

Every message that a peer sends or receives is kept, so that at the end of a case the harness can
compare what one side sent with what the other side saw (case.py, `flow`).
"""
import array
import os
import random
import select
import socket
import time

import wire

# Under Valgrind everything is some ten times slower; waits are bounds, not measurements.
SLOW = float(os.environ.get("VUSHIM_SLOW") or (8 if os.environ.get("VUSHIM_WRAP") else 1))
PATIENCE = 5.0 * SLOW


class Failure(AssertionError):
    """A case that did not go as it must."""


class Skip(Exception):
    """A case that cannot be played here; its text says why."""


def check(condition, text):
    if not condition:
        raise Failure(text)


def until(condition, what, patience=PATIENCE):
    """Waits for condition() to be true and returns its value."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"waited {patience:.1f} s for {what() if callable(what) else what}")
        time.sleep(0.002)


class Message:
    """One message with what came with it; compared and shown by its labels, not by fd number."""

    def __init__(self, request, flags, payload, fds=(), labels=()):
        self.id, self.flags, self.payload = request, flags, payload
        self.fds, self.labels = list(fds), tuple(labels)

    def key(self):
        # What id 21 carries is replaced on the way, by design: compare the number only.
        labels = len(self.labels) if self.id == wire.Front.SET_BACKEND_REQ_FD else self.labels
        return self.id, self.flags, self.payload, labels

    @property
    def value(self):
        return int.from_bytes(self.payload[:8], "little")

    def __repr__(self):
        body = self.payload[:24].hex() + ("..." if len(self.payload) > 24 else "")
        return f"m{self.id} flags {self.flags:#x} size {len(self.payload)} [{body}] " \
               f"fds {list(self.labels)}"


class Cutter:
    """Cuts writes at seeded random places; without a seed it leaves them whole."""

    def __init__(self, seed=None):
        self.random = random.Random(seed) if seed is not None else None

    def pieces(self, data, fds):
        """Returns [(bytes, fds)]; descriptors go with a random piece."""
        if not self.random or len(data) < 2:
            return [(data, fds)]
        count = min(len(data) - 1, self.random.choice((0, 1, 1, 2, 5)))
        at = sorted(self.random.sample(range(1, len(data)), count))
        parts = [data[a:b] for a, b in zip([0, *at], [*at, len(data)])]
        carrier = self.random.randrange(len(parts))
        return [(part, fds if n == carrier else ()) for n, part in enumerate(parts)]

    def pause(self):
        if self.random:
            time.sleep(self.random.choice((0, 0, 0.0002, 0.001)))


class Peer:
    """One end of a stream whose other end is (or should be) vushim's."""

    def __init__(self, case, sock, name):
        self.case, self.sock, self.name = case, sock, name
        self.sent, self.received = [], []
        self.wire = None            # its name in traces, if it has one
        self.strict = True         # a message must arrive in one piece: back-ends rely on it
        self.gone = False          # end of stream was seen
        self.lossy = False         # the case cuts this end off with messages under way
        sock.setblocking(True)

    # --- sending

    def raw(self, data, fds=()):
        """Sends bytes as they are, in one sendmsg; returns False when the other end has left."""
        try:
            self._write(data, list(fds))
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def _write(self, data, fds):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        end = time.monotonic() + PATIENCE
        while data:
            self._wait(select.POLLOUT, end, f"room to send {len(data)} bytes")
            try:
                done = self.sock.sendmsg([data], control, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            data, control = data[done:], []

    def send(self, request, payload=b"", flags=wire.REQUEST, fds=(), lost=False, becomes=None,
             own=False):
        """Sends one message. lost: it must not reach the other side. becomes: what arrives there
        instead of the payload (bytes) or of everything (Message). own: an answer to vushim."""
        labels = [self.case.label(fd) for fd in fds]
        message = Message(request, flags, payload, (), labels)
        if not lost and not own:
            self.sent.append(arrives(message, becomes))
        ok = True
        for part, part_fds in self.case.cutter.pieces(wire.message(request, payload, flags), fds):
            ok = ok and self.raw(part, part_fds)
            self.case.cutter.pause()
        check(ok or lost or self.lossy, f"{self.name}: could not send {message}: closed")
        return message

    def note(self, request, payload=b"", flags=wire.REQUEST, fds=()):
        """Makes a message that was written raw known as sent."""
        labels = [self.case.label(fd) for fd in fds]
        self.sent.append(Message(request, flags, payload, (), labels))

    def answer(self, request, payload=b"", fds=(), flags=wire.REPLY, **more):
        return self.send(request, payload, flags, fds, **more)

    # --- receiving

    def _wait(self, events, end, what):
        left = max(0, end - time.monotonic())
        poll = select.poll()
        poll.register(self.sock, events)
        if not poll.poll(left * 1000):
            raise Failure(f"{self.name}: waited in vain for {what}")

    def _read(self, size, fds, end, whole):
        """Reads exactly size bytes; fewer only at the end of the stream."""
        data = b""
        while len(data) < size:
            if not (data == b"" and whole):
                self._wait(select.POLLIN, end, f"{size - len(data)} more bytes of a message")
            try:
                part, control, flags, _ = self.sock.recvmsg(
                    size - len(data), socket.CMSG_SPACE(4 * wire.MAX_FDS),
                    socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
            except ConnectionResetError:
                part, control, flags = b"", [], 0
            except BlockingIOError:
                raise Failure(f"{self.name}: a header without its {size} payload bytes") from None
            fds.extend(fds_of(control))
            check(not flags & socket.MSG_CTRUNC, f"{self.name}: descriptors lost on the way")
            if not part:
                break
            data += part
            check(len(data) == size or not self.strict, f"{self.name}: message came in pieces, "
                  f"{len(data)} of {size} bytes: {data.hex()}")
        return data

    def next(self, patience=PATIENCE, own=False):
        """The next message, or None at the end of the stream."""
        end = time.monotonic() + patience
        fds = []
        self._wait(select.POLLIN, end, "a message")
        head = self._read(wire.HEADER.size, fds, end, False)
        if not head:
            self.gone = True
            return None
        check(len(head) == wire.HEADER.size, f"{self.name}: end inside a header: {head.hex()}")
        request, flags, size = wire.HEADER.unpack(head)
        body = self._read(size, fds, end, self.strict) if size else b""
        check(len(body) == size, f"{self.name}: end inside m{request}: {len(body)} of {size} bytes")
        message = Message(request, flags, body, fds, [self.case.label(fd) for fd in fds])
        self.case.keep(fds)
        if not own:
            self.received.append(message)
        return message

    def expect(self, request, flags=None, payload=None, fds=None, patience=PATIENCE, own=False):
        """The next message must be this one. fds: the number, or the descriptors themselves."""
        message = self.next(patience, own)
        check(message, f"{self.name}: end of stream instead of m{request}")
        check(message.id == request, f"{self.name}: wanted m{request}, got {message}")
        check(flags is None or message.flags == flags, f"{self.name}: wanted flags {flags}, "
              f"got {message}")
        check(payload is None or message.payload == payload,
              f"{self.name}: wanted {payload and payload.hex()}, got {message}")
        if isinstance(fds, int):
            check(len(message.fds) == fds, f"{self.name}: wanted {fds} descriptors, got {message}")
        elif fds is not None:
            labels = tuple(self.case.label(fd) for fd in fds)
            check(message.labels == labels, f"{self.name}: wanted {labels}, got {message}")
        return message

    def refusal(self, request):
        """vushim's own failure ack, which no back-end sent."""
        message = self.expect(request, wire.REPLY, own=True)
        check(len(message.payload) == 8 and message.value != 0, f"no failure ack: {message}")

    def quiet(self, seconds=0.1):
        """Nothing arrives for so long, the end of the stream neither."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        if poll.poll(seconds * 1000):
            raise Failure(f"{self.name}: expected silence, got {self.next() or 'end of stream'}")

    def ended(self, patience=PATIENCE):
        """The stream ends here, without another message."""
        message = self.next(patience) if not self.gone else None
        check(message is None, f"{self.name}: wanted end of stream, got {message}")

    def drain(self, patience=PATIENCE):
        """Reads whatever still comes until the end of the stream."""
        while not self.gone and self.sock.fileno() >= 0:
            self.next(patience)

    def drain_now(self, seconds=0.05):
        """Reads what is there, if anything."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        while not self.gone and poll.poll(seconds * 1000):
            self.next()

    def drain_soon(self):
        """Reads one message if one is there; False if none is (or the end came)."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(1)) and self.next() is not None

    def close(self):
        self.sock.close()


def arrives(message, becomes):
    """The message as the other side must see it."""
    if becomes is None:
        return message
    if isinstance(becomes, Message):
        return becomes
    return Message(message.id, message.flags, becomes, (), message.labels)


def fds_of(control):
    fds = array.array("i")
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
    return list(fds)
