/* SPDX-License-Identifier: MIT
 *
 * The daemon: one event loop that serves a device until a signal ends it. */
#pragma once

#include "device.h"
#include "sandbox.h"

struct run_options {
    struct device_options device;
    bool has_control;
    struct endpoint control; /* where the control socket listens */
    struct sandbox_options sandbox;
};

/* Exit status: 0 after SIGTERM, SIGINT, quit or the end of a device on connected descriptors; 1 when
 * the back-end does not meet the expectation; 2 when it cannot start, which has been said on stderr. */
int run(const struct run_options *options);

/* One row of what holds for a vushim that was started so. */
typedef void run_row_fn(const char *name, const char *text);
/* Enters the sandbox and says what holds, without a socket. Exit status. */
int run_print_sandbox(const struct run_options *options, run_row_fn *row);
