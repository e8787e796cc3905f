/* SPDX-License-Identifier: MIT
 *
 * How many descriptors a device can come to hold, and whether there are as many.
 *
 * All of it is bounded: a side holds at most one message being read and one being written, the record
 * names one descriptor a region, three a ring and one for a few messages, and everything else is
 * vushim's own. */
#pragma once

#include "device.h"

/* Of everything at once. */
size_t capacity_descriptors(const struct device_options *options, bool has_control);
/* Without peers, and with the largest message there can be. */
size_t capacity_descriptors_least(void);
/* Raises this process's limit as far as it may, and says what that is. 0, or -errno with a reason in
 * `why`: it is too low for anything. When it is below `need`, which *ret_short says, peers may come to
 * be refused messages. */
int capacity_raise(size_t need, size_t *ret_limit, bool *ret_short, char *why, size_t why_len);
