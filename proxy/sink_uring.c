/* SPDX-License-Identifier: MIT
 *
 * io_uring: an operation is one system call that returns at once (IOSQE_ASYNC: without it a write to
 * a busy disk may be done, and waited for, inside the call). The ring's own descriptor becomes
 * readable with a completion. */
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>

#include "sink.h"
#include "util.h"

struct sink {
    struct io_uring ring;
    struct ev_loop *loop;
    ev_io readable;
    bool busy;
    sink_done_fn *done;
    void *owner;
};

/* One completion, if there is one. */
static bool reap(struct sink *s, struct io_uring_cqe *cqe)
{
    int result = cqe->res;
    io_uring_cqe_seen(&s->ring, cqe);
    s->busy = false;
    s->done(s->owner, result);
    return true;
}

static void on_readable(struct ev_loop *loop, ev_io *w, int events)
{
    struct sink *s = w->data;
    struct io_uring_cqe *cqe = NULL;
    (void)loop;
    (void)events;
    if (io_uring_peek_cqe(&s->ring, &cqe) == 0 && cqe != NULL) {
        reap(s, cqe);
    }
}

/* The ring can do what a trace needs, and nothing else for good: what a ring does passes no filter of
 * system calls. Older kernels than 5.11 know no restrictions, or wait by an operation of the ring that
 * would have to be allowed, and get a thread. */
static int restrict_to_files(struct io_uring *ring)
{
    static const int needed[] = { IORING_OP_WRITE, IORING_OP_RENAMEAT, IORING_OP_OPENAT,
                                  IORING_OP_CLOSE };
    struct io_uring_restriction rows[ARRAY_SIZE(needed) + 1] = {
        { .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_ASYNC }
    };
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool all = probe != NULL && (ring->features & IORING_FEAT_EXT_ARG) != 0;
    for (size_t i = 0; all && i < ARRAY_SIZE(needed); i++) {
        all = io_uring_opcode_supported(probe, needed[i]) != 0;
        rows[i + 1] = (struct io_uring_restriction){ .opcode = IORING_RESTRICTION_SQE_OP,
                                                     .sqe_op = (uint8_t)needed[i] };
    }
    io_uring_free_probe(probe);
    if (!all) {
        return -ENOSYS;
    }
    /* liburing 2.3 declares calls of their own for both, and exports neither. */
    unsigned fd = (unsigned)ring->ring_fd;
    int err = io_uring_register(fd, IORING_REGISTER_RESTRICTIONS, rows, ARRAY_SIZE(rows));
    return err < 0 ? err : io_uring_register(fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static struct sink *start(struct ev_loop *loop, sink_done_fn *done, void *owner, int *ret_err)
{
    struct sink *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        *ret_err = -ENOMEM;
        return NULL;
    }
    *ret_err = io_uring_queue_init(2, &s->ring, IORING_SETUP_R_DISABLED);
    if (*ret_err == 0) {
        *ret_err = restrict_to_files(&s->ring);
        if (*ret_err < 0) {
            io_uring_queue_exit(&s->ring);
        }
    }
    if (*ret_err < 0) {
        free(s);
        return NULL;
    }
    fcntl(s->ring.ring_fd, F_SETFD, FD_CLOEXEC);
    s->loop = loop;
    s->done = done;
    s->owner = owner;
    ev_io_init(&s->readable, on_readable, s->ring.ring_fd, EV_READ);
    s->readable.data = s;
    ev_io_start(loop, &s->readable);
    return s;
}

static void submit(struct sink *s, const struct sink_op *op)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);
    switch (op->kind) {
    case SINK_WRITE:
        io_uring_prep_write(sqe, op->fd, op->buf, (unsigned)op->len, (uint64_t)-1);
        break;
    case SINK_RENAME:
        io_uring_prep_renameat(sqe, AT_FDCWD, op->path, AT_FDCWD, op->new_path, 0);
        break;
    case SINK_OPEN:
        io_uring_prep_openat(sqe, AT_FDCWD, op->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                             0600);
        break;
    case SINK_CLOSE:
        io_uring_prep_close(sqe, op->fd);
        break;
    }
    io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
    s->busy = true;
    int n;
    do {
        n = io_uring_submit(&s->ring);
    } while (n == -EINTR || n == -EAGAIN);
}

static bool wait_for(struct sink *s, double seconds)
{
    struct io_uring_cqe *cqe = NULL;
    struct __kernel_timespec limit = {
        .tv_sec = (long long)seconds,
        .tv_nsec = (long long)((seconds - (double)(long long)seconds) * 1e9)
    };
    if (!s->busy) {
        return true;
    }
    int err;
    do {
        err = io_uring_wait_cqe_timeout(&s->ring, &cqe, &limit);
    } while (err == -EINTR);
    return err == 0 && reap(s, cqe);
}

static void stop(struct sink *s)
{
    ev_io_stop(s->loop, &s->readable);
    io_uring_queue_exit(&s->ring);
    free(s);
}

const struct sink_ops sink_uring = {
    .name = "io_uring",
    .start = start,
    .submit = submit,
    .wait = wait_for,
    .stop = stop,
};
