/* SPDX-License-Identifier: MIT
 *
 * A whole device whose back-ends come and go: what its front-end and each back-end see of that. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "device.h"
#include "runner.h"
#include "sample.h"
#include "specs.h"

#define FEATURES                                                                                   \
    (BIT(RING_VERSION_1) | BIT(VHOST_PROTOCOL_FEATURES) | BIT(VHOST_LOG_ALL) | BIT(NET_CSUM))
#define PROTOCOL                                                                                   \
    (BIT(PROTOCOL_REPLY_ACK) | BIT(PROTOCOL_BACKEND_REQ) | BIT(PROTOCOL_LOG_SHMFD) |               \
     BIT(PROTOCOL_MQ) | BIT(PROTOCOL_STATUS))
#define MEMORY_AT UINT64_C(0x40000000)
#define MEMORY_SIZE 0x10000
#define USED 0x2000
#define SAID_MAX 1024

/* A peer with what it has been told; a back-end answers as it should unless told otherwise. */
struct peer {
    int fd;
    int channel; /* its end; -1 */
    struct frame_reader reader;
    uint32_t silent_on;  /* a request that it never answers; 0: none */
    uint32_t leaves_on;  /* a request at which it leaves; 0: none */
    uint64_t base_moves; /* added to the used index when it is kicked */
    size_t n;
    struct {
        uint32_t request;
        uint64_t value;
    } said[SAID_MAX];
};

static struct device device;
static struct ev_loop *loop;
static struct peer front, back, next;
static int front_listener, back_listener, next_listener, front_channel, memory_fd;
static uint8_t *memory;
static char folder[] = "/tmp/vushim-unit-XXXXXX";
static char path[64];
static int n_switched;
static char switch_error[256];

static int listening(struct sockaddr_un *address, socklen_t len)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)address, len), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

static int listening_anywhere(struct endpoint *e)
{
    struct sockaddr_un any = { .sun_family = AF_UNIX };
    int fd = listening(&any, sizeof(sa_family_t));
    *e = (struct endpoint){ .kind = ENDPOINT_FD_LISTENING, .fd = fd };
    return fd;
}

static void connect_to(struct peer *p, const struct endpoint *e)
{
    struct sockaddr_un address;
    socklen_t len = sizeof(address);
    assert_int_equal(getsockname(e->fd, (struct sockaddr *)&address, &len), 0);
    *p = (struct peer){ .fd = -1, .channel = -1 };
    p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(p->fd, (struct sockaddr *)&address, len), 0);
}

static void leave(struct peer *p)
{
    p->fd = close_keep_errno(p->fd);
    p->channel = close_keep_errno(p->channel);
    frame_reader_clear(&p->reader);
}

static void turn(int times)
{
    for (int i = 0; i < times; i++) {
        ev_run(loop, EVRUN_NOWAIT);
    }
}

static void send_to(int fd, struct msg m)
{
    struct frame_writer w = { .busy = false };
    frame_writer_take(&w, &m);
    frame_write(&w, &frame_socket_ops, &fd);
    frame_writer_clear(&w);
}

/* ---- back-ends ---- */

static struct msg answer_to(const struct message_row *row, const struct msg *request)
{
    const struct payload *p = message_payload(row, true);
    bool same = p == message_payload(row, false);
    struct msg m = sample_raw(row->id, WIRE_REPLY, same ? request->body : NULL,
                              same ? request->head.size : p->least, 0);
    enum field_kind kind = p->n_fields > 0 ? p->fields[0].kind : KIND_PAD;
    uint64_t value = kind == KIND_FEATURES            ? FEATURES
                     : kind == KIND_PROTOCOL_FEATURES ? PROTOCOL
                     : kind == KIND_QUEUE_LIMIT       ? 64
                                                      : 0;
    if (value != 0) {
        field_set(&m, &p->fields[0], value);
    }
    return m;
}

static void take(struct peer *p, struct msg *m)
{
    const struct message_row *row = message_row(SPACE_FRONT, m->head.request);
    uint64_t value = 0;
    memcpy(&value, m->body != NULL ? m->body : (const uint8_t *)"",
           m->head.size < sizeof(value) ? m->head.size : sizeof(value));
    assert_true(p->n < SAID_MAX);
    p->said[p->n].request = row->id;
    p->said[p->n++].value = value;
    if (row->id == FRONT_SET_BACKEND_REQ_FD && m->fds.n == 1) {
        close_keep_errno(p->channel);
        p->channel = fdset_steal(&m->fds, 0);
    }
    if (row->id == FRONT_SET_VRING_KICK) {
        uint16_t used;
        memcpy(&used, memory + USED + 2, sizeof(used));
        used = (uint16_t)(used + p->base_moves);
        memcpy(memory + USED + 2, &used, sizeof(used));
    }
    bool log = row->answer == ANSWER_LOG && m->fds.n > 0;
    if (row->id != p->silent_on && row->id != p->leaves_on &&
        (row->answer == ANSWER_REPLY || log || msg_needs_reply(m))) {
        send_to(p->fd, answer_to(row, m));
    }
    if (row->id == p->leaves_on) {
        leave(p);
    }
}

/* Answers until nothing comes any more. */
static void serve(struct peer *p)
{
    for (int quiet = 0; quiet < 5 && p->fd >= 0;) {
        struct msg m = MSG_NULL;
        int result = frame_read(&p->reader, &frame_socket_ops, &p->fd, 0, &m);
        quiet = result == FRAME_OK ? 0 : quiet + 1;
        if (result == FRAME_OK) {
            take(p, &m);
        } else if (result != FRAME_AGAIN) {
            leave(p);
        }
        msg_clear(&m);
        turn(4);
    }
}

static size_t count(const struct peer *p, uint32_t request)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        n += p->said[i].request == request;
    }
    return n;
}

/* The value of its last request of a kind. */
static uint64_t last(const struct peer *p, uint32_t request)
{
    for (size_t i = p->n; i > 0; i--) {
        if (p->said[i - 1].request == request) {
            return p->said[i - 1].value;
        }
    }
    unit_fail("was never told %u", request);
    return 0;
}

static void back_comes(struct peer *p)
{
    connect_to(p, &device.options.back);
    turn(4);
    /* Shortly after another one it may have to wait. */
    for (int i = 0; i < 100 && ev_is_active(&device.pause); i++) {
        ev_run(loop, EVRUN_ONCE);
    }
    serve(p);
}

/* The new one of a switch, which listens at `path`. */
static bool new_comes(struct peer *p)
{
    *p = (struct peer){ .fd = -1, .channel = -1 };
    turn(5);
    p->fd = accept4(next_listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return p->fd >= 0;
}

/* ---- the front-end ---- */

static void tell(uint32_t request, const void *body, uint32_t size, int fd)
{
    struct msg m = sample_raw(request, 0, body, size, 0);
    int copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    assert_true(copy < 0 || fdset_append_take(&m.fds, &copy, 1) == 0);
    send_to(front.fd, m);
    turn(2);
}

static void tell_pair(uint32_t request, uint32_t index, uint32_t value)
{
    const uint32_t body[2] = { index, value };
    tell(request, body, sizeof(body), -1);
}

static void tell_u64(uint32_t request, uint64_t value)
{
    tell(request, &value, sizeof(value), -1);
}

static void start_ring(uint32_t ring)
{
    const struct wire_vring_addr addr = { .index = ring,
                                          .descriptor = MEMORY_AT,
                                          .used = MEMORY_AT + USED,
                                          .available = MEMORY_AT + 0x4000 };
    const uint64_t index = ring;
    int fd = sample_fd();
    tell_pair(FRONT_SET_VRING_NUM, ring, 256);
    tell_pair(FRONT_SET_VRING_BASE, ring, 0);
    tell(FRONT_SET_VRING_ADDR, &addr, sizeof(addr), -1);
    tell(FRONT_SET_VRING_CALL, &index, sizeof(index), fd);
    tell(FRONT_SET_VRING_KICK, &index, sizeof(index), fd);
    tell_pair(FRONT_SET_VRING_ENABLE, ring, 1);
    close(fd);
}

static void set_up(uint32_t rings)
{
    struct {
        struct wire_mem_table head;
        struct wire_region region;
    } __attribute__((packed))
    table = { { .nregions = 1 }, { MEMORY_AT, MEMORY_SIZE, MEMORY_AT, 0 } };
    tell_u64(FRONT_SET_PROTOCOL_FEATURES, PROTOCOL);
    tell(FRONT_SET_OWNER, NULL, 0, -1);
    tell_u64(FRONT_SET_FEATURES, FEATURES & ~BIT(VHOST_LOG_ALL));
    tell(FRONT_SET_MEM_TABLE, &table, sizeof(table), memory_fd);
    for (uint32_t ring = 0; ring < rings; ring++) {
        start_ring(ring);
        serve(&back);
    }
}

static void open_channel(void)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    front_channel = fds[0];
    tell(FRONT_SET_BACKEND_REQ_FD, NULL, 0, fds[1]);
    close(fds[1]);
    serve(&back);
    assert_true(back.channel >= 0);
}

static bool front_is_there(void)
{
    struct msg m = MSG_NULL;
    int result;
    turn(20);
    while ((result = frame_read(&front.reader, &frame_socket_ops, &front.fd, 0, &m)) == FRAME_OK) {
        msg_clear(&m);
    }
    return result == FRAME_AGAIN;
}

/* ---- from beginning to end ---- */

static void on_finished(struct device *d, bool failed)
{
    (void)d;
    (void)failed;
}

static void on_switched(void *owner, struct device *d, const char *error)
{
    (void)owner;
    (void)d;
    n_switched++;
    snprintf(switch_error, sizeof(switch_error), "%s", error != NULL ? error : "");
}

static void begin(enum on_loss on_loss, uint32_t rings)
{
    struct device_options o = { .name = "unit", .wait = -1, .hold_for = -1, .on_loss = on_loss };
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct spec_error error;
    char why[256];
    loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    assert_int_equal(parse_spec("host,device=net", &o.interface, &error), 0);
    o.identity = o.interface;
    front_listener = listening_anywhere(&o.front);
    back_listener = listening_anywhere(&o.back);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/new", folder);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    next_listener = listening(&address, sizeof(address));
    memory_fd = memfd_create("guest", MFD_CLOEXEC);
    assert_int_equal(ftruncate(memory_fd, MEMORY_SIZE), 0);
    memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
    front_channel = -1;
    next.fd = next.channel = -1;
    assert_int_equal(device_start(&device, loop, &o, on_finished, why, sizeof(why)), 0);
    connect_to(&front, &o.front);
    back_comes(&back);
    set_up(rings);
    serve(&back);
    assert_true(device_is_live(&device));
    assert_int_equal(device.record.n_rings, rings);
}

static void end(void)
{
    device_stop(&device);
    leave(&front);
    leave(&back);
    leave(&next);
    close_keep_errno(front_channel);
    close(next_listener);
    close(memory_fd);
    munmap(memory, MEMORY_SIZE);
    unlink(path);
    rmdir(folder);
    ev_loop_destroy(loop);
}

static void lose_back(void)
{
    leave(&back);
    turn(10);
    assert_true(device.held);
}

static void set_used(uint16_t index)
{
    memcpy(memory + USED + 2, &index, sizeof(index));
}

static void begin_switch(void)
{
    struct endpoint e = { .kind = ENDPOINT_CONNECT, .fd = -1 };
    char why[256];
    snprintf(e.path, sizeof(e.path), "%s", path);
    n_switched = 0;
    assert_int_equal(switch_begin(&device, &e, on_switched, NULL, why, sizeof(why)), 0);
}

/* Both are served until the switch is over. */
static void serve_switch(void)
{
    for (int i = 0; i < 20 && n_switched == 0; i++) {
        serve(&next);
        serve(&back);
    }
    assert_int_equal(n_switched, 1);
}

/* ---- a loss ---- */

static void the_next_one_goes_on_where_the_ring_stands(void **state)
{
    (void)state;
    begin(LOSS_AUTO, 2);
    set_used(77);
    lose_back();
    back_comes(&next);
    assert_true(device_is_live(&device));
    assert_int_equal(count(&next, FRONT_SET_VRING_KICK), 2);
    assert_true(last(&next, FRONT_SET_VRING_BASE) == (UINT64_C(77) << 32 | 1));
    assert_true(front_is_there());
    end();
}

/* The one that came in between was told to run them, and may have. */
static void rings_are_looked_at_again_after_one_that_may_have_run(void **state)
{
    (void)state;
    begin(LOSS_AUTO, 1);
    set_used(5);
    lose_back();
    connect_to(&next, &device.options.back);
    next.leaves_on = FRONT_SET_VRING_ENABLE;
    next.base_moves = 3;
    for (int i = 0; i < 100 && next.fd >= 0; i++) {
        ev_run(loop, EVRUN_NOWAIT);
        serve(&next);
        if (next.fd >= 0) {
            ev_run(loop, EVRUN_ONCE);
        }
    }
    assert_int_equal(next.fd, -1);
    turn(10);
    assert_true(device.held);
    back_comes(&next);
    assert_int_equal(last(&next, FRONT_SET_VRING_BASE) >> 32, 8);
    assert_true(device_is_live(&device));
    end();
}

static void last_words_that_make_no_sense_are_the_back_ends_own(void **state)
{
    const struct wire_header nonsense = { 1, 2, 0 };
    (void)state;
    begin(LOSS_AUTO, 1);
    open_channel();
    assert_int_equal(write(back.channel, &nonsense, sizeof(nonsense)), sizeof(nonsense));
    lose_back();
    assert_true(front_is_there());
    end();
}

/* Some are given their channel, and talk there, before they have taken over. */
static void noise_of_a_newcomer_is_its_own_fault(void **state)
{
    const struct wire_header nonsense = { 1, 2, 0 };
    (void)state;
    begin(LOSS_AUTO, 1);
    open_channel();
    lose_back();
    connect_to(&next, &device.options.back);
    next.silent_on = FRONT_GET_FEATURES;
    turn(4);
    for (int i = 0; i < 100 && ev_is_active(&device.pause); i++) {
        ev_run(loop, EVRUN_ONCE);
    }
    next.silent_on = 0;
    for (int i = 0; i < 200 && next.channel < 0; i++) {
        struct msg m = MSG_NULL;
        if (frame_read(&next.reader, &frame_socket_ops, &next.fd, 0, &m) == FRAME_OK) {
            take(&next, &m);
        }
        msg_clear(&m);
        turn(1);
    }
    assert_true(next.channel >= 0 && !device_is_live(&device));
    assert_int_equal(write(next.channel, &nonsense, sizeof(nonsense)), sizeof(nonsense));
    turn(10);
    assert_true(device.held && !successor_is_open(&device));
    assert_true(front_is_there());
    leave(&next);
    back_comes(&next);
    assert_true(device_is_live(&device));
    end();
}

/* One that takes over and leaves at once must not do so a thousand times a second. */
static void one_that_leaves_at_once_is_not_taken_at_once_again(void **state)
{
    double since = monotonic_s();
    int n = 0;
    (void)state;
    begin(LOSS_AUTO, 1);
    leave(&back);
    while (monotonic_s() - since < 0.5) {
        connect_to(&next, &device.options.back);
        serve(&next);
        n += device_is_live(&device);
        leave(&next);
        turn(10);
    }
    unit_check(n <= 12, "has taken over %d times in half a second", n);
    assert_true(front_is_there());
    end();
}

static void a_log_that_cannot_be_written_ends_the_hold(void **state)
{
    (void)state;
    for (int shorter = 0; shorter < 2; shorter++) {
        const struct wire_log log = { .size = 100, .offset = 5000 };
        uint8_t bytes[102];
        begin(LOSS_AUTO, 1);
        int fd = memfd_create("log", MFD_CLOEXEC);
        assert_int_equal(ftruncate(fd, shorter ? 5099 : 5101), 0);
        tell(FRONT_SET_LOG_BASE, &log, sizeof(log), fd);
        tell_u64(FRONT_SET_FEATURES, FEATURES);
        serve(&back);
        leave(&back);
        turn(10);
        assert_int_equal(device.held, !shorter);
        if (!shorter) {
            assert_int_equal(pread(fd, bytes, sizeof(bytes), 4999), sizeof(bytes));
            for (size_t i = 0; i < sizeof(bytes); i++) {
                assert_int_equal(bytes[i], i == 0 || i == 101 ? 0 : 0xff);
            }
        }
        close(fd);
        end();
        snprintf(folder, sizeof(folder), "/tmp/vushim-unit-XXXXXX");
    }
}

/* ---- a switch ---- */

static void rings_go_from_one_to_the_other(void **state)
{
    (void)state;
    begin(LOSS_AUTO, 2);
    open_channel();
    begin_switch();
    assert_true(new_comes(&next));
    serve_switch();
    assert_string_equal(switch_error, "");
    assert_int_equal(count(&back, FRONT_GET_VRING_BASE), 2);
    assert_int_equal(count(&next, FRONT_SET_VRING_KICK), 2);
    assert_true(next.channel >= 0);
    assert_true(front_is_there());
    end();
}

static void a_device_without_rings_is_switched(void **state)
{
    (void)state;
    begin(LOSS_AUTO, 0);
    begin_switch();
    assert_true(new_comes(&next));
    serve_switch();
    assert_string_equal(switch_error, "");
    end();
}

/* More questions than there is room for in a row. */
static void any_number_of_rings_is_switched(void **state)
{
    const uint32_t rings = ANSWERS_MAX + 20;
    (void)state;
    begin(LOSS_AUTO, rings);
    begin_switch();
    assert_true(new_comes(&next));
    serve_switch();
    assert_string_equal(switch_error, "");
    assert_int_equal(count(&back, FRONT_GET_VRING_BASE), rings);
    assert_int_equal(count(&next, FRONT_SET_VRING_KICK), rings);
    end();
}

/* While the front-end itself waits for as many answers as there is room for. */
static void a_switch_waits_for_room(void **state)
{
    (void)state;
    begin(LOSS_AUTO, 1);
    for (int i = 0; i < ANSWERS_MAX; i++) {
        tell(FRONT_GET_STATUS, NULL, 0, -1);
    }
    assert_true(answers_full(&device.wire.answers));
    begin_switch();
    assert_true(new_comes(&next));
    serve_switch();
    assert_string_equal(switch_error, "");
    assert_true(front_is_there());
    end();
}

static void rings_go_back_to_where_the_new_one_left_them(void **state)
{
    (void)state;
    begin(LOSS_AUTO, 1);
    set_used(0);
    begin_switch();
    assert_true(new_comes(&next));
    next.base_moves = 3;
    next.leaves_on = FRONT_SET_VRING_ENABLE;
    serve_switch();
    assert_true(switch_error[0] != '\0');
    assert_true(device_is_live(&device) && !device.wire.paused);
    assert_int_equal(last(&back, FRONT_SET_VRING_BASE) >> 32, 3);
    assert_true(front_is_there());
    end();
}

static void noise_of_the_new_one_leaves_the_old_one_alone(void **state)
{
    const struct wire_header nonsense = { 1, 2, 0 };
    (void)state;
    begin(LOSS_AUTO, 1);
    open_channel();
    begin_switch();
    assert_true(new_comes(&next));
    for (int i = 0; i < 400 && (device.switching.stage != SWITCH_STARTING || next.channel < 0);
         i++) {
        struct peer *both[] = { &next, &back };
        for (size_t k = 0; k < 2; k++) {
            struct msg m = MSG_NULL;
            if (frame_read(&both[k]->reader, &frame_socket_ops, &both[k]->fd, 0, &m) == FRAME_OK) {
                take(both[k], &m);
            }
            msg_clear(&m);
        }
        turn(1);
    }
    assert_int_equal(device.switching.stage, SWITCH_STARTING);
    assert_int_equal(write(next.channel, &nonsense, sizeof(nonsense)), sizeof(nonsense));
    serve_switch();
    assert_true(switch_error[0] != '\0');
    assert_true(device_is_live(&device) && !device.held);
    end();
}

static void the_old_one_may_be_lost_on_the_way(void **state)
{
    (void)state;
    begin(LOSS_AUTO, 1);
    open_channel();
    begin_switch();
    assert_true(new_comes(&next));
    back.leaves_on = FRONT_GET_VRING_BASE;
    serve_switch();
    assert_string_equal(switch_error, "");
    assert_true(device_is_live(&device));
    assert_int_equal(device.n_held, 1);
    assert_true(front_is_there());
    end();
}

/* A front-end that waits for a successor is served alone again when that one is not wanted any more. */
static void a_switch_takes_no_front_end_along_that_waits(void **state)
{
    (void)state;
    begin(LOSS_AUTO, 1);
    lose_back();
    connect_to(&next, &device.options.back);
    next.silent_on = FRONT_GET_QUEUE_NUM;
    turn(4);
    for (int i = 0; i < 100 && ev_is_active(&device.pause); i++) {
        ev_run(loop, EVRUN_ONCE);
    }
    next.silent_on = FRONT_SET_VRING_ENABLE; /* answered by nobody anyway */
    for (int i = 0; i < 200 && !device.wire.paused; i++) {
        struct msg m = MSG_NULL;
        if (frame_read(&next.reader, &frame_socket_ops, &next.fd, 0, &m) == FRAME_OK) {
            take(&next, &m);
        }
        msg_clear(&m);
        turn(1);
    }
    assert_true(device.wire.paused);
    /* It has been told the rings: none is switched over it. */
    const struct endpoint e = { .kind = ENDPOINT_CONNECT, .fd = -1 };
    char why[256];
    assert_int_equal(switch_begin(&device, &e, on_switched, NULL, why, sizeof(why)), -EAGAIN);
    leave(&next);
    turn(4);
    begin_switch();
    assert_false(device.wire.paused);
    tell(FRONT_GET_STATUS, NULL, 0, -1);
    turn(5);
    struct msg m = MSG_NULL;
    assert_int_equal(frame_read(&front.reader, &frame_socket_ops, &front.fd, 0, &m), FRAME_OK);
    msg_clear(&m);
    end();
}

static void what_could_not_be_kept_is_not_switched(void **state)
{
    const struct endpoint e = { .kind = ENDPOINT_CONNECT, .fd = -1 };
    char why[256];
    (void)state;
    begin(LOSS_AUTO, 1);
    device.record.incomplete = true;
    assert_true(switch_begin(&device, &e, on_switched, NULL, why, sizeof(why)) < 0);
    assert_string_equal(why, "not everything that the front-end said could be kept");
    device.record.incomplete = false;
    device.record.postcopy = POSTCOPY_ADVISED;
    assert_true(switch_begin(&device, &e, on_switched, NULL, why, sizeof(why)) < 0);
    assert_non_null(strstr(why, "postcopy"));
    device.record.postcopy = POSTCOPY_NONE;
    begin_switch();
    assert_true(new_comes(&next));
    device.record.incomplete = true;
    serve_switch();
    unit_check(strstr(switch_error, "could be kept") != NULL, "%s", switch_error);
    assert_true(device_is_live(&device));
    end();
}

static const struct unit_test tests[] = {
    UNIT(the_next_one_goes_on_where_the_ring_stands),
    UNIT(rings_are_looked_at_again_after_one_that_may_have_run),
    UNIT(last_words_that_make_no_sense_are_the_back_ends_own),
    UNIT(noise_of_a_newcomer_is_its_own_fault),
    UNIT(one_that_leaves_at_once_is_not_taken_at_once_again),
    UNIT(a_log_that_cannot_be_written_ends_the_hold),
    UNIT(rings_go_from_one_to_the_other),
    UNIT(a_device_without_rings_is_switched),
    UNIT(any_number_of_rings_is_switched),
    UNIT(a_switch_waits_for_room),
    UNIT(rings_go_back_to_where_the_new_one_left_them),
    UNIT(noise_of_the_new_one_leaves_the_old_one_alone),
    UNIT(the_old_one_may_be_lost_on_the_way),
    UNIT(a_switch_takes_no_front_end_along_that_waits),
    UNIT(what_could_not_be_kept_is_not_switched),
};

UNIT_MAIN("succession", tests)
