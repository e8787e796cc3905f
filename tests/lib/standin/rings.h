/* SPDX-License-Identifier: MIT
 *
 * Virtqueues, split and packed, and the in-flight region: what has been taken from a ring and not
 * been completed is there, as the vhost-user specification lays it out ("Inflight I/O tracking"),
 * and nowhere else. A successor gets that region and the rings. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_QUEUES 16
#define MAX_RING 1024
#define MAX_SEGS 256

struct vring_addr {
    uint32_t index, flags;
    uint64_t desc, used, avail, log;
};

struct seg {
    uint64_t gpa;
    uint32_t len;
    bool writable;
};

struct request {
    struct request *next;
    uint64_t due;  /* us */
    uint16_t head; /* its place in the in-flight region */
    bool touched;  /* the image has been read or written */
    uint32_t written;
    int n_segs;
    struct seg seg[MAX_SEGS];
};

struct split_track;
struct packed_track;

struct queue {
    uint32_t index, num, base;
    struct vring_addr addr; /* the front-end's addresses; the pointers below are ours */
    bool addressed, based, enabled, started;
    int kick, call;
    struct vring_desc *desc;
    struct vring_packed_desc *ring; /* the same place, packed */
    struct vring_avail *avail;
    struct vring_used *used;
    uint16_t avail_idx;
    bool avail_wrap;
    void *own_track; /* when the front-end gives no region */
    struct split_track *split;
    struct packed_track *packed; /* one of the two */
    uint64_t counter;
    struct request *requests;
};

struct rings {
    bool packed;
    uint8_t *track; /* the in-flight region, or NULL */
    size_t track_len;
    uint32_t delay_us; /* a request is completed so long after it was taken, at most */
    unsigned seed;
    void (*touch)(struct request *r); /* reads or writes the image, and the request's status */
};

extern struct rings rings;

void queue_init(struct queue *q, uint32_t index);
bool queue_start(struct queue *q);
void queue_remap(struct queue *q); /* the memory table has changed */
void queue_take(struct queue *q);

/* Completes what is due by then; when the next is. */
uint64_t queue_complete_due(struct queue *q, uint64_t when);

/* Completes everything; the base that GET_VRING_BASE answers. */
uint32_t queue_stop(struct queue *q);
void queue_forget(struct queue *q); /* completes nothing */

uint32_t track_size(uint32_t ring); /* of one queue */
void track_map(int fd, uint64_t size, uint64_t offset);
void track_forget(void);
