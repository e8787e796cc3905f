/* SPDX-License-Identifier: MIT
 *
 * A vhost-user-blk back-end that can be killed at any place. It serves one front-end at a time, in
 * one thread, from an image file:
 *
 *   standin-blk --socket PATH --image FILE [OPTION...]
 *
 *   --queues N            virtqueues (1)
 *   --packed              offers packed rings
 *   --read-only           a disk that cannot be written
 *   --block-size N        the configuration space's blk_size (512)
 *   --features MASK       offers these features instead of its own
 *   --no-inflight         does not offer the in-flight region
 *   --mem-slots           offers CONFIGURE_MEM_SLOTS
 *   --delay MS            a request is completed after 0 to MS milliseconds, so in no order (4)
 *   --seed N              of these delays
 *   --die-after N         ends at the Nth message of a connection, before it does anything about it
 *   --die-after-answer N  ends when it has dealt with the Nth message
 *   --refuse-at N         closes the connection at the Nth message
 *   --when-told           counts messages for these three only from SIGUSR1 on, that one excluded
 *   --mute-at REQUEST     never answers this request (its name without VHOST_USER_)
 *
 * What it has taken from a ring and not completed is in the in-flight region, as the vhost-user
 * specification lays it out ("Inflight I/O tracking"), and nowhere else: a successor gets that
 * region and the rings. Half of the requests touch the image as soon as they are taken and the
 * others just before they are completed, so that a kill leaves requests in both states. Without a
 * region from the front-end, the same bookkeeping is in memory of its own and dies with it.
 *
 * Everything that a correct front-end never does is printed as a line with WRONG. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX_QUEUES 16
#define MAX_RING 1024
#define MAX_REGIONS 32
#define MAX_SEGS 256
#define MAX_FDS 32
#define LOG_PAGE 4096

#define F_LOG_ALL (1ull << 26)
#define F_PROTOCOL (1ull << 30)
#define F_PACKED (1ull << VIRTIO_F_RING_PACKED)
#define P_MQ (1ull << 0)
#define P_LOG_SHMFD (1ull << 1)
#define P_REPLY_ACK (1ull << 3)
#define P_BACKEND_REQ (1ull << 5)
#define P_CONFIG (1ull << 9)
#define P_INFLIGHT (1ull << 12)
#define P_MEM_SLOTS (1ull << 15)

#define FLAG_REPLY 4u
#define FLAG_NEED_REPLY 8u
#define NO_FD (1u << 8)
#define ADDR_LOG 1u

#define REQUESTS(X)                                                                                \
    X(1, GET_FEATURES)                                                                             \
    X(2, SET_FEATURES)                                                                             \
    X(3, SET_OWNER)                                                                                \
    X(4, RESET_OWNER)                                                                              \
    X(5, SET_MEM_TABLE)                                                                            \
    X(6, SET_LOG_BASE)                                                                             \
    X(7, SET_LOG_FD)                                                                               \
    X(8, SET_VRING_NUM)                                                                            \
    X(9, SET_VRING_ADDR)                                                                           \
    X(10, SET_VRING_BASE)                                                                          \
    X(11, GET_VRING_BASE)                                                                          \
    X(12, SET_VRING_KICK)                                                                          \
    X(13, SET_VRING_CALL)                                                                          \
    X(14, SET_VRING_ERR)                                                                           \
    X(15, GET_PROTOCOL_FEATURES)                                                                   \
    X(16, SET_PROTOCOL_FEATURES)                                                                   \
    X(17, GET_QUEUE_NUM)                                                                           \
    X(18, SET_VRING_ENABLE)                                                                        \
    X(21, SET_BACKEND_REQ_FD)                                                                      \
    X(24, GET_CONFIG)                                                                              \
    X(25, SET_CONFIG)                                                                              \
    X(31, GET_INFLIGHT_FD)                                                                         \
    X(32, SET_INFLIGHT_FD)                                                                         \
    X(36, GET_MAX_MEM_SLOTS)                                                                       \
    X(37, ADD_MEM_REG)                                                                             \
    X(38, REM_MEM_REG)

enum {
#define X(number, name) name = number,
    REQUESTS(X)
#undef X
};

static const struct {
    unsigned number;
    const char *name;
} request_names[] = {
#define X(number, name) { number, #name },
    REQUESTS(X)
#undef X
};

struct vring_state {
    uint32_t index, num;
};

struct vring_addr {
    uint32_t index, flags;
    uint64_t desc, used, avail, log;
};

struct mem_region {
    uint64_t gpa, size, uva, offset;
};

struct mem_table {
    uint32_t n, padding;
    struct mem_region region[MAX_REGIONS];
};

struct config_space {
    uint32_t offset, size, flags;
    uint8_t bytes[256];
};

struct inflight {
    uint64_t size, offset;
    uint16_t queues, ring;
    uint32_t padding;
};

struct message {
    uint32_t request, flags, size;
    union {
        uint64_t u64;
        struct vring_state state;
        struct vring_addr addr;
        struct mem_table table;
        struct {
            uint64_t padding;
            struct mem_region region;
        } slot;
        struct {
            uint64_t size, offset;
        } log;
        struct config_space config;
        struct inflight inflight;
    } body;
    int n_fds;
    int fd[MAX_FDS];
};

#define HEADER 12

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

struct seg {
    uint64_t gpa;
    uint32_t len;
    bool writable;
};

/* Taken from a ring and not completed. `head` is its place in the in-flight region. */
struct request {
    struct request *next;
    uint64_t due; /* us */
    uint16_t head;
    bool touched; /* the image has been read or written */
    uint32_t written;
    int n_segs;
    struct seg seg[MAX_SEGS];
};

struct queue {
    uint32_t num, base;
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
    struct packed_track *packed;
    uint64_t counter;
    struct request *requests;
};

struct mapped {
    struct mem_region r;
    uint8_t *at;
};

static struct {
    const char *socket;
    int image;
    uint64_t features, protocol;
    uint32_t queues, delay_us;
    unsigned seed;
    bool read_only, when_told;
    uint32_t block_size;
    unsigned die_after, die_after_answer, refuse_at, mute_at;
} option = { .image = -1, .queues = 1, .delay_us = 4000, .seed = 1, .block_size = 512 };

static struct {
    int fd;
    unsigned n_messages;
    uint64_t features, protocol, n_sectors;
    struct virtio_blk_config config;
    struct queue queue[MAX_QUEUES];
    struct mapped region[MAX_REGIONS];
    uint32_t n_regions;
    uint8_t *log;
    size_t log_len;
    uint8_t *track; /* the whole in-flight region */
    size_t track_len;
    int channel;
} dev;

static volatile sig_atomic_t told;

/* What the guest and a successor see must be written in this order, wherever we are killed. */
#define BARRIER() __atomic_thread_fence(__ATOMIC_SEQ_CST)

static void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

#define WRONG(...) say("WRONG " __VA_ARGS__)

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

static const char *name_of(unsigned number)
{
    for (size_t i = 0; i < sizeof(request_names) / sizeof(*request_names); i++) {
        if (request_names[i].number == number) {
            return request_names[i].name;
        }
    }
    return "unknown";
}

static unsigned number_of(const char *name)
{
    for (size_t i = 0; i < sizeof(request_names) / sizeof(*request_names); i++) {
        if (!strcmp(request_names[i].name, name)) {
            return request_names[i].number;
        }
    }
    fprintf(stderr, "standin-blk: no request is called %s\n", name);
    exit(2);
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

/* Memory */

static void *find(uint64_t at, uint64_t len, bool by_uva)
{
    for (uint32_t i = 0; i < dev.n_regions; i++) {
        struct mapped *m = &dev.region[i];
        uint64_t start = by_uva ? m->r.uva : m->r.gpa;
        if (at >= start && len <= m->r.size && at - start <= m->r.size - len) {
            return m->at + m->r.offset + (at - start);
        }
    }
    WRONG("no memory at %#llx", (unsigned long long)at);
    return NULL;
}

static void add_region(const struct mem_region *r, int fd)
{
    uint8_t *at = mmap(NULL, r->size + r->offset, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED || dev.n_regions == MAX_REGIONS) {
        die("mapping guest memory");
    }
    dev.region[dev.n_regions++] = (struct mapped){ *r, at };
}

static void remove_region(uint32_t i)
{
    munmap(dev.region[i].at, dev.region[i].r.size + dev.region[i].r.offset);
    dev.region[i] = dev.region[--dev.n_regions];
}

static void log_pages(uint64_t gpa, uint64_t len)
{
    if (!(dev.features & F_LOG_ALL) || !dev.log || !len) {
        return;
    }
    for (uint64_t page = gpa / LOG_PAGE; page <= (gpa + len - 1) / LOG_PAGE; page++) {
        if (page / 8 < dev.log_len) {
            __atomic_fetch_or(&dev.log[page / 8], 1 << page % 8, __ATOMIC_SEQ_CST);
        }
    }
}

/* The disk */

static uint8_t transfer(struct request *r, uint32_t type, uint64_t sector)
{
    uint64_t at = sector * 512;
    if (type == VIRTIO_BLK_T_OUT && option.read_only) {
        return VIRTIO_BLK_S_IOERR;
    }
    for (int i = 1; i < r->n_segs - 1; i++) {
        struct seg *s = &r->seg[i];
        void *p = find(s->gpa, s->len, false);
        if (!p || s->writable != (type == VIRTIO_BLK_T_IN) || at + s->len > dev.n_sectors * 512) {
            return VIRTIO_BLK_S_IOERR;
        }
        ssize_t n =
            s->writable ? pread(option.image, p, s->len, at) : pwrite(option.image, p, s->len, at);
        if (n != (ssize_t)s->len) {
            return VIRTIO_BLK_S_IOERR;
        }
        if (s->writable) {
            log_pages(s->gpa, s->len);
            r->written += s->len;
        }
        at += s->len;
    }
    return VIRTIO_BLK_S_OK;
}

static uint8_t get_id(struct request *r)
{
    static const char id[VIRTIO_BLK_ID_BYTES] = "standin";
    struct seg *s = &r->seg[1];
    void *p = r->n_segs == 3 && s->len >= sizeof(id) ? find(s->gpa, sizeof(id), false) : NULL;
    if (!p) {
        return VIRTIO_BLK_S_IOERR;
    }
    memcpy(p, id, sizeof(id));
    log_pages(s->gpa, sizeof(id));
    r->written += sizeof(id);
    return VIRTIO_BLK_S_OK;
}

/* The head is a segment of its own, and so is the status: so do Linux and SeaBIOS. */
static void touch(struct request *r)
{
    struct virtio_blk_outhdr *head = NULL;
    struct seg *last = &r->seg[r->n_segs - 1];
    uint8_t *status = NULL;

    r->touched = true;
    if (r->n_segs >= 2 && r->seg[0].len == sizeof(*head) && last->writable && last->len == 1) {
        head = find(r->seg[0].gpa, sizeof(*head), false);
        status = find(last->gpa, 1, false);
    }
    if (!head || !status) {
        WRONG("request of %d segments", r->n_segs);
        return;
    }
    switch (head->type) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
        *status = transfer(r, head->type, head->sector);
        break;
    case VIRTIO_BLK_T_FLUSH:
        *status = fdatasync(option.image) ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
        break;
    case VIRTIO_BLK_T_GET_ID:
        *status = get_id(r);
        break;
    default:
        *status = VIRTIO_BLK_S_UNSUPP;
    }
    if (*status == VIRTIO_BLK_S_IOERR) {
        say("I/O error: type %u sector %llu", head->type, (unsigned long long)head->sector);
    }
    r->written++;
    log_pages(last->gpa, 1);
}

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
        table = find(table[i].addr, table[i].len, false);
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
        struct vring_packed_desc *table = find(e->addr, e->len, false);
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
    if (rand_r(&option.seed) % 2) {
        touch(r);
    }
    r->due = now_us();
    if (option.delay_us) {
        r->due += rand_r(&option.seed) % option.delay_us;
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
    if (q->addr.flags & ADDR_LOG) {
        for (uint32_t i = 0; i < dev.n_regions; i++) {
            struct mem_region *m = &dev.region[i].r;
            if (q->addr.desc - m->uva < m->size) {
                log_pages(q->addr.desc - m->uva + m->gpa, q->num * sizeof(*d));
            }
        }
    }
}

static void complete(struct queue *q, struct request **link)
{
    struct request *r = *link;

    if (!r->touched) {
        touch(r);
    }
    if (q->packed) {
        complete_packed(q, r);
    } else {
        complete_split(q, r);
    }
    *link = r->next;
    free(r);
}

/* Completes what is due by then; when the next is. */
static uint64_t complete_due(struct queue *q, uint64_t when)
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

static uint32_t track_size(uint32_t ring)
{
    size_t n = dev.features & F_PACKED
                   ? sizeof(struct packed_track) + ring * sizeof(struct packed_state)
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

static void map_ring(struct queue *q)
{
    q->desc = find(q->addr.desc, q->num * sizeof(*q->desc), true);
    q->ring = (struct vring_packed_desc *)q->desc;
    q->avail = find(q->addr.avail, sizeof(*q->avail), true);
    q->used = find(q->addr.used, sizeof(*q->used), true);
}

static bool start(struct queue *q)
{
    uint32_t i = q - dev.queue, base;

    map_ring(q);
    if (!q->addressed || !q->based || !q->num || !q->desc || !q->avail || !q->used) {
        WRONG("ring %u is started and not set up", i);
        return false;
    }
    uint8_t *track = dev.track + i * track_size(q->num);
    if (!dev.track) {
        free(q->own_track);
        track = q->own_track = calloc(1, track_size(q->num));
    } else if ((i + 1) * track_size(q->num) > dev.track_len) {
        WRONG("ring %u is not in the in-flight region", i);
        return false;
    }
    q->packed = dev.features & F_PACKED ? (struct packed_track *)track : NULL;
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
    /* Without books about what was in flight, the base is all there is to know. */
    if (!dev.track && !q->packed) {
        q->avail_idx = q->base;
    } else if (q->base != base) {
        WRONG("base of ring %u is %#x, the used index says %#x", i, q->base, base);
    }
    int n = resubmit(q);
    say("ring %u starts at %#x, %d in flight", i, base, n);
    q->started = true;
    return true;
}

static void finish(struct queue *q, bool drain)
{
    if (drain) {
        complete_due(q, UINT64_MAX);
    }
    for (struct request *r = q->requests, *next; r; r = next) {
        next = r->next;
        free(r);
    }
    q->requests = NULL;
    q->started = false;
    close_fd(&q->kick);
}

static uint32_t stop(struct queue *q)
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

static void forget_track(void)
{
    if (dev.track) {
        munmap(dev.track, dev.track_len);
    }
    dev.track = NULL;
}

static void forget_front_end(void)
{
    for (uint32_t i = 0; i < MAX_QUEUES; i++) {
        struct queue *q = &dev.queue[i];
        finish(q, false);
        close_fd(&q->call);
        free(q->own_track);
        *q = (struct queue){ .kick = -1, .call = -1 };
    }
    while (dev.n_regions) {
        remove_region(0);
    }
    if (dev.log) {
        munmap(dev.log, dev.log_len);
    }
    dev.log = NULL;
    forget_track();
    close_fd(&dev.channel);
    dev.features = dev.protocol = 0;
}

/* Messages */

static bool receive_bytes(void *to, size_t len, struct message *m)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(MAX_FDS * sizeof(int))];

    for (size_t got = 0; got < len;) {
        struct iovec iov = { (char *)to + got, len - got };
        struct msghdr h = { .msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = sizeof(control) };
        ssize_t n = recvmsg(dev.fd, &h, MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
            size_t fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(m->fd + m->n_fds, CMSG_DATA(c), fds * sizeof(int));
            m->n_fds += fds;
        }
        got += n;
    }
    return true;
}

static bool receive(struct message *m)
{
    memset(m, 0, sizeof(*m));
    return receive_bytes(m, HEADER, m) && m->size <= sizeof(m->body) &&
           receive_bytes(&m->body, m->size, m);
}

static void send_message(struct message *m, uint32_t size, int fd)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    /* The compiler leaves a gap after the 12 bytes of the header. */
    struct iovec iov[] = { { m, HEADER }, { &m->body, size } };
    struct msghdr h = { .msg_iov = iov, .msg_iovlen = 2 };

    if (m->request == option.mute_at) {
        return;
    }
    m->flags = 1 | FLAG_REPLY;
    m->size = size;
    if (fd >= 0) {
        h.msg_control = control;
        h.msg_controllen = sizeof(control);
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        *c = (struct cmsghdr){ CMSG_LEN(sizeof(fd)), SOL_SOCKET, SCM_RIGHTS };
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    if (sendmsg(dev.fd, &h, MSG_NOSIGNAL) < 0) {
        perror("answer");
    }
}

static void answer(struct message *m, uint64_t value)
{
    m->body.u64 = value;
    send_message(m, sizeof(m->body.u64), -1);
}

/* Takes the message's (only) descriptor. */
static int steal_fd(struct message *m)
{
    int fd = m->n_fds ? m->fd[0] : -1;
    m->fd[0] = -1;
    return fd;
}

static bool set_memory(struct message *m)
{
    struct mem_table *t = &m->body.table;
    if (t->n > MAX_REGIONS || (int)t->n != m->n_fds) {
        WRONG("memory table of %u regions with %d descriptors", t->n, m->n_fds);
        return false;
    }
    while (dev.n_regions) {
        remove_region(0);
    }
    for (uint32_t i = 0; i < t->n; i++) {
        add_region(&t->region[i], m->fd[i]);
    }
    return true;
}

static bool change_memory(struct message *m)
{
    struct mem_region *r = &m->body.slot.region;

    if (m->request == ADD_MEM_REG) {
        add_region(r, m->fd[0]);
        return true;
    }
    for (uint32_t i = 0; i < dev.n_regions; i++) {
        struct mem_region *have = &dev.region[i].r;
        if (have->gpa == r->gpa && have->uva == r->uva && have->size == r->size) {
            remove_region(i);
            return true;
        }
    }
    WRONG("memory that is not there is removed");
    return false;
}

static void remap_rings(void)
{
    for (uint32_t i = 0; i < option.queues; i++) {
        if (dev.queue[i].started) {
            map_ring(&dev.queue[i]);
        }
    }
}

static bool set_log(struct message *m)
{
    if (dev.log) {
        munmap(dev.log, dev.log_len);
    }
    dev.log_len = m->body.log.size;
    dev.log =
        mmap(NULL, dev.log_len, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd[0], m->body.log.offset);
    if (!m->n_fds || dev.log == MAP_FAILED) {
        die("mapping the log");
    }
    answer(m, 0);
    return true;
}

static void get_config(struct message *m)
{
    struct config_space *c = &m->body.config;
    if (c->offset > sizeof(c->bytes) || c->size > sizeof(c->bytes) - c->offset) {
        send_message(m, 0, -1);
        return;
    }
    memset(c->bytes, 0, sizeof(c->bytes));
    if (c->offset < sizeof(dev.config)) {
        memcpy(c->bytes, (char *)&dev.config + c->offset, sizeof(dev.config) - c->offset);
    }
    send_message(m, 12 + c->size, -1);
}

static void get_inflight(struct message *m)
{
    struct inflight *want = &m->body.inflight;
    int fd = memfd_create("standin-inflight", MFD_CLOEXEC);

    want->size = (uint64_t)want->queues * track_size(want->ring);
    want->offset = 0;
    if (fd < 0 || ftruncate(fd, want->size)) {
        die("in-flight region");
    }
    send_message(m, sizeof(*want), fd);
    close(fd);
}

static bool set_inflight(struct message *m)
{
    struct inflight *have = &m->body.inflight;

    forget_track();
    dev.track_len = have->size;
    dev.track = mmap(NULL, have->size, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd[0], have->offset);
    if (m->n_fds != 1 || dev.track == MAP_FAILED ||
        have->size < (uint64_t)have->queues * track_size(have->ring)) {
        WRONG("in-flight region of %llu bytes", (unsigned long long)have->size);
        return false;
    }
    return true;
}

/* The ring that a message is about; NULL if there is none of that number. */
static struct queue *queue_of(const struct message *m)
{
    bool has_fd = m->request >= SET_VRING_KICK && m->request <= SET_VRING_ERR;
    uint32_t i = has_fd ? m->body.u64 & 0xff : m->body.state.index;
    if (i < option.queues) {
        return &dev.queue[i];
    }
    WRONG("%s of ring %u", name_of(m->request), i);
    return NULL;
}

static bool handle_ring(struct message *m)
{
    struct queue *q = queue_of(m);
    if (!q) {
        return false;
    }
    switch (m->request) {
    case SET_VRING_NUM:
        q->num = m->body.state.num;
        return q->num && q->num <= MAX_RING && !q->started;
    case SET_VRING_ADDR:
        q->addr = m->body.addr;
        q->addressed = true;
        return true;
    case SET_VRING_BASE:
        q->base = m->body.state.num;
        q->based = true;
        return !q->started;
    case GET_VRING_BASE:
        m->body.state.num = q->base = stop(q);
        say("ring %u stops at %#x", m->body.state.index, q->base);
        send_message(m, sizeof(m->body.state), -1);
        return true;
    case SET_VRING_KICK:
        close_fd(&q->kick);
        q->kick = steal_fd(m);
        return q->started || start(q);
    case SET_VRING_CALL:
        close_fd(&q->call);
        q->call = steal_fd(m);
        return true;
    case SET_VRING_ENABLE:
        q->enabled = m->body.state.num;
        return true;
    default: /* SET_VRING_ERR: nothing ever goes wrong in a way that it is for */
        return true;
    }
}

/* Whether it could be done. An answer of its own is sent here, an acknowledgement is not. */
static bool handle(struct message *m)
{
    switch (m->request) {
    case GET_FEATURES:
        answer(m, option.features);
        return true;
    case SET_FEATURES:
        dev.features = m->body.u64;
        return !(dev.features & ~(option.features | F_LOG_ALL));
    case GET_PROTOCOL_FEATURES:
        answer(m, option.protocol);
        return true;
    case SET_PROTOCOL_FEATURES:
        dev.protocol = m->body.u64;
        return !(dev.protocol & ~option.protocol);
    case SET_OWNER:
    case RESET_OWNER:
    case SET_LOG_FD:
    case SET_CONFIG:
        return true;
    case GET_QUEUE_NUM:
        answer(m, option.queues);
        return true;
    case GET_MAX_MEM_SLOTS:
        answer(m, MAX_REGIONS);
        return true;
    case SET_MEM_TABLE:
    case ADD_MEM_REG:
    case REM_MEM_REG:
        if (!(m->request == SET_MEM_TABLE ? set_memory(m) : change_memory(m))) {
            return false;
        }
        remap_rings();
        return true;
    case SET_LOG_BASE:
        return set_log(m);
    case GET_CONFIG:
        get_config(m);
        return true;
    case SET_BACKEND_REQ_FD:
        close_fd(&dev.channel);
        dev.channel = steal_fd(m);
        return true;
    case GET_INFLIGHT_FD:
        get_inflight(m);
        return true;
    case SET_INFLIGHT_FD:
        return set_inflight(m);
    case SET_VRING_NUM ... SET_VRING_ERR:
    case SET_VRING_ENABLE:
        return handle_ring(m);
    default:
        return false;
    }
}

static bool has_own_answer(unsigned request)
{
    switch (request) {
    case GET_FEATURES:
    case GET_PROTOCOL_FEATURES:
    case GET_QUEUE_NUM:
    case GET_MAX_MEM_SLOTS:
    case GET_VRING_BASE:
    case GET_CONFIG:
    case GET_INFLIGHT_FD:
    case SET_LOG_BASE:
        return true;
    default:
        return false;
    }
}

/* False when the connection is over. */
static bool serve_message(void)
{
    struct message m;

    if (!receive(&m)) {
        say("the front-end has left after %u messages", dev.n_messages);
        return false;
    }
    bool asked = m.flags & FLAG_NEED_REPLY && dev.protocol & P_REPLY_ACK;
    bool counts = !option.when_told || told;
    if (told == 1) {
        told = 2;
        dev.n_messages = 0;
    }
    unsigned n = ++dev.n_messages;
    say("%u %s", n, name_of(m.request));
    if (counts && n == option.die_after) {
        _exit(9);
    }
    if (counts && n == option.refuse_at) {
        say("refuses message %u", n);
        return false;
    }
    bool done = handle(&m);
    if (!done) {
        WRONG("%s cannot be done", name_of(m.request));
    }
    if (asked && !has_own_answer(m.request)) {
        answer(&m, !done);
    }
    if (counts && n == option.die_after_answer) {
        _exit(9);
    }
    for (int i = 0; i < m.n_fds; i++) {
        close_fd(&m.fd[i]);
    }
    return done || asked;
}

static void look_at_ring(struct queue *q)
{
    uint64_t kicks;
    if (read(q->kick, &kicks, sizeof(kicks)) < 0 && errno != EAGAIN) {
        perror("kick");
    }
    if (q->packed) {
        take_packed(q);
    } else {
        take_split(q);
    }
}

static void serve(void)
{
    struct pollfd p[1 + MAX_QUEUES];

    p[0] = (struct pollfd){ dev.fd, POLLIN, 0 };
    for (;;) {
        uint64_t now = now_us(), next = UINT64_MAX;
        for (uint32_t i = 0; i < option.queues; i++) {
            struct queue *q = &dev.queue[i];
            bool runs = q->started && (q->enabled || !(dev.features & F_PROTOCOL));
            uint64_t due = runs ? complete_due(q, now) : UINT64_MAX;
            next = due < next ? due : next;
            p[1 + i] = (struct pollfd){ runs ? q->kick : -1, POLLIN, 0 };
        }
        struct timespec t = { 0, next == UINT64_MAX ? 0 : (next - now) * 1000 };
        if (ppoll(p, 1 + option.queues, next == UINT64_MAX ? NULL : &t, NULL) < 0) {
            continue; /* told */
        }
        for (uint32_t i = 0; i < option.queues; i++) {
            if (p[1 + i].revents) {
                look_at_ring(&dev.queue[i]);
            }
        }
        if (p[0].revents && !serve_message()) {
            return;
        }
    }
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (!path || strlen(path) >= sizeof(address.sun_path)) {
        fprintf(stderr, "standin-blk: no path, or one that is too long\n");
        exit(2);
    }
    strcpy(address.sun_path, path);
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 4)) {
        die(path);
    }
    return fd;
}

static void be_told(int number)
{
    (void)number;
    told = 1;
}

enum {
    SOCKET = 256,
    IMAGE,
    QUEUES,
    PACKED,
    READ_ONLY,
    BLOCK_SIZE,
    FEATURES,
    NO_INFLIGHT,
    MEM_SLOTS,
    DELAY,
    SEED,
    DIE_AFTER,
    DIE_AFTER_ANSWER,
    REFUSE_AT,
    WHEN_TOLD,
    MUTE_AT,
};

static const struct option options[] = {
    { "socket", 1, NULL, SOCKET },
    { "image", 1, NULL, IMAGE },
    { "queues", 1, NULL, QUEUES },
    { "packed", 0, NULL, PACKED },
    { "read-only", 0, NULL, READ_ONLY },
    { "block-size", 1, NULL, BLOCK_SIZE },
    { "features", 1, NULL, FEATURES },
    { "no-inflight", 0, NULL, NO_INFLIGHT },
    { "mem-slots", 0, NULL, MEM_SLOTS },
    { "delay", 1, NULL, DELAY },
    { "seed", 1, NULL, SEED },
    { "die-after", 1, NULL, DIE_AFTER },
    { "die-after-answer", 1, NULL, DIE_AFTER_ANSWER },
    { "refuse-at", 1, NULL, REFUSE_AT },
    { "when-told", 0, NULL, WHEN_TOLD },
    { "mute-at", 1, NULL, MUTE_AT },
    { 0 },
};

static void read_option(int which)
{
    unsigned long number = optarg ? strtoul(optarg, NULL, 0) : 0;

    switch (which) {
    case SOCKET:
        option.socket = optarg;
        break;
    case IMAGE:
        option.image = open(optarg, O_RDWR | O_CLOEXEC);
        break;
    case QUEUES:
        option.queues = number;
        break;
    case PACKED:
        option.features |= F_PACKED;
        break;
    case READ_ONLY:
        option.read_only = true;
        option.features |= 1ull << VIRTIO_BLK_F_RO;
        break;
    case BLOCK_SIZE:
        option.block_size = number;
        break;
    case FEATURES:
        option.features = strtoull(optarg, NULL, 0);
        break;
    case NO_INFLIGHT:
        option.protocol &= ~P_INFLIGHT;
        break;
    case MEM_SLOTS:
        option.protocol |= P_MEM_SLOTS;
        break;
    case DELAY:
        option.delay_us = number * 1000;
        break;
    case SEED:
        option.seed = number;
        break;
    case DIE_AFTER:
        option.die_after = number;
        break;
    case DIE_AFTER_ANSWER:
        option.die_after_answer = number;
        break;
    case REFUSE_AT:
        option.refuse_at = number;
        break;
    case WHEN_TOLD:
        option.when_told = true;
        break;
    case MUTE_AT:
        option.mute_at = number_of(optarg);
        break;
    default:
        exit(2);
    }
}

static void read_options(int argc, char **argv)
{
    option.features = F_PROTOCOL | 1ull << VIRTIO_F_VERSION_1 |
                      1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_BLK_F_SEG_MAX |
                      1ull << VIRTIO_BLK_F_BLK_SIZE | 1ull << VIRTIO_BLK_F_FLUSH |
                      1ull << VIRTIO_BLK_F_MQ | F_LOG_ALL;
    option.protocol = P_MQ | P_LOG_SHMFD | P_REPLY_ACK | P_BACKEND_REQ | P_CONFIG | P_INFLIGHT;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        read_option(c);
    }
    struct stat image;
    if (option.image < 0 || fstat(option.image, &image)) {
        die("image");
    }
    if (!option.queues || option.queues > MAX_QUEUES) {
        fprintf(stderr, "standin-blk: 1 to %d queues\n", MAX_QUEUES);
        exit(2);
    }
    dev.n_sectors = image.st_size / 512;
    dev.config.capacity = dev.n_sectors;
    dev.config.seg_max = 126;
    dev.config.blk_size = option.block_size;
    dev.config.num_queues = option.queues;
}

int main(int argc, char **argv)
{
    signal(SIGUSR1, be_told);
    read_options(argc, argv);
    dev.channel = -1;
    for (uint32_t i = 0; i < MAX_QUEUES; i++) {
        dev.queue[i].kick = dev.queue[i].call = -1;
    }
    int listener = listen_at(option.socket);
    for (;;) {
        dev.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (dev.fd < 0) {
            continue; /* told */
        }
        say("a front-end has come");
        dev.n_messages = 0;
        serve();
        close(dev.fd);
        forget_front_end();
    }
}
