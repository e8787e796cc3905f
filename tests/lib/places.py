# SPDX-License-Identifier: MIT
"""Where programs, cached files and the tree are. Every place can be set from the environment."""
import os
import shutil

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# What takes long to make (the guest, Debian 13's peers) is kept here between runs.
CACHE = os.environ.get("VUSHIM_CACHE", "/var/tmp/vushim-tests")

VUSHIM = os.environ.get("VUSHIM", f"{TREE}/build/release/vushim")
TRACES = os.environ.get("VUSHIM_TRACES", "")       # a folder for traces of what the tests do
QEMU = os.environ.get("QEMU", "qemu-system-x86_64")
QSD = os.environ.get("QSD", "qemu-storage-daemon")
VIRTIOFSD = os.environ.get("VIRTIOFSD", "/usr/lib/qemu/virtiofsd")
TESTPMD = os.environ.get("TESTPMD", "dpdk-testpmd")
OVS_VSWITCHD = os.environ.get("OVS_VSWITCHD", "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
OVS_SCHEMA = os.environ.get("OVS_SCHEMA", "/usr/share/openvswitch/vswitch.ovsschema")
STRACE = os.environ.get("STRACE", "strace")
BUSYBOX = os.environ.get("BUSYBOX", "/bin/busybox")
HEADERS = os.environ.get("LINUX_HEADERS", "/usr/include/linux")

# Front-ends and back-ends busy-loop or emulate a processor: let the rest of the machine go first.
NICE = int(os.environ.get("PEERS_NICE", "5"))


def missing(*programs):
    """Those of the programs (names or paths) that are not on this machine."""
    return [p for p in programs if not shutil.which(p)]
