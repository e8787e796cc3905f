# SPDX-License-Identifier: MIT
"""vhost-user messages as bytes: builders, and the tests' own table of every request.

The table is written from the specification and not made from msgcodec/messages.def on purpose: the
cases then compare two readings of the protocol. Byte order is the host's, as the protocol says.
"""
import os
import struct
from collections import namedtuple
from enum import IntEnum

HEADER = struct.Struct("=III")
REQUEST, NEED_REPLY, REPLY = 0x1, 0x9, 0x5
NOFD = 0x100
MAX_PAYLOAD = 4096
MAX_FDS = 253


class Front(IntEnum):
    """Requests from the front-end to the back-end."""
    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    RESET_OWNER = 4
    SET_MEM_TABLE = 5
    SET_LOG_BASE = 6
    SET_LOG_FD = 7
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18
    SEND_RARP = 19
    NET_SET_MTU = 20
    SET_BACKEND_REQ_FD = 21
    IOTLB_MSG = 22
    SET_VRING_ENDIAN = 23
    GET_CONFIG = 24
    SET_CONFIG = 25
    CREATE_CRYPTO_SESSION = 26
    CLOSE_CRYPTO_SESSION = 27
    POSTCOPY_ADVISE = 28
    POSTCOPY_LISTEN = 29
    POSTCOPY_END = 30
    GET_INFLIGHT_FD = 31
    SET_INFLIGHT_FD = 32
    GPU_SET_SOCKET = 33
    RESET_DEVICE = 34
    VRING_KICK = 35
    GET_MAX_MEM_SLOTS = 36
    ADD_MEM_REG = 37
    REM_MEM_REG = 38
    SET_STATUS = 39
    GET_STATUS = 40
    GET_SHARED_OBJECT = 41
    SET_DEVICE_STATE_FD = 42
    CHECK_DEVICE_STATE = 43
    GET_SHMEM_CONFIG = 44
    GET_VRING_BASE_SKIP_DRAIN = 45


class Back(IntEnum):
    """Requests from the back-end to the front-end, on the back-end channel."""
    IOTLB_MSG = 1
    CONFIG_CHANGE_MSG = 2
    VRING_HOST_NOTIFIER_MSG = 3
    VRING_CALL = 4
    VRING_ERR = 5
    SHARED_OBJECT_ADD = 6
    SHARED_OBJECT_REMOVE = 7
    SHARED_OBJECT_LOOKUP = 8
    SHMEM_MAP = 9
    SHMEM_UNMAP = 10


class Proto(IntEnum):
    """Protocol feature bits."""
    MQ = 0
    LOG_SHMFD = 1
    RARP = 2
    REPLY_ACK = 3
    MTU = 4
    BACKEND_REQ = 5
    CROSS_ENDIAN = 6
    CRYPTO_SESSION = 7
    PAGEFAULT = 8
    CONFIG = 9
    BACKEND_SEND_FD = 10
    HOST_NOTIFIER = 11
    INFLIGHT_SHMFD = 12
    RESET_DEVICE = 13
    INBAND_NOTIFICATIONS = 14
    CONFIGURE_MEM_SLOTS = 15
    STATUS = 16
    XEN_MMAP = 17
    SHARED_OBJECT = 18
    DEVICE_STATE = 19
    GET_VRING_BASE_INFLIGHT = 20


# Specification names of the virtio feature bits that the tests spell in spec strings.
TRANSPORT_NAMES = {24: "notify_on_empty", 27: "any_layout", 28: "indirect_desc", 29: "event_idx",
                   32: "version_1", 33: "iommu_platform", 34: "packed", 35: "in_order"}
NET_NAMES = {0: "csum", 1: "guest_csum", 2: "ctrl_guest_offloads", 3: "mtu", 5: "mac", 6: "gso",
             7: "guest_tso4", 8: "guest_tso6", 9: "guest_ecn", 10: "guest_ufo", 11: "host_tso4",
             12: "host_tso6", 13: "host_ecn", 14: "host_ufo", 15: "mrg_rxbuf", 16: "status",
             17: "ctrl_vq", 18: "ctrl_rx", 19: "ctrl_vlan", 20: "ctrl_rx_extra",
             21: "guest_announce", 22: "mq", 23: "ctrl_mac_addr"}
LOG_ALL, PROTOCOL_FEATURES = 1 << 26, 1 << 30
VHOST_BITS = LOG_ALL | PROTOCOL_FEATURES      # of the transport between the two, never a guest's


def bits(*numbers):
    return sum(1 << n for n in numbers)


def net_spec(features, *more):
    """The spec string that lists exactly these net features."""
    names = {**TRANSPORT_NAMES, **NET_NAMES}
    words = [f"{names[n]}=on" for n in range(64) if (features & ~VHOST_BITS) >> n & 1]
    return ",".join(["device=net", *words, *more])


def header(request, flags, size):
    return HEADER.pack(request, flags, size)


def message(request, payload=b"", flags=REQUEST):
    return header(request, flags, len(payload)) + payload


def reply(request, payload=b"", flags=REPLY):
    return message(request, payload, flags)


def u64(value):
    return struct.pack("=Q", value)


def state(index, num=0):
    return struct.pack("=II", index, num)


def ring_addr(index, base=0x7f0000000000, flags=0):
    return struct.pack("=IIQQQQ", index, flags, base, base + 0x2000, base + 0x1000, 0)


def region(number, size=0x1000, offset=0):
    """One memory region; regions of different numbers do not overlap."""
    return struct.pack("=QQQQ", number << 24, size, 0x7f0000000000 + (number << 24), offset)


def mem_table(count):
    return struct.pack("=II", count, 0) + b"".join(region(n) for n in range(count))


def single_region(number):
    return u64(0) + region(number)


def log_base(size=0x1000, offset=0):
    return struct.pack("=QQ", size, offset)


def config(offset, size, data=None, flags=0):
    """A configuration message; data None fills `size` zero bytes."""
    data = bytes(size) if data is None else data
    return struct.pack("=III", offset, size, flags) + data


def inflight(queues, queue_size=128, mmap_size=0x1000, offset=0):
    return struct.pack("=QQHHI", mmap_size, offset, queues, queue_size, 0)


def iotlb(iova, kind, size=0x1000):
    return struct.pack("=QQQBB6x", iova, size, 0x7f0000000000 + iova, 3, kind)


def notifier(index, size=0x1000, offset=0):
    return struct.pack("=QQQ", index, size, offset)


def shmem(length=0x1000):
    return struct.pack("=B7xQQQQ", 0, 0, 0, length, 1)


def identity(fd):
    """What stays the same when a descriptor crosses a socket. All eventfds share one inode."""
    stat = os.fstat(fd)
    extra = ""
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as info:
            extra = next((line for line in info if line.startswith("eventfd-id")), "")
    except OSError:
        pass
    return stat.st_dev, stat.st_ino, extra.strip()


# One row per request: a good payload, how many descriptors go with it, what the answer is.
# `answer` is None where the message has no answer of its own (only an ack, if asked for).
Row = namedtuple("Row", "id payload fds answer answer_fds")


def _row(request, payload=b"", fds=0, answer=None, answer_fds=0):
    return Row(request, payload, fds, answer, answer_fds)


ROWS = (
    _row(Front.GET_FEATURES, answer=u64(bits(30, 32))),
    _row(Front.SET_FEATURES, u64(bits(30, 32))),
    _row(Front.SET_OWNER),
    _row(Front.RESET_OWNER),
    _row(Front.SET_MEM_TABLE, mem_table(2), 2),
    _row(Front.SET_LOG_BASE, log_base(), 1, answer=u64(0)),
    _row(Front.SET_LOG_FD, fds=1),
    _row(Front.SET_VRING_NUM, state(0, 256)),
    _row(Front.SET_VRING_ADDR, ring_addr(0)),
    _row(Front.SET_VRING_BASE, state(0, 0)),
    _row(Front.GET_VRING_BASE, state(0), answer=state(0, 5)),
    _row(Front.SET_VRING_KICK, u64(0), 1),
    _row(Front.SET_VRING_CALL, u64(1), 1),
    _row(Front.SET_VRING_ERR, u64(0), 1),
    _row(Front.GET_QUEUE_NUM, answer=u64(2)),
    _row(Front.SET_VRING_ENABLE, state(0, 1)),
    _row(Front.SEND_RARP, u64(0x563412005452)),
    _row(Front.NET_SET_MTU, u64(1500)),
    _row(Front.IOTLB_MSG, iotlb(0x1000, 2)),
    _row(Front.SET_VRING_ENDIAN, state(0, 0)),
    _row(Front.GET_CONFIG, config(0, 8), answer=config(0, 8, b"capacity")),
    _row(Front.SET_CONFIG, config(8, 4, b"abcd")),
    _row(Front.CREATE_CRYPTO_SESSION, bytes(632), answer=bytes(624) + u64(7)),
    _row(Front.CLOSE_CRYPTO_SESSION, u64(7)),
    _row(Front.GET_INFLIGHT_FD, inflight(2, mmap_size=0), answer=inflight(2), answer_fds=1),
    _row(Front.SET_INFLIGHT_FD, inflight(2), 1),
    _row(Front.RESET_DEVICE),
    _row(Front.VRING_KICK, state(0)),
    _row(Front.GET_MAX_MEM_SLOTS, answer=u64(32)),
    _row(Front.ADD_MEM_REG, single_region(3), 1),
    _row(Front.REM_MEM_REG, single_region(3)),
    _row(Front.SET_STATUS, u64(0xf)),
    _row(Front.GET_STATUS, answer=u64(0xf)),
    _row(Front.GET_SHARED_OBJECT, bytes(range(16)), answer=bytes(range(16)), answer_fds=1),
    _row(Front.SET_DEVICE_STATE_FD, state(0, 0), 1, answer=u64(NOFD)),
    _row(Front.CHECK_DEVICE_STATE, answer=u64(0)),
    _row(Front.GET_SHMEM_CONFIG, answer=struct.pack("=II", 1, 0) + u64(4096) * 256),
    _row(Front.GET_VRING_BASE_SKIP_DRAIN, state(0), answer=state(0, 5)),
)

CHANNEL_ROWS = (
    _row(Back.IOTLB_MSG, iotlb(0x1000, 1)),
    _row(Back.CONFIG_CHANGE_MSG),
    _row(Back.VRING_HOST_NOTIFIER_MSG, notifier(0), 1),
    _row(Back.VRING_HOST_NOTIFIER_MSG, notifier(NOFD)),
    _row(Back.VRING_CALL, state(0)),
    _row(Back.VRING_ERR, state(0)),
    _row(Back.SHARED_OBJECT_ADD, bytes(range(16))),
    _row(Back.SHARED_OBJECT_REMOVE, bytes(range(16))),
    _row(Back.SHARED_OBJECT_LOOKUP, bytes(range(16)), answer=u64(0), answer_fds=1),
    _row(Back.SHMEM_MAP, shmem(), 1),
    _row(Back.SHMEM_UNMAP, shmem()),
)
