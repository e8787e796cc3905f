# SPDX-License-Identifier: MIT
"""The program's tables of devices, features and fields, from the files that it is built from."""
import ast
import os
import re
from dataclasses import dataclass

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

KEEP_FROM_GUESTS = "VHOST"


def read(*path):
    with open(os.path.join(TREE, *path), encoding="utf-8") as f:
        return re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)


def rows(path, macro):
    """The arguments of each MACRO(...) of a file, as texts."""
    text = read(*path.split("/"))
    found = []
    for m in re.finditer(rf"^{macro}\(((?:[^()]|\([^()]*\))*)\)", text, re.M):
        found.append([ast.literal_eval(word) if word.startswith('"') else word
                      for word in re.split(r",\s*(?![^()]*\))", m[1])])
    return found


@dataclass(frozen=True)
class Field:
    name: str
    offset: int
    size: int
    gate: str
    relation: str
    traits: str


def bits_of(expression, prefix, bit_of):
    return sum(1 << bit_of[word] for word in re.findall(rf"BIT\({prefix}_(\w+)\)", expression))


# {"net": "NET", ...}: kinds of device by the names that users write.
DEVICES = {name: symbol for symbol, name, number in rows("msgcodec/features.def", "DEVICE")
           if int(number) != 0}

_FEATURES = rows("msgcodec/features.def", "FEATURE")
_PROTOCOL = rows("msgcodec/features.def", "PROTOCOL_FEATURE")

PROTOCOL = {name: int(bit) for bit, _, name, _, _ in _PROTOCOL}
PROTOCOL_SHOWN = sum(1 << int(row[0]) for row in _PROTOCOL if row[4] == "SHOWN")
_PROTOCOL_BITS = {row[1]: int(row[0]) for row in _PROTOCOL}
PROTOCOL_NEEDS = {int(row[0]): bits_of(row[3], "PROTOCOL", _PROTOCOL_BITS) for row in _PROTOCOL}

VHOST_BITS = sum(1 << int(row[1]) for row in _FEATURES if row[0] == KEEP_FROM_GUESTS)


def _limits():
    """{"queues": 32768, ...}: the largest values that can be written."""
    header = dict(re.findall(r"#define (PROTOCOL_MAX_\w+) (\d+)", read("policy", "interface.h")))
    return {name: int(header[symbol]) for name, symbol in re.findall(
        r'\{ "(\w+)", offsetof\(struct interface, \w+\), (\w+) \}',
        read("policy", "interface.c"))}


MOST = _limits()


def features(device):
    """{name: bit} of what a guest can see of a device of this kind."""
    return {row[3]: int(row[1]) for row in _FEATURES if row[0] in ("RING", DEVICES[device])}


def facts(device):
    """Bits that say what a device is."""
    return sum(1 << int(row[1]) for row in _FEATURES
               if row[0] in ("RING", DEVICES[device]) and row[6] == "FACT")


def feature_protocol(device):
    """{bit: protocol features without which it means nothing}"""
    return {int(row[1]): bits_of(row[5], "PROTOCOL", _PROTOCOL_BITS) for row in _FEATURES
            if row[0] in ("RING", DEVICES[device])}


def fields(device):
    return [Field(row[3], int(row[1]), int(row[2]), row[4], row[5], row[6])
            for row in rows("msgcodec/config.def", "CONFIG_FIELD") if row[0] == DEVICES[device]]


def protocol_close(bits):
    """Without those whose ground is missing."""
    while True:
        kept = sum(1 << bit for bit in range(64)
                   if bits >> bit & 1 and not PROTOCOL_NEEDS.get(bit, 0) & ~bits)
        if kept == bits:
            return bits
        bits = kept
