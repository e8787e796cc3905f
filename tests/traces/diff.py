# SPDX-License-Identifier: MIT
"""vushim trace diff: every kind of difference is found, and noise is none."""
import json

import tracewriter as tw
from tracetool import error, sample, stage, trace


def diff(status, a, b):
    a, b = stage("a", a), stage("b", b)
    found = json.loads(trace(status, "diff", a, b, "--json")[0])
    assert found["equal"] == (status == 0)
    text = trace(status, "diff", a, b)[0]
    assert text.splitlines()[-1] == ("equal" if status == 0 else "different"), text
    return found


def only(found, *kinds):
    """Nothing is found but these kinds."""
    for kind in ("offers", "messages", "values", "timing"):
        assert bool(found[kind]) == (kind in kinds), (kind, found[kind])
    return found


def test_equal():
    only(diff(0, tw.session(), tw.session()))
    path = sample()
    trace(0, "diff", path, path)


def test_noise():
    noisy = tw.session(address=0x123000, inode=999, base=77, step=1100, device="other")
    only(diff(0, tw.session(), noisy))


def test_features():
    found = only(diff(1, tw.session(), tw.session(features=0x170000403)), "offers", "values")
    assert {"what": "back-end offers features", "change": "+guest_ufo, -mrg_rxbuf"} in found["offers"]
    assert found["values"][0]["message"] == "front > SET_FEATURES"


def test_only_what_the_front_end_is_offered():
    found = diff(1, tw.session(), tw.session(kept=0x170008002))
    assert found["offers"] == [{"what": "front-end is offered features", "change": "-csum"}]
    assert any("passed unchanged -> changed by vushim" in v["change"] for v in found["values"])


def test_protocol_features_and_queues():
    found = diff(1, tw.session(), tw.session(protocol=0x1e, queues=128))
    assert {"what": "back-end offers protocol features", "change": "-mq"} in found["offers"]
    assert {"what": "back-end offers queues", "change": "4 -> 128"} in found["offers"]


def test_slots_and_configuration():
    def one(slots, mtu):
        t = tw.Trace()
        head = bytes(4) + b"\x0c" + bytes(7)
        t.asked("GET_MAX_MEM_SLOTS", answer=tw.u64(slots))
        t.asked("GET_CONFIG", head + bytes(12), head + bytes(10) + mtu.to_bytes(2, "little"))
        return t
    found = only(diff(1, one(8, 1500), one(32, 9000)), "offers")
    assert {"what": "back-end offers memory slots", "change": "8 -> 32"} in found["offers"]
    assert {"what": "back-end offers configuration",
            "change": "config.mtu 1500 -> 9000"} in found["offers"]


def test_interface():
    a, b = tw.Trace(), tw.Trace()
    for t, text in ((a, "mq=on"), (b, "mq=off")):
        t.note(tw.EVENT, "START", text)
        t.passed(tw.FRONT, "SET_OWNER")
    found = only(diff(1, a, b), "offers")
    assert found["offers"] == [{"what": "interface", "change": "mq=on -> mq=off"}]


def test_messages():
    a, b = tw.session(), tw.session()
    b.passed(tw.FRONT, "SET_VRING_ERR", tw.u64(1))
    found = only(diff(1, a, b), "messages")
    assert found["messages"] == [{"only": "b", "number": b.number - 1,
                                  "message": "front > SET_VRING_ERR index=1"}]
    found = only(diff(1, b, a), "messages")
    assert found["messages"][0]["only"] == "a"


def test_order():
    a, b = tw.Trace(), tw.Trace()
    for t, names in ((a, ("SET_OWNER", "RESET_OWNER", "GET_FEATURES")),
                     (b, ("SET_OWNER", "GET_FEATURES", "RESET_OWNER"))):
        for name in names:
            t.passed(tw.FRONT, name)
    found = only(diff(1, a, b), "messages")
    assert sorted(m["only"] for m in found["messages"]) == ["a", "b"]
    assert len({m["message"] for m in found["messages"]}) == 1


def test_endings():
    a, b = tw.session(), tw.session()
    a.note(tw.ENDING, "FRONT_LEFT", "process 12")
    b.note(tw.ENDING, "FRONT_LEFT", "process 13")
    only(diff(0, a, b))
    b.note(tw.REFUSED, "REFUSED", "SET_VRING_NUM")
    only(diff(1, a, b), "messages")


def test_ring_sizes_are_told_once():
    found = only(diff(1, tw.session(), tw.session(size=1024)), "values")
    assert len(found["values"]) == 1
    assert found["values"][0]["change"] == "num 256 -> 1024" and found["values"][0]["times"] == 4


def test_the_next_back_end():
    """Its offer is one of its own, and so is the time that it takes."""
    only(diff(0, tw.switched(), tw.switched()))
    found = only(diff(1, tw.switched(), tw.switched(next_features=0x170000003)), "offers")
    assert found["offers"] == [{"what": "next back-end offers features", "change": "-mrg_rxbuf"}]
    found = only(diff(0, tw.switched(think=5000), tw.switched(think=900000)), "timing")
    assert [t["what"] for t in found["timing"]] == ["next back-end answers GET_FEATURES"], found
    found = only(diff(1, tw.switched(left=False), tw.switched()), "messages")
    assert "next back < GET_FEATURES" in {m["message"] for m in found["messages"]}, found


def test_timing_is_shown_and_does_not_count():
    found = only(diff(0, tw.session(think=5000), tw.session(think=90000)), "timing")
    assert {"what": "back-end answers GET_FEATURES", "a_ns": 6000,
            "b_ns": 91000} in found["timing"]
    only(diff(0, tw.session(think=5000), tw.session(think=9000)))


def test_the_last_connection_with_a_message_counts():
    t = tw.session(size=64)
    t.life = 2
    t = tw.session(trace=t)
    t.life = 3
    t.note(tw.EVENT, "FRONT_CONNECTED")
    found = only(diff(0, t, tw.session()))
    assert found["a"]["life"] == 2


def test_a_connection_can_be_chosen():
    t = tw.session(size=64)
    t.life = 2
    path, one = stage("a", tw.session(trace=t)), stage("b", tw.session(size=64))
    trace(0, "diff", path, one, "--life", "1")
    trace(1, "diff", path, one)
    assert "no message in it of this connection" in error("diff", path, one, "--life", "2")
    for bad in ("0", "x", "-1", "", "99999999999999999999"):
        assert "--life" in error("diff", path, one, "--life", bad), bad


def test_the_interface_of_all_connections():
    """The start of a trace is before the connection that is compared."""
    made = []
    for text in ("mq=on", "mq=off"):
        t = tw.Trace()
        t.note(tw.EVENT, "START", text)
        t.life = 2
        t.passed(tw.FRONT, "SET_OWNER")
        made.append(t)
    assert only(diff(1, *made), "offers")["offers"][0]["what"] == "interface"


def test_without_a_start_and_with_a_gap():
    a, b = tw.Trace(), tw.session()
    a.passed(tw.FRONT, "SET_OWNER")
    a.gap(3)
    found = diff(1, a, b)
    assert found["a"]["lost"] == 3 and not found["offers"]


def test_long_traces_are_compared_as_far_as_can_be():
    a, b = tw.Trace(), tw.Trace()
    for i in range(4200):
        a.passed(tw.FRONT, "SET_OWNER")
        b.passed(tw.FRONT, "SET_OWNER" if i % 7 else "RESET_OWNER")
    found = only(diff(1, a, b), "messages")
    assert found["a"]["left_out"] == 200


def test_bad_files():
    good = stage("good", tw.session())
    for name, content, why in (("empty", b"", "is empty"), ("foreign", b"{}" * 99, "not a pcapng"),
                               ("head", tw.Trace().data, "no message")):
        path = stage(name, content)
        assert why in error("diff", path, good) and why in error("diff", good, path)
    assert "number of arguments" in error("diff", good)
    cut = stage("cut", tw.session().data[:-9])
    assert "ends inside a record" in trace(1, "diff", cut, good)[1]
