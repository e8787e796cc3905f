/* SPDX-License-Identifier: MIT
 *
 * A trace as the rows of a sequence diagram, and the writers of the formats that it can have.
 *
 * Messages that repeat are folded: a group's row says what its members are, and they follow it. */
#pragma once

#include <stdio.h>

#include "trace_items.h"

/* More rows are of no use to a reader, and a browser would take long to lay them out. */
#define PICTURE_MOST 4000

enum row_kind {
    ROW_MESSAGE,
    ROW_NOTE,    /* the item's own: an ending, a refusal, an event, a gap */
    ROW_GROUP,   /* n_members rows follow */
    ROW_LIFE,    /* another connection begins */
    ROW_MISSING, /* numbers are missing, and no gap says so */
    ROW_PAUSE,   /* a while in which nothing happened */
    ROW_LEFT_OUT,
};

struct picture_row {
    enum row_kind kind;
    const struct trace_item *item;    /* GROUP: its first; LEFT_OUT: none */
    const struct trace_item *answers; /* replies: the request, if it is the message just above */
    size_t group;                     /* from 1; 0: in none */
    size_t n_members, times, n_names; /* GROUP: so many times n_names requests */
    uint64_t amount;                  /* MISSING, LEFT_OUT: how many; PAUSE: ns */
};

struct picture {
    const struct trace_items *items;
    struct picture_row *rows;
    size_t n, room;
    size_t n_messages;
    bool has_next; /* messages of a back-end beside the live one */
};

/* False when there is no memory. `p` is to be freed in any case. */
bool picture_make(const struct trace_items *items, struct picture *p);
void picture_free(struct picture *p);

/* What a row that is no message says. Always terminated. */
void picture_text(const struct picture *p, const struct picture_row *row, char *buf, size_t len);
/* "12.3 µs" */
void picture_duration(uint64_t ns, char *buf, size_t len);
/* A reply that says no. */
bool picture_is_error(const struct trace_item *i);

void picture_svg(const struct picture *p, FILE *out);
void picture_mermaid(const struct picture *p, FILE *out);
