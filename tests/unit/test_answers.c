/* SPDX-License-Identifier: MIT
 *
 * Outstanding answers of one wire, and in which order they may come. */
#include <stdlib.h>
#include <string.h>

#include "answers.h"
#include "runner.h"
#include "sample.h"

#define ROUNDS 3000
#define STEPS 120

static void push(struct answers *a, uint32_t request, enum answer_kind kind)
{
    answers_push(a, (struct answer){ .request = request, .kind = kind });
}

static void expect(struct answers *a, uint32_t request, enum answers_match match)
{
    struct answer got = { .request = 0 };
    assert_int_equal(answers_take(a, request, &got), match);
    assert_true(match != ANSWERS_MATCHED || got.request == request);
}

static void answers_come_in_the_order_of_requests(void **state)
{
    struct answers a = { .n = 0 };
    (void)state;
    push(&a, 1, ANSWER_TO_RELAY);
    push(&a, 15, ANSWER_TO_RELAY);
    push(&a, 1, ANSWER_TO_RELAY);
    expect(&a, 15, ANSWERS_WRONG);
    expect(&a, 1, ANSWERS_MATCHED);
    expect(&a, 1, ANSWERS_WRONG);
    expect(&a, 15, ANSWERS_MATCHED);
    expect(&a, 1, ANSWERS_MATCHED);
    expect(&a, 1, ANSWERS_UNASKED);
}

static void a_wrong_answer_names_the_one_that_is_due(void **state)
{
    struct answers a = { .n = 0 };
    struct answer due = { .request = 0 };
    (void)state;
    push(&a, 1000, ANSWER_MAYBE);
    push(&a, 17, ANSWER_TO_RELAY);
    assert_int_equal(answers_take(&a, 15, &due), ANSWERS_WRONG);
    assert_int_equal(due.request, 17);
    assert_int_equal(a.n, 2);
}

static void optional_answers_hold_nothing_up(void **state)
{
    struct answers a = { .n = 0 };
    (void)state;
    push(&a, 2, ANSWER_MAYBE);
    push(&a, 3, ANSWER_MAYBE);
    push(&a, 1, ANSWER_TO_RELAY);
    push(&a, 3, ANSWER_MAYBE);
    expect(&a, 3, ANSWERS_MATCHED);
    /* The one before it will not come any more. */
    expect(&a, 2, ANSWERS_WRONG);
    expect(&a, 1, ANSWERS_MATCHED);
    expect(&a, 3, ANSWERS_MATCHED);
    expect(&a, 3, ANSWERS_UNASKED);
}

static void equal_optional_answers_in_a_row_share_an_entry(void **state)
{
    struct answers a = { .n = 0 };
    (void)state;
    for (int i = 0; i < 100000; i++) {
        push(&a, 8, ANSWER_MAYBE);
    }
    assert_int_equal(a.n, 1);
    for (int i = 0; i < 100000; i++) {
        expect(&a, 8, ANSWERS_MATCHED);
    }
    expect(&a, 8, ANSWERS_UNASKED);
}

/* Messages that need no answer, without end and all different: room stays, and what must come is
 * not forgotten for them. */
static void too_many_optional_answers_are_forgotten_oldest_first(void **state)
{
    struct answers a = { .n = 0 };
    (void)state;
    push(&a, 1, ANSWER_TO_RELAY);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_false(answers_full(&a));
        push(&a, 1000 + i, ANSWER_MAYBE);
    }
    assert_int_equal(a.n, ANSWERS_MAX);
    push(&a, 15, ANSWER_TO_RELAY);
    expect(&a, 1, ANSWERS_MATCHED);
    expect(&a, 1000, ANSWERS_WRONG);
    expect(&a, 1999, ANSWERS_MATCHED);
    expect(&a, 15, ANSWERS_MATCHED);
}

static void it_is_full_when_all_must_come(void **state)
{
    struct answers a = { .n = 0 };
    (void)state;
    for (size_t i = 0; i < ANSWERS_MAX; i++) {
        assert_false(answers_full(&a));
        push(&a, 1, ANSWER_TO_RELAY);
    }
    assert_true(answers_full(&a));
    expect(&a, 1, ANSWERS_MATCHED);
    assert_false(answers_full(&a));
}

static void our_answer_waits_for_its_turn(void **state)
{
    struct answers a = { .n = 0 };
    (void)state;
    push(&a, 1, ANSWER_TO_RELAY);
    push(&a, 8, ANSWER_OURS);
    push(&a, 15, ANSWER_TO_RELAY);
    assert_null(answers_ours_due(&a));
    expect(&a, 8, ANSWERS_WRONG);
    expect(&a, 1, ANSWERS_MATCHED);
    struct answer *due = answers_ours_due(&a);
    assert_non_null(due);
    assert_int_equal(due->request, 8);
    answers_remove(&a, due);
    assert_null(answers_ours_due(&a));
    expect(&a, 15, ANSWERS_MATCHED);
}

/* Optional answers before it do not hold it up; a peer's answer behind it may come before it. */
static void our_answer_is_not_held_up(void **state)
{
    struct answers a = { .n = 0 };
    (void)state;
    push(&a, 3, ANSWER_MAYBE);
    push(&a, 8, ANSWER_OURS);
    push(&a, 9, ANSWER_TO_RELAY);
    assert_int_equal(answers_ours_due(&a)->request, 8);
    expect(&a, 9, ANSWERS_MATCHED);
    assert_int_equal(answers_ours_due(&a)->request, 8);
}

static void nobody_but_us_answers_ours(void **state)
{
    struct answers a = { .n = 0 };
    (void)state;
    push(&a, 8, ANSWER_OURS);
    expect(&a, 8, ANSWERS_UNASKED);
    assert_null(answers_oldest_due(&a));
}

static void what_must_come_is_told(void **state)
{
    struct answers a = { .n = 0 };
    (void)state;
    assert_null(answers_oldest_due(&a));
    push(&a, 3, ANSWER_MAYBE);
    push(&a, 8, ANSWER_OURS);
    assert_null(answers_oldest_due(&a));
    push(&a, 5, ANSWER_SWALLOWED);
    push(&a, 1, ANSWER_TO_US);
    assert_int_equal(answers_oldest_due(&a)->request, 5);
    expect(&a, 5, ANSWERS_MATCHED);
    assert_int_equal(answers_oldest_due(&a)->request, 1);
}

static void the_kind_of_a_match_is_told(void **state)
{
    static const enum answer_kind kinds[] = { ANSWER_TO_RELAY, ANSWER_TO_US, ANSWER_SWALLOWED,
                                              ANSWER_MAYBE };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct answers a = { .n = 0 };
        struct answer got = { .request = 0 };
        push(&a, 7, kinds[i]);
        assert_int_equal(answers_take(&a, 7, &got), ANSWERS_MATCHED);
        assert_int_equal(got.kind, kinds[i]);
    }
}

static size_t next_size(uint32_t id, enum answer_kind kind)
{
    struct answers a = { .n = 0 };
    answers_push(
        &a, (struct answer){ .request = id, .kind = kind, .row = message_row(SPACE_FRONT, id) });
    return answers_next_size(&a);
}

static void size_is_known_where_one_answer_of_one_size_can_come(void **state)
{
    struct answers a = { .n = 0 };
    (void)state;
    assert_int_equal(answers_next_size(&a), 0);
    assert_int_equal(next_size(FRONT_GET_FEATURES, ANSWER_TO_RELAY), 8);
    assert_int_equal(next_size(FRONT_GET_FEATURES, ANSWER_TO_US), 8);
    assert_int_equal(next_size(FRONT_SET_OWNER, ANSWER_TO_RELAY), 8);
    assert_int_equal(next_size(FRONT_SET_OWNER, ANSWER_MAYBE), 0);
    assert_int_equal(next_size(FRONT_SET_OWNER, ANSWER_OURS), 0);
    assert_int_equal(next_size(FRONT_GET_CONFIG, ANSWER_TO_RELAY), 0);
    assert_int_equal(next_size(FRONT_SET_LOG_BASE, ANSWER_TO_RELAY), 0);
    assert_int_equal(next_size(FRONT_GET_INFLIGHT_FD, ANSWER_TO_RELAY), 0);
    assert_int_equal(next_size(FRONT_POSTCOPY_ADVISE, ANSWER_TO_RELAY), 0);
    assert_int_equal(next_size(FRONT_SET_DEVICE_STATE_FD, ANSWER_TO_RELAY), 0);
    assert_int_equal(next_size(1000, ANSWER_TO_RELAY), 0);
    /* With another one behind it, what comes may be either's. */
    const struct answer due = { .request = FRONT_GET_FEATURES,
                                .kind = ANSWER_TO_RELAY,
                                .row = message_row(SPACE_FRONT, FRONT_GET_FEATURES) };
    answers_push(&a, due);
    assert_int_equal(answers_next_size(&a), 8);
    answers_push(&a, due);
    assert_int_equal(answers_next_size(&a), 0);
}

/* ---- a simple model: one entry a request, nothing shared ---- */

struct model {
    uint32_t request[STEPS];
    enum answer_kind kind[STEPS];
    size_t n;
};

static bool model_must_come(const struct model *m, size_t i)
{
    return m->kind[i] != ANSWER_MAYBE && m->kind[i] != ANSWER_OURS;
}

static void model_remove(struct model *m, size_t i)
{
    m->n--;
    memmove(&m->request[i], &m->request[i + 1], (m->n - i) * sizeof(m->request[0]));
    memmove(&m->kind[i], &m->kind[i + 1], (m->n - i) * sizeof(m->kind[0]));
}

static enum answers_match model_take(struct model *m, uint32_t request)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->kind[i] != ANSWER_OURS && m->request[i] == request) {
            model_remove(m, i);
            for (size_t k = i; k > 0; k--) {
                if (m->kind[k - 1] == ANSWER_MAYBE) {
                    model_remove(m, k - 1);
                }
            }
            return ANSWERS_MATCHED;
        }
        if (model_must_come(m, i)) {
            return ANSWERS_WRONG;
        }
    }
    return ANSWERS_UNASKED;
}

/* Index of the first answer of ours that is due; m->n: none. Only what the requester waits for comes
 * before it. */
static size_t model_ours_due(const struct model *m)
{
    for (size_t i = 0; i < m->n && m->kind[i] != ANSWER_TO_RELAY; i++) {
        if (m->kind[i] == ANSWER_OURS) {
            return i;
        }
    }
    return m->n;
}

static void step(struct answers *a, struct model *m, uint64_t *seed)
{
    struct answer got;
    uint32_t request = (uint32_t)(sample_random(seed) % 4);
    enum answer_kind kind = (enum answer_kind)(sample_random(seed) % 5);
    uint64_t what = sample_random(seed) % 8;
    if (what < 4 && a->n < ANSWERS_MAX) {
        push(a, request, kind);
        m->request[m->n] = request;
        m->kind[m->n++] = kind;
    } else if (what < 7) {
        assert_int_equal(answers_take(a, request, &got), model_take(m, request));
    } else {
        struct answer *due = answers_ours_due(a);
        size_t i = model_ours_due(m);
        assert_int_equal(due == NULL, i == m->n);
        if (due != NULL) {
            assert_int_equal(due->request, m->request[i]);
            answers_remove(a, due);
            model_remove(m, i);
        }
    }
}

static void it_agrees_with_a_simple_model(void **state)
{
    uint64_t seed = 42;
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct answers a = { .n = 0 };
        struct model m = { .n = 0 };
        for (int i = 0; i < STEPS; i++) {
            step(&a, &m, &seed);
            size_t oldest = 0;
            while (oldest < m.n && !model_must_come(&m, oldest)) {
                oldest++;
            }
            const struct answer *due = answers_oldest_due(&a);
            assert_int_equal(due == NULL, oldest == m.n);
            assert_true(due == NULL || due->request == m.request[oldest]);
        }
    }
}

/* ---- a responder that is lost ---- */

static void push_body(struct answers *a, uint32_t request, enum answer_kind kind)
{
    struct answer answer = { .request = request, .kind = kind, .body_len = 8 };
    answer.body = malloc(answer.body_len);
    assert_non_null(answer.body);
    memset(answer.body, (int)request, answer.body_len);
    answers_push(a, answer);
}

static void what_the_requester_waits_for_is_inherited(void **state)
{
    struct answers a = { .n = 0 };
    (void)state;
    push(&a, 1, ANSWER_MAYBE);
    push(&a, 2, ANSWER_TO_RELAY);
    push(&a, 3, ANSWER_TO_US);
    push(&a, 4, ANSWER_OURS);
    push(&a, 5, ANSWER_SWALLOWED);
    push(&a, 6, ANSWER_TO_RELAY);
    answers_inherit(&a);
    assert_int_equal(a.n, 3);
    assert_int_equal(a.queue[0].request, 2);
    assert_int_equal(a.queue[1].request, 4);
    assert_int_equal(a.queue[2].request, 6);
    /* Still in their order. */
    assert_null(answers_ours_due(&a));
    answers_remove(&a, &a.queue[0]);
    assert_int_equal(answers_ours_due(&a)->request, 4);
    answers_clear(&a);
    assert_int_equal(a.n, 0);
}

static void what_a_lost_requester_asked_is_swallowed(void **state)
{
    struct answers a = { .n = 0 };
    struct answer got;
    (void)state;
    push(&a, 1, ANSWER_TO_RELAY);
    push(&a, 2, ANSWER_TO_US);
    answers_swallow(&a);
    assert_int_equal(answers_take(&a, 1, &got), ANSWERS_MATCHED);
    assert_int_equal(got.kind, ANSWER_SWALLOWED);
    assert_int_equal(answers_take(&a, 2, &got), ANSWERS_MATCHED);
    assert_int_equal(got.kind, ANSWER_TO_US);
}

/* An answer that came and was of no use: its request is still to be answered, before all others. */
static void an_answer_that_is_of_no_use_is_due_again(void **state)
{
    struct answers a = { .n = 0 };
    struct answer got;
    (void)state;
    push_body(&a, 1, ANSWER_TO_RELAY);
    for (uint32_t i = 1; i < ANSWERS_MAX; i++) {
        push_body(&a, 2, ANSWER_TO_RELAY);
    }
    assert_int_equal(answers_take(&a, 1, &got), ANSWERS_MATCHED);
    answers_put_back_take(&a, &got);
    assert_null(got.body);
    assert_int_equal(a.n, ANSWERS_MAX);
    expect(&a, 2, ANSWERS_WRONG);
    assert_int_equal(answers_take(&a, 1, &got), ANSWERS_MATCHED);
    assert_int_equal(got.body[0], 1);
    free(got.body);
    /* What need not come is not waited for again. */
    got = (struct answer){ .request = 9, .kind = ANSWER_MAYBE, .times = 1 };
    answers_put_back_take(&a, &got);
    expect(&a, 9, ANSWERS_WRONG);
    answers_clear(&a);
}

static void a_late_answers_request_goes_with_ours(void **state)
{
    struct answers a = { .n = 0 };
    struct answer got;
    (void)state;
    push_body(&a, 1, ANSWER_TO_RELAY);
    answers_replace(&a, &a.queue[0]);
    assert_int_equal(a.n, 2);
    assert_int_equal(answers_ours_due(&a)->body[0], 1);
    answers_remove(&a, answers_ours_due(&a));
    assert_int_equal(answers_take(&a, 1, &got), ANSWERS_MATCHED);
    assert_null(got.body);
    assert_int_equal(got.kind, ANSWER_SWALLOWED);
}

/* Any walk through all there is to do: each body is freed once (as the sanitizers see), and belongs to
 * its request as long as it is there. */
static void bodies_go_with_their_requests(void **state)
{
    uint64_t seed = 8;
    (void)state;
    for (int round = 0; round < 300; round++) {
        struct answers a = { .n = 0 };
        for (int i = 0; i < STEPS; i++) {
            uint32_t request = 1 + (uint32_t)(sample_random(&seed) % 5);
            struct answer got = { .body = NULL };
            struct answer *due;
            switch (sample_random(&seed) % 12) {
            case 0:
                answers_inherit(&a);
                break;
            case 1:
                answers_swallow(&a);
                break;
            case 2:
                due = answers_oldest_due(&a);
                if (due != NULL && due->kind == ANSWER_TO_RELAY && !answers_full(&a)) {
                    answers_replace(&a, due);
                }
                break;
            case 3:
                due = answers_ours_due(&a);
                if (due != NULL) {
                    answers_remove(&a, due);
                }
                break;
            case 4:
            case 5:
            case 6:
                if (answers_take(&a, request, &got) == ANSWERS_MATCHED) {
                    if (got.kind != ANSWER_MAYBE && sample_random(&seed) % 3 == 0) {
                        answers_put_back_take(&a, &got);
                    }
                    free(got.body);
                }
                break;
            default:
                if (!answers_full(&a)) {
                    enum answer_kind kind = (enum answer_kind)(sample_random(&seed) % 5);
                    if (kind == ANSWER_TO_RELAY) {
                        push_body(&a, request, kind);
                    } else {
                        push(&a, request, kind);
                    }
                }
            }
            assert_true(a.n <= ANSWERS_MAX);
            for (size_t k = 0; k < a.n; k++) {
                assert_true(a.queue[k].body == NULL || a.queue[k].body[0] == a.queue[k].request);
            }
        }
        answers_clear(&a);
    }
}

static const struct unit_test tests[] = {
    UNIT(answers_come_in_the_order_of_requests),
    UNIT(a_wrong_answer_names_the_one_that_is_due),
    UNIT(optional_answers_hold_nothing_up),
    UNIT(equal_optional_answers_in_a_row_share_an_entry),
    UNIT(too_many_optional_answers_are_forgotten_oldest_first),
    UNIT(it_is_full_when_all_must_come),
    UNIT(our_answer_waits_for_its_turn),
    UNIT(our_answer_is_not_held_up),
    UNIT(nobody_but_us_answers_ours),
    UNIT(what_must_come_is_told),
    UNIT(the_kind_of_a_match_is_told),
    UNIT(size_is_known_where_one_answer_of_one_size_can_come),
    UNIT(it_agrees_with_a_simple_model),
    UNIT(what_the_requester_waits_for_is_inherited),
    UNIT(what_a_lost_requester_asked_is_swallowed),
    UNIT(an_answer_that_is_of_no_use_is_due_again),
    UNIT(a_late_answers_request_goes_with_ours),
    UNIT(bodies_go_with_their_requests),
};

UNIT_MAIN("answers", tests)
