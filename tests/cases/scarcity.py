# SPDX-License-Identifier: MIT
"""Row C16 and its kind: no descriptors, no room, too many peers, too many questions."""
import resource
import threading
import time

import wire
from case import Offer, accept, connect
from harness import case
from peers import SLOW, Failure, Skip, check, until
from shim import instrumented, wrapper
from wire import Front, bits, u64


def free_numbers(shim, count):
    """Limits the process so that `count` descriptor numbers are free."""
    if wrapper():
        raise Skip("the wrapper has a descriptor limit of its own")
    limit, free, used = 0, 0, set(shim.fds())
    while free < count or (free == count and limit in used):
        free += limit not in used
        limit += 1
    old = resource.prlimit(shim.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(shim.pid, resource.RLIMIT_NOFILE, (limit, old[1]))
    return old


@case(repeat=0, slow=True)
def C16_no_number_at_accept(t):
    """No free descriptor at accept(): the listener stays, nothing spins, the next try works."""
    shim = t.start()
    old = free_numbers(shim, 0)
    front = t.front()
    time.sleep(0.1)
    before = shim.cpu()
    time.sleep(0.5)
    check(shim.cpu() - before < 0.25, f"{shim.cpu() - before:.2f} s of processor time in 0.5 s")
    resource.prlimit(shim.pid, resource.RLIMIT_NOFILE, old)
    begin = time.monotonic()
    back = t.back()
    check(time.monotonic() - begin < 1.5 * SLOW, "served late")
    t.links.append((front, back))
    t.works(front, back)


@case(repeat=0, slow=True)
def C16_descriptors_lost(t):
    """The kernel drops descriptors for which no number is free: the message is not forwarded."""
    shim = t.start()
    front, back = t.pair()
    t.works(front, back)
    since = shim.mark()
    old = free_numbers(shim, 2)
    front.raw(wire.message(Front.SET_MEM_TABLE, wire.mem_table(4)), [t.memfd() for _ in range(4)])
    front.ended()
    back.ended()
    resource.prlimit(shim.pid, resource.RLIMIT_NOFILE, old)
    shim.said(r"front.*\[DESCRIPTORS_LOST\]", since)
    front.close()
    back.close()
    t.links.clear()
    t.life()


@case(repeat=0, slow=True)
def no_number_for_the_back_end(t):
    """No free descriptor for the connection to the back-end: tried again, without spinning."""
    shim = t.start()
    old = free_numbers(shim, 1)
    front = t.front()
    front.send(Front.GET_FEATURES)
    time.sleep(0.1)
    before = shim.cpu()
    time.sleep(0.4)
    check(shim.cpu() - before < 0.2, f"{shim.cpu() - before:.2f} s of processor time in 0.4 s")
    resource.prlimit(shim.pid, resource.RLIMIT_NOFILE, old)
    back = t.back()
    t.links.append((front, back))
    back.expect(Front.GET_FEATURES)
    back.answer(Front.GET_FEATURES, u64(1))
    front.expect(Front.GET_FEATURES, payload=u64(1))


@case({str(free): {"free": free} for free in (1, 2)}, repeat=0, slow=True)
def no_numbers_for_the_channel(t, free):
    """No free descriptors for the channel's own sockets: that life ends, nothing is left over."""
    shim = t.start()
    front, back = t.pair()
    t.negotiate(front, back)
    old = free_numbers(shim, free)
    front.send(Front.SET_BACKEND_REQ_FD, fds=[t.socketpair()[0].fileno()], lost=True)
    front.ended()
    back.ended()
    resource.prlimit(shim.pid, resource.RLIMIT_NOFILE, old)
    front.close()
    back.close()
    shim.check_idle()
    t.life()


@case(repeat=0, slow=True)
def no_number_for_a_second_front_end(t):
    """The limit reached while one is served: the one served notices nothing."""
    shim = t.start()
    front, back = t.pair()
    t.works(front, back)
    old = free_numbers(shim, 0)
    others = [connect(t.ends["front"][2]) for _ in range(5)]
    for _ in range(20):
        t.works(front, back)
        time.sleep(0.01)
    resource.prlimit(shim.pid, resource.RLIMIT_NOFILE, old)
    for other in others:
        other.settimeout(5 * SLOW)
        check(other.recv(1) == b"", "a second front-end was not closed")
        other.close()
    t.works(front, back)


@case(repeat=0)
def refusals_pile_up(t):
    """A front-end that has many messages refused and reads none of the answers: vushim keeps a
    bounded number, and in the end every refusal has come, in order."""
    shim = t.start("host,max_ring=256")
    offer = Offer(bits(30, 32), 0x10cbf)
    front, back = t.pair(offer)
    t.negotiate(front, back, offer)
    rounds = 2000

    def sender():
        for number in range(rounds):
            front.raw(wire.message(Front.SET_VRING_NUM, wire.state(number, 512), wire.NEED_REPLY))

    thread = threading.Thread(target=sender, daemon=True)
    before = shim.rss()
    thread.start()
    time.sleep(0.3)
    check(shim.rss() - before < 4 << 20, f"memory grew by {shim.rss() - before} bytes")
    for _ in range(rounds):
        front.refusal(Front.SET_VRING_NUM)
    thread.join()
    t.works(front, back, offer.features)


@case(repeat=0, slow=True)
def front_ends_come_and_go(t):
    """Two hundred front-ends that leave at once, some in the middle of a message: the next one is
    served, and the back-end has seen whole messages only."""
    shim = t.start()
    listener = t.ends["back"][2]
    over = threading.Event()
    bad = []

    def back_ends():
        listener.settimeout(0.1)
        while True:
            try:
                data = all_of(listener.accept()[0])
            except TimeoutError:
                if over.is_set():           # and none is waiting in the queue
                    return
                continue
            if data not in (b"", wire.message(Front.SET_OWNER)):
                bad.append(data)

    thread = threading.Thread(target=back_ends, daemon=True)
    thread.start()
    for number in range(200):
        sock = connect(t.ends["front"][2])
        sock.sendall(wire.message(Front.SET_OWNER)[:(12, 7, 0)[number % 3]])
        sock.close()
    until(lambda: len(shim.fds()) == len(shim.idle), "the last one to be gone")
    over.set()
    thread.join()
    listener.settimeout(None)
    check(not bad, f"half messages reached the back-end: {bad[:3]}")
    t.life()


def all_of(sock):
    """Reads to the end of the stream."""
    sock.settimeout(5 * SLOW)
    data = b""
    with sock:
        try:
            while part := sock.recv(4096):
                data += part
        except ConnectionResetError:
            pass
    return data


@case(repeat=0, slow=True)
def back_end_closes_every_connection(t):
    """A back-end that accepts and closes at once: each front-end is closed, nothing spins."""
    shim = t.start()
    for _ in range(30):
        front = t.front()
        accept(t.ends["back"][2]).close()
        front.ended()
        front.close()
    t.life()
    check(shim.alive(), "vushim has died")


@case(repeat=0, slow=True)
def C33_no_storm_at_a_refused_back_end(t):
    """Both ends are vushim's to connect, and the back-end does not fit: it is asked again with
    growing pauses, the front-end is not bothered, the log stays short."""
    shim = t.start("device=net,version_1=on,csum=on,packed=on", front="connect", back="connect")
    offer = Offer(bits(30, 32), 0x10cbf)
    listener = t.ends["back"][2]
    poll_front = t.ends["front"][2]
    poll_front.settimeout(0.01)
    since, count, end = shim.mark(), 0, time.monotonic() + 3.0
    listener.settimeout(0.5)
    while time.monotonic() < end:
        try:
            back = t.add_peer(listener.accept()[0], "B")
        except TimeoutError:
            continue
        count += 1
        t.admit(back, offer)
        back.ended()
        back.close()
    check(2 <= count <= 20, f"asked {count} times in 3 s")
    lines = shim.log()[since:].splitlines()
    check(len(lines) <= 2 * count + 2, f"{len(lines)} lines for {count} tries")
    check("csum" in lines[-1] and "packed" in lines[-1], f"not named: {lines[-1]}")
    try:
        poll_front.accept()
        raise Failure("the front-end was connected to")
    except TimeoutError:
        pass
    listener.settimeout(None)
    poll_front.settimeout(None)
    good = t.back(Offer(bits(0, 30, 32, 34), 0x10cbf))
    front = t.front()
    t.links.append((front, good))
    t.ask(front, good, Front.GET_FEATURES, answer=u64(bits(0, 30, 32, 34)))


@case(repeat=0)
def descriptors_of_a_stuck_back_end(t):
    """A back-end that reads nothing while messages with many descriptors come: vushim holds those
    of the message in hand and no more."""
    shim = t.start()
    front, back = t.pair()
    front.lossy = back.lossy = True
    fds = [t.memfd() for _ in range(200)]

    def sender():
        for number in range(400):
            if not front.raw(wire.message(1000 + number), fds):
                return

    thread = threading.Thread(target=sender, daemon=True)
    thread.start()
    time.sleep(0.5)
    count = len(shim.fds()) - len(shim.idle)
    check(count <= 2 * 253 + 10, f"{count} descriptors are held")
    back.close()
    front.drain()
    thread.join()


@case(repeat=0, slow=True)
def C16_no_memory(t):
    """Nothing more can be allocated: clients of the control socket are turned away, a message is relayed
    or costs its own connection, and once there is memory again all is as before."""
    if instrumented():
        raise Skip("sanitizers and wrappers have address space of their own")
    control = t.path("ctl")
    shim = t.start(extra=("--control", control))
    front, back = t.pair()
    t.works(front, back)
    front.lossy = back.lossy = True
    since = shim.mark()
    with open(f"/proc/{shim.pid}/statm", encoding="ascii") as statm:
        size = int(statm.read().split()[0]) * resource.getpagesize()
    old = resource.prlimit(shim.pid, resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
    clients = [connect(control) for _ in range(12)]
    for client in clients:
        client.settimeout(5 * SLOW)
    greeted = [client.recv(100) != b"" for client in clients]
    check(not all(greeted), "memory has not run out")
    for number in range(50):
        if not front.raw(wire.message(1000 + number, bytes(4000))):
            break
    time.sleep(0.2)
    check(shim.alive(), "vushim has died")
    resource.prlimit(shim.pid, resource.RLIMIT_AS, old)
    for client in clients:
        client.close()
    front.close()
    back.drain()
    back.close()
    t.links.clear()
    for line in shim.log()[since:].splitlines():
        check("[NO_MEMORY]" in line or "[LEFT]" in line or "connected" in line, f"strange: {line}")
    t.life()
    client = connect(control)
    client.settimeout(5 * SLOW)
    check(b"QMP" in client.recv(1000), "no greeting")
    client.close()
    shim.idle_maps = shim.maps()            # its heap has grown
