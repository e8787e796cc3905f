/* SPDX-License-Identifier: MIT
 *
 * Text of a trace file made fit for other formats: whoever wrote the file chose its bytes. */
#pragma once

#include <stddef.h>

/* UTF-8 in, good UTF-8 out: what is not, control characters, and those that turn the direction of
 * text around become '?'. Always terminated; more than `most` characters are cut, with "..." as one
 * character at the end. */
void trace_clean(const char *in, size_t most, char *out, size_t len);
