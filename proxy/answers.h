/* SPDX-License-Identifier: MIT
 *
 * What is outstanding on one wire: the answers that are due, in order. vhost-user has no sequence
 * numbers: an answer belongs to the oldest request that has none yet, and repeats its number. An
 * answer of our own (a refusal) takes its place in the same order. */
#pragma once

#include "message.h"

/* Front-ends pipeline a few requests; one that has this many outstanding waits until the back-end
 * has answered some. */
#define ANSWERS_MAX 64

enum answer_kind {
    ANSWER_TO_RELAY,  /* must come, goes to the requester */
    ANSWER_TO_US,     /* must come, was asked by vushim itself */
    ANSWER_SWALLOWED, /* must come, but was answered in the peer's place when it came too late */
    ANSWER_MAYBE,     /* may come, goes to the requester; its absence holds nothing up */
    ANSWER_OURS,      /* a refusal of ours that waits for its turn */
};

struct answer {
    uint32_t request;
    uint32_t flags; /* of the request */
    enum answer_kind kind;
    const struct message_row *row; /* of the request; NULL when unknown */
    uint32_t times;                /* ANSWER_MAYBE: so many requests in a row */
    double since;                  /* monotonic_s() */
    bool said_slow;
    uint8_t *body; /* heap: the request's payload, where it may have to be asked again; else NULL */
    uint32_t body_len;
};

struct answers {
    struct answer queue[ANSWERS_MAX];
    size_t n;
};

enum answers_match {
    ANSWERS_MATCHED, /* *ret_answer is the request that this answers; it is off the queue */
    ANSWERS_UNASKED, /* nothing is outstanding */
    ANSWERS_WRONG,   /* *ret_answer (still queued) is due first */
};

/* No room for a further request. */
bool answers_full(const struct answers *a);
/* Appends; there must be room. */
void answers_push(struct answers *a, struct answer answer);
/* Finds what an answer with this number belongs to. Its body is the caller's to free. */
enum answers_match answers_take(struct answers *a, uint32_t request, struct answer *ret_answer);
/* What answers_take() gave was of no use: it is the first that is due again, with its body (which is
 * taken). Nothing happens with one that need not come. */
void answers_put_back_take(struct answers *a, struct answer *answer);
/* The first answer of ours that no outstanding answer of the peer stands before; NULL if none. */
struct answer *answers_ours_due(struct answers *a);
/* Puts an answer of ours in the place of one that is due (there must be room), which is swallowed
 * when it comes after all. */
void answers_replace(struct answers *a, const struct answer *late);
/* The responder is gone: what it owes to the requester is owed by us, what it owed to us is
 * forgotten. */
void answers_inherit(struct answers *a);
void answers_clear(struct answers *a);
/* The requester is gone: what it is owed is swallowed when it comes. */
void answers_swallow(struct answers *a);
void answers_remove(struct answers *a, struct answer *answer);
/* The payload size of the next answer, where only one answer can come and it can have one size only
 * and no descriptors; else 0. */
size_t answers_next_size(const struct answers *a);
/* The oldest answer that must come; NULL if none. */
struct answer *answers_oldest_due(struct answers *a);
