/* SPDX-License-Identifier: MIT */
#include "replay_play.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* How long to wait for descriptors in flight to arrive (unix(7), ETOOMANYREFS). */
#define RETRY_MS 10

void replay_init_take(struct replay *r, const struct replay_script *script, int fd, double timeout)
{
    *r = (struct replay){ .script = script, .main = fd, .channel = -1, .timeout = timeout };
    standins_init(&r->fds);
}

static void open_channel_take(struct replay *r, int fd)
{
    close_keep_errno(r->channel);
    frame_reader_clear(&r->channel_reader);
    r->channel = fd;
}

void replay_deinit(struct replay *r)
{
    open_channel_take(r, -1);
    frame_reader_clear(&r->main_reader);
    r->main = close_keep_errno(r->main);
    standins_deinit(&r->fds);
}

static const struct replay_step *end_of(const struct replay *r)
{
    return r->script->steps + r->script->n;
}

/* The channel's next step, NULL at the end. */
static const struct replay_step *channel_step(struct replay *r)
{
    const struct replay_step *steps = r->script->steps;
    while (r->channel_at < r->script->n && steps[r->channel_at].space != SPACE_BACK) {
        r->channel_at++;
    }
    return r->channel_at < r->script->n ? &steps[r->channel_at] : NULL;
}

static int until_ms(double end)
{
    double left = end - monotonic_s();
    return left <= 0 ? 0 : (int)(left * 1000) + 1;
}

/* ---- saying ---- */

/* What a split ring begins with lies in guest memory, which is all zeroes here: a back-end that
 * began elsewhere would find requests where there are none. Zeroed packed rings have none wherever. */
static void adapt(struct replay *r, const struct message_row *row, struct msg *m)
{
    if (row == NULL || msg_is_reply(m) || !r->script->as_front) {
        return;
    }
    const struct field *features = field_of_kind(&payloads[row->payload], KIND_FEATURES);
    const struct field *base = field_of_kind(&payloads[row->payload], KIND_RING_BASE);
    if (features != NULL && field_present(m, features)) {
        r->packed = (field_get(m, features) & BIT(RING_RING_PACKED)) != 0;
    }
    if (base != NULL && field_present(m, base) && field_get(m, base) != 0 && !r->packed &&
        (row->traits & STOPS_RING) == 0) {
        field_set(m, base, 0);
        r->n_rings_reset++;
    }
}

static int write_message(struct replay *r, int fd, const struct replay_step *step, struct msg *m,
                         struct difference *d)
{
    struct frame_writer w = { .busy = false };
    double end = monotonic_s() + r->timeout;
    frame_writer_take(&w, m);
    int result = frame_write(&w, &frame_socket_ops, &fd);
    while ((result == FRAME_AGAIN || result == FRAME_LATER) && until_ms(end) > 0) {
        struct pollfd p = { .fd = fd, .events = POLLOUT };
        poll(&p, result == FRAME_AGAIN, result == FRAME_AGAIN ? until_ms(end) : RETRY_MS);
        result = frame_write(&w, &frame_socket_ops, &fd);
    }
    frame_writer_clear(&w);
    if (result == FRAME_OK || result == -EMFILE || result == -ENOMEM) {
        return result;
    }
    replay_differs(d, step,
                   result == FRAME_AGAIN || result == FRAME_LATER
                       ? "the peer takes no message for %g s"
                       : "the peer has closed the connection",
                   r->timeout);
    return REPLAY_DIFFERS;
}

static int say(struct replay *r, int fd, const struct replay_step *step, struct difference *d)
{
    struct msg m = MSG_NULL;
    int err = msg_make(step->head.request, 0, step->body, step->head.size, &m);
    if (err == 0) {
        m.head = step->head;
        adapt(r, message_row(step->space, step->head.request), &m);
        err = standins_attach(&r->fds, step, &m);
    }
    if (err == 0) {
        err = write_message(r, fd, step, &m, d);
    }
    msg_clear(&m);
    if (err == 0 && r->fds.channel >= 0) {
        open_channel_take(r, steal_fd(&r->fds.channel));
    }
    r->n_played += err == 0;
    return err;
}

/* ---- hearing ---- */

static void keep_fds(struct replay *r, const struct replay_step *step, const struct msg *m)
{
    for (size_t i = 0; i < m->fds.n && i < step->n_fds; i++) {
        bool channel = step->fds[i].role == ROLE_CHANNEL;
        if (!channel && !replay_script_resends(r->script, step, &step->fds[i])) {
            continue;
        }
        int fd = fcntl(m->fds.fd[i], F_DUPFD_CLOEXEC, 0);
        if (fd >= 0 && channel) {
            open_channel_take(r, fd);
        } else if (fd >= 0) {
            standins_keep_take(&r->fds, &step->fds[i], fd);
        }
    }
}

static int compare(struct replay *r, const struct replay_step *step, struct msg *m,
                   struct difference *d)
{
    bool same = replay_same(step, r->script->device, m, d);
    if (same) {
        keep_fds(r, step, m);
        r->n_compared++;
    }
    msg_clear(m);
    return same ? REPLAY_SAME : REPLAY_DIFFERS;
}

/* In words what is wrong with a stream that gave no message. */
static int broken(int result, const struct replay_step *step, struct difference *d)
{
    static const char *const words[] = {
        [FRAME_EOF] = "the peer has closed the connection",
        [FRAME_CUT] = "the peer has closed the connection inside a message",
        [FRAME_FDS_LOST] = "descriptors were lost",
        [FRAME_TOO_MANY_FDS] = "a message came with too many descriptors",
        [FRAME_BAD_VERSION] = "what came is no vhost-user message (version bits)",
        [FRAME_TOO_LARGE] = "what came is no vhost-user message (its size)",
    };
    if (result < 0 && result != -ECONNRESET && result != -EPIPE) {
        return result;
    }
    bool known = result > 0 && (size_t)result < ARRAY_SIZE(words) && words[result] != NULL;
    replay_differs(d, step, "%s", known ? words[result] : words[FRAME_EOF]);
    return REPLAY_DIFFERS;
}

/* What is ours on the channel and due: answers at once, requests before main step `now`. */
static int channel_say(struct replay *r, const struct replay_step *now, struct difference *d)
{
    const struct replay_step *step;
    while (r->channel >= 0 && (step = channel_step(r)) != NULL && step->ours &&
           (replay_step_is_reply(step) || step < now)) {
        int result = say(r, r->channel, step, d);
        if (result != 0) {
            return result;
        }
        r->channel_at++;
    }
    return REPLAY_SAME;
}

static int channel_hear(struct replay *r, const struct replay_step *now, struct difference *d)
{
    char name[24];
    struct msg m = MSG_NULL;
    const struct replay_step *step = channel_step(r);
    int result = frame_read(&r->channel_reader, &frame_socket_ops, &r->channel, 0, &m);
    if (result == FRAME_AGAIN) {
        return REPLAY_SAME;
    }
    if (result == FRAME_EOF) {
        open_channel_take(r, -1); /* whoever closes it needs it no more */
        return REPLAY_SAME;
    }
    if (step == NULL || step->ours) {
        const struct replay_step *at = step != NULL ? step : end_of(r) - 1;
        if (result == FRAME_OK) {
            replay_differs(d, at, "%s came on the channel, where the recording has none",
                           message_name(SPACE_BACK, m.head.request, name));
            msg_clear(&m);
            return REPLAY_DIFFERS;
        }
        return broken(result, at, d);
    }
    result = result == FRAME_OK ? compare(r, step, &m, d) : broken(result, step, d);
    if (result != REPLAY_SAME) {
        return result;
    }
    r->channel_at++;
    return channel_say(r, now, d);
}

static void drain(int fd)
{
    char bytes[4096];
    while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0) {
    }
}

/* Waits for any socket and serves all but the main one. -ETIMEDOUT when `end` is past. */
static int serve(struct replay *r, const struct replay_step *now, double end, struct difference *d)
{
    struct pollfd p[] = { { .fd = r->main, .events = POLLIN },
                          { .fd = r->channel, .events = POLLIN },
                          { .fd = r->fds.drain, .events = POLLIN } };
    int n = poll(p, ARRAY_SIZE(p), until_ms(end));
    if (n < 0) {
        return errno == EINTR ? 0 : -errno;
    }
    if (p[2].revents != 0) {
        drain(r->fds.drain);
        r->fds.drain = (p[2].revents & POLLHUP) != 0 ? -1 : r->fds.drain;
    }
    if (p[1].revents != 0) {
        return channel_hear(r, now, d);
    }
    return n == 0 || (p[0].revents == 0 && until_ms(end) == 0) ? -ETIMEDOUT : 0;
}

static int hear(struct replay *r, const struct replay_step *step, struct difference *d)
{
    struct msg m = MSG_NULL;
    double end = monotonic_s() + r->timeout;
    int result = frame_read(&r->main_reader, &frame_socket_ops, &r->main, 0, &m);
    while (result == FRAME_AGAIN) {
        int err = serve(r, step, end, d);
        if (err == -ETIMEDOUT) {
            replay_differs(d, step, "no %s within %g s",
                           replay_step_is_reply(step) ? "answer" : "request", r->timeout);
            return REPLAY_DIFFERS;
        }
        if (err != 0) {
            return err;
        }
        result = frame_read(&r->main_reader, &frame_socket_ops, &r->main, 0, &m);
    }
    return result == FRAME_OK ? compare(r, step, &m, d) : broken(result, step, d);
}

/* ---- the end ---- */

/* Answers that the peer owes on the channel. */
static int finish_channel(struct replay *r, struct difference *d)
{
    const struct replay_step *step;
    double end = monotonic_s() + r->timeout;
    int result = channel_say(r, end_of(r), d);
    while (result == REPLAY_SAME && r->channel >= 0 && (step = channel_step(r)) != NULL &&
           !step->ours && replay_step_is_reply(step)) {
        struct pollfd p = { .fd = r->channel, .events = POLLIN };
        if (poll(&p, 1, until_ms(end)) == 0) {
            replay_differs(d, step, "no answer within %g s", r->timeout);
            return REPLAY_DIFFERS;
        }
        result = channel_hear(r, end_of(r), d);
    }
    for (; channel_step(r) != NULL; r->channel_at++) {
        step = channel_step(r);
        r->n_channel_left += !step->ours && !replay_step_is_reply(step);
    }
    return result;
}

/* Nothing may follow the last answer; what comes later than this is not waited for. */
static int nothing_more(struct replay *r, const struct replay_step *last, struct difference *d)
{
    char name[24];
    struct msg m = MSG_NULL;
    if (!r->script->as_front ||
        frame_read(&r->main_reader, &frame_socket_ops, &r->main, 0, &m) != FRAME_OK) {
        return REPLAY_SAME;
    }
    replay_differs(d, last, "another message came behind it: %s",
                   message_name(SPACE_FRONT, m.head.request, name));
    msg_clear(&m);
    return REPLAY_DIFFERS;
}

int replay_run(struct replay *r, struct difference *ret_difference)
{
    const struct replay_step *step = r->script->steps;
    int result = REPLAY_SAME;
    for (; step < end_of(r) && result == REPLAY_SAME; step++) {
        if (step->space == SPACE_BACK) {
            continue;
        }
        result = channel_say(r, step, ret_difference);
        if (result == REPLAY_SAME) {
            result =
                step->ours ? say(r, r->main, step, ret_difference) : hear(r, step, ret_difference);
        }
    }
    if (result == REPLAY_SAME) {
        result = finish_channel(r, ret_difference);
    }
    return result == REPLAY_SAME ? nothing_more(r, step - 1, ret_difference) : result;
}
