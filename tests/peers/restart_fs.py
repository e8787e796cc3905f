# SPDX-License-Identifier: MIT
"""virtiofsd dies and comes back under a mounted folder.

What it knew of its client, inodes and open files, died with it, and vushim says so. The device goes
on: the old mount gives errors, and the guest can mount the folder again. Without vushim the guest's
access hangs for ever, and QEMU never connects to the new virtiofsd.
"""
from backends import RustVirtiofsd, Virtiofsd
from debian13 import rust_virtiofsd
from fs import NEEDS, RUST_NEEDS, move_files
from guest import Guest, fs
from line import Line
from monitor import Monitor
from suite import check, equal, test

TIMES = 3
LOST = ["table of files is lost", "mount again"]     # words of what vushim says


class Daemons:
    """virtiofsds at one path, each started after the one before it was killed."""

    def __init__(self, bench, path, shared, program=None):
        self.bench, self.path, self.shared, self.program = bench, path, shared, program
        self.now, self.started = None, 0

    def start(self):
        self.started += 1
        name = f"virtiofsd{self.started}"
        if self.program:
            self.now = RustVirtiofsd(self.bench, self.path, self.shared, self.program, name,
                                     wait=self.started == 1)
        else:
            self.now = Virtiofsd(self.bench, self.path, self.shared, name)

    def kill(self):
        self.now.kill()


def start_all(bench, program=None):
    """(line, monitor, daemons, guest)"""
    control = bench.path("ctl")
    line = Line(bench, "host,device=fs", more=["--control", control])
    daemons = Daemons(bench, line.back, bench.path("shared"), program)
    daemons.start()
    monitor = Monitor(bench, control)
    return line, monitor, daemons, Guest(bench, "guest", fs(line.front), "virtiofs").boot()


def gives_an_error(guest, what, seconds=20):
    """It ends, and not well."""
    status, said = guest.sh(f"{what} >/dev/null", seconds)
    check(status != 0, f"{what} after a restart says {said!r}")


def restart(bench, program=None):
    line, monitor, daemons, guest = start_all(bench, program)
    move_files(guest, daemons.shared)
    sockets = guest.sockets()
    for n in range(1, TIMES + 1):
        guest.out("mount -t virtiofs shared /mnt; cat /mnt/from-host; exec 3>/mnt/open")
        daemons.kill()
        monitor.wait("BACK_HELD", n)
        daemons.start()
        monitor.wait("BACK_TOOK_OVER", n)
        gives_an_error(guest, "cat /mnt/made")
        gives_an_error(guest, "ls /mnt")
        guest.sh("exec 3>&-")
        guest.out("umount /mnt")
        move_files(guest, daemons.shared)
    equal(guest.sockets(), sockets, "QEMU's connections")
    for word in LOST:
        check(word in line.shim.log(), f"vushim's log does not say what is lost: no {word!r}")
    equal(guest.quit(), 0, "QEMU's exit status")
    line.shim.end_well()


def while_writing(bench, program=None):
    """The write that nobody answers ends as soon as there is a next one to answer it."""
    line, monitor, daemons, guest = start_all(bench, program)
    guest.out("mount -t virtiofs shared /mnt")
    # Not a child of the console's shell: the end of one breaks off the line that it is reading.
    guest.out("( (dd if=/dev/zero of=/mnt/busy bs=64k count=100000 2>/dev/null; echo $? >/tmp/end) &"
              " ); until [ -s /mnt/busy ]; do sleep 0.1; done", 20)
    daemons.kill()
    monitor.wait("BACK_HELD")
    daemons.start()
    monitor.wait("BACK_TOOK_OVER")
    guest.out("n=0; until [ -s /tmp/end ] || [ $n -gt 200 ]; do n=$((n+1)); sleep 0.1; done")
    check(guest.out("cat /tmp/end") != "0", "status of what was writing")
    guest.out("umount /mnt")
    with open(f"{daemons.shared}/from-host", "w") as f:
        f.write("x\n")
    equal(guest.out("mount -t virtiofs shared /mnt; cat /mnt/from-host"), "x", "the host's file")
    equal(guest.quit(), 0, "QEMU's exit status")
    line.shim.end_well()


@test("restart-fs", seconds=90, needs=NEEDS)
def restart_c(bench):
    restart(bench)


@test("restart-fs-while-writing", seconds=90, needs=NEEDS)
def while_writing_c(bench):
    while_writing(bench)


@test("restart-fs-rust", seconds=180, needs=RUST_NEEDS)
def restart_rust(bench):
    restart(bench, rust_virtiofsd())


@test("restart-fs-rust-while-writing", seconds=180, needs=RUST_NEEDS)
def while_writing_rust(bench):
    while_writing(bench, rust_virtiofsd())
