/* SPDX-License-Identifier: MIT */
#include "frame.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define HEAD_LEN sizeof(struct wire_header)

union control {
    struct cmsghdr align;
    char room[CMSG_SPACE(WIRE_MAX_FDS * sizeof(int))];
};

/* All descriptors of a received control message. A message of zero descriptors is legal: DPDK's
 * virtio-user attaches one to everything. */
static size_t take_fds(struct msghdr *h, int *fds)
{
    size_t n = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            size_t k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds + n, CMSG_DATA(c), k * sizeof(int));
            n += k;
        }
    }
    return n;
}

static ssize_t socket_recv(void *stream, void *buf, size_t len, int *fds, size_t *ret_n_fds,
                           bool *ret_lost)
{
    union control control;
    struct iovec iov = { .iov_base = buf, .iov_len = len };
    struct msghdr h = { .msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = control.room,
                        .msg_controllen = sizeof(control.room) };
    ssize_t n;
    do {
        n = recvmsg(*(const int *)stream, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    *ret_n_fds = h.msg_controllen > 0 ? take_fds(&h, fds) : 0;
    *ret_lost = (h.msg_flags & MSG_CTRUNC) != 0;
    return n;
}

static ssize_t socket_send(void *stream, const void *head, size_t head_len, const void *body,
                           size_t body_len, const int *fds, size_t n_fds)
{
    union control control;
    /* sendmsg reads only, but an iovec has no const. */
    union {
        const void *in;
        void *out;
    } from_head = { .in = head }, from_body = { .in = body };
    struct iovec iov[2] = { { .iov_base = from_head.out, .iov_len = head_len },
                            { .iov_base = from_body.out, .iov_len = body_len } };
    struct msghdr h = { .msg_iov = iov, .msg_iovlen = body_len > 0 ? 2 : 1 };
    if (n_fds > 0) {
        h.msg_control = control.room;
        h.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        memset(control.room, 0, h.msg_controllen);
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    ssize_t n;
    do {
        n = sendmsg(*(const int *)stream, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

const struct frame_ops frame_socket_ops = { .recv = socket_recv, .send = socket_send };

/* One read into the message: bytes to `buf`, descriptors to the message. Returns bytes read, or
 * -errno; *ret_result is set when the read decides the message's fate. */
static ssize_t read_part(struct frame_reader *r, const struct frame_ops *ops, void *stream,
                         void *buf, size_t len, int *ret_result)
{
    int fds[WIRE_MAX_FDS];
    size_t n_fds = 0;
    bool lost = false;
    ssize_t n = ops->recv(stream, buf, len, fds, &n_fds, &lost);
    if (r->msg.fds.n + n_fds > WIRE_MAX_FDS) {
        for (size_t i = 0; i < n_fds; i++) {
            close(fds[i]);
        }
        *ret_result = FRAME_TOO_MANY_FDS;
        return n;
    }
    if (n_fds > 0) {
        int err = fdset_append_take(&r->msg.fds, fds, n_fds);
        if (err < 0) {
            for (size_t i = 0; i < n_fds; i++) {
                close(fds[i]);
            }
            return err;
        }
    }
    if (lost) {
        *ret_result = FRAME_FDS_LOST;
    } else if (n == 0) {
        *ret_result = r->got == 0 ? FRAME_EOF : FRAME_CUT;
    } else if (n > 0) {
        r->got += (size_t)n;
    }
    return n;
}

/* The header is whole: is the rest worth reading, and is there room for it? */
static int accept_head(struct frame_reader *r)
{
    const struct wire_header *head = &r->msg.head;
    if ((head->flags & WIRE_VERSION_MASK) != WIRE_VERSION) {
        return FRAME_BAD_VERSION;
    }
    if (head->size > WIRE_MAX_PAYLOAD) {
        return FRAME_TOO_LARGE;
    }
    if (head->size > 0) {
        r->msg.body = malloc(head->size);
        if (r->msg.body == NULL) {
            return -ENOMEM;
        }
    }
    return FRAME_OK;
}

/* One read of at most `len` bytes. */
static int fill_once(struct frame_reader *r, const struct frame_ops *ops, void *stream,
                     uint8_t *buf, size_t len)
{
    int result = FRAME_OK;
    ssize_t n = read_part(r, ops, stream, buf, len, &result);
    if (n == -EAGAIN || n == -EWOULDBLOCK) {
        return FRAME_AGAIN;
    }
    if (n == -ECONNRESET) {
        /* The peer left with something of ours unread: an end all the same. */
        return r->got == 0 ? FRAME_EOF : FRAME_CUT;
    }
    return n < 0 ? (int)n : result;
}

/* Reads one part up to `end` (bytes of the whole message), which starts at `start`. */
static int fill(struct frame_reader *r, const struct frame_ops *ops, void *stream, uint8_t *part,
                size_t start, size_t end)
{
    int result = FRAME_OK;
    while (r->got < end && result == FRAME_OK) {
        result = fill_once(r, ops, stream, part + (r->got - start), end - r->got);
    }
    return result;
}

/* Header and an expected payload with one read. Fewer bytes than that are a beginning like any
 * other. */
static int fill_expected(struct frame_reader *r, const struct frame_ops *ops, void *stream,
                         size_t expect)
{
    uint8_t both[HEAD_LEN + FRAME_MAX_EXPECT];
    assert(expect <= FRAME_MAX_EXPECT && r->got == 0);
    int result = fill_once(r, ops, stream, both, HEAD_LEN + expect);
    if (result != FRAME_OK) {
        return result;
    }
    size_t head_len = r->got < HEAD_LEN ? r->got : HEAD_LEN;
    memcpy(&r->msg.head, both, head_len);
    if (head_len < HEAD_LEN) {
        return FRAME_OK;
    }
    size_t early = r->got - HEAD_LEN;
    result = accept_head(r);
    if (result == FRAME_OK && early > r->msg.head.size) {
        return FRAME_TOO_SHORT;
    }
    if (result == FRAME_OK && early > 0) {
        memcpy(r->msg.body, both + HEAD_LEN, early);
    }
    return result;
}

int frame_read(struct frame_reader *r, const struct frame_ops *ops, void *stream, size_t expect,
               struct msg *ret_msg)
{
    if (r->got == 0 && expect > 0) {
        int result = fill_expected(r, ops, stream, expect);
        if (result != FRAME_OK) {
            return result;
        }
    }
    if (r->got < HEAD_LEN) {
        int result = fill(r, ops, stream, (uint8_t *)&r->msg.head, 0, HEAD_LEN);
        if (result == FRAME_OK) {
            result = accept_head(r);
        }
        if (result != FRAME_OK) {
            return result;
        }
    }
    int result = fill(r, ops, stream, r->msg.body, HEAD_LEN, HEAD_LEN + r->msg.head.size);
    if (result != FRAME_OK) {
        return result;
    }
    r->got = 0;
    msg_move(ret_msg, &r->msg);
    return FRAME_OK;
}

void frame_reader_clear(struct frame_reader *r)
{
    msg_clear(&r->msg);
    r->got = 0;
}

void frame_writer_take(struct frame_writer *w, struct msg *m)
{
    assert(!w->busy);
    msg_move(&w->msg, m);
    w->sent = 0;
    w->busy = true;
}

/* One send of what is left. Descriptors go with the first byte and are closed once they have gone:
 * the receiver has its own by then, and a socket or pipe kept open here would hide an end of file.
 */
static ssize_t write_part(struct frame_writer *w, const struct frame_ops *ops, void *stream)
{
    const uint8_t *head = (const uint8_t *)&w->msg.head;
    size_t head_done = w->sent < HEAD_LEN ? w->sent : HEAD_LEN;
    size_t body_done = w->sent - head_done;
    ssize_t n = ops->send(stream, head + head_done, HEAD_LEN - head_done,
                          w->msg.body != NULL ? w->msg.body + body_done : NULL,
                          w->msg.head.size - body_done, w->msg.fds.fd, w->msg.fds.n);
    if (n > 0) {
        w->sent += (size_t)n;
        fdset_close(&w->msg.fds);
    }
    return n;
}

int frame_write(struct frame_writer *w, const struct frame_ops *ops, void *stream)
{
    while (w->busy && w->sent < HEAD_LEN + w->msg.head.size) {
        ssize_t n = write_part(w, ops, stream);
        if (n == -EAGAIN || n == -EWOULDBLOCK) {
            return FRAME_AGAIN;
        }
        if (n == -ETOOMANYREFS) {
            return FRAME_LATER;
        }
        if (n < 0) {
            return (int)n;
        }
    }
    frame_writer_clear(w);
    return FRAME_OK;
}

void frame_writer_clear(struct frame_writer *w)
{
    msg_clear(&w->msg);
    w->sent = 0;
    w->busy = false;
}
