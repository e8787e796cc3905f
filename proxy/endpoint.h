/* SPDX-License-Identifier: MIT
 *
 * Where a peer is: listen:PATH, connect:PATH, fd:N. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

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
/* "listen:/run/x.sock", "fd:3" */
void endpoint_print(const struct endpoint *e, char *buf, size_t len);
