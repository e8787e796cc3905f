/* SPDX-License-Identifier: MIT */
#include "standin_wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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
