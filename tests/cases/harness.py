# SPDX-License-Identifier: MIT
"""Registry and runner of the cases, and the canary that runs beside them."""
import argparse
import fnmatch
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback

import wire
from case import Case, accept, connect
from peers import SLOW, Failure, Skip, check
from shim import Shim
from workers import Workers, jobs

CASES = []              # (name, function, keyword arguments, options)
DEFAULT_REPEATS = 2
TIME_LIMIT = 60
JOBS_PER_PROCESSOR = 3


def case(variants=None, repeat=None, slow=False):
    """Registers a case. variants: name -> keyword arguments, one test each. repeat: how many times
    it runs again with every write cut at random (0: never, it depends on its own timing or cuts).
    slow: left out of the quick subset."""
    def register(function):
        for name, arguments in (variants or {"": {}}).items():
            full = function.__name__ + ("." + name if name else "")
            CASES.append((full, function, arguments, {
                "repeat": DEFAULT_REPEATS if repeat is None else repeat,
                "again": repeat != 0, "slow": slow,
                "first": not variants or name == next(iter(variants))}))
        return function
    return register


class Canary:
    """Another vushim with its own peers, asked all the time. One process serves one device for
    now, so this shows that nothing leaks from one to the other by way of the machine; when a
    process serves several devices, the canary becomes one of them and LIMIT 0.1 s."""
    LIMIT = 1.0 * SLOW

    def __init__(self):
        self.stage = tempfile.TemporaryDirectory(prefix="vc.")
        front, back = self.stage.name + "/f", self.stage.name + "/b"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(back)
        listener.listen(1)
        self.shim = Shim(["--name", "canary", "--front", f"listen:{front}",
                          "--back", f"connect:{back}"])
        self.front = connect(front)
        self.back = accept(listener)
        listener.close()
        for sock in (self.front, self.back):
            sock.settimeout(10 * SLOW)
        self.slowest, self.count, self.error, self.over = 0.0, 0, None, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        request = wire.message(wire.Front.GET_FEATURES)
        answer = wire.reply(wire.Front.GET_FEATURES, wire.u64(1 << 32))
        try:
            while not self.over.wait(0.03):
                begin = time.monotonic()
                self.front.sendall(request)
                check(self.back.recv(100) == request, "the canary's request changed")
                self.back.sendall(answer)
                check(self.front.recv(100) == answer, "the canary's answer changed")
                self.slowest = max(self.slowest, time.monotonic() - begin)
                self.count += 1
        except (OSError, Failure) as error:
            self.error = error

    def check(self):
        slowest, self.slowest = self.slowest, 0.0
        check(not self.error and self.shim.alive(), f"the canary died: {self.error}\n"
              f"{self.shim.log()}")
        check(slowest < self.LIMIT, f"the canary waited {slowest:.2f} s")

    def stop(self):
        self.over.set()
        self.thread.join()
        self.front.close()
        self.back.close()
        self.shim.stop()

    def discard(self):
        self.over.set()
        self.shim.discard()
        self.stage.cleanup()


def out_of_time(_number, _frame):
    raise Failure(f"not over after {TIME_LIMIT * SLOW:.0f} s")


def run_case(name, function, arguments, repeats):
    """One case with its repeats; raises what went wrong."""
    stage = Case(name)
    signal.alarm(int(TIME_LIMIT * SLOW))
    try:
        function(stage, **arguments)
        first = stage.finish()
        for seed in range(repeats):
            stage.begin(seed)
            try:
                function(stage, **arguments)
                again = stage.finish()
                check(first == again, difference(first, again))
            except Failure as failure:
                raise Failure(f"with writes cut by seed {seed}: {failure}") from failure
        stage.stop()
    except Failure as failure:
        logs = stage.logs()
        stage.discard()
        raise Failure(f"{failure}\n{logs}") from failure
    except BaseException:
        stage.discard()
        raise
    finally:
        signal.alarm(0)
        stage.remove()


def difference(first, again):
    for (name, before), (_, now) in zip(first, again):
        for number, (a, b) in enumerate(zip(before, now)):
            if a != b:
                return f"transcript differs: {name} got {b} instead of {a} as message {number}"
        if len(before) != len(now):
            return f"transcript differs: {name} got {len(now)} messages instead of {len(before)}"
    return f"transcript differs: {len(again)} peers instead of {len(first)}"


def report(name, text):
    """One line that says what failed, and what else is known indented below it."""
    first, *more = text.strip().splitlines()
    return "\n    ".join([f"FAIL {name}: {first}", *more])


def selected(patterns, quick):
    for entry in CASES:
        name, _, _, options = entry
        if quick and (options["slow"] or not options["first"]):
            continue
        if not patterns or any(fnmatch.fnmatch(name, p) or name.startswith(p) for p in patterns):
            yield entry


def parse():
    parser = argparse.ArgumentParser(
        prog="tests/cases/run", description="Plays both peers of a vushim, case by case.",
        epilog="$VUSHIM: the binary; $VUSHIM_WRAP: a wrapper such as valgrind; $VUSHIM_SLOW: "
        "factor for every wait.")
    parser.add_argument("patterns", nargs="*", metavar="PATTERN",
                        help="names, beginnings of names or globs")
    parser.add_argument("--repeat", type=int, metavar="N",
                        help="run each case N more times with its writes cut at random")
    parser.add_argument("--traced", action="store_true",
                        help="every vushim writes a trace, which is compared with what was seen")
    parser.add_argument("--quick", action="store_true", help="a small subset, for Valgrind")
    parser.add_argument("--jobs", type=int, metavar="N",
                        default=jobs(JOBS_PER_PROCESSOR),
                        help="how many at a time (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="print the names only")
    parser.add_argument("--times", action="store_true", help="print how long each case took")
    return parser.parse_args()


def one(entry, options, canary):
    """Runs one entry; returns what is to be printed of it."""
    name, function, arguments, traits = entry
    repeats = options.repeat if options.repeat is not None and traits["again"] \
        else 0 if options.quick else traits["repeat"]
    begin = time.monotonic()
    try:
        run_case(name, function, arguments, repeats)
        canary.check()
    except Skip as reason:
        return f"SKIP {name}: {reason}"
    except Failure as failure:
        return report(name, str(failure))
    except Exception as error:                          # a case that breaks must not end the run
        return report(name, f"{error!r}\n{traceback.format_exc()}")
    return f"PASS {name}" + (f" ({time.monotonic() - begin:.2f} s)" if options.times else "")


def main():
    options = parse()
    entries = list(selected(options.patterns, options.quick))
    Case.traced = options.traced
    if options.list:
        for entry in entries:
            print(entry[0])
        return 0
    if not entries:
        print("tests/cases: no case of that name (see --list)", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stopped)
    workers = Workers(len(entries), options.jobs, lambda own: work(own, entries, options))
    failed = workers.run()
    if not failed:
        workers.say("PASS canary")
    return 1 if failed else 0


def stopped(number, _frame):
    """Leaves by way of every `finally`, so that no process and no folder stays behind."""
    sys.exit(128 + number)


def work(workers, entries, options):
    """One worker's share, beside a canary."""
    signal.signal(signal.SIGALRM, out_of_time)
    canary = Canary()
    try:
        while (number := workers.take()) is not None:
            workers.say(one(entries[number], options, canary))
            if canary.error or not canary.shim.alive():
                canary.discard()
                canary = Canary()
        canary.stop()
    except Failure as failure:
        workers.say(report("canary", str(failure)))
    finally:
        canary.discard()
