/* SPDX-License-Identifier: MIT */
#include "side.h"

#include <poll.h>
#include <sys/epoll.h>

/* How long to wait for descriptors in flight to arrive (unix(7), ETOOMANYREFS). */
#define RETRY_S 0.01

static void readable(struct ev_loop *loop, ev_io *w, int events)
{
    struct side *s = w->data;
    (void)loop;
    (void)events;
    s->on_readable(s, s->owner);
}

static void writable(struct ev_loop *loop, ev_io *w, int events)
{
    struct side *s = w->data;
    (void)loop;
    (void)events;
    s->on_writable(s, s->owner);
}

static void hung_up(struct ev_loop *loop, ev_io *w, int events)
{
    struct side *s = w->data;
    (void)loop;
    (void)events;
    s->on_hangup(s, s->owner);
}

static void retry(struct ev_loop *loop, ev_timer *w, int events)
{
    struct side *s = w->data;
    (void)loop;
    (void)events;
    s->on_writable(s, s->owner);
}

void side_init(struct side *s, struct ev_loop *loop, const char *name, side_ready_fn *on_readable,
               side_ready_fn *on_writable, side_ready_fn *on_hangup, void *owner)
{
    *s = (struct side){ .fd = -1,
                        .hangup_fd = -1,
                        .loop = loop,
                        .name = name,
                        .on_readable = on_readable,
                        .on_writable = on_writable,
                        .on_hangup = on_hangup,
                        .owner = owner };
    ev_init(&s->readable, readable);
    ev_init(&s->writable, writable);
    ev_init(&s->hung_up, hung_up);
    ev_timer_init(&s->retry, retry, RETRY_S, 0);
    s->readable.data = s;
    s->writable.data = s;
    s->hung_up.data = s;
    s->retry.data = s;
}

void side_open_take(struct side *s, int fd)
{
    assert(s->fd < 0);
    s->fd = fd;
    s->deaf = false;
    s->received = 0;
    ev_io_set(&s->readable, fd, EV_READ);
    ev_io_set(&s->writable, fd, EV_WRITE);
}

static void stop_watching(struct side *s)
{
    side_want_hangup(s, false);
    ev_io_stop(s->loop, &s->readable);
    ev_io_stop(s->loop, &s->writable);
    ev_timer_stop(s->loop, &s->retry);
}

void side_close(struct side *s)
{
    if (s->fd < 0) {
        return;
    }
    stop_watching(s);
    s->fd = close_keep_errno(s->fd);
    frame_reader_clear(&s->reader);
    frame_writer_clear(&s->writer);
}

int side_steal(struct side *s)
{
    if (s->fd < 0) {
        return -1;
    }
    if (s->reader.got > 0 || s->writer.busy) {
        side_close(s);
        return -1;
    }
    stop_watching(s);
    return steal_fd(&s->fd);
}

void side_want_read(struct side *s, bool want)
{
    if (want && side_is_open(s)) {
        ev_io_start(s->loop, &s->readable);
    } else {
        ev_io_stop(s->loop, &s->readable);
    }
}

/* libev knows reading and writing only, and a socket with unread bytes is always readable. An epoll
 * of its own, asked for the hang-up alone, becomes readable when the peer has closed. */
void side_want_hangup(struct side *s, bool want)
{
    if (want == (s->hangup_fd >= 0) || (want && !side_is_open(s))) {
        return;
    }
    if (!want) {
        ev_io_stop(s->loop, &s->hung_up);
        s->hangup_fd = close_keep_errno(s->hangup_fd);
        return;
    }
    struct epoll_event event = { .events = EPOLLRDHUP };
    CLEANUP_CLOSE int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0 || epoll_ctl(fd, EPOLL_CTL_ADD, s->fd, &event) < 0) {
        return; /* the closing is then seen when reading begins */
    }
    s->hangup_fd = steal_fd(&fd);
    ev_io_set(&s->hung_up, s->hangup_fd, EV_READ);
    ev_io_start(s->loop, &s->hung_up);
}

int side_read(struct side *s, size_t expect, struct msg *ret_msg)
{
    int result = frame_read(&s->reader, &frame_socket_ops, &s->fd, expect, ret_msg);
    s->received += result == FRAME_OK ? 1 : 0;
    return result;
}

int side_send(struct side *s, struct msg *m)
{
    if (s->deaf) {
        msg_clear(m);
        return 0;
    }
    frame_writer_take(&s->writer, m);
    return side_flush(s);
}

int side_flush(struct side *s)
{
    int result = frame_write(&s->writer, &frame_socket_ops, &s->fd);
    if (result == FRAME_AGAIN) {
        ev_io_start(s->loop, &s->writable);
        return 0;
    }
    if (result == FRAME_LATER) {
        ev_io_stop(s->loop, &s->writable);
        ev_timer_set(&s->retry, RETRY_S, 0);
        ev_timer_start(s->loop, &s->retry);
        return 0;
    }
    ev_io_stop(s->loop, &s->writable);
    if (result == -EPIPE || result == -ECONNRESET) {
        s->deaf = true;
        frame_writer_clear(&s->writer);
        return 0;
    }
    return result;
}

bool socket_hung_up(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLRDHUP };
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0;
}
