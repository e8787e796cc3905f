/* SPDX-License-Identifier: MIT
 *
 * A trace in memory, as what happened rather than as records: a message that the shim passed on is
 * one item, whatever it did to it on the way. */
#pragma once

#include "trace_file.h"
#include "trace_story.h"

#define TRACE_START "START" /* name of the event that has the interface as its text */

enum item_flow {
    FLOW_KEPT,    /* received, and never sent on */
    FLOW_PASSED,  /* sent on as it came */
    FLOW_CHANGED, /* sent on, changed */
    FLOW_OWN,     /* sent by the shim itself */
    FLOW_NOTE,    /* no message: an ending, a refusal, an event, a gap */
};

/* A message at one wire. Owns its body. */
struct trace_said {
    struct wire_header head;
    uint8_t *body;
    size_t n_fds;
    uint64_t fds_sum; /* of what names the descriptors: equal for the same ones */
};

struct trace_item {
    enum trace_kind kind;
    enum item_flow flow;
    enum trace_wire wire; /* where it came in; own ones: where they went out */
    enum device_type device;
    uint32_t life;
    uint64_t number, time_ns;
    struct trace_said said;  /* as it came */
    struct trace_said sent;  /* FLOW_CHANGED: as it went */
    uint64_t request_number; /* replies, 0: not seen */
    uint64_t latency_ns;
    char *name, *text; /* notes; owned, cleaned */
    uint64_t lost;     /* GAP */
};

struct trace_items {
    char device[256]; /* cleaned */
    struct trace_item *items;
    size_t n;
    uint64_t left_out; /* that came when there was no room any more */
    uint64_t lost;     /* records, by gaps */
    uint32_t n_lives;
    char *start; /* text of the last START, whichever life it was in; owned, NULL: none */
};

struct trace_wanted {
    size_t most;
    bool last_life; /* only the last one that has a message */
    uint32_t life;  /* only this one; 0: whichever */
};

/* --life of a command line, NULL when it was not given. False after a line on stderr. */
bool trace_wanted_life(const char *verb, const char *text, struct trace_wanted *wanted);

/* Reads a whole file. NULL after a line on stderr; a file without one record is an error too. */
struct trace_items *trace_items_read(const char *verb, const char *path,
                                     const struct trace_wanted *wanted);
/* NULL is allowed; returns NULL. */
struct trace_items *trace_items_free(struct trace_items *t);

static inline bool item_is_message(const struct trace_item *i)
{
    return i->kind == TRACE_MESSAGE;
}
static inline bool item_is_reply(const struct trace_item *i)
{
    return item_is_message(i) && (i->said.head.flags & WIRE_REPLY) != 0;
}
static inline bool wire_is_front(enum trace_wire wire)
{
    return wire == TRACE_FRONT || wire == TRACE_FRONT_CHANNEL;
}
/* Borrowed, without descriptors: for message_print() and the like. */
static inline struct msg said_message(const struct trace_said *s)
{
    return (struct msg){ .head = s->head, .body = s->body, .fds = { .n = s->n_fds } };
}
