/* SPDX-License-Identifier: MIT */
#include "trace_fds.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* All eventfds share one inode; the kernel tells them apart by a number of their own
 * (Documentation/filesystems/proc.rst, "Eventfd files"). 0: it is none. */
static bool eventfd_number(int fd, uint64_t *ret_number)
{
    char path[48];
    char text[512];
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    CLEANUP_CLOSE int info = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = info >= 0 ? read(info, text, sizeof(text) - 1) : -1;
    if (n <= 0) {
        return false;
    }
    text[n] = '\0';
    const char *id = strstr(text, "eventfd-id:");
    if (id != NULL) {
        *ret_number = strtoull(id + strlen("eventfd-id:"), NULL, 10);
    }
    return strstr(text, "eventfd-count:") != NULL;
}

static enum trace_fd_kind kind_of_file(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0) {
        return TRACE_FD_FILE;
    }
    return fs.f_type == HUGETLBFS_MAGIC ? TRACE_FD_HUGETLB
           : fs.f_type == TMPFS_MAGIC   ? TRACE_FD_MEMFD
                                        : TRACE_FD_FILE;
}

static void describe(int fd, struct trace_fd *ret)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return;
    }
    ret->inode = st.st_ino;
    switch (st.st_mode & S_IFMT) {
    case S_IFSOCK:
        ret->kind = TRACE_FD_SOCKET;
        break;
    case S_IFIFO:
        ret->kind = TRACE_FD_PIPE;
        break;
    case S_IFREG:
        ret->kind = kind_of_file(fd);
        ret->size = (uint64_t)st.st_size;
        break;
    case 0: /* an anonymous inode */
        ret->kind = eventfd_number(fd, &ret->inode) ? TRACE_FD_EVENTFD : TRACE_FD_OTHER;
        break;
    default:
        break;
    }
}

size_t trace_describe_fds(enum wire_space space, const struct msg *m, struct trace_fd *ret_fds)
{
    const struct message_row *row = message_row(space, m->head.request);
    enum fd_role role = row != NULL ? message_fds(row, msg_is_reply(m))->role : ROLE_NONE;
    size_t n = m->fds.n < WIRE_MAX_FDS ? m->fds.n : WIRE_MAX_FDS;
    for (size_t i = 0; i < n; i++) {
        ret_fds[i] = (struct trace_fd){ .role = role };
        describe(m->fds.fd[i], &ret_fds[i]);
    }
    return n;
}
