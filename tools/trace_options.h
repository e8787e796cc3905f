/* SPDX-License-Identifier: MIT
 *
 * How a trace is written: the same words for vushim run and vushim ctl. */
#pragma once

#include "options.h"
#include "trace.h"

/* Rows for an options table; `o` is a struct trace_options that holds the defaults. */
#define TRACE_OPTION_ROWS(o)                                                                       \
    { "trace-max", "SIZE", "start a new file before this one is larger (64M, 1G; default: never)", \
      OPTION_SIZE, false,  &(o)->max },                                                            \
        { "trace-files", "N",   "keep so many: FILE, FILE.1, ... (default 5)",                     \
          OPTION_COUNT,  false, &(o)->files },                                                     \
        { "trace-redact", NULL,  "hash addresses, blank what is opaque",                           \
          OPTION_FLAG,    false, &(o)->redact },                                                   \
    {                                                                                              \
        "trace-lossless", NULL, "pause reading rather than lose a record to a slow disk",          \
            OPTION_FLAG, false, &(o)->lossless                                                     \
    }

/* False after a line on stderr in the name of `command`. */
static inline bool trace_options_valid(const char *command, const struct trace_options *o)
{
    if ((o->max == 0 || o->max >= TRACE_MAX_LEAST) && o->files <= TRACE_FILES_MOST) {
        return true;
    }
    usage_error("%s: --trace-max must be at least %u bytes, --trace-files 1 to %u", command,
                TRACE_MAX_LEAST, TRACE_FILES_MOST);
    return false;
}
