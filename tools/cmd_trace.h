/* SPDX-License-Identifier: MIT
 *
 * The subcommands of vushim trace: one function a verb, each in a file of its own. */
#pragma once

#include "options.h"

struct trace_options {
    bool json, follow, all;
    const char *filter, *format, *output;
    const char *front, *back; /* replay: endpoints as written */
    const char *wire, *life;  /* replay: which conversation */
    double timeout;           /* replay: for each answer */
};

/* Each returns the exit status. `words` are those behind the verb. */
int trace_show(const struct trace_options *o, const char *const *words);
int trace_diagram(const struct trace_options *o, const char *const *words);
int trace_diff(const struct trace_options *o, const char *const *words);
int trace_replay(const struct trace_options *o, const char *const *words);
