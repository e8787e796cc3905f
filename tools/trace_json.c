/* SPDX-License-Identifier: MIT */
#include "trace_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "text.h"
#include "trace_clean.h"

static const char *const kind_names[] = {
    [TRACE_MESSAGE] = "message", [TRACE_ENDING] = "ending", [TRACE_REFUSED] = "refused",
    [TRACE_EVENT] = "event",     [TRACE_GAP] = "gap",
};

static const char *const origin_names[] = {
    [ORIGIN_PEER] = "peer",
    [ORIGIN_PASSED] = "passed",
    [ORIGIN_CHANGED] = "changed",
    [ORIGIN_OWN] = "own",
};

/* JSON's numbers end below 2^63 here, and many readers' below 2^53: what may be larger is text. */
static json_t *hex_json(uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "0x%" PRIx64, value);
    return json_string(text);
}

static json_t *number_json(uint64_t value)
{
    return value <= INT64_MAX ? json_integer((json_int_t)value) : hex_json(value);
}

static json_t *bytes_json(const uint8_t *bytes, size_t n, const char *separator)
{
    static char text[3 * WIRE_MAX_PAYLOAD + 1];
    struct text t = text_in(text, sizeof(text));
    for (size_t i = 0; i < n; i++) {
        text_add(&t, "%s%02x", i > 0 ? separator : "", bytes[i]);
    }
    return json_string(text);
}

static json_t *bits_json(enum field_style style, enum device_type device, uint64_t bits)
{
    json_t *names = json_array();
    for (unsigned bit = 0; bit < 64; bit++) {
        char name[256];
        if ((bits & BIT(bit)) == 0) {
            continue;
        }
        if (style == STYLE_FEATURE_NAMES) {
            features_print(device, BIT(bit), name, sizeof(name));
        } else {
            protocol_print(BIT(bit), name, sizeof(name));
        }
        json_array_append_new(names, json_string(name));
    }
    return json_pack("{s:o, s:o}", "value", hex_json(bits), "names", names);
}

static json_t *value_json(enum device_type device, const struct msg *m, const struct field *f)
{
    uint64_t value = f->size <= sizeof(value) ? field_get(m, f) : 0;
    enum field_style style = field_style(f->kind);
    switch (style) {
    case STYLE_FEATURE_NAMES:
    case STYLE_PROTOCOL_NAMES:
        return bits_json(style, device, value);
    case STYLE_VRING_FD_BITS:
        return json_integer((json_int_t)(value & WIRE_VRING_INDEX_MASK));
    case STYLE_MAC_ADDRESS:
        return bytes_json(m->body + f->offset, 6, ":");
    case STYLE_UUID_TEXT:
        return bytes_json(m->body + f->offset, f->size, ":");
    case STYLE_HEX:
        return hex_json(value);
    case STYLE_DECIMAL:
    case STYLE_HIDDEN:
        break;
    }
    return number_json(value);
}

static void add_fields(json_t *to, enum device_type device, const struct payload *p,
                       const struct msg *m)
{
    for (size_t i = 0; i < p->n_fields; i++) {
        const struct field *f = &p->fields[i];
        if (field_style(f->kind) == STYLE_HIDDEN || !field_present(m, f)) {
            continue;
        }
        json_object_set_new(to, f->name, value_json(device, m, f));
        if (field_style(f->kind) == STYLE_VRING_FD_BITS) {
            json_object_set_new(to, "nofd", json_boolean(field_get(m, f) & WIRE_VRING_NOFD));
        }
    }
}

static void add_tail(json_t *to, enum device_type device, const struct payload *p,
                     const struct msg *m)
{
    struct msg_tail tail = msg_tail(m, p);
    if (p->tail == TAIL_NONE || m->head.size < p->fixed) {
        return;
    }
    if (p->tail == TAIL_BYTES) {
        json_object_set_new(to, "bytes", bytes_json(m->body + tail.offset, tail.n, ""));
        return;
    }
    const struct payload *element = &payloads[p->tail_element];
    char name[64];
    json_t *list = json_array();
    for (size_t i = 0; i < tail.n; i++) {
        struct msg part = { .head.size = element->fixed,
                            .body = m->body + tail.offset + i * tail.stride };
        json_t *fields = json_object();
        add_fields(fields, device, element, &part);
        json_array_append_new(list, fields);
    }
    snprintf(name, sizeof(name), "%ss", element->name);
    json_object_set_new(to, name, list);
}

static json_t *fields_json(const struct trace_record *r, enum device_type device)
{
    const struct message_row *row = message_row(trace_space(r->wire), r->head.request);
    struct msg m = trace_message(r);
    json_t *fields = json_object();
    if (row == NULL) {
        json_object_set_new(fields, "bytes", bytes_json(r->body, r->head.size, ""));
        return fields;
    }
    const struct payload *p = message_payload(row, msg_is_reply(&m));
    add_fields(fields, device, p, &m);
    add_tail(fields, device, p, &m);
    return fields;
}

static json_t *fds_json(const struct trace_record *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_fds; i++) {
        const struct trace_fd *fd = &r->fds[i];
        const char *role = fd->role != ROLE_NONE ? fd_role_name(fd->role) : "unknown";
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:o, s:o}", "role", role, "kind",
                                        trace_fd_kind_name(fd->kind), "inode",
                                        number_json(fd->inode), "size", number_json(fd->size)));
    }
    return list;
}

static void add_message(json_t *to, const struct trace_view *v)
{
    const struct trace_record *r = v->record;
    char name[24];
    const char *request = message_name(trace_space(r->wire), r->head.request, name);
    json_object_update_new(
        to, json_pack("{s:s, s:I, s:b, s:b, s:I, s:o, s:s}", "request", request, "id",
                      (json_int_t)r->head.request, "reply", v->is_reply, "need_reply",
                      (r->head.flags & WIRE_NEED_REPLY) != 0, "size", (json_int_t)r->head.size,
                      "fields", fields_json(r, v->device), "origin", origin_names[v->origin]));
    if (r->n_fds > 0) {
        json_object_set_new(to, "fds", fds_json(r));
    }
    if (v->origin == ORIGIN_CHANGED) {
        json_object_set_new(to, "before", fields_json(v->before, v->device));
    }
    if (v->request_number != 0) {
        json_object_set_new(to, "request_number", json_integer((json_int_t)v->request_number));
        json_object_set_new(to, "latency_ns", json_integer((json_int_t)v->latency_ns));
    }
}

/* Bytes of a file need not be text, and one that was cut may end inside a character. */
static json_t *text_json(const char *text)
{
    static char clean[TRACE_TEXT_MAX + 8];
    json_t *value = json_string(text);
    if (value != NULL) {
        return value;
    }
    trace_clean(text, TRACE_TEXT_MAX, clean, sizeof(clean));
    return json_string(clean);
}

json_t *trace_json(const struct trace_view *v)
{
    const struct trace_record *r = v->record;
    char time[32];
    snprintf(time, sizeof(time), "%" PRIu64 ".%09" PRIu64, r->time_ns / 1000000000,
             r->time_ns % 1000000000);
    json_t *to =
        json_pack("{s:I, s:s, s:I, s:s, s:s, s:s}", "number", (json_int_t)r->number, "time", time,
                  "life", (json_int_t)r->life, "wire", trace_wire_name(r->wire), "direction",
                  (r->flags & TRACE_SENT) != 0 ? "sent" : "received", "kind", kind_names[r->kind]);
    if (to == NULL) {
        return NULL;
    }
    if (r->kind == TRACE_MESSAGE) {
        add_message(to, v);
    } else if (r->kind == TRACE_GAP) {
        json_object_set_new(to, "lost", number_json(r->lost));
    } else {
        json_object_set_new(to, "name", text_json(r->name));
        json_object_set_new(to, "text", text_json(r->text));
    }
    return to;
}
