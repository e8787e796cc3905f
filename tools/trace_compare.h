/* SPDX-License-Identifier: MIT
 *
 * What is different between two recorded connections, as a list. Left out is what is different each
 * time the same peers meet: addresses, descriptors, ring bases, points in time. */
#pragma once

#include "trace_items.h"

enum difference_kind {
    DIFFERENCE_OFFER,   /* what an end offers, or is offered */
    DIFFERENCE_MESSAGE, /* only in one of the two */
    DIFFERENCE_VALUE,   /* in both, with other fields */
    DIFFERENCE_TIMING,  /* how long answers take; no difference of what is done */
    N_DIFFERENCE_KINDS
};

struct difference {
    enum difference_kind kind;
    char *what;    /* owned: "back-end features", "front > SET_VRING_NUM", ... */
    char *how;     /* owned: "-csum", "num 256 -> 1024"; MESSAGE: its fields */
    uint64_t a, b; /* MESSAGE, VALUE: numbers of the records, 0: not there. TIMING: medians in ns */
    unsigned times; /* VALUE: how often this one came */
    bool only_b;    /* MESSAGE: else only in a */
};

struct differences {
    struct difference *list;
    size_t n, room;
    bool differ; /* in more than timing */
};

/* Neither of `a` and `b` has more than ALIGN_MOST items. -ENOMEM; `d` is to be freed in any case. */
int trace_compare(const struct trace_items *a, const struct trace_items *b, struct differences *d);
void differences_free(struct differences *d);
