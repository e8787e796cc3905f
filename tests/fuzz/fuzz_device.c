/* SPDX-License-Identifier: MIT
 *
 * One whole device, its peers (a back-end that shall follow on another among them) and both ends of
 * the back-end channel played by a script: the input. Whatever they do, the process lives, every line
 * of the log is one line, a switch that has begun ends once, and afterwards no descriptor is left over.
 *
 * Input: interface, options, then actions (enum action), each a byte with its own bytes behind. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "alone.h"
#include "device.h"
#include "input.h"
#include "specs.h"

#define ACTIONS_MAX 300
#define RAW_MAX 64

enum action {
    FRONT_COMES,
    BACK_COMES,
    FRONT_SAYS,
    BACK_ANSWERS,
    FRONT_RAW,
    BACK_RAW,
    FRONT_READS,
    BACK_READS,
    FRONT_LEAVES,
    BACK_LEAVES,
    OPENS_CHANNEL,
    CHANNEL_ASKS,
    CHANNEL_ANSWERS,
    CHANNEL_RAW,
    CHANNEL_LEAVES,
    LOOP_TURNS,
    BACK_OBEYS,
    NEXT_COMES,
    NEXT_OBEYS,
    NEXT_ANSWERS,
    NEXT_RAW,
    NEXT_LEAVES,
    STANDBY_COMES,
    SWITCHES,
    TIME_PASSES,
    FRONT_SETS_UP,
    MEMORY_CHANGES,
    N_ACTIONS
};

/* NEXT is a back-end that comes while BACK is there, or after it. */
enum peer { FRONT, BACK, NEXT, CHANNEL_BACK, CHANNEL_FRONT, N_PEERS };

static const char *const specs[] = {
    "host",
    "host,csum=off",
    "csum=on,queues=2,max_ring=256,mem_slots=3",
    "host,device=blk,config.seg_max=126",
};

/* For a front-end that is served before its back-end comes. */
static const char *const detached_spec = "csum=on,mq=on,ctrl_vq=on,queues=2,protocol.mq=on,"
                                         "protocol.reply_ack=on,protocol.config=on";

static struct device device;

struct play {
    struct input in;
    struct ev_loop *loop;
    struct device_options options;
    int peer[N_PEERS]; /* -1: not there */
    struct frame_reader reader[N_PEERS];
    uint32_t asked[N_PEERS]; /* the last request that the peer has read */
    char path[64];           /* where the new back-end of a switch listens; "" */
    int path_fd;
    int memory_fd; /* the guest's */
    int n_switching;
};

/* The log is formatted as ever, and goes nowhere. */
PRINTF_LIKE(4, 5)
void __wrap_log_line(enum log_level level, const char *name, const char *side, const char *format,
                     ...);

void __wrap_log_line(enum log_level level, const char *name, const char *side, const char *format,
                     ...)
{
    char text[4096];
    va_list args;
    (void)level;
    (void)name;
    (void)side;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fuzz_check(strchr(text, '\n') == NULL);
}

static void leave(struct play *p, enum peer who)
{
    p->peer[who] = close_keep_errno(p->peer[who]);
    frame_reader_clear(&p->reader[who]);
}

static int listening(struct endpoint *e)
{
    const struct sockaddr_un any = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fuzz_check(fd >= 0);
    fuzz_check(bind(fd, (const struct sockaddr *)&any, sizeof(sa_family_t)) == 0);
    fuzz_check(listen(fd, 16) == 0);
    *e = (struct endpoint){ .kind = ENDPOINT_FD_LISTENING, .fd = fd };
    return fd;
}

/* A further peer of that side; the last one, if it is still there, is forgotten by the script. */
static void comes(struct play *p, enum peer who, const struct endpoint *e)
{
    struct sockaddr_un address;
    socklen_t len = sizeof(address);
    if (e->kind != ENDPOINT_FD_LISTENING ||
        getsockname(e->fd, (struct sockaddr *)&address, &len) < 0) {
        return;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connect(fd, (const struct sockaddr *)&address, len) < 0) {
        close(fd);
        return;
    }
    leave(p, who);
    p->peer[who] = fd;
}

static void paired(struct play *p, enum peer who, struct endpoint *e)
{
    int fds[2];
    fuzz_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    p->peer[who] = fds[0];
    *e = (struct endpoint){ .kind = ENDPOINT_FD, .fd = fds[1] };
}

static void send_msg(const struct play *p, enum peer who, struct msg *m)
{
    struct frame_writer w = { .busy = false };
    frame_writer_take(&w, m);
    if (p->peer[who] >= 0) {
        frame_write(&w, &frame_socket_ops, (void *)(uintptr_t)&p->peer[who]);
    }
    frame_writer_clear(&w);
}

static void says(struct play *p, enum peer who, enum wire_space space)
{
    struct msg m = input_message(&p->in, space, false);
    send_msg(p, who, &m);
}

/* An answer to what it was asked last, or to something else. */
static void answers(struct play *p, enum peer who, enum wire_space space)
{
    struct msg m = input_message(&p->in, space, true);
    m.head.request = p->asked[who] != 0 ? p->asked[who] : m.head.request;
    p->asked[who] = 0;
    send_msg(p, who, &m);
}

/* Bytes with descriptors, more of them than one message may carry if the script says so twice. */
static void raw(struct play *p, enum peer who)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(WIRE_MAX_FDS * sizeof(int))];
    } control;
    uint8_t bytes[RAW_MAX];
    int fds[WIRE_MAX_FDS];
    size_t len = input_u8(&p->in) % RAW_MAX;
    uint8_t more = input_u8(&p->in);
    size_t n = more == 0xff ? WIRE_MAX_FDS : more % 4;
    len = input_bytes(&p->in, bytes, len);
    struct iovec iov = { bytes, len };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
    int fd = fuzz_fd();
    for (size_t i = 0; i < n; i++) {
        fds[i] = fd;
    }
    if (n > 0) {
        memset(&control, 0, sizeof(control));
        h.msg_control = control.room;
        h.msg_controllen = CMSG_SPACE(n * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    }
    if (len > 0 && p->peer[who] >= 0) {
        sendmsg(p->peer[who], &h, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    close(fd);
}

/* Reads what is there. A back-end that is given a channel keeps it. */
static void reads(struct play *p, enum peer who)
{
    int result = FRAME_OK;
    while (p->peer[who] >= 0 && result == FRAME_OK) {
        struct msg m = MSG_NULL;
        result = frame_read(&p->reader[who], &frame_socket_ops, &p->peer[who], 0, &m);
        if (result == FRAME_OK && !msg_is_reply(&m)) {
            p->asked[who] = m.head.request;
        }
        if (result == FRAME_OK && (who == BACK || who == NEXT) &&
            m.head.request == FRONT_SET_BACKEND_REQ_FD && m.fds.n == 1) {
            leave(p, CHANNEL_BACK);
            p->peer[CHANNEL_BACK] = fdset_steal(&m.fds, 0);
        }
        msg_clear(&m);
    }
    if (p->peer[who] >= 0 && result != FRAME_AGAIN) {
        leave(p, who);
    }
}

/* ---- back-ends that do as they are told ---- */

#define OFFERED UINT64_C(0x7d7c66ffcf)
#define OFFERED_PROTOCOL UINT64_C(0x1fffff)

static struct msg good_answer(const struct message_row *row, const struct msg *request)
{
    const struct payload *payload = message_payload(row, true);
    const struct field *f = payload->n_fields > 0 ? &payload->fields[0] : NULL;
    bool same = payload == message_payload(row, false) || row->id == FRONT_GET_CONFIG;
    struct msg m = MSG_NULL;
    uint32_t size = same ? request->head.size : payload->most < 16 ? payload->most : payload->least;
    fuzz_check(msg_make(row->id, WIRE_REPLY, same ? request->body : NULL, size, &m) == 0);
    if (row->id == FRONT_GET_CONFIG) {
        memset(m.body + sizeof(struct wire_config), 0x7f, size - sizeof(struct wire_config));
    }
    if (!same && f != NULL && field_present(&m, f)) {
        field_set(&m, f,
                  f->kind == KIND_FEATURES                                    ? OFFERED
                  : f->kind == KIND_PROTOCOL_FEATURES                         ? OFFERED_PROTOCOL
                  : f->kind == KIND_QUEUE_LIMIT || f->kind == KIND_SLOT_LIMIT ? 64
                                                                              : 0);
    }
    if (message_fds(row, true)->most > 0 && row->id == FRONT_GET_INFLIGHT_FD) {
        int fd = fuzz_fd();
        fuzz_check(fdset_append_take(&m.fds, &fd, 1) == 0);
    }
    return m;
}

static void turn(const struct play *p, int times);

static void keep_channel(struct play *p, struct msg *m)
{
    if (m->head.request == FRONT_SET_BACKEND_REQ_FD && m->fds.n == 1) {
        leave(p, CHANNEL_BACK);
        p->peer[CHANNEL_BACK] = fdset_steal(&m->fds, 0);
    }
}

/* Takes whatever it is told, and answers at once. */
static void obeys(struct play *p, enum peer who)
{
    int quiet = 0;
    for (int i = 0; i < 200 && quiet < 3 && p->peer[who] >= 0; i++) {
        struct msg m = MSG_NULL;
        int result = frame_read(&p->reader[who], &frame_socket_ops, &p->peer[who], 0, &m);
        const struct message_row *row = message_row(SPACE_FRONT, m.head.request);
        bool log = row != NULL && row->answer == ANSWER_LOG && m.fds.n > 0;
        quiet = result == FRAME_OK ? 0 : quiet + 1;
        if (result == FRAME_OK && row != NULL) {
            keep_channel(p, &m);
            if (row->answer == ANSWER_REPLY || log || msg_needs_reply(&m)) {
                struct msg answer = good_answer(row, &m);
                send_msg(p, who, &answer);
            }
        }
        msg_clear(&m);
        if (result != FRAME_OK && result != FRAME_AGAIN) {
            leave(p, who);
        }
        turn(p, result == FRAME_OK ? 1 : 3);
    }
}

/* ---- a front-end that sets rings up in memory that can be looked at ---- */

#define MEMORY_SIZE 0x10000
#define MEMORY_AT 0x100000

static void tell(struct play *p, uint32_t request, const void *body, uint32_t size, int fd)
{
    struct msg m = MSG_NULL;
    int copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    fuzz_check(msg_make(request, 0, body, size, &m) == 0);
    fuzz_check(copy < 0 || fdset_append_take(&m.fds, &copy, 1) == 0);
    send_msg(p, FRONT, &m);
    turn(p, 1);
}

static void tell_pair(struct play *p, uint32_t request, uint32_t index, uint32_t value)
{
    const uint32_t body[2] = { index, value };
    tell(p, request, body, sizeof(body), -1);
}

static void sets_up_ring(struct play *p, uint32_t ring, bool enabled)
{
    const struct wire_vring_addr addr = { .index = ring,
                                          .descriptor = MEMORY_AT,
                                          .used = MEMORY_AT + 0x2000,
                                          .available = MEMORY_AT + 0x4000 };
    const uint64_t index = ring;
    int fd = fuzz_fd();
    tell_pair(p, FRONT_SET_VRING_NUM, ring, 8);
    tell_pair(p, FRONT_SET_VRING_BASE, ring, 0);
    tell(p, FRONT_SET_VRING_ADDR, &addr, sizeof(addr), -1);
    tell(p, FRONT_SET_VRING_CALL, &index, sizeof(index), fd);
    tell(p, FRONT_SET_VRING_KICK, &index, sizeof(index), fd);
    if (enabled) {
        tell_pair(p, FRONT_SET_VRING_ENABLE, ring, 1);
    }
    close(fd);
}

static void sets_up(struct play *p)
{
    const struct wire_log log = { .size = 64 };
    const struct wire_inflight inflight = { .mmap_size = 0x1000, .num_queues = 2, .queue_size = 8 };
    uint8_t what = input_u8(&p->in);
    uint8_t rings = input_u8(&p->in) % 100;
    uint64_t features = BIT(RING_VERSION_1) | BIT(VHOST_PROTOCOL_FEATURES) |
                        (what & 1 ? BIT(RING_RING_PACKED) : 0) |
                        (what & 2 ? BIT(VHOST_LOG_ALL) : 0);
    uint64_t protocol = what & 4 ? BIT(PROTOCOL_LOG_SHMFD) | BIT(PROTOCOL_REPLY_ACK) |
                                       BIT(PROTOCOL_BACKEND_REQ) | BIT(PROTOCOL_INFLIGHT_SHMFD)
                                 : 0;
    struct {
        struct wire_mem_table head;
        struct wire_region region;
    } __attribute__((packed))
    table = { { .nregions = 1 }, { MEMORY_AT, MEMORY_SIZE, MEMORY_AT, 0 } };
    tell(p, FRONT_SET_PROTOCOL_FEATURES, &protocol, sizeof(protocol), -1);
    tell(p, FRONT_SET_OWNER, NULL, 0, -1);
    tell(p, FRONT_SET_MEM_TABLE, &table, sizeof(table), p->memory_fd);
    if (what & 2) {
        tell(p, FRONT_SET_LOG_BASE, &log, sizeof(log), p->memory_fd);
    }
    tell(p, FRONT_SET_FEATURES, &features, sizeof(features), -1);
    if (what & 8) {
        tell(p, FRONT_SET_INFLIGHT_FD, &inflight, sizeof(inflight), p->memory_fd);
    }
    for (uint32_t ring = 0; ring < (what & 16 ? rings : rings % 3u); ring++) {
        sets_up_ring(p, ring, what & 32);
    }
}

static void memory_changes(struct play *p)
{
    uint8_t bytes[8];
    uint16_t at = input_u16(&p->in);
    uint8_t how = input_u8(&p->in);
    if (how == 0xff) {
        fuzz_check(ftruncate(p->memory_fd, at) == 0);
        return;
    }
    size_t n = input_bytes(&p->in, bytes, how % sizeof(bytes) + 1);
    fuzz_check(n == 0 || pwrite(p->memory_fd, bytes, n, at) == (ssize_t)n);
}

/* ---- more than one back-end ---- */

static void on_switched(void *owner, struct device *d, const char *error)
{
    struct play *p = owner;
    (void)d;
    fuzz_check(error == NULL || error[0] != '\0');
    p->n_switching--;
}

static void listen_at_path(struct play *p)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (p->path_fd >= 0) {
        return;
    }
    snprintf(p->path, sizeof(p->path), "/tmp/vushim-fuzz-%d.sock", (int)getpid());
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", p->path);
    unlink(p->path);
    p->path_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    fuzz_check(bind(p->path_fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
    fuzz_check(listen(p->path_fd, 4) == 0);
}

/* To one that listens, to nobody, or to what is no place to connect to. */
static void switches(struct play *p)
{
    char why[256] = "";
    struct endpoint e = { .kind = ENDPOINT_CONNECT, .fd = -1 };
    uint8_t how = input_u8(&p->in);
    if (how % 4 < 2) {
        listen_at_path(p);
        snprintf(e.path, sizeof(e.path), "%s", p->path);
    } else {
        snprintf(e.path, sizeof(e.path), "/tmp/vushim-fuzz-nobody");
        e.kind = how % 4 == 2 ? ENDPOINT_CONNECT : ENDPOINT_LISTEN;
    }
    int err = switch_begin(&device, &e, on_switched, p, why, sizeof(why));
    fuzz_check((err < 0) == (why[0] != '\0'));
    p->n_switching += err == 0;
    if (how & 16) {
        switch_disown(&device, p);
        p->n_switching = 0;
    }
}

static void next_comes(struct play *p)
{
    turn(p, 3);
    int fd = p->path_fd >= 0 ? accept4(p->path_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;
    if (fd >= 0) {
        leave(p, NEXT);
        p->peer[NEXT] = fd;
    } else {
        comes(p, NEXT, &p->options.back);
    }
}

/* One of the timers that run is over. */
static void time_passes(struct play *p)
{
    ev_timer *timers[] = {
        &device.patience,
        &device.hurry,
        &device.hold,
        &device.settle,
        &device.linger,
        &device.pause,
        &device.wire.late,
        &device.channel.late,
        &device.next.wire.late,
        &device.front_seeker.again,
        &device.places[PLACE_BACK].seeker.again,
        &device.places[PLACE_STANDBY].seeker.again,
        &device.places[PLACE_SWITCH].seeker.again,
    };
    uint8_t which = input_u8(&p->in);
    for (size_t i = 0; i < ARRAY_SIZE(timers); i++) {
        ev_timer *t = timers[(which + i) % ARRAY_SIZE(timers)];
        if (ev_is_active(t)) {
            ev_timer_stop(p->loop, t);
            ev_invoke(p->loop, t, EV_TIMER);
            return;
        }
    }
}

static void opens_channel(struct play *p)
{
    int fds[2];
    struct msg m = MSG_NULL;
    fuzz_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    leave(p, CHANNEL_FRONT);
    p->peer[CHANNEL_FRONT] = fds[0];
    if (msg_make(FRONT_SET_BACKEND_REQ_FD, 0, NULL, 0, &m) < 0 ||
        fdset_append_take(&m.fds, &fds[1], 1) < 0) {
        close(fds[1]);
    }
    send_msg(p, FRONT, &m);
}

static void turn(const struct play *p, int times)
{
    for (int i = 0; i < times; i++) {
        ev_run(p->loop, EVRUN_NOWAIT);
    }
}

static void act(struct play *p, enum action action)
{
    switch (action) {
    case FRONT_COMES:
        comes(p, FRONT, &p->options.front);
        break;
    case BACK_COMES:
        comes(p, BACK, &p->options.back);
        break;
    case FRONT_SAYS:
        says(p, FRONT, SPACE_FRONT);
        break;
    case BACK_ANSWERS:
        answers(p, BACK, SPACE_FRONT);
        break;
    case FRONT_RAW:
        raw(p, FRONT);
        break;
    case BACK_RAW:
        raw(p, BACK);
        break;
    case FRONT_READS:
        reads(p, FRONT);
        break;
    case BACK_READS:
        reads(p, BACK);
        break;
    case FRONT_LEAVES:
        leave(p, FRONT);
        break;
    case BACK_LEAVES:
        leave(p, BACK);
        break;
    case OPENS_CHANNEL:
        opens_channel(p);
        break;
    case CHANNEL_ASKS:
        says(p, CHANNEL_BACK, SPACE_BACK);
        break;
    case CHANNEL_ANSWERS:
        reads(p, CHANNEL_FRONT);
        answers(p, CHANNEL_FRONT, SPACE_BACK);
        break;
    case CHANNEL_RAW:
        raw(p, input_u8(&p->in) % 2 ? CHANNEL_FRONT : CHANNEL_BACK);
        break;
    case CHANNEL_LEAVES:
        leave(p, input_u8(&p->in) % 2 ? CHANNEL_FRONT : CHANNEL_BACK);
        break;
    case BACK_OBEYS:
        obeys(p, BACK);
        break;
    case NEXT_COMES:
        next_comes(p);
        break;
    case NEXT_OBEYS:
        obeys(p, NEXT);
        break;
    case NEXT_ANSWERS:
        reads(p, NEXT);
        answers(p, NEXT, SPACE_FRONT);
        break;
    case NEXT_RAW:
        raw(p, NEXT);
        break;
    case NEXT_LEAVES:
        leave(p, NEXT);
        break;
    case STANDBY_COMES:
        comes(p, NEXT, &p->options.standby);
        break;
    case SWITCHES:
        switches(p);
        break;
    case TIME_PASSES:
        time_passes(p);
        break;
    case FRONT_SETS_UP:
        sets_up(p);
        break;
    case MEMORY_CHANGES:
        memory_changes(p);
        break;
    case LOOP_TURNS:
    case N_ACTIONS:
        break;
    }
    turn(p, action == LOOP_TURNS ? 20 : 3);
}

static void on_finished(struct device *d, bool failed)
{
    (void)failed;
    ev_break(d->loop, EVBREAK_ALL);
}

static void start(struct play *p)
{
    char why[256];
    struct spec_error error;
    uint8_t spec = input_u8(&p->in);
    uint8_t how = input_u8(&p->in);
    p->options = (struct device_options){ .name = "fuzz", .wait = -1 };
    p->options.channel_answer_within = how & 4 ? 1e-6 : 0;
    p->options.answer_within = how & 8 ? 1e-6 : 0;
    p->options.on_loss = (enum on_loss)((how >> 4) % 3);
    p->options.when_late = (enum when_late)((how >> 6) % 3);
    p->options.hold_for = spec & 8 ? 1000 : -1;
    p->options.has_standby = (spec & 4) != 0;
    p->memory_fd = memfd_create("guest", MFD_CLOEXEC);
    fuzz_check(p->memory_fd >= 0 && ftruncate(p->memory_fd, MEMORY_SIZE) == 0);
    if (p->options.has_standby) {
        listening(&p->options.standby);
    }
    p->options.detached = (spec & 16) != 0;
    const char *text = p->options.detached ? detached_spec : specs[spec % ARRAY_SIZE(specs)];
    fuzz_check(parse_spec(text, &p->options.interface, &error) == 0);
    fuzz_check(!p->options.detached ||
               alone_offer(&p->options.interface, &p->options.detached_offer, why, sizeof(why)));
    if (how & 1) {
        listening(&p->options.front);
    } else {
        paired(p, FRONT, &p->options.front);
    }
    if (how & 2) {
        listening(&p->options.back);
    } else {
        paired(p, BACK, &p->options.back);
    }
    fuzz_check(device_start(&device, p->loop, &p->options, on_finished, why, sizeof(why)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct play p = { .in = { data, size }, .peer = { -1, -1, -1, -1, -1 }, .path_fd = -1 };
    int lowest = fuzz_lowest_free_fd();
    p.loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    fuzz_check(p.loop != NULL);
    start(&p);
    for (int i = 0; i < ACTIONS_MAX && p.in.left > 0; i++) {
        act(&p, (enum action)(input_u8(&p.in) % N_ACTIONS));
    }
    fuzz_check(device.wire.n_owed <= device.wire.answers.n);
    fuzz_check(device.wire.answers.n <= ANSWERS_MAX && device.channel.answers.n <= ANSWERS_MAX);
    device_stop(&device);
    fuzz_check(p.n_switching == 0);
    if (p.path_fd >= 0) {
        close(p.path_fd);
        unlink(p.path);
    }
    close(p.memory_fd);
    for (enum peer who = FRONT; who < N_PEERS; who++) {
        leave(&p, who);
    }
    ev_loop_destroy(p.loop);
    fuzz_check(fuzz_lowest_free_fd() == lowest);
    return 0;
}
