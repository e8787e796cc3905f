# SPDX-License-Identifier: MIT
"""virtiofsd dies and comes back under a mounted folder.

What it knew of its client, inodes and open files, died with it, and vushim says so. The device goes
on: the old mount gives errors, and the guest can mount the folder again. Without vushim the guest's
access hangs for ever, and QEMU never connects to the new virtiofsd.

Replaced while it is alive, the Rust one hands on what it knows, and the guest's open files stay open.
"""
import debian13
from backends import RustVirtiofsd, Virtiofsd
from debian13 import rust_virtiofsd
from fs import NEEDS, RUST_NEEDS, move_files
from guest import Guest, fs
from line import Line
from monitor import Monitor
from suite import check, equal, test

TIMES = 3
LOST = ["table of files is lost", "mounts again"]     # words of what vushim says


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


@test("restart-fs", seconds=90, needs=NEEDS)
def restart_c(bench):
    restart(bench)


@test("restart-fs-rust", seconds=180, needs=RUST_NEEDS)
def restart_rust(bench):
    restart(bench, rust_virtiofsd())


@test("restart-fs-switch", seconds=180, needs=RUST_NEEDS)
def switch(bench):
    """Files and folders are open, one of them removed from its folder and one being written, while
    virtiofsd is replaced by the next one and by that one's next. Nobody gets an error."""
    control, shared = bench.path("ctl"), bench.path("shared")
    line = Line(bench, "host,device=fs", more=["--control", control])
    first = RustVirtiofsd(bench, line.back, shared, rust_virtiofsd(), "virtiofsd0")
    guest = Guest(bench, "guest", fs(line.front), "virtiofs", program=debian13.qemu()).boot()
    monitor = Monitor(bench, control)
    guest.out("mount -t virtiofs shared /mnt; mkdir -p /mnt/a/b; cd /mnt/a/b; "
              "exec 3>/mnt/a/b/log 4</mnt/a/b/log; echo 0 >&3")
    guest.out("( (dd if=/dev/zero of=/mnt/busy bs=4k count=1000000 conv=fsync 2>/dev/null; "
              "echo $? >/tmp/end) & ); until [ -s /mnt/busy ]; do sleep 0.1; done", 20)
    for n in range(1, TIMES + 1):
        path = bench.path(f"next{n}")
        RustVirtiofsd(bench, path, shared, rust_virtiofsd(), f"virtiofsd{n}", wait=False)
        done = monitor.ask("switch", back=f"connect:{path}")
        print(f"# {n}: {done['rings']}", flush=True)
        if n == 1:
            equal(first.wait_end(10), 0, "exit status of the virtiofsd that was left")
        guest.out(f"echo {n} >&3")
        size = guest.out("stat -c %s /mnt/busy")
        guest.out(f"n=0; until [ $(stat -c %s /mnt/busy) -gt {size} ]; do sleep 0.1; done", 20)
        equal(guest.out("ls /mnt/a/b; pwd"), "log\n/mnt/a/b", "the folder that the shell is in")
    equal(guest.out("cat <&4"), "\n".join(str(n) for n in range(TIMES + 1)), "the open file")
    check(guest.out("cat /tmp/end 2>/dev/null || true") in ("", "0"), "what was writing had an error")
    equal(line.shim.log().count("not all can be kept"), 0, "losses in vushim's log")
    guest.out("cd /; exec 3>&- 4<&-; killall dd; sleep 0.2; umount /mnt")
    move_files(guest, shared)
    equal(guest.quit(), 0, "QEMU's exit status")
    line.shim.end_well()
