/* SPDX-License-Identifier: MIT
 *
 * While no back-end is connected, an acknowledgement promises only that what was said will be
 * handed over: nothing runs. A question is answered as a back-end has answered it before, or the
 * profile does; what neither can know waits for a back-end, or is answered with the protocol's own
 * "none" or "failed". */
#include "alone.h"

#include <stdio.h>
#include <string.h>

#include "failure.h"
#include "hold.h"

bool alone_offer(struct interface *i, struct offer *ret_offer, char *why, size_t why_len)
{
    if (i->host || i->protocol_on == 0) {
        snprintf(why, why_len,
                 "the profile leaves features to the back-end (name a version, or list "
                 "protocol.NAME=on for each protocol feature)");
        return false;
    }
    i->protocol_off = protocol_shown() & ~i->protocol_on;
    *ret_offer = (struct offer){
        .features = i->on | features_of_vhost(),
        .protocol_features = i->protocol_on,
        .queues = i->queues != 0 ? i->queues : 1,
        .mem_slots = i->mem_slots != 0 ? i->mem_slots : PROTOCOL_MEM_TABLE_SLOTS,
    };
    for (size_t k = 0; k < i->n_pins; k++) {
        const struct config_pin *pin = &i->pins[k];
        for (size_t b = 0; b < pin->row->size; b++) {
            ret_offer->config[pin->row->offset + b] = (uint8_t)(pin->value >> (8 * b));
        }
    }
    ret_offer->config_len = (uint32_t)interface_config_len(i);
    return true;
}

void alone_begin(struct device *d)
{
    const struct offer *o = &d->options.detached_offer;
    struct rewrite w = rewrite_prepare(&d->options.interface, o, &d->record);
    struct record_answers *a = &d->record.answers;
    a->features_known = a->protocol_known = a->queues_known = a->slots_known = true;
    a->features = o->features;
    a->protocol = o->protocol_features;
    a->queues = o->queues;
    a->slots = o->mem_slots;
    d->life_began = monotonic_s();
    relay_open(&d->wire, &w, &d->record);
    d->wire.alone = true;
    log_info(d->options.name, NULL, "starts without a back-end, from the profile");
}

/* ---- answers in the back-end's place ---- */

/* A value by the kind of its field; false when only a back-end knows it. */
static bool value_of(const struct device *d, const struct msg *request, const struct field *f,
                     uint64_t *ret_value)
{
    const struct record *r = &d->record;
    const struct record_answers *a = &r->answers;
    uint64_t ring;
    *ret_value = 0;
    switch (f->kind) {
    case KIND_FEATURES:
        *ret_value = a->features;
        return a->features_known;
    case KIND_PROTOCOL_FEATURES:
        *ret_value = a->protocol;
        return a->protocol_known;
    case KIND_QUEUE_LIMIT:
        *ret_value = a->queues;
        return a->queues_known;
    case KIND_SLOT_LIMIT:
        *ret_value = a->slots;
        return a->slots_known;
    case KIND_STATUS:
        record_last_get(r, FRONT_SET_STATUS, ret_value, sizeof(*ret_value));
        return true;
    case KIND_QUEUE_INDEX:
        *ret_value = field_get(request, f);
        return true;
    case KIND_RING_BASE:
        /* Nothing runs: the ring stands where it was put, or where its back-end left it. */
        ring = field_get(request, &payloads[PAYLOAD_vring_base].fields[0]);
        if (ring < r->n_rings && record_ring_told(&r->rings[ring], RING_BASE)) {
            *ret_value = record_ring_base(&r->rings[ring]);
        }
        return !d->held || ring >= r->n_rings || hold_place_suffices(d, ring);
    default:
        return true;
    }
}

/* Configuration space: what was read before. Before the first back-end: what is pinned, and zeroes
 * around it. */
static int config_answer(const struct device *d, const struct msg *request, struct msg *ret_answer)
{
    const struct offer *o = &d->options.detached_offer;
    const struct record_bytes *heard = &d->record.answers.config;
    struct wire_config head;
    memcpy(&head, request->body, sizeof(head));
    uint64_t size = request->head.size - sizeof(head);
    if (d->held && !record_bytes_known(heard, head.offset, size)) {
        return ALONE_WAITS;
    }
    int err =
        msg_make(request->head.request, WIRE_REPLY, request->body, request->head.size, ret_answer);
    for (uint64_t k = 0; err == 0 && k < size; k++) {
        uint64_t at = head.offset + k;
        ret_answer->body[sizeof(head) + k] = record_bytes_known(heard, at, 1) ? heard->at[at]
                                             : at < o->config_len             ? o->config[at]
                                                                              : 0;
    }
    return err < 0 ? err : ALONE_ANSWERED;
}

static int made(int result)
{
    return result < 0 ? result : result == 1 ? ALONE_ANSWERED : ALONE_WAITS;
}

static int reply(struct device *d, const struct message_row *row, const struct msg *request,
                 struct msg *ret_answer)
{
    const struct payload *p = message_payload(row, true);
    bool postcopy = (row->traits & (POSTCOPY_ADVISE | POSTCOPY_LISTEN | POSTCOPY_END)) != 0;
    if ((row->traits & WAITS_ALONE) != 0 && d->held) {
        return ALONE_WAITS;
    }
    if ((row->traits & (FAILS_ALONE | WAITS_ALONE)) != 0 || postcopy ||
        field_of_kind(p, KIND_ERROR) != NULL || message_fds(row, true)->most > 0) {
        return made(failure_make(row, request->head.size, ret_answer));
    }
    if (field_of_kind(p, KIND_CONFIG_OFFSET) != NULL) {
        return config_answer(d, request, ret_answer);
    }
    int err = msg_make(request->head.request, WIRE_REPLY, NULL, p->most, ret_answer);
    for (size_t i = 0; i < p->n_fields && err == 0; i++) {
        const struct field *f = &p->fields[i];
        uint64_t value;
        if (f->size > sizeof(value) || !field_present(ret_answer, f)) {
            continue;
        }
        if (!value_of(d, request, f, &value)) {
            msg_clear(ret_answer);
            return ALONE_WAITS;
        }
        field_set(ret_answer, f, value);
    }
    return err < 0 ? err : ALONE_ANSWERED;
}

static int acknowledge(const struct msg *request, struct msg *ret_answer)
{
    uint64_t success = 0;
    int err = msg_make(request->head.request, WIRE_REPLY, &success, sizeof(success), ret_answer);
    return err < 0 ? err : ALONE_ANSWERED;
}

/* An answer is due. */
static int answer(struct device *d, const struct message_row *row, const struct msg *m,
                  struct msg *ret_answer)
{
    bool fails = (row->traits & (POSTCOPY_LISTEN | POSTCOPY_END)) != 0;
    if (row->answer == ANSWER_REPLY) {
        return reply(d, row, m, ret_answer);
    }
    return fails ? made(failure_make(row, m->head.size, ret_answer)) : acknowledge(m, ret_answer);
}

/* Nobody knows what it means, so nobody can keep it: a failure, if it asks. */
static int take_unknown(struct device *d, const struct msg *m, struct msg *ret_answer)
{
    const uint64_t failure = 1;
    bool asks = msg_needs_reply(m) && (d->record.protocol_acked & BIT(PROTOCOL_REPLY_ACK)) != 0;
    int err =
        asks ? msg_make(m->head.request, WIRE_REPLY, &failure, sizeof(failure), ret_answer) : 0;
    return err < 0 ? err : asks ? ALONE_ANSWERED : ALONE_SILENT;
}

int alone_take(struct relay *r, const struct message_row *row, struct msg *m,
               struct msg *ret_answer)
{
    struct device *d = r->owner;
    if (row == NULL) {
        return take_unknown(d, m, ret_answer);
    }
    if (!device_may_stop_ring(d, row, m)) {
        return ALONE_SILENT;
    }
    enum expect expect = record_expects(&d->record, row, m);
    enum record_postcopy postcopy = d->record.postcopy;
    bool moves = d->record.state_moves;
    record_request(&d->record, row, m);
    d->record.postcopy = postcopy;                          /* it fails */
    d->record.state_moves = moves && d->record.state_moves; /* so does that */
    int err = device_keep(d, row, m);
    if (err < 0) {
        return err;
    }
    if (d->record.incomplete) {
        device_end(d, &r->requester, ENDING_NOT_KEPT, row->name);
        return ALONE_SILENT;
    }
    successor_hear(d, row, m);
    successor_tell_heard(d);
    kept_follow(&d->kept, &d->record); /* a reset ends rings that nobody will stop */
    device_settle(d);
    return expect == EXPECT_ANSWER ? answer(d, row, m, ret_answer) : ALONE_SILENT;
}

int alone_owed(struct relay *r, const struct message_row *row, const struct msg *m,
               struct msg *ret_answer)
{
    struct device *d = r->owner;
    bool began = row != NULL && row->id == FRONT_SET_DEVICE_STATE_FD;
    d->record.state_moves = d->record.state_moves && !began; /* it fails */
    return row == NULL ? take_unknown(d, m, ret_answer) : answer(d, row, m, ret_answer);
}
