/* SPDX-License-Identifier: MIT
 *
 * Whole messages to a stream that takes them in any pieces: every byte once, descriptors once and
 * with the first byte. */
#include <fcntl.h>
#include <string.h>

#include "frame.h"
#include "runner.h"
#include "sample.h"

#define HEAD 12

struct stream {
    uint8_t bytes[8192];
    size_t len;
    size_t step;  /* most bytes a send; 0: no limit */
    size_t until; /* bytes that are taken before the obstacle */
    int obstacle; /* -errno; 0: none */
    size_t sends;
    size_t fds;    /* descriptors taken so far */
    size_t fds_at; /* before this many bytes */
};

static ssize_t stream_send(void *opaque, const void *head, size_t head_len, const void *body,
                           size_t body_len, const int *fds, size_t n_fds)
{
    struct stream *s = opaque;
    size_t n = head_len + body_len;
    s->sends++;
    assert_true(n > 0);
    if (s->obstacle != 0 && s->len == s->until) {
        int obstacle = s->obstacle;
        s->obstacle = 0;
        return obstacle;
    }
    if (s->step != 0 && n > s->step) {
        n = s->step;
    }
    if (s->obstacle != 0 && s->len + n > s->until) {
        n = s->until - s->len;
    }
    for (size_t i = 0; i < n_fds; i++) {
        assert_true(fcntl(fds[i], F_GETFD) >= 0);
    }
    if (n_fds > 0) {
        assert_int_equal(s->fds, 0);
        s->fds = n_fds;
        s->fds_at = s->len;
    }
    size_t from_head = n < head_len ? n : head_len;
    memcpy(s->bytes + s->len, head, from_head);
    if (n > from_head) {
        memcpy(s->bytes + s->len + from_head, body, n - from_head);
    }
    s->len += n;
    return (ssize_t)n;
}

static const struct frame_ops ops = { .send = stream_send };

static struct msg message(uint32_t size, size_t n_fds)
{
    struct msg m = sample_raw(5, WIRE_NEED_REPLY, NULL, size, n_fds);
    for (uint32_t i = 0; i < size; i++) {
        m.body[i] = (uint8_t)(i * 7 + 1);
    }
    return m;
}

static void expect_sent(const struct stream *s, uint32_t size, size_t n_fds)
{
    const struct wire_header head = { 5, 9, size };
    assert_int_equal(s->len, HEAD + size);
    assert_memory_equal(s->bytes, &head, sizeof(head));
    for (uint32_t i = 0; i < size; i++) {
        assert_int_equal(s->bytes[HEAD + i], (uint8_t)(i * 7 + 1));
    }
    assert_int_equal(s->fds, n_fds);
    assert_int_equal(s->fds_at, 0);
}

static void sends_header_and_payload_as_one_piece(void **state)
{
    const uint32_t sizes[] = { 0, 1, 8, 268, WIRE_MAX_PAYLOAD };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct stream s = { .len = 0 };
        struct frame_writer w = { .busy = false };
        struct msg m = message(sizes[i], 3);
        frame_writer_take(&w, &m);
        assert_null(m.body);
        assert_true(w.busy);
        assert_int_equal(frame_write(&w, &ops, &s), FRAME_OK);
        assert_false(w.busy);
        assert_int_equal(s.sends, 1);
        expect_sent(&s, sizes[i], 3);
        assert_int_equal(frame_write(&w, &ops, &s), FRAME_OK);
        assert_int_equal(s.sends, 1);
    }
}

static void goes_on_after_any_piece(void **state)
{
    (void)state;
    for (size_t step = 1; step <= HEAD + 40; step++) {
        struct stream s = { .step = step };
        struct frame_writer w = { .busy = false };
        struct msg m = message(40, 2);
        frame_writer_take(&w, &m);
        assert_int_equal(frame_write(&w, &ops, &s), FRAME_OK);
        expect_sent(&s, 40, 2);
    }
}

static void obstacle_at(size_t until, size_t step, int obstacle, int expected)
{
    struct stream s = { .until = until, .obstacle = obstacle, .step = step };
    struct frame_writer w = { .busy = false };
    struct msg m = message(40, 2);
    frame_writer_take(&w, &m);
    assert_int_equal(frame_write(&w, &ops, &s), expected);
    assert_true(w.busy);
    assert_int_equal(w.sent, until);
    /* They go with the first byte, and are closed when they have gone. */
    assert_int_equal(w.msg.fds.n, until == 0 ? 2 : 0);
    assert_int_equal(frame_write(&w, &ops, &s), FRAME_OK);
    expect_sent(&s, 40, 2);
}

static void waits_at_any_byte(void **state)
{
    (void)state;
    for (size_t until = 0; until < HEAD + 40; until++) {
        for (size_t step = 0; step < 3; step++) {
            obstacle_at(until, step, -EAGAIN, FRAME_AGAIN);
            obstacle_at(until, step, -ETOOMANYREFS, FRAME_LATER);
        }
    }
}

static void passes_errors_up_and_keeps_nothing_once_cleared(void **state)
{
    (void)state;
    for (size_t until = 0; until < HEAD + 40; until++) {
        struct stream s = { .until = until, .obstacle = -EPIPE };
        struct frame_writer w = { .busy = false };
        struct msg m = message(40, 2);
        frame_writer_take(&w, &m);
        assert_int_equal(frame_write(&w, &ops, &s), -EPIPE);
        frame_writer_clear(&w);
        frame_writer_clear(&w);
        assert_false(w.busy);
    }
}

static void descriptors_are_closed_as_soon_as_they_have_gone(void **state)
{
    struct stream s = { .until = 1, .obstacle = -EAGAIN };
    struct frame_writer w = { .busy = false };
    struct msg m = message(8, 4);
    size_t before = unit_open_fds();
    (void)state;
    frame_writer_take(&w, &m);
    assert_int_equal(frame_write(&w, &ops, &s), FRAME_AGAIN);
    assert_int_equal(unit_open_fds(), before - 4);
    frame_writer_clear(&w);
}

static const struct unit_test tests[] = {
    UNIT(sends_header_and_payload_as_one_piece),
    UNIT(goes_on_after_any_piece),
    UNIT(waits_at_any_byte),
    UNIT(passes_errors_up_and_keeps_nothing_once_cleared),
    UNIT(descriptors_are_closed_as_soon_as_they_have_gone),
};

UNIT_MAIN("frame_write", tests)
