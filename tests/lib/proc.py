# SPDX-License-Identifier: MIT
"""Child processes with a log, that never outlive the test, and waiting for a condition."""
import ctypes
import os
import re
import shlex
import signal
import subprocess
import time

import places

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def wait_for(condition, seconds, what, step=0.02):
    """The first true value of condition(); TimeoutError names what did not come."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} within {seconds} s")
        time.sleep(step)


def _settle(nice, session):
    """In the child: die with the test that started it, and give way to others.

    A session of its own is a scheduling group of its own, in which a process's nice value says
    nothing to other groups: the group's own value has to be set too.
    """
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(nice)
    if not session:
        return
    try:
        with open("/proc/self/autogroup", "w") as f:
            f.write(str(nice))
    except OSError:
        pass


class Proc:
    """A child whose output goes to NAME.log in the work folder."""

    def __init__(self, folder, name, argv, stdin=False, nice=places.NICE, env=None,
                 session=True):
        self.name = name
        self.argv = [str(a) for a in argv]
        self.log_path = f"{folder}/{name}.log"
        with open(self.log_path, "ab") as log:
            log.write(f"$ {shlex.join(self.argv)}\n".encode())
            log.flush()
            self.p = subprocess.Popen(
                self.argv, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, env={**os.environ, **(env or {})},
                preexec_fn=lambda: _settle(nice, session), start_new_session=session)

    @property
    def pid(self):
        return self.p.pid

    def log(self):
        """What it has printed, without the line that started it."""
        with open(self.log_path, errors="replace") as f:
            return f.read().split("\n", 1)[1]

    def alive(self):
        return self.p.poll() is None

    def must_live(self):
        if not self.alive():
            raise RuntimeError(f"{self.name} ended with {self.p.returncode}: "
                               f"{self.log()[-1500:].strip()}")

    def wait_until(self, condition, seconds, what):
        """As wait_for, but fails at once when this process ends."""
        def step():
            value = condition()
            if not value:
                self.must_live()
            return value
        return wait_for(step, seconds, f"{what} from {self.name}")

    def wait_log(self, pattern, seconds=20, count=1):
        """Wait until the log matches the pattern (at least count times); returns the last match."""
        def found():
            matches = list(re.finditer(pattern, self.log()))
            return matches[-1] if len(matches) >= count else None
        return self.wait_until(found, seconds, f"log line {pattern!r}")

    def wait_path(self, path, seconds=20):
        return self.wait_until(lambda: os.path.exists(path), seconds, f"socket {path}")

    def wait_end(self, seconds):
        """Exit status, once it ends by itself."""
        try:
            return self.p.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} still runs after {seconds} s") from None

    def kill(self, sig=signal.SIGKILL, seconds=10):
        """Send the signal, and SIGKILL if that does not end it; returns the exit status."""
        if self.alive():
            self.p.send_signal(sig)
            try:
                self.p.wait(seconds)
            except subprocess.TimeoutExpired:
                self.p.kill()
                self.p.wait()
        if self.p.stdin:
            try:
                self.p.stdin.close()
            except OSError:
                pass
        return self.p.returncode

    def stop(self):
        return self.kill(signal.SIGTERM, 5)

    def sockets(self):
        """Those that it holds now: the same later means that no connection has been replaced."""
        folder = f"/proc/{self.pid}/fd"
        links = (os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder))
        return {link for link in links if link.startswith("socket:")}
