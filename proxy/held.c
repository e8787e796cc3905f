/* SPDX-License-Identifier: MIT
 *
 * The order in which a fresh back-end is told, and why: protocol features first, because they say
 * how everything after is read; the log before the features that switch logging on; features before
 * rings, because DPDK sizes a ring's shadow by them; every ring announced (SET_VRING_CALL) before
 * the in-flight region, which DPDK 19.11 to 21.11 drop or crash on otherwise; memory before ring
 * addresses; kick last of a ring's own messages, because SPDK starts the whole device at the first;
 * all rings before any is enabled; DRIVER_OK at the very end. */
#include "held.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define N_REQUESTS (FRONT_GET_VRING_BASE_SKIP_DRAIN + 1)
#define STATUS_DRIVER_OK 0x4u

/* How a step of the replay finds its messages. */
enum step_kind { ONCE, EACH_RING, MEMORY, STATUS_BEFORE_OK, ALL_OF_RING };

static const struct step {
    enum step_kind kind;
    uint32_t request;
} steps[] = {
    { ONCE, FRONT_SET_PROTOCOL_FEATURES },
    { ONCE, FRONT_SET_OWNER },
    { ONCE, FRONT_SET_BACKEND_REQ_FD }, /* what is no socket; a channel is told by its own code */
    { ONCE, FRONT_GPU_SET_SOCKET },
    { ONCE, FRONT_SET_LOG_BASE },
    { ONCE, FRONT_SET_LOG_FD },
    { ONCE, FRONT_SET_FEATURES },
    { STATUS_BEFORE_OK, FRONT_SET_STATUS },
    { EACH_RING, FRONT_SET_VRING_CALL },
    { ONCE, FRONT_SET_INFLIGHT_FD },
    { MEMORY, 0 },
    { ALL_OF_RING, 0 },
    { EACH_RING, FRONT_SET_VRING_ENABLE },
    { ONCE, FRONT_NET_SET_MTU },
    { ONCE, FRONT_SET_CONFIG },
    { ONCE, FRONT_SET_STATUS },
};

/* What is kept of a ring, in the order in which it is told. */
static const uint32_t ring_requests[HELD_RING_KINDS] = {
    FRONT_SET_VRING_NUM, FRONT_SET_VRING_BASE, FRONT_SET_VRING_ADDR, FRONT_SET_VRING_ENDIAN,
    FRONT_SET_VRING_ERR, FRONT_SET_VRING_CALL, FRONT_SET_VRING_KICK, FRONT_SET_VRING_ENABLE,
};

/* ---- keeping ---- */

static void replace(struct msg *slot, struct msg *m)
{
    msg_clear(slot);
    msg_move(slot, m);
}

static size_t ring_of(const struct message_row *row, const struct msg *m)
{
    const struct payload *p = &payloads[row->payload];
    const struct field *f = field_of_kind(p, KIND_QUEUE_INDEX);
    if (f != NULL) {
        return field_get(m, f);
    }
    f = field_of_kind(p, KIND_VRING_FD);
    return f != NULL ? field_get(m, f) & WIRE_VRING_INDEX_MASK : SIZE_MAX;
}

static int ring_kind(uint32_t request)
{
    for (int k = 0; k < HELD_RING_KINDS; k++) {
        if (ring_requests[k] == request) {
            return k;
        }
    }
    return -1;
}

static void clear_ring(struct held *h, size_t ring)
{
    for (size_t k = 0; ring < h->n_rings && k < HELD_RING_KINDS; k++) {
        msg_clear(&h->rings[ring].kept[k]);
    }
}

static int keep_ring(struct held *h, size_t ring, int kind, struct msg *m)
{
    if (ring >= h->n_rings) {
        struct held_ring *grown = realloc(h->rings, (ring + 1) * sizeof(*grown));
        if (grown == NULL) {
            return -ENOMEM;
        }
        memset(grown + h->n_rings, 0, (ring + 1 - h->n_rings) * sizeof(*grown));
        h->rings = grown;
        h->n_rings = ring + 1;
    }
    replace(&h->rings[ring].kept[kind], m);
    return 0;
}

static void drop_regions(struct held *h)
{
    msg_clear(&h->table);
    for (size_t i = 0; i < h->n_regions; i++) {
        msg_clear(&h->regions[i]);
    }
    h->n_regions = 0;
}

static int add_region(struct held *h, struct msg *m)
{
    if (h->n_regions == RECORD_MAX_REGIONS) {
        return -ENOMEM;
    }
    struct msg *grown = realloc(h->regions, (h->n_regions + 1) * sizeof(*grown));
    if (grown == NULL) {
        return -ENOMEM;
    }
    h->regions = grown;
    h->regions[h->n_regions] = MSG_NULL;
    msg_move(&h->regions[h->n_regions++], m);
    return 0;
}

/* A region is named by its guest address, size and user address. */
static bool same_region(const struct msg *a, const struct msg *b)
{
    const size_t at = offsetof(struct wire_mem_region, guest_addr);
    const size_t end = offsetof(struct wire_mem_region, mmap_offset);
    return memcmp(a->body + at, b->body + at, end - at) == 0;
}

/* Takes a region out of the kept table: its entry, and its descriptor. */
static void remove_from_table(struct held *h, const struct msg *m)
{
    const size_t head = sizeof(struct wire_mem_table);
    const size_t entry = sizeof(struct wire_region);
    const size_t named = offsetof(struct wire_region, mmap_offset);
    for (size_t i = 0; i < h->table.fds.n; i++) {
        uint8_t *at = h->table.body + head + i * entry;
        if (memcmp(at, m->body + offsetof(struct wire_mem_region, guest_addr), named) == 0) {
            const struct field *count = &payloads[PAYLOAD_mem_table].fields[0];
            field_set(&h->table, count, field_get(&h->table, count) - 1);
            h->table.head.size -= (uint32_t)entry;
            memmove(at, at + entry, h->table.head.size - (head + i * entry));
            close(fdset_steal(&h->table.fds, i));
            return;
        }
    }
}

static void remove_region(struct held *h, const struct msg *m)
{
    for (size_t i = 0; i < h->n_regions; i++) {
        if (same_region(&h->regions[i], m)) {
            msg_clear(&h->regions[i]);
            h->n_regions--;
            memmove(&h->regions[i], &h->regions[i + 1], (h->n_regions - i) * sizeof(h->regions[0]));
            return;
        }
    }
    remove_from_table(h, m);
}

static void reset(struct held *h)
{
    for (size_t ring = 0; ring < h->n_rings; ring++) {
        clear_ring(h, ring);
    }
    msg_clear(&h->last[FRONT_SET_STATUS]);
    msg_clear(&h->last[FRONT_SET_INFLIGHT_FD]);
}

static int keep(struct held *h, const struct message_row *row, struct msg *m)
{
    size_t ring = ring_of(row, m);
    if ((row->traits & SETS_REGIONS) != 0) {
        drop_regions(h);
        replace(&h->table, m);
        return 0;
    }
    if ((row->traits & ADDS_REGION) != 0) {
        return add_region(h, m);
    }
    if ((row->traits & DROPS_REGION) != 0) {
        remove_region(h, m);
    } else if ((row->traits & STOPS_RING) != 0) {
        clear_ring(h, ring);
    } else if ((row->traits & RESETS) != 0) {
        reset(h);
    } else if ((row->traits & KEPT) != 0 && ring == SIZE_MAX) {
        replace(&h->last[row->id], m);
    } else if ((row->traits & KEPT) != 0 && ring < RECORD_MAX_RINGS) {
        return keep_ring(h, ring, ring_kind(row->id), m);
    }
    return 0;
}

int held_keep_take(struct held *h, const struct message_row *row, struct msg *m)
{
    if (h->last == NULL) {
        h->last = calloc(N_REQUESTS, sizeof(*h->last));
    }
    int err = h->last != NULL ? keep(h, row, m) : -ENOMEM;
    msg_clear(m);
    return err;
}

const struct msg *held_last(const struct held *h, uint32_t request)
{
    return h->last != NULL && h->last[request].head.request != 0 ? &h->last[request] : NULL;
}

const struct msg *held_ring_last(const struct held *h, uint32_t request, size_t ring)
{
    if (ring >= h->n_rings) {
        return NULL;
    }
    const struct msg *m = &h->rings[ring].kept[ring_kind(request)];
    return m->head.request != 0 ? m : NULL;
}

void held_clear(struct held *h)
{
    for (size_t i = 0; h->last != NULL && i < N_REQUESTS; i++) {
        msg_clear(&h->last[i]);
    }
    for (size_t ring = 0; ring < h->n_rings; ring++) {
        clear_ring(h, ring);
    }
    drop_regions(h);
    free(h->last);
    free(h->rings);
    free(h->regions);
    *h = (struct held){ .last = NULL };
}

/* ---- telling ---- */

static int copy(const struct msg *from, struct msg *ret_msg)
{
    struct msg m = MSG_NULL;
    int err = msg_make(from->head.request, 0, from->body, from->head.size, &m);
    for (size_t i = 0; i < from->fds.n && err == 0; i++) {
        int fd = fcntl(from->fds.fd[i], F_DUPFD_CLOEXEC, 0);
        err = fd < 0 ? -errno : fdset_append_take(&m.fds, &fd, 1);
        if (err < 0) {
            close_keep_errno(fd);
        }
    }
    if (err < 0) {
        msg_clear(&m);
        return err;
    }
    *ret_msg = m;
    return 1;
}

/* The driver is ready only when everything else has been said. */
static int copy_status_before_ok(const struct msg *from, struct msg *ret_msg)
{
    int result = copy(from, ret_msg);
    if (result == 1) {
        const struct field *f = &payloads[PAYLOAD_status].fields[0];
        field_set(ret_msg, f, field_get(ret_msg, f) & ~(uint64_t)STATUS_DRIVER_OK);
    }
    return result;
}

/* The k-th message of a step; NULL past its last. Some in between may be empty. */
static const struct msg *message_of_step(const struct held *h, const struct step *s, size_t k,
                                         bool *ret_over)
{
    static const size_t of_ring = HELD_RING_KINDS - 1; /* all but ENABLE */
    size_t n = 0;
    size_t table;
    const struct msg *m = NULL;
    switch (s->kind) {
    case ONCE:
    case STATUS_BEFORE_OK:
        n = 1;
        m = held_last(h, s->request);
        break;
    case EACH_RING:
        n = h->n_rings;
        m = held_ring_last(h, s->request, k);
        break;
    case ALL_OF_RING:
        n = h->n_rings * of_ring;
        m = held_ring_last(h, ring_requests[k % of_ring], k / of_ring);
        break;
    case MEMORY:
        table = h->table.head.request != 0 ? 1 : 0;
        n = table + h->n_regions;
        m = k < table ? &h->table : k < n ? &h->regions[k - table] : NULL;
        break;
    }
    *ret_over = k >= n;
    return k < n ? m : NULL;
}

int held_next(const struct held *h, struct held_cursor *c, struct msg *ret_msg)
{
    while (c->step < ARRAY_SIZE(steps)) {
        const struct step *s = &steps[c->step];
        bool over;
        const struct msg *m = message_of_step(h, s, c->ring, &over);
        if (over) {
            c->step++;
            c->ring = 0;
            continue;
        }
        c->ring++;
        if (m != NULL) {
            return s->kind == STATUS_BEFORE_OK ? copy_status_before_ok(m, ret_msg)
                                               : copy(m, ret_msg);
        }
    }
    return 0;
}
