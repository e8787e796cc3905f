/* SPDX-License-Identifier: MIT
 *
 * vhost-user as the stand-ins of bench_restart speak it. The message numbers are written out here,
 * not taken from the shim: the yardstick must not bend with what it measures. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#define MAX_PAYLOAD 4096
#define MAX_FDS 16
#define MAX_REGIONS 8

enum {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    GET_VRING_BASE = 11,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    GET_QUEUE_NUM = 17,
    SET_VRING_ENABLE = 18,
    SET_BACKEND_REQ_FD = 21,
    SET_STATUS = 39,
    GET_STATUS = 40,
};

enum { FLAG_VERSION = 1, FLAG_REPLY = 4, FLAG_NEED_REPLY = 8 };

#define NO_FD 0x100
#define DRIVER_OK 4
#define STATUS_BIT (UINT64_C(1) << 16)

struct header {
    uint32_t request;
    uint32_t flags;
    uint32_t size;
};

struct vring_state {
    uint32_t index;
    uint32_t num;
};

struct vring_addr {
    uint32_t index;
    uint32_t flags;
    uint64_t desc, used, avail, log;
};

struct region {
    uint64_t gpa, size, uva, offset;
};

struct mem_table {
    uint32_t n;
    uint32_t padding;
    struct region regions[MAX_REGIONS];
};

struct message {
    struct header head;
    union {
        uint8_t bytes[MAX_PAYLOAD];
        uint64_t u64;
        struct vring_state state;
        struct vring_addr addr;
        struct mem_table table;
    } u;
    int fds[MAX_FDS];
    size_t n_fds;
};

struct avail {
    _Atomic uint16_t flags, idx;
    uint16_t ring[];
};

struct used_elem {
    uint32_t id, len;
};

struct used {
    _Atomic uint16_t flags, idx;
    struct used_elem ring[];
};

_Noreturn void die(const char *what);

/* Monotonic, in ns. */
int64_t now(void);

int open_socket(const char *path, struct sockaddr_un *address);

/* The descriptors of a message that was taken are the caller's; those of one that is given stay so. */
bool give(int fd, const struct message *m);
bool take(int fd, struct message *m);
