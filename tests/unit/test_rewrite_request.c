/* SPDX-License-Identifier: MIT
 *
 * Requests under an interface: what passes untouched, what is changed, what is refused and in which
 * words. */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "rewrite.h"
#include "offers.h"
#include "runner.h"
#include "sample.h"
#include "specs.h"

static struct interface interface;
static struct offer offer;
static struct record record;
static struct rewrite rules;

static void under(const char *spec, uint64_t features, uint64_t protocol, uint32_t queues,
                  uint32_t slots)
{
    struct spec_error error;
    unit_check(parse_spec(spec, &interface, &error) == 0, "'%s': %s", spec, error.text);
    offer = (struct offer)OFFER(features, protocol, queues, slots);
    record.n_regions = 0;
    record.postcopy = POSTCOPY_NONE;
    rules = rewrite_prepare(&interface, &offer, &record);
}

static struct verdict ask(enum wire_space space, struct msg *m)
{
    const struct message_row *row = message_row(space, m->head.request);
    struct verdict v = rewrite_request(&rules, row, m);
    return v;
}

/* The message (taken) passes, byte for byte. */
static void passes(enum wire_space space, struct msg m)
{
    static uint8_t before[WIRE_MAX_PAYLOAD];
    char words[512];
    size_t n_fds = m.fds.n;
    if (m.head.size > 0) {
        memcpy(before, m.body, m.head.size);
    }
    struct wire_header head = m.head;
    struct verdict v = ask(space, &m);
    verdict_print(&v, interface.device, words, sizeof(words));
    unit_check(v.kind == VERDICT_PASS, "refused: %s", words);
    assert_memory_equal(&m.head, &head, sizeof(head));
    if (m.head.size > 0) {
        assert_memory_equal(m.body, before, m.head.size);
    }
    assert_int_equal(m.fds.n, n_fds);
    msg_clear(&m);
}

/* The message (taken) is refused in these words. */
static void refused(enum wire_space space, struct msg m, enum verdict_rule rule, const char *words)
{
    char text[2048];
    struct verdict v = ask(space, &m);
    unit_check(v.kind == VERDICT_REFUSE, "passes, expected: %s", words);
    assert_int_equal(v.rule, rule);
    verdict_print(&v, interface.device, text, sizeof(text));
    assert_string_equal(text, words);
    msg_clear(&m);
}

static const uint64_t all = UINT64_MAX;

/* Plain `host`: every message of the table with every extreme in it, but for virtqueues that no device
 * has. */
static void plain_host_lets_everything_through(void **state)
{
    enum wire_space space;
    const struct message_row *row;
    (void)state;
    under("host", 0, 0, 0, 0);
    for (size_t i = 0; (row = sample_row(i, &space)) != NULL; i++) {
        passes(space, sample_message(row, false));
        struct msg m = sample_message(row, false);
        const struct field *index = field_of_kind(message_payload(row, false), KIND_QUEUE_INDEX);
        if (m.head.size > 0) {
            memset(m.body, 0xff, m.head.size);
        }
        if (index != NULL) {
            field_set(&m, index, 0xffff);
        }
        passes(space, m);
    }
}

static void plain_host_lets_no_impossible_virtqueue_through(void **state)
{
    static const uint32_t indices[] = { 0x10000, 0x10001, 0x80000000, 0xffffffff };
    enum wire_space space;
    const struct message_row *row;
    size_t n = 0;
    (void)state;
    under("host", 0, 0, 0, 0);
    for (size_t i = 0; (row = sample_row(i, &space)) != NULL; i++) {
        const struct field *f = field_of_kind(message_payload(row, false), KIND_QUEUE_INDEX);
        for (size_t k = 0; f != NULL && k < ARRAY_SIZE(indices); k++, n++) {
            struct msg m = sample_message(row, false);
            char words[128];
            field_set(&m, f, indices[k]);
            snprintf(words, sizeof(words),
                     "%s=%u names a virtqueue beyond the 65536 of this device", f->name,
                     indices[k]);
            refused(space, m, RULE_QUEUE_INDEX, words);
        }
    }
    assert_true(n >= 8 * ARRAY_SIZE(indices));
}

static void features_beyond_the_shown_are_refused(void **state)
{
    (void)state;
    under("csum=on,packed=on", all, all, 4, 8);
    passes(SPACE_FRONT, sample_u64(FRONT_SET_FEATURES, 0, 0));
    passes(SPACE_FRONT, sample_u64(FRONT_SET_FEATURES, 0, BIT(0) | BIT(34)));
    passes(SPACE_FRONT, sample_u64(FRONT_SET_FEATURES, 0, BIT(0) | BIT(26) | BIT(30)));
    refused(SPACE_FRONT, sample_u64(FRONT_SET_FEATURES, 0, BIT(0) | BIT(27) | BIT(5)),
            RULE_FEATURES, "acknowledges features that were not offered: mac, any_layout");
    refused(SPACE_FRONT, sample_u64(FRONT_SET_FEATURES, 0, BIT(63)), RULE_FEATURES,
            "acknowledges features that were not offered: speed_duplex");
    refused(SPACE_FRONT, sample_u64(FRONT_SET_FEATURES, 0, BIT(51)), RULE_FEATURES,
            "acknowledges features that were not offered: bit 51");
}

/* Bits between front-end and back-end are the back-end's to offer. */
static void vhosts_own_bits_must_be_offered_too(void **state)
{
    (void)state;
    under("csum=on", BIT(0) | BIT(30), all, 4, 8);
    refused(SPACE_FRONT, sample_u64(FRONT_SET_FEATURES, 0, BIT(26)), RULE_FEATURES,
            "acknowledges features that were not offered: log_all");
    passes(SPACE_FRONT, sample_u64(FRONT_SET_FEATURES, 0, BIT(30)));
}

static void front_end_features_never_reach_the_back_end(void **state)
{
    const uint64_t offers[] = { BIT(0) | BIT(30), BIT(0) | BIT(5) | BIT(30) };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(offers); i++) {
        under("csum=on,mac=front", offers[i], all, 4, 8);
        struct msg m = sample_u64(FRONT_SET_FEATURES, 0, BIT(0) | BIT(5) | BIT(30));
        struct verdict v = ask(SPACE_FRONT, &m);
        assert_int_equal(v.kind, VERDICT_PASS);
        uint64_t sent;
        memcpy(&sent, m.body, sizeof(sent));
        unit_check(sent == (BIT(0) | BIT(30)), "the back-end (which %s mac) gets %#lx",
                   i == 0 ? "does not offer" : "offers", (unsigned long)sent);
        msg_clear(&m);
    }
    refused(SPACE_FRONT, sample_u64(FRONT_SET_FEATURES, 0, BIT(34)), RULE_FEATURES,
            "acknowledges features that were not offered: packed");
}

static void protocol_features_beyond_the_shown_are_refused(void **state)
{
    (void)state;
    under("host,protocol.rarp=off", all, 0x80cbf, 4, 8);
    passes(SPACE_FRONT, sample_u64(FRONT_SET_PROTOCOL_FEATURES, 0, 0x80cbf & ~BIT(2)));
    refused(SPACE_FRONT, sample_u64(FRONT_SET_PROTOCOL_FEATURES, 0, BIT(2) | BIT(16)),
            RULE_PROTOCOL, "acknowledges protocol features that were not offered: rarp, status");
    refused(SPACE_FRONT, sample_u64(FRONT_SET_PROTOCOL_FEATURES, 0, BIT(63)), RULE_PROTOCOL,
            "acknowledges protocol features that were not offered: bit 63");
}

/* Messages that name a virtqueue with 32 bits. All bits count, before any narrowing. */
static void indices_of_virtqueues_are_checked_whole(void **state)
{
    static const uint32_t bad[] = { 9, 255, 256, 0x10000, 0x10001, 0x80000000, 0xffffffff };
    uint32_t n = 0;
    const struct message_row *row;
    (void)state;
    under("device=net,ctrl_vq=on,queues=4,protocol.inband_notifications=on,"
          "protocol.get_vring_base_skip_drain=on,protocol.get_vring_base_inflight=on",
          all, all, 128, 8);
    for (size_t i = 0; (row = message_row_at(SPACE_FRONT, i)) != NULL; i++) {
        const struct field *f = field_of_kind(&payloads[row->payload], KIND_QUEUE_INDEX);
        if (f == NULL) {
            continue;
        }
        n++;
        for (uint32_t index = 0; index < 9; index++) {
            struct msg m = sample_raw(row->id, 0, NULL, payloads[row->payload].fixed, 0);
            field_set(&m, f, index);
            passes(SPACE_FRONT, m);
        }
        for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
            char words[128];
            struct msg m = sample_raw(row->id, 0, NULL, payloads[row->payload].fixed, 0);
            field_set(&m, f, bad[k]);
            snprintf(words, sizeof(words), "index=%u names a virtqueue beyond the 9 of this device",
                     bad[k]);
            refused(SPACE_FRONT, m, RULE_QUEUE_INDEX, words);
        }
    }
    assert_int_equal(n, 8); /* 8, 9, 10, 11, 18, 23, 35, 45 */
}

/* Those that name it with 8 bits of 64, next to the "no descriptor" bit. */
static void indices_beside_flags_are_checked_whole(void **state)
{
    const uint64_t good[] = { 0, 7, 0x100, 0x107 };
    const uint64_t bad[] = { 8,     0xff,    0x108,   0x1ff,   0x200,
                             0xfff, BIT(16), BIT(32), BIT(63), UINT64_MAX };
    const uint32_t ids[] = { FRONT_SET_VRING_KICK, FRONT_SET_VRING_CALL, FRONT_SET_VRING_ERR };
    (void)state;
    under("device=net,queues=4", all, all, 128, 8);
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        for (size_t k = 0; k < ARRAY_SIZE(good); k++) {
            passes(SPACE_FRONT, sample_u64(ids[i], 0, good[k]));
        }
        for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
            struct msg m = sample_u64(ids[i], 0, bad[k]);
            struct verdict v = ask(SPACE_FRONT, &m);
            unit_check(v.kind == VERDICT_REFUSE && v.rule == RULE_QUEUE_INDEX, "%#lx passes",
                       (unsigned long)bad[k]);
            assert_true(v.value == (bad[k] & ~BIT(8)));
            assert_int_equal(v.limit, 8);
            msg_clear(&m);
        }
    }
    refused(SPACE_FRONT, sample_u64(FRONT_SET_VRING_CALL, 0, 0x108), RULE_QUEUE_INDEX,
            "index=8 names a virtqueue beyond the 8 of this device");
}

/* The back-end's own requests are checked by the same rules. */
static void the_channel_is_no_way_around(void **state)
{
    struct wire_host_notifier notifier = { .index = 0xfff };
    (void)state;
    under("device=net,queues=4", all, all, 128, 8);
    refused(SPACE_BACK, sample_raw(BACK_VRING_HOST_NOTIFIER_MSG, 0, &notifier, sizeof(notifier), 0),
            RULE_QUEUE_INDEX, "index=3839 names a virtqueue beyond the 8 of this device");
    notifier.index = 7;
    passes(SPACE_BACK, sample_raw(BACK_VRING_HOST_NOTIFIER_MSG, 0, &notifier, sizeof(notifier), 1));
    passes(SPACE_BACK, sample_raw(BACK_CONFIG_CHANGE_MSG, 0, NULL, 0, 0));
    under("device=net,queues=4,protocol.host_notifier=off", all, all, 128, 8);
    refused(SPACE_BACK, sample_raw(BACK_VRING_HOST_NOTIFIER_MSG, 0, &notifier, sizeof(notifier), 1),
            RULE_GATE,
            "belongs to protocol feature host_notifier, which this device does not have");
}

static void without_a_limit_every_virtqueue_of_the_protocol_may_be_named(void **state)
{
    (void)state;
    under("device=vsock", all, all & ~BIT(PROTOCOL_MQ), 0, 8);
    passes(SPACE_FRONT, sample_state(FRONT_SET_VRING_NUM, 2, 128));
    passes(SPACE_FRONT, sample_state(FRONT_SET_VRING_NUM, PROTOCOL_MAX_QUEUES - 1, 128));
    refused(SPACE_FRONT, sample_state(FRONT_SET_VRING_NUM, PROTOCOL_MAX_QUEUES, 128),
            RULE_QUEUE_INDEX, "index=32768 names a virtqueue beyond the 32768 of this device");
}

static void rings_above_max_ring_are_refused(void **state)
{
    const uint32_t bad[] = { 257, 512, 1024, 65536, 0x80000000, 0xffffffff };
    (void)state;
    under("device=blk,max_ring=256", all, all, 4, 8);
    passes(SPACE_FRONT, sample_state(FRONT_SET_VRING_NUM, 0, 256));
    passes(SPACE_FRONT, sample_state(FRONT_SET_VRING_NUM, 3, 1));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char words[80];
        snprintf(words, sizeof(words), "num=%u is above max_ring=256", bad[i]);
        refused(SPACE_FRONT, sample_state(FRONT_SET_VRING_NUM, 0, bad[i]), RULE_RING_SIZE, words);
    }
    struct wire_inflight inflight = { .num_queues = 1, .queue_size = 257 };
    refused(SPACE_FRONT, sample_raw(FRONT_GET_INFLIGHT_FD, 0, &inflight, sizeof(inflight), 0),
            RULE_RING_SIZE, "queue_size=257 is above max_ring=256");
    refused(SPACE_FRONT, sample_raw(FRONT_SET_INFLIGHT_FD, 0, &inflight, sizeof(inflight), 1),
            RULE_RING_SIZE, "queue_size=257 is above max_ring=256");
    inflight.queue_size = 256;
    passes(SPACE_FRONT, sample_raw(FRONT_SET_INFLIGHT_FD, 0, &inflight, sizeof(inflight), 1));
    /* A base or an "enable" is no size. */
    passes(SPACE_FRONT, sample_state(FRONT_SET_VRING_BASE, 0, 0xffffffff));
    passes(SPACE_FRONT, sample_state(FRONT_SET_VRING_ENABLE, 0, 0xffffffff));
}

static void structures_for_more_virtqueues_are_refused(void **state)
{
    const uint16_t bad[] = { 0, 5, 257, 0xffff };
    (void)state;
    under("device=blk,queues=4", all, all, 256, 8);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char words[80];
        const struct wire_inflight inflight = { .num_queues = bad[i], .queue_size = 64 };
        snprintf(words, sizeof(words),
                 "num_queues=%u is not from 1 to the 4 virtqueues of this device", bad[i]);
        refused(SPACE_FRONT, sample_raw(FRONT_SET_INFLIGHT_FD, 0, &inflight, sizeof(inflight), 1),
                RULE_QUEUE_COUNT, words);
    }
    const struct wire_inflight good = { .num_queues = 4, .queue_size = 64 };
    passes(SPACE_FRONT, sample_raw(FRONT_SET_INFLIGHT_FD, 0, &good, sizeof(good), 1));
}

static struct msg table_of(uint32_t regions)
{
    struct msg m = sample_raw(FRONT_SET_MEM_TABLE, 0, NULL, 8 + 32 * regions, regions);
    memcpy(m.body, &regions, sizeof(regions));
    return m;
}

static void memory_regions_beyond_the_slots_are_refused(void **state)
{
    (void)state;
    under("device=blk,mem_slots=4", all, all, 4, 509);
    passes(SPACE_FRONT, table_of(0));
    passes(SPACE_FRONT, table_of(4));
    refused(SPACE_FRONT, table_of(5), RULE_MEM_SLOTS, "nregions=5 is above mem_slots=4");
    const struct wire_mem_region region = { .size = 4096 };
    for (uint32_t there = 0; there < 4; there++) {
        record.n_regions = there;
        passes(SPACE_FRONT, sample_raw(FRONT_ADD_MEM_REG, 0, &region, sizeof(region), 1));
    }
    record.n_regions = 4;
    refused(SPACE_FRONT, sample_raw(FRONT_ADD_MEM_REG, 0, &region, sizeof(region), 1),
            RULE_MEM_SLOTS, "regions=5 is above mem_slots=4");
    passes(SPACE_FRONT, sample_raw(FRONT_REM_MEM_REG, 0, &region, sizeof(region), 0));
    under("device=blk", all, all, 4, 0);
    record.n_regions = 500;
    passes(SPACE_FRONT, sample_raw(FRONT_ADD_MEM_REG, 0, &region, sizeof(region), 1));
}

/* The limit holds also where a spec string allows more slots than any back-end has. */
static void memory_slots_are_counted_to_the_end(void **state)
{
    (void)state;
    under("device=blk,mem_slots=511", all, all, 4, 1000);
    for (uint64_t i = 0; i <= 511; i++) {
        const struct wire_mem_region wire = { .guest_addr = i << 12, .size = 4096 };
        struct msg m = sample_raw(FRONT_ADD_MEM_REG, 0, &wire, sizeof(wire), 1);
        struct verdict v = ask(SPACE_FRONT, &m);
        unit_check((v.kind == VERDICT_PASS) == (i < 511), "region %lu of 511 %s",
                   (unsigned long)i + 1, v.kind == VERDICT_PASS ? "passes" : "is refused");
        if (v.kind == VERDICT_PASS) {
            record_request(&record, message_row(SPACE_FRONT, m.head.request), &m);
        }
        msg_clear(&m);
    }
}

/* Old front-ends attach a descriptor to a removal: taken off, nobody keeps it. */
static void descriptors_of_a_removal_are_closed(void **state)
{
    const struct wire_mem_region region = { .size = 4096 };
    (void)state;
    under("device=blk", all, all, 4, 8);
    struct msg m = sample_raw(FRONT_REM_MEM_REG, 0, &region, sizeof(region), 1);
    size_t before = unit_open_fds();
    assert_int_equal(ask(SPACE_FRONT, &m).kind, VERDICT_PASS);
    assert_int_equal(m.fds.n, 0);
    assert_int_equal(unit_open_fds(), before - 1);
    msg_clear(&m);
}

static struct msg config_write(uint32_t offset, const void *bytes, uint32_t size)
{
    const struct wire_config head = { .offset = offset, .size = size };
    struct msg m = sample_raw(FRONT_SET_CONFIG, 0, NULL, sizeof(head) + size, 0);
    memcpy(m.body, &head, sizeof(head));
    memcpy(m.body + sizeof(head), bytes, size);
    return m;
}

static void pinned_fields_cannot_be_written_with_another_value(void **state)
{
    const uint8_t same[8] = { 0, 0, 0, 0, 126, 1, 0, 0 };
    const uint8_t other[8] = { 0, 0, 0, 0, 126, 2, 0, 0 };
    (void)state;
    under("seg_max=on,config.seg_max=382", all, all, 4, 8);
    passes(SPACE_FRONT, config_write(8, same, 8));
    passes(SPACE_FRONT, config_write(13, same + 5, 1));
    passes(SPACE_FRONT, config_write(0, other, 8));
    passes(SPACE_FRONT, config_write(16, other, 8));
    passes(SPACE_FRONT, config_write(0xfffffffc, other, 8));
    passes(SPACE_FRONT, config_write(8, other, 0));
    refused(SPACE_FRONT, config_write(8, other, 8), RULE_CONFIG_PINNED,
            "writes config.seg_max, which is pinned to 382");
    refused(SPACE_FRONT, config_write(13, other + 5, 1), RULE_CONFIG_PINNED,
            "writes config.seg_max, which is pinned to 382");
    /* A field that the driver may write is its own to change. */
    under("host,config.wce=1", all, all, 4, 8);
    passes(SPACE_FRONT, config_write(32, other, 1));
    under("seg_max=on,config.seg_max=382", all, all, 4, 8);
    /* The same payload in GET_CONFIG is a question; its bytes mean nothing. */
    struct msg question = config_write(8, other, 8);
    question.head.request = FRONT_GET_CONFIG;
    passes(SPACE_FRONT, question);
}

static void messages_of_missing_features_are_refused(void **state)
{
    const struct wire_mem_region region = { .size = 4096 };
    (void)state;
    under("csum=on", BIT(0), 0, 0, 0);
    refused(SPACE_FRONT, sample_raw(FRONT_GET_QUEUE_NUM, 0, NULL, 0, 0), RULE_GATE,
            "belongs to protocol feature mq, which this device does not have");
    refused(SPACE_FRONT, sample_raw(FRONT_ADD_MEM_REG, 0, &region, sizeof(region), 1), RULE_GATE,
            "belongs to protocol feature configure_mem_slots, which this device does not have");
    refused(SPACE_FRONT, sample_raw(FRONT_GET_PROTOCOL_FEATURES, 0, NULL, 0, 0), RULE_GATE,
            "belongs to feature protocol_features, which this device does not have");
    under("csum=on", BIT(0) | BIT(30), BIT(0), 0, 0);
    passes(SPACE_FRONT, sample_raw(FRONT_GET_QUEUE_NUM, 0, NULL, 0, 0));
    passes(SPACE_FRONT, sample_raw(FRONT_GET_PROTOCOL_FEATURES, 0, NULL, 0, 0));
}

/* Whatever is in a message that passes the check, no rule reads past it. */
static void any_bytes_are_safe(void **state)
{
    uint64_t seed = 99;
    enum wire_space space;
    const struct message_row *row;
    (void)state;
    under("host,config.seg_max=1,config.blk_size=512,queues=2,max_ring=64,mem_slots=3,packed=off",
          all, all, 4, 9);
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; (row = sample_row(i, &space)) != NULL; i++) {
            const struct payload *p = message_payload(row, false);
            uint32_t size = p->least + (uint32_t)(sample_random(&seed) % (p->most - p->least + 1u));
            struct msg m = sample_raw(row->id, 0, NULL, size, 0);
            for (uint32_t at = 0; at < size; at++) {
                m.body[at] = sample_random(&seed) % 3 ? 0 : (uint8_t)sample_random(&seed);
            }
            if (check_message(row, false, &m).result == CHECK_OK) {
                struct verdict v = ask(space, &m);
                char words[2048];
                verdict_print(&v, interface.device, words, sizeof(words));
                assert_int_equal(v.kind == VERDICT_PASS, words[0] == '\0');
            }
            msg_clear(&m);
        }
    }
}

static const struct unit_test tests[] = {
    UNIT(plain_host_lets_everything_through),
    UNIT(plain_host_lets_no_impossible_virtqueue_through),
    UNIT(features_beyond_the_shown_are_refused),
    UNIT(vhosts_own_bits_must_be_offered_too),
    UNIT(front_end_features_never_reach_the_back_end),
    UNIT(protocol_features_beyond_the_shown_are_refused),
    UNIT(indices_of_virtqueues_are_checked_whole),
    UNIT(indices_beside_flags_are_checked_whole),
    UNIT(the_channel_is_no_way_around),
    UNIT(without_a_limit_every_virtqueue_of_the_protocol_may_be_named),
    UNIT(rings_above_max_ring_are_refused),
    UNIT(structures_for_more_virtqueues_are_refused),
    UNIT(memory_regions_beyond_the_slots_are_refused),
    UNIT(memory_slots_are_counted_to_the_end),
    UNIT(descriptors_of_a_removal_are_closed),
    UNIT(pinned_fields_cannot_be_written_with_another_value),
    UNIT(messages_of_missing_features_are_refused),
    UNIT(any_bytes_are_safe),
};

UNIT_MAIN("rewrite_request", tests)
