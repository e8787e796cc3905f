# SPDX-License-Identifier: MIT
"""Endpoints: every combination, stale and live sockets, locks, paths, inherited descriptors."""
import os
import socket

import wire
from case import connect
from harness import case
from peers import check, until
from shim import Shim, command
from wire import Front

MODES = ("listen", "connect", "fd", "fdlisten")


@case({f"front_{front}_back_{back}": {"front": front, "back": back}
       for front in MODES for back in MODES}, repeat=1)
def endpoints(t, front, back):
    """Every way to connect on either side: two lives (one, where a descriptor is the life)."""
    shim = t.start(front=front, back=back)
    for _ in range(1 if "fd" in (front, back) else 2):
        one, other = t.pair()
        t.works(one, other)
        t.tell(one, other, Front.SET_VRING_KICK, wire.u64(0), [t.eventfd()])
        if "fd" in (front, back):
            one.close()
            other.ended()
            check(shim.wait() == 0, f"exit status {shim.process.returncode}")
        else:
            t.part(one, other)


@case(repeat=0)
def endpoint_fd_back_leaves(t):
    """An inherited connection whose other side leaves: the program ends, with 0."""
    shim = t.start(front="fd", back="connect")
    front, back = t.pair()
    t.works(front, back)
    back.close()
    front.ended()
    check(shim.wait() == 0, f"exit status {shim.process.returncode}")


def refuses(*arguments, words=(), pass_fds=()):
    """This command line ends at once with 2 and one clear line."""
    status, out, err = command("run", *arguments, pass_fds=pass_fds)
    lines = err.splitlines()
    check(status == 2, f"exit status {status} for {arguments}: {err}")
    check(len(lines) == 1 and lines[0].startswith("vushim: ") and not out,
          f"not one clear line for {arguments}: {err}{out}")
    for word in words:
        check(word in lines[0], f"'{word}' is not in: {lines[0]}")


def listener_at(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(path)
    sock.listen(4)
    return sock


@case(repeat=0)
def stale_socket_replaced(t):
    """A socket file that nobody listens on is replaced."""
    path = t.path("front0")
    listener_at(path).close()
    t.start()
    t.life()


@case(repeat=0, slow=True)
def stale_lock_ignored(t):
    """A lock file that nobody holds is no lock."""
    with open(t.path("front0.lock"), "w", encoding="ascii") as lock:
        lock.write("99999999\n")
    t.start()
    t.life()


@case(repeat=0)
def live_socket_not_stolen(t):
    """Somebody else listens at the path: it is left alone, and not even connected to for long."""
    path = t.path("taken")
    owner = listener_at(path)
    before = os.stat(path).st_ino
    refuses("--front", path, "--back", t.path("b"), words=(path,))
    check(os.stat(path).st_ino == before, "the socket was replaced")
    connect(path).close()
    owner.close()


@case({"front": {"side": "front"}, "back": {"side": "back"}}, repeat=0)
def two_shims_one_path(t, side):
    """A second vushim on the same path is refused; the first serves on."""
    t.start(back="listen")
    path = t.ends[side][2]
    other = "back" if side == "front" else "front"
    refuses(f"--{side}", f"listen:{path}", f"--{other}", f"listen:{t.path('other')}",
            words=(path,))
    check(not os.path.exists(t.path("other")), "the refused one left its other socket behind")
    t.life()


@case(repeat=0, slow=True)
def same_path_again_after_the_end(t):
    """Socket and lock go with the process; the next one starts at once on the same path."""
    path, back = t.path("f"), listener_at(t.path("b"))
    for _ in range(5):
        shim = Shim(["--front", f"listen:{path}", "--back", f"connect:{back.getsockname()}"])
        try:
            connect(path).close()
            back.accept()[0].close()
        finally:
            shim.stop()
        check(not os.path.exists(path) and not os.path.exists(path + ".lock"),
              f"left behind: {os.listdir(t.dir)}")
    back.close()


@case(repeat=0, slow=True)
def killed_and_started_again(t):
    """After SIGKILL the socket and the lock file stay; the next vushim takes them over."""
    path, back = t.path("f"), listener_at(t.path("b"))
    arguments = ["--front", f"listen:{path}", "--back", f"connect:{back.getsockname()}"]
    first = Shim(arguments)
    connect(path).close()
    first.discard()
    second = Shim(arguments)
    try:
        until(lambda: connect(path), "the second one to listen").close()
    finally:
        second.stop()
    back.close()


@case(repeat=0)
def path_taken_over_meanwhile(t):
    """Somebody replaced the socket file while vushim ran: at the end it is not ours to remove."""
    shim = t.start()
    path = t.ends["front"][2]
    os.unlink(path)
    owner = listener_at(path)
    shim.stop()
    t.shims.clear()
    check(os.path.exists(path), "somebody else's socket was removed")
    connect(path).close()
    owner.close()


def make(kind, path):
    if kind == "file":
        with open(path, "w", encoding="ascii") as file:
            file.write("precious")
    elif kind == "folder":
        os.mkdir(path)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        os.symlink("/dev/null", path)


@case({kind: {"kind": kind} for kind in ("file", "folder", "fifo", "symlink")}, repeat=0)
def not_a_socket(t, kind):
    """What is no socket is never removed, whatever stands at the path."""
    path = t.path("thing")
    make(kind, path)
    for side, other in (("front", "back"), ("back", "front")):
        refuses(f"--{side}", f"listen:{path}", f"--{other}", f"listen:{t.path('o')}",
                words=(path,))
    check(os.path.lexists(path), f"the {kind} is gone")
    if kind == "file":
        with open(path, encoding="ascii") as file:
            check(file.read() == "precious", "the file was changed")
    check(not os.path.exists(t.path("o")), "the other socket was left behind")


@case({"listen": {"mode": "listen"}, "connect": {"mode": "connect"}}, repeat=0)
def path_too_long(t, mode):
    """A socket's path has at most 107 characters: said clearly, nothing is cut off."""
    path = t.path("x" * (108 - len(t.dir) - 1))
    check(len(path) == 108, "arithmetic")
    refuses("--front", t.path("f"), "--back", f"{mode}:{path}", words=("107",))
    check(os.listdir(t.dir) == [], f"left behind: {os.listdir(t.dir)}")


@case(repeat=0, slow=True)
def path_of_107_characters(t):
    """The longest path that the kernel takes."""
    path = t.path("x" * (107 - len(t.dir) - 1))
    back = listener_at(t.path("b"))
    shim = Shim(["--front", path, "--back", back.getsockname()])
    try:
        connect(path).close()
    finally:
        shim.stop()
    check(not os.path.exists(path), "the socket stays")
    back.close()


@case(repeat=0, slow=True)
def no_such_folder(t):
    """A folder to listen in must exist."""
    path = t.path("missing/s")
    refuses("--front", path, "--back", t.path("b"), words=(path,))


@case(repeat=0, slow=True)
def bare_paths(t):
    """A bare path listens in front and connects in back."""
    back = listener_at(t.path("b"))
    shim = Shim(["--front", t.path("f"), "--back", t.path("b")])
    try:
        front = connect(t.path("f"))
        front.sendall(wire.message(Front.GET_FEATURES))
        peer = back.accept()[0]
        check(peer.recv(100) == wire.message(Front.GET_FEATURES), "the request did not arrive")
        front.close()
        peer.close()
    finally:
        shim.stop()
    back.close()


@case(repeat=0, slow=True)
def bad_descriptors(t):
    """fd:N must be an open stream socket of the unix family."""
    back = t.path("b")
    refuses("--front", "fd:777", "--back", back, words=("777",))
    refuses("--front", "fd:0", "--back", back, words=("0",))     # /dev/null
    refuses("--front", t.path("f"), "--back", "fd:777", words=("777",))
    check(not os.path.exists(t.path("f")), "the listening socket stays")


def strangers():
    """Descriptors that are no unix stream sockets, or not in a state to be used."""
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    tcp.bind(("127.0.0.1", 0))
    tcp.listen(1)
    unconnected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    pairs = [socket.socketpair(socket.AF_UNIX, kind)
             for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET)]
    return {"tcp": tcp, "unconnected": unconnected, "datagram": pairs[0][0],
            "packets": pairs[1][0]}


@case({name: {"name": name} for name in ("tcp", "unconnected", "datagram", "packets")}, repeat=0,
      slow=True)
def stranger_descriptor(t, name):
    """A socket of another kind is refused when it is given, not when it is used."""
    stranger = strangers()[name]
    for side, other in (("front", "back"), ("back", "front")):
        refuses(f"--{side}", f"fd:{stranger.fileno()}", f"--{other}", f"listen:{t.path('o')}",
                words=(str(stranger.fileno()),), pass_fds=[stranger.fileno()])
    check(not os.path.exists(t.path("o")), "the other socket stays")
    stranger.close()


@case(repeat=0, slow=True)
def one_endpoint_for_both(t):
    """One descriptor or one path cannot be both ends: vushim would talk to itself."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    number = f"fd:{theirs.fileno()}"
    refuses("--front", number, "--back", number, pass_fds=[theirs.fileno()])
    for front, back in (("listen", "connect"), ("connect", "listen"), ("listen", "listen")):
        refuses("--front", f"{front}:{t.path('s')}", "--back", f"{back}:{t.path('s')}")
    check(os.listdir(t.dir) == [], f"left behind: {os.listdir(t.dir)}")
    ours.close()
    theirs.close()


ODD = {"space": "with space", "percent": "per%scent%n", "colon": "co:lon", "prefix": "fd:3",
       "letters": "über", "quote": "quote'\"", "dash": "-dash", "newline": "new\nline"}


@case({kind: {"name": name} for kind, name in ODD.items()}, repeat=0, slow=True)
def odd_paths(t, name):
    """Any path that the system takes is a path here."""
    back = listener_at(t.path("b " + name))
    front = t.path(name)
    shim = Shim(["--front", f"listen:{front}", "--back", f"connect:{back.getsockname()}"])
    try:
        peer = connect(front)
        back.accept()[0].close()
        peer.close()
    finally:
        shim.stop()
    check(not os.path.exists(front), "the socket stays")
    back.close()


@case(repeat=0, slow=True)
def relative_paths(t):
    """Paths are relative to where vushim was started."""
    back = listener_at(t.path("b"))
    before = os.getcwd()
    os.chdir(t.dir)
    try:
        shim = Shim(["--front", "f", "--back", "b"])
        try:
            connect(t.path("f")).close()
            back.accept()[0].close()
        finally:
            shim.stop()
    finally:
        os.chdir(before)
    check(not os.path.exists(t.path("f")), "the socket stays")
    back.close()


@case(repeat=0, slow=True)
def path_vanishes_while_it_serves(t):
    """The socket file is removed by somebody: those who are connected are served on, and the end
    is clean."""
    t.start()
    front, back = t.pair()
    t.works(front, back)
    os.unlink(t.ends["front"][2])
    t.works(front, back)


@case(repeat=0, slow=True)
def mode_of_socket(t):
    """The socket is not open to everybody: whoever connects gets the guest's device."""
    t.start()
    mode = os.stat(t.ends["front"][2]).st_mode
    check(not mode & 0o002, f"mode {mode:o}: anybody may connect")


@case(repeat=0, slow=True)
def descriptors_not_inherited(t):
    """What vushim opens is closed on exec; what it was given by number it may keep as it is."""
    shim = t.start()
    front, back = t.pair()
    t.works(front, back)
    for fd, name in shim.fds().items():
        with open(f"/proc/{shim.pid}/fdinfo/{fd}", encoding="ascii") as info:
            flags = int(info.read().split("flags:")[1].split()[0], 8)
        check(fd <= 2 or flags & os.O_CLOEXEC or "valgrind" in name,
              f"descriptor {fd} ({name}) survives exec")
