/* SPDX-License-Identifier: MIT */
#include "kept.h"

#include <fcntl.h>

static int slot_of(enum record_ring_kind kind)
{
    return kind == RING_KICK   ? KEPT_KICK
           : kind == RING_CALL ? KEPT_CALL
           : kind == RING_ERR  ? KEPT_ERR
                               : -1;
}

static void drop(int *slot)
{
    if (*slot != 0) {
        close(*slot - 1);
        *slot = 0;
    }
}

/* `fd` is borrowed; -1: none. */
static int put(int *slot, int fd)
{
    drop(slot);
    if (fd < 0) {
        return 0;
    }
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) {
        return -errno;
    }
    *slot = copy + 1;
    return 0;
}

static int first_fd(const struct msg *m)
{
    return m->fds.n > 0 ? m->fds.fd[0] : -1;
}

/* The last regions of the record are those of this message. */
static int put_regions(struct kept *k, const struct record *r, const struct msg *m, uint32_t n)
{
    int err = 0;
    for (uint32_t i = 0; i < n && i < m->fds.n && err == 0; i++) {
        uint32_t slot = r->regions[r->n_regions - n + i].slot;
        err = put(&k->regions[slot], m->fds.fd[i]);
        k->n_regions = slot >= k->n_regions ? slot + 1 : k->n_regions;
    }
    return err;
}

static void follow_regions(struct kept *k, const struct record *r)
{
    for (uint32_t slot = 0; slot < k->n_regions; slot++) {
        uint32_t i = 0;
        while (i < r->n_regions && r->regions[i].slot != slot) {
            i++;
        }
        if (i == r->n_regions) {
            drop(&k->regions[slot]);
        }
    }
    k->n_regions = r->n_regions == 0 ? 0 : k->n_regions;
}

static void follow_ring(struct kept *k, const struct record *r, uint32_t ring)
{
    for (enum record_ring_kind kind = 0; kind < N_RING_KINDS; kind++) {
        bool told = ring < r->n_rings && record_ring_told(&r->rings[ring], kind);
        if (slot_of(kind) >= 0 && !told) {
            drop(&k->rings[ring][slot_of(kind)]);
        }
    }
}

static void follow_last(struct kept *k, const struct record *r)
{
    for (uint32_t request = 0; request < RECORD_REQUESTS; request++) {
        if (!r->last[request].told) {
            drop(&k->last[request]);
        }
    }
}

void kept_follow(struct kept *k, const struct record *r)
{
    follow_regions(k, r);
    for (uint32_t ring = 0; ring < k->n_rings; ring++) {
        follow_ring(k, r, ring);
    }
    follow_last(k, r);
}

static int put_ring(struct kept *k, const struct record *r, const struct message_row *row,
                    const struct msg *m, size_t ring)
{
    int slot = slot_of(record_ring_kind(row->id));
    if (ring >= RECORD_MAX_RINGS) {
        return 0;
    }
    if (ring < k->n_rings) {
        follow_ring(k, r, (uint32_t)ring);
    }
    if (slot < 0) {
        return 0;
    }
    k->n_rings = ring >= k->n_rings ? (uint32_t)ring + 1 : k->n_rings;
    return put(&k->rings[ring][slot], first_fd(m));
}

int kept_request(struct kept *k, const struct record *r, const struct message_row *row,
                 const struct msg *m)
{
    size_t ring = record_ring_of(row, m);
    if ((row->traits & (SETS_REGIONS | DROPS_REGION)) != 0) {
        /* Slots are given out anew by a table: what was in them is of the old one. */
        for (uint32_t slot = 0; (row->traits & SETS_REGIONS) != 0 && m->fds.n > 0 &&
                                slot < k->n_regions;
             slot++) {
            drop(&k->regions[slot]);
        }
        follow_regions(k, r);
    }
    if ((row->traits & SETS_REGIONS) != 0) {
        return put_regions(k, r, m, r->n_table);
    }
    if ((row->traits & ADDS_REGION) != 0) {
        return r->n_regions > 0 ? put_regions(k, r, m, 1) : 0;
    }
    if ((row->traits & RESETS) != 0) {
        kept_follow(k, r);
    }
    if (ring != SIZE_MAX) {
        return put_ring(k, r, row, m, ring);
    }
    follow_last(k, r); /* what this one has ended */
    return (row->traits & KEPT) != 0 ? put(&k->last[row->id], first_fd(m)) : 0;
}

void kept_clear(struct kept *k)
{
    for (uint32_t slot = 0; slot < k->n_regions; slot++) {
        drop(&k->regions[slot]);
    }
    for (uint32_t ring = 0; ring < k->n_rings; ring++) {
        for (int slot = 0; slot < KEPT_OF_RING; slot++) {
            drop(&k->rings[ring][slot]);
        }
    }
    for (uint32_t request = 0; request < RECORD_REQUESTS; request++) {
        drop(&k->last[request]);
    }
    k->n_regions = k->n_rings = 0;
}

int kept_last(const struct kept *k, uint32_t request)
{
    return k->last[request] - 1;
}

int kept_ring(const struct kept *k, size_t ring, enum record_ring_kind kind)
{
    return ring < k->n_rings && slot_of(kind) >= 0 ? k->rings[ring][slot_of(kind)] - 1 : -1;
}

int kept_region(const struct kept *k, const struct record_region *region)
{
    return k->regions[region->slot] - 1;
}
