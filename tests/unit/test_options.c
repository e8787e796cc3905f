/* SPDX-License-Identifier: MIT
 *
 * Command lines: what is taken, and the one line that says what is wrong with the rest. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "options.h"
#include "runner.h"

#define MAX_ARGS 8

static const struct command command = { .name = "run", .usage = "WORD", .summary = "Runs." };

static struct {
    const char *front;
    bool json;
    double wait;
    double slow;
    const char *words[2];
    size_t n_words;
} got;

static enum options_result parse(char text[static 2048], const char *const *args)
{
    const struct option_row rows[] = {
        { "front", "EP", "where the front-end is", OPTION_TEXT, false, &got.front },
        { "wait", "SECONDS|forever", "how long", OPTION_SECONDS, true, &got.wait },
        { "answer-within", "SECONDS", "how slow", OPTION_SECONDS, false, &got.slow },
        { "json", NULL, "as JSON", OPTION_FLAG, false, &got.json },
    };
    static char copies[MAX_ARGS][64];
    char *argv[MAX_ARGS + 1];
    int argc = 0;
    for (; args[argc] != NULL; argc++) {
        snprintf(copies[argc], sizeof(copies[argc]), "%s", args[argc]);
        argv[argc] = copies[argc];
    }
    argv[argc] = NULL;
    memset(&got, 0, sizeof(got));
    got.n_words = 77;
    unit_capture_begin(STDERR_FILENO);
    enum options_result result = options_parse(&command, rows, sizeof(rows) / sizeof(rows[0]), argc,
                                               argv, got.words, 2, &got.n_words);
    unit_capture_end(text, 2048);
    return result;
}

#define PARSE(text, ...) parse(text, (const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

static void options_and_words_mix(void **state)
{
    char text[2048];
    (void)state;
    assert_int_equal(PARSE(text, "a", "--front", "x", "--json", "b", "--wait=2.5"), OPTIONS_OK);
    assert_string_equal(got.front, "x");
    assert_true(got.json);
    assert_true(got.wait == 2.5);
    assert_int_equal(got.n_words, 2);
    assert_string_equal(got.words[0], "a");
    assert_string_equal(got.words[1], "b");
    assert_string_equal(text, "");
    assert_int_equal(PARSE(text), OPTIONS_OK);
    assert_int_equal(got.n_words, 0);
}

static void values_may_be_anything(void **state)
{
    char text[2048];
    (void)state;
    assert_int_equal(PARSE(text, "--front="), OPTIONS_OK);
    assert_string_equal(got.front, "");
    assert_int_equal(PARSE(text, "--front=a=b"), OPTIONS_OK);
    assert_string_equal(got.front, "a=b");
    assert_int_equal(PARSE(text, "--front", "--json"), OPTIONS_OK);
    assert_string_equal(got.front, "--json");
    assert_false(got.json);
    assert_int_equal(PARSE(text, "--front", "x", "--front", "y"), OPTIONS_OK);
    assert_string_equal(got.front, "y");
}

static void two_dashes_end_the_options(void **state)
{
    char text[2048];
    (void)state;
    assert_int_equal(PARSE(text, "--", "--json", "--help"), OPTIONS_OK);
    assert_int_equal(got.n_words, 2);
    assert_string_equal(got.words[0], "--json");
    assert_false(got.json);
    assert_int_equal(PARSE(text, "-"), OPTIONS_OK);
    assert_string_equal(got.words[0], "-");
}

static void seconds_are_numbers_or_for_ever(void **state)
{
    static const char *const bad[] = { "", "x", "1x", "-1", "nan", "inf", "1e300", "1e7" };
    char text[2048];
    (void)state;
    assert_int_equal(PARSE(text, "--wait", "forever"), OPTIONS_OK);
    assert_true(got.wait == -1);
    assert_int_equal(PARSE(text, "--wait", "0"), OPTIONS_OK);
    assert_true(got.wait == 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char expected[128];
        snprintf(expected, sizeof(expected),
                 "vushim: run: --wait %s: not a number of seconds (or forever)\n", bad[i]);
        assert_int_equal(PARSE(text, "--wait", bad[i]), OPTIONS_BAD);
        assert_string_equal(text, expected);
    }
    assert_int_equal(PARSE(text, "--answer-within", "forever"), OPTIONS_BAD);
    assert_string_equal(text, "vushim: run: --answer-within forever: not a number of seconds\n");
}

static void mistakes_are_one_line(void **state)
{
    char text[2048];
    (void)state;
    assert_int_equal(PARSE(text, "--frnt", "x"), OPTIONS_BAD);
    assert_string_equal(text, "vushim: run: unknown option --frnt (see vushim run --help)\n");
    assert_int_equal(PARSE(text, "--fron=x"), OPTIONS_BAD);
    assert_string_equal(text, "vushim: run: unknown option --fron (see vushim run --help)\n");
    assert_int_equal(PARSE(text, "-x"), OPTIONS_BAD);
    assert_string_equal(text, "vushim: run: unknown option -x (see vushim run --help)\n");
    assert_int_equal(PARSE(text, "--json=1"), OPTIONS_BAD);
    assert_string_equal(text, "vushim: run: --json takes no value\n");
    assert_int_equal(PARSE(text, "--front"), OPTIONS_BAD);
    assert_string_equal(text, "vushim: run: --front needs a value: EP\n");
    assert_int_equal(PARSE(text, "a", "b", "c"), OPTIONS_BAD);
    assert_string_equal(text, "vushim: run: unexpected argument: c (see vushim run --help)\n");
}

static void help_lists_every_option(void **state)
{
    const struct option_row rows[] = {
        { "front", "EP", "where the front-end is", OPTION_TEXT, false, &got.front },
        { "json", NULL, "as JSON", OPTION_FLAG, false, &got.json },
    };
    char help[] = "--help";
    char bad[] = "--bad";
    char *argv[] = { help, bad };
    char text[2048];
    size_t n;
    (void)state;
    unit_capture_begin(STDOUT_FILENO);
    enum options_result result = options_parse(&command, rows, 2, 2, argv, NULL, 0, &n);
    unit_capture_end(text, sizeof(text));
    assert_int_equal(result, OPTIONS_HELP);
    assert_non_null(strstr(text, "usage: vushim run WORD [OPTIONS]\n"));
    assert_non_null(strstr(text, "--front EP"));
    assert_non_null(strstr(text, "where the front-end is"));
    assert_non_null(strstr(text, "--json "));
    assert_non_null(strstr(text, "--help"));
}

static void usage_errors_exit_with_2(void **state)
{
    char text[2048];
    (void)state;
    unit_capture_begin(STDERR_FILENO);
    int status = usage_error("%s: %d", "what", 5);
    unit_capture_end(text, sizeof(text));
    assert_int_equal(status, 2);
    assert_string_equal(text, "vushim: what: 5\n");
}

static const struct unit_test tests[] = {
    UNIT(options_and_words_mix),      UNIT(values_may_be_anything),
    UNIT(two_dashes_end_the_options), UNIT(seconds_are_numbers_or_for_ever),
    UNIT(mistakes_are_one_line),      UNIT(help_lists_every_option),
    UNIT(usage_errors_exit_with_2),
};

UNIT_MAIN("options", tests)
