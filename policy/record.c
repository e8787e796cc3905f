/* SPDX-License-Identifier: MIT */
#include "record.h"

#include <string.h>

#include "feature.h"

/* ---- bytes of which some are known ---- */

static bool byte_known(const struct record_bytes *b, uint64_t at)
{
    return (b->known[at / 8] & BIT(at % 8)) != 0;
}

bool record_bytes_known(const struct record_bytes *b, uint64_t offset, uint64_t size)
{
    if (offset > OFFER_CONFIG_MAX || size > OFFER_CONFIG_MAX - offset) {
        return false;
    }
    for (uint64_t at = offset; at < offset + size; at++) {
        if (!byte_known(b, at)) {
            return false;
        }
    }
    return true;
}

void record_bytes_put(struct record_bytes *b, uint64_t offset, uint64_t size, const uint8_t *from)
{
    for (uint64_t k = 0; k < size && offset + k < OFFER_CONFIG_MAX; k++) {
        b->known[(offset + k) / 8] |= (uint8_t)BIT((offset + k) % 8);
        b->at[offset + k] = from[k];
    }
}

/* ---- memory table ---- */

#define REGION_LEN 32
#define REGION_LEN_XEN 40

/* A region as it stands in a payload; `len` bytes of it are there. */
static struct record_region region_at(const uint8_t *bytes, size_t len)
{
    struct wire_region wire;
    struct record_region region;
    memcpy(&wire, bytes, sizeof(wire));
    memset(&region, 0, sizeof(region));
    region.guest_addr = wire.guest_addr;
    region.size = wire.size;
    region.user_addr = wire.user_addr;
    region.mmap_offset = wire.mmap_offset;
    if (len >= REGION_LEN_XEN) {
        memcpy(&region.xen, bytes + REGION_LEN, sizeof(region.xen));
    }
    return region;
}

static uint32_t free_slot(const struct record *r)
{
    for (uint32_t slot = 0;; slot++) {
        uint32_t i = 0;
        while (i < r->n_regions && r->regions[i].slot != slot) {
            i++;
        }
        if (i == r->n_regions) {
            return slot;
        }
    }
}

static void regions_add(struct record *r, struct record_region region)
{
    if (r->n_regions == RECORD_MAX_REGIONS) {
        r->incomplete = true;
        return;
    }
    region.slot = free_slot(r);
    r->regions[r->n_regions++] = region;
}

static void regions_drop(struct record *r, struct record_region region)
{
    for (uint32_t i = 0; i < r->n_regions; i++) {
        if (memcmp(&r->regions[i], &region, offsetof(struct record_region, mmap_offset)) == 0) {
            r->n_regions--;
            r->n_table -= i < r->n_table ? 1 : 0;
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
    size_t stride = (r->protocol_acked & BIT(PROTOCOL_XEN_MMAP)) != 0 ? REGION_LEN_XEN : REGION_LEN;
    r->n_regions = 0;
    for (size_t i = 0; i < table.nregions; i++) {
        size_t at = sizeof(table) + i * stride;
        if (at + stride <= m->head.size) {
            regions_add(r, region_at(m->body + at, stride));
        } else {
            r->incomplete = true; /* of Xen's size, and not long enough for that */
        }
    }
    r->n_table = r->n_regions;
}

static void record_memory(struct record *r, const struct message_row *row, const struct msg *m)
{
    const size_t at = offsetof(struct wire_mem_region, guest_addr);
    if ((row->traits & SETS_REGIONS) != 0) {
        regions_set(r, m);
    } else if ((row->traits & ADDS_REGION) != 0) {
        regions_add(r, region_at(m->body + at, m->head.size - at));
    } else if ((row->traits & DROPS_REGION) != 0) {
        regions_drop(r, region_at(m->body + at, m->head.size - at));
    }
}

/* ---- rings ---- */

const struct record_ring_row record_ring_rows[N_RING_KINDS] = {
    [RING_NUM] = { FRONT_SET_VRING_NUM, 0, 8 },
    [RING_BASE] = { FRONT_SET_VRING_BASE, 8, 8 },
    [RING_ENDIAN] = { FRONT_SET_VRING_ENDIAN, 16, 8 },
    [RING_ERR] = { FRONT_SET_VRING_ERR, 24, 8 },
    [RING_CALL] = { FRONT_SET_VRING_CALL, 32, 8 },
    [RING_KICK] = { FRONT_SET_VRING_KICK, 40, 8 },
    [RING_ENABLE] = { FRONT_SET_VRING_ENABLE, 48, 8 },
    [RING_ADDR] = { FRONT_SET_VRING_ADDR, 56, 40 },
};

enum record_ring_kind record_ring_kind(uint32_t request)
{
    enum record_ring_kind kind = 0;
    while (kind < N_RING_KINDS && record_ring_rows[kind].request != request) {
        kind++;
    }
    return kind;
}

bool record_ring_told(const struct record_ring *ring, enum record_ring_kind kind)
{
    return (ring->told & BIT(kind)) != 0;
}

size_t record_ring_of(const struct message_row *row, const struct msg *m)
{
    const struct payload *p = &payloads[row->payload];
    const struct field *f = field_of_kind(p, KIND_QUEUE_INDEX);
    if (f != NULL) {
        return field_get(m, f);
    }
    f = field_of_kind(p, KIND_VRING_FD);
    return f != NULL ? field_get(m, f) & WIRE_VRING_INDEX_MASK : SIZE_MAX;
}

static struct record_ring *ring_at(struct record *r, uint64_t index)
{
    if (index >= RECORD_MAX_RINGS) {
        r->incomplete = true;
        return NULL;
    }
    if (index >= r->n_rings) {
        memset(&r->rings[r->n_rings], 0, (index + 1 - r->n_rings) * sizeof(r->rings[0]));
        r->n_rings = (uint32_t)index + 1;
    }
    return &r->rings[index];
}

/* A stopped ring's addresses and descriptors are of the past: what firmware set up must not be
 * started again under an operating system that does not use it. */
static void stop_ring(struct record_ring *ring)
{
    ring->started = ring->base_is_stale = ring->stopping = false;
    ring->told = 0;
}

/* Stopping does not disable: a ring that is started again is as enabled as it was. */
static void start_ring(struct record_ring *ring, uint64_t index)
{
    struct wire_vring_enable enable = { .index = (uint32_t)(index & WIRE_VRING_INDEX_MASK),
                                        .enable = ring->enabled };
    ring->started = true;
    if (ring->enabled) {
        memcpy(ring->body + record_ring_rows[RING_ENABLE].offset, &enable, sizeof(enable));
        ring->told |= BIT(RING_ENABLE);
    }
}

static void keep_of_ring(struct record_ring *ring, enum record_ring_kind kind, const struct msg *m)
{
    const struct record_ring_row *row = &record_ring_rows[kind];
    if (ring->stopping) {
        stop_ring(ring);
    }
    memcpy(ring->body + row->offset, m->body, row->size);
    ring->told |= (uint8_t)BIT(kind);
    switch (kind) {
    case RING_NUM:
        ring->num = (uint32_t)field_get(m, &payloads[PAYLOAD_vring_num].fields[1]);
        break;
    case RING_ENABLE:
        ring->enabled = field_get(m, &payloads[PAYLOAD_vring_enable].fields[1]) != 0;
        break;
    case RING_BASE:
        ring->base_is_stale = false;
        break;
    case RING_KICK:
        start_ring(ring, field_get(m, &payloads[PAYLOAD_vring_fd].fields[0]));
        break;
    default:
        break;
    }
}

static void record_ring(struct record *r, const struct message_row *row, const struct msg *m)
{
    size_t index = record_ring_of(row, m);
    enum record_ring_kind kind = record_ring_kind(row->id);
    struct record_ring *ring = index != SIZE_MAX ? ring_at(r, index) : NULL;
    if (ring == NULL) {
        return;
    }
    if ((row->traits & STOPS_RING) != 0) {
        ring->stopping = true;
    } else if (kind < N_RING_KINDS) {
        keep_of_ring(ring, kind, m);
    }
}

uint32_t record_ring_base(const struct record_ring *ring)
{
    struct wire_vring_base base;
    memcpy(&base, ring->body + record_ring_rows[RING_BASE].offset, sizeof(base));
    return base.base;
}

void record_set_base(struct record *r, size_t ring, uint32_t base)
{
    struct wire_vring_base body = { .index = (uint32_t)ring, .base = base };
    memcpy(r->rings[ring].body + record_ring_rows[RING_BASE].offset, &body, sizeof(body));
    r->rings[ring].told |= BIT(RING_BASE);
    r->rings[ring].base_is_stale = false;
}

void record_rings_run(struct record *r)
{
    for (uint32_t k = 0; k < r->n_rings; k++) {
        r->rings[k].base_is_stale = r->rings[k].started;
    }
}

/* ---- the rest ---- */

void record_clear(struct record *r)
{
    memset(r, 0, offsetof(struct record, announced));
    r->n_rings = r->n_regions = r->n_table = 0;
}

static void keep_last(struct record *r, const struct message_row *row, const struct msg *m)
{
    struct record_last *last = &r->last[row->id];
    if (m->head.size > sizeof(last->body)) {
        r->incomplete = true;
        return;
    }
    last->told = true;
    last->size = (uint8_t)m->head.size;
    memcpy(last->body, m->body != NULL ? m->body : (const uint8_t *)"", m->head.size);
}

void record_last_get(const struct record *r, uint32_t request, void *to, size_t len)
{
    const struct record_last *last = &r->last[request];
    size_t there = last->told ? last->size : 0;
    memset(to, 0, len);
    memcpy(to, last->body, there < len ? there : len);
}

/* Writes to different fields add up; what is read back afterwards is what was written. */
static void keep_config(struct record *r, const struct msg *m)
{
    struct wire_config head;
    memcpy(&head, m->body, sizeof(head));
    size_t there = m->head.size - sizeof(head);
    size_t size = head.size < there ? head.size : there;
    r->incomplete = r->incomplete || (uint64_t)head.offset + size > OFFER_CONFIG_MAX;
    record_bytes_put(&r->config_set, head.offset, size, m->body + sizeof(head));
    if (record_bytes_known(&r->answers.config, head.offset, size)) {
        record_bytes_put(&r->answers.config, head.offset, size, m->body + sizeof(head));
    }
    r->config_flags = head.flags;
}

/* Until the front-end has asked how it went, or goes on without. */
static void record_state(struct record *r, const struct message_row *row)
{
    if (row->id == FRONT_SET_DEVICE_STATE_FD) {
        r->state_moves = true;
    } else if (row->id == FRONT_CHECK_DEVICE_STATE || row->id == FRONT_SET_VRING_KICK) {
        r->state_moves = false;
    }
}

/* Status 0 resets the device: a driver wants nothing any more of what it had asked for before, so where
 * the rings of a lost back-end stood is of no interest. Those of a live one are stopped by name. */
static void keep_status(struct record *r, const struct message_row *row, uint64_t status)
{
    bool reset = status == 0 && record_gate_open(row, r->features_acked, r->protocol_acked);
    for (uint32_t k = 0; k < r->n_rings && reset; k++) {
        if (r->rings[k].base_is_stale) {
            stop_ring(&r->rings[k]);
        }
    }
}

static void record_reset(struct record *r)
{
    r->state_moves = false;
    r->n_rings = 0;
    r->last[FRONT_SET_STATUS].told = false;
    r->last[FRONT_SET_INFLIGHT_FD].told = false;
}

void record_request(struct record *r, const struct message_row *row, const struct msg *m)
{
    const struct payload *p = &payloads[row->payload];
    const struct field *features = field_of_kind(p, KIND_FEATURES);
    const struct field *protocol = field_of_kind(p, KIND_PROTOCOL_FEATURES);
    const struct field *status = field_of_kind(p, KIND_STATUS);
    if (features != NULL) {
        uint64_t before = r->features_acked;
        r->features_acked = field_get(m, features);
        if ((before & ~r->features_acked & BIT(VHOST_LOG_ALL)) != 0) {
            /* The migration is over, and its log with it. */
            r->last[FRONT_SET_LOG_BASE].told = r->last[FRONT_SET_LOG_FD].told = false;
        }
    }
    if (protocol != NULL) {
        r->protocol_acked = field_get(m, protocol);
    }
    if (status != NULL) {
        keep_status(r, row, field_get(m, status));
    }
    record_ring(r, row, m);
    if ((row->traits & RESETS) != 0) {
        record_reset(r);
    }
    record_memory(r, row, m);
    record_state(r, row);
    if (field_of_kind(p, KIND_CONFIG_OFFSET) != NULL) {
        if ((row->traits & KEPT) != 0) {
            keep_config(r, m);
        }
    } else if ((row->traits & KEPT) != 0 && record_ring_of(row, m) == SIZE_MAX) {
        keep_last(r, row, m);
    }
    if ((row->traits & POSTCOPY_ADVISE) != 0) {
        r->postcopy = POSTCOPY_ADVISED;
    } else if ((row->traits & POSTCOPY_LISTEN) != 0) {
        r->postcopy = POSTCOPY_LISTENING;
    } else if ((row->traits & POSTCOPY_END) != 0) {
        r->postcopy = POSTCOPY_NONE;
    }
}

static void answer_of_config(struct record *r, const struct msg *m)
{
    struct wire_config head;
    if (m->head.size > sizeof(head)) {
        memcpy(&head, m->body, sizeof(head));
        size_t there = m->head.size - sizeof(head);
        record_bytes_put(&r->answers.config, head.offset, head.size < there ? head.size : there,
                         m->body + sizeof(head));
    }
}

/* One answer that is a number: bits, or an amount. */
static void answer_of_number(const struct record_answers *a, bool *known, uint64_t *before,
                             struct msg *m, const struct field *f, bool is_bits)
{
    uint64_t now = field_get(m, f);
    if (a->binding && *known) {
        uint64_t narrowed = is_bits ? now & *before : now < *before ? now : *before;
        if (narrowed != now) {
            field_set(m, f, narrowed);
        }
        return;
    }
    *known = true;
    *before = now;
}

void record_ring_stopped(struct record *r, size_t ring)
{
    if (ring < r->n_rings && r->rings[ring].stopping) {
        stop_ring(&r->rings[ring]);
    }
}

void record_answer(struct record *r, const struct message_row *row, struct msg *m)
{
    struct record_answers *a = &r->answers;
    const struct payload *p = message_payload(row, true);
    if (row->answer != ANSWER_REPLY || p->n_fields == 0) {
        return;
    }
    const struct field *f = &p->fields[0];
    switch (f->kind) {
    case KIND_FEATURES:
        answer_of_number(a, &a->features_known, &a->features, m, f, true);
        break;
    case KIND_PROTOCOL_FEATURES:
        answer_of_number(a, &a->protocol_known, &a->protocol, m, f, true);
        break;
    case KIND_QUEUE_LIMIT:
        answer_of_number(a, &a->queues_known, &a->queues, m, f, false);
        break;
    case KIND_SLOT_LIMIT:
        answer_of_number(a, &a->slots_known, &a->slots, m, f, false);
        break;
    case KIND_CONFIG_OFFSET:
        answer_of_config(r, m);
        break;
    default:
        break;
    }
}

/* ---- what is announced on the channel ---- */

/* What takes an announcement back: the request, and the announcement's own bytes that name it, in up
 * to two pieces. A host notifier is taken back by the same request without a descriptor; a mapping by
 * its place and length, and peers leave the rest zero. */
static const struct withdrawal {
    uint32_t of, by;
    uint8_t size;
    struct {
        uint8_t offset, size;
    } key[2];
} withdrawals[] = {
    { BACK_VRING_HOST_NOTIFIER_MSG, BACK_VRING_HOST_NOTIFIER_MSG, 24, { { 0, 1 } } },
    { BACK_SHARED_OBJECT_ADD, BACK_SHARED_OBJECT_REMOVE, 16, { { 0, 16 } } },
    { BACK_SHMEM_MAP,
      BACK_SHMEM_UNMAP,
      40,
      { { 0, 1 }, { offsetof(struct wire_shmem_map, shm_offset), 16 } } },
};

static bool same_announced(const struct record_announced *a, const struct withdrawal *w,
                           const struct msg *m)
{
    bool same = a->withdrawal == w->by;
    for (size_t k = 0; k < ARRAY_SIZE(w->key) && same; k++) {
        same = memcmp(a->body + w->key[k].offset, m->body + w->key[k].offset, w->key[k].size) == 0;
    }
    return same;
}

static void forget_announced(struct record *r, const struct withdrawal *w, const struct msg *m)
{
    for (uint32_t i = 0; i < r->n_announced; i++) {
        if (same_announced(&r->announced[i], w, m)) {
            r->announced[i] = r->announced[--r->n_announced];
            return;
        }
    }
}

void record_announcement(struct record *r, const struct message_row *row, const struct msg *m)
{
    for (size_t k = 0; k < ARRAY_SIZE(withdrawals); k++) {
        const struct withdrawal *w = &withdrawals[k];
        bool takes_back = row->id == w->by && (w->of != w->by || m->fds.n == 0);
        if ((row->id != w->of && !takes_back) || m->head.size < w->size) {
            continue;
        }
        forget_announced(r, w, m);
        if (takes_back) {
            return;
        }
        if (r->n_announced == RECORD_MAX_ANNOUNCED) {
            r->incomplete = true;
            return;
        }
        struct record_announced *a = &r->announced[r->n_announced++];
        *a = (struct record_announced){ .withdrawal = w->by, .size = w->size };
        memcpy(a->body, m->body, w->size);
        if (w->of == w->by) { /* bit 8 of the ring's index: no descriptor */
            memset(a->body + 8, 0, w->size - 8);
            a->body[1] |= WIRE_VRING_NOFD >> 8;
        }
        return;
    }
}

/* ---- what comes back ---- */

static bool reply_ack(const struct record *r)
{
    return (r->protocol_acked & BIT(PROTOCOL_REPLY_ACK)) != 0;
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
