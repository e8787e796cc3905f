/* SPDX-License-Identifier: MIT */
#include "run.h"

#include <signal.h>
#include <string.h>

#include "ctl.h"

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

int run(const struct device_options *options, const struct endpoint *control)
{
    struct ctl ctl = { .loop = NULL };
    char why[256];
    ev_signal terminate;
    ev_signal interrupt;
    /* epoll, whatever LIBEV_FLAGS says: other back-ends of libev copy descriptors. */
    struct ev_loop *loop = ev_default_loop(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (loop == NULL) {
        log_error(options->name, NULL, "cannot make an event loop: %s", strerror(errno));
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a trace that reaches ulimit -f is an error like a full disk */
    ev_signal_init(&terminate, on_signal, SIGTERM);
    ev_signal_init(&interrupt, on_signal, SIGINT);
    ev_signal_start(loop, &terminate);
    ev_signal_start(loop, &interrupt);
    int err = control != NULL ? ctl_start(&ctl, loop, &device, control, why, sizeof(why)) : 0;
    if (err == 0) {
        err = device_start(&device, loop, options, on_finished, why, sizeof(why));
    }
    if (err < 0) {
        log_error(options->name, NULL, "cannot start: %s", why);
        ctl_stop(&ctl);
        ev_loop_destroy(loop);
        return 2;
    }
    if (control != NULL) {
        ctl_listen(&ctl);
    }
    announce(options);
    ev_run(loop, 0);
    device_listen(&device, NULL, NULL);
    device_stop(&device);
    ctl_stop(&ctl);
    ev_loop_destroy(loop);
    return has_failed ? 1 : 0;
}
