/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <string.h>

static const struct check_fault ok = { .result = CHECK_OK };

static struct check_fault within(enum check_result result, uint64_t value, uint64_t least,
                                 uint64_t most)
{
    if (value >= least && value <= most) {
        return ok;
    }
    return (struct check_fault){ .result = result, .value = value, .least = least, .most = most };
}

/* The count of the tail, zero when the message is too short to have one. */
static uint32_t tail_count(const struct payload *p, const struct msg *m)
{
    uint32_t count = 0;
    if (m->head.size >= p->tail_count_offset + sizeof(count)) {
        memcpy(&count, m->body + p->tail_count_offset, sizeof(count));
    }
    return count;
}

/* `count` elements behind the fixed fields, compared without any product that could wrap. */
static struct check_fault check_tail(const struct payload *p, const struct msg *m)
{
    if (p->tail == TAIL_NONE || m->head.size < p->fixed) {
        return ok;
    }
    size_t room = m->head.size - p->fixed;
    size_t element = p->tail == TAIL_REPEAT ? payloads[p->tail_element].fixed : 1;
    return within(CHECK_BAD_FIELD, tail_count(p, m), 0, room / element);
}

/* A shorter form may leave out whole fields, never a part of one that other fields rely on. */
static struct check_fault check_size(const struct payload *p, const struct msg *m)
{
    struct check_fault f = within(CHECK_WRONG_SIZE, m->head.size, p->least, p->most);
    if (f.result != CHECK_OK) {
        return f;
    }
    if (p->tail != TAIL_NONE && m->head.size > 0 && m->head.size < p->fixed) {
        return (struct check_fault){ CHECK_WRONG_SIZE, m->head.size, p->fixed, p->most };
    }
    return check_tail(p, m);
}

/* ---- stretches of memory ---- */

static const struct span {
    enum payload_id payload;
    uint16_t start, size; /* where the two are */
} spans[] = {
#define SPAN(payload, start, size)                                                                 \
    { PAYLOAD_##payload, offsetof(struct wire_##payload, start),                                   \
      offsetof(struct wire_##payload, size) },
#include "spans.def"
#undef SPAN
};

/* One of a payload that begins at `at`. Fields that are not there name nothing. */
static struct check_fault check_span(const struct span *s, const struct msg *m, size_t at)
{
    uint64_t start;
    uint64_t size;
    if (at + s->start + sizeof(start) > m->head.size ||
        at + s->size + sizeof(size) > m->head.size) {
        return ok;
    }
    memcpy(&start, m->body + at + s->start, sizeof(start));
    memcpy(&size, m->body + at + s->size, sizeof(size));
    return within(CHECK_BAD_SPAN, size, 0, start == 0 ? UINT64_MAX : -start);
}

static struct check_fault check_payload_spans(enum payload_id payload, const struct msg *m,
                                              size_t at)
{
    struct check_fault f = ok;
    for (size_t i = 0; i < ARRAY_SIZE(spans) && f.result == CHECK_OK; i++) {
        f = spans[i].payload == payload ? check_span(&spans[i], m, at) : ok;
    }
    return f;
}

static struct check_fault check_spans(enum payload_id payload, const struct msg *m)
{
    const struct payload *p = &payloads[payload];
    struct check_fault f = check_payload_spans(payload, m, 0);
    size_t n = p->tail == TAIL_REPEAT ? tail_count(p, m) : 0;
    for (size_t i = 0; i < n && f.result == CHECK_OK; i++) {
        f = check_payload_spans(p->tail_element, m, p->fixed + i * payloads[p->tail_element].fixed);
    }
    return f;
}

/* ---- the whole ---- */

static struct check_fault check_fds(const struct fds_allowed *allowed, const struct payload *p,
                                    const struct msg *m)
{
    uint64_t least = allowed->least;
    uint64_t most = allowed->most;
    if (allowed->rule == FDS_BY_NOFD_BIT) {
        const struct field *f = field_of_kind(p, KIND_VRING_FD);
        least = most = (field_get(m, f) & WIRE_VRING_NOFD) != 0 ? 0 : 1;
    } else if (allowed->rule == FDS_BY_REGION) {
        least = most = tail_count(p, m);
    }
    return within(CHECK_BAD_DESCRIPTORS, m->fds.n, least, most);
}

struct check_fault check_message(const struct message_row *row, bool reply, const struct msg *m)
{
    struct check_fault f = within(CHECK_BAD_FLAGS, m->head.flags & ~WIRE_KNOWN_FLAGS, 0, 0);
    if (f.result != CHECK_OK || row == NULL) {
        return f;
    }
    const struct payload *p = message_payload(row, reply);
    f = check_size(p, m);
    if (f.result != CHECK_OK) {
        return f;
    }
    f = check_fds(message_fds(row, reply), p, m);
    return f.result != CHECK_OK ? f : check_spans((enum payload_id)(p - payloads), m);
}
