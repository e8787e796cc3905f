/* SPDX-License-Identifier: MIT
 *
 * One relay between two sockets whose other ends the test holds, in a loop that the test turns. */
#pragma once

#include "relay.h"

struct bench {
    struct ev_loop *loop;
    struct relay relay;
    struct record record;
    struct interface interface;
    struct offer offer;
    int requester; /* the peers' ends; -1 once closed */
    int responder;
    /* What the relay told its owner. */
    enum ending ending; /* N_ENDINGS: none */
    char detail[2048];
    const struct side *ended;
    int n_refused, n_slow, n_replaced, n_answered;
    bool holds; /* the requester stays when the responder is lost, and waits */
};

/* A wire of `space` under a spec string. The offer is all there can be, the channel's gates are
 * open. */
void bench_start(struct bench *b, enum wire_space space, const char *spec);
void bench_stop(struct bench *b);

/* Another responder in the place of one that was lost. */
void bench_find_responder(struct bench *b);

/* Turns the loop until nothing happens any more. */
void bench_turn(struct bench *b);
/* Turns it for so long. */
void bench_wait(struct bench *b, double seconds);

/* Sends a message (taken) from a peer, and turns. Fails the test when the socket does not take it.
 */
void bench_send(struct bench *b, int peer, struct msg m);
/* Raw bytes and `n` copies of a descriptor with one sendmsg. */
void bench_send_bytes(struct bench *b, int peer, const void *bytes, size_t len, size_t n_fds);
/* The next message at a peer. False when there is none. */
bool bench_read(int peer, struct msg *ret_msg);
/* The next message there is this one, without descriptors; 8 bytes of payload are compared. */
void bench_expect(int peer, uint32_t request, uint32_t flags, uint64_t value);
void bench_expect_nothing(int peer);
