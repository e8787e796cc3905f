/* SPDX-License-Identifier: MIT */
#include "record.h"

#include <string.h>

#include "feature.h"

static bool reply_ack(const struct record *r)
{
    return (r->protocol_acked & BIT(PROTOCOL_REPLY_ACK)) != 0;
}

/* ---- memory table ---- */

static struct record_region region_at(const uint8_t *bytes)
{
    struct wire_region wire;
    memcpy(&wire, bytes, sizeof(wire));
    return (struct record_region){ wire.guest_addr, wire.size, wire.user_addr };
}

static void regions_add(struct record *r, struct record_region region)
{
    if (r->n_regions < RECORD_MAX_REGIONS) {
        r->regions[r->n_regions++] = region;
    }
}

static void regions_drop(struct record *r, struct record_region region)
{
    for (uint32_t i = 0; i < r->n_regions; i++) {
        if (memcmp(&r->regions[i], &region, sizeof(region)) == 0) {
            r->n_regions--;
            memmove(&r->regions[i], &r->regions[i + 1], (r->n_regions - i) * sizeof(r->regions[0]));
            return;
        }
    }
}

/* In postcopy the front-end closes the exchange with an empty table, which changes nothing. */
static void regions_set(struct record *r, const struct msg *m)
{
    struct wire_mem_table table;
    memcpy(&table, m->body, sizeof(table));
    if (table.nregions == 0 && r->postcopy != POSTCOPY_NONE) {
        return;
    }
    size_t stride = (r->protocol_acked & BIT(PROTOCOL_XEN_MMAP)) != 0 ? 40 : 32;
    r->n_regions = 0;
    for (size_t i = 0; i < table.nregions; i++) {
        size_t at = sizeof(table) + i * stride;
        if (at + sizeof(struct wire_region) <= m->head.size) {
            regions_add(r, region_at(m->body + at));
        }
    }
}

static void record_memory(struct record *r, const struct message_row *row, const struct msg *m)
{
    const size_t at = offsetof(struct wire_mem_region, guest_addr);
    if ((row->traits & SETS_REGIONS) != 0) {
        regions_set(r, m);
    } else if ((row->traits & ADDS_REGION) != 0) {
        regions_add(r, region_at(m->body + at));
    } else if ((row->traits & DROPS_REGION) != 0) {
        regions_drop(r, region_at(m->body + at));
    }
}

/* ---- rings ---- */

static struct record_ring *ring_at(struct record *r, uint64_t index)
{
    if (index >= RECORD_MAX_RINGS) {
        return NULL;
    }
    if (index >= r->n_rings) {
        memset(&r->rings[r->n_rings], 0, (index + 1 - r->n_rings) * sizeof(r->rings[0]));
        r->n_rings = (uint32_t)index + 1;
    }
    return &r->rings[index];
}

static void record_ring(struct record *r, const struct message_row *row, const struct msg *m)
{
    const struct payload *p = &payloads[row->payload];
    const struct field *index = field_of_kind(p, KIND_QUEUE_INDEX);
    const struct field *num = field_of_kind(p, KIND_RING_SIZE);
    const struct field *enable = field_of_kind(p, KIND_RING_ENABLE);
    struct record_ring *ring = ring_at(r, field_get(m, index));
    if (ring == NULL) {
        return;
    }
    if (num != NULL) {
        ring->num = (uint32_t)field_get(m, num);
    } else if (enable != NULL) {
        ring->enabled = field_get(m, enable) != 0;
    } else if ((row->traits & STOPS_RING) != 0) {
        ring->started = false;
    }
}

static void record_ring_fd(struct record *r, const struct message_row *row, const struct msg *m,
                           const struct field *f)
{
    struct record_ring *ring = ring_at(r, field_get(m, f) & WIRE_VRING_INDEX_MASK);
    if (ring != NULL && row->fds.role == ROLE_KICK) {
        ring->started = true;
    }
}

void record_clear(struct record *r)
{
    r->features_acked = r->protocol_acked = 0;
    r->postcopy = POSTCOPY_NONE;
    r->n_rings = r->n_regions = 0;
}

void record_request(struct record *r, const struct message_row *row, const struct msg *m)
{
    const struct payload *p = &payloads[row->payload];
    const struct field *features = field_of_kind(p, KIND_FEATURES);
    const struct field *protocol = field_of_kind(p, KIND_PROTOCOL_FEATURES);
    if (features != NULL) {
        r->features_acked = field_get(m, features);
    }
    if (protocol != NULL) {
        r->protocol_acked = field_get(m, protocol);
    }
    const struct field *ring_fd = field_of_kind(p, KIND_VRING_FD);
    if (field_of_kind(p, KIND_QUEUE_INDEX) != NULL) {
        record_ring(r, row, m);
    } else if (ring_fd != NULL) {
        record_ring_fd(r, row, m, ring_fd);
    }
    if ((row->traits & RESETS) != 0) {
        r->n_rings = 0;
    }
    record_memory(r, row, m);
    if ((row->traits & POSTCOPY_ADVISE) != 0) {
        r->postcopy = POSTCOPY_ADVISED;
    } else if ((row->traits & POSTCOPY_LISTEN) != 0) {
        r->postcopy = POSTCOPY_LISTENING;
    } else if ((row->traits & POSTCOPY_END) != 0) {
        r->postcopy = POSTCOPY_NONE;
    }
}

/* DPDK, libvhost-user and passt acknowledge whatever has need_reply, negotiated or not. */
static enum expect expects_ack(const struct record *r, const struct msg *m)
{
    if (!msg_needs_reply(m)) {
        return EXPECT_NOTHING;
    }
    return reply_ack(r) ? EXPECT_ANSWER : EXPECT_MAYBE;
}

/* A table sent while the back-end listens for page faults comes back with its addresses; then the
 * front-end sends an empty one, which is not answered (specification, "Migrating memory"). */
static enum expect expects_memory(const struct record *r, const struct message_row *row,
                                  const struct msg *m)
{
    bool empty = (row->traits & SETS_REGIONS) != 0 && m->fds.n == 0;
    if (r->postcopy == POSTCOPY_NONE) {
        return expects_ack(r, m);
    }
    if (empty) {
        return EXPECT_NOTHING;
    }
    return r->postcopy == POSTCOPY_LISTENING ? EXPECT_ANSWER : EXPECT_MAYBE;
}

enum expect record_expects(const struct record *r, const struct message_row *row,
                           const struct msg *m)
{
    if (row == NULL) {
        return EXPECT_MAYBE;
    }
    switch (row->answer) {
    case ANSWER_REPLY:
        return EXPECT_ANSWER;
    case ANSWER_ACK:
        return expects_ack(r, m);
    case ANSWER_ACK_EVEN_UNASKED:
        return expects_ack(r, m) == EXPECT_ANSWER ? EXPECT_ANSWER : EXPECT_MAYBE;
    case ANSWER_LOG:
        return (r->protocol_acked & BIT(PROTOCOL_LOG_SHMFD)) != 0 ? EXPECT_ANSWER
                                                                  : expects_ack(r, m);
    case ANSWER_MEMORY:
        return expects_memory(r, row, m);
    }
    return EXPECT_MAYBE;
}

bool record_can_refuse(const struct record *r, const struct message_row *row, const struct msg *m)
{
    bool answered_by_ack = row->answer == ANSWER_ACK || row->answer == ANSWER_ACK_EVEN_UNASKED ||
                           (row->answer == ANSWER_MEMORY && r->postcopy == POSTCOPY_NONE);
    return answered_by_ack && msg_needs_reply(m) && reply_ack(r);
}

bool record_gate_open(const struct message_row *row, uint64_t features, uint64_t protocol)
{
    switch (row->gate) {
    case GATE_ALWAYS:
        return true;
    case GATE_PROTOCOL:
        return (protocol & BIT(row->gate_bit)) != 0;
    case GATE_FEATURE:
        return (features & BIT(row->gate_bit)) != 0;
    }
    return true;
}
