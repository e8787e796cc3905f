/* SPDX-License-Identifier: MIT
 *
 * One device: a front-end, a back-end, and what stands between them.
 *
 * A life begins when both sides are there and ends when either leaves; then both are closed, all
 * that was known is forgotten, and the device waits for the next life. States follow from what is
 * open:
 *
 *   front  back  greeted   what happens
 *   no     no    -         front listens: wait for it. Front is connected to: look for the back first
 *   yes    no    -         look for the back, at most `wait` seconds
 *   any    yes   no        ask the back for its offer (not for plain `host`), check it
 *   no     yes   yes       front is connected to: look for it now. Front listens: keep the back ready
 *   yes    yes   yes       relay
 *
 * A detached device serves the front-end alone (detached.h) until a back-end that passes has been
 * told everything; a back-end that leaves before that ends no life.
 *
 * While `closing`, nothing is read any more and whole messages in hand are still sent. */
#pragma once

#include "expect.h"
#include "greeting.h"
#include "held.h"
#include "listener.h"
#include "relay.h"
#include "seeker.h"

struct device_options {
    const char *name;
    struct endpoint front;
    struct endpoint back;
    const char *profile; /* the spec string as it was given */
    struct interface interface;
    struct interface identity; /* the interface as it was given: its canonical form and digest */
    bool expects; /* the back-end must be able to carry on what `expectation` says, or we end */
    struct expectation expectation;
    bool detached; /* serve a front-end from the profile until a back-end comes */
    struct offer detached_offer;
    double wait;                  /* seconds a front-end waits for a back-end; < 0: for ever */
    double slow_after;            /* see relay.h */
    double channel_answer_within; /* see relay.h, for the back-end channel */
    struct trace_options trace;   /* from the start; path NULL: none */
};

enum event {
#define EVENT(name, text) EVENT_##name,
#include "events.def"
#undef EVENT
    N_EVENTS
};

const char *event_name(enum event event);

struct device;
/* Something has happened; `side` and `detail` may be "", `ending` is N_ENDINGS where none belongs to it. */
typedef void device_event_fn(void *owner, const struct device *d, enum event event,
                             const char *side, enum ending ending, const char *detail);
/* A device has come to its end: a connected descriptor is used up (failed: false), or the back-end
 * does not meet the expectation. */
typedef void device_finished_fn(struct device *d, bool failed);

struct device {
    struct device_options options;
    struct ev_loop *loop;
    struct listener front_listener, back_listener;
    struct seeker front_seeker, back_seeker;
    struct relay wire;    /* front-end asks, back-end answers */
    struct relay channel; /* back-end asks, front-end answers: SET_BACKEND_REQ_FD */
    struct greeting greeting;
    struct offer last_offer; /* of the back-end before this one, to see what an upgrade took away */
    bool had_offer;
    int next_front, next_back; /* peers kept for the next life; -1 */
    bool asking;               /* a question of ours is outstanding */
    bool greeted;              /* greeting.offer holds, and can serve the interface */
    bool closing;
    bool alone;        /* detached, and no back-end has taken over yet */
    bool fence;        /* all has been told, and the last question is out */
    bool channel_told; /* the handing over has passed the channel */
    struct held held;
    struct held_cursor cursor;
    struct record record;
    ev_timer patience; /* the front-end waits for a back-end */
    ev_timer linger;   /* closing */
    ev_timer pause;    /* between lives that end at once */
    double life_began; /* monotonic_s() */
    double pause_s;
    uint32_t n_lives;
    struct log_limit arrivals, slowness;
    struct log_limit limits[N_ENDINGS];
    unsigned long endings[N_ENDINGS];
    device_finished_fn *finished;
    device_event_fn *event;
    void *event_owner;
};

/* Listens and looks for peers as the options say. 0, or -errno with a reason in `why`: nothing is
 * left behind then. `options` is copied; its strings must outlive the device. */
int device_start(struct device *d, struct ev_loop *loop, const struct device_options *options,
                 device_finished_fn *finished, char *why, size_t why_len);
/* Who is told of events from then on; NULL: nobody. */
void device_listen(struct device *d, device_event_fn *event, void *owner);
/* Closes everything. */
void device_stop(struct device *d);

/* Writes a trace from now on. 0, or -errno with a reason in `why`. */
int device_trace_start(struct device *d, const struct trace_options *options, char *why,
                       size_t why_len);
/* False when none was being written. */
bool device_trace_stop(struct device *d);

/* ---- for the device's other parts ---- */

/* A side's connection is over: logs, closes the rest after whole messages. */
void device_end(struct device *d, struct side *side, enum ending ending, const char *detail);

void device_tell(struct device *d, enum event event, const struct side *side, enum ending ending,
                 const char *detail);

/* greet.c: asks the back-end's next questions as far as there is room, and judges its offer at the end:
 * then `greeted` is set, or its connection has been ended. */
void device_greet(struct device *d);

/* channel.c: exchanges the front-end's socket in a SET_BACKEND_REQ_FD for one of our own, and
 * relays between the two. 0, or -errno. What is no unix stream socket passes untouched. */
int channel_take(struct device *d, struct msg *m);
/* The same in two parts, when the back-end comes later. channel_keep() takes the socket. */
int channel_keep(struct device *d, struct msg *m);
int channel_offer(struct device *d, struct msg *ret_msg);
extern const struct relay_hooks channel_hooks;
