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
/* Asks for a trace in a file that this process has opened (borrowed), whatever the other one may open
 * itself. `arguments` are given up. */
json_t *ctl_ask_for_trace(const char *command, const char *path, json_t *arguments, int file);
/* Opens the file of such a trace. What is in it stays until the trace begins; *ret_made: it was not
 * there before. A descriptor or -errno. */
int ctl_open_trace(const char *file, bool *ret_made);
