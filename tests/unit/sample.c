/* SPDX-License-Identifier: MIT */
#include "sample.h"

#include <string.h>
#include <sys/eventfd.h>

#include "runner.h"

#define TAIL_ELEMENTS 3

int sample_fd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

void sample_add_fds(struct msg *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int fd = sample_fd();
        assert_int_equal(fdset_append_take(&m->fds, &fd, 1), 0);
    }
}

struct msg sample_raw(uint32_t request, uint32_t flags, const void *body, uint32_t size,
                      size_t n_fds)
{
    struct msg m = MSG_NULL;
    assert_int_equal(msg_make(request, flags, body, size, &m), 0);
    sample_add_fds(&m, n_fds);
    return m;
}

struct msg sample_u64(uint32_t request, uint32_t flags, uint64_t value)
{
    return sample_raw(request, flags, &value, sizeof(value), 0);
}

struct msg sample_state(uint32_t request, uint32_t index, uint32_t num)
{
    const uint32_t body[2] = { index, num };
    return sample_raw(request, 0, body, sizeof(body), 0);
}

uint64_t sample_value(const struct field *f, size_t i)
{
    uint64_t value = 0x1122334455667701u + 0x0101010101010110u * i;
    if (f->kind == KIND_QUEUE_INDEX) {
        return value & 0xffff; /* as the virtio specification has it */
    }
    return f->size >= 8 ? value : value & ((UINT64_C(1) << (8 * f->size)) - 1);
}

static uint32_t tail_bytes(const struct payload *p)
{
    if (p->tail == TAIL_NONE) {
        return 0;
    }
    return TAIL_ELEMENTS * (p->tail == TAIL_REPEAT ? payloads[p->tail_element].fixed : 1u);
}

static size_t fds_of(const struct fds_allowed *allowed)
{
    return allowed->rule == FDS_BY_REGION ? TAIL_ELEMENTS : allowed->most;
}

static void fill(struct msg *m, const struct payload *p)
{
    const uint32_t elements = TAIL_ELEMENTS;
    for (size_t i = 0; i < p->n_fields; i++) {
        const struct field *f = &p->fields[i];
        if (f->kind == KIND_VRING_FD) {
            field_set(m, f, 5); /* without the bit that says "no descriptor" */
        } else if (f->size <= 8 && f->size != 6 && f->size != 7) {
            field_set(m, f, sample_value(f, i));
        } else {
            memset(m->body + f->offset, 0xa5, f->size);
        }
    }
    if (p->tail != TAIL_NONE) {
        memcpy(m->body + p->tail_count_offset, &elements, sizeof(elements));
    }
}

struct msg sample_message(const struct message_row *row, bool reply)
{
    const struct payload *p = message_payload(row, reply);
    uint32_t size = p->fixed + tail_bytes(p);
    struct msg m = MSG_NULL;
    if (size < p->least) {
        size = p->least; /* an opaque payload */
    }
    assert_int_equal(msg_make(row->id, reply ? WIRE_REPLY : 0, NULL, size, &m), 0);
    fill(&m, p);
    sample_add_fds(&m, fds_of(message_fds(row, reply)));
    return m;
}

uint64_t sample_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

const struct message_row *sample_row(size_t i, enum wire_space *ret_space)
{
    const struct message_row *row = message_row_at(SPACE_FRONT, i);
    *ret_space = SPACE_FRONT;
    if (row == NULL) {
        size_t n_front = 0;
        while (message_row_at(SPACE_FRONT, n_front) != NULL) {
            n_front++;
        }
        *ret_space = SPACE_BACK;
        row = message_row_at(SPACE_BACK, i - n_front);
    }
    return row;
}
