# SPDX-License-Identifier: MIT
"""What a back-end is told that comes to a detached device, in which order; and which are taken."""
import os
import signal
import time

import wire
from detached import (ACKED, BACK, FEATURES, NET, SPEC, SURE, UNPINNED, agree, asks, begin, calls,
                      channel_of, is_fenced, is_told, newcomer, next_life, say, serves,
                      set_channel, set_ring, set_up, take_over)
from harness import case
from peers import SLOW, check, until
from wire import Back, Front, bits, u64


@case({f"{memory}_{status:x}": {"memory": memory, "status": status}
       for memory in ("table", "regions") for status in (0x3, 0xb, 0xf)})
def hand_over(t, memory, status):
    """Everything in order, last values, with its descriptors; then a device like any other."""
    begin(t)
    front = t.front()
    want = set_up(t, front, status, memory, wire.NEED_REPLY)
    back = take_over(t, front, want)
    t.tell(front, back, Front.SET_VRING_NUM, wire.state(0, 64), flags=wire.NEED_REPLY)
    t.ask(front, back, Front.GET_STATUS, answer=u64(status))


@case()
def hand_over_last_values(t):
    """What was said again replaces; NOFD counts; a stopped ring, removed regions are not told."""
    begin(t)
    front = t.front()
    for protocol in (bits(0), bits(3, 15)):
        say(front, Front.SET_PROTOCOL_FEATURES, u64(protocol))
    for value in (bits(30), bits(32), ACKED):
        say(front, Front.SET_FEATURES, u64(value))
    head = agree(front)
    say(front, Front.SET_MEM_TABLE, wire.mem_table(3), [t.memfd() for _ in range(3)])
    say(front, Front.SET_MEM_TABLE, wire.mem_table(1), [t.memfd()])
    tables = [(Front.SET_MEM_TABLE, wire.mem_table(2), [t.memfd(), t.memfd()])]
    say(front, *tables[0])
    set_ring(t, front, 0)
    set_ring(t, front, 1)
    ring0 = set_ring(t, front, 0)[:-2]
    for request in (Front.SET_VRING_CALL, Front.SET_VRING_KICK):
        say(front, request, u64(wire.NOFD))
        ring0.append((request, u64(wire.NOFD), ()))
    asks(front, Front.GET_VRING_BASE, wire.state(1), wire.state(1, 8))
    ring2 = set_ring(t, front, 2, started=False)
    for value in (0, 1, 0):
        say(front, Front.SET_VRING_ENABLE, wire.state(2, value))
    want = [*head, *calls(ring0, ring2), *tables, *ring0, *ring2,
            (Front.SET_VRING_ENABLE, wire.state(2, 0), ())]
    take_over(t, front, want)


@case()
def hand_over_regions(t):
    """Regions after adds and removals; a table, regions added to it, one of its own removed: what
    the back-end has afterwards is what the front-end means."""
    begin(t, ",".join([NET, "queues=2,mem_slots=16", *SURE]))
    front = t.front()
    want = agree(front)
    rows = [(Front.ADD_MEM_REG, wire.single_region(n), [t.memfd()]) for n in range(6)]
    for row in rows:
        say(front, *row, wire.NEED_REPLY)
    say(front, Front.REM_MEM_REG, wire.single_region(2), [t.memfd()])
    say(front, Front.REM_MEM_REG, wire.single_region(9))
    say(front, Front.REM_MEM_REG, wire.single_region(5))
    again = (Front.ADD_MEM_REG, wire.single_region(2), [t.memfd()])
    say(front, *again)
    take_over(t, front, [*want, *rows[:2], *rows[3:5], again])


def memory_of(back):
    """What a newcomer has of memory after its hand-over: guest address -> label."""
    found = {}
    while True:
        message = back.next(own=True)
        rows = [message.payload[8 + n:40 + n] for n in range(0, len(message.payload) - 39, 32)]
        if message.id == Front.SET_MEM_TABLE:
            found = {row[:8]: label for row, label in zip(rows, message.labels)}
        elif message.id == Front.ADD_MEM_REG:
            found[rows[0][:8]] = message.labels[0]
        elif message.id == Front.REM_MEM_REG:
            found.pop(rows[0][:8])
        elif message.id == Front.GET_FEATURES:
            back.answer(Front.GET_FEATURES, u64(BACK.features), own=True)
            return sorted(found.values())


@case({"added": {"add": True, "remove": False}, "removed": {"add": False, "remove": True},
       "both": {"add": True, "remove": True}}, repeat=0)
def hand_over_table_and_regions(t, add, remove):
    """cloud-hypervisor sets a table at the start and adds regions when memory is plugged."""
    begin(t)
    front = t.front()
    agree(front)
    fds = [t.memfd() for _ in range(3)]
    say(front, Front.SET_MEM_TABLE, wire.mem_table(2), fds[:2])
    if add:
        say(front, Front.ADD_MEM_REG, wire.single_region(7), fds[2:], wire.NEED_REPLY)
    if remove:
        say(front, Front.REM_MEM_REG, wire.single_region(0), flags=wire.NEED_REPLY)
    serves(front)
    want = sorted(t.label(fd) for fd in fds[1 if remove else 0:3 if add else 2])
    got = memory_of(newcomer(t, front))
    check(got == want, f"the back-end has {got} instead of {want}")


@case(repeat=1)
def hand_over_log(t):
    """A migration that began meanwhile: the back-end answers SET_LOG_BASE, as LOG_SHMFD has it."""
    begin(t)
    front = t.front()
    want = agree(front)
    log = (Front.SET_LOG_BASE, wire.log_base(), [t.memfd()])
    say(front, *log)
    front.expect(Front.SET_LOG_BASE, wire.REPLY, own=True)
    event = (Front.SET_LOG_FD, b"", [t.eventfd()])
    say(front, *event)
    back = newcomer(t, front)
    is_told(back, [*want[:2], log])
    back.answer(Front.SET_LOG_BASE, own=True)
    is_told(back, [event, want[2]])
    is_fenced(back)
    t.links.append((front, back))
    t.ask(front, back, Front.GET_FEATURES, answer=u64(BACK.features), sees=u64(FEATURES))


@case({"reset_device": {"request": Front.RESET_DEVICE}, "reset_owner":
       {"request": Front.RESET_OWNER}}, repeat=0)
def hand_over_after_reset(t, request):
    """A reset forgets rings and status, not what was negotiated, nor memory."""
    begin(t)
    front = t.front()
    want = set_up(t, front)
    say(front, request)
    kept = (Front.SET_PROTOCOL_FEATURES, Front.SET_OWNER, Front.SET_FEATURES, Front.SET_MEM_TABLE,
            Front.NET_SET_MTU, Front.SET_CONFIG)
    take_over(t, front, [row for row in want if row[0] in kept])


def count(fd):
    os.set_blocking(fd, False)
    try:
        return os.eventfd_read(fd)
    except BlockingIOError:
        return 0


@case()
def hand_over_wakes(t):
    """Kick and call of started and enabled rings are written once when the back-end has taken all;
    before that and for other rings never, and err never."""
    begin(t)
    front = t.front()
    want = agree(front)
    rings = [set_ring(t, front, n, n != 1) for n in range(3)]
    asks(front, Front.GET_VRING_BASE, wire.state(2), wire.state(2, 9))
    enable = (Front.SET_VRING_ENABLE, wire.state(0, 1), ())
    say(front, *enable)
    fds = [row[2][0] for ring in rings for row in ring[4:]]
    back = newcomer(t, front)
    is_told(back, [*want, *calls(*rings[:2]), *rings[0], *rings[1], enable])
    back.expect(Front.GET_FEATURES, own=True)
    check(not any(count(fd) for fd in fds), "written before the back-end has taken all")
    back.answer(Front.GET_FEATURES, u64(BACK.features), own=True)
    t.links.append((front, back))
    t.ask(front, back, Front.GET_FEATURES, answer=u64(BACK.features), sees=u64(FEATURES))
    got = [count(fd) for fd in fds]
    check(got == [0, 1, 1] + [0] * 5, f"written {got}")


@case({"eventfd": {"pipe": False}, "pipe": {"pipe": True}}, repeat=0)
def hand_over_wakes_full(t, pipe):
    """A descriptor that is full and would block: it holds nothing up."""
    begin(t)
    front = t.front()
    want = agree(front)
    ring = set_ring(t, front, 0)
    fd = t.pipe()[1] if pipe else t.eventfd()
    os.set_blocking(fd, False)
    os.write(fd, bytes(65536) if pipe else u64(2**64 - 2))
    os.set_blocking(fd, True)
    say(front, Front.SET_VRING_CALL, u64(0), [fd])
    ring[5] = (Front.SET_VRING_CALL, u64(0), [fd])
    take_over(t, front, [*want, *calls(ring), *ring])


@case()
def hand_over_channel(t):
    """The channel is handed over, told of its configuration, and works both ways."""
    begin(t)
    front = t.front()
    set_channel(t, front).ended         # one that is replaced
    want = set_up(t, front)
    ours = set_channel(t, front)
    lost, _ = newcomer(t, front, name="B0"), ours.quiet(0.02)
    is_told(lost, want[:2])
    lost.expect(Front.SET_BACKEND_REQ_FD, fds=1, own=True)
    lost.close()
    back, theirs = take_over(t, front, want, ours)
    ours.expect(Back.CONFIG_CHANGE_MSG, wire.REQUEST, b"", 0, own=True)
    theirs.quiet(0.02)
    theirs.send(Back.VRING_CALL, wire.state(0))
    theirs.send(Back.SHARED_OBJECT_ADD, bytes(range(16)), wire.NEED_REPLY)
    ours.expect(Back.VRING_CALL)
    ours.expect(Back.SHARED_OBJECT_ADD, wire.NEED_REPLY)
    ours.answer(Back.SHARED_OBJECT_ADD, u64(0))
    theirs.expect(Back.SHARED_OBJECT_ADD, wire.REPLY, u64(0))
    t.works(front, back, FEATURES)


@case(repeat=0)
def hand_over_channel_early(t):
    """A back-end that asks on its channel while it is told, and waits for the answer before it
    reads on (DPDK sets host notifiers so), is answered."""
    begin(t)
    front = t.front()
    want = agree(front)
    ours = set_channel(t, front)
    back = newcomer(t, front)
    is_told(back, want[:2])
    theirs = channel_of(t, back)
    is_told(back, want[2:])
    theirs.send(Back.SHARED_OBJECT_ADD, bytes(range(16)), wire.NEED_REPLY)
    ours.expect(Back.SHARED_OBJECT_ADD, wire.NEED_REPLY, patience=1.0 * SLOW)
    ours.answer(Back.SHARED_OBJECT_ADD, u64(0))
    theirs.expect(Back.SHARED_OBJECT_ADD, wire.REPLY, u64(0))
    is_fenced(back)


@case(repeat=0)
def hand_over_channel_pipe(t):
    """User-mode Linux hands over a pipe: it is passed on, though later."""
    begin(t)
    front = t.front()
    want = agree(front)
    fd = t.pipe()[1]
    say(front, Front.SET_BACKEND_REQ_FD, fds=[fd])
    back = newcomer(t, front)
    seen = []
    while not seen or seen[-1].id != Front.GET_FEATURES:
        seen.append(back.next(own=True))
    check([m.labels for m in seen if m.id == Front.SET_BACKEND_REQ_FD] == [(t.label(fd),)],
          f"no pipe in {seen} ({len(want)})")


def leave_after(back, number):
    """A back-end that reads so many messages, answers vushim's own questions, and is gone."""
    values = {Front.GET_FEATURES: BACK.features, Front.GET_PROTOCOL_FEATURES: BACK.protocol,
              Front.GET_QUEUE_NUM: BACK.queues, Front.GET_MAX_MEM_SLOTS: BACK.slots}
    for k in range(number):
        message = back.next(own=True)
        check(message, f"end of stream as message {k}")
        if message.id == Front.GET_CONFIG:
            back.answer(message.id, message.payload[:12] + bytes(10) + b"\xff\xff", own=True)
        elif k < GREETING and message.id in values:
            back.answer(message.id, u64(values[message.id]), own=True)
    back.close()


GREETING = 6


@case({"table": {"memory": "table"}, "regions": {"memory": "regions"}}, repeat=0)
def newcomers_leave(t, memory):
    """Back-ends that leave after 0, 1, 2, ... n messages of greeting and hand-over, the last before
    its answer to the fence: the front-end notices nothing, and the next one is told everything."""
    shim = begin(t)
    front = t.front()
    want = set_up(t, front, memory=memory)
    serves(front)
    alone = len(shim.fds())
    for number in range(GREETING + len(want) + 2):
        back = t.end("back", f"B{number}")
        leave_after(back, number)
        front.send(Front.SET_VRING_NUM, wire.state(0, 128), wire.NEED_REPLY, lost=True)
        front.expect(Front.SET_VRING_NUM, wire.REPLY, u64(0), own=True)
        serves(front)
    until(lambda: len(shim.fds()) == alone, lambda: f"{alone} descriptors: {shim.fds()}")
    take_over(t, front, want)


@case({"wrong_number": {"data": wire.reply(15, u64(0)), "ending": "WRONG_REPLY"},
       "too_short": {"data": wire.reply(1, bytes(4)), "ending": "WRONG_SIZE"},
       "request": {"data": wire.message(1), "ending": "NOT_A_REPLY"},
       "version": {"data": wire.header(1, 6, 8) + u64(0), "ending": "BAD_VERSION"},
       "descriptors": {"data": wire.reply(1, u64(0)), "ending": "BAD_DESCRIPTORS", "fds": 3}},
      repeat=0)
def newcomers_misbehave(t, data, ending, fds=0):
    """A wrong answer to the first question, or to the fence, is the newcomer's end alone."""
    shim = begin(t)
    front = t.front()
    want = set_up(t, front)
    for late in (False, True):
        since = shim.mark()
        back = newcomer(t, front, BACK if late else None)
        if late:
            is_told(back, want)
        back.expect(Front.GET_FEATURES, own=True)
        back.raw(data, [t.memfd() for _ in range(fds)])
        back.ended()
        shim.said(rf"back.*\[{ending}\]", since)
        serves(front)
    take_over(t, front, want)


def without(**changes):
    return BACK._replace(**changes)


UNFIT = {"feature": (SPEC, without(features=BACK.features & ~bits(15)), "mrg_rxbuf"),
         "queues": (SPEC, without(queues=1), "queues"),
         "slots": (SPEC, without(slots=3), "mem_slots"),
         "protocol": (SPEC, without(protocol=BACK.protocol & ~bits(12)), "inflight_shmfd"),
         "config": (SPEC, without(config=bytes(256)), "config.mtu"),
         "log_all": (SPEC, without(features=BACK.features & ~bits(26)), "log_all"),
         "no_protocol": (SPEC, without(features=BACK.features & ~bits(30)), "protocol"),
         "promised_slots": (UNPINNED, without(slots=2), "slots")}


@case({name: {"row": row} for name, row in UNFIT.items()}, repeat=0)
def newcomers_unfit(t, row):
    """One that cannot keep what was promised and acknowledged: named, the front-end stays."""
    profile, offer, word = row
    shim = begin(t, profile)
    front = t.front()
    want = agree(front)
    regions = [(Front.ADD_MEM_REG, wire.single_region(n), [t.memfd()]) for n in range(4)]
    for region in regions:
        say(front, *region)
    ring = set_ring(t, front, 1)
    asks(front, Front.GET_FEATURES)
    for number in range(3):
        since = shim.mark()
        back = t.end("back", f"B{number}")
        if t.admit(back, offer):
            back.ended()
        back.close()
        line = shim.said(r"back.*\[INCOMPATIBLE\]", since)
        check(word in line, f"'{word}' is not in: {line}")
        asks(front, Front.GET_FEATURES)
    take_over(t, front, [*want, *calls(ring), *regions, *ring])


@case({"unfit": {"offer": without(features=BACK.features & ~bits(15))}, "leaves": {"offer": None}},
      repeat=0, slow=True)
def newcomers_retried(t, offer):
    """A back-end that we look for ourselves is not asked a thousand times a second; a good one is
    taken, and the next life begins without delay."""
    begin(t, back="connect")
    front = t.front()
    end, number = time.monotonic() + 1.0, 0
    while time.monotonic() < end:
        back = t.end("back", f"B{number}")
        if offer and t.admit(back, offer):
            back.ended()
        back.close()
        number += 1
    check(3 <= number <= 8, f"{number} connections in a second")
    serves(front)
    take_over(t, front, [])


@case({"greeting": {"late": False}, "after": {"late": True}}, repeat=0)
def newcomers_successor(t, late):
    """The successor connects before vushim can have seen that the newcomer left: it is served."""
    shim = begin(t)
    front = t.front()
    want = agree(front)
    back = newcomer(t, front, BACK if late else None, "B0")
    if late:
        is_told(back, want)
    back.expect(Front.GET_FEATURES, own=True)
    for number in range(1, 6):
        shim.process.send_signal(signal.SIGSTOP)
        back.close()
        back = t.end("back", f"B{number}")
        shim.process.send_signal(signal.SIGCONT)
        back.expect(Front.GET_FEATURES, own=True)
    back.close()
    take_over(t, front, want)


@case()
def hand_over_holds_the_front_end(t):
    """What the front-end says during the hand-over waits, and reaches the back-end once."""
    begin(t)
    front = t.front()
    want = set_up(t, front)
    back = newcomer(t, front)
    is_told(back, want)
    back.expect(Front.GET_FEATURES, own=True)
    event, memory = t.eventfd(), t.memfd()
    front.send(Front.SET_VRING_CALL, u64(1), fds=[event])
    front.send(Front.GET_STATUS)
    front.send(Front.SET_MEM_TABLE, wire.mem_table(1), wire.NEED_REPLY, fds=[memory])
    front.quiet(0.05)
    back.quiet(0.05)
    back.answer(Front.GET_FEATURES, u64(BACK.features), own=True)
    t.links.append((front, back))
    back.expect(Front.SET_VRING_CALL, wire.REQUEST, u64(1), [event])
    back.expect(Front.GET_STATUS)
    back.answer(Front.GET_STATUS, u64(0xf))
    back.expect(Front.SET_MEM_TABLE, wire.NEED_REPLY, fds=[memory])
    back.answer(Front.SET_MEM_TABLE, u64(0))
    front.expect(Front.GET_STATUS, payload=u64(0xf))
    front.expect(Front.SET_MEM_TABLE, payload=u64(0))


@case({"front": {"front_leaves": True}, "back": {"front_leaves": False}})
def life_after_hand_over(t, front_leaves):
    """Afterwards either side's leaving ends the life, and the next is detached again."""
    begin(t)
    for _ in range(2):
        front = t.front()
        want = agree(front)
        back = take_over(t, front, want)
        t.works(front, back, FEATURES)
        first, second = (front, back) if front_leaves else (back, front)
        first.close()
        second.ended()
        second.close()
    next_life(t)
