/* SPDX-License-Identifier: MIT
 *
 * The owner of descriptors, and text in a buffer. */
#include <fcntl.h>
#include <string.h>

#include "alloc.h"
#include "fdset.h"
#include "runner.h"
#include "sample.h"
#include "text.h"

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void takes_what_it_is_given(void **state)
{
    struct fdset set = FDSET_NULL;
    int fds[3] = { sample_fd(), sample_fd(), sample_fd() };
    (void)state;
    assert_int_equal(fdset_append_take(&set, fds, 0), 0);
    assert_null(set.fd);
    assert_int_equal(fdset_append_take(&set, fds, 1), 0);
    assert_int_equal(fdset_append_take(&set, fds + 1, 2), 0);
    assert_int_equal(set.n, 3);
    assert_memory_equal(set.fd, fds, sizeof(fds));
    fdset_close(&set);
    for (size_t i = 0; i < 3; i++) {
        assert_false(is_open(fds[i]));
    }
    fdset_close(&set);
    assert_int_equal(set.n, 0);
}

static void keeps_what_it_has_when_memory_is_out(void **state)
{
    struct fdset set = FDSET_NULL;
    int fds[2] = { sample_fd(), sample_fd() };
    (void)state;
    assert_int_equal(fdset_append_take(&set, fds, 1), 0);
    alloc_fail_at(1);
    int err = fdset_append_take(&set, fds + 1, 1);
    alloc_fail_at(0);
    assert_int_equal(err, -ENOMEM);
    assert_int_equal(set.n, 1);
    assert_int_equal(set.fd[0], fds[0]);
    assert_true(is_open(fds[1]));
    close(fds[1]);
    fdset_close(&set);
}

static void gives_up_any_of_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct fdset set = FDSET_NULL;
        int fds[3] = { sample_fd(), sample_fd(), sample_fd() };
        assert_int_equal(fdset_append_take(&set, fds, 3), 0);
        assert_int_equal(fdset_steal(&set, i), fds[i]);
        assert_int_equal(set.n, 2);
        assert_int_equal(set.fd[0], fds[i == 0 ? 1 : 0]);
        assert_int_equal(set.fd[1], fds[i == 2 ? 1 : 2]);
        fdset_close(&set);
        assert_true(is_open(fds[i]));
        close(fds[i]);
    }
}

static void giving_up_the_last_leaves_nothing(void **state)
{
    struct fdset set = FDSET_NULL;
    int fd = sample_fd();
    (void)state;
    assert_int_equal(fdset_append_take(&set, &fd, 1), 0);
    assert_int_equal(fdset_steal(&set, 0), fd);
    assert_null(set.fd);
    close(fd);
}

static void moves_to_an_empty_one(void **state)
{
    struct fdset from = FDSET_NULL;
    struct fdset to = FDSET_NULL;
    int fd = sample_fd();
    (void)state;
    assert_int_equal(fdset_append_take(&from, &fd, 1), 0);
    fdset_move(&to, &from);
    assert_int_equal(from.n, 0);
    assert_null(from.fd);
    fdset_close(&from);
    assert_true(is_open(fd));
    fdset_close(&to);
    assert_false(is_open(fd));
}

static void closing_keeps_errno_and_skips_closed_slots(void **state)
{
    struct fdset set = FDSET_NULL;
    int fds[2] = { -1, sample_fd() };
    (void)state;
    assert_int_equal(fdset_append_take(&set, fds, 2), 0);
    errno = EXDEV;
    fdset_close(&set);
    assert_int_equal(errno, EXDEV);
}

static void text_fits_or_is_cut(void **state)
{
    (void)state;
    for (size_t len = 1; len < 20; len++) {
        char buf[20];
        memset(buf, '#', sizeof(buf));
        struct text t = text_in(buf, len);
        text_add(&t, "%s", "abcd");
        text_add_item(&t, ", ", "efgh");
        text_add(&t, "%d", 1234);
        size_t whole = strlen("abcd, efgh1234");
        size_t expected = len - 1 < whole ? len - 1 : whole;
        assert_int_equal(strlen(buf), expected);
        assert_int_equal(t.used, expected);
        assert_memory_equal(buf, "abcd, efgh1234", expected);
        assert_int_equal(buf[len], '#');
    }
}

static void text_has_separators_between_items_only(void **state)
{
    char buf[32];
    (void)state;
    struct text t = text_in(buf, sizeof(buf));
    text_add_item(&t, ",", "one");
    text_add_item(&t, ",", "two");
    assert_string_equal(buf, "one,two");
}

static const struct unit_test tests[] = {
    UNIT(takes_what_it_is_given), UNIT(keeps_what_it_has_when_memory_is_out),
    UNIT(gives_up_any_of_them),   UNIT(giving_up_the_last_leaves_nothing),
    UNIT(moves_to_an_empty_one),  UNIT(closing_keeps_errno_and_skips_closed_slots),
    UNIT(text_fits_or_is_cut),    UNIT(text_has_separators_between_items_only),
};

UNIT_MAIN("fdset", tests)
