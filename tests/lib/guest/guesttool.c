// SPDX-License-Identifier: MIT
//
// What busybox lacks for the checks inside a guest. Static, one line of NAME=VALUE words each.
//
//   guesttool ping IP INTERVAL_MS DURATION_MS   ICMP echo: how many came back, round trips, gaps
//   guesttool io DEV INTERVAL_MS DURATION_MS    write, read back and compare 4 KiB blocks, O_DIRECT
//   guesttool pat DEV w|r SEED MIB              write or verify a pseudo-random pattern, O_DIRECT
//   guesttool storm DEV DEPTH DURATION_MS       DEPTH processes write and verify 4 KiB blocks, each
//                                               its own, O_DIRECT; 0: until SIGTERM
//
// Times are milliseconds of the guest's monotonic clock. Exit 0 when all data was right.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define MIB (1 << 20)
#define IO_START (32 << 20) // "io" stays clear of what "pat" wrote at the start of the disk
#define IO_BLOCKS 256
#define STORM_START (40 << 20)
#define STORM_BLOCKS 64 // of one process
#define STORM_FLUSH 32  // one request of so many

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static uint16_t checksum(const void *p, size_t n)
{
    const uint16_t *word = p;
    uint32_t sum = 0;

    for (; n > 1; n -= 2) {
        sum += *word++;
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return ~sum;
}

struct echo {
    struct icmphdr h;
    double sent_at;
};

struct ping {
    int s;
    struct sockaddr_in to;
    uint16_t id;
    int sent, got;
    double last, gap, worst, sum;
};

static void ping_send(struct ping *p)
{
    struct echo m = { .h.type = ICMP_ECHO, .sent_at = now() };

    m.h.un.echo.id = p->id;
    m.h.un.echo.sequence = htons(++p->sent);
    m.h.checksum = checksum(&m, sizeof m);
    sendto(p->s, &m, sizeof m, MSG_DONTWAIT, (void *)&p->to, sizeof p->to);
}

static void ping_receive(struct ping *p)
{
    unsigned char packet[2048];
    struct echo m;
    ssize_t n = recv(p->s, packet, sizeof packet, 0);
    size_t ip_len = (packet[0] & 15) * 4;

    if (n < (ssize_t)(ip_len + sizeof m)) {
        return;
    }
    memcpy(&m, packet + ip_len, sizeof m);
    if (m.h.type != ICMP_ECHOREPLY || m.h.un.echo.id != p->id) {
        return;
    }
    double t = now(), round = t - m.sent_at;
    p->got++;
    p->sum += round;
    p->worst = round > p->worst ? round : p->worst;
    if (p->last && t - p->last > p->gap) {
        p->gap = t - p->last;
    }
    p->last = t;
}

static int do_ping(const char *ip, double interval, double duration)
{
    struct ping p = { .s = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), .to.sin_family = AF_INET,
                      .id = getpid() };
    double end = now() + duration, next = now();

    if (p.s < 0 || inet_pton(AF_INET, ip, &p.to.sin_addr) != 1) {
        perror("ping");
        return 1;
    }
    while (now() < end) {
        struct pollfd wait = { p.s, POLLIN, 0 };

        if (now() >= next) {
            ping_send(&p);
            next = next + interval > now() ? next + interval : now() + interval;
        }
        int ms = next - now();
        if (poll(&wait, 1, ms < 1 ? 1 : ms) > 0) {
            ping_receive(&p);
        }
    }
    printf("ping sent=%d got=%d avg_ms=%.1f worst_ms=%.1f gap_ms=%.0f\n", p.sent, p.got,
           p.got ? p.sum / p.got : 0, p.worst, p.gap);
    return p.got == 0;
}

static void fill(void *buf, size_t n, uint64_t seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1, *word = buf;

    for (size_t i = 0; i < n / sizeof *word; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        word[i] = x;
    }
}

static int open_disk(const char *dev, int flags, size_t n, void **a, void **b)
{
    int fd = open(dev, flags | O_DIRECT);

    if (fd < 0 || posix_memalign(a, BLOCK, n) || posix_memalign(b, BLOCK, n)) {
        perror(dev);
        exit(1);
    }
    return fd;
}

static int do_io(const char *dev, double interval, double duration)
{
    void *w, *r;
    int fd = open_disk(dev, O_RDWR, BLOCK, &w, &r), ops = 0, errors = 0, wrong = 0;
    double end = now() + duration, worst = 0;

    while (now() < end) {
        off_t at = IO_START + (off_t)(ops % IO_BLOCKS) * BLOCK;
        double start = now(), took;

        fill(w, BLOCK, ++ops);
        if (pwrite(fd, w, BLOCK, at) != BLOCK || pread(fd, r, BLOCK, at) != BLOCK) {
            errors++;
        } else if (memcmp(w, r, BLOCK)) {
            wrong++;
        }
        took = now() - start;
        worst = took > worst ? took : worst;
        if (took < interval) {
            usleep((interval - took) * 1000);
        }
    }
    printf("io ops=%d errors=%d wrong=%d worst_ms=%.0f\n", ops, errors, wrong, worst);
    return errors || wrong;
}

static int do_pat(const char *dev, bool write_it, uint64_t seed, int mib)
{
    void *want, *got;
    int fd = open_disk(dev, write_it ? O_WRONLY : O_RDONLY, MIB, &want, &got), wrong = 0;

    for (int i = 0; i < mib; i++) {
        fill(want, MIB, seed + i);
        ssize_t n = write_it ? write(fd, want, MIB) : read(fd, got, MIB);
        if (n != MIB) {
            perror(dev);
            return 1;
        }
        wrong += !write_it && memcmp(want, got, MIB);
    }
    if (write_it && fsync(fd)) {
        perror("fsync");
        return 1;
    }
    printf("pat mib=%d wrong=%d\n", mib, wrong);
    return wrong != 0;
}

// One process of a storm: which version of each of its blocks is on the disk, and how it went.
struct storm {
    const char *dev;
    int fd, number;
    void *want, *got;
    uint32_t version[STORM_BLOCKS];
    int writes, reads, errors, wrong;
    double worst; // of one request
};

static volatile bool *over; // all processes share it

static void end_storm(int number)
{
    (void)number;
    *over = true;
}

// The first word tells, should it be found where it does not belong, whose and how old it is.
static void storm_fill(struct storm *s, int block)
{
    uint64_t tag = (uint64_t)s->number << 48 | (uint64_t)block << 32 | s->version[block];

    fill(s->want, BLOCK, tag);
    *(uint64_t *)s->want = tag;
}

static void storm_request(struct storm *s, int block, bool write_it)
{
    off_t at = STORM_START + ((off_t)s->number * STORM_BLOCKS + block) * BLOCK;
    double start = now(), took;

    s->version[block] += write_it;
    storm_fill(s, block);
    ssize_t n = write_it ? pwrite(s->fd, s->want, BLOCK, at) : pread(s->fd, s->got, BLOCK, at);
    took = now() - start;
    s->worst = took > s->worst ? took : s->worst;
    *(write_it ? &s->writes : &s->reads) += 1;
    if (n != BLOCK) {
        s->errors++;
        perror(s->dev);
    } else if (!write_it && memcmp(s->want, s->got, BLOCK)) {
        s->wrong++;
        fprintf(stderr, "process %d block %d: %#llx, not %#llx\n", s->number, block,
                *(unsigned long long *)s->got, *(unsigned long long *)s->want);
    }
}

static void storm_process(struct storm *s, double end)
{
    unsigned seed = s->number;

    s->fd = open_disk(s->dev, O_RDWR, BLOCK, &s->want, &s->got);
    while (!*over && (!end || now() < end)) {
        int block = rand_r(&seed) % STORM_BLOCKS;

        storm_request(s, block, !s->version[block] || rand_r(&seed) % 2);
        if (rand_r(&seed) % STORM_FLUSH == 0 && fsync(s->fd)) {
            s->errors++;
        }
    }
    for (int block = 0; block < STORM_BLOCKS; block++) {
        if (s->version[block]) {
            storm_request(s, block, false);
        }
    }
}

static int do_storm(const char *dev, int depth, double duration)
{
    size_t size = (depth + 1) * sizeof(struct storm);
    struct storm all = { 0 }, *s = mmap(NULL, size, PROT_READ | PROT_WRITE,
                                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double end = duration ? now() + duration : 0;

    if (s == MAP_FAILED) {
        perror("storm");
        return 1;
    }
    over = (volatile bool *)&s[depth];
    signal(SIGTERM, end_storm);
    for (int i = 0; i < depth; i++) {
        s[i].dev = dev;
        s[i].number = i;
        if (fork() == 0) {
            storm_process(&s[i], end);
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {
    }
    for (int i = 0; i < depth; i++) {
        all.writes += s[i].writes;
        all.reads += s[i].reads;
        all.errors += s[i].errors;
        all.wrong += s[i].wrong;
        all.worst = s[i].worst > all.worst ? s[i].worst : all.worst;
    }
    printf("storm writes=%d reads=%d errors=%d wrong=%d stall_ms=%.0f\n", all.writes, all.reads,
           all.errors, all.wrong, all.worst);
    return all.errors || all.wrong;
}

int main(int n, char **word)
{
    if (n == 5 && !strcmp(word[1], "ping")) {
        return do_ping(word[2], atof(word[3]), atof(word[4]));
    }
    if (n == 5 && !strcmp(word[1], "io")) {
        return do_io(word[2], atof(word[3]), atof(word[4]));
    }
    if (n == 6 && !strcmp(word[1], "pat")) {
        return do_pat(word[2], word[3][0] == 'w', strtoull(word[4], NULL, 0), atoi(word[5]));
    }
    if (n == 5 && !strcmp(word[1], "storm")) {
        return do_storm(word[2], atoi(word[3]), atof(word[4]));
    }
    fprintf(stderr, "usage: guesttool ping|io|pat|storm ... (see its source)\n");
    return 2;
}
