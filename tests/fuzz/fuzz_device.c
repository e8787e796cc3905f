/* SPDX-License-Identifier: MIT
 *
 * One whole device, both of its peers and both ends of the back-end channel played by a script: the
 * input. Whatever they do, the process lives, every line of the log is one line, and afterwards no
 * descriptor is left over.
 *
 * Input: interface, options, then actions (enum action), each a byte with its own bytes behind. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

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
    N_ACTIONS
};

enum peer { FRONT, BACK, CHANNEL_BACK, CHANNEL_FRONT, N_PEERS };

static const char *const specs[] = {
    "host",
    "host,csum=off",
    "csum=on,queues=2,max_ring=256,mem_slots=3",
    "host,device=blk,config.seg_max=126",
};

static struct device device;

struct play {
    struct input in;
    struct ev_loop *loop;
    struct device_options options;
    int peer[N_PEERS]; /* -1: not there */
    struct frame_reader reader[N_PEERS];
    uint32_t asked[N_PEERS]; /* the last request that the peer has read */
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
        if (result == FRAME_OK && who == BACK && m.head.request == FRONT_SET_BACKEND_REQ_FD &&
            m.fds.n == 1) {
            leave(p, CHANNEL_BACK);
            p->peer[CHANNEL_BACK] = fdset_steal(&m.fds, 0);
        }
        msg_clear(&m);
    }
    if (p->peer[who] >= 0 && result != FRAME_AGAIN) {
        leave(p, who);
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
    p->options.hold_for = -1;
    fuzz_check(parse_spec(specs[spec % ARRAY_SIZE(specs)], &p->options.interface, &error) == 0);
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
    struct play p = { .in = { data, size }, .peer = { -1, -1, -1, -1 } };
    int lowest = fuzz_lowest_free_fd();
    p.loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    fuzz_check(p.loop != NULL);
    start(&p);
    for (int i = 0; i < ACTIONS_MAX && p.in.left > 0; i++) {
        act(&p, (enum action)(input_u8(&p.in) % N_ACTIONS));
    }
    fuzz_check(device.wire.answers.n <= ANSWERS_MAX && device.channel.answers.n <= ANSWERS_MAX);
    device_stop(&device);
    for (enum peer who = FRONT; who < N_PEERS; who++) {
        leave(&p, who);
    }
    ev_loop_destroy(p.loop);
    fuzz_check(fuzz_lowest_free_fd() == lowest);
    return 0;
}
