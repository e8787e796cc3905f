# SPDX-License-Identifier: MIT
"""Registering tests, running them one after the other, and saying how each went."""
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import Callable

import places
from bench import Bench
from guest import PANIC

TESTS = []
RETRIES = 2     # of a test in which a guest's kernel has panicked
# A guest whose shell on the serial console does not even run this stands still as a whole: as after
# a panic, no device of ours is asked for anything.
STANDSTILL = "no answer to 'true'"


class Skip(Exception):
    """Something that the test needs is not on this machine."""


class Failed(Exception):
    """A check that did not hold."""


class TooLong(BaseException):
    """Not an Exception: code that bears with errors must not swallow it."""


@dataclass
class Test:
    name: str
    run: Callable
    seconds: int
    needs: tuple


def test(name, seconds=60, needs=()):
    """Register a test: a function of a bench. `needs` are programs."""
    def register(function):
        TESTS.append(Test(name, function, seconds, tuple(needs)))
        return function
    return register


def check(condition, what):
    if not condition:
        raise Failed(what)


def equal(got, want, what):
    if got != want:
        raise Failed(f"{what}: {got!r}, not {want!r}")


def _too_long(number, frame):
    raise TooLong()


def _terminated(number, frame):
    """As an interrupt from the keyboard: everything that was started gets stopped."""
    raise KeyboardInterrupt


def _run_once(t):
    """(verdict, why, whether a guest kernel has panicked)"""
    bench = Bench(t.name)
    verdict, why = "PASS", ""
    signal.alarm(t.seconds)
    try:
        missing = places.missing(*t.needs)
        if missing:
            raise Skip(f"not here: {' '.join(missing)} (run tools/install test)")
        t.run(bench)
    except Skip as reason:
        verdict, why = "SKIP", str(reason)
    except TooLong:
        verdict, why = "FAIL", f"took longer than {t.seconds} s"
    except Exception as error:
        verdict, why = "FAIL", f"{type(error).__name__}: {error}"
        if isinstance(error, Failed):
            why = str(error)
    finally:
        signal.alarm(0)
        panic = PANIC in bench.console() or STANDSTILL in why
        bench.close(keep=verdict == "FAIL" or bool(os.environ.get("PEERS_KEEP_LOGS")))
    return verdict, " ".join(why.split()), panic


def _report(name, verdict, why):
    if verdict == "SKIP" and os.environ.get("CI") == "true":
        verdict = "FAIL"    # there a missing peer is a hole in the tests, not a circumstance
    print(f"{verdict} {name}" + (f": {why}" if why else ""), flush=True)
    return verdict


def _run(t):
    """Emulated guests panic once in a while on a busy machine, also without anything of ours, and
    some of them just when they have migrated: such a test, and no other, gets more tries. Returns
    (verdict, tries because of a panic)."""
    start, retries = time.monotonic(), 0
    verdict, why, panic = _run_once(t)
    while verdict == "FAIL" and panic and retries < RETRIES:
        retries += 1
        print(f"# {t.name}: the guest's kernel panicked or stands still, once more: {why}", flush=True)
        verdict, why, panic = _run_once(t)
    verdict = _report(t.name, verdict, why)
    print(f"# {t.name}: {time.monotonic() - start:.1f} s", flush=True)
    return verdict, retries


def _means(word, name):
    """A whole name means that test only; anything else, all that begin so."""
    return name == word or (name.startswith(word) and all(t.name != word for t in TESTS))


def main(words):
    if "--list" in words:
        for t in TESTS:
            print(t.name)
        return 0
    chosen = [t for t in TESTS if not words or any(_means(w, t.name) for w in words)]
    if not chosen:
        print(f"peers: no test is called {' '.join(words)} (--list shows all)", file=sys.stderr)
        return 2
    signal.signal(signal.SIGALRM, _too_long)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        results = [_run(t) for t in chosen]
    except KeyboardInterrupt:
        return 130
    panics = sum(retries for _, retries in results)
    if panics:
        print(f"# repeated because a guest's kernel panicked or stood still: {panics}", flush=True)
    return int(any(verdict == "FAIL" for verdict, _ in results))
