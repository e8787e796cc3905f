/* SPDX-License-Identifier: MIT
 *
 * A thread that does one operation at a time. It shares with the loop only the operation and its
 * result, under one lock; an eventfd tells the loop. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>

#include "sink.h"
#include "util.h"

enum state { IDLE, ASKED, DONE, QUIT };

struct sink {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum state state;
    struct sink_op op;
    int64_t result;
    int event_fd; /* owned */
    struct ev_loop *loop;
    ev_io readable;
    sink_done_fn *done;
    void *owner;
};

int sink_open_now(const char *path)
{
    /* Without waiting for the reader of a fifo, but later writes do wait. */
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0) {
        return -errno;
    }
    fcntl(fd, F_SETFL, 0);
    return fd;
}

static int64_t perform(const struct sink_op *op)
{
    int64_t n = -1;
    switch (op->kind) {
    case SINK_WRITE:
        n = write(op->fd, op->buf, op->len);
        break;
    case SINK_RENAME:
        n = rename(op->path, op->new_path);
        break;
    case SINK_OPEN:
        return sink_open_now(op->path);
    case SINK_CLOSE:
        n = close(op->fd);
        break;
    }
    return n < 0 ? -errno : n;
}

static void *work(void *arg)
{
    struct sink *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (s->state != ASKED && s->state != QUIT) {
            pthread_cond_wait(&s->changed, &s->lock);
        }
        if (s->state == QUIT) {
            break;
        }
        struct sink_op op = s->op;
        pthread_mutex_unlock(&s->lock);
        int64_t result = perform(&op);
        pthread_mutex_lock(&s->lock);
        if (s->state == QUIT) {
            break;
        }
        s->result = result;
        s->state = DONE;
        pthread_cond_broadcast(&s->changed);
        (void)eventfd_write(s->event_fd, 1);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static bool take_result(struct sink *s, int64_t *ret_result)
{
    eventfd_t count;
    pthread_mutex_lock(&s->lock);
    bool done = s->state == DONE;
    if (done) {
        s->state = IDLE;
        *ret_result = s->result;
        (void)eventfd_read(s->event_fd, &count);
    }
    pthread_mutex_unlock(&s->lock);
    return done;
}

static void on_readable(struct ev_loop *loop, ev_io *w, int events)
{
    struct sink *s = w->data;
    int64_t result;
    (void)loop;
    (void)events;
    if (take_result(s, &result)) {
        s->done(s->owner, result);
    }
}

/* Signals are for the loop's thread. */
static int create_thread(struct sink *s)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&s->thread, NULL, work, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -err;
}

static struct sink *start(struct ev_loop *loop, sink_done_fn *done, void *owner, int *ret_err)
{
    struct sink *s = calloc(1, sizeof(*s));
    *ret_err = -ENOMEM;
    if (s == NULL) {
        return NULL;
    }
    s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->loop = loop;
    s->done = done;
    s->owner = owner;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    *ret_err = s->event_fd < 0 ? -errno : create_thread(s);
    if (*ret_err < 0) {
        close_keep_errno(s->event_fd);
        free(s);
        return NULL;
    }
    ev_io_init(&s->readable, on_readable, s->event_fd, EV_READ);
    s->readable.data = s;
    ev_io_start(loop, &s->readable);
    return s;
}

static void submit(struct sink *s, const struct sink_op *op)
{
    pthread_mutex_lock(&s->lock);
    s->op = *op;
    s->state = ASKED;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static bool wait_for(struct sink *s, double seconds)
{
    struct timespec until;
    int64_t result;
    int err = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)seconds + 1;
    pthread_mutex_lock(&s->lock);
    while (s->state == ASKED && err == 0) {
        err = pthread_cond_timedwait(&s->changed, &s->lock, &until);
    }
    pthread_mutex_unlock(&s->lock);
    if (err == 0 && take_result(s, &result)) {
        s->done(s->owner, result);
    }
    return err == 0;
}

/* A thread that hangs in a dead disk is left behind, and what it uses with it. */
static void stop(struct sink *s)
{
    ev_io_stop(s->loop, &s->readable);
    pthread_mutex_lock(&s->lock);
    bool hangs = s->state == ASKED;
    s->state = QUIT;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (hangs) {
        pthread_detach(s->thread);
        return;
    }
    pthread_join(s->thread, NULL);
    close(s->event_fd);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const struct sink_ops sink_thread = {
    .name = "thread",
    .start = start,
    .submit = submit,
    .wait = wait_for,
    .stop = stop,
};
