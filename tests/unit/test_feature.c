/* SPDX-License-Identifier: MIT
 *
 * Names of feature bits both ways, and what is cleared together. */
#include <stdio.h>
#include <string.h>

#include "feature.h"
#include "runner.h"
#include "sample.h"

#define ALL_PROTOCOL UINT64_MAX
#define ROUNDS 20000

static bool is_of(const struct feature_row *row, enum device_type device)
{
    return row->device == device || row->device == DEVICE_RING || row->device == DEVICE_VHOST;
}

static void names_lead_to_their_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_feature_rows; i++) {
        const struct feature_row *row = &feature_rows[i];
        assert_ptr_equal(feature_of_name(row->device, row->name, strlen(row->name)), row);
        assert_ptr_equal(feature_of_bit(row->device, row->bit), row);
        assert_true((features_known(row->device) & BIT(row->bit)) != 0);
    }
    for (size_t i = 0; i < n_protocol_rows; i++) {
        const struct protocol_row *row = &protocol_rows[i];
        assert_ptr_equal(protocol_of_name(row->name, strlen(row->name)), row);
        assert_ptr_equal(protocol_of_bit(row->bit), row);
        assert_true((protocol_known() & BIT(row->bit)) != 0);
    }
    for (size_t i = 0; i < n_config_rows; i++) {
        const struct config_row *row = &config_rows[i];
        assert_ptr_equal(config_of_name(row->device, row->name, strlen(row->name)), row);
    }
}

/* Within one kind of device, the bits that all share included. */
static void bits_and_names_are_unique(void **state)
{
    (void)state;
    for (unsigned d = 0; d < N_DEVICE_TYPES; d++) {
        for (size_t i = 0; i < n_feature_rows; i++) {
            for (size_t k = i + 1; k < n_feature_rows; k++) {
                const struct feature_row *a = &feature_rows[i];
                const struct feature_row *b = &feature_rows[k];
                if (is_of(a, (enum device_type)d) && is_of(b, (enum device_type)d)) {
                    assert_int_not_equal(a->bit, b->bit);
                    assert_false(name_equal(a->name, b->name, strlen(b->name)));
                }
            }
        }
    }
    for (size_t i = 1; i < n_protocol_rows; i++) {
        assert_true(protocol_rows[i].bit > protocol_rows[i - 1].bit);
    }
}

static void dash_and_underscore_are_the_same(void **state)
{
    (void)state;
    assert_non_null(feature_of_name(DEVICE_NET, "mrg-rxbuf", 9));
    assert_non_null(feature_of_name(DEVICE_BLK, "write_zeroes", 12));
    assert_non_null(protocol_of_name("reply-ack", 9));
    assert_non_null(config_of_name(DEVICE_BLK, "seg-max", 7));
    assert_null(feature_of_name(DEVICE_NET, "mrg_rxbu", 8));
    assert_null(feature_of_name(DEVICE_NET, "mrg_rxbuff", 10));
    assert_null(feature_of_name(DEVICE_NET, "", 0));
}

static void names_belong_to_a_kind_of_device(void **state)
{
    (void)state;
    assert_null(feature_of_name(DEVICE_BLK, "csum", 4));
    assert_null(feature_of_name(DEVICE_UNKNOWN, "csum", 4));
    assert_non_null(feature_of_name(DEVICE_UNKNOWN, "packed", 6));
    assert_int_equal(feature_of_name(DEVICE_NET, "mq", 2)->bit, 22);
    assert_int_equal(feature_of_name(DEVICE_BLK, "mq", 2)->bit, 12);
    assert_null(feature_of_bit(DEVICE_NET, 51));
    assert_null(feature_of_bit(DEVICE_UNKNOWN, 0));
    assert_null(protocol_of_bit(24));
}

static void kinds_of_devices_have_names(void **state)
{
    enum device_type device;
    (void)state;
    for (unsigned d = DEVICE_NET; d < N_DEVICE_TYPES; d++) {
        const char *name = device_name((enum device_type)d);
        assert_true(device_of_name(name, strlen(name), &device));
        assert_int_equal(device, d);
    }
    assert_false(device_of_name("any", 3, &device));
    assert_false(device_of_name("vhost", 5, &device));
    assert_false(device_of_name("nett", 4, &device));
}

static void bits_of_ring_format_count_as_layout(void **state)
{
    const uint64_t formats = BIT(27) | BIT(28) | BIT(29) | BIT(32) | BIT(34) | BIT(35);
    (void)state;
    for (unsigned d = 0; d < N_DEVICE_TYPES; d++) {
        assert_true((features_how((enum device_type)d, FEATURE_LAYOUT) & formats) == formats);
        assert_true((features_how((enum device_type)d, FEATURE_LAYOUT) & features_of_vhost()) == 0);
    }
    assert_true((features_how(DEVICE_NET, FEATURE_LAYOUT) & BIT(NET_MRG_RXBUF)) != 0);
    assert_true((features_how(DEVICE_NET, FEATURE_LAYOUT) & BIT(NET_MAC)) == 0);
    assert_true(features_of_vhost() == (BIT(26) | BIT(30)));
}

static uint64_t lost(enum device_type device, uint64_t before, uint64_t cleared)
{
    uint64_t after = before & ~cleared;
    return after & ~features_close(device, before, after, ALL_PROTOCOL);
}

static void net_bits_go_with_what_they_stand_on(void **state)
{
    const uint64_t net = features_known(DEVICE_NET);
    const uint64_t guest = BIT(7) | BIT(8) | BIT(9) | BIT(10) | BIT(54) | BIT(55) | BIT(61);
    const uint64_t host = BIT(11) | BIT(12) | BIT(13) | BIT(14) | BIT(56);
    const uint64_t control = BIT(2) | BIT(18) | BIT(19) | BIT(20) | BIT(21) | BIT(22) | BIT(23) |
                             BIT(52) | BIT(53) | BIT(57) | BIT(60);
    (void)state;
    assert_true(lost(DEVICE_NET, net, BIT(NET_GUEST_CSUM)) == guest);
    assert_true(lost(DEVICE_NET, net, BIT(NET_CSUM)) == host);
    assert_true(lost(DEVICE_NET, net, BIT(NET_CTRL_VQ)) == control);
    assert_true(lost(DEVICE_NET, net, BIT(7)) == 0);
    assert_true(lost(DEVICE_NET, net, BIT(7) | BIT(8)) == (BIT(9) | BIT(61)));
    assert_true(lost(DEVICE_NET, net, BIT(11)) == 0);
    assert_true(lost(DEVICE_NET, net, BIT(11) | BIT(12)) == BIT(13));
    assert_true(lost(DEVICE_NET, net, BIT(NET_MAC) | BIT(NET_MRG_RXBUF)) == 0);
}

static void other_kinds_have_ground_of_their_own(void **state)
{
    (void)state;
    assert_true(lost(DEVICE_GPU, features_known(DEVICE_GPU), BIT(GPU_VIRGL)) == BIT(4));
    assert_true(lost(DEVICE_CRYPTO, features_known(DEVICE_CRYPTO), BIT(0)) == 0x3e);
    /* Bit 0 of a disk is no csum, and nothing stands on it. */
    assert_true(lost(DEVICE_BLK, features_known(DEVICE_BLK), BIT(0) | BIT(1)) == 0);
}

static void bits_go_with_their_protocol_features(void **state)
{
    const uint64_t net = features_known(DEVICE_NET);
    const uint64_t blk = features_known(DEVICE_BLK);
    (void)state;
    assert_true(features_close(DEVICE_NET, net, net, ~BIT(PROTOCOL_MQ)) == (net & ~BIT(22)));
    assert_true(features_close(DEVICE_BLK, blk, blk, ~BIT(PROTOCOL_MQ)) == (blk & ~BIT(12)));
    assert_true(features_close(DEVICE_FS, BIT(22), BIT(22), ~BIT(PROTOCOL_MQ)) == BIT(22));
    assert_true(features_close(DEVICE_NET, net, net, ~BIT(PROTOCOL_REPLY_ACK)) == (net & ~BIT(33)));
    assert_true(features_close(DEVICE_NET, net, net, ~BIT(PROTOCOL_BACKEND_REQ)) ==
                (net & ~BIT(33)));
}

/* What Open vSwitch offers: host_ecn without any host_tso, with and without csum. */
static void bits_without_ground_of_their_own_stay(void **state)
{
    const uint64_t offers[] = { 0xd7c66e7ca, 0xd7c66a7ca, 0xd7c66a7cb, 0xd7c669fcb, 0x56040dd83 };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(offers); i++) {
        assert_true(features_close(DEVICE_NET, offers[i], offers[i], 0x10cbf) == offers[i]);
        assert_true(lost(DEVICE_NET, offers[i], BIT(NET_MRG_RXBUF)) == 0);
    }
    assert_true((0xd7c66a7ca & BIT(NET_HOST_ECN)) != 0);
    assert_true(lost(DEVICE_NET, 0xd7c66a7ca, BIT(NET_CSUM)) == 0);
    assert_true(lost(DEVICE_NET, 0xd7c669fcb, BIT(NET_CSUM)) == (BIT(11) | BIT(12)));
}

/* Closing takes away only what must go, and leaves nothing that has lost its ground. */
static void closing_is_complete_and_takes_no_more(void **state)
{
    uint64_t seed = 1;
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        enum device_type device = (enum device_type)(sample_random(&seed) % N_DEVICE_TYPES);
        uint64_t before = sample_random(&seed) | sample_random(&seed);
        uint64_t after = before & (sample_random(&seed) | sample_random(&seed));
        uint64_t protocol = sample_random(&seed) | sample_random(&seed);
        uint64_t closed = features_close(device, before, after, protocol);
        assert_true((closed & ~after) == 0);
        assert_true(features_close(device, before, closed, protocol) == closed);
        for (size_t i = 0; i < n_feature_rows; i++) {
            const struct feature_row *row = &feature_rows[i];
            if (!is_of(row, device) || (after & BIT(row->bit)) == 0) {
                continue;
            }
            bool stands =
                row->needs == 0 || (row->needs & before) == 0 || (row->needs & closed) != 0;
            bool spoken = (row->protocol & ~protocol) == 0;
            assert_int_equal((closed & BIT(row->bit)) != 0, stands && spoken);
        }
    }
}

static void protocol_features_go_together(void **state)
{
    const uint64_t all = protocol_known();
    const uint64_t on_channel = BIT(10) | BIT(11) | BIT(14) | BIT(22);
    (void)state;
    assert_true(protocol_close(all) == all);
    assert_true(protocol_close(all & ~BIT(5)) == (all & ~BIT(5) & ~on_channel));
    assert_true(protocol_close(all & ~BIT(3)) == (all & ~BIT(3) & ~BIT(14)));
    assert_true(protocol_close(all & ~BIT(12)) == (all & ~BIT(12) & ~BIT(20) & ~BIT(23)));
    assert_true(protocol_close(all & ~BIT(20)) == (all & ~BIT(20) & ~BIT(23)));
    assert_true(protocol_close(BIT(63) | BIT(23)) == BIT(63));
    assert_true(protocol_close(0) == 0);
}

/* Bits that front-ends acknowledge without implementing them, and bits that meant several things.
 */
static void doubtful_protocol_features_are_shown_on_request(void **state)
{
    const uint64_t doubtful = BIT(14) | BIT(17) | BIT(20) | BIT(21) | BIT(22) | BIT(23);
    (void)state;
    assert_true(protocol_shown() == (protocol_known() & ~doubtful));
    assert_true(protocol_close(protocol_shown()) == protocol_shown());
}

static void bits_print_as_names(void **state)
{
    char text[1024];
    (void)state;
    features_print(DEVICE_NET, BIT(0) | BIT(26) | BIT(34) | BIT(51), text, sizeof(text));
    assert_string_equal(text, "csum, log_all, packed, bit 51");
    features_print(DEVICE_BLK, BIT(5), text, sizeof(text));
    assert_string_equal(text, "ro");
    features_print(DEVICE_UNKNOWN, BIT(5) | BIT(32), text, sizeof(text));
    assert_string_equal(text, "bit 5 (net mac, blk ro, crypto akcipher_stateless), version_1");
    features_print(DEVICE_UNKNOWN, BIT(51), text, sizeof(text));
    assert_string_equal(text, "bit 51");
    features_print(DEVICE_NET, 0, text, sizeof(text));
    assert_string_equal(text, "");
    protocol_print(BIT(0) | BIT(63), text, sizeof(text));
    assert_string_equal(text, "mq, bit 63");
}

static void printing_all_bits_fits_any_buffer(void **state)
{
    (void)state;
    for (unsigned d = 0; d < N_DEVICE_TYPES; d++) {
        char whole[4096];
        features_print((enum device_type)d, UINT64_MAX, whole, sizeof(whole));
        for (size_t len = 1; len < strlen(whole); len++) {
            char text[4096];
            text[len] = '#';
            features_print((enum device_type)d, UINT64_MAX, text, len);
            assert_int_equal(strlen(text), len - 1);
            assert_int_equal(text[len], '#');
        }
    }
}

static const struct unit_test tests[] = {
    UNIT(names_lead_to_their_rows),
    UNIT(bits_and_names_are_unique),
    UNIT(dash_and_underscore_are_the_same),
    UNIT(names_belong_to_a_kind_of_device),
    UNIT(kinds_of_devices_have_names),
    UNIT(bits_of_ring_format_count_as_layout),
    UNIT(net_bits_go_with_what_they_stand_on),
    UNIT(other_kinds_have_ground_of_their_own),
    UNIT(bits_go_with_their_protocol_features),
    UNIT(bits_without_ground_of_their_own_stay),
    UNIT(closing_is_complete_and_takes_no_more),
    UNIT(protocol_features_go_together),
    UNIT(doubtful_protocol_features_are_shown_on_request),
    UNIT(bits_print_as_names),
    UNIT(printing_all_bits_fits_any_buffer),
};

UNIT_MAIN("feature", tests)
