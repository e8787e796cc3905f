# SPDX-License-Identifier: MIT
"""baseline and capture, with offers made at random."""
import json
import random
import re
from concurrent.futures import ThreadPoolExecutor

import tables
from shipped import schema_errors
from tool import check, equal, offer, says, says_json, stage, test, vushim

SETS = 90
PARALLEL = 3
LOG_AND_PROTOCOL = tables.VHOST_BITS
# Bits that this program has no name for.
UNNAMED = {"net": [4, 50], "blk": [3, 49]}
# What a field of a disk may hold, small and likely to be shared.
VALUES = {1: [0, 1], 2: [1, 4], 4: [1, 8, 512], 8: [2048, 4096]}


class Chance(random.Random):
    """Offers of one kind of device that look like releases of one program: most of a common stock,
    less something, plus something."""

    def stock(self, device):
        names = tables.features(device)
        facts = tables.facts(device)
        features = sum(1 << bit for bit in names.values() if self.random() < 0.7) & ~facts
        protocol = sum(1 << bit for bit in range(20) if self.random() < 0.8)
        if self.random() < 0.2:
            features |= facts & self.getrandbits(64)
        return features, tables.protocol_close(protocol)

    def offer(self, device, stock):
        features, protocol = stock
        for _ in range(self.randint(0, 4)):
            features ^= 1 << self.choice(list(tables.features(device).values()))
        if self.random() < 0.93:        # most fleets agree about facts
            features = features & ~tables.facts(device) | stock[0] & tables.facts(device)
        for bit in UNNAMED[device]:
            features |= self.getrandbits(1) << bit
        if self.random() < 0.5:
            protocol ^= 1 << self.randrange(20)
        protocol = tables.protocol_close(protocol)
        more = {}
        if protocol >> tables.PROTOCOL["mq"] & 1:
            more["queues"] = self.choice([1, 2, 8, 128, 1024])
        if protocol >> tables.PROTOCOL["configure_mem_slots"] & 1:
            more["mem_slots"] = self.choice([8, 32, 509])
        if protocol >> tables.PROTOCOL["config"] & 1:
            more["config_bytes"] = self.config(device)
        return offer(features | LOG_AND_PROTOCOL, protocol, device, **more)

    def config(self, device):
        fields = tables.fields(device)
        space = bytearray(max(field.offset + field.size for field in fields))
        for field in fields:
            if "TEXT" not in field.traits:
                same = field.relation == "SAME" and self.random() < 0.97
                value = 1 if same else self.choice(VALUES[field.size])
                space[field.offset:field.offset + field.size] = value.to_bytes(field.size, "little")
        return space.hex()


def is_clean(one):
    """No feature stands on a protocol feature that is not offered: real programs are like that."""
    features, protocol = int(one["features_bits"], 16), int(one["protocol_features_bits"], 16)
    return all(not features >> bit & 1 or not needs & ~protocol
               for bit, needs in tables.feature_protocol(one["device"]).items())


def fits(spec, paths):
    """All of them can serve it."""
    return all(vushim("check", spec, "--offer", path)[0] == 0 for path in paths)


def larger(spec, chance, device, more_features):
    """Interfaces with one more of something. A word too many is no interface at all."""
    on = set(re.findall(r"([\w-]+)=on", spec))
    off = [name for name in tables.features(device) if name not in on]
    for name in off if more_features is None else chance.sample(off, min(more_features, len(off))):
        yield f"{spec},{name}=on"
    for limit in ("queues", "mem_slots"):
        m = re.search(rf"\b{limit}=(\d+)", spec)
        check(m, f"no {limit} in {spec}")
        if int(m[1]) < tables.MOST[limit]:
            yield spec.replace(m[0], f"{limit}={int(m[1]) + 1}")


def differ_in_facts(offers, device):
    facts = [int(one["features_bits"], 16) & tables.facts(device) for one in offers]
    return len(set(facts)) > 1


def differ_in_fields(offers, device):
    """In one that must be the same: then there need not be anything in common."""
    spaces = [bytes.fromhex(one.get("config_bytes", "")) for one in offers]
    found = [{space[f.offset:f.offset + f.size] for space in spaces if space}
             for f in tables.fields(device) if f.relation == "SAME"]
    return any(len(values) > 1 for values in found)


def one_fleet(seed):
    """What is wrong with the baseline of one fleet; None: nothing."""
    chance = Chance(seed)
    device = chance.choice(["net", "blk"])
    stock = chance.stock(device)
    offers = [chance.offer(device, stock) for _ in range(chance.randint(1, 5))]
    paths = [stage(f"fleet/{seed}-{k}.json", one) for k, one in enumerate(offers)]
    status, out = vushim("profile", "baseline", *paths)
    if differ_in_facts(offers, device):
        return None if status == 1 and out.startswith("none: ") else f"{seed}: facts differ: {out}"
    if status == 1 and differ_in_fields(offers, device):
        return None if "config." in out else f"{seed}: fields differ: {out}"
    if status != 0:
        return f"{seed}: {out}"
    spec = re.search(r"^spec +(\S+)$", out, re.M)[1]
    common = 2 ** 64 - 1
    for one in offers:
        common &= int(one["features_bits"], 16)
    table = tables.features(device)
    beyond = [name for name in re.findall(r"([\w-]+)=on", spec) if not common >> table[name] & 1]
    if beyond:
        return f"{seed}: {beyond} are not offered by all"
    if not fits(spec, paths):
        return f"{seed}: not all can serve {spec}"
    for more in larger(spec, chance, device, None if seed % 20 == 0 else 3):
        if fits(more, paths):
            return f"{seed}: all can serve {more}, and the baseline is {spec}"
    return None


@test()
def baseline__property():
    """All hosts can serve the baseline, and nothing with one feature, queue or slot more."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        wrong = [why for why in pool.map(one_fleet, range(SETS)) if why]
    check(not wrong, f"{len(wrong)} of {SETS}: {' / '.join(wrong[:3])}")


@test({device: {"device": device} for device in tables.DEVICES})
def baseline__queues_of_a_kind(device):
    """A device without protocol feature mq has the virtqueues that its kind has: several, for most
    kinds. A baseline must not forbid them."""
    features = 1 << tables.features(device)["version_1"]
    path = stage(f"fleet/{device}.json", offer(features, 0, device))
    spec = says_json(0, "profile", "baseline", path)["spec"]
    m = re.search(r"queues=(\d+)", spec)
    one_is_enough = device in ("net", "blk")
    check(m and m[1] == "1" if one_is_enough else not m, f"a {device} device: {spec}")


@test()
def baseline__what_must_be_the_same():
    """Two disks with other block sizes are two devices: a guest cannot tell that it has moved."""
    size = next(f for f in tables.fields("blk") if f.name == "blk_size")
    paths = []
    for value in (512, 4096):
        space = bytearray(60)
        space[size.offset:size.offset + size.size] = value.to_bytes(size.size, "little")
        features = 1 << tables.features("blk")["blk_size"]
        paths.append(stage(f"fleet/blk-{value}.json",
                           offer(features, 1 << tables.PROTOCOL["config"], "blk",
                                 config_bytes=space.hex())))
    status, out = vushim("profile", "baseline", *paths)
    check(status == 1 or "blk_size=on" not in out,
          f"a guest is shown blk_size, 512 here and 4096 there: {out}")


@test()
def baseline__json():
    same = stage("fleet/a.json", offer(1 << 15 | 1 << 32, 1, queues=4))
    less = stage("fleet/b.json", offer(1 << 32, 1, queues=2))
    shown = says_json(0, "profile", "baseline", same, less)
    equal((shown["features"], shown["queues"], shown["device"], shown["host"]),
          (["version_1"], 2, "net", False), "baseline")
    check({"spec", "digest", "protocol_features", "config"} <= set(shown), f"keys {list(shown)}")
    disk = stage("fleet/ro.json", offer(1 << 5, 0, "blk"))
    none = says_json(1, "profile", "baseline", disk, stage("fleet/rw.json", offer(0, 0, "blk")))
    check(none["spec"] is None and none["why"], f"no reason: {none}")


@test()
def baseline__wrong():
    net, disk = (stage(f"fleet/{d}-0.json", offer(0, 0, d)) for d in ("net", "blk"))
    unknown = stage("fleet/any.json", offer(0, 0, "any"))
    for words in ([], [net, disk], [net, "/none"], [unknown], [net, "--device", "toaster"],
                  [net, "--family", "org.nobody"], [net, stage("fleet/bad.json", "{")]):
        says(2, "profile", "baseline", *words)
    says(0, "profile", "baseline", unknown, "--device", "net")
    says(0, "profile", "baseline", unknown, net)


@test()
def baseline__thousand():
    """A thousand hosts in one call."""
    path = stage("fleet/one.json", offer(1 << 32, 0))
    says(0, "profile", "baseline", *[path] * 1000)


# ---- capture ----

@test()
def capture__property():
    """What capture writes is a good family, by the schema too, and the offer can serve it."""
    wrong = []
    for seed in range(1000, 1060):
        chance = Chance(seed)
        device = chance.choice(["net", "blk"])
        one = chance.offer(device, chance.stock(device))
        if not is_clean(one):
            continue
        path = stage(f"fleet/{seed}.json", one)
        text = says(0, "profile", "capture", path, "--as", "org.captured.v1")
        file = stage(f"captured-{seed}/x.json", text)
        errors = schema_errors(json.loads(text))
        status, out = vushim("profile", "lint", file)
        if errors or status:
            wrong.append(f"{seed}: {errors[:1]} {out}")
            continue
        status, out = vushim("check", "org.captured.v1", "--offer", path, "--profile-dir",
                             file.removesuffix("/x.json"))
        if status:
            wrong.append(f"{seed}: its own offer: {out}")
    check(not wrong, f"{len(wrong)}: {' / '.join(wrong[:3])}")


def captured(name, one, version="org.captured.v1"):
    path = stage(f"capture/{name}.json", one)
    file = stage(f"capture-{name}/x.json", says(0, "profile", "capture", path, "--as", version))
    says(0, "profile", "lint", file)
    says(0, "check", version, "--offer", path, "--profile-dir", file.removesuffix("/x.json"))


# Back-ends that say more than they can keep, or what no table foresees.
STRANGE = {
    "mq_without_protocol": offer(tables.VHOST_BITS | 1 << 22 | 1 << 17, 0),
    "protocol_without_ground": offer(1 << 32, 1 << tables.PROTOCOL["backend_send_fd"]),
    "largest_number": offer(1 << 32, 1 << tables.PROTOCOL["config"], "crypto",
                            config_bytes=bytes(48).hex() + "f" * 16),
    "more_queues_than_there_can_be": offer(1 << 32, 1, queues=tables.MOST["queues"] + 1),
    "more_slots_than_there_can_be": offer(
        1 << 32, 1 << tables.PROTOCOL["configure_mem_slots"],
        mem_slots=tables.MOST["mem_slots"] + 1),
    "no_features": offer(0, 0),
    "everything": offer(2 ** 64 - 1, 2 ** 64 - 1, queues=8, mem_slots=8),
}


@test({name: {"name": name} for name in STRANGE})
def capture__strange(name):
    captured(name, STRANGE[name])


@test({name: {"name": name} for name in STRANGE})
def baseline__strange(name):
    """The spec string that comes out can be written, and served."""
    path = stage(f"fleet/strange-{name}.json", STRANGE[name])
    spec = says_json(0, "profile", "baseline", path)["spec"]
    says(0, "check", spec, "--offer", path)


@test({word: {"name": name} for word, name in {
    "blank": "v 1", "comma": "v,1", "equals": "v=1", "line": "v\n1", "letter": "é1"}.items()})
def capture__names(name):
    """A name that cannot stand in a spec string is not captured under."""
    path = stage("capture/some.json", offer(0))
    says(2, "profile", "capture", path, "--as", f"org.captured.{name}")


@test()
def capture__wrong():
    path = stage("capture/net.json", offer(0))
    unknown = stage("capture/any.json", offer(0, 0, "any"))
    for words in ([], [path], [path, "--as", "v1"], [path, "--as", ".v1"], [path, "--as", "org."],
                  ["/none", "--as", "a.b"], [unknown, "--as", "a.b"],
                  [path, "--as", "a.b", "--device", "toaster"]):
        says(2, "profile", "capture", *words)
    says(0, "profile", "capture", unknown, "--as", "a.b", "--device", "net")
