# SPDX-License-Identifier: MIT
"""Writes traces (msgcodec/traceformat.h) as tests need them: good, strange and hostile ones."""
import re
import os
import struct

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FRONT, BACK, BACK_CHANNEL, FRONT_CHANNEL, NEXT_BACK = range(5)
WIRES = (b"front", b"back", b"back channel", b"front channel", b"next back")
MESSAGE, ENDING, REFUSED, EVENT, GAP = range(1, 6)
VERSION, REPLY, NEED_REPLY = 1, 4, 8
BEGIN = 1700000000123456789


def numbers():
    """{name: number} of the front-end's requests, and of the back-end's."""
    with open(f"{TREE}/msgcodec/messages.def", encoding="utf-8") as f:
        text = f.read()
    return tuple({name: int(number) for number, name in
                  re.findall(rf"^{space} ?\((\d+), (\w+)", text, re.M)}
                 for space in ("FRONT", "BACK"))


FRONT_NUMBERS, BACK_NUMBERS = numbers()


def block(kind, body):
    body += bytes(-len(body) % 4)
    total = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + total + body + total


def option(code, value):
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


class Trace:
    """Records in the shim's order; each takes the next number and some time."""

    def __init__(self, device="vm7/net0", kind=1, step=1000, wires=WIRES):
        self.kind, self.step = kind, step
        self.number, self.life, self.time = 0, 1, BEGIN
        if isinstance(device, str):
            device = device.encode()
        self.data = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
        for wire in wires:
            self.data += block(1, struct.pack("<HHI", 252, 0, 0) +
                               option(2, device + b" " + wire) + option(9, b"\x09") + option(0, b""))

    def record(self, kind, wire, flags, body, fds=()):
        self.number += 1
        self.time += self.step
        tags = b"\x00\x0c\x00\x0cvhostuser\0\0\0" + bytes(4)
        record = struct.pack("<BBBBHHIIQ", 1, kind, wire, flags, self.kind, len(fds), self.life, 0,
                             self.number)
        for role, inode in fds:
            record += struct.pack("<BB6xQQ", role, 1, inode, 0)
        packet = tags + record + body
        self.data += block(6, struct.pack("<IIIII", wire, self.time >> 32,
                                          self.time & 0xffffffff, len(packet), len(packet)) + packet)
        return self.number

    def note(self, kind, name, text="", wire=FRONT):
        texts = b""
        for one in (name, text):
            one = one.encode() if isinstance(one, str) else one
            texts += struct.pack("<H", len(one)) + one
        return self.record(kind, wire, 0, texts)

    def gap(self, lost):
        self.number += lost
        return self.record(GAP, FRONT, 0, struct.pack("<Q", lost))

    def message(self, wire, sent, request, body=b"", reply=False, need_reply=False, fds=()):
        """One record."""
        table = BACK_NUMBERS if wire in (BACK_CHANNEL, FRONT_CHANNEL) else FRONT_NUMBERS
        number = table[request] if isinstance(request, str) else request
        flags = VERSION | (REPLY if reply else 0) | (NEED_REPLY if need_reply else 0)
        return self.record(MESSAGE, wire, 1 if sent else 0,
                           struct.pack("=III", number, flags, len(body)) + body, fds)

    def passed(self, wire, request, body=b"", changed=None, **keys):
        """It comes in at a wire and goes out across, perhaps changed."""
        number = self.message(wire, False, request, body, **keys)
        self.message(wire ^ 1, True, request, body if changed is None else changed, **keys)
        return number

    def asked(self, request, body=b"", answer=b"", changed=None, think=0, asks=FRONT, **keys):
        """A request and its answer, both passed on."""
        self.passed(asks, request, body, **keys)
        self.time += think
        self.passed(asks ^ 1, request, answer, changed, reply=True)

    def own(self, wire, request, body=b"", answer=None, think=0, **keys):
        """What vushim says by itself, and the answer that it keeps."""
        self.message(wire, True, request, body, **keys)
        if answer is not None:
            self.time += think
            self.message(wire, False, request, answer, reply=True)


def u64(value):
    return struct.pack("=Q", value)


def pair(a, b):
    return struct.pack("=II", a, b)


def session(features=0x170008003, protocol=0x1f, queues=4, rings=4, size=256, think=5000,
            address=0x7f0000000000, inode=100, base=0, step=1000, device="vm7/net0", kept=None,
            trace=None):
    """What QEMU does when a guest starts, roughly."""
    t = trace or Trace(device, step=step)
    t.note(EVENT, "START", "device=net,csum=on")
    t.asked("GET_FEATURES", answer=u64(features), changed=kept and u64(kept), think=think)
    t.asked("GET_PROTOCOL_FEATURES", answer=u64(protocol), think=think)
    t.passed(FRONT, "SET_PROTOCOL_FEATURES", u64(protocol))
    t.asked("GET_QUEUE_NUM", answer=u64(queues), think=think)
    t.passed(FRONT, "SET_OWNER")
    for ring in range(rings):
        t.passed(FRONT, "SET_VRING_CALL", u64(ring), fds=[(5, inode + ring)])
    t.passed(FRONT, "SET_FEATURES", u64(kept or features))
    t.passed(FRONT, "SET_MEM_TABLE", struct.pack("=IIQQQQ", 1, 0, 0, 1 << 30, address, 0),
             fds=[(1, inode)])
    for ring in range(rings):
        t.passed(FRONT, "SET_VRING_NUM", pair(ring, size))
        t.passed(FRONT, "SET_VRING_BASE", pair(ring, base))
        t.passed(FRONT, "SET_VRING_ADDR", struct.pack("=IIQQQQ", ring, 0, *[address] * 4))
        t.passed(FRONT, "SET_VRING_KICK", u64(ring), fds=[(4, inode + 10 + ring)])
    for ring in range(rings):
        t.asked("SET_VRING_ENABLE", pair(ring, 1), answer=u64(0), need_reply=True, think=think)
    return t


def switched(features=0x170008003, next_features=0x170008003, queues=4, think=5000, left=True):
    """A session whose device is moved to another back-end. left: one that was there before, and
    never answered."""
    t = session(features, rings=1)
    if left:
        t.note(EVENT, "BACK_CONNECTED", wire=NEXT_BACK)
        t.message(NEXT_BACK, True, "GET_FEATURES")
        t.note(ENDING, "SILENT", wire=NEXT_BACK)
    t.note(EVENT, "BACK_CONNECTED", wire=NEXT_BACK)
    t.own(NEXT_BACK, "GET_FEATURES", answer=u64(next_features), think=think)
    t.own(NEXT_BACK, "GET_QUEUE_NUM", answer=u64(queues))
    t.own(NEXT_BACK, "SET_FEATURES", u64(features))
    t.asked("GET_VRING_BASE", pair(0, 0), pair(0, 7))
    t.passed(FRONT, "SET_FEATURES", u64(features))
    t.own(NEXT_BACK, "SET_FEATURES", u64(features))
    t.own(BACK, "GET_VRING_BASE", pair(0, 0), pair(0, 7))
    t.own(NEXT_BACK, "SET_VRING_BASE", pair(0, 7))
    t.own(NEXT_BACK, "SET_VRING_KICK", u64(0), fds=[(4, 110)])
    t.own(NEXT_BACK, "GET_FEATURES", answer=u64(next_features))
    t.note(EVENT, "SWITCHED", "rings stood still for at most 412 us", wire=BACK)
    t.asked("GET_QUEUE_NUM", answer=u64(queues))
    return t
