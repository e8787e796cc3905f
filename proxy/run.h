/* SPDX-License-Identifier: MIT
 *
 * The daemon: one event loop that serves a device until a signal ends it. */
#pragma once

#include "device.h"

/* Exit status: 0 after SIGTERM, SIGINT or the end of a device on connected descriptors; 2 when it
 * cannot start, which has been said on stderr. */
int run(const struct device_options *options);
