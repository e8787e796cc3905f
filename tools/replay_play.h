/* SPDX-License-Identifier: MIT
 *
 * Plays a script to a peer: says what is ours in the recording's order, and compares what comes
 * with what is expected. Blocking; each wait is bounded.
 *
 * The main socket sets the pace. The channel goes beside it: its own order is kept, but a request
 * of the back-end may come earlier or later than it did, as it answers to things outside of the
 * conversation. One that does not come at all is counted, and is no difference. */
#pragma once

#include "frame.h"
#include "replay_compare.h"
#include "replay_fds.h"

enum replay_result { REPLAY_SAME, REPLAY_DIFFERS }; /* or -errno: it could not be played */

struct replay {
    const struct replay_script *script;
    int main;          /* owned */
    int channel;       /* owned; -1: none yet */
    double timeout;    /* seconds for each answer */
    bool packed;       /* the rings that were negotiated */
    size_t channel_at; /* next step of the channel */
    struct frame_reader main_reader, channel_reader;
    struct standins fds;
    size_t n_played, n_compared;
    size_t n_rings_reset;  /* rings told to begin at 0 */
    size_t n_channel_left; /* requests on the channel that did not come */
};

/* Takes the socket. */
void replay_init_take(struct replay *r, const struct replay_script *script, int fd, double timeout);
void replay_deinit(struct replay *r);
int replay_run(struct replay *r, struct difference *ret_difference);
