/* SPDX-License-Identifier: MIT
 *
 * One wire: the side whose requests travel on it and the side that answers. The main socket is one
 * (front-end asks, back-end answers), the back-end channel another (the reverse); the code is the
 * same. The two directions of a wire, and two wires, never wait for each other. */
#pragma once

#include "answers.h"
#include "endings.h"
#include "rewrite.h"
#include "side.h"
#include "trace.h"

struct relay;

/* What comes of a request that the device takes itself. */
enum alone_result {
    ALONE_SILENT,   /* no answer belongs to it */
    ALONE_ANSWERED, /* with *ret_answer */
    ALONE_WAITS,    /* only a responder can answer it */
};

/* What a wire needs of the device it belongs to. */
struct relay_hooks {
    /* A side's connection is over; `detail` (may be "") says more. Both sides of the wire may be
     * closed when it returns. */
    void (*end)(struct relay *r, struct side *side, enum ending ending, const char *detail);
    /* A request was refused and the connection stays. */
    void (*refused)(struct relay *r, const char *detail);
    /* A request of the requester is about to be passed on: the device may exchange descriptors.
     * 0, or -errno to drop the connection. May be NULL: it exchanges none. */
    int (*passing)(struct relay *r, const struct message_row *row, struct msg *m);
    /* It has been passed on. Whoever else is to hear of it is told now, so that the two records of
     * the message follow each other in a trace. May be NULL. */
    void (*passed)(struct relay *r);
    /* The answer to a question of relay_ask(); may be NULL where none with an answer is asked. */
    void (*answered)(struct relay *r, const struct msg *answer);
    /* The responder's own answer is about to be passed on, before the policy sees it. May be NULL.
     */
    void (*answering)(struct relay *r, const struct answer *to, struct msg *m);
    /* A request while there is no responder (relay.alone): it is the device's to keep and to
     * answer. The answer, if there is one, goes through the policy like a back-end's. May be NULL
     * where `alone` is never set. -errno ends the requester's connection. */
    int (*alone)(struct relay *r, const struct message_row *row, struct msg *m,
                 struct msg *ret_answer);
    /* The same for a request that a lost responder owes an answer to: it is kept already. */
    int (*owed)(struct relay *r, const struct message_row *row, const struct msg *m,
                struct msg *ret_answer);
    /* A side has taken what was in hand: there is room again. */
    void (*drained)(struct relay *r);
    /* An answer is overdue; `replaced`: the requester has got a failure instead. */
    void (*slow)(struct relay *r, const struct answer *answer, double seconds, bool replaced);
};

struct relay {
    enum wire_space space;
    const char *device; /* name, for the log */
    bool open;          /* requests are relayed; until then they wait in the socket */
    bool alone;         /* requests are answered by the device, there is no responder yet */
    bool paused;        /* for a moment not even that: a responder is being told, or changed */
    bool stopped;       /* nothing more is read; what is in hand may still go */
    bool keeps;         /* the responder may be lost: what it owes must be known in full */
    size_t n_owed; /* answers at the head of the queue whose requests a new responder must see */
    struct side requester;
    struct side responder;
    enum trace_wire requester_wire, responder_wire; /* what traces call them */
    struct answers answers;
    struct rewrite rewrite;
    struct record *record;
    struct trace *trace; /* the device's; NULL: none */
    const struct relay_hooks *hooks;
    void *owner;
    double slow_after; /* seconds until a late answer is said, 0: never */
    double fail_after; /* seconds until a late answer is replaced by a failure of ours, 0: never */
    double
        alone_within; /* the same while there is no responder; a request that cannot fail ends the
                            requester's connection then */
    ev_timer late;
    struct ev_loop *loop;
    unsigned long n_requests, n_answers, n_refused;
};

void relay_init(struct relay *r, struct ev_loop *loop, enum wire_space space, const char *device,
                const struct interface *interface, const struct relay_hooks *hooks, void *owner);
/* From here on requests are relayed under these rules. */
void relay_open(struct relay *r, const struct rewrite *w, struct record *record);
/* Sends a question of vushim's own (taken) to the responder. 0, or -errno: -ENOBUFS where there is no room,
 * as beside one that answers without having read. */
int relay_ask(struct relay *r, struct msg *m, bool has_answer);
/* The responder is gone, the requester stays: the device answers in its place. */
void relay_lose_responder(struct relay *r);
/* There is a responder again (`fd`, taken), which has been told all: what is still owed is asked of
 * it. */
void relay_found_responder_take(struct relay *r, int fd);
/* Takes the responder's socket out, with nothing in hand: for another relay. -1: there is none. */
int relay_steal_responder(struct relay *r);
/* A request of the requester waits for its answer. */
bool relay_owes(const struct relay *r);
/* Brings the watchers in line with what can be read now. To be called after any change. */
void relay_update(struct relay *r);
/* Relays what one side (which is about to be closed) has already sent. */
void relay_drain(struct relay *r, struct side *from);
/* Stops reading for good; what is in hand may still be sent. */
void relay_stop_reading(struct relay *r);
/* What traces call a side of this relay. */
static inline enum trace_wire relay_wire(const struct relay *r, const struct side *s)
{
    return s == &r->responder ? r->responder_wire : r->requester_wire;
}
/* A whole message is still on its way out. */
bool relay_is_sending(const struct relay *r);
void relay_close(struct relay *r);
