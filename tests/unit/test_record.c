/* SPDX-License-Identifier: MIT
 *
 * What is remembered of a device's life, and which answers a request has by it. */
#include <string.h>

#include "check.h"
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

/* ---- what is kept of each message ---- */

/* Of ring 5, or of byte 5 of the configuration space, where it names one. */
static struct msg of_ring_5(const struct message_row *row)
{
    const enum field_kind kinds[] = { KIND_QUEUE_INDEX, KIND_CONFIG_OFFSET };
    struct msg m = sample_message(row, false);
    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
        const struct field *f = field_of_kind(&payloads[row->payload], kinds[k]);
        if (f != NULL) {
            field_set(&m, f, 5);
        }
    }
    return m;
}

static void expect_ring_message(const struct record *r, const struct message_row *row,
                                const struct msg *m)
{
    enum record_ring_kind kind = record_ring_kind(row->id);
    const struct record_ring_row *at = &record_ring_rows[kind];
    unit_check(kind < N_RING_KINDS, "%s is of a ring and has no place there", row->name);
    assert_int_equal(at->size, m->head.size);
    unit_check(record_ring_told(&r->rings[5], kind), "%s is not kept", row->name);
    assert_memory_equal(r->rings[5].body + at->offset, m->body, m->head.size);
}

static void what_is_kept_is_kept_as_it_came(void **state)
{
    const struct message_row *row;
    (void)state;
    for (size_t i = 0; (row = message_row_at(SPACE_FRONT, i)) != NULL; i++) {
        struct record r = fresh();
        struct msg m = of_ring_5(row);
        record_request(&r, row, &m);
        bool is_config = field_of_kind(&payloads[row->payload], KIND_CONFIG_OFFSET) != NULL;
        bool of_ring = record_ring_of(row, &m) != SIZE_MAX;
        bool kept = (row->traits & KEPT) != 0 && !is_config;
        unit_check(r.last[row->id].told == (kept && !of_ring), "%s", row->name);
        if (kept && of_ring) {
            expect_ring_message(&r, row, &m);
        } else if (kept) {
            assert_int_equal(r.last[row->id].size, m.head.size);
            assert_true(m.head.size == 0 || memcmp(r.last[row->id].body, m.body, m.head.size) == 0);
        }
        /* the sample's bytes may lie behind the largest configuration space */
        assert_true(is_config || !r.incomplete);
        msg_clear(&m);
    }
}

/* No message that is kept can be larger than its place. */
static void what_is_kept_has_room(void **state)
{
    const struct message_row *row;
    (void)state;
    for (size_t i = 0; (row = message_row_at(SPACE_FRONT, i)) != NULL; i++) {
        const struct payload *p = &payloads[row->payload];
        bool is_config = field_of_kind(p, KIND_CONFIG_OFFSET) != NULL;
        assert_true(row->id < RECORD_REQUESTS);
        if ((row->traits & KEPT) != 0 && !is_config) {
            unit_check(p->most <= sizeof(((struct record_last *)0)->body) ||
                           record_ring_kind(row->id) < N_RING_KINDS,
                       "%s: up to %u bytes", row->name, p->most);
        }
    }
    for (size_t k = 0; k < N_RING_KINDS; k++) {
        assert_true(record_ring_rows[k].offset + record_ring_rows[k].size <= RECORD_RING_BODY);
        for (size_t j = 0; j < k; j++) {
            assert_true(record_ring_rows[j].offset != record_ring_rows[k].offset);
        }
    }
}

static void the_last_one_counts(void **state)
{
    struct record r = fresh();
    (void)state;
    pass(&r, sample_u64(FRONT_NET_SET_MTU, 0, 1500));
    pass(&r, sample_u64(FRONT_NET_SET_MTU, 0, 9000));
    uint64_t mtu;
    memcpy(&mtu, r.last[FRONT_NET_SET_MTU].body, sizeof(mtu));
    assert_true(mtu == 9000);
}

static void nothing_is_known_at_first(void **state)
{
    static struct record r;
    static const struct record nothing;
    (void)state;
    pass(&r, region_of(FRONT_ADD_MEM_REG, 1, 2, 3));
    pass(&r, sample_state(FRONT_SET_VRING_NUM, 3, 256));
    pass(&r, sample_u64(FRONT_SET_FEATURES, 0, 7));
    pass(&r, empty(FRONT_POSTCOPY_ADVISE, 0));
    r.incomplete = r.answers.binding = true;
    record_clear(&r);
    assert_int_equal(r.n_rings + r.n_regions + r.n_table + r.n_announced, 0);
    assert_memory_equal(&r, &nothing, offsetof(struct record, announced));
    /* What a ring was in another life is not seen in this one. */
    pass(&r, sample_state(FRONT_SET_VRING_BASE, 4, 1));
    assert_int_equal(r.n_rings, 5);
    assert_int_equal(r.rings[3].num + r.rings[3].told, 0);
}

/* ---- rings ---- */

static void answered(struct record *r, uint32_t id, struct msg m)
{
    m.head.request = id;
    m.head.flags |= WIRE_REPLY;
    record_answer(r, row_of(id), &m);
    if ((row_of(id)->traits & STOPS_RING) != 0) {
        record_ring_stopped(r, record_ring_of(row_of(id), &m));
    }
    msg_clear(&m);
}

static struct msg kick(uint32_t ring)
{
    return sample_raw(FRONT_SET_VRING_KICK, 0, &(uint64_t){ ring }, 8, 1);
}

static struct record_ring *started(struct record *r, uint32_t ring)
{
    pass(r, sample_state(FRONT_SET_VRING_NUM, ring, 256));
    pass(r, sample_state(FRONT_SET_VRING_BASE, ring, 17));
    pass(r, kick(ring));
    return &r->rings[ring];
}

static void a_kick_starts_a_ring(void **state)
{
    struct record r = fresh();
    (void)state;
    const struct record_ring *ring = started(&r, 2);
    assert_true(ring->started);
    assert_int_equal(ring->num, 256);
    assert_int_equal(record_ring_base(ring), 17);
    assert_false(ring->base_is_stale);
    assert_false(r.rings[0].started);
}

/* Until then the back-end may be lost and the question may have to be answered. */
static void a_ring_is_forgotten_with_the_answer(void **state)
{
    const uint32_t questions[] = { FRONT_GET_VRING_BASE, FRONT_GET_VRING_BASE_SKIP_DRAIN };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(questions); i++) {
        struct record r = fresh();
        struct record_ring *ring = started(&r, 1);
        pass(&r, sample_state(questions[i], 1, 0));
        assert_true(ring->started && ring->stopping);
        assert_true(record_ring_told(ring, RING_KICK) && record_ring_told(ring, RING_BASE));
        answered(&r, questions[i], sample_state(0, 1, 99));
        assert_false(ring->started || ring->stopping);
        assert_int_equal(ring->told, 0);
        assert_int_equal(ring->num, 256); /* it is still known to have been set up */
    }
}

static void settings_behind_the_question_outlive_its_answer(void **state)
{
    struct record r = fresh();
    (void)state;
    struct record_ring *ring = started(&r, 1);
    pass(&r, sample_state(FRONT_GET_VRING_BASE, 1, 0));
    pass(&r, sample_state(FRONT_SET_VRING_BASE, 1, 5));
    assert_false(ring->started);
    assert_int_equal(ring->told, BIT(RING_BASE));
    pass(&r, kick(1));
    answered(&r, FRONT_GET_VRING_BASE, sample_state(0, 1, 99));
    assert_true(ring->started);
    assert_int_equal(ring->told, BIT(RING_BASE) | BIT(RING_KICK));
    assert_int_equal(record_ring_base(ring), 5);
}

static void an_answer_stops_no_other_ring(void **state)
{
    struct record r = fresh();
    (void)state;
    started(&r, 0);
    started(&r, 1);
    pass(&r, sample_state(FRONT_GET_VRING_BASE, 1, 0));
    answered(&r, FRONT_GET_VRING_BASE, sample_state(0, 0, 99));
    answered(&r, FRONT_GET_VRING_BASE, sample_state(0, 5, 99));
    answered(&r, FRONT_GET_VRING_BASE, sample_state(0, UINT32_MAX, 99));
    assert_true(r.rings[0].started && r.rings[1].started && r.rings[1].stopping);
    assert_int_equal(r.n_rings, 2);
}

/* Stopping does not disable: QEMU enables a net ring once. */
static void a_ring_that_starts_again_is_as_enabled_as_it_was(void **state)
{
    struct record r = fresh();
    (void)state;
    pass(&r, sample_state(FRONT_SET_VRING_ENABLE, 1, 1));
    struct record_ring *ring = started(&r, 1);
    pass(&r, sample_state(FRONT_GET_VRING_BASE, 1, 0));
    answered(&r, FRONT_GET_VRING_BASE, sample_state(0, 1, 99));
    assert_false(record_ring_told(ring, RING_ENABLE));
    pass(&r, kick(1));
    assert_true(record_ring_told(ring, RING_ENABLE));
    struct wire_vring_enable enable;
    memcpy(&enable, ring->body + record_ring_rows[RING_ENABLE].offset, sizeof(enable));
    assert_int_equal(enable.index, 1);
    assert_int_equal(enable.enable, 1);
    pass(&r, sample_state(FRONT_SET_VRING_ENABLE, 1, 0));
    pass(&r, sample_state(FRONT_GET_VRING_BASE, 1, 0));
    answered(&r, FRONT_GET_VRING_BASE, sample_state(0, 1, 99));
    pass(&r, kick(1));
    assert_false(record_ring_told(ring, RING_ENABLE));
}

static void a_ring_that_runs_on_has_a_stale_base(void **state)
{
    struct record r = fresh();
    (void)state;
    struct record_ring *ring = started(&r, 1);
    pass(&r, sample_state(FRONT_SET_VRING_NUM, 0, 256));
    record_rings_run(&r);
    assert_true(ring->base_is_stale);
    assert_false(r.rings[0].base_is_stale);
    record_set_base(&r, 1, 0x80018001);
    assert_false(ring->base_is_stale);
    assert_true(record_ring_base(ring) == 0x80018001);
    record_rings_run(&r);
    pass(&r, sample_state(FRONT_SET_VRING_BASE, 1, 4));
    assert_false(ring->base_is_stale);
}

static void a_reset_forgets_rings_status_and_region(void **state)
{
    const uint32_t resets[] = { FRONT_RESET_OWNER, FRONT_RESET_DEVICE };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(resets); i++) {
        struct record r = fresh();
        started(&r, 3);
        pass(&r, region_of(FRONT_ADD_MEM_REG, 1, 2, 3));
        pass(&r, sample_u64(FRONT_SET_STATUS, 0, 15));
        pass(&r, sample_raw(FRONT_SET_INFLIGHT_FD, 0, NULL, 24, 1));
        pass(&r, sample_u64(FRONT_NET_SET_MTU, 0, 1500));
        pass(&r, empty(resets[i], 0));
        assert_int_equal(r.n_rings, 0);
        assert_false(r.last[FRONT_SET_STATUS].told || r.last[FRONT_SET_INFLIGHT_FD].told);
        assert_true(r.last[FRONT_NET_SET_MTU].told);
        assert_int_equal(r.n_regions, 1);
        pass(&r, sample_state(FRONT_SET_VRING_NUM, 4, 64));
        assert_int_equal(r.rings[3].told + r.rings[3].num, 0);
    }
}

static void a_log_ends_with_its_migration(void **state)
{
    struct record r = fresh();
    (void)state;
    pass(&r, sample_raw(FRONT_SET_LOG_BASE, 0, NULL, 16, 1));
    pass(&r, sample_raw(FRONT_SET_LOG_FD, 0, NULL, 0, 1));
    pass(&r, sample_u64(FRONT_SET_FEATURES, 0, BIT(VHOST_LOG_ALL)));
    assert_true(r.last[FRONT_SET_LOG_BASE].told && r.last[FRONT_SET_LOG_FD].told);
    pass(&r, sample_u64(FRONT_SET_FEATURES, 0, 0));
    assert_false(r.last[FRONT_SET_LOG_BASE].told || r.last[FRONT_SET_LOG_FD].told);
}

/* ---- configuration space ---- */

static struct msg config_of(uint32_t id, uint32_t offset, uint32_t size, uint8_t byte)
{
    const struct wire_config head = { .offset = offset, .size = size, .flags = 1 };
    struct msg m = sample_raw(id, 0, NULL, (uint32_t)sizeof(head) + size, 0);
    memcpy(m.body, &head, sizeof(head));
    memset(m.body + sizeof(head), byte, size);
    return m;
}

static void written_bytes_add_up(void **state)
{
    struct record r = fresh();
    (void)state;
    pass(&r, config_of(FRONT_SET_CONFIG, 32, 1, 1));
    pass(&r, config_of(FRONT_SET_CONFIG, 8, 4, 2));
    pass(&r, config_of(FRONT_SET_CONFIG, 10, 4, 3));
    assert_true(record_bytes_known(&r.config_set, 8, 6));
    assert_true(record_bytes_known(&r.config_set, 32, 1));
    assert_false(record_bytes_known(&r.config_set, 7, 2));
    assert_false(record_bytes_known(&r.config_set, 14, 1));
    assert_memory_equal(r.config_set.at + 8, "\2\2\3\3\3\3", 6);
    assert_int_equal(r.config_flags, 1);
    assert_false(r.incomplete);
}

/* Some initiators send more bytes than the size says. */
static void only_bytes_that_are_announced_count(void **state)
{
    struct record r = fresh();
    (void)state;
    struct msg m = config_of(FRONT_SET_CONFIG, 0, 16, 9);
    memcpy(m.body + offsetof(struct wire_config, size), &(uint32_t){ 2 }, 4);
    pass(&r, m);
    assert_true(record_bytes_known(&r.config_set, 0, 2));
    assert_false(record_bytes_known(&r.config_set, 2, 1));
}

static void what_was_read_follows_what_is_written(void **state)
{
    struct record r = fresh();
    (void)state;
    answered(&r, FRONT_GET_CONFIG, config_of(0, 0, 4, 7));
    pass(&r, config_of(FRONT_SET_CONFIG, 2, 1, 8));
    assert_memory_equal(r.answers.config.at, "\7\7\10\7", 4);
    /* Where nothing was read, writing does not tell what reading would. */
    pass(&r, config_of(FRONT_SET_CONFIG, 3, 2, 8));
    assert_false(record_bytes_known(&r.answers.config, 4, 1));
}

static void bytes_beyond_the_end_do_no_harm(void **state)
{
    struct record r = fresh();
    (void)state;
    pass(&r, config_of(FRONT_SET_CONFIG, OFFER_CONFIG_MAX - 2, 2, 1));
    assert_false(r.incomplete);
    pass(&r, config_of(FRONT_SET_CONFIG, OFFER_CONFIG_MAX - 1, 2, 1));
    assert_true(r.incomplete);
    r.incomplete = false;
    pass(&r, config_of(FRONT_SET_CONFIG, UINT32_MAX, 200, 1));
    assert_true(r.incomplete);
    answered(&r, FRONT_GET_CONFIG, config_of(0, OFFER_CONFIG_MAX - 4, 300, 1));
    answered(&r, FRONT_GET_CONFIG, config_of(0, UINT32_MAX - 3, 300, 1));
    assert_true(record_bytes_known(&r.answers.config, OFFER_CONFIG_MAX - 4, 4));
    assert_false(record_bytes_known(&r.answers.config, OFFER_CONFIG_MAX - 4, 5));
    assert_false(record_bytes_known(&r.answers.config, UINT64_MAX, 1));
    assert_false(record_bytes_known(&r.answers.config, 1, UINT64_MAX));
    assert_false(record_bytes_known(&r.answers.config, OFFER_CONFIG_MAX, 1));
}

/* ---- memory: slots of descriptors ---- */

static void expect_slots_apart(const struct record *r)
{
    for (uint32_t i = 0; i < r->n_regions; i++) {
        assert_true(r->regions[i].slot < RECORD_MAX_REGIONS);
        for (uint32_t k = 0; k < i; k++) {
            assert_int_not_equal(r->regions[i].slot, r->regions[k].slot);
        }
    }
}

static void each_region_has_a_slot_of_its_own(void **state)
{
    struct record r = fresh();
    uint64_t seed = 5;
    (void)state;
    pass(&r, table_of(8, 32, 0));
    for (int i = 0; i < 2000; i++) {
        uint64_t at = sample_random(&seed) % 64;
        uint32_t before[RECORD_MAX_REGIONS];
        for (uint32_t k = 0; k < r.n_regions; k++) {
            before[k] = r.regions[k].slot;
        }
        uint32_t n = r.n_regions;
        pass(&r, region_of(i % 2 ? FRONT_ADD_MEM_REG : FRONT_REM_MEM_REG, at << 20, 4096, at));
        expect_slots_apart(&r);
        /* Those that stay keep theirs: a descriptor lies there. */
        for (uint32_t k = 0; r.n_regions >= n && k < n; k++) {
            assert_int_equal(r.regions[k].slot, before[k]);
        }
    }
}

static void the_first_regions_are_those_of_the_table(void **state)
{
    struct record r = fresh();
    (void)state;
    pass(&r, table_of(3, 32, 100));
    pass(&r, region_of(FRONT_ADD_MEM_REG, 900, 4096, 900));
    assert_int_equal(r.n_table, 3);
    assert_int_equal(r.n_regions, 4);
    pass(&r, region_of(FRONT_REM_MEM_REG, 101, 0x1001, 0x7001));
    assert_int_equal(r.n_table, 2);
    pass(&r, region_of(FRONT_REM_MEM_REG, 900, 4096, 900));
    assert_int_equal(r.n_table, 2);
    assert_int_equal(r.n_regions, 2);
    assert_int_equal(r.regions[1].guest_addr, 102);
    pass(&r, table_of(1, 32, 100));
    assert_int_equal(r.n_table, 1);
}

static void the_rest_of_xens_regions_is_kept(void **state)
{
    struct record r = fresh();
    uint8_t bytes[48] = { 0 };
    uint64_t rest = 0x1122334455667788;
    (void)state;
    r.protocol_acked = BIT(PROTOCOL_XEN_MMAP);
    struct msg m = table_of(2, 40, 300);
    memcpy(m.body + 8 + 40 + 32, &rest, sizeof(rest));
    pass(&r, m);
    assert_true(r.regions[0].xen == 0);
    assert_true(r.regions[1].xen == rest);
    memcpy(bytes + 40, &rest, sizeof(rest));
    pass(&r, sample_raw(FRONT_ADD_MEM_REG, 0, bytes, sizeof(bytes), 1));
    assert_true(r.regions[2].xen == rest);
}

/* ---- what could not be kept ---- */

static void what_does_not_fit_makes_the_record_incomplete(void **state)
{
    struct record r = fresh();
    (void)state;
    for (uint64_t i = 0; i < RECORD_MAX_REGIONS; i++) {
        pass(&r, region_of(FRONT_ADD_MEM_REG, i, 1, i));
    }
    pass(&r, sample_state(FRONT_SET_VRING_NUM, RECORD_MAX_RINGS - 1, 64));
    assert_false(r.incomplete);
    pass(&r, region_of(FRONT_ADD_MEM_REG, 1000, 1, 1000));
    assert_true(r.incomplete);
    const uint32_t far[] = { RECORD_MAX_RINGS, 32767, UINT32_MAX };
    for (size_t i = 0; i < ARRAY_SIZE(far); i++) {
        r.incomplete = false;
        pass(&r, sample_state(FRONT_SET_VRING_NUM, far[i], 64));
        assert_true(r.incomplete);
        assert_int_equal(r.n_rings, RECORD_MAX_RINGS);
    }
}

/* ---- answers ---- */

static const struct {
    uint32_t id;
    bool is_bits;
    size_t value, known;
} numbers[] = {
    { FRONT_GET_FEATURES, true, offsetof(struct record_answers, features),
      offsetof(struct record_answers, features_known) },
    { FRONT_GET_PROTOCOL_FEATURES, true, offsetof(struct record_answers, protocol),
      offsetof(struct record_answers, protocol_known) },
    { FRONT_GET_QUEUE_NUM, false, offsetof(struct record_answers, queues),
      offsetof(struct record_answers, queues_known) },
    { FRONT_GET_MAX_MEM_SLOTS, false, offsetof(struct record_answers, slots),
      offsetof(struct record_answers, slots_known) },
};

static uint64_t told_number(struct record *r, uint32_t id, uint64_t value)
{
    struct msg m = sample_u64(id, WIRE_REPLY, value);
    record_answer(r, row_of(id), &m);
    memcpy(&value, m.body, sizeof(value));
    msg_clear(&m);
    return value;
}

static void answers_are_kept_and_pass(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        struct record r = fresh();
        const uint8_t *a = (const uint8_t *)&r.answers;
        uint64_t kept;
        assert_false(a[numbers[i].known]);
        assert_true(told_number(&r, numbers[i].id, 0xf0) == 0xf0);
        assert_true(told_number(&r, numbers[i].id, 0xff) == 0xff);
        memcpy(&kept, a + numbers[i].value, sizeof(kept));
        assert_true(a[numbers[i].known] && kept == 0xff);
    }
}

static void a_later_back_end_shows_no_more_than_the_first(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        struct record r = fresh();
        told_number(&r, numbers[i].id, 0x66);
        r.answers.binding = true;
        assert_true(told_number(&r, numbers[i].id, 0xff) == 0x66);
        /* Less is for the policy to judge; and what was promised stays. */
        assert_true(told_number(&r, numbers[i].id, 0x43) == (numbers[i].is_bits ? 0x42 : 0x43));
        assert_true(told_number(&r, numbers[i].id, 0x66) == 0x66);
    }
}

static void what_the_first_was_not_asked_binds_nobody(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        struct record r = fresh();
        r.answers.binding = true;
        assert_true(told_number(&r, numbers[i].id, 0x66) == 0x66);
        assert_true(told_number(&r, numbers[i].id, 0xff) == 0x66);
    }
}

static void read_configuration_is_kept(void **state)
{
    struct record r = fresh();
    (void)state;
    answered(&r, FRONT_GET_CONFIG, sample_raw(0, 0, NULL, 0, 0));
    answered(&r, FRONT_GET_CONFIG, config_of(0, 0, 0, 0));
    assert_false(record_bytes_known(&r.answers.config, 0, 1));
    answered(&r, FRONT_GET_CONFIG, config_of(0, 4, 8, 6));
    assert_true(record_bytes_known(&r.answers.config, 4, 8));
    assert_false(record_bytes_known(&r.answers.config, 3, 1));
    assert_int_equal(r.answers.config.at[11], 6);
}

/* ---- announcements ---- */

static void announce(struct record *r, uint32_t id, const void *body, uint32_t size, size_t n_fds)
{
    struct msg m = sample_raw(id, 0, body, size, n_fds);
    record_announcement(r, message_row(SPACE_BACK, id), &m);
    msg_clear(&m);
}

static void an_object_is_taken_back(void **state)
{
    struct record r = fresh();
    const uint8_t one[16] = { 1 };
    const uint8_t other[16] = { [15] = 1 };
    (void)state;
    announce(&r, BACK_SHARED_OBJECT_ADD, one, 16, 0);
    announce(&r, BACK_SHARED_OBJECT_ADD, other, 16, 0);
    announce(&r, BACK_SHARED_OBJECT_ADD, other, 16, 0);
    assert_int_equal(r.n_announced, 2);
    announce(&r, BACK_SHARED_OBJECT_REMOVE, one, 16, 0);
    assert_int_equal(r.n_announced, 1);
    assert_int_equal(r.announced[0].withdrawal, BACK_SHARED_OBJECT_REMOVE);
    assert_int_equal(r.announced[0].size, 16);
    assert_memory_equal(r.announced[0].body, other, 16);
    announce(&r, BACK_SHARED_OBJECT_REMOVE, one, 16, 0);
    assert_int_equal(r.n_announced, 1);
}

/* By the same message, without a descriptor. */
static void a_notifier_is_taken_back(void **state)
{
    struct record r = fresh();
    struct wire_host_notifier n = { .index = 3, .size = 4096, .offset = 8192 };
    (void)state;
    announce(&r, BACK_VRING_HOST_NOTIFIER_MSG, &n, sizeof(n), 1);
    assert_int_equal(r.n_announced, 1);
    struct wire_host_notifier back;
    memcpy(&back, r.announced[0].body, sizeof(back));
    assert_true(back.index == (3 | WIRE_VRING_NOFD) && back.size == 0 && back.offset == 0);
    struct msg m =
        sample_raw(r.announced[0].withdrawal, 0, r.announced[0].body, r.announced[0].size, 0);
    assert_int_equal(check_message(message_row(SPACE_BACK, m.head.request), false, &m).result,
                     CHECK_OK);
    msg_clear(&m);
    n.index = 2 | WIRE_VRING_NOFD;
    announce(&r, BACK_VRING_HOST_NOTIFIER_MSG, &n, sizeof(n), 0);
    assert_int_equal(r.n_announced, 1);
    n.index = 3 | WIRE_VRING_NOFD;
    announce(&r, BACK_VRING_HOST_NOTIFIER_MSG, &n, sizeof(n), 0);
    assert_int_equal(r.n_announced, 0);
}

/* What is unmapped is named by where it was put: nothing else need be said again. */
static void a_mapping_is_taken_back(void **state)
{
    struct record r = fresh();
    struct wire_shmem_map map = {
        .shmid = 1, .fd_offset = 4096, .shm_offset = 8192, .len = 4096, .flags = 1
    };
    (void)state;
    announce(&r, BACK_SHMEM_MAP, &map, sizeof(map), 1);
    assert_int_equal(r.n_announced, 1);
    assert_int_equal(r.announced[0].withdrawal, BACK_SHMEM_UNMAP);
    assert_memory_equal(r.announced[0].body, &map, sizeof(map));
    map.shm_offset = 0;
    announce(&r, BACK_SHMEM_UNMAP, &map, sizeof(map), 0);
    map.shm_offset = 8192;
    map.shmid = 2;
    announce(&r, BACK_SHMEM_UNMAP, &map, sizeof(map), 0);
    assert_int_equal(r.n_announced, 1);
    map.shmid = 1;
    map.fd_offset = map.flags = 0;
    announce(&r, BACK_SHMEM_UNMAP, &map, sizeof(map), 0);
    assert_int_equal(r.n_announced, 0);
}

static void other_words_announce_nothing(void **state)
{
    const struct message_row *row;
    (void)state;
    for (size_t i = 0; (row = message_row_at(SPACE_BACK, i)) != NULL; i++) {
        struct record r = fresh();
        struct msg m = sample_message(row, false);
        record_announcement(&r, row, &m);
        bool announces = row->id == BACK_VRING_HOST_NOTIFIER_MSG ||
                         row->id == BACK_SHARED_OBJECT_ADD || row->id == BACK_SHMEM_MAP;
        unit_check(r.n_announced == announces, "%s", row->name);
        msg_clear(&m);
        /* QEMU's shared objects may come without their name. */
        m = sample_raw(row->id, 0, NULL, 0, 0);
        r.n_announced = 0;
        record_announcement(&r, row, &m);
        assert_int_equal(r.n_announced, 0);
        msg_clear(&m);
    }
}

static void more_announcements_than_fit_make_the_record_incomplete(void **state)
{
    static struct record r;
    uint8_t uuid[16] = { 0 };
    (void)state;
    for (uint32_t i = 0; i < RECORD_MAX_ANNOUNCED; i++) {
        memcpy(uuid, &i, sizeof(i));
        announce(&r, BACK_SHARED_OBJECT_ADD, uuid, 16, 0);
    }
    announce(&r, BACK_SHARED_OBJECT_ADD, uuid, 16, 0);
    assert_int_equal(r.n_announced, RECORD_MAX_ANNOUNCED);
    assert_false(r.incomplete);
    uuid[15] = 1;
    announce(&r, BACK_SHARED_OBJECT_ADD, uuid, 16, 0);
    assert_int_equal(r.n_announced, RECORD_MAX_ANNOUNCED);
    assert_true(r.incomplete);
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
    UNIT(what_is_kept_is_kept_as_it_came),
    UNIT(what_is_kept_has_room),
    UNIT(the_last_one_counts),
    UNIT(nothing_is_known_at_first),
    UNIT(a_kick_starts_a_ring),
    UNIT(a_ring_is_forgotten_with_the_answer),
    UNIT(settings_behind_the_question_outlive_its_answer),
    UNIT(an_answer_stops_no_other_ring),
    UNIT(a_ring_that_starts_again_is_as_enabled_as_it_was),
    UNIT(a_ring_that_runs_on_has_a_stale_base),
    UNIT(a_reset_forgets_rings_status_and_region),
    UNIT(a_log_ends_with_its_migration),
    UNIT(written_bytes_add_up),
    UNIT(only_bytes_that_are_announced_count),
    UNIT(what_was_read_follows_what_is_written),
    UNIT(bytes_beyond_the_end_do_no_harm),
    UNIT(each_region_has_a_slot_of_its_own),
    UNIT(the_first_regions_are_those_of_the_table),
    UNIT(the_rest_of_xens_regions_is_kept),
    UNIT(what_does_not_fit_makes_the_record_incomplete),
    UNIT(answers_are_kept_and_pass),
    UNIT(a_later_back_end_shows_no_more_than_the_first),
    UNIT(what_the_first_was_not_asked_binds_nobody),
    UNIT(read_configuration_is_kept),
    UNIT(an_object_is_taken_back),
    UNIT(a_notifier_is_taken_back),
    UNIT(a_mapping_is_taken_back),
    UNIT(other_words_announce_nothing),
    UNIT(more_announcements_than_fit_make_the_record_incomplete),
};

UNIT_MAIN("record", tests)
