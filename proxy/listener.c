/* SPDX-License-Identifier: MIT */
#include "listener.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "log.h"
#include "util.h"

/* Peers that come while one is served are taken and turned away at once; a few may come together.
 */
#define BACKLOG 16
/* Pause after EMFILE or ENFILE: the peer waits in the queue, and no event tells when descriptors
 * are free again. */
#define BREATH_S 0.2

static void lock_path(const struct endpoint *e, char *buf, size_t len)
{
    snprintf(buf, len, "%s.lock", e->path);
}

/* The lock file may be removed by its former owner between our open and our lock: then what we hold
 * is the lock of a file that nobody else can see, and we try again. */
static int take_lock(const struct endpoint *e, char *why, size_t why_len)
{
    char path[sizeof(e->path) + sizeof(".lock")];
    lock_path(e, path, sizeof(path));
    for (;;) {
        CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0) {
            int err = -errno;
            snprintf(why, why_len, "%s: cannot open its lock %s: %s", e->path, path,
                     strerror(errno));
            return err;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            int err = -errno;
            snprintf(why, why_len,
                     "%s: another vushim has it (choose another path, or end that one)", e->path);
            return err;
        }
        struct stat ours;
        struct stat there;
        if (fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_ino == there.st_ino) {
            return steal_fd(&fd);
        }
    }
}

/* Removes a socket that nobody listens on any more. Whatever else is there stays. */
static int clear_path(const struct endpoint *e, char *why, size_t why_len)
{
    struct stat st;
    struct sockaddr_un address;
    if (lstat(e->path, &st) < 0) {
        return 0;
    }
    if (!S_ISSOCK(st.st_mode)) {
        snprintf(why, why_len, "%s: is there and is no socket (remove it, or choose another path)",
                 e->path);
        return -EEXIST;
    }
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        int err = -errno;
        snprintf(why, why_len, "%s: %s", e->path, strerror(errno));
        return err;
    }
    endpoint_address(e, &address);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN) {
        snprintf(why, why_len,
                 "%s: another process listens there (choose another path, or end that one)",
                 e->path);
        return -EADDRINUSE;
    }
    if (errno != ECONNREFUSED || unlink(e->path) < 0) {
        int err = -errno;
        snprintf(why, why_len, "%s: cannot replace what is there: %s", e->path, strerror(errno));
        return err;
    }
    return 0;
}

static const char *hint(int err, const struct listener_access *access)
{
    bool gives_away = access->uid != (uid_t)-1 || access->gid != (gid_t)-1;
    return err == -EPERM && gives_away
               ? " (only root gives sockets to other users, and to groups that "
                 "it is not in: start vushim as root)"
               : "";
}

/* The file gets the mode that the socket has when it is bound, less the umask (unix(7) does not say so,
 * tests/cases does). Its group cannot be had that way by everybody who may give it away; but nobody
 * connects before there is a listen(). */
static int bind_at_path(int fd, const struct endpoint *e, const struct listener_access *access)
{
    struct sockaddr_un address;
    bool gives_away = access->uid != (uid_t)-1 || access->gid != (gid_t)-1;
    endpoint_address(e, &address);
    if (access->mode >= 0 && fchmod(fd, (mode_t)access->mode) < 0) {
        return -errno;
    }
    mode_t before = access->mode >= 0 ? umask(0) : 0;
    int err = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    if (access->mode >= 0) {
        umask(before);
    }
    if (err == 0 && gives_away && lchown(e->path, access->uid, access->gid) < 0) {
        err = -errno;
        unlink(e->path);
    }
    return err;
}

static int listen_at_path(const struct endpoint *e, const struct listener_access *access, char *why,
                          size_t why_len)
{
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int err = fd < 0 ? -errno : bind_at_path(fd, e, access);
    if (err == 0 && listen(fd, BACKLOG) < 0) {
        err = -errno;
    }
    if (err < 0) {
        snprintf(why, why_len, "%s: %s%s", e->path, strerror(-err), hint(err, access));
        return err;
    }
    return steal_fd(&fd);
}

static void on_acceptable(struct ev_loop *loop, ev_io *w, int events)
{
    struct listener *l = w->data;
    (void)events;
    int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        l->found(l, fd);
        return;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        ev_io_stop(loop, w);
        ev_timer_set(&l->breath, BREATH_S, 0);
        ev_timer_start(loop, &l->breath);
    }
}

static void on_breath(struct ev_loop *loop, ev_timer *w, int events)
{
    struct listener *l = w->data;
    (void)events;
    ev_io_start(loop, &l->acceptable);
}

void listener_init(struct listener *l, struct ev_loop *loop, listener_found_fn *found, void *owner)
{
    *l = (struct listener){ .fd = -1, .lock_fd = -1, .loop = loop, .found = found, .owner = owner };
    ev_init(&l->acceptable, on_acceptable);
    ev_init(&l->breath, on_breath);
    l->acceptable.data = l;
    l->breath.data = l;
}

int listener_start(struct listener *l, const struct endpoint *e,
                   const struct listener_access *access, char *why, size_t why_len)
{
    l->endpoint = *e;
    if (e->kind == ENDPOINT_LISTEN) {
        CLEANUP_CLOSE int lock = take_lock(e, why, why_len);
        if (lock < 0) {
            return lock;
        }
        int err = clear_path(e, why, why_len);
        if (err < 0) {
            return err;
        }
        l->fd = listen_at_path(e, access, why, why_len);
        if (l->fd < 0) {
            return l->fd;
        }
        struct stat st;
        l->lock_fd = steal_fd(&lock);
        l->own_path = lstat(e->path, &st) == 0;
        l->path_dev = st.st_dev;
        l->path_ino = st.st_ino;
    } else {
        l->fd = e->fd;
        fcntl(l->fd, F_SETFL, fcntl(l->fd, F_GETFL) | O_NONBLOCK);
    }
    ev_io_set(&l->acceptable, l->fd, EV_READ);
    ev_io_start(l->loop, &l->acceptable);
    return 0;
}

void listener_stop(struct listener *l)
{
    char path[sizeof(l->endpoint.path) + sizeof(".lock")];
    ev_io_stop(l->loop, &l->acceptable);
    ev_timer_stop(l->loop, &l->breath);
    l->fd = close_keep_errno(l->fd);
    if (l->own_path) {
        struct stat st;
        if (lstat(l->endpoint.path, &st) == 0 && st.st_dev == l->path_dev &&
            st.st_ino == l->path_ino) {
            unlink(l->endpoint.path);
        }
        lock_path(&l->endpoint, path, sizeof(path));
        unlink(path);
        l->own_path = false;
    }
    l->lock_fd = close_keep_errno(l->lock_fd);
}
