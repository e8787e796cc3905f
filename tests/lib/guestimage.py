# SPDX-License-Identifier: MIT
"""The guest's kernel and initramfs, made from Debian packages and kept in the cache.

The kernel package is unpacked, not installed. Its vmlinux is cut out of the compressed image, so
that QEMU boots a plain ELF file and no time goes into unpacking under emulation; the initramfs is
not compressed for the same reason.
"""
import contextlib
import fcntl
import glob
import hashlib
import os
import shutil
import subprocess
import tempfile
import time

import places

HERE = os.path.dirname(os.path.abspath(__file__))
META_PACKAGE = "linux-image-cloud-amd64"
MODULES = ["virtio_pci", "virtio_net", "virtio_blk", "virtiofs"]
INPUTS = [f"{HERE}/guest/init", f"{HERE}/guest/guesttool.c", os.path.abspath(__file__),
          places.BUSYBOX]
DAY = 24 * 3600
COMPRESSIONS = [(b"\x02\x21\x4c\x18", "lz4"), (b"\x28\xb5\x2f\xfd", "zstd"),
                (b"\xfd7zXZ\0", "xz"), (b"\x1f\x8b\x08", "gzip")]


@contextlib.contextmanager
def cache_lock(what):
    """Two test runs must not make the same cached thing at once."""
    os.makedirs(places.CACHE, exist_ok=True)
    with open(f"{places.CACHE}/{what}.lock", "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def run(*argv, **kw):
    p = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, **kw)
    if p.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {(p.stderr or p.stdout).strip()[-500:]}")
    return p.stdout


def _kernel_package():
    for line in run("apt-cache", "depends", META_PACKAGE).splitlines():
        name = line.split()[-1]
        if name.startswith("linux-image-") and "Depends:" in line:
            return name
    raise RuntimeError(f"{META_PACKAGE} names no kernel (run apt-get update)")


def _kernel_deb():
    """A kernel that is in the cache is good for ever: newer ones change nothing for the tests."""
    folder = f"{places.CACHE}/kernel"
    found = sorted(glob.glob(f"{folder}/linux-image-*.deb"))
    if found:
        return found[-1]
    os.makedirs(folder, exist_ok=True)
    try:
        package = _kernel_package()
    except RuntimeError:
        run("apt-get", "-q=2", "update")
        package = _kernel_package()
    # apt drops to a user of its own, which cannot write everywhere: root may stay root here.
    run("apt-get", "-q=2", "-o", "APT::Sandbox::User=root", "download", package, cwd=folder)
    return glob.glob(f"{folder}/linux-image-*.deb")[0]


def _cut_vmlinux(image, out):
    with open(image, "rb") as f:
        data = f.read()
    for magic, tool in COMPRESSIONS:
        at = data.find(magic)
        while at >= 0:
            # The tools complain about what follows the compressed part: judge the output.
            elf = subprocess.run([tool, "-d", "-c"], input=data[at:], stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL).stdout
            if elf[:4] == b"\x7fELF":
                with open(out, "wb") as f:
                    f.write(elf)
                return
            at = data.find(magic, at + 1)
    raise RuntimeError(f"no compressed ELF in {image}")


def _copy_modules(kernel, version, root):
    """The modules of MODULES and what they need, uncompressed."""
    target = f"{root}/lib/modules/{version}"
    os.makedirs(target)
    run("depmod", "-b", kernel, version)
    for module in MODULES:
        lines = run("modprobe", "-d", kernel, "-S", version, "--show-depends", module)
        for line in lines.splitlines():
            if line.startswith("insmod "):
                path = line.split()[1]
                shutil.copy(path, target)
                if path.endswith(".xz"):
                    run("xz", "-d", "-f", f"{target}/{os.path.basename(path)}")
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(f"{kernel}/lib/modules/{version}/{name}", target)
    run("depmod", "-b", root, version)


def _make_root(kernel, version, root):
    for name in ("bin", "proc", "sys", "dev", "tmp", "mnt"):
        os.makedirs(f"{root}/{name}")
    shutil.copy(places.BUSYBOX, f"{root}/bin/busybox")
    shutil.copy(f"{HERE}/guest/init", f"{root}/init")
    os.chmod(f"{root}/init", 0o755)
    run("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o", f"{root}/bin/guesttool",
         f"{HERE}/guest/guesttool.c")
    _copy_modules(kernel, version, root)


def _pack(root, out):
    names = "\n".join(sorted(os.path.relpath(os.path.join(base, name), root)
                             for base, folders, files in os.walk(root)
                             for name in folders + files))
    with open(out, "wb") as f:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"], cwd=root, stdout=f,
                       input=names.encode(), check=True)


def _key(deb):
    digest = hashlib.sha256(os.path.basename(deb).encode())
    for path in INPUTS:
        with open(path, "rb") as f:
            digest.update(hashlib.sha256(f.read()).digest())
    return digest.hexdigest()[:16]


def _make(deb, folder):
    os.makedirs(places.CACHE, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="making-", dir=places.CACHE) as work:
        kernel, made = f"{work}/kernel", f"{work}/made"
        os.makedirs(made)
        run("dpkg", "-x", deb, kernel)
        version = os.listdir(f"{kernel}/lib/modules")[0]
        _cut_vmlinux(f"{kernel}/boot/vmlinuz-{version}", f"{made}/vmlinux")
        _make_root(kernel, version, f"{work}/root")
        _pack(f"{work}/root", f"{made}/initramfs.cpio")
        os.rename(made, folder)


def _forget_old():
    """Images of other inputs, unless a run of another tree may be using them."""
    for old in glob.glob(f"{places.CACHE}/guest-*/"):
        if os.path.getmtime(old) < time.time() - DAY:
            shutil.rmtree(old)


def guest_image():
    """(vmlinux, initramfs): made when the cache has none for the present inputs."""
    with cache_lock("guest"):
        deb = _kernel_deb()
        folder = f"{places.CACHE}/guest-{_key(deb)}"
        if not os.path.isdir(folder):
            _forget_old()
            _make(deb, folder)
    return f"{folder}/vmlinux", f"{folder}/initramfs.cpio"


if __name__ == "__main__":
    print(*guest_image(), sep="\n")
