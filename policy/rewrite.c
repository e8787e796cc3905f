/* SPDX-License-Identifier: MIT
 *
 * The policy in prose.
 *
 * Nobody is trusted beyond what the profile says. The front-end is shown the interface of the
 * profile: virtio features exactly, protocol features as far as this program understands them and
 * the back-end offers them, queue count and memory slots as pinned, pinned fields of the
 * configuration space. Vhost's own bits (log_all, protocol_features) pass in both directions,
 * because they are between front-end and back-end and change with migration. Bits are only ever
 * taken away: nothing is offered that the back-end does not offer.
 *
 * The front-end may acknowledge what it was shown and nothing else, name virtqueues and memory
 * slots that exist, and use rings up to max_ring. What goes beyond is refused before the back-end
 * sees it. Bits that the profile marks as the front-end's own are taken out on the way to the
 * back-end.
 *
 * Everything else passes: values are never invented, and an answer is always the back-end's own, at
 * the time when it came, with the fields above replaced.
 *
 * A plain `host` device has no policy: every message passes untouched, but for those that name a
 * virtqueue which no device can have. Back-ends keep 16 bits of the number, and have looked before or
 * after they cut it (CVE-2020-10723).
 *
 * Rules hang on the kinds of fields (fields.def), never on a message's number: a new message whose
 * payload names a virtqueue is checked the day its row is written. */
#include "rewrite.h"

#include <inttypes.h>
#include <string.h>

#include "text.h"

/* A rule sees one field of a message. It may change the message. */
typedef struct verdict rule_fn(const struct rewrite *w, const struct message_row *row,
                               struct msg *m, const struct field *f);

static const struct verdict pass = { .kind = VERDICT_PASS };

static struct verdict refuse(enum verdict_rule rule, const char *field, uint64_t value,
                             uint64_t limit)
{
    return (struct verdict){
        .kind = VERDICT_REFUSE, .rule = rule, .field = field, .value = value, .limit = limit
    };
}

/* ---- what the front-end (or, on its channel, the back-end) asks ---- */

static struct verdict ack_features(const struct rewrite *w, const struct message_row *row,
                                   struct msg *m, const struct field *f)
{
    (void)row;
    uint64_t value = field_get(m, f);
    uint64_t shown = w->features | w->interface->front;
    if ((value & ~shown) != 0) {
        return refuse(RULE_FEATURES, f->name, value & ~shown, shown);
    }
    field_set(m, f, value & ~w->interface->front);
    return pass;
}

static struct verdict ack_protocol(const struct rewrite *w, const struct message_row *row,
                                   struct msg *m, const struct field *f)
{
    (void)row;
    uint64_t value = field_get(m, f);
    uint64_t shown = w->protocol;
    return (value & ~shown) != 0 ? refuse(RULE_PROTOCOL, f->name, value & ~shown, shown) : pass;
}

static struct verdict queue_index(const struct rewrite *w, const struct message_row *row,
                                  struct msg *m, const struct field *f)
{
    (void)row;
    uint64_t value = field_get(m, f);
    uint64_t index = f->kind == KIND_VRING_FD ? value & ~(uint64_t)WIRE_VRING_NOFD : value;
    uint64_t limit = w->vrings;
    return index >= limit ? refuse(RULE_QUEUE_INDEX, f->name, index, limit) : pass;
}

static struct verdict queue_count(const struct rewrite *w, const struct message_row *row,
                                  struct msg *m, const struct field *f)
{
    (void)row;
    uint64_t value = field_get(m, f);
    uint64_t limit = w->vrings;
    return value == 0 || value > limit ? refuse(RULE_QUEUE_COUNT, f->name, value, limit) : pass;
}

static struct verdict ring_size(const struct rewrite *w, const struct message_row *row,
                                struct msg *m, const struct field *f)
{
    (void)row;
    uint64_t value = field_get(m, f);
    uint64_t limit = w->interface->max_ring != 0 ? w->interface->max_ring : PROTOCOL_MAX_RING;
    return value > limit ? refuse(RULE_RING_SIZE, f->name, value, limit) : pass;
}

static struct verdict region_count(const struct rewrite *w, const struct message_row *row,
                                   struct msg *m, const struct field *f)
{
    (void)row;
    uint64_t value = field_get(m, f);
    uint64_t limit = w->interface->mem_slots;
    return limit != 0 && value > limit ? refuse(RULE_MEM_SLOTS, f->name, value, limit) : pass;
}

static struct verdict region(const struct rewrite *w, const struct message_row *row, struct msg *m,
                             const struct field *f)
{
    (void)m;
    (void)f;
    uint64_t limit = w->mem_slots;
    uint64_t count = (uint64_t)w->record->n_regions + 1;
    bool adds = (row->traits & ADDS_REGION) != 0;
    return adds && limit != 0 && count > limit ? refuse(RULE_MEM_SLOTS, "regions", count, limit)
                                               : pass;
}

/* ---- configuration space ---- */

struct config_bytes {
    uint8_t *bytes;
    uint32_t offset;
    uint32_t size;
};

/* The bytes that a configuration message carries; none for an error answer. */
static struct config_bytes config_bytes_of(struct msg *m)
{
    struct wire_config head;
    if (m->head.size < sizeof(head)) {
        return (struct config_bytes){ .bytes = NULL };
    }
    memcpy(&head, m->body, sizeof(head));
    return (struct config_bytes){ m->body + sizeof(head), head.offset, head.size };
}

/* Byte `k` of a pinned field, little endian as the configuration space is; NULL where the message
 * does not carry it. Front-ends and back-ends differ in which pieces they ask for. */
static uint8_t *pinned_byte(const struct config_bytes *c, const struct config_row *row, size_t k)
{
    uint64_t at = (uint64_t)row->offset + k;
    if (c->bytes == NULL || at < c->offset || at - c->offset >= c->size) {
        return NULL;
    }
    return c->bytes + (at - c->offset);
}

/* The back-end's value of a field whose bytes are all in the answer. */
static bool answered_value(const struct config_bytes *c, const struct config_row *row,
                           uint64_t *ret_value)
{
    uint64_t value = 0;
    for (size_t k = row->size; k > 0; k--) {
        const uint8_t *byte = pinned_byte(c, row, k - 1);
        if (byte == NULL) {
            return false;
        }
        value = value << 8 | *byte;
    }
    *ret_value = value;
    return true;
}

/* What the front-end is shown. A piece of a field does not tell its value: then the greeting's
 * holds. */
static uint64_t shown_value(const struct rewrite *w, const struct config_pin *pin,
                            const struct config_bytes *c)
{
    uint64_t own = 0;
    if (pin->mode == PIN_VALUE ||
        !(answered_value(c, pin->row, &own) || offer_config(w->offer, pin->row, &own))) {
        return pin->value;
    }
    return own < pin->value ? own : pin->value;
}

static struct verdict config_answer(const struct rewrite *w, const struct message_row *row,
                                    struct msg *m, const struct field *f)
{
    (void)row;
    (void)f;
    struct config_bytes c = config_bytes_of(m);
    for (size_t i = 0; i < w->interface->n_pins; i++) {
        const struct config_pin *pin = &w->interface->pins[i];
        uint64_t value = shown_value(w, pin, &c);
        for (size_t k = 0; k < pin->row->size; k++) {
            uint8_t *byte = pinned_byte(&c, pin->row, k);
            if (byte != NULL) {
                *byte = (uint8_t)(value >> (8 * k));
            }
        }
    }
    return pass;
}

/* GET_CONFIG and SET_CONFIG have the same payload; the bytes of the first mean nothing. */
static struct verdict config_write(const struct rewrite *w, const struct message_row *row,
                                   struct msg *m, const struct field *f)
{
    (void)f;
    struct config_bytes c = config_bytes_of(m);
    if (row->answer == ANSWER_REPLY) {
        return pass;
    }
    for (size_t i = 0; i < w->interface->n_pins; i++) {
        const struct config_pin *pin = &w->interface->pins[i];
        if ((pin->row->traits & CONFIG_WRITABLE) != 0) {
            continue;
        }
        for (size_t k = 0; k < pin->row->size; k++) {
            const uint8_t *byte = pinned_byte(&c, pin->row, k);
            if (byte != NULL && *byte != (uint8_t)(pin->value >> (8 * k))) {
                return refuse(RULE_CONFIG_PINNED, pin->row->name, *byte, pin->value);
            }
        }
    }
    return pass;
}

/* ---- what the back-end answers ---- */

static bool offer_same_numbers(const struct offer *a, const struct offer *b)
{
    return a->features == b->features && a->protocol_features == b->protocol_features &&
           a->queues == b->queues && a->mem_slots == b->mem_slots;
}

/* The offer is asked for more than once in a connection, and must not shrink in between. What was
 * found good when the connection was made is not looked at again; what has come since is not shown,
 * because what may be acknowledged was settled then. */
static struct verdict check_offer(const struct rewrite *w, const struct offer *now)
{
    struct verdict v = { .kind = VERDICT_INCOMPATIBLE, .rule = RULE_OFFER };
    return offer_same_numbers(now, w->offer) || compat_check(w->interface, now, &v.gap) ? pass : v;
}

static struct verdict offer_features(const struct rewrite *w, const struct message_row *row,
                                     struct msg *m, const struct field *f)
{
    (void)row;
    struct offer now = *w->offer;
    now.features = field_get(m, f);
    struct verdict v = check_offer(w, &now);
    if (v.kind == VERDICT_PASS) {
        bool same = now.features == w->offer->features;
        uint64_t shown = same ? w->features : interface_features(w->interface, &now);
        field_set(m, f, shown & w->features);
    }
    return v;
}

static struct verdict offer_protocol(const struct rewrite *w, const struct message_row *row,
                                     struct msg *m, const struct field *f)
{
    (void)row;
    struct offer now = *w->offer;
    now.protocol_features = field_get(m, f);
    struct verdict v = check_offer(w, &now);
    if (v.kind == VERDICT_PASS) {
        uint64_t shown = interface_protocol_features(w->interface, &now);
        field_set(m, f, w->protocol & shown);
    }
    return v;
}

/* A pinned number is shown as pinned; the check has made sure that the back-end has as many. */
static struct verdict offer_number(const struct rewrite *w, struct msg *m, const struct field *f,
                                   uint32_t *number_of_now, const struct offer *now,
                                   uint32_t pinned, uint32_t known)
{
    uint64_t value = field_get(m, f);
    *number_of_now = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
    struct verdict v = check_offer(w, now);
    if (v.kind == VERDICT_PASS) {
        field_set(m, f, pinned != 0 ? pinned : value < known ? value : known);
    }
    return v;
}

static struct verdict offer_queues(const struct rewrite *w, const struct message_row *row,
                                   struct msg *m, const struct field *f)
{
    (void)row;
    struct offer now = *w->offer;
    return offer_number(w, m, f, &now.queues, &now, w->interface->queues, w->offer->queues);
}

static struct verdict offer_slots(const struct rewrite *w, const struct message_row *row,
                                  struct msg *m, const struct field *f)
{
    (void)row;
    struct offer now = *w->offer;
    return offer_number(w, m, f, &now.mem_slots, &now, w->interface->mem_slots,
                        w->offer->mem_slots);
}

/* yc-libvhost-server answers GET_INFLIGHT_FD with zeroes here. */
static struct verdict answer_count(const struct rewrite *w, const struct message_row *row,
                                   struct msg *m, const struct field *f)
{
    return field_get(m, f) == 0 ? pass : queue_count(w, row, m, f);
}

static rule_fn *const request_rules[N_FIELD_KINDS] = {
    [KIND_FEATURES] = ack_features,      [KIND_PROTOCOL_FEATURES] = ack_protocol,
    [KIND_QUEUE_INDEX] = queue_index,    [KIND_VRING_FD] = queue_index,
    [KIND_QUEUE_COUNT] = queue_count,    [KIND_RING_SIZE] = ring_size,
    [KIND_REGION_COUNT] = region_count,  [KIND_REGION] = region,
    [KIND_CONFIG_OFFSET] = config_write,
};

static rule_fn *const answer_rules[N_FIELD_KINDS] = {
    [KIND_FEATURES] = offer_features,  [KIND_PROTOCOL_FEATURES] = offer_protocol,
    [KIND_QUEUE_LIMIT] = offer_queues, [KIND_SLOT_LIMIT] = offer_slots,
    [KIND_QUEUE_COUNT] = answer_count, [KIND_CONFIG_OFFSET] = config_answer,
};

static struct verdict apply(const struct rewrite *w, const struct message_row *row, bool answer,
                            struct msg *m)
{
    rule_fn *const *rules = answer ? answer_rules : request_rules;
    const struct payload *p = message_payload(row, answer);
    for (size_t i = 0; i < p->n_fields; i++) {
        const struct field *f = &p->fields[i];
        if (rules[f->kind] == NULL || !field_present(m, f)) {
            continue;
        }
        struct verdict v = rules[f->kind](w, row, m, f);
        if (v.kind != VERDICT_PASS) {
            return v;
        }
    }
    return pass;
}

/* What a virtqueue's number can be (virtio specification, "Virtqueues": 16 bits). */
#define VRINGS_OF_ANY (1u << 16)

static struct verdict check_index_of_any(const struct message_row *row, struct msg *m)
{
    const struct field *f = field_of_kind(message_payload(row, false), KIND_QUEUE_INDEX);
    const struct rewrite any = { .vrings = VRINGS_OF_ANY };
    return f != NULL && field_present(m, f) ? queue_index(&any, row, m, f) : pass;
}

struct rewrite rewrite_prepare(const struct interface *i, const struct offer *o,
                               const struct record *r)
{
    return (struct rewrite){
        .interface = i,
        .offer = o,
        .record = r,
        .transparent = interface_is_transparent(i),
        .features = interface_features(i, o),
        .protocol = interface_protocol_features(i, o),
        .vrings = interface_vrings(i, o),
        .mem_slots = interface_mem_slots(i, o),
    };
}

struct verdict rewrite_request(const struct rewrite *w, const struct message_row *row,
                               struct msg *m)
{
    if (w->transparent) {
        return check_index_of_any(row, m);
    }
    if (!record_gate_open(row, w->features, w->protocol)) {
        return refuse(RULE_GATE, NULL, BIT(row->gate_bit), row->gate);
    }
    if ((row->traits & CLOSES_FDS) != 0) {
        fdset_close(&m->fds);
    }
    return apply(w, row, false, m);
}

struct verdict rewrite_answer(const struct rewrite *w, const struct message_row *row, struct msg *m)
{
    if (w->transparent) {
        return pass;
    }
    /* libvhost-user and VPP leave the bit set in answers; QEMU and DPDK take no answer that has it.
     */
    m->head.flags &= ~WIRE_NEED_REPLY;
    return apply(w, row, true, m);
}

/* ---- words ---- */

static void print_gate(struct text *t, const struct verdict *v, enum device_type device)
{
    char name[256];
    bool protocol = v->limit == GATE_PROTOCOL;
    if (protocol) {
        protocol_print(v->value, name, sizeof(name));
    } else {
        features_print(device, v->value, name, sizeof(name));
    }
    text_add(t, "belongs to %s %s, which this device does not have",
             protocol ? "protocol feature" : "feature", name);
}

void verdict_print(const struct verdict *v, enum device_type device, char *buf, size_t len)
{
    struct text t = text_in(buf, len);
    char names[1024];
    switch (v->rule) {
    case RULE_NONE:
        break;
    case RULE_GATE:
        print_gate(&t, v, device);
        break;
    case RULE_FEATURES:
        features_print(device, v->value, names, sizeof(names));
        text_add(&t, "acknowledges features that were not offered: %s", names);
        break;
    case RULE_PROTOCOL:
        protocol_print(v->value, names, sizeof(names));
        text_add(&t, "acknowledges protocol features that were not offered: %s", names);
        break;
    case RULE_QUEUE_INDEX:
        text_add(&t, "%s=%" PRIu64 " names a virtqueue beyond the %" PRIu64 " of this device",
                 v->field, v->value, v->limit);
        break;
    case RULE_QUEUE_COUNT:
        text_add(&t, "%s=%" PRIu64 " is not from 1 to the %" PRIu64 " virtqueues of this device",
                 v->field, v->value, v->limit);
        break;
    case RULE_RING_SIZE:
        text_add(&t, "%s=%" PRIu64 " is above max_ring=%" PRIu64, v->field, v->value, v->limit);
        break;
    case RULE_MEM_SLOTS:
        text_add(&t, "%s=%" PRIu64 " is above mem_slots=%" PRIu64, v->field, v->value, v->limit);
        break;
    case RULE_CONFIG_PINNED:
        text_add(&t, "writes config.%s, which is pinned to %" PRIu64, v->field, v->limit);
        break;
    case RULE_OFFER:
        gap_print(&v->gap, device, names, sizeof(names));
        text_add(&t, "offers less than before: %s", names);
        break;
    }
}
