# SPDX-License-Identifier: MIT
"""vushim trace show: lines, JSON, filters, files that grow, and files that are nothing of the kind."""
import json
import os
import random
import signal
import subprocess
import threading
import time

import tracewriter as tw
from tracetool import VUSHIM, error, sample, stage, trace


def lines(path, *options):
    return trace(0, "show", path, *options)[0].splitlines()


def records(path, *options):
    return [json.loads(line) for line in lines(path, "--json", *options)]


def test_every_message():
    """The trace with every message: each row has its line and its fields."""
    path = sample()
    found = records(path)
    assert [r["number"] for r in found] == sorted(r["number"] for r in found)
    shown = {(r["request"], r["reply"]) for r in found if r["kind"] == "message"}
    for name in [*tw.FRONT_NUMBERS, *tw.BACK_NUMBERS]:
        assert (name, False) in shown and (name, True) in shown, name
    text = "\n".join(lines(path))
    for name in tw.FRONT_NUMBERS:
        assert f" {name}" in text, name
    table = next(r for r in found if r["request"] == "SET_MEM_TABLE")
    assert len(table["fields"]["regions"]) == table["fields"]["nregions"] == len(table["fds"])
    config = next(r for r in found if r["request"] == "GET_CONFIG")
    assert len(config["fields"]["bytes"]) == 2 * config["fields"]["size"]
    assert found[-1]["kind"] == "gap" and found[-1]["lost"] == 7


def test_regions_with_room_for_more():
    """User-mode Linux sends the whole structure whatever it counts."""
    t = tw.Trace()
    region = tw.struct.pack("=QQQQ", 0, 4096, 0x7000, 0)
    t.message(tw.FRONT, False, "SET_MEM_TABLE", tw.pair(2, 0) + region * 8)
    path = stage("roomy", t)
    assert len(records(path)[0]["fields"]["regions"]) == 2
    assert lines(path)[1].count("{guest_addr=0 size=0x1000 user_addr=0x7000 mmap_offset=0}") == 2


def changed():
    t = tw.Trace()
    t.note(tw.EVENT, "START", "device=net,csum=on")
    ask = t.message(tw.FRONT, False, "GET_FEATURES")
    t.message(tw.BACK, True, "GET_FEATURES")
    t.message(tw.BACK, False, "GET_FEATURES", bytes([3, 0, 0, 0, 1, 0, 0, 0]), reply=True)
    t.message(tw.FRONT, True, "GET_FEATURES", bytes([1, 0, 0, 0, 1, 0, 0, 0]), reply=True)
    t.message(tw.BACK, True, "GET_QUEUE_NUM")
    t.message(tw.BACK, False, "GET_QUEUE_NUM", bytes([4]) + bytes(7), reply=True)
    t.gap(12)
    t.note(tw.ENDING, "LEFT", "why")
    return t, ask


def test_lines_for_people():
    """One line a message that passed, with what was changed; own ones; notes."""
    t, ask = changed()
    found = lines(stage("changed", t))
    assert found[0].startswith("# vm7/net0, from 20")
    assert " -> back" in found[2] and "front -> back " in found[2]
    assert "back -> front" in found[3] and "changed: -guest_csum" in found[3], found[3]
    assert f"us after {ask}]" in found[3]
    assert "vushim -> back" in found[4] and "back -> vushim" in found[5]
    assert "12 records lost here" in found[6] and "--- LEFT: why" in found[7]
    assert len(found) == 8
    assert len(lines(stage("changed", t), "--all")) == 10


def test_latencies():
    """In the unit that fits: a slow answer is what is looked for."""
    t = tw.Trace(step=0)
    for think in (1234, 12_345_678, 2_345_678_901):
        t.message(tw.BACK, True, "GET_FEATURES")
        t.time += think
        t.message(tw.BACK, False, "GET_FEATURES", bytes(8), reply=True)
    found = [line.split("[")[1] for line in lines(stage("slow", t)) if "reply" in line]
    assert found == ["1.2 us after 1]", "12.345 ms after 3]", "2.345 s after 5]"], found


def test_a_back_end_beside_the_live_one():
    """It is called next until it takes over; nothing passes to it or from it."""
    path = stage("switched", tw.switched())
    found = [line.split(None, 2)[2] for line in lines(path)[1:]]
    assert any(line.startswith("vushim -> next   GET_FEATURES") for line in found), found
    assert any(line.startswith("next -> vushim   reply GET_FEATURES") for line in found), found
    assert any(line.startswith("next back        --- SILENT") for line in found), found
    at = found.index(next(line for line in found if "--- SWITCHED" in line))
    assert found[at + 1].startswith("front -> back    GET_QUEUE_NUM"), found[at + 1]
    # What passes is one line, though the next one hears of it.
    at = next(at for at, line in enumerate(found) if line.startswith("front -> back    GET_VRING_BASE"))
    assert found[at + 2].startswith("front -> back    SET_FEATURES"), found[at:]
    assert found[at + 3].startswith("vushim -> next   SET_FEATURES"), found[at:]
    beside = records(path, "--filter", 'wire == "next back" && kind == message')
    assert {r["origin"] for r in beside} == {"own", "peer"} and len(beside) == 11, beside
    assert len(records(path, "--filter", "wire contains next")) == 14
    asked = {r["number"]: r for r in beside}
    for r in beside:
        if r["reply"]:
            request = asked[r["request_number"]]
            assert request["request"] == r["request"] and r["latency_ns"] < 7000, r


def test_answers_of_another_back_end():
    """What a back-end has left without an answer is not answered by the next one."""
    t = tw.Trace()
    for wire, lost in ((tw.BACK, "BACK_HELD"), (tw.BACK, "BACK_CONNECTED"),
                       (tw.NEXT_BACK, "BACK_CONNECTED")):
        t.own(wire, "GET_CONFIG")
        t.note(tw.EVENT, lost, wire=tw.FRONT if lost == "BACK_HELD" else wire)
        t.own(wire, "GET_CONFIG", answer=bytes(12))
    answers = [r for r in records(stage("lost", t)) if r.get("reply")]
    assert [r["request_number"] for r in answers] == [r["number"] - 1 for r in answers], answers


def test_files_of_four_interfaces():
    """As they were written before there was a fifth."""
    t = tw.session(trace=tw.Trace(wires=tw.WIRES[:4]))
    old, new = (records(stage(name, one)) for name, one in (("old", t), ("new", tw.session())))
    assert old == new and len(old) > 30


def test_wires_and_kinds_that_are_not_known():
    """Of a later time: passed over, and the rest is read."""
    t = tw.Trace(wires=(*tw.WIRES, b"later"))
    t.passed(tw.FRONT, "SET_OWNER")
    t.message(5, True, "SET_OWNER")
    t.record(77, tw.FRONT, 0, b"?")
    t.passed(tw.FRONT, "GET_FEATURES")
    found = [r.get("request") for r in records(stage("later", t))]
    assert found == ["SET_OWNER"] * 2 + ["GET_FEATURES"] * 2, found


def test_what_is_between_lines():
    """A number that is missing without a gap, another connection, and nothing else."""
    t = tw.Trace()
    t.passed(tw.FRONT, "SET_OWNER")
    t.gap(3)
    t.number += 4
    t.message(tw.FRONT, False, "GET_FEATURES")
    t.life = 2
    t.message(tw.FRONT, False, "GET_FEATURES")
    found = lines(stage("between", t))
    assert found[3] == "# 4 records are missing here", found
    assert found[4].endswith("front -> vushim  GET_FEATURES"), found
    assert found[5] == "# connection 2" and len(found) == 7, found
    assert len(records(stage("between", t))) == 5


def test_json_of_a_change():
    t, ask = changed()
    r = next(r for r in records(stage("changed", t)) if r.get("origin") == "changed")
    assert r["before"]["features"]["names"] == ["csum", "guest_csum", "version_1"], r
    assert r["fields"]["features"] == {"value": "0x100000001", "names": ["csum", "version_1"]}
    assert r["request_number"] == ask and r["latency_ns"] == 3000


def test_filters():
    t, _ = changed()
    path = stage("changed", t)
    assert len(records(path, "--filter", "request == GET_FEATURES")) == 4
    assert len(records(path, "--filter", "reply && wire == back")) == 2
    assert len(records(path, "--filter", "origin == changed")) == 1
    assert len(lines(path, "--filter", "kind != message")) == 1 + 3
    assert "column 10" in error("show", path, "--filter", "reply && ")


def paths(value, path=""):
    """Every path of a record's JSON."""
    if isinstance(value, dict):
        for key, inner in value.items():
            name = f"{path}.{key}" if path else key
            yield name
            yield from paths(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, path)


def test_filters_know_every_member():
    """What a record can have can be asked for, and what none has is a mistake."""
    t, _ = changed()
    found = records(sample()) + records(stage("changed", t))
    known = sorted({path for record in found for path in paths(record)})
    assert len(known) > 60, known
    path = stage("empty-trace", tw.Trace())
    for at in range(0, len(known), 20):
        trace(0, "show", path, "--filter", " || ".join(known[at:at + 20]))
    assert "column 1: no record has the member wyre" in error("show", path, "--filter", "wyre")


def test_cut():
    """Whatever is there of the last record: what stands before it is shown, and why it ends."""
    t, _ = changed()
    whole = len(records(stage("whole", t)))
    for left in (1, 5, 40):
        out, err = trace(0, "show", "--json", stage("cut", t.data[:-left]))
        assert len(out.splitlines()) == whole - 1
        assert "ends inside a record" in err and err.count("\n") == 1, err


def test_damaged():
    """Damage in the middle: what stands before it is shown, then one line that says where."""
    t, _ = changed()
    at = len(t.data) - 100
    data = t.data[:at] + b"\xff" * 50 + t.data[at + 50:]
    out, err = trace(2, "show", "--json", stage("damaged", data))
    assert len(out.splitlines()) >= 5 and "at byte" in err and err.count("\n") == 1, err


def test_garbage():
    """Bytes changed at random anywhere: good JSON as far as it goes, at most one line of why, no
    crash; and files of nothing but noise."""
    draw = random.Random(7)
    t, _ = changed()
    for turn in range(60):
        data = bytearray(t.data if turn % 4 else draw.randbytes(3000))
        if turn % 8 == 0:
            data[:28] = t.data[:28]
        for _ in range(draw.randrange(1, 12)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        for options in ((), ("--json",)):
            p = subprocess.run([VUSHIM, "trace", "show", "-", *options], input=data,
                               capture_output=True, timeout=20)
            assert p.returncode in (0, 2), (turn, p)
            assert p.stderr.count(b"\n") <= 1 and (p.returncode == 0 or p.stderr), (turn, p.stderr)
            for line in p.stdout.splitlines() if options else ():
                json.loads(line)


def test_foreign():
    assert "not a pcapng file" in error("show", stage("text", b"#!/bin/sh\necho hello\n"))
    assert "not a pcapng file" in error("show", stage("pcap", b"\xd4\xc3\xb2\xa1" + bytes(60)))
    assert "is empty" in error("show", stage("empty", b""))
    assert "No such file" in error("show", "/no/such/file")
    assert "Is a directory" in error("show", "/tmp")
    assert not lines(stage("others", tw.block(0x0A0D0D0A, tw.struct.pack(
        "<IHHq", 0x1A2B3C4D, 1, 0, -1)) + tw.block(1, tw.struct.pack("<HHI", 1, 0, 0)) +
        tw.block(6, tw.struct.pack("<IIIII", 0, 0, 0, 20, 20) + bytes(20))))


def test_names_of_a_file_make_no_lines():
    """Nor colours, by ESC or by the one-character form of the same."""
    t = tw.Trace(device="vm\x1b[31m\n7")
    t.note(tw.EVENT, "A\nB", "c\x1b[31m\nd\x9b31m")
    found = lines(stage("hostile", t))
    assert len(found) == 2 and not set("\x1b\x9b") & set("".join(found)), found


def test_bytes_that_are_no_text():
    """What is text around them stays; a text may also have been cut inside a character."""
    t = tw.Trace()
    t.note(tw.EVENT, b"A\xff", b"caf\xc3\xa9 \xc3")
    t.note(tw.ENDING, "LEFT", "x" + "\u00e9" * 2047 + "x")
    found = records(stage("bytes", t))
    assert found[0]["name"] == "A?" and found[0]["text"] == "caf\u00e9 ?", found[0]
    assert found[1]["text"] == "x" + "\u00e9" * 2047 + "x"


def test_huge():
    """A gigabyte through a pipe: at a steady size of memory."""
    t = tw.Trace()
    head = len(t.data)
    for _ in range(40):
        t.note(tw.EVENT, "NOISE", "x" * 4000)
    part = t.data[head:]
    block = tw.block(0x0BAD, bytes(8 << 20))
    with open(os.devnull, "wb") as null:
        p = subprocess.Popen([VUSHIM, "trace", "show", "-"], stdin=subprocess.PIPE, stdout=null)
    p.stdin.write(t.data[:head])
    for _ in range(128):
        p.stdin.write(block)
        p.stdin.write(part)
    with open(f"/proc/{p.pid}/status", encoding="ascii") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    p.stdin.close()
    assert p.wait(60) == 0
    limit = 200 << 10 if "asan" in VUSHIM else 20 << 10
    assert peak < limit, f"{peak} kB"


class Follower:
    """vushim trace show --follow, and its lines."""

    def __init__(self, path):
        self.p = subprocess.Popen([VUSHIM, "trace", "show", "--json", "--follow", path],
                                  stdout=subprocess.PIPE)
        self.out = []
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.p.stdout:
            self.out.append(json.loads(line))

    def wait(self, n):
        end = time.monotonic() + 20
        while len(self.out) < n:
            assert time.monotonic() < end, f"{len(self.out)} records instead of {n}"
            time.sleep(0.01)

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        assert self.p.wait(20) == 0
        self.thread.join()


def test_follow():
    """A file that grows, in pieces that end inside a record, and is rotated."""
    t, _ = changed()
    path = stage("live", b"")
    follower = Follower(path)
    with open(path, "ab", buffering=0) as f:
        for at in range(0, len(t.data), 100):
            f.write(t.data[at:at + 100])
    n = len(records(stage("whole", t)))
    follower.wait(n)
    os.rename(path, path + ".1")
    with open(path, "wb") as f:
        f.write(t.data)
    follower.wait(2 * n)
    follower.stop()
    assert len(follower.out) == 2 * n


def test_follow_shows_what_vushim_keeps():
    """A message that nothing follows is shown while the file is still waited for."""
    t = tw.Trace()
    t.message(tw.FRONT, False, "SET_VRING_NUM", tw.pair(0, 512))
    p = subprocess.Popen([VUSHIM, "trace", "show", "--follow", stage("kept", t)],
                         stdout=subprocess.PIPE)
    limit = threading.Timer(20, p.kill)
    limit.start()
    head, line = p.stdout.readline(), p.stdout.readline()
    limit.cancel()
    p.send_signal(signal.SIGINT)
    assert p.wait(20) == 0
    assert head.startswith(b"# vm7/net0") and b"front -> vushim" in line, line


def test_follow_through_rotations():
    """Records right before a file is renamed and right after it was begun: each once, in order."""
    t = tw.Trace()
    head = t.data
    t.message(tw.FRONT, False, "GET_FEATURES")
    path = stage("rotated", t)
    follower = Follower(path)
    follower.wait(1)
    for turn in range(6):
        for step in ("old", "new"):
            t.data = b""
            for _ in range(20):
                t.message(tw.FRONT, False, "GET_FEATURES")
            if step == "old":
                with open(path, "ab") as f:
                    f.write(t.data)
                os.rename(path, path + ".1")
            else:
                with open(path, "wb") as f:
                    f.write(head + t.data)
        follower.wait(t.number)
    follower.stop()
    assert [r["number"] for r in follower.out] == list(range(1, t.number + 1))


def test_follow_leaves_a_file_that_was_cut():
    """A writer that died inside a record, and the next one, which renamed its file."""
    t, _ = changed()
    path = stage("died", t.data[:-5])
    follower = Follower(path)
    n = len(records(stage("whole", t)))
    follower.wait(n - 1)
    os.rename(path, path + ".1")
    with open(path, "wb") as f:
        f.write(t.data)
    follower.wait(2 * n - 1)
    follower.stop()


def test_follow_ends_when_nobody_reads():
    """Also while the file is silent."""
    t, _ = changed()
    p = subprocess.Popen([VUSHIM, "trace", "show", "--follow", stage("unread", t)],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdout.readline()
    p.stdout.close()
    assert p.wait(20) == 0
    assert not p.stderr.read()
    p.stderr.close()
