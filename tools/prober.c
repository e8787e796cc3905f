/* SPDX-License-Identifier: MIT */
#include "prober.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "check.h"
#include "frame.h"
#include "greeting.h"

struct prober {
    int fd;
    struct timespec until;
    char *why;
    size_t why_len;
};

/* What the shim understands, without any pin: what it would negotiate itself. */
static const struct interface everything = { .host = true, .max_ring = PROTOCOL_MAX_RING };

static int remaining_ms(const struct prober *p)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double s =
        (double)(p->until.tv_sec - now.tv_sec) + (double)(p->until.tv_nsec - now.tv_nsec) / 1e9;
    return s <= 0 ? 0 : (int)(s * 1000) + 1;
}

static int fail(struct prober *p, int err, const char *what, const char *why)
{
    snprintf(p->why, p->why_len, "%s: %s", what, why);
    return err;
}

static int await(struct prober *p, short events, const char *what)
{
    struct pollfd poll_fd = { .fd = p->fd, .events = events };
    int n = poll(&poll_fd, 1, remaining_ms(p));
    if (n == 0) {
        return fail(p, -ETIMEDOUT, what, "no answer in time (is another client connected to it?)");
    }
    return n < 0 ? fail(p, -errno, what, strerror(errno)) : 0;
}

static int send_message(struct prober *p, struct msg *m, const char *what)
{
    struct frame_writer w = { .busy = false };
    int err = 0;
    frame_writer_take(&w, m);
    int result = frame_write(&w, &frame_socket_ops, &p->fd);
    while (result == FRAME_AGAIN && err == 0) {
        err = await(p, POLLOUT, what);
        result = err == 0 ? frame_write(&w, &frame_socket_ops, &p->fd) : result;
    }
    frame_writer_clear(&w);
    if (err == 0 && (result == -EPIPE || result == -ECONNRESET)) {
        return fail(p, result, what, "it closed the connection (does it serve another client?)");
    }
    if (err == 0 && result < 0) {
        return fail(p, result, what, strerror(-result));
    }
    return err;
}

static int read_answer(struct prober *p, uint32_t request, const char *what, struct msg *ret_msg)
{
    struct frame_reader r = { .got = 0 };
    int err = 0;
    int result = frame_read(&r, &frame_socket_ops, &p->fd, 0, ret_msg);
    while (result == FRAME_AGAIN && err == 0) {
        err = await(p, POLLIN, what);
        result = err == 0 ? frame_read(&r, &frame_socket_ops, &p->fd, 0, ret_msg) : result;
    }
    frame_reader_clear(&r);
    if (err < 0) {
        return err;
    }
    if (result != FRAME_OK) {
        return fail(p, -EPROTO, what, "it closed the connection (does it serve another client?)");
    }
    const struct message_row *row = message_row(SPACE_FRONT, request);
    if (ret_msg->head.request != request || !msg_is_reply(ret_msg) ||
        check_message(row, true, ret_msg).result != CHECK_OK) {
        msg_clear(ret_msg);
        return fail(p, -EPROTO, what, "the answer is not what the protocol says");
    }
    return 0;
}

/* Sends a request (taken) and reads its answer. */
static int ask(struct prober *p, struct msg *m, struct msg *ret_answer)
{
    char buf[24];
    uint32_t request = m->head.request;
    const char *what = message_name(SPACE_FRONT, request, buf);
    int err = send_message(p, m, what);
    return err < 0 ? err : read_answer(p, request, what, ret_answer);
}

static int greet(struct prober *p, struct greeting *g)
{
    for (;;) {
        struct msg m = MSG_NULL;
        struct msg answer = MSG_NULL;
        int next = greeting_next(g, &everything, &m);
        if (next == GREETING_OVER || next < 0) {
            return next < 0 ? next : 0;
        }
        int err = next == GREETING_TELL ? send_message(p, &m, "SET_PROTOCOL_FEATURES")
                                        : ask(p, &m, &answer);
        msg_clear(&m);
        if (err < 0) {
            return err;
        }
        if (next == GREETING_ASK) {
            greeting_answer(g, &answer);
        }
        msg_clear(&answer);
    }
}

static int connect_to(struct prober *p, const struct endpoint *e)
{
    struct sockaddr_un address;
    if (e->kind == ENDPOINT_FD) {
        p->fd = e->fd;
        return 0;
    }
    endpoint_address(e, &address);
    p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int err = errno;
        p->fd = close_keep_errno(p->fd);
        return fail(p, -err, "cannot connect", strerror(err));
    }
    return 0;
}

int prober_run(const struct endpoint *e, double timeout, struct offer *ret_offer, char *why,
               size_t why_len)
{
    struct prober p = { .fd = -1, .why = why, .why_len = why_len };
    struct greeting g = { .step = GREETING_FEATURES, .whole_config = true };
    clock_gettime(CLOCK_MONOTONIC, &p.until);
    p.until.tv_sec += (time_t)timeout;
    p.until.tv_nsec += (long)((timeout - (double)(time_t)timeout) * 1e9);
    int err = connect_to(&p, e);
    if (err == 0) {
        err = greet(&p, &g);
    }
    if (err < 0 && g.step == GREETING_CONFIG) {
        err = 0;
    }
    if (err == 0) {
        *ret_offer = g.offer;
    }
    close_keep_errno(p.fd);
    return err;
}
