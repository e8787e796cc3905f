# SPDX-License-Identifier: MIT
"""vushim trace replay: against scripted peers, and recordings of real ones against these."""
import array
import json
import os
import random
import resource
import socket
import stat
import struct
import subprocess
import tempfile

import places
from backends import Qsd, Testpmd, vhost_port, virtio_user_port
from bench import Bench
from line import Vushim
from proc import wait_for
from suite import Skip
from tracemaker import NEED_REPLY, REPLY, Trace

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
BLK = f"{CORPUS}/blk-qemu-storage-daemon.pcapng"
NET = f"{CORPUS}/net-testpmd-virtio-user.pcapng"
STAGE = tempfile.TemporaryDirectory(prefix="vushim-replay-")
PATIENCE = 15

GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE, SET_LOG_BASE = 1, 2, 3, 5, 6
SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR = 10, 11, 12, 13, 14
GET_QUEUE_NUM, SET_BACKEND_REQ_FD, GET_CONFIG, GET_INFLIGHT, SET_INFLIGHT = 17, 21, 24, 31, 32
ADD_MEM_REG, GET_SHARED_OBJECT, SET_DEVICE_STATE_FD, CONFIG_CHANGE = 37, 41, 42, 2
CSUM, MQ, MRG_RXBUF, VERSION_1, PACKED = 1 << 0, 1 << 22, 1 << 15, 1 << 32, 1 << 34


class Failure(Exception):
    """A check that did not hold."""


def check(condition, why):
    if not condition:
        raise Failure(why)


def equal(got, want, what):
    check(got == want, f"{what}: {got!r}, not {want!r}")


def u64(value):
    return struct.pack("=Q", value)


def u32s(*values):
    return struct.pack(f"={len(values)}I", *values)


class End:
    """The peer's end of a socket."""

    def __init__(self, sock):
        self.sock, self.fds = sock, []
        sock.settimeout(PATIENCE)

    def receive(self, request=None):
        """(request, flags, body, descriptors). The descriptors are closed with the end."""
        room = 253 * array.array("i").itemsize
        head, control, _, _ = self.sock.recvmsg(12, socket.CMSG_SPACE(room))
        check(len(head) == 12, f"end of the stream, not message {request}")
        fds = array.array("i")
        for _, _, data in control:
            fds.frombytes(data)
        got, flags, size = struct.unpack("=III", head)
        body = self.sock.recv(size, socket.MSG_WAITALL) if size else b""
        self.fds += fds
        if request is not None:
            equal(got, request, "request")
        return got, flags, body, list(fds)

    def send(self, request, body=b"", flags=0, fds=()):
        socket.send_fds(self.sock, [struct.pack("=III", request, flags | 1, len(body)) + body], fds)

    def reply(self, request, body=b"", fds=()):
        self.send(request, body, REPLY, fds)

    def answer(self, request, body=b"", fds=()):
        """Receives the request and replies; its body and descriptors."""
        _, _, asked, got = self.receive(request)
        self.reply(request, body, fds)
        return asked, got

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = []
        self.sock.close()


def stage(trace):
    path = f"{STAGE.name}/trace.pcapng"
    with open(path, "wb") as f:
        f.write(trace.data if isinstance(trace, Trace) else trace)
    return path


def finish(process, status, what):
    out, err = (text.decode() for text in process.communicate(timeout=PATIENCE + 10))
    check(process.returncode == status, f"{what}: status {process.returncode}: {out}{err}")
    check((status == 2) == bool(err), f"{what}: status {status} with {err!r}")
    if err:
        check(err.startswith("vushim: trace replay: ") and err.count("\n") == 1,
              f"not a line: {err}")
    return out + err


def vushim(status, *words, **more):
    process = subprocess.Popen([places.VUSHIM, "trace", "replay", *words], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    return finish(process, status, " ".join(words))


def play(trace, status, peer, *words, side="--back", nofile=None):
    """Replays a trace to the function of an End; what is printed."""
    ours, theirs = socket.socketpair()
    def limit():
        if nofile:
            resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))
    process = subprocess.Popen(
        [places.VUSHIM, "trace", "replay", stage(trace), side, f"fd:{theirs.fileno()}",
         "--timeout", "5", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, pass_fds=[theirs.fileno()], preexec_fn=limit)
    theirs.close()
    end = End(ours)
    try:
        peer(end)
        return finish(process, status, "replay")
    finally:
        end.close()
        if process.poll() is None:
            process.kill()
            process.communicate()


def says(trace, status, wanted, peer, *words, **more):
    out = play(trace, status, peer, *words, **more)
    check(wanted in out, f"{wanted!r} is not in {out!r}")


def ask(t, request, answer, body=b"", wire="back", **more):
    """A request and its answer as recorded at the wire; the answer's record."""
    t.message(wire, wire == "back", request, body)
    return t.message(wire, wire != "back", request, answer, REPLY, **more)


def tell(t, request, body=b"", fds=(), flags=0, wire="back"):
    return t.message(wire, wire == "back", request, body, flags, fds)


FEATURES = u64(CSUM | MRG_RXBUF | VERSION_1)


def short():
    t = Trace()
    ask(t, GET_FEATURES, FEATURES)
    tell(t, SET_FEATURES, FEATURES)
    ask(t, GET_QUEUE_NUM, u64(2))
    return t


# ---- as the front-end ----

def test_same():
    def peer(end):
        end.answer(GET_FEATURES, FEATURES)
        equal(end.receive(SET_FEATURES)[2], FEATURES, "features that were set")
        end.answer(GET_QUEUE_NUM, u64(2))
    equal(play(short(), 0, peer), "same: 3 messages played, 2 came as recorded\n", "output")
    result = json.loads(play(short(), 0, peer, "--json"))
    equal(result, {"result": "same", "played": 3, "compared": 2, "notes": []}, "JSON")


def test_feature_changed():
    def peer(end):
        end.answer(GET_FEATURES, u64(MRG_RXBUF | MQ | VERSION_1))
    equal(play(short(), 1, peer),
          "difference at record 2 (GET_FEATURES): features: recorded {csum, mrg_rxbuf, version_1}, "
          "now {mrg_rxbuf, mq, version_1}: -csum +mq\n", "output")
    result = json.loads(play(short(), 1, peer, "--json"))
    equal((result["result"], result["record"], result["field"], result["change"]),
          ("difference", 2, "features", "-csum +mq"), "JSON")


def test_number_changed():
    def peer(end):
        end.answer(GET_FEATURES, FEATURES)
        end.receive(SET_FEATURES)
        end.answer(GET_QUEUE_NUM, u64(1))
    says(short(), 1, "record 5 (GET_QUEUE_NUM): queues: recorded 2, now 1\n", peer)


def test_silence():
    def peer(end):
        end.receive(GET_FEATURES)
    says(short(), 1, "record 2 (GET_FEATURES): no answer within 0.3 s\n", peer, "--timeout", "0.3")


def test_wrong_reply():
    def peer(end):
        end.receive(GET_FEATURES)
        end.reply(GET_QUEUE_NUM, u64(2))
    says(short(), 1,
         "record 2 (GET_FEATURES): expected the reply, but a reply to GET_QUEUE_NUM came", peer)


def test_closing():
    def peer(end):
        end.answer(GET_FEATURES, FEATURES)
        end.receive(SET_FEATURES)
        end.receive(GET_QUEUE_NUM)
        end.sock.shutdown(socket.SHUT_RDWR)
    says(short(), 1, "record 5 (GET_QUEUE_NUM): the peer has closed the connection\n", peer)

    def cut(end):
        end.receive(GET_FEATURES)
        end.sock.send(b"\x01\x00\x00")
        end.sock.shutdown(socket.SHUT_RDWR)
    says(short(), 1, "closed the connection inside a message", cut)


def test_nonsense():
    for what, wanted in ((b"GET / HTTP/1.1\r\n\r\n", "no vhost-user message"),
                         (struct.pack("=III", 1, 5, 1 << 30), "no vhost-user message (its size)"),
                         (struct.pack("=IIII", 1, 5, 4, 0), "not what the protocol says")):
        def peer(end):
            end.receive(GET_FEATURES)
            end.sock.send(what)
        says(short(), 1, wanted, peer)


def test_one_more_answer():
    def peer(end):
        end.answer(GET_FEATURES, FEATURES)
        end.receive(SET_FEATURES)
        end.receive(GET_QUEUE_NUM)
        answer = struct.pack("=IIIQ", GET_QUEUE_NUM, 5, 8, 2)
        end.sock.send(answer + answer)
    says(short(), 1, "another message came behind it: GET_QUEUE_NUM", peer)


def region(guest, size, user, offset):
    return struct.pack("=QQQQ", guest, size, user, offset)


def test_descriptors():
    """Each by its role; what was one file is one file, and large enough."""
    t = Trace()
    table = u32s(3, 0) + region(0, 8192, 0x7f0000, 0) + region(1 << 32, 8192, 0x7f2000, 1 << 20) \
        + region(1 << 33, 4096, 0x7f8000, 0)
    tell(t, SET_MEM_TABLE, table, [("memory", "memfd", 5, 16384), ("memory", "memfd", 5, 16384),
                                   ("memory", "hugetlb", 6, 4096)])
    tell(t, SET_VRING_KICK, u64(0), [("kick", "eventfd", 5, 0)])
    tell(t, SET_VRING_CALL, u64(0), [("call", "eventfd", 7, 0)])
    tell(t, SET_VRING_CALL, u64(1), [("call", "eventfd", 7, 0)])
    tell(t, SET_LOG_BASE, struct.pack("=QQ", 4096, 0), [("log", "memfd", 8, 1)])
    tell(t, 200, b"x", [("none", "other", 0, 0)])
    tell(t, SET_VRING_ERR, u64(0x100))

    def peer(end):
        memory = end.receive(SET_MEM_TABLE)
        equal(memory[2], table, "memory table")
        a, b, c = (os.fstat(fd) for fd in memory[3])
        check(a.st_ino == b.st_ino != c.st_ino, "files of the regions")
        equal((a.st_size, c.st_size), ((1 << 20) + 8192, 4096), "their sizes")
        equal(a.st_blocks, 0, "blocks of sparse memory")
        links = [os.readlink(f"/proc/self/fd/{end.receive(request)[3][0]}") for request in
                 (SET_VRING_KICK, SET_VRING_CALL, SET_VRING_CALL)]
        equal(links, ["anon_inode:[eventfd]"] * 3, "eventfds")
        kick, call, again = (open(f"/proc/self/fdinfo/{fd}").read() for fd in end.fds[3:6])
        check(call == again, "an eventfd of two rings is one")
        check("eventfd-count:                0" in kick, f"the kick was written: {kick}")
        equal(os.fstat(end.receive(SET_LOG_BASE)[3][0]).st_size, 4096, "size of the log")
        check(stat.S_ISCHR(os.fstat(end.receive(200)[3][0]).st_mode), "/dev/null")
        equal(end.receive(SET_VRING_ERR)[3], [], "no descriptor")
    says(t, 0, "note: 1 descriptors of unusual kinds were /dev/null", peer)


def test_inflight_comes_back():
    t = Trace()
    body = struct.pack("=QQHHI", 4096, 0, 1, 128, 0)
    ask(t, GET_INFLIGHT, body, body, fds=[("inflight", "memfd", 33, 4096)])
    tell(t, SET_INFLIGHT, body, [("inflight", "memfd", 33, 4096)])

    def peer(end):
        mine = os.memfd_create("inflight")
        end.fds.append(mine)
        end.answer(GET_INFLIGHT, body, [mine])
        back = end.receive(SET_INFLIGHT)[3]
        equal(os.fstat(back[0]).st_ino, os.fstat(mine).st_ino, "the file that was sent back")
        equal(os.fstat(mine).st_size, 0, "size, which is the peer's own")
    play(t, 0, peer)

    def without(end):
        end.answer(GET_INFLIGHT, body)
    says(t, 1, "record 2 (GET_INFLIGHT_FD): descriptors: recorded 1, now 0", without)


def test_device_state():
    """Its reader is at the end at once, its writer never has to wait."""
    t = Trace()
    t.message("back", True, SET_DEVICE_STATE_FD, u32s(0, 0), fds=[("state", "pipe", 4, 0)])
    t.message("back", False, SET_DEVICE_STATE_FD, u64(0x100), REPLY)

    def peer(end):
        fd = end.receive(SET_DEVICE_STATE_FD)[3][0]
        equal(os.read(fd, 1), b"", "bytes of a state")
        left = 4 << 20
        while left:
            left -= os.write(fd, bytes(min(left, 1 << 16)))
        end.reply(SET_DEVICE_STATE_FD, u64(0x100))
    play(t, 0, peer)


def test_noise():
    """Ring indexes, and addresses."""
    t = Trace()
    ask(t, GET_VRING_BASE, u32s(0, 42), u32s(0, 0))
    table = u32s(1, 0) + region(0, 4096, 0, 0)

    def peer(end):
        end.answer(GET_VRING_BASE, u32s(0, 0))
    play(t, 0, peer)
    t.message("back", True, SET_MEM_TABLE, table, NEED_REPLY, [("memory", "memfd", 1, 4096)])
    number = t.message("back", False, SET_MEM_TABLE, table, REPLY)

    def postcopy(end):
        peer(end)
        end.answer(SET_MEM_TABLE, u32s(1, 0) + region(0, 4096, 77, 0))
    play(t, 0, postcopy)

    def failing(end):
        peer(end)
        end.answer(SET_MEM_TABLE, u64(1))
    says(t, 1, f"record {number} (SET_MEM_TABLE): size: recorded 40, now 8", failing)


def test_rings_begin_at_0():
    t = Trace()
    tell(t, SET_VRING_BASE, u32s(1, 300))
    tell(t, SET_FEATURES, u64(PACKED))
    tell(t, SET_VRING_BASE, u32s(1, 0x80018001))

    def peer(end):
        equal(end.receive(SET_VRING_BASE)[2], u32s(1, 0), "base of a split ring")
        end.receive(SET_FEATURES)
        equal(end.receive(SET_VRING_BASE)[2], u32s(1, 0x80018001), "base of a packed ring")
    says(t, 0, "note: 1 rings were told to begin at 0", peer)


def test_config():
    """By the names of the fields; the disk's own size is no difference."""
    def config(capacity, seg_max):
        return u32s(0, 16, 0) + struct.pack("<QII", capacity, 0, seg_max)
    t = Trace(device=2)
    ask(t, GET_CONFIG, config(100, 126), config(0, 0))
    play(t, 0, lambda end: end.answer(GET_CONFIG, config(200, 126)))
    says(t, 1, "record 2 (GET_CONFIG): config.seg_max: recorded 126, now 64\n",
         lambda end: end.answer(GET_CONFIG, config(100, 64)))
    says(t, 1, "record 2 (GET_CONFIG): size: recorded 28, now 0\n",
         lambda end: end.answer(GET_CONFIG))


def test_channel():
    t = Trace()
    tell(t, SET_BACKEND_REQ_FD, fds=[("channel", "socket", 9, 0)])
    t.message("back channel", False, CONFIG_CHANGE, b"", NEED_REPLY)
    t.message("back channel", True, CONFIG_CHANGE, u64(0), REPLY)
    ask(t, GET_QUEUE_NUM, u64(2))

    def channel_of(end):
        return End(socket.socket(fileno=os.dup(end.receive(SET_BACKEND_REQ_FD)[3][0])))

    def peer(end):
        channel = channel_of(end)
        end.receive(GET_QUEUE_NUM)
        channel.send(CONFIG_CHANGE, flags=NEED_REPLY)
        equal(channel.receive(CONFIG_CHANGE)[1:3], (5, u64(0)), "answer on the channel")
        end.reply(GET_QUEUE_NUM, u64(2))
        channel.close()
    equal(play(t, 0, peer), "same: 3 messages played, 2 came as recorded\n", "output")

    def quiet(end):
        channel_of(end).close()
        end.answer(GET_QUEUE_NUM, u64(2))
    says(t, 0, "note: 1 requests on the back-end channel did not come again", quiet)

    def other(end):
        channel = channel_of(end)
        channel.send(4, u32s(0, 0))
        end.receive(GET_QUEUE_NUM)
        channel.close()
    says(t, 1,
         "record 2 (CONFIG_CHANGE_MSG): expected the request, but the request VRING_CALL came", other)


def test_unknown_message():
    t = Trace()
    ask(t, 200, b"abc", b"?")
    play(t, 0, lambda end: end.answer(200, b"abc"))
    says(t, 1, "record 2 (unknown(200)): bytes: recorded 616263, now 616264",
         lambda end: end.answer(200, b"abd"))


def test_what_another_back_end_was_told_is_not_played():
    t = Trace()
    ask(t, GET_FEATURES, FEATURES)
    t.message("next back", True, GET_FEATURES)
    t.message("next back", False, GET_FEATURES, u64(0), REPLY)
    t.message("next back", True, SET_OWNER)
    tell(t, SET_FEATURES, FEATURES)

    def peer(end):
        end.answer(GET_FEATURES, FEATURES)
        end.receive(SET_FEATURES)
    equal(play(t, 0, peer), "same: 2 messages played, 1 came as recorded\n", "output")
    check("it is front or back" in vushim(2, stage(t), "--back", "/no/such", "--wire", "next back"),
          "another wire")


# ---- as the back-end ----

def test_as_back_end():
    t = Trace()
    ask(t, GET_FEATURES, FEATURES, wire="front")
    tell(t, SET_BACKEND_REQ_FD, fds=[("channel", "socket", 9, 0)], flags=NEED_REPLY, wire="front")
    t.message("front", True, SET_BACKEND_REQ_FD, u64(0), REPLY)
    t.message("front channel", True, CONFIG_CHANGE, b"", NEED_REPLY)
    t.message("front channel", False, CONFIG_CHANGE, u64(0), REPLY)
    tell(t, ADD_MEM_REG, u64(0) + region(4096, 8192, 0x7f0000, 0),
         [("memory", "memfd", 3, 8192)], wire="front")

    def front(error, size):
        """A size that differs ends it before the channel is answered."""
        def peer(end):
            end.send(GET_FEATURES)
            equal(end.receive(GET_FEATURES)[1:3], (5, FEATURES), "the recorded answer")
            mine, theirs = socket.socketpair()
            end.send(SET_BACKEND_REQ_FD, flags=NEED_REPLY, fds=[theirs.fileno()])
            theirs.close()
            equal(end.receive(SET_BACKEND_REQ_FD)[2], u64(0), "the recorded acknowledgement")
            memory = os.memfd_create("memory")
            end.fds.append(memory)
            end.send(ADD_MEM_REG, u64(0) + region(0, size, 0x5000, 0), fds=[memory])
            channel = End(mine)
            channel.receive(CONFIG_CHANGE)
            if size == 8192:
                channel.reply(CONFIG_CHANGE, u64(error))
            channel.close()
        return peer
    play(t, 0, front(0, 8192), side="--front")
    says(t, 1, "record 6 (CONFIG_CHANGE_MSG): error: recorded 0, now 1", front(1, 8192),
         side="--front")
    says(t, 1, "record 7 (ADD_MEM_REG): size: recorded 0x2000, now 0x1000",
         front(0, 4096), side="--front")
    says(t, 1, "record 1 (GET_FEATURES): expected the request, but the request SET_OWNER came",
         lambda end: end.send(SET_OWNER), side="--front")
    says(t, 1, "record 1 (GET_FEATURES): no request within 0.2 s", lambda end: None, "--timeout",
         "0.2", side="--front")


# ---- which conversation ----

def test_lives_and_wires():
    t = Trace()
    ask(t, GET_QUEUE_NUM, u64(2), life=1)
    t.message("back", True, GET_QUEUE_NUM, life=2)
    t.message("back", False, GET_QUEUE_NUM, u64(3), REPLY, life=2)
    t.message("front", False, GET_QUEUE_NUM)
    t.message("front", True, GET_QUEUE_NUM, u64(4), REPLY)
    t.gap(5)
    says(t, 0, "connection 1 of several", lambda end: end.answer(GET_QUEUE_NUM, u64(2)))
    says(t, 0, "5 records are missing", lambda end: end.answer(GET_QUEUE_NUM, u64(2)))
    play(t, 0, lambda end: end.answer(GET_QUEUE_NUM, u64(3)), "--life", "2")
    play(t, 0, lambda end: end.answer(GET_QUEUE_NUM, u64(4)), "--wire", "front")


def test_redacted():
    t = Trace()
    t.redacted = True
    ask(t, GET_QUEUE_NUM, u64(2))
    says(t, 0, "note: the recording is redacted", lambda end: end.answer(GET_QUEUE_NUM, u64(2)))


# ---- errors ----

def test_errors():
    path, nobody = stage(short()), f"{STAGE.name}/nobody"
    for wanted, *words in (
            ("no connection", path, "--back", nobody),
            ("no connection", path, "--front", nobody, "--timeout", "0.1",
             "--wire", "back"),
            ("say who the peer is", path),
            ("say who the peer is", path, "--back", "a", "--front", "b"),
            ("--wire", path, "--back", nobody, "--wire", "side"),
            ("--life", path, "--back", nobody, "--life", "0"),
            ("no message at", path, "--back", nobody, "--life", "7"),
            ("no message at", path, "--back", nobody, "--wire", "front"),
            ("No such file", nobody, "--back", nobody)):
        out = vushim(2, *words)
        check(wanted in out, f"{wanted!r} is not in {out!r}")
    check(not os.path.exists(nobody), "a socket is left")
    for bad in (b"", b"no trace", b"\x0a\x0d\x0d\x0a" + bytes(40)):
        vushim(2, stage(bad), "--back", nobody)


def test_huge_memory():
    """A terabyte is sparse; more is refused, and sums that wrap."""
    def table(size, offset=0, recorded=0):
        t = Trace()
        tell(t, SET_MEM_TABLE, u32s(1, 0) + region(0, size, 0, offset),
             [("memory", "memfd", 1, recorded)])
        return t

    def peer(end):
        equal(os.fstat(end.receive(SET_MEM_TABLE)[3][0]).st_size, 1 << 40, "size")
    play(table(1 << 40), 0, peer)
    for t in (table((1 << 40) + 1), table(2**64 - 1, 2), table(4096, 0, 2**63)):
        says(t, 2, "wants more than 1024 GiB of memory", lambda end: None)


def test_many_descriptors():
    """Thousands of them, and all at once: the replay holds a bounded number."""
    t = Trace()
    for n in range(3000):
        tell(t, SET_VRING_CALL, u64(n % 8), [("call", "eventfd", n + 1, 0)])
    tell(t, 200, b"", [("call", "eventfd", 9000 + n, 0) for n in range(253)])

    def peer(end):
        for _ in range(3000):
            os.close(end.receive(SET_VRING_CALL)[3][0])
            end.fds.clear()
        equal(len(end.receive(200)[3]), 253, "descriptors")
    play(t, 0, peer, nofile=600)
    says(t, 2, "cannot go on: Too many open files", lambda end: None, nofile=40)


def test_descriptors_received_are_closed():
    """Those of a front-end that no later message sends again."""
    t = Trace()
    for n in range(800):
        tell(t, SET_VRING_CALL, u64(n % 8), [("call", "eventfd", n + 1, 0)], wire="front")

    def peer(end):
        fd = os.eventfd(0)
        end.fds.append(fd)
        for n in range(800):
            end.send(SET_VRING_CALL, u64(n % 8), fds=[fd])
    play(t, 0, peer, side="--front", nofile=30)


def test_hostile_files():
    """Recordings with bytes of anything in them, played as both sides to each other."""
    chance = random.Random(7)

    def spoilt(path, n):
        with open(path, "rb") as f:
            data = bytearray(f.read())
        for _ in range(n):
            data[chance.randrange(300, len(data))] = chance.choice((0, 1, 128, 255))
        return data

    for round_ in range(60):
        ends, running = socket.socketpair(), []
        source, wire = chance.choice((BLK, NET)), chance.choice(("front", "back"))
        for side, end in zip(("--back", "--front"), ends):
            path = f"{STAGE.name}/spoilt{side}"
            with open(path, "wb") as f:
                f.write(spoilt(source, chance.randrange(3)))
            running.append(subprocess.Popen(
                [places.VUSHIM, "trace", "replay", path, side, f"fd:{end.fileno()}", "--wire", wire,
                 "--timeout", "0.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                pass_fds=[end.fileno()]))
        for end in ends:
            end.close()
        for process in running:
            err = process.communicate(timeout=PATIENCE)[1].decode()
            check(process.returncode in (0, 1, 2), f"round {round_}: {process.returncode}: {err}")
            check(all(line.startswith("vushim: ") for line in err.splitlines()), err)


# ---- real peers ----

def need(*programs):
    missing = places.missing(*programs)
    if missing:
        raise Skip(f"not here: {' '.join(missing)} (run tools/install test)")


def test_corpus_is_small():
    for name in os.listdir(CORPUS):
        check(os.path.getsize(f"{CORPUS}/{name}") < 30 << 10, f"{name} is large")


def test_blk_qemu_storage_daemon():
    """A session of a QEMU guest, from the very daemon and again: then another daemon's answers."""
    need(places.QSD)
    with Bench("replay-blk") as bench:
        qsd = Qsd(bench, bench.path("back.sock"), bench.image())
        for _ in range(2):
            vushim(0, BLK, "--back", bench.path("back.sock"))
        check(qsd.alive(), qsd.log())
        Qsd(bench, bench.path("two.sock"), bench.image(name="two.img"), name="two", num_queues=2)
        out = vushim(1, BLK, "--back", bench.path("two.sock"))
        check("(GET_QUEUE_NUM): queues: recorded 1, now 2" in out, out)


def test_blk_through_vushim():
    """What the guest heard through vushim, it hears through another one with the same profile."""
    need(places.QSD)
    profile = ("device=blk,seg_max=on,blk_size=on,flush=on,indirect_desc=on,version_1=on,"
               "queues=1,max_ring=128,config.seg_max=64")    # blk.PROFILE of tests/peers
    for text, status in ((profile, 0), (profile.replace("flush=on", "flush=off"), 1)):
        with Bench("replay-shim") as bench:
            back, front = bench.path("back.sock"), bench.path("front.sock")
            Qsd(bench, back, bench.image())
            Vushim(bench, ("listen", front), ("connect", back), text)
            out = vushim(status, BLK, "--back", front, "--wire", "front")
            check(status == 0 or out.endswith(": -flush\n"), out)


def test_blk_against_its_own_recording():
    """Two replays of one recording, one as each side."""
    with Bench("replay-self") as bench:
        path = bench.path("self.sock")
        back = subprocess.Popen([places.VUSHIM, "trace", "replay", BLK, "--front", path, "--wire",
                                 "back"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            wait_for(lambda: os.path.exists(path), 10, "socket")
            vushim(0, BLK, "--back", path)
            finish(back, 0, "as the back-end")
        finally:
            back.kill()
            back.communicate()


def test_net_testpmd():
    need(places.TESTPMD, "stdbuf")
    with Bench("replay-net") as bench:
        path = bench.path("back.sock")
        back = Testpmd(bench, "back", vhost_port(path), start=False).ready()
        for _ in range(2):
            vushim(0, NET, "--back", path)
        check(back.alive(), back.log())


def test_net_virtio_user():
    """The same recording as the back-end of a real front-end."""
    need(places.TESTPMD, "stdbuf")
    with Bench("replay-front") as bench:
        path = bench.path("front.sock")
        back = subprocess.Popen([places.VUSHIM, "trace", "replay", NET, "--front", path,
                                 "--timeout", "20"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            wait_for(lambda: os.path.exists(path), 10, "socket")
            front = Testpmd(bench, "front", virtio_user_port(path), start=False).ready()
            front.stop()
            finish(back, 0, "as the back-end")
        finally:
            back.kill()
            back.communicate()
