/* SPDX-License-Identifier: MIT
 *
 * Stand-ins for the descriptors of a recording. What was one file or eventfd there (one inode) is
 * one here, as long as the table has room; the oldest goes first, as the peer has its own copy.
 * Memory is a sparse memfd of zeroes, so nothing in it asks a back-end for anything. */
#pragma once

#include "replay_script.h"

#define STANDINS_MAX 256
/* Of all stand-in memory at a time. It is sparse: this bounds what a peer could make of it. */
#define STANDINS_MAX_BYTES (UINT64_C(1) << 40)

enum standin_kind { AS_NULL, AS_MEMORY, AS_EVENTFD, AS_SOCKET, AS_STATE, AS_CHANNEL };

struct standin {
    enum standin_kind kind;
    bool theirs;    /* the peer made it: never resized */
    uint64_t inode; /* 0: the recording does not know */
    uint64_t size;  /* of memory, else 0 */
    int fd;         /* what is sent */
    int far;        /* the other end of a socket pair, or -1 */
};

struct standins {
    struct standin at[STANDINS_MAX];
    size_t next; /* slot to be filled */
    uint64_t bytes;
    size_t others; /* descriptors that only /dev/null could stand in for */
    int channel;   /* our end of the channel that was sent last; -1: none, or stolen */
    int drain;     /* borrowed: far end of the last state socket, whose bytes go nowhere; or -1 */
};

void standins_init(struct standins *s);
void standins_deinit(struct standins *s);

/* Adds the descriptors of a step of ours to `m`. 0, or -errno; -EFBIG: more than the limit. */
int standins_attach(struct standins *s, const struct replay_step *step, struct msg *m);
/* Keeps a descriptor that the peer sent where the recording has this one. Takes it. */
void standins_keep_take(struct standins *s, const struct trace_fd *recorded, int fd);
