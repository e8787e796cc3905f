/* SPDX-License-Identifier: MIT
 *
 * What records say in their context: whose a message is, what became of it, how long an answer took. */
#include <stdio.h>
#include <string.h>

#include "runner.h"
#include "sample.h"
#include "trace_story.h"

static struct trace_story story;
static struct trace_record record;
static uint64_t number;
static uint32_t life = 1;
static uint64_t inode = 1; /* of the first descriptor */

static void begin(void)
{
    trace_story_init(&story);
    number = 0;
}

/* The next record; takes the message. */
static struct trace_view tell(enum trace_wire wire, unsigned flags, struct msg m)
{
    static uint8_t body[WIRE_MAX_PAYLOAD];
    memset(&record, 0, sizeof(record));
    record.kind = TRACE_MESSAGE;
    record.wire = wire;
    record.flags = flags;
    record.number = ++number;
    record.time_ns = number * 1000;
    record.life = life;
    record.head = m.head;
    record.device = device_id(DEVICE_NET);
    record.n_fds = m.fds.n;
    for (size_t i = 0; i < m.fds.n; i++) {
        record.fds[i] = (struct trace_fd){ .role = ROLE_KICK, .inode = inode + i };
    }
    if (m.head.size > 0) {
        memcpy(body, m.body, m.head.size);
    }
    record.body = body;
    msg_clear(&m);
    return trace_story_next(&story, &record);
}

static struct trace_view tell_note(enum trace_kind kind, enum trace_wire wire, const char *name)
{
    memset(&record, 0, sizeof(record));
    record.kind = kind;
    record.wire = wire;
    record.name = name;
    record.text = "";
    record.number = ++number;
    record.life = 1;
    return trace_story_next(&story, &record);
}

static struct trace_view tell_ending(void)
{
    return tell_note(TRACE_ENDING, TRACE_FRONT, "LEFT");
}

static struct msg question(uint32_t request)
{
    return sample_raw(request, 0, NULL, 0, 0);
}

static void what_passes_is_told_from_what_is_changed_or_own(void **state)
{
    (void)state;
    begin();
    assert_int_equal(tell(TRACE_FRONT, 0, question(1)).origin, ORIGIN_PEER);
    assert_int_equal(tell(TRACE_BACK, TRACE_SENT, question(1)).origin, ORIGIN_PASSED);
    assert_int_equal(tell(TRACE_BACK, 0, sample_u64(1, WIRE_REPLY, 7)).origin, ORIGIN_PEER);
    struct trace_view v = tell(TRACE_FRONT, TRACE_SENT, sample_u64(1, WIRE_REPLY, 3));
    assert_int_equal(v.origin, ORIGIN_CHANGED);
    assert_non_null(v.before);
    assert_int_equal(v.before->body[0], 7);
    assert_int_equal(v.record->body[0], 3);
    v = tell(TRACE_BACK, TRACE_SENT, question(15));
    assert_int_equal(v.origin, ORIGIN_OWN);
    assert_null(v.before);
}

static void a_copy_is_the_next_record_on_the_other_end(void **state)
{
    (void)state;
    begin();
    tell(TRACE_FRONT, 0, question(1));
    tell_ending();
    assert_int_equal(tell(TRACE_BACK, TRACE_SENT, question(1)).origin, ORIGIN_OWN);
    tell(TRACE_FRONT, 0, question(1));
    number++; /* one was lost */
    assert_int_equal(tell(TRACE_BACK, TRACE_SENT, question(1)).origin, ORIGIN_OWN);
    tell(TRACE_FRONT, 0, question(1)); /* refused: answered to where it came from */
    assert_int_equal(tell(TRACE_FRONT, TRACE_SENT, sample_u64(1, WIRE_REPLY, 1)).origin,
                     ORIGIN_OWN);
    tell(TRACE_FRONT, 0, question(1));
    assert_int_equal(tell(TRACE_FRONT_CHANNEL, TRACE_SENT, question(1)).origin, ORIGIN_OWN);
    tell(TRACE_BACK_CHANNEL, 0, question(2));
    assert_int_equal(tell(TRACE_FRONT_CHANNEL, TRACE_SENT, question(2)).origin, ORIGIN_PASSED);
}

/* Whatever comes there, or goes there, is of the two of them alone. */
static void nothing_passes_to_the_next_back_end(void **state)
{
    (void)state;
    begin();
    for (unsigned wire = 0; wire < N_TRACE_WIRES; wire++) {
        tell((enum trace_wire)wire, 0, question(1));
        assert_int_equal(tell(TRACE_NEXT_BACK, TRACE_SENT, question(1)).origin, ORIGIN_OWN);
        tell(TRACE_NEXT_BACK, 0, question(1));
        assert_int_equal(tell((enum trace_wire)wire, TRACE_SENT, question(1)).origin, ORIGIN_OWN);
    }
}

static void the_next_back_end_answers_what_it_was_asked(void **state)
{
    (void)state;
    begin();
    tell(TRACE_BACK, TRACE_SENT, question(1));                                    /* 1 */
    tell(TRACE_NEXT_BACK, TRACE_SENT, question(1));                               /* 2 */
    struct trace_view v = tell(TRACE_NEXT_BACK, 0, sample_u64(1, WIRE_REPLY, 0)); /* 3 */
    assert_true(v.request_number == 2 && v.latency_ns == 1000);
    assert_true(tell(TRACE_BACK, 0, sample_u64(1, WIRE_REPLY, 0)).request_number == 1);
}

/* The next one is asked the same again. */
static void what_a_lost_back_end_owed_stays_unanswered(void **state)
{
    static const struct {
        enum trace_wire asked, told;
        const char *event;
    } losses[] = {
        { TRACE_BACK, TRACE_FRONT, "BACK_HELD" },
        { TRACE_BACK_CHANNEL, TRACE_FRONT, "BACK_HELD" },
        { TRACE_BACK, TRACE_BACK, "BACK_CONNECTED" },
        { TRACE_NEXT_BACK, TRACE_NEXT_BACK, "BACK_CONNECTED" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
        begin();
        tell(losses[i].asked, TRACE_SENT, question(1)); /* 1 */
        tell_note(TRACE_EVENT, losses[i].told, losses[i].event);
        tell(losses[i].asked, TRACE_SENT, question(1)); /* 3 */
        struct trace_view v = tell(losses[i].asked, 0, sample_u64(1, WIRE_REPLY, 0));
        assert_true(v.request_number == 3);
        v = tell(losses[i].asked, 0, sample_u64(1, WIRE_REPLY, 0));
        assert_true(v.request_number == 0);
    }
    begin(); /* one beside it is no loss */
    tell(TRACE_BACK, TRACE_SENT, question(1));
    tell_note(TRACE_EVENT, TRACE_NEXT_BACK, "BACK_CONNECTED");
    assert_true(tell(TRACE_BACK, 0, sample_u64(1, WIRE_REPLY, 0)).request_number == 1);
}

static void answers_find_their_requests(void **state)
{
    (void)state;
    begin();
    tell(TRACE_FRONT, 0, question(1));  /* 1 */
    tell(TRACE_FRONT, 0, question(8));  /* 2: never answered */
    tell(TRACE_FRONT, 0, question(15)); /* 3 */
    struct trace_view v = tell(TRACE_FRONT, TRACE_SENT, sample_u64(1, WIRE_REPLY, 0)); /* 4 */
    assert_true(v.is_reply && v.request_number == 1 && v.latency_ns == 3000);
    v = tell(TRACE_FRONT, TRACE_SENT, sample_u64(15, WIRE_REPLY, 0)); /* 5 */
    assert_true(v.request_number == 3 && v.latency_ns == 2000);
    v = tell(TRACE_FRONT, TRACE_SENT, sample_u64(15, WIRE_REPLY, 0)); /* nobody asked */
    assert_true(v.request_number == 0);
    tell(TRACE_FRONT, 0, question(1));
    v = tell(TRACE_BACK, 0, sample_u64(1, WIRE_REPLY, 0)); /* on another wire */
    assert_true(v.request_number == 0);
}

static void more_requests_than_are_kept_lose_the_oldest(void **state)
{
    (void)state;
    begin();
    tell(TRACE_FRONT, 0, question(1));
    for (int i = 0; i < STORY_MAX_OUTSTANDING; i++) {
        tell(TRACE_FRONT, 0, question(8));
    }
    assert_true(tell(TRACE_FRONT, TRACE_SENT, sample_u64(1, WIRE_REPLY, 0)).request_number == 0);
    assert_true(tell(TRACE_FRONT, TRACE_SENT, sample_u64(8, WIRE_REPLY, 0)).request_number == 2);
}

static void connections_are_told_apart(void **state)
{
    (void)state;
    begin();
    tell(TRACE_FRONT, 0, question(1));
    life = 2;
    struct trace_view v = tell(TRACE_FRONT, TRACE_SENT, sample_u64(1, WIRE_REPLY, 0));
    assert_true(v.request_number == 0);
    life = 1;
}

static void the_kind_of_device_is_remembered(void **state)
{
    (void)state;
    begin();
    assert_int_equal(tell_ending().device, DEVICE_UNKNOWN);
    assert_int_equal(tell(TRACE_FRONT, 0, question(1)).device, DEVICE_NET);
    assert_int_equal(tell_ending().device, DEVICE_NET);
}

/* The largest body survives what comes after it. */
static void what_came_before_is_a_copy(void **state)
{
    uint8_t body[WIRE_MAX_PAYLOAD];
    (void)state;
    begin();
    memset(body, 0x11, sizeof(body));
    tell(TRACE_BACK, 0, sample_raw(1000, WIRE_REPLY, body, sizeof(body), 3));
    memset(body, 0x22, sizeof(body));
    struct trace_view v =
        tell(TRACE_FRONT, TRACE_SENT, sample_raw(1000, WIRE_REPLY, body, sizeof(body), 2));
    assert_int_equal(v.origin, ORIGIN_CHANGED);
    assert_int_equal(v.before->n_fds, 3);
    for (size_t i = 0; i < sizeof(body); i++) {
        assert_int_equal(v.before->body[i], 0x11);
        assert_int_equal(v.record->body[i], 0x22);
    }
}

static void another_descriptor_is_a_change(void **state)
{
    (void)state;
    begin();
    tell(TRACE_FRONT, 0, sample_raw(1000, 0, NULL, 0, 1));
    inode = 50;
    assert_int_equal(tell(TRACE_BACK, TRACE_SENT, sample_raw(1000, 0, NULL, 0, 1)).origin,
                     ORIGIN_CHANGED);
    inode = 1;
}

static const struct unit_test tests[] = {
    UNIT(what_passes_is_told_from_what_is_changed_or_own),
    UNIT(a_copy_is_the_next_record_on_the_other_end),
    UNIT(nothing_passes_to_the_next_back_end),
    UNIT(the_next_back_end_answers_what_it_was_asked),
    UNIT(what_a_lost_back_end_owed_stays_unanswered),
    UNIT(answers_find_their_requests),
    UNIT(more_requests_than_are_kept_lose_the_oldest),
    UNIT(connections_are_told_apart),
    UNIT(the_kind_of_device_is_remembered),
    UNIT(what_came_before_is_a_copy),
    UNIT(another_descriptor_is_a_change),
};

UNIT_MAIN("trace_story", tests)
