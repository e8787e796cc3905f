/* SPDX-License-Identifier: MIT
 *
 * What a running guest has negotiated, carried to another host: may the guest move there? */
#pragma once

#include <jansson.h>

#include "compat.h"
#include "record.h"

struct expectation {
    uint64_t features;       /* acknowledged, vhost's own bits left out */
    uint32_t rings;          /* virtqueues in use: one more than the highest index */
    uint32_t ring_num;       /* the largest of them */
    uint32_t regions;        /* of memory */
    enum device_type device; /* DEVICE_UNKNOWN: not said */
};

/* From what `vushim ctl PATH state --json` prints; false when it is not that. */
bool expectation_of_json(const json_t *root, struct expectation *ret_expectation);

/* The same from a device of this process. */
struct expectation expectation_of_record(const struct record *r);

/* True when a device of this interface on this back-end can carry on; otherwise `why` names
 * everything that is missing. */
bool expectation_met(const struct expectation *e, const struct interface *i, const struct offer *o,
                     char *why, size_t why_len);
