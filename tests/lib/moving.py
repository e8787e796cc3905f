# SPDX-License-Identifier: MIT
"""Live migration of a guest from one QEMU to another, over a socket on this machine."""
import subprocess
from dataclasses import dataclass

import places
from guest import Guest
from line import Vushim
from proc import wait_for
from suite import equal

# With it the source waits for the destination's word, and goes on by itself if that is a no.
# Without it the source says "completed" although the destination is dead.
RETURN_PATH = [{"capability": "return-path", "state": True}]
OVER = ("completed", "failed", "cancelled")


class Host:
    """A back-end, and what QEMU connects to: vushim if there is a profile, else the back-end."""

    def __init__(self, bench, name, back, profile=None, more=()):
        self.bench, self.name, self.back, self.front, self.shim = bench, name, back, back, None
        if profile:
            self.front = bench.path(f"{name}-front.sock")
            self.shim = Vushim(bench, ("listen", self.front), ("connect", back), profile, name,
                               f"vushim-{name}", ["--control", bench.path(f"{name}.ctl"), *more])

    def save_state(self):
        """A file with what the guest has negotiated, for a destination to look at."""
        status, state = ask("ctl", self.bench.path(f"{self.name}.ctl"), "state", "--json")
        equal(status, 0, f"exit status of vushim ctl state, which says {state!r}")
        return _written(self.bench.path(f"{self.name}.state"), state)

    def save_offer(self, device):
        status, offer = ask("probe", f"connect:{self.back}", "--device", device, "--json")
        equal(status, 0, f"exit status of vushim probe, which says {offer!r}")
        return _written(self.bench.path(f"{self.name}.offer"), offer)


def _written(path, text):
    with open(path, "w") as f:
        f.write(text)
    return path


def ask(*words, seconds=20):
    """(exit status, what it says) of a vushim command that ends by itself."""
    p = subprocess.run([places.VUSHIM, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=seconds)
    return p.returncode, p.stdout


@dataclass
class Outcome:
    status: str         # one of OVER
    error: str          # QEMU's own, if it gives one
    downtime: int       # in ms, as QEMU measures it


def destination(bench, name, devices, modules="", program=None):
    """A QEMU that waits for a guest. The modules are for the kernel that a reset loads there."""
    path = bench.path(f"{name}.migration")
    guest = Guest(bench, name, [*devices, "-incoming", f"unix:{path}"], modules,
                  program=program)
    guest.connect()
    guest.wait_path(path)
    guest.incoming = path
    return guest


def begin(source, target, **parameters):
    for qemu in (source, target):
        qemu.qmp.do("migrate-set-capabilities", capabilities=RETURN_PATH)
    source.qmp.do("migrate-set-parameters", **{"downtime-limit": 300, **parameters})
    source.qmp.do("migrate", uri=f"unix:{target.incoming}")


def end(source, seconds=60):
    """What has become of a migration that has begun."""
    def over():
        info = source.qmp.do("query-migrate")
        return info if info.get("status") in OVER else None
    info = source.wait_until(over, seconds, "end of the migration")
    return Outcome(info["status"], info.get("error-desc", ""), info.get("downtime", 0))


def take_over(source, target):
    """The guest is in the target now: it takes commands there, and the source's QEMU ends."""
    target.wait_until(lambda: target.qmp.do("query-status")["status"] == "running", 30,
                      "running guest")
    target.lines_run = source.lines_run
    for last in (False, False, False, True):
        try:    # the first line after the switch may get lost in the serial port that has moved
            target.out("true", 10)
            break
        except TimeoutError:
            if last:
                raise
    equal(source.quit(), 0, "exit status of the source's QEMU")


def move(source, target):
    """A migration that must succeed."""
    begin(source, target)
    outcome = end(source)
    equal((outcome.status, outcome.error), ("completed", ""),
          f"the migration to {target.name} (which says {target.log()[-600:]!r})")
    take_over(source, target)
    return outcome


def fail_to_move(source, target):
    """A migration that the target must refuse; what its QEMU says. The source goes on."""
    begin(source, target)
    equal(end(source).status, "failed", "the migration")
    equal(target.wait_end(20), 1, "exit status of the QEMU that refuses")
    wait_for(lambda: source.qmp.do("query-status")["status"] == "running", 20,
             "source that runs on")
    return target.log()
