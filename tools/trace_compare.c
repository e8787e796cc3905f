/* SPDX-License-Identifier: MIT */
#include "trace_compare.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "print.h"
#include "trace_align.h"
#include "trace_change.h"
#include "trace_clean.h"

#define TEXT_LEN 2048

/* ---- the list ---- */

/* Texts of the file were clean, but may have been cut inside a character. */
static char *clean_copy(const char *text)
{
    char clean[TEXT_LEN + 128];
    trace_clean(text, TEXT_LEN, clean, sizeof(clean));
    return strdup(clean);
}

static int add(struct differences *d, const struct difference *one, const char *what,
               const char *how)
{
    for (size_t i = 0; one->kind == DIFFERENCE_VALUE && i < d->n; i++) {
        struct difference *old = &d->list[i];
        if (old->kind == one->kind && strcmp(old->what, what) == 0 && strcmp(old->how, how) == 0) {
            old->times++;
            return 0;
        }
    }
    if (d->n == d->room) {
        size_t room = d->room == 0 ? 64 : d->room * 2;
        struct difference *list = realloc(d->list, room * sizeof(*list));
        if (list == NULL) {
            return -ENOMEM;
        }
        d->list = list;
        d->room = room;
    }
    struct difference *new = &d->list[d->n++];
    *new = *one;
    new->times = 1;
    new->what = clean_copy(what);
    new->how = clean_copy(how);
    d->differ = d->differ || one->kind != DIFFERENCE_TIMING;
    return new->what != NULL &&new->how != NULL ? 0 : -ENOMEM;
}

void differences_free(struct differences *d)
{
    for (size_t i = 0; i < d->n; i++) {
        free(d->list[i].what);
        free(d->list[i].how);
    }
    free(d->list);
    *d = (struct differences){ .list = NULL };
}

/* ---- offers ---- */

enum end { END_BACK, END_NEXT, END_FRONT, N_ENDS };

static const char *const end_names[N_ENDS] = {
    [END_BACK] = "back-end offers",
    [END_NEXT] = "next back-end offers",
    [END_FRONT] = "front-end is offered",
};

static const struct {
    enum field_kind kind;
    const char *name;
} offered[] = {
    { KIND_FEATURES, "features" },
    { KIND_PROTOCOL_FEATURES, "protocol features" },
    { KIND_QUEUE_LIMIT, "queues" },
    { KIND_SLOT_LIMIT, "memory slots" },
};

/* What one end offers or is offered: the last answer counts. */
struct offer {
    struct {
        bool seen;
        uint64_t value;
    } limits[ARRAY_SIZE(offered)];
    uint8_t config[2 * WIRE_MAX_PAYLOAD], known[2 * WIRE_MAX_PAYLOAD];
};

/* Payload of an answer that is an offer, else NULL. */
static const struct payload *offer_payload(const struct trace_item *i)
{
    const struct message_row *row = message_row(trace_space(i->wire), i->said.head.request);
    if (row == NULL || !item_is_reply(i) || trace_space(i->wire) != SPACE_FRONT) {
        return NULL;
    }
    const struct payload *p = message_payload(row, true);
    for (size_t k = 0; k < ARRAY_SIZE(offered); k++) {
        if (field_of_kind(p, offered[k].kind) != NULL) {
            return p;
        }
    }
    return field_of_kind(p, KIND_CONFIG_OFFSET) != NULL ? p : NULL;
}

static void take_offer(struct offer *o, const struct payload *p, const struct trace_said *s)
{
    struct msg m = said_message(s);
    for (size_t k = 0; k < ARRAY_SIZE(offered); k++) {
        const struct field *f = field_of_kind(p, offered[k].kind);
        if (f != NULL && field_present(&m, f)) {
            o->limits[k].seen = true;
            o->limits[k].value = field_get(&m, f);
        }
    }
    const struct field *at = field_of_kind(p, KIND_CONFIG_OFFSET);
    const struct field *size = field_of_kind(p, KIND_CONFIG_SIZE);
    if (at == NULL || size == NULL || m.head.size <= p->fixed ||
        field_get(&m, at) >= WIRE_MAX_PAYLOAD) {
        return;
    }
    size_t n = m.head.size - p->fixed;
    n = field_get(&m, size) < n ? (size_t)field_get(&m, size) : n;
    memcpy(o->config + field_get(&m, at), m.body + p->fixed, n);
    memset(o->known + field_get(&m, at), 1, n);
}

static void take_offers(const struct trace_items *t, struct offer *ends)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct trace_item *item = &t->items[i];
        const struct payload *p = item_is_message(item) ? offer_payload(item) : NULL;
        if (p == NULL) {
            continue;
        }
        if (!wire_is_front(item->wire) && item->flow != FLOW_OWN) {
            take_offer(&ends[item->wire == TRACE_NEXT_BACK ? END_NEXT : END_BACK], p, &item->said);
        }
        if (item->wire != TRACE_NEXT_BACK && item->flow != FLOW_KEPT) {
            take_offer(&ends[END_FRONT], p, item->flow == FLOW_CHANGED ? &item->sent : &item->said);
        }
    }
}

static int compare_offer(const struct offer *a, const struct offer *b, const char *who,
                         enum device_type device, struct differences *d)
{
    const struct difference one = { .kind = DIFFERENCE_OFFER };
    char what[64];
    char how[TEXT_LEN];
    uint8_t known[sizeof(a->known)];
    int error = 0;
    for (size_t k = 0; k < ARRAY_SIZE(offered) && error == 0; k++) {
        bool names = offered[k].kind == KIND_FEATURES || offered[k].kind == KIND_PROTOCOL_FEATURES;
        uint64_t x = a->limits[k].value;
        uint64_t y = b->limits[k].value;
        struct text t = text_in(how, sizeof(how));
        if (!a->limits[k].seen || !b->limits[k].seen || x == y) {
            continue;
        }
        if (names) {
            trace_change_names(offered[k].kind, device, x, y, &t);
        } else {
            text_add(&t, "%" PRIu64 " -> %" PRIu64, x, y);
        }
        snprintf(what, sizeof(what), "%s %s", who, offered[k].name);
        error = add(d, &one, what, how);
    }
    for (size_t i = 0; i < sizeof(known); i++) {
        known[i] = a->known[i] & b->known[i];
    }
    struct text t = text_in(how, sizeof(how));
    trace_change_config(device, a->config, b->config, known, sizeof(known), &t);
    snprintf(what, sizeof(what), "%s configuration", who);
    return error == 0 && t.used > 0 ? add(d, &one, what, how) : error;
}

static enum device_type device_of(const struct trace_items *t)
{
    return t->n > 0 ? t->items[t->n - 1].device : DEVICE_UNKNOWN;
}

static int compare_offers(const struct trace_items *a, const struct trace_items *b,
                          struct differences *d)
{
    const struct difference one = { .kind = DIFFERENCE_OFFER };
    enum device_type device = device_of(a) != DEVICE_UNKNOWN ? device_of(a) : device_of(b);
    char how[TEXT_LEN];
    int error = 0;
    struct offer *ends = calloc((size_t)2 * N_ENDS, sizeof(*ends));
    if (ends == NULL) {
        return -ENOMEM;
    }
    take_offers(a, ends);
    take_offers(b, ends + N_ENDS);
    if (device_of(b) != DEVICE_UNKNOWN && device_of(b) != device) {
        snprintf(how, sizeof(how), "%s -> %s", device_name(device), device_name(device_of(b)));
        error = add(d, &one, "kind of device", how);
    }
    if (error == 0 && a->start != NULL && b->start != NULL && strcmp(a->start, b->start) != 0) {
        snprintf(how, sizeof(how), "%.900s -> %.900s", a->start, b->start);
        error = add(d, &one, "interface", how);
    }
    for (unsigned end = 0; end < N_ENDS && error == 0; end++) {
        error = compare_offer(&ends[end], &ends[N_ENDS + end], end_names[end], device, d);
    }
    free(ends);
    return error;
}

/* ---- messages and values ---- */

/* What makes two items the same: everything but their fields. */
static uint64_t key_of(const struct trace_item *i)
{
    uint64_t key = ((uint64_t)i->kind << 4 | i->wire) << 2 | (i->flow == FLOW_OWN ? 2u : 0u) |
                   (item_is_reply(i) ? 1u : 0u);
    if (item_is_message(i)) {
        return key << 32 | i->said.head.request;
    }
    uint64_t hash = UINT64_C(14695981039346656037);
    for (const char *at = i->name != NULL ? i->name : ""; *at != '\0'; at++) {
        hash = (hash ^ (unsigned char)*at) * UINT64_C(1099511628211);
    }
    return hash << 20 | key;
}

static void message_words(const struct trace_item *i, bool fields, char *buf, size_t len)
{
    struct text t = text_in(buf, len);
    char line[TEXT_LEN];
    char name[24];
    struct msg m = said_message(&i->said);
    if (!item_is_message(i)) {
        text_add(&t, fields ? "%s %s" : "%s", i->name, i->text);
        return;
    }
    enum wire_space space = trace_space(i->wire);
    if (fields) {
        message_print(space, i->device, &m, line, sizeof(line));
    } else {
        snprintf(line, sizeof(line), "%s%s", item_is_reply(i) ? "reply " : "",
                 message_name(space, i->said.head.request, name));
    }
    text_add(&t, "%s %s %s", trace_wire_name(i->wire), i->flow == FLOW_OWN ? "<" : ">", line);
}

static int add_alone(const struct trace_item *i, bool of_a, struct differences *d)
{
    struct difference one = { .kind = DIFFERENCE_MESSAGE };
    char what[TEXT_LEN + 64];
    one.a = of_a ? i->number : 0;
    one.b = of_a ? 0 : i->number;
    one.only_b = !of_a;
    message_words(i, true, what, sizeof(what));
    return add(d, &one, what, "");
}

static const char *flow_word(enum item_flow flow)
{
    switch (flow) {
    case FLOW_KEPT:
        return "not passed on";
    case FLOW_PASSED:
        return "passed unchanged";
    case FLOW_CHANGED:
        return "changed by vushim";
    case FLOW_OWN:
    case FLOW_NOTE:
        break;
    }
    return "said by vushim";
}

static int compare_pair(const struct trace_item *a, const struct trace_item *b,
                        struct differences *d)
{
    struct difference one = { .kind = DIFFERENCE_VALUE, .a = a->number, .b = b->number };
    char what[TEXT_LEN + 64];
    char how[TEXT_LEN];
    struct text t = text_in(how, sizeof(how));
    if (!item_is_message(a)) {
        return 0; /* their texts have paths and process numbers */
    }
    enum wire_space space = trace_space(a->wire);
    enum device_type device = a->device != DEVICE_UNKNOWN ? a->device : b->device;
    bool offer = offer_payload(a) != NULL; /* compared as such */
    bool none = !offer && trace_change(space, device, &a->said, &b->said, CHANGE_NO_NOISE, &t);
    if (!none && !offer && a->flow == FLOW_CHANGED && b->flow == FLOW_CHANGED) {
        trace_change(space, device, &a->sent, &b->sent, CHANGE_NO_NOISE, &t);
    }
    if (a->flow != b->flow) {
        text_add(&t, "%s%s -> %s", t.used > 0 ? ", " : "", flow_word(a->flow), flow_word(b->flow));
    }
    message_words(a, false, what, sizeof(what));
    return t.used > 0 ? add(d, &one, what, how) : 0;
}

/* Gaps and the interface are no part of the order. */
static bool is_in_order(const struct trace_item *i)
{
    return i->kind != TRACE_GAP && (i->kind != TRACE_EVENT || strcmp(i->name, TRACE_START) != 0);
}

struct order {
    uint64_t keys[ALIGN_MOST];
    size_t at[ALIGN_MOST]; /* in `from` */
    size_t n;
    const struct trace_items *from;
};

static const struct trace_item *order_item(const struct order *o, size_t i)
{
    return &o->from->items[o->at[i]];
}

static void take_order(const struct trace_items *t, struct order *o)
{
    o->from = t;
    for (size_t i = 0; i < t->n && o->n < ALIGN_MOST; i++) {
        if (is_in_order(&t->items[i])) {
            o->keys[o->n] = key_of(&t->items[i]);
            o->at[o->n++] = i;
        }
    }
}

static int walk(const struct order *a, const struct order *b, const size_t *partners,
                struct differences *d)
{
    size_t at = 0; /* in b */
    int error = 0;
    for (size_t i = 0; i < a->n && error == 0; i++) {
        if (partners[i] == ALIGN_NONE) {
            error = add_alone(order_item(a, i), true, d);
            continue;
        }
        while (at < partners[i] && error == 0) {
            error = add_alone(order_item(b, at++), false, d);
        }
        at++;
        error = error == 0 ? compare_pair(order_item(a, i), order_item(b, partners[i]), d) : error;
    }
    while (at < b->n && error == 0) {
        error = add_alone(order_item(b, at++), false, d);
    }
    return error;
}

static int compare_orders(const struct trace_items *a, const struct trace_items *b,
                          struct differences *d)
{
    struct order *orders = calloc(2, sizeof(*orders));
    size_t *partners = calloc(ALIGN_MOST, sizeof(*partners));
    int error = -ENOMEM;
    if (orders != NULL && partners != NULL) {
        take_order(a, &orders[0]);
        take_order(b, &orders[1]);
        error = trace_align(orders[0].keys, orders[0].n, orders[1].keys, orders[1].n, partners);
        error = error == 0 ? walk(&orders[0], &orders[1], partners, d) : error;
    }
    free(orders);
    free(partners);
    return error;
}

/* ---- timing ---- */

static int by_size(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Median of how long answers took; false when there was none. */
static bool median(const struct trace_items *t, enum trace_wire wire, uint32_t request,
                   uint64_t *buf, uint64_t *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct trace_item *item = &t->items[i];
        if (item_is_reply(item) && item->wire == wire && item->request_number != 0 &&
            item->said.head.request == request) {
            buf[n++] = item->latency_ns;
        }
    }
    if (n == 0) {
        return false;
    }
    qsort(buf, n, sizeof(*buf), by_size);
    *ret = buf[n / 2];
    return true;
}

static int compare_times(const struct trace_items *a, const struct trace_items *b,
                         enum trace_wire wire, uint64_t *buf, struct differences *d)
{
    /* Answers that come in at this wire are the peer's; those of the shim go out at the front. */
    const char *who = wire == TRACE_BACK            ? "back-end"
                      : wire == TRACE_NEXT_BACK     ? "next back-end"
                      : wire == TRACE_FRONT_CHANNEL ? "front-end"
                                                    : "vushim";
    const struct message_row *row;
    int error = 0;
    for (size_t i = 0; error == 0 && (row = message_row_at(trace_space(wire), i)) != NULL; i++) {
        struct difference one = { .kind = DIFFERENCE_TIMING };
        char what[64];
        if (!median(a, wire, row->id, buf, &one.a) || !median(b, wire, row->id, buf, &one.b)) {
            continue;
        }
        if (one.a / 2 > one.b || one.b / 2 > one.a) {
            snprintf(what, sizeof(what), "%s answers %s", who, row->name);
            error = add(d, &one, what, "");
        }
    }
    return error;
}

int trace_compare(const struct trace_items *a, const struct trace_items *b, struct differences *d)
{
    *d = (struct differences){ .list = NULL };
    uint64_t *buf = calloc((a->n > b->n ? a->n : b->n) + 1, sizeof(*buf));
    int error = buf != NULL ? compare_offers(a, b, d) : -ENOMEM;
    error = error == 0 ? compare_orders(a, b, d) : error;
    for (unsigned wire = 0; wire < N_TRACE_WIRES && error == 0; wire++) {
        error = compare_times(a, b, (enum trace_wire)wire, buf, d);
    }
    free(buf);
    return error;
}
