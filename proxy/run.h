/* SPDX-License-Identifier: MIT
 *
 * The daemon: one event loop that serves a device until a signal ends it. */
#pragma once

#include "device.h"

/* `control` is where the control socket listens; NULL: there is none. Exit status: 0 after SIGTERM,
 * SIGINT, quit or the end of a device on connected descriptors; 1 when the back-end does not meet
 * the expectation; 2 when it cannot start, which has been said on stderr. */
int run(const struct device_options *options, const struct endpoint *control);
