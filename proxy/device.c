/* SPDX-License-Identifier: MIT */
#include "device.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "alone.h"
#include "carry.h"
#include "hold.h"

/* How long a side that reads nothing may hold up the closing of the other. */
#define LINGER_S 1.0
/* How long a connected back-end may take for its answers to the greeting, if --wait is shorter:
 * DPDK looks at a new connection up to a second late. */
#define GREETING_S 5.0
/* How long at most a front-end is kept waiting for its refusal when it comes back at once each
 * time: QEMU as a client tries a thousand times a second otherwise, and stands still while it
 * waits. */
#define HOLD_MOST_S 0.5
/* A successor that has not answered its first question for so long makes room for one that came by
 * itself meanwhile. DPDK looks at a new connection up to a second late. */
#define MUTE_S 1.5
/* A life shorter than this makes the next one wait, twice as long each time. */
#define SHORT_LIFE_S 1.0
/* A back-end that serves no longer than this is followed by the next one after the first pause: one that
 * takes over and leaves at once would be asked thousands of times a second. */
#define SHORT_TURN_S 0.1
#define PAUSE_FIRST_S 0.05
#define PAUSE_MOST_S 5.0
#define DETAIL_LEN 2048

static void front_arrived(struct device *d, int fd);
static void go_on_waiting(struct device *d);
static void begin_hurry(struct device *d);
static void back_arrived(struct device *d, int fd, size_t place);

static bool front_is_open(const struct device *d)
{
    return side_is_open(&d->wire.requester);
}

static bool back_is_open(const struct device *d)
{
    return device_is_live(d) || successor_is_open(d);
}

/* What is connected to begin with cannot come again. */
static bool is_single(const struct device *d)
{
    return d->options.front.kind == ENDPOINT_FD || d->options.back.kind == ENDPOINT_FD;
}

static bool can_find_successor(const struct device *d)
{
    return d->options.has_standby || d->options.back.kind != ENDPOINT_FD || switch_is_on(d) ||
           successor_is_open(d);
}

/* Anew, if it is running already. */
static void start_timer(struct device *d, ev_timer *w, double seconds)
{
    ev_timer_stop(d->loop, w);
    ev_timer_set(w, seconds, 0);
    ev_timer_start(d->loop, w);
}

/* Unless it is over sooner anyway. */
static void start_timer_at_most(struct device *d, ev_timer *w, double seconds)
{
    if (!ev_is_active(w) || ev_timer_remaining(d->loop, w) > seconds) {
        start_timer(d, w, seconds);
    }
}

/* ---- traces ---- */

static enum trace_wire wire_of_side(const struct device *d, const struct side *s)
{
    bool channel = s == &d->channel.requester || s == &d->channel.responder;
    bool next = s == &d->next.wire.responder;
    return relay_wire(channel ? &d->channel : next ? &d->next.wire : &d->wire, s);
}

static void trace_context(struct device *d)
{
    enum device_type device = d->options.interface.device;
    if (device == DEVICE_UNKNOWN && d->has_offer) {
        device = offer_guess_device(&d->offer);
    }
    trace_of(d->wire.trace, device, d->n_lives);
}

/* Reading was paused for it. */
static void on_trace_room(void *owner)
{
    struct device *d = owner;
    relay_update(&d->wire);
    relay_update(&d->channel);
    relay_update(&d->next.wire);
    if (successor_is_open(d)) {
        device_settle(d);
    }
}

int device_trace_start(struct device *d, const struct trace_options *options, char *why,
                       size_t why_len)
{
    char spec[INTERFACE_TEXT_LEN];
    if (d->wire.trace != NULL) {
        snprintf(why, why_len, "a trace is being written already: %s",
                 trace_status(d->wire.trace).path);
        return -EBUSY;
    }
    struct trace_options o = *options;
    o.confined = d->options.confined;
    struct trace *t = trace_start(d->loop, &o, d->options.name, on_trace_room, d, why, why_len);
    if (t == NULL) {
        return -EIO;
    }
    d->wire.trace = d->channel.trace = d->next.wire.trace = t;
    trace_context(d);
    interface_canonical(&d->options.identity, spec, sizeof(spec));
    trace_put_text(t, TRACE_EVENT, TRACE_FRONT, "START", spec);
    return 0;
}

bool device_trace_stop(struct device *d)
{
    struct trace *t = d->wire.trace;
    d->wire.trace = d->channel.trace = d->next.wire.trace = NULL;
    trace_stop(t);
    on_trace_room(d);
    return t != NULL;
}

/* ---- events ---- */

const char *event_name(enum event event)
{
    static const char *const names[] = {
#define EVENT(name, text) [EVENT_##name] = #name,
#include "events.def"
#undef EVENT
    };
    return names[event];
}

void device_listen(struct device *d, device_event_fn *event, void *owner)
{
    d->event = event;
    d->event_owner = owner;
}

void device_tell(struct device *d, enum event event, const struct side *side, enum ending ending,
                 const char *detail)
{
    if (ending == N_ENDINGS) { /* endings have records of their own */
        trace_put_text(d->wire.trace, TRACE_EVENT, wire_of_side(d, side), event_name(event),
                       detail);
    }
    if (d->event != NULL) {
        d->event(d->event_owner, d, event, side != NULL ? side->name : "", ending, detail);
    }
}

static void tell_ending(struct device *d, const struct side *side, enum ending ending,
                        const char *detail)
{
    bool front = side == &d->wire.requester || side == &d->channel.responder;
    if (ending == ENDING_INCOMPATIBLE) {
        device_tell(d, EVENT_BACK_INCOMPATIBLE, side, ending, detail);
    } else if (ending == ENDING_REFUSED) {
        device_tell(d, EVENT_REFUSED, side, ending, detail);
    }
    device_tell(d, front ? EVENT_FRONT_GONE : EVENT_BACK_LOST, side, ending, detail);
}

/* ---- the end of a life ---- */

static void log_ending(struct device *d, const struct side *side, enum ending ending,
                       const char *detail)
{
    const struct ending_row *row = &ending_rows[ending];
    unsigned long suppressed = 0;
    char more[64] = "";
    d->endings[ending]++;
    if (!log_limit_pass(&d->limits[ending], monotonic_s(), &suppressed)) {
        return;
    }
    if (suppressed > 0) {
        snprintf(more, sizeof(more), " (%lu like this not logged)", suppressed);
    }
    log_line(row->level, d->options.name, side->name, "%s after %lu messages%s%s [%s]%s", row->text,
             side->received, detail[0] != '\0' ? ": " : "", detail, row->name, more);
}

static void stop_seeking(struct device *d)
{
    for (size_t k = 0; k < N_PLACES; k++) {
        seeker_stop(&d->places[k].seeker);
    }
}

static void forget(struct device *d)
{
    switch_abort(d);
    relay_close(&d->wire);
    relay_close(&d->channel);
    successor_close(d);
    kept_clear(&d->kept);
    seeker_stop(&d->front_seeker);
    stop_seeking(d);
    ev_timer_stop(d->loop, &d->patience);
    ev_timer_stop(d->loop, &d->hurry);
    ev_timer_stop(d->loop, &d->hold);
    ev_timer_stop(d->loop, &d->settle);
    ev_timer_stop(d->loop, &d->linger);
    d->closing = d->held = d->has_offer = d->said_ready = d->next_failed = false;
    d->said_obstacle = NULL;
    record_clear(&d->record);
    d->n_lives++;
    trace_context(d);
}

/* One that may stand by: beside a live one, of a device that can be held. */
static bool may_stand_by(const struct device *d)
{
    return device_is_live(d) && d->options.on_loss != LOSS_CLOSE && !switch_is_on(d);
}

/* For a back-end that comes by itself. */
static bool has_place(const struct device *d)
{
    return !successor_is_open(d) && (!device_is_live(d) || may_stand_by(d));
}

static void on_pause_over(struct ev_loop *loop, ev_timer *w, int events)
{
    struct device *d = w->data;
    (void)loop;
    (void)events;
    if (!d->closing && d->next_back >= 0 && has_place(d)) {
        back_arrived(d, steal_fd(&d->next_back), d->next_back_place);
    } else {
        device_advance(d);
    }
}

static void lengthen_pause(struct device *d)
{
    d->pause_s = d->pause_s == 0 ? PAUSE_FIRST_S : d->pause_s * 2;
    d->pause_s = d->pause_s < PAUSE_MOST_S ? d->pause_s : PAUSE_MOST_S;
    start_timer(d, &d->pause, d->pause_s);
}

/* Peers that we look for ourselves are not asked again at once when nothing comes of it: a refusal
 * that repeats must not become a thousand connections a second. */
static void pause_if_short(struct device *d)
{
    if (monotonic_s() - d->life_began >= SHORT_LIFE_S) {
        d->pause_s = 0;
        return;
    }
    lengthen_pause(d);
}

static void next_life(struct device *d)
{
    if (front_is_open(d)) {
        device_tell(d, EVENT_FRONT_GONE, &d->wire.requester, N_ENDINGS, "with its back-end");
    }
    forget(d);
    if (is_single(d)) {
        d->finished(d, false);
        return;
    }
    pause_if_short(d);
    if (d->next_back >= 0) {
        back_arrived(d, steal_fd(&d->next_back), d->next_back_place);
    }
    if (d->next_front >= 0) {
        front_arrived(d, steal_fd(&d->next_front));
    }
    device_advance(d);
}

static bool is_sending(const struct device *d)
{
    return relay_is_sending(&d->wire) || relay_is_sending(&d->channel);
}

static void on_linger_over(struct ev_loop *loop, ev_timer *w, int events)
{
    (void)loop;
    (void)events;
    next_life(w->data);
}

/* A region that only the new back-end could lay out. */
static void keep_region_of_next(struct device *d)
{
    const struct msg *m = &d->next.inflight;
    if (m->head.request != 0 && m->fds.n > 0) {
        const struct message_row *row = message_row(SPACE_FRONT, FRONT_SET_INFLIGHT_FD);
        record_request(&d->record, row, m);
        if (kept_request(&d->kept, &d->record, row, m) < 0) {
            d->record.incomplete = true;
        }
    } else if (m->head.request != 0) {
        d->record.last[FRONT_SET_INFLIGHT_FD].told = false;
        kept_follow(&d->kept, &d->record);
    }
}

/* The successor is of no use any more. A front-end that waited for it is served alone again. */
static void drop_next(struct device *d)
{
    successor_close(d);
    d->said_ready = false;
    if (d->wire.alone) {
        d->wire.paused = false;
        channel_lose_back(d);
    }
}

/* A standby that could not take over is told nothing, nor looked for; why is said once. */
static bool may_prepare_standby(struct device *d)
{
    const char *obstacle = hold_obstacle(d);
    if (obstacle != NULL && obstacle != d->said_obstacle) {
        log_warn(d->options.name, "standby", "is not prepared: %s", obstacle);
    }
    d->said_obstacle = obstacle;
    return obstacle == NULL;
}

/* What the successor of a live back-end has been told is of no use any more, nor is what it would be
 * told now. */
static void dismiss_next(struct device *d)
{
    const char *obstacle = hold_obstacle(d);
    if (switch_is_on(d)) {
        device_end(d, &d->next.wire.responder, ENDING_INCOMPATIBLE, obstacle);
        return;
    }
    bool was_ready = d->said_ready;
    may_prepare_standby(d);
    drop_next(d);
    ev_timer_stop(d->loop, &d->hurry);
    if (was_ready) {
        device_tell(d, EVENT_STANDBY_LOST, NULL, N_ENDINGS, obstacle);
    }
}

static void fail_switch(struct device *d, const char *why)
{
    switch_failed(d, why);
    if (switch_is_on(d)) {
        begin_hurry(d); /* to the old one's word that it has its rings back */
    }
}

/* A back-end that leaves, or does not fit, before it has taken over: the front-end does not notice,
 * and the next one may do better. Of a switch the old one goes on. False, with the reason in `look`, when
 * it has used rings of which nobody knows now where they stand. */
static bool lose_next(struct device *d, enum ending ending, const char *detail,
                      char look[static DETAIL_LEN])
{
    char why[DETAIL_LEN + 128];
    bool was_ready = d->said_ready;
    enum replay_ran ran = d->next.state >= FINISHING ? replay_ran(&d->next.replay) : RAN_NOT;
    /* Before the first back-end of a life nothing that it did can be seen in the guest's rings. */
    ran = d->held || device_is_live(d) ? ran : RAN_NOT;
    if (ran != RAN_NOT && hold_rings_moved(d)) {
        keep_region_of_next(d);
    }
    bool known = hold_look_again(d, ran, look, DETAIL_LEN);
    if (ending == ENDING_NOT_SWITCHED) { /* not for anything that it did */
        snprintf(why, sizeof(why), "%s", detail);
    } else {
        snprintf(why, sizeof(why), "the new back-end %s%s%s", ending_rows[ending].text,
                 detail[0] != '\0' ? ": " : "", detail);
    }
    drop_next(d);
    d->next_failed = true;
    ev_timer_stop(d->loop, &d->hurry);
    if (switch_is_on(d)) {
        fail_switch(d, why);
    } else if (was_ready && !d->wire.alone) {
        device_tell(d, EVENT_STANDBY_LOST, NULL, N_ENDINGS, why);
    }
    lengthen_pause(d);
    go_on_waiting(d);
    relay_update(&d->wire);
    device_settle(d);
    return known || d->options.on_loss == LOSS_HOLD;
}

static void on_hold_over(struct ev_loop *loop, ev_timer *w, int events)
{
    struct device *d = w->data;
    (void)loop;
    (void)events;
    device_end(d, &d->wire.requester, ENDING_HOLD_OVER, "");
}

/* The live back-end is gone. False when that ends the device's life. */
static bool survive_loss(struct device *d)
{
    char why[DETAIL_LEN] = "";
    unsigned long suppressed;
    bool may = d->wire.open && front_is_open(d) && can_find_successor(d);
    if (!may || !hold_begin(d, why, sizeof(why))) {
        if (why[0] != '\0') {
            log_warn(d->options.name, NULL, "cannot be held: %s", why);
        }
        return false;
    }
    d->n_held++;
    d->held_since = monotonic_s();
    ev_timer_stop(d->loop, &d->pause);
    d->pause_s = 0;
    if (d->held_since - d->life_began < SHORT_TURN_S) {
        lengthen_pause(d);
    }
    if (d->options.hold_for >= 0) {
        start_timer(d, &d->hold, d->options.hold_for);
    }
    if (log_limit_pass(&d->holds, monotonic_s(), &suppressed)) {
        log_info(d->options.name, NULL, "is held until a back-end comes");
    }
    device_tell(d, EVENT_BACK_HELD, NULL, N_ENDINGS, "");
    switch_lost_old(d);
    device_settle(d);
    return true;
}

/* Nothing has been relayed yet: the front-end, which waits, may be lucky with the next one. */
static bool may_try_another(const struct device *d, enum ending ending)
{
    return d->options.on_loss != LOSS_CLOSE && ending != ENDING_INCOMPATIBLE &&
           can_find_successor(d) && !is_single(d);
}

/* The channel goes with the rings: it is the successor's as soon as no other back-end runs. */
static bool is_of_next(const struct device *d, const struct side *side)
{
    bool has_channel = !device_is_live(d) || d->switching.stage == SWITCH_STARTING;
    return side == &d->next.wire.responder ||
           (side == &d->channel.requester && successor_is_open(d) && has_channel);
}

static bool is_of_back(const struct device *d, const struct side *side)
{
    return side == &d->wire.responder || side == &d->channel.requester;
}

static void say_ending(struct device *d, const struct side *side, enum ending ending,
                       const char *text)
{
    log_ending(d, side, ending, text);
    trace_put_text(d->wire.trace, TRACE_ENDING, wire_of_side(d, side), ending_rows[ending].name,
                   text);
    tell_ending(d, side, ending, text);
}

void device_end(struct device *d, struct side *side, enum ending ending, const char *detail)
{
    char text[DETAIL_LEN];
    snprintf(text, sizeof(text), "%s", detail); /* it may be of what is closed now */
    say_ending(d, side, ending, text);
    if (!d->closing && is_of_next(d, side) && (d->wire.open || may_try_another(d, ending))) {
        char look[DETAIL_LEN] = "";
        if (lose_next(d, ending, text, look)) {
            return;
        }
        side = &d->wire.requester;
        ending = ENDING_NOT_SOUND;
        say_ending(d, side, ending, look);
    }
    if (!d->closing && ending == ENDING_LEFT) {
        /* The last words of a peer may be on its other socket. */
        bool front = side == &d->wire.requester;
        bool was_open = side_is_open(side);
        relay_drain(&d->channel, front ? &d->channel.responder : &d->channel.requester);
        if (was_open && !side_is_open(side)) {
            return; /* they were reason enough to lose it */
        }
    }
    if (!d->closing && is_of_back(d, side) && device_is_live(d) && survive_loss(d)) {
        return;
    }
    side_close(side);
    if (!d->closing) {
        d->closing = true;
        switch_doom(d, side, ending_rows[ending].text);
        relay_stop_reading(&d->wire);
        relay_stop_reading(&d->channel);
        relay_stop_reading(&d->next.wire);
        seeker_stop(&d->front_seeker);
        stop_seeking(d);
        ev_timer_stop(d->loop, &d->patience);
        ev_timer_stop(d->loop, &d->hurry);
        ev_timer_stop(d->loop, &d->hold);
    }
    bool front_waits = ending == ENDING_INCOMPATIBLE && front_is_open(d);
    double hold = !front_waits ? 0 : d->pause_s < HOLD_MOST_S ? d->pause_s : HOLD_MOST_S;
    /* Messages that are whole in hand still go; the caller may stand in one of the sides, so the
     * rest happens in a turn of its own. */
    start_timer(d, &d->linger, is_sending(d) ? LINGER_S : hold);
}

/* ---- a back-end takes its place ---- */

static void take_place(struct device *d)
{
    d->live_place = d->next.place;
    d->live_mark = d->next.mark;
    ev_timer_stop(d->loop, &d->hurry);
    ev_timer_stop(d->loop, &d->patience);
    d->said_ready = false;
    d->pause_s = 0;
}

/* The first back-end of a life: the front-end has said nothing yet. */
static void begin_relay(struct device *d)
{
    char offered[INTERFACE_DIGEST_LEN];
    unsigned long suppressed;
    d->offer = d->next.greeting.offer;
    d->has_offer = true;
    struct rewrite w = rewrite_prepare(&d->options.interface, &d->offer, &d->record);
    take_place(d);
    d->life_began = monotonic_s();
    trace_context(d);
    /* The guest that was expected has come. What a later back-end must do is what it uses by then. */
    d->options.expects = false;
    int fd = successor_steal(d);
    if (fd < 0) {
        device_end(d, &d->next.wire.responder, ENDING_UNASKED_REPLY, "");
        return;
    }
    side_open_take(&d->wire.responder, fd);
    relay_open(&d->wire, &w, &d->record);
    interface_digest(&d->options.identity, offered);
    if (log_limit_pass(&d->arrivals, monotonic_s(), &suppressed)) {
        log_info(d->options.name, NULL, "front-end and back-end are connected, interface %.12s%s",
                 offered, w.transparent ? " (host: not pinned)" : "");
    }
}

/* Eventfds are never read here. A full one is awake already. */
static void wake(const struct device *d, int fd, size_t ring)
{
    const uint64_t one = 1;
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    if (fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0 &&
        write(fd, &one, sizeof(one)) < 0) {
        log_debug(d->options.name, NULL, "ring %zu: %s", ring, strerror(errno));
    }
}

void device_nudge(struct device *d)
{
    bool by_message = (d->record.features_acked & BIT(VHOST_PROTOCOL_FEATURES)) != 0;
    for (size_t ring = 0; ring < d->record.n_rings; ring++) {
        const struct record_ring *r = &d->record.rings[ring];
        if (r->started && (r->enabled || !by_message)) {
            wake(d, kept_ring(&d->kept, ring, RING_KICK), ring);
            wake(d, kept_ring(&d->kept, ring, RING_CALL), ring);
        }
    }
}

/* What the front-end has read, or was shown as zero, is not what a new back-end has. */
static bool config_differs(const struct record_bytes *heard, const struct offer *now)
{
    for (uint32_t at = 0; at < now->config_len; at++) {
        if (record_bytes_known(heard, at, 1) && heard->at[at] != now->config[at]) {
            return true;
        }
    }
    return false;
}

/* The front-end is asked to read its configuration again. */
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

/* `gap`: seconds without a back-end; `share`: since it was told the first thing. */
static void print_takeover(double gap, double share, char *buf, size_t len)
{
    if (share > gap && gap > 0) {
        snprintf(buf, len, "after %.1f ms, as it stood by", gap * 1e3);
    } else if (gap > 0) {
        snprintf(buf, len, "after %.1f ms, told everything in %.1f ms", gap * 1e3, share * 1e3);
    } else {
        snprintf(buf, len, "told everything in %.1f ms", share * 1e3);
    }
}

/* The successor has been told everything and has shown that it has taken it. */
static void take_over(struct device *d)
{
    bool switched = switch_is_on(d) && d->next.place == PLACE_SWITCH;
    bool reads_again = (d->wire.alone && !d->held) ||
                       config_differs(&d->record.answers.config, &d->next.greeting.offer);
    double now = monotonic_s();
    double share = now - d->next.told_since;
    double gap = d->held ? now - d->held_since : 0;
    char text[128];
    struct offer offer =
        d->has_offer ? carry_narrowed(&d->offer, &d->next.greeting.offer) : d->next.greeting.offer;
    int channel_fd = steal_fd(&d->next.channel_fd);
    keep_region_of_next(d);
    take_place(d);
    int fd = successor_steal(d);
    if (fd < 0) {
        close_keep_errno(channel_fd);
        device_end(d, &d->next.wire.responder, ENDING_UNASKED_REPLY, "");
        return;
    }
    d->offer = offer;
    d->has_offer = true;
    d->record.answers.binding = true;
    struct rewrite w = rewrite_prepare(&d->options.interface, &d->offer, &d->record);
    side_close(&d->wire.responder);
    d->held = false;
    ev_timer_stop(d->loop, &d->hold);
    d->life_began = now;
    relay_open(&d->wire, &w, &d->record);
    relay_found_responder_take(&d->wire, fd);
    if (channel_fd >= 0) {
        channel_attach_take(d, channel_fd);
    }
    device_nudge(d);
    d->n_taken_over++;
    trace_context(d);
    if (reads_again) {
        announce_config(d);
    }
    print_takeover(gap, share, text, sizeof(text));
    if (switched) {
        switch_succeeded(d, gap);
    } else {
        device_tell(d, EVENT_BACK_TOOK_OVER, &d->wire.responder, N_ENDINGS, text);
        log_info(d->options.name, "back",
                 "has come, and taken over what the front-end had set up: %s", text);
    }
    if (switch_is_on(d) && d->switching.stage == SWITCH_PREPARING) {
        begin_hurry(d); /* it was another one that has come meanwhile */
    }
}

void device_next_answered(struct device *d, const struct msg *answer)
{
    if (d->closing) {
        return;
    }
    if (d->next_back >= 0 && d->next.state == GREETING) {
        begin_hurry(d); /* not mute: it has its time like any other */
    }
    if (d->next.state == DONE) {
        take_over(d);
    } else {
        switch_next_answered(d, answer);
    }
    device_advance(d);
}

/* ---- from state to state ---- */

/* While the successor is told things that the front-end could change, that has to wait. */
static void tell_next(struct device *d, enum successor_state state)
{
    if (d->wire.alone) {
        d->wire.paused = true;
        relay_update(&d->wire);
    }
    successor_tell(d, state);
}

static void begin_hurry(struct device *d)
{
    double seconds = d->options.answer_within > 0 ? d->options.answer_within : GREETING_S;
    start_timer(d, &d->hurry, seconds);
}

/* The successor has been checked. False when there is nothing to do with it now. */
static bool next_is_ready(struct device *d)
{
    if (!d->wire.open) {
        switch_unused(d);
    }
    if (!successor_is_open(d)) {
        return false; /* whoever was told that it is done has ordered the next one */
    }
    if (!front_is_open(d)) {
        ev_timer_stop(d->loop, &d->hurry);
        return false;
    }
    if (!d->wire.open) {
        begin_relay(d);
        return false;
    }
    bool live = device_is_live(d);
    if (live && switch_is_on(d) && hold_obstacle(d) != NULL) {
        dismiss_next(d);
        return false;
    }
    bool quiet = switch_is_on(d) || (!ev_is_active(&d->settle) && may_prepare_standby(d));
    if (live ? !quiet : !hold_may_replay(d)) {
        ev_timer_stop(d->loop, &d->hurry);
        return false;
    }
    begin_hurry(d);
    tell_next(d, TELLING);
    return true;
}

/* The successor has been told what may be told beforehand. */
static bool next_is_prepared(struct device *d)
{
    if (!device_is_live(d)) {
        if (!hold_may_replay(d)) {
            return false;
        }
        begin_hurry(d);
        hold_note_used(d);
        tell_next(d, FINISHING);
        return true;
    }
    if (switch_is_on(d)) {
        if (!switch_has_stopped(d)) {
            begin_hurry(d);
        }
        switch_prepared(d);
        return d->next.state == FINISHING;
    }
    ev_timer_stop(d->loop, &d->hurry);
    if (!d->said_ready && !d->next.asking) {
        d->said_ready = true;
        d->pause_s = 0;
        log_info(d->options.name, "standby", "is prepared");
        device_tell(d, EVENT_STANDBY_READY, NULL, N_ENDINGS, "");
    }
    return false;
}

static void advance_next(struct device *d)
{
    bool more = true;
    while (more && successor_is_open(d) && !d->closing) {
        successor_advance(d);
        more = false;
        if (!successor_is_open(d) || d->next.asking || d->closing) {
            break;
        }
        if (d->next.changed && d->next.state == PREPARED) {
            /* What it knows is of yesterday. */
            drop_next(d);
            if (switch_is_on(d)) {
                seeker_start(&d->places[PLACE_SWITCH].seeker);
            } else {
                lengthen_pause(d);
            }
        } else if (d->next.state == READY) {
            more = next_is_ready(d);
        } else if (d->next.state == PREPARED) {
            more = next_is_prepared(d);
        }
    }
}

static void seek_successor(struct device *d)
{
    if (switch_is_on(d)) {
        if (d->switching.stage == SWITCH_PREPARING) {
            seeker_start(&d->places[PLACE_SWITCH].seeker);
        }
        return;
    }
    for (size_t k = 0; k < N_PLACES && !successor_is_open(d) && !d->closing; k++) {
        size_t n = (d->first_place + k) % N_PLACES;
        struct place *place = &d->places[n];
        bool taken = device_is_live(d) && n == d->live_place;
        if (place->used && !taken && place->endpoint.kind == ENDPOINT_CONNECT) {
            bool waits = d->wire.open || d->next_failed || !front_is_open(d);
            if (ev_is_active(&d->pause) && waits) {
                seeker_start_in(&place->seeker, ev_timer_remaining(d->loop, &d->pause));
            } else {
                seeker_start(&place->seeker);
            }
        }
    }
}

static void look_for_peers(struct device *d)
{
    bool front_is_sought = d->options.front.kind == ENDPOINT_CONNECT;
    bool may = !ev_is_active(&d->pause);
    bool early = front_is_sought || d->options.expects;
    bool live = device_is_live(d);
    bool wanted = live && d->options.has_standby && !ev_is_active(&d->settle);
    bool standby = wanted && may_prepare_standby(d);
    bool now = d->wire.alone || standby || front_is_open(d) ? !live || standby : early && may;
    if (d->next_back >= 0 && has_place(d)) {
        stop_seeking(d); /* one that has waited comes first */
        start_timer_at_most(d, &d->pause, ev_is_active(&d->pause) ? HOLD_MOST_S : 0);
    } else if (!successor_is_open(d) && (now || switch_is_on(d))) {
        seek_successor(d);
    } else if (wanted && !standby) {
        stop_seeking(d);
    }
    bool ready = successor_is_open(d) && d->next.state >= READY;
    if (front_is_sought && !front_is_open(d) && (ready || d->options.detached) && may) {
        seeker_start(&d->front_seeker);
    }
}

void device_advance(struct device *d)
{
    if (d->closing) {
        return;
    }
    bool ready = successor_is_open(d) && d->next.state >= READY;
    if (d->options.detached && front_is_open(d) && !ready && !d->wire.open) {
        alone_begin(d);
    }
    advance_next(d);
    if (switch_is_on(d)) {
        switch_advance(d);
    }
    if (d->closing) {
        return;
    }
    relay_update(&d->wire);
    look_for_peers(d);
}

static void on_settled(struct ev_loop *loop, ev_timer *w, int events)
{
    (void)loop;
    (void)events;
    device_advance(w->data);
}

static void settle_in(struct device *d, double seconds)
{
    start_timer(d, &d->settle, seconds);
}

void device_settle(struct device *d)
{
    settle_in(d, 0);
}

void device_settle_soon(struct device *d)
{
    settle_in(d, 0.001);
}

/* The new back-end of a switch has not been there. */
static void say_nobody(struct device *d)
{
    const struct seeker *s = &d->places[PLACE_SWITCH].seeker;
    char why[sizeof(s->endpoint.path) + 128];
    snprintf(why, sizeof(why), "%s: %s (is the new back-end running?)", s->endpoint.path,
             s->said != 0 ? strerror(s->said) : "nobody listens there");
    switch_failed(d, why);
}

static void on_hurry_over(struct ev_loop *loop, ev_timer *w, int events)
{
    struct device *d = w->data;
    (void)loop;
    (void)events;
    const char *why = switch_late(d);
    if (switch_goes_back(d)) {
        switch_say_late(d);
    } else if (why != NULL) {
        drop_next(d);
        fail_switch(d, why);
    } else if (successor_is_open(d)) {
        const struct answer *due = answers_oldest_due(&d->next.wire.answers);
        char name[24];
        device_end(d, &d->next.wire.responder, ENDING_SILENT,
                   due != NULL ? message_name(SPACE_FRONT, due->request, name) : "");
    } else if (switch_is_on(d)) {
        stop_seeking(d);
        say_nobody(d);
    }
}

static void on_patience_over(struct ev_loop *loop, ev_timer *w, int events)
{
    struct device *d = w->data;
    char detail[DETAIL_LEN];
    char back[256];
    (void)loop;
    (void)events;
    endpoint_print(&d->options.back, back, sizeof(back));
    if (d->next.asking) {
        snprintf(detail, sizeof(detail), "%s does not answer", back);
    } else {
        snprintf(detail, sizeof(detail), "%s (is it running? --wait says how long to wait)", back);
    }
    device_end(d, &d->wire.requester, ENDING_NO_BACK_END, detail);
}

/* ---- arrivals ---- */

/* Not let in: it has no right to be there, or the place is taken. */
static void turn_away(struct device *d, const struct side *place, int fd, enum ending ending,
                      const char *detail)
{
    struct side newcomer = { .name = place->name };
    log_ending(d, &newcomer, ending, detail);
    trace_put_text(d->wire.trace, TRACE_ENDING, wire_of_side(d, place), ending_rows[ending].name,
                   detail);
    close(fd);
}

/* Who has connected, or (where we connect) who listens there: the user as of then, told by the kernel
 * (unix(7), SO_PEERCRED). Descriptors that were given to us connected are as good as who gave them. */
static bool is_welcome(struct device *d, const struct side *place, int fd)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    char detail[64];
    if (d->options.n_users == 0) {
        return true;
    }
    bool known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0;
    for (size_t i = 0; known && i < d->options.n_users; i++) {
        if (d->options.users[i] == peer.uid) {
            return true;
        }
    }
    snprintf(detail, sizeof(detail), "uid %d", known ? (int)peer.uid : -1);
    turn_away(d, place, fd, ENDING_STRANGER, detail);
    return false;
}

/* A peer may come back before we have read that it left: then it is kept for the next life, which
 * begins as soon as what it sent before has been relayed. It may even do so twice: of those that
 * have left again while they were kept, nothing is of use to anyone. */
static bool keep_for_next_life(struct device *d, const struct side *place, int *next, int fd)
{
    bool there = !d->closing && !socket_hung_up(place->fd);
    if (there || (*next >= 0 && !socket_hung_up(*next))) {
        return false;
    }
    close_keep_errno(*next);
    *next = fd;
    return true;
}

/* A front-end that waits for its first back-end does so for a limited time. */
static void begin_patience(struct device *d, double seconds)
{
    ev_timer_stop(d->loop, &d->patience);
    if (d->options.wait >= 0 && !d->wire.open) {
        start_timer(d, &d->patience, seconds);
    }
}

/* The same, of what is left after back-ends that were of no use. */
static void go_on_waiting(struct device *d)
{
    double left = d->options.wait - (monotonic_s() - d->front_since);
    if (front_is_open(d) && !d->wire.open) {
        begin_patience(d, left > 0 ? left : 0);
    }
}

static double greeting_time(const struct device *d)
{
    return d->options.wait > GREETING_S ? d->options.wait : GREETING_S;
}

static void front_arrived(struct device *d, int fd)
{
    side_open_take(&d->wire.requester, fd);
    device_tell(d, EVENT_FRONT_CONNECTED, &d->wire.requester, N_ENDINGS, "");
    d->life_began = d->front_since = monotonic_s();
    if (!d->options.detached) {
        begin_patience(d, back_is_open(d) ? greeting_time(d) : d->options.wait);
    } else if (back_is_open(d)) {
        begin_patience(d, greeting_time(d));
    }
    device_advance(d);
}

static void back_arrived(struct device *d, int fd, size_t place)
{
    stop_seeking(d);
    d->first_place = (place + 1) % N_PLACES;
    successor_open_take(d, fd, place);
    device_tell(d, EVENT_BACK_CONNECTED, &d->next.wire.responder, N_ENDINGS, "");
    if (d->wire.open) {
        begin_hurry(d);
    } else {
        d->life_began = monotonic_s();
        if (front_is_open(d)) {
            begin_patience(d, greeting_time(d));
        }
    }
    device_advance(d);
}

static void front_accepted(struct listener *l, int fd)
{
    struct device *d = l->owner;
    struct side *front = &d->wire.requester;
    if (!is_welcome(d, front, fd)) {
        return;
    }
    if (!side_is_open(front) && !d->closing) {
        front_arrived(d, fd);
    } else if (!keep_for_next_life(d, front, &d->next_front, fd)) {
        turn_away(d, front, fd, ENDING_SECOND_FRONT, "");
    }
}

/* The front-end waits, and the successor has not even answered its first question. */
static bool next_is_mute(const struct device *d)
{
    bool waits = d->wire.alone || (!d->wire.open && front_is_open(d));
    return waits && may_try_another(d, ENDING_SILENT) && successor_is_open(d) &&
           d->next.state == GREETING && d->next.greeting.step == GREETING_FEATURES;
}

/* One that comes by itself while the successor is mute waits until that has had its time. The first
 * that waits does so to the end: those that come and come again take the place of nobody. */
static bool wait_behind_mute(struct device *d, int fd, size_t place)
{
    if (d->closing || !next_is_mute(d) || (d->next_back >= 0 && !socket_hung_up(d->next_back))) {
        return false;
    }
    close_keep_errno(d->next_back);
    d->next_back = fd;
    d->next_back_place = place;
    double left = d->next.since + MUTE_S - monotonic_s();
    start_timer_at_most(d, &d->hurry, left > 0 ? left : 0);
    return true;
}

/* A connection that failed at once is not followed by the next one at once. */
static void keep_back(struct device *d, int fd, size_t place)
{
    close_keep_errno(d->next_back);
    d->next_back = fd;
    d->next_back_place = place;
    if (ev_is_active(&d->pause)) {
        start_timer_at_most(d, &d->pause, HOLD_MOST_S);
    }
}

static void back_accepted(struct listener *l, int fd)
{
    struct place *place = l->owner;
    struct device *d = place->device;
    size_t n = (size_t)(place - d->places);
    struct side *taken = device_is_live(d) ? &d->wire.responder : &d->next.wire.responder;
    if (!is_welcome(d, taken, fd)) {
        return;
    }
    if (!d->closing && has_place(d)) {
        if (d->wire.open && ev_is_active(&d->pause)) {
            keep_back(d, fd, n);
        } else {
            back_arrived(d, fd, n);
        }
    } else if (wait_behind_mute(d, fd, n)) {
        return;
    } else if (successor_is_open(d) && !d->closing && may_stand_by(d)) {
        if (socket_hung_up(d->next.wire.responder.fd)) {
            keep_back(d, fd, n);
        } else {
            turn_away(d, taken, fd, ENDING_SECOND_BACK, "");
        }
    } else if (keep_for_next_life(d, taken, &d->next_back, fd)) {
        d->next_back_place = n;
    } else {
        turn_away(d, taken, fd, ENDING_SECOND_BACK, "");
    }
}

/* Another one may listen there later. */
#define STRANGER_S 1.0

static void front_found(struct seeker *s, int fd)
{
    struct device *d = s->owner;
    if (is_welcome(d, &d->wire.requester, fd)) {
        front_arrived(d, fd);
    } else {
        seeker_start_in(s, STRANGER_S);
    }
}

static void back_found(struct seeker *s, int fd)
{
    struct place *place = s->owner;
    struct device *d = place->device;
    if (is_welcome(d, &d->next.wire.responder, fd)) {
        back_arrived(d, fd, (size_t)(place - d->places));
    } else {
        seeker_start_in(s, STRANGER_S);
    }
}

/* ---- the main wire's hooks ---- */

static void wire_end(struct relay *r, struct side *side, enum ending ending, const char *detail)
{
    device_end(r->owner, side, ending, detail);
}

static void wire_refused(struct relay *r, const char *detail)
{
    struct device *d = r->owner;
    unsigned long suppressed;
    d->endings[ENDING_REFUSED]++;
    trace_put_text(d->wire.trace, TRACE_REFUSED, wire_of_side(d, &r->requester), "REFUSED", detail);
    device_tell(d, EVENT_REFUSED, &r->requester, ENDING_REFUSED, detail);
    if (log_limit_pass(&d->limits[ENDING_REFUSED], monotonic_s(), &suppressed)) {
        log_warn(d->options.name, r->requester.name, "was refused a message: %s [REFUSED]", detail);
    }
}

int device_keep(struct device *d, const struct message_row *row, struct msg *m)
{
    size_t before = m->fds.n;
    int err = 0;
    if ((row->traits & TAKES_CHANNEL) != 0) {
        err = d->wire.alone ? channel_keep(d, m) : channel_take(d, m);
    }
    bool exchanged = (row->traits & TAKES_CHANNEL) != 0 &&
                     (m->fds.n < before || side_is_open(&d->channel.requester));
    if (err == 0 && !exchanged && (d->wire.keeps || d->wire.alone) &&
        kept_request(&d->kept, &d->record, row, m) < 0) {
        d->record.incomplete = true;
    }
    return err;
}

bool device_may_stop_ring(struct device *d, const struct message_row *row, const struct msg *m)
{
    size_t ring = record_ring_of(row, m);
    char detail[64];
    if ((row->traits & STOPS_RING) == 0 || ring >= d->record.n_rings ||
        !d->record.rings[ring].base_is_stale || !d->held) {
        return true;
    }
    snprintf(detail, sizeof(detail), "ring %zu", ring);
    device_end(d, &d->wire.requester, ENDING_NOT_SOUND, detail);
    return false;
}

/* The standby is prepared when the front-end has been quiet for so long: a guest that boots sets its
 * device up several times. */
#define SETTLE_S 0.1

/* What would become of the device, said when its rings start. */
static void say_verdict(struct device *d)
{
    const char *name;
    const char *text;
    const struct restart_row *row = hold_verdict(d, &name, &text);
    if (d->options.on_loss == LOSS_CLOSE || row == d->said_verdict) {
        return;
    }
    d->said_verdict = row;
    bool closed = hold_obstacle(d) != NULL ||
                  (row->verdict == RESTART_NONE && d->options.on_loss != LOSS_HOLD);
    log_info(d->options.name, NULL, "if its back-end is lost it is %s: %s (%s)",
             closed ? "closed" : "held", name, text);
}

static int wire_passing(struct relay *r, const struct message_row *row, struct msg *m)
{
    struct device *d = r->owner;
    int err = device_keep(d, row, m);
    if (successor_is_open(d) && err == 0) {
        if (d->next.state > READY && hold_obstacle(d) != NULL) {
            dismiss_next(d);
        } else {
            successor_hear(d, row, m);
        }
    }
    if (d->options.has_standby || successor_is_open(d)) {
        settle_in(d, SETTLE_S);
    }
    if (row->fds.role == ROLE_KICK) {
        say_verdict(d);
    }
    return err;
}

static void wire_passed(struct relay *r)
{
    successor_tell_heard(r->owner);
}

/* A back-end that stands in for another shows no more than that did. The ring that is stopped is the one
 * that was asked for, whichever the answer names. */
static void wire_answering(struct relay *r, const struct answer *to, struct msg *m)
{
    struct device *d = r->owner;
    const struct msg request = { .head.size = to->body_len, .body = to->body };
    record_answer(&d->record, to->row, m);
    if ((to->row->traits & STOPS_RING) != 0) {
        record_ring_stopped(&d->record, record_ring_of(to->row, to->body != NULL ? &request : m));
        kept_follow(&d->kept, &d->record);
    }
    if (switch_has_stopped(d)) {
        device_settle(d); /* there is room for a question again */
    }
}

/* Questions to a live back-end are those of a switch. */
static void wire_answered(struct relay *r, const struct msg *answer)
{
    struct device *d = r->owner;
    if (!d->closing) {
        switch_answered(d, answer);
        device_advance(d);
    }
}

static void wire_drained(struct relay *r)
{
    struct device *d = r->owner;
    if (!d->closing) {
        device_advance(d);
    } else if (!is_sending(d)) {
        start_timer(d, &d->linger, 0);
    }
}

static void wire_slow(struct relay *r, const struct answer *answer, double seconds, bool replaced)
{
    struct device *d = r->owner;
    char name[24];
    unsigned long suppressed;
    device_tell(d, EVENT_SLOW_ANSWER, &r->responder, N_ENDINGS,
                message_name(r->space, answer->request, name));
    if (log_limit_pass(&d->slowness, monotonic_s(), &suppressed)) {
        log_warn(d->options.name, r->responder.name, "has not answered %s for %.1f s%s",
                 message_name(r->space, answer->request, name), seconds,
                 replaced ? ", a failure was answered in its place" : "");
    }
    bool takes_long = answer->row != NULL && (answer->row->traits & TAKES_LONG) != 0;
    if (r == &d->wire && d->options.when_late == LATE_LOSE && !takes_long && !r->alone) {
        device_end(d, &r->responder, ENDING_SILENT, message_name(r->space, answer->request, name));
    }
}

static const struct relay_hooks wire_hooks = {
    .end = wire_end,
    .refused = wire_refused,
    .passing = wire_passing,
    .passed = wire_passed,
    .answering = wire_answering,
    .alone = alone_take,
    .owed = alone_owed,
    .answered = wire_answered,
    .drained = wire_drained,
    .slow = wire_slow,
};

/* ---- start and stop ---- */

static void init_place(struct device *d, size_t n, const struct endpoint *e)
{
    struct place *place = &d->places[n];
    place->device = d;
    place->used = true;
    place->endpoint = *e;
    listener_init(&place->listener, d->loop, back_accepted, place);
    seeker_init(&place->seeker, d->loop, e, d->options.name,
                n == PLACE_BACK      ? "back"
                : n == PLACE_STANDBY ? "standby"
                                     : "new back",
                back_found, place);
}

static void init(struct device *d, struct ev_loop *loop, const struct device_options *options,
                 device_finished_fn *finished)
{
    memset(d, 0, offsetof(struct device, record));
    d->options = *options;
    d->loop = loop;
    d->finished = finished;
    d->next_front = d->next_back = d->switching.channel_fd = -1;
    d->event = NULL;
    d->event_owner = NULL;
    d->pause_s = 0;
    memset(&d->arrivals, 0, sizeof(d->arrivals));
    memset(&d->slowness, 0, sizeof(d->slowness));
    memset(&d->holds, 0, sizeof(d->holds));
    memset(d->limits, 0, sizeof(d->limits));
    memset(d->endings, 0, sizeof(d->endings));
    d->n_lives = 0;
    ev_timer_init(&d->patience, on_patience_over, 0, 0);
    ev_timer_init(&d->hurry, on_hurry_over, 0, 0);
    ev_timer_init(&d->hold, on_hold_over, 0, 0);
    ev_timer_init(&d->settle, on_settled, 0, 0);
    ev_timer_init(&d->linger, on_linger_over, 0, 0);
    ev_timer_init(&d->pause, on_pause_over, 0, 0);
    d->patience.data = d->hurry.data = d->hold.data = d->settle.data = d->linger.data =
        d->pause.data = d;
    listener_init(&d->front_listener, loop, front_accepted, d);
    seeker_init(&d->front_seeker, loop, &options->front, options->name, "front", front_found, d);
    init_place(d, PLACE_BACK, &options->back);
    init_place(d, PLACE_STANDBY, &options->standby);
    init_place(d, PLACE_SWITCH, &options->standby);
    d->places[PLACE_STANDBY].used = options->has_standby;
    d->places[PLACE_SWITCH].used = false;
    relay_init(&d->wire, loop, SPACE_FRONT, options->name, &d->options.interface, &wire_hooks, d);
    relay_init(&d->channel, loop, SPACE_BACK, options->name, &d->options.interface, &channel_hooks,
               d);
    successor_init(d);
    transfer_init(d);
    d->wire.slow_after = d->channel.slow_after = options->answer_within;
    d->wire.alone_within = options->answer_within;
    d->wire.fail_after = options->when_late == LATE_FAIL ? options->answer_within : 0;
    d->wire.keeps = options->on_loss != LOSS_CLOSE;
    d->channel.fail_after = options->channel_answer_within;
    forget(d);
}

static bool is_same(const struct endpoint *a, const struct endpoint *b)
{
    return a->kind == ENDPOINT_CONNECT && b->kind == a->kind && strcmp(a->path, b->path) == 0;
}

void device_switch_place(struct device *d, const struct endpoint *e)
{
    struct place *place = &d->places[PLACE_SWITCH];
    bool stands_by = successor_is_open(d) && is_same(&d->places[d->next.place].endpoint, e);
    seeker_end(&place->seeker);
    init_place(d, PLACE_SWITCH, e);
    place->used = false; /* for nothing but the switch */
    stop_seeking(d);
    if (stands_by) { /* some back-ends end with their first connection */
        d->next.place = PLACE_SWITCH;
        d->said_ready = false;
    } else {
        drop_next(d);
    }
    begin_hurry(d);
    device_settle(d);
}

void device_adopt_place(struct device *d)
{
    struct place *back = &d->places[PLACE_BACK];
    struct endpoint e = d->places[PLACE_SWITCH].endpoint;
    for (size_t k = 0; k < PLACE_SWITCH; k++) {
        if (d->places[k].used && is_same(&d->places[k].endpoint, &e)) {
            d->live_place = k; /* the other one is the standby's then */
            return;
        }
    }
    listener_stop(&back->listener);
    seeker_end(&back->seeker);
    d->options.back = e;
    init_place(d, PLACE_BACK, &e);
    d->live_place = PLACE_BACK;
}

static int start_listening(struct device *d, const struct endpoint *e, struct listener *l,
                           char *why, size_t why_len)
{
    bool listens = e->kind == ENDPOINT_LISTEN || e->kind == ENDPOINT_FD_LISTENING;
    return listens ? listener_start(l, e, &d->options.access, why, why_len) : 0;
}

static int start_places(struct device *d, char *why, size_t why_len)
{
    int err = start_listening(d, &d->options.front, &d->front_listener, why, why_len);
    for (size_t k = 0; k < N_PLACES && err == 0; k++) {
        struct place *place = &d->places[k];
        err =
            place->used ? start_listening(d, &place->endpoint, &place->listener, why, why_len) : 0;
    }
    return err;
}

int device_start(struct device *d, struct ev_loop *loop, const struct device_options *options,
                 device_finished_fn *finished, char *why, size_t why_len)
{
    init(d, loop, options, finished);
    int err = start_places(d, why, why_len);
    if (err < 0) {
        device_stop(d);
    }
    return err;
}

int device_begin(struct device *d, char *why, size_t why_len)
{
    const struct device_options *options = &d->options;
    int err =
        options->trace.path != NULL ? device_trace_start(d, &options->trace, why, why_len) : 0;
    if (err < 0) {
        device_stop(d);
        return err;
    }
    if (options->back.kind == ENDPOINT_FD) {
        back_arrived(d, options->back.fd, PLACE_BACK);
    }
    if (options->front.kind == ENDPOINT_FD) {
        front_arrived(d, options->front.fd);
    }
    device_advance(d);
    return 0;
}

void device_stop(struct device *d)
{
    if (front_is_open(d)) {
        log_ending(d, &d->wire.requester, ENDING_STOPPED, "");
    }
    ev_timer_stop(d->loop, &d->pause);
    forget(d);
    d->next_front = close_keep_errno(d->next_front);
    d->next_back = close_keep_errno(d->next_back);
    listener_stop(&d->front_listener);
    seeker_end(&d->front_seeker);
    for (size_t k = 0; k < N_PLACES; k++) {
        listener_stop(&d->places[k].listener);
        seeker_end(&d->places[k].seeker);
    }
    device_trace_stop(d);
}
