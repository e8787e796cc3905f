/* SPDX-License-Identifier: MIT
 *
 * What a trace says of descriptors: what they are, never what is in them. */
#pragma once

#include "traceformat.h"

/* Describes the descriptors of a message; how many. Costs some system calls for each. */
size_t trace_describe_fds(enum wire_space space, const struct msg *m, struct trace_fd *ret_fds);
