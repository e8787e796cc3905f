# SPDX-License-Identifier: MIT
"""A private Open vSwitch with DPDK: own database, own sockets, own network namespace.

Its bridge br0 has the address 192.0.2.2 on its internal port (a tap device inside the namespace),
so that a guest behind a vhost-user port can ping the kernel of that namespace through the switch.
"""
import os
import subprocess

import places
from proc import Proc

ADDRESS = "192.0.2.2"
PROGRAMS = [places.OVS_VSWITCHD, "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "unshare", "nsenter",
            "ip"]


class Ovs:
    def __init__(self, bench):
        self.folder = bench.path("ovs")
        os.makedirs(self.folder)
        # Every OVS program takes its places from these, not from the system's instance.
        self.env = {name: self.folder for name in
                    ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR")}
        self.database = f"unix:{self.folder}/db.sock"
        self._run("ovsdb-tool", "create", f"{self.folder}/conf.db", places.OVS_SCHEMA)
        self.server = bench.add(Proc(bench.folder, "ovsdb", [
            "ovsdb-server", f"{self.folder}/conf.db", f"--remote=punix:{self.folder}/db.sock",
            f"--unixctl={self.folder}/db.ctl"], env=self.env))
        self.server.wait_path(f"{self.folder}/db.sock")
        self.vsctl("--no-wait", "init")
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".",
                   "other_config:dpdk-init=true",
                   f"other_config:dpdk-extra={self._dpdk_options()}",
                   "other_config:pmd-cpu-mask=0x1", "other_config:dpdk-lcore-mask=0x2")
        self.bench, self.starts = bench, 0
        self.start()
        # Its own address: one that changed with each start would leave the guest with the old one.
        self.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev",
                   "other-config:hwaddr=52:54:00:00:00:02")

    def start(self):
        """The switch itself; its bridges and ports are those of the database."""
        self.starts += 1
        # unshare becomes the switch: same process id.
        self.switch = self.bench.add(Proc(self.bench.folder, f"vswitchd{self.starts}", [
            "unshare", "--net", places.OVS_VSWITCHD, self.database,
            f"--unixctl={self.folder}/switch.ctl"], env=self.env))
        self.switch.wait_log("DPDK Enabled - initialized", 60)
        # Waits for the switch to have done what is in the database: until then it takes the
        # bridge's port down once more.
        self.vsctl("set", "Open_vSwitch", ".", f"external-ids:starts={self.starts}")

    @staticmethod
    def _dpdk_options():
        # The switch adds --in-memory, which does not go with --no-huge, unless it reads
        # --legacy-mem, which is what --no-huge means anyway.
        return (f"--no-pci --no-huge --legacy-mem --no-shconf --no-telemetry -m 512 "
                f"--file-prefix vushim{os.getpid()}ovs")

    def _run(self, *argv):
        p = subprocess.run(argv, env={**os.environ, **self.env}, stdin=subprocess.DEVNULL,
                           capture_output=True, text=True, timeout=60)
        if p.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {(p.stderr or p.stdout).strip()[-500:]}")
        return p.stdout.strip()

    def vsctl(self, *words):
        return self._run("ovs-vsctl", f"--db={self.database}", *words)

    def open_address(self):
        """Call this when the guest's port is up. A packet that is sent to a port whose rings are
        being set up can block the switch for ever: the polling thread spins on the ring's lock,
        whose holder waits for the main thread, which waits for the polling thread. So there is no
        IPv6, which speaks by itself, and nothing else speaks before the guest does."""
        self._run("nsenter", f"--net=/proc/{self.switch.pid}/ns/net", "sh", "-c",
                  "v6=/proc/sys/net/ipv6/conf/br0/disable_ipv6; [ ! -e $v6 ] || echo 1 >$v6; "
                  f"ip link set br0 up && ip addr add {ADDRESS}/24 dev br0")

    def add_client_port(self, path, name="vhu0"):
        """A port that connects to the path, again and again until somebody listens there."""
        self.vsctl("add-port", "br0", name, "--", "set", "Interface", name,
                   "type=dpdkvhostuserclient", f"options:vhost-server-path={path}")

    def link_is_up(self, name="vhu0"):
        return self.vsctl("get", "Interface", name, "link_state") == "up"
