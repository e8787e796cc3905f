/* SPDX-License-Identifier: MIT
 *
 * Every row of the message table, as request and as answer: what it describes is taken, everything
 * else is not. A new row is tested the day it is written. */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "feature.h"
#include "runner.h"
#include "sample.h"

/* Bytes past the longest payload that are tried too. */
#define BEYOND 70

typedef void each_fn(const struct message_row *row, bool reply);

static void for_each_message(each_fn *fn)
{
    enum wire_space space;
    const struct message_row *row;
    for (size_t i = 0; (row = sample_row(i, &space)) != NULL; i++) {
        fn(row, false);
        fn(row, true);
    }
}

static void rows_are_dense(void **state)
{
    (void)state;
    const size_t expected[] = { [SPACE_FRONT] = 45, [SPACE_BACK] = 10 };
    for (enum wire_space space = SPACE_FRONT; space <= SPACE_BACK; space++) {
        size_t n = 0;
        const struct message_row *row;
        while ((row = message_row_at(space, n)) != NULL) {
            n++;
            assert_int_equal(row->id, n);
            assert_ptr_equal(message_row(space, row->id), row);
        }
        assert_true(n >= expected[space]);
    }
}

static void names_are_unique(void **state)
{
    (void)state;
    for (enum wire_space space = SPACE_FRONT; space <= SPACE_BACK; space++) {
        const struct message_row *a;
        for (size_t i = 0; (a = message_row_at(space, i)) != NULL; i++) {
            const struct message_row *b;
            for (size_t k = i + 1; (b = message_row_at(space, k)) != NULL; k++) {
                assert_string_not_equal(a->name, b->name);
            }
        }
    }
}

static void numbers_without_a_row_have_none(void **state)
{
    (void)state;
    const uint32_t none[] = { 0, 46, 47, 1000, 0x7fffffff, 0x80000000, 0xffffffff };
    for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
        char buf[24];
        char expected[24];
        snprintf(expected, sizeof(expected), "unknown(%u)", none[i]);
        assert_null(message_row(SPACE_FRONT, none[i]));
        assert_null(message_row(SPACE_BACK, none[i]));
        assert_string_equal(message_name(SPACE_FRONT, none[i], buf), expected);
    }
    assert_null(message_row(SPACE_BACK, 11));
    assert_null(message_row_at(SPACE_FRONT, SIZE_MAX));
}

static void spaces_are_apart(void **state)
{
    char buf[24];
    (void)state;
    assert_string_equal(message_name(SPACE_FRONT, 2, buf), "SET_FEATURES");
    assert_string_equal(message_name(SPACE_BACK, 2, buf), "CONFIG_CHANGE_MSG");
}

static void gate_has_a_name(const struct message_row *row, bool reply)
{
    (void)reply;
    if (row->gate == GATE_PROTOCOL) {
        assert_non_null(protocol_of_bit(row->gate_bit));
    } else if (row->gate == GATE_FEATURE) {
        assert_non_null(feature_of_bit(DEVICE_UNKNOWN, row->gate_bit));
    }
}

static void gates_have_names(void **state)
{
    (void)state;
    for_each_message(gate_has_a_name);
}

static enum check_result check(const struct message_row *row, bool reply, const struct msg *m)
{
    return check_message(row, reply, m).result;
}

static void sample_passes(const struct message_row *row, bool reply)
{
    struct msg m = sample_message(row, reply);
    unit_check(check(row, reply, &m) == CHECK_OK, "%s%s", row->name, reply ? " reply" : "");
    msg_clear(&m);
}

static void what_a_row_describes_passes(void **state)
{
    (void)state;
    for_each_message(sample_passes);
}

/* `len` zero bytes with as many descriptors as zeroes ask for. Descriptors are not looked at, only
 * counted: -1 does. */
static struct msg zeroes(const struct message_row *row, bool reply, uint32_t len)
{
    static int borrowed[WIRE_MAX_FDS + 2];
    struct msg m = MSG_NULL;
    memset(borrowed, -1, sizeof(borrowed));
    const struct fds_allowed *allowed = message_fds(row, reply);
    assert_int_equal(msg_make(row->id, reply ? WIRE_REPLY : 0, NULL, len, &m), 0);
    m.fds.fd = borrowed;
    m.fds.n = allowed->rule == FDS_BY_NOFD_BIT ? 1 : allowed->least;
    return m;
}

static void drop_zeroes(struct msg *m)
{
    m->fds = FDSET_NULL;
    msg_clear(m);
}

static bool length_is_legal(const struct payload *p, uint32_t len)
{
    bool cut_head = p->tail != TAIL_NONE && len > 0 && len < p->fixed;
    return len >= p->least && len <= p->most && !cut_head;
}

static void lengths(const struct message_row *row, bool reply)
{
    const struct payload *p = message_payload(row, reply);
    for (uint32_t len = 0; len <= (uint32_t)p->most + BEYOND; len++) {
        struct msg m = zeroes(row, reply, len);
        enum check_result expected = length_is_legal(p, len) ? CHECK_OK : CHECK_WRONG_SIZE;
        enum check_result got = check(row, reply, &m);
        unit_check(got == expected, "%s%s with %u bytes: %d, expected %d", row->name,
                   reply ? " reply" : "", len, got, expected);
        drop_zeroes(&m);
    }
}

static void only_lengths_of_the_row_pass(void **state)
{
    (void)state;
    for_each_message(lengths);
}

static void fd_counts(const struct message_row *row, bool reply)
{
    const struct fds_allowed *allowed = message_fds(row, reply);
    const struct payload *p = message_payload(row, reply);
    for (size_t n = 0; n <= WIRE_MAX_FDS; n++) {
        struct msg m = zeroes(row, reply, p->least);
        size_t least = allowed->rule == FDS_BY_NOFD_BIT ? 1 : allowed->least;
        size_t most = allowed->rule == FDS_BY_REGION ? 0 : allowed->most;
        m.fds.n = n;
        enum check_result expected = n >= least && n <= most ? CHECK_OK : CHECK_BAD_DESCRIPTORS;
        unit_check(check(row, reply, &m) == expected, "%s%s with %zu descriptors", row->name,
                   reply ? " reply" : "", n);
        drop_zeroes(&m);
    }
}

static void only_descriptor_counts_of_the_row_pass(void **state)
{
    (void)state;
    for_each_message(fd_counts);
}

/* "No descriptor" in the index field: then none may come. */
static void nofd(const struct message_row *row, bool reply)
{
    const struct fds_allowed *allowed = message_fds(row, reply);
    const struct payload *p = message_payload(row, reply);
    if (allowed->rule != FDS_BY_NOFD_BIT) {
        return;
    }
    for (size_t n = 0; n < 4; n++) {
        struct msg m = zeroes(row, reply, p->least);
        field_set(&m, field_of_kind(p, KIND_VRING_FD), 0x101);
        m.fds.n = n;
        assert_int_equal(check(row, reply, &m), n == 0 ? CHECK_OK : CHECK_BAD_DESCRIPTORS);
        drop_zeroes(&m);
    }
}

static void no_descriptor_bit_forbids_one(void **state)
{
    (void)state;
    for_each_message(nofd);
}

/* A descriptor for each region that the table says it has, whatever room there is. */
static void regions_and_descriptors_agree(void **state)
{
    const struct message_row *row = message_row(SPACE_FRONT, FRONT_SET_MEM_TABLE);
    (void)state;
    for (uint32_t regions = 0; regions <= 32; regions++) {
        struct msg m = zeroes(row, false, 8 + 32 * regions);
        memcpy(m.body, &regions, sizeof(regions));
        for (size_t n = 0; n <= regions + 1; n++) {
            m.fds.n = n;
            assert_int_equal(check(row, false, &m),
                             n == regions ? CHECK_OK : CHECK_BAD_DESCRIPTORS);
        }
        drop_zeroes(&m);
    }
}

/* A count inside that reaches past the message, also where a product of it would wrap. */
static void counts(const struct message_row *row, bool reply)
{
    const struct payload *p = message_payload(row, reply);
    if (p->tail == TAIL_NONE) {
        return;
    }
    uint32_t element = p->tail == TAIL_REPEAT ? payloads[p->tail_element].fixed : 1;
    for (uint32_t room = 0; p->fixed + room <= p->most; room += room < 200 ? 1 : 97) {
        uint32_t fits = room / element;
        const uint32_t tried[] = { 0,          fits,       fits + 1,   fits + 2,  0x08000000,
                                   0x10000000, 0x7fffffff, 0x80000000, 0xffffffff };
        struct msg m = zeroes(row, reply, p->fixed + room);
        for (size_t i = 0; i < ARRAY_SIZE(tried); i++) {
            memcpy(m.body + p->tail_count_offset, &tried[i], sizeof(tried[i]));
            m.fds.n = message_fds(row, reply)->rule == FDS_BY_REGION ? tried[i] : 0;
            enum check_result expected = tried[i] <= fits ? CHECK_OK : CHECK_BAD_FIELD;
            unit_check(check(row, reply, &m) == expected, "%s%s: %u elements in %u bytes",
                       row->name, reply ? " reply" : "", tried[i], room);
        }
        drop_zeroes(&m);
    }
}

static void counts_inside_stay_inside(void **state)
{
    (void)state;
    for_each_message(counts);
}

/* A stretch of memory may reach up to the last address and no further; the sum may be 0. */
static void memory_does_not_wrap_around(void **state)
{
    static const struct {
        enum wire_space space;
        uint32_t request;
        uint32_t start, size; /* where the two are */
    } rows[] = {
        { SPACE_FRONT, FRONT_SET_MEM_TABLE, 8, 16 },
        { SPACE_FRONT, FRONT_SET_MEM_TABLE, 24, 16 },
        { SPACE_FRONT, FRONT_SET_MEM_TABLE, 32, 16 },
        { SPACE_FRONT, FRONT_SET_MEM_TABLE, 40, 48 },
        { SPACE_FRONT, FRONT_ADD_MEM_REG, 8, 16 },
        { SPACE_FRONT, FRONT_ADD_MEM_REG, 24, 16 },
        { SPACE_FRONT, FRONT_ADD_MEM_REG, 32, 16 },
        { SPACE_FRONT, FRONT_REM_MEM_REG, 8, 16 },
        { SPACE_FRONT, FRONT_SET_LOG_BASE, 8, 0 },
        { SPACE_FRONT, FRONT_SET_INFLIGHT_FD, 8, 0 },
        { SPACE_BACK, BACK_VRING_HOST_NOTIFIER_MSG, 16, 8 },
        { SPACE_BACK, BACK_SHMEM_MAP, 8, 24 },
        { SPACE_BACK, BACK_SHMEM_UNMAP, 16, 24 },
    };
    static const struct {
        uint64_t start, size;
        bool ok;
    } tried[] = {
        { 0, UINT64_MAX, true },           { UINT64_MAX, 0, true },
        { UINT64_MAX, 1, true },           { UINT64_MAX, 2, false },
        { UINT64_MAX - 4095, 4096, true }, { UINT64_MAX - 4095, 4097, false },
        { 4096, UINT64_MAX, false },       { BIT(63), BIT(63), true },
        { BIT(63), BIT(63) + 1, false },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct message_row *row = message_row(rows[i].space, rows[i].request);
        for (size_t k = 0; k < ARRAY_SIZE(tried); k++) {
            struct msg m = sample_message(row, false);
            memset(m.body + 8 * (row->payload == PAYLOAD_mem_table), 0,
                   m.head.size - 8 * (row->payload == PAYLOAD_mem_table));
            memcpy(m.body + rows[i].start, &tried[k].start, sizeof(uint64_t));
            memcpy(m.body + rows[i].size, &tried[k].size, sizeof(uint64_t));
            enum check_result expected = tried[k].ok ? CHECK_OK : CHECK_BAD_SPAN;
            unit_check(check(row, false, &m) == expected, "%s at %u: %llx + %llx", row->name,
                       rows[i].start, (unsigned long long)tried[k].start,
                       (unsigned long long)tried[k].size);
            msg_clear(&m);
        }
    }
}

static void flags(const struct message_row *row, bool reply)
{
    for (unsigned bit = 2; bit < 32; bit++) {
        struct msg m = sample_message(row, reply);
        m.head.flags |= UINT32_C(1) << bit;
        assert_int_equal(check(row, reply, &m), bit < 4 ? CHECK_OK : CHECK_BAD_FLAGS);
        msg_clear(&m);
    }
}

static void undefined_flags_are_a_fault(void **state)
{
    (void)state;
    for_each_message(flags);
}

static void unknown_message_is_checked_for_flags_alone(void **state)
{
    (void)state;
    struct msg m = sample_raw(1000, 0, NULL, 4096, 20);
    assert_int_equal(check(NULL, false, &m), CHECK_OK);
    assert_int_equal(check(NULL, true, &m), CHECK_OK);
    m.head.flags |= 0x10;
    assert_int_equal(check(NULL, false, &m), CHECK_BAD_FLAGS);
    msg_clear(&m);
}

static void fault_says_what_was_found(void **state)
{
    const struct message_row *row = message_row(SPACE_FRONT, FRONT_SET_VRING_NUM);
    struct msg m = sample_raw(row->id, 0, NULL, 7, 0);
    (void)state;
    struct check_fault f = check_message(row, false, &m);
    assert_int_equal(f.result, CHECK_WRONG_SIZE);
    assert_int_equal(f.value, 7);
    assert_int_equal(f.least, 8);
    assert_int_equal(f.most, 8);
    msg_clear(&m);
}

static const struct unit_test tests[] = {
    UNIT(rows_are_dense),
    UNIT(names_are_unique),
    UNIT(numbers_without_a_row_have_none),
    UNIT(spaces_are_apart),
    UNIT(gates_have_names),
    UNIT(what_a_row_describes_passes),
    UNIT(only_lengths_of_the_row_pass),
    UNIT(only_descriptor_counts_of_the_row_pass),
    UNIT(no_descriptor_bit_forbids_one),
    UNIT(regions_and_descriptors_agree),
    UNIT(counts_inside_stay_inside),
    UNIT(memory_does_not_wrap_around),
    UNIT(undefined_flags_are_a_fault),
    UNIT(unknown_message_is_checked_for_flags_alone),
    UNIT(fault_says_what_was_found),
};

UNIT_MAIN("message_table", tests)
