# SPDX-License-Identifier: MIT
"""Running vushims as capture interfaces: what Wireshark asks vushim extcap, and tshark itself."""
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time

import tracefile
from tracetool import VUSHIM

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OWNER = struct.pack("=III", 3, 1, 0)


class Skip(Exception):
    pass


def wait(condition, what, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no {what} within {seconds} s"
        time.sleep(0.02)


class Running:
    """A vushim with both peers and a control socket vm1.ctl."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="vushim-extcap-")
        self.path = self.folder.name
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(f"{self.path}/b")
        self.listener.listen(1)
        self.p = subprocess.Popen(
            [VUSHIM, "run", "--front", f"listen:{self.path}/f", "--back", f"connect:{self.path}/b",
             "--control", f"{self.path}/vm1.ctl", "--name", "vm1/{net0}", "--log-level", "error"])
        wait(lambda: os.path.exists(f"{self.path}/f"), "socket")
        self.front = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.front.connect(f"{self.path}/f")
        self.back = self.listener.accept()[0]
        self.env = {**os.environ, "VUSHIM": VUSHIM, "VUSHIM_CONTROL_DIR": self.path,
                    "HOME": self.path, "XDG_CONFIG_HOME": f"{self.path}/.config"}
        return self

    def __exit__(self, *error):
        self.p.terminate()
        self.p.wait(30)
        for sock in (self.front, self.back, self.listener):
            sock.close()
        self.folder.cleanup()

    def extcap(self, *words):
        p = subprocess.run([VUSHIM, "extcap", *words], env=self.env, capture_output=True, text=True,
                           timeout=60)
        return p.returncode, p.stdout, p.stderr

    def talk(self, n):
        for _ in range(n):
            self.front.sendall(OWNER)
            assert self.back.recv(12) == OWNER

    def traces(self):
        p = subprocess.run([VUSHIM, "ctl", f"{self.path}/vm1.ctl", "trace"], capture_output=True,
                           timeout=60)
        return p.returncode == 0


def test_interfaces():
    with Running() as r:
        status, out, _ = r.extcap("--extcap-interfaces", "--extcap-version=4.0")
        assert status == 0 and "interface {value=vushim-vm1}{display=vushim vm1/_net0_ (running)}" in out
        dlts = r.extcap("--extcap-interface", "vushim-vm1", "--extcap-dlts")[1]
        assert dlts.startswith("dlt {number=252}"), dlts
        assert r.extcap("--extcap-interface=vushim-vm1", "--extcap-config")[:2] == (0, "")


def test_folder_is_not_there():
    p = subprocess.run([VUSHIM, "extcap", "--extcap-interfaces"], capture_output=True, text=True,
                       env={**os.environ, "VUSHIM_CONTROL_DIR": "/no/such/folder"}, timeout=60)
    assert p.returncode == 0 and p.stdout.startswith("extcap {version="), p


def test_errors():
    with Running() as r:
        status, _, err = r.extcap("--capture", "--extcap-interface", "eth0", "--fifo", "/tmp/x")
        assert status == 2 and "eth0: no such interface" in err
        assert r.extcap("--capture")[0] == 2


def test_capture():
    """From the moment when the reader comes, until SIGTERM; then vushim writes no more."""
    with Running() as r:
        fifo = f"{r.path}/fifo"
        os.mkfifo(fifo)
        p = subprocess.Popen([VUSHIM, "extcap", "--capture", "--extcap-interface", "vushim-vm1",
                              "--fifo", fifo], env=r.env)
        data = []

        def read():
            with open(fifo, "rb") as f:
                data.append(f.read())
        thread = threading.Thread(target=read)
        thread.start()
        wait(r.traces, "trace")
        r.talk(5)
        p.terminate()
        assert p.wait(30) == 0
        thread.join(30)
        found = tracefile.records(data[0])
        assert len([x for x in found if x.kind == "message" and x.sent]) == 5, found
        assert not r.traces()


def test_tshark():
    """tshark lists the interface, and captures from it."""
    if not shutil.which("tshark") or not shutil.which("dumpcap"):
        raise Skip("no tshark")
    with Running() as r:
        folder = f"{r.path}/.config/wireshark/extcap"
        os.makedirs(folder)
        shutil.copy(f"{TREE}/tools/vushim-extcap", folder)
        p = subprocess.run(["tshark", "-D"], env=r.env, capture_output=True, text=True, timeout=60)
        assert re.search(r"vushim-vm1 \(vushim vm1/_net0_", p.stdout), p.stdout + p.stderr
        with open(f"{r.path}/log", "wb") as log:
            p = subprocess.Popen(["tshark", "-i", "vushim-vm1", "-c", "7", "-w", f"{r.path}/out"],
                                 env=r.env, stdout=log, stderr=log)
        wait(r.traces, "trace")
        r.talk(5)
        try:
            p.wait(60)
        except subprocess.TimeoutExpired:
            p.kill()
            with open(f"{r.path}/log", encoding="utf-8", errors="replace") as log:
                raise AssertionError(f"tshark: {log.read()[-800:]}") from None
        found = tracefile.read(f"{r.path}/out")
        assert [x.kind for x in found] == ["event"] + 6 * ["message"], found
        wait(lambda: not r.traces(), "end of the trace")
