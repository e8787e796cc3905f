/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "runner.h"
#include "sample.h"
#include "traceformat.h"

/* A file in memory, given out in pieces of at most `piece` bytes. */
struct memory {
    uint8_t *bytes;
    size_t len, at, piece;
};

static struct trace_reader reader;
static struct trace_record record, read_back;

static int64_t read_memory(void *from, uint8_t *buf, size_t len)
{
    struct memory *m = from;
    size_t n = m->len - m->at;
    n = n < len ? n : len;
    n = m->piece != 0 && n > m->piece ? m->piece : n;
    memcpy(buf, m->bytes + m->at, n);
    m->at += n;
    return (int64_t)n;
}

static void rewind_to(struct memory *m, size_t len)
{
    m->at = 0;
    m->len = len;
    trace_reader_init(&reader, read_memory, m);
}

static void append(struct memory *m, const uint8_t *bytes, size_t n)
{
    m->bytes = realloc(m->bytes, m->len + n);
    assert_non_null(m->bytes);
    memcpy(m->bytes + m->len, bytes, n);
    m->len += n;
}

static void append_head(struct memory *m)
{
    uint8_t block[TRACE_BLOCK_MAX];
    append(m, block, trace_write_head("dev0", block, sizeof(block)));
}

static void append_record(struct memory *m)
{
    uint8_t block[TRACE_BLOCK_MAX];
    size_t n = trace_write(&record, block, sizeof(block));
    assert_true(n > 0);
    append(m, block, n);
}

/* The record of a sample message; its body is the message's. */
static void record_of(const struct message_row *row, enum wire_space space, bool reply,
                      struct msg *ret_msg)
{
    *ret_msg = sample_message(row, reply);
    record = (struct trace_record){ .time_ns = 1700000000123456789, .kind = TRACE_MESSAGE };
    record.wire = space == SPACE_FRONT ? TRACE_BACK : TRACE_FRONT_CHANNEL;
    record.flags = reply ? 0 : TRACE_SENT;
    record.device = 26;
    record.life = 77;
    record.number = row->id + 1000;
    record.head = ret_msg->head;
    record.body = ret_msg->body;
    record.n_fds = ret_msg->fds.n;
    for (size_t i = 0; i < record.n_fds; i++) {
        record.fds[i] = (struct trace_fd){ .role = message_fds(row, reply)->role,
                                           .kind = TRACE_FD_MEMFD,
                                           .inode = UINT64_MAX - i,
                                           .size = 4096 + i };
    }
}

static void same_records(void)
{
    assert_int_equal(read_back.time_ns, record.time_ns);
    assert_int_equal(read_back.kind, record.kind);
    assert_int_equal(read_back.wire, record.wire);
    assert_int_equal(read_back.flags & ~(unsigned)TRACE_BIG_ENDIAN, record.flags);
    assert_int_equal(read_back.device, record.device);
    assert_int_equal(read_back.life, record.life);
    assert_int_equal(read_back.number, record.number);
    assert_int_equal(read_back.n_fds, record.n_fds);
    assert_memory_equal(read_back.fds, record.fds, record.n_fds * sizeof(record.fds[0]));
    assert_memory_equal(&read_back.head, &record.head, sizeof(record.head));
    if (record.head.size > 0) {
        assert_memory_equal(read_back.body, record.body, record.head.size);
    }
}

static void every_message_comes_back(void **state)
{
    enum wire_space space;
    const struct message_row *row;
    (void)state;
    for (size_t i = 0; (row = sample_row(i, &space)) != NULL; i++) {
        for (int reply = 0; reply < 2; reply++) {
            struct memory m = { .piece = 1 + i };
            struct msg message;
            record_of(row, space, reply != 0, &message);
            append_head(&m);
            append_record(&m);
            rewind_to(&m, m.len);
            assert_int_equal(trace_reader_next(&reader, &read_back), TRACE_OK);
            same_records();
            assert_string_equal(reader.device, "dev0");
            assert_int_equal(trace_reader_next(&reader, &read_back), TRACE_END);
            msg_clear(&message);
            free(m.bytes);
        }
    }
}

static void every_wire_comes_back(void **state)
{
    struct memory m = { .piece = 0 };
    (void)state;
    append_head(&m);
    for (unsigned wire = 0; wire < N_TRACE_WIRES; wire++) {
        record = (struct trace_record){ .kind = TRACE_MESSAGE, .wire = (enum trace_wire)wire };
        record.head.request = 100 + wire;
        append_record(&m);
    }
    rewind_to(&m, m.len);
    for (unsigned wire = 0; wire < N_TRACE_WIRES; wire++) {
        assert_int_equal(trace_reader_next(&reader, &read_back), TRACE_OK);
        assert_int_equal(read_back.wire, wire);
        assert_int_equal(read_back.head.request, 100 + wire);
    }
    assert_string_equal(trace_wire_name(TRACE_NEXT_BACK), "next back");
    free(m.bytes);
}

static void the_ends_of_a_socket_are_across_from_each_other(void **state)
{
    (void)state;
    for (unsigned wire = 0; wire < TRACE_NEXT_BACK; wire++) {
        enum trace_wire across = trace_across((enum trace_wire)wire);
        assert_int_not_equal(across, wire);
        assert_int_equal(trace_across(across), wire);
        assert_int_equal(trace_space(across), trace_space((enum trace_wire)wire));
    }
    assert_int_equal(trace_across(TRACE_NEXT_BACK), N_TRACE_WIRES);
    assert_int_equal(trace_space(TRACE_NEXT_BACK), SPACE_FRONT);
}

/* Kinds and wires of a later time, and what is behind them. */
static void what_is_not_known_is_passed_over(void **state)
{
    struct memory m = { .piece = 0 };
    (void)state;
    append_head(&m);
    for (size_t field = 1; field <= 2; field++) {
        record = (struct trace_record){ .kind = TRACE_GAP, .lost = 5 };
        size_t at = m.len;
        append_record(&m);
        uint8_t *tag = memmem(m.bytes + at, m.len - at, TRACE_DISSECTOR, strlen(TRACE_DISSECTOR));
        assert_non_null(tag);
        tag[((strlen(TRACE_DISSECTOR) + 3) & ~(size_t)3) + 4 + field] = 77;
    }
    record = (struct trace_record){ .kind = TRACE_GAP, .lost = 6 };
    append_record(&m);
    rewind_to(&m, m.len);
    assert_int_equal(trace_reader_next(&reader, &read_back), TRACE_OK);
    assert_int_equal(read_back.lost, 6);
    assert_int_equal(reader.skipped, 2);
    free(m.bytes);
}

static void texts_and_gaps_come_back(void **state)
{
    struct memory m = { .piece = 0 };
    (void)state;
    append_head(&m);
    record = (struct trace_record){ .kind = TRACE_ENDING, .name = "LEFT", .text = "a\nb \xc3\xa9" };
    append_record(&m);
    record = (struct trace_record){ .kind = TRACE_GAP, .lost = UINT64_MAX };
    append_record(&m);
    rewind_to(&m, m.len);
    assert_int_equal(trace_reader_next(&reader, &read_back), TRACE_OK);
    assert_string_equal(read_back.name, "LEFT");
    assert_string_equal(read_back.text, "a?b \xc3\xa9");
    assert_int_equal(trace_reader_next(&reader, &read_back), TRACE_OK);
    assert_true(read_back.lost == UINT64_MAX);
    free(m.bytes);
}

static void long_texts_are_cut(void **state)
{
    struct memory m = { .piece = 0 };
    char *text = malloc(TRACE_TEXT_MAX + 100);
    (void)state;
    assert_non_null(text);
    memset(text, 'x', TRACE_TEXT_MAX + 99);
    text[TRACE_TEXT_MAX + 99] = '\0';
    append_head(&m);
    record = (struct trace_record){ .kind = TRACE_REFUSED, .name = text, .text = text };
    append_record(&m);
    rewind_to(&m, m.len);
    assert_int_equal(trace_reader_next(&reader, &read_back), TRACE_OK);
    assert_int_equal(strlen(read_back.text), TRACE_TEXT_MAX);
    free(text);
    free(m.bytes);
}

static void the_largest_record_fits(void **state)
{
    uint8_t block[TRACE_BLOCK_MAX];
    static uint8_t body[WIRE_MAX_PAYLOAD];
    (void)state;
    record = (struct trace_record){ .kind = TRACE_MESSAGE,
                                    .n_fds = WIRE_MAX_FDS,
                                    .head = { .size = WIRE_MAX_PAYLOAD },
                                    .body = body };
    size_t n = trace_write(&record, block, sizeof(block));
    assert_in_range(n, WIRE_MAX_PAYLOAD, sizeof(block));
    for (size_t room = 0; room < n; room += 97) {
        assert_int_equal(trace_write(&record, block, room), 0);
    }
}

/* A head, a message, an ending, in one file; where each ends. */
static void three_blocks(struct memory *m, size_t ends[3])
{
    struct msg message;
    append_head(m);
    ends[0] = m->len;
    record_of(message_row(SPACE_FRONT, FRONT_SET_MEM_TABLE), SPACE_FRONT, false, &message);
    append_record(m);
    ends[1] = m->len;
    record = (struct trace_record){ .kind = TRACE_ENDING, .name = "LEFT", .text = "" };
    append_record(m);
    ends[2] = m->len;
    msg_clear(&message);
}

static void a_cut_file_is_read_to_its_last_whole_record(void **state)
{
    struct memory m = { .piece = 0 };
    size_t ends[3];
    (void)state;
    three_blocks(&m, ends);
    for (size_t len = 0; len <= ends[2]; len++) {
        int result;
        size_t n = 0;
        rewind_to(&m, len);
        while ((result = trace_reader_next(&reader, &read_back)) == TRACE_OK) {
            n++;
        }
        assert_int_equal(n, len < ends[1] ? 0 : len < ends[2] ? 1 : 2);
        if (len == 0 || len == ends[1] || len == ends[2]) {
            assert_int_equal(result, TRACE_END);
        } else if (len >= ends[0]) {
            assert_int_equal(result, len == ends[0] ? TRACE_END : TRACE_CUT);
        } else {
            assert_true(result == TRACE_CUT || result == TRACE_END || result == TRACE_FOREIGN);
        }
    }
    free(m.bytes);
}

static void a_growing_file_goes_on(void **state)
{
    struct memory m = { .piece = 7 };
    size_t ends[3];
    (void)state;
    three_blocks(&m, ends);
    rewind_to(&m, 0);
    size_t n = 0;
    for (size_t len = 1; len <= ends[2]; len++) {
        m.len = len;
        int result = trace_reader_next(&reader, &read_back);
        n += result == TRACE_OK ? 1 : 0;
        assert_true(result == TRACE_OK || result == TRACE_END || result == TRACE_CUT ||
                    (result == TRACE_FOREIGN && len < 12));
    }
    assert_int_equal(n, 2);
    free(m.bytes);
}

static void a_flipped_bit_is_survived(void **state)
{
    struct memory m = { .piece = 0 };
    size_t ends[3];
    (void)state;
    three_blocks(&m, ends);
    for (size_t bit = 0; bit < 8 * ends[2]; bit++) {
        m.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        rewind_to(&m, ends[2]);
        size_t n = 0;
        while (trace_reader_next(&reader, &read_back) == TRACE_OK) {
            n++;
        }
        assert_in_range(n, 0, 2);
        m.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(m.bytes);
}

static void others_are_told(void **state)
{
    char text[] = "diff --git a/README.md b/README.md\n";
    struct memory m = { .bytes = (uint8_t *)text };
    (void)state;
    rewind_to(&m, sizeof(text));
    assert_int_equal(trace_reader_next(&reader, &read_back), TRACE_FOREIGN);
}

/* Blocks of other kinds, short and long, between ours. */
static void unknown_blocks_are_passed_over(void **state)
{
    struct memory m = { .piece = 0 };
    const size_t large = 100000;
    uint8_t *block = calloc(1, large);
    (void)state;
    assert_non_null(block);
    append_head(&m);
    for (uint32_t size = 12; size <= large; size = size == 12 ? (uint32_t)large : size + 1) {
        const uint32_t type = 0x0bad;
        memcpy(block, &type, 4);
        memcpy(block + 4, &size, 4);
        memcpy(block + size - 4, &size, 4);
        append(&m, block, size);
    }
    record = (struct trace_record){ .kind = TRACE_GAP, .lost = 5 };
    append_record(&m);
    rewind_to(&m, m.len);
    assert_int_equal(trace_reader_next(&reader, &read_back), TRACE_OK);
    assert_int_equal(read_back.lost, 5);
    assert_int_equal(reader.skipped, 2);
    free(block);
    free(m.bytes);
}

/* A buffer that cannot hold a block gets none, whatever its size. */
static void a_small_buffer_is_refused(void **state)
{
    uint8_t block[TRACE_BLOCK_MAX];
    struct msg message;
    (void)state;
    record_of(message_row(SPACE_FRONT, FRONT_SET_MEM_TABLE), SPACE_FRONT, false, &message);
    size_t whole = trace_write(&record, block, sizeof(block));
    for (size_t len = 0; len < whole; len++) {
        assert_int_equal(trace_write(&record, block, len), 0);
    }
    assert_int_equal(trace_write(&record, block, whole), whole);
    whole = trace_write_head("dev0", block, sizeof(block));
    for (size_t len = 0; len < whole; len++) {
        assert_int_equal(trace_write_head("dev0", block, len), 0);
    }
    msg_clear(&message);
}

static void a_newer_version_is_the_reason_given(void **state)
{
    struct memory m = { .piece = 0 };
    (void)state;
    append_head(&m);
    record = (struct trace_record){ .kind = TRACE_GAP, .lost = 5 };
    append_record(&m);
    uint8_t *tag = memmem(m.bytes, m.len, TRACE_DISSECTOR, strlen(TRACE_DISSECTOR));
    assert_non_null(tag);
    uint8_t *version = tag + ((strlen(TRACE_DISSECTOR) + 3) & ~(size_t)3) + 4;
    assert_int_equal(*version, TRACE_VERSION);
    (*version)++;
    rewind_to(&m, m.len);
    assert_int_equal(trace_reader_next(&reader, &read_back), TRACE_BROKEN);
    assert_non_null(strstr(reader.why, "version"));
    assert_int_equal(trace_reader_next(&reader, &read_back), TRACE_BROKEN);
    free(m.bytes);
}

/* Several bytes at once, which one bit does not reach. */
static void random_damage_is_survived(void **state)
{
    struct memory m = { .piece = 0 };
    size_t ends[3];
    uint64_t seed = 0x1234567;
    (void)state;
    three_blocks(&m, ends);
    uint8_t *whole = malloc(m.len);
    assert_non_null(whole);
    memcpy(whole, m.bytes, m.len);
    for (int round = 0; round < 20000; round++) {
        for (int i = 0; i < 6; i++) {
            uint64_t random = sample_random(&seed);
            m.bytes[random % ends[2]] = (uint8_t)(random >> 32);
        }
        rewind_to(&m, ends[2]);
        size_t n = 0;
        while (trace_reader_next(&reader, &read_back) == TRACE_OK) {
            assert_true(read_back.n_fds <= WIRE_MAX_FDS);
            assert_true(read_back.kind != TRACE_MESSAGE || read_back.head.size <= WIRE_MAX_PAYLOAD);
            n++;
        }
        assert_in_range(n, 0, 2);
        memcpy(m.bytes, whole, ends[2]);
    }
    free(whole);
    free(m.bytes);
}

static const struct unit_test tests[] = {
    UNIT(every_message_comes_back),
    UNIT(every_wire_comes_back),
    UNIT(the_ends_of_a_socket_are_across_from_each_other),
    UNIT(what_is_not_known_is_passed_over),
    UNIT(texts_and_gaps_come_back),
    UNIT(long_texts_are_cut),
    UNIT(the_largest_record_fits),
    UNIT(a_cut_file_is_read_to_its_last_whole_record),
    UNIT(a_growing_file_goes_on),
    UNIT(a_flipped_bit_is_survived),
    UNIT(others_are_told),
    UNIT(unknown_blocks_are_passed_over),
    UNIT(a_small_buffer_is_refused),
    UNIT(a_newer_version_is_the_reason_given),
    UNIT(random_damage_is_survived),
};

UNIT_MAIN("traceformat", tests)
