/* SPDX-License-Identifier: MIT
 *
 * What is remembered of a device's life: one flat structure, updated in place as messages pass.
 * Nothing about a device's protocol state is kept anywhere else. No pointers; the descriptors that
 * belong to it are beside it, by slot (kept.h). What a field can name bounds it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "interface.h"
#include "message.h"

/* rust-vmm's daemons take 509 regions, QEMU uses at most 512. */
#define RECORD_MAX_REGIONS 512

/* QEMU uses at most 1024 virtqueues, DPDK 257. */
#define RECORD_MAX_RINGS 1024

/* Request numbers of the front-end are below this. */
#define RECORD_REQUESTS (FRONT_GET_VRING_BASE_SKIP_DRAIN + 1)

enum record_postcopy { POSTCOPY_NONE, POSTCOPY_ADVISED, POSTCOPY_LISTENING };

struct record_region {
    uint64_t guest_addr;
    uint64_t size;
    uint64_t user_addr; /* what names a region ends here */
    uint64_t mmap_offset;
    uint64_t xen;  /* protocol feature xen_mmap: the rest of the payload */
    uint32_t slot; /* of its descriptor */
};

/* The last request of a kind that names no ring. */
struct record_last {
    bool told;
    uint8_t size;
    uint8_t body[32];
};

/* The requests that set up a ring, each kept as it came, in the order in which a fresh back-end is
 * told: kick last, because SPDK starts the whole device at the first; ENABLE belongs after all rings. */
enum record_ring_kind {
    RING_NUM,
    RING_BASE,
    RING_ADDR,
    RING_ENDIAN,
    RING_ERR,
    RING_CALL,
    RING_KICK,
    RING_ENABLE,
    N_RING_KINDS,
};

struct record_ring_row {
    uint32_t request;
    uint16_t offset; /* in record_ring.body */
    uint16_t size;
};

extern const struct record_ring_row record_ring_rows[N_RING_KINDS];
#define RECORD_RING_BODY (7 * 8 + 40)

struct record_ring {
    uint32_t num; /* entries, when it was last set up; 0: never */
    bool enabled;
    bool started;       /* has had a kick since it was last stopped */
    bool base_is_stale; /* it has run on from the base that was told, and its back-end is gone */
    bool stopping;      /* GET_VRING_BASE is not answered yet: until then all is still known */
    bool used_known;    /* used_seen: the used index when its back-end was about to be told of it */
    uint16_t used_seen;
    uint8_t told; /* bit k: body holds the request of record_ring_rows[k] */
    uint8_t body[RECORD_RING_BODY];
};

/* A range of bytes of which only some are known. */
struct record_bytes {
    uint8_t known[OFFER_CONFIG_MAX / 8];
    uint8_t at[OFFER_CONFIG_MAX];
};

/* What the front-end's questions were answered, before the policy changed it. */
struct record_answers {
    bool binding; /* another back-end has taken over: it shows no more than the first did */
    bool features_known, protocol_known, queues_known, slots_known;
    uint64_t features, protocol, queues, slots;
    struct record_bytes config;
};

/* What a back-end has announced on its channel and a later one will not know of: the request that
 * takes it back. */
#define RECORD_MAX_ANNOUNCED 256
struct record_announced {
    uint32_t withdrawal; /* request number on the channel */
    uint8_t size;
    uint8_t body[40];
};

struct record {
    uint64_t features_acked;
    uint64_t protocol_acked;
    enum record_postcopy postcopy;
    bool
        state_moves; /* SET_DEVICE_STATE_FD: only this back-end can say whether all has been moved */
    bool incomplete; /* something could not be kept: no later back-end can be set up from this */
    struct record_last last[RECORD_REQUESTS];
    struct record_bytes config_set; /* SET_CONFIG: the bytes that the front-end has written */
    uint32_t config_flags;
    struct record_answers answers;
    uint32_t n_announced;
    struct record_announced announced[RECORD_MAX_ANNOUNCED];
    uint32_t n_rings; /* rings below this have been named */
    struct record_ring rings[RECORD_MAX_RINGS];
    uint32_t n_regions;
    uint32_t n_table;                                 /* the first of them came in one table */
    struct record_region regions[RECORD_MAX_REGIONS]; /* untouched pages cost nothing */
};

/* A new life: nothing is known. */
void record_clear(struct record *r);

/* A request of `row` is being passed on, or kept for a later back-end. A ring that it stops is
 * forgotten with the answer. */
void record_request(struct record *r, const struct message_row *row, const struct msg *m);
/* The back-end has answered the question that stops this ring. */
void record_ring_stopped(struct record *r, size_t ring);
/* The back-end's own answer to a request of `row`, before the policy changes it. Where answers are
 * binding, what goes beyond them is taken out. */
void record_answer(struct record *r, const struct message_row *row, struct msg *m);
/* A request of the back-end on its channel has passed. */
void record_announcement(struct record *r, const struct message_row *row, const struct msg *m);

/* The ring that a request names; SIZE_MAX when it names none. */
size_t record_ring_of(const struct message_row *row, const struct msg *m);
/* The payload of the last request of a kind, what it lacks being zero; all zero when there is none. */
void record_last_get(const struct record *r, uint32_t request, void *to, size_t len);
/* Which of the ring's requests this is; N_RING_KINDS when it is none. */
enum record_ring_kind record_ring_kind(uint32_t request);
bool record_ring_told(const struct record_ring *ring, enum record_ring_kind kind);
/* The ring's position, as SET_VRING_BASE says it; of use only when told and not stale. */
uint32_t record_ring_base(const struct record_ring *ring);
/* The ring stands here from now on. */
void record_set_base(struct record *r, size_t ring, uint32_t base);
/* Their back-end is gone: rings that have been started have run on from their bases. */
void record_rings_run(struct record *r);

bool record_bytes_known(const struct record_bytes *b, uint64_t offset, uint64_t size);
void record_bytes_put(struct record_bytes *b, uint64_t offset, uint64_t size, const uint8_t *from);

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
