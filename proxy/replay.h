/* SPDX-License-Identifier: MIT
 *
 * Sets up a fresh back-end from the record, in the order that every known back-end takes (see
 * replay.c). */
#pragma once

#include "kept.h"

/* What may be told while another back-end still runs, and what only when the rings stand still. */
enum replay_part { REPLAY_BEFORE_RINGS, REPLAY_RINGS };

struct replay {
    enum replay_part part;
    size_t step;
    size_t at; /* within the step */
};

/* The next message of the part: a copy with descriptors of its own (the caller's), asking for no
 * answer. SET_BACKEND_REQ_FD comes without a descriptor when its socket is served here. 1, 0 at the
 * end, or -errno. */
int replay_next(struct replay *p, const struct record *r, const struct kept *k,
                struct msg *ret_msg);

/* How far a back-end that has been told so much may have run: not at all, not if it waits for
 * SET_VRING_ENABLE, or surely. */
enum replay_ran { RAN_NOT, RAN_PERHAPS, RAN };
enum replay_ran replay_ran(const struct replay *p);

/* A copy of a message as a request of another number, with descriptors of its own: 1, or -errno. */
int replay_copy(const struct msg *m, uint32_t request, struct msg *ret_msg);

/* The same request from a running front-end must reach a back-end that has been told the first part
 * already. Then *ret_msg is what to tell it: 1, 0 when it need not know yet, or -errno. */
int replay_follow(const struct message_row *row, const struct msg *m, struct msg *ret_msg);

/* It makes what a back-end has been told beforehand worthless. */
bool replay_is_void(const struct message_row *row);
