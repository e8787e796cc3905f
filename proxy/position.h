/* SPDX-License-Identifier: MIT
 *
 * Where a ring stands whose back-end is gone, as the guest's memory and the in-flight region tell.
 *
 * Both are read with preadv2(2), never mapped: a front-end that makes its memory smaller at this moment
 * gets an error here and no SIGBUS. Nor may it hold us up: see position_is_memory(). */
#pragma once

#include "kept.h"
#include "restart.h"

/* A memfd, or a file of tmpfs or hugetlbfs: reading and writing it waits for nobody. Only these have
 * seals, and unlike fstatfs(2) to ask for them sends no question to whoever serves the file. */
bool position_is_memory(int fd);
/* The base with which a fresh back-end starts the ring (as SET_VRING_BASE says it) to *ret_base; false
 * with a reason in `why` when it cannot be known. */
bool position_of_ring(const struct record *r, const struct kept *k, size_t ring,
                      enum restart_source source, uint32_t *ret_base, char *why, size_t why_len);
