/* SPDX-License-Identifier: MIT */
#include "position.h"

#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Sizes of the virtio specification's ring structures, "Split Virtqueues", "Packed Virtqueues". */
#define RING_INDEX_AT 2 /* behind the flags, in the available and in the used ring */
#define RING_ENTRIES_AT 4
#define AVAIL_ENTRY 2
#define USED_ENTRY 8
#define PACKED_DESCRIPTOR 16
#define PACKED_FLAGS_AT 14
#define PACKED_AVAIL (1u << 7)
#define PACKED_USED (1u << 15)
/* vhost-user specification, "Inflight I/O tracking", queue region of a packed ring. */
#define REGION_USED_AT 16
#define REGION_LEN 6
#define WRAP_BIT (1u << 15)

struct look {
    const struct record *r;
    const struct kept *k;
    const struct record_ring *ring;
    struct wire_vring_addr addr;
    uint32_t num;
    char *why;
    size_t why_len;
};

static bool fail(const struct look *l, const char *what)
{
    snprintf(l->why, l->why_len, "ring %u: %s", l->addr.index, what);
    return false;
}

/* ---- the guest's memory ---- */

bool position_is_memory(int fd)
{
    return fcntl(fd, F_GET_SEALS) >= 0;
}

/* Whoever serves a file (FUSE, a network) may take any time for it, and everything else would wait. So
 * what is not memory is read only as far as the kernel has it at hand. */
static ssize_t read_at(int fd, bool memory, void *to, size_t len, uint64_t offset)
{
    struct iovec part = { .iov_base = to, .iov_len = len };
    ssize_t n;
    do {
        n = preadv2(fd, &part, 1, (off_t)offset, memory ? 0 : RWF_NOWAIT);
    } while (n < 0 && errno == EINTR);
    return n;
}

/* `at` bytes behind `offset`, which is the front-end's word. 0, or -errno. */
static int read_all(int fd, uint64_t offset, uint64_t at, void *to, size_t len)
{
    bool memory = position_is_memory(fd);
    size_t done = 0;
    if (offset > INT64_MAX || at > INT64_MAX - offset || len > INT64_MAX - offset - at) {
        return -EFAULT;
    }
    offset += at;
    while (done < len) {
        ssize_t n = read_at(fd, memory, (uint8_t *)to + done, len - done, offset + done);
        if (n <= 0) {
            return n < 0 ? -errno : -EFAULT;
        }
        done += (size_t)n;
    }
    return 0;
}

/* The result of read_all(), said. */
static bool is_read(const struct look *l, int result, const char *what)
{
    char text[96];
    if (result == 0) {
        return true;
    }
    bool slow = result == -EAGAIN || result == -EOPNOTSUPP;
    snprintf(text, sizeof(text), "%s %s", what,
             slow ? "is in a file that may be slow to read (use a memfd, tmpfs or hugetlbfs)"
                  : "cannot be read");
    return fail(l, text);
}

/* `address` is the front-end's own, or with gpa_addresses the guest's. */
static bool read_guest(const struct look *l, uint64_t address, void *to, size_t len)
{
    bool by_guest = (l->r->protocol_acked & BIT(PROTOCOL_GPA_ADDRESSES)) != 0;
    for (uint32_t i = 0; i < l->r->n_regions; i++) {
        const struct record_region *region = &l->r->regions[i];
        uint64_t start = by_guest ? region->guest_addr : region->user_addr;
        if (address < start || address - start >= region->size) {
            continue;
        }
        uint64_t within = address - start;
        if (len > region->size - within) {
            return fail(l, "reaches past its memory region");
        }
        return is_read(l, read_all(kept_region(l->k, region), region->mmap_offset, within, to, len),
                       "its memory");
    }
    return fail(l, "lies in no memory region");
}

/* Little endian, but for a device of before virtio 1.0 the guest's own order: that of this machine
 * unless the front-end has said otherwise. */
static uint16_t order16(const struct look *l, uint16_t raw)
{
    struct wire_vring_endian told;
    bool big = __BYTE_ORDER == __BIG_ENDIAN;
    if ((l->r->features_acked & BIT(RING_VERSION_1)) != 0) {
        return le16toh(raw);
    }
    if (record_ring_told(l->ring, RING_ENDIAN)) {
        memcpy(&told, l->ring->body + record_ring_rows[RING_ENDIAN].offset, sizeof(told));
        big = told.big != 0;
    }
    return big ? be16toh(raw) : le16toh(raw);
}

static bool read_index(const struct look *l, uint64_t ring, uint16_t *ret_index)
{
    uint16_t raw;
    if (!read_guest(l, ring + RING_INDEX_AT, &raw, sizeof(raw))) {
        return false;
    }
    *ret_index = order16(l, raw);
    return true;
}

/* ---- what the rings show ---- */

static uint32_t entry_at(const struct look *l, const uint8_t *ring, size_t entry, uint16_t position)
{
    uint16_t low;
    size_t at = RING_ENTRIES_AT + entry * (position % l->num);
    /* The head is the low half of a used element's id. */
    bool big = entry == USED_ENTRY && order16(l, 1) != le16toh(1);
    memcpy(&low, ring + at + (big ? 2 : 0), sizeof(low));
    return order16(l, low);
}

/* The requests behind `used` are all that is outstanding, when each of them is. One at position p could
 * only have been completed where the used ring had come by the time it was made available, and since a
 * ring never holds more than its size that is no earlier than p + 1 - size. So a head that does not
 * stand there is outstanding, and when all are, their number says that nothing else is. A head that is
 * used again soon, as most are, shows nothing. */
static bool rings_show(const struct look *l, const uint8_t *avail, const uint8_t *used_ring,
                       uint16_t used, uint16_t n)
{
    uint16_t *last = calloc(UINT16_MAX + 1, sizeof(*last)); /* how far back a head stands; 0: not */
    bool shown = last != NULL;
    for (uint32_t back = l->num; shown && back > 0; back--) {
        last[entry_at(l, used_ring, USED_ENTRY, (uint16_t)(used - back))] = (uint16_t)back;
    }
    for (uint32_t k = 0; shown && k < n; k++) {
        uint32_t head = entry_at(l, avail, AVAIL_ENTRY, (uint16_t)(used + k));
        shown = head < l->num && (last[head] == 0 || last[head] + k + 1 > l->num);
        last[head] = 1; /* a second time among the outstanding: completed in between */
    }
    free(last);
    return shown;
}

static bool check_rings(const struct look *l, uint16_t used)
{
    uint16_t available;
    if (!read_index(l, l->addr.available, &available)) {
        return false;
    }
    uint16_t n = (uint16_t)(available - used);
    if (n == 0) {
        return true; /* nothing is outstanding */
    }
    if (n > l->num) {
        return fail(l, "its indices make no sense");
    }
    size_t avail_len = RING_ENTRIES_AT + (size_t)AVAIL_ENTRY * l->num;
    size_t used_len = RING_ENTRIES_AT + (size_t)USED_ENTRY * l->num;
    uint8_t *buf = malloc(avail_len + used_len);
    if (buf == NULL) {
        return fail(l, strerror(ENOMEM));
    }
    bool read = read_guest(l, l->addr.available, buf, avail_len) &&
                read_guest(l, l->addr.used, buf + avail_len, used_len);
    bool shown = read && rings_show(l, buf, buf + avail_len, used, n);
    free(buf);
    if (read && !shown) {
        char text[96];
        snprintf(text, sizeof(text),
                 "%u requests are outstanding, and it does not show that they are the last ones",
                 n);
        return fail(l, text);
    }
    return shown;
}

/* ---- packed rings ---- */

/* What the back-end had written when it died, or, if the guest has not seen the last batch, what it
 * had written before that. */
static bool packed_position(const struct look *l, uint32_t *ret_base)
{
    struct wire_inflight told;
    uint8_t bytes[REGION_LEN];
    uint16_t used, old_used, flags;
    record_last_get(l->r, FRONT_SET_INFLIGHT_FD, &told, sizeof(told));
    uint64_t stride = told.num_queues != 0 ? told.mmap_size / told.num_queues : 0;
    if (l->addr.index >= told.num_queues || stride < REGION_USED_AT + REGION_LEN) {
        return fail(l, "is not in the in-flight region");
    }
    int result = read_all(kept_last(l->k, FRONT_SET_INFLIGHT_FD), told.mmap_offset,
                          stride * l->addr.index + REGION_USED_AT, bytes, sizeof(bytes));
    if (!is_read(l, result, "the in-flight region")) {
        return false;
    }
    memcpy(&used, bytes, sizeof(used));
    memcpy(&old_used, bytes + 2, sizeof(old_used));
    bool wrap = bytes[4] != 0;
    bool old_wrap = bytes[5] != 0;
    if (used >= l->num || old_used >= l->num) {
        return fail(l, "the in-flight region makes no sense");
    }
    if (used != old_used || wrap != old_wrap) {
        if (!read_guest(
                l, l->addr.descriptor + (uint64_t)old_used * PACKED_DESCRIPTOR + PACKED_FLAGS_AT,
                &flags, sizeof(flags))) {
            return false;
        }
        bool avail_bit = (le16toh(flags) & PACKED_AVAIL) != 0;
        bool used_bit = (le16toh(flags) & PACKED_USED) != 0;
        if (avail_bit == old_wrap && used_bit != old_wrap) {
            used = old_used;
            wrap = old_wrap;
        }
    }
    uint32_t half = used | (wrap ? WRAP_BIT : 0);
    *ret_base = half | half << 16;
    return true;
}

bool position_of_ring(const struct record *r, const struct kept *k, size_t ring,
                      enum restart_source source, uint32_t *ret_base, char *why, size_t why_len)
{
    struct look l = { .r = r, .k = k, .ring = &r->rings[ring], .why = why, .why_len = why_len };
    uint16_t used;
    memcpy(&l.addr, l.ring->body + record_ring_rows[RING_ADDR].offset, sizeof(l.addr));
    l.addr.index = (uint32_t)ring;
    l.num = l.ring->num;
    if (!record_ring_told(l.ring, RING_ADDR) || l.num == 0 || l.num > PROTOCOL_MAX_RING) {
        return fail(&l, "its place in memory is not known");
    }
    switch (source) {
    case SOURCE_FROM_REGION:
        return packed_position(&l, ret_base);
    case SOURCE_RINGS_SHOW:
    case SOURCE_USED_INDEX:
        if (!read_index(&l, l.addr.used, &used) ||
            (source == SOURCE_RINGS_SHOW && !check_rings(&l, used))) {
            return false;
        }
        *ret_base = used;
        return true;
    case SOURCE_NOWHERE:
        break;
    }
    return fail(&l, "nothing says where it stands");
}
