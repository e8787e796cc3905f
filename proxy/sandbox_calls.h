/* SPDX-License-Identifier: MIT
 *
 * Which system calls there are from now on (sandbox_calls.def). */
#pragma once

#include <stddef.h>

/* For all threads of this process, for good. 0, or -errno. */
int sandbox_calls_limit(void);
/* How many rows allow something. */
size_t sandbox_calls_count(void);
