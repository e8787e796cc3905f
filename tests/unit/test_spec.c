/* SPDX-License-Identifier: MIT
 *
 * Spec strings: what they mean, their canonical form, and what is said about wrong ones. */
#include <stdio.h>
#include <string.h>

#include "runner.h"
#include "sample.h"
#include "specs.h"

static struct interface parsed(const char *spec)
{
    struct interface i = { .host = false };
    struct spec_error error = { .at = 0 };
    int err = parse_spec(spec, &i, &error);
    unit_check(err == 0, "'%s': %s", spec, error.text);
    return i;
}

static void expect_canonical(const char *spec, const char *canonical)
{
    char text[INTERFACE_TEXT_LEN];
    struct interface i = parsed(spec);
    interface_canonical(&i, text, sizeof(text));
    unit_check(strcmp(text, canonical) == 0, "'%s' is '%s', expected '%s'", spec, text, canonical);
}

static void canonical_forms(void **state)
{
    static const char *const forms[][2] = {
        { "host", "host" },
        { "host,mq=off", "host,device=net,mq=off" },
        { "host,device=blk,mq=off", "host,device=blk,mq=off" },
        { "host,queues=4", "host,queues=4" },
        /* The protocol's own limits say nothing. */
        { "host,max_ring=32768", "host" },
        { "host,queues=32768,mem_slots=512", "host" },
        { "mrg_rxbuf=on,max_ring=32768", "device=net,mrg_rxbuf=on" },
        { "host,packed=off", "host,packed=off" },
        { "mrg_rxbuf=on,max_ring=256", "device=net,mrg_rxbuf=on,max_ring=256" },
        { "max_ring=256,mrg-rxbuf=on", "device=net,mrg_rxbuf=on,max_ring=256" },
        { "version_1=on", "version_1=on" },
        { "csum=off,version_1=on", "device=net,version_1=on" },
        { "device=net,csum=off", "device=net" },
        { "device=input", "device=input" },
        { "host,csum=off", "host,device=net,csum=off" },
        { "config-wce=on,flush=on", "device=blk,flush=on,config-wce=on" },
        { "config_wce=on", "device=blk,config-wce=on" },
        { "queues=4,device=blk", "device=blk,queues=4" },
        { "queues=0x10,version_1=on", "version_1=on,queues=16" },
        { "mac=front,csum=on", "device=net,csum=on,mac=front" },
        { "host,mac=front", "host,device=net,mac=front" },
        { "protocol.mq=on,csum=on", "device=net,csum=on,protocol.mq=on" },
        { "csum=on,protocol.reply_ack=off", "device=net,csum=on,protocol.reply_ack=off" },
        { "csum=on,protocol.inband_notifications=off", "device=net,csum=on" },
        { "csum=on,protocol.xen_mmap=on", "device=net,csum=on,protocol.xen_mmap=on" },
        { "config.seg_max=126,seg_max=on,config.size_max=4096",
          "device=blk,seg_max=on,config.size_max=4096,config.seg_max=126" },
        { "config.geometry.heads=255", "device=blk,config.geometry.heads=255" },
        { "config.mtu=1500", "device=net,config.mtu=1500" },
        { "config.capacity=18446744073709551615",
          "device=blk,config.capacity=18446744073709551615" },
        { "config.seg_max=min:0x7e", "device=blk,config.seg_max=min:126" },
        { "mem_slots=32,device=fs,queues=2", "device=fs,queues=2,mem_slots=32" },
        { "seqpacket=on", "device=vsock,seqpacket=on" },
        { "virgl=on,edid=on", "device=gpu,virgl=on,edid=on" },
        { "akcipher_stateless=on", "device=crypto,akcipher_stateless=on" },
        { "hotplug=on", "device=scsi,hotplug=on" },
        { "event_idx=on,indirect_desc=on,any_layout=on",
          "any_layout=on,indirect_desc=on,event_idx=on" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        expect_canonical(forms[i][0], forms[i][1]);
    }
}

static void canonical_forms_are_canonical(void **state)
{
    static const char *const specs[] = {
        "host",
        "version_1=on",
        "queues=3",
        "max_ring=1024",
        "protocol.mq=on",
        "packed=off,device=net",
        "protocol.mq=off",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
        char text[INTERFACE_TEXT_LEN];
        struct interface x = parsed(specs[i]);
        struct interface again;
        struct spec_error error;
        interface_canonical(&x, text, sizeof(text));
        unit_check(parse_spec(text, &again, &error) == 0,
                   "'%s' has the canonical form '%s', which does not parse", specs[i], text);
        expect_canonical(text, text);
    }
}

static void words_mean_what_they_say(void **state)
{
    (void)state;
    struct interface i =
        parsed("host,csum=off,mac=front,packed=on,queues=2,max_ring=512,mem_slots=9,"
               "protocol.mq=on,protocol.rarp=off,config.mtu=1500");
    assert_true(i.host);
    assert_int_equal(i.device, DEVICE_NET);
    assert_true(i.on == BIT(RING_RING_PACKED));
    assert_true(i.off == BIT(NET_CSUM));
    assert_true(i.front == BIT(NET_MAC));
    assert_true(i.protocol_on == BIT(PROTOCOL_MQ));
    assert_true(i.protocol_off == BIT(PROTOCOL_RARP));
    assert_int_equal(i.queues, 2);
    assert_int_equal(i.max_ring, 512);
    assert_int_equal(i.mem_slots, 9);
    assert_int_equal(i.n_pins, 1);
    assert_string_equal(i.pins[0].row->name, "mtu");
    assert_int_equal(i.pins[0].value, 1500);
}

/* Where nothing else tells, the first kind of device that has all the names. */
static void kind_of_device_follows_from_the_names(void **state)
{
    (void)state;
    assert_int_equal(parsed("mq=on").device, DEVICE_NET);
    assert_int_equal(parsed("mq=on,flush=on").device, DEVICE_BLK);
    assert_int_equal(parsed("flush=on,device=blk").device, DEVICE_BLK);
    assert_int_equal(parsed("config.num_queues=1").device, DEVICE_BLK);
    assert_int_equal(parsed("config.num_queues=1,hotplug=on").device, DEVICE_SCSI);
    assert_int_equal(parsed("status=on").device, DEVICE_NET);
    assert_int_equal(parsed("config.status=0").device, DEVICE_NET);
    assert_int_equal(parsed("packed=on").device, DEVICE_UNKNOWN);
}

/* All that a kind of device can have, in one interface: nothing is cut, nothing overflows. */
static void the_longest_interface_fits(void **state)
{
    (void)state;
    for (unsigned d = DEVICE_NET; d < N_DEVICE_TYPES; d++) {
        struct interface i = { .host = true,
                               .device = (enum device_type)d,
                               .on = features_known((enum device_type)d) & ~features_of_vhost(),
                               .protocol_on = protocol_known(),
                               .queues = PROTOCOL_MAX_QUEUES - 1,
                               .max_ring = PROTOCOL_MAX_RING / 2,
                               .mem_slots = PROTOCOL_MAX_SLOTS - 1 };
        char text[2 * INTERFACE_TEXT_LEN];
        for (size_t k = 0; k < n_config_rows; k++) {
            const struct config_row *row = &config_rows[k];
            if (row->device == i.device && (row->traits & CONFIG_TEXT) == 0) {
                assert_true(i.n_pins < INTERFACE_MAX_PINS);
                uint64_t most = row->size == 8 ? UINT64_MAX : BIT(8 * row->size) - 1;
                i.pins[i.n_pins++] = (struct config_pin){ row, most, PIN_VALUE };
            }
        }
        interface_canonical(&i, text, sizeof(text));
        assert_true(strlen(text) < INTERFACE_TEXT_LEN);
        expect_canonical(text, text);
    }
}

static const struct wrong {
    const char *spec;
    const char *word; /* that the error points at */
    const char *text; /* somewhere in the message */
} wrong[] = {
    { "", "", "empty" },
    { "hst", "hst", "did you mean host?" },
    { "org.dpdk.v22.11", "org.dpdk.v22.11", "unknown profile" },
    { "csum", "csum", "unknown profile" },
    { "host,csum", "csum", "has no value" },
    { "host,", "", "nothing between two commas" },
    { "host,,csum=on", "", "nothing between two commas" },
    { ",csum=on", "", "" },
    { "csum=on,host", "host", "has no value" },
    { "mrg_rxbuff=on", "mrg_rxbuff", "did you mean mrg_rxbuf?" },
    { "host,mrg_rxbuff=on", "mrg_rxbuff", "did you mean mrg_rxbuf?" },
    { "csum=on,pakced=on", "pakced", "did you mean packed?" },
    { "protocl.mq=on", "protocl.mq", "did you mean protocol.mq?" },
    { "protocol.reply_ak=on", "protocol.reply_ak", "did you mean protocol.reply_ack?" },
    { "config.seg_mx=1", "config.seg_mx", "did you mean config.seg_max?" },
    { "que=4", "que", "" },
    { "queus=4", "queus", "did you mean queues?" },
    { "zzzzzzzzzz=on", "zzzzzzzzzz", "see vushim help spec" },
    { "csum=yes", "yes", "not a setting of a feature (on, off or front)" },
    { "csum=", "", "not a setting" },
    { "csum=ON", "ON", "not a setting" },
    { "csum=on=on", "on=on", "not a setting" },
    { "protocol.mq=front", "front", "on or off" },
    { "csum=on,csum=on", "csum", "given twice" },
    { "csum=on,csum=off", "csum", "given twice" },
    { "csum=on,queues=1,queues=1", "queues", "given twice" },
    { "max_ring=256,max_ring=256", "max_ring", "given twice" },
    { "protocol.mq=on,protocol.mq=off", "protocol.mq", "given twice" },
    { "config.mtu=1,config.mtu=1", "config.mtu", "given twice" },
    { "device=net,device=net", "device", "given twice" },
    { "device=net,csum=on,device=blk", "device", "given twice" },
    { "packed=front", "front", "both sides need it" },
    { "mrg_rxbuf=front", "front", "both sides need it" },
    { "log_all=on", "log_all", "no guest sees this bit" },
    { "protocol_features=off", "protocol_features", "no guest sees this bit" },
    { "device=tape", "device", "no such kind of device" },
    { "device=", "device", "no such kind of device" },
    { "csum=on,flush=on", "csum=on,flush=on", "no kind of device has all these names" },
    { "device=blk,csum=on", "csum", "no feature of a blk device" },
    { "queues=0", "0", "not a number from 1 to 32768" },
    { "queues=32769", "32769", "not a number from 1 to 32768" },
    { "queues=-1", "-1", "not a number" },
    { "queues=", "", "not a number" },
    { "queues= 1", " 1", "not a number" },
    { "queues=+1", "+1", "not a number" },
    { "queues=1x", "1x", "not a number" },
    { "queues=99999999999999999999", "99999999999999999999", "not a number" },
    { "queues=9999999999999999999999999", "9999999999999999999999999", "not a number" },
    { "max_ring=300", "300", "power of two" },
    { "max_ring=65536", "65536", "not a number from 1 to 32768" },
    { "version_1=off", "version_1=off", "nothing is on" },
    { "protocol.xen_mmap=off", "protocol.xen_mmap=off", "nothing is on" },
    { "max_ring=32768", "max_ring=32768", "nothing is on" },
    { "mem_slots=513", "513", "not a number from 1 to 512" },
    { "config.mtu=65536", "65536", "not a number from 0 to 65535" },
    { "config.mtu=min:", "min:", "not a number from 0 to 65535" },
    { "config.mtu=min:65536", "65536", "not a number from 0 to 65535" },
    { "config.mtu=max:1", "max:1", "not a number" },
    { "queues=min:1", "min:1", "not a number" },
    { "config.mac=1", "config.mac", "cannot be pinned" },
    { "config.capacity=18446744073709551616", "18446744073709551616", "not a number" },
    { "device=fs,config.mtu=1", "config.mtu", "unknown configuration field" },
    { "mq=on,protocol.mq=off", "mq=on,protocol.mq=off", "is off: mq" },
    { "iommu_platform=on,protocol.reply_ack=off", "iommu_platform=on,protocol.reply_ack=off",
      "is off: iommu_platform" },
    { "protocol.backend_send_fd=on,protocol.backend_req=off",
      "protocol.backend_send_fd=on,protocol.backend_req=off", "protocol backend_send_fd" },
    { "config.mtu=1500,protocol.config=off", "config.mtu=1500,protocol.config=off",
      "config is off" },
};

/* True when the error is as it should be; otherwise says what is not. */
static bool error_is_right(const struct wrong *w)
{
    struct interface i = { .queues = 77 };
    struct spec_error error = { .at = 0 };
    if (parse_spec(w->spec, &i, &error) != -EINVAL) {
        unit_say_why("'%s' is taken", w->spec);
        return false;
    }
    assert_int_equal(i.queues, 77);
    assert_true(error.text[0] != '\0');
    assert_true(error.at + error.word_len <= strlen(w->spec));
    if (strstr(error.text, w->text) == NULL) {
        unit_say_why("'%s': '%s', expected '%s'", w->spec, error.text, w->text);
        return false;
    }
    if (strlen(w->word) != error.word_len ||
        memcmp(w->spec + error.at, w->word, error.word_len) != 0) {
        unit_say_why("'%s': points at '%.*s', expected '%s'", w->spec, (int)error.word_len,
                     w->spec + error.at, w->word);
        return false;
    }
    return true;
}

static void errors_point_at_the_word(void **state)
{
    bool right = true;
    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(wrong); k++) {
        right = error_is_right(&wrong[k]) && right;
    }
    assert_true(right);
}

static void the_second_of_two_is_pointed_at(void **state)
{
    struct interface i;
    struct spec_error error;
    (void)state;
    assert_int_equal(parse_spec("csum=on,mac=on,csum=off", &i, &error), -EINVAL);
    assert_int_equal(error.at, 15);
    assert_int_equal(parse_spec("host,,", &i, &error), -EINVAL);
    assert_int_equal(error.at, 5);
}

/* A longest name, and words longer than any. */
static void long_words_do_no_harm(void **state)
{
    char spec[3000];
    struct interface i;
    struct spec_error error;
    (void)state;
    for (size_t len = 1; len < sizeof(spec) - 10; len += len < 100 ? 1 : 211) {
        memset(spec, 'q', len);
        strcpy(spec + len, "=on");
        assert_int_equal(parse_spec(spec, &i, &error), -EINVAL);
        assert_int_equal(error.at, 0);
        assert_int_equal(error.word_len, len);
    }
}

static void every_name_is_suggested_for_itself_with_an_error(void **state)
{
    (void)state;
    for (size_t k = 0; k < n_feature_rows; k++) {
        const struct feature_row *row = &feature_rows[k];
        char spec[80];
        char expected[80];
        struct interface i;
        struct spec_error error;
        snprintf(spec, sizeof(spec), "%sx=on", row->name);
        snprintf(expected, sizeof(expected), "did you mean %s?", row->name);
        if (row->how == FEATURE_VHOST || strlen(row->name) < 3) {
            continue;
        }
        assert_int_equal(parse_spec(spec, &i, &error), -EINVAL);
        unit_check(strstr(error.text, expected) != NULL, "%s: %s", spec, error.text);
    }
}

static const struct unit_test tests[] = {
    UNIT(canonical_forms),
    UNIT(canonical_forms_are_canonical),
    UNIT(words_mean_what_they_say),
    UNIT(kind_of_device_follows_from_the_names),
    UNIT(the_longest_interface_fits),
    UNIT(errors_point_at_the_word),
    UNIT(the_second_of_two_is_pointed_at),
    UNIT(long_words_do_no_harm),
    UNIT(every_name_is_suggested_for_itself_with_an_error),
};

UNIT_MAIN("spec", tests)
