/* SPDX-License-Identifier: MIT
 *
 * Command lines. One table of options per command: parsing, --help and the manual come from it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum option_kind {
    OPTION_TEXT,    /* to: const char * */
    OPTION_FLAG,    /* to: bool */
    OPTION_SIZE,    /* to: uint64_t, bytes; 64M, 1G as QEMU writes them */
    OPTION_COUNT,   /* to: unsigned, from 1 on */
    OPTION_SECONDS, /* to: double; "forever" is -1 where `forever` says so */
};

struct option_row {
    const char *name;     /* without the dashes */
    const char *argument; /* what --help calls it; NULL for a flag */
    const char *help;
    enum option_kind kind;
    bool forever;
    void *to;
};

struct command {
    const char *name;
    const char *usage; /* positional arguments */
    const char *summary;
    const char *notes; /* printed under the options; may be NULL */
    /* argv without the program's name; exit status */
    int (*run)(const struct command *command, int argc, char **argv);
};

/* Those that end the command are its exit status. */
enum options_result { OPTIONS_OK = -1, OPTIONS_HELP = 0, OPTIONS_BAD = 2 };

/* Options and positional arguments may be mixed; "--" ends options. `ret_words` gets up to
 * `max_words` positional arguments. OPTIONS_HELP: help was printed. OPTIONS_BAD: one line on stderr
 * says what is wrong. */
enum options_result options_parse(const struct command *command, const struct option_row *rows,
                                  size_t n_rows, int argc, char **argv, const char **ret_words,
                                  size_t max_words, size_t *ret_n_words);

/* "vushim: what: why" on stderr; returns 2, the exit status that goes with it. */
__attribute__((format(printf, 1, 2))) int usage_error(const char *format, ...);
