# SPDX-License-Identifier: MIT
"""Rows C18, C19, C20 (main socket), C24: order, full sockets, peers that do not answer."""
import os
import select
import socket
import threading
import time

import wire
from case import DPDK, Offer, accept
from harness import case
from peers import SLOW, check
from wire import Front, bits, u64

FEATURES = u64(bits(30, 32))


@case({"dpdk": {"protocol": 0x10cbf, "shown": 0x10cb7},
       "with_dependents": {"protocol": 0x4cbf, "shown": 0x0cb7}})
def C18_reply_ack_withheld(t, protocol, shown):
    """Some QEMU versions wait for an ack of a message that they did not send: a profile can keep
    REPLY_ACK from them, and what depends on it (INBAND_NOTIFICATIONS) goes with it."""
    t.start("host,protocol.reply_ack=off")
    offer = Offer(bits(30, 32), protocol)
    front, back = t.pair(offer)
    t.negotiate(front, back, offer, shown=Offer(offer.features, shown))
    t.tell(front, back, Front.SET_MEM_TABLE, wire.mem_table(1), [t.memfd()])
    t.works(front, back, offer.features)


@case()
def C18_iommu_goes_with_reply_ack(t):
    """ACCESS_PLATFORM needs REPLY_ACK and BACKEND_REQ."""
    t.start("host,protocol.reply_ack=off")
    offer = Offer(bits(30, 32, 33), 0x10cbf)
    front, back = t.pair(offer)
    t.ask(front, back, Front.GET_FEATURES, answer=u64(offer.features), sees=FEATURES)


@case(repeat=0)
def C18_no_ack_invented(t):
    """need_reply that was not earned: vushim neither answers it nor adds or removes the bit."""
    t.start("host,protocol.reply_ack=off")
    offer = Offer(bits(30, 32), 0x10cbf)
    front, back = t.pair(offer)
    t.negotiate(front, back, offer, shown=Offer(offer.features, 0x10cb7))
    front.send(Front.SET_VRING_NUM, wire.state(0, 256), wire.NEED_REPLY)
    back.expect(Front.SET_VRING_NUM, wire.NEED_REPLY)
    front.quiet(0.2)
    t.works(front, back, offer.features)


@case({"list": {"profile": "device=net,version_1=on", "offer": DPDK},
       "changed_host": {"profile": "host,mq=off", "offer": DPDK},
       "memory_slots": {"profile": "device=net,version_1=on",
                        "offer": Offer(0xd7c66ffcb, 0x18cbf)},
       "no_protocol_bit": {"profile": "device=net,version_1=on", "offer": Offer(bits(32), 0)}})
def C19_own_questions_first(t, profile, offer):
    """vushim asks a new back-end itself before anything of the front-end's reaches it; what the
    front-end sent meanwhile waits and keeps its order."""
    t.start(profile)
    front = t.front()
    front.send(Front.GET_FEATURES)
    front.send(Front.SET_OWNER)
    back = t.back(offer)
    t.links.append((front, back))
    back.expect(Front.GET_FEATURES)
    back.expect(Front.SET_OWNER)
    back.answer(Front.GET_FEATURES, u64(bits(32)))
    front.expect(Front.GET_FEATURES, payload=u64(bits(32)))


@case()
def C19_host_says_nothing_itself(t):
    """With plain `host` the back-end hears only the front-end."""
    t.start("host")
    front, back = t.pair()
    back.quiet(0.1)
    t.works(front, back)


@case(repeat=0)
def C19_stuck_back_end_named(t):
    """A back-end that never answers vushim's own question is named, with the question."""
    shim = t.start("host,mq=off", extra=("--answer-within", "0.3"))
    since = shim.mark()
    front = t.front()
    back = t.back()
    back.expect(Front.GET_FEATURES, own=True)
    shim.said(r"back.*GET_FEATURES", since)
    front.close()
    back.ended()


@case(repeat=0)
def C20_full_output_stops_its_input_only(t):
    """The back-end does not read: its answers still get through, and when it reads again nothing
    is missing. What the front-end may still send is bounded."""
    t.start()
    front, back = t.pair()
    front.send(Front.GET_FEATURES)
    back.expect(Front.GET_FEATURES)
    body = bytes(2048)
    count = 0
    while writable(front) and count < 5000:
        front.send(1000 + count, body)
        count += 1
    check(count < 5000, "vushim takes messages without end for a back-end that does not read")
    back.answer(Front.GET_FEATURES, FEATURES)
    front.expect(Front.GET_FEATURES, payload=FEATURES, patience=1.0 * SLOW)
    for number in range(count):
        back.expect(1000 + number)
    t.works(front, back)


def writable(peer, patience=0.3):
    poll = select.poll()
    poll.register(peer.sock, select.POLLOUT)
    return bool(poll.poll(patience * 1000))


@case(repeat=0)
def C20_front_end_leaves_when_full(t):
    """The front-end sends much and leaves, the back-end reads late: whole messages, all of them."""
    t.start()
    front, back = t.pair()
    body = bytes(2048)
    count = 0
    while writable(front, 0.1) and count < 5000:
        front.send(1000 + count, body)
        count += 1
    front.close()
    time.sleep(0.1)
    for number in range(count):
        back.expect(1000 + number)
    back.ended()


@case(repeat=0, slow=True)
def C20_both_directions_full(t):
    """Both peers write without reading for a while; nothing locks up and nothing is lost."""
    t.start()
    front, back = t.pair()
    rounds = 3000

    def ask():
        for _ in range(rounds):
            front.send(Front.GET_FEATURES)

    def answer():
        for _ in range(rounds):
            back.expect(Front.GET_FEATURES)
            back.answer(Front.GET_FEATURES, FEATURES)

    threads = [threading.Thread(target=f, daemon=True) for f in (ask, answer)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)                         # by now every stream is full
    for _ in range(rounds):
        front.expect(Front.GET_FEATURES, payload=FEATURES)
    for thread in threads:
        thread.join()


@case(repeat=0)
def C20_many_requests_outstanding(t):
    """A front-end that asks far ahead gets its answers in order, whatever vushim takes at once."""
    t.start()
    front, back = t.pair()
    rounds = 500

    def ask():
        for number in range(rounds):
            front.send(Front.GET_VRING_BASE, wire.state(number))

    def answer():
        while len(back.sent) < rounds:
            batch = [back.expect(Front.GET_VRING_BASE) for _ in range(20)]
            for message in batch:
                back.answer(Front.GET_VRING_BASE, message.payload)

    threads = [threading.Thread(target=f, daemon=True) for f in (ask, answer)]
    for thread in threads:
        thread.start()
    for number in range(rounds):
        front.expect(Front.GET_VRING_BASE, payload=wire.state(number))
    for thread in threads:
        thread.join()


@case(repeat=0, slow=True)
def C24_back_end_does_not_accept(t):
    """A back-end whose backlog is full: vushim tries on, without blocking and without spinning,
    and serves the front-end as soon as there is room."""
    shim = t.start()
    listener = t.ends["back"][2]
    listener.listen(0)
    fillers = fill(listener.getsockname())
    front = t.front()
    front.send(Front.GET_FEATURES)
    before = shim.cpu()
    front.quiet(0.6)
    check(shim.cpu() - before < 0.3, "vushim spins while the back-end does not accept")
    for _ in fillers:
        accept(listener).close()
    back = t.back()
    t.links.append((front, back))
    back.expect(Front.GET_FEATURES)
    back.answer(Front.GET_FEATURES, FEATURES)
    front.expect(Front.GET_FEATURES, payload=FEATURES)
    for filler in fillers:
        filler.close()


def fill(path):
    """Connections until the next one would wait."""
    fillers = []
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(path)
            fillers.append(sock)
        except BlockingIOError:
            sock.close()
            return fillers


@case(repeat=0)
def C24_accepted_by_the_kernel_only(t):
    """connect() works before anybody accepts: the front-end simply waits, and may leave again."""
    t.start()
    front = t.front()
    front.send(Front.GET_FEATURES)
    front.quiet(0.2)
    front.close()
    second = t.front()
    second.send(Front.GET_FEATURES)
    back = t.back()
    served = back.next()
    check(served is None or served.id == Front.GET_FEATURES, f"unexpected {served}")
    if not back.gone:
        back.drain()
    back.close()
    t.peers.remove(back)
    back = t.back()
    back.expect(Front.GET_FEATURES)
    back.answer(Front.GET_FEATURES, FEATURES)
    second.expect(Front.GET_FEATURES, payload=FEATURES)


@case(repeat=0)
def C24_back_end_disappears_in_the_backlog(t):
    """The listener closes with vushim's connection in its queue: an end like any other."""
    t.start()
    listener = t.ends["back"][2]
    path = listener.getsockname()
    front = t.front()
    front.send(Front.GET_FEATURES, lost=True)
    front.quiet(0.1)
    listener.close()
    os.unlink(path)
    front.ended()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(4)
    t.shims.update({key: (shim, {**ends, "back": ("connect", "", listener)})
                    for key, (shim, ends) in t.shims.items()})
    t.ends["back"] = ("connect", "", listener)
    t.life()
