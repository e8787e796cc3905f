/* SPDX-License-Identifier: MIT */
#include "wirebench.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "offers.h"
#include "runner.h"
#include "sample.h"
#include "specs.h"

static void on_end(struct relay *r, struct side *side, enum ending ending, const char *detail)
{
    struct bench *b = r->owner;
    if (b->ending == N_ENDINGS) {
        b->ending = ending;
        b->ended = side;
        snprintf(b->detail, sizeof(b->detail), "%s", detail);
    }
    if (b->holds && side == &r->responder) {
        relay_lose_responder(r);
    } else {
        relay_close(r);
    }
}

static int on_alone(struct relay *r, const struct message_row *row, struct msg *m,
                    struct msg *ret_answer)
{
    (void)r;
    (void)row;
    (void)m;
    (void)ret_answer;
    return ALONE_WAITS;
}

static int on_owed(struct relay *r, const struct message_row *row, const struct msg *m,
                   struct msg *ret_answer)
{
    (void)r;
    (void)row;
    (void)m;
    (void)ret_answer;
    return ALONE_WAITS;
}

static void on_refused(struct relay *r, const char *detail)
{
    struct bench *b = r->owner;
    b->n_refused++;
    snprintf(b->detail, sizeof(b->detail), "%s", detail);
}

static int on_passing(struct relay *r, const struct message_row *row, struct msg *m)
{
    (void)r;
    (void)row;
    (void)m;
    return 0;
}

static void on_answered(struct relay *r, const struct msg *answer)
{
    struct bench *b = r->owner;
    (void)answer;
    b->n_answered++;
}

static void on_drained(struct relay *r)
{
    (void)r;
}

static void on_slow(struct relay *r, const struct answer *answer, double seconds, bool replaced)
{
    struct bench *b = r->owner;
    (void)answer;
    (void)seconds;
    b->n_slow++;
    b->n_replaced += replaced;
}

static const struct relay_hooks hooks = {
    .end = on_end,
    .refused = on_refused,
    .passing = on_passing,
    .alone = on_alone,
    .owed = on_owed,
    .answered = on_answered,
    .drained = on_drained,
    .slow = on_slow,
};

static int connect_side(struct side *s)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    side_open_take(s, fds[0]);
    return fds[1];
}

void bench_start(struct bench *b, enum wire_space space, const char *spec)
{
    struct spec_error error;
    memset(b, 0, sizeof(*b));
    b->ending = N_ENDINGS;
    unit_check(parse_spec(spec, &b->interface, &error) == 0, "'%s': %s", spec, error.text);
    b->offer = (struct offer)OFFER(UINT64_MAX, UINT64_MAX, 4, 8);
    b->record.features_acked = UINT64_MAX;
    b->record.protocol_acked = space == SPACE_BACK ? protocol_known() : 0;
    b->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    assert_non_null(b->loop);
    relay_init(&b->relay, b->loop, space, "test", &b->interface, &hooks, b);
    b->requester = connect_side(&b->relay.requester);
    b->responder = connect_side(&b->relay.responder);
    const struct rewrite w = rewrite_prepare(&b->interface, &b->offer, &b->record);
    relay_open(&b->relay, &w, &b->record);
    relay_update(&b->relay);
}

void bench_find_responder(struct bench *b)
{
    int fds[2];
    close_keep_errno(b->responder);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    b->responder = fds[1];
    relay_found_responder_take(&b->relay, fds[0]);
    relay_update(&b->relay);
    bench_turn(b);
}

void bench_stop(struct bench *b)
{
    relay_close(&b->relay);
    relay_close(&b->relay);
    close_keep_errno(b->requester);
    close_keep_errno(b->responder);
    ev_loop_destroy(b->loop);
}

void bench_turn(struct bench *b)
{
    for (int quiet = 0; quiet < 3;) {
        unsigned before = ev_iteration(b->loop);
        unsigned long n = b->relay.n_requests + b->relay.n_answers;
        ev_run(b->loop, EVRUN_NOWAIT);
        bool moved = b->relay.n_requests + b->relay.n_answers != n;
        quiet = moved ? 0 : quiet + 1;
        assert_true(ev_iteration(b->loop) > before);
    }
}

static void on_time(struct ev_loop *loop, ev_timer *w, int events)
{
    (void)w;
    (void)events;
    ev_break(loop, EVBREAK_ONE);
}

void bench_wait(struct bench *b, double seconds)
{
    ev_timer timer;
    ev_timer_init(&timer, on_time, seconds, 0);
    ev_now_update(b->loop);
    ev_timer_start(b->loop, &timer);
    ev_run(b->loop, 0);
    ev_timer_stop(b->loop, &timer);
}

void bench_send(struct bench *b, int peer, struct msg m)
{
    struct frame_writer w = { .busy = false };
    frame_writer_take(&w, &m);
    assert_int_equal(frame_write(&w, &frame_socket_ops, &peer), FRAME_OK);
    bench_turn(b);
}

void bench_send_bytes(struct bench *b, int peer, const void *bytes, size_t len, size_t n_fds)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(WIRE_MAX_FDS * sizeof(int))];
    } control;
    int fds[WIRE_MAX_FDS];
    int fd = sample_fd();
    struct iovec iov = { (void *)(uintptr_t)bytes, len };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
    for (size_t i = 0; i < WIRE_MAX_FDS; i++) {
        fds[i] = fd;
    }
    if (n_fds > 0) {
        memset(&control, 0, sizeof(control));
        h.msg_control = control.room;
        h.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    assert_int_equal(sendmsg(peer, &h, MSG_NOSIGNAL), len);
    close(fd);
    bench_turn(b);
}

bool bench_read(int peer, struct msg *ret_msg)
{
    struct frame_reader r = { .got = 0 };
    int result = frame_read(&r, &frame_socket_ops, &peer, 0, ret_msg);
    frame_reader_clear(&r);
    return result == FRAME_OK;
}

void bench_expect(int peer, uint32_t request, uint32_t flags, uint64_t value)
{
    struct msg m = MSG_NULL;
    uint64_t got = 0;
    unit_check(bench_read(peer, &m), "%u does not come", request);
    assert_int_equal(m.head.request, request);
    assert_int_equal(m.head.flags, flags);
    assert_int_equal(m.fds.n, 0);
    if (m.head.size >= sizeof(got)) {
        memcpy(&got, m.body, sizeof(got));
    }
    unit_check(got == value, "%u carries %#lx, expected %#lx", request, (unsigned long)got,
               (unsigned long)value);
    msg_clear(&m);
}

void bench_expect_nothing(int peer)
{
    struct msg m = MSG_NULL;
    bool came = bench_read(peer, &m);
    unit_check(!came, "%u comes", m.head.request);
}
