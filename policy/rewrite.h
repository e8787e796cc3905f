/* SPDX-License-Identifier: MIT
 *
 * What is changed in passing, and what is refused. See the head of rewrite.c for the policy. */
#pragma once

#include "compat.h"
#include "interface.h"
#include "message.h"
#include "record.h"

enum verdict_kind {
    VERDICT_PASS,         /* goes on, changed or not */
    VERDICT_REFUSE,       /* must not reach the other side */
    VERDICT_INCOMPATIBLE, /* the back-end cannot serve this interface any more */
};

enum verdict_rule {
    RULE_NONE,
    RULE_GATE,          /* the message belongs to a feature that this device does not have */
    RULE_FEATURES,      /* features acknowledged that were not offered */
    RULE_PROTOCOL,      /* the same for protocol features */
    RULE_QUEUE_INDEX,   /* a virtqueue that the device does not have */
    RULE_QUEUE_COUNT,   /* a structure for more virtqueues than that, or for none */
    RULE_RING_SIZE,     /* a ring above max_ring */
    RULE_MEM_SLOTS,     /* more memory regions than slots */
    RULE_CONFIG_PINNED, /* a pinned configuration field written with another value */
    RULE_OFFER,         /* the back-end offers less than before */
};

/* The result as data; verdict_print() words it. */
struct verdict {
    enum verdict_kind kind;
    enum verdict_rule rule;
    const char *field; /* name of the field, limit or configuration field; static */
    uint64_t value;    /* what came; feature bits for RULE_FEATURES and RULE_PROTOCOL */
    uint64_t limit;    /* what holds */
    struct gap gap;    /* RULE_OFFER */
};

/* All that rules look at. What follows from interface and offer is worked out once for a connection
 * of the back-end, so that a message costs comparisons only. */
struct rewrite {
    const struct interface *interface;
    const struct offer *offer;
    const struct record *record;
    bool transparent;
    uint64_t features;  /* shown to the front-end */
    uint64_t protocol;  /* shown to the front-end */
    uint32_t vrings;    /* virtqueues that may be named */
    uint32_t mem_slots; /* 0: not known */
};

/* The pointers must outlive `w`. */
struct rewrite rewrite_prepare(const struct interface *i, const struct offer *o,
                               const struct record *r);

/* A request that has passed check_message(); `row` is its row. May change `m` in place. */
struct verdict rewrite_request(const struct rewrite *w, const struct message_row *row,
                               struct msg *m);
/* The answer to a request of `row`, likewise. */
struct verdict rewrite_answer(const struct rewrite *w, const struct message_row *row,
                              struct msg *m);

/* "num=1024 is above max_ring=256": after the message's name it makes the whole sentence. */
void verdict_print(const struct verdict *v, enum device_type device, char *buf, size_t len);
