/* SPDX-License-Identifier: MIT
 *
 * What a fresh back-end is told, and in which order. */
#include "replay.h"

#include <string.h>
#include <sys/resource.h>

#include "alloc.h"
#include "check.h"
#include "runner.h"
#include "sample.h"

#define SAID_MAX 4096
#define DRIVER_OK 4
#define RINGS 3

static struct record record;
static struct kept kept;

/* What replay_next() has made, of both parts. */
static struct {
    struct msg m[SAID_MAX];
    enum replay_part part[SAID_MAX];
    size_t n;
} said;

static void pass(struct msg m)
{
    const struct message_row *row = message_row(SPACE_FRONT, m.head.request);
    record_request(&record, row, &m);
    assert_int_equal(kept_request(&kept, &record, row, &m), 0);
    msg_clear(&m);
}

static void begin(void)
{
    memset(&record, 0, sizeof(record));
    memset(&kept, 0, sizeof(kept));
    said.n = 0;
}

static void forget_said(void)
{
    while (said.n > 0) {
        msg_clear(&said.m[--said.n]);
    }
}

static void end(void)
{
    forget_said();
    kept_clear(&kept);
}

static void tell(enum replay_part part)
{
    struct replay p = { .part = part };
    int result;
    do {
        struct msg m = MSG_NULL;
        result = replay_next(&p, &record, &kept, &m);
        unit_check(result >= 0, "%s", strerror(-result));
        if (result == 1) {
            assert_true(said.n < SAID_MAX);
            said.part[said.n] = part;
            said.m[said.n++] = m;
        }
    } while (result == 1);
    /* The end stays the end. */
    struct msg m = MSG_NULL;
    assert_int_equal(replay_next(&p, &record, &kept, &m), 0);
}

static void tell_all(void)
{
    tell(REPLAY_BEFORE_RINGS);
    tell(REPLAY_RINGS);
}

static size_t count(uint32_t request)
{
    size_t n = 0;
    for (size_t i = 0; i < said.n; i++) {
        n += said.m[i].head.request == request;
    }
    return n;
}

static uint64_t value_of(const struct msg *m)
{
    uint64_t value = 0;
    memcpy(&value, m->body, m->head.size < sizeof(value) ? m->head.size : sizeof(value));
    return value;
}

/* ---- a device with everything that there is ---- */

static struct msg of_ring(const struct message_row *row, uint32_t ring)
{
    struct msg m = sample_message(row, false);
    const struct field *index = field_of_kind(&payloads[row->payload], KIND_QUEUE_INDEX);
    const struct field *bits = field_of_kind(&payloads[row->payload], KIND_VRING_FD);
    const struct field *config = field_of_kind(&payloads[row->payload], KIND_CONFIG_OFFSET);
    const struct field *enable = field_of_kind(&payloads[row->payload], KIND_RING_ENABLE);
    if (index != NULL) {
        field_set(&m, index, ring);
    }
    if (bits != NULL) {
        field_set(&m, bits, ring);
    }
    if (config != NULL) {
        field_set(&m, config, 16);
    }
    if (enable != NULL) {
        field_set(&m, enable, 1);
    }
    return m;
}

static bool sets_something_up(const struct message_row *row)
{
    return (row->traits & (KEPT | SETS_REGIONS | ADDS_REGION)) != 0;
}

static void set_everything_up(void)
{
    const struct message_row *row;
    begin();
    for (size_t i = 0; (row = message_row_at(SPACE_FRONT, i)) != NULL; i++) {
        for (uint32_t ring = 0; ring < RINGS && sets_something_up(row); ring++) {
            struct msg m = of_ring(row, ring);
            bool is_of_ring = record_ring_of(row, &m) != SIZE_MAX;
            if (row->id == FRONT_SET_STATUS) {
                field_set(&m, &payloads[PAYLOAD_status].fields[0], 0xf);
            }
            pass(m);
            ring = is_of_ring ? ring : RINGS;
        }
    }
    assert_false(record.incomplete);
}

static void everything_that_is_kept_is_told_once(void **state)
{
    const struct message_row *row;
    (void)state;
    set_everything_up();
    tell_all();
    for (size_t i = 0; (row = message_row_at(SPACE_FRONT, i)) != NULL; i++) {
        struct msg m = of_ring(row, 0);
        size_t each = record_ring_of(row, &m) != SIZE_MAX ? RINGS : 1;
        /* A ring is announced by its call beforehand, and the status comes in two steps. */
        bool twice = row->id == FRONT_SET_VRING_CALL || row->id == FRONT_SET_STATUS;
        size_t wanted = sets_something_up(row) ? each * (twice ? 2 : 1) : 0;
        unit_check(count(row->id) == wanted, "%s: %zu times, expected %zu", row->name,
                   count(row->id), wanted);
        msg_clear(&m);
    }
    end();
}

/* As it was told before, without asking for an answer. */
static void what_is_told_is_what_was_said(void **state)
{
    (void)state;
    set_everything_up();
    tell_all();
    for (size_t i = 0; i < said.n; i++) {
        const struct msg *m = &said.m[i];
        const struct message_row *row = message_row(SPACE_FRONT, m->head.request);
        assert_int_equal(m->head.flags, WIRE_VERSION);
        unit_check(check_message(row, false, m).result == CHECK_OK, "%s", row->name);
        if (row->id == FRONT_SET_STATUS || (row->traits & (SETS_REGIONS | ADDS_REGION)) != 0) {
            continue;
        }
        size_t f = field_of_kind(&payloads[row->payload], KIND_VRING_FD) != NULL
                       ? value_of(m) & WIRE_VRING_INDEX_MASK
                       : record_ring_of(row, m);
        struct msg first = of_ring(row, f == SIZE_MAX ? 0 : (uint32_t)f);
        assert_int_equal(m->head.size, first.head.size);
        assert_true(m->head.size == 0 || memcmp(m->body, first.body, m->head.size) == 0);
        assert_int_equal(m->fds.n, first.fds.n);
        msg_clear(&first);
    }
    end();
}

/* ---- order ---- */

enum which { ALL, FIRST, WITH_DRIVER_OK };

static const struct {
    uint32_t before, after;
    enum which of_before, of_after;
} order[] = {
    /* They say how everything after is read. */
    { FRONT_SET_PROTOCOL_FEATURES, FRONT_SET_OWNER, ALL, ALL },
    { FRONT_SET_PROTOCOL_FEATURES, FRONT_SET_BACKEND_REQ_FD, ALL, ALL },
    { FRONT_SET_PROTOCOL_FEATURES, FRONT_GPU_SET_SOCKET, ALL, ALL },
    { FRONT_SET_PROTOCOL_FEATURES, FRONT_SET_LOG_BASE, ALL, ALL },
    { FRONT_SET_PROTOCOL_FEATURES, FRONT_SET_FEATURES, ALL, ALL },
    { FRONT_SET_PROTOCOL_FEATURES, FRONT_SET_MEM_TABLE, ALL, ALL },
    { FRONT_SET_PROTOCOL_FEATURES, FRONT_ADD_MEM_REG, ALL, ALL },
    { FRONT_SET_PROTOCOL_FEATURES, FRONT_SET_VRING_CALL, ALL, ALL },
    { FRONT_SET_PROTOCOL_FEATURES, FRONT_SET_STATUS, ALL, ALL },
    /* The log before the features that switch it on. */
    { FRONT_SET_LOG_BASE, FRONT_SET_FEATURES, ALL, ALL },
    { FRONT_SET_LOG_FD, FRONT_SET_FEATURES, ALL, ALL },
    /* Features before rings. */
    { FRONT_SET_FEATURES, FRONT_SET_VRING_CALL, ALL, ALL },
    { FRONT_SET_FEATURES, FRONT_SET_VRING_NUM, ALL, ALL },
    { FRONT_SET_FEATURES, FRONT_SET_VRING_ADDR, ALL, ALL },
    { FRONT_SET_FEATURES, FRONT_SET_VRING_BASE, ALL, ALL },
    { FRONT_SET_FEATURES, FRONT_SET_VRING_KICK, ALL, ALL },
    { FRONT_SET_FEATURES, FRONT_SET_INFLIGHT_FD, ALL, ALL },
    /* Every ring announced before the region. */
    { FRONT_SET_VRING_CALL, FRONT_SET_INFLIGHT_FD, FIRST, ALL },
    /* Memory before addresses in it; table before what is added to it. */
    { FRONT_SET_MEM_TABLE, FRONT_ADD_MEM_REG, ALL, ALL },
    { FRONT_SET_MEM_TABLE, FRONT_SET_VRING_ADDR, ALL, ALL },
    { FRONT_ADD_MEM_REG, FRONT_SET_VRING_ADDR, ALL, ALL },
    { FRONT_SET_INFLIGHT_FD, FRONT_SET_VRING_KICK, ALL, ALL },
    /* All rings before any is enabled; the driver is ready at the very end. */
    { FRONT_SET_VRING_KICK, FRONT_SET_VRING_ENABLE, ALL, ALL },
    { FRONT_SET_VRING_ENABLE, FRONT_SET_STATUS, ALL, WITH_DRIVER_OK },
    { FRONT_NET_SET_MTU, FRONT_SET_STATUS, ALL, WITH_DRIVER_OK },
    { FRONT_SET_CONFIG, FRONT_SET_STATUS, ALL, WITH_DRIVER_OK },
};

static bool is_meant(size_t i, uint32_t request, enum which which)
{
    bool first_part = said.part[i] == REPLAY_BEFORE_RINGS;
    bool ok = said.m[i].head.size == 8 && (value_of(&said.m[i]) & DRIVER_OK) != 0;
    return said.m[i].head.request == request &&
           (which == ALL || (which == FIRST && first_part) || (which == WITH_DRIVER_OK && ok));
}

static void every_rule_of_the_order_is_kept(void **state)
{
    (void)state;
    set_everything_up();
    tell_all();
    for (size_t k = 0; k < ARRAY_SIZE(order); k++) {
        size_t last_before = SIZE_MAX;
        size_t first_after = SIZE_MAX;
        char before[24], after[24];
        for (size_t i = 0; i < said.n; i++) {
            if (is_meant(i, order[k].before, order[k].of_before)) {
                last_before = i;
            }
            if (first_after == SIZE_MAX && is_meant(i, order[k].after, order[k].of_after)) {
                first_after = i;
            }
        }
        unit_check(last_before != SIZE_MAX && first_after != SIZE_MAX && last_before < first_after,
                   "%s (last is %zu) before %s (first is %zu)",
                   message_name(SPACE_FRONT, order[k].before, before), last_before,
                   message_name(SPACE_FRONT, order[k].after, after), first_after);
    }
    assert_int_equal(said.m[0].head.request, FRONT_SET_PROTOCOL_FEATURES);
    assert_int_equal(said.m[said.n - 1].head.request, FRONT_SET_STATUS);
    end();
}

/* SPDK starts the whole device at the first kick. */
static void the_kick_is_the_last_of_a_rings_own(void **state)
{
    (void)state;
    set_everything_up();
    tell(REPLAY_RINGS);
    for (uint32_t ring = 0; ring < RINGS; ring++) {
        bool kicked = false;
        for (size_t i = 0; i < said.n; i++) {
            const struct message_row *row = message_row(SPACE_FRONT, said.m[i].head.request);
            if (record_ring_of(row, &said.m[i]) != ring || row->id == FRONT_SET_VRING_ENABLE) {
                continue;
            }
            unit_check(!kicked, "%s of ring %u behind its kick", row->name, ring);
            kicked = row->id == FRONT_SET_VRING_KICK;
        }
        assert_true(kicked);
    }
    end();
}

/* What two back-ends would both write to, and what starts one. */
static void the_first_part_touches_no_ring(void **state)
{
    (void)state;
    set_everything_up();
    tell(REPLAY_BEFORE_RINGS);
    for (size_t i = 0; i < said.n; i++) {
        const struct message_row *row = message_row(SPACE_FRONT, said.m[i].head.request);
        bool of_ring = record_ring_of(row, &said.m[i]) != SIZE_MAX;
        unit_check(!of_ring || row->id == FRONT_SET_VRING_CALL, "%s", row->name);
        assert_int_not_equal(row->id, FRONT_SET_INFLIGHT_FD);
        assert_true(row->id != FRONT_SET_STATUS || (value_of(&said.m[i]) & DRIVER_OK) == 0);
    }
    size_t n = said.n;
    tell(REPLAY_RINGS);
    for (size_t i = n; i < said.n; i++) {
        assert_int_not_equal(said.m[i].head.request, FRONT_SET_OWNER); /* rust-vmm takes one only */
        assert_int_not_equal(said.m[i].head.request, FRONT_SET_MEM_TABLE);
    }
    end();
}

static void the_status_comes_in_two_steps(void **state)
{
    (void)state;
    begin();
    pass(sample_u64(FRONT_SET_STATUS, 0, 0x1234567890abcd0f));
    tell_all();
    assert_int_equal(said.n, 2);
    assert_true(value_of(&said.m[0]) == 0x1234567890abcd0b);
    assert_true(value_of(&said.m[1]) == 0x1234567890abcd0f);
    end();
}

static void nothing_known_is_nothing_told(void **state)
{
    (void)state;
    begin();
    tell_all();
    assert_int_equal(said.n, 0);
    end();
}

static void a_stopped_ring_is_not_told(void **state)
{
    (void)state;
    set_everything_up();
    pass(sample_state(FRONT_GET_VRING_BASE, 1, 0));
    record_ring_stopped(&record, 1);
    kept_follow(&kept, &record);
    tell_all();
    assert_int_equal(count(FRONT_SET_VRING_KICK), RINGS - 1);
    assert_int_equal(count(FRONT_SET_VRING_CALL), 2 * (RINGS - 1));
    assert_int_equal(count(FRONT_SET_VRING_ENABLE), RINGS - 1);
    end();
}

/* ---- memory ---- */

static void add_regions(uint32_t n_table, uint32_t n_added, bool xen)
{
    uint8_t body[8 + 40 * 32] = { 0 };
    const size_t stride = xen ? 40 : 32;
    memcpy(body, &n_table, sizeof(n_table));
    for (uint32_t i = 0; i < n_table; i++) {
        const struct wire_region region = { i, 4096 + i, i, 1 };
        memcpy(body + 8 + stride * i, &region, sizeof(region));
        memset(body + 8 + stride * i + 32, xen ? (int)i : 0, stride - 32);
    }
    if (n_table > 0) {
        pass(sample_raw(FRONT_SET_MEM_TABLE, 0, body, (uint32_t)(8 + stride * n_table), n_table));
    }
    for (uint32_t i = n_table; i < n_table + n_added; i++) {
        struct wire_mem_region region = { 0, i, 4096 + i, i, 1 };
        memset(body, 0, sizeof(body));
        memcpy(body, &region, sizeof(region));
        memset(body + sizeof(region), xen ? (int)i : 0, 8);
        pass(sample_raw(FRONT_ADD_MEM_REG, 0, body, 8 + (uint32_t)stride, 1));
    }
}

static void memory_is_told_as_it_came(void **state)
{
    const struct {
        uint32_t n_table, n_added;
    } rows[] = { { 0, 0 }, { 1, 0 }, { 8, 0 }, { 32, 0 }, { 0, 1 }, { 0, 40 }, { 3, 2 } };
    (void)state;
    for (int xen = 0; xen < 2; xen++) {
        for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
            begin();
            record.protocol_acked = xen ? BIT(PROTOCOL_XEN_MMAP) : 0;
            add_regions(rows[k].n_table, rows[k].n_added, xen);
            tell(REPLAY_BEFORE_RINGS);
            assert_int_equal(said.n, (rows[k].n_table > 0) + rows[k].n_added);
            struct record again = record;
            record.n_regions = record.n_table = 0;
            kept_follow(&kept, &record);
            for (size_t i = 0; i < said.n; i++) {
                const struct message_row *row = message_row(SPACE_FRONT, said.m[i].head.request);
                assert_int_equal(check_message(row, false, &said.m[i]).result, CHECK_OK);
                record_request(&record, row, &said.m[i]);
            }
            assert_int_equal(record.n_regions, again.n_regions);
            assert_int_equal(record.n_table, again.n_table);
            assert_memory_equal(record.regions, again.regions,
                                again.n_regions * sizeof(again.regions[0]));
            end();
        }
    }
}

static void what_has_left_the_table_is_not_told(void **state)
{
    const struct wire_mem_region gone = { 0, 1, 4097, 1, 1 };
    (void)state;
    begin();
    add_regions(3, 1, false);
    pass(sample_raw(FRONT_REM_MEM_REG, 0, &gone, sizeof(gone), 0));
    tell_all();
    assert_int_equal(said.n, 2);
    assert_int_equal(said.m[0].fds.n, 2);
    assert_int_equal(value_of(&said.m[0]), 2);
    assert_int_equal(said.m[1].head.request, FRONT_ADD_MEM_REG);
    end();
}

/* ---- configuration space ---- */

static void write_config(uint32_t offset, uint32_t size)
{
    struct wire_config head = { .offset = offset, .size = size, .flags = 1 };
    struct msg m = sample_raw(FRONT_SET_CONFIG, 0, NULL, (uint32_t)sizeof(head) + size, 0);
    memcpy(m.body, &head, sizeof(head));
    memset(m.body + sizeof(head), (int)offset, size);
    pass(m);
}

static void each_run_of_written_bytes_is_one_message(void **state)
{
    const struct {
        uint32_t offset, size;
    } runs[] = { { 0, 1 }, { 8, 6 }, { OFFER_CONFIG_MAX - 2, 2 } };
    (void)state;
    begin();
    write_config(10, 4);
    write_config(8, 4);
    write_config(0, 1);
    write_config(OFFER_CONFIG_MAX - 2, 2);
    tell_all();
    assert_int_equal(said.n, ARRAY_SIZE(runs));
    for (size_t i = 0; i < said.n; i++) {
        struct wire_config head;
        memcpy(&head, said.m[i].body, sizeof(head));
        assert_int_equal(head.offset, runs[i].offset);
        assert_int_equal(head.size, runs[i].size);
        assert_int_equal(head.flags, 1);
        assert_int_equal(said.m[i].head.size, sizeof(head) + head.size);
    }
    forget_said();
    write_config(0, OFFER_CONFIG_MAX);
    tell_all();
    assert_int_equal(said.n, 1);
    end();
}

/* ---- descriptors ---- */

static void descriptors_are_copies(void **state)
{
    uint64_t value = 7;
    (void)state;
    set_everything_up();
    tell_all();
    for (size_t i = 0; i < said.n; i++) {
        const struct message_row *row = message_row(SPACE_FRONT, said.m[i].head.request);
        size_t ring = record_ring_of(row, &said.m[i]);
        bool of_memory = (row->traits & (SETS_REGIONS | ADDS_REGION)) != 0;
        for (size_t k = 0; k < said.m[i].fds.n; k++) {
            size_t region = k + (row->id == FRONT_ADD_MEM_REG ? record.n_table : 0);
            int of = of_memory          ? kept_region(&kept, &record.regions[region])
                     : ring != SIZE_MAX ? kept_ring(&kept, ring, record_ring_kind(row->id))
                                        : kept_last(&kept, row->id);
            assert_true(of >= 0 && said.m[i].fds.fd[k] != of);
            assert_int_equal(write(of, &value, sizeof(value)), sizeof(value));
            assert_int_equal(read(said.m[i].fds.fd[k], &value, sizeof(value)), sizeof(value));
            assert_int_equal(value, 7);
        }
    }
    end();
}

static void a_ring_without_a_descriptor_is_told_without(void **state)
{
    (void)state;
    begin();
    pass(sample_raw(FRONT_SET_VRING_CALL, 0, &(uint64_t){ 1 | WIRE_VRING_NOFD }, 8, 0));
    pass(sample_raw(FRONT_SET_VRING_KICK, 0, &(uint64_t){ 1 | WIRE_VRING_NOFD }, 8, 0));
    tell_all();
    assert_int_equal(said.n, 3);
    for (size_t i = 0; i < said.n; i++) {
        assert_int_equal(said.m[i].fds.n, 0);
        assert_true(value_of(&said.m[i]) == (1 | WIRE_VRING_NOFD));
    }
    end();
}

/* Its socket is served elsewhere: each back-end gets one of its own. */
static void the_channel_comes_without_its_socket(void **state)
{
    (void)state;
    begin();
    struct msg m = sample_raw(FRONT_SET_BACKEND_REQ_FD, 0, NULL, 0, 1);
    record_request(&record, message_row(SPACE_FRONT, m.head.request), &m);
    msg_clear(&m);
    tell_all();
    assert_int_equal(said.n, 1);
    assert_int_equal(said.m[0].fds.n, 0);
    end();
}

/* Every allocation of a replay fails in its turn, and every descriptor of it. */
static void want_is_told_and_leaves_nothing(void **state)
{
    (void)state;
    set_everything_up();
    size_t before = unit_open_fds();
    for (size_t at = 1;; at++) {
        struct replay p = { .part = REPLAY_BEFORE_RINGS };
        int result = 1;
        alloc_fail_at(at);
        while (result == 1 || (result == 0 && p.part == REPLAY_BEFORE_RINGS)) {
            struct msg m = MSG_NULL;
            if (result == 0) {
                p = (struct replay){ .part = REPLAY_RINGS };
            }
            result = replay_next(&p, &record, &kept, &m);
            msg_clear(&m);
        }
        size_t n = alloc_count();
        alloc_fail_at(0);
        assert_int_equal(unit_open_fds(), before);
        if (result == 0) {
            assert_true(n < at && at > 50);
            break;
        }
        assert_int_equal(result, -ENOMEM);
    }
    struct rlimit limit, none;
    int lowest = sample_fd();
    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){ (rlim_t)lowest + 1, limit.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    /* One is left, and the table wants three. */
    struct replay p = { .part = REPLAY_BEFORE_RINGS };
    struct msg m = MSG_NULL;
    int result;
    while ((result = replay_next(&p, &record, &kept, &m)) == 1) {
        msg_clear(&m);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(result, -EMFILE);
    assert_null(m.body);
    assert_int_equal(unit_open_fds(), before);
    end();
}

/* ---- beside a live back-end ---- */

static bool is_told_beforehand(const struct message_row *row)
{
    static const uint32_t ids[] = {
        FRONT_SET_FEATURES,       FRONT_SET_OWNER,      FRONT_SET_PROTOCOL_FEATURES,
        FRONT_SET_BACKEND_REQ_FD, FRONT_GPU_SET_SOCKET, FRONT_SET_LOG_BASE,
        FRONT_SET_LOG_FD,         FRONT_SET_STATUS,     FRONT_SET_VRING_CALL,
        FRONT_SET_MEM_TABLE,      FRONT_ADD_MEM_REG,    FRONT_REM_MEM_REG,
    };
    for (size_t k = 0; k < ARRAY_SIZE(ids); k++) {
        if (row->id == ids[k]) {
            return true;
        }
    }
    return false;
}

static void a_prepared_one_hears_what_it_has_been_told(void **state)
{
    const struct message_row *row;
    (void)state;
    for (size_t i = 0; (row = message_row_at(SPACE_FRONT, i)) != NULL; i++) {
        struct msg m = sample_message(row, false);
        struct msg copy = MSG_NULL;
        m.head.flags |= WIRE_NEED_REPLY;
        int result = replay_follow(row, &m, &copy);
        unit_check(result == is_told_beforehand(row), "%s: %d", row->name, result);
        if (result == 1) {
            bool closes = (row->traits & CLOSES_FDS) != 0;
            assert_int_equal(copy.head.request, row->id);
            assert_int_equal(copy.head.flags, WIRE_VERSION);
            assert_int_equal(copy.head.size, m.head.size);
            assert_int_equal(copy.fds.n, closes ? 0 : m.fds.n);
            assert_true(copy.fds.n == 0 || copy.fds.fd[0] != m.fds.fd[0]);
            if (row->id == FRONT_SET_STATUS) {
                assert_true(value_of(&copy) == (value_of(&m) & ~(uint64_t)DRIVER_OK));
            }
        } else {
            assert_null(copy.body);
        }
        msg_clear(&m);
        msg_clear(&copy);
    }
}

static void some_words_make_it_worthless(void **state)
{
    const struct message_row *row;
    (void)state;
    for (size_t i = 0; (row = message_row_at(SPACE_FRONT, i)) != NULL; i++) {
        bool is = row->id == FRONT_RESET_OWNER || row->id == FRONT_RESET_DEVICE ||
                  row->id == FRONT_SET_BACKEND_REQ_FD || row->id == FRONT_GPU_SET_SOCKET;
        unit_check(replay_is_void(row) == is, "%s", row->name);
    }
}

/* A socket that another back-end has cannot be given away a second time. */
static void a_socket_is_never_copied_beside_a_live_one(void **state)
{
    const struct message_row *row;
    (void)state;
    for (size_t i = 0; (row = message_row_at(SPACE_FRONT, i)) != NULL; i++) {
        bool socket = row->fds.role == ROLE_CHANNEL || row->fds.role == ROLE_GPU_SOCKET;
        assert_true(!socket || replay_is_void(row));
    }
}

static void a_copy_that_fails_leaves_nothing(void **state)
{
    struct msg m = sample_raw(FRONT_SET_MEM_TABLE, 0, NULL, 8 + 32 * 8, 8);
    struct msg copy = MSG_NULL;
    size_t before = unit_open_fds();
    size_t at = 1;
    int result;
    (void)state;
    do {
        alloc_fail_at(at++);
        result = replay_copy(&m, FRONT_SET_MEM_TABLE, &copy);
        alloc_fail_at(0);
        assert_true(result == 1 || (result == -ENOMEM && unit_open_fds() == before));
    } while (result < 0);
    assert_int_equal(unit_open_fds(), before + 8);
    msg_clear(&m);
    msg_clear(&copy);
}

static const struct unit_test tests[] = {
    UNIT(everything_that_is_kept_is_told_once),
    UNIT(what_is_told_is_what_was_said),
    UNIT(every_rule_of_the_order_is_kept),
    UNIT(the_kick_is_the_last_of_a_rings_own),
    UNIT(the_first_part_touches_no_ring),
    UNIT(the_status_comes_in_two_steps),
    UNIT(nothing_known_is_nothing_told),
    UNIT(a_stopped_ring_is_not_told),
    UNIT(memory_is_told_as_it_came),
    UNIT(what_has_left_the_table_is_not_told),
    UNIT(each_run_of_written_bytes_is_one_message),
    UNIT(descriptors_are_copies),
    UNIT(a_ring_without_a_descriptor_is_told_without),
    UNIT(the_channel_comes_without_its_socket),
    UNIT(want_is_told_and_leaves_nothing),
    UNIT(a_prepared_one_hears_what_it_has_been_told),
    UNIT(some_words_make_it_worthless),
    UNIT(a_socket_is_never_copied_beside_a_live_one),
    UNIT(a_copy_that_fails_leaves_nothing),
};

UNIT_MAIN("replay", tests)
