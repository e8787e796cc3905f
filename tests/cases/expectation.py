# SPDX-License-Identifier: MIT
"""What a running device says of itself, used elsewhere: --expect, --state, --offer ctl:PATH."""
import json

from commands import RUN, one_line
from control import BACK, NET, Client, begin, ctl, ring, set_up
from harness import case
from peers import check, until
from shim import command
from wire import Front, bits, u64


def saved(t, name="state.json", **changes):
    """A file as `ctl state --json` writes it, of a guest with two rings."""
    state = {"features_acked_bits": hex(bits(15, 30, 32)),
             "rings": [ring(0, 256, True, True), ring(3, 128, True, True)], **changes}
    with open(t.path(name), "w", encoding="utf-8") as file:
        file.write(json.dumps(state))
    return t.path(name)


def offered(t):
    """A file as `probe --json` writes it."""
    with open(t.path("offer.json"), "w", encoding="utf-8") as file:
        json.dump({"features_bits": hex(BACK.features), "protocol_features_bits":
                   hex(BACK.protocol), "queues": 8, "mem_slots": 64, "device": "net"}, file)
    return t.path("offer.json")


@case({"pinned": {"profile": NET}, "host": {"profile": "host"}}, repeat=0)
def expect_met(t, profile):
    """A real state, saved and expected: the next process serves as if nothing had been asked."""
    path = begin(t, NET)
    set_up(t)
    with open(t.path("state"), "w", encoding="utf-8") as file:
        file.write(ctl(path, "state", "--json"))
    t.start(profile, extra=("--expect", t.path("state")))
    back = t.back(BACK)
    front = t.front()
    t.links.append((front, back))
    t.shim.idle = None                  # it looks for the next back-end at once
    t.ask(front, back, Front.GET_FEATURES, answer=u64(BACK.features),
          sees=u64(BACK.features & ~bits(0, 28)) if profile == NET else None)


UNMET = {"feature": (NET, {"features_acked_bits": hex(bits(15, 28, 32))}, "indirect_desc"),
         "features": (NET, {"features_acked_bits": hex(bits(0, 7, 32))}, "guest_tso4"),
         "ring_index": (NET, {"rings": [ring(9, 64, True, True)]}, "virtqueues 10"),
         "ring_size": (NET.replace("256", "128"), {}, "256"),
         "host": ("host", {"features_acked_bits": hex(bits(34))}, "packed")}


@case({name: {"row": row} for name, row in UNMET.items()}, repeat=0)
def expect_unmet(t, row):
    """What the guest could not carry on with is named, exit 1; no front-end is told anything."""
    profile, changes, word = row
    state = saved(t, **changes)
    t.start(profile, back="listen", extra=("--expect", state))
    front = t.front()
    front.send(Front.GET_FEATURES, lost=True)
    back = t.end("back")
    if t.admit(back, BACK):
        back.ended()
    check(t.shim.wait() == 1, f"exit status {t.shim.process.returncode}")
    front.ended()
    line = t.shim.said(r"back.*\[INCOMPATIBLE\]")
    check(word in line, f"'{word}' is not in: {line}")
    t.shims.clear()
    offer = offered(t)
    if profile != "host":
        for good, path in ((False, state), (True, saved(t, "good", rings=[]))):
            status, out, err = command("check", profile, "--offer", offer, "--state", path)
            check(status == (0 if good else 1) and not err, f"{status} {out}{err}")
            check(good or word in out, f"'{word}' is not in: {out}")


BROKEN = {"empty": "", "no_json": "{", "list": "[]", "nothing": "{}", "no_rings":
          '{"features_acked_bits": "0x1"}', "rings": '{"features_acked_bits": "0x1", "rings": {}}',
          "number": '{"features_acked_bits": 1, "rings": []}',
          "hex": '{"features_acked_bits": "0xx", "rings": []}',
          "negative": '{"features_acked_bits": "-1", "rings": []}',
          "wide": '{"features_acked_bits": "0x10000000000000000", "rings": []}',
          "index": '{"features_acked_bits": "0x1", "rings": [{"index": -1, "num": 1}]}',
          "index_word": '{"features_acked_bits": "0x1", "rings": [{"index": "a", "num": 1}]}',
          "no_ring": '{"features_acked_bits": "0x1", "rings": ["a"]}',
          "num": '{"features_acked_bits": "0x1", "rings": [{"index": 0, "num": 65536}]}',
          "twice": '{"features_acked_bits": "0x1", "features_acked_bits": "0x2", "rings": []}'}


@case({name: {"text": text} for name, text in BROKEN.items()}, repeat=0)
def state_broken(t, text):
    """A file that is no saved state is an error, never a yes."""
    with open(t.path("state"), "w", encoding="utf-8") as file:
        file.write(text)
    one_line(*command(*RUN, "--expect", t.path("state")), text)
    one_line(*command("check", NET, "--offer", offered(t), "--state", t.path("state")), text)


@case(repeat=0)
def state_missing(t):
    for path in (t.path("none"), t.dir, "/dev/zero", ""):
        one_line(*command(*RUN, "--expect", path), path)


@case(repeat=0)
def offer_by_control(t):
    """check and versions ask a running vushim; a device with nothing to tell is an error."""
    path = begin(t, NET)
    for words in (["check", NET], ["versions"]):
        one_line(*command(*words, "--offer", "ctl:" + path), words)
        one_line(*command(*words, "--offer", "ctl:" + t.path("nobody")), words)
    front, back = set_up(t)
    check(command("check", NET, "--offer", "ctl:" + path)[0] == 0, "cannot serve what it serves")
    check(command("check", NET + ",packed=on", "--offer", "ctl:" + path)[0] == 1, "too much")
    status, out, err = command("versions", "--json", "--offer", "ctl:" + path)
    check(status in (0, 1) and not err and "supported" in json.loads(out), f"{status} {err}{out}")
    t.works(front, back, BACK.features & ~bits(0, 28))


def heard(t, client, *names):
    """These events have come, in this order; their data."""
    def arrived():
        client.value("query-version")
        return [event["event"] for event in client.events] == list(names)
    until(arrived, lambda: f"{names}, heard {client.events}")
    events, client.events = client.events, []
    for event in events:
        check(set(event) == {"event", "data", "timestamp"} and event["data"]["device"] == "dev0",
              f"{event}")
    return [event["data"] for event in events]


@case(repeat=0)
def ctl_events(t):
    """Comings and goings, refusals and unfit back-ends are told to every client that has begun."""
    path = begin(t, NET)
    clients, mute = [Client(t, path), Client(t, path)], Client(t, path, greeted=False)
    front, back = t.pair(BACK)
    t.ask(front, back, Front.GET_FEATURES, answer=u64(BACK.features),
          sees=u64(BACK.features & ~bits(0, 28)))
    front.send(Front.SET_FEATURES, u64(bits(28)), lost=True)
    front.ended()
    back.ended()
    back.close()
    front.close()
    bad = t.front("F2")
    unfit = t.end("back", "B2")
    t.admit(unfit, BACK._replace(features=bits(30, 32)))
    bad.ended()
    for client in clients:
        data = heard(t, client, "FRONT_CONNECTED", "BACK_CONNECTED", "REFUSED", "FRONT_GONE",
                     "FRONT_CONNECTED", "BACK_CONNECTED", "BACK_OFFERS_LESS",
                     "BACK_INCOMPATIBLE", "BACK_LOST", "FRONT_GONE")
        check("indirect_desc" in data[2]["detail"], f"{data[2]}")
    check("QMP" in mute.hear() and not mute.events, "told before it began")
