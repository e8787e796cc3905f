/* SPDX-License-Identifier: MIT */
#include "switch.h"

#include <stdio.h>
#include <string.h>

#include "carry.h"
#include "hold.h"

const uint32_t switch_bucket_us[SWITCH_N_BUCKETS] = { 100,  200,   500,   1000,   2000,
                                                      5000, 10000, 50000, 100000, 0 };

bool switch_is_on(const struct device *d)
{
    return d->switching.stage != SWITCH_NONE;
}

bool switch_has_stopped(const struct device *d)
{
    return d->switching.stage >= SWITCH_STOPPING;
}

bool switch_knows_rings(const struct device *d)
{
    enum switch_stage stage = d->switching.stage;
    return stage >= SWITCH_STATE && stage <= SWITCH_STARTING;
}

static void finish(struct device *d, const char *error)
{
    struct switching *s = &d->switching;
    s->stage = SWITCH_NONE;
    s->channel_fd = close_keep_errno(s->channel_fd);
    transfer_stop(d);
    if (error != NULL) {
        log_warn(d->options.name, NULL, "switch to %s failed: %s",
                 d->places[PLACE_SWITCH].endpoint.path, error);
        device_tell(d, EVENT_SWITCH_FAILED, NULL, N_ENDINGS, error);
    }
    switch_done_fn *done = s->done; /* the event may have been too much for whoever waits */
    s->done = NULL;
    if (done != NULL) {
        done(s->owner, d, error);
    }
}

/* Everything is there that a new back-end must be told. */
static bool can_prepare(const struct device *d, char *why, size_t why_len)
{
    const char *reason = d->record.state_moves
                             ? "the front-end is just moving the device's state (try again)"
                         : d->wire.keeps ? hold_obstacle(d)
                                         : "nothing is kept with --on-back-end-loss close";
    if (reason != NULL) {
        snprintf(why, why_len, "%s%s", reason,
                 d->record.postcopy != POSTCOPY_NONE ? " (try again when it is over)" : "");
    }
    return reason == NULL;
}

/* No ring has been stopped yet. */
static void forget_stops(struct device *d)
{
    d->switching.at = d->switching.n_asked = d->switching.n_answered = 0;
    memset(d->stopped_at, 0, d->n_stopped_at * sizeof(d->stopped_at[0]));
    d->n_stopped_at = 0;
}

int switch_begin(struct device *d, const struct endpoint *e, switch_done_fn *done, void *owner,
                 char *why, size_t why_len)
{
    struct switching *s = &d->switching;
    if (switch_is_on(d)) {
        snprintf(why, why_len, "a switch is under way already");
        return -EBUSY;
    }
    if (d->closing) {
        snprintf(why, why_len, "the device is just closing (try again)");
        return -EAGAIN;
    }
    if (successor_is_open(d) && d->next.state >= FINISHING) {
        /* It may have used rings by now. */
        snprintf(why, why_len, "a back-end is just taking over (try again)");
        return -EAGAIN;
    }
    if (device_is_live(d) && endpoint_is_marked(e, &d->live_mark)) {
        snprintf(
            why, why_len,
            "the live back-end is the one that listens there (start the new one first: it makes "
            "a socket of its own in that place)");
        return -EINVAL;
    }
    if (!can_prepare(d, why, why_len)) {
        return -EINVAL;
    }
    s->done = done;
    s->owner = owner;
    s->why[0] = '\0';
    s->channel_fd = -1;
    forget_stops(d);
    s->stage = SWITCH_PREPARING;
    device_switch_place(d, e);
    return 0;
}

void switch_disown(struct device *d, void *owner)
{
    if (d->switching.owner == owner) {
        d->switching.done = NULL;
    }
}

/* ---- stopping the old one ---- */

static bool has_enable(const struct device *d)
{
    return (d->record.features_acked & BIT(VHOST_PROTOCOL_FEATURES)) != 0;
}

/* The at-th message: first all are disabled, then each is asked where it stands. 0: none there. */
static int stop_message(const struct device *d, size_t at, struct msg *ret_msg)
{
    const struct record *r = &d->record;
    size_t ring = at % r->n_rings;
    bool ask = at >= r->n_rings;
    struct wire_vring_base body = { .index = (uint32_t)ring };
    if (!r->rings[ring].started || (!ask && !(has_enable(d) && r->rings[ring].enabled))) {
        return 0;
    }
    int err = msg_make(ask ? FRONT_GET_VRING_BASE : FRONT_SET_VRING_ENABLE, 0, &body, sizeof(body),
                       ret_msg);
    return err < 0 ? err : 1;
}

static void stop_rings(struct device *d)
{
    struct switching *s = &d->switching;
    while (s->at < 2 * (size_t)d->record.n_rings && side_has_room(&d->wire.responder) &&
           !answers_full(&d->wire.answers)) {
        struct msg m = MSG_NULL;
        size_t ring = s->at % d->record.n_rings;
        bool ask = s->at >= d->record.n_rings;
        int result = stop_message(d, s->at++, &m);
        if (result == 0) {
            continue;
        }
        if (d->stopped_at[ring] == 0) {
            d->stopped_at[ring] = monotonic_s();
            d->n_stopped_at = ring >= d->n_stopped_at ? ring + 1 : d->n_stopped_at;
        }
        if (ask) {
            d->asked[s->n_asked++] = (uint16_t)ring;
        }
        result = result < 0 ? result : relay_ask(&d->wire, &m, ask);
        msg_clear(&m);
        if (result < 0) {
            device_end(d, &d->wire.responder, ending_of_frame(result), strerror(-result));
            return;
        }
    }
}

/* ---- the in-flight region ---- */

/* Without draining, requests stay in the region: only its own kind can read them. */
static bool keeps_requests(const struct device *d)
{
    return (d->record.protocol_acked & BIT(PROTOCOL_GET_VRING_BASE_INFLIGHT)) != 0 &&
           d->record.last[FRONT_SET_INFLIGHT_FD].told;
}

static bool is_of_one_kind(const struct device *d)
{
    struct offer heard = carry_heard(&d->record);
    const struct offer *now = &d->next.greeting.offer;
    return heard.features == now->features && heard.protocol_features == now->protocol_features;
}

/* All requests are complete, so the new back-end may lay out a region of its own. */
static void ask_region(struct device *d)
{
    struct wire_inflight body;
    record_last_get(&d->record, FRONT_SET_INFLIGHT_FD, &body, sizeof(body));
    body.mmap_size = body.mmap_offset = 0;
    successor_ask(d, FRONT_GET_INFLIGHT_FD, &body, d->record.last[FRONT_SET_INFLIGHT_FD].size);
}

/* Some back-ends ask on their channel while they are started, and read on only when they have their
 * answer: from here on the channel is the new one's. What the old one had announced belongs to rings
 * that stand still. */
static void tell_rings(struct device *d)
{
    d->switching.stage = SWITCH_STARTING;
    d->switching.channel_fd = channel_steal(d);
    channel_attach_take(d, steal_fd(&d->next.channel_fd));
    hold_note_used(d);
    successor_tell(d, FINISHING);
}

static void take_region(struct device *d, const struct msg *answer)
{
    int result = replay_copy(answer, FRONT_SET_INFLIGHT_FD, &d->next.inflight);
    if (result < 0) {
        device_end(d, &d->next.wire.responder, ending_of_frame(result), strerror(-result));
        return;
    }
    tell_rings(d);
}

static void start_rings(struct device *d)
{
    bool region = d->record.last[FRONT_SET_INFLIGHT_FD].told;
    if (region && !keeps_requests(d)) {
        d->switching.stage = SWITCH_REGION;
        ask_region(d);
    } else {
        tell_rings(d);
    }
}

/* Nothing of the old one runs any more. */
static void hand_over(struct device *d)
{
    if (transfer_is_wanted(d)) {
        d->switching.stage = SWITCH_STATE;
        transfer_begin(d);
    } else {
        start_rings(d);
    }
}

/* ---- back to the old one ---- */

static void go_back(struct device *d)
{
    struct switching *s = &d->switching;
    while (!s->fence && side_has_room(&d->wire.responder) && !answers_full(&d->wire.answers)) {
        struct msg m = MSG_NULL;
        int result = replay_next(&s->replay, &d->record, &d->kept, &m);
        bool has_answer = false;
        if (result == 0) {
            s->fence = has_answer = true;
            result = msg_make(FRONT_GET_FEATURES, 0, NULL, 0, &m);
        }
        result = result < 0 ? result : relay_ask(&d->wire, &m, has_answer);
        msg_clear(&m);
        if (result < 0) {
            device_end(d, &d->wire.responder, ending_of_frame(result), strerror(-result));
            return;
        }
    }
}

/* ---- the order of things ---- */

void switch_prepared(struct device *d)
{
    if (d->switching.stage != SWITCH_PREPARING) {
        return;
    }
    char why[128];
    if (!can_prepare(d, why, sizeof(why))) {
        /* That has come about meanwhile. */
        device_end(d, &d->next.wire.responder, ENDING_NOT_SWITCHED, why);
        return;
    }
    if (keeps_requests(d) && !is_of_one_kind(d)) {
        device_end(d, &d->next.wire.responder, ENDING_NOT_SWITCHED,
                   "the in-flight region holds requests, and only a back-end of the same kind can "
                   "read it");
        return;
    }
    const char *lost = transfer_is_wanted(d) ? NULL : hold_loses(d);
    if (lost != NULL) {
        device_end(d, &d->next.wire.responder, ENDING_NOT_SWITCHED, lost);
        return;
    }
    forget_stops(d); /* those of one that has been lost meanwhile do not count */
    d->switching.stage = SWITCH_STOPPING;
    d->wire.paused = true;
    relay_update(&d->wire);
    switch_advance(d);
}

void switch_advance(struct device *d)
{
    struct switching *s = &d->switching;
    if (s->stage == SWITCH_STOPPING) {
        stop_rings(d);
        bool room = side_has_room(&d->wire.responder) && !answers_full(&d->wire.answers) &&
                    side_has_room(&d->next.wire.responder);
        bool stopped = s->stage == SWITCH_STOPPING && s->n_answered == s->n_asked &&
                       s->at >= 2 * (size_t)d->record.n_rings;
        bool goes_on = s->why[0] == '\0';
        if (stopped && goes_on && !keeps_requests(d) && !hold_is_drained(d)) {
            /* It has answered before its requests were complete. */
            device_settle_soon(d);
        } else if (stopped && goes_on && room) {
            hand_over(d);
        } else if (stopped && !goes_on) {
            s->stage = SWITCH_BACK;
            s->fence = false;
            s->replay = (struct replay){ .part = REPLAY_RINGS };
        }
    }
    if (s->stage == SWITCH_BACK) {
        go_back(d);
    }
    relay_update(&d->wire);
}

/* Answers come in the order of the questions: that one is due which was asked first. False when the old
 * back-end speaks of another ring, and is left: where this one stands nobody knows then. */
static bool take_position(struct device *d, const struct msg *answer)
{
    struct switching *s = &d->switching;
    struct wire_vring_base base;
    char detail[96];
    memcpy(&base, answer->body, sizeof(base));
    size_t ring = d->asked[s->n_answered++];
    if (base.index != ring) {
        snprintf(detail, sizeof(detail), "GET_VRING_BASE: ring %u, asked was %zu", base.index,
                 ring);
        device_end(d, &d->wire.responder, ENDING_WRONG_REPLY, detail);
        return false;
    }
    if (ring < d->record.n_rings && d->record.rings[ring].started) {
        record_set_base(&d->record, ring, base.base);
    }
    return true;
}

void switch_answered(struct device *d, const struct msg *answer)
{
    struct switching *s = &d->switching;
    if (s->stage == SWITCH_BACK && s->fence && answer->head.request == FRONT_GET_FEATURES) {
        d->wire.paused = false;
        device_nudge(d);
        finish(d, s->why);
        return;
    }
    if (s->stage == SWITCH_STATE) {
        if (transfer_answered(d, answer)) {
            start_rings(d);
        }
        return;
    }
    if (answer->head.request == FRONT_GET_VRING_BASE && s->n_answered < s->n_asked &&
        !take_position(d, answer)) {
        return;
    }
    switch_advance(d);
}

void switch_next_answered(struct device *d, const struct msg *answer)
{
    struct switching *s = &d->switching;
    if (s->stage == SWITCH_STATE) {
        if (transfer_answered(d, answer)) {
            start_rings(d);
        }
    } else if (s->stage == SWITCH_REGION && answer->head.request == FRONT_GET_INFLIGHT_FD) {
        take_region(d, answer);
    }
}

const char *switch_late(const struct device *d)
{
    const struct switching *s = &d->switching;
    if (s->stage == SWITCH_STATE) {
        return transfer_waits_for(d);
    }
    return s->stage != SWITCH_STOPPING  ? NULL
           : s->n_answered < s->n_asked ? "the old back-end does not say where its rings stand "
                                          "(does it hang? ctl state says "
                                          "what its loss would mean)"
                                        : "the old back-end does not complete what it has taken";
}

void switch_failed(struct device *d, const char *why)
{
    struct switching *s = &d->switching;
    if (s->stage == SWITCH_NONE || s->stage == SWITCH_BACK) {
        return;
    }
    snprintf(s->why, sizeof(s->why), "%s", why);
    if (s->stage == SWITCH_PREPARING || d->wire.alone) {
        finish(d, s->why);
        return;
    }
    transfer_stop(d);
    if (s->stage == SWITCH_STARTING) {
        channel_lose_back(d);
        channel_attach_take(d, steal_fd(&s->channel_fd));
    }
    if (!hold_may_replay(d)) {
        /* The new one has used rings, and where they stand nobody knows. */
        s->stage = SWITCH_BACK;
        device_end(d, &d->wire.responder, ENDING_NOT_SOUND, "");
        return;
    }
    /* What is still to be stopped is stopped first: then all go back alike. */
    s->stage = SWITCH_STOPPING;
    switch_advance(d);
}

void switch_lost_old(struct device *d)
{
    struct switching *s = &d->switching;
    if (s->stage == SWITCH_NONE) {
        return;
    }
    if (s->stage == SWITCH_BACK || s->why[0] != '\0') {
        finish(d, s->why[0] != '\0' ? s->why : "both back-ends are lost");
        return;
    }
    /* One that has got a part of the old one's state is begun anew. */
    d->next.changed = d->next.changed || s->stage == SWITCH_STATE;
    transfer_stop(d);
    s->stage = SWITCH_PREPARING;
}

bool switch_goes_back(const struct device *d)
{
    const struct switching *s = &d->switching;
    return s->stage == SWITCH_BACK || (s->stage == SWITCH_STOPPING && s->why[0] != '\0');
}

void switch_say_late(struct device *d)
{
    struct switching *s = &d->switching;
    switch_done_fn *done = s->done;
    char text[sizeof(s->why) + 64];
    snprintf(text, sizeof(text), "%s; the device stands still until the old back-end answers",
             s->why);
    log_warn(d->options.name, NULL, "switch to %s fails: %s", d->places[PLACE_SWITCH].endpoint.path,
             text);
    s->done = NULL;
    if (done != NULL) {
        done(s->owner, d, text);
    }
}

uint32_t switch_blackout_us(const struct device *d, size_t ring)
{
    return d->blackout_us[ring];
}

static void count_blackout(struct device *d, uint32_t us)
{
    size_t k = 0;
    while (k < SWITCH_N_BUCKETS - 1 && us > switch_bucket_us[k]) {
        k++;
    }
    d->blackouts[k]++;
}

/* When a ring has come to stand still; 0: it did not run. */
static double stood_since(const struct device *d, size_t ring, double lost)
{
    bool died = lost != 0 && d->record.rings[ring].started;
    return d->stopped_at[ring] == 0 && died ? lost : d->stopped_at[ring];
}

void switch_succeeded(struct device *d, double gap)
{
    double now = monotonic_s();
    uint32_t most = 0;
    char text[sizeof(d->options.back.path) + 128];
    char back[sizeof(d->options.back.path) + 16];
    for (uint32_t ring = 0; ring < d->record.n_rings; ring++) {
        double since = stood_since(d, ring, gap > 0 ? now - gap : 0);
        double us = since == 0 ? 0 : (now - since) * 1e6;
        d->blackout_us[ring] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
        most = d->blackout_us[ring] > most ? d->blackout_us[ring] : most;
        if (since != 0) {
            count_blackout(d, d->blackout_us[ring]);
        }
    }
    d->n_switched++;
    device_adopt_place(d);
    endpoint_print(&d->places[d->live_place].endpoint, back, sizeof(back));
    snprintf(text, sizeof(text), "%s, rings stood still for at most %u us", back, most);
    log_info(d->options.name, "back", "has been switched to %s", text);
    device_tell(d, EVENT_SWITCHED, &d->wire.responder, N_ENDINGS, text);
    finish(d, NULL);
}

void switch_unused(struct device *d)
{
    if (switch_is_on(d)) {
        device_adopt_place(d);
        d->next.place = d->live_place;
        memset(d->blackout_us, 0, d->record.n_rings * sizeof(d->blackout_us[0]));
        d->n_switched++;
        device_tell(d, EVENT_SWITCHED, NULL, N_ENDINGS, "no front-end is connected");
        finish(d, NULL);
    }
}

void switch_doom(struct device *d, const struct side *side, const char *text)
{
    struct switching *s = &d->switching;
    if (switch_is_on(d)) {
        snprintf(s->why, sizeof(s->why), "the device is closed: %s %s", side->name, text);
    }
}

void switch_abort(struct device *d)
{
    struct switching *s = &d->switching;
    if (switch_is_on(d)) {
        finish(d, s->why[0] != '\0' ? s->why : "vushim stops");
    }
}
