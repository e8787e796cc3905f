/* SPDX-License-Identifier: MIT
 *
 * Descriptors that belong to a record: as many are open as it names. */
#include "kept.h"

#include <string.h>
#include <sys/resource.h>

#include "runner.h"
#include "sample.h"

static struct record record;
static struct kept kept;
static size_t n_before;

static void begin(void)
{
    memset(&record, 0, sizeof(record));
    memset(&kept, 0, sizeof(kept));
    n_before = unit_open_fds();
}

static size_t n_kept(void)
{
    return unit_open_fds() - n_before;
}

static int take(struct msg *m)
{
    const struct message_row *row = message_row(SPACE_FRONT, m->head.request);
    record_request(&record, row, m);
    return kept_request(&kept, &record, row, m);
}

static void pass(struct msg m)
{
    assert_int_equal(take(&m), 0);
    msg_clear(&m);
}

static void answered(uint32_t ring)
{
    record_ring_stopped(&record, ring);
    kept_follow(&kept, &record);
}

static struct msg vring_fd(uint32_t request, uint64_t ring, bool with_fd)
{
    uint64_t body = ring | (with_fd ? 0 : WIRE_VRING_NOFD);
    return sample_raw(request, 0, &body, sizeof(body), with_fd);
}

static struct msg table_of(uint32_t n, uint64_t first)
{
    struct msg m = sample_raw(FRONT_SET_MEM_TABLE, 0, NULL, 8 + 32 * n, n);
    memcpy(m.body, &n, sizeof(n));
    for (uint32_t i = 0; i < n; i++) {
        const struct wire_region region = { first + i, 4096, first + i, 0 };
        memcpy(m.body + 8 + (size_t)32 * i, &region, sizeof(region));
    }
    return m;
}

static struct msg region_of(uint32_t request, uint64_t at, size_t n_fds)
{
    const struct wire_mem_region region = { 0, at, 4096, at, 0 };
    return sample_raw(request, 0, &region, sizeof(region), n_fds);
}

/* Both are the same event: what is written to one is read from the other. */
static void expect_copy(int fd, int of)
{
    uint64_t value = 7;
    assert_true(fd >= 0 && fd != of);
    assert_int_equal(write(of, &value, sizeof(value)), sizeof(value));
    value = 0;
    assert_int_equal(read(fd, &value, sizeof(value)), sizeof(value));
    assert_int_equal(value, 7);
}

static void what_is_kept_is_a_copy(void **state)
{
    (void)state;
    begin();
    struct msg m = vring_fd(FRONT_SET_VRING_KICK, 2, true);
    assert_int_equal(take(&m), 0);
    assert_int_equal(m.fds.n, 1); /* the message still has its own */
    expect_copy(kept_ring(&kept, 2, RING_KICK), m.fds.fd[0]);
    msg_clear(&m);
    m = region_of(FRONT_ADD_MEM_REG, 0, 1);
    assert_int_equal(take(&m), 0);
    expect_copy(kept_region(&kept, &record.regions[0]), m.fds.fd[0]);
    msg_clear(&m);
    m = sample_raw(FRONT_SET_INFLIGHT_FD, 0, NULL, 24, 1);
    assert_int_equal(take(&m), 0);
    expect_copy(kept_last(&kept, FRONT_SET_INFLIGHT_FD), m.fds.fd[0]);
    msg_clear(&m);
    assert_int_equal(n_kept(), 3);
    kept_clear(&kept);
    assert_int_equal(n_kept(), 0);
    kept_clear(&kept);
}

/* A row whose descriptors a successor must be given, and nothing else, leaves some. */
static void only_what_is_replayed_is_kept(void **state)
{
    const struct message_row *row;
    (void)state;
    for (size_t i = 0; (row = message_row_at(SPACE_FRONT, i)) != NULL; i++) {
        begin();
        struct msg m = sample_message(row, false);
        size_t n = m.fds.n;
        const struct field *f = field_of_kind(&payloads[row->payload], KIND_QUEUE_INDEX);
        if (f != NULL) {
            field_set(&m, f, 5);
        }
        assert_int_equal(take(&m), 0);
        msg_clear(&m);
        bool wanted = (row->traits & (KEPT | SETS_REGIONS | ADDS_REGION)) != 0;
        unit_check(n_kept() == (wanted ? n : 0), "%s: %zu of %zu", row->name, n_kept(), n);
        kept_clear(&kept);
        assert_int_equal(n_kept(), 0);
    }
}

static void the_last_one_replaces_the_one_before(void **state)
{
    const uint32_t of_ring[] = { FRONT_SET_VRING_KICK, FRONT_SET_VRING_CALL, FRONT_SET_VRING_ERR };
    (void)state;
    begin();
    for (size_t i = 0; i < ARRAY_SIZE(of_ring); i++) {
        for (int k = 0; k < 5; k++) {
            pass(vring_fd(of_ring[i], 0, true));
            pass(vring_fd(of_ring[i], 255, true));
        }
    }
    assert_int_equal(n_kept(), 6);
    for (int k = 0; k < 5; k++) {
        pass(sample_raw(FRONT_SET_LOG_BASE, 0, NULL, 16, 1));
        pass(sample_raw(FRONT_SET_INFLIGHT_FD, 0, NULL, 24, 1));
    }
    assert_int_equal(n_kept(), 8);
    kept_clear(&kept);
    assert_int_equal(n_kept(), 0);
}

static void no_descriptor_is_one_too(void **state)
{
    (void)state;
    begin();
    pass(vring_fd(FRONT_SET_VRING_CALL, 1, true));
    pass(vring_fd(FRONT_SET_VRING_CALL, 1, false));
    assert_int_equal(n_kept(), 0);
    assert_int_equal(kept_ring(&kept, 1, RING_CALL), -1);
    assert_true(record_ring_told(&record.rings[1], RING_CALL));
    kept_clear(&kept);
}

static void a_stopped_rings_descriptors_are_closed_with_the_answer(void **state)
{
    (void)state;
    begin();
    for (uint64_t ring = 0; ring < 2; ring++) {
        pass(vring_fd(FRONT_SET_VRING_KICK, ring, true));
        pass(vring_fd(FRONT_SET_VRING_CALL, ring, true));
        pass(vring_fd(FRONT_SET_VRING_ERR, ring, true));
    }
    pass(sample_state(FRONT_GET_VRING_BASE, 1, 0));
    assert_int_equal(n_kept(), 6);
    answered(1);
    assert_int_equal(n_kept(), 3);
    assert_int_equal(kept_ring(&kept, 1, RING_KICK), -1);
    assert_true(kept_ring(&kept, 0, RING_KICK) >= 0);
    kept_clear(&kept);
}

static void settings_behind_the_question_close_what_was_before_it(void **state)
{
    (void)state;
    begin();
    pass(vring_fd(FRONT_SET_VRING_KICK, 1, true));
    pass(vring_fd(FRONT_SET_VRING_ERR, 1, true));
    pass(sample_state(FRONT_GET_VRING_BASE, 1, 0));
    pass(vring_fd(FRONT_SET_VRING_CALL, 1, true));
    assert_int_equal(n_kept(), 1);
    answered(1);
    assert_int_equal(n_kept(), 1);
    assert_true(kept_ring(&kept, 1, RING_CALL) >= 0);
    /* The same by a message without a descriptor. */
    pass(vring_fd(FRONT_SET_VRING_KICK, 1, true));
    pass(sample_state(FRONT_GET_VRING_BASE, 1, 0));
    pass(sample_state(FRONT_SET_VRING_NUM, 1, 64));
    assert_int_equal(n_kept(), 0);
    kept_clear(&kept);
}

static void a_reset_closes_what_it_ends(void **state)
{
    const uint32_t resets[] = { FRONT_RESET_OWNER, FRONT_RESET_DEVICE };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(resets); i++) {
        begin();
        pass(vring_fd(FRONT_SET_VRING_KICK, 0, true));
        pass(vring_fd(FRONT_SET_VRING_CALL, 200, true));
        pass(sample_raw(FRONT_SET_INFLIGHT_FD, 0, NULL, 24, 1));
        pass(table_of(2, 0));
        pass(sample_raw(resets[i], 0, NULL, 0, 0));
        assert_int_equal(n_kept(), 2);
        assert_true(kept_region(&kept, &record.regions[1]) >= 0);
        kept_clear(&kept);
        assert_int_equal(n_kept(), 0);
    }
}

static void the_end_of_a_migration_closes_its_log(void **state)
{
    (void)state;
    begin();
    pass(sample_u64(FRONT_SET_FEATURES, 0, BIT(VHOST_LOG_ALL)));
    pass(sample_raw(FRONT_SET_LOG_BASE, 0, NULL, 16, 1));
    pass(sample_raw(FRONT_SET_LOG_FD, 0, NULL, 0, 1));
    assert_int_equal(n_kept(), 2);
    pass(sample_u64(FRONT_SET_FEATURES, 0, 0));
    assert_int_equal(n_kept(), 0);
}

static void a_table_replaces_the_regions_descriptors(void **state)
{
    (void)state;
    begin();
    pass(table_of(8, 0));
    pass(region_of(FRONT_ADD_MEM_REG, 100, 1));
    assert_int_equal(n_kept(), 9);
    struct msg m = table_of(3, 50);
    assert_int_equal(take(&m), 0);
    assert_int_equal(n_kept(), 3 + 3);
    for (size_t i = 0; i < 3; i++) {
        expect_copy(kept_region(&kept, &record.regions[i]), m.fds.fd[i]);
    }
    msg_clear(&m);
    pass(table_of(0, 0));
    assert_int_equal(n_kept(), 0);
    kept_clear(&kept);
}

/* Which changes nothing. */
static void postcopy_ends_its_exchange_with_an_empty_table(void **state)
{
    (void)state;
    begin();
    pass(sample_raw(FRONT_POSTCOPY_ADVISE, 0, NULL, 0, 0));
    pass(table_of(2, 0));
    pass(table_of(0, 0));
    assert_int_equal(n_kept(), 2);
    kept_clear(&kept);
}

/* REM_MEM_REG of old front-ends has a descriptor of its own, which nobody keeps. */
static void a_region_that_goes_takes_its_descriptor_along(void **state)
{
    (void)state;
    begin();
    for (uint64_t at = 0; at < 10; at++) {
        pass(region_of(FRONT_ADD_MEM_REG, at, 1));
    }
    pass(region_of(FRONT_REM_MEM_REG, 3, 1));
    pass(region_of(FRONT_REM_MEM_REG, 0, 0));
    pass(region_of(FRONT_REM_MEM_REG, 77, 1));
    assert_int_equal(n_kept(), 8);
    struct msg m = region_of(FRONT_ADD_MEM_REG, 50, 1);
    assert_int_equal(take(&m), 0);
    expect_copy(kept_region(&kept, &record.regions[8]), m.fds.fd[0]);
    msg_clear(&m);
    assert_int_equal(n_kept(), 9);
    kept_clear(&kept);
    assert_int_equal(n_kept(), 0);
}

static void regions_beyond_the_record_keep_nothing(void **state)
{
    (void)state;
    begin();
    for (uint64_t at = 0; at < RECORD_MAX_REGIONS - 1; at++) {
        pass(region_of(FRONT_ADD_MEM_REG, at, 0));
    }
    for (uint64_t at = 0; at < 3; at++) {
        pass(region_of(FRONT_ADD_MEM_REG, 5000 + at, 1));
        assert_int_equal(n_kept(), 1);
    }
    assert_true(record.incomplete);
    kept_clear(&kept);
    assert_int_equal(n_kept(), 0);
}

static void rings_beyond_the_record_keep_nothing(void **state)
{
    const uint32_t far[] = { RECORD_MAX_RINGS, 70000, UINT32_MAX };
    (void)state;
    begin();
    for (size_t i = 0; i < ARRAY_SIZE(far); i++) {
        pass(sample_state(FRONT_SET_VRING_NUM, far[i], 64));
        pass(sample_state(FRONT_GET_VRING_BASE, far[i], 0));
    }
    assert_int_equal(n_kept(), 0);
    assert_int_equal(kept_ring(&kept, RECORD_MAX_RINGS, RING_KICK), -1);
    assert_int_equal(kept_ring(&kept, SIZE_MAX, RING_KICK), -1);
    assert_int_equal(kept_ring(&kept, 0, RING_NUM), -1);
}

/* ---- no descriptor is left ---- */

static struct rlimit no_more(void)
{
    struct rlimit before, now;
    int lowest = sample_fd();
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    now = (struct rlimit){ .rlim_cur = (rlim_t)lowest, .rlim_max = before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
    return before;
}

static void expect_want(struct msg m)
{
    struct rlimit before = no_more();
    int err = take(&m);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    msg_clear(&m);
    assert_int_equal(err, -EMFILE);
}

static void want_of_descriptors_is_told(void **state)
{
    (void)state;
    begin();
    expect_want(vring_fd(FRONT_SET_VRING_KICK, 0, true));
    expect_want(table_of(3, 0));
    expect_want(region_of(FRONT_ADD_MEM_REG, 9, 1));
    expect_want(sample_raw(FRONT_SET_LOG_BASE, 0, NULL, 16, 1));
    assert_int_equal(n_kept(), 0);
    assert_int_equal(kept_region(&kept, &record.regions[0]), -1);
    assert_int_equal(kept_ring(&kept, 0, RING_KICK), -1);
    assert_int_equal(kept_last(&kept, FRONT_SET_LOG_BASE), -1);
    kept_clear(&kept);
}

/* The old one is not what holds any more, so it is not left in its place. */
static void one_that_cannot_be_replaced_is_closed(void **state)
{
    (void)state;
    begin();
    pass(sample_raw(FRONT_SET_INFLIGHT_FD, 0, NULL, 24, 1));
    pass(sample_raw(FRONT_GET_FEATURES, 0, NULL, 0, 0));
    struct msg m = sample_raw(FRONT_SET_INFLIGHT_FD, 0, NULL, 24, 1);
    /* The one that is closed leaves room for the new one. */
    struct rlimit before = no_more();
    assert_int_equal(take(&m), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    msg_clear(&m);
    assert_int_equal(n_kept(), 1);
    kept_clear(&kept);
    assert_int_equal(n_kept(), 0);
}

static void any_walk_leaves_nothing(void **state)
{
    uint64_t seed = 3;
    (void)state;
    begin();
    for (int i = 0; i < 3000; i++) {
        uint64_t n = sample_random(&seed) % 300;
        switch (sample_random(&seed) % 9) {
        case 0:
            pass(vring_fd(FRONT_SET_VRING_KICK, n % 256, n % 3 != 0));
            break;
        case 1:
            pass(vring_fd(FRONT_SET_VRING_CALL, n % 4, n % 3 != 0));
            break;
        case 2:
            pass(sample_state(FRONT_GET_VRING_BASE, (uint32_t)n % 4, 0));
            break;
        case 3:
            answered((uint32_t)n % 4);
            break;
        case 4:
            pass(table_of((uint32_t)n % 9, n % 32));
            break;
        case 5:
        case 6:
            pass(region_of(FRONT_ADD_MEM_REG, n % 32, 1));
            break;
        case 7:
            pass(region_of(FRONT_REM_MEM_REG, n % 32, n % 2));
            break;
        default:
            if (n < 30) {
                pass(sample_raw(n % 2 ? FRONT_RESET_DEVICE : FRONT_RESET_OWNER, 0, NULL, 0, 0));
            }
            pass(sample_raw(FRONT_SET_INFLIGHT_FD, 0, NULL, 24, 1));
        }
        for (uint32_t k = 0; k < record.n_regions; k++) {
            assert_true(kept_region(&kept, &record.regions[k]) >= 0);
        }
        for (uint32_t k = 0; k < record.n_rings; k++) {
            unit_check(record_ring_told(&record.rings[k], RING_KICK) ||
                           kept_ring(&kept, k, RING_KICK) < 0,
                       "ring %u", k);
        }
    }
    kept_clear(&kept);
    assert_int_equal(n_kept(), 0);
}

static const struct unit_test tests[] = {
    UNIT(what_is_kept_is_a_copy),
    UNIT(only_what_is_replayed_is_kept),
    UNIT(the_last_one_replaces_the_one_before),
    UNIT(no_descriptor_is_one_too),
    UNIT(a_stopped_rings_descriptors_are_closed_with_the_answer),
    UNIT(settings_behind_the_question_close_what_was_before_it),
    UNIT(a_reset_closes_what_it_ends),
    UNIT(the_end_of_a_migration_closes_its_log),
    UNIT(a_table_replaces_the_regions_descriptors),
    UNIT(postcopy_ends_its_exchange_with_an_empty_table),
    UNIT(a_region_that_goes_takes_its_descriptor_along),
    UNIT(regions_beyond_the_record_keep_nothing),
    UNIT(rings_beyond_the_record_keep_nothing),
    UNIT(want_of_descriptors_is_told),
    UNIT(one_that_cannot_be_replaced_is_closed),
    UNIT(any_walk_leaves_nothing),
};

UNIT_MAIN("kept", tests)
