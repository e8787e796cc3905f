/* SPDX-License-Identifier: MIT
 *
 * Where a ring stands, in a guest's memory, an in-flight region and a record of any content: it is
 * found and makes sense, or there is a reason why not.
 *
 * Input: bits, ring, regions, in-flight region, then the bytes of the memory. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "input.h"
#include "position.h"

#define MEMORY_MAX 0x4000
#define REGIONS_MAX 3

static struct record record;
static struct kept kept;

/* Mostly near the beginning of something, sometimes anywhere. */
static uint64_t place(struct input *in)
{
    uint8_t how = input_u8(in);
    uint64_t near = input_u16(in) % MEMORY_MAX;
    return how < 0xf0 ? near + (uint64_t)(how % 4) * 0x100000 : input_u64(in);
}

static void pass(uint32_t request, const void *body, uint32_t size, int fd)
{
    const struct message_row *row = message_row(SPACE_FRONT, request);
    struct msg m = MSG_NULL;
    int copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    fuzz_check(msg_make(request, 0, body, size, &m) == 0);
    fuzz_check(copy < 0 || fdset_append_take(&m.fds, &copy, 1) == 0);
    record_request(&record, row, &m);
    fuzz_check(kept_request(&kept, &record, row, &m) == 0);
    msg_clear(&m);
}

static void set_up(struct input *in, int fd)
{
    uint8_t bits = input_u8(in);
    record.features_acked =
        (bits & 1 ? BIT(RING_VERSION_1) : 0) | (bits & 2 ? BIT(RING_RING_PACKED) : 0);
    record.protocol_acked = bits & 4 ? BIT(PROTOCOL_GPA_ADDRESSES) : 0;
    const uint32_t num[2] = { 0, bits & 8 ? 1u << (input_u8(in) % 17) : input_u16(in) };
    pass(FRONT_SET_VRING_NUM, num, sizeof(num), -1);
    const struct wire_vring_addr addr = { .descriptor = place(in),
                                          .used = place(in),
                                          .available = place(in) };
    pass(FRONT_SET_VRING_ADDR, &addr, sizeof(addr), -1);
    if (bits & 16) {
        const uint32_t big[2] = { 0, 1 };
        pass(FRONT_SET_VRING_ENDIAN, big, sizeof(big), -1);
    }
    for (int i = input_u8(in) % (REGIONS_MAX + 1); i > 0; i--) {
        const struct wire_mem_region region = { 0, place(in), place(in), place(in), place(in) };
        pass(FRONT_ADD_MEM_REG, &region, sizeof(region), bits & 32 ? -1 : fd);
    }
    if (bits & 64) {
        const struct wire_inflight region = { .mmap_size = place(in),
                                              .mmap_offset = place(in),
                                              .num_queues = input_u8(in),
                                              .queue_size = 8 };
        pass(FRONT_SET_INFLIGHT_FD, &region, bits & 128 ? 20 : 24, fd);
    }
}

static void look(enum restart_source source)
{
    uint32_t base = 0xdeadbeef;
    char why[128] = "";
    bool found = position_of_ring(&record, &kept, 0, source, &base, why, sizeof(why));
    fuzz_check(found == (why[0] == '\0'));
    fuzz_check(found || base == 0xdeadbeef);
    if (found && source == SOURCE_FROM_REGION) {
        fuzz_check((base & 0xffff) == base >> 16 && (base & 0x7fff) < record.rings[0].num);
    } else if (found) {
        fuzz_check(base <= UINT16_MAX);
    }
    fuzz_check(source != SOURCE_NOWHERE || !found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, size };
    uint8_t bytes[MEMORY_MAX];
    int lowest = fuzz_lowest_free_fd();
    int fd = memfd_create("guest", MFD_CLOEXEC);
    fuzz_check(fd >= 0);
    record_clear(&record);
    set_up(&in, fd);
    size_t n = input_bytes(&in, bytes, sizeof(bytes));
    fuzz_check(pwrite(fd, bytes, n, 0) == (ssize_t)n);
    for (enum restart_source source = SOURCE_USED_INDEX; source <= SOURCE_NOWHERE; source++) {
        look(source);
    }
    kept_clear(&kept);
    close(fd);
    fuzz_check(fuzz_lowest_free_fd() == lowest);
    return 0;
}
