# SPDX-License-Identifier: MIT
"""Traces: what is in them, and that writing them never gets in the way."""
import ctypes
import errno
import os
import signal
import socket
import struct
import threading
import time

import tracefile
import wire
from case import DPDK, accept
from harness import case
from peers import PATIENCE, SLOW, Failure, Skip, check, until
from shim import command
from wire import Front, bits, u64


PROFILE = "device=net,version_1=on,csum=on,mq=off"
WRITERS = {"io_uring": {"forbidden": False}, "thread": {"forbidden": True}}


def forbid_io_uring():
    """io_uring_setup fails with EPERM from now on, as container runtimes have it."""
    filter_ = b"".join(struct.pack("=HBBI", *i) for i in (
        (0x20, 0, 0, 0),                    # load the system call's number
        (0x15, 0, 1, 425),                  # io_uring_setup?
        (0x06, 0, 0, 0x00050000 | 1),       # EPERM
        (0x06, 0, 0, 0x7fff0000)))          # allow
    buffer = ctypes.create_string_buffer(filter_, len(filter_))
    program = struct.pack("=HxxxxxxQ", len(filter_) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
        os._exit(99)


def table(*regions):
    """A memory table; regions: guest address, size, user address, offset."""
    return struct.pack("=II", len(regions), 0) + b"".join(struct.pack("=QQQQ", *r)
                                                          for r in regions)


def io_uring_is_there():
    """Asks the kernel for a ring with impossible parameters: EFAULT says that it would have looked."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(425, 1, None)
    return ctypes.get_errno() == errno.EFAULT


def traced(t, forbidden=False, profile="host", path=None, extra=()):
    """Starts a traced vushim; returns the file's path."""
    if not forbidden and not io_uring_is_there():
        raise Skip("this machine forbids io_uring")
    t.traced = False        # this one is enough
    path = path or t.path(f"trace{t.starts}")
    before = len(t.shims)
    shim = t.start(profile, extra=("--trace", path, *extra),
                   **({"before": forbid_io_uring} if forbidden else {}))
    if before != len(t.shims):
        shim.said("no io_uring") if forbidden else shim.not_said("no io_uring")
    return shim, shim.command[shim.command.index("--trace") + 1]


def wait_for(path, wanted):
    """The trace's records, once the condition holds for them."""
    def look():
        try:
            found = tracefile.read(path, cut=True)
        except FileNotFoundError:       # between the renaming of the old one and the making of the new
            return None
        return found if wanted(found) else None
    return until(look, f"the records in {path}")


def messages(found, wire_name, sent):
    return [(r.head, r.body) for r in found
            if r.kind == "message" and r.wire == wire_name and r.sent == sent]


def numbers_follow(found):
    for before, now in zip(found, found[1:]):
        gap = now.lost if now.kind == "gap" else 0
        check(now.number == before.number + 1 + gap,
              f"number {now.number} after {before.number}, {gap} lost")


@case(WRITERS, repeat=0)
def trace_has_both_sides(t, forbidden):
    """Each message is there as it came and as it went, in order, with what its descriptors are."""
    shim, path = traced(t, forbidden, PROFILE)
    front, back = t.pair(DPDK)
    t.ask(front, back, Front.GET_FEATURES, answer=u64(DPDK.features),
          sees=u64(bits(0, 32) | DPDK.features & wire.VHOST_BITS))
    kick, memory = t.eventfd(), t.memfd(8192)
    t.tell(front, back, Front.SET_VRING_KICK, u64(1), fds=[kick])
    t.tell(front, back, Front.SET_MEM_TABLE, table((0, 8192, 0x7f0000, 0)),
           fds=[memory])
    inner = t.channel(front, back)
    inner[1].send(wire.Back.CONFIG_CHANGE_MSG)
    inner[0].expect(wire.Back.CONFIG_CHANGE_MSG)
    t.part(front, back)
    t.links.clear()
    found = wait_for(path, lambda f: f and f[-1].kind == "ending")
    numbers_follow(found)
    check(found[0].name == "START" and "csum=on" in found[0].text, f"not a start: {found[0]}")
    asked = messages(found, "front", False)
    check([head[0] for head, _ in asked] == [Front.GET_FEATURES, Front.SET_VRING_KICK,
                                             Front.SET_MEM_TABLE, Front.SET_BACKEND_REQ_FD],
          f"the front-end asked {asked}")
    came = [body for head, body in messages(found, "back", False)
            if head[0] == Front.GET_FEATURES][-1]
    went = messages(found, "front", True)[0][1]
    check(came == u64(DPDK.features) and went == u64(bits(0, 32) | DPDK.features &
                                                     wire.VHOST_BITS),
          f"the answer came as {came.hex()} and went as {went.hex()}")
    fds = {r.head[0]: r.fds for r in found if r.fds and r.wire == "back"}
    check(fds[Front.SET_VRING_KICK][0][1] == "eventfd" and fds[Front.SET_VRING_KICK][0][2] > 0,
          f"the kick is {fds[Front.SET_VRING_KICK]}")
    check(fds[Front.SET_MEM_TABLE][0][1:] == ("memfd", os.fstat(memory).st_ino, 8192),
          f"the memory is {fds[Front.SET_MEM_TABLE]}")
    check(fds[Front.SET_BACKEND_REQ_FD][0][1] == "socket", f"{fds[Front.SET_BACKEND_REQ_FD]}")
    check(messages(found, "back channel", False) and messages(found, "front channel", True),
          "nothing of the channel")
    check(found[-1].name == "LEFT" and found[-1].wire == "front", f"the end: {found[-1]}")
    check(all(r.device == 1 for r in found), "another kind of device than net")


def start_with_standby(t, *extra):
    """Starts vushim; returns the standby's listener."""
    path = t.path("standby")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(4)
    t.kept.append(listener)
    t.traced = False
    t.start(loss=None, extra=("--standby", path, *extra))
    return listener


def admit_standby(t, listener, offered):
    """A standby that is checked and told what the front-end has said by then."""
    standby = t.add_peer(accept(listener), "S")
    standby.expect(Front.GET_FEATURES, own=True)
    standby.answer(Front.GET_FEATURES, u64(offered), own=True)
    standby.expect(Front.SET_OWNER, own=True)
    standby.expect(Front.SET_FEATURES, own=True)
    standby.expect(Front.GET_FEATURES, own=True)
    standby.answer(Front.GET_FEATURES, u64(offered), own=True)
    return standby


def beside_a_standby(t, *options):
    """(front-end, back-end, prepared standby, what both offer)"""
    listener = start_with_standby(t, *options)
    offered = bits(0, 32)
    front, back = t.pair()
    t.links.clear()
    t.ask(front, back, Front.GET_FEATURES, answer=u64(offered))
    t.tell(front, back, Front.SET_OWNER)
    t.tell(front, back, Front.SET_FEATURES, u64(offered))
    standby = admit_standby(t, listener, offered)
    t.shim.said("standby: is prepared")
    return front, back, standby, offered


@case(repeat=0)
def trace_of_a_standby(t):
    """Beside the live back-end it is on a wire of its own; when it has taken over, it is the
    back-end. What passes is in two records that follow each other all the same."""
    path = t.path("trace")
    front, back, standby, offered = beside_a_standby(t, "--trace", path)
    t.tell(front, back, Front.SET_FEATURES, u64(bits(32)))
    standby.expect(Front.SET_FEATURES, payload=u64(bits(32)), own=True)
    back.close()
    standby.expect(Front.GET_FEATURES, own=True)
    standby.answer(Front.GET_FEATURES, u64(offered), own=True)
    t.shim.said("taken over")
    t.ask(front, standby, Front.GET_FEATURES, answer=u64(offered))
    t.part(front, standby)
    found = wait_for(path, lambda f: f and f[-1].kind == "ending" and f[-1].wire == "front")
    numbers_follow(found)
    events = {r.name: r for r in found if r.kind == "event"}
    check(events["BACK_TOOK_OVER"].wire == "back", f"{events['BACK_TOOK_OVER']}")
    # From then on the next one is the one after that.
    beside = [r for r in found if r.number < events["BACK_TOOK_OVER"].number]
    check([head[0] for head, _ in messages(beside, "next back", True)] ==
          [Front.GET_FEATURES, Front.SET_OWNER, Front.SET_FEATURES, Front.GET_FEATURES,
           Front.SET_FEATURES, Front.GET_FEATURES],
          f"the standby was told {messages(beside, 'next back', True)}")
    check([body for _, body in messages(beside, "next back", False)] == [u64(offered)] * 3,
          "the standby answered something else")
    check([head[0] for head, _ in messages(found, "back", True)] ==
          [head[0] for head, _ in messages(found, "front", False)],
          "the back-ends were told something else than the front-end said")
    came = [r.wire for r in beside if r.name == "BACK_CONNECTED"]
    check(came == ["back", "next back"], f"back-ends came on {came}")
    for before, now in zip(found, found[1:]):
        if before.kind == "message" and before.wire == "front" and not before.sent:
            check((now.wire, now.sent, now.head, now.body) == ("back", True, before.head,
                                                               before.body),
                  f"behind {before} comes {now}")


@case(repeat=0)
def trace_begun_beside_a_standby(t):
    """It may begin when the standby is there already, and has its end too."""
    path, control = t.path("trace"), t.path("ctl")
    front, back, standby, _ = beside_a_standby(t, "--control", control)
    status, out, err = command("ctl", control, "trace", "start", path)
    check(status == 0, f"no trace: {out}{err}")
    t.tell(front, back, Front.SET_FEATURES, u64(bits(32)))
    standby.expect(Front.SET_FEATURES, payload=u64(bits(32)), own=True)
    standby.close()
    found = wait_for(path, lambda f: any(r.name == "STANDBY_LOST" for r in f or []))
    # The next connection to the standby's path may be there by now.
    found = found[:[r.name for r in found].index("STANDBY_LOST") + 1]
    check(messages(found, "next back", True)[-1][1] == u64(bits(32)), "nothing of the standby")
    check([r.wire for r in found if r.kind == "ending"] == ["next back"], "no end of the standby")
    status, out, err = command("ctl", control, "trace", "stop")
    check(status == 0, f"no end of the trace: {out}{err}")
    t.shim.idle_maps = t.shim.maps()        # the C library keeps the thread's stack for the next one
    t.works(front, back)
    t.part(front, back)


@case(WRITERS, repeat=0)
def trace_of_a_refusal(t, forbidden):
    """A refused message is there as it came, with the reason, and as the end of the connection."""
    _, path = traced(t, forbidden, PROFILE)
    front, back = t.pair(DPDK)
    front.send(Front.SET_FEATURES, u64(bits(7)), lost=True)
    front.ended()
    back.ended()
    found = wait_for(path, lambda f: f and f[-1].kind == "ending" and f[-1].name == "REFUSED")
    check("guest_tso4" in found[-1].text, f"the reason: {found[-1]}")
    front.close()
    back.close()


@case(WRITERS, repeat=0)
def trace_survives_a_kill(t, forbidden):
    """Killed in full flight: whole records up to the end."""
    shim, path = traced(t, forbidden)
    front, back = t.pair()
    t.links.clear()
    over = threading.Event()

    def talk():
        request = wire.message(Front.SET_OWNER)
        try:
            while not over.is_set():
                front.sock.sendall(request)
                back.sock.recv(4096)
        except OSError:
            pass
    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    until(lambda: os.path.getsize(path) > 300000, "a trace of some size")
    shim.process.kill()
    shim.process.wait()
    over.set()
    thread.join()
    found = tracefile.read(path, cut=True)
    check(len(found) > 1000, f"{len(found)} records")
    numbers_follow(found)
    t.shims.clear()
    t.peers.clear()
    front.close()
    back.close()
    t.close_listeners(t.ends)


def talk(t, front, back, rounds):
    for number in range(rounds):
        t.tell(front, back, Front.SET_VRING_NUM, wire.state(number % 2, 256))


def reader_of(path):
    """A fifo and a descriptor that could read from it: a disk that takes nothing for now."""
    os.mkfifo(path)
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def read_all(fd, until_):
    data = b""
    end = time.monotonic() + PATIENCE
    while not until_(data):
        check(time.monotonic() < end, f"nothing more after {len(data)} bytes")
        try:
            data += os.read(fd, 1 << 20)
        except BlockingIOError:
            time.sleep(0.002)
    return data


@case(WRITERS, repeat=0, slow=True)
def trace_on_a_slow_disk(t, forbidden):
    """A disk that takes nothing delays no message; what was lost is counted, and said in its place."""
    path = t.path(f"fifo{t.starts}")
    fd = reader_of(path)
    shim, _ = traced(t, forbidden, path=path)
    front, back = t.pair()
    begin = time.monotonic()
    talk(t, front, back, 6000)
    took = time.monotonic() - begin
    check(took < 6000 * 0.002 * SLOW, f"6000 messages took {took:.1f} s")

    def recovered(data):
        try:
            found = tracefile.records(data, cut=True)
        except tracefile.Broken as broken:
            raise Failure(f"{broken}") from None
        return found[-1:] and found[-1].kind == "message" and \
            found[-1].body == wire.state(77, 1024)
    data = read_all(fd, lambda d: len(d) > 600000)
    time.sleep(0.1)
    t.tell(front, back, Front.SET_VRING_NUM, wire.state(77, 1024))
    data += read_all(fd, lambda d: recovered(data + d))
    found = tracefile.records(data, cut=True)
    numbers_follow(found)
    lost = sum(r.lost for r in found if r.kind == "gap")
    check(lost > 100, f"{lost} records lost: the test did not test")
    t.part(front, back)
    t.links.clear()
    os.set_blocking(fd, True)
    thread = threading.Thread(target=lambda: all(iter(lambda: os.read(fd, 1 << 16), b"")))
    thread.start()
    t.stop()
    thread.join()
    os.close(fd)


@case(WRITERS, repeat=0, slow=True)
def trace_lossless(t, forbidden):
    """With --trace-lossless a disk that takes nothing holds the peers up, and nothing is lost."""
    path = t.path(f"fifo{t.starts}")
    fd = reader_of(path)
    shim, _ = traced(t, forbidden, path=path, extra=("--trace-lossless",))
    front, back = t.pair()
    t.links.clear()
    rounds, got = 20000, []

    def sender():
        for number in range(rounds):
            front.sock.sendall(wire.message(Front.SET_VRING_NUM, wire.state(number, 256)))

    def receiver():
        left = rounds * 20
        while left > 0:
            got.append(len(back.sock.recv(min(left, 65536))))
            left -= got[-1]
    threads = [threading.Thread(target=f, daemon=True) for f in (sender, receiver)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    check(threads[0].is_alive(), "the front-end was never held up")

    def whole(data):
        return data.count(struct.pack("=II", rounds - 1, 256)) >= 2
    data = read_all(fd, whole)
    for thread in threads:
        thread.join()
    found = tracefile.records(data, cut=True)
    numbers_follow(found)
    check(not [r for r in found if r.kind == "gap"], "records were lost")
    check(len(messages(found, "back", True)) == rounds, "not all messages are there")
    front.close()
    back.drain()
    os.set_blocking(fd, True)
    thread = threading.Thread(target=lambda: all(iter(lambda: os.read(fd, 1 << 16), b"")))
    thread.start()
    t.stop()
    thread.join()
    os.close(fd)


@case(WRITERS, repeat=0)
def trace_on_a_full_disk(t, forbidden):
    """A full disk is said once, and nobody is kept from anything."""
    shim, _ = traced(t, forbidden, path="/dev/full")
    front, back = t.pair()
    talk(t, front, back, 300)
    shim.said("/dev/full: cannot write: No space left on device")
    t.works(front, back)
    t.part(front, back)
    check(shim.log().count("No space left") == 1, "said more than once")


@case(WRITERS, repeat=0)
def trace_rotates(t, forbidden):
    """--trace-max and --trace-files: whole files that follow each other, and no more than wished."""
    _, path = traced(t, forbidden, extra=("--trace-max", "64K", "--trace-files", "3"))
    front, back = t.pair()
    talk(t, front, back, 1500)
    wait_for(path, lambda f: f and f[-1].body == wire.state(1, 256))
    t.part(front, back)
    t.links.clear()
    wait_for(path, lambda f: f and f[-1].kind == "ending")
    names = sorted(n for n in os.listdir(t.dir) if n.startswith(os.path.basename(path)))
    base = os.path.basename(path)
    check(names == [base, base + ".1", base + ".2"], f"files {names}")
    found = []
    for name in (path + ".2", path + ".1", path):
        check(os.path.getsize(name) <= 65536, f"{name} has {os.path.getsize(name)} bytes")
        found += tracefile.read(name)
    numbers_follow(found)


@case({"whole": {"redacted": False}, "redacted": {"redacted": True}}, repeat=0)
def trace_redacts(t, redacted):
    """--trace-redact: no address is in the file, equal ones are still equal, sizes stay."""
    _, path = traced(t, extra=("--trace-redact",) if redacted else ())
    front, back = t.pair()
    address = 0x7fa1b2c3d000
    for _ in range(2):
        t.tell(front, back, Front.SET_MEM_TABLE,
               table((address + 0x1000, 0x2000, address, 0x3000)), fds=[t.memfd()])
        t.tell(front, back, 99, u64(address))
    t.part(front, back)
    t.links.clear()
    found = wait_for(path, lambda f: f and f[-1].kind == "ending")
    with open(path, "rb") as file:
        there = struct.pack("=Q", address) in file.read()
    check(there != redacted, "the address is there" if there else "the address is not there")
    tables = [body for head, body in messages(found, "front", False)
              if head[0] == Front.SET_MEM_TABLE]
    check(tables[0] == tables[1], "equal addresses are not equal")
    check(struct.unpack_from("=Q", tables[0], 16)[0] == 0x2000, "the size is gone")


@case(repeat=0)
def trace_by_control_socket(t):
    """vushim ctl PATH trace start, trace, trace stop on a device that is in use."""
    control = t.path("ctl")
    t.traced = False
    t.start(extra=("--control", control, "--trace-dir", t.dir))
    front, back = t.pair()
    path = t.path("later")

    def ctl(*words, status=0):
        got, out, err = command("ctl", control, "trace", *words)
        check(got == status, f"trace {words}: {got}, {out} {err}")
        return out + err
    check("no trace" in ctl(status=2), "a trace is shown that is not there")
    check("no trace" in ctl("stop", status=2), "a trace was stopped that is not there")
    check("No such file" in ctl("start", t.path("no/such/folder"), status=2), "no reason")
    ctl("start", path, "--trace-max", "1M")
    check("already" in ctl("start", t.path("other"), status=2), "two traces at once")
    check(not os.path.exists(t.path("other")), "a file for no trace was made")
    talk(t, front, back, 10)
    check(path in ctl(), "the status does not name the file")
    ctl("stop")
    found = tracefile.read(path)
    check(len(messages(found, "back", True)) == 10, "not ten messages")
    talk(t, front, back, 10)
    check(tracefile.read(path) == found, "it went on after the end")
    ctl("start", path)
    talk(t, front, back, 3)
    ctl("stop")
    check(len(messages(tracefile.read(path), "front", False)) == 3, "the second one has not three")
    t.shim.idle_maps = t.shim.maps()        # the C library keeps the thread's stack for the next one


@case({"no_folder": {"options": ("--trace", "/no/such/folder/x"), "says": "No such file"},
       "folder": {"options": ("--trace", "/tmp"), "says": "/tmp: Is a directory"},
       "small": {"options": ("--trace", "/dev/null", "--trace-max", "1K"), "says": "at least 65536"},
       "files": {"options": ("--trace", "/dev/null", "--trace-files", "0"),
                 "says": "not a number from 1 on"},
       "size": {"options": ("--trace", "/dev/null", "--trace-max", "5X"), "says": "not a size"}},
      repeat=0)
def trace_option_errors(t, options, says):
    status, _, err = command("run", "--front", t.path("f"), "--back", t.path("b"), *options)
    check(status == 2 and says in err and err.count("\n") == 1, f"{status}: {err}")
    check(not os.path.exists(t.path("f")), "the front's socket was left behind")


@case(repeat=0)
def trace_ends_with_the_program(t):
    """What is in hand at SIGTERM is written."""
    shim, path = traced(t)
    front, back = t.pair()
    t.tell(front, back, Front.SET_VRING_NUM, wire.state(5, 64))
    shim.process.send_signal(signal.SIGTERM)
    shim.wait()
    found = tracefile.read(path)
    check(messages(found, "back", True)[-1][1] == wire.state(5, 64), "the last message is not there")
    t.links.clear()
    t.shims.clear()
    t.close_listeners(t.ends)
