# SPDX-License-Identifier: MIT
"""vushim trace diagram: what a picture has in it, whatever the trace is like."""
import os
import re
import xml.etree.ElementTree as ET

import tracewriter as tw
from tracetool import error, sample, stage, trace

NS = "{http://www.w3.org/2000/svg}"


def svg(path, *words):
    return ET.fromstring(trace(0, "diagram", path, *words)[0].encode())


def rows(root, *classes):
    return [g for g in root.iter(f"{NS}g") if {"row", *classes} <= set(g.get("class").split())]


def words(element):
    return " ".join("".join(text.itertext()) for text in element.iter(f"{NS}text"))


def full_session(**keys):
    return tw.session(kept=0x170000002, **keys)


def test_every_message_of_the_table():
    text = " ".join(words(row) for row in rows(svg(sample())))
    for name in list(tw.FRONT_NUMBERS) + list(tw.BACK_NUMBERS):
        assert re.search(rf"\b{name}\b", text), name
        assert re.search(rf"\breply {name}\b", text), f"reply {name}"
    assert "gap: 7 records were lost" in text and "LEFT: " in text and "refused: " in text


def test_one_arrow_for_what_passes_and_two_for_what_is_changed():
    root = svg(stage("a", full_session()))
    for row in rows(root):
        arrows = len(row.findall(f"{NS}path[@class='line']"))
        kind = row.get("class")
        assert arrows == (2 if "changed" in kind else 1 if "passed" in kind else 0), kind
    changed = rows(root, "changed")
    assert len(changed) == 1 and "-csum, -mrg_rxbuf" in words(changed[0])


def test_queue_limit_and_configuration_field_that_are_changed():
    t = tw.Trace()
    t.asked("GET_QUEUE_NUM", answer=tw.u64(128), changed=tw.u64(4))
    head = bytes(4) + b"\x0c" + bytes(7)
    t.asked("GET_CONFIG", head + bytes(12), head + bytes(10) + b"\x28\x23",
            head + bytes(10) + b"\xdc\x05")
    text = [words(row) for row in rows(svg(stage("a", t)), "changed")]
    assert "queues 128 -> 4" in text[0] and "config.mtu 9000 -> 1500" in text[1], text


def test_rings_are_folded():
    root = svg(stage("a", full_session(rings=3)))
    text = [words(g) for g in rows(root, "group")]
    wanted = ("3 \u00d7 SET_VRING_CALL",
              "3 \u00d7 (SET_VRING_NUM, SET_VRING_BASE, SET_VRING_ADDR, SET_VRING_KICK)",
              "3 \u00d7 SET_VRING_ENABLE")
    assert len(text) == 3 and all(w in t for w, t in zip(wanted, text)), text
    members = [g for g in rows(root) if g.get("data-member")]
    assert len(members) == 3 + 12 + 6 and all(g.get("display") == "none" for g in members)
    assert not any(g.get("display") for g in rows(root) if not g.get("data-member"))


def test_what_is_folded_was_passed():
    """A message that stands out is never hidden in a group."""
    t = tw.Trace()
    for ring in range(6):
        changed = tw.pair(ring, 128) if ring == 3 else None
        t.passed(tw.FRONT, "SET_VRING_NUM", tw.pair(ring, 256), changed)
    for ring in range(4):
        t.asked("SET_VRING_ENABLE", tw.pair(ring, 1), tw.u64(ring == 2), need_reply=True)
    root = svg(stage("a", t))
    for kind in ("changed", "error"):
        found = rows(root, kind)
        assert len(found) == 1 and not found[0].get("data-member"), kind


def test_messages_of_vushim_itself_and_messages_that_stay_with_it():
    t = tw.Trace()
    t.message(tw.FRONT, False, "GET_QUEUE_NUM")
    t.message(tw.FRONT, True, "GET_QUEUE_NUM", tw.u64(4), reply=True)
    root = svg(stage("a", t))
    assert len(rows(root, "kept")) == 1 and len(rows(root, "own", "reply")) == 1


def test_back_end_channel_and_latency():
    t = tw.Trace()
    t.asked("CONFIG_CHANGE_MSG", answer=tw.u64(0), asks=tw.BACK_CHANNEL, need_reply=True,
            think=70000)
    root = svg(stage("a", t))
    assert len(rows(root, "channel")) == 2
    assert "71.0 \u00b5s" in words(rows(root, "reply")[0])


def test_gaps_pauses_and_connections():
    t = full_session()
    t.number += 5
    t.time += 3 * 10**9
    t.life = 9
    text = [words(row) for row in rows(svg(stage("a", full_session(trace=t))), "note")]
    for one in ("5 records are missing", "3.00 s later", "connection 1", "connection 9"):
        assert any(one in line for line in text), one


def test_one_connection():
    t = full_session()
    t.life = 2
    path = stage("a", full_session(trace=t))
    alone = rows(svg(path, "--life", "2"))
    assert 10 < len(alone) < len(rows(svg(path))) and "connection" not in words(alone[0])


def test_hostile_texts():
    t = tw.Trace(device=b"<b>\x01\xff]]>&'\"\x1b[31m--\xe2\x80\xae")
    for kind in (tw.ENDING, tw.REFUSED, tw.EVENT):
        for text in (b"</text><script>alert(1)</script>", b"]]> &amp; <!-- \" ' %s %n",
                     b"\xff\xfe\x80 \xed\xa0\x80 \xf0\x9f\x98\x80 \xc0\xaf", b"x" * 4000,
                     b"\xe2\x82\xac" * 1300, b""):
            t.note(kind, text, text)
    t.passed(tw.FRONT, "SET_OWNER")
    path = stage("a", t)
    root = svg(path)
    assert len(list(root.iter(f"{NS}script"))) == 1
    assert "alert(1)" not in list(root.iter(f"{NS}script"))[0].text
    assert all(len(words(row)) < 260 for row in rows(root)), "a text is not cut"
    for line in trace(0, "diagram", path, "--format", "mermaid")[0].splitlines():
        assert ";" not in re.sub(r"#\d+;", "", line) and "<" not in line, line


def test_nothing_from_outside():
    text = trace(0, "diagram", stage("a", full_session()))[0]
    found = [url for url in re.findall(r"\w+://[^\"'\s<]+", text)
             if url != "http://www.w3.org/2000/svg"]
    assert not found and not re.search(r"@import|url\(|href", text), found


def test_long_traces_end_with_a_note():
    t = tw.Trace()
    one = tw.Trace()
    for _ in range(4100):
        t.passed(tw.FRONT, "SET_OWNER")
    root = svg(stage("a", t))
    assert len(rows(root, "passed")) == 4000
    assert "100 more records are not shown" in words(rows(root)[-1])
    one.passed(tw.FRONT, "SET_OWNER")
    assert len(rows(svg(stage("b", one)))) == 1


def test_mermaid():
    arrow = r"    [FSB]-?->>[FSB]: \S.*"
    lines = trace(0, "diagram", stage("a", full_session()), "--format", "mermaid")[0].splitlines()
    lines += trace(0, "diagram", sample(), "--format", "mermaid")[0].splitlines()
    depth = 0
    for line in lines:
        assert re.fullmatch(rf"sequenceDiagram|    participant [FSB] as .+|{arrow}|    loop .+|"
                            r"    end|    Note over (S|F,B): \S.*", line), line
        depth += line.startswith("    loop") - (line == "    end")
        assert depth in (0, 1)
    assert depth == 0 and "    Note over S: -csum, -mrg_rxbuf" in lines


def heads(root):
    return [text.text for text in root.iter(f"{NS}text") if text.get("class") == "head"]


def test_a_lane_for_the_next_back_end():
    """Only where one has said or heard something; messages go between it and vushim."""
    alone = svg(stage("a", full_session()))
    root = svg(stage("b", tw.switched()))
    assert heads(alone) == ["front-end", "vushim", "back-end"], heads(alone)
    assert heads(root) == ["front-end", "vushim", "back-end", "next back-end"], heads(root)
    assert int(root.get("width")) > int(alone.get("width"))
    lane = [line.get("x1") for line in root.iter(f"{NS}line")][3]
    beside = [row for row in rows(root) if "next back: " in row.find(f"{NS}title").text]
    assert len(beside) == 11 and all({"own", "kept"} & set(row.get("class").split())
                                     for row in beside), [row.get("class") for row in beside]
    for row in beside:
        tip = row.findall(f"{NS}path")[1].get("d")
        start = row.find(f"{NS}path").get("d")
        assert (start if "kept" in row.get("class") else tip).startswith(
            f"M{lane}" if "kept" in row.get("class") else f"M{int(lane) - 1}"), (start, tip)
    boxes = [int(box.get("x")) + int(box.get("width")) for box in root.iter(f"{NS}rect")
             if box.get("class") == "box"]
    assert set(boxes) == {int(lane) + 10}, boxes
    t = tw.session()
    t.note(tw.EVENT, "BACK_CONNECTED", wire=tw.NEXT_BACK)
    assert heads(svg(stage("a", t))) == heads(alone)


def test_mermaid_of_a_switch():
    text = trace(0, "diagram", stage("a", tw.switched()), "--format", "mermaid")[0]
    assert "    participant B as back-end\n    participant N as next back-end\n" in text
    assert "    S->>N: SET_VRING_BASE" in text and "    N-->>S: reply GET_FEATURES" in text
    assert "    Note over F,N: SWITCHED" in text and "F,B" not in text
    for line in text.splitlines():
        assert "N" not in re.sub(r":.*|participant.*|Note over F,N", "", line) or \
            re.match(r"    (S-?->>N|N-?->>S): ", line), line


def test_output():
    path = stage("a", full_session())
    out = stage("out.svg", b"")
    assert trace(0, "diagram", path, "--output", out) == ("", "")
    with open(out, encoding="utf-8") as f:
        assert f.read() == trace(0, "diagram", path)[0]
    assert "is the trace itself" in error("diagram", path, "--output", path)
    assert os.path.getsize(path) == len(full_session().data)
    assert "cannot be" in error("diagram", path, "--output", "/dev/full")
    assert "No such file" in error("diagram", path, "--output", "/nowhere/x")
    assert "--format" in error("diagram", path, "--format", "png")


def test_bad_files_leave_no_output():
    good = full_session().data
    out = stage("out.svg", b"old")
    for name, content, why in (("empty", b"", "is empty"), ("foreign", b"<svg>" * 99, "not a pcapng"),
                               ("head", tw.Trace().data, "no message"),
                               ("broken", good[:-4] + bytes(4), "at byte")):
        assert why in error("diagram", stage(name, content), "--output", out), name
    with open(out, "rb") as f:
        assert f.read() == b"old"
    assert "No such file" in error("diagram", "/nowhere")


def test_cut_files_are_drawn_to_their_end():
    data = full_session().data
    for cut in (1, 20, 60):
        out, err = trace(0, "diagram", stage("a", data[:-cut]))
        assert "ends inside a record" in err and len(rows(ET.fromstring(out.encode()))) > 10
