/* SPDX-License-Identifier: MIT
 *
 * How long a program takes from exec to listening:
 *
 *   bench_listening [--times N] PATH PROGRAM ARG ...      prints JSON, in ns
 *
 * The clock runs from before posix_spawn to the first connect that succeeds. inotify says when
 * the path appears, which is at bind. listen follows at once, so a refused connect is tried again
 * after a short sleep: asking without one would take the processor away from the very program. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define GIVE_UP_MS 5000
#define RETRY_NS 20000

extern char **environ;

static int try_connect(const char *path)
{
    struct sockaddr_un address;
    int fd = open_socket(path, &address);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int watch_folder_of(const char *path)
{
    char folder[4096];
    snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == folder) {
        slash++;
    }
    if (slash) {
        *slash = '\0';
    }
    int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0 || inotify_add_watch(fd, slash ? folder : ".", IN_CREATE | IN_MOVED_TO) < 0) {
        die(folder);
    }
    return fd;
}

static void wait_for_change(int watch)
{
    struct pollfd p = { .fd = watch, .events = POLLIN };
    int n = poll(&p, 1, GIVE_UP_MS);
    if (n == 0) {
        errno = ETIMEDOUT;
    }
    if (n <= 0) {
        die("nothing listens");
    }
    char events[4096];
    if (read(watch, events, sizeof(events)) < 0 && errno != EAGAIN) {
        die("inotify");
    }
}

static int connect_when_there(const char *path, int watch)
{
    for (;;) {
        int fd = try_connect(path);
        if (fd >= 0) {
            return fd;
        }
        if (errno == ENOENT) {
            wait_for_change(watch);
        } else if (errno == ECONNREFUSED) {
            nanosleep(&(struct timespec){ .tv_nsec = RETRY_NS }, NULL);
        } else {
            die(path);
        }
    }
}

static int64_t once(const char *path, char **command)
{
    unlink(path);
    int watch = watch_folder_of(path);
    pid_t pid;
    int64_t start = now();
    errno = posix_spawnp(&pid, command[0], NULL, NULL, command, environ);
    if (errno) {
        die(command[0]);
    }
    int fd = connect_when_there(path, watch);
    int64_t took = now() - start;
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    close(fd);
    close(watch);
    return took;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "times", required_argument, NULL, 't' },
                                             { NULL, 0, NULL, 0 } };
    long times = 50;
    int c;
    /* "+": what follows the first plain word belongs to the program */
    while ((c = getopt_long(argc, argv, "+", options, NULL)) == 't') {
        times = atol(optarg);
    }
    if (c != -1 || argc - optind < 2 || times < 1) {
        fprintf(stderr, "usage: bench_listening [--times N] PATH PROGRAM ARG ...\n");
        return 2;
    }
    int64_t *ns = calloc((size_t)times, sizeof(*ns));
    if (!ns) {
        die("memory");
    }
    prctl(PR_SET_TIMERSLACK, 1UL);
    once(argv[optind], argv + optind + 1); /* brings the program into memory */
    for (long i = 0; i < times; i++) {
        ns[i] = once(argv[optind], argv + optind + 1);
    }
    qsort(ns, (size_t)times, sizeof(*ns), by_value);
    printf("{\"times\": %ld, \"min\": %ld, \"p50\": %ld, \"max\": %ld}\n", times, (long)ns[0],
           (long)ns[times / 2], (long)ns[times - 1]);
    free(ns);
    return 0;
}
