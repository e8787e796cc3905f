#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes manual pages from doc/*.scd.

    doc/pages.py VUSHIM DOC_TABLES PAGE.scd OUT      PAGE as roff in OUT, for man

A line of a page that is only a placeholder is replaced by what the program itself says:

    @version@                the version (also inside a line)
    @commands@               the commands and their summaries, from `vushim help`
    @usage COMMAND@          the synopsis, from `vushim COMMAND --help`
    @option COMMAND NAME@    an option, its value and its help text, likewise
    @ending NAME@            an ending of a connection, its level and its text, from doc_tables
    @table NAME [DEVICE]@    a table that doc_tables prints, in columns
    @matrix KIND [FAMILY]@   what releases can serve, as matrix.py prints it

doc/check says what a page has left out.
"""
import os
import re
import subprocess
import sys

import matrix

PLACEHOLDER = re.compile(r"@([a-z]+)((?: [\w.-]+)*)@")
OPTION = re.compile(r"  --(\S+)(?: (\S+))?\s+(.*)")
TABLE_WIDTH = 69    # what is left of 80 columns in a block of plain text
COMMAND = re.compile(r"  ([a-z]+)\s+(.*)")


class PageError(Exception):
    pass


def run(*argv):
    p = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if p.returncode or p.stderr:
        raise PageError(f"{' '.join(argv)}: status {p.returncode}: {p.stderr.strip()}")
    return p.stdout


def sentence(text):
    """A help text as it stands in running text, safe from scdoc's own signs."""
    text = text[:1].upper() + text[1:].rstrip(".") + "."
    return re.sub(r"([*\\])", r"\\\1", text)


def value_words(words):
    """What stands for the user's values is underlined, alternatives are not."""
    return re.sub(r"\b[A-Z]{2,}\b", lambda m: f"_{m[0]}_", words)


class Program:
    """What vushim and doc_tables say, asked once."""

    def __init__(self, vushim, tables):
        self.vushim = vushim
        self.tables = tables
        self.helps = {}

    def version(self):
        return run(self.vushim, "--version").split()[1]

    def help(self, command):
        if command not in self.helps:
            self.helps[command] = run(self.vushim, command, "--help")
        return self.helps[command]

    def commands(self):
        return [m.groups() for m in map(COMMAND.fullmatch, run(self.vushim, "help").splitlines())
                if m]

    def options(self, command):
        """{name: (value or None, help text)}, without --help, which every command has."""
        found = [OPTION.fullmatch(line) for line in self.help(command).splitlines()]
        return {m[1]: (m[2], m[3]) for m in found if m and m[1] != "help"}

    def endings(self):
        """{name: (level, text)}"""
        rows = [line.split("\t") for line in run(self.tables, "endings").splitlines()[1:]]
        return {row[0]: row[1:] for row in rows}

    def usage(self, command):
        words = self.help(command).splitlines()[0].split()[2:]
        shown = []
        for word in words:
            if word == "[OPTIONS]":
                shown.append("[_OPTIONS_]")
            elif word.isupper():
                shown.append(f"_{word}_")
            else:
                shown.append(f"*{word}*")
        return "*vushim* " + " ".join(shown)


def table_lines(program, *words):
    """In columns of plain text: names stay whole and can be searched for, as in no troff table."""
    rows = [line.split("\t") for line in run(program.tables, *words).splitlines()]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    wide = [line for line in lines if len(line) > TABLE_WIDTH]
    if wide:
        raise PageError(f"table {' '.join(words)}: wider than {TABLE_WIDTH}: {wide[0]}")
    return ["```", lines[0], "-" * max(map(len, lines)), *lines[1:], "```"]


def ending_lines(program, name):
    level, text = program.endings()[name]
    return [f"*{name}* ({level})", "\t" + sentence(text)]


def option_lines(program, command, name):
    value, text = program.options(command)[name]
    return [f"*--{name}*" + (f" {value_words(value)}" if value else ""), "\t" + sentence(text)]


def command_lines(program):
    lines = []
    for name, summary in program.commands():
        lines += [f"*{name}*", "\t" + sentence(summary), ""]
    return lines[:-1]


def replace(program, name, words):
    """The lines that a placeholder stands for."""
    try:
        if name == "commands":
            return command_lines(program)
        if name == "usage":
            return [program.usage(*words)]
        if name == "option":
            return option_lines(program, *words)
        if name == "ending":
            return ending_lines(program, *words)
        if name == "table":
            return table_lines(program, *words)
        if name == "matrix":
            return ["```", *matrix.lines_of(program.vushim, *words), "```"]
    except matrix.MatrixError as error:
        raise PageError(str(error)) from None
    except (KeyError, TypeError):   # no such name, or the wrong number of words
        pass
    raise PageError(f"placeholder @{' '.join([name, *words])}@ names nothing")


def expand(program, source):
    """The page as scdoc takes it."""
    lines = []
    for line in source.replace("@version@", program.version()).split("\n"):
        m = PLACEHOLDER.fullmatch(line)
        lines += replace(program, m[1], m[2].split()) if m else [line]
    return "\n".join(lines)


def to_roff(page):
    p = subprocess.run(["scdoc"], input=page, capture_output=True, text=True)
    if p.returncode or p.stderr:
        raise PageError(f"scdoc: {p.stderr.strip()}")
    return p.stdout


def main(argv):
    if len(argv) != 4:
        sys.exit(__doc__.strip())
    vushim, tables, source, out = argv
    try:
        with open(source, encoding="utf-8") as f:
            roff = to_roff(expand(Program(vushim, tables), f.read()))
    except (PageError, OSError) as error:
        sys.exit(f"{os.path.basename(source)}: {error}")
    with open(out, "w", encoding="utf-8") as f:
        f.write(roff)


if __name__ == "__main__":
    main(sys.argv[1:])
