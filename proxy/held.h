/* SPDX-License-Identifier: MIT
 *
 * The front-end's own messages, kept for a back-end that is not there yet: the last of each kind
 * (of each kind and ring), with its descriptors, and the memory table as it stands. What is kept
 * follows from the message table's traits; what can be named bounds it. */
#pragma once

#include "message.h"
#include "record.h"

/* Kinds of messages that are kept for each ring: those of the table that name one. */
#define HELD_RING_KINDS 8

struct held_ring {
    struct msg kept[HELD_RING_KINDS];
};

struct held {
    struct msg *last; /* by request number; for those that name no ring */
    struct held_ring *rings;
    size_t n_rings;
    struct msg table;    /* SET_MEM_TABLE, if the front-end used that */
    struct msg *regions; /* ADD_MEM_REG, in order */
    size_t n_regions;
};

/* Keeps a request of `row` (taken), or does what it does to what is kept. 0, or -ENOMEM. */
int held_keep_take(struct held *h, const struct message_row *row, struct msg *m);
/* The kept message of a kind, and of a ring; NULL if none. Borrowed. */
const struct msg *held_last(const struct held *h, uint32_t request);
const struct msg *held_ring_last(const struct held *h, uint32_t request, size_t ring);
/* Closes and forgets all. May be repeated. */
void held_clear(struct held *h);

/* Walks what is kept in the order that every known back-end takes (see held.c). */
struct held_cursor {
    size_t step;
    size_t ring;
};

/* The next message: a copy with descriptors of its own (the caller's), asking for no answer. 1, 0
 * at the end, or -errno. */
int held_next(const struct held *h, struct held_cursor *c, struct msg *ret_msg);
