# SPDX-License-Identifier: MIT
"""A relay that sits on a vhost-user wire and writes down every message that passes.

It changes nothing but the socket of SET_BACKEND_REQ_FD, which it keeps, to give the back-end one
of its own: so it sees the back-end channel too. It reads exactly one header, then exactly one
payload: a longer read would credit descriptors to the wrong message.
"""
import array
import os
import re
import select
import socket
import stat
import struct
import threading
import time
from dataclasses import dataclass

import places

HEADER = struct.Struct("=III")
REPLY = 0x4
SET_BACKEND_REQ_FD = 21
MAX_FDS = 253
RIGHTS_ROOM = socket.CMSG_SPACE(MAX_FDS * 4)


def _read_names():
    """Names are for people who read a failure, so they come from the product's own table."""
    with open(f"{places.TREE}/msgcodec/messages.def") as f:
        rows = re.findall(r"^(FRONT|BACK)\(\s*(\d+),\s*(\w+),", f.read(), re.M)
    return {(side, int(number)): name for side, number, name in rows}


NAMES = _read_names()


@dataclass(frozen=True)
class Message:
    channel: str    # "main", or "back" for the back-end's own requests
    to: str         # the side that it goes to: "front" or "back"
    request: int
    flags: int
    payload: bytes
    fds: tuple      # what each descriptor is, see identity()

    @property
    def name(self):
        side = "FRONT" if self.channel == "main" else "BACK"
        name = NAMES.get((side, self.request), f"unknown({self.request})")
        return name + (" reply" if self.flags & REPLY else "")

    @property
    def shape(self):
        """What two runs of the same peers have in common; addresses in payloads differ."""
        return self.name, self.flags, len(self.payload), len(self.fds)

    def __str__(self):
        fds = f" {' '.join(self.fds)}" if self.fds else ""
        return (f"{self.channel} to {self.to}: {self.name} flags={self.flags:#x} "
                f"size={len(self.payload)}{fds} {self.payload[:24].hex()}")


def identity(fd):
    """The kind of a descriptor and, where it stays the same across a socket, which one it is."""
    st = os.fstat(fd)
    if stat.S_ISSOCK(st.st_mode):
        return "socket"     # of a back-end channel: each relay puts its own in
    link = os.readlink(f"/proc/self/fd/{fd}")
    if link == "anon_inode:[eventfd]":
        with open(f"/proc/self/fdinfo/{fd}") as f:
            m = re.search(r"^eventfd-id:\s*(\d+)", f.read(), re.M)
        return f"eventfd:{m[1]}" if m else "eventfd"
    kind = "memfd" if link.startswith("/memfd:") else stat.filemode(st.st_mode)[0]
    return f"{kind}:{st.st_dev}:{st.st_ino}"


def _read_exactly(s, n, fds):
    """n bytes; descriptors that come with them are added to fds. None at the end of the stream."""
    data = b""
    while len(data) < n:
        part, control, flags, _ = s.recvmsg(n - len(data), RIGHTS_ROOM, socket.MSG_CMSG_CLOEXEC)
        for level, kind, rights in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                new = array.array("i")
                new.frombytes(rights[:len(rights) - len(rights) % new.itemsize])
                fds.extend(new)
        if flags & socket.MSG_CTRUNC:
            raise OSError("descriptors lost on the way")
        if not part:
            return None
        data += part
    return data


def _send(s, data, fds):
    """One sendmsg, as back-ends want it; the rest of a partial one goes without descriptors."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    done = s.sendmsg([data], rights, socket.MSG_NOSIGNAL)
    if done < len(data):
        s.sendall(data[done:])


class Life:
    """One front-end connection and one back-end connection, joined until either ends."""

    def __init__(self, front, back, change=None):
        self.messages = []
        self.change = change
        self.lock = threading.Lock()
        self.sockets = [front, back]
        self.pumps = []
        self.error = None
        self._join("main", front, back)

    def _join(self, channel, front, back):
        for source, sink, to in ((front, back, "back"), (back, front, "front")):
            pump = threading.Thread(target=self._pump, args=(channel, source, sink, to),
                                    daemon=True)
            self.pumps.append(pump)
            pump.start()

    def _pump(self, channel, source, sink, to):
        fds = []
        try:
            while self._relay_one(channel, source, sink, to, fds):
                fds.clear()
        except (BrokenPipeError, ConnectionResetError):
            pass    # that side has gone: the other one is told below
        except OSError as error:
            self.error = error
        for fd in fds:
            os.close(fd)
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _relay_one(self, channel, source, sink, to, fds):
        head = _read_exactly(source, HEADER.size, fds)
        if head is None:
            return False
        request, flags, size = HEADER.unpack(head)
        payload = _read_exactly(source, size, fds) if size else b""
        if payload is None:
            return False
        message = Message(channel, to, request, flags, payload, tuple(map(identity, fds)))
        with self.lock:
            self.messages.append(message)
        if channel == "main" and request == SET_BACKEND_REQ_FD and message.fds == ("socket",):
            self._take_channel(fds)
        if self.change:
            payload = self.change(message)
        _send(sink, head + payload, fds)
        for fd in fds:
            os.close(fd)
        return True

    def _take_channel(self, fds):
        front = socket.socket(fileno=fds[0])
        mine, theirs = socket.socketpair()
        fds[0] = theirs.detach()
        self.sockets += [front, mine]
        self._join("back", front, mine)

    def end(self):
        for s in self.sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.wait()

    def wait(self, seconds=10):
        """Until both sides are closed and everything that came has been passed on."""
        for pump in self.pumps:     # a channel's pumps are added while this one waits for others
            pump.join(seconds)
            if pump.is_alive():
                raise TimeoutError("a recorded connection does not end")
        for s in self.sockets:
            s.close()


class Recorder:
    """front and back are (kind, path), kind "listen" or "connect". Serves one life at a time.

    change makes a stand-in of it: a function of a message that gives the payload to pass on, of
    the same length.
    """

    def __init__(self, bench, name, front, back, change=None):
        self.name, self.front, self.back, self.change = name, front, back, change
        self.lives = []
        self.ending = False
        self.listeners = {}
        self.dump_path = bench.path(f"{name}.txt")
        for kind, path in (front, back):
            if kind == "listen":
                self.listeners[path] = self._listen(path)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        bench.add(self)

    @staticmethod
    def _listen(path):
        if os.path.exists(path):
            os.unlink(path)
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
        s.listen(8)
        return s

    def _serve(self):
        while not self.ending:
            # The side that dials in comes first: the other one is then called for it.
            ends = sorted((self.front, self.back), key=lambda end: end[0] == "connect")
            open_ends = {}
            for end in ends:
                open_ends[end] = self._open(*end)
                if not open_ends[end]:
                    for s in open_ends.values():
                        if s:
                            s.close()
                    return
            life = Life(open_ends[self.front], open_ends[self.back], self.change)
            self.lives.append(life)
            life.wait(None)

    def _open(self, kind, path):
        """A connected socket, however long it takes; None when the recorder is stopped."""
        while not self.ending:
            if kind == "listen":
                if select.select([self.listeners[path]], [], [], 0.05)[0]:
                    return self.listeners[path].accept()[0]
                continue
            s = socket.socket(socket.AF_UNIX)
            try:
                s.connect(path)
                return s
            except OSError:
                s.close()
                time.sleep(0.05)
        return None

    def stop(self):
        self.ending = True
        for life in self.lives:
            life.end()
        self.thread.join(10)
        for s in self.listeners.values():
            s.close()
        with open(self.dump_path, "w") as f:
            for number, life in enumerate(self.lives):
                print(f"life {number}: {life.error or ''}", *life.messages, sep="\n", file=f)
