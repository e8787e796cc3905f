/* SPDX-License-Identifier: MIT */
#include "standin_back.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUIET_MS 20
#define GIVE_UP_MS 60000 /* a guest has to boot first */

/* What Debian 12's DPDK offers for a net device, without event_idx: who sleeps must be kicked. */
#define FEATURES UINT64_C(0xd5c66e7cb)
#define PROTOCOL_FEATURES UINT64_C(0x10cbf)
#define QUEUES 128

int own_rings;
long wrong_bases;

void backend_listen(struct backend *b)
{
    struct sockaddr_un address;
    b->listener = open_socket(b->path, &address);
    unlink(b->path);
    if (bind(b->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(b->listener, 4) < 0) {
        die(b->path);
    }
}

static void backend_accept(struct backend *b)
{
    int fd = accept(b->listener, NULL, NULL);
    if (fd < 0) {
        die("accept");
    }
    const char *path = b->path;
    *b = (struct backend){ .path = path, .listener = b->listener, .fd = fd, .accepted = now() };
    for (int i = 0; i < MAX_RINGS; i++) {
        b->rings[i].kick = b->rings[i].call = -1;
    }
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

static void unmap(struct backend *b)
{
    for (uint32_t i = 0; i < b->n_regions; i++) {
        munmap(b->maps[i], b->regions[i].size + b->regions[i].offset);
    }
    b->n_regions = 0;
}

static void backend_hang_up(struct backend *b)
{
    close_fd(&b->fd);
    unmap(b);
    for (int i = 0; i < MAX_RINGS; i++) {
        close_fd(&b->rings[i].kick);
        close_fd(&b->rings[i].call);
        b->rings[i].started = b->rings[i].returned = false;
    }
}

void backend_die(struct backend *b)
{
    unlink(b->path);
    close_fd(&b->listener);
    backend_hang_up(b);
}

static void map_table(struct backend *b, const struct message *m)
{
    unmap(b);
    if (m->u.table.n > MAX_REGIONS || m->u.table.n != m->n_fds) {
        errno = EPROTO;
        die("memory table");
    }
    for (uint32_t i = 0; i < m->u.table.n; i++) {
        const struct region *r = &m->u.table.regions[i];
        void *at =
            mmap(NULL, r->size + r->offset, PROT_READ | PROT_WRITE, MAP_SHARED, m->fds[i], 0);
        if (at == MAP_FAILED) {
            die("mmap");
        }
        b->regions[i] = *r;
        b->maps[i] = at;
        b->n_regions = i + 1;
    }
}

static void *translate(const struct backend *b, uint64_t uva)
{
    for (uint32_t i = 0; i < b->n_regions; i++) {
        const struct region *r = &b->regions[i];
        if (uva >= r->uva && uva - r->uva < r->size) {
            return b->maps[i] + r->offset + (uva - r->uva);
        }
    }
    errno = EFAULT;
    die("ring address");
}

static struct ring *ring_of(struct backend *b, uint64_t index)
{
    if (index >= MAX_RINGS) {
        errno = EPROTO;
        die("ring index");
    }
    return &b->rings[index];
}

static void start_ring(struct backend *b, struct ring *r)
{
    r->avail = translate(b, r->addr.avail);
    r->used = translate(b, r->addr.used);
    wrong_bases += atomic_load(&r->used->idx) != r->next;
    r->started = true;
}

/* Receive buffers of a real guest stay where they are: it would take them for packets. */
static bool is_served(int index)
{
    return own_rings > 0 || index % 2 == 1;
}

static void serve_ring(struct backend *b, struct ring *r)
{
    uint16_t avail = atomic_load(&r->avail->idx);
    uint16_t used = atomic_load(&r->used->idx);
    if (r->next == avail) {
        return;
    }
    for (; r->next != avail; r->next++, used++) {
        r->used->ring[used % r->size] =
            (struct used_elem){ .id = r->avail->ring[r->next % r->size] };
    }
    atomic_store(&r->used->idx, used);
    int64_t t = now();
    b->used = b->used ? b->used : t;
    b->all_used = r->returned ? b->all_used : t;
    r->returned = true;
    if (r->call >= 0 && eventfd_write(r->call, 1) < 0) {
        die("call");
    }
}

static void serve_rings(struct backend *b)
{
    if ((b->protocol_features & STATUS_BIT) && !(b->status & DRIVER_OK)) {
        return;
    }
    for (int i = 0; i < MAX_RINGS; i++) {
        struct ring *r = &b->rings[i];
        if (r->started && r->enabled && is_served(i)) {
            serve_ring(b, r);
        }
    }
}

static bool answer_u64(int fd, struct message *m, uint64_t value)
{
    m->head.flags = FLAG_VERSION | FLAG_REPLY;
    m->head.size = sizeof(value);
    m->u.u64 = value;
    m->n_fds = 0;
    return give(fd, m);
}

static void stop_ring(struct backend *b, bool *runs)
{
    *runs = false;
    b->stopped = b->stopped ? b->stopped : now();
}

static bool answer_base(struct backend *b, struct message *m)
{
    struct ring *r = ring_of(b, m->u.state.index);
    stop_ring(b, &r->started);
    close_fd(&r->kick);
    m->head.flags = FLAG_VERSION | FLAG_REPLY;
    m->u.state.num = r->next;
    return give(b->fd, m);
}

static void set_fd(int *to, struct message *m)
{
    close_fd(to);
    if (!(m->u.u64 & NO_FD) && m->n_fds == 1) {
        *to = m->fds[0];
        m->n_fds = 0;
    }
}

static void take_over(struct backend *b, struct message *m)
{
    struct ring *r;
    switch (m->head.request) {
    case SET_PROTOCOL_FEATURES:
        b->protocol_features = m->u.u64;
        break;
    case SET_MEM_TABLE:
        map_table(b, m);
        break;
    case SET_VRING_NUM:
        ring_of(b, m->u.state.index)->size = (uint16_t)m->u.state.num;
        break;
    case SET_VRING_BASE:
        ring_of(b, m->u.state.index)->next = (uint16_t)m->u.state.num;
        break;
    case SET_VRING_ADDR:
        ring_of(b, m->u.addr.index)->addr = m->u.addr;
        break;
    case SET_VRING_ENABLE:
        r = ring_of(b, m->u.state.index);
        r->enabled = m->u.state.num;
        if (!r->enabled) {
            stop_ring(b, &r->enabled);
        }
        break;
    case SET_VRING_CALL:
        set_fd(&ring_of(b, m->u.u64 & 0xff)->call, m);
        break;
    case SET_VRING_KICK:
        r = ring_of(b, m->u.u64 & 0xff);
        set_fd(&r->kick, m);
        start_ring(b, r);
        break;
    case SET_STATUS:
        b->status = m->u.u64;
        break;
    default:
        break;
    }
    for (size_t i = 0; i < m->n_fds; i++) {
        close(m->fds[i]);
    }
    m->n_fds = 0;
}

static bool answer(struct backend *b, struct message *m)
{
    switch (m->head.request) {
    case GET_FEATURES:
        return answer_u64(b->fd, m, FEATURES);
    case GET_PROTOCOL_FEATURES:
        return answer_u64(b->fd, m, PROTOCOL_FEATURES);
    case GET_QUEUE_NUM:
        return answer_u64(b->fd, m, QUEUES);
    case GET_STATUS:
        return answer_u64(b->fd, m, b->status);
    case GET_VRING_BASE:
        return answer_base(b, m);
    default:
        return !(m->head.flags & FLAG_NEED_REPLY) || answer_u64(b->fd, m, 0);
    }
}

/* False when the front-end has hung up. */
static bool hear(struct backend *b)
{
    struct message m;
    if (!take(b->fd, &m)) {
        return false;
    }
    int64_t came = now();
    take_over(b, &m);
    bool alive = answer(b, &m);
    b->told = now();
    b->own += b->told - came;
    serve_rings(b);
    return alive;
}

/* One turn for all back-ends; false when nothing has come for so long. */
static bool turn(struct backend *list, size_t n, int ms)
{
    struct pollfd p[2 * (MAX_RINGS + 2)];
    nfds_t count = 0;
    for (size_t i = 0; i < n; i++) {
        p[count++] =
            (struct pollfd){ .fd = list[i].fd < 0 ? list[i].listener : -1, .events = POLLIN };
        p[count++] = (struct pollfd){ .fd = list[i].fd, .events = POLLIN };
        for (int k = 0; k < MAX_RINGS; k++) {
            int kick = list[i].fd >= 0 && list[i].rings[k].started ? list[i].rings[k].kick : -1;
            p[count++] = (struct pollfd){ .fd = kick, .events = POLLIN };
        }
    }
    if (poll(p, count, ms) <= 0) {
        return false;
    }
    const struct pollfd *at = p;
    for (size_t i = 0; i < n; i++, at += MAX_RINGS + 2) {
        for (int k = 0; k < MAX_RINGS; k++) {
            eventfd_t value;
            if (at[k + 2].revents && eventfd_read(at[k + 2].fd, &value) < 0 && errno != EAGAIN) {
                die("kick");
            }
        }
        if (at[0].revents) {
            backend_accept(&list[i]);
        } else if (at[1].revents && !hear(&list[i])) {
            backend_hang_up(&list[i]); /* it comes again: whoever speaks may not be ready at once */
        } else if (list[i].fd >= 0) {
            serve_rings(&list[i]);
        }
    }
    return true;
}

/* A real guest never rests: only the messages are looked at. */
static bool is_quiet(const struct backend *b, int ms)
{
    return now() - b->told > ms * INT64_C(1000000);
}

bool in_service(const struct backend *b)
{
    int returned = 0;
    for (int i = 0; i < MAX_RINGS; i++) {
        returned += b->rings[i].returned;
    }
    return returned >= (own_rings > 0 ? own_rings : 1) && is_quiet(b, QUIET_MS);
}

bool waits_ready(const struct backend *b)
{
    return b->fd >= 0 && b->n_regions > 0 && is_quiet(b, 5 * QUIET_MS);
}

bool has_stopped(const struct backend *b)
{
    bool runs = false;
    for (int i = 0; i < own_rings; i++) {
        runs = runs || (b->rings[i].started && b->rings[i].enabled);
    }
    return !runs;
}

void serve_until(struct backend *list, size_t n, const struct backend *b,
                 bool (*done)(const struct backend *b))
{
    int64_t end = now() + GIVE_UP_MS * INT64_C(1000000);
    while (!done(b)) {
        turn(list, n, QUIET_MS);
        if (now() > end) {
            errno = ETIMEDOUT;
            die("back into service");
        }
    }
}
