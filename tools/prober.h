/* SPDX-License-Identifier: MIT
 *
 * Reads the offer of a back-end: a front-end that asks and leaves. Blocking, with a time limit. */
#pragma once

#include "endpoint.h"
#include "interface.h"

/* 0, or -errno with a reason in `why`. A back-end that gives up at the configuration space has
 * shown everything else by then: that is no error. */
int prober_run(const struct endpoint *e, double timeout, struct offer *ret_offer, char *why,
               size_t why_len);
