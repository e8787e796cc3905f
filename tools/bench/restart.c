/* SPDX-License-Identifier: MIT
 *
 * A back-end that dies and comes back again and again, and needs no time of its own for that: what
 * is left is the time of whoever brings it back into service.
 *
 *   bench_restart [--times N] [--down MS] [--front PATH [--pairs N]] [--standby PATH] PATH
 *
 * It is a network back-end that listens at PATH, maps the memory that it is told and returns the
 * buffers of the rings; nothing is sent or received. Its death is a closed connection and a removed
 * socket. With --front it is the front-end too, of so many queue pairs, and connects there; without,
 * somebody else is, whose transmit rings alone are served. With --standby a second one listens
 * there, and the first one dies once, when nothing has been said to the second for a while.
 *
 * Prints JSON: for each restart, in ns, from listen() (with --standby: from the first one's death)
 *   accepted   the connection is there
 *   told       the last message of the set-up has come (before that, `own` has gone by in here)
 *   used       the first buffer has been returned;  all_used: one of every ring
 * and wrong_bases, how often a ring was to begin elsewhere than its used index says. */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#include "standin_back.h"
#include "standin_front.h"

static void rest(long ms)
{
    nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

static void print(const struct backend *b, int64_t since, bool first)
{
    printf("%s{\"accepted\": %ld, \"told\": %ld, \"own\": %ld, \"used\": %ld, \"all_used\": %ld}",
           first ? "" : ", ", (long)(b->accepted - since), (long)(b->told - since), (long)b->own,
           (long)(b->used - since), (long)(b->all_used - since));
}

static void restarts(struct backend *b, long times, long down)
{
    for (long i = 0; i < times; i++) {
        backend_die(b);
        rest(down);
        front_add();
        int64_t since = now();
        backend_listen(b);
        serve_until(b, 1, b, in_service);
        print(b, since, i == 0);
    }
}

static void takeover(struct backend *list)
{
    serve_until(list, 2, &list[1], waits_ready);
    front_add();
    int64_t since = now();
    backend_die(&list[0]);
    list[1].own = 0;
    serve_until(list, 2, &list[1], in_service);
    print(&list[1], since, true);
}

static int usage(FILE *to, int status)
{
    fprintf(to, "usage: bench_restart [--times N] [--down MS] [--front PATH [--pairs N]]"
                " [--standby PATH] PATH\n");
    return status;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "times", required_argument, NULL, 't' },
        { "down", required_argument, NULL, 'd' },
        { "front", required_argument, NULL, 'f' },
        { "pairs", required_argument, NULL, 'n' },
        { "standby", required_argument, NULL, 's' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    char *front = NULL;
    long times = 20, down = 100, pairs = 1;
    struct backend list[2] = { { .listener = -1, .fd = -1 }, { .listener = -1, .fd = -1 } };
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 't':
            times = atol(optarg);
            break;
        case 'd':
            down = atol(optarg);
            break;
        case 'f':
            front = optarg;
            break;
        case 'n':
            pairs = atol(optarg);
            break;
        case 's':
            list[1].path = optarg;
            break;
        case 'h':
            return usage(stdout, 0);
        default:
            return usage(stderr, 2);
        }
    }
    if (argc - optind != 1 || pairs < 1 || pairs > MAX_RINGS / 2 || (list[1].path && !front)) {
        return usage(stderr, 2);
    }
    list[0].path = argv[optind];
    own_rings = front ? 2 * (int)pairs : 0;
    size_t n = list[1].path ? 2 : 1;
    prctl(PR_SET_TIMERSLACK, 1UL);
    for (size_t i = 0; i < n; i++) {
        backend_listen(&list[i]);
    }
    pthread_t thread;
    errno = front ? pthread_create(&thread, NULL, front_set_up, front) : 0;
    if (errno) {
        die("thread");
    }
    fprintf(stderr, "bench_restart: listening\n");
    serve_until(list, n, &list[0], in_service);
    if (front) {
        pthread_join(thread, NULL);
    }
    printf("{\"restarts\": [");
    if (list[1].path) {
        takeover(list);
    } else {
        restarts(&list[0], times, down);
    }
    printf("], \"wrong_bases\": %ld}\n", wrong_bases);
    return 0;
}
