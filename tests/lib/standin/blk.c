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
 *   --withhold MASK       does not offer these features
 *   --no-inflight         does not offer the in-flight region
 *   --mem-slots           offers CONFIGURE_MEM_SLOTS
 *   --delay MS            a request is completed after 0 to MS milliseconds, so in no order (4)
 *   --seed N              of these delays
 *   --slow MS             serves its rings so long before it looks at the next message
 *   --die-after N         ends at the Nth message of a connection, before it does anything about it
 *   --die-after-answer N  ends when it has dealt with the Nth message
 *   --refuse-at N         closes the connection at the Nth message
 *   --when-told           these three count from SIGUSR1 on
 *   --mute-at REQUEST     never answers this request (its name without VHOST_USER_)
 *
 * Half of the requests touch the image as soon as they are taken and the others just before they
 * are completed, so that a kill leaves requests in both states.
 *
 * Everything that a correct front-end never does is printed as a line with WRONG. */
#include "memory.h"
#include "rings.h"
#include "util.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BIT(n) (1ull << (n))
#define F_LOG_ALL BIT(26)
#define F_PROTOCOL BIT(30)
#define P_MQ BIT(0)
#define P_LOG_SHMFD BIT(1)
#define P_REPLY_ACK BIT(3)
#define P_BACKEND_REQ BIT(5)
#define P_CONFIG BIT(9)
#define P_INFLIGHT BIT(12)
#define P_MEM_SLOTS BIT(15)

static struct {
    const char *socket, *image, *mute_at;
    uint64_t queues, block_size, withhold, delay, seed, slow, die_after, die_after_answer,
        refuse_at;
    uint64_t packed, read_only, no_inflight, mem_slots, when_told;
} option = { .queues = 1, .block_size = 512, .delay = 4, .seed = 1 };

/* A name that takes a word, a number or nothing. */
static const struct {
    const char *name;
    const char **word;
    uint64_t *number, *flag;
} option_table[] = {
    { "socket", .word = &option.socket },
    { "image", .word = &option.image },
    { "queues", .number = &option.queues },
    { "packed", .flag = &option.packed },
    { "read-only", .flag = &option.read_only },
    { "block-size", .number = &option.block_size },
    { "withhold", .number = &option.withhold },
    { "no-inflight", .flag = &option.no_inflight },
    { "mem-slots", .flag = &option.mem_slots },
    { "delay", .number = &option.delay },
    { "seed", .number = &option.seed },
    { "slow", .number = &option.slow },
    { "die-after", .number = &option.die_after },
    { "die-after-answer", .number = &option.die_after_answer },
    { "refuse-at", .number = &option.refuse_at },
    { "when-told", .flag = &option.when_told },
    { "mute-at", .word = &option.mute_at },
};

#define N_OPTIONS (sizeof(option_table) / sizeof(*option_table))

static struct {
    int image, front, channel;
    uint64_t features_offered, protocol_offered, n_sectors;
    struct virtio_blk_config config;
    unsigned mute_at, n_messages;
    uint64_t listens_at;         /* us */
    uint64_t features, protocol; /* acknowledged */
    struct queue queue[MAX_QUEUES];
} dev;

static volatile sig_atomic_t told; /* 1: by the signal, 2: the count has begun */

/* The disk */

static uint8_t transfer(struct request *r, uint32_t type, uint64_t sector)
{
    uint64_t at = sector * 512;
    if (type == VIRTIO_BLK_T_OUT && option.read_only) {
        return VIRTIO_BLK_S_IOERR;
    }
    for (int i = 1; i < r->n_segs - 1; i++) {
        struct seg *s = &r->seg[i];
        void *p = memory_find(s->gpa, s->len, false);
        if (!p || s->writable != (type == VIRTIO_BLK_T_IN) || at + s->len > dev.n_sectors * 512) {
            return VIRTIO_BLK_S_IOERR;
        }
        ssize_t n =
            s->writable ? pread(dev.image, p, s->len, at) : pwrite(dev.image, p, s->len, at);
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
    void *p =
        r->n_segs == 3 && s->len >= sizeof(id) ? memory_find(s->gpa, sizeof(id), false) : NULL;
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
        head = memory_find(r->seg[0].gpa, sizeof(*head), false);
        status = memory_find(last->gpa, 1, false);
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
        *status = fdatasync(dev.image) ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
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

/* Messages */

static void answer_with(struct message *m, uint32_t size, int fd)
{
    if (m->request != dev.mute_at) {
        wire_answer(dev.front, m, size, fd);
    }
}

static void answer(struct message *m, uint64_t value)
{
    m->body.u64 = value;
    answer_with(m, sizeof(m->body.u64), -1);
}

static bool set_memory(struct message *m)
{
    struct mem_table *t = &m->body.table;
    if (t->n > MAX_REGIONS || (int)t->n != m->n_fds) {
        WRONG("memory table of %u regions with %d descriptors", t->n, m->n_fds);
        return false;
    }
    memory_forget();
    for (uint32_t i = 0; i < t->n; i++) {
        memory_add(&t->region[i], m->fd[i]);
    }
    return true;
}

static bool change_memory(struct message *m)
{
    struct mem_region *r = &m->body.slot.region;

    if (m->request == ADD_MEM_REG) {
        memory_add(r, m->fd[0]);
        return true;
    }
    if (memory_remove(r)) {
        return true;
    }
    WRONG("memory that is not there is removed");
    return false;
}

static void remap_rings(void)
{
    for (uint32_t i = 0; i < option.queues; i++) {
        if (dev.queue[i].started) {
            queue_remap(&dev.queue[i]);
        }
    }
}

static bool set_log(struct message *m)
{
    if (!m->n_fds) {
        WRONG("a log without a descriptor");
        return false;
    }
    log_map(m->fd[0], m->body.log.size, m->body.log.offset);
    answer(m, 0);
    return true;
}

static void get_config(struct message *m)
{
    struct config_space *c = &m->body.config;
    if (c->offset > sizeof(c->bytes) || c->size > sizeof(c->bytes) - c->offset) {
        answer_with(m, 0, -1);
        return;
    }
    memset(c->bytes, 0, sizeof(c->bytes));
    if (c->offset < sizeof(dev.config)) {
        memcpy(c->bytes, (char *)&dev.config + c->offset, sizeof(dev.config) - c->offset);
    }
    answer_with(m, 12 + c->size, -1);
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
    answer_with(m, sizeof(*want), fd);
    close(fd);
}

static bool set_inflight(struct message *m)
{
    struct inflight *have = &m->body.inflight;

    if (m->n_fds != 1 || have->size < (uint64_t)have->queues * track_size(have->ring)) {
        WRONG("in-flight region of %llu bytes", (unsigned long long)have->size);
        return false;
    }
    track_map(m->fd[0], have->size, have->offset);
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
    WRONG("%s of ring %u", request_name(m->request), i);
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
        m->body.state.num = q->base = queue_stop(q);
        say("ring %u stops at %#x", m->body.state.index, q->base);
        answer_with(m, sizeof(m->body.state), -1);
        return true;
    case SET_VRING_KICK:
        close_fd(&q->kick);
        q->kick = wire_steal_fd(m);
        return q->started || queue_start(q);
    case SET_VRING_CALL:
        close_fd(&q->call);
        q->call = wire_steal_fd(m);
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
        answer(m, dev.features_offered);
        return true;
    case SET_FEATURES:
        dev.features = m->body.u64;
        rings.packed = dev.features & BIT(VIRTIO_F_RING_PACKED);
        log_turn(dev.features & F_LOG_ALL);
        return !(dev.features & ~dev.features_offered);
    case GET_PROTOCOL_FEATURES:
        answer(m, dev.protocol_offered);
        return true;
    case SET_PROTOCOL_FEATURES:
        dev.protocol = m->body.u64;
        return !(dev.protocol & ~dev.protocol_offered);
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
        dev.channel = wire_steal_fd(m);
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

    if (!wire_receive(dev.front, &m)) {
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
    say("%u %s", n, request_name(m.request));
    if (counts && n == option.die_after) {
        _exit(9);
    }
    if (counts && n == option.refuse_at) {
        say("refuses message %u", n);
        return false;
    }
    bool done = handle(&m);
    if (!done) {
        WRONG("%s cannot be done", request_name(m.request));
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
    queue_take(q);
}

static void serve(void)
{
    struct pollfd p[1 + MAX_QUEUES];

    dev.listens_at = 0;
    for (;;) {
        uint64_t now = now_us(), next = dev.listens_at > now ? dev.listens_at : UINT64_MAX;
        p[0] = (struct pollfd){ next == UINT64_MAX ? dev.front : -1, POLLIN, 0 };
        for (uint32_t i = 0; i < option.queues; i++) {
            struct queue *q = &dev.queue[i];
            bool runs = q->started && (q->enabled || !(dev.features & F_PROTOCOL));
            uint64_t due = runs ? queue_complete_due(q, now) : UINT64_MAX;
            next = due < next ? due : next;
            p[1 + i] = (struct pollfd){ runs ? q->kick : -1, POLLIN, 0 };
        }
        uint64_t wait = next == UINT64_MAX ? 0 : next - now;
        struct timespec t = { wait / 1000000, wait % 1000000 * 1000 };
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
        if (p[0].revents) {
            dev.listens_at = now_us() + option.slow * 1000;
        }
    }
}

static void forget_front_end(void)
{
    for (uint32_t i = 0; i < option.queues; i++) {
        queue_forget(&dev.queue[i]);
    }
    memory_forget();
    log_forget();
    track_forget();
    close_fd(&dev.channel);
    dev.features = dev.protocol = 0;
}

static void be_told(int number)
{
    (void)number;
    told = 1;
}

static void read_options(int argc, char **argv)
{
    struct option options[N_OPTIONS + 1] = { 0 };
    int i;

    for (i = 0; i < (int)N_OPTIONS; i++) {
        options[i] = (struct option){ option_table[i].name, !option_table[i].flag, NULL, i };
    }
    while ((i = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (i >= (int)N_OPTIONS) {
            exit(2);
        } else if (option_table[i].word) {
            *option_table[i].word = optarg;
        } else if (option_table[i].number) {
            *option_table[i].number = strtoull(optarg, NULL, 0);
        } else {
            *option_table[i].flag = 1;
        }
    }
    if (!option.socket || !option.image || !option.queues || option.queues > MAX_QUEUES) {
        fprintf(stderr, "standin-blk: --socket, --image, and 1 to %d --queues\n", MAX_QUEUES);
        exit(2);
    }
}

static void make_device(void)
{
    struct stat image;

    dev.image = open(option.image, O_RDWR | O_CLOEXEC);
    if (dev.image < 0 || fstat(dev.image, &image)) {
        die(option.image);
    }
    dev.n_sectors = image.st_size / 512;
    dev.features_offered = F_PROTOCOL | F_LOG_ALL | BIT(VIRTIO_F_VERSION_1) |
                           BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_BLK_F_SEG_MAX) |
                           BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_FLUSH) |
                           BIT(VIRTIO_BLK_F_MQ);
    dev.features_offered |= option.packed ? BIT(VIRTIO_F_RING_PACKED) : 0;
    dev.features_offered |= option.read_only ? BIT(VIRTIO_BLK_F_RO) : 0;
    dev.features_offered &= ~option.withhold;
    dev.protocol_offered = P_MQ | P_LOG_SHMFD | P_REPLY_ACK | P_BACKEND_REQ | P_CONFIG;
    dev.protocol_offered |= option.no_inflight ? 0 : P_INFLIGHT;
    dev.protocol_offered |= option.mem_slots ? P_MEM_SLOTS : 0;
    dev.config.capacity = dev.n_sectors;
    dev.config.seg_max = 126;
    dev.config.blk_size = option.block_size;
    dev.config.num_queues = option.queues;
    dev.mute_at = option.mute_at ? request_number(option.mute_at) : 0;
    dev.channel = -1;
    for (uint32_t i = 0; i < option.queues; i++) {
        queue_init(&dev.queue[i], i);
    }
    rings.delay_us = option.delay * 1000;
    rings.seed = option.seed;
    rings.touch = touch;
}

int main(int argc, char **argv)
{
    signal(SIGUSR1, be_told);
    read_options(argc, argv);
    make_device();
    int listener = wire_listen(option.socket);
    for (;;) {
        dev.front = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (dev.front < 0) {
            continue; /* told */
        }
        say("a front-end has come");
        dev.n_messages = 0;
        serve();
        close(dev.front);
        forget_front_end();
    }
}
