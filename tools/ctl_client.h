/* SPDX-License-Identifier: MIT
 *
 * A client of the control socket: one command, one answer. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/* The answer of the vushim that listens at `path`: an object with "return" or "error" (a new
 * reference). NULL after a line on stderr, in the name of `command`. */
json_t *ctl_ask(const char *command, const char *path, const char *execute);
/* The same with arguments (given up; may be NULL); patient: the answer may take its time. */
json_t *ctl_ask_with(const char *command, const char *path, const char *execute, json_t *arguments,
                     bool patient);
