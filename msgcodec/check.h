/* SPDX-License-Identifier: MIT
 *
 * Is a whole message what its row says? Sizes, descriptor counts, flags, counts inside. From the
 * row alone: no state, no policy. */
#pragma once

#include "message.h"

enum check_result {
    CHECK_OK,
    CHECK_BAD_FLAGS,       /* bits that the protocol does not define */
    CHECK_WRONG_SIZE,      /* payload shorter or longer than the row allows */
    CHECK_BAD_DESCRIPTORS, /* more or fewer descriptors than the row allows */
    CHECK_BAD_FIELD,       /* a count inside reaches past the payload */
    CHECK_BAD_SPAN,        /* memory that wraps around the end of its addresses */
};

/* What was found, for the log: `value` against `least`..`most`. */
struct check_fault {
    enum check_result result;
    uint64_t value;
    uint64_t least;
    uint64_t most;
};

/* Checks `m`, a request of `row` or (reply) its answer. `row` may be NULL: an unknown message is
 * checked for its flags alone. */
struct check_fault check_message(const struct message_row *row, bool reply, const struct msg *m);
