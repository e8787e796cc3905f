/* SPDX-License-Identifier: MIT */
#include "standin_front.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "standin_back.h"

#define RING_SIZE 256
#define BATCH 8

/* mrg_rxbuf, protocol_features, version_1; ctrl_vq and mq with more than one pair */
#define ACKED UINT64_C(0x140008000)
#define ACKED_MQ UINT64_C(0x420000)

/* A page each for the descriptors, the avail and the used ring. */
#define PAGE 4096
#define RING_BYTES (3 * PAGE)

static struct {
    int fd;
    uint8_t *memory;
    size_t size;
} front = { .fd = -1 };

static struct avail *driver_avail(int ring)
{
    return (struct avail *)(front.memory + (size_t)ring * RING_BYTES + PAGE);
}

void front_add(void)
{
    for (int i = 0; i < own_rings; i++) {
        struct avail *a = driver_avail(i);
        uint16_t idx = atomic_load(&a->idx);
        for (uint16_t k = 0; k < BATCH; k++) {
            a->ring[(uint16_t)(idx + k) % RING_SIZE] = (uint16_t)(idx + k) % RING_SIZE;
        }
        atomic_store(&a->idx, (uint16_t)(idx + BATCH));
    }
}

static void say(uint32_t request, const void *payload, size_t size, int fd)
{
    struct message m = { .head = { request, FLAG_VERSION, (uint32_t)size } };
    memcpy(&m.u, payload, size);
    if (fd >= 0) {
        m.fds[m.n_fds++] = fd;
    }
    if (!give(front.fd, &m)) {
        die("front-end");
    }
}

static uint64_t ask(uint32_t request)
{
    struct message m;
    say(request, "", 0, -1);
    if (!take(front.fd, &m) || m.head.request != request) {
        errno = EPROTO;
        die("answer");
    }
    return m.u.u64;
}

static void say_u64(uint32_t request, uint64_t value, int fd)
{
    say(request, &value, sizeof(value), fd);
}

static void set_up_ring(uint32_t i)
{
    uint64_t at = (uint64_t)(uintptr_t)front.memory + (uint64_t)i * RING_BYTES;
    struct vring_state size = { i, RING_SIZE }, base = { i, 0 };
    struct vring_addr addr = { .index = i, .desc = at, .avail = at + PAGE, .used = at + 2 * PAGE };
    int kick = eventfd(0, EFD_CLOEXEC);
    int call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    say(SET_VRING_NUM, &size, sizeof(size), -1);
    say(SET_VRING_BASE, &base, sizeof(base), -1);
    say(SET_VRING_ADDR, &addr, sizeof(addr), -1);
    say_u64(SET_VRING_KICK, i, kick);
    say_u64(SET_VRING_CALL, i, call);
    close(kick);
    close(call);
}

/* What QEMU says, in its order, without what it says twice. */
void *front_set_up(void *arg)
{
    struct sockaddr_un address;
    int channel[2];
    const char *path = arg;
    front.fd = open_socket(path, &address);
    if (connect(front.fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) < 0) {
        die(path);
    }
    ask(GET_FEATURES);
    say_u64(SET_PROTOCOL_FEATURES, ask(GET_PROTOCOL_FEATURES), -1);
    ask(GET_QUEUE_NUM);
    say(SET_BACKEND_REQ_FD, "", 0, channel[1]);
    say(SET_OWNER, "", 0, -1);
    say_u64(SET_FEATURES, ACKED | (own_rings > 2 ? ACKED_MQ : 0), -1);

    front.size = (size_t)own_rings * RING_BYTES;
    int memory = memfd_create("guest", MFD_CLOEXEC);
    if (memory < 0 || ftruncate(memory, (off_t)front.size) < 0) {
        die("memory");
    }
    front.memory = mmap(NULL, front.size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (front.memory == MAP_FAILED) {
        die("memory");
    }
    struct mem_table table = {
        .n = 1, .regions = { { 0, front.size, (uint64_t)(uintptr_t)front.memory, 0 } }
    };
    front_add();
    say(SET_MEM_TABLE, &table, 8 + sizeof(table.regions[0]), memory);
    close(memory);
    for (uint32_t i = 0; i < (uint32_t)own_rings; i++) {
        set_up_ring(i);
    }
    for (uint32_t i = 0; i < (uint32_t)own_rings; i++) {
        struct vring_state on = { i, 1 };
        say(SET_VRING_ENABLE, &on, sizeof(on), -1);
    }
    say_u64(SET_STATUS, 0xf, -1);
    return NULL;
}
