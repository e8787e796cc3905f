# SPDX-License-Identifier: MIT
"""What is shipped is good, and stays what it is."""
import os

import schema
import tables
from tool import SCHEMA, Skip, check, equal, load, says, says_json, shipped, test, vushim

PUBLISHED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "published.txt")


def validator():
    try:
        import jsonschema
    except ImportError:
        raise Skip("python3-jsonschema is missing") from None
    kind = jsonschema.Draft202012Validator
    return kind(load(SCHEMA))


def schema_errors(instance):
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message}"
            for e in validator().iter_errors(instance)]


@test()
def schema__current():
    """It has the names that the program has."""
    with open(SCHEMA, encoding="utf-8") as f:
        check(f.read() == schema.text(),
              "family.schema.json is not what tests/profiles/schema.py prints")


@test()
def schema__is_one():
    v = validator()
    v.check_schema(v.schema)


@test({name: {"path": path} for name, path in shipped().items()})
def shipped__schema(path):
    errors = schema_errors(load(path))
    check(not errors, "; ".join(errors[:3]))


@test({name: {"path": path} for name, path in shipped().items()})
def shipped__lint(path):
    says(0, "profile", "lint", path)
    equal(says_json(0, "profile", "lint", path), {"good": True, "breaches": []}, "as JSON")
    says(0, "profile", "lint", path, "--against", path)


@test({name: {"name": name, "path": path} for name, path in shipped().items()})
def shipped__resolves(name, path):
    """Each version is found by its name, in order, and everything says where it comes from."""
    text = load(path)
    equal(text["family"], name, "family in the file of its name")
    names = [f"{name}.{v['name']}" for v in text["versions"]]
    listed = says_json(0, "versions", "--family", name, "--profile-dir", os.path.dirname(path))
    equal(listed["supported"], names, "listed")
    for one in text["versions"]:
        check(one.get("source") and one.get("description"), f"{one['name']}: no source")


def digests():
    listed = says_json(0, "versions", "--profile-dir", os.path.dirname(SCHEMA))
    return [f"{v['name']} {v['digest']}" for f in listed["families"].values()
            for v in f["versions"]]


@test()
def shipped__published():
    """The name of a published version means the same for ever. New versions are added at the end
    of their family here, by hand."""
    with open(PUBLISHED, encoding="utf-8") as f:
        published = [line for line in f.read().splitlines() if line and not line.startswith("#")]
    now = digests()
    gone = [line for line in published if line not in now]
    new = [line for line in now if line not in published]
    check(not gone, f"published, and no longer the same: {'; '.join(gone)}")
    check(not new, f"to be added to published.txt: {'; '.join(new)}")
    equal(now, published, "order")


@test()
def shipped__file_is_its_spec():
    """What a version resolves to can be written as a spec string, and means the same."""
    for path in shipped().values():
        for one in load(path)["versions"]:
            full = f"{load(path)['family']}.{one['name']}"
            shown = says_json(0, "profile", "show", full)
            again = says_json(0, "profile", "show", shown["spec"])
            equal(again["digest"], shown["digest"], full)


@test()
def shipped__tables_read():
    """The tests read the program's tables themselves: they have found all of them."""
    shown = says(0, "profile", "show", ",".join(f"{name}=on" for name in tables.features("net")))
    check(all(name in shown for name in tables.features("net")), "net features")
    for device in tables.DEVICES:
        spec = ",".join(f"{name}=on" for name in tables.features(device))
        vushim("profile", "show", f"device={device},{spec}", status=0)
        for field in tables.fields(device):
            status = 2 if "TEXT" in field.traits else 0
            vushim("profile", "show", f"device={device},config.{field.name}=0", status=status)
            if status == 0:
                most = 256 ** field.size - 1
                spec = f"device={device},config.{field.name}="
                vushim("profile", "show", f"{spec}{most}", status=0)
                vushim("profile", "show", f"{spec}{most + 1}", status=2)
