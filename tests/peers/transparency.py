# SPDX-License-Identifier: MIT
"""With the profile `host`, vushim changes nothing that either side can see.

Each session runs twice: directly, with one recorder on the wire, and through vushim, with one on
each side of it. The two recorders of the second run must have seen the same bytes with the same
descriptors, and both runs the same messages: name, flags, size, number of descriptors, order.
Messages of one direction have an order; how the two directions interleave is a matter of time.
"""
import blk
import fs
import net
import switch
import virtio_user
from line import Line
from suite import Failed, check, equal, test

DIRECTIONS = [("main", "back"), ("main", "front"), ("back", "front"), ("back", "back")]


def stream(life, channel, to):
    return [m for m in life.messages if (m.channel, m.to) == (channel, to)]


def compare(got, want, what):
    """Two lists of messages or shapes; the first difference says more than both lists."""
    for n, (g, w) in enumerate(zip(got, want)):
        if g != w:
            raise Failed(f"{what}: number {n} is {g}, not {w}")
    if len(got) != len(want):
        longer = got if len(got) > len(want) else want
        raise Failed(f"{what}: {len(got)} messages, not {len(want)}; next is "
                     f"{longer[min(len(got), len(want))]}")


def record(bench, play, profile, dials):
    """The lives that each recorder of this line has seen, once both sides are closed.

    A back-end that dials does so again when its front-end has gone: such a connection is no life.
    """
    line = Line(bench, profile, record=True, dials=dials)
    play(bench, line)
    seen = [[life for life in recorder.lives if life.messages] for recorder in line.recorders]
    for life in sum(seen, []):
        life.wait()
        check(not life.error, f"a recorder met an error: {life.error}")
    if line.shim:
        line.shim.end_well()
    return seen


def compare_ends(front, back):
    """What the two recorders of one run have seen: all of it must be equal."""
    equal(len(back), len(front), "connections behind vushim, as before it")
    check(sum(len(life.messages) for life in front) > 10, "more than a few messages were seen")
    for life_front, life_back in zip(front, back):
        for channel, to in DIRECTIONS:
            compare(stream(life_back, channel, to), stream(life_front, channel, to),
                    f"{channel} channel to the {to}-end, behind vushim and before it")


def compare_runs(through, direct):
    """What two runs have seen: addresses differ, the rest must be equal."""
    equal(len(through), len(direct), "connections through vushim, as directly")
    for life_through, life_direct in zip(through, direct):
        for channel, to in DIRECTIONS:
            compare([m.shape for m in stream(life_through, channel, to)],
                    [m.shape for m in stream(life_direct, channel, to)],
                    f"{channel} channel to the {to}-end, through vushim and directly")


def run(bench, play, dials=("front",)):
    with bench.part("direct") as part:
        (direct,) = record(part, play, None, dials)
    with bench.part("host") as part:
        front, back = record(part, play, "host", dials)
    compare_ends(front, back)
    compare_runs(front, direct)


@test("host-blk", seconds=150, needs=blk.NEEDS)
def host_blk(bench):
    run(bench, blk.play)


@test("host-net", seconds=150, needs=net.NEEDS)
def host_net(bench):
    run(bench, net.play)


@test("host-net-iommu", seconds=90, needs=net.NEEDS)
def host_net_iommu(bench):
    """The back-end channel in earnest. When which page is asked for is different in each run."""
    with bench.part("host") as part:
        front, back = record(part, net.play_iommu, "host", ("front",))
    compare_ends(front, back)
    asked = [m for m in stream(back[0], "back", "front") if m.name == "IOTLB_MSG"]
    check(asked, "DPDK asked QEMU for pages over the back-end channel")


@test("host-fs", seconds=150, needs=fs.NEEDS)
def host_fs(bench):
    run(bench, fs.play_with(fs.start_c))


@test("host-fs-rust", seconds=240, needs=fs.RUST_NEEDS)
def host_fs_rust(bench):
    run(bench, fs.play_with(fs.start_rust))


@test("host-virtio-user", seconds=90, needs=virtio_user.NEEDS)
def host_virtio_user(bench):
    run(bench, virtio_user.play)


@test("host-ovs", seconds=180, needs=switch.NEEDS)
def host_ovs(bench):
    run(bench, switch.play, dials=("back",))
