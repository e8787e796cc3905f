/* SPDX-License-Identifier: MIT
 *
 * Connects to a socket that may not be there yet, or not be listened on yet. Waits by event:
 * inotify on the folder tells when the file appears; from then on, since nothing tells when its
 * owner calls listen(), a short back-off. */
#pragma once

#include <ev.h>

#include "endpoint.h"

struct seeker;
/* Connected; `fd` is the callee's. The seeker has stopped. */
typedef void seeker_found_fn(struct seeker *s, int fd);

struct seeker {
    struct endpoint endpoint;
    struct ev_loop *loop;
    bool active;
    bool reluctant; /* until the pause is over, only a new file is a reason to try */
    int inotify_fd;
    int watch;
    ev_io changed;
    ev_timer again;
    ev_timer spent; /* inotify_fd is not needed any more, and is closed then */
    double delay;
    double since; /* of the last sign of life of the path */
    int said;     /* errno that the log has already been told */
    const char *device, *side;
    seeker_found_fn *found;
    void *owner;
};

void seeker_init(struct seeker *s, struct ev_loop *loop, const struct endpoint *e,
                 const char *device, const char *side, seeker_found_fn *found, void *owner);
/* Tries at once, and goes on until found or stopped. `found` may be called inside. */
void seeker_start(struct seeker *s);
/* The same, but does not try before so many seconds have passed, unless the socket is made anew. */
void seeker_start_in(struct seeker *s, double seconds);
void seeker_stop(struct seeker *s);
/* Stopped, and nothing is left of it. */
void seeker_end(struct seeker *s);
