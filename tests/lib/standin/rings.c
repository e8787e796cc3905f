/* SPDX-License-Identifier: MIT
 *
 * The order of writes follows the specification's lists of steps, so that a kill between any two of
 * them is one that its rules for reconnecting repair. */
#include "rings.h"

#include "memory.h"
#include "util.h"

#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* The specification's layouts of a queue's part of the in-flight region. */

struct split_state {
    uint8_t inflight, padding[5];
    uint16_t next;
    uint64_t counter;
};

struct split_track {
    uint64_t features;
    uint16_t version, desc_num, last_batch_head, used_idx;
    struct split_state desc[];
};

struct packed_state {
    uint8_t inflight, padding;
    uint16_t next, last, num;
    uint64_t counter;
    uint16_t id, flags;
    uint32_t len;
    uint64_t addr;
};

struct packed_track {
    uint64_t features;
    uint16_t version, desc_num, free_head, old_free_head, used_idx, old_used_idx;
    uint8_t used_wrap, old_used_wrap, padding[7];
    struct packed_state desc[];
};

struct rings rings;

/* What the guest and a successor see must be written in this order, wherever we are killed. */
#define BARRIER() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define ADDR_LOG 1u

/* Taking requests */

static void add_seg(struct request *r, uint64_t gpa, uint32_t len, bool writable)
{
    if (r->n_segs == MAX_SEGS) {
        WRONG("more than %d segments", MAX_SEGS);
        return;
    }
    r->seg[r->n_segs++] = (struct seg){ gpa, len, writable };
}

static void read_split_chain(struct queue *q, struct request *r)
{
    struct vring_desc *table = q->desc;
    uint32_t size = q->num, i = r->head;

    if (table[i].flags & VRING_DESC_F_INDIRECT) {
        size = table[i].len / sizeof(*table);
        table = memory_find(table[i].addr, table[i].len, false);
        i = 0;
    }
    for (uint32_t n = 0; table && n < size && i < size; n++, i = table[i].next) {
        add_seg(r, table[i].addr, table[i].len, table[i].flags & VRING_DESC_F_WRITE);
        if (!(table[i].flags & VRING_DESC_F_NEXT)) {
            return;
        }
    }
    WRONG("chain of head %u", r->head);
}

/* The ring's own descriptors may be overwritten by now: the in-flight region has a copy. */
static void read_packed_chain(struct queue *q, struct request *r)
{
    struct packed_state *e = &q->packed->desc[r->head];

    for (int n = q->packed->desc[r->head].num; n; n--, e = &q->packed->desc[e->next]) {
        if (!(e->flags & VRING_DESC_F_INDIRECT)) {
            add_seg(r, e->addr, e->len, e->flags & VRING_DESC_F_WRITE);
            continue;
        }
        struct vring_packed_desc *table = memory_find(e->addr, e->len, false);
        for (uint32_t i = 0; table && i < e->len / sizeof(*table); i++) {
            add_seg(r, table[i].addr, table[i].len, table[i].flags & VRING_DESC_F_WRITE);
        }
    }
}

static void take(struct queue *q, uint16_t head)
{
    struct request *r = calloc(1, sizeof(*r));
    if (!r) {
        die("request");
    }
    r->head = head;
    if (q->packed) {
        read_packed_chain(q, r);
    } else {
        read_split_chain(q, r);
    }
    if (rand_r(&rings.seed) % 2) {
        rings.touch(r);
    }
    r->due = now_us();
    if (rings.delay_us) {
        r->due += rand_r(&rings.seed) % rings.delay_us;
    }
    r->next = q->requests;
    q->requests = r;
}

static void take_split(struct queue *q)
{
    struct split_track *t = q->split;

    while (q->avail_idx != __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE)) {
        uint16_t head = q->avail->ring[q->avail_idx % q->num];
        if (head >= q->num || t->desc[head].inflight) {
            WRONG("head %u is made available twice", head);
            return;
        }
        t->desc[head].counter = q->counter++;
        BARRIER();
        t->desc[head].inflight = 1;
        BARRIER();
        q->avail_idx++;
        take(q, head);
    }
}

static void next_packed(const struct queue *q, uint16_t *idx, bool *wrap, uint16_t n)
{
    *idx += n;
    if (*idx >= q->num) {
        *idx -= q->num;
        *wrap = !*wrap;
    }
}

static uint16_t packed_flags(bool avail, bool used)
{
    return avail << VRING_PACKED_DESC_F_AVAIL | used << VRING_PACKED_DESC_F_USED;
}

#define PACKED_BOTH packed_flags(true, true)

static bool packed_is_available(const struct queue *q)
{
    uint16_t flags = __atomic_load_n(&q->ring[q->avail_idx].flags, __ATOMIC_ACQUIRE);
    return (flags & PACKED_BOTH) == packed_flags(q->avail_wrap, !q->avail_wrap);
}

static void take_packed(struct queue *q)
{
    struct packed_track *t = q->packed;

    while (packed_is_available(q)) {
        uint16_t head = t->old_free_head;
        struct packed_state *e = &t->desc[head];
        uint16_t flags;

        if (head >= q->num) {
            WRONG("more is available than the ring holds");
            return;
        }
        e->num = 0;
        e->counter = q->counter++;
        BARRIER();
        e->inflight = 1;
        do {
            struct vring_packed_desc *d = &q->ring[q->avail_idx];
            struct packed_state *copy = &t->desc[t->free_head];
            flags = d->flags;
            *copy = (struct packed_state){ copy->inflight, 0,     copy->next, copy->last, copy->num,
                                           copy->counter,  d->id, flags,      d->len,     d->addr };
            e->last = t->free_head;
            e->num++;
            t->free_head = copy->next;
            next_packed(q, &q->avail_idx, &q->avail_wrap, 1);
        } while (flags & VRING_DESC_F_NEXT && t->free_head < q->num);
        BARRIER();
        t->old_free_head = t->free_head;
        BARRIER();
        take(q, head);
    }
}

/* Completing them */

static void complete_split(struct queue *q, struct request *r)
{
    struct split_track *t = q->split;
    uint16_t idx = q->used->idx;

    q->used->ring[idx % q->num] = (struct vring_used_elem){ r->head, r->written };
    t->desc[r->head].next = t->last_batch_head;
    t->last_batch_head = r->head;
    BARRIER();
    __atomic_store_n(&q->used->idx, (uint16_t)(idx + 1), __ATOMIC_RELEASE);
    BARRIER();
    t->desc[r->head].inflight = 0;
    BARRIER();
    t->used_idx = idx + 1;
    if (q->addr.flags & ADDR_LOG) {
        log_pages(q->addr.log, sizeof(*q->used) + q->num * sizeof(*q->used->ring));
    }
}

static void complete_packed(struct queue *q, struct request *r)
{
    struct packed_track *t = q->packed;
    struct packed_state *e = &t->desc[r->head];
    struct vring_packed_desc *d = &q->ring[t->used_idx];
    uint16_t flags = packed_flags(t->used_wrap, t->used_wrap) | VRING_DESC_F_WRITE;
    uint16_t idx = t->used_idx;
    bool wrap = t->used_wrap;

    d->id = t->desc[e->last].id; /* the chain's last descriptor has the buffer's id */
    d->len = r->written;
    t->desc[e->last].next = t->free_head;
    t->free_head = r->head;
    next_packed(q, &idx, &wrap, e->num);
    t->used_wrap = wrap;
    t->used_idx = idx;
    BARRIER();
    __atomic_store_n(&d->flags, flags, __ATOMIC_RELEASE);
    BARRIER();
    e->inflight = 0;
    BARRIER();
    t->old_free_head = t->free_head;
    t->old_used_wrap = t->used_wrap;
    BARRIER();
    t->old_used_idx = t->used_idx;
    /* A packed ring is written where the driver writes it: the address for the log is of no use. */
    uint64_t gpa;
    if (q->addr.flags & ADDR_LOG && memory_gpa(q->addr.desc, &gpa)) {
        log_pages(gpa, q->num * sizeof(*d));
    }
}

static void complete(struct queue *q, struct request **link)
{
    struct request *r = *link;

    if (!r->touched) {
        rings.touch(r);
    }
    if (q->packed) {
        complete_packed(q, r);
    } else {
        complete_split(q, r);
    }
    *link = r->next;
    free(r);
}

uint64_t queue_complete_due(struct queue *q, uint64_t when)
{
    uint64_t next = UINT64_MAX, one = 1;
    bool any = false;

    for (struct request **link = &q->requests; *link;) {
        if ((*link)->due <= when) {
            complete(q, link);
            any = true;
        } else {
            next = (*link)->due < next ? (*link)->due : next;
            link = &(*link)->next;
        }
    }
    if (any && q->call >= 0 && write(q->call, &one, sizeof(one)) != sizeof(one)) {
        perror("call");
    }
    return next;
}

/* Starting and stopping */

uint32_t track_size(uint32_t ring)
{
    size_t n = rings.packed ? sizeof(struct packed_track) + ring * sizeof(struct packed_state)
                            : sizeof(struct split_track) + ring * sizeof(struct split_state);
    return (n + 63) / 64 * 64;
}

static void init_track(struct queue *q)
{
    if (q->split && !q->split->version) {
        q->split->desc_num = q->num;
        q->split->used_idx = q->used->idx;
        q->split->version = 1;
    }
    if (q->packed && !q->packed->version) {
        for (uint32_t i = 0; i < q->num; i++) {
            q->packed->desc[i].next = i + 1;
        }
        q->packed->desc_num = q->num;
        q->packed->used_idx = q->packed->old_used_idx = q->base >> 16 & 0x7fff;
        q->packed->used_wrap = q->packed->old_used_wrap = q->base >> 31;
        q->packed->version = 1;
    }
}

/* The last completion may be half in the books. */
static void repair_split(struct queue *q)
{
    struct split_track *t = q->split;
    uint16_t i = t->last_batch_head;

    for (uint16_t n = q->used->idx - t->used_idx; n && i < q->num; n--, i = t->desc[i].next) {
        t->desc[i].inflight = 0;
    }
    t->used_idx = q->used->idx;
}

static void repair_packed(struct queue *q)
{
    struct packed_track *t = q->packed;

    if (t->used_idx != t->old_used_idx) {
        uint16_t flags = q->ring[t->old_used_idx].flags & PACKED_BOTH;
        if (flags != packed_flags(t->old_used_wrap, !t->old_used_wrap)) {
            t->old_free_head = t->free_head;
            t->old_used_idx = t->used_idx;
            t->old_used_wrap = t->used_wrap;
        }
    }
    t->free_head = t->old_free_head;
    t->used_idx = t->old_used_idx;
    t->used_wrap = t->old_used_wrap;
    for (uint32_t n = 0, i = t->free_head; n < q->num && i < q->num; n++, i = t->desc[i].next) {
        t->desc[i].inflight = 0;
    }
}

static uint64_t counter_of(const struct queue *q, uint32_t i)
{
    return q->packed ? q->packed->desc[i].counter : q->split->desc[i].counter;
}

static bool in_flight(const struct queue *q, uint32_t i)
{
    return q->packed ? q->packed->desc[i].inflight : q->split->desc[i].inflight;
}

/* Takes again, in the order in which they were taken, what the predecessor has not completed. */
static int resubmit(struct queue *q)
{
    uint64_t least = 0;
    int n = 0;

    for (;;) {
        uint32_t found = q->num;
        for (uint32_t i = 0; i < q->num; i++) {
            if (in_flight(q, i) && counter_of(q, i) >= least &&
                (found == q->num || counter_of(q, i) < counter_of(q, found))) {
                found = i;
            }
        }
        if (found == q->num) {
            q->counter = least;
            return n;
        }
        least = counter_of(q, found) + 1;
        if (q->packed) {
            next_packed(q, &q->avail_idx, &q->avail_wrap, q->packed->desc[found].num);
        } else {
            q->avail_idx++;
        }
        take(q, found);
        n++;
    }
}

void queue_remap(struct queue *q)
{
    q->desc = memory_find(q->addr.desc, q->num * sizeof(*q->desc), true);
    q->ring = (struct vring_packed_desc *)q->desc;
    q->avail = memory_find(q->addr.avail, sizeof(*q->avail), true);
    q->used = memory_find(q->addr.used, sizeof(*q->used), true);
}

bool queue_start(struct queue *q)
{
    uint32_t i = q->index, base;

    queue_remap(q);
    if (!q->addressed || !q->based || !q->num || !q->desc || !q->avail || !q->used) {
        WRONG("ring %u is started and not set up", i);
        return false;
    }
    uint8_t *track = rings.track + i * track_size(q->num);
    if (!rings.track) {
        free(q->own_track);
        track = q->own_track = calloc(1, track_size(q->num));
    } else if ((i + 1) * track_size(q->num) > rings.track_len) {
        WRONG("ring %u is not in the in-flight region", i);
        return false;
    }
    q->packed = rings.packed ? (struct packed_track *)track : NULL;
    q->split = q->packed ? NULL : (struct split_track *)track;
    init_track(q);
    if (q->packed) {
        repair_packed(q);
        q->avail_idx = q->packed->used_idx;
        q->avail_wrap = q->packed->used_wrap;
        base = (q->avail_idx | q->avail_wrap << 15) * 0x10001u;
    } else {
        repair_split(q);
        q->used->flags = 0; /* whatever a predecessor wanted of the driver */
        q->avail_idx = base = q->used->idx;
    }
    if (q->base != base) {
        WRONG("base of ring %u is %#x, the used index says %#x", i, q->base, base);
    }
    /* Without books about what was in flight, the base is all there is to know. */
    if (!rings.track && !q->packed) {
        q->avail_idx = q->base;
    }
    int n = resubmit(q);
    say("ring %u starts at %#x, %d in flight", i, base, n);
    q->started = true;
    return true;
}

static void finish(struct queue *q, bool drain)
{
    if (drain) {
        queue_complete_due(q, UINT64_MAX);
    }
    for (struct request *r = q->requests, *next; r; r = next) {
        next = r->next;
        free(r);
    }
    q->requests = NULL;
    q->started = false;
    close_fd(&q->kick);
}

uint32_t queue_stop(struct queue *q)
{
    if (!q->started) {
        return q->base;
    }
    finish(q, true);
    close_fd(&q->call);
    if (q->packed) {
        return (q->avail_idx | (uint32_t)q->avail_wrap << 15) * 0x10001u;
    }
    return q->avail_idx;
}

void queue_take(struct queue *q)
{
    if (q->packed) {
        take_packed(q);
    } else {
        take_split(q);
    }
}

void queue_init(struct queue *q, uint32_t index)
{
    *q = (struct queue){ .index = index, .kick = -1, .call = -1 };
}

void queue_forget(struct queue *q)
{
    finish(q, false);
    close_fd(&q->call);
    free(q->own_track);
    queue_init(q, q->index);
}

void track_map(int fd, uint64_t size, uint64_t offset)
{
    track_forget();
    rings.track_len = size;
    rings.track = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
    if (rings.track == MAP_FAILED) {
        die("mapping the in-flight region");
    }
}

void track_forget(void)
{
    if (rings.track) {
        munmap(rings.track, rings.track_len);
    }
    rings.track = NULL;
}
