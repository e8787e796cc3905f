/* SPDX-License-Identifier: MIT
 *
 * What a front-end is shown of a back-end's offer under an interface. */
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

static const struct offer everything = OFFER(UINT64_MAX, UINT64_MAX, 256, 509);

static void plain_host_shows_all_of_it(void **state)
{
    const struct interface host = parsed("host");
    (void)state;
    assert_true(interface_is_transparent(&host));
    assert_true(interface_features(&host, &everything) == UINT64_MAX);
    assert_true(interface_protocol_features(&host, &everything) == UINT64_MAX);
    assert_int_equal(interface_queues(&host, &everything), 256);
    assert_int_equal(interface_mem_slots(&host, &everything), 509);
    assert_false(interface_is_transparent(&(struct interface){ .host = false }));
}

static void any_change_to_host_is_policy(void **state)
{
    static const char *const specs[] = {
        "host,csum=off",        "host,csum=on",        "host,mac=front",
        "host,queues=1",        "host,max_ring=256",   "host,mem_slots=4",
        "host,protocol.mq=off", "host,protocol.mq=on", "host,config.mtu=1",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
        struct interface x = parsed(specs[i]);
        assert_false(interface_is_transparent(&x));
    }
}

static void listed_bits_are_shown_exactly(void **state)
{
    const struct interface i = parsed("csum=on,host_ecn=on,packed=on");
    const struct offer o = OFFER(0xd7c66a7cb, 0x10cbf, 128, 0);
    (void)state;
    uint64_t vhost = BIT(26) | BIT(30);
    assert_true(interface_features(&i, &o) == (BIT(0) | BIT(13) | BIT(34) | vhost));
    const struct offer no_vhost = OFFER(BIT(0) | BIT(13) | BIT(34), 0, 0, 0);
    assert_true(interface_features(&i, &no_vhost) == no_vhost.features);
}

static void vhosts_own_bits_pass_whatever_the_interface_says(void **state)
{
    static const char *const specs[] = { "host,csum=off", "csum=on", "device=blk",
                                         "host,queues=1" };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
        const struct interface x = parsed(specs[i]);
        for (unsigned k = 0; k < 4; k++) {
            uint64_t vhost = (k & 1 ? BIT(26) : 0) | (k & 2 ? BIT(30) : 0);
            const struct offer o = OFFER(BIT(0) | vhost, 0, 0, 0);
            assert_true((interface_features(&x, &o) & (BIT(26) | BIT(30))) == vhost);
        }
    }
}

static void what_is_hidden_takes_its_dependents_along(void **state)
{
    const struct offer dpdk = OFFER(0xd7c66ffcb, 0x10cbf, 128, 0);
    (void)state;
    struct interface i = parsed("host,csum=off");
    assert_true(interface_features(&i, &dpdk) ==
                (0xd7c66ffcb & ~(BIT(0) | BIT(11) | BIT(12) | BIT(13) | BIT(14))));
    i = parsed("host,device=net,protocol.mq=off");
    assert_true(interface_features(&i, &dpdk) == (0xd7c66ffcb & ~BIT(22)));
    assert_true(interface_protocol_features(&i, &dpdk) == 0x10cbe);
    i = parsed("host,protocol.backend_req=off");
    assert_true(interface_protocol_features(&i, &dpdk) ==
                (0x10cbf & ~(BIT(5) | BIT(10) | BIT(11))));
    i = parsed("host,mac=front");
    assert_true(interface_features(&i, &everything) == (UINT64_MAX & ~BIT(5)));
}

/* Open vSwitch's host_ecn stands on nothing, and is shown all the same. */
static void host_with_a_change_keeps_the_rest(void **state)
{
    const struct interface i = parsed("host,mrg_rxbuf=off");
    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(net_releases); k++) {
        const struct offer *o = &net_releases[k].offer;
        assert_true(interface_features(&i, o) == (o->features & ~BIT(15)));
    }
}

static void protocol_features_are_an_allow_list(void **state)
{
    (void)state;
    struct interface i = parsed("host,csum=off");
    assert_true(interface_protocol_features(&i, &everything) == protocol_shown());
    const struct offer future = OFFER(0, 0x8000000000080cbf, 0, 0);
    assert_true(interface_protocol_features(&i, &future) == 0x80cbf);
    i = parsed("csum=on,protocol.xen_mmap=on");
    assert_true(interface_protocol_features(&i, &everything) == (protocol_shown() | BIT(17)));
    const struct offer without = OFFER(0, 0x3, 0, 0);
    assert_true(interface_protocol_features(&i, &without) == 0x3);
}

static void numbers_are_the_smaller_of_two(void **state)
{
    const struct interface four = parsed("device=blk,queues=4,mem_slots=64");
    const struct interface none = parsed("device=blk");
    const struct offer two = OFFER(0, 0, 2, 32);
    const struct offer unknown = OFFER(0, 0, 0, 0);
    (void)state;
    assert_int_equal(interface_queues(&four, &everything), 4);
    assert_int_equal(interface_queues(&four, &two), 2);
    assert_int_equal(interface_queues(&four, &unknown), 4);
    assert_int_equal(interface_queues(&none, &two), 2);
    assert_int_equal(interface_queues(&none, &unknown), 0);
    assert_int_equal(interface_mem_slots(&four, &everything), 64);
    assert_int_equal(interface_mem_slots(&four, &two), 32);
    assert_int_equal(interface_mem_slots(&none, &unknown), 0);
}

static void virtqueues_follow_from_queues_and_the_kind_of_device(void **state)
{
    const struct offer o = OFFER(UINT64_MAX, UINT64_MAX, 256, 0);
    const struct offer huge = OFFER(UINT64_MAX, UINT64_MAX, UINT32_MAX, 0);
    const struct offer unknown = OFFER(UINT64_MAX, 0, 0, 0);
    (void)state;
    struct interface i = parsed("device=net,queues=4");
    assert_int_equal(interface_vrings(&i, &o), 8);
    i = parsed("device=net,queues=4,ctrl_vq=on");
    assert_int_equal(interface_vrings(&i, &o), 9);
    i = parsed("host,device=net,queues=4");
    assert_int_equal(interface_vrings(&i, &o), 9);
    i = parsed("host,device=net,queues=4,ctrl_vq=off");
    assert_int_equal(interface_vrings(&i, &o), 8);
    i = parsed("device=blk,queues=4");
    assert_int_equal(interface_vrings(&i, &o), 4);
    i = parsed("device=fs");
    assert_int_equal(interface_vrings(&i, &o), 256);
    i = parsed("host,queues=4");
    assert_int_equal(interface_vrings(&i, &o), 9);
    i = parsed("device=blk");
    assert_int_equal(interface_vrings(&i, &unknown), PROTOCOL_MAX_QUEUES);
    assert_int_equal(interface_vrings(&i, &huge), PROTOCOL_MAX_QUEUES);
    i = parsed("device=net");
    assert_int_equal(interface_vrings(&i, &huge), PROTOCOL_MAX_QUEUES);
}

static void digest_is_that_of_the_canonical_form(void **state)
{
    char digest[INTERFACE_DIGEST_LEN];
    const struct interface i = parsed("host");
    (void)state;
    interface_digest(&i, digest);
    assert_string_equal(digest, "4740ae6347b0172c01254ff55bae5aff5199f4446e7f6d643d40185b3f475145");
}

/* What `vushim probe` prints must parse, pin the same offer, and fit it. */
static void expect_probe_fits(const struct known_offer *k)
{
    char spec[INTERFACE_TEXT_LEN];
    struct interface i;
    struct interface again;
    struct spec_error error;
    struct gap gap;
    uint64_t unnamed;
    interface_of_offer(k->device, &k->offer, &i, &unnamed);
    interface_canonical(&i, spec, sizeof(spec));
    unit_check(parse_spec(spec, &again, &error) == 0, "%s: '%s': %s", k->name, spec, error.text);
    unit_check(compat_check(&again, &k->offer, &gap), "%s cannot serve its own interface", k->name);
    unit_check(interface_features(&again, &k->offer) == k->offer.features, "%s: features", k->name);
    assert_int_equal(interface_queues(&again, &k->offer), k->offer.queues);
    assert_int_equal(interface_mem_slots(&again, &k->offer), k->offer.mem_slots);
    assert_true(unnamed == 0);
}

static void the_interface_of_an_offer_fits_the_offer(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(net_releases); i++) {
        expect_probe_fits(&net_releases[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(other_offers); i++) {
        expect_probe_fits(&other_offers[i]);
    }
}

/* Also where a back-end says more than a spec string can. */
static void the_interface_of_a_boastful_offer_still_parses(void **state)
{
    const struct offer offers[] = {
        OFFER(0x175007e46, 0x8f2b, 65536, 32),
        OFFER(0x175007e46, 0x8f2b, UINT32_MAX, 32),
        OFFER(0x175007e46, 0x8f2b, 1, 65536),
        OFFER(0x175007e46, 0x8f2b, 1, UINT32_MAX),
    };
    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(offers); k++) {
        char spec[INTERFACE_TEXT_LEN];
        struct interface i;
        struct spec_error error;
        uint64_t unnamed;
        interface_of_offer(DEVICE_BLK, &offers[k], &i, &unnamed);
        interface_canonical(&i, spec, sizeof(spec));
        unit_check(parse_spec(spec, &i, &error) == 0, "'%s': %s", spec, error.text);
    }
}

static void bits_without_a_name_are_told(void **state)
{
    struct interface i;
    uint64_t unnamed;
    const struct offer o = OFFER(BIT(51) | BIT(0) | BIT(26) | BIT(30) | BIT(42), 0, 0, 0);
    (void)state;
    interface_of_offer(DEVICE_NET, &o, &i, &unnamed);
    assert_true(unnamed == (BIT(51) | BIT(42)));
    assert_true(i.on == BIT(0));
    interface_of_offer(DEVICE_UNKNOWN, &o, &i, &unnamed);
    assert_true(unnamed == (BIT(51) | BIT(42) | BIT(0)));
}

/* Fields that belong to one device (its size) stay out; those of features that are off too. */
static void config_fields_of_the_interface_are_pinned(void **state)
{
    struct offer o = OFFER(BIT(BLK_SEG_MAX) | BIT(BLK_MQ), BIT(PROTOCOL_MQ), 4, 0);
    struct interface i;
    uint64_t unnamed;
    uint64_t value = 0;
    (void)state;
    o.config[1] = 8;    /* capacity */
    o.config[12] = 126; /* seg_max */
    o.config[13] = 1;
    o.config[34] = 4;    /* num_queues */
    o.config[20] = 0xff; /* blk_size, which is not offered */
    o.config_len = 60;
    interface_of_offer(DEVICE_BLK, &o, &i, &unnamed);
    assert_int_equal(i.n_pins, 2);
    assert_string_equal(i.pins[0].row->name, "seg_max");
    assert_int_equal(i.pins[0].value, 256 + 126);
    assert_int_equal(i.pins[0].mode, PIN_VALUE);
    assert_string_equal(i.pins[1].row->name, "num_queues");
    assert_int_equal(i.pins[1].value, 4);
    assert_int_equal(interface_config_len(&i), 36);
    assert_true(offer_config(&o, i.pins[1].row, &value));
    assert_int_equal(value, 4);
    o.config_len = 35;
    assert_false(offer_config(&o, i.pins[1].row, &value));
    interface_of_offer(DEVICE_BLK, &o, &i, &unnamed);
    assert_int_equal(i.n_pins, 1);
    o.config_len = 0;
    interface_of_offer(DEVICE_BLK, &o, &i, &unnamed);
    assert_int_equal(i.n_pins, 0);
    assert_int_equal(interface_config_len(&i), 0);
}

static bool guess_is_right(const struct known_offer *k, size_t *n_found)
{
    enum device_type guess = offer_guess_device(&k->offer);
    *n_found += guess == k->device;
    if (guess != k->device && guess != DEVICE_UNKNOWN) {
        unit_say_why("%s: %s", k->name, device_name(guess));
        return false;
    }
    return true;
}

/* Right or undecided, never wrong. */
static void kinds_of_devices_are_guessed_or_not(void **state)
{
    size_t found = 0;
    bool right = true;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(net_releases); i++) {
        right = guess_is_right(&net_releases[i], &found) && right;
    }
    assert_int_equal(found, ARRAY_SIZE(net_releases));
    for (size_t i = 0; i < ARRAY_SIZE(other_offers); i++) {
        right = guess_is_right(&other_offers[i], &found) && right;
    }
    assert_true(found >= ARRAY_SIZE(net_releases) + 8);
    assert_int_equal(offer_guess_device(&(struct offer)OFFER(0x174000000, 0, 0, 0)),
                     DEVICE_UNKNOWN);
    assert_int_equal(offer_guess_device(&(struct offer)OFFER(0, 0, 0, 0)), DEVICE_UNKNOWN);
    assert_true(right);
}

static const struct unit_test tests[] = {
    UNIT(plain_host_shows_all_of_it),
    UNIT(any_change_to_host_is_policy),
    UNIT(listed_bits_are_shown_exactly),
    UNIT(vhosts_own_bits_pass_whatever_the_interface_says),
    UNIT(what_is_hidden_takes_its_dependents_along),
    UNIT(host_with_a_change_keeps_the_rest),
    UNIT(protocol_features_are_an_allow_list),
    UNIT(numbers_are_the_smaller_of_two),
    UNIT(virtqueues_follow_from_queues_and_the_kind_of_device),
    UNIT(digest_is_that_of_the_canonical_form),
    UNIT(the_interface_of_an_offer_fits_the_offer),
    UNIT(the_interface_of_a_boastful_offer_still_parses),
    UNIT(bits_without_a_name_are_told),
    UNIT(config_fields_of_the_interface_are_pinned),
    UNIT(kinds_of_devices_are_guessed_or_not),
};

UNIT_MAIN("interface", tests)
