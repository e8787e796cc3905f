/* SPDX-License-Identifier: MIT
 *
 * Messages of the main socket. */
#pragma once

#include "memory.h"
#include "rings.h"

#define FLAG_NEED_REPLY 8u
#define MAX_FDS 32

#define REQUESTS(X)                                                                                \
    X(1, GET_FEATURES)                                                                             \
    X(2, SET_FEATURES)                                                                             \
    X(3, SET_OWNER)                                                                                \
    X(4, RESET_OWNER)                                                                              \
    X(5, SET_MEM_TABLE)                                                                            \
    X(6, SET_LOG_BASE)                                                                             \
    X(7, SET_LOG_FD)                                                                               \
    X(8, SET_VRING_NUM)                                                                            \
    X(9, SET_VRING_ADDR)                                                                           \
    X(10, SET_VRING_BASE)                                                                          \
    X(11, GET_VRING_BASE)                                                                          \
    X(12, SET_VRING_KICK)                                                                          \
    X(13, SET_VRING_CALL)                                                                          \
    X(14, SET_VRING_ERR)                                                                           \
    X(15, GET_PROTOCOL_FEATURES)                                                                   \
    X(16, SET_PROTOCOL_FEATURES)                                                                   \
    X(17, GET_QUEUE_NUM)                                                                           \
    X(18, SET_VRING_ENABLE)                                                                        \
    X(21, SET_BACKEND_REQ_FD)                                                                      \
    X(24, GET_CONFIG)                                                                              \
    X(25, SET_CONFIG)                                                                              \
    X(31, GET_INFLIGHT_FD)                                                                         \
    X(32, SET_INFLIGHT_FD)                                                                         \
    X(36, GET_MAX_MEM_SLOTS)                                                                       \
    X(37, ADD_MEM_REG)                                                                             \
    X(38, REM_MEM_REG)

enum {
#define X(number, name) name = number,
    REQUESTS(X)
#undef X
};

struct vring_state {
    uint32_t index, num;
};

struct mem_table {
    uint32_t n, padding;
    struct mem_region region[MAX_REGIONS];
};

struct config_space {
    uint32_t offset, size, flags;
    uint8_t bytes[256];
};

struct inflight {
    uint64_t size, offset;
    uint16_t queues, ring;
    uint32_t padding;
};

struct message {
    uint32_t request, flags, size;
    union {
        uint64_t u64;
        struct vring_state state;
        struct vring_addr addr;
        struct mem_table table;
        struct {
            uint64_t padding;
            struct mem_region region;
        } slot;
        struct {
            uint64_t size, offset;
        } log;
        struct config_space config;
        struct inflight inflight;
    } body;
    int n_fds;
    int fd[MAX_FDS];
};

const char *request_name(unsigned number);
unsigned request_number(const char *name); /* exits if there is none of that name */

int wire_listen(const char *path);

/* False at the end of the connection. */
bool wire_receive(int fd, struct message *m);
void wire_answer(int fd, struct message *m, uint32_t size, int passed);
void wire_answer_u64(int fd, struct message *m, uint64_t value);

/* The message's first descriptor, which it does not own any more; -1 if there is none. */
int wire_steal_fd(struct message *m);
