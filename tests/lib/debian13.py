# SPDX-License-Identifier: MIT
"""Peers of Debian 13, a generation after Debian 12's: their packages and libraries, unpacked into
a folder of the cache and started with their own loader. Nothing of it is installed."""
import glob
import os
import re
import shutil
import subprocess

import places
from guestimage import cache_lock
from suite import Skip

RELEASE = "trixie"
SOURCES = ["/etc/apt/sources.list", "/etc/apt/sources.list.d"]
PACKAGES = ["dpdk-dev", "qemu-system-x86", "qemu-utils", "virtiofsd"]
# A third of all that is unpacked, and for programmers and readers only. Removed afterwards:
# dpkg's path-exclude takes more than twice the time.
LEFT_OUT = ["usr/include", "usr/share/doc", "usr/share/locale", "usr/share/man",
            "usr/lib/x86_64-linux-gnu/*.a"]
# Says what the folder was made of; a folder of other packages is made anew.
MARKER = "made-of"
LIBRARIES = "usr/lib/x86_64-linux-gnu"


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
    raise Skip("no mirror of Debian in apt's sources")


def _made_of():
    return "\n".join([RELEASE, *PACKAGES, *LEFT_OUT, ""])


def _is_made(root):
    try:
        with open(f"{root}/{MARKER}") as f:
            return f.read() == _made_of()
    except FileNotFoundError:
        return False


def _make(root):
    """About 10 s. The old folder goes last: who runs something of it keeps the open files."""
    work = f"{root}.making"
    shutil.rmtree(work, ignore_errors=True)
    p = subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=extract", f"--include={','.join(PACKAGES)}",
         "--aptopt=APT::Install-Recommends \"false\"", RELEASE, work, _mirror()],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: os.nice(places.NICE))
    if p.returncode:
        shutil.rmtree(work, ignore_errors=True)
        raise Skip(f"no Debian 13, mmdebstrap says: {p.stdout.strip()[-600:]}")
    for pattern in LEFT_OUT:
        for path in glob.glob(f"{work}/{pattern}"):
            (shutil.rmtree if os.path.isdir(path) else os.unlink)(path)
    with open(f"{work}/{MARKER}", "w") as f:
        f.write(_made_of())
    shutil.rmtree(root, ignore_errors=True)
    os.rename(work, root)


def _root():
    with cache_lock("debian13"):
        root = f"{places.CACHE}/debian13"
        if not _is_made(root):
            _make(root)
    return root


def _program(path):
    root = _root()
    return [f"{root}/usr/lib64/ld-linux-x86-64.so.2", "--library-path", f"{root}/{LIBRARIES}",
            f"{root}/{path}"]


# How to start each of them: a list of words, to which its options are added.

def rust_virtiofsd():
    return _program("usr/libexec/virtiofsd")


def storage_daemon():
    return _program("usr/bin/qemu-storage-daemon")


def qemu():
    """Started by the loader it would take this machine's firmware, which is the older one."""
    share = f"{_root()}/usr/share"
    return [*_program("usr/bin/qemu-system-x86_64"), "-L", f"{share}/qemu",
            "-L", f"{share}/seabios"]


def testpmd():
    """Drivers by name alone: DPDK takes no path below a folder that all may write, as /var/tmp."""
    return [*_program("usr/bin/dpdk-testpmd"), "-d", "librte_net_vhost.so",
            "-d", "librte_mempool_ring.so"]


if __name__ == "__main__":
    for start in (qemu, storage_daemon, testpmd, rust_virtiofsd):
        print(*start())
