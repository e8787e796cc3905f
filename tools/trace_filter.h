/* SPDX-License-Identifier: MIT
 *
 * A small language to choose records by the members of their JSON:
 *
 *   request == SET_VRING_KICK && fields.index == 1
 *   kind == ending || latency_ns > 1000000
 *   !reply && (wire == front || wire == back)
 *   before.features.names == csum        any of a list
 *   fds                                  is there, and neither false nor 0
 *
 *   either  = both { "||" both }
 *   both    = one { "&&" one }
 *   one     = "!" one | "(" either ")" | path [ operator value ]
 *   operator: == != < <= > >= contains
 *   value: a word, "text in quotes", a number (decimal or 0x)
 *
 * Two values that are numbers are compared as numbers, else as text. A path that is not there
 * compares false, also with !=. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct trace_filter;

/* NULL with a reason that names the column. */
struct trace_filter *trace_filter_parse(const char *text, char *why, size_t why_len);
bool trace_filter_matches(const struct trace_filter *f, json_t *record);
/* NULL is allowed; returns NULL. */
struct trace_filter *trace_filter_free(struct trace_filter *f);
