/* SPDX-License-Identifier: MIT */
#include "seeker.h"

#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>

#include "log.h"
#include "util.h"

/* Tries are this close together at first; a file that nobody listens on for PATIENCE_S seconds is
 * probably stale, and is then asked once in DELAY_MOST_S seconds. */
#define DELAY_FIRST_S 0.001
#define DELAY_SHORT_S 0.02
#define PATIENCE_S 10.0
#define DELAY_MOST_S 1.0
#define SPENT_S 0.5

static void seek(struct seeker *s);

static int try_connect(const struct endpoint *e)
{
    struct sockaddr_un address;
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    endpoint_address(e, &address);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        return -errno;
    }
    return steal_fd(&fd);
}

/* Watches the nearest folder on the way to the path that exists. The same folder gives the same
 * watch again; only a watch that is no longer of use is removed, because a removal is an event too.
 */
static void watch_folder(struct seeker *s)
{
    char folder[sizeof(s->endpoint.path) + 2];
    int watch = -1;
    snprintf(folder, sizeof(folder), "%s%s", s->endpoint.path[0] == '/' ? "" : "./",
             s->endpoint.path);
    do {
        char *slash = strrchr(folder, '/');
        bool root = slash == folder;
        slash[root ? 1 : 0] = '\0';
        watch = inotify_add_watch(s->inotify_fd, folder,
                                  IN_CREATE | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF |
                                      IN_MOVE_SELF | IN_ONLYDIR);
        if (root || strcmp(folder, ".") == 0) {
            break;
        }
    } while (watch < 0 && (errno == ENOENT || errno == ENOTDIR));
    if (s->watch >= 0 && s->watch != watch) {
        inotify_rm_watch(s->inotify_fd, s->watch);
    }
    s->watch = watch;
}

static void retry_later(struct seeker *s)
{
    bool patient = monotonic_s() - s->since < PATIENCE_S;
    double most = patient ? DELAY_SHORT_S : DELAY_MOST_S;
    ev_timer_set(&s->again, s->delay < most ? s->delay : most, 0);
    ev_timer_start(s->loop, &s->again);
    s->delay = s->delay * 2 < most ? s->delay * 2 : most;
}

static void say_once(struct seeker *s, int err)
{
    if (err != s->said) {
        /* Root can do less than it is used to. */
        log_info(s->device, s->side, "waits for %s: %s%s", s->endpoint.path, strerror(err),
                 err == EACCES ? " (vushim has no capabilities: its user or group must have write "
                                 "permission there, see --user)"
                               : "");
        s->said = err;
    }
}

static void seek(struct seeker *s)
{
    int fd = try_connect(&s->endpoint);
    if (fd >= 0) {
        seeker_stop(s);
        s->found(s, fd);
        return;
    }
    say_once(s, -fd);
    if (fd == -ENOENT || fd == -ENOTDIR) {
        /* Watch first, then look again: the file may have come in between. */
        watch_folder(s);
        if (s->watch < 0 || access(s->endpoint.path, F_OK) == 0) {
            retry_later(s);
        }
        return;
    }
    retry_later(s);
}

/* The socket itself is among what was made. */
static bool names_socket(const struct seeker *s, const char *buf, size_t len)
{
    const char *slash = strrchr(s->endpoint.path, '/');
    const char *name = slash != NULL ? slash + 1 : s->endpoint.path;
    for (size_t at = 0; at < len;) {
        const struct inotify_event *event = (const void *)(buf + at);
        if ((event->mask & (IN_CREATE | IN_MOVED_TO)) != 0 && event->len > 0 &&
            strcmp(event->name, name) == 0) {
            return true;
        }
        at += sizeof(*event) + event->len;
    }
    return false;
}

static void on_changed(struct ev_loop *loop, ev_io *w, int events)
{
    struct seeker *s = w->data;
    char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n;
    bool ours = false;
    (void)events;
    while ((n = read(s->inotify_fd, buf, sizeof(buf))) > 0) {
        ours = ours || names_socket(s, buf, (size_t)n);
    }
    if (s->reluctant && !ours) {
        return;
    }
    s->reluctant = false;
    /* Something came or went; which, the next try tells. */
    s->since = monotonic_s();
    s->delay = DELAY_FIRST_S;
    ev_timer_stop(loop, &s->again);
    seek(s);
}

static void on_again(struct ev_loop *loop, ev_timer *w, int events)
{
    struct seeker *s = w->data;
    (void)loop;
    (void)events;
    s->reluctant = false;
    seek(s);
}

/* The kernel takes 5 to 20 ms to close an inotify descriptor that has just watched something: it
 * waits until nobody can be looking at the watch any more. That would be in the middle of a
 * takeover. To remove the watch takes no time, nor does it to close a descriptor that has had none
 * for a while. */
static void on_spent(struct ev_loop *loop, ev_timer *w, int events)
{
    struct seeker *s = w->data;
    (void)loop;
    (void)events;
    s->inotify_fd = close_keep_errno(s->inotify_fd);
}

void seeker_init(struct seeker *s, struct ev_loop *loop, const struct endpoint *e,
                 const char *device, const char *side, seeker_found_fn *found, void *owner)
{
    *s = (struct seeker){ .endpoint = *e,
                          .loop = loop,
                          .inotify_fd = -1,
                          .watch = -1,
                          .device = device,
                          .side = side,
                          .found = found,
                          .owner = owner };
    ev_init(&s->changed, on_changed);
    ev_init(&s->again, on_again);
    ev_init(&s->spent, on_spent);
    s->changed.data = s;
    s->again.data = s;
    s->spent.data = s;
}

static void begin(struct seeker *s)
{
    s->active = true;
    s->since = monotonic_s();
    s->delay = DELAY_FIRST_S;
    s->said = 0;
}

static void begin_watch(struct seeker *s)
{
    ev_timer_stop(s->loop, &s->spent);
    if (s->inotify_fd < 0) {
        s->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    }
    if (s->inotify_fd >= 0) {
        ev_io_set(&s->changed, s->inotify_fd, EV_READ);
        ev_io_start(s->loop, &s->changed);
        watch_folder(s);
    }
}

void seeker_start(struct seeker *s)
{
    if (s->active) {
        return;
    }
    begin(s);
    /* Mostly it is there. If not: watch first, then look again, for it may come in between. */
    int fd = try_connect(&s->endpoint);
    if (fd >= 0) {
        s->active = false;
        s->found(s, fd);
        return;
    }
    begin_watch(s);
    seek(s);
}

void seeker_start_in(struct seeker *s, double seconds)
{
    if (s->active) {
        return;
    }
    begin(s);
    begin_watch(s);
    s->reluctant = true;
    ev_timer_set(&s->again, seconds, 0);
    ev_timer_start(s->loop, &s->again);
}

void seeker_stop(struct seeker *s)
{
    ev_io_stop(s->loop, &s->changed);
    ev_timer_stop(s->loop, &s->again);
    if (s->watch >= 0) {
        inotify_rm_watch(s->inotify_fd, s->watch);
    }
    if (s->inotify_fd >= 0 && !ev_is_active(&s->spent)) {
        ev_timer_set(&s->spent, SPENT_S, 0);
        ev_timer_start(s->loop, &s->spent);
    }
    s->watch = -1;
    s->active = s->reluctant = false;
}

void seeker_end(struct seeker *s)
{
    seeker_stop(s);
    ev_timer_stop(s->loop, &s->spent);
    s->inotify_fd = close_keep_errno(s->inotify_fd);
}
