/* SPDX-License-Identifier: MIT
 *
 * Can a back-end serve an interface: features, protocol features, queues, memory slots,
 * configuration space; and every missing point named. */
#include <stdio.h>
#include <string.h>

#include "compat.h"
#include "offers.h"
#include "runner.h"
#include "sample.h"
#include "specs.h"

static struct interface parsed(const char *spec)
{
    struct interface i;
    struct spec_error error;
    unit_check(parse_spec(spec, &i, &error) == 0, "'%s': %s", spec, error.text);
    return i;
}

static const char *gap_of(const char *spec, const struct offer *o)
{
    static char text[4096];
    const struct interface i = parsed(spec);
    struct gap gap;
    memset(&gap, 0xff, sizeof(gap));
    if (compat_check(&i, o, &gap)) {
        return "";
    }
    gap_print(&gap, i.device, text, sizeof(text));
    assert_true(text[0] != '\0');
    return text;
}

/* Each release's bits as an interface, each other release as the back-end: it serves exactly when
 * it has all the bits. */
static void releases_serve_subsets(void **state)
{
    size_t served = 0;
    (void)state;
    for (size_t a = 0; a < ARRAY_SIZE(net_releases); a++) {
        for (size_t b = 0; b < ARRAY_SIZE(net_releases); b++) {
            struct offer bits = OFFER(net_releases[a].offer.features, 0, 0, 0);
            struct interface i;
            struct gap gap;
            uint64_t unnamed;
            interface_of_offer(DEVICE_NET, &bits, &i, &unnamed);
            uint64_t missing = i.on & ~net_releases[b].offer.features;
            bool fits = compat_check(&i, &net_releases[b].offer, &gap);
            unit_check(fits == (missing == 0), "%s on %s", net_releases[a].name,
                       net_releases[b].name);
            if (!fits) {
                char text[4096];
                assert_true(gap.features == missing);
                gap_print(&gap, DEVICE_NET, text, sizeof(text));
                for (unsigned bit = 0; bit < 64; bit++) {
                    const struct feature_row *row = feature_of_bit(DEVICE_NET, bit);
                    assert_true((missing & BIT(bit)) == 0 || strstr(text, row->name) != NULL);
                }
            }
            served += fits;
        }
    }
    assert_true(served > ARRAY_SIZE(net_releases) && served < 14 * 14);
}

static void missing_features_are_named(void **state)
{
    const struct offer before = OFFER(0xd7c669fcb, 0x10cbf, 128, 0);
    const struct offer ovs = OFFER(0xd7c66a7ca, 0x10cbf, 128, 0);
    (void)state;
    assert_string_equal(gap_of("csum=on,host_ecn=on,host_ufo=on", &before),
                        "features host_ecn, host_ufo");
    assert_string_equal(gap_of("csum=on,host_ufo=on", &ovs), "features csum, host_ufo");
    assert_string_equal(gap_of("host_ecn=on,packed=on", &ovs), "");
}

/* Surplus bits, unknown bits and unknown protocol features do no harm. */
static void more_than_wanted_is_fine(void **state)
{
    const struct offer future = OFFER(0x1c0010179bfffe7 | BIT(51), 0x8000000000080cbf, 128, 0);
    (void)state;
    assert_string_equal(gap_of("csum=on,guest_csum=on", &future), "");
}

static void plain_host_fits_anything(void **state)
{
    const struct offer nothing = OFFER(0, 0, 0, 0);
    (void)state;
    assert_string_equal(gap_of("host", &nothing), "");
    assert_string_equal(gap_of("host,csum=off", &nothing), "");
    assert_string_equal(gap_of("host,csum=on", &nothing), "features csum");
}

static void queues_below_the_pin_do_not_do(void **state)
{
    struct offer o = OFFER(BIT(30), BIT(PROTOCOL_MQ), 2, 0);
    (void)state;
    assert_string_equal(gap_of("host,device=net,queues=2", &o), "");
    assert_string_equal(gap_of("host,device=net,queues=4", &o), "queues 4 wanted, 2 offered");
    o.queues = 0;
    assert_string_equal(gap_of("host,device=blk,queues=1", &o), "queues 1 wanted, 0 offered");
    /* Without multiqueue: one where more are optional, not known elsewhere. */
    o.protocol_features = 0;
    o.queues = 4;
    assert_string_equal(gap_of("host,device=net,queues=1", &o), "");
    assert_string_equal(gap_of("host,device=net,queues=2", &o), "queues 2 wanted, 1 offered");
    assert_string_equal(gap_of("host,device=blk,queues=2", &o), "queues 2 wanted, 1 offered");
    assert_string_equal(gap_of("host,queues=2", &o), "queues 2 wanted, 1 offered");
    assert_string_equal(gap_of("device=scsi,queues=3", &o), "");
    /* The protocol feature is there, but the interface withholds it. */
    o.protocol_features = BIT(PROTOCOL_MQ);
    assert_string_equal(gap_of("host,device=net,queues=2,protocol.mq=off", &o),
                        "queues 2 wanted, 1 offered");
}

static void memory_slots_below_the_pin_do_not_do(void **state)
{
    struct offer o = OFFER(0, BIT(PROTOCOL_CONFIGURE_MEM_SLOTS), 0, 32);
    (void)state;
    assert_string_equal(gap_of("host,mem_slots=32", &o), "");
    assert_string_equal(gap_of("host,mem_slots=33", &o), "mem_slots 33 wanted, 32 offered");
    o.protocol_features = 0;
    assert_string_equal(gap_of("host,mem_slots=8", &o), "");
    assert_string_equal(gap_of("host,mem_slots=9", &o), "mem_slots 9 wanted, 8 offered");
}

static void required_protocol_features_must_be_there(void **state)
{
    struct offer o = OFFER(BIT(30), 0x10cb7, 0, 0);
    (void)state;
    assert_string_equal(gap_of("csum=off,protocol.reply_ack=on", &o),
                        "protocol features reply_ack");
    assert_string_equal(gap_of("csum=off,protocol.status=on,protocol.rarp=on", &o), "");
    /* Offered without what it needs. */
    o.protocol_features = BIT(PROTOCOL_BACKEND_SEND_FD);
    assert_string_equal(gap_of("csum=off,protocol.backend_send_fd=on", &o),
                        "protocol features backend_send_fd");
}

static void features_need_their_protocol_features(void **state)
{
    struct offer o = OFFER(UINT64_MAX & ~BIT(BLK_RO) & ~BIT(BLK_ZONED), 0x10cb6, 0, 0);
    (void)state;
    assert_string_equal(gap_of("device=net,mq=on", &o), "protocol features that mq needs");
    assert_string_equal(gap_of("device=blk,mq=on", &o), "protocol features that mq needs");
    assert_string_equal(gap_of("device=net,mq=on,iommu_platform=on", &o),
                        "protocol features that mq, iommu_platform need");
    o.protocol_features = 0x10cbf;
    assert_string_equal(gap_of("device=net,mq=on,iommu_platform=on", &o), "");
}

static void pinned_fields_need_a_configuration_space(void **state)
{
    struct offer o = OFFER(UINT64_MAX & ~BIT(BLK_RO) & ~BIT(BLK_ZONED), BIT(PROTOCOL_CONFIG), 0, 0);
    (void)state;
    assert_string_equal(gap_of("config.seg_max=1", &o), "");
    o.protocol_features = 0;
    assert_string_equal(gap_of("config.seg_max=1", &o),
                        "protocol feature config, without which no config field is shown");
}

/* A limit may be lower than the back-end's own, an amount that the guest relies on must be the
 * same, a hint may be anything. */
static void pinned_fields_are_held_against_the_back_ends_own(void **state)
{
    struct offer o = OFFER(UINT64_MAX & ~BIT(BLK_RO) & ~BIT(BLK_ZONED), BIT(PROTOCOL_CONFIG), 0, 0);
    (void)state;
    o.config_len = 60;
    o.config[12] = 126; /* seg_max: up to */
    o.config[21] = 2;   /* blk_size 512: the same */
    o.config[28] = 8;   /* opt_io_size: any */
    assert_string_equal(gap_of("host,config.seg_max=126", &o), "");
    assert_string_equal(gap_of("host,config.seg_max=1", &o), "");
    assert_string_equal(gap_of("host,config.seg_max=127", &o),
                        "config.seg_max 127 wanted, 126 offered");
    assert_string_equal(gap_of("host,config.seg_max=min:127", &o), "");
    assert_string_equal(gap_of("host,config.blk_size=512", &o), "");
    assert_string_equal(gap_of("host,config.blk_size=4096,config.seg_max=200", &o),
                        "config.seg_max 200 wanted, 126 offered; config.blk_size 4096 wanted, 512 "
                        "offered");
    assert_string_equal(gap_of("host,config.opt_io_size=77", &o), "");
    /* What is not known is not held against it. */
    o.config_len = 15;
    assert_string_equal(gap_of("host,config.seg_max=127", &o), "");
}

/* Hiding that a disk is read-only would not make it writable. */
static void facts_cannot_be_hidden(void **state)
{
    struct offer o = OFFER(BIT(BLK_RO) | BIT(BLK_FLUSH), BIT(PROTOCOL_CONFIG), 0, 0);
    (void)state;
    assert_string_equal(gap_of("flush=on", &o),
                        "the back-end is ro, which the profile does not say");
    assert_string_equal(gap_of("host,device=blk,ro=off", &o),
                        "the back-end is ro, which the profile does not say");
    assert_string_equal(gap_of("flush=on,ro=on", &o), "");
    assert_string_equal(gap_of("host,device=blk,flush=off", &o), "");
    o.features = BIT(BLK_FLUSH);
    assert_string_equal(gap_of("flush=on,ro=on", &o), "features ro");
}

static void every_point_is_named_at_once(void **state)
{
    const struct offer nothing = OFFER(0, 0, 0, 0);
    (void)state;
    assert_string_equal(
        gap_of("device=blk,flush=on,queues=4,mem_slots=9,protocol.status=on,config.seg_max=1",
               &nothing),
        "features flush; protocol features status; queues 4 wanted, 1 offered; mem_slots 9 wanted, "
        "8 "
        "offered; protocol feature config, without which no config field is shown");
}

static void gaps_print_into_any_buffer(void **state)
{
    struct gap gap;
    memset(&gap, 0xff, sizeof(gap));
    gap.config = true;
    gap.n_fields = INTERFACE_MAX_PINS;
    for (size_t i = 0; i < INTERFACE_MAX_PINS; i++) {
        gap.fields[i].row = &config_rows[i];
    }
    char whole[8192];
    (void)state;
    gap_print(&gap, DEVICE_NET, whole, sizeof(whole));
    for (size_t len = 1; len <= strlen(whole); len += 7) {
        char text[8192];
        text[len] = '#';
        gap_print(&gap, DEVICE_NET, text, len);
        assert_int_equal(strlen(text), len - 1);
        assert_memory_equal(text, whole, len - 1);
        assert_int_equal(text[len], '#');
    }
}

static const struct unit_test tests[] = {
    UNIT(releases_serve_subsets),
    UNIT(missing_features_are_named),
    UNIT(more_than_wanted_is_fine),
    UNIT(plain_host_fits_anything),
    UNIT(queues_below_the_pin_do_not_do),
    UNIT(memory_slots_below_the_pin_do_not_do),
    UNIT(required_protocol_features_must_be_there),
    UNIT(features_need_their_protocol_features),
    UNIT(pinned_fields_need_a_configuration_space),
    UNIT(pinned_fields_are_held_against_the_back_ends_own),
    UNIT(facts_cannot_be_hidden),
    UNIT(every_point_is_named_at_once),
    UNIT(gaps_print_into_any_buffer),
};

UNIT_MAIN("compat", tests)
