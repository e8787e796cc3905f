# SPDX-License-Identifier: MIT
"""Command lines and spec strings: the wrong ones end with 2 and one clear line."""
import json

from harness import case
from peers import check
from shim import command


def one_line(status, out, err, arguments):
    lines = err.splitlines()
    check(status == 2, f"exit status {status} for {arguments}: {err}")
    check(len(lines) == 1, f"{len(lines)} lines for {arguments}: {err}")
    check(lines[0].startswith("vushim: ") and len(lines[0]) > 20, f"not clear: {lines[0]}")
    check(out == "", f"output beside the error for {arguments}: {out}")
    return lines[0]


RUN = ["run", "--front", "/tmp/vushim-none/f", "--back", "/tmp/vushim-none/b"]

WRONG = {
    "nothing": [],
    "unknown_command": ["runn"],
    "unknown_option": [*RUN, "--frobnicate"],
    "nearly_an_option": [*RUN, "--profil", "host"],
    "no_front": ["run", "--back", "/tmp/b"],
    "no_back": ["run", "--front", "/tmp/f"],
    "no_endpoints": ["run"],
    "front_without_value": ["run", "--back", "/tmp/b", "--front"],
    "empty_front": ["run", "--front", "", "--back", "/tmp/b"],
    "empty_path": ["run", "--front", "listen:", "--back", "/tmp/b"],
    "fd_not_a_number": ["run", "--front", "fd:x", "--back", "/tmp/b"],
    "fd_negative": ["run", "--front", "fd:-1", "--back", "/tmp/b"],
    "fd_with_rest": ["run", "--front", "fd:3x", "--back", "/tmp/b"],
    "fd_huge": ["run", "--front", "fd:99999999999999999999", "--back", "/tmp/b"],
    "positional": [*RUN, "surplus"],
    "wait_word": [*RUN, "--wait", "soon"],
    "wait_negative": [*RUN, "--wait", "-1"],
    "wait_empty": [*RUN, "--wait", ""],
    "wait_unit": [*RUN, "--wait", "5s"],
    "wait_nan": [*RUN, "--wait", "nan"],
    "slow_word": [*RUN, "--answer-within", "x"],
    "channel_word": [*RUN, "--channel-answer-within", "x"],
    "log_level": [*RUN, "--log-level", "loud"],
    "name_newline": [*RUN, "--name", "a\nb"],
    "name_empty": [*RUN, "--name", ""],
    "profile_empty": [*RUN, "--profile", ""],
    "profile_unknown": [*RUN, "--profile", "org.nobody.v1"],
    "same_path": ["run", "--front", "listen:/tmp/vc.x", "--back", "listen:/tmp/vc.x"],
    "probe_nothing": ["probe"],
    "probe_two": ["probe", "/tmp/a", "/tmp/b"],
    "probe_device": ["probe", "/tmp/vushim-none", "--device", "toaster"],
    "profile_nothing": ["profile"],
    "profile_unknown_verb": ["profile", "frob"],
    "profile_show_nothing": ["profile", "show"],
}


@case({name: {"arguments": arguments} for name, arguments in WRONG.items()}, repeat=0)
def wrong_command_line(_t, arguments):
    """Each ends at once with 2 and one line that starts with `vushim: `."""
    one_line(*command(*arguments), arguments)


SPECS = {
    "typing_error": ("mrg_rxbf=on", "mrg_rxbuf"),
    "unknown": ("frobnicate=on", "frobnicate"),
    "no_value": ("mq", "mq"),
    "wrong_value": ("mq=maybe", "maybe"),
    "twice": ("mq=on,mq=off", "mq"),
    "empty_word": ("mq=on,,csum=on", ""),
    "trailing_comma": ("mq=on,", ""),
    "queues_zero": ("queues=0", "0"),
    "queues_word": ("queues=many", "many"),
    "queues_huge": ("queues=99999999999999999999999", ""),
    "queues_negative": ("queues=-1", "-1"),
    "ring_not_a_power": ("max_ring=300", "300"),
    "ring_huge": ("max_ring=65536", "65536"),
    "slots_zero": ("mem_slots=0", "0"),
    "device": ("device=toaster", "toaster"),
    "not_of_device": ("device=blk,mrg_rxbuf=on", "mrg_rxbuf"),
    "mixed_devices": ("mrg_rxbuf=on,seg_max=on", ""),
    "protocol": ("protocol.reply_ak=off", "protocol.reply_ack"),
    "protocol_front": ("protocol.mq=front", "front"),
    "layout_front": ("packed=front", "front"),
    "vhost_bit": ("log_all=on", "log_all"),
    "config_field": ("device=blk,config.seg_mx=3", "config.seg_max"),
    "config_word": ("device=blk,config.seg_max=many", "many"),
    "config_too_large": ("device=blk,config.num_queues=65536", "65536"),
    "config_text": ("device=net,config.mac=1", "mac"),
    "contradiction": ("device=net,mq=on,ctrl_vq=on,protocol.mq=off", "mq"),
    "host_later": ("mq=off,host", "host"),
    "case": ("host,MQ=off,mqq=off", ""),
    "space": ("host, mq=off", ""),
    "percent": ("%s%n=on", ""),
    "long": ("x" * 5000 + "=on", ""),
}


@case({name: {"spec": spec, "word": word} for name, (spec, word) in SPECS.items()}, repeat=0)
def wrong_spec(_t, spec, word):
    """A spec string's error points at the word, and at the nearest name; in every command."""
    for arguments in (["profile", "show", spec], [*RUN, "--profile", spec]):
        line = one_line(*command(*arguments), arguments)
        check(word in line, f"'{word}' is not in: {line}")


@case({"version": {"arguments": ["--version"]}, "help": {"arguments": ["help"]},
       "run": {"arguments": ["run", "--help"]}, "probe": {"arguments": ["probe", "--help"]},
       "profile": {"arguments": ["profile", "--help"]}}, repeat=0, slow=True)
def help_and_version(_t, arguments):
    """What was asked for goes to standard output, with 0."""
    status, out, err = command(*arguments)
    check(status == 0 and out and not err, f"status {status}, {err}{out}")


@case(repeat=0, slow=True)
def canonical_form(_t):
    """Two spec strings mean the same exactly when their canonical forms and digests are equal."""
    same = ("csum=on,mrg_rxbuf=on,version_1=on,max_ring=256,queues=2",
            "queues=2,max_ring=0x100,version_1=on,mrg_rxbuf=on,csum=on,mq=off",
            "device=net,csum=on,version_1=on,mrg_rxbuf=on,queues=2,max_ring=256")
    found = set()
    for spec in same:
        status, out, err = command("profile", "show", spec, "--json")
        check(status == 0, f"{spec}: {err}")
        value = json.loads(out)
        check("spec" in value and "digest" in value, f"not there: {out}")
        found.add((value["spec"], value["digest"]))
    check(len(found) == 1, f"one meaning, several forms: {found}")
    canonical = found.pop()[0]
    status, out, _ = command("profile", "show", canonical, "--json")
    check(status == 0 and json.loads(out)["spec"] == canonical, "not a fixed point")


@case(repeat=0)
def probe_nobody(t):
    """Nobody there: an error, not a no."""
    one_line(*command("probe", t.path("nobody"), "--timeout", "1"), "probe")
