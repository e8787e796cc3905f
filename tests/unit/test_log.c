/* SPDX-License-Identifier: MIT
 *
 * Lines of the log, how many of them, and the table of endings that they name. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "endings.h"
#include "log.h"
#include "runner.h"

static void expect_line(const char *device, const char *side, const char *expected)
{
    char text[512];
    unit_capture_begin(STDERR_FILENO);
    log_warn(device, side, "%s %d", "text", 7);
    unit_capture_end(text, sizeof(text));
    assert_string_equal(text, expected);
}

static void lines_name_device_and_side(void **state)
{
    (void)state;
    log_setup(LOG_LEVEL_INFO, false);
    expect_line("net0", "front", "vushim: net0 front: text 7\n");
    expect_line("net0", NULL, "vushim: net0: text 7\n");
    expect_line(NULL, "front", "vushim: front: text 7\n");
    expect_line(NULL, NULL, "vushim: text 7\n");
}

static void json_lines_are_objects(void **state)
{
    (void)state;
    log_setup(LOG_LEVEL_INFO, true);
    expect_line(
        "net0", "front",
        "{\"level\":\"warn\",\"device\":\"net0\",\"side\":\"front\",\"text\":\"text 7\"}\n");
    expect_line("a\"b", NULL, "{\"level\":\"warn\",\"device\":\"a\\\"b\",\"text\":\"text 7\"}\n");
}

/* A line with bytes that are no UTF-8 still says something. */
static void json_lines_never_lose_their_text(void **state)
{
    char text[512];
    (void)state;
    log_setup(LOG_LEVEL_INFO, true);
    unit_capture_begin(STDERR_FILENO);
    log_warn("net0", "front", "path %s is gone", "/run/\xff.sock");
    unit_capture_end(text, sizeof(text));
    unit_check(strstr(text, "is gone") != NULL, "the line is: %s", text);
}

static void quieter_levels_are_not_written(void **state)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };
    (void)state;
    for (unsigned most = 0; most < 4; most++) {
        enum log_level level;
        assert_true(log_level_of_name(names[most], &level));
        assert_int_equal(level, most);
        log_setup(level, false);
        for (unsigned k = 0; k < 4; k++) {
            char text[64];
            assert_int_equal(log_wants((enum log_level)k), k <= most);
            unit_capture_begin(STDERR_FILENO);
            log_line((enum log_level)k, NULL, NULL, "x");
            unit_capture_end(text, sizeof(text));
            assert_int_equal(text[0] != '\0', k <= most);
        }
    }
    enum log_level untouched = LOG_LEVEL_WARN;
    assert_false(log_level_of_name("loud", &untouched));
    assert_int_equal(untouched, LOG_LEVEL_WARN);
}

static void errno_is_kept(void **state)
{
    char text[128];
    (void)state;
    log_setup(LOG_LEVEL_INFO, true);
    unit_capture_begin(STDERR_FILENO);
    errno = EXDEV;
    log_error("a", "b", "c");
    int after = errno;
    unit_capture_end(text, sizeof(text));
    assert_int_equal(after, EXDEV);
}

/* Lines that get through between `from` and `to` when one is wanted every `every` seconds. */
static int lines(struct log_limit *limit, double from, double to, double every)
{
    unsigned long suppressed;
    int n = 0;
    for (double now = from; now < to; now += every) {
        n += log_limit_pass(limit, now, &suppressed) ? 1 : 0;
    }
    return n;
}

static void a_burst_is_written_then_a_trickle(void **state)
{
    struct log_limit limit = { .spent = 0 };
    (void)state;
    assert_int_equal(lines(&limit, 1e9, 1e9 + 0.001, 1e-6), LOG_BURST);
    int later = lines(&limit, 1e9 + 1, 1e9 + 1 + 10 * LOG_REFILL_S, 0.01);
    assert_true(later >= 9 && later <= 11);
    /* Rare lines all get through. */
    struct log_limit rare = { .spent = 0 };
    assert_int_equal(lines(&rare, 1e9, 1e9 + 1000 * LOG_REFILL_S, LOG_REFILL_S), 1000);
}

static void the_next_line_says_how_many_were_not(void **state)
{
    struct log_limit limit = { .spent = 0 };
    unsigned long suppressed = 77;
    (void)state;
    for (int i = 0; i < LOG_BURST + 5; i++) {
        log_limit_pass(&limit, 1e9, &suppressed);
    }
    assert_int_equal(suppressed, 0);
    assert_true(log_limit_pass(&limit, 1e9 + LOG_REFILL_S, &suppressed));
    assert_int_equal(suppressed, 5);
    assert_true(log_limit_pass(&limit, 1e9 + 2 * LOG_REFILL_S, &suppressed));
    assert_int_equal(suppressed, 0);
}

/* The loop's time is that of the wall clock, which may be set back. */
static void a_clock_set_back_does_not_silence_the_log(void **state)
{
    struct log_limit limit = { .spent = 0 };
    unsigned long suppressed;
    (void)state;
    assert_true(log_limit_pass(&limit, 1e9, &suppressed));
    int n = lines(&limit, 1e9 - 3600, 1e9 - 3600 + LOG_BURST * LOG_REFILL_S, 1);
    unit_check(n > 0, "no line in %g s after an hour back", LOG_BURST * LOG_REFILL_S);
}

static void results_of_reading_have_endings(void **state)
{
    (void)state;
    assert_int_equal(ending_of_frame(FRAME_EOF), ENDING_LEFT);
    assert_int_equal(ending_of_frame(FRAME_CUT), ENDING_CUT);
    assert_int_equal(ending_of_frame(FRAME_FDS_LOST), ENDING_DESCRIPTORS_LOST);
    assert_int_equal(ending_of_frame(FRAME_BAD_VERSION), ENDING_BAD_VERSION);
    assert_int_equal(ending_of_frame(FRAME_TOO_LARGE), ENDING_TOO_LARGE);
    assert_int_equal(ending_of_frame(FRAME_TOO_SHORT), ENDING_WRONG_SIZE);
    assert_int_equal(ending_of_frame(-ENOMEM), ENDING_NO_MEMORY);
    assert_int_equal(ending_of_frame(-EIO), ENDING_IO_ERROR);
    assert_int_equal(ending_of_check(CHECK_BAD_FLAGS), ENDING_BAD_FLAGS);
    assert_int_equal(ending_of_check(CHECK_WRONG_SIZE), ENDING_WRONG_SIZE);
    assert_int_equal(ending_of_check(CHECK_BAD_DESCRIPTORS), ENDING_BAD_DESCRIPTORS);
    assert_int_equal(ending_of_check(CHECK_BAD_FIELD), ENDING_BAD_FIELD);
    assert_int_equal(ending_of_check(CHECK_BAD_SPAN), ENDING_BAD_SPAN);
}

static void endings_are_named_and_told_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ENDINGS; i++) {
        assert_non_null(ending_rows[i].name);
        assert_true(ending_rows[i].text[0] != '\0');
        for (size_t k = i + 1; k < N_ENDINGS; k++) {
            assert_string_not_equal(ending_rows[i].name, ending_rows[k].name);
            assert_string_not_equal(ending_rows[i].text, ending_rows[k].text);
        }
    }
    assert_string_equal(ending_rows[ENDING_TOO_LARGE].name, "TOO_LARGE");
    assert_int_equal(ending_rows[ENDING_LEFT].level, LOG_LEVEL_INFO);
    assert_int_equal(ending_rows[ENDING_CUT].level, LOG_LEVEL_ERROR);
}

static const struct unit_test tests[] = {
    UNIT(lines_name_device_and_side),
    UNIT(json_lines_are_objects),
    UNIT(json_lines_never_lose_their_text),
    UNIT(quieter_levels_are_not_written),
    UNIT(errno_is_kept),
    UNIT(a_burst_is_written_then_a_trickle),
    UNIT(the_next_line_says_how_many_were_not),
    UNIT(a_clock_set_back_does_not_silence_the_log),
    UNIT(results_of_reading_have_endings),
    UNIT(endings_are_named_and_told_apart),
};

UNIT_MAIN("log", tests)
