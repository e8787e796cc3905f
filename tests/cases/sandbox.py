# SPDX-License-Identifier: MIT
"""What a vushim that somebody has taken over could still do, and who may speak to it."""
import ctypes
import errno
import grp
import json
import mmap
import os
import pwd
import resource
import shutil
import signal
import socket
import struct
import tempfile

import wire
from case import Offer, accept, connect
from harness import case
from inside import Inside, Killed
from peers import Failure, Skip, check, until
from shim import Shim, command, instrumented, wrapper
from wire import Front, Proto, bits, u64

# Numbers of x86-64.
MMAP, MPROTECT, IOCTL, SOCKET, CLONE, FORK, EXECVE, KILL, RENAME, UNLINK, PTRACE, SETUID = \
    9, 10, 16, 41, 56, 57, 59, 62, 82, 87, 101, 105
FCNTL, MKDIR, SYMLINK, PRCTL, MOUNT, INIT_MODULE, OPENAT, UNSHARE = 72, 83, 88, 157, 165, 175, 257, 272
HANDLE, READV_OF, BPF, USERFAULTFD, CLONE3, RING, RING_REGISTER, MEMFD, PIDFD = \
    304, 310, 321, 323, 435, 425, 427, 319, 438
GETPID, LANDLOCK, SECCOMP, EXECVEAT, KEYCTL, TEE, SENDFILE = 39, 444, 317, 322, 250, 276, 40
SHARED, PRIVATE, ANONYMOUS = 1, 2, 0x20
EXEC = 4


def need_root():
    if os.geteuid() != 0:
        raise Skip("only root can give files and itself to others")


def need_sandbox():
    if wrapper():
        raise Skip("the wrapper makes system calls of its own")


def alone(t, *extra, before=None, front=None):
    """A vushim of this case's own, which it may kill."""
    need_sandbox()
    number, t.starts = t.starts, t.starts + 1
    front = front or f"listen:{t.path(f'own{number}')}"
    shim = Shim(["--name", "own", "--front", front, "--back", f"connect:{t.path('nobody')}",
                 *extra], before=before)
    shim.said("ready:")
    return shim


def doomed(shim, number, *arguments):
    """The call ends the process, by SIGSYS."""
    inside = Inside(shim.pid)
    try:
        result = inside.call(number, *arguments)
    except Killed as killed:
        shim.process.returncode = -int(str(killed))
        check(shim.process.returncode == -signal.SIGSYS, f"ended by {killed}")
        return
    inside.leave()
    shim.discard()
    raise Failure(f"call {number} was made, with result {result}")


FORBIDDEN = {
    "execve": (EXECVE, "/bin/true", 0, 0),
    "execveat": (EXECVEAT, -100, "/bin/true", 0, 0, 0),
    "fork": (FORK,),
    "clone": (CLONE, signal.SIGCHLD, 0, 0, 0, 0),
    "inet": (SOCKET, socket.AF_INET, socket.SOCK_STREAM, 0),
    "inet6": (SOCKET, socket.AF_INET6, socket.SOCK_DGRAM, 0),
    "netlink": (SOCKET, socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "vsock": (SOCKET, socket.AF_VSOCK, socket.SOCK_STREAM, 0),
    "code": (MMAP, 0, 4096, mmap.PROT_READ | EXEC, PRIVATE | ANONYMOUS, -1, 0),
    "code_later": (MPROTECT, 0, 4096, mmap.PROT_READ | EXEC),
    "shared_memory": (MMAP, 0, 4096, mmap.PROT_READ | mmap.PROT_WRITE, SHARED | ANONYMOUS, -1, 0),
    "setuid": (SETUID, 0),
    "kill_parent": (KILL, 1, 0),
    "kill_by_thread": (234, 1, 1, 0),
    "ptrace": (PTRACE, 16, 1, 0, 0),
    "other_memory": (READV_OF, 1, 0, 0, 0, 0, 0),
    "fcntl_owner": (FCNTL, 0, 8, 1),
    "prctl": (PRCTL, 4, 1, 0, 0, 0),
    "mount": (MOUNT, "none", "/mnt", "tmpfs", 0, 0),
    "module": (INIT_MODULE, 0, 0, ""),
    "unshare": (UNSHARE, 0x10000000),
    "file_by_handle": (HANDLE, -100, 0, 0),
    "bpf": (BPF, 0, 0, 0),
    "userfaultfd": (USERFAULTFD, 0),
    "memfd": (MEMFD, "x", 0),
    "other_descriptors": (PIDFD, 0, 0, 0),
    "ring_register": (RING_REGISTER, 0, 0, 0, 0),
    "second_filter": (SECCOMP, 1, 0, 0),
    "keys": (KEYCTL, 0, 0, 0, 0, 0),
    "mkdir": (MKDIR, "/tmp/vushim-none", 0o700),
    "symlink": (SYMLINK, "/tmp/a", "/tmp/vushim-none"),
    "sendfile": (SENDFILE, 0, 0, 0, 0),
    "tee": (TEE, 0, 0, 0, 0),
}
OF_SANITIZERS = ("clone", "kill_parent", "ptrace", "other_memory", "prctl")


@case({name: {"name": name} for name in FORBIDDEN}, repeat=0, slow=True)
def forbidden_call(t, name):
    """It ends the process, whatever else would have come of it."""
    if name in OF_SANITIZERS and instrumented():
        raise Skip("AddressSanitizer makes this call itself")
    doomed(alone(t), *FORBIDDEN[name])


@case(repeat=0, slow=True)
def guest_memory_cannot_be_mapped(t):
    """Not even by a descriptor of it that vushim holds."""
    t.traced = False                        # its trace ends with the process, too
    need_sandbox()
    t.start(loss=None)
    front, back = t.pair()
    t.negotiate(front, back)
    memory = t.memfd(1 << 16)
    t.tell(front, back, Front.SET_MEM_TABLE, wire.mem_table(1), [memory])
    held = until(lambda: [n for n, name in t.shim.fds().items() if "memfd" in name],
                 "the memory to be kept")
    shim = t.shim
    t.shims.clear()
    t.links.clear()
    doomed(shim, MMAP, 0, 4096, mmap.PROT_READ | mmap.PROT_WRITE, SHARED, held[0], 0)
    t.close_listeners(t.ends)


LACKING = {
    "clone3": (errno.ENOSYS, CLONE3, 0, 0),
    "io_uring": (errno.EPERM, RING, 4, bytes(120)),
    "ioctl": (errno.ENOTTY, IOCTL, 2, 0x5401, bytes(64)),
    "of_a_later_kernel": (errno.ENOSYS, 470, 0),
    "of_a_much_later_kernel": (errno.ENOSYS, 511, 0),
}


@case({name: {"name": name} for name in LACKING}, repeat=0, slow=True)
def lacking_call(t, name):
    """What libraries try and can do without fails, and vushim goes on."""
    need_sandbox()
    error, *call = LACKING[name]
    t.start()
    front, back = t.pair()
    inside = Inside(t.shim.pid)
    result = inside.call(*call)
    inside.leave()
    check(result == -error, f"result {result}")
    t.works(front, back)


@case(repeat=0, slow=True)
def files_are_out_of_reach(t):
    """Nothing can be made, changed, moved or (but for the sanitizers) read outside of the folders."""
    shim = alone(t)
    if not landlock():
        raise Skip("this kernel has no Landlock")
    other = tempfile.mkdtemp(prefix="vc.")      # a folder's rights are those of all below it, too
    try:
        out_of_reach(t, shim, other)
    finally:
        shutil.rmtree(other)
    shim.stop()
    check(not os.path.exists(t.path("own0")), "the socket was left behind")


def out_of_reach(t, shim, other):
    with open(other + "/file", "w", encoding="ascii") as file:
        file.write("secret")
    inside = Inside(shim.pid)
    tries = {
        "make": (OPENAT, -100, other + "/new", os.O_WRONLY | os.O_CREAT, 0o600),
        "make beside the socket": (OPENAT, -100, t.path("new"), os.O_WRONLY | os.O_CREAT, 0o600),
        "write": (OPENAT, -100, other + "/file", os.O_WRONLY, 0),
        "remove": (UNLINK, other + "/file"),
        "rename": (RENAME, other + "/file", other + "/moved"),
    }
    if not instrumented():
        tries["read"] = (OPENAT, -100, other + "/file", os.O_RDONLY, 0)
        tries["read what root may"] = (OPENAT, -100, "/etc/shadow", os.O_RDONLY, 0)
        tries["read about another"] = (OPENAT, -100, f"/proc/{os.getpid()}/environ", os.O_RDONLY, 0)
    for what, call in tries.items():
        result = inside.call(*call)
        check(result in (-errno.EACCES, -errno.EXDEV), f"{what}: result {result}")
    own = inside.call(OPENAT, -100, "/proc/self/fdinfo/0", os.O_RDONLY, 0)
    check(own >= 0, f"a description of its own descriptor: {own}")
    inside.leave()


@case(repeat=0, slow=True)
def back_end_in_a_folder_of_its_own(t):
    """Waiting for a socket in a folder that vushim may not touch, and connecting there, needs no
    right: so a switch may go anywhere, too."""
    need_sandbox()
    other = tempfile.mkdtemp(prefix="vc.")
    try:
        path = other + "/later/back"
        t.start(back=("connect", path))
        front = t.front()
        t.shim.said("waits for")
        os.mkdir(other + "/later")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(path)
            listener.listen(1)
            back = t.add_peer(accept(listener), "B")
        t.works(front, back)
        t.part(front, back)
    finally:
        shutil.rmtree(other)


def landlock():
    libc = ctypes.CDLL(None)
    return libc.syscall(LANDLOCK, None, 0, 1) > 0


def status_of(shim, task):
    with open(f"/proc/{shim.pid}/task/{task}/status", encoding="ascii", errors="replace") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


WRITERS = {"untraced": (), "ring": ("--trace",), "thread": ("--trace",)}


@case({name: {"name": name} for name in WRITERS}, repeat=0, slow=True)
def every_thread_is_confined(t, name):
    """Filter, privileges and capabilities hold for each thread, as the kernel says."""
    from tracing import forbid_io_uring
    extra = WRITERS[name] and ("--trace", t.path("trace"))
    shim = alone(t, *extra, before=forbid_io_uring if name == "thread" else None)
    tasks = os.listdir(f"/proc/{shim.pid}/task")
    if name == "thread" and not instrumented():
        check(len(tasks) == 2, f"threads {tasks}")
    for task in tasks:
        has = status_of(shim, task)
        check(has["NoNewPrivs"] == "1" and has["Seccomp"] == "2", f"{task}: {has}")
        for which in ("Inh", "Prm", "Eff", "Amb"):
            check(int(has[f"Cap{which}"], 16) == 0, f"{task}: Cap{which} {has[f'Cap{which}']}")
        check(os.geteuid() != 0 or int(has["CapBnd"], 16) == 0, f"{task}: CapBnd {has['CapBnd']}")
    check(resource.prlimit(shim.pid, resource.RLIMIT_CORE)[0] == 0, "core dumps are possible")
    shim.stop()


class Ring:
    """The io_uring of a stopped vushim, as the kernel has laid it out for two entries."""
    SQ_TAIL, CQ_HEAD, CQ_TAIL, CQES, SQ_ARRAY = 4, 8, 12, 64, 128

    def __init__(self, inside, pid):
        self.inside, areas = inside, {}
        with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps:
            for line in maps:
                words = line.split()
                if words[-1] == "anon_inode:[io_uring]":
                    areas[int(words[2], 16)] = int(words[0].split("-")[0], 16)
        self.rings, self.entries = areas[0], areas[0x10000000]
        self.fd = next(int(n) for n in os.listdir(f"/proc/{pid}/fd")
                       if os.readlink(f"/proc/{pid}/fd/{n}") == "anon_inode:[io_uring]")

    def number(self, at):
        return int.from_bytes(self.inside.peek(self.rings + at, 4), "little")

    def write(self, address, data):
        self.inside.memory.seek(address)
        self.inside.memory.write(data)

    def perform(self, operation, fd, *numbers):
        """The result of one operation; numbers: offset, address, length."""
        tail, done = self.number(self.SQ_TAIL), self.number(self.CQ_TAIL)
        offset, address, length = (*numbers, 0, 0, 0)[:3]
        self.write(self.entries + 64 * (tail & 1),
                   struct.pack("=BBHiQQI36x", operation, 0, 0, fd, offset, address, length))
        self.write(self.rings + self.SQ_ARRAY + 4 * (tail & 1), struct.pack("=I", tail & 1))
        self.write(self.rings + self.SQ_TAIL, struct.pack("=I", tail + 1))
        self.inside.call(426, self.fd, 1, 1, 1, 0, 0)
        if self.number(self.CQ_TAIL) != done + 1:
            raise Skip("this kernel's rings have another layout")
        entry = self.inside.peek(self.rings + self.CQES + 16 * (done & 3), 16)
        self.write(self.rings + self.CQ_HEAD, struct.pack("=I", done + 1))
        return struct.unpack("=Qii", entry)[1]


@case(repeat=0, slow=True)
def ring_does_nothing_but_files(t):
    """What a ring does passes no filter, so the trace's one has been told what it may do."""
    from tracing import io_uring_is_there
    if not io_uring_is_there():
        raise Skip("this machine forbids io_uring")
    shim = alone(t, "--trace", t.path("trace"))
    inside = Inside(shim.pid)
    try:
        ring = Ring(inside, shim.pid)
        if ring.perform(19, 9999) != -errno.EBADF:          # closes what is not open: it may
            raise Skip("this kernel's rings have another layout")
        for name, operation, fd in (("socket", 45, socket.AF_INET), ("connect", 16, 0),
                                    ("read", 22, 0), ("nop", 0, -1), ("unlink", 36, -100),
                                    ("send", 26, 0), ("epoll_ctl", 29, 3)):
            result = ring.perform(operation, fd, 1)
            check(result == -errno.EACCES, f"{name}: {result}")
    finally:
        inside.leave()
        shim.discard()


@case(repeat=0, slow=True)
def core_dumps_when_wished(t):
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if instrumented():
        raise Skip("AddressSanitizer forbids core dumps itself")
    if hard != resource.RLIM_INFINITY and hard < 4096:
        raise Skip("core dumps are forbidden here")

    def unlimited():
        resource.setrlimit(resource.RLIMIT_CORE, (4096, hard))
    shim = alone(t, "--core-dumps", before=unlimited)
    check(resource.prlimit(shim.pid, resource.RLIMIT_CORE)[0] == 4096, "the limit was changed")
    shim.stop()


@case(repeat=0, slow=True)
def runs_as_another_user(t):
    """--user: everything of that user, the sockets too; it serves, and removes them at the end."""
    need_root()
    nobody = pwd.getpwnam("nobody")
    os.chmod(t.dir, 0o755)
    os.chown(t.dir, nobody.pw_uid, nobody.pw_gid)
    front, back = t.path("front"), t.path("back")
    shim = alone(t, "--user", "nobody", "--control", t.path("ctl"), "--trace", t.path("trace"),
                 "--trace-max", "64K", front=f"listen:{front}")
    for task in os.listdir(f"/proc/{shim.pid}/task"):
        has = status_of(shim, task)
        check(set(has["Uid"].split()) == {str(nobody.pw_uid)}, f"Uid {has['Uid']}")
        check(set(has["Gid"].split()) == {str(nobody.pw_gid)}, f"Gid {has['Gid']}")
        check(set(has["Groups"].split()) <= {str(nobody.pw_gid)}, f"Groups {has['Groups']}")
    for path in (front, t.path("ctl"), t.path("trace")):
        check(os.stat(path).st_uid == nobody.pw_uid, f"{path} is of uid {os.stat(path).st_uid}")
    check(os.stat(front).st_gid == nobody.pw_gid, "the front's socket is of another group")
    check(command("ctl", t.path("ctl"), "status")[0] == 0, "no status")
    inside = Inside(shim.pid)
    result = inside.call(OPENAT, -100, "/proc/self/fdinfo/0", os.O_RDONLY, 0)
    inside.leave()
    check(result >= 0, f"its own descriptors cannot be described: {result}")
    shim.stop()
    for path in (front, front + ".lock", t.path("ctl"), back):
        check(not os.path.exists(path), f"{path} was left behind")


WHO = {
    "user": ("--user", "no-such-user"), "group": ("--group", "no-such-group"),
    "number": ("--user", "4294967295"), "number_of_nobody": ("--user", "123456"),
    "off": ("--user", "nobody", "--sandbox", "off"), "sandbox": ("--sandbox", "maybe"),
    "mode": ("--socket-mode", "0999"), "mode_word": ("--socket-mode", "rw"),
    "mode_large": ("--socket-mode", "1777"), "socket_group": ("--socket-group", "no-such-group"),
    "uid": ("--allow-uid", "no-such-user"), "uid_empty": ("--allow-uid", ""),
    "uid_last": ("--allow-uid", "0,"), "uids": ("--allow-uid", ",".join("0" * 17)),
}


@case({name: {"options": options} for name, options in WHO.items()}, repeat=0)
def wrong_sandbox_option(t, options):
    status, out, err = command("run", "--front", t.path("f"), "--back", t.path("b"), *options)
    check(status == 2 and err.count("\n") == 1 and err.startswith("vushim: run: --") and not out,
          f"{status}: {out}{err}")
    check(not os.path.exists(t.path("f")), "a socket was made")


@case(repeat=0)
def only_root_becomes_another(t):
    need_root()
    os.chmod(t.dir, 0o777)

    def nobody():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    need_sandbox()
    shim = Shim(["--front", t.path("f"), "--back", t.path("b"), "--user", "0", "--group", "0"],
                before=nobody)
    check(shim.wait() == 2 and "start vushim as root" in shim.log(), f"{shim.log()}")
    check(not os.path.exists(t.path("f")), "the socket was left behind")


@case(repeat=0)
def print_sandbox(t):
    """What holds, without a socket, as text and as JSON."""
    need_sandbox()
    run = ("run", "--front", t.path("f"), "--back", t.path("b"), "--print-sandbox")
    status, out, err = command(*run, "--trace", t.path("trace"), "--trace-dir", "/tmp", "--json")
    rows = json.loads(out)
    check(status == 0 and not err, f"{status}: {err}")
    check(rows["capabilities"] == "none" and rows["new-privileges"] == "never" and
          rows["core-dumps"] == "off" and rows["guest-memory"] == "cannot be mapped", f"{rows}")
    check("any other ends vushim" in rows["system-calls"], f"{rows}")
    if landlock():
        check(f"remove in {t.dir}" in rows["files"] and f"write in {t.dir}" in rows["files"] and
              "write in /tmp" in rows["files"], f"{rows}")
    check(not os.path.exists(t.path("f")) and not os.path.exists(t.path("trace")), "files were made")
    status, out, err = command(*run, "--sandbox", "off", "--core-dumps")
    check(status == 0 and "system-calls             all" in out, f"{status}: {out}{err}")


@case(repeat=0, slow=True)
def sandbox_off(t):
    """It is said, and nothing holds."""
    shim = alone(t, "--sandbox", "off")
    shim.said("without its sandbox")
    has = status_of(shim, shim.pid)
    check(has["Seccomp"] == "0" and has["NoNewPrivs"] == "0", f"{has}")
    shim.stop()


def forbid(number, error):
    """This system call fails so from now on, as on a kernel that does not have it."""
    def apply():
        program = b"".join(struct.pack("=HBBI", *i) for i in (
            (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | error),
            (0x06, 0, 0, 0x7fff0000)))
        buffer = ctypes.create_string_buffer(program, len(program))
        whole = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
        libc = ctypes.CDLL(None)
        if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, whole, 0, 0):
            os._exit(99)
    return apply


@case(repeat=0, slow=True)
def kernel_without_landlock(t):
    """auto goes without it and says so; on does not start."""
    before = forbid(LANDLOCK, errno.ENOSYS)
    shim = alone(t, before=before)
    shim.said("lacks a part of the sandbox.*Landlock")
    check(status_of(shim, shim.pid)["Seccomp"] == "2", "no filter")
    shim.stop()
    shim = Shim(["--front", t.path("f"), "--back", t.path("b"), "--sandbox", "on"], before=before)
    check(shim.wait() == 2 and "--sandbox on: Landlock" in shim.log(), f"{shim.log()}")
    check(not os.path.exists(t.path("f")), "the socket was left behind")


# ---- who may come


@case({"private": {"mode": "0600"}, "group": {"mode": "0660"}, "all": {"mode": "666"}}, repeat=0)
def socket_mode(t, mode):
    """The sockets of both sides have it, whatever the umask says; the control socket is the user's."""
    front, back, control = t.path("front"), t.path("back"), t.path("ctl")
    before = os.umask(0o027)
    try:
        shim = Shim(["--name", "own", "--front", f"listen:{front}", "--back", f"listen:{back}",
                     "--control", control, "--socket-mode", mode])
        shim.said("ready:")
    finally:
        os.umask(before)
    for path, wanted in ((front, int(mode, 8)), (back, int(mode, 8)), (control, 0o600)):
        check(os.stat(path).st_mode & 0o7777 == wanted, f"{path}: {os.stat(path).st_mode:o}")
    shim.stop()


@case(repeat=0)
def socket_group(t):
    need_root()
    group = next(g for g in grp.getgrall() if g.gr_gid not in (0, os.getgid()))
    front, control = t.path("front"), t.path("ctl")
    shim = Shim(["--name", "own", "--front", f"listen:{front}", "--back", f"connect:{t.path('b')}",
                 "--control", control, "--socket-group", group.gr_name, "--socket-mode", "0660"])
    shim.said("ready:")
    check(os.stat(front).st_gid == group.gr_gid, f"of group {os.stat(front).st_gid}")
    check(os.stat(control).st_gid == os.getegid(), "the control socket is of that group, too")
    shim.stop()


class Acting:
    """Connects and listens as another user."""

    def __init__(self, uid):
        self.uid = uid

    def __enter__(self):
        os.seteuid(self.uid)

    def __exit__(self, *_):
        os.seteuid(0)


@case(repeat=0)
def stranger_at_the_front(t):
    """Turned away by the kernel's word on who it is; the one that is named is served."""
    need_root()
    os.chmod(t.dir, 0o777)
    shim = t.start(extra=("--allow-uid", "65534,root", "--socket-mode", "0666"))
    since = shim.mark()
    with Acting(1234):
        stranger = t.front("S")
    stranger.raw(wire.message(Front.SET_MEM_TABLE, wire.mem_table(1)), [t.memfd()])
    stranger.ended()
    line = shim.said(r"front.*\[STRANGER\]", since)
    check("uid 1234" in line, f"not named: {line}")
    for uid in (65534, 0):
        with Acting(uid):
            front = t.front()
        back = t.back()
        t.works(front, back)
        t.part(front, back)


@case({"listen": {"mode": "listen"}, "connect": {"mode": "connect"}}, repeat=0)
def stranger_at_the_back(t, mode):
    """A back-end that is not the expected user's is not spoken to; the next one is."""
    need_root()
    os.chmod(t.dir, 0o777)
    path = t.path("back")
    options = ("--allow-uid", "root", "--socket-mode", "0666")
    if mode == "listen":
        shim = t.start(back="listen", extra=options)
        with Acting(1234):
            stranger = t.end("back", "S")
        stranger.ended()
        shim.said(r"back.*uid 1234.*\[STRANGER\]")
        t.life()
        return
    with Acting(1234):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen(4)
    os.chmod(path, 0o666)
    shim = t.start(back=("connect", path), extra=options)
    since = shim.mark()
    front = t.front()
    check(accept(listener).recv(1) == b"", "the stranger was told something")
    shim.said(r"back.*uid 1234.*\[STRANGER\]", since)
    listener.close()
    os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(4)
    back = t.add_peer(accept(listener), "B")
    t.works(front, back)
    t.part(front, back)
    listener.close()


# ---- descriptors


def limited(soft, hard):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@case(repeat=0)
def descriptors_are_enough(t):
    """The limit is raised to what the device can need, and no further."""
    shim = alone(t, "--profile", "device=blk,version_1=on,queues=2,mem_slots=8",
                 before=limited(64, 20000))
    soft, _ = resource.prlimit(shim.pid, resource.RLIMIT_NOFILE)
    check(2500 < soft < 5000, f"the limit is {soft}")
    shim.not_said("descriptors")
    shim.stop()


@case(repeat=0, slow=True)
def descriptors_of_a_full_device(t):
    """A device whose profile is used up to its limits, and a control socket likewise, have room in
    what is said to be needed."""
    control, profile = t.path("ctl"), "device=blk,version_1=on,queues=8,mem_slots=16,max_ring=256"
    _, out, _ = command("run", "--front", t.path("f"), "--back", t.path("b"), "--profile", profile,
                        "--control", control, "--print-sandbox", "--json")
    need = int(json.loads(out)["descriptors"].split(",")[0].split()[2])
    offer = Offer(bits(30, 32), bits(0, 1, 3, Proto.INFLIGHT_SHMFD, Proto.CONFIGURE_MEM_SLOTS), 8, 16)
    t.start(profile, extra=("--control", control), loss=None)
    front, back = t.pair(offer)
    t.negotiate(front, back, offer)
    idle = len(t.shim.fds())
    for number in range(16):
        t.tell(front, back, Front.ADD_MEM_REG, wire.single_region(number), [t.memfd()])
    for ring in range(8):
        for request in (Front.SET_VRING_CALL, Front.SET_VRING_ERR, Front.SET_VRING_KICK):
            t.tell(front, back, request, u64(ring), [t.eventfd()])
    t.tell(front, back, Front.SET_INFLIGHT_FD, wire.inflight(8), [t.memfd()])
    clients = [connect(control) for _ in range(16)]
    until(lambda: len(t.shim.fds()) >= idle + 16 + 3 * 8 + 1 + 16,
          lambda: f"all to be held: {len(t.shim.fds())} after {idle}")
    now = len(t.shim.fds())
    # What else there is room for is one message a side, and what vushim opens for moments.
    check(now + 10 * 253 <= need < now + 10 * 253 + 80, f"{now} are held, {need} are said")
    for client in clients:
        client.close()


@case(repeat=0)
def descriptors_may_run_out(t):
    shim = alone(t, before=limited(512, 1024))
    line = shim.said("may have 1024 descriptors")
    check("ulimit -n" in line, f"not clear: {line}")
    shim.stop()


@case(repeat=0)
def descriptors_are_too_few(t):
    need_sandbox()
    shim = Shim(["--front", t.path("f"), "--back", t.path("b")], before=limited(100, 100))
    check(shim.wait() == 2, "it started")
    check("may have 100 descriptors and needs at least" in shim.log(), f"not clear: {shim.log()}")
    check(not os.path.exists(t.path("f")), "the socket was left behind")


# ---- traces that are begun later


@case(repeat=0, slow=True)
def trace_where_the_client_may(t):
    """vushim ctl opens the file, so that it can be anywhere; a path alone must be in the folder that
    was named at the start."""
    need_sandbox()
    control, folder = t.path("ctl"), t.path("traces")
    t.traced = False
    os.mkdir(folder)
    os.mkdir(t.path("elsewhere"))
    shim = t.start(extra=("--control", control, "--trace-dir", folder))
    front, back = t.pair()

    def ctl(*words):
        return command("ctl", control, "trace", *words)
    status, _, err = ctl("start", t.path("elsewhere/a"))
    check(status == 0, err)
    t.works(front, back)
    ctl("stop")
    check(os.path.getsize(t.path("elsewhere/a")) > 500, "nothing was written")
    if landlock():
        status, _, err = ctl("start", t.path("elsewhere/b"), "--trace-max", "1M")
        check(status == 2 and "--trace-dir" in err, f"{status}: {err}")
    status, _, err = ctl("start", folder + "/c", "--trace-max", "64K", "--trace-files", "3")
    check(status == 0, err)
    for _ in range(600):
        t.works(front, back)
    status, out, _ = ctl()
    check('"error"' not in out and "error " not in out, out)
    ctl("stop")
    names = sorted(os.listdir(folder))
    check(names[:2] == ["c", "c.1"], f"no rotation: {names}")
    shim.idle_maps = shim.maps()            # the C library keeps the thread's stack for the next one


@case(repeat=0)
def descriptors_sent_to_the_control_socket(t):
    """A client keeps at most one descriptor there, and none when it leaves."""
    control = t.path("ctl")
    shim = t.start(extra=("--control", control))
    for _ in range(5):
        client = connect(control)
        client.settimeout(5)
        client.recv(4096)
        fds = [t.memfd() for _ in range(20)]
        for number in range(30):
            socket.send_fds(client, [b'{"execute": "qmp_capabilities"}'], fds)
            client.recv(4096)
        held = [name for name in shim.fds().values() if "memfd" in name]
        check(len(held) <= 1, f"{held}")
        client.close()
    until(lambda: not [name for name in shim.fds().values() if "memfd" in name],
          "the descriptor to be closed")
