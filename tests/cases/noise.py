# SPDX-License-Identifier: MIT
"""Random messages in both directions, with every message logged; and the log itself."""
import json
import random
import re

import wire
from case import Offer
from harness import case
from peers import check
from wire import Front, bits, u64

OFFER = Offer(bits(26, 30, 32, 33), 0xdbfff & ~bits(17), 4, 16)
PINNED = "host,device=blk,queues=4,max_ring=256,mem_slots=16,config.seg_max=3"


def mutated(source, request, payload, flags, fds, rate):
    """A message with, now and then, a little wrong, or something else altogether."""
    body = bytearray(payload)
    size = None
    if source.random() < rate:
        for _ in range(source.choice((1, 1, 4))):
            if body:
                body[source.randrange(len(body))] = source.choice((0, 1, 0x7f, 0x80, 0xff))
    if source.random() < rate / 4:
        body = body[:source.randrange(len(body) + 1)] + source.randbytes(source.choice((0, 1, 300)))
    if source.random() < rate / 8:
        flags = source.choice((1, 9, 5, 2, 0x21))
    if source.random() < rate / 8:
        size = source.choice((0, 4096, 4097, 0xffffffff))
    if source.random() < rate / 8:
        fds = source.randrange(10)
    size = len(body) if size is None else size
    return wire.header(request, flags, size) + bytes(body), fds


def say(t, peer, message):
    data, fds = message
    return peer.raw(data, [t.memfd() for _ in range(fds)])


def talk(t, source, rows, asker, answerer):
    """Requests and answers, mostly good ones, until one end has had enough."""
    answers = {row.id: row for row in rows}
    for _ in range(source.randrange(1, 60)):
        row = source.choice(rows)
        flags = source.choice((wire.REQUEST, wire.REQUEST, wire.NEED_REPLY))
        if not say(t, asker, mutated(source, row.id, row.payload, flags, row.fds, 0.1)):
            return
        while not answerer.gone and answerer.drain_soon():
            got = answerer.received[-1]
            row = answers.get(got.id)
            if row and (row.answer is not None or got.flags == wire.NEED_REPLY):
                say(t, answerer, mutated(source, got.id, row.answer or u64(0), wire.REPLY,
                                         row.answer_fds, 0.1))
        while not asker.gone and asker.drain_soon():
            pass


@case({"host": {"profile": "host"}, "pinned": {"profile": PINNED}}, repeat=0, slow=True)
def noise_main_socket(t, profile, lives=150):
    """Random messages on the main socket, both ways, in many lives."""
    shim = t.start(profile, extra=("--log-level", "debug"))
    for seed in range(lives):
        source = random.Random(f"main {profile} {seed}")
        front, back = t.pair(OFFER if profile != "host" else None)
        if source.random() < 0.5:
            t.negotiate(front, back, OFFER)
        front.strict = back.strict = False
        talk(t, source, wire.ROWS, front, back)
        over(t, shim, front, back, seed)
    t.life(OFFER if profile != "host" else None)


@case({"host": {"profile": "host"}, "pinned": {"profile": PINNED}}, repeat=0, slow=True)
def noise_channel(t, profile, lives=80):
    """The same on the back-end channel."""
    shim = t.start(profile, extra=("--log-level", "debug"))
    for seed in range(lives):
        source = random.Random(f"channel {profile} {seed}")
        front, back = t.pair(OFFER if profile != "host" else None)
        t.negotiate(front, back, OFFER)
        to_front, to_back = t.channel(front, back)
        to_front.strict = to_back.strict = False
        talk(t, source, wire.CHANNEL_ROWS, to_back, to_front)
        over(t, shim, front, back, seed)


def over(t, shim, front, back, seed):
    for peer in t.peers:
        peer.close()
    check(shim.alive(), f"seed {seed} killed vushim")
    shim.check_idle()
    t.clear()
    t.links.clear()


@case({"main": {"rows": wire.ROWS}, "channel": {"rows": wire.CHANNEL_ROWS}}, repeat=0, slow=True)
def log_names_every_message(t, rows):
    """With --log-level debug each message is one line that names it and its fields."""
    shim = t.start(extra=("--log-level", "debug"))
    front, back = t.pair()
    t.negotiate(front, back)
    one, other = (front, back) if rows is wire.ROWS else t.channel(front, back)[::-1]
    for row in rows:
        since = shim.mark()
        one.send(row.id, row.payload, fds=[t.memfd() for _ in range(row.fds)])
        other.expect(row.id)
        if row.answer is not None:
            other.answer(row.id, row.answer, [t.memfd() for _ in range(row.answer_fds)])
            one.expect(row.id)
        line = shim.said(row.id.name, since)
        check(line.startswith("vushim: dev0 "), f"not of this device: {line}")
        check(not re.search(r"unknown\(", line), f"without its name: {line}")


@case(repeat=0)
def log_as_json(t):
    """With --json every line is one JSON object, whatever was in the messages."""
    shim = t.start("host,max_ring=256", extra=("--json", "--log-level", "debug"), json_log=True)
    offer = Offer(bits(30, 32), 0x10cbf)
    front, back = t.pair(offer)
    t.negotiate(front, back, offer)
    t.tell(front, back, 999, b'"\n\\\x00\xff')
    front.send(Front.SET_VRING_NUM, wire.state(0, 512), lost=True)
    front.ended()
    back.ended()
    for line in shim.log().splitlines():
        value = json.loads(line)
        check(value.get("device") == "dev0", f"without its device: {line}")
    check("REFUSED" in shim.log(), "the refusal is not in the log")


@case({"error": {"level": "error", "silent": True}, "info": {"level": "info", "silent": False}},
      repeat=0, slow=True)
def log_levels(t, level, silent):
    """A normal life is silent at level error."""
    shim = t.start(extra=("--log-level", level))
    for _ in range(3):
        t.life()
    check(bool(shim.log()) != silent, f"log at level {level}: {shim.log()}")


@case(repeat=0, slow=True)
def no_numbers_of_descriptors(t):
    """Descriptors are logged by role and count, never as bare numbers."""
    shim = t.start(extra=("--log-level", "debug"))
    front, back = t.pair()
    since = shim.mark()
    t.tell(front, back, Front.SET_VRING_KICK, u64(0), [t.eventfd()])
    t.tell(front, back, Front.SET_MEM_TABLE, wire.mem_table(2), [t.memfd(), t.memfd()])
    line = shim.said("SET_VRING_KICK", since)
    check(not re.search(r"fds? ?[=:]? ?\d{2,}", line), f"a number: {line}")
