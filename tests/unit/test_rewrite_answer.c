/* SPDX-License-Identifier: MIT
 *
 * Answers under an interface: what the front-end is shown of what the back-end says. */
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
    rules = rewrite_prepare(&interface, &offer, &record);
}

static struct verdict answer(struct msg *m)
{
    return rewrite_answer(&rules, message_row(SPACE_FRONT, m->head.request), m);
}

/* The u64 that the front-end gets when the back-end says `value`. */
static uint64_t shown(uint32_t request, uint64_t value)
{
    struct msg m = sample_u64(request, WIRE_REPLY, value);
    struct verdict v = answer(&m);
    assert_int_equal(v.kind, VERDICT_PASS);
    memcpy(&value, m.body, sizeof(value));
    msg_clear(&m);
    return value;
}

static void incompatible(uint32_t request, uint64_t value, const char *words)
{
    char text[2048];
    struct msg m = sample_u64(request, WIRE_REPLY, value);
    struct verdict v = answer(&m);
    unit_check(v.kind == VERDICT_INCOMPATIBLE, "passes, expected: %s", words);
    verdict_print(&v, interface.device, text, sizeof(text));
    assert_string_equal(text, words);
    msg_clear(&m);
}

static void plain_host_passes_every_byte(void **state)
{
    enum wire_space space;
    const struct message_row *row;
    (void)state;
    under("host", 0, 0, 0, 0);
    for (size_t i = 0; (row = sample_row(i, &space)) != NULL; i++) {
        struct msg m = sample_message(row, true);
        struct msg same = sample_message(row, true);
        m.head.flags |= WIRE_NEED_REPLY;
        assert_int_equal(rewrite_answer(&rules, row, &m).kind, VERDICT_PASS);
        assert_int_equal(m.head.flags, 0xd);
        assert_int_equal(m.head.size, same.head.size);
        assert_true(m.head.size == 0 || memcmp(m.body, same.body, m.head.size) == 0);
        msg_clear(&m);
        msg_clear(&same);
    }
}

/* libvhost-user and VPP leave the bit in; QEMU and DPDK take no answer that has it. */
static void answers_lose_need_reply(void **state)
{
    enum wire_space space;
    const struct message_row *row;
    (void)state;
    under("host,csum=off", UINT64_MAX, UINT64_MAX, 4, 8);
    for (size_t i = 0; (row = sample_row(i, &space)) != NULL; i++) {
        struct msg m = sample_message(row, true);
        m.head.flags |= WIRE_NEED_REPLY;
        rewrite_answer(&rules, row, &m);
        assert_int_equal(m.head.flags, 0x5);
        msg_clear(&m);
    }
}

static void features_are_the_interfaces(void **state)
{
    (void)state;
    under("csum=on,host_ecn=on", 0xd7c66a7cb, 0x10cbf, 128, 0);
    assert_true(shown(FRONT_GET_FEATURES, 0xd7c66a7cb) == (BIT(0) | BIT(13) | BIT(26) | BIT(30)));
    under("host,csum=off", 0xd7c66ffcb, 0x10cbf, 128, 0);
    assert_true(shown(FRONT_GET_FEATURES, 0xd7c66ffcb) == 0xd7c6687ca);
    /* More than at the greeting: what may be acknowledged was settled then. */
    under("csum=on", BIT(0) | BIT(30), 0, 0, 0);
    assert_true(shown(FRONT_GET_FEATURES, UINT64_MAX) == (BIT(0) | BIT(30)));
}

/* Asked again, a back-end may say less than when it was found good. */
static void an_offer_that_shrinks_is_noticed(void **state)
{
    (void)state;
    under("csum=on,host_ecn=on,mq=on,queues=4,mem_slots=16", 0xd7c66a7cb, 0x18cbf, 128, 32);
    incompatible(FRONT_GET_FEATURES, 0xd7c66a7ca, "offers less than before: features csum");
    incompatible(FRONT_GET_FEATURES, 0, "offers less than before: features csum, host_ecn, mq");
    incompatible(FRONT_GET_PROTOCOL_FEATURES, 0x18cbe,
                 "offers less than before: protocol features that mq needs; queues 4 wanted, 1 "
                 "offered");
    incompatible(FRONT_GET_PROTOCOL_FEATURES, 0x10cbf,
                 "offers less than before: mem_slots 16 wanted, 8 offered");
    incompatible(FRONT_GET_QUEUE_NUM, 3, "offers less than before: queues 4 wanted, 3 offered");
    incompatible(FRONT_GET_MAX_MEM_SLOTS, 15,
                 "offers less than before: mem_slots 16 wanted, 15 offered");
}

static void protocol_features_are_what_is_understood_and_allowed(void **state)
{
    (void)state;
    under("csum=on,protocol.rarp=off", BIT(0) | BIT(30), 0x8000000000fecbf, 128, 8);
    uint64_t got = shown(FRONT_GET_PROTOCOL_FEATURES, 0x8000000000fecbf);
    assert_true(got == (0xfecbf & protocol_shown() & ~BIT(2)));
}

/* Whoever is shown a bit may acknowledge it. */
static void what_is_shown_may_be_acknowledged(void **state)
{
    static const char *const specs[] = { "csum=on", "host,csum=off", "host,mac=front",
                                         "host,device=net,protocol.rarp=off" };
    uint64_t seed = 5;
    (void)state;
    for (int round = 0; round < 4000; round++) {
        uint64_t features = sample_random(&seed) | BIT(0) | BIT(30);
        uint64_t protocol = sample_random(&seed) | BIT(3);
        bool grows = round % 2 != 0;
        under(specs[round / 2 % ARRAY_SIZE(specs)], features, protocol, 4, 8);
        uint64_t now = grows ? features | sample_random(&seed) : features;
        struct msg m = sample_u64(FRONT_SET_FEATURES, 0, shown(FRONT_GET_FEATURES, now));
        struct verdict v = rewrite_request(&rules, message_row(SPACE_FRONT, 2), &m);
        unit_check(v.kind == VERDICT_PASS, "features, %s offer", grows ? "grown" : "same");
        msg_clear(&m);
        now = grows ? protocol | sample_random(&seed) : protocol;
        m = sample_u64(FRONT_SET_PROTOCOL_FEATURES, 0, shown(FRONT_GET_PROTOCOL_FEATURES, now));
        v = rewrite_request(&rules, message_row(SPACE_FRONT, 16), &m);
        unit_check(v.kind == VERDICT_PASS, "protocol features, %s offer", grows ? "grown" : "same");
        msg_clear(&m);
    }
}

static void numbers_are_the_pinned_ones(void **state)
{
    (void)state;
    under("device=blk,queues=4,mem_slots=16", BIT(30), 0x18cbf, 128, 509);
    assert_true(shown(FRONT_GET_QUEUE_NUM, 128) == 4);
    assert_true(shown(FRONT_GET_QUEUE_NUM, 4) == 4);
    assert_true(shown(FRONT_GET_QUEUE_NUM, UINT64_MAX) == 4);
    assert_true(shown(FRONT_GET_MAX_MEM_SLOTS, 509) == 16);
    assert_true(shown(FRONT_GET_MAX_MEM_SLOTS, 0x100000000) == 16);
    under("device=blk", BIT(30), 0x18cbf, 128, 509);
    assert_true(shown(FRONT_GET_QUEUE_NUM, 128) == 128);
    assert_true(shown(FRONT_GET_MAX_MEM_SLOTS, 508) == 508);
    assert_true(shown(FRONT_GET_MAX_MEM_SLOTS, 0x100000007) == 509);
}

/* An answer of GET_CONFIG for `size` bytes at `offset`, all 0xee. */
static struct msg config_answer(uint32_t offset, uint32_t size)
{
    const struct wire_config_answer head = { .offset = offset, .size = size };
    struct msg m = sample_raw(FRONT_GET_CONFIG, WIRE_REPLY, NULL, sizeof(head) + size, 0);
    memset(m.body, 0xee, m.head.size);
    memcpy(m.body, &head, sizeof(head));
    return m;
}

static void expect_config(uint32_t offset, uint32_t size)
{
    static const uint8_t pinned[4] = { 0x7e, 0x01, 0, 0 }; /* at 12 */
    struct msg m = config_answer(offset, size);
    assert_int_equal(answer(&m).kind, VERDICT_PASS);
    for (uint32_t k = 0; k < size; k++) {
        uint64_t at = (uint64_t)offset + k;
        uint8_t expected = at >= 12 && at < 16 ? pinned[at - 12] : 0xee;
        unit_check(m.body[12 + k] == expected, "byte %lu of %u at %u is %#x", (unsigned long)at,
                   size, offset, m.body[12 + k]);
    }
    msg_clear(&m);
}

/* Front-ends ask for any piece; only bytes of the pinned field change. */
static void pinned_fields_are_laid_over_any_piece(void **state)
{
    (void)state;
    under("seg_max=on,config.seg_max=382", UINT64_MAX, UINT64_MAX, 4, 8);
    for (uint32_t offset = 0; offset < 24; offset++) {
        for (uint32_t size = 0; size < 24; size++) {
            expect_config(offset, size);
        }
    }
    expect_config(0, 60);
    expect_config(60, 4);
    expect_config(0, WIRE_MAX_PAYLOAD - 12);
    expect_config(0xfffffffe, 20);
    expect_config(0xffffffff, 1);
}

/* The smaller of the pinned and the back-end's own value; where an answer has a piece of the field
 * only, the value that the greeting read tells. */
static void the_smaller_value_is_shown_where_asked_for(void **state)
{
    (void)state;
    for (uint32_t own = 100; own <= 200; own += 50) {
        const uint8_t shown_low = own < 150 ? (uint8_t)own : 150;
        under("host,config.seg_max=min:150", UINT64_MAX, UINT64_MAX, 4, 8);
        offer.config_len = 60;
        offer.config[12] = (uint8_t)own;
        struct msg m = config_answer(8, 12);
        memset(m.body + 12 + 4, 0, 4);
        m.body[12 + 4] = (uint8_t)own;
        assert_int_equal(answer(&m).kind, VERDICT_PASS);
        assert_int_equal(m.body[12 + 4], shown_low);
        assert_int_equal(m.body[12 + 5], 0);
        assert_int_equal(m.body[12 + 3], 0xee);
        assert_int_equal(m.body[12 + 8], 0xee);
        msg_clear(&m);
        m = config_answer(12, 1);
        m.body[12] = (uint8_t)own;
        assert_int_equal(answer(&m).kind, VERDICT_PASS);
        assert_int_equal(m.body[12], shown_low);
        msg_clear(&m);
    }
}

static void config_errors_pass_as_they_are(void **state)
{
    (void)state;
    under("seg_max=on,config.seg_max=382", UINT64_MAX, UINT64_MAX, 4, 8);
    struct msg m = sample_raw(FRONT_GET_CONFIG, WIRE_REPLY, NULL, 0, 0);
    assert_int_equal(answer(&m).kind, VERDICT_PASS);
    assert_int_equal(m.head.size, 0);
    msg_clear(&m);
    m = config_answer(12, 0);
    assert_int_equal(answer(&m).kind, VERDICT_PASS);
    assert_int_equal(m.head.size, 12);
    msg_clear(&m);
}

static void every_size_of_pinned_field_is_little_endian(void **state)
{
    (void)state;
    under("config.capacity=0x1122334455667788,config.opt_io_size=0x99aabbcc,"
          "config.geometry.cylinders=0xddee,config.geometry.heads=0x0f",
          UINT64_MAX, UINT64_MAX, 4, 8);
    struct msg m = config_answer(0, 40);
    const uint8_t *c = m.body + 12;
    assert_int_equal(answer(&m).kind, VERDICT_PASS);
    assert_memory_equal(c, "\x88\x77\x66\x55\x44\x33\x22\x11", 8);
    assert_memory_equal(c + 16, "\xee\xdd\x0f\xee", 4);
    assert_memory_equal(c + 28, "\xcc\xbb\xaa\x99", 4);
    msg_clear(&m);
}

/* yc-libvhost-server answers zero; a number of queues that the device does not have is refused. */
static void inflight_answers_stay_within_the_device(void **state)
{
    const uint16_t good[] = { 0, 1, 4 };
    const uint16_t bad[] = { 5, 257, 0xffff };
    (void)state;
    under("device=blk,queues=4", UINT64_MAX, UINT64_MAX, 256, 8);
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        const struct wire_inflight w = { .mmap_size = 4096, .num_queues = good[i] };
        struct msg m = sample_raw(FRONT_GET_INFLIGHT_FD, WIRE_REPLY, &w, sizeof(w), 1);
        assert_int_equal(answer(&m).kind, VERDICT_PASS);
        msg_clear(&m);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        const struct wire_inflight w = { .mmap_size = 4096, .num_queues = bad[i] };
        struct msg m = sample_raw(FRONT_GET_INFLIGHT_FD, WIRE_REPLY, &w, sizeof(w), 1);
        struct verdict v = answer(&m);
        assert_int_equal(v.kind, VERDICT_REFUSE);
        assert_int_equal(v.rule, RULE_QUEUE_COUNT);
        assert_int_equal(v.value, bad[i]);
        msg_clear(&m);
    }
}

static void acknowledgements_pass(void **state)
{
    const struct message_row *row;
    (void)state;
    under("device=blk,queues=1,max_ring=2,mem_slots=1", UINT64_MAX, UINT64_MAX, 4, 8);
    for (size_t i = 0; (row = message_row_at(SPACE_FRONT, i)) != NULL; i++) {
        if (row->answer_payload == PAYLOAD_ack) {
            assert_true(shown(row->id, 0) == 0);
            assert_true(shown(row->id, (uint64_t)-EINVAL) == (uint64_t)-EINVAL);
        }
    }
    assert_true(shown(FRONT_GET_STATUS, 0xff) == 0xff);
}

static const struct unit_test tests[] = {
    UNIT(plain_host_passes_every_byte),
    UNIT(answers_lose_need_reply),
    UNIT(features_are_the_interfaces),
    UNIT(an_offer_that_shrinks_is_noticed),
    UNIT(protocol_features_are_what_is_understood_and_allowed),
    UNIT(what_is_shown_may_be_acknowledged),
    UNIT(numbers_are_the_pinned_ones),
    UNIT(pinned_fields_are_laid_over_any_piece),
    UNIT(the_smaller_value_is_shown_where_asked_for),
    UNIT(config_errors_pass_as_they_are),
    UNIT(every_size_of_pinned_field_is_little_endian),
    UNIT(inflight_answers_stay_within_the_device),
    UNIT(acknowledgements_pass),
};

UNIT_MAIN("rewrite_answer", tests)
