# SPDX-License-Identifier: MIT
"""Rows C19, C25, C31, C33: successors that fail, misbehave, or are less than what was lost."""
import signal
import time

import detached
import wire
from case import accept, connect
from harness import case
from holding import ready
from lifecycle import in_time, late_listener
from machine import (ACKED, BLK, IN_ORDER, LOG_ALL, NET, PROTOCOL, QUESTIONS, Ended, Guest, Ram,
                     Ring, Told, answer_to, begin, client, events, guest, is_held, status)
from peers import SLOW, Failure, check, until
from shim import instrumented
from wire import Front, bits, u64


def full(t, device="net", extra=(), more=""):
    """A guest with something in every step of the replay."""
    guest_ = guest(t, device, extra=extra, more=more)
    guest_.say(Front.SET_LOG_BASE, wire.log_base(), [t.memfd()])
    guest_.say(Front.SET_LOG_FD, fds=[t.eventfd()])
    guest_.say(Front.SET_FEATURES, u64(ACKED | LOG_ALL))
    guest_.memory(Ram(t), Ram(t, 0x4000, 1 << 30, 0x7f3300000000))
    for n in range(4):
        guest_.ring(Ring(guest_.rams[0], n), more=True).stands(0x130, 0x123 + n)
    guest_.say(Front.SET_INFLIGHT_FD, wire.inflight(4), [t.memfd()])
    guest_.say(Front.NET_SET_MTU, u64(1400))
    guest_.say(Front.SET_STATUS, u64(0xf))
    guest_.channel()
    return guest_


class Stop(Exception):
    """The case's own end of a conversation."""


def leave_after(t, guest_, number, name):
    """A back-end that is gone after so many messages. False when that was all of them."""
    heard = []

    def count(message):
        heard.append(message)
        if len(heard) >= number:
            raise Stop()
    back = t.end("back", name)
    if number == 0:
        back.close()
        return True
    try:
        Told(back, guest_.offer, count)
    except Stop:
        back.close()
        return True
    return False


@case({f"{side}.{number}": {"side": side, "number": number} for number in range(31)
       for side in ("connect", "listen") if side == "connect" or number % 5 == 0}, repeat=0)
def C31_leaves_after(t, side, number):
    """A successor that leaves after so many messages, then one that stays: told everything, and a
    question of the front-end's from in between answered once."""
    begin(t, back=side)
    guest_ = Guest(t).runs(2)
    guest_.channel()
    guest_.lose()
    fds = len(t.shim.fds())
    request, answer = Front.GET_INFLIGHT_FD, bytes(24)
    guest_.front.send(request, wire.inflight(2, mmap_size=0), lost=True)
    if not leave_after(t, guest_, number, "B short"):
        check(number > 24, f"only {number} messages")
        back = guest_.back = next(peer for peer in t.peers if peer.name == "B short")
    else:
        guest_.front.quiet(0.01)
        told = Told(t.end("back", "B2"), guest_.offer)
        guest_.agrees(told.replay)
        back = guest_.back = told.back
    back.expect(request, own=True)
    back.answer(request, answer, own=True)
    guest_.front.expect(request, wire.REPLY, answer, own=True)
    guest_.works()
    guest_.front.quiet(0.02)
    until(lambda: len(t.shim.fds()) <= fds + 3, lambda: f"{fds} descriptors: {t.shim.fds()}")


@case(repeat=0, slow=True)
def C31_appears_after_failures(t):
    """A path that appears is tried at once, also when the ones before it failed."""
    guest_ = guest(t).runs(1)
    guest_.lose()
    for number in range(9):
        appear = late_listener(t)[1]
        moment = time.monotonic()
        back = t.add_peer(accept(appear()), f"B{number}")
        took = time.monotonic() - moment
        check(took < 0.6 * SLOW, f"try {number} after {took:.2f} s")
        back.expect(Front.GET_FEATURES, own=True)
        back.close()
        time.sleep(0.02)
    late_listener(t)[1]()
    guest_.succeed(name="B good")


NONSENSE = {
    "wrong_number": wire.reply(15, u64(0)), "too_short": wire.reply(1, bytes(4)),
    "request": wire.message(1), "version": wire.header(1, 6, 8) + u64(0),
    "half": wire.reply(1, u64(0))[:9],
    "huge": wire.header(1, 5, 0xffffffff),
}


@case({f"{name}.{when}": {"data": data, "when": when} for name, data in NONSENSE.items()
       for when in ("greeting", "replay", "fence")}, repeat=0)
def C31_nonsense(t, data, when):
    """A successor that talks nonsense is its own end only."""
    guest_ = full(t)
    guest_.lose()
    back = t.end("back", "B bad")

    def at(message):
        if when == "greeting" or when == "replay" and message.id == Front.SET_MEM_TABLE:
            raise Stop()
    try:
        Told(back, guest_.offer, at, fence=False)
    except Stop:
        pass
    back.raw(data)
    if data == NONSENSE["half"]:
        back.close()
    else:
        back.drain()
        back.received.clear()
    back.close()
    guest_.front.quiet(0.02)
    guest_.succeed(name="B3")


@case({"at_once": {"number": 0}, "greeting": {"number": 2}, "replay": {"number": 12}}, repeat=0,
      slow=True)
def C31_1000_tries(t, number):
    """A back-end side that listens, and a thousand newcomers that fail: nothing grows, the log is
    short, and then a good one is taken."""
    begin(t, back="listen")
    guest_ = Guest(t).runs(2)
    guest_.channel()
    guest_.lose()
    since, fds, rss = t.shim.mark(), len(t.shim.fds()), None
    end = time.monotonic() + 40 * SLOW
    tries = 0
    while tries < 1000 and time.monotonic() < end:
        path = t.ends["back"][2]
        peer = t.add_peer(connect(path), "B0")
        for _ in range(number):
            if not ready(peer, 0.004):
                break
            message = peer.next(own=True)
            if message is None:
                break
            if message.id in QUESTIONS:
                peer.raw(wire.reply(message.id, answer_to(message, guest_.offer)))
        peer.close()
        t.peers.remove(peer)
        tries += 1
        rss = rss or tries == 50 and t.shim.rss()
    check(tries == 1000, f"{tries} tries only")
    until(lambda: len(t.shim.fds()) <= fds, lambda: f"{fds} descriptors: {t.shim.fds()}")
    check(t.shim.rss() - rss < (32 if instrumented() else 1) << 20,
          f"{t.shim.rss() - rss} bytes more")
    lines = t.shim.log()[since:].splitlines()
    check(len(lines) < 100, f"{len(lines)} lines in the log for {tries} tries")
    guest_.succeed()


@case(repeat=0, slow=True)
def C31_backs_off(t):
    """A back-end that is looked for is not tried at full speed when it fails: 50 ms, doubling."""
    guest_ = guest(t).runs(1)
    guest_.lose()
    end, moments = time.monotonic() + 2.0, []
    listener = t.ends["back"][2]
    listener.settimeout(0.2)
    while time.monotonic() < end:
        try:
            listener.accept()[0].close()
            moments.append(time.monotonic())
        except TimeoutError:
            pass
    listener.settimeout(None)
    check(3 <= len(moments) <= 9, f"{len(moments)} tries in two seconds")
    guest_.front.quiet(0.02)
    guest_.succeed()


@case(repeat=0)
def C31_appears(t):
    """A path that appears is tried at once, however long nobody was there."""
    guest_ = guest(t).runs(1)
    _, appear = late_listener(t)
    guest_.lose()
    time.sleep(0.7)
    listener = appear()
    moment = time.monotonic()
    back = t.add_peer(accept(listener), "B2")
    in_time(moment, 0.15)
    told = Told(back, guest_.offer)
    guest_.agrees(told.replay)


@case(repeat=0)
def C31_retry_is_fresh(t):
    """Each try has its own channel; a failed one's is closed, its last words reach nobody."""
    guest_ = guest(t).runs(1)
    guest_.channel()
    guest_.lose()
    seen = []

    def at(message):
        if message.id == Front.SET_BACKEND_REQ_FD:
            seen.append(wire.identity(message.fds[0]))
            if len(seen) < 4:
                raise Stop()
    for n in range(4):
        back = t.end("back", f"B{n}")
        try:
            told = Told(back, guest_.offer, at)
        except Stop:
            back.close()
    check(len(set(seen)) == 4, f"the same channel: {seen}")
    guest_.back = told.back
    guest_.works()
    guest_.to_front.drain_now(0.02)


# --- stand-ins for the rules of known back-ends

class Rule:
    """What a back-end checks of each message; a broken rule is kept in `broken`."""

    def __init__(self):
        self.rings, self.ready, self.memory, self.features = set(), set(), False, False
        self.wants, self.enabled, self.broken = 4, False, None

    def __call__(self, message):
        index = int.from_bytes(message.payload[:4], "little") & 0xff
        if message.id in (Front.SET_VRING_NUM, Front.SET_VRING_CALL, Front.SET_VRING_KICK,
                          Front.SET_VRING_ADDR, Front.SET_VRING_BASE, Front.SET_VRING_ERR):
            self.rings.add(index)
        self.memory |= message.id in (Front.SET_MEM_TABLE, Front.ADD_MEM_REG)
        if message.id == Front.SET_VRING_KICK:
            self.ready.add(index)
        self.look(message, index)
        check(not self.broken, self.broken)

    def look(self, message, index):
        pass


class ErasesAtFeatures(Rule):
    """SET_FEATURES forgets everything said of rings and memory before it (DPDK)."""

    def look(self, message, index):
        if message.id == Front.SET_FEATURES and (self.rings or self.memory):
            self.broken = "rings or memory before SET_FEATURES, which erases them"


class KnowsRingsFirst(Rule):
    """SET_INFLIGHT_FD is for rings that are known (DPDK 19.11 crashes)."""

    def look(self, message, index):
        if message.id == Front.SET_INFLIGHT_FD and len(self.rings) < self.wants:
            self.broken = f"SET_INFLIGHT_FD when only rings {self.rings} are known"


class MemoryFirst(Rule):
    """SET_VRING_ADDR is looked up in memory at once (DPDK, rust-vmm)."""

    def look(self, message, index):
        if message.id == Front.SET_VRING_ADDR and not self.memory:
            self.broken = "SET_VRING_ADDR before memory"


class KicksBeforeEnable(Rule):
    """Every ring is there before one is enabled."""

    def look(self, message, index):
        if message.id == Front.SET_VRING_ENABLE and len(self.ready) < self.wants:
            self.broken = f"SET_VRING_ENABLE when only rings {self.ready} have a kick"


class NoLateFeatures(Rule):
    """SET_FEATURES after rings takes the device down (DPDK)."""

    def look(self, message, index):
        if message.id == Front.SET_FEATURES and self.features:
            self.broken = "a second SET_FEATURES"
        self.features |= message.id == Front.SET_FEATURES


class FeaturesBeforeSize(Rule):
    """The layout of a ring is known before its size (DPDK), the log before LOG_ALL."""

    def look(self, message, index):
        self.features |= message.id == Front.SET_FEATURES
        self.enabled |= message.id == Front.SET_LOG_BASE
        if message.id in (Front.SET_VRING_NUM, Front.SET_VRING_ADDR) and not self.features:
            self.broken = f"m{message.id} before SET_FEATURES"
        if message.id == Front.SET_FEATURES and message.value & LOG_ALL and not self.enabled:
            self.broken = "LOG_ALL before the log"


class OwnerOnce(Rule):
    """SET_OWNER comes once (rust-vmm refuses a second), after the protocol features."""

    def look(self, message, index):
        if message.id == Front.SET_OWNER:
            self.broken = "a second SET_OWNER" if self.enabled else None
            self.enabled = True


class StartsAtKick(Rule):
    """The first kick starts all (SPDK); then nothing of any ring's geometry may come (yc), nor
    memory, in-flight region or protocol features."""

    def look(self, message, index):
        if index in self.ready and message.id in (Front.SET_VRING_NUM, Front.SET_VRING_BASE,
                                                  Front.SET_VRING_ADDR):
            self.broken = f"m{message.id} for the started ring {index}"
        if self.ready and message.id in (Front.SET_PROTOCOL_FEATURES, Front.SET_INFLIGHT_FD,
                                         Front.SET_MEM_TABLE):
            self.broken = f"m{message.id} when a ring runs"


class WantsAskedFirst(Rule):
    """An ack, and what is negotiated, is known only after both questions (rust-vmm)."""

    def __init__(self):
        super().__init__()
        self.asked = set()

    def look(self, message, index):
        self.asked.add(message.id)
        if message.id == Front.SET_PROTOCOL_FEATURES and not {1, 15} <= self.asked:
            self.broken = "SET_PROTOCOL_FEATURES before the questions"


RULES = (ErasesAtFeatures, KnowsRingsFirst, MemoryFirst, KicksBeforeEnable, NoLateFeatures,
         FeaturesBeforeSize, OwnerOnce, StartsAtKick, WantsAskedFirst)


@case({rule.__name__: {"rule": rule} for rule in RULES}, repeat=1)
def C25_stand_ins(t, rule):
    """A stand-in for each rule of a known back-end takes the replay."""
    guest_ = full(t)
    guest_.restart(at=rule())


@case({"with": {"protocol": PROTOCOL}, "without": {"protocol": PROTOCOL & ~bits(3)}}, repeat=1)
def C19_no_ack_asked(t, protocol):
    """The replay asks for no acks, whether or not REPLY_ACK is in force."""
    guest_ = guest(t, protocol=protocol).runs(2)
    told = guest_.restart()
    check(all(m.flags == wire.REQUEST for m in told.replay), f"{told.replay}")


@case({"with": {"offered": True}, "without": {"offered": False}}, repeat=0)
def C19_successor_without_reply_ack(t, offered):
    """A successor without REPLY_ACK: the front-end has acknowledged it, so it does not fit."""
    guest_ = guest(t).runs(1)
    guest_.lose()
    if offered:
        guest_.succeed()
        return
    refused(t, guest_, NET._replace(protocol=PROTOCOL & ~bits(3)), "reply_ack")


# --- less, or other, than what was lost

def refused(t, guest_, offer, *words, name="B unfit"):
    """A successor that does not fit is named, and told nothing; the front-end stays."""
    since = t.shim.mark()
    client(t)
    told = []

    def at(message):
        if message.id in (Front.SET_FEATURES, Front.SET_OWNER, Front.SET_MEM_TABLE,
                          Front.SET_VRING_NUM):
            told.append(message)
    back = t.end("back", name)
    try:
        Told(back, offer, at)
        raise Failure("it was told everything")
    except Ended:
        pass
    check(not told, f"told {told}")
    back.close()
    line = t.shim.said(r"back.*\[INCOMPATIBLE\]", since)
    for word in words:
        check(word in line, f"'{word}' is not in: {line}")
    events(t, "BACK_INCOMPATIBLE")
    guest_.front.quiet(0.02)


def less(**changes):
    return lambda offer: offer._replace(**{k: v(getattr(offer, k)) for k, v in changes.items()})


def changed(at, value):
    def change(config):
        config = bytearray(config)
        config[at:at + len(value)] = value
        return bytes(config)
    return change


BLK_SIZE_AT, NUM_QUEUES_AT = 20, 34
UNFIT = {
    "feature": ("net", less(features=lambda v: v & ~bits(15)), ("mrg_rxbuf",)),
    "two_features": ("net", less(features=lambda v: v & ~bits(13, 14)), ("host_ecn", "host_ufo")),
    "version_1": ("net", less(features=lambda v: v & ~bits(32)), ("version_1",)),
    "log_all": ("net", less(features=lambda v: v & ~LOG_ALL), ("log_all",)),
    "protocol_bit": ("net", less(features=lambda v: v & ~bits(30)), ()),
    "inflight": ("net", less(protocol=lambda v: v & ~bits(12)), ("inflight_shmfd",)),
    "several": ("net", less(protocol=lambda v: v & ~bits(1, 16)), ("log_shmfd", "status")),
    "queues": ("net", less(queues=lambda v: 1), ("queues",)),
    "slots": ("net", less(slots=lambda v: 3), ("slots",)),
    "blk_queues": ("blk", less(config=changed(NUM_QUEUES_AT, b"\1\0")), ("num_queues",)),
    "blk_size": ("blk", less(config=changed(BLK_SIZE_AT, b"\0\x20\0\0")), ("blk_size",)),
}


@case({name: {"device": row[0], "change": row[1], "words": row[2]} for name, row in UNFIT.items()},
      repeat=0)
def C33_unfit(t, device, change, words):
    """What the front-end has acknowledged or has been shown is a contract; the next one that keeps
    it is taken."""
    begin(t, device)
    offer = {"net": NET, "blk": BLK}[device]
    features = ACKED | (bits(13, 14, 15) if device == "net" else bits(6, 12)) | IN_ORDER
    guest_ = Guest(t, offer, features)
    for request, answer in ((Front.GET_QUEUE_NUM, u64(offer.queues)),
                            (Front.GET_MAX_MEM_SLOTS, u64(offer.slots))):
        guest_.ask(request, answer=answer)
    guest_.ask(Front.GET_CONFIG, wire.config(0, 60), wire.config(0, 60, offer.config[:60]))
    rams = [Ram(t, 0x1000, n << 24, 0x7f0000000000 + (n << 24), 0) for n in range(3)]
    guest_.memory(*rams, Ram(t), how="regions")
    guest_.rams = rams
    ram = Ram(t, guest=1 << 33, user=0x7f5500000000)
    guest_.say(Front.ADD_MEM_REG, u64(0) + ram.row(), [ram.fd])
    for n in range(4):
        guest_.ring(Ring(ram, n)).stands(9, 9)
    guest_.lose()
    for n in range(2):
        refused(t, guest_, change(offer), *words, name=f"B{n} unfit")
    guest_.succeed()


@case({"refuses": {"size": 0}, "short": {"size": 20}, "nothing_read": {"size": 0, "read": False}},
      repeat=0)
def C33_config_withheld(t, size, read=True):
    """A successor that does not answer for the configuration space that was read before, or has less
    of it, does not fit; where nothing was read, nothing is asked."""
    guest_ = guest(t, "blk", features=ACKED)
    if read:
        guest_.ask(Front.GET_CONFIG, wire.config(0, 60), wire.config(0, 60, BLK.config[:60]))
    guest_.lose()
    since, asked = t.shim.mark(), []

    def at(message):
        asked.append(message.id)
        if message.id == Front.GET_CONFIG:
            back.answer(message.id, wire.config(0, size, BLK.config[:size]) if size else
                        bytes(12), own=True)
            raise Stop()
    back = t.end("back", "B unfit")
    try:
        Told(back, BLK, at)
        check(not read, "it was told everything")
        return
    except Stop:
        back.ended()
        back.close()
    check(read and Front.SET_FEATURES not in asked, f"asked or told {asked}")
    t.shim.said(rf"config: 60 bytes read before, {size} to be had here.*\[INCOMPATIBLE\]", since)
    guest_.succeed()


@case(repeat=0, slow=True)
def C33_short_log(t):
    """One that never fits and always comes back: named once, few lines, no thousand tries."""
    guest_ = guest(t, features=ACKED | bits(13, 14)).runs(1)
    guest_.lose()
    unfit = NET._replace(features=NET.features & ~bits(13, 14))
    since, end, tries = t.shim.mark(), time.monotonic() + 3.0, 0
    listener = t.ends["back"][2]
    listener.settimeout(0.2)
    while time.monotonic() < end:
        try:
            back = t.add_peer(listener.accept()[0], "B unfit")
        except TimeoutError:
            continue
        tries += 1
        try:
            Told(back, unfit)
            raise Failure("it was told everything")
        except Ended:
            back.close()
    listener.settimeout(None)
    check(3 <= tries <= 10, f"{tries} tries in three seconds")
    lines = t.shim.log()[since:].splitlines()
    check(len(lines) < 20, f"{len(lines)} lines")
    check(sum("host_ecn" in line for line in lines) >= 1, "host_ecn is not named")
    guest_.succeed()


@case({"features": {"more": {"features": NET.features | bits(0, 1, 16)}},
       "protocol": {"more": {"protocol": PROTOCOL | bits(14, 20, 22, 40)}},
       "queues": {"more": {"queues": 128}}, "slots": {"more": {"slots": 509}}}, repeat=0)
def C33_more(t, more):
    """What a successor has more is not shown, and not acknowledged to it."""
    guest_ = guest(t).runs(1)
    for request, answer in ((Front.GET_QUEUE_NUM, u64(16)), (Front.GET_MAX_MEM_SLOTS, u64(64))):
        guest_.ask(request, answer=answer)
    offer = NET._replace(**more)
    guest_.lose()
    told = Told(t.end("back", "B2"), offer)
    guest_.agrees(told.replay)
    guest_.back = told.back
    for request, answer, sees in (
            (Front.GET_FEATURES, offer.features, NET.features),
            (Front.GET_PROTOCOL_FEATURES, offer.protocol, PROTOCOL),
            (Front.GET_QUEUE_NUM, offer.queues, 16), (Front.GET_MAX_MEM_SLOTS, offer.slots, 64)):
        guest_.ask(request, answer=u64(answer), sees=u64(sees))


@case({"unused_feature": {"change": {"features": NET.features & ~bits(22)}},
       "unused_protocol": {"change": {"protocol": PROTOCOL & ~bits(13)},
                           "protocol": PROTOCOL & ~bits(13)}},
      repeat=0)
def C33_less_but_unused(t, change, protocol=PROTOCOL):
    """What was shown and never acknowledged may be missing: no guest relies on it, and GET_FEATURES
    goes on saying what it said."""
    guest_ = guest(t, protocol=protocol).runs(1)
    offer = NET._replace(**change)
    guest_.lose()
    told = Told(t.end("back", "B2"), offer)
    guest_.agrees(told.replay)


@case({"start": {"late": False}, "replay": {"late": True}}, repeat=0)
def successor_of_successor(t, late):
    """The next one is there before vushim can have seen that the last one left."""
    begin(t, back="listen")
    guest_ = Guest(t).runs(1)
    guest_.lose()
    back = t.end("back", "B0")
    back.expect(Front.GET_FEATURES, own=True)
    if late:
        back.answer(Front.GET_FEATURES, u64(NET.features), own=True)
        back.expect(Front.GET_PROTOCOL_FEATURES, own=True)
    for n in range(1, 5):
        t.shim.process.send_signal(signal.SIGSTOP)
        back.close()
        back = t.end("back", f"B{n}")
        t.shim.process.send_signal(signal.SIGCONT)
        back.expect(Front.GET_FEATURES, own=True)
    back.close()
    guest_.succeed(name="B good")


@case(repeat=0)
def detached_back_lost(t):
    """A device that started without a back-end and then has lost it: held, not started over."""
    path = t.path("ctl")
    detached.begin(t, extra=("--control", path, "--on-back-end-loss", "hold"))
    t.control = path
    front = t.front()
    want = detached.set_up(t, front)
    back = detached.take_over(t, front, want)
    t.links.clear()
    back.close()
    is_held(t)
    front.quiet(0.05)
    front.send(Front.GET_FEATURES, lost=True)
    front.expect(Front.GET_FEATURES, payload=u64(detached.FEATURES), own=True)
    front.close()
    until(lambda: status(t)["life"] != "held", "the life to end")


@case(repeat=0)
def many_restarts_at_once(t):
    """Back-ends that die while the replay's fence is answered, a hundred times: the last one that
    lives has everything."""
    guest_ = guest(t).runs(2)
    guest_.lose()
    for n in range(30):
        back = t.end("back", f"B{n}")
        try:
            Told(back, guest_.offer, fence=n % 3 == 0)
        except Ended:
            pass
        back.close()
        if n % 3 == 0:
            until(lambda: status(t)["life"] in ("held", "running"), "a state")
            is_held(t)
    guest_.succeed(name="B good")
