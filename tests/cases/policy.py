# SPDX-License-Identifier: MIT
"""Rows C33-C38: what the front-end is shown, what it may acknowledge, which back-ends serve."""
import wire
from case import DPDK, Offer
from harness import case
from peers import check
from wire import Front, Proto, bits, u64

# Offers of one family over ten years: DPDK's rte_vhost, and OVS on top of it.
DRIFT = {
    "dpdk_16_11": 0x154669983, "dpdk_17_05": 0x15466998b, "dpdk_18_02": 0x17c66ffcb,
    "dpdk_18_08": 0x97c66ffcb, "dpdk_18_11": 0xd7c66ffcb, "ovs_2_10": 0xd7c66e7ca,
    "ovs_2_13": 0xd7c66a7ca, "ovs_3_2": 0xd7c66a7cb,
}


def guest_bits(features):
    return features & ~wire.VHOST_BITS


def names_of(features):
    names = {**wire.TRANSPORT_NAMES, **wire.NET_NAMES}
    return [names[n] for n in range(64) if features >> n & 1]


def refused_life(t, offer, *words):
    """A back-end that cannot serve: no SET_FEATURES reaches it, the front-end gets no answer, the
    log names what is missing."""
    t.spend()
    shim = t.shim
    since = shim.mark()
    front = t.front()
    front.send(Front.GET_FEATURES, lost=True)
    back = t.back()
    if t.admit(back, offer):
        back.ended()
    front.ended()
    line = shim.said(r"\[INCOMPATIBLE\]", since)
    for word in words:
        check(word in line, f"'{word}' is not in: {line}")
    for peer in (front, back):
        peer.close()
    return line


@case(repeat=1)
def C33_back_end_lacks_bits(t):
    """An upgraded back-end lacks bits of the profile: refused before SET_FEATURES, each bit named;
    a later one that has them is taken."""
    t.start(wire.net_spec(0xd7c66ffcb))
    for _ in range(3):
        line = refused_life(t, Offer(0xd7c669fcb, 0x10cbf), "host_ecn", "host_ufo")
        check(line.count("host_ufo") == 1 and "csum" not in line, f"not each once: {line}")
    good(t, DPDK, guest_bits(0xd7c66ffcb) | wire.VHOST_BITS)


def good(t, offer, shown):
    """A life in which the front-end sees exactly these features."""
    front, back = t.pair(offer)
    t.ask(front, back, Front.GET_FEATURES, answer=u64(offer.features), sees=u64(shown))
    t.tell(front, back, Front.SET_FEATURES, u64(shown))
    t.ask(front, back, Front.GET_FEATURES, answer=u64(offer.features), sees=u64(shown))
    t.part(front, back)


@case({"surplus": {"profile": 0xd7c66a7ca, "offer": 0xd7c66a7cb},
       "equal": {"profile": 0xd7c66a7cb, "offer": 0xd7c66a7cb},
       "high_bits": {"profile": 0x179bfffe7, "offer": 0x1c0010179bfffe7},
       "nothing": {"profile": 0, "offer": 0xd7c66ffcb}})
def C34_exactly_the_profile(t, profile, offer):
    """The answer is the profile's bits when the offer holds them: surplus is hidden, nothing is
    added."""
    t.start(wire.net_spec(profile, "max_ring=256" if profile else "version_1=off"))
    good(t, Offer(offer, 0x10cbf), guest_bits(profile) | offer & wire.VHOST_BITS)


@case()
def C34_missing_bit(t):
    """A required bit that is missing is an error before the front-end is served."""
    t.start(wire.net_spec(0xd7c66e7ca))
    refused_life(t, Offer(0xd7c66a7ca, 0x10cbf), "host_ufo")


@case()
def C34_every_point_named(t):
    """All that is missing is said at once: features, protocol features, queues, slots."""
    t.start("device=net,version_1=on,mrg_rxbuf=on,packed=on,queues=8,mem_slots=64,"
            "protocol.inflight_shmfd=on")
    refused_life(t, Offer(bits(30, 32), bits(Proto.MQ, Proto.CONFIGURE_MEM_SLOTS), 4, 32),
                 "mrg_rxbuf", "packed", "inflight_shmfd", "queues", "mem_slots", "64", "32")


@case({name: {"profile": features} for name, features in DRIFT.items()}, repeat=0)
def C34_drift(t, profile):
    """This profile on each back-end of the family: served exactly when its bits are all there."""
    t.start(wire.net_spec(profile))
    for offer in DRIFT.values():
        missing = guest_bits(profile) & ~offer
        if missing:
            refused_life(t, Offer(offer, 0x10cbf), *names_of(missing))
        else:
            good(t, Offer(offer, 0x10cbf), guest_bits(profile) | offer & wire.VHOST_BITS)


@case({"host": {"profile": "host", "shown": 0x8000000000080cbf},
       "pinned": {"profile": "device=net,version_1=on", "shown": 0x80cbf},
       "changed": {"profile": "host,protocol.log_shmfd=off", "shown": 0x80cbd},
       "dependents": {"profile": "host,protocol.backend_req=off", "shown": 0x8009f},
       "everything": {"profile": "device=net,version_1=on", "offer": 0xffffffffffffffff,
                      "shown": 0xdbfff}})
def C35_protocol_features(t, profile, shown, offer=0x8000000000080cbf):
    """Protocol features unknown to vushim or outside the profile are hidden, dependents too."""
    t.start(profile)
    offer = Offer(bits(30, 32), offer)
    front, back = t.pair(offer if profile != "host" else None)
    t.ask(front, back, Front.GET_PROTOCOL_FEATURES, answer=u64(offer.protocol), sees=u64(shown))
    t.tell(front, back, Front.SET_PROTOCOL_FEATURES, u64(shown))


@case({"status": {"value": bits(16), "word": "status"},
       "unknown": {"value": bits(63), "word": "63"},
       "hidden": {"value": bits(1), "word": "log_shmfd"}})
def C35_more_than_shown(t, value, word):
    """A protocol feature acknowledged that was not shown is refused by name."""
    t.start("host,protocol.log_shmfd=off")
    offer = Offer(bits(30, 32), bits(0, 1, 3, 63))
    refused_by_close(t, offer, Front.SET_PROTOCOL_FEATURES, u64(bits(0) | value), word)


def refused_by_close(t, offer, request, payload, *words, fds=0, before=None):
    """A request that policy refuses and that asked for no ack: the connection ends, the back-end
    never sees it, the log names the message and more."""
    t.spend()
    shim = t.shim
    front, back = t.pair(offer)
    if before:
        before(front, back)
    since = shim.mark()
    front.send(request, payload, fds=[t.memfd() for _ in range(fds)], lost=True)
    front.ended()
    back.ended()
    line = shim.said(r"front.*\[REFUSED\]", since)
    for word in (request.name, *words):
        check(word in line, f"'{word}' is not in: {line}")
    for peer in (front, back):
        peer.close()


@case({"not_offered": {"value": bits(27), "word": "any_layout"},
       "packed": {"value": bits(34), "word": "packed"},
       "unnamed": {"value": bits(50), "word": "50"},
       "several": {"value": bits(27, 34), "word": "any_layout, packed"}})
def C36_features_beyond_the_offer(t, value, word):
    """A front-end that acknowledges more than it was shown is refused before the back-end."""
    t.start("host,device=net,mac=front")
    offer = Offer(bits(0, 1, 28, 30, 32), 0x10cbf)
    refused_by_close(t, offer, Front.SET_FEATURES, u64(bits(30, 32) | value), word)
    t.life(offer)


@case()
def C36_refused_with_an_ack(t):
    """Where an ack was asked for and REPLY_ACK is acknowledged, the refusal is an answer, and the
    session goes on."""
    shim = t.start("host,device=net,mac=front,queues=2,max_ring=256")
    offer = Offer(bits(0, 1, 30, 32), 0x10cbf, 4)
    front, back = t.pair(offer)
    t.negotiate(front, back, offer)
    for request, payload, fds, word in (
            (Front.SET_FEATURES, u64(bits(30, 32, 34)), 0, "packed"),
            (Front.SET_VRING_NUM, wire.state(0, 1024), 0, "256"),
            (Front.SET_VRING_ENABLE, wire.state(9, 1), 0, "9"),
            (Front.SET_VRING_KICK, u64(9), 1, "9")):
        since = shim.mark()
        front.send(request, payload, wire.NEED_REPLY, [t.eventfd()][:fds], lost=True)
        front.refusal(request)
        line = shim.said("REFUSED", since)
        check(request.name in line and word in line, f"'{word}' is not in: {line}")
    back.quiet(0.02)
    t.ask(front, back, Front.GET_FEATURES, answer=u64(offer.features))
    check("eventfd" not in str([v for k, v in shim.fds().items() if k not in shim.idle]),
          "the refused descriptor is still open")


@case()
def C36_refusal_keeps_its_place(t):
    """The failure ack waits behind the answers to earlier requests."""
    t.start("host,max_ring=256")
    offer = Offer(bits(30, 32), 0x10cbf)
    front, back = t.pair(offer)
    t.negotiate(front, back, offer)
    front.send(Front.GET_FEATURES)
    front.send(Front.SET_VRING_NUM, wire.state(0, 512), wire.NEED_REPLY, lost=True)
    front.send(Front.GET_QUEUE_NUM)
    back.expect(Front.GET_FEATURES)
    front.quiet(0.05)
    back.answer(Front.GET_FEATURES, u64(offer.features))
    front.expect(Front.GET_FEATURES)
    front.refusal(Front.SET_VRING_NUM)
    back.expect(Front.GET_QUEUE_NUM)
    back.answer(Front.GET_QUEUE_NUM, u64(2))
    front.expect(Front.GET_QUEUE_NUM)


@case()
def C36_front_ends_own_bit(t):
    """A bit that the front-end implements itself is removed on the way, and only that."""
    t.start("host,device=net,mac=front")
    offer = Offer(bits(0, 1, 30, 32), 0x10cbf)
    front, back = t.pair(offer)
    t.ask(front, back, Front.GET_FEATURES, answer=u64(offer.features))
    t.tell(front, back, Front.SET_FEATURES, u64(bits(0, 5, 30, 32)), becomes=u64(bits(0, 30, 32)))
    t.tell(front, back, Front.SET_FEATURES, u64(bits(0, 30, 32)))


@case({"listed": {"profile": "device=net,version_1=on,csum=on"},
       "changed": {"profile": "host,device=net,mq=off"}})
def C37_transport_bits_pass(t, profile):
    """Bits 26 and 30 pass both ways though no profile names them, and change in mid-session."""
    t.start(profile)
    offer = Offer(bits(0, 26, 30, 32), 0x10cbf)
    front, back = t.pair(offer)
    t.negotiate(front, back, offer)
    for value in (bits(0, 26, 30, 32), bits(0, 30, 32), bits(0, 32), bits(26, 32)):
        t.tell(front, back, Front.SET_FEATURES, u64(value))
    t.tell(front, back, Front.SET_VRING_ENABLE, wire.state(0, 1))


@case()
def C37_no_bit_added(t):
    """A back-end without bit 30: nobody adds it, and protocol features are not asked for."""
    t.start("device=net,version_1=on")
    offer = Offer(bits(0, 32), 0)
    front, back = t.pair(offer)
    t.ask(front, back, Front.GET_FEATURES, answer=u64(offer.features), sees=u64(bits(32)))
    t.tell(front, back, Front.SET_FEATURES, u64(bits(32)))


@case({"more": {"told": 128, "shown": 4}, "equal": {"told": 4, "shown": 4}})
def C38_queue_count(t, told, shown):
    """The pinned number of queues is shown, whatever more the back-end has."""
    t.start("host,device=net,queues=4")
    offer = Offer(bits(17, 22, 30, 32), 0x10cbf, told)
    front, back = t.pair(offer)
    t.ask(front, back, Front.GET_QUEUE_NUM, answer=u64(told), sees=u64(shown))


@case()
def C38_too_few_queues(t):
    """A back-end below the pinned number is refused by name."""
    t.start("host,device=net,queues=4")
    refused_life(t, Offer(bits(22, 30, 32), 0x10cbf, 2), "queues", "4", "2")


@case({"net": {"device": "net", "features": bits(17, 22, 30, 32), "shown": bits(17, 30, 32)},
       "blk": {"device": "blk", "features": bits(2, 12, 30, 32), "shown": bits(2, 30, 32)}},
      slow=True)
def C38_mq_goes_with_its_protocol_feature(t, device, features, shown):
    """Without the protocol feature MQ the virtio one is withheld."""
    for profile, protocol in (("protocol.mq=off", 0x10cbf), ("protocol.rarp=off", 0x10cbe)):
        t.start(f"host,device={device},{profile}")
        offer = Offer(features, protocol)
        front, back = t.pair(offer)
        t.ask(front, back, Front.GET_FEATURES, answer=u64(features), sees=u64(shown))
        t.part(front, back)


RING_MESSAGES = (
    (Front.SET_VRING_NUM, lambda ring: wire.state(ring, 128), 0),
    (Front.SET_VRING_ADDR, wire.ring_addr, 0),
    (Front.SET_VRING_BASE, wire.state, 0),
    (Front.SET_VRING_ENABLE, lambda ring: wire.state(ring, 1), 0),
    (Front.SET_VRING_KICK, u64, 1), (Front.SET_VRING_CALL, u64, 1), (Front.SET_VRING_ERR, u64, 1),
)


@case({"net_pairs": {"profile": "host,device=net,queues=4", "last": 7, "features": bits(30, 32)},
       "net_control": {"profile": "host,device=net,queues=4", "last": 8,
                       "features": bits(17, 22, 30, 32)},
       "blk": {"profile": "host,device=blk,queues=3", "last": 2, "features": bits(30, 32)},
       "scsi": {"profile": "host,device=scsi,queues=5", "last": 4, "features": bits(30, 32)}})
def C38_ring_index(t, profile, last, features):
    """Rings up to the pinned count pass, the next one is refused: pairs count twice for net, and
    the control ring comes behind them."""
    t.start(profile)
    offer = Offer(features, 0x10cbf)
    front, back = t.pair(offer)
    t.negotiate(front, back, offer)
    for request, payload, fds in RING_MESSAGES:
        t.tell(front, back, request, payload(last), [t.eventfd() for _ in range(fds)])
    t.ask(front, back, Front.GET_VRING_BASE, wire.state(last), wire.state(last, 3))
    t.part(front, back)
    for request, payload, fds in (*RING_MESSAGES, (Front.GET_VRING_BASE, wire.state, 0)):
        refused_by_close(t, offer, request, payload(last + 1), str(last + 1), fds=fds)


@case()
def C38_more_rings_without_mq(t):
    """Rings above 0 without the protocol feature MQ: vsock has three."""
    t.start("device=vsock,version_1=on,max_ring=256")
    offer = Offer(bits(30, 32), bits(Proto.REPLY_ACK), 0)
    front, back = t.pair(offer)
    t.negotiate(front, back, offer)
    for ring in range(3):
        t.tell(front, back, Front.SET_VRING_NUM, wire.state(ring, 128))
        t.tell(front, back, Front.SET_VRING_KICK, u64(ring), [t.eventfd()])


@case()
def gated_message(t):
    """A message of a feature that this device does not have is refused by name."""
    t.start("host,device=net,protocol.net_mtu=off")
    offer = Offer(bits(30, 32), 0x10cbf)
    refused_by_close(t, offer, Front.NET_SET_MTU, u64(9000), "net_mtu",
                     before=lambda f, b: t.negotiate(f, b, offer,
                                                     shown=Offer(offer.features, 0x10caf)))


@case()
def config_pin_needs_config(t):
    """Pinned configuration fields on a back-end without configuration space: refused by name."""
    t.start("host,device=blk,config.seg_max=126")
    refused_life(t, Offer(bits(30, 32), bits(0, 3)), "config")


@case()
def config_pin_written(t):
    """A pinned field written with another value is refused, with the same value it passes."""
    t.start("host,device=blk,config.seg_max=126")
    offer = Offer(bits(2, 30, 32), bits(0, 3, 9))
    front, back = t.pair(offer)
    t.negotiate(front, back, offer)
    t.tell(front, back, Front.SET_CONFIG, wire.config(12, 4, b"\x7e\0\0\0"))
    t.tell(front, back, Front.SET_CONFIG, wire.config(8, 4, b"abcd"))
    t.part(front, back)
    refused_by_close(t, offer, Front.SET_CONFIG, wire.config(12, 4, b"\x7f\0\0\0"), "seg_max")


@case(repeat=1)
def offer_shrinks_in_one_life(t):
    """A back-end that answers its second GET_FEATURES with less than the profile: incompatible,
    and the front-end is not shown it."""
    shim = t.start(wire.net_spec(bits(0, 32)))
    offer = Offer(bits(0, 30, 32), 0x10cbf)
    front, back = t.pair(offer)
    t.ask(front, back, Front.GET_FEATURES, answer=u64(offer.features))
    since = shim.mark()
    front.send(Front.GET_FEATURES)
    back.expect(Front.GET_FEATURES)
    back.answer(Front.GET_FEATURES, u64(bits(30, 32)), lost=True)
    front.ended()
    back.ended()
    check("csum" in shim.said(r"\[INCOMPATIBLE\]", since), "csum is not named")
