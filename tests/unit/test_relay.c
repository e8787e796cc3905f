/* SPDX-License-Identifier: MIT
 *
 * The stations of a message, over real sockets: what passes, in which order, what ends a
 * connection. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "runner.h"
#include "sample.h"
#include "wirebench.h"

static struct bench b;

static void start(const char *spec)
{
    bench_start(&b, SPACE_FRONT, spec);
}

static void ask(uint32_t request, uint32_t flags)
{
    bench_send(&b, b.requester, sample_raw(request, flags, NULL, 0, 0));
}

static void answer(uint32_t request, uint64_t value)
{
    bench_send(&b, b.responder, sample_u64(request, WIRE_REPLY, value));
}

static void expect_ending(enum ending ending, const char *detail)
{
    unit_check(b.ending == ending, "%s, expected %s (%s)",
               b.ending < N_ENDINGS ? ending_rows[b.ending].name : "no ending",
               ending_rows[ending].name, detail);
    assert_string_equal(b.detail, detail);
    bench_stop(&b);
}

static void questions_and_answers_pass(void **state)
{
    (void)state;
    start("host");
    ask(FRONT_GET_FEATURES, 0);
    bench_expect(b.responder, FRONT_GET_FEATURES, 0x1, 0);
    answer(FRONT_GET_FEATURES, 0x1122334455667788);
    bench_expect(b.requester, FRONT_GET_FEATURES, 0x5, 0x1122334455667788);
    assert_int_equal(b.ending, N_ENDINGS);
    bench_stop(&b);
}

/* Every row and some unknown ones, byte for byte and descriptor for descriptor. */
static void plain_host_is_transparent(void **state)
{
    const struct message_row *row;
    (void)state;
    start("host");
    for (size_t i = 0; (row = message_row_at(SPACE_FRONT, i)) != NULL; i++) {
        struct msg sent = sample_message(row, false);
        struct msg got = MSG_NULL;
        bench_send(&b, b.requester, sample_message(row, false));
        unit_check(bench_read(b.responder, &got), "%s does not come", row->name);
        assert_memory_equal(&got.head, &sent.head, sizeof(got.head));
        assert_true(sent.head.size == 0 || memcmp(got.body, sent.body, sent.head.size) == 0);
        assert_int_equal(got.fds.n, sent.fds.n);
        msg_clear(&sent);
        msg_clear(&got);
        if (record_expects(&b.record, row, &got) == EXPECT_ANSWER || row->answer == ANSWER_REPLY) {
            bench_send(&b, b.responder, sample_message(row, true));
            assert_true(bench_read(b.requester, &got));
            msg_clear(&got);
        }
        b.record.protocol_acked = 0;
        b.record.postcopy = POSTCOPY_NONE;
    }
    assert_int_equal(b.ending, N_ENDINGS);
    bench_stop(&b);
}

static void unknown_messages_pass_with_their_descriptors(void **state)
{
    const uint32_t ids[] = { 0, 46, 1000, 0x7fffffff, 0xffffffff };
    const uint32_t sizes[] = { 0, 8, 268, WIRE_MAX_PAYLOAD };
    (void)state;
    start("host,csum=off");
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        for (size_t k = 0; k < ARRAY_SIZE(sizes); k++) {
            struct msg got = MSG_NULL;
            bench_send(&b, b.requester, sample_raw(ids[i], 0, NULL, sizes[k], 2 * (k % 2)));
            assert_true(bench_read(b.responder, &got));
            assert_int_equal(got.head.request, ids[i]);
            assert_int_equal(got.head.size, sizes[k]);
            assert_int_equal(got.fds.n, 2 * (k % 2));
            msg_clear(&got);
        }
    }
    /* None of them holds anything up, and an answer to one finds its way. */
    ask(FRONT_GET_FEATURES, 0);
    answer(0xffffffff, 5);
    bench_expect(b.requester, 0xffffffff, 0x5, 5);
    answer(FRONT_GET_FEATURES, 1);
    assert_int_equal(b.ending, N_ENDINGS);
    bench_stop(&b);
}

/* Two pieces of a message with all descriptors that each can carry: more than can be sent on. */
static void more_descriptors_than_can_be_sent_on_end_a_connection(void **state)
{
    const struct wire_header head = { 1000, 1, 8 };
    const uint64_t body = 0;
    (void)state;
    start("host");
    bench_send_bytes(&b, b.requester, &head, sizeof(head), WIRE_MAX_FDS);
    bench_send_bytes(&b, b.requester, &body, sizeof(body), WIRE_MAX_FDS);
    unit_check(b.ending != N_ENDINGS, "the connection lives on");
    bench_stop(&b);
}

static void refusals_come_in_their_turn(void **state)
{
    (void)state;
    start("host,device=net,max_ring=256");
    b.record.protocol_acked = BIT(PROTOCOL_REPLY_ACK);
    ask(FRONT_GET_FEATURES, 0);
    struct msg m = sample_state(FRONT_SET_VRING_NUM, 0, 1024);
    m.head.flags |= WIRE_NEED_REPLY;
    bench_send(&b, b.requester, m);
    assert_int_equal(b.n_refused, 1);
    assert_string_equal(b.detail, "SET_VRING_NUM: num=1024 is above max_ring=256");
    ask(FRONT_GET_STATUS, 0);
    bench_expect(b.responder, FRONT_GET_FEATURES, 0x1, 0);
    bench_expect(b.responder, FRONT_GET_STATUS, 0x1, 0);
    bench_expect_nothing(b.responder);
    bench_expect_nothing(b.requester);
    answer(FRONT_GET_FEATURES, UINT64_MAX);
    bench_expect(b.requester, FRONT_GET_FEATURES, 0x5, UINT64_MAX);
    bench_expect(b.requester, FRONT_SET_VRING_NUM, 0x5, 1);
    answer(FRONT_GET_STATUS, 15);
    bench_expect(b.requester, FRONT_GET_STATUS, 0x5, 15);
    assert_int_equal(b.ending, N_ENDINGS);
    bench_stop(&b);
}

static void refusals_that_cannot_be_answered_end_the_connection(void **state)
{
    (void)state;
    start("host,device=net,max_ring=256");
    bench_send(&b, b.requester, sample_state(FRONT_SET_VRING_NUM, 0, 1024));
    assert_ptr_equal(b.ended, &b.relay.requester);
    bench_expect_nothing(b.responder);
    expect_ending(ENDING_REFUSED, "SET_VRING_NUM: num=1024 is above max_ring=256");
    /* need_reply alone is no right to an answer. */
    start("host,device=net,max_ring=256");
    struct msg m = sample_state(FRONT_SET_VRING_NUM, 0, 1024);
    m.head.flags |= WIRE_NEED_REPLY;
    bench_send(&b, b.requester, m);
    expect_ending(ENDING_REFUSED, "SET_VRING_NUM: num=1024 is above max_ring=256");
}

static void answers_nobody_asked_for_end_a_connection(void **state)
{
    (void)state;
    start("host");
    answer(FRONT_GET_FEATURES, 1);
    assert_ptr_equal(b.ended, &b.relay.responder);
    bench_expect_nothing(b.requester);
    expect_ending(ENDING_UNASKED_REPLY, "GET_FEATURES");
    start("host");
    ask(FRONT_GET_FEATURES, WIRE_NEED_REPLY);
    answer(FRONT_GET_FEATURES, 1);
    bench_expect(b.requester, FRONT_GET_FEATURES, 0x5, 1);
    answer(FRONT_GET_FEATURES, 0);
    bench_expect_nothing(b.requester);
    expect_ending(ENDING_UNASKED_REPLY, "GET_FEATURES");
    start("host");
    ask(FRONT_GET_FEATURES, 0);
    answer(FRONT_GET_PROTOCOL_FEATURES, 1);
    bench_expect_nothing(b.requester);
    expect_ending(ENDING_WRONG_REPLY, "GET_PROTOCOL_FEATURES, due is GET_FEATURES");
}

static void requests_and_answers_travel_one_way_each(void **state)
{
    (void)state;
    start("host");
    bench_send(&b, b.responder, sample_raw(FRONT_GET_FEATURES, 0, NULL, 0, 0));
    expect_ending(ENDING_NOT_A_REPLY, "GET_FEATURES");
    start("host");
    bench_send(&b, b.requester, sample_u64(FRONT_GET_FEATURES, WIRE_REPLY, 0));
    expect_ending(ENDING_NOT_A_REQUEST, "GET_FEATURES");
}

static void expect_fault(uint32_t id, uint32_t flags, uint32_t size, size_t n_fds,
                         enum ending ending, const char *detail)
{
    start("host");
    uint8_t bytes[12 + 64] = { 0 };
    const struct wire_header head = { id, flags, size };
    memcpy(bytes, &head, sizeof(head));
    bench_send_bytes(&b, b.requester, bytes, 12 + (size <= 64 ? size : 0), n_fds);
    assert_ptr_equal(b.ended, &b.relay.requester);
    bench_expect_nothing(b.responder);
    expect_ending(ending, detail);
}

static void faults_are_named(void **state)
{
    (void)state;
    expect_fault(1, 0x2, 0, 0, ENDING_BAD_VERSION, "header flags 0x2");
    expect_fault(1, 0x0, 0, 2, ENDING_BAD_VERSION, "header flags 0");
    expect_fault(2, 0x1, 4097, 0, ENDING_TOO_LARGE, "SET_FEATURES: 4097 bytes, limit 4096");
    expect_fault(2, 0x1, 0xffffffff, 3, ENDING_TOO_LARGE,
                 "SET_FEATURES: 4294967295 bytes, limit 4096");
    expect_fault(2, 0x1, 7, 0, ENDING_WRONG_SIZE, "SET_FEATURES: 7 bytes of payload, expected 8");
    expect_fault(3, 0x1, 1, 0, ENDING_WRONG_SIZE, "SET_OWNER: 1 bytes of payload, expected 0");
    expect_fault(3, 0x11, 0, 0, ENDING_BAD_FLAGS, "SET_OWNER: 16 undefined flag bits, expected 0");
    expect_fault(3, 0x1, 0, 8, ENDING_BAD_DESCRIPTORS, "SET_OWNER: 8 descriptors, expected 0");
    expect_fault(32, 0x1, 24, 2, ENDING_BAD_DESCRIPTORS,
                 "SET_INFLIGHT_FD: 2 descriptors, expected 1");
}

static void a_count_beyond_the_message_is_named(void **state)
{
    (void)state;
    start("host");
    const uint32_t regions = 3;
    struct msg m = sample_raw(FRONT_SET_MEM_TABLE, 0, NULL, 8 + 32, 3);
    memcpy(m.body, &regions, sizeof(regions));
    bench_send(&b, b.requester, m);
    expect_ending(ENDING_BAD_FIELD,
                  "SET_MEM_TABLE: 3 elements or bytes announced, expected 0 to 1");
}

static void an_end_inside_a_message_is_named(void **state)
{
    const struct wire_header head = { 5, 1, 40 };
    (void)state;
    start("host");
    bench_send_bytes(&b, b.requester, &head, 5, 2);
    b.requester = close_keep_errno(b.requester);
    bench_turn(&b);
    expect_ending(ENDING_CUT, "5 of 12 header bytes");
    start("host");
    bench_send_bytes(&b, b.requester, &head, sizeof(head), 2);
    bench_send_bytes(&b, b.requester, "abc", 3, 0);
    b.requester = close_keep_errno(b.requester);
    bench_turn(&b);
    bench_expect_nothing(b.responder);
    expect_ending(ENDING_CUT, "SET_MEM_TABLE: 15 of 52 bytes");
}

static void an_end_between_messages_is_no_fault(void **state)
{
    (void)state;
    start("host");
    ask(FRONT_SET_OWNER, 0);
    b.requester = close_keep_errno(b.requester);
    bench_turn(&b);
    bench_expect(b.responder, FRONT_SET_OWNER, 1, 0);
    expect_ending(ENDING_LEFT, "");
}

/* All messages of a conversation in every way to cut its first bytes, and glued. */
static void cuts_change_nothing(void **state)
{
    uint8_t bytes[256];
    size_t len = 0;
    (void)state;
    for (uint32_t i = 0; i < 5; i++) {
        const struct wire_header head = { i % 2 ? FRONT_SET_FEATURES : FRONT_SET_OWNER, 1,
                                          i % 2 ? 8 : 0 };
        memcpy(bytes + len, &head, sizeof(head));
        memset(bytes + len + sizeof(head), (int)i, head.size);
        len += sizeof(head) + head.size;
    }
    for (size_t cut = 0; cut < len; cut++) {
        start("host");
        if (cut > 0) {
            bench_send_bytes(&b, b.requester, bytes, cut, 0);
        }
        bench_send_bytes(&b, b.requester, bytes + cut, len - cut, 0);
        for (uint64_t i = 0; i < 5; i++) {
            bench_expect(b.responder, i % 2 ? FRONT_SET_FEATURES : FRONT_SET_OWNER, 1,
                         i % 2 ? i * 0x0101010101010101 : 0);
        }
        assert_int_equal(b.ending, N_ENDINGS);
        bench_stop(&b);
    }
}

/* A requester that asks without end waits, and loses nothing. */
static void too_many_questions_wait(void **state)
{
    const unsigned n = 3 * ANSWERS_MAX;
    (void)state;
    start("host");
    for (unsigned i = 0; i < n; i++) {
        ask(FRONT_GET_STATUS, 0);
    }
    assert_int_equal(b.relay.n_requests, ANSWERS_MAX);
    for (unsigned i = 0; i < n; i++) {
        bench_expect(b.responder, FRONT_GET_STATUS, 1, 0);
        answer(FRONT_GET_STATUS, i);
        bench_expect(b.requester, FRONT_GET_STATUS, 5, i);
    }
    assert_int_equal(b.ending, N_ENDINGS);
    bench_stop(&b);
}

/* A responder that reads nothing stops the requester's direction and no other. */
static void a_slow_reader_stops_its_writer_only(void **state)
{
    (void)state;
    start("host");
    ask(FRONT_GET_STATUS, 0);
    int n = 0;
    while (!relay_is_sending(&b.relay) && n < 100000) {
        bench_send(&b, b.requester, sample_raw(1000, 0, NULL, WIRE_MAX_PAYLOAD, 0));
        n++;
    }
    assert_true(relay_is_sending(&b.relay));
    answer(FRONT_GET_STATUS, 3);
    bench_expect(b.requester, FRONT_GET_STATUS, 5, 3);
    bench_expect(b.responder, FRONT_GET_STATUS, 1, 0);
    while (n > 0) {
        struct msg m = MSG_NULL;
        bench_turn(&b);
        if (bench_read(b.responder, &m)) {
            assert_int_equal(m.head.size, WIRE_MAX_PAYLOAD);
            n--;
        }
        msg_clear(&m);
    }
    assert_int_equal(b.ending, N_ENDINGS);
    bench_stop(&b);
}

static void questions_of_our_own_are_answered_to_us(void **state)
{
    (void)state;
    start("host,csum=off");
    struct msg m = sample_raw(FRONT_GET_FEATURES, 0, NULL, 0, 0);
    assert_int_equal(relay_ask(&b.relay, &m, true), 0);
    bench_expect(b.responder, FRONT_GET_FEATURES, 1, 0);
    answer(FRONT_GET_FEATURES, 7);
    assert_int_equal(b.n_answered, 1);
    bench_expect_nothing(b.requester);
    bench_stop(&b);
}

static void an_offer_that_shrank_ends_the_connection(void **state)
{
    (void)state;
    start("host,csum=on");
    ask(FRONT_GET_FEATURES, 0);
    answer(FRONT_GET_FEATURES, 0);
    assert_ptr_equal(b.ended, &b.relay.responder);
    bench_expect_nothing(b.requester);
    expect_ending(ENDING_INCOMPATIBLE,
                  "answer to GET_FEATURES: offers less than before: features csum");
}

/* ---- the back-end channel: numbers that were reused, and answers that come too late ---- */

static void numbers_count_once_their_feature_is_negotiated(void **state)
{
    (void)state;
    bench_start(&b, SPACE_BACK, "host");
    b.record.protocol_acked = 0;
    /* 6 was something of 256 bytes before the standard. */
    bench_send(&b, b.requester, sample_raw(6, 0, NULL, 256, 1));
    struct msg m = MSG_NULL;
    assert_true(bench_read(b.responder, &m));
    assert_int_equal(m.head.size, 256);
    assert_int_equal(m.fds.n, 1);
    msg_clear(&m);
    b.record.protocol_acked = BIT(PROTOCOL_SHARED_OBJECT);
    bench_send(&b, b.requester, sample_raw(6, 0, NULL, 256, 1));
    expect_ending(ENDING_WRONG_SIZE, "SHARED_OBJECT_ADD: 256 bytes of payload, expected 0 to 16");
}

static void late_answers_are_said_once(void **state)
{
    (void)state;
    start("host");
    b.relay.slow_after = 0.02;
    ask(FRONT_GET_FEATURES, 0);
    bench_wait(&b, 0.2);
    assert_int_equal(b.n_slow, 1);
    assert_int_equal(b.n_replaced, 0);
    answer(FRONT_GET_FEATURES, 1);
    bench_expect(b.requester, FRONT_GET_FEATURES, 5, 1);
    bench_stop(&b);
}

/* The first does not hide those behind it, nor those of later. */
static void each_late_answer_is_said(void **state)
{
    (void)state;
    start("host");
    b.relay.slow_after = 0.02;
    ask(FRONT_GET_FEATURES, 0);
    ask(FRONT_GET_STATUS, 0);
    bench_wait(&b, 0.1);
    answer(FRONT_GET_FEATURES, 1);
    bench_wait(&b, 0.1);
    assert_int_equal(b.n_slow, 2);
    answer(FRONT_GET_STATUS, 1);
    bench_wait(&b, 0.1);
    ask(FRONT_GET_FEATURES, 0);
    bench_wait(&b, 0.1);
    assert_int_equal(b.n_slow, 3);
    bench_stop(&b);
}

static void late_answers_are_replaced_and_swallowed(void **state)
{
    (void)state;
    bench_start(&b, SPACE_BACK, "host");
    b.relay.fail_after = 0.02;
    bench_send(&b, b.requester, sample_raw(BACK_CONFIG_CHANGE_MSG, WIRE_NEED_REPLY, NULL, 0, 0));
    bench_wait(&b, 0.2);
    assert_int_equal(b.n_replaced, 1);
    bench_expect(b.requester, BACK_CONFIG_CHANGE_MSG, 5, 1);
    bench_send(&b, b.responder, sample_u64(BACK_CONFIG_CHANGE_MSG, WIRE_REPLY, 0));
    bench_expect_nothing(b.requester);
    assert_int_equal(b.ending, N_ENDINGS);
    /* The next one is answered as usual. */
    bench_send(&b, b.requester, sample_raw(BACK_CONFIG_CHANGE_MSG, WIRE_NEED_REPLY, NULL, 0, 0));
    bench_send(&b, b.responder, sample_u64(BACK_CONFIG_CHANGE_MSG, WIRE_REPLY, 0));
    bench_expect(b.requester, BACK_CONFIG_CHANGE_MSG, 5, 0);
    bench_stop(&b);
}

/* A late answer among as many optional ones as can be outstanding. */
static void late_answers_find_room_in_a_full_queue(void **state)
{
    (void)state;
    bench_start(&b, SPACE_BACK, "host");
    b.relay.fail_after = 0.02;
    bench_send(&b, b.requester, sample_raw(BACK_CONFIG_CHANGE_MSG, WIRE_NEED_REPLY, NULL, 0, 0));
    for (uint32_t i = 0; i < ANSWERS_MAX - 1; i++) {
        bench_send(&b, b.requester, sample_raw(1000 + i, 0, NULL, 0, 0));
    }
    assert_int_equal(b.relay.answers.n, ANSWERS_MAX);
    bench_wait(&b, 0.2);
    unit_check(b.relay.answers.n <= ANSWERS_MAX, "%zu answers outstanding, room is for %d",
               b.relay.answers.n, ANSWERS_MAX);
    bench_expect(b.requester, BACK_CONFIG_CHANGE_MSG, 5, 1);
    bench_send(&b, b.responder, sample_u64(BACK_CONFIG_CHANGE_MSG, WIRE_REPLY, 0));
    bench_expect_nothing(b.requester);
    assert_int_equal(b.ending, N_ENDINGS);
    bench_stop(&b);
}

/* ---- a responder that is lost, and the next one ---- */

static void start_held(const char *spec)
{
    start(spec);
    b.holds = b.relay.keeps = true;
}

static void what_was_not_answered_is_asked_again(void **state)
{
    const struct wire_config head = { .size = 8 };
    uint8_t body[sizeof(head) + 8] = { 0 };
    (void)state;
    memcpy(body, &head, sizeof(head));
    start_held("host");
    ask(FRONT_GET_FEATURES, 0);
    bench_send(&b, b.requester, sample_raw(FRONT_GET_CONFIG, 0, body, sizeof(body), 0));
    ask(FRONT_GET_STATUS, 0);
    bench_expect(b.responder, FRONT_GET_FEATURES, 1, 0);
    answer(FRONT_GET_FEATURES, 3);
    bench_expect(b.requester, FRONT_GET_FEATURES, 5, 3);
    b.responder = close_keep_errno(b.responder);
    bench_turn(&b);
    assert_int_equal(b.ending, ENDING_LEFT);
    bench_expect_nothing(b.requester);
    bench_find_responder(&b);
    struct msg m = MSG_NULL;
    assert_true(bench_read(b.responder, &m));
    assert_int_equal(m.head.request, FRONT_GET_CONFIG);
    assert_int_equal(m.head.size, sizeof(body));
    assert_memory_equal(m.body, body, sizeof(body));
    msg_clear(&m);
    bench_expect(b.responder, FRONT_GET_STATUS, 1, 0);
    bench_send(&b, b.responder, sample_raw(FRONT_GET_CONFIG, WIRE_REPLY, body, sizeof(body), 0));
    answer(FRONT_GET_STATUS, 9);
    bench_expect(b.requester, FRONT_GET_CONFIG, 5, UINT64_C(8) << 32);
    bench_expect(b.requester, FRONT_GET_STATUS, 5, 9);
    bench_stop(&b);
}

/* An answer that ends its sender's connection does not answer: the requester would wait for ever. */
static void a_faulty_answer_is_none(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        start_held("host,device=net,csum=on");
        ask(FRONT_GET_FEATURES, 0);
        ask(FRONT_GET_STATUS, 0);
        if (way == 0) { /* of the wrong size */
            bench_send(&b, b.responder, sample_raw(FRONT_GET_FEATURES, WIRE_REPLY, NULL, 4, 0));
        } else if (way == 1) { /* not what the profile needs */
            answer(FRONT_GET_FEATURES, 0);
        } else {
            answer(FRONT_GET_STATUS, 0);
        }
        assert_true(b.ending != N_ENDINGS);
        assert_true(relay_owes(&b.relay));
        bench_expect_nothing(b.requester);
        bench_find_responder(&b);
        bench_expect(b.responder, FRONT_GET_FEATURES, 1, 0);
        bench_expect(b.responder, FRONT_GET_STATUS, 1, 0);
        answer(FRONT_GET_FEATURES, UINT64_MAX);
        answer(FRONT_GET_STATUS, 1);
        bench_expect(b.requester, FRONT_GET_FEATURES, 5, UINT64_MAX);
        bench_expect(b.requester, FRONT_GET_STATUS, 5, 1);
        bench_stop(&b);
    }
}

/* It answers without having read what it is asked, and more than fits its socket is to be asked. */
static void what_was_not_asked_again_cannot_be_answered(void **state)
{
    static uint8_t body[WIRE_MAX_PAYLOAD];
    const struct wire_config head = { .size = sizeof(body) - sizeof(head) };
    (void)state;
    memcpy(body, &head, sizeof(head));
    start_held("host");
    for (int i = 0; i < ANSWERS_MAX; i++) {
        struct msg m = MSG_NULL;
        bench_send(&b, b.requester, sample_raw(FRONT_GET_CONFIG, 0, body, sizeof(body), 0));
        assert_true(bench_read(b.responder, &m));
        msg_clear(&m);
    }
    b.responder = close_keep_errno(b.responder);
    bench_turn(&b);
    bench_find_responder(&b);
    assert_true(b.relay.n_owed > 0 && b.relay.n_owed < ANSWERS_MAX);
    for (int i = 0; i < ANSWERS_MAX; i++) {
        bench_send(&b, b.responder, sample_raw(FRONT_GET_CONFIG, WIRE_REPLY, NULL, 0, 0));
    }
    assert_true(b.relay.n_owed > 0);
    for (int i = 0; i < ANSWERS_MAX; i++) {
        struct msg m = MSG_NULL;
        bench_turn(&b);
        assert_true(bench_read(b.responder, &m));
        msg_clear(&m);
    }
    bench_turn(&b);
    assert_int_equal(b.relay.n_owed, 0);
    for (int i = 0; i < ANSWERS_MAX; i++) {
        struct msg m = MSG_NULL;
        assert_true(bench_read(b.requester, &m));
        assert_int_equal(m.head.request, FRONT_GET_CONFIG);
        msg_clear(&m);
    }
    assert_false(relay_owes(&b.relay));
    bench_stop(&b);
}

/* What waited too long fails, or ends the wait. */
static void what_waits_alone_does_not_wait_for_ever(void **state)
{
    (void)state;
    start_held("host");
    b.relay.alone_within = 0.02;
    bench_send(&b, b.requester, sample_raw(FRONT_GET_INFLIGHT_FD, 0, NULL, 24, 0));
    b.responder = close_keep_errno(b.responder);
    bench_turn(&b);
    bench_wait(&b, 0.1);
    assert_int_equal(b.n_replaced, 1);
    bench_expect(b.requester, FRONT_GET_INFLIGHT_FD, 5, 0);
    ask(FRONT_GET_STATUS, 0);
    bench_wait(&b, 0.1);
    assert_false(side_is_open(&b.relay.requester));
    bench_stop(&b);
}

/* On the channel the back-end's end may be closed while the front-end's stays. */
static void an_answer_for_nobody_is_dropped(void **state)
{
    (void)state;
    bench_start(&b, SPACE_BACK, "host");
    b.record.protocol_acked &= ~BIT(PROTOCOL_REPLY_ACK);
    bench_send(&b, b.requester, sample_raw(BACK_CONFIG_CHANGE_MSG, WIRE_NEED_REPLY, NULL, 0, 0));
    side_close(&b.relay.requester);
    answers_swallow(&b.relay.answers);
    bench_send(&b, b.responder, sample_u64(BACK_CONFIG_CHANGE_MSG, WIRE_REPLY, 0));
    assert_int_equal(b.ending, N_ENDINGS);
    bench_stop(&b);
}

static const struct unit_test tests[] = {
    UNIT(questions_and_answers_pass),
    UNIT(plain_host_is_transparent),
    UNIT(unknown_messages_pass_with_their_descriptors),
    UNIT(more_descriptors_than_can_be_sent_on_end_a_connection),
    UNIT(refusals_come_in_their_turn),
    UNIT(refusals_that_cannot_be_answered_end_the_connection),
    UNIT(answers_nobody_asked_for_end_a_connection),
    UNIT(requests_and_answers_travel_one_way_each),
    UNIT(faults_are_named),
    UNIT(a_count_beyond_the_message_is_named),
    UNIT(an_end_inside_a_message_is_named),
    UNIT(an_end_between_messages_is_no_fault),
    UNIT(cuts_change_nothing),
    UNIT(too_many_questions_wait),
    UNIT(a_slow_reader_stops_its_writer_only),
    UNIT(questions_of_our_own_are_answered_to_us),
    UNIT(an_offer_that_shrank_ends_the_connection),
    UNIT(numbers_count_once_their_feature_is_negotiated),
    UNIT(late_answers_are_said_once),
    UNIT(each_late_answer_is_said),
    UNIT(late_answers_are_replaced_and_swallowed),
    UNIT(late_answers_find_room_in_a_full_queue),
    UNIT(what_was_not_answered_is_asked_again),
    UNIT(a_faulty_answer_is_none),
    UNIT(what_was_not_asked_again_cannot_be_answered),
    UNIT(what_waits_alone_does_not_wait_for_ever),
    UNIT(an_answer_for_nobody_is_dropped),
};

UNIT_MAIN("relay", tests)
