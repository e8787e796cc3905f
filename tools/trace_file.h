/* SPDX-License-Identifier: MIT
 *
 * A trace file opened for reading, and what is said when it cannot be. */
#pragma once

#include "traceformat.h"

struct trace_file {
    int fd;           /* owned */
    const char *verb; /* borrowed, for messages */
    char path[4096];
    struct trace_reader reader;
};

enum trace_file_result { TRACE_FILE_RECORD, TRACE_FILE_END, TRACE_FILE_BAD };

/* "-" is standard input, "ctl:PATH" the file that the vushim with this control socket is writing. NULL after one line on stderr ("vushim: trace VERB: PATH: ..."). */
struct trace_file *trace_file_open(const char *verb, const char *path);
/* The next record. A file that ends inside a record is at its end (a line on stderr says so); BAD
 * after a line that says what is wrong and where. With `live` an end is not final: it returns END
 * without a word, and may be asked again. */
enum trace_file_result trace_file_next(struct trace_file *f, bool live,
                                       struct trace_record *ret_record);
/* NULL is allowed; returns NULL. */
struct trace_file *trace_file_close(struct trace_file *f);
