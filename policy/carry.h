/* SPDX-License-Identifier: MIT
 *
 * Whether a fresh back-end can carry on what the front-end has been promised and has acknowledged. */
#pragma once

#include "expect.h"

/* True when it can; otherwise `why` names everything that is missing. */
bool carry_on(const struct record *r, const struct interface *i, const struct offer *o, char *why,
              size_t why_len);

/* The back-end's own words, as far as the front-end has heard them. */
struct offer carry_heard(const struct record *r);
/* The kind of device: as the interface says, or as that looks. */
enum device_type carry_device(const struct interface *i, const struct offer *heard);
/* What is left of an offer when another back-end stands in: never more than either has. */
struct offer carry_narrowed(const struct offer *before, const struct offer *now);
