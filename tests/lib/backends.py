# SPDX-License-Identifier: MIT
"""Real vhost-user back-ends, and DPDK's virtio-user front-end, as packaged.

`program`: how to start one that is not this machine's own, a list of words (see debian13.py).
"""
import os
import re

import places
from proc import Proc


def fresh(path):
    """A stale file must not pass for the socket that the new process makes."""
    if os.path.exists(path):
        os.unlink(path)


class Qsd(Proc):
    """qemu-storage-daemon with one vhost-user-blk export. iops: so many requests a second, the
    others wait in it."""

    def __init__(self, bench, path, image, name="qsd", num_queues=1, program=None, iops=0,
                 **export):
        fresh(path)
        more = "".join(f",{k.replace('_', '-')}={v}" for k, v in export.items())
        super().__init__(bench.folder, name, [
            *(program or [places.QSD]),
            "--blockdev", f"driver=file,node-name=f0,filename={image},locking=off",
            "--object", f"throttle-group,id=t0,x-iops-total={iops}",
            "--blockdev", "driver=throttle,throttle-group=t0,node-name=t0,file=f0",
            "--blockdev", "driver=raw,node-name=d0,file=t0",
            "--export", "type=vhost-user-blk,id=e0,node-name=d0,writable=on,"
                        f"num-queues={num_queues},addr.type=unix,addr.path={path}{more}"])
        bench.add(self)
        self.wait_path(path)


class Virtiofsd(Proc):
    """The C virtiofsd of QEMU's packages. It serves one front-end and ends with it."""

    def __init__(self, bench, path, shared, name="virtiofsd"):
        fresh(path)
        os.makedirs(shared, exist_ok=True)
        super().__init__(bench.folder, name, [
            places.VIRTIOFSD, f"--socket-path={path}", "-o", f"source={shared}",
            "-o", "cache=auto"])
        bench.add(self)
        self.wait_path(path)


class RustVirtiofsd(Proc):
    """The Rust virtiofsd of Debian 13. It removes its socket when it has been connected to, so that
    one who is waited for may never be seen to listen: wait=False."""

    def __init__(self, bench, path, shared, program, name="virtiofsd", wait=True):
        fresh(path)
        os.makedirs(shared, exist_ok=True)
        super().__init__(bench.folder, name, [
            *program, "--socket-path", path, "--shared-dir", shared, "--cache", "auto",
            "--sandbox", "none", "--log-level", "warn"])
        bench.add(self)
        if wait:
            self.wait_path(path)


class Testpmd(Proc):
    """dpdk-testpmd, interactive on a pipe, with one port and ordinary pages.

    device: what follows --vdev, as net_vhost0,iface=PATH or net_virtio_user0,path=PATH.
    more: further options of testpmd itself.
    """

    def __init__(self, bench, name, device, queues=1, forward="icmpecho", start=True, mib=256,
                 program=None, more=()):
        # --in-memory does not go with --no-huge; the prefix keeps runs apart instead. Without
        # stdbuf its answers would stay in a buffer, as it writes to a file here.
        prefix = f"vushim{os.getpid()}{name}"
        super().__init__(bench.folder, name, [
            "stdbuf", "-oL", *(program or [places.TESTPMD]), "--lcores", "0@(0-1),1@(0-1)",
            "--no-huge", "-m", mib, "--no-pci", "--no-shconf", "--no-telemetry",
            "--file-prefix", prefix,
            "--vdev", device, "--", "-i", *(["--auto-start"] if start else []),
            f"--forward-mode={forward}", "--total-num-mbufs=2048", "--no-mlockall",
            f"--rxq={queues}", f"--txq={queues}", *more],
            stdin=True, nice=places.NICE + 5, env={"TERM": "dumb"})
        bench.add(self)

    def ready(self, seconds=40):
        self.wait_log(r"testpmd> ", seconds)
        return self

    def do(self, line, answer, seconds=10):
        """Give a command; the match of its answer in what is printed from then on."""
        start = len(self.log())
        self.p.stdin.write(f"{line}\n".encode())
        self.p.stdin.flush()
        return self.wait_until(lambda: re.search(answer, self.log()[start:], re.S), seconds,
                               f"answer to {line!r}")

    def forward(self, mode, tx_first=False):
        self.do(f"set fwd {mode}", f"Set {mode} packet forwarding mode")
        self.do("start tx_first" if tx_first else "start", f"{mode}(?: packet)? .*?testpmd>")

    def halt(self):
        self.do("stop", r"Done\.")

    def packets(self):
        """(received, sent) by the port since the start."""
        m = self.do("show port stats 0", r"RX-packets:\s*(\d+).*?TX-packets:\s*(\d+).*?Tx-bps")
        return int(m[1]), int(m[2])

    def stop(self):
        if self.alive():
            try:
                self.p.stdin.write(b"quit\n")
                self.p.stdin.flush()
                self.p.wait(10)
            except Exception:   # whatever it is busy with: the signal ends it
                pass
        return super().stop()


def vhost_port(path, queues=1, client=False):
    return f"net_vhost0,iface={path},queues={queues}" + (",client=1" if client else "")


def virtio_user_port(path, queues=1):
    return f"net_virtio_user0,path={path},queues={queues}"
