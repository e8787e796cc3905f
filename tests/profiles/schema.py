#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints the JSON Schema of family files, made from the program's tables.

    tests/profiles/schema.py > policy/profiles/family.schema.json

What a schema cannot say is left to `vushim profile lint`: that based_on names an earlier version,
that names stand once each, that what is removed is there, that a field's feature is on.
"""
import json
import sys

sys.dont_write_bytecode = True

import tables   # noqa: E402

# JSON numbers of the program are signed.
MOST_NUMBER = 2 ** 63 - 1


def ref(name):
    return {"$ref": f"#/$defs/{name}"}


def names_of(item):
    return {"type": "array", "items": item, "uniqueItems": True}


def bits(item):
    """A whole list, or changes to the version that this one is based on."""
    change = {"type": "object", "additionalProperties": False,
              "properties": {"add": names_of(item), "remove": names_of(item)}}
    return {"oneOf": [names_of(item), change]}


def pin(most):
    number = {"type": "integer", "minimum": 0, "maximum": most}
    one = [{"type": "object", "additionalProperties": False, "required": [key],
            "properties": {key: number}} for key in ("pin", "min")]
    return {"oneOf": [{"const": "pass"}, *one]}


def pin_name(field):
    return "pass" if "TEXT" in field.traits else f"pin{8 * field.size}"


def limit(name, description):
    return {"description": description, "type": ["integer", "null"], "minimum": 1,
            "maximum": tables.MOST[name]}


def powers_of_two(most):
    return [1 << n for n in range(most.bit_length())]


def version():
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "properties": {
            "name": ref("name"),
            "description": ref("text"),
            "source": {**ref("text"), "description": "where the numbers come from"},
            "based_on": {**ref("name"), "description": "an earlier version of this file"},
            "features": {},
            "protocol_features": bits(ref("protocol_feature")),
            "queues": limit("queues", "network devices count pairs; null: no limit"),
            "max_ring": {"description": "a power of two; null: no limit",
                         "enum": [None, *powers_of_two(tables.MOST["max_ring"])]},
            "mem_slots": limit("mem_slots", "null: no limit"),
            "config": {"type": "object"},
        },
        "if": {"required": ["based_on"]},
        "else": {"required": ["features", "protocol_features"],
                 "properties": {"features": {"type": "array"},
                                "protocol_features": {"type": "array"}}},
    }


def of_device(device):
    """What a kind of device adds: its names."""
    config = {"type": "object", "additionalProperties": False,
              "properties": {field.name: ref(pin_name(field)) for field in tables.fields(device)}}
    versions = {"items": {"properties": {"features": bits(ref(f"{device}_feature")),
                                         "config": config}}}
    return {"if": {"properties": {"device": {"const": device}}},
            "then": {"properties": {"versions": versions}}}


def schema():
    definitions = {
        "name": {"description": "letters, digits and .-_+", "type": "string", "minLength": 1,
                 "not": {"pattern": "[^A-Za-z0-9._+-]"}},
        "text": {"type": "string", "minLength": 1},
        "version": version(),
        "protocol_feature": {"enum": list(tables.PROTOCOL)},
        "pass": {"const": "pass"},
    }
    for size in sorted({field.size for device in tables.DEVICES for field in tables.fields(device)
                        if "TEXT" not in field.traits}):
        definitions[f"pin{8 * size}"] = pin(min(256 ** size - 1, MOST_NUMBER))
    for device in tables.DEVICES:
        definitions[f"{device}_feature"] = {"enum": list(tables.features(device))}
    first = {**ref("version"), "not": {"required": ["based_on"]}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A family of named vhost-user interfaces (vushim-profile(5))",
        "type": "object",
        "additionalProperties": False,
        "required": ["family", "device", "versions"],
        "properties": {
            "$schema": {"type": "string"},
            "family": ref("name"),
            "device": {"enum": list(tables.DEVICES)},
            "description": ref("text"),
            "versions": {"description": "oldest first; published ones never change",
                         "type": "array", "minItems": 1, "prefixItems": [first],
                         "items": ref("version")},
        },
        "allOf": [of_device(device) for device in tables.DEVICES],
        "$defs": definitions,
    }


def text():
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
