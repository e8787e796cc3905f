/* SPDX-License-Identifier: MIT
 *
 * Where a peer is: listen:PATH, connect:PATH, fd:N. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/un.h>
#include <time.h>

enum endpoint_kind { ENDPOINT_LISTEN, ENDPOINT_CONNECT, ENDPOINT_FD_LISTENING, ENDPOINT_FD };

struct endpoint {
    enum endpoint_kind kind;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* empty for a descriptor */
    int fd; /* borrowed until it is served; -1 for a path */
};

/* Parses `text`; a bare path is of kind `bare`. A descriptor is checked to be a stream socket.
 * False with a reason in `why` when it cannot be used. */
bool endpoint_parse(const char *text, enum endpoint_kind bare, struct endpoint *ret_endpoint,
                    char *why, size_t why_len);
void endpoint_address(const struct endpoint *e, struct sockaddr_un *ret_address);
/* The socket file that is now at a path that we connect to: one that is made in its place is another. */
struct endpoint_mark {
    dev_t dev;
    ino_t ino;
    struct timespec changed; /* numbers of files that are gone are given out again */
};

/* All zero when there is none. */
struct endpoint_mark endpoint_mark(const struct endpoint *e);
bool endpoint_is_marked(const struct endpoint *e, const struct endpoint_mark *mark);
/* "listen:/run/x.sock", "fd:3" */
void endpoint_print(const struct endpoint *e, char *buf, size_t len);
