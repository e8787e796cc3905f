/* SPDX-License-Identifier: MIT */
#include "print.h"

#include <inttypes.h>

#include "text.h"

/* Longest list of names that a line of log can bear. */
#define NAMES_LEN 1024
/* Bytes of an opaque tail that people are shown. */
#define TAIL_SHOWN 32

static void print_bytes(struct text *t, const struct msg *m, const struct field *f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        text_add(t, "%s%02x", i > 0 ? ":" : "", m->body[f->offset + i]);
    }
}

static void print_value(struct text *t, enum device_type device, const struct msg *m,
                        const struct field *f)
{
    char names[NAMES_LEN];
    uint64_t value = field_get(m, f);
    switch (field_style(f->kind)) {
    case STYLE_DECIMAL:
        text_add(t, "%" PRIu64, value);
        break;
    case STYLE_FEATURE_NAMES:
        features_print(device, value, names, sizeof(names));
        text_add(t, "{%s}", names);
        break;
    case STYLE_PROTOCOL_NAMES:
        protocol_print(value, names, sizeof(names));
        text_add(t, "{%s}", names);
        break;
    case STYLE_VRING_FD_BITS:
        text_add(t, "%" PRIu64 "%s", value & WIRE_VRING_INDEX_MASK,
                 (value & WIRE_VRING_NOFD) != 0 ? " nofd" : "");
        break;
    case STYLE_MAC_ADDRESS:
        print_bytes(t, m, f, 6);
        break;
    case STYLE_UUID_TEXT:
        print_bytes(t, m, f, f->size);
        break;
    case STYLE_HEX:
    case STYLE_HIDDEN:
        text_add(t, "%#" PRIx64, value);
        break;
    }
}

static void print_fields(struct text *t, enum device_type device, const struct msg *m,
                         const struct payload *p)
{
    for (size_t i = 0; i < p->n_fields; i++) {
        const struct field *f = &p->fields[i];
        if (field_style(f->kind) != STYLE_HIDDEN && field_present(m, f)) {
            text_add(t, " %s=", f->name);
            print_value(t, device, m, f);
        }
    }
}

/* " regions=[{guest_addr=0 size=0x1000} {...}]" */
static void print_elements(struct text *t, enum device_type device, const struct msg *m,
                           const struct payload *element, const struct msg_tail *tail)
{
    text_add(t, " %ss=[", element->name);
    for (size_t i = 0; i < tail->n; i++) {
        const char *separator = i > 0 ? " {" : "{";
        for (size_t k = 0; k < element->n_fields; k++) {
            struct field f = msg_tail_field(tail, i, &element->fields[k]);
            if (field_style(f.kind) != STYLE_HIDDEN) {
                text_add(t, "%s%s=", separator, f.name);
                print_value(t, device, m, &f);
                separator = " ";
            }
        }
        text_add(t, "}");
    }
    text_add(t, "]");
}

static void print_tail(struct text *t, enum device_type device, const struct msg *m,
                       const struct payload *p)
{
    struct msg_tail tail = msg_tail(m, p);
    if (tail.n == 0) {
        return;
    }
    if (p->tail == TAIL_REPEAT) {
        print_elements(t, device, m, &payloads[p->tail_element], &tail);
        return;
    }
    text_add(t, " bytes=");
    for (size_t i = 0; i < tail.n && i < TAIL_SHOWN; i++) {
        text_add(t, "%02x", m->body[tail.offset + i]);
    }
    text_add(t, "%s", tail.n > TAIL_SHOWN ? "..." : "");
}

void message_print(enum wire_space space, enum device_type device, const struct msg *m, char *buf,
                   size_t len)
{
    char name[24];
    struct text t = text_in(buf, len);
    const struct message_row *row = message_row(space, m->head.request);
    bool reply = msg_is_reply(m);

    text_add(&t, "%s%s%s", reply ? "reply " : "", message_name(space, m->head.request, name),
             msg_needs_reply(m) ? " need_reply" : "");
    if (row == NULL) {
        text_add(&t, " %u bytes", m->head.size);
    } else {
        const struct payload *p = message_payload(row, reply);
        print_fields(&t, device, m, p);
        print_tail(&t, device, m, p);
    }
    if (m->fds.n > 0) {
        text_add(&t, " +%zu %s", m->fds.n,
                 row != NULL ? fd_role_name(message_fds(row, reply)->role) : "descriptors");
    }
}
