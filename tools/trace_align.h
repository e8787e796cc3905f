/* SPDX-License-Identifier: MIT
 *
 * Two sequences of keys side by side, so that as many as can be are opposite their equal (a longest
 * common subsequence). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define ALIGN_MOST 4000 /* keys of a side: the table has two bytes for each pair */
#define ALIGN_NONE SIZE_MAX

/* For each of `n` keys of `a` the place of its partner in `b`, or ALIGN_NONE. Neither side may have
 * more than ALIGN_MOST. -ENOMEM. */
int trace_align(const uint64_t *a, size_t n, const uint64_t *b, size_t m, size_t *ret_partners);
