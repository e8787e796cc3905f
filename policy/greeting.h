/* SPDX-License-Identifier: MIT
 *
 * The questions that read a back-end's offer on a new connection, in the one order that every
 * back-end takes: GET_FEATURES, then where offered GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES
 * (rust-vmm answers nothing further without it), GET_QUEUE_NUM, GET_MAX_MEM_SLOTS, GET_CONFIG.
 * Nothing that changes a device: the front-end's own negotiation follows on the same connection and
 * replaces what was set here. SET_OWNER is left to it, because rust-vmm takes one only. */
#pragma once

#include "interface.h"
#include "message.h"

enum greeting_step {
    GREETING_FEATURES,
    GREETING_PROTOCOL,
    GREETING_SET_PROTOCOL,
    GREETING_QUEUES,
    GREETING_SLOTS,
    GREETING_CONFIG,
    GREETING_DONE,
};

struct greeting {
    enum greeting_step step;
    bool whole_config;      /* read all of the configuration space, not only what is pinned */
    size_t tries;           /* of sizes, for that */
    uint32_t config_wanted; /* bytes of it that must be read at least, if they are there */
    struct offer offer;     /* complete once done */
};

enum greeting_next {
    GREETING_OVER, /* nothing more to send */
    GREETING_TELL, /* *ret_msg is to be sent; no answer comes */
    GREETING_ASK,  /* *ret_msg is to be sent, and its answer given to greeting_answer() */
};

/* Next message, made for the caller (who owns it). Negative: -ENOMEM. */
int greeting_next(struct greeting *g, const struct interface *i, struct msg *ret_msg);

/* The answer to the last question, already checked against its row. */
void greeting_answer(struct greeting *g, const struct msg *answer);
