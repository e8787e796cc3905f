#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Which release's offer can serve which shipped version.

    doc/matrix.py VUSHIM                  everything
    doc/matrix.py VUSHIM served FAMILY    rows: offers; columns: versions
    doc/matrix.py VUSHIM pairs FAMILY     the newest version that two releases both can serve
    doc/matrix.py VUSHIM missing FAMILY   what each release lacks for what it cannot serve
    doc/matrix.py VUSHIM offers           what the rows are

The offers are tests/profiles/offers/*.json, in what `vushim probe --json` writes; all answers are
vushim's. doc/pages.py puts these tables into manual pages.
"""
import json
import os
import re
import subprocess
import sys
import textwrap

HERE = os.path.dirname(os.path.abspath(__file__))
OFFERS = os.path.join(HERE, "..", "tests", "profiles", "offers")
WIDTH = 69
# Which offers are releases of which family.
PREFIX = {"org.dpdk": "dpdk-", "org.openvswitch": "ovs-"}


class MatrixError(Exception):
    pass


def natural(name):
    return [int(word) if word.isdigit() else word for word in re.split(r"(\d+)", name)]


def offer_names():
    return sorted((name.removesuffix(".json") for name in os.listdir(OFFERS)
                   if name.endswith(".json")), key=natural)


def offer_path(name):
    return os.path.join(OFFERS, name + ".json")


def ask(vushim, *words):
    """JSON of a question that has yes and no for an answer."""
    p = subprocess.run([vushim, *words, "--json"], capture_output=True, text=True,
                       stdin=subprocess.DEVNULL)
    if p.returncode not in (0, 1) or p.stderr:
        raise MatrixError(f"{' '.join(words)}: status {p.returncode}: {p.stderr.strip()}")
    return json.loads(p.stdout)


def versions(vushim, family):
    return ask(vushim, "versions", "--family", family)["supported"]


def short(family, version):
    """"22.11" of "org.dpdk.v22.11"."""
    return version.removeprefix(f"{family}.v")


def served(vushim, family):
    """{offer: [can it serve this version, for each version]}"""
    rows = {}
    for name in offer_names():
        able = ask(vushim, "versions", "--family", family, "--offer", offer_path(name))
        rows[name] = [version in able["supported"] for version in versions(vushim, family)]
    return rows


# ---- layout ----

def stacked(names):
    """Names in narrow columns: "22.11" in two lines, "2.13-tso" in three."""
    parts = [re.findall(r"^\d+|\.[\d.]+|-\w+|none", name) for name in names]
    height = max(map(len, parts))
    return [[part[n] if n < len(part) else "" for part in parts] for n in range(height)]


def laid_out(head, rows):
    """Lines of columns; rows and head are [first cell, more cells...]."""
    widths = [max(map(len, column)) for column in zip(*head, *rows)]
    lines = [" ".join(map(str.ljust, row, widths)).rstrip() for row in (*head, *rows)]
    lines.insert(len(head), "-" * max(map(len, lines)))
    if max(map(len, lines)) > WIDTH:
        raise MatrixError(f"wider than {WIDTH}: {max(lines, key=len)}")
    return lines


def served_lines(vushim, family):
    head = [["", *line] for line in
            stacked([short(family, v) for v in versions(vushim, family)])]
    head[-1][0] = "offer"
    return laid_out(head, [[name, *("yes" if able else "-" for able in marks)]
                           for name, marks in served(vushim, family).items()])


def own_offers(family):
    return [name for name in offer_names() if name.startswith(PREFIX[family])]


def pairs_lines(vushim, family):
    """Only half of it: a pair is the same both ways."""
    names = own_offers(family)
    release = [name.removeprefix(PREFIX[family]) for name in names]
    lines = []
    for n, a in enumerate(names):
        cells = []
        for b in names[:n + 1]:
            newest = ask(vushim, "profile", "baseline", offer_path(a), offer_path(b), "--family",
                         family)["version"]
            cells.append(short(family, newest) if newest else "none")
        cells += [""] * (len(names) - n - 1)
        lines += [[release[n] if k == 0 else "", *line] for k, line in enumerate(stacked(cells))]
    head = [["", *line] for line in stacked(release)]
    return laid_out(head, lines)


def gap_text(answer):
    """What is missing, in the words of spec strings."""
    words = list(answer["missing_features"])
    words += [f"protocol.{name}" for name in answer["missing_protocol_features"]]
    words += [f"{limit} {both['wanted']} (has {both['offered']})"
              for limit, both in answer["limits"].items()]
    return ", ".join(words)


def missing_lines(vushim, family):
    lines = []
    for name in own_offers(family):
        gaps = {}
        for version in versions(vushim, family):
            answer = ask(vushim, "check", version, "--offer", offer_path(name))
            if not answer["compatible"]:
                gaps.setdefault(gap_text(answer), []).append(short(family, version))
        lines.append(name + ("" if gaps else ": serves all"))
        for gap, names in gaps.items():
            lines += textwrap.wrap(f"{', '.join(names)}: {gap}", WIDTH - 2,
                                   initial_indent="  ", subsequent_indent="      ")
    return lines


def offers_lines():
    rows = []
    for name in offer_names():
        with open(offer_path(name), encoding="utf-8") as f:
            one = json.load(f)
        bits = [one["features_bits"], one["protocol_features_bits"]]
        for line in textwrap.wrap(one["back_end"], WIDTH - 36):
            rows.append([name, *bits, line])
            name, bits = "", ["", ""]
    return laid_out([["offer", "features", "protocol", "what it is"]], rows)


KINDS = {"served": served_lines, "pairs": pairs_lines, "missing": missing_lines}


def lines_of(vushim, kind, family=None):
    """The lines of a table; KeyError and TypeError for one that there is not."""
    return offers_lines() if kind == "offers" and not family else KINDS[kind](vushim, family)


def main(argv):
    if len(argv) < 2 or {"-h", "--help"} & set(argv):
        sys.exit(__doc__.strip())
    wanted = [argv[2:]] if argv[2:] else [["offers"], *([kind, family] for kind in KINDS
                                                        for family in PREFIX)]
    try:
        for n, words in enumerate(wanted):
            title = [f"{' '.join(words)}:", ""] if len(wanted) > 1 else []
            print("\n".join([*([""] if n else []), *title, *lines_of(argv[1], *words)]))
    except (MatrixError, KeyError, TypeError, OSError) as error:
        sys.exit(f"matrix: {' '.join(words)}: {error}")


if __name__ == "__main__":
    main(sys.argv)
