/* SPDX-License-Identifier: MIT
 *
 * Runs the tests of one file, each in a process of its own: with a time limit, with the same
 * descriptors open afterwards as before, and without its crash ending the others. Prints one line a
 * test: "PASS suite.name", "FAIL suite.name: why", "SKIP suite.name: reason"; lines that a test
 * begins with "# " are shown whatever comes of it. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct unit_test {
    const char *name;
    void (*run)(void **state);
};

#define UNIT(name)                                                                                 \
    {                                                                                              \
#name, name                                                                                \
    }
#define UNIT_MAIN(suite, tests)                                                                    \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return unit_main(suite, tests, sizeof(tests) / sizeof((tests)[0]), argc, argv);            \
    }

/* Runs the tests whose name contains argv[1], all without one. 0: none failed. */
int unit_main(const char *suite, const struct unit_test *tests, size_t n, int argc, char **argv);

/* Leaves the test: what it needs is not here. With CI=true that is a failure. */
__attribute__((format(printf, 1, 2), noreturn)) void unit_skip(const char *format, ...);

/* Fails with words, where a comparison would only show two numbers. */
#define unit_fail(...)                                                                             \
    do {                                                                                           \
        unit_say_why(__VA_ARGS__);                                                                 \
        fail();                                                                                    \
    } while (0)
#define unit_check(condition, ...)                                                                 \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            unit_fail(__VA_ARGS__);                                                                \
        }                                                                                          \
    } while (0)
__attribute__((format(printf, 1, 2))) void unit_say_why(const char *format, ...);

/* Catches what is written to descriptor `fd` (1 or 2) from begin to end. */
void unit_capture_begin(int fd);
void unit_capture_end(char *buf, size_t len);

/* Descriptors that this process has open. */
size_t unit_open_fds(void);
