# SPDX-License-Identifier: MIT
"""Reads vushim's traces: an independent reader, written from vushim-trace-format(7)."""
import struct
from collections import namedtuple

Record = namedtuple("Record", "wire sent kind number life device flags time fds head body name "
                              "text lost")
WIRES = ("front", "back", "back channel", "front channel", "next back")
KINDS = {1: "message", 2: "ending", 3: "refused", 4: "event", 5: "gap"}
FD_KINDS = ("other", "eventfd", "memfd", "hugetlb", "socket", "pipe", "file")


class Broken(Exception):
    """The file is not what it should be."""


def blocks(data):
    """Yields (type, body); raises Broken at the first block that is wrong, or cut."""
    at = 0
    while at < len(data):
        if len(data) - at < 12:
            raise Broken(f"cut at {at}")
        kind, size = struct.unpack_from("=II", data, at)
        if size < 12 or size % 4 or at + size > len(data):
            raise Broken(f"cut or wrong block at {at}")
        if struct.unpack_from("=I", data, at + size - 4)[0] != size:
            raise Broken(f"two lengths differ at {at}")
        yield kind, data[at + 8:at + size - 4]
        at += size


def record(body):
    interface, high, low, captured, original = struct.unpack_from("=IIIII", body)
    data = body[20:20 + captured]
    if original != captured or data[:20] != b"\x00\x0c\x00\x0cvhostuser" + bytes(7):
        raise Broken(f"not a record: {data[:20]}")
    data = data[20:]
    version, kind, wire, flags, device, n_fds, life, _, number = struct.unpack_from("<BBBBHHIIQ",
                                                                                    data)
    if version != 1 or wire != interface:
        raise Broken(f"version {version}, wire {wire} on interface {interface}")
    fds, at = [], 24
    for _ in range(n_fds):
        role, fd_kind, inode, size = struct.unpack_from("<BB6xQQ", data, at)
        fds.append((role, FD_KINDS[fd_kind], inode, size))
        at += 24
    rest = data[at:]
    head, body, name, text, lost = None, None, None, None, None
    if kind == 1:
        head, body = struct.unpack_from("=III", rest), rest[12:]
        if head[2] != len(body):
            raise Broken(f"{len(body)} bytes of payload, the header says {head[2]}")
    elif kind == 5:
        lost, = struct.unpack("<Q", rest)
    else:
        n, = struct.unpack_from("<H", rest)
        name, rest = rest[2:2 + n].decode(), rest[2 + n:]
        n, = struct.unpack_from("<H", rest)
        text = rest[2:].decode()
        if n != len(rest) - 2:
            raise Broken("a text of another length")
    return Record(WIRES[wire], bool(flags & 1), KINDS[kind], number, life, device, flags,
                  (high << 32 | low) / 1e9, fds, head, body, name, text, lost)


def records(data, cut=False):
    """All records of a file's bytes. cut: the last block may be half there."""
    found, interfaces = [], 0
    try:
        for kind, body in blocks(data):
            if kind == 1:
                interfaces += 1
                if struct.unpack_from("=H", body)[0] != 252:
                    raise Broken("link type is not 252")
            elif kind == 6:
                found.append(record(body))
    except Broken as broken:
        if not (cut and str(broken).startswith("cut")):
            raise
    if interfaces not in (4, len(WIRES)) and not cut:     # 4: from before there was a next back
        raise Broken(f"{interfaces} interfaces")
    return found


def read(path, cut=False):
    with open(path, "rb") as file:
        return records(file.read(), cut)
