/* SPDX-License-Identifier: MIT
 *
 * A payload without its addresses, for traces that leave the house. */
#pragma once

#include "message.h"

/* Random; the same for a whole trace, so that equal addresses stay equal. */
struct redaction {
    uint64_t key[2];
};

/* The payload of `m` to `ret_body` (m->head.size bytes): addresses are replaced by keyed hashes, and
 * what the tables give no meaning (unknown messages, opaque payloads, answers in postcopy) by zeroes.
 * The null address stays. */
void redact(const struct redaction *r, enum wire_space space, const struct msg *m,
            uint8_t *ret_body);
