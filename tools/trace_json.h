/* SPDX-License-Identifier: MIT
 *
 * A record of a trace as JSON, from the tables alone: `vushim trace show --json`, filters, and what
 * compares with other readers. vushim-trace(1) describes the members. */
#pragma once

#include <jansson.h>

#include "trace_story.h"

/* A new object; NULL when there is no memory. */
json_t *trace_json(const struct trace_view *v);
