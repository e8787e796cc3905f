# SPDX-License-Identifier: MIT
"""Releases of DPDK and Open vSwitch: what each offers (offers/), and every pair of an offer and a
shipped version, by the rule as it stands here and by the program."""
import os
import sys

import tables
from tool import VUSHIM, check, equal, load, says, says_json, shipped, test, vushim

HERE = os.path.dirname(os.path.abspath(__file__))
OFFERS = f"{HERE}/offers"
FAMILIES = ["org.dpdk", "org.openvswitch", "org.vushim.common-net", "fd.io.vpp"]
SLOTS_WITHOUT_MESSAGE = 8

sys.path.insert(0, f"{tables.TREE}/doc")
import matrix   # noqa: E402


def offers():
    return {name: f"{OFFERS}/{name}.json" for name in matrix.offer_names()}


def bits(names, table):
    return sum(1 << table[name] for name in names)


def changed(before, value, table):
    """A list, or changes to it."""
    if value is None:
        return before
    if isinstance(value, list):
        return bits(value, table)
    return (before | bits(value.get("add", []), table)) & ~bits(value.get("remove", []), table)


def limit(name, number):
    """The largest number that can be written is the same as none."""
    return 0 if number == tables.MOST[name] else number


def resolved(family):
    """{version: (features, protocol features, queues, slots)} as the file says."""
    text = load(shipped()[family])
    found = {}
    for v in text["versions"]:
        features, protocol, queues, slots = found.get(v.get("based_on"), (0, 0, 0, 0))
        found[v["name"]] = (
            changed(features, v.get("features"), tables.features(text["device"])),
            changed(protocol, v.get("protocol_features"), tables.PROTOCOL),
            limit("queues", v.get("queues", queues)),
            limit("mem_slots", v.get("mem_slots", slots)))
    return found


def can_serve(wanted, one):
    """The rule: everything that the version has is offered."""
    features, protocol, queues, slots = wanted
    offered = tables.protocol_close(int(one["protocol_features_bits"], 16))
    both = offered & protocol
    told = both >> tables.PROTOCOL["configure_mem_slots"] & 1
    has = {"queues": one.get("queues", 1) if both >> tables.PROTOCOL["mq"] & 1 else 1,
           "slots": one.get("mem_slots", 0) if told else SLOTS_WITHOUT_MESSAGE}
    return (not features & ~int(one["features_bits"], 16) and not protocol & ~offered
            and queues <= has["queues"] and slots <= has["slots"])


@test({family: {"family": family} for family in FAMILIES})
def drift__matrix(family):
    """Every offer with every version: the program says what the rule says."""
    wrong = []
    for offer, path in offers().items():
        told = says_json(0 if any(can_serve(w, load(path)) for w in resolved(family).values())
                         else 1, "versions", "--family", family, "--offer", path)
        for version, wanted in resolved(family).items():
            full = f"{family}.{version}"
            if (full in told["supported"]) != can_serve(wanted, load(path)):
                wrong.append(f"{full} on {offer}: versions says otherwise")
            if vushim("check", full, "--offer", path)[0] != (not can_serve(wanted, load(path))):
                wrong.append(f"{full} on {offer}: check says otherwise")
    check(not wrong, "; ".join(wrong[:5]))


def newest(family, *paths):
    """The last version that the rule lets all of them serve."""
    fit = [name for name, wanted in resolved(family).items()
           if all(can_serve(wanted, load(path)) for path in paths)]
    return f"{family}.{fit[-1]}" if fit else None


@test({family: {"family": family} for family in FAMILIES[:2]})
def drift__pairs(family):
    """For every two hosts, the newest version with which a guest may move both ways."""
    wrong = []
    mine = [path for name, path in offers().items() if name.startswith(matrix.PREFIX[family])]
    for n, a in enumerate(mine):
        for b in mine[n:]:
            status, out = vushim("profile", "baseline", a, b, "--family", family)
            wanted = newest(family, a, b)
            if (out.strip() if status == 0 else None) != wanted:
                wrong.append(f"{a}, {b}: {out.strip()}, not {wanted}")
    check(not wrong, "; ".join(wrong[:5]))


@test()
def drift__all_hosts():
    """What a fleet of every release has in common is what ships for it."""
    paths = [path for name, path in offers().items() if name != "ovs-2.6"]
    equal(says(0, "profile", "baseline", *paths, "--family", "org.vushim.common-net").strip(),
          "org.vushim.common-net.v1", "version for all of them")
    spec = says_json(0, "profile", "baseline", *paths)["features"]
    shown = says_json(0, "profile", "show", "org.vushim.common-net.v1")["features"]
    check(set(shown) <= set(spec), f"common-net.v1 has {set(shown) - set(spec)} beyond all offers")


@test()
def drift__upgrade():
    """A host that is upgraded from 20.11.5 to 20.11.6 loses what guests may use: told by name."""
    told = says_json(1, "check", "org.dpdk.v20.08", "--offer", f"{OFFERS}/dpdk-20.11.6.json")
    equal(told["missing_features"], ["host_tso4", "host_tso6"], "missing")
    says(0, "check", "org.dpdk.v22.11", "--offer", f"{OFFERS}/dpdk-20.08.json")


@test()
def drift__own_release():
    """The release that a version is named for can serve it."""
    wrong = []
    for family, prefix in matrix.PREFIX.items():
        for version, wanted in resolved(family).items():
            name = prefix + version.removeprefix("v")
            if name in offers() and not can_serve(wanted, load(offers()[name])):
                wrong.append(name)
    check(not wrong, f"not by its own version: {wrong}")


@test()
def drift__printed():
    """doc/matrix.py prints what the rule says."""
    for family in matrix.PREFIX:
        rows = matrix.served(VUSHIM, family)
        for offer, marks in rows.items():
            wanted = [can_serve(w, load(offers()[offer])) for w in resolved(family).values()]
            equal(marks, wanted, f"{family} on {offer}")
