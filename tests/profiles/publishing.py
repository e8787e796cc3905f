# SPDX-License-Identifier: MIT
"""lint --against: what is published never changes, and new versions go to the end."""
import copy

from tool import check, equal, family, says, says_json, stage, test, version

OLD = family(version("v1"), version("v2", features=["csum"]),
             version("v3", features=["csum", "mq", "ctrl_vq"], queues=2), version("v4", queues=4))


def edited(how):
    now = copy.deepcopy(OLD)
    how(now, now["versions"])
    return now


def insert(at, one):
    return edited(lambda f, v: v.insert(at, one))


NEW = version("new", features=["mrg_rxbuf"])


def change_meaning(f, v):
    v[1]["features"].append("mtu")


def change_limit(f, v):
    v[2]["queues"] = 3


def change_protocol(f, v):
    v[0]["protocol_features"] = ["mq", "log_shmfd"]


def swap(f, v):
    v[1], v[2] = v[2], v[1]


def rename_version(f, v):
    v[1]["name"] = "v2.0"


def rename_family(f, v):
    f["family"] = "org.other"


def several(f, v):
    change_meaning(f, v)
    del v[3]


# name: (family as it is now, {(kind, version that is named)} at least)
BREACHES = {
    "changed": (edited(change_meaning), {("changed", "v2")}),
    "changed_limit": (edited(change_limit), {("changed", "v3")}),
    "changed_protocol": (edited(change_protocol), {("changed", "v1")}),
    "removed_last": (edited(lambda f, v: v.pop()), {("removed", "v4")}),
    "removed_middle": (edited(lambda f, v: v.pop(1)), {("removed", "v2")}),
    "reordered": (edited(swap), {("order", "v2"), ("order", "v3")}),
    "inserted_first": (insert(0, NEW), {("order", "v1")}),
    "inserted_middle": (insert(2, NEW), {("order", "v3"), ("order", "v4")}),
    "renamed_version": (edited(rename_version), {("removed", "v2")}),
    "renamed_family": (edited(rename_family), {("renamed", "")}),
    "another_device": (family(*(version(n, features=["version_1"] if n == "v1" else ["event_idx"])
                                for n in ("v1", "v2")), device="blk"), {("renamed", "")}),
    "same_as_before": (insert(4, version("v5", queues=4)), {("same", "v5")}),
    "same_in_other_words": (insert(4, {"name": "v5", "based_on": "v4", "description": "new"}),
                            {("same", "v5")}),
    "several": (edited(several), {("changed", "v2"), ("removed", "v4")}),
}


@test({name: {"name": name} for name in BREACHES})
def lint__breach(name):
    now, wanted = BREACHES[name]
    old, path = stage("old.json", OLD), stage(f"lint/{name}.json", now)
    told = says_json(1, "profile", "lint", path, "--against", old)
    check(told["good"] is False, "good")
    for kind, what in wanted:
        named = [b for b in told["breaches"] if b["kind"] == kind and f"{what}:" in b["text"]]
        check(named, f"not told: {kind} {what}: {told['breaches']}")
    lines = says(1, "profile", "lint", path, "--against", old).splitlines()
    equal(lines, [f"{path}: {b['text']}" for b in told["breaches"]], "lines")


@test()
def lint__only_what_is():
    """A change is told once, and not as something else."""
    path = stage("lint/one.json", BREACHES["changed"][0])
    told = says_json(1, "profile", "lint", path, "--against", stage("old.json", OLD))
    equal([b["kind"] for b in told["breaches"]], ["changed"], "breaches")


def harmless(f, v):
    f["description"] = "in other words"
    v[0]["features"].reverse()
    v[1]["description"], v[1]["source"] = "told better", "read again"
    v[3] = {"name": "v4", "based_on": "v1", "queues": 4}
    v.append(version("v5", queues=8))


@test()
def lint__harmless():
    """Words, order in lists, another way to write the same, and new versions at the end."""
    path = stage("lint/harmless.json", edited(harmless))
    says(0, "profile", "lint", path, "--against", stage("old.json", OLD))


@test()
def lint__same_without_old():
    """That a version need not change is seen in the file alone."""
    says(1, "profile", "lint", stage("lint/same.json", BREACHES["same_as_before"][0]))


@test()
def lint__broken_old():
    says(2, "profile", "lint", stage("lint/good.json", OLD), "--against",
         stage("lint/bad.json", "{"))
    says(2, "profile", "lint", stage("lint/good.json", OLD), "--against", "/none")
    says(2, "profile", "lint")
