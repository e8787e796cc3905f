/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int usage_error(const char *format, ...)
{
    char line[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    for (char *c = line; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = '?'; /* words are the user's, and the line stays one */
        }
    }
    fprintf(stderr, "vushim: %s\n", line);
    return 2;
}

static void print_help(const struct command *command, const struct option_row *rows, size_t n_rows)
{
    printf("usage: vushim %s%s%s%s\n\n%s\n\n", command->name, command->usage[0] != '\0' ? " " : "",
           command->usage, n_rows > 0 ? " [OPTIONS]" : "", command->summary);
    for (size_t i = 0; i < n_rows; i++) {
        char left[64];
        snprintf(left, sizeof(left), "--%s%s%s", rows[i].name, rows[i].argument != NULL ? " " : "",
                 rows[i].argument != NULL ? rows[i].argument : "");
        printf("  %-34s %s\n", left, rows[i].help);
    }
    printf("  %-34s %s\n", "--help", "this text");
    if (command->notes != NULL) {
        printf("\n%s\n", command->notes);
    }
}

static const struct option_row *find_row(const struct option_row *rows, size_t n_rows,
                                         const char *name, size_t len)
{
    for (size_t i = 0; i < n_rows; i++) {
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

static bool set_seconds(const struct option_row *row, const char *value)
{
    char *end = NULL;
    double *to = row->to;
    if (row->forever && strcmp(value, "forever") == 0) {
        *to = -1;
        return true;
    }
    errno = 0;
    double seconds = strtod(value, &end);
    if (errno != 0 || end == value || *end != '\0' || !isfinite(seconds) || seconds < 0 ||
        seconds > 1e6) {
        return false;
    }
    *to = seconds;
    return true;
}

/* Digits and one of K, M, G, T. */
static bool set_size(const struct option_row *row, const char *value)
{
    static const char units[] = "KMGT";
    char *end = NULL;
    errno = 0;
    unsigned long long n = strtoull(value, &end, 10);
    const char *unit = *end != '\0' ? strchr(units, *end & ~0x20) : NULL;
    unsigned shift = unit != NULL ? 10 * (unsigned)(unit - units + 1) : 0;
    bool ends = *end == '\0' || (unit != NULL && end[1] == '\0');
    if (errno != 0 || value[0] < '0' || value[0] > '9' || !ends || n > UINT64_MAX >> shift) {
        return false;
    }
    *(uint64_t *)row->to = (uint64_t)n << shift;
    return true;
}

static bool set_count(const struct option_row *row, const char *value)
{
    char *end = NULL;
    errno = 0;
    unsigned long n = strtoul(value, &end, 10);
    if (errno != 0 || value[0] < '0' || value[0] > '9' || *end != '\0' || n == 0 || n > UINT_MAX) {
        return false;
    }
    *(unsigned *)row->to = (unsigned)n;
    return true;
}

static bool set_option(const struct command *command, const struct option_row *row,
                       const char *value)
{
    switch (row->kind) {
    case OPTION_FLAG:
        *(bool *)row->to = true;
        return true;
    case OPTION_TEXT:
        *(const char **)row->to = value;
        return true;
    case OPTION_SIZE:
        if (!set_size(row, value)) {
            usage_error("%s: --%s %s: not a size (bytes, or a number with K, M, G)", command->name,
                        row->name, value);
            return false;
        }
        return true;
    case OPTION_COUNT:
        if (!set_count(row, value)) {
            usage_error("%s: --%s %s: not a number from 1 on", command->name, row->name, value);
            return false;
        }
        return true;
    case OPTION_SECONDS:
        if (!set_seconds(row, value)) {
            usage_error("%s: --%s %s: not a number of seconds%s", command->name, row->name, value,
                        row->forever ? " (or forever)" : "");
            return false;
        }
        return true;
    }
    return false;
}

/* One option at argv[*i]; moves *i over its value. */
static bool parse_option(const struct command *command, const struct option_row *rows,
                         size_t n_rows, int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2;
    size_t len = strcspn(name, "=");
    const struct option_row *row = find_row(rows, n_rows, name, len);
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    if (row == NULL) {
        usage_error("%s: unknown option --%.*s (see vushim %s --help)", command->name, (int)len,
                    name, command->name);
        return false;
    }
    if (row->kind == OPTION_FLAG) {
        if (value != NULL) {
            usage_error("%s: --%s takes no value", command->name, row->name);
            return false;
        }
        return set_option(command, row, NULL);
    }
    if (value == NULL && *i + 1 < argc) {
        value = argv[++*i];
    }
    if (value == NULL) {
        usage_error("%s: --%s needs a value: %s", command->name, row->name, row->argument);
        return false;
    }
    return set_option(command, row, value);
}

enum options_result options_parse(const struct command *command, const struct option_row *rows,
                                  size_t n_rows, int argc, char **argv, const char **ret_words,
                                  size_t max_words, size_t *ret_n_words)
{
    bool only_words = false;
    size_t n = 0;
    for (int i = 0; i < argc; i++) {
        if (!only_words && strcmp(argv[i], "--") == 0) {
            only_words = true;
        } else if (!only_words && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            print_help(command, rows, n_rows);
            return OPTIONS_HELP;
        } else if (!only_words && strncmp(argv[i], "--", 2) == 0) {
            if (!parse_option(command, rows, n_rows, argc, argv, &i)) {
                return OPTIONS_BAD;
            }
        } else if (!only_words && argv[i][0] == '-' && argv[i][1] != '\0') {
            usage_error("%s: unknown option %s (see vushim %s --help)", command->name, argv[i],
                        command->name);
            return OPTIONS_BAD;
        } else if (n == max_words) {
            usage_error("%s: unexpected argument: %s (see vushim %s --help)", command->name,
                        argv[i], command->name);
            return OPTIONS_BAD;
        } else {
            ret_words[n++] = argv[i];
        }
    }
    *ret_n_words = n;
    return OPTIONS_OK;
}
