/* SPDX-License-Identifier: MIT
 *
 * What every source here needs: scope-bound closing, bits, array sizes. */
#pragma once

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (UINT64_C(1) << (n))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))

/* Seconds of a clock that nobody sets. */
static inline double monotonic_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline int close_keep_errno(int fd)
{
    if (fd >= 0) {
        int saved = errno;
        close(fd);
        errno = saved;
    }
    return -1;
}

static inline void cleanup_close(int *fd)
{
    *fd = close_keep_errno(*fd);
}

/* A local descriptor that is closed when it goes out of scope. */
#define CLEANUP_CLOSE __attribute__((cleanup(cleanup_close)))

static inline int steal_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}
