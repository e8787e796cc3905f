# SPDX-License-Identifier: MIT
"""What the benchmarks start things with."""
import json
import os
import subprocess
import sys

import places


def program(name):
    """A program of this folder, built: beside the vushim that is measured, or in the tree."""
    for folder in (os.path.dirname(os.path.abspath(places.VUSHIM)),
                   f"{places.TREE}/build/release"):
        path = f"{folder}/tools/bench/{name}"
        if os.access(path, os.X_OK):
            return path
    raise RuntimeError(f"{name} is not built "
                       "(cmake --preset release && cmake --build --preset release)")


def pinned_to_offer(path, device):
    """The spec that pins exactly what this back-end offers: vushim then has to check and rewrite
    everything, and front-end and back-end still agree on what they would agree on directly."""
    p = subprocess.run([places.VUSHIM, "probe", path, "--device", device, "--json"],
                       capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    if p.returncode:
        raise RuntimeError(f"vushim probe: {p.stderr.strip()}")
    return json.loads(p.stdout)["spec"]


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def turns(names, n):
    """The names, beginning with another one each time."""
    return [names[(n + i) % len(names)] for i in range(len(names))]
