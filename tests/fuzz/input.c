/* SPDX-License-Identifier: MIT */
#include "input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

uint8_t input_u8(struct input *in)
{
    uint8_t value = 0;
    input_bytes(in, &value, sizeof(value));
    return value;
}

uint16_t input_u16(struct input *in)
{
    uint16_t value = 0;
    input_bytes(in, &value, sizeof(value));
    return value;
}

uint64_t input_u64(struct input *in)
{
    uint64_t value = 0;
    input_bytes(in, &value, sizeof(value));
    return value;
}

size_t input_bytes(struct input *in, void *buf, size_t len)
{
    size_t n = in->left < len ? in->left : len;
    memset(buf, 0, len);
    if (n > 0) {
        memcpy(buf, in->at, n);
        in->at += n;
        in->left -= n;
    }
    return n;
}

static uint32_t legal_size(const struct payload *p, uint8_t more)
{
    uint32_t size = p->fixed > p->least ? p->fixed : p->least;
    size += p->tail != TAIL_NONE ? more : 0;
    return size < p->most ? size : p->most;
}

static size_t legal_fds(const struct fds_allowed *allowed, uint8_t more)
{
    return allowed->rule == FDS_BY_REGION ? more % 9 : allowed->most;
}

static void add_fds(struct msg *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int fd = fuzz_fd();
        if (fdset_append_take(&m->fds, &fd, 1) < 0) {
            close(fd);
        }
    }
}

struct msg input_message(struct input *in, enum wire_space space, bool reply)
{
    uint8_t id = input_u8(in);
    uint8_t how = input_u8(in);
    uint8_t more = input_u8(in);
    const struct message_row *row = message_row(space, id);
    uint32_t flags = (reply ? WIRE_REPLY : 0) | (how & WIRE_NEED_REPLY);
    uint32_t size = more;
    size_t n_fds = how >> 4;
    struct msg m = MSG_NULL;
    if (row != NULL && (how & 1) == 0) {
        size = legal_size(message_payload(row, reply), more);
    }
    if (row != NULL && (how & 2) == 0) {
        n_fds = legal_fds(message_fds(row, reply), more);
    }
    if (msg_make(row != NULL ? id : 1000u + id, flags, NULL, size, &m) == 0 && size > 0) {
        input_bytes(in, m.body, size < 64 ? size : 64);
    }
    add_fds(&m, n_fds);
    return m;
}

int fuzz_fd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    fuzz_check(fd >= 0);
    return fd;
}

void fuzz_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    abort();
}

int fuzz_lowest_free_fd(void)
{
    int fd = fuzz_fd();
    close(fd);
    return fd;
}
