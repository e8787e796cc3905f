/* SPDX-License-Identifier: MIT
 *
 * What a recording says about one side's conversation: the messages of one wire's socket and of the
 * channel beside it, in order, each with whether we say it or the peer is expected to. Memory is
 * bounded. */
#pragma once

#include "feature.h"
#include "traceformat.h"

struct replay_step {
    uint64_t number; /* of the record */
    enum wire_space space;
    bool ours;
    struct wire_header head;
    uint8_t *body;        /* owned; NULL when empty */
    struct trace_fd *fds; /* owned; n_fds of them */
    size_t n_fds;
};

struct replay_script {
    struct replay_step *steps; /* in the recording's order, of both sockets */
    size_t n;
    size_t bytes;
    enum device_type device;
    enum trace_wire wire; /* front or back */
    bool as_front;        /* we say what the front-end said */
    uint32_t life;        /* the one that is played, 0: the first */
    uint64_t lost;        /* records that a gap inside says are missing */
    bool redacted;        /* it has no addresses */
    bool more_lives;      /* the recording has others */
};

/* Fills the script, whose wire, as_front and life are set. False after one line on stderr. */
bool replay_script_load(struct replay_script *s, const char *path);
void replay_script_free(struct replay_script *s);

static inline bool replay_step_is_reply(const struct replay_step *step)
{
    return (step->head.flags & WIRE_REPLY) != 0;
}
/* As a message without descriptors, borrowed, not to be cleared. */
struct msg replay_step_message(const struct replay_step *step);
/* True when a later step of ours, behind `step`, carries this descriptor too. */
bool replay_script_resends(const struct replay_script *s, const struct replay_step *step,
                           const struct trace_fd *fd);
