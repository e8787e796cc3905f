/* SPDX-License-Identifier: MIT
 *
 * The questions that read a back-end's offer. */
#include <string.h>

#include "alloc.h"
#include "greeting.h"
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

/* A back-end that answers from `o`; what it was asked and told. */
struct talk {
    uint32_t asked[8];
    size_t n;
    uint64_t told;
    struct offer learnt;
};

static uint64_t answer_to(uint32_t request, const struct offer *o)
{
    switch (request) {
    case FRONT_GET_FEATURES:
        return o->features;
    case FRONT_GET_PROTOCOL_FEATURES:
        return o->protocol_features;
    case FRONT_GET_QUEUE_NUM:
        return o->queues;
    case FRONT_GET_MAX_MEM_SLOTS:
        return o->mem_slots;
    }
    unit_fail("asks %u", request);
    return 0;
}

/* A configuration space of o->config_len bytes, for whoever asks for no more. */
static struct msg config_answer(const struct msg *question, const struct offer *o)
{
    struct wire_config head;
    assert_true(question->head.size >= sizeof(head));
    memcpy(&head, question->body, sizeof(head));
    assert_int_equal(head.offset, 0);
    assert_int_equal(question->head.size, sizeof(head) + head.size);
    if (head.size > o->config_len) {
        return sample_raw(FRONT_GET_CONFIG, WIRE_REPLY, NULL, 0, 0);
    }
    struct msg m = sample_raw(FRONT_GET_CONFIG, WIRE_REPLY, NULL, question->head.size, 0);
    memcpy(m.body, &head, sizeof(head));
    memcpy(m.body + sizeof(head), o->config, head.size);
    return m;
}

static void answer_question(struct greeting *g, const struct msg *question, const struct offer *o)
{
    uint32_t request = question->head.request;
    struct msg answer = MSG_NULL;
    if (request == FRONT_GET_CONFIG) {
        answer = config_answer(question, o);
    } else {
        assert_int_equal(question->head.size, 0);
        answer = sample_u64(request, WIRE_REPLY, answer_to(request, o));
    }
    greeting_answer(g, &answer);
    msg_clear(&answer);
}

static struct talk talk(const char *spec, const struct offer *o)
{
    const struct interface i = parsed(spec);
    struct greeting g = { .step = GREETING_FEATURES };
    struct talk t = { .n = 0 };
    struct msg m = MSG_NULL;
    int next;
    while ((next = greeting_next(&g, &i, &m)) != GREETING_OVER) {
        assert_true(next == GREETING_ASK || next == GREETING_TELL);
        assert_true(t.n < 8);
        assert_int_equal(m.head.flags, 1);
        t.asked[t.n++] = m.head.request;
        if (next == GREETING_TELL) {
            assert_int_equal(m.head.size, 8);
            memcpy(&t.told, m.body, 8);
        } else {
            answer_question(&g, &m, o);
        }
        msg_clear(&m);
    }
    assert_int_equal(greeting_next(&g, &i, &m), GREETING_OVER);
    t.learnt = g.offer;
    return t;
}

static void expect_asked(const struct talk *t, const uint32_t *expected, size_t n)
{
    assert_int_equal(t->n, n);
    assert_memory_equal(t->asked, expected, n * sizeof(*expected));
}

static void asks_for_all_that_is_offered(void **state)
{
    const struct offer o = OFFER(BIT(30) | BIT(0), 0x18cbf, 128, 8);
    const uint32_t order[] = { 1, 15, 16, 17, 36 };
    (void)state;
    struct talk t = talk("host,csum=off", &o);
    expect_asked(&t, order, ARRAY_SIZE(order));
    assert_true(memcmp(&t.learnt, &o, sizeof(o)) == 0);
    assert_true(t.told == (0x18cbf & ~BIT(PROTOCOL_REPLY_ACK)));
}

static void asks_for_no_more_than_is_offered(void **state)
{
    const struct offer plain = OFFER(BIT(0), 0x18cbf, 128, 8);
    const struct offer no_mq = OFFER(BIT(30), 0x18cbe, 128, 8);
    const struct offer no_slots = OFFER(BIT(30), 0x10cbf, 128, 8);
    const uint32_t only_features[] = { 1 };
    const uint32_t without_queues[] = { 1, 15, 16, 36 };
    const uint32_t without_slots[] = { 1, 15, 16, 17 };
    (void)state;
    struct talk t = talk("host,csum=off", &plain);
    expect_asked(&t, only_features, 1);
    assert_true(t.learnt.protocol_features == 0);
    t = talk("host,csum=off", &no_mq);
    expect_asked(&t, without_queues, 4);
    assert_int_equal(t.learnt.queues, 0);
    t = talk("host,csum=off", &no_slots);
    expect_asked(&t, without_slots, 4);
    assert_int_equal(t.learnt.mem_slots, 0);
}

/* What is withheld from the front-end is not used by us either. */
static void asks_for_nothing_that_is_withheld(void **state)
{
    const struct offer o = OFFER(BIT(30), 0x18cbf, 128, 8);
    const uint32_t without_queues[] = { 1, 15, 16, 36 };
    (void)state;
    struct talk t = talk("host,protocol.mq=off,protocol.rarp=off", &o);
    expect_asked(&t, without_queues, 4);
    assert_true(t.told == (0x18cbf & ~(BIT(0) | BIT(2) | BIT(3))));
    const struct offer future = OFFER(BIT(30), 0x8000000000020cbf, 128, 8);
    t = talk("host,csum=off", &future);
    assert_true(t.told == (0xcbf & ~BIT(3)));
}

/* libvhost-user gives up on a set of protocol features in which one lacks another that it needs. */
static void what_is_set_is_complete_in_itself(void **state)
{
    uint64_t seed = 7;
    (void)state;
    for (int round = 0; round < 2000; round++) {
        const struct offer o = OFFER(BIT(30), sample_random(&seed) | sample_random(&seed), 4, 8);
        struct talk t = talk(round % 2 ? "host,csum=off"
                                       : "host,protocol.inband_notifications=on,"
                                         "protocol.shmem=on,protocol.get_vring_base_inflight=on,"
                                         "protocol.get_vring_base_skip_drain=on",
                             &o);
        unit_check(protocol_close(t.told) == t.told, "sets %#lx, of which %#lx lacks what it needs",
                   (unsigned long)t.told, (unsigned long)(t.told & ~protocol_close(t.told)));
        assert_true((t.told & ~o.protocol_features) == 0);
        assert_true((t.told & BIT(PROTOCOL_REPLY_ACK)) == 0);
    }
}

/* Pinned fields are held against the back-end's own, so those are asked for, and no more. */
static void pinned_fields_are_read(void **state)
{
    struct offer o = OFFER(BIT(30), BIT(PROTOCOL_CONFIG), 0, 0);
    const uint32_t order[] = { 1, 15, 16, 24 };
    (void)state;
    for (size_t i = 0; i < 60; i++) {
        o.config[i] = (uint8_t)(i + 1);
    }
    o.config_len = 60;
    struct talk t = talk("host,config.seg_max=126", &o);
    expect_asked(&t, order, 4);
    assert_int_equal(t.learnt.config_len, 16);
    assert_memory_equal(t.learnt.config, o.config, 16);
    o.config_len = 8; /* too small: an error is no end of the greeting */
    t = talk("host,config.seg_max=126", &o);
    expect_asked(&t, order, 4);
    assert_int_equal(t.learnt.config_len, 0);
    t = talk("host,seg_max=off", &o);
    expect_asked(&t, order, 3);
    o.protocol_features = 0;
    t = talk("host,config.seg_max=126", &o);
    expect_asked(&t, order, 3);
}

/* A probe tries the sizes that configuration spaces have had. */
static void a_probe_finds_the_size_of_the_configuration_space(void **state)
{
    const struct interface i = parsed("host,csum=off");
    (void)state;
    for (uint32_t size = 0; size <= OFFER_CONFIG_MAX; size++) {
        struct greeting g = { .step = GREETING_CONFIG, .whole_config = true };
        struct offer o = { .config_len = size };
        struct msg m = MSG_NULL;
        size_t n = 0;
        g.offer.features = BIT(30);
        g.offer.protocol_features = BIT(PROTOCOL_CONFIG);
        while (greeting_next(&g, &i, &m) == GREETING_ASK) {
            assert_true(++n < 30);
            answer_question(&g, &m, &o);
            msg_clear(&m);
        }
        assert_true(g.offer.config_len <= size);
        assert_true(size < 4 || g.offer.config_len >= (size < 136 ? size / 2 : 136));
        assert_int_equal(g.step, GREETING_DONE);
    }
}

/* More bytes than asked for are no more than there is room for. */
static void a_longer_answer_than_asked_for_is_cut(void **state)
{
    struct greeting g = { .step = GREETING_CONFIG };
    const struct wire_config_answer head = { .size = WIRE_MAX_PAYLOAD - 12 };
    struct msg m = sample_raw(FRONT_GET_CONFIG, WIRE_REPLY, NULL, WIRE_MAX_PAYLOAD, 0);
    (void)state;
    memcpy(m.body, &head, sizeof(head));
    greeting_answer(&g, &m);
    assert_int_equal(g.offer.config_len, OFFER_CONFIG_MAX);
    msg_clear(&m);
}

static void numbers_beyond_32_bits_are_cut_to_the_most(void **state)
{
    const struct interface i = parsed("host,csum=off");
    struct greeting g = { .step = GREETING_QUEUES };
    (void)state;
    struct msg answer = sample_u64(FRONT_GET_QUEUE_NUM, WIRE_REPLY, 0x100000001);
    greeting_answer(&g, &answer);
    msg_clear(&answer);
    assert_int_equal(g.offer.queues, UINT32_MAX);
    g.step = GREETING_SLOTS;
    answer = sample_u64(FRONT_GET_MAX_MEM_SLOTS, WIRE_REPLY, UINT64_MAX);
    greeting_answer(&g, &answer);
    msg_clear(&answer);
    assert_int_equal(g.offer.mem_slots, UINT32_MAX);
    (void)i;
}

static void without_memory_the_step_is_not_taken(void **state)
{
    const struct interface i = parsed("host,csum=off");
    (void)state;
    struct greeting g = { .step = GREETING_SET_PROTOCOL,
                          .offer = { .features = BIT(30), .protocol_features = 1 } };
    struct msg m = MSG_NULL;
    alloc_fail_at(1);
    int next = greeting_next(&g, &i, &m);
    alloc_fail_at(0);
    assert_int_equal(next, -ENOMEM);
    assert_int_equal(g.step, GREETING_SET_PROTOCOL);
    assert_int_equal(greeting_next(&g, &i, &m), GREETING_TELL);
    msg_clear(&m);
}

static const struct unit_test tests[] = {
    UNIT(asks_for_all_that_is_offered),
    UNIT(asks_for_no_more_than_is_offered),
    UNIT(asks_for_nothing_that_is_withheld),
    UNIT(what_is_set_is_complete_in_itself),
    UNIT(pinned_fields_are_read),
    UNIT(a_probe_finds_the_size_of_the_configuration_space),
    UNIT(a_longer_answer_than_asked_for_is_cut),
    UNIT(numbers_beyond_32_bits_are_cut_to_the_most),
    UNIT(without_memory_the_step_is_not_taken),
};

UNIT_MAIN("greeting", tests)
