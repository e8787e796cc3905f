/* SPDX-License-Identifier: MIT
 *
 * A back-end between its connection and the moment at which it serves the device: it is asked for its
 * offer, the offer is judged, and, where a front-end has set things up before it came, it is told all
 * of that from the record. Every back-end goes through here: the first of a life, one that comes after
 * a loss, a standby, and the new one of a switch. Nothing that it says reaches the front-end.
 *
 *   GREETING   is asked
 *   READY      can serve the profile, and what the front-end uses by now
 *   TELLING    is told what may be told while another one still runs
 *   SETTLING   is asked whether it has taken that
 *   PREPARED   has been told that, and is kept up to date
 *   FINISHING  is told the rings
 *   DONE       has answered a question behind all that */
#pragma once

#include "endpoint.h"
#include "greeting.h"
#include "relay.h"
#include "replay.h"

struct device;

enum successor_state { GREETING, READY, TELLING, SETTLING, PREPARED, FINISHING, DONE };

struct successor {
    struct relay wire; /* it is the responder; there is no requester */
    struct greeting greeting;
    enum successor_state state;
    struct replay replay;
    struct msg inflight; /* an in-flight region of its own, instead of the record's */
    struct msg heard;    /* what the front-end has just said, if it is to hear of it */
    int channel_fd;      /* our end of the channel that it was given; -1 */
    unsigned asking;     /* questions of ours that are outstanding */
    bool changed;        /* what it has been told meanwhile is not what holds any more */
    size_t place;        /* where it is from */
    struct endpoint_mark mark;
    double since;      /* monotonic_s(), of the connection */
    double told_since; /* of the first thing that it was told */
};

const char *successor_state_name(enum successor_state state);

void successor_init(struct device *d);
/* Connected; `fd` is taken. */
void successor_open_take(struct device *d, int fd, size_t place);
bool successor_is_open(const struct device *d);
/* Asks or tells as far as there is room and the state goes by itself. May end the connection. */
void successor_advance(struct device *d);
void successor_tell(struct device *d, enum successor_state state);
/* Asks a question that is answered; device_next_answered() gets the answer. */
void successor_ask(struct device *d, uint32_t request, const void *body, uint32_t len);
/* The same with a message that is there (taken). */
void successor_ask_msg(struct device *d, struct msg *m);
/* The front-end's request passes to the live back-end: a prepared successor is to hear of it too. */
void successor_hear(struct device *d, const struct message_row *row, const struct msg *m);
/* It has passed: now the successor is told. */
void successor_tell_heard(struct device *d);
/* Its socket, with nothing in hand; the successor is closed. -1 when it is of no use. */
int successor_steal(struct device *d);
/* Closes and forgets. May be repeated. */
void successor_close(struct device *d);
