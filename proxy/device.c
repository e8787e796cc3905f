/* SPDX-License-Identifier: MIT */
#include "device.h"

#include <stdio.h>
#include <string.h>

#include "detached.h"

/* How long a side that reads nothing may hold up the closing of the other. */
#define LINGER_S 1.0
/* How long a connected back-end may take for its answers to the greeting, if --wait is shorter:
 * DPDK looks at a new connection up to a second late. */
#define GREETING_S 5.0
/* How long at most a front-end is kept waiting for its refusal when it comes back at once each
 * time: QEMU as a client tries a thousand times a second otherwise, and stands still while it
 * waits. */
#define HOLD_MOST_S 0.5
/* A life shorter than this makes the next one wait, twice as long each time. */
#define SHORT_LIFE_S 1.0
#define PAUSE_FIRST_S 0.05
#define PAUSE_MOST_S 5.0
#define DETAIL_LEN 2048

static void advance(struct device *d);
static void front_arrived(struct device *d, int fd);
static void back_arrived(struct device *d, int fd);

static bool front_is_open(const struct device *d)
{
    return side_is_open(&d->wire.requester);
}

static bool back_is_open(const struct device *d)
{
    return side_is_open(&d->wire.responder);
}

static bool is_single(const struct device *d)
{
    return d->options.front.kind == ENDPOINT_FD || d->options.back.kind == ENDPOINT_FD;
}

/* ---- traces ---- */

static enum trace_wire wire_of_side(const struct device *d, const struct side *s)
{
    bool channel = s == &d->channel.requester || s == &d->channel.responder;
    return relay_wire(channel ? &d->channel : &d->wire, s);
}

static void trace_context(struct device *d)
{
    enum device_type device = d->options.interface.device;
    if (device == DEVICE_UNKNOWN && d->greeted) {
        device = offer_guess_device(&d->greeting.offer);
    }
    trace_of(d->wire.trace, device, d->n_lives);
}

/* Reading was paused for it. */
static void on_trace_room(void *owner)
{
    struct device *d = owner;
    relay_update(&d->wire);
    relay_update(&d->channel);
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
    struct trace *t =
        trace_start(d->loop, options, d->options.name, on_trace_room, d, why, why_len);
    if (t == NULL) {
        return -EIO;
    }
    d->wire.trace = d->channel.trace = t;
    trace_context(d);
    interface_canonical(&d->options.identity, spec, sizeof(spec));
    trace_put_text(t, TRACE_EVENT, TRACE_FRONT, "START", spec);
    return 0;
}

bool device_trace_stop(struct device *d)
{
    struct trace *t = d->wire.trace;
    d->wire.trace = d->channel.trace = NULL;
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

static void forget_telling(struct device *d)
{
    d->cursor = (struct held_cursor){ .step = 0 };
    d->channel_told = d->fence = false;
}

static void forget(struct device *d)
{
    relay_close(&d->wire);
    relay_close(&d->channel);
    held_clear(&d->held);
    seeker_stop(&d->front_seeker);
    seeker_stop(&d->back_seeker);
    ev_timer_stop(d->loop, &d->patience);
    ev_timer_stop(d->loop, &d->linger);
    d->greeting = (struct greeting){ .step = GREETING_FEATURES };
    d->asking = d->greeted = d->closing = d->alone = false;
    forget_telling(d);
    record_clear(&d->record);
    d->n_lives++;
    trace_context(d);
}

static void on_pause_over(struct ev_loop *loop, ev_timer *w, int events)
{
    struct device *d = w->data;
    (void)loop;
    (void)events;
    if (d->alone && !back_is_open(d) && d->next_back >= 0) {
        back_arrived(d, steal_fd(&d->next_back));
    } else {
        advance(d);
    }
}

/* Peers that we look for ourselves are not asked again at once when nothing comes of it: a refusal
 * that repeats must not become a thousand connections a second. */
static void pause_if_short(struct device *d)
{
    if (monotonic_s() - d->life_began >= SHORT_LIFE_S) {
        d->pause_s = 0;
        return;
    }
    d->pause_s = d->pause_s == 0 ? PAUSE_FIRST_S : d->pause_s * 2;
    d->pause_s = d->pause_s < PAUSE_MOST_S ? d->pause_s : PAUSE_MOST_S;
    ev_timer_set(&d->pause, d->pause_s, 0);
    ev_timer_start(d->loop, &d->pause);
}

static void next_life(struct device *d)
{
    forget(d);
    if (is_single(d)) {
        d->finished(d, false);
        return;
    }
    pause_if_short(d);
    if (d->next_back >= 0) {
        back_arrived(d, steal_fd(&d->next_back));
    }
    if (d->next_front >= 0) {
        front_arrived(d, steal_fd(&d->next_front));
    }
    advance(d);
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

/* A back-end that leaves, or does not fit, before it has taken over: the front-end does not notice,
 * and the next one may do better. */
static void lose_newcomer(struct device *d)
{
    side_close(&d->wire.responder);
    side_close(&d->channel.requester);
    ev_timer_stop(d->loop, &d->patience);
    answers_forget(&d->wire.answers);
    answers_swallow(&d->channel.answers);
    d->wire.alone_waits = false;
    d->greeting = (struct greeting){ .step = GREETING_FEATURES };
    d->asking = d->greeted = false;
    forget_telling(d);
    d->pause_s = d->pause_s == 0 ? PAUSE_FIRST_S : d->pause_s * 2;
    d->pause_s = d->pause_s < PAUSE_MOST_S ? d->pause_s : PAUSE_MOST_S;
    ev_timer_stop(d->loop, &d->pause);
    ev_timer_set(&d->pause, d->pause_s, 0);
    ev_timer_start(d->loop, &d->pause);
}

void device_end(struct device *d, struct side *side, enum ending ending, const char *detail)
{
    log_ending(d, side, ending, detail);
    trace_put_text(d->wire.trace, TRACE_ENDING, wire_of_side(d, side), ending_rows[ending].name,
                   detail);
    tell_ending(d, side, ending, detail);
    if (d->alone && !d->closing && side == &d->wire.responder) {
        lose_newcomer(d);
        return;
    }
    if (!d->closing && ending == ENDING_LEFT) {
        /* The last words of a peer may be on its other socket. */
        bool front = side == &d->wire.requester;
        relay_drain(&d->channel, front ? &d->channel.responder : &d->channel.requester);
    }
    side_close(side);
    if (!d->closing) {
        d->closing = true;
        relay_stop_reading(&d->wire);
        relay_stop_reading(&d->channel);
        ev_timer_stop(d->loop, &d->patience);
    }
    bool front_waits = ending == ENDING_INCOMPATIBLE && front_is_open(d);
    double hold = !front_waits ? 0 : d->pause_s < HOLD_MOST_S ? d->pause_s : HOLD_MOST_S;
    /* Messages that are whole in hand still go; the caller may stand in one of the sides, so the
     * rest happens in a turn of its own. */
    ev_timer_stop(d->loop, &d->linger);
    ev_timer_set(&d->linger, is_sending(d) ? LINGER_S : hold, 0);
    ev_timer_start(d->loop, &d->linger);
}

/* ---- the greeting (greet.c) ---- */

static void wire_answered(struct relay *r, const struct msg *answer)
{
    struct device *d = r->owner;
    d->asking = false;
    if (d->fence) {
        detached_attached(d);
    } else if (!d->greeted) {
        greeting_answer(&d->greeting, answer);
    }
    advance(d);
}

/* ---- from state to state ---- */

static void begin_relay(struct device *d)
{
    char offered[INTERFACE_DIGEST_LEN];
    struct rewrite w = rewrite_prepare(&d->options.interface, &d->greeting.offer, &d->record);
    unsigned long suppressed;
    ev_timer_stop(d->loop, &d->patience);
    d->life_began = monotonic_s();
    trace_context(d);
    /* The guest that was expected has come. What a later back-end must do is what it uses by then. */
    d->options.expects = false;
    relay_open(&d->wire, &w, &d->record);
    interface_digest(&d->options.identity, offered);
    if (log_limit_pass(&d->arrivals, monotonic_s(), &suppressed)) {
        log_info(d->options.name, NULL, "front-end and back-end are connected, interface %.12s%s",
                 offered, w.transparent ? " (host: not pinned)" : "");
    }
}

static void look_for_peers(struct device *d)
{
    bool front_is_sought = d->options.front.kind == ENDPOINT_CONNECT;
    bool back_is_sought = d->options.back.kind == ENDPOINT_CONNECT;
    bool may = !ev_is_active(&d->pause);
    bool early = front_is_sought || d->options.expects;
    bool now = d->alone ? may : front_is_open(d) || (early && may);
    if (back_is_sought && !back_is_open(d) && now) {
        seeker_start(&d->back_seeker);
    }
    if (front_is_sought && !front_is_open(d) && (d->greeted || d->options.detached) && may) {
        seeker_start(&d->front_seeker);
    }
}

static void advance(struct device *d)
{
    if (d->closing) {
        return;
    }
    if (d->options.detached && front_is_open(d) && !d->greeted && !d->wire.open) {
        detached_begin(d);
    }
    if (back_is_open(d) && !d->greeted) {
        device_greet(d);
    }
    if (d->closing) {
        return;
    }
    if (front_is_open(d) && back_is_open(d) && d->greeted && !d->wire.open) {
        begin_relay(d);
    } else if (d->alone && back_is_open(d) && d->greeted && !d->asking) {
        detached_attach(d);
    }
    relay_update(&d->wire);
    look_for_peers(d);
}

static void on_patience_over(struct ev_loop *loop, ev_timer *w, int events)
{
    struct device *d = w->data;
    char detail[DETAIL_LEN];
    char back[256];
    (void)loop;
    (void)events;
    if (d->alone) {
        device_end(d, &d->wire.responder, ENDING_SILENT, "");
        return;
    }
    endpoint_print(&d->options.back, back, sizeof(back));
    if (d->asking) {
        snprintf(detail, sizeof(detail), "%s does not answer", back);
    } else {
        snprintf(detail, sizeof(detail), "%s (is it running? --wait says how long to wait)", back);
    }
    device_end(d, &d->wire.requester, ENDING_NO_BACK_END, detail);
}

/* ---- arrivals ---- */

/* Turned away: the place is taken. */
static void turn_away(struct device *d, const struct side *place, int fd, enum ending ending)
{
    struct side newcomer = { .name = place->name };
    log_ending(d, &newcomer, ending, "");
    trace_put_text(d->wire.trace, TRACE_ENDING, wire_of_side(d, place), ending_rows[ending].name,
                   "");
    close(fd);
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

/* A front-end that waits does so for a limited time. */
static void begin_patience(struct device *d, double seconds)
{
    ev_timer_stop(d->loop, &d->patience);
    if (d->options.wait >= 0 || d->alone) {
        ev_timer_set(&d->patience, seconds, 0);
        ev_timer_start(d->loop, &d->patience);
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
    d->life_began = monotonic_s();
    if (!d->options.detached) {
        begin_patience(d, back_is_open(d) ? greeting_time(d) : d->options.wait);
    } else if (back_is_open(d)) {
        begin_patience(d, greeting_time(d));
    }
    advance(d);
}

static void back_arrived(struct device *d, int fd)
{
    side_open_take(&d->wire.responder, fd);
    device_tell(d, EVENT_BACK_CONNECTED, &d->wire.responder, N_ENDINGS, "");
    d->life_began = monotonic_s();
    if (front_is_open(d)) {
        begin_patience(d, greeting_time(d));
    }
    advance(d);
}

static void front_accepted(struct listener *l, int fd)
{
    struct device *d = l->owner;
    struct side *front = &d->wire.requester;
    if (!side_is_open(front) && !d->closing) {
        front_arrived(d, fd);
    } else if (!keep_for_next_life(d, front, &d->next_front, fd)) {
        turn_away(d, front, fd, ENDING_SECOND_FRONT);
    }
}

static void back_accepted(struct listener *l, int fd)
{
    struct device *d = l->owner;
    struct side *back = &d->wire.responder;
    if (!side_is_open(back) && !d->closing) {
        back_arrived(d, fd);
    } else if (!keep_for_next_life(d, back, &d->next_back, fd)) {
        turn_away(d, back, fd, ENDING_SECOND_BACK);
    }
}

static void front_found(struct seeker *s, int fd)
{
    front_arrived(s->owner, fd);
}

static void back_found(struct seeker *s, int fd)
{
    back_arrived(s->owner, fd);
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

static int wire_passing(struct relay *r, const struct message_row *row, struct msg *m)
{
    return (row->traits & TAKES_CHANNEL) != 0 ? channel_take(r->owner, m) : 0;
}

static int wire_alone(struct relay *r, const struct message_row *row, struct msg *m,
                      struct msg *ret_answer, bool *ret_has_answer)
{
    return detached_take(r->owner, row, m, ret_answer, ret_has_answer);
}

static void wire_drained(struct relay *r)
{
    struct device *d = r->owner;
    if (!d->closing) {
        advance(d);
    } else if (!is_sending(d)) {
        ev_timer_stop(d->loop, &d->linger);
        ev_timer_set(&d->linger, 0, 0);
        ev_timer_start(d->loop, &d->linger);
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
}

static const struct relay_hooks wire_hooks = {
    .end = wire_end,
    .refused = wire_refused,
    .passing = wire_passing,
    .alone = wire_alone,
    .answered = wire_answered,
    .drained = wire_drained,
    .slow = wire_slow,
};

/* ---- start and stop ---- */

static void init(struct device *d, struct ev_loop *loop, const struct device_options *options,
                 device_finished_fn *finished)
{
    memset(d, 0, offsetof(struct device, record));
    d->event = NULL;
    d->event_owner = NULL;
    d->options = *options;
    d->loop = loop;
    d->finished = finished;
    d->next_front = d->next_back = -1;
    d->pause_s = 0;
    memset(&d->arrivals, 0, sizeof(d->arrivals));
    memset(&d->slowness, 0, sizeof(d->slowness));
    memset(d->limits, 0, sizeof(d->limits));
    memset(d->endings, 0, sizeof(d->endings));
    d->n_lives = 0;
    ev_timer_init(&d->patience, on_patience_over, 0, 0);
    ev_timer_init(&d->linger, on_linger_over, 0, 0);
    ev_timer_init(&d->pause, on_pause_over, 0, 0);
    d->patience.data = d->linger.data = d->pause.data = d;
    listener_init(&d->front_listener, loop, front_accepted, d);
    listener_init(&d->back_listener, loop, back_accepted, d);
    seeker_init(&d->front_seeker, loop, &options->front, options->name, "front", front_found, d);
    seeker_init(&d->back_seeker, loop, &options->back, options->name, "back", back_found, d);
    relay_init(&d->wire, loop, SPACE_FRONT, options->name, &d->options.interface, &wire_hooks, d);
    relay_init(&d->channel, loop, SPACE_BACK, options->name, &d->options.interface, &channel_hooks,
               d);
    d->wire.slow_after = d->channel.slow_after = options->slow_after;
    d->channel.answer_within = options->channel_answer_within;
    forget(d);
}

static int start_listening(const struct endpoint *e, struct listener *l, char *why, size_t why_len)
{
    bool listens = e->kind == ENDPOINT_LISTEN || e->kind == ENDPOINT_FD_LISTENING;
    return listens ? listener_start(l, e, why, why_len) : 0;
}

int device_start(struct device *d, struct ev_loop *loop, const struct device_options *options,
                 device_finished_fn *finished, char *why, size_t why_len)
{
    init(d, loop, options, finished);
    int err =
        options->trace.path != NULL ? device_trace_start(d, &options->trace, why, why_len) : 0;
    if (err < 0) {
        return err;
    }
    err = start_listening(&options->front, &d->front_listener, why, why_len);
    if (err == 0) {
        err = start_listening(&options->back, &d->back_listener, why, why_len);
    }
    if (err < 0) {
        device_stop(d);
        return err;
    }
    if (options->back.kind == ENDPOINT_FD) {
        back_arrived(d, options->back.fd);
    }
    if (options->front.kind == ENDPOINT_FD) {
        front_arrived(d, options->front.fd);
    }
    advance(d);
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
    listener_stop(&d->back_listener);
    device_trace_stop(d);
}
