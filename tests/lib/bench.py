# SPDX-License-Identifier: MIT
"""A bench: the work folder of one test and everything that was started on it."""
import os
import shutil
import tempfile

import places


class Bench:
    """Use as a context manager. At its end everything is stopped, in reverse order of starting.

    The folder is removed; after a failure it is kept as CACHE/failed/NAME, with all logs.
    """

    def __init__(self, name, folder=None):
        self.name = name
        # Short: a socket path has 107 characters at most.
        self.folder = folder or tempfile.mkdtemp(prefix=f"vushim-{name[:20]}-", dir="/tmp")
        self.started = []

    def part(self, name):
        """A bench of its own for one part of the test, in a folder of this one."""
        os.makedirs(self.path(name))
        return Part(name, self.path(name))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close(keep=kind is not None)

    def path(self, name):
        return f"{self.folder}/{name}"

    def add(self, thing):
        """Anything with stop()."""
        self.started.append(thing)
        return thing

    def image(self, mib=64, name="disk.img"):
        path = self.path(name)
        with open(path, "wb") as f:
            f.truncate(mib << 20)
        return path

    def console(self):
        """What all guests of this bench have printed."""
        text = []
        for folder, _, names in os.walk(self.folder):
            for name in sorted(names):
                if name.endswith(".console"):
                    with open(f"{folder}/{name}", errors="replace") as f:
                        text.append(f.read())
        return "\n".join(text)

    def stop_all(self):
        while self.started:
            try:
                self.started.pop().stop()
            except (OSError, RuntimeError) as error:
                print(f"# {self.name}: stopping: {error}", flush=True)

    def close(self, keep=False):
        self.stop_all()
        if keep:
            kept = f"{places.CACHE}/failed/{self.name}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(self.folder, kept, ignore=_only_text)
            print(f"# {self.name}: logs are in {kept}", flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)


class Part(Bench):
    def close(self, keep=False):
        """What it leaves in its folder is the whole bench's to keep or remove."""
        self.stop_all()


def _only_text(folder, names):
    """Sockets cannot be copied, and images are of no use to the reader."""
    return [n for n in names if not os.path.isdir(f"{folder}/{n}")
            and not n.endswith((".log", ".console", ".txt"))]
