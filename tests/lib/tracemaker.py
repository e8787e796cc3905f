# SPDX-License-Identifier: MIT
"""Writes traces, from vushim-trace-format(7) and not from the code of vushim."""
import struct

WIRES = {"front": 0, "back": 1, "back channel": 2, "front channel": 3, "next back": 4}
ROLES = {name: n for n, name in enumerate((
    "none", "memory", "log", "log event", "kick", "call", "err", "channel", "userfaultfd",
    "inflight", "gpu socket", "dmabuf", "state", "notifier", "shared memory"))}
FD_KINDS = {name: n for n, name in enumerate((
    "other", "eventfd", "memfd", "hugetlb", "socket", "pipe", "file"))}
REPLY, NEED_REPLY = 4, 8


def _block(kind, body):
    body += bytes(-len(body) % 4)
    return struct.pack("=II", kind, len(body) + 12) + body + struct.pack("=I", len(body) + 12)


def _option(code, value):
    return struct.pack("=HH", code, len(value)) + value + bytes(-len(value) % 4)


class Trace:
    """Records are added in their order; data is the file."""

    def __init__(self, device=1):
        self.device, self.number, self.redacted = device, 0, False
        self.data = _block(0x0a0d0d0a, struct.pack("=IHHq", 0x1a2b3c4d, 1, 0, -1))
        for name in WIRES:
            self.data += _block(1, struct.pack("=HHI", 252, 0, 0)
                                + _option(2, f"dev0 {name}".encode()) + _option(9, b"\x09")
                                + _option(0, b""))

    def _record(self, kind, wire, sent, fds, rest, life):
        self.number += 1
        record = struct.pack("<BBBBHHIIQ", 1, kind, WIRES[wire],
                             int(sent) | (4 if self.redacted else 0), self.device, len(fds),
                             life, 0, self.number)
        for role, fd_kind, inode, size in fds:
            record += struct.pack("<BB6xQQ", ROLES[role], FD_KINDS[fd_kind], inode, size)
        packet = b"\x00\x0c\x00\x09vhostuser\x00\x00\x00\x00" + record + rest
        now = 1700000000000000000 + self.number * 1000
        self.data += _block(6, struct.pack("=IIIII", WIRES[wire], now >> 32, now & 0xffffffff,
                                           len(packet), len(packet)) + packet
                            + bytes(-len(packet) % 4))
        return self.number

    def message(self, wire, sent, request, body=b"", flags=0, fds=(), life=1):
        """fds: (role, kind, inode, size) each. Returns the record's number."""
        head = struct.pack("=III", request, flags | 1, len(body))
        return self._record(1, wire, sent, fds, head + body, life)

    def gap(self, lost):
        self.number += lost
        return self._record(5, "front", False, (), struct.pack("<Q", lost), 1)
