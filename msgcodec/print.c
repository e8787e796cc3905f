/* SPDX-License-Identifier: MIT */
#include "print.h"

#include <inttypes.h>

#include "text.h"

enum style {
    DECIMAL,
    HEX,
    HIDDEN,
    FEATURE_NAMES,
    PROTOCOL_NAMES,
    VRING_FD_BITS,
    MAC_ADDRESS,
    UUID_TEXT,
};

static const enum style styles[] = {
#define KIND(name, style) [KIND_##name] = style,
#include "fields.def"
#undef KIND
};

/* Longest list of names that a line of log can bear. */
#define NAMES_LEN 1024

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
    switch (styles[f->kind]) {
    case DECIMAL:
        text_add(t, "%" PRIu64, value);
        break;
    case FEATURE_NAMES:
        features_print(device, value, names, sizeof(names));
        text_add(t, "{%s}", names);
        break;
    case PROTOCOL_NAMES:
        protocol_print(value, names, sizeof(names));
        text_add(t, "{%s}", names);
        break;
    case VRING_FD_BITS:
        text_add(t, "%" PRIu64 "%s", value & WIRE_VRING_INDEX_MASK,
                 (value & WIRE_VRING_NOFD) != 0 ? " nofd" : "");
        break;
    case MAC_ADDRESS:
        print_bytes(t, m, f, 6);
        break;
    case UUID_TEXT:
        print_bytes(t, m, f, f->size);
        break;
    case HEX:
    case HIDDEN:
        text_add(t, "%#" PRIx64, value);
        break;
    }
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
        for (size_t i = 0; i < p->n_fields; i++) {
            const struct field *f = &p->fields[i];
            if (styles[f->kind] != HIDDEN && field_present(m, f)) {
                text_add(&t, " %s=", f->name);
                print_value(&t, device, m, f);
            }
        }
    }
    if (m->fds.n > 0) {
        text_add(&t, " +%zu %s", m->fds.n,
                 row != NULL ? fd_role_name(message_fds(row, reply)->role) : "descriptors");
    }
}
