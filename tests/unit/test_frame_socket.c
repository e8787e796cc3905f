/* SPDX-License-Identifier: MIT
 *
 * The same over real sockets, where the kernel decides what comes with what. */
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "frame.h"
#include "runner.h"
#include "sample.h"

#define HEAD 12

struct pair {
    int peer; /* the test's end */
    int ours;
};

static struct pair pair_make(void)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    return (struct pair){ fds[0], fds[1] };
}

static void pair_close(struct pair *p)
{
    close(p->peer);
    close(p->ours);
}

/* As any peer would: bytes and descriptors with one sendmsg. `control` even when there are none. */
static ssize_t peer_send(int fd, const void *bytes, size_t len, const int *fds, size_t n,
                         bool control)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(300 * sizeof(int))];
    } c;
    struct iovec iov = { (void *)(uintptr_t)bytes, len };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (n > 0 || control) {
        memset(&c, 0, sizeof(c));
        h.msg_control = c.room;
        h.msg_controllen = CMSG_SPACE(n * sizeof(int));
        struct cmsghdr *first = CMSG_FIRSTHDR(&h);
        first->cmsg_level = SOL_SOCKET;
        first->cmsg_type = SCM_RIGHTS;
        first->cmsg_len = CMSG_LEN(n * sizeof(int));
        for (size_t i = 0; i < n; i++) {
            memcpy(CMSG_DATA(first) + i * sizeof(int), &fds[i], sizeof(int));
        }
    }
    return sendmsg(fd, &h, MSG_NOSIGNAL);
}

struct wire_bytes {
    struct wire_header head;
    uint8_t body[268];
};

static struct wire_bytes bytes_of(uint32_t request, uint32_t size)
{
    struct wire_bytes b = { .head = { request, 1, size } };
    memset(b.body, (int)request, size);
    return b;
}

static void expect_message(struct frame_reader *r, struct pair *p, uint32_t request, size_t n_fds)
{
    struct msg m = MSG_NULL;
    assert_int_equal(frame_read(r, &frame_socket_ops, &p->ours, 0, &m), FRAME_OK);
    assert_int_equal(m.head.request, request);
    assert_int_equal(m.fds.n, n_fds);
    for (size_t i = 0; i < n_fds; i++) {
        assert_int_equal(fcntl(m.fds.fd[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    }
    msg_clear(&m);
}

static void split_at_any_byte(void **state)
{
    struct wire_bytes b = bytes_of(12, 8);
    const size_t whole = HEAD + 8;
    (void)state;
    for (size_t cut = 1; cut < whole; cut++) {
        for (int with_second = 0; with_second < 2; with_second++) {
            struct pair p = pair_make();
            struct frame_reader r = { .got = 0 };
            struct msg m = MSG_NULL;
            int fd = sample_fd();
            const char *at = (const char *)&b;
            peer_send(p.peer, at, cut, &fd, with_second ? 0 : 1, false);
            assert_int_equal(frame_read(&r, &frame_socket_ops, &p.ours, 0, &m), FRAME_AGAIN);
            peer_send(p.peer, at + cut, whole - cut, &fd, with_second ? 1 : 0, false);
            expect_message(&r, &p, 12, 1);
            close(fd);
            pair_close(&p);
        }
    }
}

static void byte_by_byte_with_a_descriptor_on_each(void **state)
{
    struct wire_bytes b = bytes_of(12, 8);
    struct pair p = pair_make();
    struct frame_reader r = { .got = 0 };
    int fd = sample_fd();
    (void)state;
    for (size_t i = 0; i < HEAD + 8; i++) {
        assert_int_equal(peer_send(p.peer, (const char *)&b + i, 1, &fd, 1, false), 1);
    }
    expect_message(&r, &p, 12, HEAD + 8);
    close(fd);
    pair_close(&p);
}

/* A plain message, one with a descriptor and a plain one behind each other: a greedy read would
 * credit the descriptor to the first. */
static void glued_messages_keep_their_descriptors(void **state)
{
    struct pair p = pair_make();
    struct frame_reader r = { .got = 0 };
    int fd = sample_fd();
    (void)state;
    for (int round = 0; round < 2; round++) {
        struct wire_bytes plain = bytes_of(3, 0);
        struct wire_bytes call = bytes_of(13, 8);
        peer_send(p.peer, &plain, HEAD, NULL, 0, false);
        peer_send(p.peer, &call, HEAD + 8, &fd, 1, false);
        peer_send(p.peer, &plain, HEAD, NULL, 0, false);
    }
    for (int round = 0; round < 2; round++) {
        expect_message(&r, &p, 3, 0);
        expect_message(&r, &p, 13, 1);
        expect_message(&r, &p, 3, 0);
    }
    close(fd);
    pair_close(&p);
}

/* DPDK's virtio-user attaches a control message without descriptors to everything. */
static void control_message_without_descriptors_is_none(void **state)
{
    struct pair p = pair_make();
    struct frame_reader r = { .got = 0 };
    struct wire_bytes b = bytes_of(2, 8);
    (void)state;
    peer_send(p.peer, &b, HEAD + 8, NULL, 0, true);
    expect_message(&r, &p, 2, 0);
    pair_close(&p);
}

static void takes_all_that_the_kernel_lets_a_message_carry(void **state)
{
    struct pair p = pair_make();
    struct frame_reader r = { .got = 0 };
    struct wire_bytes b = bytes_of(1000, 8);
    int fds[WIRE_MAX_FDS];
    int fd = sample_fd();
    (void)state;
    for (size_t i = 0; i < WIRE_MAX_FDS; i++) {
        fds[i] = fd;
    }
    assert_int_equal(peer_send(p.peer, &b, HEAD + 8, fds, WIRE_MAX_FDS, false), HEAD + 8);
    expect_message(&r, &p, 1000, WIRE_MAX_FDS);
    close(fd);
    pair_close(&p);
}

static void descriptors_arrive_as_they_were_sent(void **state)
{
    struct pair p = pair_make();
    struct frame_writer w = { .busy = false };
    struct frame_reader r = { .got = 0 };
    struct msg got = MSG_NULL;
    struct stat sent[5];
    struct msg m = sample_raw(5, 0, NULL, 8, 0);
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        int pipe_fds[2];
        assert_int_equal(pipe(pipe_fds), 0);
        close(pipe_fds[1]);
        assert_int_equal(fstat(pipe_fds[0], &sent[i]), 0);
        assert_int_equal(fdset_append_take(&m.fds, &pipe_fds[0], 1), 0);
    }
    frame_writer_take(&w, &m);
    assert_int_equal(frame_write(&w, &frame_socket_ops, &p.peer), FRAME_OK);
    assert_int_equal(frame_read(&r, &frame_socket_ops, &p.ours, 0, &got), FRAME_OK);
    assert_int_equal(got.fds.n, 5);
    for (size_t i = 0; i < 5; i++) {
        struct stat st;
        assert_int_equal(fstat(got.fds.fd[i], &st), 0);
        assert_int_equal(st.st_ino, sent[i].st_ino);
        assert_int_equal(fcntl(got.fds.fd[i], F_GETFL) & O_NONBLOCK, 0);
    }
    msg_clear(&got);
    pair_close(&p);
}

/* The process has no free descriptor number for all that come: some are lost, none stays. */
static void lost_descriptors_are_noticed(void **state)
{
    struct rlimit old;
    struct pair p = pair_make();
    struct frame_reader r = { .got = 0 };
    struct msg m = MSG_NULL;
    struct wire_bytes b = bytes_of(5, 8);
    int fd = sample_fd();
    int fds[6] = { fd, fd, fd, fd, fd, fd };
    (void)state;
    peer_send(p.peer, &b, HEAD + 8, fds, 6, false);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    const struct rlimit tight = { (rlim_t)fd + 3, old.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    int result = frame_read(&r, &frame_socket_ops, &p.ours, 0, &m);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(result, FRAME_FDS_LOST);
    assert_true(r.msg.fds.n < 6);
    frame_reader_clear(&r);
    close(fd);
    pair_close(&p);
}

static void a_full_socket_is_waited_for(void **state)
{
    struct pair p = pair_make();
    struct frame_writer w = { .busy = false };
    struct frame_reader r = { .got = 0 };
    int least = 1;
    size_t written = 0;
    size_t read = 0;
    (void)state;
    setsockopt(p.peer, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
    while (read < 50) {
        struct msg got = MSG_NULL;
        if (!w.busy && written < 50) {
            struct msg m =
                sample_raw((uint32_t)(1000 + written), 0, NULL, WIRE_MAX_PAYLOAD, written % 3);
            memset(m.body, (int)written, m.head.size);
            frame_writer_take(&w, &m);
            written++;
        }
        int result = frame_write(&w, &frame_socket_ops, &p.peer);
        assert_true(result == FRAME_OK || result == FRAME_AGAIN);
        if (result == FRAME_AGAIN || written == 50) {
            result = frame_read(&r, &frame_socket_ops, &p.ours, 0, &got);
            assert_true(result == FRAME_OK || result == FRAME_AGAIN);
        }
        if (got.body != NULL) {
            assert_int_equal(got.head.request, 1000 + read);
            assert_int_equal(got.fds.n, read % 3);
            assert_int_equal(got.body[0], (uint8_t)read);
            assert_int_equal(got.body[WIRE_MAX_PAYLOAD - 1], (uint8_t)read);
            read++;
        }
        msg_clear(&got);
    }
    pair_close(&p);
}

static void a_peer_that_left_is_an_end(void **state)
{
    struct wire_bytes b = bytes_of(3, 0);
    (void)state;
    for (size_t sent = 0; sent <= HEAD; sent++) {
        struct pair p = pair_make();
        struct frame_reader r = { .got = 0 };
        struct msg m = MSG_NULL;
        /* Something of ours that it has not read turns its end into a reset. */
        assert_int_equal(write(p.ours, "x", 1), 1);
        peer_send(p.peer, &b, sent, NULL, 0, false);
        close(p.peer);
        int result = frame_read(&r, &frame_socket_ops, &p.ours, 0, &m);
        int expected = sent == 0 ? FRAME_EOF : sent < HEAD ? FRAME_CUT : FRAME_OK;
        assert_int_equal(result, expected);
        frame_reader_clear(&r);
        close(p.ours);
    }
}

static void writing_to_a_peer_that_left_is_an_error(void **state)
{
    struct pair p = pair_make();
    struct frame_writer w = { .busy = false };
    struct msg m = sample_raw(5, 0, NULL, 8, 2);
    (void)state;
    close(p.peer);
    frame_writer_take(&w, &m);
    assert_int_equal(frame_write(&w, &frame_socket_ops, &p.ours), -EPIPE);
    frame_writer_clear(&w);
    close(p.ours);
}

static const struct unit_test tests[] = {
    UNIT(split_at_any_byte),
    UNIT(byte_by_byte_with_a_descriptor_on_each),
    UNIT(glued_messages_keep_their_descriptors),
    UNIT(control_message_without_descriptors_is_none),
    UNIT(takes_all_that_the_kernel_lets_a_message_carry),
    UNIT(descriptors_arrive_as_they_were_sent),
    UNIT(lost_descriptors_are_noticed),
    UNIT(a_full_socket_is_waited_for),
    UNIT(a_peer_that_left_is_an_end),
    UNIT(writing_to_a_peer_that_left_is_an_error),
};

UNIT_MAIN("frame_socket", tests)
