/* SPDX-License-Identifier: MIT
 *
 * What a trace says beyond its single records: which answer belongs to which request and how long it
 * took, what the shim passed on, changed, or said by itself. Fed with the records in their order;
 * memory is bounded.
 *
 * The shim handles one message at a time, so a message that it passes on is the record right after
 * the one in which it came, on the same socket's other end. */
#pragma once

#include "feature.h"
#include "traceformat.h"

enum trace_origin {
    ORIGIN_PEER,    /* received by the shim from the peer of this wire */
    ORIGIN_PASSED,  /* sent as it came */
    ORIGIN_CHANGED, /* sent, and not as it came: `before` is how it came */
    ORIGIN_OWN,     /* sent by the shim itself */
};

/* A record in its context. Borrowed: holds until the next one. */
struct trace_view {
    const struct trace_record *record;
    enum device_type
        device; /* for names of bits: the record's, else guessed from what came before */
    enum trace_origin origin;
    const struct trace_record *before; /* ORIGIN_CHANGED */
    bool is_reply;
    uint64_t request_number; /* replies: number of the request's record on this wire, 0: not seen */
    uint64_t latency_ns;     /* replies: since then */
};

#define STORY_MAX_OUTSTANDING 64

struct trace_story {
    struct {
        struct {
            uint32_t request;
            uint64_t number, time_ns;
        } asked[STORY_MAX_OUTSTANDING]; /* oldest first */
        size_t n;
        uint32_t life;
    } wires[N_TRACE_WIRES];
    enum device_type device;
    struct trace_record last; /* its body is in last_body; texts are not kept */
    bool last_is_message;
    uint8_t last_body[WIRE_MAX_PAYLOAD];
    struct trace_record before; /* body in before_body */
    uint8_t before_body[WIRE_MAX_PAYLOAD];
};

void trace_story_init(struct trace_story *s);
/* The view of the next record of a trace. */
struct trace_view trace_story_next(struct trace_story *s, const struct trace_record *r);
