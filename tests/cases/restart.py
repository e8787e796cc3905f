# SPDX-License-Identifier: MIT
"""Rows C25-C28, C30, C32, C37, C39, C42: a back-end is lost, and its successor is told
everything."""
import os
import random
import select
import struct

import wire
from harness import case
from machine import (ACKED, BLK, IN_ORDER, LOG_ALL, NET, OTHER, PACKED, PROTOCOL, TRANSLATED, Guest,
                     Model, Ram, Ring, Told, begin, client, differ, drops, events, guest, is_held,
                     keeps, nothing_told, status, verdict)
from peers import SLOW, check, until
from shim import instrumented
from wire import Front, bits, u64

# --- what is kept, and the order in which it is told


@case({f"{memory}_{status_:x}": {"memory": memory, "status_": status_}
       for memory in ("table", "regions") for status_ in (0x3, 0xb, 0xf)})
def C25_everything(t, memory, status_):
    """Each message that sets state, with its last value and its descriptors, in the one order."""
    guest_ = guest(t, protocol=PROTOCOL)
    ram = guest_.memory(Ram(t), Ram(t, 0x4000, 0x10000000, 0x7f2200000000, 0), how=memory)
    rings = [Ring(ram, n) for n in range(4)]
    for n in (3, 0, 2, 1):
        guest_.ring(rings[n], start=n != 2, enable=n != 1, more=True, ack=n % 2 == 0)
        rings[n].stands(9, 7 + n)
    for request, payload, fds in ((Front.NET_SET_MTU, u64(1400), 0),
                                  (Front.SET_CONFIG, wire.config(0, 6, b"\x52\x54\0\1\2\3"), 0),
                                  (Front.SET_STATUS, u64(3), 0),
                                  (Front.SET_STATUS, u64(status_), 0),
                                  (Front.SET_INFLIGHT_FD, wire.inflight(4), 1)):
        guest_.say(request, payload, [t.memfd() for _ in range(fds)], ack=True)
    guest_.say(Front.GPU_SET_SOCKET, fds=[t.socketpair()[0].fileno()])
    guest_.channel()
    guest_.restart()
    guest_.restart(name="B3")


@case({"1": {"count": 1}, "32": {"count": 32}}, repeat=1)
def C25_rings(t, count):
    """Any number of rings, ring by ring."""
    guest_ = guest(t)
    ram = guest_.memory(Ram(t, 0x4000 * count))
    for n in range(count):
        guest_.ring(Ring(ram, n), more=n % 2 == 0).stands(n + 9, n)
    guest_.restart()


@case()
def C25_last_values(t):
    """What was said again replaces; a ring without a descriptor is told so."""
    guest_ = guest(t)
    for value in (bits(30), bits(30, 32) | IN_ORDER, ACKED):
        guest_.say(Front.SET_FEATURES, u64(value))
    ram = guest_.memory()
    guest_.memory(ram)
    ring = Ring(ram)
    for base in (1, 2, 3):
        guest_.ring(ring, base, more=True)
    for request in (Front.SET_VRING_ERR, Front.SET_VRING_CALL):
        guest_.say(request, u64(wire.NOFD))
    guest_.say(Front.SET_VRING_CALL, u64(1 | wire.NOFD))
    guest_.say(Front.SET_VRING_NUM, wire.state(2, 64))
    for value in (0, 1, 0):
        guest_.say(Front.SET_VRING_ENABLE, wire.state(0, value))
    for value in (0, 1, 3, 0xb, 0xf, 0x4f):
        guest_.say(Front.SET_STATUS, u64(value))
    for mtu in (1500, 9000):
        guest_.say(Front.NET_SET_MTU, u64(mtu))
    ring.stands(50, 40)
    guest_.restart()


@case({"kick": {"requests": (Front.SET_VRING_KICK,)},
       "call": {"requests": (Front.SET_VRING_CALL,)},
       "all": {"requests": (Front.SET_VRING_KICK, Front.SET_VRING_CALL, Front.SET_VRING_ERR)}})
def C12_no_descriptor_replayed(t, requests):
    """Bit 8 instead of a descriptor is a state of its own: DPDK waits for the message."""
    guest_ = guest(t)
    ring = guest_.ring(Ring(guest_.memory()), more=True)
    ring.stands(5, 4)
    for request in requests:
        guest_.say(request, u64(wire.NOFD))
    guest_.restart()


@case({"partly": {"again": (0,)}, "none": {"again": ()}, "all": {"again": (0, 1, 2, 3)}})
def C28_stopped_rings(t, again):
    """GET_VRING_BASE takes a ring out; what a new boot sets up is told, and the old is not."""
    guest_ = guest(t)
    ram = guest_.memory()
    for n in range(4):
        guest_.ring(Ring(ram, n), more=True).stands(100, 90)
    for n in range(4):
        guest_.ask(Front.GET_VRING_BASE, wire.state(n), wire.state(n, 90 + n))
    for n in again:
        guest_.ring(Ring(ram, n, 128), 0, enable=None).stands(3, 2)
    for n in again:
        guest_.say(Front.SET_VRING_ENABLE, wire.state(n, 1))
    guest_.restart()


@case(repeat=0)
def C28_stopped_by_another_name(t):
    """A back-end that answers GET_VRING_BASE for another ring than it was asked for: the answer passes
    as it is, and the ring that the front-end has stopped is not told."""
    guest_ = guest(t).runs(2)
    guest_.front.send(Front.GET_VRING_BASE, wire.state(0), lost=True)
    guest_.back.expect(Front.GET_VRING_BASE, own=True)
    guest_.back.answer(Front.GET_VRING_BASE, wire.state(1, 7), own=True)
    guest_.front.expect(Front.GET_VRING_BASE, wire.REPLY, wire.state(1, 7), own=True)
    guest_.model.take(Front.GET_VRING_BASE, wire.state(0))
    guest_.rings.pop(0)
    guest_.restart()


@case(repeat=1)
def C28_enabled_after_stop(t):
    """A front-end that enables rings which it did not set up again: none gets its old addresses."""
    guest_ = guest(t)
    ram = guest_.memory()
    for n in range(4):
        guest_.ring(Ring(ram, n)).stands(100, 90)
    for n in range(4):
        guest_.ask(Front.GET_VRING_BASE, wire.state(n), wire.state(n, 90))
    guest_.ring(Ring(ram, 0)).stands(3, 2)
    for n in range(4):
        guest_.say(Front.SET_VRING_ENABLE, wire.state(n, 1))
    guest_.lose()
    told = Told(t.end("back", "B2"), guest_.offer)
    for request in (Front.SET_VRING_ADDR, Front.SET_VRING_KICK, Front.SET_VRING_CALL):
        rings = {int.from_bytes(m.payload[:4], "little") for m in told.replay if m.id == request}
        check(rings == {0}, f"m{request} for rings {rings}")


@case({"device": {"request": Front.RESET_DEVICE}, "owner": {"request": Front.RESET_OWNER}})
def C32_reset(t, request):
    """A reset forgets rings, status and in-flight region; not memory, nor what was negotiated."""
    guest_ = guest(t, "blk")
    guest_.runs(2)
    old = t.memfd()
    guest_.say(Front.SET_INFLIGHT_FD, wire.inflight(2), [old])
    guest_.say(request, ack=True)
    guest_.rings.clear()
    drops(t.shim, old)
    guest_.restart()
    guest_.ring(Ring(guest_.rams[0])).stands(5, 5)
    guest_.restart(name="B3")


@case(repeat=1)
def C32_newest_region(t):
    """The region that counts is the one last set; the question for one is never asked again."""
    guest_ = guest(t, "blk")
    guest_.runs(2)
    fds = [t.memfd() for _ in range(2)]
    for n, fd in enumerate(fds):
        answer = wire.inflight(2)
        guest_.ask(Front.GET_INFLIGHT_FD, wire.inflight(2, mmap_size=0), answer, answer_fds=[fd])
        guest_.say(Front.SET_INFLIGHT_FD, answer, [fd])
        if n == 0:
            for ring in range(2):
                guest_.ask(Front.GET_VRING_BASE, wire.state(ring), wire.state(ring, 0x123))
            for ring in range(2):
                guest_.ring(Ring(guest_.rams[0], ring)).stands(7, 5)
    told = guest_.restart()
    check(not [m for m in told.replay if m.id == Front.GET_INFLIGHT_FD], "m31 in the replay")
    drops(t.shim, fds[0])
    keeps(t.shim, fds[1])


@case({"kept_54": {"count": 64, "removed": (63, 0, 17, 5, 40, 41, 62, 1, 33, 8)},
       "one": {"count": 1, "removed": ()}, "all_removed": {"count": 5, "removed": (4, 0, 2, 3, 1)},
       "first_last": {"count": 9, "removed": (0, 8)}}, repeat=1)
def C39_regions(t, count, removed):
    """Regions in their order, without those that were removed, with a descriptor for each."""
    begin(t, more=",mem_slots=64")
    guest_ = Guest(t)
    idle = len(t.shim.fds())
    rams = [Ram(t, 0x1000, n << 24, 0x7f0000000000 + (n << 24), 0) for n in range(count)]
    guest_.memory(*rams, how="regions")
    guest_.say(Front.REM_MEM_REG, u64(0) + Ram(t, 0x1000, 99 << 24).row())
    for n in removed:
        guest_.say(Front.REM_MEM_REG, u64(0) + rams[n].row(), [t.memfd()] if n % 2 else [],
                   ack=True)
    until(lambda: len(t.shim.fds()) == idle + count - len(removed), lambda: f"{t.shim.fds()}")
    drops(t.shim, *(rams[n].fd for n in removed))
    check(len(guest_.model.regions) == count - len(removed), "the test's own account")
    guest_.restart()
    keeps(t.shim, *(ram.fd for n, ram in enumerate(rams) if n not in removed))


@case({"added": {"add": True, "remove": False}, "removed": {"add": False, "remove": True},
       "both": {"add": True, "remove": True}}, repeat=1)
def C39_table_and_regions(t, add, remove):
    """A table at the start, regions when memory is plugged: what counts is the sum."""
    guest_ = guest(t)
    rams = [Ram(t, 0x1000, n << 24, 0x7f0000000000 + (n << 24), 0) for n in range(4)]
    guest_.memory(*rams[:3])
    if add:
        guest_.say(Front.ADD_MEM_REG, u64(0) + rams[3].row(), [rams[3].fd], ack=True)
    if remove:
        guest_.say(Front.REM_MEM_REG, u64(0) + rams[1].row(), ack=True)
    guest_.lose()
    told = Told(t.end("back", "B2"), guest_.offer)
    model = Model()
    for m in told.replay:
        model.take(m.id, m.payload, m.labels)
    check(model.state() == guest_.model.state(), f"{model.state()}\nis not {guest_.model.state()}")


@case(repeat=1)
def config_ranges(t):
    """Writes to the configuration space add up; the last one to a byte counts."""
    guest_ = guest(t, "blk")
    for offset, data in ((32, b"\1"), (0, b"abcdefgh"), (4, b"XY"), (100, b"zz"), (8, b"next"),
                         (33, b"")):
        guest_.say(Front.SET_CONFIG, wire.config(offset, len(data), data)) if data else None
    guest_.restart()


# --- descriptors

def replaced(request, payload, *before):
    """A message that, said again, makes the descriptors of its former one useless."""
    def play(t, guest_):
        for row in before:
            guest_.say(*row)
        fds = [t.memfd() if request != Front.SET_VRING_CALL else t.eventfd()]
        guest_.say(request, payload, fds)
        keeps(t.shim, *fds)
        guest_.say(request, payload, [t.memfd()])
        return fds
    return play


def table_replaced(t, guest_):
    rams = [Ram(t), Ram(t, guest=1 << 30, user=0x7f3300000000)]
    guest_.memory(*rams)
    keeps(t.shim, *(ram.fd for ram in rams))
    guest_.memory(Ram(t))
    return [ram.fd for ram in rams]


def ring_stopped(t, guest_):
    guest_.ring(Ring(guest_.memory()), more=True)
    fds = [fd for (n, _), fd in guest_.events.items() if n == 0]
    keeps(t.shim, *fds)
    guest_.ask(Front.GET_VRING_BASE, wire.state(0), wire.state(0, 4))
    return fds


def nofd_instead(t, guest_):
    fds = [t.eventfd() for _ in range(3)]
    requests = (Front.SET_VRING_KICK, Front.SET_VRING_CALL, Front.SET_VRING_ERR)
    for fd, request in zip(fds, requests):
        guest_.say(request, u64(2), [fd])
    keeps(t.shim, *fds)
    for request in requests:
        guest_.say(request, u64(2 | wire.NOFD))
    return fds


def log_over(t, guest_):
    fds = [t.memfd(), t.eventfd()]
    guest_.say(Front.SET_LOG_BASE, wire.log_base(), fds[:1])
    guest_.say(Front.SET_LOG_FD, fds=fds[1:])
    guest_.say(Front.SET_FEATURES, u64(ACKED | LOG_ALL))
    keeps(t.shim, *fds)
    guest_.say(Front.SET_FEATURES, u64(ACKED))
    return fds


def device_reset(t, guest_):
    guest_.ring(Ring(guest_.memory()), more=True)
    fds = [t.memfd(), *(fd for (n, _), fd in guest_.events.items() if n == 0)]
    guest_.say(Front.SET_INFLIGHT_FD, wire.inflight(2), fds[:1])
    keeps(t.shim, *fds)
    guest_.say(Front.RESET_DEVICE, ack=True)
    guest_.rings.clear()
    return fds


def front_leaves(held):
    def play(t, guest_):
        guest_.runs(2)
        guest_.say(Front.SET_INFLIGHT_FD, wire.inflight(2), [t.memfd()])
        guest_.say(Front.GPU_SET_SOCKET, fds=[t.socketpair()[0].fileno()])
        guest_.channel()
        if held:
            guest_.lose()
        fds = [fd for fd in t.kept if isinstance(fd, int)]
        guest_.front.close()
        if not held:
            guest_.back.ended()
        return fds
    return play


DROPPED = {"table_replaced": table_replaced, "ring_stopped": ring_stopped, "nofd": nofd_instead,
           "log_over": log_over, "device_reset": device_reset,
           "front_leaves": front_leaves(False), "front_leaves_held": front_leaves(True),
           "log_fd": replaced(Front.SET_LOG_FD, b"", (Front.SET_FEATURES, u64(ACKED | LOG_ALL))),
           "inflight": replaced(Front.SET_INFLIGHT_FD, wire.inflight(2)),
           "call": replaced(Front.SET_VRING_CALL, u64(1)),
           "gpu": replaced(Front.GPU_SET_SOCKET, b"")}


@case({name: {"play": play} for name, play in DROPPED.items()}, repeat=1)
def descriptors_dropped(t, play):
    """What the record no longer needs is closed at that moment, so that memory can be freed."""
    guest_ = guest(t)
    drops(t.shim, *play(t, guest_))


@case(repeat=0)
def restarts_100(t):
    """A hundred restarts: the same descriptors, no more memory, few lines."""
    guest_ = guest(t)
    guest_.runs(4)
    guest_.say(Front.SET_INFLIGHT_FD, wire.inflight(4), [t.memfd()])
    guest_.channel()
    guest_.restart(name="B1")
    since, fds, rss = t.shim.mark(), len(t.shim.fds()), None
    for n in range(100):
        guest_.restart(name=f"B{n + 2}")
        until(lambda: len(t.shim.fds()) == fds, lambda: f"{fds} descriptors: {t.shim.fds()}")
        rss = rss or n == 10 and t.shim.rss()
        for peer in t.peers[:-2]:
            peer.close() if peer.name == "B channel" and peer is not guest_.to_back else None
    guest_.front.quiet(0.02)
    guest_.to_front.drain_now(0.02)
    check(t.shim.rss() - rss < (16 if instrumented() else 1) << 20,
          f"{t.shim.rss() - rss} bytes more")
    lines = t.shim.log()[since:].splitlines()
    check(len(lines) < 250, f"{len(lines)} lines in the log")
    check(status(t)["restarts"]["held"] >= 101, f"{status(t)['restarts']}")


# --- where a ring goes on: split rings

@case({"plain": {"avail": 0x130, "used": 0x123}, "wrapped": {"avail": 3, "used": 0xffff},
       "zero": {"avail": 0, "used": 0}, "idle": {"avail": 77, "used": 77},
       "full": {"avail": 0x223, "used": 0x123}})
def C26_used_index(t, avail, used):
    """The base is the used index, whatever SET_VRING_BASE was at the start."""
    guest_ = guest(t)
    guest_.ring(Ring(guest_.memory()), 0).stands(avail, used)
    guest_.restart()


@case(repeat=1)
def C26_follows(t):
    """Each loss reads the ring anew."""
    guest_ = guest(t)
    ring = guest_.ring(Ring(guest_.memory()), 5)
    for n, used in enumerate((5, 0x123, 0xfffe, 1)):
        ring.stands(used + 3, used)
        guest_.restart(name=f"B{n + 2}")


@case({"used": {"avail": 9, "used": 2}, "moved": {"avail": 2, "used": 2}})
def C26_set_up_again(t, avail, used):
    """After a reset by the guest its own base counts, and then the new ring: never the old
    index."""
    guest_ = guest(t)
    ram = guest_.memory()
    guest_.ring(Ring(ram)).stands(0x130, 0x123)
    guest_.restart()
    guest_.ask(Front.GET_VRING_BASE, wire.state(0), wire.state(0, 0x124))
    guest_.ring(Ring(ram, 0), 0, start=False)
    guest_.restart(name="B3")
    guest_.say(Front.SET_VRING_KICK, u64(0), [t.eventfd()])
    guest_.rings[0].stands(avail, used)
    guest_.restart(name="B4")


TOP = 0xffffffffffff0000
PLACES = {
    "offset": {"ram": {"shift": 0x345000}},
    "no_offset": {"ram": {"shift": 0}},
    "high": {"ram": {"user": TOP - 0x20000}},
    "low": {"ram": {"user": 0x10000, "guest": 0}},
    "odd_used": {"used": 0x4001},
    "odd_avail": {"avail": 0x3003},
    "before_the_end": {"used": 0x20000 - 4 - 8 * 256},
    "second_region": {"second": True},
    "gap_in_guest_space": {"ram": {"guest": 1 << 40}},
}


@case({name: row for name, row in PLACES.items()}, repeat=1)
def C26_places(t, ram=(), used=None, avail=None, second=False):
    """The ring is found wherever the front-end has put it."""
    guest_ = guest(t)
    where = Ram(t, **dict(ram))
    other = [Ram(t, 0x8000, 0, 0x7f0000000000, 0)] if second else []
    guest_.memory(*other, where)
    at = where.user
    ring = Ring(where, used=None if used is None else at + used, avail=None if avail is None
                else at + avail)
    guest_.ring(ring).stands(0x230, 0x223)
    guest_.restart()


SIZE = 0x20000
BAD_PLACES = {
    "outside": {"used": 1 << 40},
    "below": {"used": -8},
    "at_the_end": {"used": SIZE},
    "flags_only": {"used": SIZE - 2},
    "half_an_index": {"used": SIZE - 3},
    "wraps": {"used": 0xfffffffffffffffe, "absolute": True},
    "top": {"used": 0xffffffffffffffff, "absolute": True},
    "null": {"used": 0, "absolute": True},
    "file_too_short": {"truncated": 0x3000},
    "file_empty": {"truncated": 0},
    "half_in_the_file": {"truncated": 0x2000 + 0x2003},
    "no_file": {"fd": "eventfd"},
    "write_only": {"fd": "write_only"},
    "served_by_others": {"fd": "served", "shift": 0},
    "offset_beyond": {"shift": 1 << 63},
    "offset_wraps": {"shift": 0xffffffffffffffff},
    "region_wraps": {"ram": {"user": 0xffffffffffff0000, "size": SIZE}, "used": 0x11000},
    "memory_removed": {"removed": True},
    "no_memory": {"memory": False},
}


@case({name: row for name, row in BAD_PLACES.items()}, repeat=0)
def C26_bad_places(t, used=0x2000, absolute=False, truncated=None, fd=None, shift=None, ram=(),
                   removed=False, memory=True):
    """A ring that cannot be read is named, and nothing is replayed; nothing else happens."""
    for policy in ("hold", None):
        shim = begin(t, policy=policy)
        guest_, since = Guest(t), shim.mark()
        where = Ram(t, **dict(ram))
        if fd == "eventfd":
            where.fd = t.eventfd()
        elif fd == "write_only":
            where.fd = t.add_fd(os.open(f"/proc/self/fd/{where.fd}", os.O_WRONLY), "writer")
        elif fd == "served":                # whoever answers may take any time for it
            where.fd = t.add_fd(os.open("/proc/self/maps", os.O_RDONLY), "served")
        where.shift = where.shift if shift is None else shift
        if memory:
            guest_.memory(where)
        guest_.ring(Ring(where, used=used if absolute else (where.user + used) % 2**64))
        if removed:
            guest_.say(Front.REM_MEM_REG, u64(0) + where.row(), ack=True)
        if truncated is not None:
            os.ftruncate(where.fd, truncated)
        guest_.works()
        guest_.back.close()
        if policy:
            is_held(t)
            nothing_told(t, guest_)
            guest_.front.quiet(0.02)
            line = shim.said(r"ring 0\b", since)
            check(len(line) > 30, f"not clear: {line}")
        else:
            guest_.front.ended(1.0 * SLOW)
            shim.said(r"ring 0\b", since)
        check(shim.alive(), "vushim has died")
        t.clear()


@case({"truncated": {"how": "truncate"}, "grown": {"how": "grow"}}, repeat=0)
def C26_memory_changes_size(t, how):
    """A file that is cut while it is looked at gives an error, not SIGBUS."""
    guest_ = guest(t)
    ring = guest_.ring(Ring(guest_.memory()))
    for n in range(40):
        ring.stands(9, 8)
        os.ftruncate(guest_.rams[0].fd, 0 if how == "truncate" and n % 2 else 0x22000 + n)
        ring.ram.put(ring.used + 2, b"\x08\0") if how == "grow" or n % 2 == 0 else None
        guest_.back.close()
        if how == "truncate" and n % 2:
            is_held(t)
            nothing_told(t, guest_, seconds=0.05)
            break
        guest_.back = None
        is_held(t)
        guest_.model.rebase(guest_.bases())
        guest_.succeed(name=f"B{n + 2}")


@case({"little": {"value": 0, "raw": b"\x23\x01"}, "big": {"value": 1, "raw": b"\x01\x23"}},
      repeat=1)
def C26_legacy_order(t, value, raw):
    """Before virtio 1.0 a ring is in the guest's own order, which the front-end may say."""
    begin(t)
    guest_ = Guest(t, features=bits(30))
    ring = guest_.ring(Ring(guest_.memory()))
    guest_.say(Front.SET_VRING_ENDIAN, wire.state(0, value))
    ring.stands(0, 0)
    ring.ram.put(ring.used + 2, raw)
    ring.base = 0x123
    guest_.restart()


# --- what the rings show: devices that answer out of order, without an in-flight region

def history(num, length, pending, order, reuse=0):
    """(heads made available, heads used, outstanding): a driver with `num` heads that takes the
    free one at `reuse` (Linux: -1, the last that was freed), and a device that completes the one
    that order(outstanding) names."""
    free, made, used, outstanding = list(range(num)), [], [], []
    while len(made) < length or len(outstanding) > pending:
        if len(made) < length and (len(outstanding) <= pending or not outstanding) and free:
            head = free.pop(reuse)
            made.append(head)
            outstanding.append(head)
        else:
            head = order(outstanding)
            outstanding.remove(head)
            used.append(head)
            free.append(head)
    return made, used, outstanding


def first(outstanding):
    return outstanding[0]


def stuck(num, others):
    """Request 0 never ends; others go on with one head until its place in the ring is taken."""
    return [0] + [1] * others, [1] * others


SHOWN = {
    "idle": ([5, 3, 4], [4, 5, 3]),
    "idle_long": history(8, 100, 0, lambda o: o[-1])[:2],
    "young_in_order": ([0, 1, 2, 3, 4], [0, 1]),
    "young_all_outstanding": ([1, 2, 3, 4, 5], []),
    "rotating_in_order": history(8, 53, 3, first)[:2],
    "rotating_full": history(8, 64, 8, first)[:2],
}
HIDDEN = {
    "second_first": ([0, 1, 2], [1]),
    "last_first": ([0, 1, 2, 3, 4], [0, 4]),
    "out_of_order_before": ([0, 1, 2, 3, 0, 4], [1, 0, 2]),
    "head_twice": ([0, 1, 1], [1]),
    # Nothing that can be seen differs from a device that works in order: the place of the request
    # that is stuck has long been taken by later ones.
    "stuck_long_ago": stuck(8, 20),
    "stuck_just_overwritten": stuck(8, 8),
    "impossible": ([0] * 20, []),
    "used_ahead": ([0], [0, 1]),
    "head_beyond": ([200], []),
}


def blk_ring(t, num, made, used, **how):
    guest_ = guest(t, "blk", **how)
    ring = Ring(guest_.memory(), 0, num)
    ring.played(made, used)
    guest_.ring(ring)
    guest_.works()
    return guest_, ring


@case({name: {"made": row[0], "used": row[1]} for name, row in SHOWN.items()}, repeat=1)
def C26_rings_show(t, made, used):
    """All before the used index is complete, and nothing behind it: it is the place to go on."""
    guest_, _ = blk_ring(t, 8, made, used)
    check(verdict(t)["verdict"] == "rings", f"{verdict(t)}")
    guest_.restart()


@case({name: {"made": row[0], "used": row[1]} for name, row in HIDDEN.items()}, repeat=0)
def C26_rings_do_not_show(t, made, used):
    """Requests would be lost or done twice: nothing is replayed, and the ring is named."""
    guest_, _ = blk_ring(t, 8, made, used)
    since = t.shim.mark()
    guest_.back.close()
    is_held(t)
    t.shim.said(r"ring 0\b", since)
    nothing_told(t, guest_)
    guest_.front.quiet(0.02)


@case(repeat=0)
def C26_rings_random(t):
    """Random drivers and devices: whenever vushim goes on, what it takes for outstanding is."""
    chance = random.Random(4711)
    guest_, held = guest(t, "blk", policy=None), 0
    guest_.front.close()
    guest_.back.ended()
    for n in range(120):
        num = chance.choice((4, 8, 16))
        order = chance.choice((first, first, chance.choice, lambda o: o[-1]))
        made, used, outstanding = history(num, chance.randrange(4 * num), chance.randrange(num),
                                          order, chance.choice((0, -1)))
        t.clear()
        guest_ = Guest(t, BLK)
        ring = Ring(guest_.memory(), 0, num)
        ring.played(made, used)
        guest_.ring(ring)
        guest_.works()
        guest_.back.close()
        guest_.back = None
        window = [made[k] for k in range(len(used), len(made))]
        until(lambda: status(t)["life"] in ("held", "idle"), "an end")
        if status(t)["life"] == "held":
            held += 1
            check(sorted(window) == sorted(outstanding),
                  f"{n}: {outstanding} outstanding of {made}, {used}: goes on with {window}")
            guest_.model.rebase(guest_.bases())
            guest_.succeed()
        else:
            guest_.front.ended()
    check(held > 3, f"never held: {held}")


@case({"all_complete": {"played": SHOWN["idle"], "at_once": True},
       "last_ones": {"played": SHOWN["young_in_order"], "at_once": True},
       "others": {"played": HIDDEN["second_first"], "at_once": False},
       "packed": {"played": SHOWN["idle"], "at_once": False, "features": PACKED},
       "undrained": {"played": HIDDEN["second_first"], "at_once": True, "bit": 20}}, repeat=0)
def C23_base_of_a_disk(t, played, at_once, bit=None, features=0):
    """An in-flight region says what is outstanding to a successor; a front-end that asks where a ring
    stands takes all behind that place for outstanding, and it may go on elsewhere, without the
    region. So where that is not the same it has to wait for a back-end that completes them."""
    more = bits(bit) if bit else 0
    begin(t, "blk", more=",protocol.get_vring_base_inflight=on" if bit else "")
    guest_ = Guest(t, BLK._replace(protocol=PROTOCOL | more), ACKED | features, PROTOCOL | more)
    ring = Ring(guest_.memory(), 0, 8)
    ring.played(*played)
    if features:
        fd, region = packed_region(t, [(3, 1, 3, 1)], num=8)
        ring.base = packed_base(3, 1)
    else:
        fd, region = t.memfd(), wire.inflight(1)
    guest_.say(Front.SET_INFLIGHT_FD, region, [fd])
    guest_.ring(ring)
    guest_.lose()
    if at_once:
        guest_.ask(Front.GET_VRING_BASE, wire.state(0), sees=wire.state(0, ring.base))
        guest_.succeed()
        return
    guest_.front.send(Front.GET_VRING_BASE, wire.state(0), lost=True)
    guest_.front.quiet(0.2)
    told = Told(t.end("back", "B2"), guest_.offer)
    guest_.agrees(told.replay)
    guest_.back = told.back
    told.back.expect(Front.GET_VRING_BASE, wire.REQUEST, wire.state(0), own=True)
    guest_.front.quiet(0.1)
    told.back.answer(Front.GET_VRING_BASE, wire.state(0, 3), own=True)
    guest_.front.expect(Front.GET_VRING_BASE, wire.REPLY, wire.state(0, 3), own=True)
    guest_.model.take(Front.GET_VRING_BASE, wire.state(0))
    guest_.rings.clear()
    guest_.restart(name="B3")


@case({"lost": {"end": None}, "by_stop": {"end": Front.GET_VRING_BASE},
       "by_reset": {"end": Front.RESET_DEVICE}, "by_status": {"end": Front.SET_STATUS}}, repeat=0)
def unsound_until_stopped(t, end):
    """hold, where a replay is not sound: the rings stand still until the front-end has reset the
    device; what is set up afterwards is told. Row C23: where a ring stands is not made up."""
    guest_, ring = blk_ring(t, 8, *HIDDEN["second_first"])
    guest_.back.close()
    guest_.back = None
    is_held(t)
    back = nothing_told(t, guest_)
    if end is None:
        return
    if back:
        back.close()
    guest_.rings.clear()
    if end == Front.GET_VRING_BASE:         # nobody knows the answer, and none is invented
        since = t.shim.mark()
        guest_.front.send(end, wire.state(0), lost=True)
        guest_.front.ended(1.0 * SLOW)
        t.shim.said(r"\[NOT_SOUND\]", since)
        return
    if end == Front.SET_STATUS:             # the driver wants nothing any more of what it asked for
        guest_.say(Front.SET_STATUS, u64(3), ack=True)
        nothing_told(t, guest_, "B3 unfit")
        guest_.say(Front.SET_STATUS, u64(0), ack=True)
        guest_.ask(Front.GET_VRING_BASE, wire.state(0), sees=wire.state(0))
    else:
        guest_.say(end, ack=True)
    guest_.succeed()
    ring = Ring(guest_.rams[0], 0, 8)
    ring.played([0, 1], [0, 1])
    guest_.ring(ring)
    guest_.restart(name="B3")


# --- in-flight regions

STRIDE = 64 + 32 * 256         # head and entries of 32 bytes, in steps of 64


def packed_region(t, rows, version=1, num=256, shift=0):
    """An in-flight region as the vhost-user specification lays it out for packed rings; rows: per
    queue (used_idx, used_wrap, old_used_idx, old_used_wrap)."""
    fd = t.memfd(shift + STRIDE * len(rows))
    for n, (used, wrap, old, old_wrap) in enumerate(rows):
        head = struct.pack("<QHHHHHHBB", 0, version, num, 0, 0, used, old, wrap, old_wrap)
        os.pwrite(fd, head, shift + n * STRIDE)
    return fd, wire.inflight(len(rows), num, STRIDE * len(rows), shift)


def packed_base(index, wrap):
    half = index | wrap << 15
    return half | half << 16


@case({"net": {"device": "net"}, "blk": {"device": "blk"}})
def C26_inflight_split(t, device):
    """With an in-flight region: the region, and the used index."""
    guest_ = guest(t, device)
    guest_.runs(3)
    fd = t.memfd()
    guest_.say(Front.SET_INFLIGHT_FD, wire.inflight(3), [fd])
    check(verdict(t)["verdict"] == "sound", f"{verdict(t)}")
    guest_.restart()


@case({"start": {"rows": [(0, 1, 0, 1)]}, "first_lap": {"rows": [(5, 1, 5, 1), (255, 1, 255, 1)]},
       "second_lap": {"rows": [(7, 0, 7, 0), (0, 1, 0, 1), (1, 0, 1, 0)]},
       "offset": {"rows": [(9, 1, 9, 1), (8, 0, 8, 0)], "shift": 0x3000}})
def C27_packed_region(t, rows, shift=0):
    """Packed rings go on where the region says, with both wrap bits."""
    guest_ = guest(t, "blk", features=ACKED | PACKED)
    ram = guest_.memory()
    fd, payload = packed_region(t, rows, shift=shift)
    guest_.say(Front.SET_INFLIGHT_FD, payload, [fd])
    for n, row in enumerate(rows):
        ring = Ring(ram, n)
        guest_.ring(ring, 0x80008000)
        ring.base = packed_base(*row[:2])
    check(verdict(t)["verdict"] == "sound", f"{verdict(t)}")
    guest_.restart()


@case({"seen": {"flags": 0, "base": (8, 1)}, "not_seen": {"flags": 1 << 7, "base": (5, 1)}},
      repeat=1)
def C27_packed_half_done(t, flags, base):
    """The back-end died between writing to the ring and saying so in the region: the descriptor
    shows whether the guest was told (specification, "Inflight I/O tracking")."""
    guest_ = guest(t, "blk", features=ACKED | PACKED)
    ram = guest_.memory()
    fd, payload = packed_region(t, [(8, 1, 5, 1)])
    guest_.say(Front.SET_INFLIGHT_FD, payload, [fd])
    ring = guest_.ring(Ring(ram), 0x80008000)
    # Used in this lap: both bits equal the wrap counter. Available in it: they differ.
    ram.put(ring.desc + 5 * 16 + 14, struct.pack("<H", flags or 1 << 7 | 1 << 15))
    ring.base = packed_base(*base)
    guest_.restart()


BAD_REGIONS = {"beyond_ring": (256, 1, 256, 1), "huge": (0xffff, 0, 0xffff, 0)}


@case({**{name: {"row": row} for name, row in BAD_REGIONS.items()},
       "short_file": {"row": (1, 1, 1, 1), "truncated": 10},
       "fewer_queues": {"row": (1, 1, 1, 1), "index": 1},
       "no_queues": {"row": (1, 1, 1, 1), "payload": wire.inflight(0, 256, 4096)},
       "no_size": {"row": (1, 1, 1, 1), "payload": wire.inflight(1, 256, 0)},
       "offset_beyond": {"row": (1, 1, 1, 1), "payload": wire.inflight(1, 256, STRIDE, 1 << 63)}},
      repeat=0)
def C27_bad_regions(t, row, truncated=None, index=0, payload=None):
    """A region that makes no sense is named; nothing is replayed."""
    guest_ = guest(t, "blk", features=ACKED | PACKED)
    ram = guest_.memory()
    fd, good = packed_region(t, [row])
    guest_.front.send(Front.SET_INFLIGHT_FD, payload or good, wire.NEED_REPLY, [fd], lost=True)
    until(lambda: readable(guest_.front) or readable(guest_.back), "the message, or its refusal")
    if readable(guest_.front):
        guest_.front.refusal(Front.SET_INFLIGHT_FD)                 # as good
        return
    guest_.back.expect(Front.SET_INFLIGHT_FD, own=True)
    guest_.back.answer(Front.SET_INFLIGHT_FD, u64(0), own=True)
    guest_.front.expect(Front.SET_INFLIGHT_FD, own=True)
    guest_.ring(Ring(ram, index), 0x80008000)
    if truncated is not None:
        os.ftruncate(fd, truncated)
    since = t.shim.mark()
    guest_.back.close()
    is_held(t)
    t.shim.said(rf"ring {index}\b", since)
    nothing_told(t, guest_)


@case({"net": {"device": "net"}, "blk": {"device": "blk"}}, repeat=0)
def C27_packed_crash(t, device):
    """Without a region nobody knows where a packed ring stands: no replay, and why is said."""
    for policy in ("hold", None):
        shim = begin(t, device, policy)
        guest_ = Guest(t, BLK if device == "blk" else NET, ACKED | PACKED)
        guest_.runs(2)
        since = shim.mark()
        guest_.works()
        guest_.back.close()
        if policy:
            is_held(t)
            nothing_told(t, guest_)
        else:
            guest_.front.ended(1.0 * SLOW)
        shim.said("packed", since)
        t.clear()


@case({f"{base:x}": {"base": base} for base in (0x80058005, 0x8005, 0x00050005, 0)})
def C27_packed_stopped(t, base):
    """Rings that the front-end stopped and set up with all 32 bits of the answer, not started:
    those bits are told."""
    guest_ = guest(t, "net", features=ACKED | PACKED)
    ram = guest_.memory()
    guest_.ring(Ring(ram))
    answer = guest_.ask(Front.GET_VRING_BASE, wire.state(0), wire.state(0, base))
    guest_.ring(Ring(ram), int.from_bytes(answer.payload[4:], "little"), start=False)
    guest_.restart()


# --- verdicts

def rows_of_verdicts():
    region = {"region": True}
    yield "net_split", "net", {}, "sound", "net"
    yield "net_in_order", "net", {"features": IN_ORDER}, "sound", "order"
    yield "net_packed", "net", {"features": PACKED}, "none", "packed"
    yield "net_region", "net", region, "sound", "region"
    yield "blk_split", "blk", {}, "rings", "rings"
    yield "blk_in_order", "blk", {"features": IN_ORDER}, "sound", "order"
    yield "blk_region", "blk", region, "sound", "region"
    yield "blk_packed", "blk", {"features": PACKED}, "none", "packed"
    yield "blk_packed_region", "blk", {"features": PACKED, **region}, "sound", "region"
    yield "scsi_split", "scsi", {}, "rings", "rings"
    yield "scsi_region", "scsi", region, "sound", "region"
    yield "fs_split", "fs", {}, "partly", "mount"
    yield "gpu", "gpu", {}, "none", ""
    yield "crypto", "crypto", {}, "none", "session"
    yield "vsock", "vsock", {}, "partly", "stream"
    yield "vsock_region", "vsock", region, "partly", "stream"
    yield "vsock_in_order", "vsock", {"features": IN_ORDER}, "partly", "stream"
    yield "vsock_packed_region", "vsock", {"features": PACKED, **region}, "partly", "stream"
    yield "unknown", None, {}, "none", "device="
    yield "unknown_region", None, region, "none", "device="
    yield "unknown_in_order", None, {"features": IN_ORDER}, "none", "device="
    yield "unknown_packed_region", None, {"features": PACKED, **region}, "none", "device="
    yield "iommu", "net", {"features": TRANSLATED, "offer": OTHER}, "none", "iommu_platform"


@case({name: {"device": device, "want": want, "word": word, **how}
       for name, device, how, want, word in rows_of_verdicts()}, repeat=0)
def verdicts(t, device, want, word, features=0, region=False, offer=None):
    """What the state says of a loss that has not happened, and what then happens by default."""
    begin(t, device, None)
    guest_ = Guest(t, offer or {"net": NET, "blk": BLK}.get(device, OTHER), ACKED | features)
    ram = guest_.memory()
    if region:
        fd, payload = packed_region(t, [(3, 1, 3, 1)])
        guest_.say(Front.SET_INFLIGHT_FD, payload, [fd])
    ring = Ring(ram)
    guest_.ring(ring).stands(8, 8)
    ring.base = packed_base(3, 1) if features == PACKED else 8
    guest_.works()
    said = verdict(t)
    check(said["verdict"] == want, f"{said}")
    check(word in f"{said['by']} {said['why']}", f"'{word}' is not in {said}")
    since = t.shim.mark()
    if want == "none":
        guest_.back.close()
        guest_.front.ended(1.0 * SLOW)
        t.shim.said(word or "dev0", since)
    elif want != "partly":                  # the default is to hold where nothing is lost
        guest_.restart()


@case({device or "unknown": {"device": device} for device in
       ("net", "blk", "scsi", "fs", "gpu", "crypto", "vsock", "input", None)}, repeat=0)
def verdicts_without_rings(t, device):
    """Before a ring has been started nothing is lost, whatever the device is."""
    begin(t, device, None)
    guest_ = Guest(t, OTHER)
    ram = guest_.memory()
    guest_.ring(Ring(ram), 17, start=False)
    guest_.restart()


@case(repeat=0)
def front_gone_is_told(t):
    """A front-end that is closed because it cannot be held is gone: an event says so, once."""
    begin(t, "gpu", None)
    guest_ = Guest(t, OTHER).runs(1)
    client(t)
    guest_.back.close()
    guest_.front.ended(1.0 * SLOW)
    found = events(t, "FRONT_GONE")
    check(len(found) == 1 and found[0]["data"]["side"] == "front" and
          "ending" not in found[0]["data"], f"{found}")


@case(repeat=0)
def held_says_too_much(t):
    """What is said to a device that is held and cannot be kept ends it: no successor could be told."""
    guest_ = guest(t).runs(1)
    guest_.lose()
    since = t.shim.mark()
    guest_.front.send(Front.SET_CONFIG, wire.config(250, 20, bytes(20)), lost=True)
    guest_.front.ended(1.0 * SLOW)
    t.shim.said(r"SET_CONFIG.*\[NOT_KEPT\]", since)


@case({"close": {"policy": "close"}, "hold": {"policy": "hold"}, "default": {"policy": None}},
      repeat=0)
def policies(t, policy):
    """hold and the default keep a front-end where it is sound; close never does."""
    begin(t, "net", policy)
    guest_ = Guest(t).runs(2)
    guest_.works()
    if policy == "close":
        guest_.back.close()
        guest_.front.ended(1.0 * SLOW)
    else:
        guest_.restart()


@case(repeat=0)
def plain_host(t):
    """Plain `host` names no device: without rings held, with rings closed, by default."""
    t.start("host", loss=None)
    for rings in (0, 1):
        front = t.front()
        back = t.end("back", f"B{rings}")
        seen = []
        for request, payload in ((Front.SET_OWNER, b""), (Front.SET_FEATURES, u64(ACKED)),
                                 (Front.SET_VRING_ADDR, wire.ring_addr(0)),
                                 (Front.SET_VRING_NUM, wire.state(0, 64))):
            front.send(request, payload, lost=True)
        if rings:
            front.send(Front.SET_VRING_KICK, u64(0), fds=[t.eventfd()], lost=True)
        while not seen or seen[-1].id != (Front.SET_VRING_KICK if rings else Front.SET_VRING_NUM):
            message = back.next(own=True)
            seen.append(message)
            if message.id in (Front.GET_FEATURES, Front.GET_PROTOCOL_FEATURES):
                back.answer(message.id, u64(OTHER.features if message.id == 1 else OTHER.protocol),
                            own=True)
        back.close()
        if rings:
            front.ended(1.0 * SLOW)
            return
        told = Told(t.end("back", "B0 next"), OTHER)
        check([m.id for m in told.replay if m.id != Front.SET_PROTOCOL_FEATURES] ==
              [Front.SET_OWNER, Front.SET_FEATURES, Front.SET_VRING_NUM, Front.SET_VRING_ADDR],
              f"{told.replay}")
        front.close()
        told.back.ended()
        told.back.close()


# --- bit 30, log, wake-ups

@case({"with": {"features": ACKED}, "without": {"features": bits(32)}})
def C37_protocol_bit(t, features):
    """Bit 30 is replayed as the front-end had it; without it no ring is enabled by a message."""
    guest_ = guest(t, features=features)
    ram = guest_.memory()
    for n in range(2):
        guest_.ring(Ring(ram, n), enable=n == 0 if features & bits(30) else None).stands(5, 4)
    told = guest_.restart()
    enables = [m for m in told.replay if m.id == Front.SET_VRING_ENABLE]
    check(bool(enables) == bool(features & bits(30)), f"{enables}")
    wakes(guest_, [0] if features & bits(30) else [0, 1])


@case(repeat=1)
def C37_log_toggled(t):
    """SET_FEATURES that only toggles the log changes no ring; the last value is told."""
    guest_ = guest(t).runs(2)
    guest_.say(Front.SET_VRING_ENABLE, wire.state(1, 0))
    guest_.say(Front.SET_LOG_BASE, wire.log_base(), [t.memfd()])
    guest_.say(Front.SET_FEATURES, u64(ACKED | LOG_ALL))
    guest_.say(Front.SET_FEATURES, u64(ACKED))
    guest_.restart()


@case({"log": {"event": False}, "log_and_event": {"event": True}})
def C42_log(t, event):
    """While LOG_ALL is on the log region is told before the features. All of it is marked: the
    dead back-end may have written what it did not log."""
    guest_ = guest(t).runs(2)
    log = t.memfd(0x3000)
    guest_.say(Front.SET_LOG_BASE, wire.log_base(0x1000, 0x1000), [log])
    if event:
        guest_.say(Front.SET_LOG_FD, fds=[t.eventfd()])
    guest_.say(Front.SET_FEATURES, u64(ACKED | LOG_ALL))
    for n in range(2):
        guest_.say(Front.SET_VRING_ADDR, guest_.rings[n].address(1))
    guest_.restart()
    check(os.pread(log, 0x1000, 0x1000) == b"\xff" * 0x1000, "not all is marked")
    check(os.pread(log, 0x1000, 0) == bytes(0x1000) == os.pread(log, 0x1000, 0x2000),
          "marked outside of the log")
    guest_.say(Front.SET_FEATURES, u64(ACKED))
    guest_.restart(name="B3")
    drops(t.shim, log)


@case({"short_file": {"size": 0x800}, "no_file": {"size": 0},
       "offset": {"size": 0x1000, "offset": 1 << 63},
       "huge": {"size": 0x1000, "length": 1 << 62}}, repeat=0)
def C42_bad_log(t, size, offset=0, length=0x1000):
    """A log that is not what its message says: an error, not a signal."""
    guest_ = guest(t).runs(1)
    guest_.say(Front.SET_LOG_BASE, wire.log_base(length, offset), [t.memfd(size)])
    guest_.say(Front.SET_FEATURES, u64(ACKED | LOG_ALL))
    guest_.back.close()
    until(lambda: status(t)["life"] != "running", "the loss to be noticed")
    check(t.shim.alive(), "vushim has died")


def readable(peer):
    poll = select.poll()
    poll.register(peer.sock, select.POLLIN)
    return bool(poll.poll(0))


def counter(fd):
    os.set_blocking(fd, False)
    try:
        return os.eventfd_read(fd)
    except BlockingIOError:
        return 0


def wakes(guest_, rings):
    """Kick and call of these rings have been written once, those of others not at all."""
    for (n, kind), fd in sorted(guest_.events.items()):
        want = int(n in rings)
        got = counter(fd)
        check(got == want, f"{kind} of ring {n} written: {got} instead of {want}")


@case()
def C30_wakes(t):
    """Each started and enabled ring's kick and call once, when all has been told; others never."""
    guest_ = guest(t)
    ram = guest_.memory()
    for n in range(4):
        guest_.ring(Ring(ram, n), start=n != 3, enable=n != 1, more=True).stands(6, 5)
    guest_.say(Front.SET_VRING_KICK, u64(2 | wire.NOFD))
    guest_.lose()
    told = Told(t.end("back", "B2"), guest_.offer, fence=False)
    check(not any(counter(fd) for fd in guest_.events.values()), "woken before all was told")
    told.back.answer(Front.GET_FEATURES, u64(guest_.offer.features), own=True)
    guest_.back = told.back
    guest_.works()
    del guest_.events[2, "kick"]
    call = guest_.events.pop((2, "call"))
    check(counter(call) <= 1, "written more than once")
    wakes(guest_, [0])


@case(repeat=1)
def C30_kick_in_the_gap(t):
    """A kick while nobody listens stays, and is there for the successor."""
    guest_ = guest(t).runs(1)
    guest_.lose()
    os.eventfd_write(guest_.events[0, "kick"], 3)
    guest_.succeed()
    check(counter(guest_.events[0, "kick"]) == 4, "the guest's own kick was lost")


@case({"eventfd": {"pipe": False}, "pipe": {"pipe": True}}, repeat=0)
def C30_full(t, pipe):
    """A full descriptor holds nothing up, blocking or not."""
    guest_ = guest(t).runs(2)
    for request in (Front.SET_VRING_CALL, Front.SET_VRING_KICK):
        fd = t.pipe()[1] if pipe else t.eventfd()
        os.set_blocking(fd, False)
        os.write(fd, bytes(65536) if pipe else u64(2**64 - 2))
        os.set_blocking(fd, True)
        guest_.say(request, u64(0), [fd])
    guest_.restart()


# --- any conversation

@case({str(seed): {"seed": seed} for seed in range(6)}, repeat=0)
def any_conversation(t, seed):
    """Random front-ends, lost at random moments: a successor knows what the front-end means."""
    chance = random.Random(seed)
    guest_ = guest(t)
    pool = [Ram(t, 0x20000, n << 28, 0x7f0000000000 + (n << 28), 0x1000 * n) for n in range(4)]
    guest_.memory(pool[0])
    moves = Moves(t, guest_, chance, pool)
    for n in range(12):
        for _ in range(chance.randrange(12)):
            moves.one()
        guest_.works()
        guest_.lose()
        for _ in range(chance.randrange(6)):
            moves.one()
        guest_.heard()
        told = Told(t.end("back", f"B{n}"), guest_.offer)
        text = differ(told.replay, guest_.model.messages())
        check(not text, f"seed {seed}, loss {n}: {text}\n{told.replay}")
        guest_.back = told.back
        guest_.works()


class Moves:
    """What a front-end may do at any time."""

    def __init__(self, t, guest_, chance, pool):
        self.t, self.guest, self.chance, self.pool = t, guest_, chance, pool

    def one(self):
        move = self.chance.choice((self.set_up, self.stop, self.enable, self.replace, self.others,
                                   self.runs_on, self.config))
        move()

    def set_up(self):
        n = self.chance.randrange(4)
        if not self.guest.back and n in self.guest.model.started():
            return                          # nothing moves on while nothing runs
        ring = Ring(self.pool[0], n)
        ring.stands(n + 5, n + 3)
        self.guest.ring(ring, self.chance.randrange(1 << 16), self.chance.random() < 0.7,
                        self.chance.choice((None, True, False)), self.chance.random() < 0.5,
                        self.chance.random() < 0.5)

    def stop(self):
        n = self.chance.randrange(4)
        if n in self.guest.rings and n in self.guest.model.started():
            base = self.guest.model.rings[n][Front.SET_VRING_BASE][0][4:]
            answer = wire.state(n)[:4] + base
            self.guest.ask(Front.GET_VRING_BASE, wire.state(n), answer)

    def enable(self):
        self.guest.say(Front.SET_VRING_ENABLE, wire.state(self.chance.randrange(4),
                                                          self.chance.randrange(2)))

    def replace(self):
        n = self.chance.randrange(4)
        request = self.chance.choice((Front.SET_VRING_CALL, Front.SET_VRING_ERR))
        none = self.chance.random() < 0.3
        self.guest.say(request, u64(n | (wire.NOFD if none else 0)), [] if none else
                       [self.t.eventfd()])

    def others(self):
        request, payload = self.chance.choice((
            (Front.NET_SET_MTU, u64(self.chance.randrange(9000))),
            (Front.SET_STATUS, u64(self.chance.choice((1, 3, 0xb, 0xf)))),
            (Front.SET_FEATURES, u64(ACKED)), (Front.SET_OWNER, b"")))
        self.guest.say(request, payload, ack=self.chance.random() < 0.5)

    def runs_on(self):
        for n, ring in self.guest.rings.items() if self.guest.back else ():
            used = self.chance.randrange(1 << 16)
            ring.stands(used + n, used)

    def config(self):
        size = self.chance.randrange(1, 9)
        data = bytes(self.chance.randrange(256) for _ in range(size))
        self.guest.say(Front.SET_CONFIG, wire.config(self.chance.randrange(0, 60), size, data))
