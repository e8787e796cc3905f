/* SPDX-License-Identifier: MIT */
#include "trace_change.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define VALUE_LEN 64

/* Different in each run of the same peers. */
static bool is_noise(enum field_kind kind)
{
    return kind == KIND_ADDRESS || kind == KIND_REGION || kind == KIND_RING_BASE ||
           kind == KIND_MAC || kind == KIND_UUID;
}

static void add_bit(enum field_kind kind, enum device_type device, unsigned bit, char sign,
                    struct text *out)
{
    char item[VALUE_LEN];
    const struct protocol_row *p = protocol_of_bit(bit);
    const struct feature_row *f = feature_of_bit(device, bit);
    const char *name =
        kind == KIND_FEATURES ? (f != NULL ? f->name : NULL) : (p != NULL ? p->name : NULL);
    if (name != NULL) {
        snprintf(item, sizeof(item), "%c%s", sign, name);
    } else {
        snprintf(item, sizeof(item), "%cbit %u", sign, bit);
    }
    text_add_item(out, ", ", item);
}

void trace_change_names(enum field_kind kind, enum device_type device, uint64_t a, uint64_t b,
                        struct text *out)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        if (((a ^ b) & BIT(bit)) != 0) {
            add_bit(kind, device, bit, (a & BIT(bit)) != 0 ? '-' : '+', out);
        }
    }
}

static void value_text(const struct msg *m, const struct field *f, char *buf, size_t len)
{
    uint64_t value = f->size <= 8 ? field_get(m, f) : 0;
    struct text t = text_in(buf, len);
    if (!field_present(m, f)) {
        text_add(&t, "nothing");
        return;
    }
    switch (field_style(f->kind)) {
    case STYLE_DECIMAL:
        text_add(&t, "%" PRIu64, value);
        break;
    case STYLE_VRING_FD_BITS:
        text_add(&t, "%" PRIu64 "%s", value & WIRE_VRING_INDEX_MASK,
                 (value & WIRE_VRING_NOFD) != 0 ? " nofd" : "");
        break;
    case STYLE_MAC_ADDRESS:
    case STYLE_UUID_TEXT:
        for (unsigned i = 0; i < (f->kind == KIND_MAC ? 6u : f->size); i++) {
            text_add(&t, "%s%02x", i > 0 ? ":" : "", m->body[f->offset + i]);
        }
        break;
    case STYLE_FEATURE_NAMES:
    case STYLE_PROTOCOL_NAMES:
    case STYLE_HEX:
    case STYLE_HIDDEN:
        text_add(&t, "%#" PRIx64, value);
        break;
    }
}

static bool same_value(const struct msg *a, const struct msg *b, const struct field *f)
{
    bool here = field_present(a, f);
    return here == field_present(b, f) &&
           (!here || memcmp(a->body + f->offset, b->body + f->offset, f->size) == 0);
}

static void change_field(enum device_type device, const struct msg *a, const struct msg *b,
                         const struct field *f, const char *prefix, struct text *out)
{
    bool names = f->kind == KIND_FEATURES || f->kind == KIND_PROTOCOL_FEATURES;
    if (names && field_present(a, f) && field_present(b, f)) {
        trace_change_names(f->kind, device, field_get(a, f), field_get(b, f), out);
        return;
    }
    char before[VALUE_LEN];
    char after[VALUE_LEN];
    char item[3 * VALUE_LEN];
    value_text(a, f, before, sizeof(before));
    value_text(b, f, after, sizeof(after));
    snprintf(item, sizeof(item), "%s%s %s -> %s", prefix, f->name, before, after);
    text_add_item(out, ", ", item);
}

static void change_fields(enum device_type device, const struct payload *p, const struct msg *a,
                          const struct msg *b, const char *prefix, enum change_noise noise,
                          struct text *out)
{
    for (size_t i = 0; i < p->n_fields; i++) {
        const struct field *f = &p->fields[i];
        bool skip =
            field_style(f->kind) == STYLE_HIDDEN || (noise == CHANGE_NO_NOISE && is_noise(f->kind));
        if (!skip && !same_value(a, b, f)) {
            change_field(device, a, b, f, prefix, out);
        }
    }
}

/* How many elements of a repeated tail are whole in the message. */
static size_t n_elements(const struct payload *p, const struct msg *m)
{
    uint32_t count = 0;
    size_t each = payloads[p->tail_element].fixed;
    if (m->head.size < p->fixed) {
        return 0;
    }
    memcpy(&count, m->body + p->tail_count_offset, sizeof(count));
    size_t room = (m->head.size - p->fixed) / each;
    return count < room ? count : room;
}

static void change_repeated(enum device_type device, const struct payload *p, const struct msg *a,
                            const struct msg *b, enum change_noise noise, struct text *out)
{
    const struct payload *element = &payloads[p->tail_element];
    size_t n_a = n_elements(p, a);
    size_t n_b = n_elements(p, b);
    for (size_t i = 0; i < n_a && i < n_b; i++) {
        char prefix[VALUE_LEN];
        struct msg x = { .head.size = element->fixed,
                         .body = a->body + p->fixed + i * element->fixed };
        struct msg y = { .head.size = element->fixed,
                         .body = b->body + p->fixed + i * element->fixed };
        snprintf(prefix, sizeof(prefix), "%s[%zu].", element->name, i);
        change_fields(device, element, &x, &y, prefix, noise, out);
    }
}

static uint64_t config_value(const uint8_t *space, const struct config_row *row)
{
    uint64_t value = 0;
    for (size_t i = 0; i < row->size && i < 8; i++) { /* little endian, whatever we are */
        value |= (uint64_t)space[row->offset + i] << (8 * i);
    }
    return value;
}

void trace_change_config(enum device_type device, const uint8_t *a, const uint8_t *b,
                         const uint8_t *known, size_t len, struct text *out)
{
    for (size_t i = 0; i < n_config_rows; i++) {
        const struct config_row *row = &config_rows[i];
        char item[2 * VALUE_LEN];
        if (row->device != device || (size_t)row->offset + row->size > len ||
            memchr(known + row->offset, 0, row->size) != NULL ||
            memcmp(a + row->offset, b + row->offset, row->size) == 0) {
            continue;
        }
        if ((row->traits & CONFIG_TEXT) != 0) {
            snprintf(item, sizeof(item), "config.%s differs", row->name);
        } else {
            snprintf(item, sizeof(item), "config.%s %" PRIu64 " -> %" PRIu64, row->name,
                     config_value(a, row), config_value(b, row));
        }
        text_add_item(out, ", ", item);
    }
}

/* Bytes of a tail that are the configuration space: which fields they belong to. */
static void change_bytes(enum device_type device, const struct payload *p, const struct msg *a,
                         const struct msg *b, struct text *out)
{
    uint8_t spaces[3][2 * WIRE_MAX_PAYLOAD] = { { 0 } };
    const struct field *at = field_of_kind(p, KIND_CONFIG_OFFSET);
    size_t fixed = p->fixed;
    size_t n_a = a->head.size > fixed ? a->head.size - fixed : 0;
    size_t n_b = b->head.size > fixed ? b->head.size - fixed : 0;
    size_t n = n_a < n_b ? n_a : n_b;
    size_t used = out->used;
    if (n == 0 || memcmp(a->body + fixed, b->body + fixed, n) == 0) {
        return;
    }
    size_t offset = at != NULL ? (size_t)field_get(a, at) : WIRE_MAX_PAYLOAD;
    if (offset < WIRE_MAX_PAYLOAD && field_get(b, at) == offset) {
        memcpy(spaces[0] + offset, a->body + fixed, n);
        memcpy(spaces[1] + offset, b->body + fixed, n);
        memset(spaces[2] + offset, 1, n);
        trace_change_config(device, spaces[0], spaces[1], spaces[2], sizeof(spaces[0]), out);
    }
    if (out->used == used) {
        text_add_item(out, ", ", "bytes differ");
    }
}

static void change_flags(uint32_t a, uint32_t b, struct text *out)
{
    if (((a ^ b) & WIRE_NEED_REPLY) != 0) {
        text_add_item(out, ", ", (b & WIRE_NEED_REPLY) != 0 ? "+need_reply" : "-need_reply");
    }
    if (((a ^ b) & ~WIRE_NEED_REPLY) != 0) {
        char item[VALUE_LEN];
        snprintf(item, sizeof(item), "flags %#x -> %#x", a, b);
        text_add_item(out, ", ", item);
    }
}

static void change_number(const char *what, size_t a, size_t b, struct text *out)
{
    char item[VALUE_LEN];
    if (a != b) {
        snprintf(item, sizeof(item), "%s %zu -> %zu", what, a, b);
        text_add_item(out, ", ", item);
    }
}

bool trace_change(enum wire_space space, enum device_type device, const struct trace_said *a,
                  const struct trace_said *b, enum change_noise noise, struct text *out)
{
    const struct message_row *row = message_row(space, a->head.request);
    bool reply = (a->head.flags & WIRE_REPLY) != 0;
    const struct payload *p = row != NULL ? message_payload(row, reply) : NULL;
    struct msg x = said_message(a);
    struct msg y = said_message(b);
    size_t used = out->used;
    change_flags(a->head.flags, b->head.flags, out);
    change_number("size", a->head.size, b->head.size, out);
    if (p != NULL) {
        change_fields(device, p, &x, &y, "", noise, out);
    }
    if (p != NULL && p->tail == TAIL_REPEAT) {
        change_repeated(device, p, &x, &y, noise, out);
    } else if (p != NULL && p->tail == TAIL_BYTES) {
        change_bytes(device, p, &x, &y, out);
    } else if (p == NULL && a->head.size == b->head.size && a->head.size > 0 &&
               memcmp(a->body, b->body, a->head.size) != 0) {
        text_add_item(out, ", ", "bytes differ");
    }
    change_number("descriptors", a->n_fds, b->n_fds, out);
    if (noise == CHANGE_ALL && a->n_fds == b->n_fds && a->fds_sum != b->fds_sum) {
        text_add_item(out, ", ", a->n_fds == 1 ? "descriptor replaced" : "descriptors replaced");
    }
    return out->used > used;
}
