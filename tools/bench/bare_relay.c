/* SPDX-License-Identifier: MIT
 *
 * The barest relay: the yardstick of the round trip. It takes one front-end, connects to the
 * back-end, and one blocking thread per direction passes on whatever bytes and descriptors one
 * recvmsg brings. No parsing, so nothing that sits in the middle can do less. It is no vhost-user
 * proxy: a read may end anywhere inside a message, and so may its write. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_FDS 253 /* the kernel's limit for one message */

struct direction {
    int from;
    int to;
};

static int open_socket(const char *path, struct sockaddr_un *address)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(address->sun_path)) {
        fprintf(stderr, "bench_bare_relay: %s: path too long\n", path);
        exit(2);
    }
    strcpy(address->sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        perror("bench_bare_relay: socket");
        exit(1);
    }
    return fd;
}

static int listen_at(const char *path)
{
    struct sockaddr_un address;
    int fd = open_socket(path, &address);
    unlink(path);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0) {
        perror(path);
        exit(1);
    }
    return fd;
}

static int connect_to(const char *path)
{
    struct sockaddr_un address;
    int fd = open_socket(path, &address);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        perror(path);
        exit(1);
    }
    return fd;
}

/* The descriptors are ours once received; the kernel holds its own copies of what was sent. */
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

static void *pass_on(void *arg)
{
    const struct direction *d = arg;
    char bytes[4096 + 12];
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(MAX_FDS * sizeof(int))];

    for (;;) {
        struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };
        struct msghdr m = { .msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = sizeof(control) };
        ssize_t got = recvmsg(d->from, &m, MSG_CMSG_CLOEXEC);
        if (got <= 0) {
            break;
        }
        iov.iov_len = (size_t)got;
        /* Blocking: a stream socket takes all of it or fails. */
        ssize_t sent = sendmsg(d->to, &m, MSG_NOSIGNAL);
        close_received(&m);
        if (sent != got) {
            break;
        }
    }
    shutdown(d->to, SHUT_RDWR);
    shutdown(d->from, SHUT_RDWR);
    return NULL;
}

static void serve(int front, int back)
{
    struct direction to_back = { front, back };
    struct direction to_front = { back, front };
    pthread_t thread;

    if (pthread_create(&thread, NULL, pass_on, &to_front) != 0) {
        fprintf(stderr, "bench_bare_relay: no thread\n");
        exit(1);
    }
    pass_on(&to_back);
    pthread_join(thread, NULL);
    close(front);
    close(back);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: bench_bare_relay FRONT-PATH BACK-PATH\n");
        return 2;
    }
    int listener = listen_at(argv[1]);
    for (;;) {
        int front = accept(listener, NULL, NULL);
        if (front < 0) {
            perror("bench_bare_relay: accept");
            return 1;
        }
        serve(front, connect_to(argv[2]));
    }
}
