/* SPDX-License-Identifier: MIT */
#include "run.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "capacity.h"

static void on_signal(struct ev_loop *loop, ev_signal *w, int events)
{
    (void)w;
    (void)events;
    ev_break(loop, EVBREAK_ALL);
}

static bool has_failed;

static void on_finished(struct device *d, bool failed)
{
    has_failed = has_failed || failed;
    ev_break(d->loop, EVBREAK_ALL);
}

static void announce(const struct device_options *options)
{
    char front[256];
    char back[256];
    char digest[INTERFACE_DIGEST_LEN];
    endpoint_print(&options->front, front, sizeof(front));
    endpoint_print(&options->back, back, sizeof(back));
    interface_digest(&options->identity, digest);
    log_info(options->name, NULL, "ready: front %s, back %s, profile %s, interface %.12s", front,
             back, options->profile, digest);
}

/* The record keeps its size whatever it holds, so it lives in static memory: pages that are never
 * touched cost nothing. */
static struct device device;

static struct sandbox sandbox;

/* What there is of descriptors. */
struct room {
    size_t need, limit;
    bool short_of;
};

static int make_room(const struct run_options *o, struct room *ret_room, char *why, size_t why_len)
{
    ret_room->need = capacity_descriptors(&o->device, o->has_control);
    return capacity_raise(ret_room->need, &ret_room->limit, &ret_room->short_of, why, why_len);
}

static void say_room(const struct run_options *o, const struct room *room)
{
    if (room->short_of) {
        log_warn(
            o->device.name, NULL,
            "may have %zu descriptors, and its peers could make it hold %zu: then messages are "
            "refused (raise ulimit -n, or pin queues and mem_slots)",
            room->limit, room->need);
    }
}

static bool listens_at_path(const struct endpoint *e)
{
    return e->kind == ENDPOINT_LISTEN;
}

static void init_sandbox(const struct run_options *o)
{
    const struct device_options *d = &o->device;
    const struct {
        bool used;
        const struct endpoint *endpoint;
    } places[] = { { true, &d->front },
                   { true, &d->back },
                   { d->has_standby, &d->standby },
                   { o->has_control, &o->control } };
    sandbox_init(&sandbox, &o->sandbox);
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        if (places[i].used && listens_at_path(places[i].endpoint)) {
            sandbox_add_file(&sandbox, places[i].endpoint->path, FOLDER_OF_SOCKETS);
        }
    }
    if (d->trace.path != NULL) {
        sandbox_add_file(&sandbox, d->trace.path, FOLDER_OF_TRACES);
    }
}

/* Sockets first, and the first byte from a peer last. */
static int start(const struct run_options *o, struct ctl *ctl, struct ev_loop *loop, char *why,
                 size_t why_len)
{
    const struct identity *who = &o->sandbox.identity;
    uid_t owner = who->has_user ? who->uid : (uid_t)-1;
    int err = o->has_control ? ctl_start(ctl, loop, &device, &o->control, owner, why, why_len) : 0;
    if (err == 0) {
        err = device_start(&device, loop, &o->device, on_finished, why, why_len);
    }
    if (err < 0) {
        return err;
    }
    err = sandbox_confine(&sandbox, why, why_len);
    if (err < 0) {
        device_stop(&device);
        return err;
    }
    err = device_begin(&device, why, why_len);
    if (err < 0) {
        return err;
    }
    err = sandbox_filter(&sandbox, why, why_len);
    if (err < 0) {
        device_stop(&device);
    }
    return err;
}

static void say_sandbox(const struct run_options *o)
{
    if (o->sandbox.mode == SANDBOX_OFF) {
        log_warn(o->device.name, NULL, "runs without its sandbox (--sandbox off)");
    } else if (sandbox.lacks[0] != '\0') {
        log_warn(o->device.name, NULL, "this kernel lacks a part of the sandbox: %s",
                 sandbox.lacks);
    }
}

int run(const struct run_options *options)
{
    const char *name = options->device.name;
    struct ctl ctl = { .loop = NULL };
    struct room room;
    char why[512];
    ev_signal terminate;
    ev_signal interrupt;
    /* epoll, whatever LIBEV_FLAGS says: other back-ends of libev copy descriptors. */
    struct ev_loop *loop = ev_default_loop(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (loop == NULL) {
        log_error(name, NULL, "cannot make an event loop: %s", strerror(errno));
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a trace that reaches ulimit -f is an error like a full disk */
    ev_signal_init(&terminate, on_signal, SIGTERM);
    ev_signal_init(&interrupt, on_signal, SIGINT);
    ev_signal_start(loop, &terminate);
    ev_signal_start(loop, &interrupt);
    init_sandbox(options);
    int err = make_room(options, &room, why, sizeof(why));
    if (err == 0) {
        err = start(options, &ctl, loop, why, sizeof(why));
    }
    if (err < 0) {
        log_error(name, NULL, "cannot start: %s", why);
        ctl_stop(&ctl);
        ev_loop_destroy(loop);
        sandbox_deinit(&sandbox);
        return 2;
    }
    if (options->has_control) {
        ctl_listen(&ctl);
    }
    say_sandbox(options);
    say_room(options, &room);
    announce(&options->device);
    ev_run(loop, 0);
    device_listen(&device, NULL, NULL);
    device_stop(&device);
    ctl_stop(&ctl);
    ev_loop_destroy(loop);
    sandbox_deinit(&sandbox);
    return has_failed ? 1 : 0;
}

int run_print_sandbox(const struct run_options *options, run_row_fn *row)
{
    char text[1024];
    char why[512];
    const char *name;
    struct room room;
    init_sandbox(options);
    if (make_room(options, &room, why, sizeof(why)) < 0 ||
        sandbox_confine(&sandbox, why, sizeof(why)) < 0 ||
        sandbox_filter(&sandbox, why, sizeof(why)) < 0) {
        log_error(NULL, NULL, "run: --print-sandbox: %s", why);
        return 2;
    }
    for (size_t i = 0; sandbox_describe(&sandbox, i, &name, text, sizeof(text)); i++) {
        row(name, text);
    }
    snprintf(text, sizeof(text), "at most %zu, of %zu", room.need, room.limit);
    row("descriptors", text);
    sandbox_deinit(&sandbox);
    return 0;
}
