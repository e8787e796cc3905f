# SPDX-License-Identifier: MIT
"""A vushim process under test: how it starts, what it holds, how it ends."""
import os
import re
import resource
import shlex
import signal
import subprocess
import tempfile
import time
from collections import Counter

from peers import SLOW, PATIENCE, Failure, check, until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMPLAINTS = re.compile(r"AddressSanitizer|LeakSanitizer|runtime error:|UndefinedBehavior|^==\d+==",
                        re.MULTILINE)


if os.environ.get("VUSHIM"):            # a case may change the working folder
    os.environ["VUSHIM"] = os.path.abspath(os.environ["VUSHIM"])


def binary():
    """$VUSHIM, else the build with sanitizers, else the plain one."""
    names = [os.environ.get("VUSHIM")] if os.environ.get("VUSHIM") else [
        os.path.join(ROOT, "build", preset, "vushim") for preset in ("asan", "dev", "release")]
    for name in names:
        if os.access(name, os.X_OK):
            return os.path.abspath(name)
    raise SystemExit(f"tests/cases: no vushim: looked for {', '.join(names)} "
                     "(build it: cmake --preset asan && cmake --build --preset asan)")


def wrapper():
    return shlex.split(os.environ.get("VUSHIM_WRAP", ""))


def unconfined(arguments):
    """A wrapper's own system calls would be the program's."""
    runs = arguments[:1] in (["run"], ("run",)) and "--sandbox" not in arguments
    return ["--sandbox", "off"] if wrapper() and runs else []


def environment():
    env = dict(os.environ)
    env["ASAN_OPTIONS"] = "exitcode=86:detect_leaks=1:quarantine_size_mb=1:" \
        + env.get("ASAN_OPTIONS", "")
    env["UBSAN_OPTIONS"] = "halt_on_error=1:print_stacktrace=1:" + env.get("UBSAN_OPTIONS", "")
    return env


def instrumented():
    """Sanitizers and Valgrind map and allocate on their own account."""
    if wrapper():
        return True
    with open(binary(), "rb") as file:
        return b"__asan_init" in file.read()


def listening(path):
    """Whether a socket listens at path, found without connecting: a connection would be a peer."""
    with open("/proc/net/unix", encoding="ascii", errors="replace") as table:
        for line in table:
            fields = line.split()
            if len(fields) == 8 and fields[7] == path and int(fields[3], 16) & 0x10000:
                return True
    return False


def broken_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return writer


class Shim:
    """One `vushim run`."""

    def __init__(self, arguments, pass_fds=(), unread_log=False, json_log=False, before=None):
        """unread_log: standard error is a pipe whose reader has gone. before: called in the new
        process before it becomes vushim."""
        self.line_start = "{" if json_log else "vushim: "
        off = unconfined(["run", *arguments])
        self.command = [*wrapper(), binary(), "run", *arguments, *off]
        # In memory: on a busy machine a write to a disk may block for seconds, and vushim with it.
        self.stderr = tempfile.TemporaryFile(dir="/dev/shm")
        errors = broken_pipe() if unread_log else os.dup(self.stderr.fileno())
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                        stdout=self.stderr, stderr=errors,
                                        pass_fds=pass_fds, env=environment(),
                                        preexec_fn=before)
        os.close(errors)
        self.pid = self.process.pid
        self.idle = None           # descriptors when nobody is connected
        self.idle_maps = None

    # --- log

    def log(self):
        self.stderr.flush()
        size = os.fstat(self.stderr.fileno()).st_size
        return os.pread(self.stderr.fileno(), size, 0).decode(errors="replace")

    def mark(self):
        """A place in the log, for said() to start from."""
        return len(self.log())

    def said(self, pattern, since=0, patience=PATIENCE):
        """Waits for a log line that matches; returns the line."""
        def find():
            for line in self.log()[since:].splitlines():
                if re.search(pattern, line):
                    return line
            return None
        return until(find, f"a log line like '{pattern}'", patience)

    def not_said(self, pattern, since=0):
        lines = [line for line in self.log()[since:].splitlines() if re.search(pattern, line)]
        check(not lines, f"unexpected log line: {lines and lines[0]}")

    def most_endings(self):
        """How often the most frequent ending has been logged."""
        counts = Counter(re.findall(r"\[[A-Z_]+\]", self.log()))
        return max(counts.values(), default=0)

    # --- what it holds

    def alive(self):
        return self.process.poll() is None

    def fds(self):
        """Descriptor number -> what it is."""
        found = {}
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                found[int(name)] = os.readlink(f"/proc/{self.pid}/fd/{name}")
            except FileNotFoundError:
                pass
        return found

    def maps(self):
        """Lines of /proc/PID/maps; with sanitizers only those of files, which are never theirs."""
        with open(f"/proc/{self.pid}/maps", encoding="utf-8", errors="replace") as maps:
            lines = [line.rstrip() for line in maps]
        if instrumented():
            lines = [line for line in lines if "/memfd:" in line or "(deleted)" in line]
        return lines

    def rss(self):
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()

    def cpu(self):
        """Seconds of processor time so far."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def settle(self):
        """Remembers the idle state: wait until no descriptor has come or gone for a moment."""
        before, since = self.fds(), time.monotonic()
        end = since + PATIENCE
        while time.monotonic() < min(end, since + 0.03 * min(SLOW, 3)):
            now = self.fds()
            if now != before:
                before, since = now, time.monotonic()
            time.sleep(0.005)
        self.idle, self.idle_maps = before, self.maps()

    def check_idle(self):
        """Nobody is connected any more: nothing of theirs may be left."""
        check(self.alive(), f"vushim has died: {self.process.returncode}")
        try:
            until(lambda: len(self.fds()) == len(self.idle), "")
        except Failure:
            now = self.fds()
            extra = {n: now[n] for n in now if n not in self.idle}
            missing = {n: self.idle[n] for n in self.idle if n not in now}
            raise Failure(f"descriptors not back at idle: more {extra}, "
                          f"missing {missing}") from None
        now = self.maps()
        check(len(now) == len(self.idle_maps),
              f"maps not back at idle: {set(now) ^ set(self.idle_maps)}")

    # --- the end

    def wait(self, patience=PATIENCE):
        """Waits for the process to end by itself; returns its exit status."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise Failure(f"vushim did not end within {patience} s") from None

    def stop(self, number=signal.SIGTERM):
        """Ends it by signal: it must exit with 0, having said nothing strange."""
        if self.alive():
            self.process.send_signal(number)
        try:
            status = self.wait()
        finally:
            self.discard()
        text = self.log()
        found = COMPLAINTS.search(text)
        check(not found, f"sanitizer or Valgrind speaks:\n{text[-6000:]}")
        check(status == 0, f"exit status {status} after signal {number}:\n{text[-3000:]}")
        strange = [line for line in text.splitlines() if not line.startswith(self.line_start)]
        check(not strange, f"log line without '{self.line_start}': {strange and strange[0]}")

    def discard(self):
        """Makes sure that no process stays behind, whatever happened."""
        if self.alive():
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


def command(*arguments, patience=PATIENCE, pass_fds=()):
    """Runs vushim to its end; returns (status, stdout, stderr)."""
    done = subprocess.run([*wrapper(), binary(), *arguments, *unconfined(arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=patience, env=environment(),
                          pass_fds=pass_fds, check=False)
    check(not COMPLAINTS.search(done.stderr), f"sanitizer or Valgrind speaks:\n{done.stderr}")
    return done.returncode, done.stdout, done.stderr
