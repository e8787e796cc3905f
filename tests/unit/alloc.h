/* SPDX-License-Identifier: MIT
 *
 * Makes an allocation of the code under test fail (linked with -Wl,--wrap). */
#pragma once

#include <stddef.h>

/* The n-th allocation from now on fails, the first is 1; 0: none does. Counting starts anew. */
void alloc_fail_at(size_t n);
/* Allocations since the last alloc_fail_at(). */
size_t alloc_count(void);
