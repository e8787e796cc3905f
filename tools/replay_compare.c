/* SPDX-License-Identifier: MIT */
#include "replay_compare.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "text.h"

/* One message against another, while the first difference is looked for. */
struct comparison {
    enum device_type device;
    const struct msg *was, *now;
    struct difference *ret;
};

bool replay_differs(struct difference *d, const struct replay_step *step, const char *format, ...)
{
    char name[24];
    va_list args;
    *d = (struct difference){ .record = step->number };
    snprintf(d->request, sizeof(d->request), "%s",
             message_name(step->space, step->head.request, name));
    va_start(args, format);
    vsnprintf(d->why, sizeof(d->why), format, args);
    va_end(args);
    return false;
}

/* Addresses are of other memory, and where a ring stands depends on requests that nobody makes. */
static bool is_noise(const struct field *f)
{
    return f->kind == KIND_ADDRESS || f->kind == KIND_REGION || f->kind == KIND_RING_BASE ||
           field_style(f->kind) == STYLE_HIDDEN;
}

static void print_bytes(struct text *t, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        text_add(t, "%02x", bytes[i]);
    }
}

static void print_bits(enum field_style style, enum device_type device, uint64_t bits, char *buf)
{
    if (style == STYLE_FEATURE_NAMES) {
        features_print(device, bits, buf, DIFFERENCE_TEXT_LEN);
    } else {
        protocol_print(bits, buf, DIFFERENCE_TEXT_LEN);
    }
}

static void print_field(enum device_type device, const struct msg *m, const struct field *f,
                        char *buf)
{
    char names[DIFFERENCE_TEXT_LEN];
    struct text t = text_in(buf, DIFFERENCE_TEXT_LEN);
    if (!field_present(m, f)) {
        text_add(&t, "absent");
        return;
    }
    enum field_style style = field_style(f->kind);
    if (style == STYLE_FEATURE_NAMES || style == STYLE_PROTOCOL_NAMES) {
        print_bits(style, device, field_get(m, f), names);
        text_add(&t, "{%s}", names);
    } else if (f->size > sizeof(uint64_t)) {
        print_bytes(&t, m->body + f->offset, f->size);
    } else {
        text_add(&t, style == STYLE_HEX || style == STYLE_MAC_ADDRESS ? "%#" PRIx64 : "%" PRIu64,
                 field_get(m, f));
    }
}

/* "-csum +mq": bit after bit, as a name may have a comma in it ("bit 5 (net mac, blk ro)"). */
static void print_change(struct comparison *c, const struct field *f)
{
    char name[DIFFERENCE_TEXT_LEN];
    uint64_t was = field_get(c->was, f);
    uint64_t now = field_get(c->now, f);
    struct text t = text_in(c->ret->change, sizeof(c->ret->change));
    for (unsigned sign = 0; sign < 2; sign++) {
        uint64_t bits = sign == 0 ? was & ~now : now & ~was;
        for (unsigned bit = 0; bit < 64; bit++) {
            if ((bits & BIT(bit)) != 0) {
                print_bits(field_style(f->kind), c->device, BIT(bit), name);
                text_add(&t, "%s%c%s", t.used > 0 ? " " : "", sign == 0 ? '-' : '+', name);
            }
        }
    }
}

static bool same_field(struct comparison *c, const struct field *f, const char *prefix)
{
    bool was = field_present(c->was, f);
    bool now = field_present(c->now, f);
    if (is_noise(f) || (!was && !now) ||
        (was && now && memcmp(c->was->body + f->offset, c->now->body + f->offset, f->size) == 0)) {
        return true;
    }
    enum field_style style = field_style(f->kind);
    c->ret->why[0] = '\0';
    snprintf(c->ret->field, sizeof(c->ret->field), "%s%s", prefix, f->name);
    print_field(c->device, c->was, f, c->ret->recorded);
    print_field(c->device, c->now, f, c->ret->now);
    if (was && now && (style == STYLE_FEATURE_NAMES || style == STYLE_PROTOCOL_NAMES)) {
        print_change(c, f);
    }
    return false;
}

static bool same_fields(struct comparison *c, const struct payload *p, const char *prefix)
{
    for (size_t i = 0; i < p->n_fields; i++) {
        if (!same_field(c, &p->fields[i], prefix)) {
            return false;
        }
    }
    return true;
}

static bool same_bytes(struct comparison *c, const char *name, size_t at, size_t len)
{
    if (memcmp(c->was->body + at, c->now->body + at, len) == 0) {
        return true;
    }
    struct text was = text_in(c->ret->recorded, sizeof(c->ret->recorded));
    struct text now = text_in(c->ret->now, sizeof(c->ret->now));
    c->ret->why[0] = '\0';
    snprintf(c->ret->field, sizeof(c->ret->field), "%s", name);
    print_bytes(&was, c->was->body + at, len);
    print_bytes(&now, c->now->body + at, len);
    return false;
}

/* The bytes of the configuration space from `offset` on, `len` of them at `at` in both messages:
 * fields of the device by name, what belongs to one device (its size, its address) not at all. */
static bool same_config(struct comparison *c, size_t at, size_t offset, size_t len)
{
    char name[48];
    bool named = false;
    for (size_t i = 0; i < n_config_rows; i++) {
        const struct config_row *row = &config_rows[i];
        named |= row->device == c->device;
        if (row->device != c->device || (row->traits & CONFIG_OF_INSTANCE) != 0 ||
            row->offset < offset || (size_t)row->offset + row->size > offset + len) {
            continue;
        }
        struct field f = { "", (uint16_t)(at + row->offset - offset), row->size, KIND_NUMBER };
        snprintf(name, sizeof(name), "config.%s", row->name);
        if (!same_field(c, &f, name)) {
            return false;
        }
    }
    return named || same_bytes(c, "bytes", at, len);
}

/* Behind the fixed fields, which are the same and whose counts fit (check_message has looked). */
static bool same_tail(struct comparison *c, const struct payload *p)
{
    const struct msg *was = c->was;
    const struct msg *now = c->now;
    uint32_t count = 0;
    if (p->tail == TAIL_NONE || was->head.size < p->fixed || now->head.size < p->fixed) {
        return true;
    }
    memcpy(&count, now->body + p->tail_count_offset, sizeof(count));
    if (p->tail == TAIL_BYTES) {
        const struct field *offset = field_of_kind(p, KIND_CONFIG_OFFSET);
        return offset != NULL ? same_config(c, p->fixed, field_get(now, offset), count)
                              : same_bytes(c, "bytes", p->fixed, count);
    }
    const struct payload *element = &payloads[p->tail_element];
    bool same = true;
    for (size_t i = 0; i < count && same; i++) {
        char prefix[32];
        struct msg a = *was;
        struct msg b = *now;
        a.body += p->fixed + i * element->fixed;
        b.body += p->fixed + i * element->fixed;
        a.head.size = b.head.size = element->fixed;
        snprintf(prefix, sizeof(prefix), "%s %zu: ", element->name, i);
        c->was = &a;
        c->now = &b;
        same = same_fields(c, element, prefix);
        c->was = was;
        c->now = now;
    }
    return same;
}

static bool same_number(struct difference *d, const char *name, uint64_t was, uint64_t now)
{
    if (was == now) {
        return true;
    }
    d->why[0] = '\0';
    snprintf(d->field, sizeof(d->field), "%s", name);
    snprintf(d->recorded, sizeof(d->recorded), "%" PRIu64, was);
    snprintf(d->now, sizeof(d->now), "%" PRIu64, now);
    return false;
}

static bool same_unknown(struct comparison *c)
{
    return same_number(c->ret, "size", c->was->head.size, c->now->head.size) &&
           (c->now->head.size == 0 || same_bytes(c, "bytes", 0, c->now->head.size));
}

static bool same_request(const struct replay_step *step, const struct msg *now,
                         struct difference *ret)
{
    char name[24];
    bool reply = replay_step_is_reply(step);
    if (now->head.request == step->head.request && msg_is_reply(now) == reply) {
        return true;
    }
    return replay_differs(ret, step, "expected %s, but %s %s came",
                          reply ? "the reply" : "the request",
                          msg_is_reply(now) ? "a reply to" : "the request",
                          message_name(step->space, now->head.request, name));
}

bool replay_same(const struct replay_step *step, enum device_type device, const struct msg *now,
                 struct difference *ret)
{
    struct msg was = replay_step_message(step);
    struct comparison c = { .device = device, .was = &was, .now = now, .ret = ret };
    const struct message_row *row = message_row(step->space, step->head.request);
    bool reply = replay_step_is_reply(step);
    if (!same_request(step, now, ret)) {
        return false;
    }
    if (check_message(row, reply, now).result != CHECK_OK) {
        if (check_message(row, reply, &was).result == CHECK_OK) {
            return replay_differs(ret, step, "what came is not what the protocol says");
        }
        row = NULL; /* the recorded one was none either: byte for byte */
    }
    replay_differs(ret, step, "differs");
    if (!same_number(ret, "need_reply", msg_needs_reply(&was), msg_needs_reply(now)) ||
        !same_number(ret, "descriptors", was.fds.n, now->fds.n)) {
        return false;
    }
    if (row == NULL || check_message(row, reply, &was).result != CHECK_OK) {
        return same_unknown(&c);
    }
    const struct payload *p = message_payload(row, reply);
    /* In postcopy the answer is the table with the back-end's addresses, not an error code. */
    if (reply && row->answer == ANSWER_MEMORY && was.head.size > p->least) {
        return same_number(ret, "size", was.head.size, now->head.size);
    }
    /* Nothing where there was something: an error, from most back-ends. */
    if (p->n_fields > 0 && (was.head.size == 0) != (now->head.size == 0)) {
        return same_number(ret, "size", was.head.size, now->head.size);
    }
    return same_fields(&c, p, "") && same_tail(&c, p);
}
