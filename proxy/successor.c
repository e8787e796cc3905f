/* SPDX-License-Identifier: MIT */
#include "successor.h"

#include <stdio.h>
#include <string.h>

#include "carry.h"
#include "device.h"

#define DETAIL_LEN 2048

const char *successor_state_name(enum successor_state state)
{
    static const char *const names[] = {
        [GREETING] = "checking",  [READY] = "checked",  [TELLING] = "preparing",
        [SETTLING] = "preparing", [PREPARED] = "ready", [FINISHING] = "taking over",
        [DONE] = "taking over",
    };
    return names[state];
}

bool successor_is_open(const struct device *d)
{
    return side_is_open(&d->next.wire.responder);
}

static void end(struct device *d, enum ending ending, const char *detail)
{
    device_end(d, &d->next.wire.responder, ending, detail);
}

static void end_by_error(struct device *d, int err)
{
    end(d, ending_of_frame(err), strerror(-err));
}

/* ---- the offer, judged ---- */

/* A back-end that has come back with less than before may still serve the profile; whoever upgraded
 * it wants to know. */
static void warn_of_drift(struct device *d)
{
    const struct offer *now = &d->next.greeting.offer;
    uint64_t features = d->last_offer.features & ~now->features;
    uint64_t protocol = d->last_offer.protocol_features & ~now->protocol_features;
    char names[1024];
    char protocol_names[1024];
    if (d->had_offer && (features | protocol) != 0) {
        features_print(d->options.interface.device, features, names, sizeof(names));
        protocol_print(protocol, protocol_names, sizeof(protocol_names));
        char text[DETAIL_LEN + 64];
        snprintf(text, sizeof(text), "features {%s}, protocol features {%s}", names,
                 protocol_names);
        log_warn(d->options.name, "back", "offers less than before: %s", text);
        device_tell(d, EVENT_BACK_OFFERS_LESS, &d->next.wire.responder, N_ENDINGS, text);
    }
    d->last_offer = *now;
    d->had_offer = true;
}

/* Told before anybody relies on it: the guest that is to come here could not carry on. */
static bool meets_expectation(struct device *d)
{
    char why[DETAIL_LEN];
    if (!d->options.expects || expectation_met(&d->options.expectation, &d->options.interface,
                                               &d->next.greeting.offer, why, sizeof(why))) {
        return true;
    }
    end(d, ENDING_INCOMPATIBLE, why);
    d->finished(d, true);
    return false;
}

/* Names without device= mean the first kind of device that has them, which may not be this one. */
static void warn_of_kind(struct device *d)
{
    enum device_type wanted = d->options.interface.device;
    enum device_type looks = offer_guess_device(&d->next.greeting.offer);
    if (wanted != DEVICE_UNKNOWN && looks != DEVICE_UNKNOWN && wanted != looks) {
        log_warn(d->options.name, "back",
                 "looks like a %s device, the profile is for %s (add device=%s to it?)",
                 device_name(looks), device_name(wanted), device_name(looks));
    }
}

/* What the front-end has been promised and has acknowledged is a contract. */
static bool can_carry_on(struct device *d)
{
    char why[DETAIL_LEN];
    if (!d->wire.open ||
        carry_on(&d->record, &d->options.interface, &d->next.greeting.offer, why, sizeof(why))) {
        return true;
    }
    end(d, ENDING_INCOMPATIBLE, why);
    return false;
}

static void judge(struct device *d)
{
    struct gap gap = { .config = false };
    warn_of_drift(d);
    warn_of_kind(d);
    if (!compat_check(&d->options.interface, &d->next.greeting.offer, &gap)) {
        char detail[DETAIL_LEN];
        gap_print(&gap, d->options.interface.device, detail, sizeof(detail));
        end(d, ENDING_INCOMPATIBLE, detail);
        if (d->options.expects) {
            d->finished(d, true);
        }
        return;
    }
    if (meets_expectation(d) && can_carry_on(d)) {
        d->next.state = READY;
    }
}

/* ---- asking and telling ---- */

/* A question, or something that is answered all the same. */
static void say(struct device *d, struct msg *m, bool has_answer)
{
    d->next.asking += has_answer ? 1 : 0;
    int err = relay_ask(&d->next.wire, m, has_answer);
    if (err < 0) {
        end_by_error(d, err);
    }
}

void successor_ask_msg(struct device *d, struct msg *m)
{
    say(d, m, true);
}

void successor_ask(struct device *d, uint32_t request, const void *body, uint32_t len)
{
    struct msg m = MSG_NULL;
    int err = msg_make(request, 0, body, len, &m);
    if (err < 0) {
        end_by_error(d, err);
    } else {
        say(d, &m, true);
    }
}

/* Nothing of a plain `host` device is changed, so nothing need be asked: until a front-end relies on
 * what was there before. */
static void greet(struct device *d)
{
    struct msg m = MSG_NULL;
    if (interface_is_transparent(&d->options.interface) && !d->options.expects && !d->wire.open) {
        d->next.state = READY;
        return;
    }
    if (d->wire.open) {
        d->next.greeting.config_wanted = carry_heard(&d->record).config_len;
    }
    int result = greeting_next(&d->next.greeting, &d->options.interface, &m);
    if (result == GREETING_OVER) {
        judge(d);
    } else if (result < 0) {
        end_by_error(d, result);
    } else {
        say(d, &m, result == GREETING_ASK);
    }
}

/* The channel's socket is served by us: each back-end gets one of its own. 1, or 0 when there is none
 * any more. */
static int give_channel(struct device *d, struct msg *m)
{
    if (m->fds.n > 0) {
        return 1;
    }
    int result = channel_offer(d, m, &d->next.channel_fd);
    if (result == 1 && !device_is_live(d)) {
        /* Some ask there while they are told, and read on only when they have their answer. */
        channel_attach_take(d, steal_fd(&d->next.channel_fd));
    }
    return result;
}

/* A region of its own stands in the record's place. */
static int give_inflight(struct device *d, struct msg *m)
{
    struct successor *s = &d->next;
    if (s->inflight.head.request == 0) {
        return 1;
    }
    msg_clear(m);
    return s->inflight.fds.n > 0 ? replay_copy(&s->inflight, FRONT_SET_INFLIGHT_FD, m) : 0;
}

static int next_to_tell(struct device *d, struct msg *ret_msg)
{
    int result;
    do {
        result = replay_next(&d->next.replay, &d->record, &d->kept, ret_msg);
        if (result == 1 && ret_msg->head.request == FRONT_SET_BACKEND_REQ_FD) {
            result = give_channel(d, ret_msg);
        } else if (result == 1 && ret_msg->head.request == FRONT_SET_INFLIGHT_FD) {
            result = give_inflight(d, ret_msg);
        } else {
            return result;
        }
        if (result == 0) {
            msg_clear(ret_msg);
        }
    } while (result == 0);
    return result;
}

/* All is told: an answer shows that all of it has been taken. In a back-end's absence the rings follow
 * at once; beside a live one they stand still only when the new one has mapped the guest's memory. */
static void told(struct device *d)
{
    if (d->next.state == TELLING && !device_is_live(d)) {
        d->next.state = PREPARED;
        return;
    }
    d->next.state = d->next.state == TELLING ? SETTLING : DONE;
    successor_ask(d, FRONT_GET_FEATURES, NULL, 0);
}

static void tell(struct device *d)
{
    struct msg m = MSG_NULL;
    int result = next_to_tell(d, &m);
    if (result < 0) {
        msg_clear(&m);
        end_by_error(d, result);
    } else if (result == 0) {
        told(d);
    } else {
        const struct message_row *row = message_row(SPACE_FRONT, m.head.request);
        say(d, &m, record_expects(&d->record, row, &m) == EXPECT_ANSWER);
    }
}

void successor_tell(struct device *d, enum successor_state state)
{
    d->next.state = state;
    d->next.changed = false;
    d->next.replay =
        (struct replay){ .part = state == TELLING ? REPLAY_BEFORE_RINGS : REPLAY_RINGS };
    if (d->next.told_since == 0) {
        d->next.told_since = monotonic_s();
    }
}

void successor_advance(struct device *d)
{
    struct successor *s = &d->next;
    while (successor_is_open(d) && !s->asking && side_has_room(&s->wire.responder) &&
           !trace_is_full(s->wire.trace)) {
        if (s->state == GREETING) {
            greet(d);
        } else if (s->state == TELLING || s->state == FINISHING) {
            tell(d);
        } else {
            break;
        }
    }
    relay_update(&s->wire);
}

void successor_hear(struct device *d, const struct message_row *row, const struct msg *m)
{
    struct successor *s = &d->next;
    if (!successor_is_open(d)) {
        return;
    }
    bool told = s->state == SETTLING || s->state == PREPARED;
    if (s->state == TELLING || (told && replay_is_void(row))) {
        s->changed = true;
        return;
    }
    int result = told ? replay_follow(row, m, &s->heard) : 0;
    if (result < 0 || (result == 1 && !side_has_room(&s->wire.responder))) {
        s->changed = true;
        msg_clear(&s->heard);
    }
}

void successor_tell_heard(struct device *d)
{
    struct msg m = MSG_NULL;
    if (d->next.heard.head.request == 0) {
        return;
    }
    msg_move(&m, &d->next.heard); /* saying it may end the successor */
    const struct message_row *row = message_row(SPACE_FRONT, m.head.request);
    say(d, &m, record_expects(&d->record, row, &m) == EXPECT_ANSWER);
    msg_clear(&m);
}

/* ---- the wire's hooks ---- */

static void wire_end(struct relay *r, struct side *side, enum ending ending, const char *detail)
{
    device_end(r->owner, side, ending, detail);
}

static void wire_answered(struct relay *r, const struct msg *answer)
{
    struct device *d = r->owner;
    d->next.asking--;
    if (d->next.state == GREETING) {
        greeting_answer(&d->next.greeting, answer);
    } else if (d->next.state == SETTLING && answer->head.request == FRONT_GET_FEATURES) {
        d->next.state = PREPARED;
    }
    device_next_answered(d, answer);
}

static void wire_drained(struct relay *r)
{
    device_advance(r->owner);
}

static void wire_slow(struct relay *r, const struct answer *answer, double seconds, bool replaced)
{
    struct device *d = r->owner;
    d->wire.hooks->slow(r, answer, seconds, replaced);
}

static const struct relay_hooks hooks = {
    .end = wire_end,
    .answered = wire_answered,
    .drained = wire_drained,
    .slow = wire_slow,
};

/* ---- from connection to the end ---- */

void successor_init(struct device *d)
{
    relay_init(&d->next.wire, d->loop, SPACE_FRONT, d->options.name, &d->options.interface, &hooks,
               d);
    d->next.wire.slow_after = d->options.answer_within;
    d->next.channel_fd = -1;
}

void successor_open_take(struct device *d, int fd, size_t place)
{
    struct successor *s = &d->next;
    successor_close(d);
    /* Beside a live back-end its words would mix with the other's. */
    s->wire.responder_wire = device_is_live(d) ? TRACE_NEXT_BACK : TRACE_BACK;
    s->place = place;
    s->mark = endpoint_mark(&d->places[place].endpoint);
    s->since = monotonic_s();
    side_open_take(&s->wire.responder, fd);
    relay_update(&s->wire);
}

int successor_steal(struct device *d)
{
    int fd = relay_steal_responder(&d->next.wire);
    successor_close(d);
    return fd;
}

void successor_close(struct device *d)
{
    struct successor *s = &d->next;
    relay_close(&s->wire);
    s->channel_fd = close_keep_errno(s->channel_fd);
    msg_clear(&s->inflight);
    s->inflight = MSG_NULL;
    msg_clear(&s->heard);
    s->greeting = (struct greeting){ .step = GREETING_FEATURES };
    s->state = GREETING;
    s->asking = 0;
    s->changed = false;
    s->told_since = 0;
}
