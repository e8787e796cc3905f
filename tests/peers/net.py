# SPDX-License-Identifier: MIT
"""A QEMU guest's network card served by dpdk-testpmd, which answers pings (icmpecho)."""
import places
from backends import Testpmd, vhost_port
from features import mask, names
from guest import Guest, bare_qemu, net
from line import Line
from suite import check, equal, test

NEEDS = [places.QEMU, places.TESTPMD, "stdbuf"]
GUEST, ECHO = "192.0.2.1", "192.0.2.2"

PROFILE = ("device=net,csum=on,guest_csum=on,mrg_rxbuf=on,indirect_desc=on,version_1=on,"
           "queues=1,max_ring=256")
MULTIQUEUE = ("device=net,csum=on,guest_csum=on,guest_tso4=on,mrg_rxbuf=on,ctrl_vq=on,mq=on,"
              "indirect_desc=on,event_idx=on,version_1=on,queues=2,max_ring=256")

# Behind an IOMMU, DPDK asks QEMU over the back-end channel for each page that it meets, and drops
# the packet meanwhile. iommu=pt keeps the guest's pages where they are, so that this comes to rest.
IOMMU = ("device=net,csum=on,guest_csum=on,mrg_rxbuf=on,indirect_desc=on,version_1=on,"
         "iommu_platform=on,queues=1,max_ring=256")
IOMMU_MACHINE = ["-device", "intel-iommu,intremap=off,device-iotlb=on",
                 "-device", "pcie-root-port,id=port0,chassis=1"]
IOMMU_CARD = "iommu_platform=on,ats=on,disable-legacy=on,bus=port0"

# QEMU serves these itself, whatever the back-end offers: they are not the profile's to pin.
QEMU_OWN = ("mac=on,status=on,ctrl_vq=on,ctrl_rx=on,ctrl_vlan=on,ctrl_rx_extra=on,"
            "ctrl_mac_addr=on,ctrl_guest_offloads=on,speed_duplex=on")


def check_features(guest, profile):
    own = mask("net", QEMU_OWN)
    want, got = mask("net", profile) & ~own, guest.features("virtio_net") & ~own
    check(want == got, f"features in the guest: {names('net', got)}, not {names('net', want)}")


def check_ping(guest, address=ECHO, share=0.9):
    """A round of 75 pings of which this share is answered. Busy machines may need some rounds."""
    guest.out(f"ip link set eth0 up; ip addr add {GUEST}/24 dev eth0")
    answered = []
    for _ in range(8):
        text = guest.sh(f"guesttool ping {address} 20 1500")[1]
        answered.append(int(text.split("got=")[1].split()[0]))
        if answered[-1] >= share * 75:
            return
    check(False, f"of 75 pings a round were answered: {answered}")


@test("net-pinned", seconds=90, needs=NEEDS)
def pinned(bench):
    """Features and the queue count of a guest with two queues; DPDK alone would say 128."""
    line = Line(bench, MULTIQUEUE)
    Testpmd(bench, "testpmd", vhost_port(line.back, queues=4), queues=4).ready()
    greedy = bare_qemu(bench, "greedy", net(line.front, queues=4))
    greedy.wait_log("more queues than supported: 2")
    greedy.kill()

    guest = Guest(bench, "guest", net(line.front, queues=2), "virtio_net", cpus=2).boot()
    check_features(guest, MULTIQUEUE)
    queues = guest.out("ls /sys/class/net/eth0/queues").split()
    equal(queues, ["rx-0", "rx-1", "tx-0", "tx-1"], "queues in the guest")
    check_ping(guest)
    equal(guest.quit(), 0, "QEMU's exit status")
    line.shim.end_well()


def _way(bench, dials):
    """Who connects and who listens must not matter to the guest."""
    line = Line(bench, PROFILE, dials=dials)
    # DPDK as a client tries again once a second.
    Testpmd(bench, "testpmd", vhost_port(line.back, client="back" in dials)).ready()
    guest = Guest(bench, "guest", net(line.front, server="front" not in dials), "virtio_net").boot()
    check_features(guest, PROFILE)
    check_ping(guest)
    equal(guest.quit(), 0, "QEMU's exit status")


@test("net-both-connect", seconds=90, needs=NEEDS)
def both_connect(bench):
    _way(bench, ("front", "back"))


@test("net-qemu-listens-testpmd-connects", seconds=90, needs=NEEDS)
def qemu_listens_testpmd_connects(bench):
    _way(bench, ("back",))


@test("net-both-listen", seconds=90, needs=NEEDS)
def both_listen(bench):
    _way(bench, ())


@test("net-iommu-pinned", seconds=90, needs=NEEDS)
def iommu_pinned(bench):
    line = Line(bench, IOMMU)
    play_iommu(bench, line, lambda guest: check_features(guest, IOMMU))
    line.shim.end_well()


def play_iommu(bench, line, check_guest=lambda guest: None):
    Testpmd(bench, "testpmd", vhost_port(line.back) + ",iommu-support=1").ready()
    guest = Guest(bench, "guest", IOMMU_MACHINE + net(line.front, options=IOMMU_CARD),
                  "virtio_net", kernel_line="intel_iommu=on iommu=pt").boot()
    check_guest(guest)
    check_ping(guest, share=0.3)
    equal(guest.quit(), 0, "QEMU's exit status")


def play(bench, line):
    Testpmd(bench, "testpmd", vhost_port(line.back, queues=2), queues=2).ready()
    guest = Guest(bench, "guest", net(line.front, queues=2), "virtio_net", cpus=2).boot()
    check_ping(guest)
    equal(guest.quit(), 0, "QEMU's exit status")
