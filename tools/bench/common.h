/* SPDX-License-Identifier: MIT
 *
 * What the programs of tools/bench have in common. */
#pragma once

#include <stdint.h>
#include <sys/un.h>

/* Says what failed, with errno's reason, in the program's name; exit status 1. */
_Noreturn void die(const char *what);
/* Monotonic, in nanoseconds. */
int64_t now(void);
/* A stream socket, and the address of `path`; dies when there is none, or the path is too long. */
int open_socket(const char *path, struct sockaddr_un *address);
