/* SPDX-License-Identifier: MIT */
#include "trace_redact.h"

#include <string.h>

/* Two rounds of a multiplicative mix around a secret: enough to keep an address from being read, and
 * with a key of 128 bits that is thrown away with the trace no list of guesses helps. */
static uint64_t hash(const struct redaction *r, uint64_t value)
{
    uint64_t h = value ^ r->key[0];
    for (unsigned round = 0; round < 2; round++) {
        h ^= h >> 32;
        h *= UINT64_C(0xd6e8feb86659fd93);
        h ^= h >> 29;
        h *= UINT64_C(0xa0761d6478bd642f);
        h ^= (h >> 32) + r->key[1];
    }
    return h;
}

static bool is_address(enum field_kind kind)
{
    return kind == KIND_ADDRESS || kind == KIND_REGION;
}

/* The fixed fields of one payload at `from`, of which `have` bytes are there. Bytes done. */
static size_t redact_fields(const struct redaction *r, const struct payload *p, const uint8_t *from,
                            size_t have, uint8_t *to)
{
    size_t done = have < p->fixed ? have : p->fixed;
    memcpy(to, from, done);
    for (size_t i = 0; i < p->n_fields; i++) {
        const struct field *f = &p->fields[i];
        uint64_t value = 0;
        if (!is_address(f->kind) || (size_t)f->offset + sizeof(value) > done) {
            continue;
        }
        memcpy(&value, from + f->offset, sizeof(value));
        value = value != 0 ? hash(r, value) : 0;
        memcpy(to + f->offset, &value, sizeof(value));
    }
    return done;
}

void redact(const struct redaction *r, enum wire_space space, const struct msg *m,
            uint8_t *ret_body)
{
    const struct message_row *row = message_row(space, m->head.request);
    size_t size = m->head.size;
    memset(ret_body, 0, size);
    if (row == NULL || size == 0) {
        return;
    }
    const struct payload *p = message_payload(row, msg_is_reply(m));
    size_t done = redact_fields(r, p, m->body, size, ret_body);
    if (p->tail == TAIL_BYTES) {
        memcpy(ret_body + done, m->body + done, size - done);
        return;
    }
    uint32_t count = 0;
    if (p->tail == TAIL_REPEAT && done == p->fixed) {
        memcpy(&count, m->body + p->tail_count_offset, sizeof(count));
    }
    const struct payload *element = &payloads[p->tail_element];
    /* Elements may be longer than their fields (messages.def, Xen): the rest of each is blank. */
    size_t step = count > 0 ? (size - done) / count : 0;
    for (; step >= element->fixed && count > 0; count--, done += step) {
        redact_fields(r, element, m->body + done, step, ret_body + done);
    }
}
