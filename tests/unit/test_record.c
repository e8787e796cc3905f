/* SPDX-License-Identifier: MIT
 *
 * What is remembered of a device's life, and which answers a request has by it. */
#include <string.h>

#include "feature.h"
#include "record.h"
#include "runner.h"
#include "sample.h"

static const struct message_row *row_of(uint32_t id)
{
    return message_row(SPACE_FRONT, id);
}

static void pass(struct record *r, struct msg m)
{
    record_request(r, row_of(m.head.request), &m);
    msg_clear(&m);
}

static enum expect expects(const struct record *r, struct msg m)
{
    enum expect e = record_expects(r, row_of(m.head.request), &m);
    msg_clear(&m);
    return e;
}

static bool can_refuse(const struct record *r, struct msg m)
{
    bool can = record_can_refuse(r, row_of(m.head.request), &m);
    msg_clear(&m);
    return can;
}

static struct msg empty(uint32_t id, uint32_t flags)
{
    return sample_raw(id, flags, NULL, 0, 0);
}

static struct msg table_of(uint32_t n, uint32_t stride, uint64_t first)
{
    struct msg m = sample_raw(FRONT_SET_MEM_TABLE, 0, NULL, 8 + stride * n, n);
    memcpy(m.body, &n, sizeof(n));
    for (uint32_t i = 0; i < n; i++) {
        const struct wire_region region = { first + i, 0x1000 + i, 0x7000 + i, 0 };
        memcpy(m.body + 8 + (size_t)stride * i, &region, sizeof(region));
    }
    return m;
}

static struct msg region_of(uint32_t id, uint64_t address, uint64_t size, uint64_t user)
{
    const struct wire_mem_region region = { 0, address, size, user, 0 };
    return sample_raw(id, 0, &region, sizeof(region), id == FRONT_ADD_MEM_REG ? 1 : 0);
}

static struct record fresh(void)
{
    return (struct record){ .n_regions = 0 };
}

static void last_acknowledged_features_count(void **state)
{
    struct record r = fresh();
    (void)state;
    pass(&r, sample_u64(FRONT_SET_FEATURES, 0, 0x1122334455667788));
    pass(&r, sample_u64(FRONT_SET_PROTOCOL_FEATURES, 0, 0x8877665544332211));
    assert_true(r.features_acked == 0x1122334455667788);
    assert_true(r.protocol_acked == 0x8877665544332211);
    pass(&r, sample_u64(FRONT_SET_FEATURES, 0, BIT(26)));
    assert_true(r.features_acked == BIT(26));
    assert_true(r.protocol_acked == 0x8877665544332211);
}

static void a_table_replaces_the_regions(void **state)
{
    struct record r = fresh();
    (void)state;
    pass(&r, table_of(8, 32, 100));
    pass(&r, table_of(3, 32, 200));
    assert_int_equal(r.n_regions, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(r.regions[i].guest_addr, 200 + i);
        assert_int_equal(r.regions[i].size, 0x1000 + i);
        assert_int_equal(r.regions[i].user_addr, 0x7000 + i);
    }
    pass(&r, table_of(0, 32, 0));
    assert_int_equal(r.n_regions, 0);
}

static void xens_regions_are_longer(void **state)
{
    struct record r = fresh();
    (void)state;
    r.protocol_acked = BIT(PROTOCOL_XEN_MMAP);
    pass(&r, table_of(3, 40, 300));
    assert_int_equal(r.n_regions, 3);
    assert_int_equal(r.regions[2].guest_addr, 302);
}

static void regions_come_and_go_one_by_one(void **state)
{
    struct record r = fresh();
    (void)state;
    for (uint64_t i = 0; i < 64; i++) {
        pass(&r, region_of(FRONT_ADD_MEM_REG, i << 20, 4096, i));
    }
    for (uint64_t i = 1; i < 20; i += 2) {
        pass(&r, region_of(FRONT_REM_MEM_REG, i << 20, 4096, i));
    }
    assert_int_equal(r.n_regions, 54);
    /* Address, size and user address must all be those of the region. */
    pass(&r, region_of(FRONT_REM_MEM_REG, 0, 4096, 1));
    pass(&r, region_of(FRONT_REM_MEM_REG, 0, 8192, 0));
    pass(&r, region_of(FRONT_REM_MEM_REG, 5, 4096, 0));
    assert_int_equal(r.n_regions, 54);
    pass(&r, region_of(FRONT_REM_MEM_REG, 0, 4096, 0));
    assert_int_equal(r.n_regions, 53);
    assert_int_equal(r.regions[0].user_addr, 2);
    assert_int_equal(r.regions[52].user_addr, 63);
}

static void more_regions_than_fit_do_no_harm(void **state)
{
    static struct {
        struct record r;
        uint64_t behind;
    } guarded;
    (void)state;
    guarded.behind = 0x5a5a;
    for (uint64_t i = 0; i < RECORD_MAX_REGIONS + 40; i++) {
        pass(&guarded.r, region_of(FRONT_ADD_MEM_REG, i, 1, i));
    }
    assert_int_equal(guarded.r.n_regions, RECORD_MAX_REGIONS);
    assert_int_equal(guarded.behind, 0x5a5a);
}

static void postcopy_has_phases(void **state)
{
    struct record r = fresh();
    (void)state;
    pass(&r, table_of(2, 32, 100));
    pass(&r, empty(FRONT_POSTCOPY_ADVISE, 0));
    assert_int_equal(r.postcopy, POSTCOPY_ADVISED);
    pass(&r, empty(FRONT_POSTCOPY_LISTEN, WIRE_NEED_REPLY));
    assert_int_equal(r.postcopy, POSTCOPY_LISTENING);
    /* The empty table that closes the exchange changes nothing. */
    pass(&r, table_of(0, 32, 0));
    assert_int_equal(r.n_regions, 2);
    pass(&r, empty(FRONT_POSTCOPY_END, 0));
    assert_int_equal(r.postcopy, POSTCOPY_NONE);
    pass(&r, table_of(0, 32, 0));
    assert_int_equal(r.n_regions, 0);
}

/* Every row: without and with need_reply, before and after reply_ack. */
static void every_row_is_answered_as_it_says(void **state)
{
    const struct message_row *row;
    (void)state;
    for (size_t i = 0; (row = message_row_at(SPACE_FRONT, i)) != NULL; i++) {
        struct record r = fresh();
        bool reply = row->answer == ANSWER_REPLY;
        bool uninvited = row->answer == ANSWER_ACK_EVEN_UNASKED;
        for (int acked = 0; acked < 2; acked++) {
            r.protocol_acked = acked ? BIT(PROTOCOL_REPLY_ACK) : 0;
            struct msg m = sample_message(row, false);
            assert_int_equal(record_expects(&r, row, &m), reply       ? EXPECT_ANSWER
                                                          : uninvited ? EXPECT_MAYBE
                                                                      : EXPECT_NOTHING);
            assert_false(record_can_refuse(&r, row, &m));
            m.head.flags |= WIRE_NEED_REPLY;
            assert_int_equal(record_expects(&r, row, &m),
                             reply || acked ? EXPECT_ANSWER : EXPECT_MAYBE);
            bool by_ack = row->answer != ANSWER_REPLY && row->answer != ANSWER_LOG;
            assert_int_equal(record_can_refuse(&r, row, &m), by_ack && acked);
            msg_clear(&m);
        }
    }
}

static void an_unknown_message_may_be_answered(void **state)
{
    struct record r = fresh();
    struct msg m = sample_raw(1000, WIRE_NEED_REPLY, NULL, 0, 0);
    (void)state;
    assert_int_equal(record_expects(&r, NULL, &m), EXPECT_MAYBE);
    r.protocol_acked = BIT(PROTOCOL_REPLY_ACK);
    assert_int_equal(record_expects(&r, NULL, &m), EXPECT_MAYBE);
    msg_clear(&m);
}

/* The acknowledgement that a SET_PROTOCOL_FEATURES asks for goes by the rules before it. */
static void setting_reply_ack_counts_from_the_next_message_on(void **state)
{
    struct record r = fresh();
    (void)state;
    struct msg m =
        sample_u64(FRONT_SET_PROTOCOL_FEATURES, WIRE_NEED_REPLY, BIT(PROTOCOL_REPLY_ACK));
    assert_int_equal(record_expects(&r, row_of(16), &m), EXPECT_MAYBE);
    pass(&r, m);
    assert_int_equal(expects(&r, empty(FRONT_SET_OWNER, WIRE_NEED_REPLY)), EXPECT_ANSWER);
    pass(&r, sample_u64(FRONT_SET_PROTOCOL_FEATURES, WIRE_NEED_REPLY, 0));
    assert_int_equal(expects(&r, empty(FRONT_SET_OWNER, WIRE_NEED_REPLY)), EXPECT_MAYBE);
}

static void log_base_is_answered_with_log_shmfd_only(void **state)
{
    struct record r = fresh();
    (void)state;
    assert_int_equal(expects(&r, sample_raw(FRONT_SET_LOG_BASE, 0, NULL, 16, 0)), EXPECT_NOTHING);
    r.protocol_acked = BIT(PROTOCOL_LOG_SHMFD);
    assert_int_equal(expects(&r, sample_raw(FRONT_SET_LOG_BASE, 0, NULL, 16, 1)), EXPECT_ANSWER);
    assert_int_equal(expects(&r, sample_raw(FRONT_SET_LOG_BASE, WIRE_NEED_REPLY, NULL, 16, 1)),
                     EXPECT_ANSWER);
    r.protocol_acked = BIT(PROTOCOL_LOG_SHMFD) | BIT(PROTOCOL_REPLY_ACK);
    assert_false(can_refuse(&r, sample_raw(FRONT_SET_LOG_BASE, WIRE_NEED_REPLY, NULL, 16, 1)));
}

static void memory_comes_back_in_postcopy(void **state)
{
    struct record r = fresh();
    (void)state;
    r.protocol_acked = BIT(PROTOCOL_REPLY_ACK);
    r.postcopy = POSTCOPY_LISTENING;
    assert_int_equal(expects(&r, table_of(2, 32, 1)), EXPECT_ANSWER);
    assert_int_equal(expects(&r, region_of(FRONT_ADD_MEM_REG, 1, 2, 3)), EXPECT_ANSWER);
    assert_int_equal(expects(&r, table_of(0, 32, 1)), EXPECT_NOTHING);
    struct msg m = table_of(2, 32, 1);
    m.head.flags |= WIRE_NEED_REPLY;
    assert_false(can_refuse(&r, m));
    r.postcopy = POSTCOPY_ADVISED;
    assert_int_equal(expects(&r, table_of(2, 32, 1)), EXPECT_MAYBE);
    assert_int_equal(expects(&r, table_of(0, 32, 1)), EXPECT_NOTHING);
}

static void end_of_postcopy_is_answered_by_some_anyway(void **state)
{
    struct record r = fresh();
    (void)state;
    assert_int_equal(expects(&r, empty(FRONT_POSTCOPY_END, 0)), EXPECT_MAYBE);
    assert_int_equal(expects(&r, empty(FRONT_POSTCOPY_LISTEN, 0)), EXPECT_MAYBE);
    r.protocol_acked = BIT(PROTOCOL_REPLY_ACK);
    assert_int_equal(expects(&r, empty(FRONT_POSTCOPY_END, WIRE_NEED_REPLY)), EXPECT_ANSWER);
}

static void gates_open_by_their_bit_alone(void **state)
{
    enum wire_space space;
    const struct message_row *row;
    (void)state;
    for (size_t i = 0; (row = sample_row(i, &space)) != NULL; i++) {
        uint64_t bit = BIT(row->gate_bit);
        bool always = row->gate == GATE_ALWAYS;
        bool feature = row->gate == GATE_FEATURE;
        bool protocol = row->gate == GATE_PROTOCOL;
        assert_int_equal(record_gate_open(row, 0, 0), always);
        assert_int_equal(record_gate_open(row, bit, 0), always || feature);
        assert_int_equal(record_gate_open(row, 0, bit), always || protocol);
        assert_int_equal(record_gate_open(row, ~bit, ~bit), always);
    }
}

static const struct unit_test tests[] = {
    UNIT(last_acknowledged_features_count),
    UNIT(a_table_replaces_the_regions),
    UNIT(xens_regions_are_longer),
    UNIT(regions_come_and_go_one_by_one),
    UNIT(more_regions_than_fit_do_no_harm),
    UNIT(postcopy_has_phases),
    UNIT(every_row_is_answered_as_it_says),
    UNIT(an_unknown_message_may_be_answered),
    UNIT(setting_reply_ack_counts_from_the_next_message_on),
    UNIT(log_base_is_answered_with_log_shmfd_only),
    UNIT(memory_comes_back_in_postcopy),
    UNIT(end_of_postcopy_is_answered_by_some_anyway),
    UNIT(gates_open_by_their_bit_alone),
};

UNIT_MAIN("record", tests)
