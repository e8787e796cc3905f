# SPDX-License-Identifier: MIT
"""A QEMU guest under TCG whose serial console runs one shell line at a time."""
import os
import re
import socket
import threading
import time

import places
from guestimage import guest_image
from proc import Proc
from qmp import Qmp

READY = r"GUEST-READY (\S+)"
PANIC = "Kernel panic"
KERNEL_LINE = ("console=ttyS0 quiet loglevel=3 panic=-1 tsc=unstable random.trust_cpu=on "
               "mitigations=off nokaslr audit=0")


def _machine(cpus, mib):
    # Guest memory must be a file that back-ends can map.
    return ["-accel", "tcg", "-machine", "q35,memory-backend=mem0", "-cpu", "max",
            "-smp", cpus, "-m", f"{mib}M",
            "-object", f"memory-backend-memfd,id=mem0,size={mib}M,share=on",
            "-nodefaults", "-no-user-config", "-display", "none"]


class Guest(Proc):
    """boot() returns when the guest takes commands; sh() runs one and gives (status, output).

    program: how to start a QEMU that is not this machine's own, a list of words.
    """

    def __init__(self, bench, name, devices, modules="", cpus=1, mib=256, kernel_line="",
                 program=None):
        kernel, initramfs = guest_image()
        self.console_path = bench.path(f"{name}.con")
        self.qmp_path = bench.path(f"{name}.qmp")
        for path in (self.console_path, self.qmp_path):
            if os.path.exists(path):
                os.unlink(path)
        self.text, self.lines_run = "", 0
        self.qmp = self.console = None
        super().__init__(bench.folder, name, [
            *(program or [places.QEMU]), *_machine(cpus, mib), "-action", "reboot=reset",
            "-kernel", kernel, "-initrd", initramfs,
            "-append", f"{KERNEL_LINE} guest.modules={modules} {kernel_line}",
            "-chardev", f"socket,id=con,path={self.console_path},server=on,wait=off,"
                        f"logfile={bench.path(name + '.console')},logappend=on",
            "-serial", "chardev:con",
            "-chardev", f"socket,id=qmp,path={self.qmp_path},server=on,wait=off",
            "-mon", "chardev=qmp,mode=control", *devices])
        bench.add(self)

    def connect(self, seconds=30):
        """QMP and console. QEMU may wait for its vhost-user peer before it serves them."""
        end = time.monotonic() + seconds
        while not self.qmp:
            self.must_live()
            try:
                self.qmp = Qmp(self.qmp_path, 0.5)
            except (OSError, EOFError):     # not there yet, or it ends: the next look tells
                if time.monotonic() > end:
                    raise
        self.console = socket.socket(socket.AF_UNIX)
        self.console.connect(self.console_path)
        threading.Thread(target=self._read_console, daemon=True).start()

    def _read_console(self):
        while True:
            try:
                data = self.console.recv(65536)
            except OSError:
                return
            if not data:
                return
            self.text += data.decode(errors="replace").replace("\r", "")

    def _wait_text(self, pattern, start, seconds, what):
        def found():
            if PANIC in self.text[start:]:
                raise RuntimeError(f"{self.name}: {PANIC}: {self.text[start:][-600:]}")
            return re.search(pattern, self.text[start:])
        return self.wait_until(found, seconds, what)

    def boot(self, seconds=90):
        self.connect()
        self._wait_text(READY, 0, seconds, "guest shell")
        return self

    def reboot(self, seconds=90):
        """The machine's reset button: firmware, kernel and drivers start from nothing."""
        start = len(self.text)
        self.qmp.do("system_reset")
        self._wait_text(READY, start, seconds, "guest shell after a reset")

    def begin(self, line):
        """Run a line without waiting for its end: what finish() takes."""
        self.lines_run += 1
        tag, start = f"@@{self.lines_run}", len(self.text)
        self.console.sendall(f'{{ {line}; }} 2>&1; echo "{tag} $?"\n'.encode())
        return line, tag, start

    def answered(self, begun):
        return f"{begun[1]} " in self.text[begun[2]:]

    def finish(self, begun, seconds=60):
        line, tag, start = begun
        m = self._wait_text(re.escape(tag) + r" (\d+)\n", start, seconds, f"answer to {line!r}")
        return int(m[1]), self.text[start:start + m.start()].strip("\n")

    def sh(self, line, seconds=60):
        return self.finish(self.begin(line), seconds)

    def out(self, line, seconds=60):
        """Output of a command that must succeed."""
        status, output = self.sh(line, seconds)
        if status:
            raise RuntimeError(f"{self.name}: {line}: status {status}: {output}")
        return output

    def values(self, line, seconds=60):
        """The NAME=NUMBER words of guesttool's last line."""
        words = re.findall(r"(\w+)=([\d.]+)", self.out(line, seconds).splitlines()[-1])
        return {name: float(number) for name, number in words}

    def features(self, driver):
        """Feature bits that the driver's (first) device has negotiated, as a number."""
        bits = self.out(f"cat /sys/bus/virtio/drivers/{driver}/virtio*/features | head -1")
        return int(bits[::-1], 2)

    def quit(self, seconds=20):
        """End as a user would end it: QEMU stops its devices in good order."""
        try:
            self.qmp.do("quit")
        except EOFError:
            pass
        return self.wait_end(seconds)

    def stop(self):
        for s in (self.qmp, self.console):
            if s:
                s.close()
        return super().stop()


def chardev(name, path, server=False):
    return ["-chardev", f"socket,id={name},path={path}" + (",server=on" if server else "")]


# Arguments of one device. `options` are further properties of it, in QEMU's spelling.

def blk(path, server=False, options=""):
    return [*chardev("blk0", path, server),
            "-device", "vhost-user-blk-pci,chardev=blk0" + _more(options)]


def net(path, server=False, queues=1, options=""):
    """vectors=0: with MSI-X, QEMU 7.2 under TCG takes a path that is for KVM only, and crashes."""
    mq = ",mq=on" if queues > 1 else ""
    return [*chardev("net0", path, server),
            "-netdev", f"vhost-user,id=n0,chardev=net0,queues={queues}",
            "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:00:00:01,vectors=0,romfile="
                       + mq + _more(options)]


def fs(path, server=False, options=""):
    return [*chardev("fs0", path, server),
            "-device", "vhost-user-fs-pci,chardev=fs0,tag=shared" + _more(options)]


def _more(options):
    return f",{options}" if options else ""


def bare_qemu(bench, name, devices):
    """QEMU with nothing to run, for a device that it must refuse: its log tells."""
    return bench.add(Proc(bench.folder, name, [places.QEMU, *_machine(1, 64), "-S", *devices]))
