# SPDX-License-Identifier: MIT
"""The control socket and `vushim ctl`."""
import json
import os
import select
import socket
import stat
import threading
import time

import wire
from case import Offer
from commands import one_line
from harness import case
from peers import PATIENCE, SLOW, check, until
from shim import command
from wire import Front, bits, u64

NET = "device=net,version_1=on,mrg_rxbuf=on,ctrl_vq=on,mq=on,queues=4,max_ring=256"
BACK = Offer(bits(0, 15, 17, 22, 26, 28, 30, 32), bits(0, 1, 3, 15), 8, 64)
ACKED = bits(15, 17, 22, 30, 32)


class Client:
    """One client of the control socket."""

    def __init__(self, t, path, greeted=True):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        t.kept.append(self.sock)
        self.sock.connect(path)
        self.rest, self.events = b"", []
        if greeted:
            check("QMP" in self.hear(), "no greeting")
            check(self.ask("qmp_capabilities") == {"return": {}}, "no capabilities")

    def say(self, data):
        """False when it has been cut off."""
        try:
            self.sock.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def hear(self, patience=PATIENCE):
        """The next answer; None at the end of the stream. Events in between are kept aside."""
        while True:
            value = self.line(patience)
            if not value or "event" not in value:
                return value
            self.events.append(value)

    def line(self, patience=PATIENCE):
        end = time.monotonic() + patience
        while b"\r\n" not in self.rest:
            poll = select.poll()
            poll.register(self.sock, select.POLLIN)
            check(poll.poll(max(0, end - time.monotonic()) * 1000), "waited in vain for an answer")
            try:
                part = self.sock.recv(65536)
            except ConnectionResetError:
                part = b""
            if not part:
                check(not self.rest, f"half an answer: {self.rest[:200]}")
                return None
            self.rest += part
        line, self.rest = self.rest.split(b"\r\n", 1)
        return json.loads(line)

    def ask(self, execute, **more):
        self.say(json.dumps({"execute": execute, **more}).encode())
        return self.hear()

    def value(self, execute):
        answer = self.ask(execute)
        check(set(answer) == {"return"}, f"{execute}: {answer}")
        return answer["return"]

    def fails(self, word):
        answer = self.hear()
        check(answer and set(answer["error"]) == {"class", "desc"}, f"no error: {answer}")
        check(word in (answer["error"]["class"], answer["error"]["desc"]), f"not {word}: {answer}")


def begin(t, profile="host", **options):
    """Returns the path of the control socket; one for each way to start."""
    path = t.path(f"ctl{abs(hash((profile, tuple(options)))) % 997}")
    t.start(profile, extra=("--control", path), **options)
    return path


def ctl(*words):
    """`vushim ctl`, which must succeed; its output."""
    status, out, err = command("ctl", *words)
    check(status == 0 and not err, f"{words}: {status}, {err}")
    return out


def set_up(t, rings=((0, 256, True, True), (3, 128, False, True), (4, 64, True, False))):
    """A life whose front-end has set up these rings and two regions."""
    front, back = t.pair(BACK)
    shown = Offer(BACK.features & ~bits(0, 28), BACK.protocol, 4, 64)
    t.negotiate(front, back, BACK, Offer(ACKED, BACK.protocol), shown)
    t.tell(front, back, Front.SET_MEM_TABLE, wire.mem_table(2), [t.memfd(), t.memfd()])
    for index, num, enabled, started in rings:
        t.tell(front, back, Front.SET_VRING_NUM, wire.state(index, num))
        t.tell(front, back, Front.SET_VRING_ENABLE, wire.state(index, enabled))
        if started:
            t.tell(front, back, Front.SET_VRING_KICK, u64(index), [t.eventfd()])
    return front, back


@case(repeat=0)
def ctl_greeting(t):
    """A greeting like QMP's, qmp_capabilities first, unknown and misshapen commands by name."""
    path = begin(t)
    client = Client(t, path, greeted=False)
    hello = client.hear()
    check(set(hello) == {"QMP"} and set(hello["QMP"]) == {"version", "capabilities"}, f"{hello}")
    check(set(hello["QMP"]["version"]["qemu"]) == {"major", "minor", "micro"}, f"{hello}")
    for name in ("query-status", "query-commands", "quit"):
        client.say(b'{"execute": "%s"}' % name.encode())
        client.fails("CommandNotFound")
    check(client.ask("qmp_capabilities") == {"return": {}}, "no capabilities")
    for line, word in ((b'{"execute": "frob"}', "CommandNotFound"), (b'{}', "GenericError"),
                       (b'{"execute": 5}', "GenericError"), (b'{"execute": null}', "GenericError"),
                       (b'[]', "GenericError"), (b'["execute"]', "GenericError"),
                       (b'{"execute": ""}', "CommandNotFound"),
                       (b'{"execute": "query-statu"}', "CommandNotFound"),
                       (b'{"execute": "%s"}' % (b"x" * 5000), "CommandNotFound"),
                       (b'{"execute": "%s%n\\u0001"}', "CommandNotFound")):
        client.say(line + b"\r\n")
        client.fails(word)
    check("life" in client.value("query-status"), "not served after errors")


WORKING = {"name": "dev0", "life": "running", "waits_for": None, "channel_waits_for": None,
           "refused": 0}


@case(repeat=0)
def ctl_answers(t):
    """Each command's fields."""
    path = begin(t, NET)
    client = Client(t, path)
    status = client.value("query-status")
    check(status["life"] == "idle", f"not idle: {status}")
    client.say(b'{"execute": "query-offer"}')
    client.fails("GenericError")
    front, back = set_up(t)
    names = [row["name"] for row in client.value("query-commands")]
    check(names == ["query-version", "query-commands", "query-status", "query-state",
                    "query-offer", "query-trace", "trace-start", "trace-stop", "switch",
                    "quit"], f"{names}")
    version = client.value("query-version")
    check(version["name"] == "vushim" and version["version"], f"{version}")
    status = client.value("query-status")
    check({**status, **WORKING} == status, f"{status}")
    check(status["front"].startswith("listen:/") and status["back"].startswith("connect:/") and
          status["requests"] > 10 and status["answers"] == 2, f"{status}")
    shown = json.loads(command("profile", "show", NET, "--json")[1])
    state = client.value("query-state")
    for key in ("spec", "digest", "device"):
        check(state[key] == shown[key], f"{key}: {state[key]} instead of {shown[key]}")
    offer = client.value("query-offer")
    check(int(offer["features_bits"], 16) == BACK.features and offer["queues"] == 8 and
          int(offer["protocol_features_bits"], 16) == BACK.protocol, f"{offer}")
    front.send(Front.GET_FEATURES)
    back.expect(Front.GET_FEATURES)
    waits = until(lambda: client.value("query-status")["waits_for"], "an answer that is due")
    check((waits["side"], waits["message"]) == ("back", "GET_FEATURES"), f"{waits}")
    back.answer(Front.GET_FEATURES, u64(BACK.features), becomes=u64(BACK.features & ~bits(0, 28)))
    front.expect(Front.GET_FEATURES)
    front.send(Front.SET_VRING_NUM, wire.state(99, 64), wire.NEED_REPLY, lost=True)
    front.refusal(Front.SET_VRING_NUM)
    status = client.value("query-status")
    check(status["refused"] == 1 and status["waits_for"] is None, f"{status}")


@case(repeat=0)
def ctl_offer_of_host(t):
    """A plain host device has asked nothing, and says so."""
    path = begin(t)
    client = Client(t, path)
    t.works(*t.pair())
    client.say(b'{"execute": "query-offer"}')
    client.fails("GenericError")
    one_line(*command("ctl", path, "offer"), "offer")


@case(repeat=0)
def ctl_id(t):
    """An id of any kind comes back, in errors too."""
    client = Client(t, begin(t))
    for number in (1, "a", None, [1, {"b": []}], {"x": 2.5}, True, -2**63, "\u00e4\u20ac", ""):
        for name in ("query-version", "frob"):
            answer = client.ask(name, id=number)
            check(answer.get("id", "none") == number, f"{answer} for {number!r}")
    check("id" not in client.ask("query-version"), "an id from nowhere")


@case({"one_segment": {"size": 10**6}, "byte_by_byte": {"size": 1}, "threes": {"size": 3}},
      repeat=0)
def ctl_pieces(t, size):
    """Commands end where their JSON ends, however they are cut and whatever stands between."""
    client = Client(t, begin(t))
    data = b'\n {"execute":"query-version","id":0}{"execute":"frob"\r\n,"id":1}\t\r\n' \
           b'{"execute" : "query-commands", "id":2, "arguments":{"a":"}{"}}  {"id":3,"execute":"x"}'
    for at in range(0, len(data), size):
        client.say(data[at:at + size])
    found = [client.hear() for _ in range(4)]
    check([answer["id"] for answer in found] == [0, 1, 2, 3], f"{found}")
    check(["return" in answer for answer in found] == [True, False, True, False], f"{found}")


@case({"escape": {"word": r'"\u00e4\n"'}, "utf8": {"word": '"\u20ac"'}, "literal": {"word": "true"},
       "number": {"word": "-1.5e3"}}, repeat=0)
def ctl_pieces_of_words(t, word):
    """A segment may end anywhere, also inside a word."""
    path = begin(t)
    data = f'{{"execute":"query-version","id":{word}}}\r\n'.encode()
    for at in range(1, len(data)):
        client = Client(t, path)
        client.say(data[:at])
        time.sleep(0.002)
        client.say(data[at:])
        check("return" in client.hear(), f"not taken when cut behind {data[:at][-8:]}")
        client.sock.close()


GARBAGE = {"word": b"nonsense\r\n", "number": b"5 ", "brace": b"}",
           "html": b"GET / HTTP/1.1\r\n\r\n",
           "binary": bytes(range(1, 256)), "utf8": b'{"execute": "\xff\xfe"}',
           "vhost_user": wire.message(Front.GET_FEATURES), "quotes": b"{'execute': 'quit'}",
           "deep": b"[" * 60000, "nul": b'{"execute": "a\\u0000b"}'}


@case({name: {"data": data} for name, data in GARBAGE.items()}, repeat=0)
def ctl_garbage(t, data):
    """What is no JSON is told so and closed; the device and other clients go on."""
    path = begin(t)
    front, back = t.pair()
    other, client = Client(t, path), Client(t, path)
    client.say(data)
    client.fails("not JSON")
    check(client.hear() is None, "not closed")
    check("life" in other.value("query-status"), "another client was lost")
    t.works(front, back)


@case(repeat=0)
def ctl_long_line(t):
    """A command below 64 KiB is read, one above is cut off without an answer."""
    path = begin(t)
    client = Client(t, path)
    client.say(b'{"execute": "query-version", "id": "' + b"x" * 60000 + b'"}')
    check(len(client.hear()["id"]) == 60000, "not answered")
    for begins, padding in ((b'{"execute": "', b"x"), (b'{"execute": ', b" ")):
        client = Client(t, path)
        client.say(begins)
        while client.say(padding * 1000):
            pass
        check(client.hear() is None, "answered")
    check("life" in Client(t, path).value("query-status"), "not served afterwards")


@case(repeat=0)
def ctl_many_clients(t):
    """Sixteen are served, the others closed at once; a place becomes free when one leaves."""
    path = begin(t)
    front, back = t.pair()
    clients = [Client(t, path) for _ in range(16)]
    for _ in range(3):
        check(Client(t, path, greeted=False).hear() is None, "a seventeenth is greeted")
    for client in clients:
        check("life" in client.value("query-status"), "not served")
    t.works(front, back)
    for client in clients[:3]:
        client.sock.close()
    until(lambda: len(t.shim.fds()) <= len(t.shim.idle) + 15, "places to become free")
    check(all(Client(t, path).value("query-version") for _ in range(3)), "not served")
    for client in clients[3:]:
        client.say(b'{"execute": "que')


@case(repeat=0, slow=True)
def ctl_never_reads(t):
    """The answers of a client that does not read pile up until it is cut off; memory is bounded,
    and no message waits for it."""
    path = begin(t)
    front, back = t.pair()
    t.works(front, back)
    before = t.shim.rss()
    clients = [Client(t, path) for _ in range(2)]
    over = threading.Event()

    def talk(client):
        while client.say(b'{"execute": "query-state"}' * 500):
            pass
        over.set()
    for client in clients:
        threading.Thread(target=talk, args=(client,), daemon=True).start()
    slowest, end = 0, time.monotonic() + 4 * PATIENCE
    while not over.is_set() and time.monotonic() < end:
        moment = time.monotonic()
        t.works(front, back)
        slowest = max(slowest, time.monotonic() - moment)
    check(over.is_set(), "never cut off")
    check(t.shim.rss() - before < 32 << 20, f"{t.shim.rss() - before} bytes more")
    check(slowest < 0.3 * SLOW, f"a message waited {slowest:.2f} s")
    check("life" in Client(t, path).value("query-status"), "not served afterwards")


@case(repeat=0)
def ctl_files(t):
    """Mode 0600 whatever the umask; socket and lock go at the end; a second one is refused."""
    before = os.umask(0)
    try:
        path = begin(t)
    finally:
        os.umask(before)
    check(stat.S_IMODE(os.stat(path).st_mode) == 0o600, oct(os.stat(path).st_mode))
    check(stat.S_IMODE(os.stat(t.ends["front"][2]).st_mode) != 0o600, "of the other sockets too")
    words = ["run", "--front", t.path("f"), "--back", t.path("b"), "--control", path]
    one_line(*command(*words), words)
    check(not os.path.exists(t.path("f")), "a socket of the one that did not start")
    check(ctl(path, "status"), "it took the path away")
    t.shim.process.terminate()
    check(t.shim.wait() == 0, "exit status")
    left = [name for name in os.listdir(t.dir) if name.startswith(("ctl", "front"))]
    check(not left, f"files stay: {left}")
    t.shims.clear()


@case({"client": {"by_ctl": False}, "ctl": {"by_ctl": True}}, repeat=0)
def ctl_quit(t, by_ctl):
    """quit ends it as SIGTERM does, and is answered."""
    path = begin(t)
    front, back = t.pair()
    t.works(front, back)
    t.links.clear()
    other = Client(t, path)
    if by_ctl:
        ctl(path, "quit")
    else:
        client = Client(t, path)
        check(client.ask("quit", id=1) == {"return": {}, "id": 1}, "not answered")
        check(client.hear() is None, "not closed")
    check(t.shim.wait() == 0, f"exit status {t.shim.process.returncode}")
    front.ended()
    back.ended()
    check(other.hear() is None, "another client stays")
    check(not [name for name in os.listdir(t.dir) if name.startswith("ctl")], "files stay")
    t.shim.stop()
    t.shims.clear()


def ring(index, num, enabled, started):
    return {"index": index, "num": num, "enabled": enabled, "started": started}


@case()
def ctl_state_follows(t):
    """The state is what the front-end has said so far; with the life it is gone."""
    path = begin(t, NET)
    client = Client(t, path)
    front, back = set_up(t)
    state = client.value("query-state")
    check(int(state["features_acked_bits"], 16) == ACKED and "mrg_rxbuf" in
          state["features_acked"] and len(state["features_acked"]) == 5, f"{state}")
    check(int(state["protocol_features_acked_bits"], 16) == BACK.protocol, f"{state}")
    check(state["rings"] == [ring(0, 256, True, True), ring(3, 128, False, True),
                             ring(4, 64, True, False)], f"{state['rings']}")
    check(state["memory_regions"] == 2 and state["life"] == "running", f"{state}")
    t.ask(front, back, Front.GET_VRING_BASE, wire.state(0), wire.state(0, 5))
    t.tell(front, back, Front.SET_VRING_NUM, wire.state(3, 32))
    t.tell(front, back, Front.SET_VRING_ENABLE, wire.state(4, 0))
    t.tell(front, back, Front.ADD_MEM_REG, wire.single_region(7), [t.memfd()])
    t.tell(front, back, Front.SET_FEATURES, u64(bits(32)))
    state = client.value("query-state")
    check(state["rings"] == [ring(0, 256, True, False), ring(3, 32, False, True),
                             ring(4, 64, False, False)], f"{state['rings']}")
    check(state["memory_regions"] == 3 and state["features_acked"] == ["version_1"], f"{state}")
    t.tell(front, back, Front.REM_MEM_REG, wire.single_region(1))
    check(client.value("query-state")["memory_regions"] == 2, "a region that was removed")
    t.tell(front, back, Front.SET_MEM_TABLE, wire.mem_table(1), [t.memfd()])
    check(client.value("query-state")["memory_regions"] == 1, "not what the table says")
    front.close()
    back.ended()
    back.close()
    state = until(lambda: client.value("query-state") if
                  client.value("query-status")["life"] == "idle" else None, "the end of this life")
    check(not state["rings"] and not state["features_acked"] and not state["memory_regions"],
          f"{state}")


@case(repeat=0)
def ctl_program(t):
    """`vushim ctl` as text and as JSON; an error is one line and 2."""
    path = begin(t, NET)
    set_up(t)
    client = Client(t, path)
    for word in ("status", "state", "offer"):
        value = client.value(f"query-{word}")
        check(json.loads(ctl(path, word, "--json")) == value, f"{word} differs")
        lines = ctl(path, word).splitlines()
        check([line.split()[0] for line in lines] == list(value), f"{word}: {lines}")
    check("version_1" in ctl(path, "state") and "running" in ctl(path, "status"), "no words")
    check(json.loads(ctl(path, "query-commands")), "any other word")
    silent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    t.kept.append(silent)
    silent.bind(t.path("silent"))
    silent.listen(1)
    threading.Thread(target=answer_badly, args=(silent,), daemon=True).start()
    for words in ([], [path], [path, "frob"], [path, "st atus"], [path, '"'], [path, ""],
                  [path, "status", "x"], [t.path("nobody"), "status"], ["x" * 200, "status"],
                  ["", "status"], ["/dev/null", "status"], [t.dir, "status"],
                  [t.path("silent"), "status"], [path, "x" * 5000], [path, "status", "--frob"]):
        one_line(*command("ctl", *words), words)


def answer_badly(listener):
    peer, _ = listener.accept()
    peer.sendall(b"220 mail ready\r\n")
    peer.close()


@case(repeat=0)
def ctl_detached(t):
    """While the front-end is served from the profile, its state can be seen; the interface is the
    profile's own."""
    profile = NET + ",protocol.reply_ack=on,protocol.mq=on"
    path = t.path("ctl")
    t.start(profile, back="listen", extra=("--start", "detached", "--control", path))
    client = Client(t, path)
    front = t.front()
    for request, payload, fds in ((Front.SET_FEATURES, u64(ACKED), 0),
                                  (Front.SET_VRING_NUM, wire.state(2, 64), 0),
                                  (Front.SET_VRING_KICK, u64(2), 1),
                                  (Front.SET_MEM_TABLE, wire.mem_table(2), 2),
                                  (Front.GET_FEATURES, b"", 0)):
        front.send(request, payload, fds=[t.memfd() for _ in range(fds)], lost=True)
    front.expect(Front.GET_FEATURES, own=True)
    client.say(b'{"execute": "query-offer"}')
    client.fails("GenericError")
    state = client.value("query-state")
    check(int(state["features_acked_bits"], 16) == ACKED and state["memory_regions"] == 2 and
          state["rings"] == [ring(2, 64, False, True)], f"{state}")
    shown = json.loads(command("profile", "show", profile, "--json")[1])
    for key in ("spec", "digest"):
        check(state[key] == shown[key], f"{key}: {state[key]} instead of {shown[key]}")
