/* SPDX-License-Identifier: MIT
 *
 * A front-end that is served without a back-end: one that came first (--start detached: the profile
 * answers what the back-end would), or one whose back-end was lost (hold.h: the record answers). What it
 * says is kept, and the back-end that comes is told. */
#pragma once

#include "device.h"

/* The offer that a profile makes by itself; false with a reason when it leaves something to the
 * back-end. `i` is made complete: what it does not require is withheld. */
bool alone_offer(struct interface *i, struct offer *ret_offer, char *why, size_t why_len);

/* Serves the front-end from the profile from now on. */
void alone_begin(struct device *d);
/* relay_hooks.alone and .owed. */
int alone_take(struct relay *r, const struct message_row *row, struct msg *m,
               struct msg *ret_answer);
int alone_owed(struct relay *r, const struct message_row *row, const struct msg *m,
               struct msg *ret_answer);
