/* SPDX-License-Identifier: MIT
 *
 * Whole messages from and to a byte stream that carries descriptors, resumable at every byte.
 *
 * What the kernel does with descriptors on an AF_UNIX stream forces the shape (each fact is shown
 * by a program in tests/platform):
 *   - a long recvmsg may glue a plain message to a later one that has descriptors, and hands over
 *     the later one's. So a read asks for the header, then for the payload, never for more.
 *   - descriptors come with the first byte of what they were sent with, even to a read of one byte.
 *     So every read takes them, and all that came during a message belong to that message.
 *   - too little control room, or no free descriptor number, drops some of them and says
 * MSG_CTRUNC. So there is always room for all that one message can carry, and a truncated one is an
 * error.
 *   - back-ends read header and payload with one call each and give up on a short one.
 *     So a message leaves in one sendmsg, and only the kernel can split it. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "message.h"

enum frame_result {
    FRAME_OK,       /* a whole message was read or written */
    FRAME_AGAIN,    /* the stream has no more bytes, or takes none, for now */
    FRAME_LATER,    /* too many descriptors in flight: try again in a moment, no event will tell */
    FRAME_EOF,      /* end of the stream, between messages */
    FRAME_CUT,      /* end of the stream inside a message */
    FRAME_FDS_LOST, /* the kernel dropped descriptors: this process has too many, or the sender */
    FRAME_TOO_MANY_FDS, /* more than one message may carry, in pieces */
    FRAME_BAD_VERSION,  /* version bits are not 1: this is no vhost-user */
    FRAME_TOO_LARGE,    /* payload above WIRE_MAX_PAYLOAD */
    FRAME_TOO_SHORT,    /* shorter than the only message that may come now, and more behind it */
};

/* Where bytes come from and go to. Both calls never block, transfer 0 < n <= len bytes, and return
 * n, 0 at the end of the stream (recv), or -errno (-EAGAIN, -EPIPE, -ECONNRESET, ...). */
struct frame_ops {
    /* Fills fds[*ret_n_fds ...], at most WIRE_MAX_FDS; *ret_lost when the kernel dropped some.
     * The caller owns what came. */
    ssize_t (*recv)(void *stream, void *buf, size_t len, int *fds, size_t *ret_n_fds,
                    bool *ret_lost);
    /* Sends head and body as one piece; fds (borrowed) go with the first byte. */
    ssize_t (*send)(void *stream, const void *head, size_t head_len, const void *body,
                    size_t body_len, const int *fds, size_t n_fds);
};

/* A socket: `stream` points to its descriptor (int). */
extern const struct frame_ops frame_socket_ops;

/* The message being read. `got` counts its bytes, header included. */
struct frame_reader {
    struct msg msg;
    size_t got;
};

/* The message being written. Busy while it holds one. */
struct frame_writer {
    struct msg msg;
    size_t sent;
    bool busy;
};

/* The largest payload that frame_read() can be told to expect. */
#define FRAME_MAX_EXPECT 8

/* Reads on. FRAME_OK moves the message to *ret_msg, which must hold nothing; the caller owns it.
 * At most one read per step of a message: header, then payload. Negative: -errno of the stream.
 * After anything but FRAME_OK and FRAME_AGAIN the stream is of no more use.
 *
 * `expect` is 0, or the payload size (up to FRAME_MAX_EXPECT) that the next message must have: then
 * both are asked for in one read. A longer message is read on as usual. A shorter one that is
 * followed by other bytes cannot be told apart from them with certainty, descriptors included, but
 * is the peer's fault anyway: FRAME_TOO_SHORT. */
int frame_read(struct frame_reader *r, const struct frame_ops *ops, void *stream, size_t expect,
               struct msg *ret_msg);
/* Drops a half-read message and its descriptors. May be repeated. */
void frame_reader_clear(struct frame_reader *r);

/* Takes a message to be written; the writer must not be busy. */
void frame_writer_take(struct frame_writer *w, struct msg *m);
/* Writes on: FRAME_OK when the message is gone (or there is none), FRAME_AGAIN, FRAME_LATER, or
 * -errno. */
int frame_write(struct frame_writer *w, const struct frame_ops *ops, void *stream);
void frame_writer_clear(struct frame_writer *w);
