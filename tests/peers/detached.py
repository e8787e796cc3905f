# SPDX-License-Identifier: MIT
"""A guest that starts before its back-end (vushim run --start detached)."""
import places
from backends import Qsd, Testpmd, vhost_port
from guest import Guest, blk, net
from line import Vushim
from net import check_ping
from suite import check, equal, test

DISK = "org.qemu.storage-daemon.v7.2"
CARD = "org.dpdk.v22.11"


def alone(bench, profile):
    """A vushim without a back-end; (it, path for the front-end, path of the back-end)."""
    front, back = bench.path("front.sock"), bench.path("back.sock")
    shim = Vushim(bench, ("listen", front), ("connect", back), profile,
                  more=("--start", "detached"))
    return shim, front, back


@test("detached-blk", seconds=120, needs=[places.QEMU, places.QSD])
def disk(bench):
    """Boots without a disk behind it, is not given one that is read-only, and then works."""
    shim, front, back = alone(bench, DISK)
    guest = Guest(bench, "guest", blk(front), "virtio_blk").boot()
    shim.wait_log("starts without a back-end")
    equal(guest.out("cat /sys/block/vda/size"), "0", "sectors before there is a back-end")

    wrong = Qsd(bench, back, bench.image(), "read-only", writable="off")
    shim.wait_log(r"the back-end is ro.*\[INCOMPATIBLE\]")
    wrong.stop()

    Qsd(bench, back, bench.image(), "qsd")
    shim.wait_log("has come, and taken over")
    for mode in "wr":
        values = guest.values(f"guesttool pat /dev/vda {mode} 3 8", 120)
        equal(values["wrong"], 0, "blocks read back wrong")
    guest.quit()
    shim.end_well("INCOMPATIBLE")


@test("detached-net", seconds=120, needs=[places.QEMU, places.TESTPMD, "stdbuf"])
def card(bench):
    """The guest's interface is up before DPDK is there; then pings are answered."""
    shim, front, back = alone(bench, CARD)
    guest = Guest(bench, "guest", net(front), "virtio_net").boot()
    guest.out("ip link set eth0 up")
    check("taken over" not in shim.log(), "a back-end before one was started")
    Testpmd(bench, "testpmd", vhost_port(back)).ready()
    shim.wait_log("has come, and taken over")
    check_ping(guest)
    guest.quit()
    shim.end_well()
