# SPDX-License-Identifier: MIT
"""Broken files: one line each, with file, line and column, and exit status 2."""
import json
import os
import random
import re

from shipped import schema_errors
from tables import MOST
from tool import (Failure, STAGE, check, equal, family, load, offer, says, shipped, stage, test,
                  version, vushim)

# A family to be broken; a case marks with HERE where the fault is.
HERE = "@"
GOOD = """{
  "family": "org.test",
  "device": "net",
  "versions": [
    {
      "name": "v1",
      "features": ["csum", "mtu", "mrg_rxbuf"],
      "protocol_features": ["mq", "config"],
      "queues": 2,
      "max_ring": 256,
      "mem_slots": 8,
      "config": {"mtu": {"pin": 1500}}
    },
    {
      "name": "v2",
      "based_on": "v1",
      "features": {"add": ["guest_csum"], "remove": ["csum"]}
    },
    {
      "name": "v3",
      "features": ["guest_csum", "ctrl_vq"],
      "protocol_features": ["mq"]
    }
  ]
}
"""


def change(old, new):
    """The good family with one thing changed; the place must be the only one."""
    if GOOD.count(old) != 1:
        raise ValueError(f"stands {GOOD.count(old)} times: {old}")
    return GOOD.replace(old, new)


V2 = '"based_on": "v1",\n      "features": {"add": ["guest_csum"], "remove": ["csum"]}'
V3 = '"features": ["guest_csum", "ctrl_vq"],\n      "protocol_features": ["mq"]'

# name: (text, what the line says besides the place, the schema sees it)
BROKEN = {
    "unknown_key": (change('"queues": 2', '"@quueues": 2'), "quueues", True),
    "unknown_key_of_family": (change('"device"', '"@comment": 1, "device"'), "comment", True),
    "unknown_change": (change('"add":', '"@plus":'), "plus", True),
    "unknown_feature": (change('"mrg_rxbuf"', '"@mrg_rxbuff"'), "mrg_rxbuff", True),
    "feature_of_another_device": (change('"mrg_rxbuf"', '"@seg_max"'), "seg_max", True),
    "feature_of_vhost": (change('"mrg_rxbuf"', '"@log_all"'), "log_all", True),
    "feature_twice": (change('"mrg_rxbuf"', '"csum", "mrg_rxbuf"'), "csum", True),
    "feature_number": (change('"mrg_rxbuf"', '7'), "features", True),
    "features_text": (change('["csum", "mtu", "mrg_rxbuf"]', '"csum"').replace(
        '"features": "csum"', '"@features": "csum"'), "features", True),
    "unknown_protocol_feature": (change('"config"]', '"@confg"]'), "confg", True),
    "virtio_as_protocol_feature": (change('"config"]', '"@mrg_rxbuf"]'), "mrg_rxbuf", True),
    "ring_no_power": (change('"max_ring": 256', '"@max_ring": 300'), "power of two", True),
    "ring_zero": (change('"max_ring": 256', '"@max_ring": 0'), "max_ring", True),
    "ring_too_large": (change('"max_ring": 256', f'"@max_ring": {MOST["max_ring"] * 2}'),
                       str(MOST["max_ring"]), True),
    "ring_text": (change('"max_ring": 256', '"@max_ring": "256"'), "max_ring", True),
    "queues_zero": (change('"queues": 2', '"@queues": 0'), "queues", True),
    "queues_negative": (change('"queues": 2', '"@queues": -1'), "queues", True),
    "queues_too_many": (change('"queues": 2', f'"@queues": {MOST["queues"] + 1}'),
                        str(MOST["queues"]), True),
    "queues_fraction": (change('"queues": 2', '"@queues": 2.5'), "queues", True),
    "slots_too_many": (change('"mem_slots": 8', f'"@mem_slots": {MOST["mem_slots"] + 1}'),
                       str(MOST["mem_slots"]), True),
    "number_beyond_64_bits": (change('"queues": 2', '"queues": 99999999999999999999'), "", True),
    "field_of_another_device": (change('"mtu": {"pin": 1500}', '"@seg_max": {"pin": 1}'),
                                "seg_max", True),
    "field_unknown": (change('"mtu": {"pin": 1500}', '"@mttu": {"pin": 1}'), "mttu", True),
    "field_too_large": (change('"mtu": {"pin": 1500}', '"@mtu": {"pin": 65536}'), "mtu", True),
    "field_negative": (change('"mtu": {"pin": 1500}', '"@mtu": {"pin": -1}'), "mtu", True),
    "field_both": (change('"mtu": {"pin": 1500}', '"@mtu": {"pin": 1, "min": 1}'), "mtu", True),
    "field_number": (change('"mtu": {"pin": 1500}', '"@mtu": 1500'), "mtu", True),
    "field_word": (change('"mtu": {"pin": 1500}', '"@mtu": "skip"'), "mtu", True),
    "field_no_number": (change('"mtu": {"pin": 1500}', '"@mac": {"pin": 1}'), "mac", True),
    "config_list": (change('"config": {"mtu": {"pin": 1500}}', '"@config": []'), "config", True),
    "config_without_protocol": (change('"mq", "config"', '"mq"').replace('"name": "v1"',
                                                                       '"name": "@v1"'),
                                "config", False),
    "based_on_itself": (change('"based_on": "v1"', '"based_on": "@v2"'), "earlier", False),
    "based_on_later": (change('"based_on": "v1"', '"based_on": "@v3"'), "earlier", False),
    "based_on_nobody": (change('"based_on": "v1"', '"based_on": "@v9"'), "earlier", False),
    "based_on_first": (change('"name": "v1",', '"name": "v1", "based_on": "@v0",'), "earlier",
                       True),
    "based_on_number": (change('"based_on": "v1"', '"@based_on": 1'), "based_on", True),
    "based_on_cycle": (change(V2, V2.replace("v1", "@v3")).replace(
        V3, '"based_on": "v2"'), "earlier", False),
    "add_there_already": (change('"add": ["guest_csum"]', '"add": ["mrg_rxbuf"]'), "mrg_rxbuf",
                          False),
    "remove_not_there": (change('"remove": ["csum"]', '"remove": ["ctrl_vq"]'), "ctrl_vq", False),
    "add_and_remove": (change('"remove": ["csum"]', '"remove": ["guest_csum"]'), "guest_csum",
                       False),
    "change_without_base": (change(V3, V3.replace('"features": ["guest_csum", "ctrl_vq"]',
                                                  '"@features": {"add": ["ctrl_vq"]}')),
                            "features", True),
    "version_twice": (change('"name": "v3"', '"name": "@v2"'), "v2", False),
    "version_name_blank": (change('"name": "v3"', '"name": "@v 3"'), "v 3", True),
    "version_name_comma": (change('"name": "v3"', '"name": "@v,3"'), "v,3", True),
    "version_name_empty": (change('"name": "v3"', '"name": ""'), "name", True),
    "version_name_number": (change('"name": "v3"', '"@name": 3'), "name", True),
    "version_no_object": (change('{\n      "name": "v3",\n      ' + V3 + "\n    }", '"v3"'), "",
                          True),
    "missing_device": (change('"device": "net",', ""), "device", True),
    "device_unknown": (change('"device": "net"', '"@device": "toaster"'), "device", True),
    "device_any": (change('"device": "net"', '"@device": "any"'), "device", True),
    "device_number": (change('"device": "net"', '"@device": 1'), "device", True),
    "missing_family": (change('"family": "org.test",', ""), "family", True),
    "family_blank": (change('"org.test"', '"@org test"'), "org test", True),
    "family_empty": (change('"org.test"', '""'), "family", True),
    "description_number": (change('"device"', '"@description": 1, "device"'), "description",
                           True),
    "no_versions": (json.dumps(family()), "versions", True),
    "missing_versions": ('{"family": "org.test", "device": "net"}', "versions", True),
    "versions_object": ('{"family": "org.test", "device": "net", "@versions": {}}', "versions",
                        True),
    "protocol_without_ground": (change('"mq", "config"', '"mq", "config", "backend_send_fd"'),
                                "backend_send_fd", False),
    "mq_without_protocol": (change('"guest_csum", "ctrl_vq"', '"ctrl_vq", "mq"').replace(
        '"protocol_features": ["mq"]', '"protocol_features": []'), "mq", False),
    "list": ("[]", "object", True),
    # What is not JSON. The column is the JSON library's: behind what it could not read.
    "empty": ("", "", False),
    "blank": (" \n\n ", "", False),
    "number": ("7", "", True),
    "truncated": (GOOD[:len(GOOD) // 2], "", False),
    "truncated_in_word": ('{"family": "org.te', "", False),
    "one_brace_less": (GOOD.rstrip()[:-1], "", False),
    "something_behind": (GOOD + "{}", "", False),
    "comma_too_many": (change('"v3",', '"v3",,'), "", False),
    "comment": (change('"name": "v3"', '/* new */ "name": "v3"'), "", False),
    "key_twice": (change('"queues": 2', '"queues": 2, "queues": 4'), "queues", False),
    "key_twice_in_family": (change('"device": "net"', '"device": "net", "device": "blk"'),
                            "device", True),
    "too_deep": ("[" * 100000, "", False),
    "not_utf8": (change('"org.test"', '"org.test", "description": "X"').encode().replace(
        b'"X"', b'"\xff\xfe"'), "", False),
    "utf16": (GOOD.encode("utf-16"), "", False),
}


def place_of(text):
    """The text without the mark, and line and column of the mark or None."""
    if isinstance(text, bytes) or HERE not in text:
        return text, None
    at = text.index(HERE)
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return text.replace(HERE, "", 1), (line, column)


def complaint(*words):
    """The one line of an error, without what all of them begin with."""
    line = says(2, *words).rstrip("\n")
    check(re.match(r"vushim: profile lint: ", line), f"not of this command: {line}")
    return line.removeprefix("vushim: profile lint: ")


@test({name: {"name": name} for name in BROKEN})
def broken(name):
    text, word, _ = BROKEN[name]
    text, place = place_of(text)
    path = stage(f"broken/{name}.json", text)
    line = complaint("profile", "lint", path)
    m = re.match(re.escape(path) + r":(\d+):(\d+): (.*)", line)
    check(m, f"no place: {line}")
    check(word in m[3], f"'{word}' is not in: {line}")
    if place:
        equal((int(m[1]), int(m[2])), place, f"line and column in '{line}'")


@test()
def broken__good():
    """What the broken ones are made from is good."""
    says(0, "profile", "lint", stage("broken/good.json", GOOD))
    equal(schema_errors(json.loads(GOOD)), [], "the schema")


@test()
def broken__schema():
    """The schema refuses what a schema can refuse, and nothing of the rest."""
    blind, strict = [], []
    for name, (text, _, seen) in BROKEN.items():
        try:
            value = json.loads(place_of(text)[0])
        except (ValueError, RecursionError):
            continue
        found = bool(schema_errors(value))
        if found != seen:
            (strict if found else blind).append(name)
    check(not blind and not strict, f"does not see: {blind}; sees what it should not: {strict}")


@test()
def broken__every_command():
    """A folder with one broken family stops whatever looks into it, with the same line."""
    folder = f"{STAGE.name}/one-broken"
    stage("one-broken/a.json", family(version()))
    path = stage("one-broken/b.json", place_of(BROKEN["unknown_feature"][0])[0])
    an_offer = stage("some-offer.json", offer(0))
    for words in (["versions"], ["profile", "show", "org.test.v1"],
                  ["check", "org.test.v1", "--offer", an_offer],
                  ["profile", "diff", "org.test.v1", "org.test.v1"],
                  ["profile", "baseline", an_offer, "--family", "org.test"],
                  ["run", "--front", f"{STAGE.name}/f", "--back", f"{STAGE.name}/b",
                   "--profile", "org.test.v1"]):
        line = says(2, *words, "--profile-dir", folder)
        check(f"{path}:7:" in line, f"{' '.join(words)}: {line}")
    check(not os.path.exists(f"{STAGE.name}/f"), "run has made its socket")


# ---- places of words that stand more than once, or nowhere ----

def lint_place(name, text):
    text, place = place_of(text)
    line = complaint("profile", "lint", stage(f"broken/{name}.json", text))
    m = re.search(r"\.json:(\d+):(\d+): ", line)
    check(m, f"no place: {line}")
    return (int(m[1]), int(m[2])), place, line


@test()
def place__of_what_is_missing():
    """What is missing is missing in this version, not in the next one that has it."""
    text = """{"family": "org.test", "device": "net", "versions": [
      {"name": "v1", "protocol_features": ["mq"]},
      {"name": "v2", "features": [], "protocol_features": ["mq"]}]}"""
    (line, _), _, said = lint_place("missing-features", text)
    equal(line, 2, f"line in '{said}'")


@test()
def place__of_a_version_without_name():
    text = """{"family": "org.test", "device": "net", "versions": [
      {"name": "v1", "features": [], "protocol_features": ["mq"]},
      {"features": ["csum"], "protocol_features": ["mq"]}]}"""
    (line, _), _, said = lint_place("missing-name", text)
    equal(line, 3, f"line in '{said}'")


@test()
def place__before_the_name():
    """Keys may come in any order."""
    text = """{"family": "org.test", "device": "net", "versions": [
      {"@max_ring": 300, "name": "v1", "features": [], "protocol_features": ["mq"]},
      {"max_ring": 256, "name": "v2", "features": ["csum"], "protocol_features": ["mq"]}]}"""
    got, wanted, said = lint_place("before-name", text)
    equal(got, wanted, f"line and column in '{said}'")


@test()
def place__of_the_same_word_elsewhere():
    """A word is looked for where it is wrong, not where it is right."""
    text = """{"family": "org.test", "device": "net", "description": "seg_max", "versions": [
      {"name": "v1", "source": "seg_max", "features": ["csum"], "protocol_features": ["mq"]},
      {"name": "v2", "features": ["@seg_max"], "protocol_features": ["mq"]}]}"""
    got, wanted, said = lint_place("elsewhere", text)
    equal(got, wanted, f"line and column in '{said}'")


# ---- files that are no files, and texts made to confuse ----

@test()
def no_file__folder():
    complaint("profile", "lint", STAGE.name)


@test()
def no_file__missing():
    line = complaint("profile", "lint", f"{STAGE.name}/none.json")
    check("No such file" in line, line)


@test()
def no_file__device():
    complaint("profile", "lint", "/dev/zero")


@test()
def no_file__pipe():
    """Nobody writes into it: that must not be waited for."""
    path = f"{STAGE.name}/pipe.json"
    os.mkfifo(path)
    complaint("profile", "lint", path)


@test()
def no_file__huge():
    """100 MB of nothing, and the same behind a good family."""
    path = stage("huge.json", GOOD)
    os.truncate(path, 100 << 20)
    line = complaint("profile", "lint", path)
    check("1048576" in line, f"the limit is not named: {line}")
    complaint("profile", "lint", stage("good.json", GOOD), "--against", path)


@test()
def no_file__largest():
    """A family of just a mebibyte is taken, one byte more is not."""
    path = stage("largest.json", GOOD + " " * ((1 << 20) - len(GOOD)))
    says(0, "profile", "lint", path)
    path = stage("larger.json", GOOD + " " * ((1 << 20) - len(GOOD) + 1))
    complaint("profile", "lint", path)


@test()
def confusing__zero_byte():
    """What stands behind a zero byte is part of the file."""
    complaint("profile", "lint", stage("zero.json", GOOD.encode() + b"\0garbage"))


@test({name: {"text": text} for name, text in {
    "feature": change('"mrg_rxbuf"', '"mrg\\nrxbuf"'),
    "key": change('"queues"', '"que\\nues"'),
    "family": change('"org.test"', '"org\\ntest"'),
    "version": change('"name": "v3"', '"name": "v\\n3"'),
    "escape": change('"mrg_rxbuf"', '"\\u001b[2Jmrg"'),
    "raw": change('"mrg_rxbuf"', '"mrg\nrxbuf"'),
}.items()})
def confusing__line(text):
    """No name in a file makes two lines of one, or speaks to the terminal."""
    line = complaint("profile", "lint", stage("confusing.json", text))
    check("\x1b" not in line, f"an escape sequence: {line!r}")


@test()
def confusing__percent():
    line = complaint("profile", "lint", stage("percent.json", change('"mrg_rxbuf"', '"%s%n%d"')))
    check("%s%n%d" in line, line)


@test()
def confusing__long_name():
    """The reason is not cut off by what it is about."""
    text = change('"mrg_rxbuf"', f'"{"x" * 5000}"')
    line = complaint("profile", "lint", stage("long.json", text))
    check("no feature of a net device" in line, f"no reason: {line[-200:]}")


MUTATIONS = 250


@test()
def mutated():
    """Shipped families with bytes changed at random: good, or one line. Never anything else, and
    what is good is good by the schema, too."""
    chance = random.Random(7)
    sources = [open(path, "rb").read() for path in shipped().values()]
    wrong = []
    for number in range(MUTATIONS):
        text = bytearray(chance.choice(sources))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(text))
            how = chance.randrange(4)
            if how == 0:
                text[at] = chance.choice(b'"{}[],:019-aez \n\\\x00\xff')
            elif how == 1:
                del text[at:at + chance.randint(1, 40)]
            elif how == 2:
                text[at:at] = text[at - 20:at]
            else:
                del text[at:]
            if not text:
                text = bytearray(b" ")
        path = stage(f"mutated/{number}.json", bytes(text))
        try:
            status, _ = vushim("profile", "lint", path)
            if status != 2:
                errors = schema_errors(load(path))
                check(not errors, f"good, but not by the schema: {'; '.join(errors[:2])}")
        except (Failure, ValueError) as why:
            wrong.append(f"{number}: {why}")
    check(not wrong, f"{len(wrong)} of {MUTATIONS}: {' / '.join(wrong[:3])}")
