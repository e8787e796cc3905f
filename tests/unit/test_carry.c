/* SPDX-License-Identifier: MIT
 *
 * What a back-end lacks that shall carry on what another one began. */
#include "carry.h"

#include <stdio.h>
#include <string.h>

#include "offers.h"
#include "runner.h"
#include "specs.h"

#define ALL UINT64_MAX

static struct record record;
static struct interface interface;
static char why[2048];

/* A front-end that was shown `o` in full. */
static struct offer shown(const char *spec, uint64_t features, uint64_t protocol)
{
    struct spec_error error;
    struct offer o = OFFER(features, protocol, 4, 32);
    unit_check(parse_spec(spec, &interface, &error) == 0, "'%s': %s", spec, error.text);
    memset(&record, 0, sizeof(record));
    record.answers.features_known = record.answers.protocol_known = true;
    record.answers.queues_known = record.answers.slots_known = true;
    record.answers.features = features;
    record.answers.protocol = protocol;
    record.answers.queues = o.queues;
    record.answers.slots = o.mem_slots;
    return o;
}

static void expect_yes(const struct offer *o)
{
    bool can = carry_on(&record, &interface, o, why, sizeof(why));
    unit_check(can, "'%s'", why);
    assert_string_equal(why, "");
}

static void expect_lack(const struct offer *o, const char *names)
{
    assert_false(carry_on(&record, &interface, o, why, sizeof(why)));
    assert_string_equal(why, names);
}

static const uint64_t net = BIT(NET_CSUM) | BIT(NET_MQ) | BIT(NET_CTRL_VQ) | BIT(RING_VERSION_1) |
                            BIT(VHOST_PROTOCOL_FEATURES) | BIT(VHOST_LOG_ALL);
static const uint64_t net_protocol =
    BIT(PROTOCOL_MQ) | BIT(PROTOCOL_REPLY_ACK) | BIT(PROTOCOL_CONFIGURE_MEM_SLOTS);

static void the_same_back_end_can(void **state)
{
    (void)state;
    struct offer o = shown("host,device=net", net, net_protocol);
    record.features_acked = net;
    record.protocol_acked = net_protocol;
    expect_yes(&o);
    o.features |= BIT(NET_GSO);
    o.protocol_features |= BIT(PROTOCOL_RARP);
    o.queues++;
    o.mem_slots++;
    expect_yes(&o);
}

static void what_nobody_uses_is_not_missed(void **state)
{
    (void)state;
    struct offer o = shown("host,device=net", net, net_protocol);
    record.features_acked = BIT(RING_VERSION_1);
    o.features &= ~BIT(NET_CSUM);
    o.protocol_features &= ~BIT(PROTOCOL_REPLY_ACK);
    expect_yes(&o);
}

static void features_in_use_are_named(void **state)
{
    (void)state;
    struct offer o = shown("host,device=net", net, net_protocol);
    record.features_acked = net;
    o.features &= ~(BIT(NET_CSUM) | BIT(RING_VERSION_1));
    expect_lack(&o, "features that the guest uses: csum, version_1");
}

/* The front-end may switch logging on at any time once it was offered. */
static void vhosts_own_features_are_named(void **state)
{
    (void)state;
    struct offer o = shown("host,device=net", net, net_protocol);
    o.features &= ~BIT(VHOST_LOG_ALL);
    expect_lack(&o, "features log_all");
    record.answers.features = record.features_acked = BIT(VHOST_PROTOCOL_FEATURES);
    o.features = 0;
    expect_lack(&o, "features protocol_features");
}

static void what_the_front_end_does_itself_is_not_missed(void **state)
{
    (void)state;
    struct offer o = shown("host,device=net,mac=front", net, net_protocol);
    record.features_acked = BIT(NET_MAC) | BIT(RING_VERSION_1);
    expect_yes(&o);
}

static void protocol_features_in_use_are_named(void **state)
{
    (void)state;
    struct offer o = shown("host,device=net", net, net_protocol);
    record.protocol_acked = net_protocol;
    o.protocol_features &= ~BIT(PROTOCOL_REPLY_ACK);
    expect_lack(&o, "protocol features in use: reply_ack");
}

static void rings_in_use_are_counted(void **state)
{
    (void)state;
    struct offer o = shown("host,device=blk", BIT(BLK_MQ) | BIT(RING_VERSION_1), BIT(PROTOCOL_MQ));
    record.n_rings = 4;
    record.rings[2].num = 128;
    o.queues = 3;
    expect_yes(&o);
    record.rings[3].num = 128;
    expect_lack(&o, "virtqueues 4 in use, 3 here");
}

static void ring_sizes_in_use_are_compared(void **state)
{
    (void)state;
    struct offer o = shown("host,device=net,max_ring=256", net, net_protocol);
    record.n_rings = 1;
    record.rings[0].num = 256;
    expect_yes(&o);
    record.rings[0].num = 512;
    expect_lack(&o, "a ring of 512 in use, max_ring is 256");
}

/* A front-end that adds regions one by one has been told so many slots, whether or not it uses them
 * yet. */
static void slots_do_not_become_fewer(void **state)
{
    (void)state;
    struct offer o = shown("host,device=net", net, net_protocol);
    o.mem_slots = 31;
    expect_yes(&o);
    record.protocol_acked = BIT(PROTOCOL_CONFIGURE_MEM_SLOTS);
    expect_lack(&o, "mem_slots 32 told, 31 here");
    record.answers.slots_known = false;
    expect_yes(&o);
    record.n_regions = 32;
    expect_lack(&o, "memory regions 32 in use, 31 slots here");
    /* What the profile made of it counts. */
    o = shown("host,device=net,mem_slots=16", net, net_protocol);
    record.protocol_acked = BIT(PROTOCOL_CONFIGURE_MEM_SLOTS);
    o.mem_slots = 16;
    expect_yes(&o);
    o.mem_slots = 15;
    expect_lack(&o, "mem_slots 16 told, 15 here");
}

/* A driver that writes to what has become read-only finds out by errors. */
static void facts_do_not_change(void **state)
{
    (void)state;
    struct offer o = shown("host,device=blk", BIT(RING_VERSION_1), 0);
    o.features |= BIT(BLK_RO);
    expect_lack(&o, "the back-end is ro, which the one before was not");
    record.answers.features_known = false;
    expect_yes(&o);
    o = shown("host,device=blk", BIT(BLK_RO) | BIT(RING_VERSION_1), 0);
    expect_yes(&o);
    /* Bit 5 of a network device says something else. */
    o = shown("host,device=net", BIT(RING_VERSION_1), 0);
    o.features |= BIT(NET_MAC);
    expect_yes(&o);
}

static void all_that_is_missing_is_named(void **state)
{
    (void)state;
    struct offer o = shown("host,device=blk", BIT(BLK_MQ) | BIT(BLK_FLUSH) | BIT(VHOST_LOG_ALL),
                           BIT(PROTOCOL_MQ) | BIT(PROTOCOL_CONFIG));
    record.features_acked = BIT(BLK_FLUSH);
    record.protocol_acked = BIT(PROTOCOL_CONFIG) | BIT(PROTOCOL_CONFIGURE_MEM_SLOTS);
    record.n_rings = 2;
    record.rings[1].num = 128;
    o = (struct offer)OFFER(BIT(BLK_RO), 0, 1, 8);
    expect_lack(&o, "features that the guest uses: flush; virtqueues 2 in use, 1 here; "
                    "features log_all; protocol features in use: config, configure_mem_slots; "
                    "the back-end is ro, which the one before was not; "
                    "mem_slots 32 told, 8 here");
}

/* Text that does not fit is cut, and the answer is the same. */
static void little_room_for_words_changes_nothing(void **state)
{
    char few[8];
    (void)state;
    struct offer o = shown("host,device=net", net, net_protocol);
    record.features_acked = net;
    o.features = 0;
    assert_false(carry_on(&record, &interface, &o, few, sizeof(few)));
    assert_true(strlen(few) < sizeof(few));
}

/* ---- configuration space ---- */

static void put(uint8_t *config, const struct config_row *row, uint64_t value)
{
    for (size_t k = 0; k < row->size && k < 8; k++) {
        config[row->offset + k] = (uint8_t)(value >> (8 * k));
    }
}

/* A front-end that has read `before` in a field; a back-end that has `now` there. */
static struct offer with_field(const struct config_row *row, const char *spec, uint64_t before,
                               uint64_t now)
{
    uint8_t heard[OFFER_CONFIG_MAX] = { 0 };
    struct offer o = shown(spec, ALL & ~(BIT(BLK_RO) | BIT(BLK_ZONED)), ALL);
    record.features_acked = o.features;
    put(heard, row, before);
    record_bytes_put(&record.answers.config, row->offset, row->size, heard + row->offset);
    put(o.config, row, now);
    o.config_len = OFFER_CONFIG_MAX;
    return o;
}

static void each_field_is_compared_by_its_relation(void **state)
{
    (void)state;
    for (size_t k = 0; k < n_config_rows; k++) {
        const struct config_row *row = &config_rows[k];
        char spec[64], less[256], more[256];
        bool loose =
            row->relation == CONFIG_ANY || (row->traits & (CONFIG_TEXT | CONFIG_WRITABLE)) != 0;
        snprintf(spec, sizeof(spec), "host,device=%s", device_name(row->device));
        snprintf(less, sizeof(less), "config.%s 5 in use, 4 here", row->name);
        snprintf(more, sizeof(more), "config.%s 5 in use, 6 here", row->name);
        struct offer o = with_field(row, spec, 5, 5);
        expect_yes(&o);
        o = with_field(row, spec, 5, 4);
        if (loose) {
            expect_yes(&o);
        } else {
            expect_lack(&o, less);
        }
        o = with_field(row, spec, 5, 6);
        if (loose || row->relation == CONFIG_UP_TO) {
            expect_yes(&o); /* a disk may have grown */
        } else {
            expect_lack(&o, more);
        }
    }
}

static const struct config_row *field(enum device_type device, const char *name)
{
    const struct config_row *row = config_of_name(device, name, strlen(name));
    assert_non_null(row);
    return row;
}

static void a_field_that_nobody_read_may_differ(void **state)
{
    (void)state;
    const struct config_row *row = field(DEVICE_BLK, "blk_size");
    struct offer o = with_field(row, "host,device=blk", 512, 4096);
    memset(&record.answers.config, 0, sizeof(record.answers.config));
    expect_yes(&o);
    /* Half of it is not it. */
    o = with_field(row, "host,device=blk", 512, 4096);
    record.answers.config.known[row->offset / 8] &= (uint8_t)~BIT(row->offset % 8);
    expect_yes(&o);
}

static void a_field_that_is_pinned_may_differ(void **state)
{
    (void)state;
    struct offer o =
        with_field(field(DEVICE_BLK, "seg_max"), "host,device=blk,config.seg_max=4", 126, 4);
    expect_yes(&o);
}

static void a_field_whose_feature_is_not_in_use_may_differ(void **state)
{
    (void)state;
    struct offer o = with_field(field(DEVICE_BLK, "blk_size"), "host,device=blk", 512, 4096);
    record.features_acked &= ~BIT(BLK_BLK_SIZE);
    expect_yes(&o);
}

/* An answer without bytes is the protocol's refusal; one that is too short is none for the front-end. */
static void what_cannot_be_read_any_more_is_named(void **state)
{
    (void)state;
    const struct config_row *row = field(DEVICE_BLK, "blk_size");
    struct offer o = with_field(row, "host,device=blk", 512, 512);
    o.config_len = row->offset + row->size;
    expect_yes(&o);
    o.config_len--;
    expect_lack(&o, "config: 24 bytes read before, 23 to be had here");
    o.config_len = 0;
    expect_lack(&o, "config: 24 bytes read before, 0 to be had here");
    memset(&record.answers.config, 0, sizeof(record.answers.config));
    expect_yes(&o);
}

static void a_disk_that_shrank_is_named(void **state)
{
    (void)state;
    struct offer o = with_field(field(DEVICE_BLK, "capacity"), "host,device=blk", UINT64_C(1) << 40,
                                (UINT64_C(1) << 40) - 1);
    expect_lack(&o, "config.capacity 1099511627776 in use, 1099511627775 here");
}

/* ---- offers of more than one ---- */

static void what_was_heard_is_an_offer(void **state)
{
    const uint8_t bytes[] = { 1, 2, 3, 4 };
    (void)state;
    shown("host", 0x66, 0x77);
    record_bytes_put(&record.answers.config, 8, sizeof(bytes), bytes);
    struct offer o = carry_heard(&record);
    assert_true(o.features == 0x66 && o.protocol_features == 0x77);
    assert_int_equal(o.queues, 4);
    assert_int_equal(o.mem_slots, 32);
    assert_int_equal(o.config_len, 12);
    assert_memory_equal(o.config + 8, bytes, sizeof(bytes));
    record_bytes_put(&record.answers.config, OFFER_CONFIG_MAX - 1, 1, bytes);
    o = carry_heard(&record);
    assert_int_equal(o.config_len, OFFER_CONFIG_MAX);
}

static void two_offers_have_the_less_of_each(void **state)
{
    const struct offer a = OFFER(0x66, 0xf0, 4, 8);
    const struct offer b = OFFER(0x33, 0x3c, 2, 9);
    (void)state;
    struct offer o = carry_narrowed(&a, &b);
    struct offer other = carry_narrowed(&b, &a);
    assert_true(o.features == 0x22 && o.protocol_features == 0x30);
    assert_true(o.queues == 2 && o.mem_slots == 8);
    assert_true(other.features == o.features && other.protocol_features == o.protocol_features);
    assert_true(other.queues == o.queues && other.mem_slots == o.mem_slots);
}

static const struct unit_test tests[] = {
    UNIT(the_same_back_end_can),
    UNIT(what_nobody_uses_is_not_missed),
    UNIT(features_in_use_are_named),
    UNIT(vhosts_own_features_are_named),
    UNIT(what_the_front_end_does_itself_is_not_missed),
    UNIT(protocol_features_in_use_are_named),
    UNIT(rings_in_use_are_counted),
    UNIT(ring_sizes_in_use_are_compared),
    UNIT(slots_do_not_become_fewer),
    UNIT(facts_do_not_change),
    UNIT(all_that_is_missing_is_named),
    UNIT(little_room_for_words_changes_nothing),
    UNIT(each_field_is_compared_by_its_relation),
    UNIT(a_field_that_nobody_read_may_differ),
    UNIT(a_field_that_is_pinned_may_differ),
    UNIT(a_field_whose_feature_is_not_in_use_may_differ),
    UNIT(what_cannot_be_read_any_more_is_named),
    UNIT(a_disk_that_shrank_is_named),
    UNIT(what_was_heard_is_an_offer),
    UNIT(two_offers_have_the_less_of_each),
};

UNIT_MAIN("carry", tests)
