# SPDX-License-Identifier: MIT
"""Debian 13's Rust virtiofsd, which Debian 12 does not have: its package and libraries, unpacked
into a folder of the cache and started with their own loader. Nothing of it is installed."""
import os
import re
import shutil
import subprocess

import places
from guestimage import cache_lock

RELEASE = "trixie"
SOURCES = ["/etc/apt/sources.list", "/etc/apt/sources.list.d"]


def _mirror():
    """The mirror of Debian that this machine uses: the first one of apt's own configuration."""
    files = []
    for path in SOURCES:
        if os.path.isdir(path):
            files += [f"{path}/{name}" for name in sorted(os.listdir(path))
                      if name.endswith((".list", ".sources"))]
        elif os.path.exists(path):
            files.append(path)
    for name in files:
        with open(name) as f:
            m = re.search(r"^(?:URIs:|deb(?: \[[^]]*\])?)\s+(\S+/debian/?)(?:\s|$)", f.read(), re.M)
        if m:
            return m[1]
    raise RuntimeError("no mirror of Debian in apt's sources")


def _make(root):
    work = f"{root}.making"
    shutil.rmtree(work, ignore_errors=True)
    p = subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=extract", "--include=virtiofsd",
         "--aptopt=APT::Install-Recommends \"false\"", RELEASE, work, _mirror()],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if p.returncode:
        shutil.rmtree(work, ignore_errors=True)
        raise RuntimeError(f"mmdebstrap: {p.stdout.strip()[-600:]}")
    os.rename(work, root)


def rust_virtiofsd():
    """How to start it: a list of words."""
    with cache_lock("debian13"):
        root = f"{places.CACHE}/debian13"
        if not os.path.isdir(root):
            _make(root)
    return [f"{root}/usr/lib64/ld-linux-x86-64.so.2",
            "--library-path", f"{root}/usr/lib/x86_64-linux-gnu", f"{root}/usr/libexec/virtiofsd"]


if __name__ == "__main__":
    print(*rust_virtiofsd())
