/* SPDX-License-Identifier: MIT
 *
 * What is remembered of a device's life: one flat structure, updated in place as messages pass.
 * Nothing about a device's protocol state is kept anywhere else. No descriptors, no pointers. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "message.h"

/* rust-vmm's daemons take 509 regions, QEMU uses at most 512. */
#define RECORD_MAX_REGIONS 512

/* QEMU uses at most 1024 virtqueues, DPDK 257. */
#define RECORD_MAX_RINGS 1024

enum record_postcopy { POSTCOPY_NONE, POSTCOPY_ADVISED, POSTCOPY_LISTENING };

struct record_region {
    uint64_t guest_addr;
    uint64_t size;
    uint64_t user_addr;
};

struct record_ring {
    uint32_t num; /* entries; 0: not set */
    bool enabled;
    bool started; /* has had a kick since it was last stopped */
};

struct record {
    uint64_t features_acked;
    uint64_t protocol_acked;
    enum record_postcopy postcopy;
    uint32_t n_rings; /* rings below this have been named */
    struct record_ring rings[RECORD_MAX_RINGS];
    uint32_t n_regions;
    struct record_region regions[RECORD_MAX_REGIONS]; /* untouched pages cost nothing */
};

/* A new life: nothing is known. */
void record_clear(struct record *r);

/* A request of `row` is being passed on. */
void record_request(struct record *r, const struct message_row *row, const struct msg *m);

/* What comes back for a request. */
enum expect {
    EXPECT_NOTHING,
    EXPECT_MAYBE, /* some peers answer: an answer is no fault, its absence holds nothing up */
    EXPECT_ANSWER,
};

/* Must be asked before record_request() of the same message: SET_PROTOCOL_FEATURES is answered by
 * the rules that were in force when it came. `row` NULL: an unknown message. */
enum expect record_expects(const struct record *r, const struct message_row *row,
                           const struct msg *m);

/* The sender of this request asked for an acknowledgement and has the right to one, so that a
 * refusal can be said without closing the connection. */
bool record_can_refuse(const struct record *r, const struct message_row *row, const struct msg *m);

bool record_gate_open(const struct message_row *row, uint64_t features, uint64_t protocol);
