# SPDX-License-Identifier: MIT
"""Virtio feature bits as Linux's headers define them: a second source beside vushim's own table."""
import functools
import re

import places

DEVICES = {"blk": "virtio_blk.h", "net": "virtio_net.h", "fs": "virtio_fs.h"}
SHARED = ["virtio_config.h", "virtio_ring.h"]

# Spec strings use QEMU's property names; these differ from the header's by more than case.
HEADER_NAMES = {"packed": "ring_packed", "iommu_platform": "access_platform",
                "queue_reset": "ring_reset", "hash": "hash_report", "failover": "standby"}

# Between front-end and back-end only: no guest ever sees them.
VHOST_NAMES = {"log_all": 26, "protocol_features": 30}
VHOST_BITS = sum(1 << bit for bit in VHOST_NAMES.values())


@functools.cache
def numbers(device):
    """{name: bit} of the device and of what all devices share; names as in the header."""
    found = {}
    for name in [*SHARED, DEVICES[device]]:
        with open(f"{places.HEADERS}/{name}") as f:
            found.update({m[1].lower(): int(m[2]) for m in re.finditer(
                r"^#define\s+VIRTIO_(?:RING_|BLK_|NET_|FS_)?F_(\w+)\s+(\d+)\b", f.read(), re.M)})
    return found


def bit_of(device, name):
    """The number of a feature as spec strings name it."""
    name = name.replace("-", "_")
    if name in VHOST_NAMES:
        return VHOST_NAMES[name]
    return numbers(device)[HEADER_NAMES.get(name, name)]


def mask(device, spec):
    """The bits that a spec string turns on. Limits and protocol features are not bits."""
    value = 0
    for word in spec.split(","):
        name, _, setting = word.partition("=")
        if setting == "on" and "." not in name:
            value |= 1 << bit_of(device, name)
    return value


def names(device, value):
    """The names of a number's bits, for people."""
    by_bit = {bit: name for name, bit in numbers(device).items()}
    return [by_bit.get(n, f"bit{n}") for n in range(64) if value >> n & 1]


def difference(device, want, got):
    """Empty when equal, else what is missing and what is too much, by name."""
    words = []
    if want & ~got:
        words.append("missing " + " ".join(names(device, want & ~got)))
    if got & ~want:
        words.append("too much " + " ".join(names(device, got & ~want)))
    return ", ".join(words)
