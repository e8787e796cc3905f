/* SPDX-License-Identifier: MIT
 *
 * Writes what a device's wires carry to a file (traceformat.h). The relay's part is to copy a record
 * into a buffer of a fixed pool; everything that may wait for a disk happens behind a sink. When no
 * buffer is free, records are counted, and a gap record says how many as soon as there is room; or,
 * if that is wished, reading pauses until there is.
 *
 *   records -> current buffer -> queue -> sink -> FILE
 *
 * A buffer is handed over when it is full or FLUSH_S old. Rotation is a row of operations of the sink
 * between two buffers. A write that fails (a full disk) is tried again from where it stopped, so the
 * file never has half a record inside. */
#pragma once

#include "feature.h"
#include "traceformat.h"
#include "sink.h"

struct trace_options {
    const char *path; /* NULL: no trace */
    bool has_fd;      /* the file is open already: */
    int fd;           /* the trace's own, once it has begun */
    bool confined;    /* not every folder can be written to, which an error should say */
    uint64_t max;     /* bytes of a file, 0: no limit */
    unsigned files;   /* how many are kept, the one being written included; at least 1 */
    bool redact;   /* addresses become keyed hashes; what has no meaning by the tables is blanked */
    bool lossless; /* reading pauses rather than that a record is lost */
};

#define TRACE_MAX_LEAST 65536u
#define TRACE_FILES_DEFAULT 5u
#define TRACE_FILES_MOST 1000u

struct trace;
/* There is room again after trace_is_full(). */
typedef void trace_room_fn(void *owner);

/* Opens the file and writes its head. `name` is the device's, for the file and the log; strings of
 * `options` are copied. NULL with a reason in `why`. */
struct trace *trace_start(struct ev_loop *loop, const struct trace_options *options,
                          const char *name, trace_room_fn *room, void *owner, char *why,
                          size_t why_len);
/* Writes what is in hand, waiting at most a few seconds for a disk, and ends. NULL is allowed. */
void trace_stop(struct trace *t);

/* Of the device: kind and connection that records carry from now on. */
void trace_of(struct trace *t, enum device_type device, uint32_t life);
/* The functions below do nothing when `t` is NULL. */
void trace_put_message(struct trace *t, enum trace_wire wire, bool sent, const struct msg *m);
void trace_put_text(struct trace *t, enum trace_kind kind, enum trace_wire wire, const char *name,
                    const char *text);
/* Only with `lossless`: a message that is read now might not find room. */
bool trace_is_full(const struct trace *t);

struct trace_status {
    const char *path, *sink;
    uint64_t records, lost, bytes;
    int error; /* -errno of the last write while it keeps failing, else 0 */
};
struct trace_status trace_status(const struct trace *t);
