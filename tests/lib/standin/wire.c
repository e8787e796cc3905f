/* SPDX-License-Identifier: MIT */
#include "wire.h"

#include "util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HEADER 12
#define FLAG_REPLY 4u

static const struct {
    unsigned number;
    const char *name;
} request_names[] = {
#define X(number, name) { number, #name },
    REQUESTS(X)
#undef X
};

const char *request_name(unsigned number)
{
    for (size_t i = 0; i < sizeof(request_names) / sizeof(*request_names); i++) {
        if (request_names[i].number == number) {
            return request_names[i].name;
        }
    }
    return "unknown";
}

unsigned request_number(const char *name)
{
    for (size_t i = 0; i < sizeof(request_names) / sizeof(*request_names); i++) {
        if (!strcmp(request_names[i].name, name)) {
            return request_names[i].number;
        }
    }
    fprintf(stderr, "standin-blk: no request is called %s\n", name);
    exit(2);
}

int wire_listen(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (!path || strlen(path) >= sizeof(address.sun_path)) {
        fprintf(stderr, "standin-blk: no path, or one that is too long\n");
        exit(2);
    }
    strcpy(address.sun_path, path);
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 4)) {
        die(path);
    }
    return fd;
}

static bool receive_bytes(int from, void *to, size_t len, struct message *m)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(MAX_FDS * sizeof(int))];

    for (size_t got = 0; got < len;) {
        struct iovec iov = { (char *)to + got, len - got };
        struct msghdr h = { .msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = sizeof(control) };
        ssize_t n = recvmsg(from, &h, MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
            size_t fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(m->fd + m->n_fds, CMSG_DATA(c), fds * sizeof(int));
            m->n_fds += fds;
        }
        got += n;
    }
    return true;
}

bool wire_receive(int fd, struct message *m)
{
    memset(m, 0, sizeof(*m));
    return receive_bytes(fd, m, HEADER, m) && m->size <= sizeof(m->body) &&
           receive_bytes(fd, &m->body, m->size, m);
}

void wire_answer(int fd, struct message *m, uint32_t size, int passed)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    /* The compiler leaves a gap after the 12 bytes of the header. */
    struct iovec iov[] = { { m, HEADER }, { &m->body, size } };
    struct msghdr h = { .msg_iov = iov, .msg_iovlen = 2 };

    m->flags = 1 | FLAG_REPLY;
    m->size = size;
    if (passed >= 0) {
        h.msg_control = control;
        h.msg_controllen = sizeof(control);
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        *c = (struct cmsghdr){ CMSG_LEN(sizeof(passed)), SOL_SOCKET, SCM_RIGHTS };
        memcpy(CMSG_DATA(c), &passed, sizeof(passed));
    }
    if (sendmsg(fd, &h, MSG_NOSIGNAL) < 0) {
        perror("answer");
    }
}

void wire_answer_u64(int fd, struct message *m, uint64_t value)
{
    m->body.u64 = value;
    wire_answer(fd, m, sizeof(m->body.u64), -1);
}

int wire_steal_fd(struct message *m)
{
    int fd = m->n_fds ? m->fd[0] : -1;
    m->fd[0] = -1;
    return fd;
}
