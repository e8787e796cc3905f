# SPDX-License-Identifier: MIT
"""The back-end that can be killed at any place (standin/blk.c), compiled into the cache."""
import glob
import hashlib
import os
import signal
import time

import places
from backends import fresh
from guestimage import DAY, cache_lock, run
from proc import Proc

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "standin")
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror"]


def _program():
    """The one of the present sources."""
    digest = hashlib.sha256()
    for path in sorted(glob.glob(f"{FOLDER}/*.[ch]")):
        with open(path, "rb") as f:
            digest.update(f.read())
    program = f"{places.CACHE}/standin-blk-{digest.hexdigest()[:16]}"
    with cache_lock("standin"):
        if not os.path.exists(program):
            for old in glob.glob(f"{places.CACHE}/standin-blk-*"):
                if os.path.getmtime(old) < time.time() - DAY:   # another tree may be using it
                    os.unlink(old)
            run("gcc", *FLAGS, "-o", f"{program}.new", *glob.glob(f"{FOLDER}/*.c"))
            os.rename(f"{program}.new", program)
    return program


class Standin(Proc):
    """One such back-end; an option's name is an argument's, as no_inflight=True, die_after=3."""

    def __init__(self, bench, path, image, name="standin", **options):
        fresh(path)
        words = []
        for option, value in options.items():
            words.append("--" + option.replace("_", "-"))
            words += [] if value is True else [value]
        super().__init__(bench.folder, name, [
            _program(), "--socket", path, "--image", image, *words])
        bench.add(self)
        self.wait_path(path)

    def tell(self):
        """What --when-told waits for."""
        self.p.send_signal(signal.SIGUSR1)

    def wrong(self):
        """What a correct front-end never does."""
        return [line for line in self.log().splitlines() if "WRONG" in line]
