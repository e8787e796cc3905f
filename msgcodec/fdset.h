/* SPDX-License-Identifier: MIT
 *
 * The only owner of descriptors that travel. An fdset owns every descriptor in it; what else holds
 * an `int` borrows it. */
#pragma once

#include <stddef.h>

#include "util.h"

struct fdset {
    int *fd; /* heap, `n` of them; NULL when empty */
    size_t n;
};

#define FDSET_NULL ((struct fdset){ .fd = NULL, .n = 0 })

/* Adds `n` descriptors and owns them from then on. On failure (-ENOMEM) the caller still does. */
int fdset_append_take(struct fdset *set, const int *fds, size_t n);
/* Moves everything from `from` into the empty `to`. */
void fdset_move(struct fdset *to, struct fdset *from);
/* Gives up descriptor `i`: the caller owns it, the slot is gone. */
int fdset_steal(struct fdset *set, size_t i);
/* Closes all. May be repeated. */
void fdset_close(struct fdset *set);
