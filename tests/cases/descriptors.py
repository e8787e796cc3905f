# SPDX-License-Identifier: MIT
"""Rows C8-C17: who owns which descriptor, and that none stays behind."""
import fcntl
import os
import socket

import wire
from harness import case
from peers import Failure, check, until
from replies import asked, fault
from shim import instrumented
from wire import Front, bits, u64


def stormed(t, count, play):
    """Many short lives, each with its own fault; the back-end's side sees nothing of them."""
    for number in range(count):
        front = t.front()
        back = t.back()
        play(number, front)
        front.ended()
        front.close()
        back.ended()
        back.close()
        t.peers.clear()


def held(shim, kind):
    return [name for name in shim.fds().values() if kind in name]


@case(repeat=0, slow=True)
def C8_descriptors_on_plain_messages(t):
    """Descriptors on messages that carry none: hundreds of connections leave nothing behind."""
    shim = t.start()
    fds = [t.memfd() for _ in range(8)]
    plain = [wire.message(Front.SET_OWNER), wire.message(Front.SET_VRING_NUM, wire.state(0, 256)),
             wire.message(Front.SET_VRING_BASE, wire.state(0)), wire.message(Front.GET_FEATURES)]
    since = shim.mark()
    stormed(t, 300, lambda n, front: front.raw(plain[n % 4], fds))
    check(not held(shim, "memfd"), f"descriptors stay: {held(shim, 'memfd')}")
    shim.said(r"front.*SET_OWNER.*\[BAD_DESCRIPTORS\]", since)
    t.life()


def illegal_counts(row):
    """Numbers of descriptors that this request must not have."""
    most = max(row.fds, 1) if row.id == Front.REM_MEM_REG else row.fds
    counts = [most + 1, most + 7]
    if row.fds and row.id not in (Front.SET_LOG_BASE, Front.SET_LOG_FD):
        counts.append(row.fds - 1)
    return counts


@case(repeat=0)
def C9_descriptor_counts(t):
    """Every request with more and with fewer descriptors than its row allows."""
    t.start()
    for row in wire.ROWS:
        for count in illegal_counts(row):
            try:
                line = fault(t, "front", wire.message(row.id, row.payload), "BAD_DESCRIPTORS",
                             count)
            except Failure as failure:
                raise Failure(f"{row.id.name} with {count} descriptors: {failure}") from None
            check(row.id.name in line, f"{row.id.name} not named in: {line}")
    t.life()


@case(repeat=0)
def C9_descriptor_counts_of_answers(t):
    """Every answer with more descriptors than its request's row allows."""
    t.start()
    for row in wire.ROWS:
        if row.answer is None:
            continue

        def before(front, back, row=row):
            t.negotiate(front, back)
            front.send(row.id, row.payload, fds=[t.memfd() for _ in range(row.fds)])
            back.expect(row.id)
        most = max(row.answer_fds, 1) if row.id == Front.SET_DEVICE_STATE_FD else row.answer_fds
        try:
            fault(t, "back", wire.reply(row.id, row.answer), "BAD_DESCRIPTORS", most + 1, before)
        except Failure as failure:
            raise Failure(f"answer to {row.id.name}: {failure}") from None
    t.life()


@case()
def C9_good_counts_pass(t):
    """SET_INFLIGHT_FD with its one descriptor, an answer with none, unknown ones with any."""
    t.start()
    front, back = t.pair()
    t.negotiate(front, back)
    t.tell(front, back, Front.SET_INFLIGHT_FD, wire.inflight(2), [t.memfd()])
    t.ask(front, back, Front.GET_INFLIGHT_FD, wire.inflight(2, mmap_size=0),
          wire.inflight(2, mmap_size=0))
    t.ask(front, back, Front.GET_INFLIGHT_FD, wire.inflight(2), wire.inflight(2),
          answer_fds=[t.memfd()])
    t.tell(front, back, Front.REM_MEM_REG, wire.single_region(1))
    t.tell(front, back, 60, bytes(24), [t.memfd(), t.memfd()])
    for end in range(2):
        t.ask(front, back, Front.SET_DEVICE_STATE_FD, wire.state(0), u64(0 if end else wire.NOFD),
              fds=[t.pipe()[1]], answer_fds=[t.pipe()[0]] if end else [])
    t.works(front, back)


@case()
def C9_rem_mem_reg_descriptor(t):
    """Old front-ends put a descriptor on REM_MEM_REG: it is taken, and closed in the end."""
    shim = t.start()
    front, back = t.pair()
    front.lossy = True                      # whether the descriptor goes on is not laid down
    front.send(Front.REM_MEM_REG, wire.single_region(1), fds=[t.memfd()])
    back.expect(Front.REM_MEM_REG, payload=wire.single_region(1), own=True)
    until(lambda: not held(shim, "memfd"), "the descriptor to be closed")
    t.works(front, back)
    front.sent.clear()
    back.received.clear()


BROKEN = {
    "huge": (wire.header(5, 1, 0xffffffff), 3),
    "large": (wire.header(5, 1, 9000), 3),
    "version": (wire.header(5, 2, 40) + bytes(40), 3),
    "header_then_gone": (wire.header(5, 1, 72), 3),
    "payload_then_gone": (wire.header(5, 1, 72) + bytes(8), 3),
}


@case({name: {"data": data, "fds": fds} for name, (data, fds) in BROKEN.items()}, repeat=0,
      slow=True)
def C10_error_after_descriptors(t, data, fds):
    """Every way out after descriptors came closes them, and nothing of `size` is allocated."""
    shim = t.start()
    own = [t.memfd() for _ in range(fds)]

    def play(_number, front):
        front.raw(data, own)
        if len(data) < 12 + int.from_bytes(data[8:12], "little") <= 84:
            front.sock.shutdown(socket.SHUT_WR)
    stormed(t, 20, play)
    before = shim.rss()
    stormed(t, 100, play)
    check(not held(shim, "memfd"), f"descriptors stay: {held(shim, 'memfd')}")
    limit = (16 << 20) if instrumented() else (256 << 10)
    check(shim.rss() - before < limit, f"memory grew by {shim.rss() - before} bytes")


@case(repeat=0, slow=True)
def C11_inflight_again_and_again(t):
    """Each answer to GET_INFLIGHT_FD brings a new memfd: vushim keeps at most the newest."""
    shim = t.start()
    front, back = t.pair()
    t.negotiate(front, back)
    maps, seen = len(shim.maps()), set()
    for _ in range(1000):
        front.send(Front.GET_INFLIGHT_FD, wire.inflight(1))
        back.expect(Front.GET_INFLIGHT_FD)
        fd = os.memfd_create("region")
        back.raw(wire.reply(Front.GET_INFLIGHT_FD, wire.inflight(1)), [fd])
        got = front.expect(Front.GET_INFLIGHT_FD, fds=1, own=True)
        check(wire.identity(got.fds[0]) == wire.identity(fd), "another descriptor came")
        seen.add(wire.identity(fd))
        os.close(fd)
        t.release(got.fds)
    until(lambda: len(held(shim, "memfd")) <= 1, lambda: f"{held(shim, 'memfd')} to be closed")
    check(len(shim.maps()) == maps, "mappings stay")


@case({str(request.name): {"request": request}
       for request in (Front.SET_VRING_KICK, Front.SET_VRING_CALL, Front.SET_VRING_ERR)})
def C12_no_fd_bit(t, request):
    """Bit 8 means no descriptor, bits 0-7 are the index; the u64 passes unchanged."""
    t.start()
    front, back = t.pair()
    t.tell(front, back, request, u64(0x101))
    t.tell(front, back, request, u64(1), [t.eventfd()])
    t.tell(front, back, request, u64(0x1ff))
    t.tell(front, back, request, u64(0xff), [t.eventfd()])
    t.works(front, back)
    t.part(front, back)
    for value, fds in ((0x001, 0), (0x101, 1), (0x001, 2), (0x101, 2)):
        fault(t, "front", wire.message(request, u64(value)), "BAD_DESCRIPTORS", fds)
    t.life()


@case(repeat=0, slow=True)
def C13_numbers_reused_at_once(t):
    """A front-end leaves with data unread and another comes in the same instant, on the same
    descriptor number: the newcomer is served, nobody mixes the two up."""
    shim = t.start()
    front, back = t.pair()
    t.links.clear()
    for number in range(200):
        front.send(Front.GET_FEATURES, lost=True)
        back.expect(Front.GET_FEATURES)
        back.answer(Front.GET_FEATURES, u64(number), lost=True)
        front.close()
        front = t.front()
        back.ended()
        back.close()
        try:
            back = t.back()
            t.works(front, back, number + 1)
        except Failure as failure:
            raise Failure(f"round {number}: {failure}") from None
        del t.peers[:-2]
    front.close()
    back.ended()


@case(repeat=0)
def C14_file_flags_untouched(t):
    """O_NONBLOCK lives in the open file, which the front-end shares: it must stay as it was."""
    t.start()
    front, back = t.pair()
    t.negotiate(front, back)
    ours, theirs = t.socketpair()
    reader, writer = t.pipe()
    kick, call, gpu = t.eventfd(), t.eventfd(), t.socketpair()[1].fileno()
    fds = [kick, call, theirs.fileno(), writer, gpu, ours.fileno(), reader]
    before = [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in fds]
    t.tell(front, back, Front.SET_VRING_KICK, u64(0), [kick])
    t.tell(front, back, Front.SET_VRING_CALL, u64(0), [call])
    front.send(Front.SET_BACKEND_REQ_FD, fds=[theirs.fileno()])
    channel = back.expect(Front.SET_BACKEND_REQ_FD, fds=1).fds[0]
    t.ask(front, back, Front.SET_DEVICE_STATE_FD, wire.state(0), u64(wire.NOFD), fds=[writer])
    t.tell(front, back, Front.GPU_SET_SOCKET, fds=[gpu])
    os.write(channel, wire.message(wire.Back.CONFIG_CHANGE_MSG))
    check(len(ours.recv(100)) == 12, "the channel does not work")
    t.works(front, back)
    after = [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in fds]
    check(before == after, f"file flags were {before}, are {after}")


def rings(t, front, count):
    """The start of a device with so many rings, as a front-end sends it."""
    front.send(Front.SET_MEM_TABLE, wire.mem_table(2), fds=[t.memfd(), t.memfd()])
    for ring in range(count):
        for request in (Front.SET_VRING_CALL, Front.SET_VRING_ERR, Front.SET_VRING_KICK):
            front.send(request, u64(ring), fds=[t.eventfd()])


@case(repeat=0, slow=True)
def C15_many_lives(t):
    """Start and stop again and again: the number of descriptors depends on the present only."""
    shim = t.start()
    for _ in range(60):
        front, back = t.pair()
        rings(t, front, 4)
        for _ in range(13):
            back.next()
        for ring in range(4):
            t.ask(front, back, Front.GET_VRING_BASE, wire.state(ring), wire.state(ring, 7))
        t.finish()
        t.begin(None)
    check(not held(shim, "memfd"), "the guest's memory is still held")


@case(repeat=0)
def C15_replaced_descriptors(t):
    """A ring's eventfds replaced a thousand times in one life."""
    shim = t.start()
    front, back = t.pair()
    count = []
    for number in range(1000):
        for request in (Front.SET_VRING_KICK, Front.SET_VRING_CALL):
            fd = t.eventfd()
            front.send(request, u64(number % 4), fds=[fd])
            got = back.expect(request, fds=[fd])
            t.release([*got.fds, fd])
        if number in (20, 999):
            count.append(len(shim.fds()))
    check(count[1] <= count[0] + 1, f"descriptors grew from {count[0]} to {count[1]}")


@case()
def C15_memory_let_go(t):
    """Once the back-end has them, vushim holds no copy of what it only passes on."""
    shim = t.start()
    front, back = t.pair()
    idle = len(shim.fds())
    rings(t, front, 4)
    for _ in range(13):
        back.next()
    t.works(front, back)
    until(lambda: len(shim.fds()) <= idle, lambda: f"{shim.fds()} to be closed")


@case(repeat=0)
def C17_second_front_end(t):
    """A second front-end is closed at once; the first one sees nothing of it."""
    shim = t.start()
    front, back = t.pair()
    t.works(front, back)
    asked(front, back)
    for _ in range(5):
        since = shim.mark()
        second = t.front("F2")
        second.raw(wire.message(Front.GET_FEATURES))
        second.raw(wire.message(Front.SET_MEM_TABLE, wire.mem_table(2)), [t.memfd(), t.memfd()])
        second.ended()
        shim.said(r"front.*\[SECOND_FRONT\]", since)
    back.quiet(0.02)
    front.quiet(0.02)
    back.answer(Front.GET_FEATURES, u64(bits(30)))
    front.expect(Front.GET_FEATURES, payload=u64(bits(30)))
    t.works(front, back)
