# SPDX-License-Identifier: MIT
"""QEMU's control socket."""
import json
import socket

from proc import wait_for


class Qmp:
    def __init__(self, path, seconds=20):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(60)   # a QEMU that hangs in its device must fail the test, not hang it
        wait_for(lambda: self._connect(path), seconds, f"control socket {path}")
        self.f = self.s.makefile("r")
        self.events = []
        json.loads(self.f.readline())
        self.do("qmp_capabilities")

    def _connect(self, path):
        try:
            self.s.connect(path)
            return True
        except OSError:
            return False

    def do(self, command, **arguments):
        """The command's answer; names of events that come before it are kept."""
        message = {"execute": command, "arguments": arguments}
        self.s.sendall(json.dumps(message).encode() + b"\n")
        while True:
            line = self.f.readline()
            if not line:
                raise EOFError("QEMU closed its control socket")
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            if "event" in answer:
                self.events.append(answer["event"])
            if "return" in answer:
                return answer["return"]

    def count(self, event):
        """How many of these had come when the last command was answered."""
        return self.events.count(event)

    def close(self):
        self.s.close()
