/* SPDX-License-Identifier: MIT
 *
 * Files off the event loop: one operation at a time is handed over, and its result is told in a turn
 * of the loop. Two ways of doing it, io_uring and a thread; the second for where the first is
 * forbidden or missing. */
#pragma once

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sink_op_kind { SINK_WRITE, SINK_RENAME, SINK_OPEN, SINK_CLOSE };

/* What it points to must hold until the result is there. */
struct sink_op {
    enum sink_op_kind kind;
    int fd;          /* WRITE (appends), CLOSE */
    const void *buf; /* WRITE */
    size_t len;
    const char *path;     /* RENAME, OPEN (created, emptied, for writing only) */
    const char *new_path; /* RENAME */
};

struct sink;
/* The result of the operation as of the system call: a number, or -errno. */
typedef void sink_done_fn(void *owner, int64_t result);

struct sink_ops {
    const char *name;
    /* NULL when this way is not to be had: *ret_err is -errno then. */
    struct sink *(*start)(struct ev_loop *loop, sink_done_fn *done, void *owner, int *ret_err);
    /* Only when nothing is under way. */
    void (*submit)(struct sink *s, const struct sink_op *op);
    /* Waits for what is under way, at most so long; its result is told from inside. False: it is
     * not over. */
    bool (*wait)(struct sink *s, double seconds);
    /* Nothing more is told. What is under way and does not end (a dead disk) is left to the kernel. */
    void (*stop)(struct sink *s);
};

extern const struct sink_ops sink_uring;
extern const struct sink_ops sink_thread;

/* Opens as SINK_OPEN does, here and now. A descriptor or -errno. */
int sink_open_now(const char *path);
