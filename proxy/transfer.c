/* SPDX-License-Identifier: MIT */
#include "transfer.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "device.h"

/* Numbers of the specification: direction and phase of SET_DEVICE_STATE_FD, and its answer. */
enum { DIRECTION_SAVE, DIRECTION_LOAD };
enum { PHASE_STOPPED };
#define STATE_ERROR UINT64_C(0xff)
#define STATE_NO_FD UINT64_C(0x100)

/* A pipe's room. */
#define CHUNK ((size_t)65536)

/* `more` may be "". */
static void fail(struct device *d, const char *who, const char *what, const char *more)
{
    char why[128];
    snprintf(why, sizeof(why), "the %s back-end %s%s", who, what, more);
    transfer_stop(d);
    device_end(d, &d->next.wire.responder, ENDING_NOT_SWITCHED, why);
}

bool transfer_is_wanted(const struct device *d)
{
    return (d->record.protocol_acked & BIT(PROTOCOL_DEVICE_STATE)) != 0;
}

void transfer_stop(struct device *d)
{
    struct transfer *t = &d->switching.transfer;
    ev_io_stop(d->loop, &t->watch);
    t->from = close_keep_errno(t->from);
    t->to = close_keep_errno(t->to);
    t->step = TRANSFER_NONE;
}

/* A request with at most one descriptor (taken; -1: none) to the old back-end, or to the new one. */
static void ask_take(struct device *d, bool new, uint32_t request, const void *body, uint32_t len,
                     int fd)
{
    struct msg m = MSG_NULL;
    int err = msg_make_fd_take(request, body, len, fd, &m);
    if (err < 0) {
        fail(d, new ? "new" : "old", "cannot be asked: ", strerror(-err));
    } else if (new) {
        successor_ask_msg(d, &m);
    } else {
        err = relay_ask(&d->wire, &m, true);
        if (err < 0) {
            device_end(d, &d->wire.responder, ending_of_frame(err), strerror(-err));
        }
    }
    msg_clear(&m);
}

/* One end of a fresh pipe goes, the other stays in *ret_end. */
static void ask_for_state(struct device *d, uint32_t direction, int *ret_end)
{
    struct wire_device_state body = { .direction = direction, .phase = PHASE_STOPPED };
    bool load = direction == DIRECTION_LOAD;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        fail(d, load ? "new" : "old", "cannot be given a pipe: ", strerror(errno));
        return;
    }
    *ret_end = ends[load ? 1 : 0];
    ask_take(d, load, FRONT_SET_DEVICE_STATE_FD, &body, sizeof(body), ends[load ? 0 : 1]);
}

void transfer_begin(struct device *d)
{
    d->switching.transfer.step = TRANSFER_SAVE;
    ask_for_state(d, DIRECTION_SAVE, &d->switching.transfer.from);
}

static bool is_pipe(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

/* It may give a descriptor of its own instead of the one it was sent. One that is no pipe could keep us
 * waiting in the middle of a copy. False, and the switch has failed: it does not take part. */
static bool takes_part(struct device *d, const char *who, const char *refusal,
                       const struct msg *answer, int *end)
{
    uint64_t value;
    memcpy(&value, answer->body, sizeof(value));
    if ((value & STATE_ERROR) != 0) {
        fail(d, who, refusal, "");
        return false;
    }
    if ((value & STATE_NO_FD) != 0 || answer->fds.n == 0) {
        return true;
    }
    if (!is_pipe(answer->fds.fd[0])) {
        fail(d, who, "gives a descriptor for the state that is no pipe", "");
        return false;
    }
    close_keep_errno(*end);
    *end = fcntl(answer->fds.fd[0], F_DUPFD_CLOEXEC, 0);
    if (*end < 0) {
        fail(d, who, "has given a pipe that cannot be kept: ", strerror(errno));
        return false;
    }
    return true;
}

/* ---- copying ---- */

static bool is_readable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    return poll(&p, 1, 0) == 1;
}

/* Waits for the end that holds things up. */
static void wait_for_end(struct device *d)
{
    struct transfer *t = &d->switching.transfer;
    bool full = is_readable(t->from);
    ev_io_stop(d->loop, &t->watch);
    ev_io_set(&t->watch, full ? t->to : t->from, full ? EV_WRITE : EV_READ);
    ev_io_start(d->loop, &t->watch);
}

/* A chunk a turn: others are served in between. */
static void on_ready(struct ev_loop *loop, ev_io *w, int events)
{
    struct device *d = w->data;
    struct transfer *t = &d->switching.transfer;
    (void)loop;
    (void)events;
    ssize_t n = splice(t->from, NULL, t->to, NULL, CHUNK, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR))) {
        wait_for_end(d);
        return;
    }
    if (n < 0) {
        if (errno == EPIPE) {
            fail(d, "new", "does not read the old one's state", "");
        } else {
            fail(d, "new", "cannot be given the old one's state: ", strerror(errno));
        }
        return;
    }
    ev_io_stop(d->loop, &t->watch);
    t->from = close_keep_errno(t->from);
    t->to = close_keep_errno(t->to);
    t->step = TRANSFER_SAVED;
    ask_take(d, false, FRONT_CHECK_DEVICE_STATE, NULL, 0, -1);
}

/* ---- the order of things ---- */

static bool is_good(const struct msg *answer)
{
    uint64_t value;
    memcpy(&value, answer->body, sizeof(value));
    return value == 0;
}

bool transfer_answered(struct device *d, const struct msg *answer)
{
    struct transfer *t = &d->switching.transfer;
    switch (t->step) {
    case TRANSFER_SAVE:
        if (!takes_part(d, "old", "cannot write its state", answer, &t->from)) {
            break;
        }
        t->step = TRANSFER_LOAD;
        ask_for_state(d, DIRECTION_LOAD, &t->to);
        break;
    case TRANSFER_LOAD:
        if (!takes_part(d, "new", "cannot read the old one's state", answer, &t->to)) {
            break;
        }
        t->step = TRANSFER_COPY;
        wait_for_end(d);
        break;
    case TRANSFER_SAVED:
        if (!is_good(answer)) {
            fail(d, "old", "has not written all of its state", "");
            break;
        }
        t->step = TRANSFER_LOADED;
        ask_take(d, true, FRONT_CHECK_DEVICE_STATE, NULL, 0, -1);
        break;
    case TRANSFER_LOADED:
        if (is_good(answer)) {
            t->step = TRANSFER_NONE;
            return true;
        }
        fail(d, "new", "does not take the old one's state", "");
        break;
    case TRANSFER_NONE:
    case TRANSFER_COPY:
        break;
    }
    return false;
}

const char *transfer_waits_for(const struct device *d)
{
    const struct transfer *t = &d->switching.transfer;
    switch (t->step) {
    case TRANSFER_SAVE:
    case TRANSFER_SAVED:
        return "the old back-end does not write its state";
    case TRANSFER_COPY:
        return t->watch.fd == t->to ? "the new back-end does not read the old one's state"
                                    : "the old back-end does not write its state";
    case TRANSFER_NONE:
    case TRANSFER_LOAD:
    case TRANSFER_LOADED:
        break;
    }
    return NULL;
}

void transfer_init(struct device *d)
{
    struct transfer *t = &d->switching.transfer;
    t->from = t->to = -1;
    t->step = TRANSFER_NONE;
    ev_init(&t->watch, on_ready);
    t->watch.data = d;
}
