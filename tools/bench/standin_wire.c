/* SPDX-License-Identifier: MIT */
#include "standin_wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

_Noreturn void die(const char *what)
{
    fprintf(stderr, "bench_restart: %s: %s\n", what, strerror(errno));
    exit(1);
}

int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int open_socket(const char *path, struct sockaddr_un *address)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(address->sun_path)) {
        errno = ENAMETOOLONG;
        die(path);
    }
    strcpy(address->sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        die("socket");
    }
    return fd;
}

bool give(int fd, const struct message *m)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(MAX_FDS * sizeof(int))] = { 0 };
    size_t len = sizeof(m->head) + m->head.size;
    struct iovec iov[2] = { { (void *)&m->head, sizeof(m->head) },
                            { (void *)&m->u, m->head.size } };
    struct msghdr h = { .msg_iov = iov, .msg_iovlen = 2 };
    if (m->n_fds > 0) {
        h.msg_control = control;
        h.msg_controllen = CMSG_SPACE(m->n_fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(m->n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), m->fds, m->n_fds * sizeof(int));
    }
    return sendmsg(fd, &h, MSG_NOSIGNAL) == (ssize_t)len;
}

/* As real back-ends do it: the header with its descriptors, then the payload with one read. */
bool take(int fd, struct message *m)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(MAX_FDS * sizeof(int))];
    struct iovec iov = { .iov_base = &m->head, .iov_len = sizeof(m->head) };
    struct msghdr h = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
    };
    ssize_t got = recvmsg(fd, &h, MSG_CMSG_CLOEXEC);
    m->n_fds = 0;
    if (got != (ssize_t)sizeof(m->head)) {
        return false;
    }
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    if (c) {
        m->n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(m->fds, CMSG_DATA(c), m->n_fds * sizeof(int));
    }
    if (m->head.size > sizeof(m->u)) {
        return false;
    }
    return m->head.size == 0 || read(fd, &m->u, m->head.size) == (ssize_t)m->head.size;
}
