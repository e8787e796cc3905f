# SPDX-License-Identifier: MIT
"""Whole sessions as real front-ends hold them, through `host` and through a profile.

What a policy must never do is refuse what a real front-end says. The orders are those that QEMU,
DPDK's virtio-user, cloud-hypervisor and user-mode Linux were seen to use.
"""
import socket
import struct

import wire
from case import Offer
from harness import case
from wire import Back, Front, Proto, bits, u64

BLK = Offer(0x175007e46, 0x8f2b, queues=1, slots=32)
NET = Offer(0xd7c66e7cb, 0x10cbf, queues=128)
FS = Offer(0x175000000, 0x8c2b, queues=2, slots=32)
CONFIG = struct.pack("=QII", 2048, 0, 254).ljust(60, b"\0")

PROFILES = {
    "host": ("host", None),
    "blk": ("device=blk,seg_max=on,blk_size=on,flush=on,topology=on,config-wce=on,discard=on,"
            "write-zeroes=on,indirect_desc=on,event_idx=on,version_1=on,max_ring=256,queues=1,"
            "mem_slots=32,config.seg_max=254", BLK),
    "net": ("device=net,csum=on,guest_csum=on,mrg_rxbuf=on,ctrl_vq=on,mq=on,indirect_desc=on,"
            "event_idx=on,version_1=on,max_ring=1024,queues=2", NET),
    "fs": ("device=fs,indirect_desc=on,event_idx=on,version_1=on,queues=2", FS),
    "changed": ("host,max_ring=1024", None),
}
# What the profiles above leave of the offers.
SHOWN = {
    "blk": Offer(bits(2, 6, 9, 10, 11, 13, 14, 26, 28, 29, 30, 32), 0x8f2b, 1, 32),
    "net": Offer(bits(0, 1, 15, 17, 22, 26, 28, 29, 30, 32), 0x10cbf, 2),
    "fs": Offer(bits(26, 28, 29, 30, 32), 0x8c2b, 2, 32),
}


class Session:
    """A front-end's habits over one pair of peers."""

    def __init__(self, t, kind, offer):
        self.t, self.offer = t, offer
        profile, _ = PROFILES[kind]
        t.start(profile)
        self.shown = SHOWN.get(kind, offer)
        self.front, self.back = t.pair(offer._replace(config=CONFIG) if kind != "host" else None)
        self.all_ack = False

    def tell(self, request, payload=b"", fds=0, ack=False, fd=None):
        own = [fd] if fd is not None else [self.t.memfd() for _ in range(fds)]
        flags = wire.NEED_REPLY if ack or self.all_ack else wire.REQUEST
        self.t.tell(self.front, self.back, request, payload, own, flags)

    def ask(self, request, answer, payload=b"", sees=None):
        flags = wire.NEED_REPLY if self.all_ack else wire.REQUEST
        self.t.ask(self.front, self.back, request, payload, answer, sees=sees, flags=flags)

    def features(self):
        self.ask(Front.GET_FEATURES, u64(self.offer.features), sees=u64(self.shown.features))

    def offers(self):
        self.features()
        self.ask(Front.GET_PROTOCOL_FEATURES, u64(self.offer.protocol),
                 sees=u64(self.shown.protocol))
        self.tell(Front.SET_PROTOCOL_FEATURES, u64(self.shown.protocol))
        if self.offer.protocol & 1:
            self.ask(Front.GET_QUEUE_NUM, u64(self.offer.queues), sees=u64(self.shown.queues))
        if self.offer.protocol >> Proto.CONFIGURE_MEM_SLOTS & 1:
            self.ask(Front.GET_MAX_MEM_SLOTS, u64(self.offer.slots), sees=u64(self.shown.slots))

    def ring(self, number, size=256):
        self.tell(Front.SET_VRING_NUM, wire.state(number, size))
        self.tell(Front.SET_VRING_BASE, wire.state(number, 0))
        self.tell(Front.SET_VRING_ADDR, wire.ring_addr(number))
        self.tell(Front.SET_VRING_KICK, u64(number), fd=self.t.eventfd())
        self.tell(Front.SET_VRING_CALL, u64(number), fd=self.t.eventfd())

    def memory(self):
        if self.offer.protocol >> Proto.CONFIGURE_MEM_SLOTS & 1:
            self.tell(Front.ADD_MEM_REG, wire.single_region(0), 1, ack=True)
        else:
            self.tell(Front.SET_MEM_TABLE, wire.mem_table(2), 2, ack=True)

    def stop(self, rings):
        for number in range(rings):
            self.tell(Front.SET_VRING_ENABLE, wire.state(number, 0))
        for number in range(rings):
            self.ask(Front.GET_VRING_BASE, wire.state(number, 77), wire.state(number))


def qemu_connect(s, rings):
    s.offers()
    to_front, to_back = s.t.channel(s.front, s.back, wire.NEED_REPLY)
    s.tell(Front.SET_OWNER)
    s.features()
    for number in range(rings):
        s.tell(Front.SET_VRING_CALL, u64(number), fd=s.t.eventfd())
        s.tell(Front.SET_VRING_ERR, u64(number), fd=s.t.eventfd())
    return to_front, to_back


def qemu_blk(s):
    """Firmware first, with few features, then the kernel, then a reset and a migration."""
    to_front, to_back = qemu_connect(s, 1)
    s.ask(Front.GET_CONFIG, wire.config(0, 57, CONFIG[:57]), wire.config(0, 57))
    for features in (bits(2, 6, 30, 32), bits(2, 6, 9, 28, 29, 30, 32)):
        s.tell(Front.SET_FEATURES, u64(features))
        s.tell(Front.SET_VRING_CALL, u64(0), fd=s.t.eventfd())
        s.tell(Front.SET_FEATURES, u64(features))
        if features == bits(2, 6, 30, 32):
            s.memory()
        s.ring(0, 128)
        s.tell(Front.SET_VRING_ENABLE, wire.state(0, 1))
        to_back.send(Back.CONFIG_CHANGE_MSG)
        to_front.expect(Back.CONFIG_CHANGE_MSG)
        s.ask(Front.GET_CONFIG, wire.config(0, 57, CONFIG[:57]), wire.config(0, 57))
        s.stop(1)
    s.ring(0, 128)
    s.tell(Front.SET_VRING_ENABLE, wire.state(0, 1))
    s.t.ask(s.front, s.back, Front.SET_LOG_BASE, wire.log_base(), u64(0), fds=[s.t.memfd()])
    s.tell(Front.SET_FEATURES, u64(bits(2, 6, 9, 26, 28, 29, 30, 32)), ack=True)
    s.tell(Front.SET_VRING_ADDR, wire.ring_addr(0, flags=1), ack=True)
    s.stop(1)


def qemu_net(s):
    """Enabled before any features, twice, with status and multiqueue."""
    qemu_connect(s, 4)
    for number in (0, 1, 0, 1, 2, 3):
        s.tell(Front.SET_VRING_ENABLE, wire.state(number, 1))
    for _ in range(2):
        s.tell(Front.SET_FEATURES, u64(bits(0, 1, 15, 17, 22, 28, 29, 30, 32)))
        s.ask(Front.GET_STATUS, u64(0))
        s.tell(Front.SET_STATUS, u64(8))
        s.memory()
        for number in range(4):
            s.ring(number)
        s.ask(Front.GET_STATUS, u64(8))
        s.tell(Front.SET_STATUS, u64(0xf))
        s.tell(Front.SET_STATUS, u64(0))
        s.stop(4)
    s.t.ask(s.front, s.back, Front.SET_LOG_BASE, wire.log_base(), b"", fds=[s.t.memfd()])
    s.tell(Front.SET_FEATURES, u64(bits(0, 1, 15, 17, 22, 26, 28, 29, 30, 32)), ack=True)
    s.tell(Front.NET_SET_MTU, u64(1500), ack=True)
    s.tell(Front.SEND_RARP, u64(0x563412005452))


def qemu_fs(s):
    """Memory by slots, the channel in use, reset without another memory message."""
    to_front, to_back = qemu_connect(s, 2)
    s.memory()
    for _ in range(2):
        s.tell(Front.SET_FEATURES, u64(bits(28, 29, 30, 32)))
        for number in range(2):
            s.ring(number, 128)
        for number in range(2):
            s.tell(Front.SET_VRING_ENABLE, wire.state(number, 1))
        to_back.send(Back.CONFIG_CHANGE_MSG, flags=wire.NEED_REPLY)
        to_front.expect(Back.CONFIG_CHANGE_MSG)
        to_front.answer(Back.CONFIG_CHANGE_MSG, u64(0))
        to_back.expect(Back.CONFIG_CHANGE_MSG, wire.REPLY)
        s.stop(2)
    s.tell(Front.REM_MEM_REG, wire.single_region(0), ack=True)


def cloud_hypervisor(s):
    """need_reply on every message once acknowledged, and the channel last."""
    s.tell(Front.SET_OWNER)
    s.offers()
    s.tell(Front.SET_FEATURES, u64(bits(28, 29, 30, 32)))
    s.all_ack = True
    s.memory()
    for number in range(2):
        s.tell(Front.SET_VRING_NUM, wire.state(number, 128))
    for number in range(2):
        s.tell(Front.SET_VRING_ADDR, wire.ring_addr(number))
        s.tell(Front.SET_VRING_BASE, wire.state(number, 0))
        s.tell(Front.SET_VRING_CALL, u64(number), fd=s.t.eventfd())
        s.tell(Front.SET_VRING_KICK, u64(number), fd=s.t.eventfd())
        s.tell(Front.SET_VRING_ENABLE, wire.state(number, 1))
    s.t.channel(s.front, s.back, wire.NEED_REPLY)
    s.features()
    s.stop(2)


def virtio_user(s):
    """Calls for all rings before the features; the table again at each memory event."""
    s.tell(Front.SET_OWNER)
    s.features()
    s.ask(Front.GET_PROTOCOL_FEATURES, u64(s.offer.protocol), sees=u64(s.shown.protocol))
    s.tell(Front.SET_PROTOCOL_FEATURES, u64(s.shown.protocol & bits(0, 3, 16)))
    for number in range(4):
        s.tell(Front.SET_VRING_CALL, u64(number), fd=s.t.eventfd())
    s.tell(Front.SET_FEATURES, u64(bits(0, 15, 30, 32)))
    for _ in range(3):
        for number in range(4):
            s.tell(Front.SET_VRING_ENABLE, wire.state(number, 0))
        s.tell(Front.SET_MEM_TABLE, wire.mem_table(2), 2, ack=True)
        for number in range(4):
            s.tell(Front.SET_VRING_NUM, wire.state(number, 256))
            s.tell(Front.SET_VRING_BASE, wire.state(number, 0))
            s.tell(Front.SET_VRING_ADDR, wire.ring_addr(number))
            s.tell(Front.SET_VRING_KICK, u64(number), fd=s.t.eventfd())
            s.tell(Front.SET_VRING_ENABLE, wire.state(number, 1))


def user_mode_linux(s):
    """need_reply on SET_PROTOCOL_FEATURES itself, whose ack decides about acks."""
    s.tell(Front.SET_OWNER)
    s.features()
    s.ask(Front.GET_PROTOCOL_FEATURES, u64(s.offer.protocol), sees=u64(s.shown.protocol))
    s.tell(Front.SET_PROTOCOL_FEATURES, u64(s.shown.protocol & bits(0, 3, 5, 9)), ack=True)
    s.tell(Front.SET_BACKEND_REQ_FD, fd=s.t.pipe()[1], ack=True)
    s.tell(Front.SET_FEATURES, u64(bits(28, 30, 32)), ack=True)
    # At its full size, whatever the count is.
    s.tell(Front.SET_MEM_TABLE, wire.mem_table(1).ljust(8 + 2 * 32, b"\0"), 1, ack=True)


SESSIONS = {
    "qemu_blk": (qemu_blk, "blk", BLK), "qemu_net": (qemu_net, "net", NET),
    "qemu_fs": (qemu_fs, "fs", FS), "cloud_hypervisor": (cloud_hypervisor, "fs", FS),
    "virtio_user": (virtio_user, "net", NET), "user_mode_linux": (user_mode_linux, "blk", BLK),
}


@case({f"{name}_{kind}": {"name": name, "kind": kind}
       for name, (_, profile, _) in SESSIONS.items() for kind in ("host", profile, "changed")})
def session(t, name, kind):
    """A real front-end's session; through a profile nothing of it is refused."""
    play, _, offer = SESSIONS[name]
    s = Session(t, kind, offer)
    if kind == "changed":                # `host` with one change: what vushim knows is shown
        s.shown = offer
    play(s)


@case({"host": {"profile": "host"}, "pinned": {"profile": "host,max_ring=256"}})
def C43_postcopy_exchange(t, profile):
    """In postcopy the memory table becomes an exchange of three: its answer has its own size and
    the back-end's addresses, and an empty table without an answer ends it."""
    t.start(profile)
    offer = Offer(bits(30, 32), bits(0, 3, 8))
    front, back = t.pair(offer if profile != "host" else None)
    t.negotiate(front, back, offer)
    t.ask(front, back, Front.POSTCOPY_ADVISE, answer=b"", answer_fds=[t.memfd()])
    listening = wire.NEED_REPLY
    front.send(Front.POSTCOPY_LISTEN, flags=listening)
    back.expect(Front.POSTCOPY_LISTEN, listening)
    back.answer(Front.POSTCOPY_LISTEN, u64(0))
    front.expect(Front.POSTCOPY_LISTEN, payload=u64(0))
    moved = wire.mem_table(2).replace(b"\x7f", b"\x6e")
    t.ask(front, back, Front.SET_MEM_TABLE, wire.mem_table(2), moved,
          fds=[t.memfd(), t.memfd()])
    t.tell(front, back, Front.SET_MEM_TABLE, bytes(8))
    t.works(front, back)
    front.send(Front.POSTCOPY_END, flags=wire.NEED_REPLY)
    back.expect(Front.POSTCOPY_END)
    back.answer(Front.POSTCOPY_END, u64(0))
    front.expect(Front.POSTCOPY_END, payload=u64(0))
    t.tell(front, back, Front.SET_MEM_TABLE, wire.mem_table(1), [t.memfd()], wire.NEED_REPLY)
    t.works(front, back)


@case({"asked": {"flags": wire.NEED_REPLY}, "unasked": {"flags": wire.REQUEST}})
def postcopy_answered_unasked(t, flags):
    """libvhost-user answers POSTCOPY_LISTEN and _END whether asked or not; rust-vmm only if."""
    t.start()
    front, back = t.pair()
    t.negotiate(front, back)
    for request in (Front.POSTCOPY_LISTEN, Front.POSTCOPY_END):
        front.send(request, flags=flags)
        back.expect(request, flags)
        back.answer(request, u64(0))
        front.expect(request, wire.REPLY, u64(0))
    t.works(front, back)


@case({str(size): {"size": size} for size in (0, 8, 16)})
def log_base_answers(t, size):
    """SET_LOG_BASE is answered with 0 bytes by DPDK, 8 by libvhost-user, 16 by rust-vmm, and what
    is in them means nothing."""
    t.start("host,max_ring=256")
    offer = Offer(bits(26, 30, 32), bits(0, 1, 3))
    front, back = t.pair(offer)
    t.negotiate(front, back, offer)
    for flags in (wire.REQUEST, wire.NEED_REPLY):
        t.ask(front, back, Front.SET_LOG_BASE, wire.log_base(), b"\x01\xff" * (size // 2),
              fds=[t.memfd()], flags=flags)
    t.works(front, back, offer.features)


@case()
def log_base_without_shared_memory(t):
    """Without LOG_SHMFD there is no descriptor and no answer; rust-vmm then sends one u64."""
    t.start()
    front, back = t.pair()
    t.negotiate(front, back, Offer(bits(26, 30, 32), bits(0, 3)))
    t.tell(front, back, Front.SET_LOG_BASE, wire.log_base())
    t.tell(front, back, Front.SET_LOG_BASE, u64(0x1000), flags=wire.NEED_REPLY)
    t.works(front, back)


@case()
def xen_regions(t):
    """With XEN_MMAP a memory region has 40 bytes."""
    t.start()
    front, back = t.pair()
    t.negotiate(front, back, Offer(bits(30, 32), bits(0, 3, 15, 17)))
    table = struct.pack("=II", 2, 0) + (wire.region(0) + bytes(8)) + (wire.region(1) + bytes(8))
    t.tell(front, back, Front.SET_MEM_TABLE, table, [t.memfd(), t.memfd()], wire.NEED_REPLY)
    t.tell(front, back, Front.ADD_MEM_REG, wire.single_region(2) + bytes(8), [t.memfd()])
    t.tell(front, back, Front.REM_MEM_REG, wire.single_region(2) + bytes(8))
    t.works(front, back)


@case()
def peculiar_sizes(t):
    """Sizes that real peers use although no table of the specification has them."""
    t.start("host,max_ring=1024")
    offer = Offer(bits(30, 32), bits(0, 3, 7, 9, 18))
    front, back = t.pair(offer)
    t.negotiate(front, back, offer)
    spdk = wire.config(0, 60, bytes(256))               # always 256 bytes behind the head
    t.ask(front, back, Front.GET_CONFIG, spdk, spdk)
    t.ask(front, back, Front.GET_SHARED_OBJECT, b"", b"")          # QEMU forgets the uuid
    t.ask(front, back, Front.CREATE_CRYPTO_SESSION, bytes(1072), bytes(1072))
    t.tell(front, back, Front.SET_MEM_TABLE, wire.mem_table(32), [t.memfd() for _ in range(32)])


@case(repeat=0)
def empty_control_message(t):
    """virtio-user attaches a control message of no descriptors to everything."""
    t.start()
    front, back = t.pair()
    empty = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"")]
    for request, payload in ((Front.SET_OWNER, b""), (Front.SET_VRING_NUM, wire.state(0, 256)),
                             (Front.SET_VRING_KICK, u64(wire.NOFD))):
        front.sock.sendmsg([wire.message(request, payload)], empty)
        front.note(request, payload)
        back.expect(request, wire.REQUEST, payload, fds=0)
