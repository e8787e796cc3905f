/* SPDX-License-Identifier: MIT
 *
 * A device whose front-end comes before any back-end (--start detached): the profile answers what
 * the back-end would, everything else is kept, and the back-end that comes is checked and told.
 * From then on the device is like any other. */
#pragma once

#include "device.h"

/* The offer that a profile makes by itself; false with a reason when it leaves something to the
 * back-end. `i` is made complete: what it does not require is withheld. */
bool detached_offer(struct interface *i, struct offer *ret_offer, char *why, size_t why_len);

/* Serves the front-end alone from now on. */
void detached_begin(struct device *d);
/* A request of the front-end while there is no back-end (relay_hooks.alone). */
int detached_take(struct device *d, const struct message_row *row, struct msg *m,
                  struct msg *ret_answer, bool *ret_has_answer);
/* The back-end has passed the greeting: hands over, as far as there is room. */
void detached_attach(struct device *d);
/* The answer to the last question of the handing over. */
void detached_attached(struct device *d);
