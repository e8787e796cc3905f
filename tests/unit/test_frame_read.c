/* SPDX-License-Identifier: MIT
 *
 * Whole messages from a stream that hands out its bytes and descriptors in any way it likes. */
#include <string.h>

#include "alloc.h"
#include "frame.h"
#include "runner.h"
#include "sample.h"

#define HEAD 12
#define STREAM_MAX 16384

/* A stream in memory. As the kernel does, a read stops before a byte that has descriptors, and
 * hands them over with that byte. */
struct stream {
    uint8_t bytes[STREAM_MAX];
    size_t len, at;
    size_t step; /* most bytes a read; 0: no limit */
    bool again;  /* every other read has nothing yet */
    bool said_again;
    int end;                     /* at the end: 0 or -errno */
    uint16_t fds_at[STREAM_MAX]; /* descriptors that come with that byte */
    bool lost;                   /* the kernel drops descriptors */
    size_t reads;
};

static struct stream stream;

/* What the reader is told to expect. */
static size_t expect;

static size_t run_of(const struct stream *s, size_t len)
{
    size_t n = 1;
    while (n < len && s->at + n < s->len && s->fds_at[s->at + n] == 0) {
        n++;
    }
    return s->step != 0 && n > s->step ? s->step : n;
}

static ssize_t stream_recv(void *opaque, void *buf, size_t len, int *fds, size_t *ret_n_fds,
                           bool *ret_lost)
{
    struct stream *s = opaque;
    s->reads++;
    if (s->again && !s->said_again) {
        s->said_again = true;
        return -EAGAIN;
    }
    s->said_again = false;
    if (s->at == s->len) {
        return s->end;
    }
    size_t n = run_of(s, len);
    *ret_n_fds = s->fds_at[s->at];
    for (size_t i = 0; i < *ret_n_fds; i++) {
        fds[i] = sample_fd();
    }
    *ret_lost = s->lost;
    memcpy(buf, s->bytes + s->at, n);
    s->at += n;
    return (ssize_t)n;
}

static const struct frame_ops ops = { .recv = stream_recv };

static void stream_clear(void)
{
    memset(&stream, 0, sizeof(stream));
}

static void stream_add(uint32_t request, uint32_t flags, uint32_t size)
{
    const struct wire_header head = { request, flags, size };
    memcpy(stream.bytes + stream.len, &head, sizeof(head));
    for (uint32_t i = 0; i < size && stream.len + HEAD + i < STREAM_MAX; i++) {
        stream.bytes[stream.len + HEAD + i] = (uint8_t)(request * 31 + i);
    }
    stream.len += HEAD + (size <= WIRE_MAX_PAYLOAD ? size : 0);
}

/* Reads on until something other than "not yet" comes. */
static int read_on(struct frame_reader *r, struct msg *m)
{
    int result = FRAME_AGAIN;
    for (int i = 0; i < 3 * STREAM_MAX && result == FRAME_AGAIN; i++) {
        result = frame_read(r, &ops, &stream, expect, m);
    }
    return result;
}

static void expect_message(struct frame_reader *r, uint32_t request, uint32_t size, size_t n_fds)
{
    struct msg m = MSG_NULL;
    assert_int_equal(read_on(r, &m), FRAME_OK);
    assert_int_equal(m.head.request, request);
    assert_int_equal(m.head.size, size);
    for (uint32_t i = 0; i < size; i++) {
        assert_int_equal(m.body[i], (uint8_t)(request * 31 + i));
    }
    assert_int_equal(m.fds.n, n_fds);
    msg_clear(&m);
}

static void takes_every_size(void **state)
{
    const uint32_t sizes[] = { 0, 1, 2, 8, 268, 4095, WIRE_MAX_PAYLOAD };
    struct frame_reader r = { .got = 0 };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        stream_clear();
        stream_add(2, 1, sizes[i]);
        expect_message(&r, 2, sizes[i], 0);
        assert_int_equal(stream.reads, sizes[i] > 0 ? 2 : 1);
    }
}

static void takes_any_pieces(void **state)
{
    struct frame_reader r = { .got = 0 };
    (void)state;
    for (size_t step = 1; step <= HEAD + 268; step++) {
        for (int again = 0; again < 2; again++) {
            stream_clear();
            stream_add(5, 1, 268);
            stream.step = step;
            stream.again = again;
            expect_message(&r, 5, 268, 0);
        }
    }
}

static void never_reads_past_a_message(void **state)
{
    struct frame_reader r = { .got = 0 };
    (void)state;
    stream_clear();
    stream_add(3, 1, 0);
    stream_add(2, 9, 8);
    stream_add(5, 1, 72);
    expect_message(&r, 3, 0, 0);
    assert_int_equal(stream.at, HEAD);
    expect_message(&r, 2, 8, 0);
    assert_int_equal(stream.at, HEAD + HEAD + 8);
    expect_message(&r, 5, 72, 0);
    assert_int_equal(stream.at, stream.len);
}

/* One descriptor on any byte of the message, then one on each of two bytes, then one on every byte.
 */
static void descriptors_on_any_byte_belong_to_the_message(void **state)
{
    struct frame_reader r = { .got = 0 };
    const size_t whole = HEAD + 8;
    (void)state;
    for (size_t a = 0; a < whole; a++) {
        for (size_t b = a; b < whole; b++) {
            stream_clear();
            stream_add(12, 1, 8);
            stream.fds_at[a] = 1;
            stream.fds_at[b] = 1;
            expect_message(&r, 12, 8, a == b ? 1 : 2);
        }
    }
    stream_clear();
    stream_add(12, 1, 8);
    for (size_t at = 0; at < whole; at++) {
        stream.fds_at[at] = 1;
    }
    expect_message(&r, 12, 8, whole);
}

static void takes_as_many_descriptors_as_the_kernel_sends(void **state)
{
    struct frame_reader r = { .got = 0 };
    (void)state;
    stream_clear();
    stream_add(1000, 1, 8);
    stream.fds_at[0] = WIRE_MAX_FDS;
    expect_message(&r, 1000, 8, WIRE_MAX_FDS);
}

/* A message in several pieces could bring more than one message may carry: nobody could send it on
 * whole. */
static void more_descriptors_than_a_message_can_carry_are_a_fault(void **state)
{
    const uint16_t first[] = { 1, 200, WIRE_MAX_FDS };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(first); i++) {
        struct frame_reader r = { .got = 0 };
        struct msg m = MSG_NULL;
        stream_clear();
        stream_add(1000, 1, 8);
        stream.fds_at[0] = first[i];
        stream.fds_at[HEAD] = WIRE_MAX_FDS;
        int result = read_on(&r, &m);
        unit_check(result != FRAME_OK, "%zu descriptors taken as one message's", m.fds.n);
        frame_reader_clear(&r);
    }
}

static void end_between_messages_is_an_end(void **state)
{
    struct frame_reader r = { .got = 0 };
    struct msg m = MSG_NULL;
    (void)state;
    stream_clear();
    assert_int_equal(frame_read(&r, &ops, &stream, expect, &m), FRAME_EOF);
    stream_add(3, 1, 0);
    expect_message(&r, 3, 0, 0);
    assert_int_equal(frame_read(&r, &ops, &stream, expect, &m), FRAME_EOF);
}

static void end_at(size_t at, int end, int expected)
{
    struct frame_reader r = { .got = 0 };
    struct msg m = MSG_NULL;
    stream_clear();
    stream_add(5, 1, 40);
    stream.fds_at[0] = 2;
    stream.len = at;
    stream.end = end;
    assert_int_equal(read_on(&r, &m), expected);
    assert_int_equal(r.got, at);
    assert_null(m.body);
    frame_reader_clear(&r);
    frame_reader_clear(&r);
}

static void end_inside_a_message_is_a_cut(void **state)
{
    (void)state;
    for (size_t at = 0; at < HEAD + 40; at++) {
        end_at(at, 0, at == 0 ? FRAME_EOF : FRAME_CUT);
        end_at(at, -ECONNRESET, at == 0 ? FRAME_EOF : FRAME_CUT);
        end_at(at, -EIO, -EIO);
    }
}

static void other_versions_are_a_fault(void **state)
{
    (void)state;
    for (uint32_t version = 0; version < 4; version++) {
        struct frame_reader r = { .got = 0 };
        struct msg m = MSG_NULL;
        stream_clear();
        stream_add(1, 0xf0 | version, 8);
        stream.fds_at[3] = 1;
        assert_int_equal(read_on(&r, &m), version == 1 ? FRAME_OK : FRAME_BAD_VERSION);
        msg_clear(&m);
        frame_reader_clear(&r);
    }
}

static void too_large_is_a_fault_before_any_memory_is_asked_for(void **state)
{
    const uint32_t sizes[] = { WIRE_MAX_PAYLOAD + 1, 0x7fffffff, 0x80000000, 0xffffffff };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct frame_reader r = { .got = 0 };
        struct msg m = MSG_NULL;
        stream_clear();
        stream_add(1, 1, sizes[i]);
        alloc_fail_at(0);
        assert_int_equal(read_on(&r, &m), FRAME_TOO_LARGE);
        assert_int_equal(alloc_count(), 0);
        frame_reader_clear(&r);
    }
}

static void lost_descriptors_are_a_fault(void **state)
{
    (void)state;
    for (size_t at = 0; at <= HEAD; at += HEAD) {
        struct frame_reader r = { .got = 0 };
        struct msg m = MSG_NULL;
        stream_clear();
        stream_add(5, 1, 40);
        stream.fds_at[at] = 2;
        stream.lost = true;
        assert_int_equal(read_on(&r, &m), FRAME_FDS_LOST);
        frame_reader_clear(&r);
    }
}

/* Each allocation of a message with descriptors on both parts fails in turn. */
static void without_memory_nothing_is_kept(void **state)
{
    (void)state;
    size_t before = unit_open_fds();
    for (size_t n = 1; n <= 3; n++) {
        struct frame_reader r = { .got = 0 };
        struct msg m = MSG_NULL;
        stream_clear();
        stream_add(5, 1, 40);
        stream.fds_at[0] = 3;
        stream.fds_at[HEAD] = 4;
        alloc_fail_at(n);
        int result = read_on(&r, &m);
        alloc_fail_at(0);
        assert_int_equal(result, -ENOMEM);
        frame_reader_clear(&r);
        assert_int_equal(unit_open_fds(), before);
    }
}

/* An expected size makes one read of two, and nothing else. */
static void an_expected_answer_takes_one_read(void **state)
{
    struct frame_reader r = { .got = 0 };
    (void)state;
    expect = 8;
    stream_clear();
    stream_add(1, 5, 8);
    stream_add(2, 5, 8);
    expect_message(&r, 1, 8, 0);
    assert_int_equal(stream.reads, 1);
    assert_int_equal(stream.at, HEAD + 8);
}

static void a_longer_answer_than_expected_is_read_on(void **state)
{
    struct frame_reader r = { .got = 0 };
    (void)state;
    expect = 8;
    for (uint32_t size = 8; size <= 300; size++) {
        for (size_t step = 0; step < 40; step++) {
            stream_clear();
            stream_add(1, 5, size);
            stream.step = step;
            stream.again = step % 2;
            stream.fds_at[0] = 1;
            stream.fds_at[HEAD + 7] = 1;
            expect_message(&r, 1, size, 2);
        }
    }
}

/* Alone it is whole; with more behind it the two cannot be told apart with certainty. */
static void a_shorter_answer_than_expected_is_whole_or_a_fault(void **state)
{
    (void)state;
    expect = 8;
    for (uint32_t size = 0; size < 8; size++) {
        struct frame_reader r = { .got = 0 };
        struct msg m = MSG_NULL;
        stream_clear();
        stream_add(1, 5, size);
        expect_message(&r, 1, size, 0);
        stream_clear();
        stream_add(1, 5, size);
        stream_add(2, 5, 8);
        stream.fds_at[HEAD + size] = 1;
        expect_message(&r, 1, size, 0); /* a read ends before descriptors */
        expect_message(&r, 2, 8, 1);
        stream_clear();
        stream_add(1, 5, size);
        stream_add(2, 5, 8);
        assert_int_equal(read_on(&r, &m), FRAME_TOO_SHORT);
        frame_reader_clear(&r);
    }
}

static void each_test_holds_when_8_bytes_are_expected(void **state);

static const struct unit_test tests[] = {
    UNIT(takes_every_size),
    UNIT(takes_any_pieces),
    UNIT(never_reads_past_a_message),
    UNIT(descriptors_on_any_byte_belong_to_the_message),
    UNIT(takes_as_many_descriptors_as_the_kernel_sends),
    UNIT(more_descriptors_than_a_message_can_carry_are_a_fault),
    UNIT(end_between_messages_is_an_end),
    UNIT(end_inside_a_message_is_a_cut),
    UNIT(other_versions_are_a_fault),
    UNIT(too_large_is_a_fault_before_any_memory_is_asked_for),
    UNIT(lost_descriptors_are_a_fault),
    UNIT(without_memory_nothing_is_kept),
    UNIT(an_expected_answer_takes_one_read),
    UNIT(a_longer_answer_than_expected_is_read_on),
    UNIT(a_shorter_answer_than_expected_is_whole_or_a_fault),
    UNIT(each_test_holds_when_8_bytes_are_expected),
};

/* Those that do not count reads and send no shorter message with more behind it. */
static void each_test_holds_when_8_bytes_are_expected(void **state)
{
    static void (*const again[])(void **) = {
        takes_any_pieces,
        descriptors_on_any_byte_belong_to_the_message,
        takes_as_many_descriptors_as_the_kernel_sends,
        end_between_messages_is_an_end,
        end_inside_a_message_is_a_cut,
        other_versions_are_a_fault,
        too_large_is_a_fault_before_any_memory_is_asked_for,
        lost_descriptors_are_a_fault,
    };
    expect = 8;
    for (size_t i = 0; i < ARRAY_SIZE(again); i++) {
        again[i](state);
    }
}

UNIT_MAIN("frame_read", tests)
