#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the first inputs of each fuzzer into corpus/. Inputs that fuzzing has found since lie beside
them; none of them is ever taken out."""

import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent
MAX_FDS = 0xff  # a piece with as many descriptors as the kernel sends


def write(fuzzer, name, data):
    folder = HERE / "corpus" / fuzzer
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def message(request, flags=1, body=b""):
    return struct.pack("=III", request, flags, len(body)) + body


def pieces(*parts, options=0):
    """Parts are (bytes, descriptors)."""
    out = bytes([options])
    for data, fds in parts:
        out += bytes([len(data), fds]) + data
    return out


def frame():
    u64 = struct.pack("=Q", 5)
    state = struct.pack("=II", 0, 256)
    table = struct.pack("=II", 2, 0) + bytes(64)
    write("frame", "question", pieces((message(1), 0)))
    write("frame", "features", pieces((message(2, 9, u64), 0), (message(8, 1, state), 0)))
    write("frame", "answer", pieces((message(1, 5, u64), 0), options=1))
    write("frame", "short-answer", pieces((message(1, 5) + message(1, 5), 0), options=1))
    write("frame", "cut", pieces((message(2, 1, u64)[:15], 1)))
    write("frame", "kick-in-pieces", pieces((message(12)[:5], 1), (message(12, 1, u64)[5:], 0)))
    write("frame", "table", pieces((message(5, 1, table), 2)))
    write("frame", "version", pieces((message(2, 2, u64), 1)))
    write("frame", "large", pieces((struct.pack("=III", 2, 1, 0xffffffff), 3)))
    write("frame", "wait", pieces((b"", 0), (message(3), 0), (b"", 0), (message(4), 0)))
    write("frame", "many-descriptors", pieces((message(1000, 1, u64), MAX_FDS)))
    unknown = message(1000, 1, u64)
    write("frame", "too-many-descriptors",
          pieces((unknown[:12], MAX_FDS), (unknown[12:], MAX_FDS)))


def spec():
    for i, text in enumerate([
            "host", "host,mq=off", "any_layout=on,mrg_rxbuf=on,version_1=on,max_ring=256,queues=1",
            "device=blk,seg_max=on,config.seg_max=126,protocol.reply_ack=on,mem_slots=32",
            "mac=front,csum=on", "version_1=off", "host,protocol.xen_mmap=off", "hst",
            "device=net,csum=on,device=blk", "queues=0x10,packed=on", "mrg_rxbuff=on", "host,,",
            "config.capacity=18446744073709551615", "mq=on,protocol.mq=off", ""]):
        write("spec", f"{i:02}", text.encode())


def said(request, how=0, more=0, body=b""):
    """A message as input_message() reads it; `body` as long as its legal size."""
    return bytes([request, how, more]) + body


def rewrite():
    offer = struct.pack("=QQHH", 0xd7c66ffcb, 0x18cbf, 128, 32)
    every = struct.pack("=QQHH", 2 ** 64 - 1, 2 ** 64 - 1, 256, 509)
    config = struct.pack("=III", 8, 12, 0) + bytes(range(12))
    region = struct.pack("=QQQQQ", 0, 4096, 4096, 1, 0)
    talk = (b"\0" + said(1) + b"\2" + said(1, body=struct.pack("=Q", 0xd7c66ffcb)) +
            b"\0" + said(2, body=struct.pack("=Q", 1)) +
            b"\0" + said(8, body=struct.pack("=II", 0, 512)) +
            b"\0" + said(12, body=struct.pack("=Q", 1)) +
            b"\2" + said(17, body=struct.pack("=Q", 128)) +
            b"\0" + said(24, more=12, body=config) + b"\2" + said(24, more=12, body=config) +
            b"\0" + said(37, body=region) + b"\0" + said(38, body=region) +
            b"\1" + said(3, body=struct.pack("=QQQ", 0xfff, 0, 0)) + b"\1" + said(2))
    for i in range(8):
        write("rewrite", f"talk-{i}", bytes([i]) + offer + talk)
        write("rewrite", f"all-{i}", bytes([i]) + every + talk)
    postcopy = (b"\0" + said(28) + b"\0" + said(29) + b"\0" + said(5, more=64, body=bytes(64)) +
                b"\0" + said(5) + b"\0" + said(30))
    write("rewrite", "postcopy", bytes([0]) + every + postcopy)


(FRONT_COMES, BACK_COMES, FRONT_SAYS, BACK_ANSWERS, FRONT_RAW, BACK_RAW, FRONT_READS, BACK_READS,
 FRONT_LEAVES, BACK_LEAVES, OPENS_CHANNEL, CHANNEL_ASKS, CHANNEL_ANSWERS, CHANNEL_RAW,
 CHANNEL_LEAVES, LOOP_TURNS, BACK_OBEYS, NEXT_COMES, NEXT_OBEYS, NEXT_ANSWERS, NEXT_RAW,
 NEXT_LEAVES, STANDBY_COMES, SWITCHES, TIME_PASSES, FRONT_SETS_UP, MEMORY_CHANGES) = range(27)
# What FRONT_SETS_UP sets up, and the timers of TIME_PASSES in their order.
PACKED, LOG, ACKS, REGION, MANY, ENABLED = 1, 2, 4, 8, 16, 32
(PATIENCE, HURRY, HOLD, SETTLE, LINGER, PAUSE, LATE, CHANNEL_LATE, NEXT_LATE, SEEK_FRONT, SEEK_BACK,
 SEEK_STANDBY, SEEK_SWITCH) = range(13)


def device():
    def act(action, data=b""):
        return bytes([action]) + data

    def question(request, value=0, **how):
        return (act(FRONT_SAYS, said(request, **how)) + act(BACK_READS) +
                act(BACK_ANSWERS, said(request, body=struct.pack("=Q", value))) +
                act(FRONT_READS))

    def raw(action, data, fds=0):
        return act(action, bytes([len(data), fds]) + data)

    greeting = b"".join(act(BACK_READS) + act(BACK_ANSWERS, said(1, body=struct.pack("=Q", value)))
                        for value in (0xd7c66ffcb, 0x18cbf, 128, 32))
    setup = question(1, 0xd7c66ffcb) + question(15, 0x18cbf)
    setup += act(FRONT_SAYS, said(16, body=struct.pack("=Q", 0x8228))) + act(BACK_READS)
    setup += act(FRONT_SAYS, said(2, body=struct.pack("=Q", 0x40000000))) + act(BACK_READS)
    channel = (act(OPENS_CHANNEL) + act(BACK_READS) + act(CHANNEL_ASKS, said(2, how=8)) +
               act(CHANNEL_ANSWERS, said(2, body=struct.pack("=Q", 0))) +
               act(CHANNEL_LEAVES, b"\0"))
    comes = act(FRONT_COMES) + act(BACK_COMES)
    for name, how, begin in (("pair", 0, b""), ("listen", 3, comes)):
        for i in range(4):
            options = bytes([i, how])
            write("device", f"{name}-{i}",
                  options + begin + (greeting if i else b"") + setup + channel +
                  act(FRONT_LEAVES) + comes + act(LOOP_TURNS))
    host = bytes([0, 0])
    write("device", "late", bytes([0, 4]) + setup + act(OPENS_CHANNEL) + act(BACK_READS) +
          act(CHANNEL_ASKS, said(2, how=8)) + act(LOOP_TURNS) + act(LOOP_TURNS))
    write("device", "late-and-full", bytes([0, 4]) + setup + act(OPENS_CHANNEL) + act(BACK_READS) +
          b"".join(act(CHANNEL_ASKS, said(100 + i % 2)) for i in range(70)) +
          act(CHANNEL_ASKS, said(2, how=8)) + act(LOOP_TURNS) + act(LOOP_TURNS))
    write("device", "unasked", host + act(BACK_ANSWERS, said(1, body=bytes(8))))
    write("device", "second-front", bytes([0, 3]) + comes + act(FRONT_COMES) + act(FRONT_COMES))
    unknown = message(1000, 1, bytes(8))
    write("device", "too-many-descriptors",
          host + raw(FRONT_RAW, unknown[:12], MAX_FDS) + raw(FRONT_RAW, unknown[12:], MAX_FDS) +
          act(LOOP_TURNS))
    write("device", "cut", host + raw(FRONT_RAW, message(5)[:7], 2) + act(FRONT_LEAVES))
    write("device", "lookup-back", host + setup + raw(BACK_RAW, message(1, 5, bytes(8)), 3))


def restart():
    def act(action, *data):
        return bytes([action, *data])

    def do(*actions):
        return b"".join(bytes([a]) if isinstance(a, int) else a for a in actions)

    def time(timer):
        return act(TIME_PASSES, timer)

    def up(what, rings=2):
        return act(FRONT_SETS_UP, what, rings)

    begin = do(FRONT_COMES, BACK_COMES, BACK_OBEYS)
    comes = do(NEXT_COMES, time(PAUSE), NEXT_OBEYS, LOOP_TURNS, NEXT_OBEYS)
    standby = do(time(SETTLE), STANDBY_COMES, NEXT_OBEYS, time(SETTLE), NEXT_OBEYS)
    channel = do(OPENS_CHANNEL, BACK_OBEYS, act(CHANNEL_ASKS, *said(6, body=bytes(16))), LOOP_TURNS)
    switch = do(act(SWITCHES, 0), NEXT_COMES, NEXT_OBEYS, BACK_OBEYS, NEXT_OBEYS, BACK_OBEYS,
                NEXT_OBEYS, LOOP_TURNS, BACK_OBEYS)
    loss = do(BACK_LEAVES, LOOP_TURNS)
    front = do(act(FRONT_SAYS, *said(1)), act(FRONT_SAYS, *said(24, more=8, body=bytes(12))),
               act(FRONT_SAYS, *said(11, body=bytes(8))), FRONT_READS)
    setups = {"split": ENABLED, "region": ENABLED | ACKS | REGION, "log": ENABLED | ACKS | LOG,
              "packed": ENABLED | ACKS | REGION | PACKED, "lost": ENABLED | PACKED,
              "many": ENABLED | MANY | ACKS}
    for spec, kind in enumerate(("host", "net", "pinned", "blk")):
        for name, what in setups.items():
            for how, loss_is in ((3, "auto"), (3 | 16, "hold")):
                options = bytes([spec, how])
                ready = options + begin + up(what, 90) + do(BACK_OBEYS) + channel
                write("device", f"loss-{kind}-{name}-{loss_is}", ready + loss + front + comes +
                      do(NEXT_LEAVES, LOOP_TURNS, front, comes, FRONT_LEAVES, LOOP_TURNS))
            beside = bytes([spec, 3]) + begin + up(what, 90) + do(BACK_OBEYS)
            write("device", f"switch-{kind}-{name}", beside + channel + switch + front)
            write("device", f"standby-{kind}-{name}", bytes([spec | 4, 3]) + beside[2:] + standby +
                  front + do(NEXT_OBEYS) + loss + do(NEXT_OBEYS, time(SETTLE), NEXT_OBEYS, front))
    net = bytes([1, 3 | 16])
    ready = net + begin + up(ENABLED | ACKS, 2) + do(BACK_OBEYS) + channel
    lost = ready + loss
    prepared = ready + do(act(SWITCHES, 0), NEXT_COMES, NEXT_OBEYS)
    stories = {
        "switch-new-leaves": prepared + do(NEXT_LEAVES, BACK_OBEYS, LOOP_TURNS, BACK_OBEYS),
        "switch-new-leaves-late": prepared + do(BACK_OBEYS, NEXT_LEAVES, BACK_OBEYS, BACK_OBEYS),
        "switch-old-leaves": prepared + loss + do(NEXT_OBEYS, LOOP_TURNS, NEXT_OBEYS),
        "switch-old-leaves-late": prepared + do(BACK_OBEYS, BACK_LEAVES, NEXT_OBEYS, NEXT_OBEYS),
        "switch-front-leaves": prepared + do(FRONT_LEAVES, LOOP_TURNS),
        "switch-to-nobody": ready + do(act(SWITCHES, 2), LOOP_TURNS, time(SEEK_SWITCH), time(HURRY)),
        "switch-to-no-place": ready + do(act(SWITCHES, 3), LOOP_TURNS, time(HURRY), LOOP_TURNS),
        "switch-twice": ready + switch + switch,
        "switch-while-held": lost + switch + front,
        "switch-while-another-is-told": lost + do(NEXT_COMES, time(PAUSE), NEXT_ANSWERS) +
                                        said(1) + switch,
        "switch-before-a-front": net + do(BACK_COMES, act(SWITCHES, 0), NEXT_COMES, FRONT_COMES,
                                          NEXT_OBEYS, NEXT_OBEYS),
        "switch-channel-noise": prepared + do(BACK_OBEYS, act(CHANNEL_RAW, 1, 13, 0), bytes(13),
                                              NEXT_OBEYS, BACK_OBEYS, BACK_OBEYS),
        "loss-with-last-words": ready + act(CHANNEL_RAW, 1, 12, 0) + message(9, 2) + loss + comes,
        "loss-of-a-successor": lost + do(NEXT_COMES, time(PAUSE), act(NEXT_ANSWERS), said(1),
                                         NEXT_LEAVES, LOOP_TURNS) + comes,
        "loss-again-and-again": lost + 6 * (comes + do(NEXT_LEAVES, LOOP_TURNS)),
        "loss-of-the-memory": ready + act(MEMORY_CHANGES, 0, 0, 0xff) + loss + comes + front,
        "loss-of-sense": ready + act(MEMORY_CHANGES, 2, 0x20, 1, 0xff, 0xff) + loss + comes + front,
        "loss-with-bad-answer": ready + do(act(FRONT_SAYS, *said(1)), BACK_READS,
                                           act(BACK_ANSWERS, *said(1, how=1, more=3)), LOOP_TURNS) +
                                comes + do(FRONT_READS),
        "held-too-long": bytes([1 | 8]) + lost[1:] + time(HOLD) + do(LOOP_TURNS, time(LINGER)),
        "held-then-reset": lost + do(act(FRONT_SAYS, *said(34)), FRONT_READS) + comes + front,
        "detached": bytes([1 | 16, 3]) + do(FRONT_COMES, act(FRONT_SAYS, *said(1)), FRONT_READS) +
                    up(ENABLED | ACKS, 2) + front + do(BACK_COMES, BACK_OBEYS, LOOP_TURNS, BACK_OBEYS),
        "detached-and-lost": bytes([1 | 16, 3]) + do(FRONT_COMES, act(FRONT_SAYS, *said(1))) +
                             up(ENABLED | ACKS, 2) + do(BACK_COMES, BACK_OBEYS, BACK_LEAVES) +
                             front + comes,
        "late-and-lost": bytes([1, 3 | 8 | 128]) + ready[2:] +
                         do(act(FRONT_SAYS, *said(1)), LOOP_TURNS, time(LATE), LOOP_TURNS) + comes,
    }
    for name, data in stories.items():
        write("device", name, data)


def position():
    def place(at, region=0):
        return struct.pack("=BH", region, at)

    def anywhere(at):
        return struct.pack("=BHQ", 0xff, 0, at)

    version_1, packed, gpa, power, big, no_fd, inflight = (1 << i for i in range(7))
    addresses = place(0, 1) + place(0x80, 1) + place(0x40, 1)  # descriptors, used, available
    region = b"\1" + place(0, 1) + place(0x3000) + place(0, 1) + place(0)

    def ring(entries, size, available, heads):
        return struct.pack("<HH", 0, available) + b"".join(
            struct.pack("<H", h) + bytes(size - 2) for h in heads + [0] * (entries - len(heads)))

    def memory(available, used, heads, done):
        out = bytes(0x40) + ring(8, 2, available, heads)
        return out + bytes(0x80 - len(out)) + ring(8, 8, used, done)

    split = bytes([version_1 | power, 3]) + addresses + region
    write("position", "idle", split + memory(3, 3, [0, 1, 2], [2, 1, 0]))
    write("position", "in-order", split + memory(4, 2, [0, 1, 2, 3], [0, 1]))
    write("position", "overtaken", split + memory(4, 2, [0, 1, 2, 3], [1, 2]))
    write("position", "twice", split + memory(8, 0, [0] * 8, []))
    write("position", "no-sense", split + memory(100, 0, [], []))
    write("position", "wrapped", split + memory(2, 0xfffe, [0, 1, 2, 3, 4, 5, 6, 7],
                                                [0, 1, 2, 3, 4, 5]))
    write("position", "big-endian", bytes([power | big, 3]) + split[2:] +
          memory(0x400, 0x200, [0, 0x100, 0x200, 0x300], [0, 0x100]))
    write("position", "guest-addresses", bytes([version_1 | gpa | power, 3]) + split[2:] +
          memory(4, 2, [0, 1, 2, 3], [0, 1]))
    write("position", "no-descriptor", bytes([version_1 | power | no_fd, 3]) + split[2:])
    write("position", "no-region", split[:-len(region)] + b"\0")
    write("position", "huge", bytes([version_1 | power, 16]) + split[2:])
    write("position", "far", bytes([version_1 | power, 3]) + 3 * anywhere(2 ** 64 - 2) +
          b"\1" + 4 * anywhere(2 ** 64 - 1))
    queue = struct.pack("<QHHHHHHBB", 0, 1, 8, 0, 0, 5, 3, 1, 1)
    for name, flags in (("published", 0x8080), ("not-published", 0x80)):
        ring_of_8 = bytes(3 * 16 + 14) + struct.pack("<H", flags) + bytes(4 * 16)
        write("position", "packed-" + name, bytes([version_1 | packed | power | inflight, 3]) +
              addresses + region + place(0x100) + place(0x200) + b"\1" + ring_of_8 +
              bytes(0x200 - len(ring_of_8)) + queue)


def block(kind, body):
    body += bytes(-len(body) % 4)
    size = struct.pack("=I", len(body) + 12)
    return struct.pack("=I", kind) + size + body + size


def trace_head(magic=0x1a2b3c4d, link=252, more=()):
    out = block(0x0a0d0d0a, struct.pack("=IHHq", magic, 1, 0, -1))
    for wire in (b"front", b"back", b"back channel", b"front channel", *more):
        name = b"dev0 " + wire
        options = struct.pack("=HH", 2, len(name)) + name + bytes(-len(name) % 4)
        options += struct.pack("=HHB3xHH", 9, 1, 9, 0, 0)
        out += block(1, struct.pack("=HHI", link, 0, 0) + options)
    return out


def trace_record(kind, rest, wire=0, fds=b"", number=1):
    data = b"\0\x0c\0\x09vhostuser\0\0\0\0" + struct.pack(
        "<BBBBHHIIQ", 1, kind, wire, 0, 1, len(fds) // 24, 1, 0, number) + fds + rest
    head = struct.pack("=IIIII", wire, 0x17c00000, 5, len(data), len(data))
    return block(6, head + data + bytes(-len(data) % 4) + struct.pack("=HHIHH", 2, 4, 1, 0, 0))


def trace():
    kick = struct.pack("<BB6xQQ", 4, 1, 99, 0)
    ask = trace_record(1, message(1)) + trace_record(1, message(1), 1, number=2)
    answer = trace_record(1, message(1, 5, bytes(8)), 1, number=3)
    texts = trace_record(2, b"\4\0LEFT\3\0why") + trace_record(5, bytes(8), number=9)
    whole = trace_head() + ask + answer + trace_record(1, message(12, 1, bytes(8)), 0, kick) + texts
    told = trace_record(1, message(3), 4, number=4) + trace_record(1, message(3), 5, number=5)
    write("trace", "whole", b"\xff" + whole)
    write("trace", "next-back", b"\xff" + trace_head(more=(b"next back",)) + told + ask)
    write("trace", "in-pieces", b"\0" + whole)
    write("trace", "cut", b"\xff" + whole[:-5])
    write("trace", "other-link", b"\xff" + trace_head(link=1) + ask)
    write("trace", "swapped", b"\xff" + trace_head(magic=0x4d3c2b1a) + ask)
    write("trace", "foreign-block", b"\x10" + trace_head() + block(0xbad, bytes(40000)) + ask)
    write("trace", "long-text", b"\xff" + trace_head() + trace_record(3, b"\xff\xffLEFT"))
    write("trace", "two-sections", b"\xff" + whole + whole)


if __name__ == "__main__":
    frame()
    trace()
    spec()
    rewrite()
    device()
    restart()
    position()
