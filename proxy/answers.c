/* SPDX-License-Identifier: MIT */
#include "answers.h"

#include <stdlib.h>
#include <string.h>

#include "frame.h"

static bool must_come(const struct answer *a)
{
    return a->kind != ANSWER_MAYBE && a->kind != ANSWER_OURS;
}

/* Takes it off the queue, without its body. */
static void take_off(struct answers *a, struct answer *answer)
{
    size_t i = (size_t)(answer - a->queue);
    a->n--;
    memmove(answer, answer + 1, (a->n - i) * sizeof(*answer));
}

void answers_remove(struct answers *a, struct answer *answer)
{
    free(answer->body);
    take_off(a, answer);
}

/* Index of the oldest answer that need not come; `n` if there is none. */
static size_t first_maybe(const struct answers *a)
{
    size_t i = 0;
    while (i < a->n && a->queue[i].kind != ANSWER_MAYBE) {
        i++;
    }
    return i;
}

bool answers_full(const struct answers *a)
{
    return a->n == ANSWERS_MAX && first_maybe(a) == a->n;
}

/* The oldest answer that need not come gives way. */
static void make_room(struct answers *a)
{
    if (a->n == ANSWERS_MAX) {
        size_t forgotten = first_maybe(a);
        assert(forgotten < a->n);
        answers_remove(a, &a->queue[forgotten]);
    }
}

/* Ours stands before the one it replaces, so that nothing outstanding stands before it. */
void answers_replace(struct answers *a, const struct answer *late)
{
    size_t i = (size_t)(late - a->queue);
    size_t before = a->n;
    struct answer ours = *late;
    size_t forgotten = first_maybe(a);
    make_room(a);
    if (a->n < before && forgotten < i) {
        i--;
    }
    a->queue[i].kind = ANSWER_SWALLOWED;
    a->queue[i].body = NULL; /* it goes with ours */
    ours.kind = ANSWER_OURS;
    memmove(&a->queue[i + 1], &a->queue[i], (a->n - i) * sizeof(a->queue[0]));
    a->queue[i] = ours;
    a->n++;
}

/* Requests that need no answer may come in any number: equal ones in a row share an entry, and when
 * there are too many different ones the oldest is forgotten. */
void answers_push(struct answers *a, struct answer answer)
{
    struct answer *last = a->n > 0 ? &a->queue[a->n - 1] : NULL;
    if (last != NULL && answer.kind == ANSWER_MAYBE && last->kind == ANSWER_MAYBE &&
        last->request == answer.request) {
        last->times += last->times < UINT32_MAX ? 1 : 0;
        return;
    }
    make_room(a);
    answer.times = 1;
    a->queue[a->n++] = answer;
}

/* An answer that has come shows that the optional ones before it never will. */
static void take(struct answers *a, size_t i, struct answer *ret_answer)
{
    struct answer *hit = &a->queue[i];
    *ret_answer = *hit;
    if (hit->kind == ANSWER_MAYBE && hit->times > 1) {
        hit->times--;
    } else {
        take_off(a, hit);
    }
    for (size_t k = i; k > 0; k--) {
        if (a->queue[k - 1].kind == ANSWER_MAYBE) {
            answers_remove(a, &a->queue[k - 1]);
        }
    }
}

enum answers_match answers_take(struct answers *a, uint32_t request, struct answer *ret_answer)
{
    for (size_t i = 0; i < a->n; i++) {
        struct answer *candidate = &a->queue[i];
        if (candidate->kind == ANSWER_OURS) {
            continue;
        }
        if (candidate->request == request) {
            take(a, i, ret_answer);
            return ANSWERS_MATCHED;
        }
        if (must_come(candidate)) {
            *ret_answer = *candidate;
            return ANSWERS_WRONG;
        }
    }
    return ANSWERS_UNASKED;
}

void answers_put_back_take(struct answers *a, struct answer *answer)
{
    if (answer->kind == ANSWER_MAYBE) {
        return;
    }
    make_room(a); /* there is some: it was taken off just now */
    memmove(&a->queue[1], &a->queue[0], a->n * sizeof(a->queue[0]));
    a->queue[0] = *answer;
    a->n++;
    answer->body = NULL;
}

struct answer *answers_ours_due(struct answers *a)
{
    for (size_t i = 0; i < a->n; i++) {
        if (a->queue[i].kind == ANSWER_OURS) {
            return &a->queue[i];
        }
        if (a->queue[i].kind == ANSWER_TO_RELAY) {
            return NULL; /* what vushim itself has asked is not the requester's to wait for */
        }
    }
    return NULL;
}

void answers_inherit(struct answers *a)
{
    for (size_t i = a->n; i > 0; i--) {
        struct answer *answer = &a->queue[i - 1];
        if (answer->kind != ANSWER_OURS && answer->kind != ANSWER_TO_RELAY) {
            answers_remove(a, answer);
        }
    }
}

void answers_clear(struct answers *a)
{
    while (a->n > 0) {
        answers_remove(a, &a->queue[a->n - 1]);
    }
}

void answers_swallow(struct answers *a)
{
    for (size_t i = 0; i < a->n; i++) {
        if (a->queue[i].kind == ANSWER_TO_RELAY) {
            a->queue[i].kind = ANSWER_SWALLOWED;
        }
    }
}

struct answer *answers_oldest_due(struct answers *a)
{
    for (size_t i = 0; i < a->n; i++) {
        if (must_come(&a->queue[i])) {
            return &a->queue[i];
        }
    }
    return NULL;
}

size_t answers_next_size(const struct answers *a)
{
    if (a->n != 1 || !must_come(&a->queue[0]) || a->queue[0].row == NULL) {
        return 0;
    }
    const struct message_row *row = a->queue[0].row;
    const struct payload *p = message_payload(row, true);
    bool fixed = p->least == p->most && message_fds(row, true)->most == 0;
    return fixed && p->most <= FRAME_MAX_EXPECT ? p->most : 0;
}
