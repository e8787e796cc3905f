/* SPDX-License-Identifier: MIT
 *
 * The order in which a fresh back-end is told, and why: protocol features first, because they say
 * how everything after is read; the log before the features that switch logging on; features before
 * rings, because DPDK sizes a ring's shadow by them; every ring announced (SET_VRING_CALL) before
 * the in-flight region, which DPDK 19.11 to 21.11 drop or crash on otherwise; memory before ring
 * addresses; kick last of a ring's own messages, because SPDK starts the whole device at the first;
 * all rings before any is enabled; DRIVER_OK at the very end.
 *
 * The in-flight region belongs to the part in which no other back-end may run any more: both would
 * write to it. */
#include "replay.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_DRIVER_OK 0x4u

/* How a step finds its messages. */
enum step_kind { ONCE, EACH_RING, MEMORY, STATUS_BEFORE_OK, ALL_OF_RING, CONFIG };

static const struct step {
    enum replay_part part;
    enum step_kind kind;
    uint32_t request;
} steps[] = {
    { REPLAY_BEFORE_RINGS, ONCE, FRONT_SET_PROTOCOL_FEATURES },
    { REPLAY_BEFORE_RINGS, ONCE, FRONT_SET_OWNER },
    { REPLAY_BEFORE_RINGS, ONCE, FRONT_SET_BACKEND_REQ_FD },
    { REPLAY_BEFORE_RINGS, ONCE, FRONT_GPU_SET_SOCKET },
    { REPLAY_BEFORE_RINGS, ONCE, FRONT_SET_LOG_BASE },
    { REPLAY_BEFORE_RINGS, ONCE, FRONT_SET_LOG_FD },
    { REPLAY_BEFORE_RINGS, ONCE, FRONT_SET_FEATURES },
    { REPLAY_BEFORE_RINGS, STATUS_BEFORE_OK, FRONT_SET_STATUS },
    { REPLAY_BEFORE_RINGS, EACH_RING, FRONT_SET_VRING_CALL },
    { REPLAY_BEFORE_RINGS, MEMORY, 0 },
    { REPLAY_RINGS, ONCE, FRONT_SET_INFLIGHT_FD },
    { REPLAY_RINGS, ALL_OF_RING, 0 },
    { REPLAY_RINGS, EACH_RING, FRONT_SET_VRING_ENABLE },
    { REPLAY_RINGS, ONCE, FRONT_NET_SET_MTU },
    { REPLAY_RINGS, CONFIG, FRONT_SET_CONFIG },
    { REPLAY_RINGS, ONCE, FRONT_SET_STATUS },
};

static int add_fd(struct msg *m, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    int err = copy < 0 ? -errno : fdset_append_take(&m->fds, &copy, 1);
    if (err < 0) {
        close_keep_errno(copy);
    }
    return err;
}

/* 1 and the message, or -errno and nothing. `fd` is borrowed, -1: none. */
static int make(uint32_t request, const void *body, size_t size, int fd, struct msg *ret_msg)
{
    int copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (fd >= 0 && copy < 0) {
        return -errno;
    }
    int err = msg_make_fd_take(request, body, (uint32_t)size, copy, ret_msg);
    return err < 0 ? err : 1;
}

/* The driver is ready only when everything else has been said. */
static void without_driver_ok(struct msg *m)
{
    const struct field *f = &payloads[PAYLOAD_status].fields[0];
    field_set(m, f, field_get(m, f) & ~(uint64_t)STATUS_DRIVER_OK);
}

static int make_last(const struct record *r, const struct kept *k, const struct step *s,
                     struct msg *ret_msg)
{
    const struct record_last *last = &r->last[s->request];
    if (!last->told) {
        return 0;
    }
    int result = make(s->request, last->body, last->size, kept_last(k, s->request), ret_msg);
    if (result == 1 && s->kind == STATUS_BEFORE_OK) {
        without_driver_ok(ret_msg);
    }
    return result;
}

static int make_of_ring(const struct record *r, const struct kept *k, size_t ring,
                        enum record_ring_kind kind, struct msg *ret_msg)
{
    const struct record_ring_row *row = &record_ring_rows[kind];
    const struct record_ring *from = &r->rings[ring];
    if (!record_ring_told(from, kind)) {
        return 0;
    }
    return make(row->request, from->body + row->offset, row->size, kept_ring(k, ring, kind),
                ret_msg);
}

/* ---- memory ---- */

static struct wire_region region_on_wire(const struct record_region *region)
{
    return (struct wire_region){ .guest_addr = region->guest_addr,
                                 .size = region->size,
                                 .user_addr = region->user_addr,
                                 .mmap_offset = region->mmap_offset };
}

static bool is_xen(const struct record *r)
{
    return (r->protocol_acked & BIT(PROTOCOL_XEN_MMAP)) != 0;
}

static size_t put_region(const struct record *r, const struct record_region *region, uint8_t *to)
{
    struct wire_region wire = region_on_wire(region);
    memcpy(to, &wire, sizeof(wire));
    if (!is_xen(r)) {
        return sizeof(wire);
    }
    memcpy(to + sizeof(wire), &region->xen, sizeof(region->xen));
    return sizeof(wire) + sizeof(region->xen);
}

static int make_table(const struct record *r, const struct kept *k, struct msg *ret_msg)
{
    uint8_t body[WIRE_MAX_PAYLOAD] = { 0 };
    struct wire_mem_table head = { .nregions = r->n_table };
    size_t used = sizeof(head);
    struct msg m = MSG_NULL;
    memcpy(body, &head, sizeof(head));
    for (uint32_t i = 0; i < r->n_table; i++) {
        used += put_region(r, &r->regions[i], body + used);
    }
    int err = msg_make(FRONT_SET_MEM_TABLE, 0, body, (uint32_t)used, &m);
    for (uint32_t i = 0; i < r->n_table && err == 0; i++) {
        err = add_fd(&m, kept_region(k, &r->regions[i]));
    }
    if (err < 0) {
        msg_clear(&m);
        return err;
    }
    *ret_msg = m;
    return 1;
}

static int make_memory(const struct record *r, const struct kept *k, size_t at, bool *ret_over,
                       struct msg *ret_msg)
{
    uint8_t body[sizeof(uint64_t) + 40] = { 0 };
    uint32_t table = r->n_table > 0 ? 1 : 0;
    uint32_t i = r->n_table + (uint32_t)at - table;
    if (at < table) {
        return make_table(r, k, ret_msg);
    }
    if (i >= r->n_regions) {
        *ret_over = true;
        return 0;
    }
    size_t used = sizeof(uint64_t);
    used += put_region(r, &r->regions[i], body + used);
    return make(FRONT_ADD_MEM_REG, body, used, kept_region(k, &r->regions[i]), ret_msg);
}

/* ---- configuration space: one message for each run of written bytes ---- */

static int make_config(const struct record *r, size_t *at, bool *ret_over, struct msg *ret_msg)
{
    uint8_t body[sizeof(struct wire_config) + OFFER_CONFIG_MAX];
    const struct record_bytes *b = &r->config_set;
    size_t from = *at;
    while (from < OFFER_CONFIG_MAX && !record_bytes_known(b, from, 1)) {
        from++;
    }
    size_t to = from;
    while (to < OFFER_CONFIG_MAX && record_bytes_known(b, to, 1)) {
        to++;
    }
    *at = to;
    if (from == to) {
        *ret_over = true;
        return 0;
    }
    struct wire_config head = { .offset = (uint32_t)from,
                                .size = (uint32_t)(to - from),
                                .flags = r->config_flags };
    memcpy(body, &head, sizeof(head));
    memcpy(body + sizeof(head), b->at + from, to - from);
    return make(FRONT_SET_CONFIG, body, sizeof(head) + to - from, -1, ret_msg);
}

/* ---- the walk ---- */

/* One message of a step; 0 when there is none in this place, *ret_over: nor behind it. */
static int make_next(struct replay *p, const struct record *r, const struct kept *k,
                     const struct step *s, bool *ret_over, struct msg *ret_msg)
{
    static const size_t of_ring = RING_ENABLE; /* all before it */
    size_t at = p->at++;
    switch (s->kind) {
    case ONCE:
    case STATUS_BEFORE_OK:
        *ret_over = true;
        return make_last(r, k, s, ret_msg);
    case EACH_RING:
        *ret_over = at >= r->n_rings;
        return *ret_over ? 0 : make_of_ring(r, k, at, record_ring_kind(s->request), ret_msg);
    case ALL_OF_RING:
        *ret_over = at >= r->n_rings * of_ring;
        return *ret_over ? 0
                         : make_of_ring(r, k, at / of_ring, (enum record_ring_kind)(at % of_ring),
                                        ret_msg);
    case MEMORY:
        return make_memory(r, k, at, ret_over, ret_msg);
    case CONFIG:
        p->at = at;
        return make_config(r, &p->at, ret_over, ret_msg);
    }
    return 0;
}

int replay_next(struct replay *p, const struct record *r, const struct kept *k, struct msg *ret_msg)
{
    while (p->step < ARRAY_SIZE(steps)) {
        const struct step *s = &steps[p->step];
        bool over = s->part != p->part;
        int result = over ? 0 : make_next(p, r, k, s, &over, ret_msg);
        if (over) {
            p->step++;
            p->at = 0;
        }
        if (result != 0) {
            return result;
        }
    }
    return 0;
}

enum replay_ran replay_ran(const struct replay *p)
{
    bool kicked = false;
    for (size_t k = 0; k < p->step + (p->at > 0 ? 1 : 0) && k < ARRAY_SIZE(steps); k++) {
        if (p->part == REPLAY_RINGS && steps[k].request == FRONT_SET_VRING_ENABLE) {
            return RAN;
        }
        kicked = kicked || (p->part == REPLAY_RINGS && steps[k].kind == ALL_OF_RING);
    }
    return kicked ? RAN_PERHAPS : RAN_NOT;
}

int replay_copy(const struct msg *m, uint32_t request, struct msg *ret_msg)
{
    struct msg copy = MSG_NULL;
    int err = msg_make(request, 0, m->body, m->head.size, &copy);
    for (size_t i = 0; i < m->fds.n && err == 0; i++) {
        err = add_fd(&copy, m->fds.fd[i]);
    }
    if (err < 0) {
        msg_clear(&copy);
        return err;
    }
    *ret_msg = copy;
    return 1;
}

int replay_follow(const struct message_row *row, const struct msg *m, struct msg *ret_msg)
{
    bool told = (row->traits & (SETS_REGIONS | ADDS_REGION | DROPS_REGION)) != 0;
    bool status = false;
    for (size_t k = 0; k < ARRAY_SIZE(steps) && !told; k++) {
        told = steps[k].part == REPLAY_BEFORE_RINGS && steps[k].request == row->id;
        status = told && steps[k].kind == STATUS_BEFORE_OK;
    }
    if (!told) {
        return 0;
    }
    int result = replay_copy(m, row->id, ret_msg);
    if (result == 1 && status) {
        without_driver_ok(ret_msg);
    }
    if (result == 1 && (row->traits & CLOSES_FDS) != 0) {
        fdset_close(&ret_msg->fds);
    }
    return result;
}

bool replay_is_void(const struct message_row *row)
{
    return (row->traits & (RESETS | TAKES_CHANNEL)) != 0 || row->id == FRONT_GPU_SET_SOCKET;
}
