/* SPDX-License-Identifier: MIT
 *
 * Round trips of GET_FEATURES, with stand-ins at both ends.
 *
 *   bench_roundtrip back PATH                       answers whatever a front-end may ask
 *   bench_roundtrip front [OPTIONS] NAME=PATH ...   measures, and prints JSON
 *
 * The front-end holds one connection for each NAME and measures them by turns, a block of rounds
 * at a time, each block beginning with the next NAME: what else the machine does meanwhile then
 * falls on all of them alike, and the ratio of two numbers of one block means something on a busy
 * machine.
 *
 * The message numbers are written out here, not taken from the shim: the yardstick must not bend
 * with what it measures. */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define MAX_PAYLOAD 4096
#define MAX_FDS 253
#define MAX_PATHS 32

enum {
    GET_FEATURES = 1,
    GET_VRING_BASE = 11,
    GET_PROTOCOL_FEATURES = 15,
    GET_QUEUE_NUM = 17,
    GET_CONFIG = 24,
    GET_MAX_MEM_SLOTS = 36,
    GET_STATUS = 40,
};

enum { FLAG_VERSION = 1, FLAG_REPLY = 4, FLAG_NEED_REPLY = 8 };

/* What Debian 12's DPDK offers for a net device. */
#define FEATURES UINT64_C(0xd7c66e7cb)
#define PROTOCOL_FEATURES UINT64_C(0x10cbf)
#define QUEUES 128
#define MEM_SLOTS 32

struct header {
    uint32_t request;
    uint32_t flags;
    uint32_t size;
};

struct message {
    struct header head;
    uint8_t payload[MAX_PAYLOAD];
};

/* ---- the back-end ---- */

static void close_received(struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            close(fd);
        }
    }
}

/* As real back-ends do it: the header with its descriptors, then the payload with one read. */
static bool take(int fd, struct message *m)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(MAX_FDS * sizeof(int))];
    struct iovec iov = { .iov_base = &m->head, .iov_len = sizeof(m->head) };
    struct msghdr h = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
    };
    ssize_t got = recvmsg(fd, &h, MSG_CMSG_CLOEXEC);
    if (got > 0) {
        close_received(&h);
    }
    if (got != (ssize_t)sizeof(m->head)) {
        return false;
    }
    if (m->head.size > sizeof(m->payload)) {
        return false;
    }
    return m->head.size == 0 || read(fd, m->payload, m->head.size) == (ssize_t)m->head.size;
}

static bool give(int fd, const struct message *m)
{
    size_t len = sizeof(m->head) + m->head.size;
    return send(fd, m, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static bool answer_u64(int fd, struct message *m, uint64_t value)
{
    m->head.flags = FLAG_VERSION | FLAG_REPLY;
    m->head.size = sizeof(value);
    memcpy(m->payload, &value, sizeof(value));
    return give(fd, m);
}

static bool answer_same(int fd, struct message *m)
{
    m->head.flags = FLAG_VERSION | FLAG_REPLY;
    return give(fd, m);
}

static bool answer(int fd, struct message *m)
{
    switch (m->head.request) {
    case GET_FEATURES:
        return answer_u64(fd, m, FEATURES);
    case GET_PROTOCOL_FEATURES:
        return answer_u64(fd, m, PROTOCOL_FEATURES);
    case GET_QUEUE_NUM:
        return answer_u64(fd, m, QUEUES);
    case GET_MAX_MEM_SLOTS:
        return answer_u64(fd, m, MEM_SLOTS);
    case GET_STATUS:
        return answer_u64(fd, m, 0);
    case GET_VRING_BASE:
    case GET_CONFIG:
        return answer_same(fd, m);
    default:
        return !(m->head.flags & FLAG_NEED_REPLY) || answer_u64(fd, m, 0);
    }
}

static _Noreturn void back(const char *path)
{
    struct sockaddr_un address;
    int listener = open_socket(path, &address);
    unlink(path);
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(listener, 4) < 0) {
        die(path);
    }
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) {
            die("accept");
        }
        struct message m;
        while (take(fd, &m) && answer(fd, &m)) {
        }
        close(fd);
    }
}

/* ---- the front-end ---- */

struct path {
    const char *name;
    int fd;
    uint32_t *ns;
};

static struct path paths[MAX_PATHS];
static int n_paths;
static long blocks = 40;
static long rounds = 500;
static long warmup = 200;
static long pause_us;

static void add_path(char *arg)
{
    char *equals = strchr(arg, '=');
    if (!equals || n_paths == MAX_PATHS) {
        fprintf(stderr, "bench_roundtrip: %s: not NAME=PATH\n", arg);
        exit(2);
    }
    *equals = '\0';
    struct sockaddr_un address;
    int fd = open_socket(equals + 1, &address);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        die(equals + 1);
    }
    uint32_t *ns = calloc((size_t)rounds, sizeof(*ns));
    if (!ns) {
        die("memory");
    }
    paths[n_paths++] = (struct path){ .name = arg, .fd = fd, .ns = ns };
}

static uint32_t round_trip(int fd)
{
    static const struct header ask = { GET_FEATURES, FLAG_VERSION, 0 };
    struct {
        struct header head;
        uint8_t features[8];
    } got;
    struct timespec t0, t1;

    clock_gettime(CLOCK_MONOTONIC, &t0);
    if (send(fd, &ask, sizeof(ask), MSG_NOSIGNAL) != (ssize_t)sizeof(ask) ||
        recv(fd, &got, sizeof(got), MSG_WAITALL) != (ssize_t)sizeof(got)) {
        die("round trip");
    }
    clock_gettime(CLOCK_MONOTONIC, &t1);
    if (got.head.request != GET_FEATURES || got.head.flags != (FLAG_VERSION | FLAG_REPLY)) {
        errno = EPROTO;
        die("answer");
    }
    int64_t ns = (t1.tv_sec - t0.tv_sec) * INT64_C(1000000000) + (t1.tv_nsec - t0.tv_nsec);
    return ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

/* A round trip of a device that is quiet otherwise: all processes have gone to sleep before it. */
static void rest(void)
{
    if (pause_us > 0) {
        struct timespec t = { .tv_sec = pause_us / 1000000, .tv_nsec = pause_us % 1000000 * 1000 };
        nanosleep(&t, NULL);
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t percentile(const struct path *p, long percent)
{
    long i = rounds * percent / 100;
    return p->ns[i < rounds ? i : rounds - 1];
}

static void measure(struct path *p, long block)
{
    /* A few rounds after each change of path bring its processes back into the caches. */
    long warm = block == 0 ? warmup : warmup / 10;
    for (long i = 0; i < warm; i++) {
        round_trip(p->fd);
    }
    for (long i = 0; i < rounds; i++) {
        rest();
        p->ns[i] = round_trip(p->fd);
    }
    qsort(p->ns, (size_t)rounds, sizeof(*p->ns), by_value);
}

static void print_block(const struct path *p)
{
    printf("\"%s\": {\"p50\": %u, \"p90\": %u, \"p99\": %u, \"max\": %u}", p->name,
           percentile(p, 50), percentile(p, 90), percentile(p, 99), percentile(p, 100));
}

static int front(void)
{
    prctl(PR_SET_TIMERSLACK, 1UL);
    printf("{\"rounds\": %ld, \"pause_us\": %ld, \"unit\": \"ns\", \"blocks\": [", rounds,
           pause_us);
    for (long block = 0; block < blocks; block++) {
        for (int i = 0; i < n_paths; i++) {
            measure(&paths[(block + i) % n_paths], block);
        }
        printf("%s\n  {", block ? "," : "");
        for (int i = 0; i < n_paths; i++) {
            printf("%s", i ? ", " : "");
            print_block(&paths[i]);
        }
        printf("}");
    }
    printf("]}\n");
    return 0;
}

static int usage(FILE *to, int status)
{
    fprintf(to, "usage: bench_roundtrip back PATH\n"
                "       bench_roundtrip front [--blocks N] [--rounds N] [--warmup N]"
                " [--pause MICROSECONDS] NAME=PATH ...\n");
    return status;
}

static long number(const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (*end || n < 0 || n > 100000000) {
        fprintf(stderr, "bench_roundtrip: %s: not a number\n", text);
        exit(2);
    }
    return n;
}

static int front_command(int argc, char **argv)
{
    static const struct option options[] = {
        { "blocks", required_argument, NULL, 'b' }, { "rounds", required_argument, NULL, 'r' },
        { "warmup", required_argument, NULL, 'w' }, { "pause", required_argument, NULL, 'p' },
        { "help", no_argument, NULL, 'h' },         { NULL, 0, NULL, 0 },
    };
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'b':
            blocks = number(optarg);
            break;
        case 'r':
            rounds = number(optarg);
            break;
        case 'w':
            warmup = number(optarg);
            break;
        case 'p':
            pause_us = number(optarg);
            break;
        case 'h':
            return usage(stdout, 0);
        default:
            return usage(stderr, 2);
        }
    }
    if (optind == argc || rounds < 1) {
        return usage(stderr, 2);
    }
    for (int i = optind; i < argc; i++) {
        add_path(argv[i]);
    }
    return front();
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "back")) {
        back(argv[2]);
    }
    if (argc >= 3 && !strcmp(argv[1], "front")) {
        return front_command(argc - 1, argv + 1);
    }
    if (argc == 2 && !strcmp(argv[1], "--help")) {
        return usage(stdout, 0);
    }
    return usage(stderr, 2);
}
