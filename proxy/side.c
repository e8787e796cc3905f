/* SPDX-License-Identifier: MIT */
#include "side.h"

#include <poll.h>

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

static void retry(struct ev_loop *loop, ev_timer *w, int events)
{
    struct side *s = w->data;
    (void)loop;
    (void)events;
    s->on_writable(s, s->owner);
}

void side_init(struct side *s, struct ev_loop *loop, const char *name, side_ready_fn *on_readable,
               side_ready_fn *on_writable, void *owner)
{
    *s = (struct side){ .fd = -1,
                        .loop = loop,
                        .name = name,
                        .on_readable = on_readable,
                        .on_writable = on_writable,
                        .owner = owner };
    ev_init(&s->readable, readable);
    ev_init(&s->writable, writable);
    ev_timer_init(&s->retry, retry, RETRY_S, 0);
    s->readable.data = s;
    s->writable.data = s;
    s->retry.data = s;
}

void side_open_take(struct side *s, int fd)
{
    assert(s->fd < 0);
    s->fd = fd;
    s->received = 0;
    ev_io_set(&s->readable, fd, EV_READ);
    ev_io_set(&s->writable, fd, EV_WRITE);
}

void side_close(struct side *s)
{
    if (s->fd < 0) {
        return;
    }
    ev_io_stop(s->loop, &s->readable);
    ev_io_stop(s->loop, &s->writable);
    ev_timer_stop(s->loop, &s->retry);
    s->fd = close_keep_errno(s->fd);
    frame_reader_clear(&s->reader);
    frame_writer_clear(&s->writer);
}

void side_want_read(struct side *s, bool want)
{
    if (want && side_is_open(s)) {
        ev_io_start(s->loop, &s->readable);
    } else {
        ev_io_stop(s->loop, &s->readable);
    }
}

int side_read(struct side *s, struct msg *ret_msg)
{
    int result = frame_read(&s->reader, &frame_socket_ops, &s->fd, ret_msg);
    s->received += result == FRAME_OK ? 1 : 0;
    return result;
}

int side_send(struct side *s, struct msg *m)
{
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
    return result;
}

bool side_hung_up(const struct side *s)
{
    struct pollfd p = { .fd = s->fd, .events = POLLRDHUP };
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0;
}
