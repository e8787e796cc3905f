/* SPDX-License-Identifier: MIT */
#include "message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "feature.h"

/* A payload without fixed fields still gets an array, of one row that `n_fields` leaves out. */
#define PAYLOAD_BEGIN(payload) static const struct field fields_##payload[] = {
#define FIELD(payload, type, name, kind)                                                           \
    { #name, offsetof(struct wire_##payload, name), sizeof(wire_##type), KIND_##kind },
#define PAYLOAD_END(payload, least, most, tail)                                                    \
    {                                                                                              \
        NULL, 0, 0, KIND_PAD                                                                       \
    }                                                                                              \
    }                                                                                              \
    ;
#include "payloads.def"
#undef PAYLOAD_BEGIN
#undef FIELD
#undef PAYLOAD_END

#define NO_TAIL .tail = TAIL_NONE
#define REPEAT(payload, count, element)                                                            \
    .tail = TAIL_REPEAT, .tail_count_offset = offsetof(struct wire_##payload, count),              \
    .tail_element = PAYLOAD_##element
#define BYTES(payload, count)                                                                      \
    .tail = TAIL_BYTES, .tail_count_offset = offsetof(struct wire_##payload, count)

const struct payload payloads[N_PAYLOADS] = {
#define PAYLOAD_BEGIN(payload)
#define FIELD(...)
#define PAYLOAD_END(name_, least_, most_, tail_)                                                   \
    [PAYLOAD_##name_] = { .name = #name_,                                                          \
                          .fields = fields_##name_,                                                \
                          .n_fields = ARRAY_SIZE(fields_##name_) - 1,                              \
                          .fixed = sizeof(struct wire_##name_),                                    \
                          .least = least_,                                                         \
                          .most = most_,                                                           \
                          tail_ },
#include "payloads.def"
#undef PAYLOAD_BEGIN
#undef FIELD
#undef PAYLOAD_END
};

#define NO_FDS                                                                                     \
    {                                                                                              \
        FDS_COUNTED, 0, 0, ROLE_NONE                                                               \
    }
#define FDS(least, most, role)                                                                     \
    {                                                                                              \
        FDS_COUNTED, least, most, ROLE_##role                                                      \
    }
#define FD_OR_NOFD(role)                                                                           \
    {                                                                                              \
        FDS_BY_NOFD_BIT, 0, 1, ROLE_##role                                                         \
    }
#define FD_PER_REGION(role)                                                                        \
    {                                                                                              \
        FDS_BY_REGION, 0, WIRE_MAX_FDS, ROLE_##role                                                \
    }

#define ACK_BY(rule_, payload_)                                                                    \
    .answer = rule_, .answer_payload = PAYLOAD_##payload_, .answer_fds = NO_FDS
#define ACK ACK_BY(ANSWER_ACK, ack)
#define ACK_EVEN_UNASKED ACK_BY(ANSWER_ACK_EVEN_UNASKED, ack)
#define LOG_REPLY ACK_BY(ANSWER_LOG, log_answer)
#define MEMORY_REPLY ACK_BY(ANSWER_MEMORY, mem_answer)
#define REPLY(payload_, fds_)                                                                      \
    .answer = ANSWER_REPLY, .answer_payload = PAYLOAD_##payload_, .answer_fds = fds_

#define ALWAYS .gate = GATE_ALWAYS
#define PROTOCOL(name) .gate = GATE_PROTOCOL, .gate_bit = PROTOCOL_##name
#define FEATURE(device, name) .gate = GATE_FEATURE, .gate_bit = device##_##name

#define ROW(id_, name_, payload_, fds_, answer_, gate_, traits_)                                   \
    { .id = id_,                                                                                   \
      .name = #name_,                                                                              \
      .payload = PAYLOAD_##payload_,                                                               \
      .fds = fds_,                                                                                 \
      answer_,                                                                                     \
      gate_,                                                                                       \
      .traits = traits_ },

static const struct message_row front_rows[] = {
#define FRONT ROW
#define BACK(...)
#include "messages.def"
#undef FRONT
#undef BACK
};

static const struct message_row back_rows[] = {
#define FRONT(...)
#define BACK ROW
#include "messages.def"
#undef FRONT
#undef BACK
};

/* Numbers are dense from 1 on, so that a row is found by its number alone; a unit test walks them.
 */
const struct message_row *message_row(enum wire_space space, uint32_t request)
{
    const struct message_row *row = request == 0 ? NULL : message_row_at(space, request - 1);
    assert(row == NULL || row->id == request);
    return row;
}

const struct message_row *message_row_at(enum wire_space space, size_t i)
{
    const struct message_row *rows = space == SPACE_FRONT ? front_rows : back_rows;
    size_t n = space == SPACE_FRONT ? ARRAY_SIZE(front_rows) : ARRAY_SIZE(back_rows);
    return i < n ? &rows[i] : NULL;
}

const char *message_name(enum wire_space space, uint32_t request, char buf[static 24])
{
    const struct message_row *row = message_row(space, request);
    if (row != NULL) {
        return row->name;
    }
    snprintf(buf, 24, "unknown(%u)", request);
    return buf;
}

const char *fd_role_name(enum fd_role role)
{
    static const char *const names[] = {
        [ROLE_NONE] = "none",
        [ROLE_MEMORY] = "memory",
        [ROLE_LOG] = "log",
        [ROLE_LOG_EVENT] = "log event",
        [ROLE_KICK] = "kick",
        [ROLE_CALL] = "call",
        [ROLE_ERR] = "err",
        [ROLE_CHANNEL] = "back-end channel",
        [ROLE_INFLIGHT] = "in-flight",
        [ROLE_USERFAULTFD] = "userfaultfd",
        [ROLE_DMABUF] = "dma-buf",
        [ROLE_GPU_SOCKET] = "gpu socket",
        [ROLE_STATE] = "device state",
        [ROLE_NOTIFIER] = "host notifier",
        [ROLE_SHARED_MEMORY] = "shared memory",
    };
    return names[role];
}

enum field_style field_style(enum field_kind kind)
{
    static const enum field_style styles[] = {
#define KIND(name, style) [KIND_##name] = STYLE_##style,
#include "fields.def"
#undef KIND
    };
    return styles[kind];
}

const char *field_kind_name(enum field_kind kind)
{
    static const char *const names[] = {
#define KIND(name, style) [KIND_##name] = #name,
#include "fields.def"
#undef KIND
    };
    return names[kind];
}

int msg_make(uint32_t request, uint32_t flags, const void *body, uint32_t size, struct msg *ret_msg)
{
    struct msg m = { .head = { .request = request, .flags = flags | WIRE_VERSION, .size = size } };
    if (size > 0) {
        m.body = calloc(1, size);
        if (m.body == NULL) {
            return -ENOMEM;
        }
        if (body != NULL) {
            memcpy(m.body, body, size);
        }
    }
    *ret_msg = m;
    return 0;
}

int msg_make_fd_take(uint32_t request, const void *body, uint32_t size, int fd, struct msg *ret_msg)
{
    struct msg m = MSG_NULL;
    int err = msg_make(request, 0, body, size, &m);
    if (err == 0 && fd >= 0) {
        err = fdset_append_take(&m.fds, &fd, 1);
    }
    if (err < 0) {
        msg_clear(&m);
        close_keep_errno(fd);
        return err;
    }
    *ret_msg = m;
    return 0;
}

void msg_move(struct msg *to, struct msg *from)
{
    assert(to->body == NULL && to->fds.n == 0);
    *to = *from;
    *from = MSG_NULL;
}

void msg_clear(struct msg *m)
{
    fdset_close(&m->fds);
    free(m->body);
    *m = MSG_NULL;
}

const struct payload *message_payload(const struct message_row *row, bool reply)
{
    return &payloads[reply ? row->answer_payload : row->payload];
}

const struct fds_allowed *message_fds(const struct message_row *row, bool reply)
{
    return reply ? &row->answer_fds : &row->fds;
}

struct msg_tail msg_tail(const struct msg *m, const struct payload *p)
{
    struct msg_tail tail = { .n = 0, .offset = p->fixed, .stride = 1 };
    uint32_t says = 0;
    if (p->tail == TAIL_NONE || m->head.size <= p->fixed) {
        return tail;
    }
    size_t room = m->head.size - p->fixed;
    memcpy(&says, m->body + p->tail_count_offset, sizeof(says));
    if (p->tail == TAIL_REPEAT) {
        /* The larger form only when they fill the message exactly: some peers send room for more than
         * they count. */
        const struct payload *element = &payloads[p->tail_element];
        bool large = (uint64_t)says * element->most == room;
        tail.stride = large ? element->most : element->fixed;
    }
    tail.n = says < room / tail.stride ? says : room / tail.stride;
    return tail;
}

uint64_t field_get(const struct msg *m, const struct field *f)
{
    uint64_t value = 0;
    if (!field_present(m, f)) {
        return 0;
    }
    /* Host byte order: the low bytes of the u64 are where this machine keeps them. */
    switch (f->size) {
    case 1:
        return m->body[f->offset];
    case 2: {
        uint16_t v;
        memcpy(&v, m->body + f->offset, sizeof(v));
        return v;
    }
    case 4: {
        uint32_t v;
        memcpy(&v, m->body + f->offset, sizeof(v));
        return v;
    }
    case 8:
        memcpy(&value, m->body + f->offset, sizeof(value));
        return value;
    default:
        return 0;
    }
}

void field_set(struct msg *m, const struct field *f, uint64_t value)
{
    assert(field_present(m, f));
    uint8_t v8 = (uint8_t)value;
    uint16_t v16 = (uint16_t)value;
    uint32_t v32 = (uint32_t)value;
    const void *from = f->size == 1   ? (const void *)&v8
                       : f->size == 2 ? (const void *)&v16
                       : f->size == 4 ? (const void *)&v32
                                      : (const void *)&value;
    assert(f->size <= sizeof(value));
    memcpy(m->body + f->offset, from, f->size);
}

const struct field *field_of_kind(const struct payload *p, enum field_kind kind)
{
    for (size_t i = 0; i < p->n_fields; i++) {
        if (p->fields[i].kind == kind) {
            return &p->fields[i];
        }
    }
    return NULL;
}
