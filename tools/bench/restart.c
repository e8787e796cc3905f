/* SPDX-License-Identifier: MIT
 *
 * A back-end that dies and comes back again and again, and needs no time of its own for that: what
 * is left is the time of whoever brings it back into service.
 *
 *   bench_restart [--times N] [--down MS] [--front PATH [--pairs N]]
 *                 [--other PATH [--switch CONTROL]] PATH
 *
 * It is a network back-end that listens at PATH, maps the memory that it is told and returns the
 * buffers of the rings; nothing is sent or received. Its death is a closed connection and a removed
 * socket. With --front it is the front-end too, of so many queue pairs, and connects there; without,
 * somebody else is, whose transmit rings alone are served. With --other a second one listens there:
 * a standby, and the first one dies once, when nothing has been said to the second for a while; or,
 * with the control socket of a vushim, the device is switched from one to the other and back.
 *
 * Prints JSON: for each restart, in ns, from listen() (a standby: from the first one's death; a
 * switch: from when the first ring was stopped)
 *   accepted   the connection is there
 *   told       the last message of the set-up has come (before that, `own` has gone by in here)
 *   used       the first buffer has been returned;  all_used: one of every ring
 * and wrong_bases, how often a ring was to begin elsewhere than its used index says. */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
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

/* ---- a vushim's control socket ---- */

static FILE *control_open(const char *path)
{
    struct sockaddr_un address;
    int fd = open_socket(path, &address);
    FILE *control = fdopen(fd, "r+");
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || !control) {
        die(path);
    }
    return control;
}

/* The next answer must be a good one; events pass by. */
static void control_hear(FILE *control)
{
    char line[65536];
    do {
        if (!fgets(line, sizeof(line), control) || strstr(line, "\"error\"")) {
            errno = EPROTO;
            die("control socket");
        }
    } while (!strstr(line, "\"return\""));
}

static void control_say(FILE *control, const char *execute, const char *path)
{
    fseek(control, 0, SEEK_CUR); /* between reading and writing a stream wants this */
    fprintf(control, "{\"execute\": \"%s\"", execute);
    if (path) {
        fprintf(control, ", \"arguments\": {\"back\": \"connect:%s\"}", path);
    }
    fprintf(control, "}\n");
    fflush(control);
}

static void switches(struct backend *list, long times, const char *control_path)
{
    FILE *control = control_open(control_path);
    control_say(control, "qmp_capabilities", NULL);
    control_hear(control);
    for (long i = 0; i < times; i++) {
        struct backend *from = &list[i % 2], *to = &list[(i + 1) % 2];
        from->stopped = 0;
        control_say(control, "switch", to->path);
        serve_until(list, 2, from, has_stopped);
        int64_t since = from->stopped;
        to->own = 0;
        front_add();
        serve_until(list, 2, to, in_service);
        control_hear(control);
        print(to, since, i == 0);
    }
    fclose(control);
}

static int usage(FILE *to, int status)
{
    fprintf(to, "usage: bench_restart [--times N] [--down MS] [--front PATH [--pairs N]]"
                " [--other PATH [--switch CONTROL]] PATH\n");
    return status;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "times", required_argument, NULL, 't' }, { "down", required_argument, NULL, 'd' },
        { "front", required_argument, NULL, 'f' }, { "pairs", required_argument, NULL, 'n' },
        { "other", required_argument, NULL, 'o' }, { "switch", required_argument, NULL, 's' },
        { "help", no_argument, NULL, 'h' },        { NULL, 0, NULL, 0 },
    };
    char *front = NULL, *control = NULL;
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
        case 'o':
            list[1].path = optarg;
            break;
        case 's':
            control = optarg;
            break;
        case 'h':
            return usage(stdout, 0);
        default:
            return usage(stderr, 2);
        }
    }
    if (argc - optind != 1 || pairs < 1 || pairs > MAX_RINGS / 2 || (list[1].path && !front) ||
        (control && !list[1].path)) {
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
    if (control) {
        switches(list, times, control);
    } else if (list[1].path) {
        takeover(list);
    } else {
        restarts(&list[0], times, down);
    }
    printf("], \"wrong_bases\": %ld}\n", wrong_bases);
    return 0;
}
