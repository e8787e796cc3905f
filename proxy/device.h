/* SPDX-License-Identifier: MIT
 *
 * One device: a front-end, a back-end, and what stands between them.
 *
 * A life begins when a front-end is there and ends when it leaves; then all is closed and forgotten,
 * and the device waits for the next life. A back-end that leaves ends it too, unless the device can be
 * held (hold.h): then the front-end is served alone (alone.h) until a successor has taken over. Every
 * back-end comes as a successor (successor.h). States follow from what is open:
 *
 *   front  live back  next    what happens
 *   no     no         no      front listens: wait for it. Front is connected to: look for a back first
 *   no     no         READY   front is connected to: look for it now. Front listens: keep the back ready
 *   yes    no         no      look for a back, at most `wait` seconds, or `hold_for`
 *   yes    no         any     nothing relayed yet: READY suffices. Else it is told everything first
 *   yes    yes        no      relay; look for a standby, if there is to be one
 *   yes    yes        any     relay; keep the standby prepared, or go on with the switch
 *
 * While `closing`, nothing is read any more and whole messages in hand are still sent. */
#pragma once

#include "expect.h"
#include "kept.h"
#include "listener.h"
#include "relay.h"
#include "restart.h"
#include "seeker.h"
#include "successor.h"
#include "switch.h"

/* AUTO: hold where a replay is sound. */
enum on_loss { LOSS_AUTO, LOSS_HOLD, LOSS_CLOSE };
enum when_late { LATE_WAIT, LATE_FAIL, LATE_LOSE };

/* Where back-ends come from. */
enum { PLACE_BACK, PLACE_STANDBY, PLACE_SWITCH, N_PLACES };

struct place {
    struct device *device;
    bool used;
    struct endpoint endpoint;
    struct listener listener;
    struct seeker seeker;
};

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
    bool has_standby;
    struct endpoint standby;
    enum on_loss on_loss;
    double wait;          /* seconds a front-end waits for a back-end; < 0: for ever */
    double hold_for;      /* the same after a loss */
    double answer_within; /* until a late answer is said; what follows: */
    enum when_late when_late;
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
    struct listener front_listener;
    struct seeker front_seeker;
    struct place places[N_PLACES];
    size_t live_place;
    struct endpoint_mark live_mark;
    size_t first_place;   /* of those where a successor is looked for: each in its turn */
    struct relay wire;    /* front-end asks, back-end answers */
    struct relay channel; /* back-end asks, front-end answers: SET_BACKEND_REQ_FD */
    struct successor next;
    struct switching switching;
    struct offer offer; /* of the live back-end; for more than one, what they have in common */
    bool has_offer;
    struct offer last_offer; /* of the back-end before this one, to see what an upgrade took away */
    bool had_offer;
    int next_front, next_back; /* peers kept until there is a place for them; -1 */
    size_t next_back_place;
    bool closing;
    bool held;        /* the back-end is lost, the front-end is served alone */
    bool next_failed; /* in this life */
    bool said_ready;  /* STANDBY_READY, of this successor */
    const struct restart_row *said_verdict;
    const char *said_obstacle; /* against a standby (hold_obstacle()) */
    double held_since, front_since;
    unsigned long blackouts[SWITCH_N_BUCKETS];
    unsigned long n_held, n_taken_over, n_switched;
    struct record record;
    /* Like the record, large and mostly untouched: zero to begin with. */
    struct kept kept;
    size_t n_stopped_at;
    double stopped_at[RECORD_MAX_RINGS]; /* in the present switch: monotonic_s(); 0: did not run */
    uint16_t asked[RECORD_MAX_RINGS];    /* rings of which the old back-end was asked in it */
    uint32_t blackout_us[RECORD_MAX_RINGS]; /* of the last switch */
    ev_timer patience;                      /* the front-end waits for a back-end */
    ev_timer hurry;                         /* a successor must get on */
    ev_timer hold;                          /* the front-end is held */
    ev_timer settle;   /* before a standby is prepared, the front-end should have become quiet */
    ev_timer linger;   /* closing */
    ev_timer pause;    /* between lives, or successors, that end at once */
    double life_began; /* monotonic_s() */
    double pause_s;
    uint32_t n_lives;
    struct log_limit arrivals, slowness, holds;
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

/* Brings everything to the state that follows from what is there now. */
void device_advance(struct device *d);
/* The same, in a turn of its own. */
void device_settle(struct device *d);
/* The same, in a millisecond. */
void device_settle_soon(struct device *d);
/* The successor has answered a question (successor.c). */
void device_next_answered(struct device *d, const struct msg *answer);
/* Looks for the new back-end of a switch (switch.c). */
void device_switch_place(struct device *d, const struct endpoint *e);
/* From now on back-ends are looked for there. */
void device_adopt_place(struct device *d);
/* Wakes what may wait: each running ring's back-end for requests that nobody saw, and the guest for an
 * interrupt that nobody sent. */
void device_nudge(struct device *d);
/* After record_request(): keeps what the record needs. 0, or -errno. */
int device_keep(struct device *d, const struct message_row *row, struct msg *m);
/* False, and the front-end's connection is over, when a request alone asks for a position that the
 * lost back-end has taken with it. */
bool device_may_stop_ring(struct device *d, const struct message_row *row, const struct msg *m);
static inline bool device_is_live(const struct device *d)
{
    return side_is_open(&d->wire.responder);
}

/* channel.c: exchanges the front-end's socket in a SET_BACKEND_REQ_FD for one of our own, and
 * relays between the two. 0, or -errno. What is no unix stream socket passes untouched. */
int channel_take(struct device *d, struct msg *m);
/* The same in two parts, when the back-end comes later. channel_keep() takes the socket. */
int channel_keep(struct device *d, struct msg *m);
/* The message that gives a back-end its end of a kept channel, to *ret_msg, and our end to *ret_fd: 1,
 * 0 when none is kept, or -errno. */
int channel_offer(struct device *d, struct msg *ret_msg, int *ret_fd);
/* The back-end at the other end of the channel is gone, or stands still: what it had announced is taken
 * back. Our end, the caller's; -1 when there is none, or a message is half done. */
int channel_steal(struct device *d);
/* The same, and our end is closed. */
void channel_lose_back(struct device *d);
/* The back-end that has our other end serves now. */
void channel_attach_take(struct device *d, int fd);
extern const struct relay_hooks channel_hooks;
