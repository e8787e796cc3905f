/* SPDX-License-Identifier: MIT
 *
 * One end of a wire: a connected socket, the message being read from it and the one being written
 * to it. At most one of each is held, so memory is bounded and a full socket stops only what feeds
 * it. */
#pragma once

#include <ev.h>

#include "frame.h"

struct side;
/* The socket can be read or written; the side may be closed inside. */
typedef void side_ready_fn(struct side *side, void *owner);

struct side {
    int fd;    /* owned; -1 when closed */
    bool deaf; /* the peer reads no more: what is for it is dropped, what it has sent is still read
                */
    struct ev_loop *loop;
    struct frame_reader reader;
    struct frame_writer writer;
    ev_io readable;
    ev_io writable;
    int hangup_fd; /* epoll on nothing but the peer's closing; -1 when not wanted */
    ev_io hung_up;
    ev_timer retry; /* for the one obstacle that the socket does not report the end of */
    side_ready_fn *on_readable;
    side_ready_fn *on_writable;
    side_ready_fn *on_hangup;
    void *owner;
    const char *name; /* for the log: "front", "back", ... */
    unsigned long received;
};

void side_init(struct side *s, struct ev_loop *loop, const char *name, side_ready_fn *on_readable,
               side_ready_fn *on_writable, side_ready_fn *on_hangup, void *owner);
/* Owns `fd` from then on. The side must be closed. Flags of the open file are left alone: it may be
 * shared with the peer's own copy. */
void side_open_take(struct side *s, int fd);
/* Stops watching, closes, forgets what was half read or written. May be repeated. */
void side_close(struct side *s);

/* Stops watching and gives the socket up: the caller owns it. -1 when there is none, or when something
 * is half read or written: then it is closed. */
int side_steal(struct side *s);

static inline bool side_is_open(const struct side *s)
{
    return s->fd >= 0;
}

/* May take a message to send. */
static inline bool side_has_room(const struct side *s)
{
    return side_is_open(s) && !s->writer.busy;
}

/* Watches for bytes, or does not. */
void side_want_read(struct side *s, bool want);
/* Watches for the peer's closing while nothing is read, or does not. */
void side_want_hangup(struct side *s, bool want);
/* A whole message to *ret_msg; `expect` and results as of frame_read(). */
int side_read(struct side *s, size_t expect, struct msg *ret_msg);
/* Sends `m` (taken; there must be room), now or as soon as the socket takes it. 0 or -errno. That
 * the peer has closed is no error here: its last messages may still wait to be read, and their end
 * tells. */
int side_send(struct side *s, struct msg *m);
/* Sends on what is in hand. 0 or -errno. */
int side_flush(struct side *s);
/* The peer has closed, whether or not there is something left to read. */
bool socket_hung_up(int fd);
