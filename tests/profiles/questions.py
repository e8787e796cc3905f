# SPDX-License-Identifier: MIT
"""What a manager asks: versions, check, profile show and diff; text, JSON and exit status."""
import os
import socket
import subprocess

import tables
from tool import (STAGE, VUSHIM, check, equal, family, mask, offer, protocol_mask, says, says_json,
                  stage, test, version, vushim)

FEATURES = ["csum", "mrg_rxbuf"]
PROTOCOL = ["mq", "log_shmfd", "config", "configure_mem_slots"]


def home(name="org.test", folder="home"):
    """A folder with one family of three versions."""
    stage(f"{folder}/{name}.json", family(
        version("v1", description="the first", max_ring=256),
        version("v2", based_on="v1", features={"add": ["mtu"]}, queues=2,
                protocol_features={"add": ["log_shmfd"]}),
        {"name": "v3", "based_on": "v2", "config": {"mtu": {"pin": 1500}}, "mem_slots": 32,
         "protocol_features": {"add": ["config", "configure_mem_slots"]}}, name=name))
    return f"{STAGE.name}/{folder}"


def config_bytes(device="net", **values):
    space = bytearray(60)
    for field in tables.fields(device):
        if field.name in values:
            space[field.offset:field.offset + field.size] = values[field.name].to_bytes(
                field.size, "little")
    return space.hex()


def good_offer(name="good", features=(*FEATURES, "mtu"), protocol=PROTOCOL, **keys):
    keys = {"queues": 4, "mem_slots": 32, "config_bytes": config_bytes(mtu=1500), **keys}
    return stage(f"offers/{name}.json", offer(mask("net", features), protocol_mask(protocol),
                                              **keys))


# ---- versions ----

@test()
def versions__text():
    lines = says(0, "versions", "--family", "org.test", "--profile-dir", home()).splitlines()
    equal([line.split()[0] for line in lines], ["org.test.v1", "org.test.v2", "org.test.v3"],
          "names")
    check(lines[0].endswith("the first"), f"no description: {lines[0]}")


@test()
def versions__json():
    told = says_json(0, "versions", "--family", "org.test", "--profile-dir", home())
    equal(set(told), {"latest", "supported", "families"}, "keys")
    equal(told["latest"], "org.test.v3", "latest")
    equal(told["supported"], ["org.test.v1", "org.test.v2", "org.test.v3"], "supported")
    one = told["families"]["org.test"]
    equal((one["device"], one["latest"]), ("net", "org.test.v3"), "family")
    equal(one["versions"][0]["description"], "the first", "description")
    check("description" not in one["versions"][1], "a description that nobody wrote")
    for listed in one["versions"]:
        shown = says_json(0, "profile", "show", listed["name"], "--profile-dir", home())
        equal(listed["digest"], shown["digest"], listed["name"])


@test()
def versions__several_families():
    """With more than one family there is no latest of all."""
    told = says_json(0, "versions", "--profile-dir", home())
    check(told["latest"] is None and len(told["families"]) > 1, f"latest {told['latest']}")
    check("org.dpdk" in told["families"], "what is shipped is not there")


@test()
def versions__offer():
    for features, protocol, latest in (((*FEATURES, "mtu"), PROTOCOL, "v3"),
                                       ((*FEATURES, "mtu"), ["mq", "log_shmfd"], "v2"),
                                       (FEATURES, PROTOCOL, "v1")):
        path = good_offer("some", features, protocol)
        told = says_json(0, "versions", "--family", "org.test", "--offer", path, "--profile-dir",
                         home())
        equal(told["latest"], f"org.test.{latest}", f"latest for {features}, {protocol}")
    path = good_offer("nothing", [])
    equal(says(1, "versions", "--family", "org.test", "--offer", path, "--profile-dir", home()),
          "none\n", "text")
    told = says_json(1, "versions", "--family", "org.test", "--offer", path, "--profile-dir",
                     home())
    equal(told, {"latest": None, "supported": [], "families": {}}, "JSON")


@test()
def versions__other_device():
    """A disk is not asked for the versions of a network device."""
    path = stage("offers/disk.json", offer(2 ** 64 - 1 & ~tables.facts("blk"), 2 ** 64 - 1, "blk",
                                             queues=128))
    told = says_json(0, "versions", "--offer", path)
    equal({one["device"] for one in told["families"].values()}, {"blk"}, "devices")
    says(1, "versions", "--offer", path, "--family", "org.dpdk")


@test()
def versions__folders():
    """A family that an earlier folder has wins; a folder that is not there is an error when it
    was named."""
    folder = f"{STAGE.name}/shadow"
    stage("shadow/mine.json", family(version("v22.11"), name="org.dpdk"))
    told = says_json(0, "versions", "--family", "org.dpdk", "--profile-dir", folder)
    equal(told["supported"], ["org.dpdk.v22.11"], "supported")
    says(2, "versions", "--profile-dir", "/none")
    says(2, "versions", "--profile-dir", stage("no-folder", ""))
    says(2, "versions", "--family", "org.nobody")
    stage("shadow/README", "no family")
    stage("shadow/family.schema.json", "{}")
    says(0, "versions", "--profile-dir", folder)


# ---- check ----

GOOD_CHECK = {"compatible": True, "missing_features": [], "missing_protocol_features": [],
              "unwanted_features": [], "limits": {}, "hints": {}, "missing_config": False,
              "state": "", "host": False}


def checked(status, spec, path, *more):
    return says_json(status, "check", spec, "--offer", path, "--profile-dir", home(), *more)


@test()
def check__yes():
    told = checked(0, "org.test.v3", good_offer())
    equal({key: told[key] for key in GOOD_CHECK}, GOOD_CHECK, "JSON")
    equal(set(told) - set(GOOD_CHECK), {"spec", "digest"}, "more keys")
    check(says(0, "check", "host", "--offer", good_offer()).startswith("yes"), "text")


# name: (spec, what is different in the offer, what is different in the answer)
NO = {
    "feature": ("org.test.v1", {"features": ["csum"]}, {"missing_features": ["mrg_rxbuf"]}),
    "features": ("csum=on,mrg_rxbuf=on,host_tso4=on", {"features": ["csum"]},
                 {"missing_features": ["host_tso4", "mrg_rxbuf"],
                  "hints": {"host_tso4": "testpmd and Open vSwitch offer it only with tso "
                                         "enabled"}}),
    "protocol": ("org.test.v2", {"protocol": ["mq"]}, {"missing_protocol_features": ["log_shmfd"]}),
    "protocol_of_a_feature": ("csum=on,mq=on,ctrl_vq=on",
                              {"features": ["csum", "mq", "ctrl_vq"], "protocol": []},
                              {"missing_features": ["mq"]}),
    "queues": ("org.test.v2", {"queues": 1}, {"limits": {"queues": {"wanted": 2, "offered": 1}}}),
    "slots": ("org.test.v3", {"mem_slots": 8},
              {"limits": {"mem_slots": {"wanted": 32, "offered": 8}}}),
    "slots_without_message": ("mem_slots=9,csum=on", {"protocol": ["mq"]},
                              {"limits": {"mem_slots": {"wanted": 9, "offered": 8}}}),
    "field": ("org.test.v3", {"config_bytes": config_bytes(mtu=1499)},
              {"limits": {"config.mtu": {"wanted": 1500, "offered": 1499}}}),
    "no_configuration_space": ("csum=on,config.mtu=1500", {"protocol": ["mq"],
                                                           "config_bytes": ""},
                               {"missing_config": True}),
    "everything": ("host_tso4=on,queues=9,mem_slots=33,protocol.rarp=on,config.mtu=9000", {},
                   {"missing_features": ["host_tso4"], "missing_protocol_features": ["rarp"],
                    "limits": {"queues": {"wanted": 9, "offered": 4},
                               "mem_slots": {"wanted": 33, "offered": 32},
                               "config.mtu": {"wanted": 9000, "offered": 1500}},
                    "hints": {"host_tso4": "testpmd and Open vSwitch offer it only with tso "
                                           "enabled"}}),
}


@test({name: {"name": name} for name in NO})
def check__no(name):
    spec, changes, answer = NO[name]
    told = checked(1, spec, good_offer(f"no-{name}", **changes))
    wanted = {**GOOD_CHECK, "compatible": False, **answer}
    equal({key: told[key] for key in wanted}, wanted, "JSON")
    text = says(1, "check", spec, "--offer", good_offer(f"no-{name}", **changes), "--profile-dir",
                home())
    check(text.startswith("no: "), text)
    for word in (*wanted["missing_features"], *wanted["missing_protocol_features"],
                 *wanted["limits"]):
        check(word in text, f"'{word}' is not in: {text}")
    for both in wanted["limits"].values():
        check(f"{both['wanted']} wanted, {both['offered']} offered" in text, text)


# name: (what is pinned, what the back-end has, good)
FIELDS = {
    "up_to_less": ("seg_max=126", {"seg_max": 254}, True),
    "up_to_equal": ("seg_max=126", {"seg_max": 126}, True),
    "up_to_more": ("seg_max=126", {"seg_max": 125}, False),
    "up_to_min": ("seg_max=min:126", {"seg_max": 64}, True),
    "same_equal": ("blk_size=512", {"blk_size": 512}, True),
    "same_less": ("blk_size=512", {"blk_size": 4096}, False),
    "same_min_of_more": ("blk_size=min:512", {"blk_size": 4096}, False),
    "same_min_of_less": ("blk_size=min:4096", {"blk_size": 512}, True),
    "any": ("min_io_size=8", {"min_io_size": 1}, True),
    "capacity_less": ("capacity=2048", {"capacity": 2049}, True),
    "capacity_more": ("capacity=2048", {"capacity": 2047}, False),
}


@test({name: {"name": name} for name in FIELDS})
def check__field(name):
    """What may be told of a field, given the back-end's own value; with min:, too."""
    pin, own, good = FIELDS[name]
    path = stage(f"offers/field-{name}.json",
                 offer(mask("blk", ["seg_max", "blk_size", "topology"]), protocol_mask(["config"]),
                       "blk", config_bytes=config_bytes("blk", **own)))
    says(0 if good else 1, "check", f"device=blk,config.{pin}", "--offer", path)


@test()
def check__read_only():
    """Hiding it would not make it untrue; and asking for it is not the same as having it."""
    ro, rw = (stage(f"offers/{name}.json", offer(mask("blk", bits), 0, "blk"))
              for name, bits in (("ro", ["ro", "flush"]), ("rw", ["flush"])))
    equal(checked(1, "device=blk,flush=on", ro)["unwanted_features"], ["ro"], "unwanted")
    equal(checked(1, "device=blk,flush=on,ro=on", rw)["missing_features"], ["ro"], "missing")
    checked(0, "device=blk,flush=on,ro=on", ro)
    checked(0, "device=blk,flush=on", rw)


@test()
def check__host():
    told = checked(0, "host", good_offer())
    check(told["host"] is True, "host is not said to be host")
    checked(1, "host,host_tso4=on", good_offer())
    checked(0, "host,device=net,csum=off", good_offer())


@test()
def check__wrong():
    path = good_offer()
    disk = stage("offers/disk.json", offer(0, 0, "blk"))
    for words in ([], ["host"], ["--offer", path], ["frob=on", "--offer", path],
                  ["org.nobody.v1", "--offer", path], ["host", "--offer", "/none"],
                  ["csum=on", "--offer", disk], ["host", "--offer", STAGE.name],
                  ["host", "--offer", path, "--state", "/none"],
                  ["host", "--offer", path, "--profile-dir", "/none", "csum=on"]):
        says(2, "check", *words)


BAD_OFFERS = {
    "empty": "", "truncated": '{"features_bits": "0x1', "list": "[]", "number": "7",
    "no_features": '{"protocol_features_bits": "0x0"}',
    "no_protocol": '{"features_bits": "0x0"}',
    "features_number": '{"features_bits": 7, "protocol_features_bits": "0x0"}',
    "features_word": '{"features_bits": "csum", "protocol_features_bits": "0x0"}',
    "features_rest": '{"features_bits": "0x1g", "protocol_features_bits": "0x0"}',
    "features_huge": '{"features_bits": "0x1ffffffffffffffff", "protocol_features_bits": "0x0"}',
    "features_negative": '{"features_bits": "-1", "protocol_features_bits": "0x0"}',
    "queues_negative": '{"features_bits": "0x0", "protocol_features_bits": "0x0", "queues": -1}',
    "queues_text": '{"features_bits": "0x0", "protocol_features_bits": "0x0", "queues": "2"}',
    "config_odd": '{"features_bits": "0x0", "protocol_features_bits": "0x0", "config_bytes": "0"}',
    "config_word": '{"features_bits": "0x0", "protocol_features_bits": "0x0", '
                   '"config_bytes": "xy"}',
    "config_number": '{"features_bits": "0x0", "protocol_features_bits": "0x0", '
                     '"config_bytes": 12}',
    "config_long": '{"features_bits": "0x0", "protocol_features_bits": "0x0", "config_bytes": "'
                   + "00" * 257 + '"}',
    "key_twice": '{"features_bits": "0x0", "features_bits": "0x1", '
                 '"protocol_features_bits": "0x0"}',
    "device_unknown": '{"device": "toaster", "features_bits": "0x0", '
                      '"protocol_features_bits": "0x0"}',
}


@test({name: {"name": name} for name in BAD_OFFERS})
def offers__bad(name):
    path = stage(f"bad-offers/{name}.json", BAD_OFFERS[name])
    for words in (["check", "host,mq=off", "--offer", path], ["versions", "--offer", path],
                  ["profile", "capture", path, "--as", "a.b"], ["profile", "baseline", path]):
        check(path in says(2, *words), "the file is not named")


@test()
def offers__not_a_file():
    """A socket is not connected to by accident: that creates a device on some back-ends."""
    path = f"{STAGE.name}/back.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        line = says(2, "check", "host", "--offer", path)
        check(f"connect:{path}" in line, line)
        listener.setblocking(False)
        try:
            listener.accept()
            check(False, "it was connected to")
        except BlockingIOError:
            pass
    huge = stage("huge-offer.json", "{}")
    os.truncate(huge, 100 << 20)
    says(2, "check", "host", "--offer", huge)
    pipe = f"{STAGE.name}/offer-pipe"
    os.mkfifo(pipe)
    says(2, "check", "host", "--offer", pipe)


# ---- a running device's state ----

def state(features, rings=((0, 128), (1, 128)), device="net"):
    return {"name": "net0", "device": device, "features_acked_bits": hex(features),
            "protocol_features_acked_bits": "0x0", "memory_regions": 1,
            "rings": [{"index": index, "num": num, "enabled": True, "started": True}
                      for index, num in rings]}


# name: (state, spec, what is missing; None: the guest can carry on)
STATES = {
    "all": (state(mask("net", FEATURES)), "org.test.v1", None),
    "less_than_there_is": (state(mask("net", ["csum"])), "org.test.v1", None),
    "vhost_bits": (state(mask("net", FEATURES) | tables.VHOST_BITS), "org.test.v1", None),
    "feature": (state(mask("net", [*FEATURES, "mtu"])), "org.test.v1", "mtu"),
    "feature_not_offered": (state(mask("net", ["csum", "host_tso4"])), "csum=on", "host_tso4"),
    "front_bit": (state(mask("net", ["csum", "mac"])), "csum=on,mac=front", None),
    "unnamed_bit": (state(1 << 50), "org.test.v1", "bit 50"),
    "ring": (state(0, [(0, 512)]), "org.test.v1", "512"),
    "ring_equal": (state(0, [(0, 256)]), "org.test.v1", None),
    "queues": (state(0, [(0, 64), (4, 64)]), "org.test.v2", "5 in use, 4 here"),
    "queues_equal": (state(0, [(0, 64), (3, 64)]), "org.test.v2", None),
    "host": (state(mask("net", FEATURES)), "host", None),
    "host_without": (state(mask("net", ["host_tso4"])), "host", "host_tso4"),
    "nothing": (state(0, []), "org.test.v1", None),
}


@test({name: {"name": name} for name in STATES})
def state__check(name):
    saved, spec, missing = STATES[name]
    path, an_offer = stage(f"states/{name}.json", saved), good_offer()
    told = checked(0 if missing is None else 1, spec, an_offer, "--state", path)
    equal(told["compatible"], missing is None, "compatible")
    check(told["state"] == "" if missing is None else missing in told["state"], told["state"])
    text = says(0 if missing is None else 1, "check", spec, "--offer", an_offer, "--profile-dir",
                home(), "--state", path)
    check(text.startswith("yes") if missing is None else missing in text, text)


@test()
def state__more_memory_than_slots():
    """A guest with twenty regions of memory does not fit where eight are allowed."""
    saved = {**state(mask("net", FEATURES)), "memory_regions": 20}
    told = checked(1, "org.test.v1,mem_slots=8", good_offer(), "--state",
                   stage("states/memory.json", saved))
    check("20" in told["state"], told["state"])


@test()
def state__other_device():
    """Bit 5 is mac here and ro there."""
    disk = stage("states/disk.json", state(1 << 2, [], "blk"))
    status, out = vushim("check", "org.test.v1", "--offer", good_offer(), "--profile-dir", home(),
                         "--state", disk)
    check(status != 0 and "blk" in out and "net" in out, f"status {status}: {out}")


@test({name: {"text": text} for name, text in {
    "empty": "", "list": "[]", "offer": '{"features_bits": "0x0", "protocol_features_bits": "0x0"}',
    "no_rings": '{"features_acked_bits": "0x0"}',
    "rings_object": '{"features_acked_bits": "0x0", "rings": {}}',
    "ring_far": '{"features_acked_bits": "0x0", "rings": [{"index": 99999, "num": 1}]}',
    "ring_negative": '{"features_acked_bits": "0x0", "rings": [{"index": -1, "num": 1}]}',
    "ring_huge": '{"features_acked_bits": "0x0", "rings": [{"index": 0, "num": 65536}]}',
    "ring_text": '{"features_acked_bits": "0x0", "rings": ["0"]}',
    "features_number": '{"features_acked_bits": 0, "rings": []}',
}.items()})
def state__bad(text):
    path = stage("states/bad.json", text)
    line = says(2, "check", "host", "--offer", good_offer(), "--state", path)
    check(path in line, f"the file is not named: {line}")
    front, back = f"{STAGE.name}/front.sock", f"{STAGE.name}/none.sock"
    line = says(2, "run", "--front", front, "--back", back, "--expect", path)
    check(path in line and not os.path.exists(front), line)


# ---- show and diff ----

@test()
def show__version():
    shown = says_json(0, "profile", "show", "org.test.v3", "--profile-dir", home())
    equal(shown["features"], ["csum", "mtu", "mrg_rxbuf"], "features")
    equal(shown["protocol_features"], PROTOCOL, "protocol features")
    equal(shown["config"], {"mtu": {"pin": 1500}}, "config")
    equal((shown["queues"], shown["max_ring"], shown["mem_slots"]), (2, 256, 32), "limits")
    check(set(shown["withheld_protocol_features"]).isdisjoint(shown["protocol_features"]) and
          "reply_ack" in shown["withheld_protocol_features"], "withheld")


@test()
def show__large_number():
    """A field of eight bytes can hold what no signed number can."""
    shown = says_json(0, "profile", "show", f"device=blk,config.capacity={2 ** 64 - 1}")
    equal(shown["config"]["capacity"]["pin"], str(2 ** 64 - 1), "capacity, as text")


# name: (a, b, lines of the text; [] when equal)
DIFFERENCES = {
    "equal": ("org.test.v1", "org.test.v1", []),
    "equal_in_other_words": ("org.test.v1", "org.test.v2,mtu=off,protocol.log_shmfd=off,queues=1",
                             None),
    "features": ("org.test.v1", "org.test.v2",
                 ["+ features mtu", "+ required protocol features log_shmfd",
                  "+ queues=2"]),
    "limits": ("max_ring=256,csum=on", "max_ring=128,csum=on", ["- max_ring=256",
                                                                "+ max_ring=128"]),
    "fields": ("device=blk,config.seg_max=1", "device=blk,config.seg_max=min:1",
               ["- config.seg_max=1", "+ config.seg_max=min:1"]),
    "front": ("csum=on,mac=front", "csum=on", ["- front mac"]),
    "device": ("device=net,version_1=on", "device=blk,version_1=on",
               ["- device=net", "+ device=blk"]),
    "host": ("host,device=net,mq=off", "host,device=net,csum=off", None),
    "host_off": ("host,device=net", "host,device=net,csum=off", None),
}


@test({name: {"name": name} for name in DIFFERENCES})
def diff__of(name):
    """Whatever differs is said."""
    a, b, lines = DIFFERENCES[name]
    status = 0 if lines == [] else 1
    text = says(status, "profile", "diff", a, b, "--profile-dir", home())
    if lines is None:
        check(text.strip() and text != "equal\n", f"nothing is said: {text!r}")
    else:
        equal(text.splitlines(), lines or ["equal"], "text")
    told = says_json(status, "profile", "diff", a, b, "--profile-dir", home())
    equal(told["equal"], status == 0, "equal")
    equal([told["a"]["digest"] == told["b"]["digest"]], [status == 0], "digests")


@test()
def diff__wrong():
    for words in ([], ["host"], ["host", "frob=on"], ["host", "host", "host"]):
        says(2, "profile", "diff", *words)


@test()
def wrong__words():
    for words in (["profile"], ["profile", "frob"], ["profile", "show"], ["versions", "frob"],
                  ["profile", "lint", "a", "b"], ["ctl"], ["ctl", "/none"],
                  ["ctl", "/none", "status"], ["ctl", "/none", "two words"]):
        says(2, *words)


@test()
def wrong__full_output():
    """An answer that could not be written is no yes."""
    with open("/dev/full", "w") as full:
        p = subprocess.run([VUSHIM, "versions"], stdout=full, stderr=subprocess.PIPE, text=True)
    check(p.returncode == 2 and p.stderr.startswith("vushim: "),
          f"status {p.returncode}, {p.stderr!r}")
