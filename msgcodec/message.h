/* SPDX-License-Identifier: MIT
 *
 * The message table (messages.def, payloads.def, fields.def) as data, and one message in hand.
 *
 * Front-to-back and back-to-front numbers are separate spaces: a row is found by wire and number.
 * A number without a row is no error here; what it means is up to the two peers. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fdset.h"
#include "wire.h"

/* Which of the two sockets, named after who sends the requests on it. */
enum wire_space { SPACE_FRONT, SPACE_BACK };

enum front_request {
#define FRONT(id, name, ...) FRONT_##name = id,
#define BACK(...)
#include "messages.def"
#undef FRONT
#undef BACK
};

enum back_request {
#define FRONT(...)
#define BACK(id, name, ...) BACK_##name = id,
#include "messages.def"
#undef FRONT
#undef BACK
};

enum payload_id {
#define PAYLOAD_BEGIN(payload) PAYLOAD_##payload,
#define FIELD(...)
#define PAYLOAD_END(...)
#include "payloads.def"
#undef PAYLOAD_BEGIN
#undef FIELD
#undef PAYLOAD_END
    N_PAYLOADS
};

enum field_kind {
#define KIND(name, style) KIND_##name,
#include "fields.def"
#undef KIND
    N_FIELD_KINDS
};

/* How a value of a kind is written, whoever writes it. */
enum field_style {
    STYLE_DECIMAL,
    STYLE_HEX,
    STYLE_HIDDEN,
    STYLE_FEATURE_NAMES,
    STYLE_PROTOCOL_NAMES,
    STYLE_VRING_FD_BITS,
    STYLE_MAC_ADDRESS,
    STYLE_UUID_TEXT,
};

enum tail_rule { TAIL_NONE, TAIL_REPEAT, TAIL_BYTES };

struct field {
    const char *name;
    uint16_t offset;
    uint16_t size;
    enum field_kind kind;
};

struct payload {
    const char *name;
    const struct field *fields;
    uint16_t n_fields;
    uint16_t fixed; /* bytes of the fixed fields */
    uint16_t least; /* bytes, head not counted */
    uint16_t most;
    enum tail_rule tail;
    uint16_t tail_count_offset; /* of the u32 field that says how many */
    enum payload_id tail_element;
};

enum fds_rule { FDS_COUNTED, FDS_BY_NOFD_BIT, FDS_BY_REGION };

enum fd_role {
    ROLE_NONE,
    ROLE_MEMORY,
    ROLE_LOG,
    ROLE_LOG_EVENT,
    ROLE_KICK,
    ROLE_CALL,
    ROLE_ERR,
    ROLE_CHANNEL,
    ROLE_USERFAULTFD,
    ROLE_INFLIGHT,
    ROLE_GPU_SOCKET,
    ROLE_DMABUF,
    ROLE_STATE,
    ROLE_NOTIFIER,
    ROLE_SHARED_MEMORY,
};

struct fds_allowed {
    enum fds_rule rule;
    uint8_t least;
    uint8_t most;
    enum fd_role role;
};

enum answer_rule {
    ANSWER_ACK,
    ANSWER_ACK_EVEN_UNASKED,
    ANSWER_REPLY,
    ANSWER_LOG,
    ANSWER_MEMORY,
};

enum gate_kind { GATE_ALWAYS, GATE_PROTOCOL, GATE_FEATURE };

enum message_trait {
    TAKES_CHANNEL = 1 << 0,
    SETS_REGIONS = 1 << 1,
    ADDS_REGION = 1 << 2,
    DROPS_REGION = 1 << 3,
    POSTCOPY_ADVISE = 1 << 4,
    POSTCOPY_LISTEN = 1 << 5,
    POSTCOPY_END = 1 << 6,
    CLOSES_FDS = 1 << 7,
    STOPS_RING = 1 << 8,
    RESETS = 1 << 9,
    KEPT = 1 << 10,
    FAILS_ALONE = 1 << 11,
    WAITS_ALONE = 1 << 12,
    TAKES_LONG = 1 << 13,
};

struct message_row {
    uint32_t id;
    const char *name;
    enum payload_id payload;
    struct fds_allowed fds;
    enum answer_rule answer;
    enum payload_id answer_payload;
    struct fds_allowed answer_fds;
    enum gate_kind gate;
    uint8_t gate_bit;
    uint32_t traits;
};

extern const struct payload payloads[N_PAYLOADS];

/* Row of a request number; NULL when the table has none. */
const struct message_row *message_row(enum wire_space space, uint32_t request);
/* The i-th row of a space, NULL past the end: to walk the table. */
const struct message_row *message_row_at(enum wire_space space, size_t i);
/* Name of a request number; `buf` is used for one without a row: "unknown(46)". */
const char *message_name(enum wire_space space, uint32_t request, char buf[static 24]);

const char *fd_role_name(enum fd_role role);
const char *field_kind_name(enum field_kind kind);
enum field_style field_style(enum field_kind kind);

/* One message: header, payload, and the descriptors that it owns. */
struct msg {
    struct wire_header head;
    uint8_t *body; /* heap, head.size bytes; NULL when empty */
    struct fdset fds;
};

#define MSG_NULL ((struct msg){ .body = NULL })

static inline bool msg_is_reply(const struct msg *m)
{
    return (m->head.flags & WIRE_REPLY) != 0;
}

static inline bool msg_needs_reply(const struct msg *m)
{
    return (m->head.flags & WIRE_NEED_REPLY) != 0;
}

/* A new message without descriptors; body copied, may be NULL for zeroes. -ENOMEM. */
int msg_make(uint32_t request, uint32_t flags, const void *body, uint32_t size,
             struct msg *ret_msg);
/* The same with a descriptor (-1: none), which is taken whatever comes of it. */
int msg_make_fd_take(uint32_t request, const void *body, uint32_t size, int fd,
                     struct msg *ret_msg);
/* Moves `from` into `to`, which must hold nothing. */
void msg_move(struct msg *to, struct msg *from);
/* Closes and frees what it holds. May be repeated. */
void msg_clear(struct msg *m);

/* The payload that a message carries by its row: that of the request or that of the answer.
 * An acknowledgement of a message with a reply of its own never exists, so the row decides. */
const struct payload *message_payload(const struct message_row *row, bool reply);
const struct fds_allowed *message_fds(const struct message_row *row, bool reply);

/* What a message has behind its fixed fields, of what it says that there is. */
struct msg_tail {
    size_t n;      /* elements, or bytes */
    size_t offset; /* in the payload */
    size_t stride;
};
struct msg_tail msg_tail(const struct msg *m, const struct payload *p);
/* A field of element `i` of a TAIL_REPEAT, where it is in the message. */
static inline struct field msg_tail_field(const struct msg_tail *tail, size_t i,
                                          const struct field *f)
{
    struct field at = *f;
    at.offset = (uint16_t)(tail->offset + i * tail->stride + f->offset);
    return at;
}

/* Value of a fixed field of up to 8 bytes, zero when the peer's shorter form lacks it. */
uint64_t field_get(const struct msg *m, const struct field *f);
/* Writes it; the message must have the field. */
void field_set(struct msg *m, const struct field *f, uint64_t value);
/* First field of a kind; NULL when the payload has none. */
const struct field *field_of_kind(const struct payload *p, enum field_kind kind);
static inline bool field_present(const struct msg *m, const struct field *f)
{
    return (uint32_t)f->offset + f->size <= m->head.size;
}
