/* SPDX-License-Identifier: MIT
 *
 * The back-end channel. The front-end hands the back-end a socket on which the back-end makes
 * requests of its own. vushim keeps that socket and gives the back-end one end of a new pair, so
 * that it can see, check and relay what is said there too. The wire is served independently of the
 * main one: many back-ends wait for an answer here while the front-end waits for theirs there. */
#include <sys/socket.h>

#include "device.h"

/* User-mode Linux hands over a pipe; anything but a unix stream socket is none of our business. */
static bool is_stream_socket(int fd)
{
    int domain = 0;
    int type = 0;
    socklen_t len = sizeof(domain);
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

int channel_take(struct device *d, struct msg *m)
{
    int pair[2];
    if (m->fds.n != 1 || !is_stream_socket(m->fds.fd[0])) {
        return 0;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        return -errno;
    }
    relay_close(&d->channel);
    side_open_take(&d->channel.responder, fdset_steal(&m->fds, 0));
    side_open_take(&d->channel.requester, pair[0]);
    int err = fdset_append_take(&m->fds, &pair[1], 1);
    if (err < 0) {
        close(pair[1]);
        return err;
    }
    relay_open(&d->channel, &d->wire.rewrite, &d->record);
    relay_update(&d->channel);
    return 0;
}

/* Keeps the front-end's socket for a back-end that is not there yet. */
int channel_keep(struct device *d, struct msg *m)
{
    if (m->fds.n != 1 || !is_stream_socket(m->fds.fd[0])) {
        return 0;
    }
    relay_close(&d->channel);
    side_open_take(&d->channel.responder, fdset_steal(&m->fds, 0));
    return 0;
}

int channel_offer(struct device *d, struct msg *ret_msg, int *ret_fd)
{
    int pair[2];
    struct msg m = MSG_NULL;
    if (!side_is_open(&d->channel.responder)) {
        return 0;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        return -errno;
    }
    int err = msg_make_fd_take(FRONT_SET_BACKEND_REQ_FD, NULL, 0, pair[1], &m);
    if (err < 0) {
        close(pair[0]);
        return err;
    }
    msg_clear(ret_msg);
    msg_move(ret_msg, &m);
    close_keep_errno(*ret_fd);
    *ret_fd = pair[0];
    return 1;
}

/* Takes back towards the front-end what a lost back-end had announced, as far as there is room. */
static void withdraw(struct device *d)
{
    struct record *r = &d->record;
    while (r->n_announced > 0 && side_has_room(&d->channel.responder)) {
        const struct record_announced *a = &r->announced[--r->n_announced];
        struct msg m = MSG_NULL;
        int err = msg_make(a->withdrawal, 0, a->body, a->size, &m);
        err = err < 0 ? err : relay_ask(&d->channel, &m, false);
        msg_clear(&m);
        if (err < 0) {
            log_warn(d->options.name, "front channel", "cannot be told what is gone: %s",
                     strerror(-err));
        }
    }
}

int channel_steal(struct device *d)
{
    int fd = side_steal(&d->channel.requester);
    answers_swallow(&d->channel.answers);
    relay_update(&d->channel);
    withdraw(d);
    return fd;
}

void channel_lose_back(struct device *d)
{
    close_keep_errno(channel_steal(d));
}

void channel_attach_take(struct device *d, int fd)
{
    side_close(&d->channel.requester);
    answers_swallow(&d->channel.answers);
    if (fd < 0 || !side_is_open(&d->channel.responder)) {
        close_keep_errno(fd);
        return;
    }
    side_open_take(&d->channel.requester, fd);
    relay_open(&d->channel, &d->wire.rewrite, &d->record);
    relay_update(&d->channel);
}

/* Either side may close its channel while the device goes on; then the other end is closed too, as
 * it would be without us. Anything worse ends the device's life. */
static void channel_end(struct relay *r, struct side *side, enum ending ending, const char *detail)
{
    struct device *d = r->owner;
    bool closed = ending == ENDING_LEFT || ending == ENDING_CUT;
    if (closed && side == &r->requester && d->wire.keeps) {
        side_close(side); /* the front-end's end stays, for the next back-end */
        answers_swallow(&r->answers);
        return;
    }
    if (closed && !d->closing) {
        log_debug(d->options.name, side->name, "%s %s [%s]", ending_rows[ending].text, detail,
                  ending_rows[ending].name);
        trace_put_text(r->trace, TRACE_ENDING, relay_wire(r, side), ending_rows[ending].name,
                       detail);
        relay_close(r);
        return;
    }
    device_end(d, side, ending, detail);
}

static void channel_refused(struct relay *r, const char *detail)
{
    struct device *d = r->owner;
    d->wire.hooks->refused(r, detail);
}

/* Announcements are kept in mind: they end with the back-end. */
static int channel_passing(struct relay *r, const struct message_row *row, struct msg *m)
{
    struct device *d = r->owner;
    record_announcement(&d->record, row, m);
    return 0;
}

static void channel_drained(struct relay *r)
{
    struct device *d = r->owner;
    if (d->wire.alone) {
        withdraw(d);
    }
    d->wire.hooks->drained(&d->wire);
}

static void channel_slow(struct relay *r, const struct answer *answer, double seconds,
                         bool replaced)
{
    struct device *d = r->owner;
    d->wire.hooks->slow(r, answer, seconds, replaced);
}

/* Nothing here is exchanged or answered alone. */
const struct relay_hooks channel_hooks = {
    .end = channel_end,
    .refused = channel_refused,
    .passing = channel_passing,
    .drained = channel_drained,
    .slow = channel_slow,
};
