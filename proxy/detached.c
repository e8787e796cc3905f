/* SPDX-License-Identifier: MIT
 *
 * While no back-end is connected, an acknowledgement promises only that what was said will be
 * handed over: nothing runs yet. Answers come from the profile; what a profile cannot know (an
 * in-flight region, a device's saved state, a crypto session) is answered with the protocol's own
 * "none" or "failed". */
#include "detached.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "held.h"

bool detached_offer(struct interface *i, struct offer *ret_offer, char *why, size_t why_len)
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

void detached_begin(struct device *d)
{
    struct rewrite w =
        rewrite_prepare(&d->options.interface, &d->options.detached_offer, &d->record);
    d->alone = true;
    d->life_began = monotonic_s();
    relay_open(&d->wire, &w, &d->record);
    d->wire.alone = true;
    log_info(d->options.name, NULL, "starts without a back-end, from the profile");
}

/* ---- answers in the back-end's place ---- */

/* By the kind of each field of the answer. */
static uint64_t value_of(const struct device *d, const struct msg *request, const struct field *f)
{
    const struct offer *o = &d->options.detached_offer;
    const struct msg *last;
    switch (f->kind) {
    case KIND_FEATURES:
        return o->features;
    case KIND_PROTOCOL_FEATURES:
        return o->protocol_features;
    case KIND_QUEUE_LIMIT:
        return o->queues;
    case KIND_SLOT_LIMIT:
        return o->mem_slots;
    case KIND_STATUS:
        last = held_last(&d->held, FRONT_SET_STATUS);
        return last != NULL ? field_get(last, f) : 0;
    case KIND_QUEUE_INDEX:
        return field_get(request, f);
    case KIND_RING_BASE:
        /* Nothing has run: the ring stands where it was put. */
        last = held_ring_last(&d->held, FRONT_SET_VRING_BASE,
                              field_get(request, &payloads[PAYLOAD_vring_base].fields[0]));
        return last != NULL ? field_get(last, f) : 0;
    case KIND_ERROR:
        return 1;
    default:
        return 0;
    }
}

/* Configuration space: what is pinned, and zeroes around it. */
static int config_answer(const struct device *d, const struct msg *request, struct msg *ret_answer)
{
    const struct offer *o = &d->options.detached_offer;
    struct wire_config head;
    memcpy(&head, request->body, sizeof(head));
    int err =
        msg_make(request->head.request, WIRE_REPLY, request->body, request->head.size, ret_answer);
    for (uint64_t k = 0; err == 0 && k < request->head.size - sizeof(head); k++) {
        uint64_t at = head.offset + k;
        ret_answer->body[sizeof(head) + k] = at < o->config_len ? o->config[at] : 0;
    }
    return err;
}

static int reply(struct device *d, const struct message_row *row, const struct msg *request,
                 struct msg *ret_answer)
{
    const struct payload *p = message_payload(row, true);
    if (field_of_kind(p, KIND_CONFIG_OFFSET) != NULL) {
        return config_answer(d, request, ret_answer);
    }
    /* Some answers have the size that their request chose. */
    bool same = p == message_payload(row, false);
    int err = msg_make(request->head.request, WIRE_REPLY, NULL, same ? request->head.size : p->most,
                       ret_answer);
    for (size_t i = 0; i < p->n_fields && err == 0; i++) {
        const struct field *f = &p->fields[i];
        if (f->size <= sizeof(uint64_t) && field_present(ret_answer, f)) {
            field_set(ret_answer, f, value_of(d, request, f));
        }
    }
    if (err == 0 && (row->traits & FAILS_ALONE) != 0) {
        /* An error code in the last eight bytes: a device's state, a crypto session. */
        memset(ret_answer->body + ret_answer->head.size - sizeof(uint64_t), 0xff, sizeof(uint64_t));
    }
    return err;
}

static int acknowledge(const struct msg *request, uint64_t error, struct msg *ret_answer)
{
    return msg_make(request->head.request, WIRE_REPLY, &error, sizeof(error), ret_answer);
}

/* Nobody knows what it means, so nobody can keep it: a failure, if it asks. */
static int take_unknown(struct device *d, const struct msg *m, struct msg *ret_answer,
                        bool *ret_has_answer)
{
    bool asks = msg_needs_reply(m) && (d->record.protocol_acked & BIT(PROTOCOL_REPLY_ACK)) != 0;
    int err = asks ? acknowledge(m, 1, ret_answer) : 0;
    *ret_has_answer = asks && err == 0;
    return err;
}

int detached_take(struct device *d, const struct message_row *row, struct msg *m,
                  struct msg *ret_answer, bool *ret_has_answer)
{
    enum expect expect;
    int err = 0;
    *ret_has_answer = false;
    if (row == NULL) {
        return take_unknown(d, m, ret_answer, ret_has_answer);
    }
    expect = record_expects(&d->record, row, m);
    record_request(&d->record, row, m);
    if (expect == EXPECT_ANSWER) {
        err = row->answer == ANSWER_REPLY ? reply(d, row, m, ret_answer)
                                          : acknowledge(m, 0, ret_answer);
        *ret_has_answer = err == 0;
    }
    if (err == 0 && (row->traits & TAKES_CHANNEL) != 0) {
        err = channel_keep(d, m);
        if (err == 0 && m->fds.n == 0) {
            return 0; /* the channel's own; anything but a socket is kept as it is */
        }
    }
    return err < 0 ? err : held_keep_take(&d->held, row, m);
}

/* ---- handing over ---- */

/* Wakes what may wait: the back-end for requests that were put into a ring before it was there, and
 * the guest for an interrupt that nobody sent. Eventfds are never read here. A full one is awake
 * already. */
static void nudge(const struct device *d)
{
    static const uint32_t requests[] = { FRONT_SET_VRING_KICK, FRONT_SET_VRING_CALL };
    const uint64_t one = 1;
    for (size_t ring = 0; ring < d->held.n_rings; ring++) {
        bool runs = ring < d->record.n_rings && d->record.rings[ring].started;
        for (size_t k = 0; k < ARRAY_SIZE(requests) && runs; k++) {
            const struct msg *m = held_ring_last(&d->held, requests[k], ring);
            struct pollfd p = { .fd = m != NULL && m->fds.n == 1 ? m->fds.fd[0] : -1,
                                .events = POLLOUT };
            if (poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0 &&
                write(p.fd, &one, sizeof(one)) < 0) {
                log_debug(d->options.name, NULL, "ring %zu: %s", ring, strerror(errno));
            }
        }
    }
}

/* One message more; false when there is nothing left, or it failed and the device has been told. */
static bool tell_next(struct device *d)
{
    struct msg m = MSG_NULL;
    int result = 1;
    if (!d->channel_told) {
        result = channel_offer(d, &m);
        d->channel_told = true;
        if (result == 0) {
            return true;
        }
    } else {
        result = held_next(&d->held, &d->cursor, &m);
    }
    if (result == 1) {
        const struct message_row *row = message_row(SPACE_FRONT, m.head.request);
        d->asking = record_expects(&d->record, row, &m) == EXPECT_ANSWER;
        int err = relay_ask(&d->wire, &m, d->asking);
        result = err < 0 ? err : 1;
    }
    if (result < 0) {
        msg_clear(&m);
        device_end(d, &d->wire.responder, ending_of_frame(result), strerror(-result));
    }
    return result == 1;
}

void detached_attach(struct device *d)
{
    struct msg m = MSG_NULL;
    d->wire.alone_waits = true;
    while (side_has_room(&d->wire.responder) && !d->asking) {
        if (tell_next(d)) {
            continue;
        }
        if (!side_is_open(&d->wire.responder)) {
            return;
        }
        /* All is said; an answer to this shows that all of it has been taken. */
        int err = msg_make(FRONT_GET_FEATURES, 0, NULL, 0, &m);
        if (err == 0) {
            d->asking = d->fence = true;
            err = relay_ask(&d->wire, &m, true);
        }
        if (err < 0) {
            device_end(d, &d->wire.responder, ending_of_frame(err), strerror(-err));
        }
        return;
    }
}

/* What the profile did not pin was shown as zero: the front-end is asked to read it again. */
static void announce_config(struct device *d)
{
    struct msg m = MSG_NULL;
    bool has_config = (d->record.protocol_acked & BIT(PROTOCOL_CONFIG)) != 0;
    if (!has_config || !side_has_room(&d->channel.responder)) {
        return;
    }
    int err = msg_make(BACK_CONFIG_CHANGE_MSG, 0, NULL, 0, &m);
    if (err == 0) {
        err = relay_ask(&d->channel, &m, false);
    }
    if (err < 0) {
        log_warn(d->options.name, "front channel", "cannot be told of its configuration: %s",
                 strerror(-err));
    }
    msg_clear(&m);
}

void detached_attached(struct device *d)
{
    nudge(d);
    held_clear(&d->held);
    d->alone = false;
    d->wire.alone = d->wire.alone_waits = false;
    ev_timer_stop(d->loop, &d->patience);
    announce_config(d);
    device_tell(d, EVENT_BACK_TOOK_OVER, &d->wire.responder, N_ENDINGS, "");
    log_info(d->options.name, "back", "has come, and taken over what the front-end had set up");
}
