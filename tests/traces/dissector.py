# SPDX-License-Identifier: MIT
"""The Wireshark dissector: tshark reads traces with it, and says what vushim itself says.

test_agrees reads every recording in corpus/, and the files that $VUSHIM_RECORDINGS names.
"""
import glob
import json
import os
import random
import re
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ElementTree

import tracewriter as tw
from tracetool import STAGE, VUSHIM, sample, stage, trace

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.dirname(VUSHIM)
SCRIPT = f"{BUILD}/vhostuser.lua"
LINKED = ("response_in", "response_to", "changed")  # by packet, not by number


class Skip(Exception):
    pass


def tool(name, *words):
    """Standard output. The tool may warn of nothing but that root runs it."""
    if not shutil.which(name):
        raise Skip(f"no {name}")
    env = {**os.environ, "HOME": STAGE.name, "XDG_CONFIG_HOME": STAGE.name, "LC_ALL": "C.UTF-8"}
    p = subprocess.run([name, *words], capture_output=True, text=True, timeout=120, env=env,
                       stdin=subprocess.DEVNULL, errors="replace")
    errors = [line for line in p.stderr.splitlines() if not line.startswith("Running as user")]
    assert p.returncode == 0 and not errors, f"{name}: status {p.returncode}: {errors[:5]}"
    return p.stdout


def tshark(path, *options):
    """What it prints; two passes, as Wireshark makes them."""
    out = tool("tshark", "-n", "-2", "-X", f"lua_script:{SCRIPT}", "-r", path, *options)
    assert "Lua Error" not in out, re.search(".*Lua Error.*", out)[0]
    return out


def count(path, display_filter):
    return len(tshark(path, "-Y", display_filter, "-T", "fields", "-e", "frame.number").split())


# ---- packets as tshark sees them ----

class Packet:
    """The fields of a packet, by name without their prefix, in the order of the packet."""

    def __init__(self, node):
        self.node = node
        self.fields = {}
        for field in node.iter("field"):
            name = field.get("name", "")
            if name.startswith("vhostuser."):
                self.fields.setdefault(name.removeprefix("vhostuser."), []).append(field)
        self.frame = int(self.show("frame.number", node.iter("field")))
        self.time = self.show("frame.time_epoch", node.iter("field"))

    @staticmethod
    def show(name, fields):
        return next(f.get("show") for f in fields if f.get("name") == name)

    def all(self, name):
        return [f.get("show") for f in self.fields.get(name, [])]

    def one(self, name):
        found = self.all(name)
        return found[0] if found else None


def packets(path):
    root = ElementTree.fromstring(tshark(path, "-T", "pdml"))
    found = [Packet(node) for node in root.iter("packet")]
    # Each call of a dissector in Lua adds _ws.lua.fake, hidden: it is no fault.
    faults = [f.get("name") for f in root.iter("field")
              if f.get("name", "").startswith(("_ws.malformed", "_ws.lua.error"))]
    assert not faults, f"{path}: {set(faults)}"
    return found


def fields_under(node, payload):
    """{name: value} of the fields of one payload right below a node."""
    found = {}
    for field in node.findall("field"):
        prefix, _, name = field.get("name", "").removeprefix("vhostuser.").rpartition(".")
        if prefix == payload and name != "regions":
            found[name] = field
    return found


# ---- the same as vushim has it ----

def number(text):
    """A number of vushim's JSON or of tshark, decimal or not."""
    if isinstance(text, str) and re.fullmatch(r"0x[0-9a-f]+|\d+", text):
        return int(text, 0)
    return text


def truth(text):
    """tshark's way of writing it depends on its version."""
    return {"1": True, "True": True, "0": False, "False": False}[text]


def value_of(field):
    """What a field of tshark's is in vushim's JSON."""
    names = [child.get("show") for child in field.findall("field")
             if child.get("name") in ("vhostuser.feature", "vhostuser.protocol_feature")]
    if field.get("name").endswith(("eatures.features", "protocol_features.protocol_features")):
        return {"value": number(field.get("show")), "names": names}
    if field.get("name").endswith(".bytes"):
        return field.get("value")
    return number(field.get("show"))


def payload_of(packet):
    """Where the fields of a message are, and the name of its payload."""
    for node in packet.node.iter("field"):
        if node.get("name") == "vhostuser.payload":
            return node, node.get("show")
    return None, None


def fields_of(packet):
    """The fields of a message as vushim's JSON has them, those included that it leaves out."""
    node, payload = payload_of(packet)
    if node is None:    # an unknown message
        return {"bytes": field.get("value") for field in packet.fields.get("bytes", [])}
    found = {name: value_of(field) for name, field in fields_under(node, payload).items()}
    regions = [child for child in node.findall("field")
               if child.get("name") == f"vhostuser.{payload}.regions"]
    if regions:
        found["regions"] = [{name: value_of(field) for name, field in
                             fields_under(region, "region").items()} for region in regions]
    return found


def fields_in(record, key):
    """The fields of a record of vushim's: bytes of an unknown message are one, and "no descriptor" is
    a bit of its index again."""
    found = dict(record.get(key, {}))
    if "bytes" in record:
        found["bytes"] = record["bytes"]
    if found.pop("nofd", False):
        found["index"] |= 0x100
    return found


def normal(value):
    """vushim's JSON with its numbers as numbers."""
    if isinstance(value, dict):
        return {key: normal(one) for key, one in value.items()}
    if isinstance(value, list):
        return [one if isinstance(one, str) else normal(one) for one in value]
    return number(value)


def contains(where, got, wanted):
    """Everything that vushim says, tshark says too. Hidden fields are tshark's alone."""
    for key, value in wanted.items():
        if value in ("", []) and key not in got:
            continue
        if key == "bytes":
            assert got[key] == value, f"{where}: bytes {got[key]}, not {value}"
        elif key == "regions":
            assert len(got[key]) == len(value), f"{where}: {len(got[key])} regions"
            for one, other in zip(got[key], value):
                contains(f"{where} region", one, other)
        else:
            assert got.get(key) == normal(value), f"{where}: {key}={got.get(key)}, not {value}"


PLAIN = ("wire", "direction", "kind", "request", "id", "size", "life", "number", "origin", "text",
         "lost")


def check_record(packet, record, by_frame):
    where = f"record {record['number']} {record.get('request', record['kind'])}"
    for key in PLAIN:
        if key in record and not (key == "text" and not record[key]):
            got = packet.one(key)
            assert number(got) == number(record[key]), f"{where}: {key}={got}, not {record[key]}"
    assert packet.time == record["time"], f"{where}: {packet.time}, not {record['time']}"
    for key in ("reply", "need_reply"):
        if key in record:
            assert truth(packet.one(key)) == record[key], f"{where}: {key}={packet.one(key)}"
    if "name" in record:
        assert packet.one(record["kind"]) == record["name"], f"{where}: not {record['name']}"
    contains(where, fields_of(packet), fields_in(record, "fields"))
    if "before" in record:
        contains(where, fields_of(by_frame[int(packet.one("changed"))]),
                 fields_in(record, "before"))
    check_fds(where, packet, record)
    check_links(where, packet, record, by_frame)


def check_fds(where, packet, record):
    got = list(zip(packet.all("fd.role"), packet.all("fd.kind"),
                   map(int, packet.all("fd.inode")), map(int, packet.all("fd.size"))))
    wanted = [(fd["role"].replace("unknown", "none"), fd["kind"], fd["inode"], fd["size"]) for fd in record.get("fds", [])]
    assert got == wanted, f"{where}: descriptors {got}, not {wanted}"


def check_links(where, packet, record, by_frame):
    asked = packet.one("response_to")
    assert (asked is None) == ("request_number" not in record), f"{where}: answers {asked}"
    if asked is not None:
        request = by_frame[int(asked)]
        assert int(request.one("number")) == record["request_number"], f"{where}: wrong request"
        assert int(request.one("response_in")) == packet.frame, f"{where}: wrong response"
        latency = int(packet.one("latency").replace(".", ""))
        assert latency == record["latency_ns"], f"{where}: {latency} ns"
    assert (packet.one("changed") is None) == (record.get("origin") != "changed"), where


def check_file(path):
    """How many records were compared."""
    seen = packets(path)
    by_frame = {packet.frame: packet for packet in seen}
    records = [json.loads(line) for line in trace(0, "show", "--json", path)[0].splitlines()]
    assert len(seen) == len(records), f"{path}: {len(seen)} packets, {len(records)} records"
    for packet, record in zip(seen, records):
        check_record(packet, record, by_frame)
    return len(records)


def devices():
    with open(f"{tw.TREE}/msgcodec/features.def", encoding="utf-8") as f:
        return re.findall(r'^DEVICE\(\w+, "(\w+)", [1-9]', f.read(), re.M)


# ---- tests ----

def test_every_message():
    """Every row, as request and as answer, and nothing that is malformed."""
    path = sample()
    seen = packets(path)
    named = {(p.one("request"), truth(p.one("reply"))) for p in seen if p.one("kind") == "message"}
    for name in [*tw.FRONT_NUMBERS, *tw.BACK_NUMBERS]:
        assert (name, False) in named and (name, True) in named, name
    assert count(path, "vhostuser.expert.malformed or vhostuser.expert.unknown") == 0
    assert {p.one("kind") for p in seen} == {"message", "ending", "refused", "event", "gap"}


def test_every_field():
    """Each field of each payload that a message carries is a field of the dissector."""
    with open(f"{tw.TREE}/msgcodec/payloads.def", encoding="utf-8") as f:
        wanted = set(re.findall(r"^FIELD\((\w+), \w+, (\w+),", f.read(), re.M))
    seen = {name for p in packets(sample()) for name in p.fields}
    # Answers of SET_MEM_TABLE are told apart by nothing that the sample has.
    missing = [f"{p}.{f}" for p, f in wanted if f"{p}.{f}" not in seen]
    assert not missing, missing


def test_agrees_on_samples():
    for device in devices():
        p = subprocess.run([f"{BUILD}/tests/unit/tracesample", device], capture_output=True,
                           check=True, timeout=20)
        assert check_file(stage(f"sample-{device}.pcapng", p.stdout)) > 200


def test_agrees_on_recordings():
    paths = glob.glob(f"{HERE}/corpus/*.pcapng") + os.environ.get("VUSHIM_RECORDINGS", "").split()
    if not paths:
        raise Skip("no recordings (name some in VUSHIM_RECORDINGS)")
    for path in paths:
        assert check_file(path) > 0, path


def strange():
    """What a good sample does not have."""
    t = tw.Trace()
    t.note(tw.EVENT, "START", "device=net")
    t.asked("GET_FEATURES", answer=tw.u64(3 << 32 | 3), changed=tw.u64(1 << 32 | 1), think=777)
    t.message(tw.FRONT, True, "GET_QUEUE_NUM")
    t.passed(tw.FRONT, 77, b"\1\2\3", fds=[(0, 9)])
    t.passed(tw.FRONT, "SET_VRING_KICK", tw.u64(0x102))
    t.asked("SET_VRING_NUM", tw.pair(1, 512), tw.u64(1), need_reply=True)
    t.passed(tw.FRONT, "SET_VRING_CALL", tw.u64(3), fds=[(5, 77)])
    t.passed(tw.FRONT, "SET_MEM_TABLE", struct.pack("=II", 1, 0) + bytes(32) + b"rest")
    t.passed(tw.FRONT, "SET_LOG_BASE", bytes(3))
    t.asked("GET_CONFIG", struct.pack("=III", 10, 2, 0) + bytes(2),
            struct.pack("=III", 10, 2, 0) + b"\xdc\x05")
    t.gap(12)
    t.life = 2
    t.message(tw.BACK, False, "GET_FEATURES", tw.u64(0), reply=True)
    t.note(tw.REFUSED, "REFUSED", "SET_VRING_NUM: ring 1 of 512, at most 256")
    t.note(tw.ENDING, "LEFT", "why")
    t.note(tw.ENDING, "BAD_FIELD", "why")
    return stage("strange.pcapng", t)


def test_agrees_on_strange_ones():
    check_file(strange())


def test_agrees_on_a_switch():
    path = stage("switched.pcapng", tw.switched())
    check_file(path)
    assert count(path, 'vhostuser.wire == "next back" and vhostuser.origin == "own"') == 8
    out = tshark(path, "-Y", 'vhostuser.wire == "next back" and vhostuser.direction == "received"',
                 "-T", "fields", "-e", "_ws.col.Source")
    assert set(out.split("\n")) == {"next back-end", ""}, out


def test_agrees_on_what_is_left_unanswered():
    t = tw.Trace()
    for lost, wire in (("BACK_HELD", tw.FRONT), ("BACK_CONNECTED", tw.BACK)):
        t.own(tw.BACK, "GET_CONFIG")
        t.message(tw.BACK_CHANNEL, False, "VRING_CALL", tw.pair(0, 0))
        t.note(tw.EVENT, lost, wire=wire)
        t.own(tw.BACK, "GET_CONFIG", answer=bytes(12))
        t.message(tw.BACK_CHANNEL, False, "VRING_CALL", tw.pair(0, 0))
        t.message(tw.BACK_CHANNEL, True, "VRING_CALL", tw.u64(0), reply=True)
    check_file(stage("left.pcapng", t))


def test_of_a_later_time():
    """Kinds and wires that are not known are named so, and are no fault."""
    t = tw.Trace(wires=(*tw.WIRES, b"later"))
    t.passed(tw.FRONT, "SET_OWNER")
    t.message(5, True, "SET_OWNER")
    t.record(77, tw.FRONT, 0, b"?")
    path = stage("later.pcapng", t)
    assert count(path, "vhostuser.expert.later") == 2
    assert count(path, "vhostuser.expert.malformed") == 0
    assert count(path, 'vhostuser.request == "SET_OWNER"') == 2


FILTERS = {
    'vhostuser.request == "SET_VRING_KICK"': 2,
    "vhostuser.id == 12 and vhostuser.nofd == 1": 2,
    "vhostuser.queue == 2": 2,
    "vhostuser.reply == 1 and vhostuser.response_to": 6,
    "vhostuser.response_in": 6,
    "vhostuser.latency > 0.0000017 and vhostuser.latency < 0.0000018": 1,
    "vhostuser.need_reply == 1": 2,
    'vhostuser.wire == "front" and vhostuser.direction == "sent"': 4,
    'vhostuser.kind == "event"': 1,
    "vhostuser.life == 2": 4,
    'vhostuser.fd.role == "call"': 2,
    "vhostuser.fd.inode == 77": 2,
    'vhostuser.fd.kind == "eventfd"': 4,
    "vhostuser.vring_num.num == 512": 2,
    'vhostuser.feature == "version_1"': 2,
    'vhostuser.feature == "guest_csum"': 1,
    "vhostuser.features.features == 0x300000003": 1,
    "vhostuser.region.size == 0 and vhostuser.rest == 72:65:73:74": 2,
    'vhostuser.payload == "mem_table"': 2,
    "vhostuser.config_space.net.mtu == 1500": 2,
    "vhostuser.changed == 4": 1,
    'vhostuser.before contains "without guest_csum, iommu_platform"': 1,
    'vhostuser.origin == "own"': 1,
    "vhostuser.expert.own": 1,
    "vhostuser.expert.changed": 1,
    "vhostuser.expert.error_answer": 2,
    "vhostuser.expert.refused": 1,
    "vhostuser.expert.unknown": 2,
    "vhostuser.expert.size": 2,
    "vhostuser.expert.gap and vhostuser.lost == 12": 1,
    "vhostuser.expert.ending_error": 1,
    'vhostuser.ending == "LEFT" and vhostuser.expert.ending': 1,
    'vhostuser.text contains "at most 256"': 1,
    "vhostuser.bytes == 01:02:03": 2,
    "_ws.malformed or vhostuser.expert.malformed": 0,
}


def test_filters():
    path = strange()
    for display_filter, wanted in FILTERS.items():
        got = count(path, display_filter)
        assert got == wanted, f"{display_filter}: {got} packets, not {wanted}"


def test_regions():
    """Of 32 bytes, of 40 with protocol feature xen_mmap, and fewer than the table says."""
    t = tw.Trace()
    region = struct.pack("=QQQQ", 1, 2, 3, 4)
    for n, body in ((2, 2 * region), (2, 2 * (region + bytes(8))), (3, region + region[:31])):
        t.message(tw.FRONT, False, "SET_MEM_TABLE", struct.pack("=II", n, 0) + body)
    seen = packets(stage("regions.pcapng", t))
    assert [p.all("region.user_addr") for p in seen] == [2 * ["0x0000000000000003"]] * 2 + \
        [["0x0000000000000003"]], [p.all("region.user_addr") for p in seen]
    assert [p.one("rest") is None for p in seen] == [True, True, False]


def test_columns():
    t = tw.Trace()
    t.passed(tw.FRONT, "SET_VRING_KICK", tw.u64(0x102))
    t.passed(tw.BACK_CHANNEL, "VRING_CALL", tw.pair(3, 0), need_reply=True)
    t.passed(tw.FRONT, 77, b"\1\2\3")
    t.passed(tw.FRONT, "SET_VRING_BASE", tw.pair(1, 0))
    lines = tshark(stage("columns.pcapng", t), "-T", "fields", "-E", "separator=|", *sum(
        (["-e", f"_ws.col.{name}"] for name in ("Source", "Destination", "Protocol", "Info")), []))
    assert lines.splitlines()[::2] == [
        "front-end|vushim|vhost-user|SET_VRING_KICK index=2 nofd",
        "back-end|vushim|vhost-user|VRING_CALL need_reply index=3",
        "front-end|vushim|vhost-user|unknown(77) 3 bytes",
        "front-end|vushim|vhost-user|SET_VRING_BASE index=1 base=0"], lines
    assert lines.splitlines()[1].startswith("vushim|back-end|"), lines


def test_one_pass():
    """Links back need no second pass."""
    out = tool("tshark", "-n", "-X", f"lua_script:{SCRIPT}", "-r", strange(), "-Y",
               "vhostuser.response_to and vhostuser.latency")
    assert len(out.splitlines()) == 6, out


def test_big_endian():
    """A trace of a machine with the other order."""
    t = tw.Trace()
    flags = 2
    t.record(tw.MESSAGE, tw.FRONT, flags, struct.pack(">IIIQ", 2, 1, 8, 3))
    t.record(tw.MESSAGE, tw.FRONT, flags, struct.pack(">IIIII", 8, 9, 8, 1, 256))
    path = stage("big.pcapng", t)
    assert count(path, 'vhostuser.request == "SET_FEATURES" and vhostuser.feature == "csum"') == 1
    assert count(path, "vhostuser.vring_num.num == 256 and vhostuser.need_reply == 1") == 1


def test_malformed():
    """Every record cut at every length, or of another layout, is named malformed, by its own words."""
    t = tw.Trace()
    whole = struct.pack("<BBBBHHIIQ", 1, 1, 0, 0, 1, 1, 1, 0, 1) + struct.pack("<BB6xQQ", 4, 1, 7, 0)
    whole += struct.pack("=IIIQ", 12, 1, 8, 0)
    notes = struct.pack("<BBBBHHIIQ", 1, 4, 0, 0, 1, 0, 1, 0, 1) + b"\1\0A\2\0BC"
    gap = struct.pack("<BBBBHHIIQ", 1, 5, 0, 0, 1, 0, 1, 0, 1) + bytes(8)
    wrong = [r[:n] for r in (whole, notes, gap) for n in range(len(r))]
    wrong += [b"\2" + whole[1:], whole[:6] + b"\xff\xff" + whole[8:], whole + b"\0", whole[:56] + b"\xff\xff\xff\xff" + whole[60:]]
    for record in wrong:
        packet = b"\x00\x0c\x00\x0cvhostuser\0\0\0" + bytes(4) + record
        t.data += tw.block(6, struct.pack("<IIIII", 0, 0, 0, len(packet), len(packet)) + packet)
    path = stage("malformed.pcapng", t)
    got = count(path, "vhostuser.expert.malformed")
    assert got == len(wrong), f"{got} of {len(wrong)}"
    assert count(path, "_ws.lua.error") == 0


def test_noise():
    """Bytes changed at random make no error in Lua (tshark() looks for them)."""
    draw = random.Random(1)
    with open(sample(), "rb") as f:
        good = f.read()
    first = good.index(b"vhostuser")
    for round_ in range(6):
        t, at = bytearray(good), first
        while (at := good.find(b"vhostuser", at + 1)) > 0:
            end = at + 16 + struct.unpack_from("<I", good, at - 12)[0] - 20
            for _ in range(draw.randrange(4)):
                t[draw.randrange(at + 16, end)] = draw.choice((0, 1, 2, 5, 8, 255))
        packets(stage(f"noise-{round_}.pcapng", bytes(t)))


def test_capinfos():
    path = sample()
    out = tool("capinfos", "-M", path)
    assert re.search(r"File encapsulation: +wireshark-upper-pdu", out), out
    assert re.search(rf"Number of packets: +{len(packets(path))}\b", out), out
    assert "Number of interfaces in file: 5" in out, out


def test_installed():
    """CMake installs it where the manual says."""
    prefix = f"{STAGE.name}/installed"
    tool("cmake", "--install", f"{BUILD}/tools/dissector", "--prefix", prefix)
    with open(f"{prefix}/share/vushim/wireshark/vhostuser.lua", "rb") as one, \
            open(SCRIPT, "rb") as other:
        assert one.read() == other.read()
