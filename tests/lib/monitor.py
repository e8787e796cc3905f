# SPDX-License-Identifier: MIT
"""One client of a running vushim's control socket: its commands, and every event since it came."""
import json
import queue
import socket
import threading
import time

from proc import wait_for


class Monitor:
    """A thread reads, so that the time at which an event came is the event's own."""

    def __init__(self, bench, path, seconds=20):
        self.s = socket.socket(socket.AF_UNIX)
        wait_for(lambda: not self.s.connect_ex(path), seconds, f"control socket {path}")
        self.events, self.answers = [], queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        bench.add(self)
        self.ask("qmp_capabilities")

    def _read(self):
        try:
            with self.s.makefile("r") as lines:
                for line in lines:
                    value = json.loads(line)
                    if "event" in value:
                        self.events.append((value["event"], time.monotonic(), value["data"]))
                    elif "QMP" not in value:
                        self.answers.put(value)
        except OSError:
            pass
        self.answers.put({"error": {"desc": "closed"}})

    def ask(self, command, seconds=10, **arguments):
        """The command's answer; RuntimeError with what it says if it fails."""
        message = {"execute": command, "arguments": arguments}
        self.s.sendall(json.dumps(message).encode() + b"\n")
        try:
            answer = self.answers.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError(f"no answer to {command} within {seconds} s") from None
        if "error" in answer:
            raise RuntimeError(f"{command}: {answer['error']['desc']}")
        return answer["return"]

    def count(self, event):
        return sum(name == event for name, _, _ in self.events)

    def wait(self, event, count=1, seconds=20):
        """(time, data) of the event when it has come so often."""
        def come():
            found = [(when, data) for name, when, data in self.events if name == event]
            return found[count - 1] if len(found) >= count else None
        try:
            return wait_for(come, seconds, f"{event} ({count})")
        except TimeoutError as error:
            names = [name for name, _, _ in self.events]
            raise TimeoutError(f"{error}, events so far: {' '.join(names[-20:])}") from None

    def life(self):
        return self.ask("query-status")["life"]

    def stop(self):
        try:
            self.s.shutdown(socket.SHUT_RDWR)   # close() alone does not wake the thread
        except OSError:
            pass
        self.s.close()
