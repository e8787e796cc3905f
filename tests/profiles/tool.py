# SPDX-License-Identifier: MIT
"""Running vushim, families and offers as files, and the list of tests."""
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback

import tables

VUSHIM = os.environ.get("VUSHIM", f"{tables.TREE}/build/release/vushim")
SHIPPED = f"{tables.TREE}/policy/profiles"
SCHEMA = f"{SHIPPED}/family.schema.json"
TIME_LIMIT = 15

TESTS = []              # (name, function, arguments)
STAGE = tempfile.TemporaryDirectory(prefix="vushim-profiles-")


class Failure(Exception):
    pass


class Skip(Exception):
    pass


def check(condition, why):
    if not condition:
        raise Failure(why)


def equal(got, wanted, what):
    check(got == wanted, f"{what}: {got!r}, not {wanted!r}")


def test(variants=None):
    """Registers a test. variants: name -> arguments, one test each."""
    def register(function):
        name = function.__name__.replace("__", ".")
        for variant, arguments in (variants or {"": {}}).items():
            TESTS.append((f"{name}.{variant}" if variant else name, function, arguments))
        return function
    return register


def vushim(*words, status=None):
    """(status, standard output). Errors are one line that says where they come from, with 2."""
    try:
        p = subprocess.run([VUSHIM, *words], capture_output=True, stdin=subprocess.DEVNULL,
                           timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        raise Failure(f"{' '.join(words)[:200]}: no end after {TIME_LIMIT} s") from None
    out, err = p.stdout.decode(errors="replace"), p.stderr.decode(errors="replace")
    called = " ".join(words)[:300]
    check(p.returncode in (0, 1, 2), f"{called}: status {p.returncode}: {err[-2000:]}")
    check((p.returncode == 2) == bool(err), f"{called}: status {p.returncode} with {err!r}")
    if err:
        check(not out, f"{called}: output beside the error: {out!r}")
        check(err.startswith("vushim: ") and err.endswith("\n") and err.count("\n") == 1,
              f"{called}: not one line: {err!r}")
    if status is not None:
        check(p.returncode == status,
              f"{called}: status {p.returncode}, not {status}: {(err or out)[:400]}")
    return p.returncode, err if err else out


def says(status, *words):
    return vushim(*words, status=status)[1]


def says_json(status, *words):
    text = says(status, *words, "--json")
    try:
        return json.loads(text)
    except ValueError:
        raise Failure(f"{' '.join(words)}: not JSON: {text[:300]}") from None


def stage(name, content):
    """A file of text, bytes, or anything that JSON can hold."""
    path = f"{STAGE.name}/{name}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not isinstance(content, (str, bytes)):
        content = json.dumps(content, indent=2)
    with open(path, "wb") as f:
        f.write(content.encode() if isinstance(content, str) else content)
    return path


def version(name="v1", **keys):
    return {"name": name, "features": ["csum", "mrg_rxbuf"], "protocol_features": ["mq"], **keys}


def family(*versions, name="org.test", device="net", **keys):
    return {"family": name, "device": device, "versions": list(versions), **keys}


def offer(features, protocol=0, device="net", **keys):
    return {"back_end": "made by a test", "device": device, "features_bits": hex(features),
            "protocol_features_bits": hex(protocol), **keys}


def mask(device, names):
    table = tables.features(device)
    return sum(1 << table[name] for name in names)


def protocol_mask(names):
    return sum(1 << tables.PROTOCOL[name] for name in names)


def shipped():
    """{family name: path}"""
    paths = sorted(os.path.join(SHIPPED, name) for name in os.listdir(SHIPPED)
                   if name.endswith(".json") and ".schema." not in name)
    return {os.path.basename(path).removesuffix(".json"): path for path in paths}


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def run_one(name, function, arguments):
    """True when it has not failed."""
    try:
        function(**arguments)
        line, good = f"PASS profiles.{name}", True
    except Skip as reason:
        good = os.environ.get("CI") != "true"
        line = f"{'SKIP' if good else 'FAIL'} profiles.{name}: {reason}"
    except Failure as why:
        line, good = f"FAIL profiles.{name}: {' '.join(str(why).split())[:1500]}", False
    except Exception:   # a fault of the test's own must not hide the others
        text = re.sub(r"\s+", " ", traceback.format_exc())
        line, good = f"FAIL profiles.{name}: {text[-1500:]}", False
    print(line, flush=True)
    return good


def main(patterns):
    if not os.access(VUSHIM, os.X_OK):
        print(f"FAIL profiles: {VUSHIM} is not there")
        return 1
    chosen = [one for one in TESTS if not patterns or any(re.search(p, one[0]) for p in patterns)]
    good = [run_one(*one) for one in chosen]
    if not chosen:
        print(f"no test matches {' '.join(patterns)}", file=sys.stderr)
        return 2
    return 0 if all(good) else 1
