/* SPDX-License-Identifier: MIT
 *
 * A listening socket. Its path is locked (PATH.lock), so that a file left by a process that died is
 * replaced and one that somebody serves is never stolen. */
#pragma once

#include <ev.h>
#include <sys/types.h>

#include "endpoint.h"

/* Who may connect, from the first moment on. */
struct listener_access {
    int mode;  /* of the socket's file; -1: as the umask has it */
    uid_t uid; /* its owner and group; (uid_t)-1, (gid_t)-1: as they come */
    gid_t gid;
};

struct listener;
/* A peer has come; `fd` is the callee's. */
typedef void listener_found_fn(struct listener *l, int fd);

struct listener {
    int fd;
    int lock_fd;
    bool own_path; /* to be removed at the end, if it is still ours: */
    dev_t path_dev;
    ino_t path_ino;
    struct endpoint endpoint;
    struct ev_loop *loop;
    ev_io acceptable;
    ev_timer breath; /* pause when the process is out of descriptors */
    listener_found_fn *found;
    void *owner;
};

void listener_init(struct listener *l, struct ev_loop *loop, listener_found_fn *found, void *owner);
/* Starts to listen at `e` (a path, or a descriptor that already listens and is taken: then `access` is
 * the business of who made it). 0, or -errno with the path and a reason in `why`. */
int listener_start(struct listener *l, const struct endpoint *e,
                   const struct listener_access *access, char *why, size_t why_len);
/* Stops, removes its socket and lock. May be repeated. */
void listener_stop(struct listener *l);
