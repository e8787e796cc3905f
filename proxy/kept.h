/* SPDX-License-Identifier: MIT
 *
 * The descriptors that belong to a record, by slot. They are duplicates of what the front-end sent,
 * and are closed as soon as the record no longer names them. */
#pragma once

#include "record.h"

/* The slots of a ring. */
enum { KEPT_KICK, KEPT_CALL, KEPT_ERR, KEPT_OF_RING };

/* A descriptor plus one; 0: none. So pages that are never touched cost nothing. */
struct kept {
    int last[RECORD_REQUESTS];
    uint32_t n_rings; /* slots of rings below this may be in use */
    int rings[RECORD_MAX_RINGS][KEPT_OF_RING];
    uint32_t n_regions;
    int regions[RECORD_MAX_REGIONS];
};

/* After record_request() of the same message: duplicates the descriptors that the record needs, and
 * closes those that it does not need any more. 0, or -errno: then the record is incomplete. */
int kept_request(struct kept *k, const struct record *r, const struct message_row *row,
                 const struct msg *m);
/* Closes what the record does not name any more. */
void kept_follow(struct kept *k, const struct record *r);
/* Closes all. May be repeated. */
void kept_clear(struct kept *k);

/* Borrowed; -1 when there is none. */
int kept_last(const struct kept *k, uint32_t request);
int kept_ring(const struct kept *k, size_t ring, enum record_ring_kind kind);
int kept_region(const struct kept *k, const struct record_region *region);
