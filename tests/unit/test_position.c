/* SPDX-License-Identifier: MIT
 *
 * Where a ring stands, read from a guest's memory and an in-flight region as a back-end may have left
 * them, and as nobody should have. */
#include "position.h"

#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "runner.h"
#include "sample.h"

#define GUEST_AT UINT64_C(0x40000000)    /* where the region lies for the guest, */
#define USER_AT UINT64_C(0x7f0000000000) /* and for the front-end */
#define REGION_SIZE 0x100000
#define DESCRIPTORS 0x0
#define AVAIL 0x4000
#define USED 0x8000
#define OUTSIDE UINT64_C(0xdead0000)

static struct record record;
static struct kept kept;
static uint8_t *memory; /* of the one region, mapped */
static int memory_fd;
static char why[256];
static uint32_t base;

static void pass(struct msg m)
{
    const struct message_row *row = message_row(SPACE_FRONT, m.head.request);
    record_request(&record, row, &m);
    assert_int_equal(kept_request(&kept, &record, row, &m), 0);
    msg_clear(&m);
}

static struct msg with_fd(struct msg m, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    assert_int_equal(fdset_append_take(&m.fds, &copy, 1), 0);
    return m;
}

static void add_region(uint64_t guest, uint64_t user, uint64_t size, uint64_t offset, int fd)
{
    const struct wire_mem_region region = { 0, guest, size, user, offset };
    pass(with_fd(sample_raw(FRONT_ADD_MEM_REG, 0, &region, sizeof(region), 0), fd));
}

static void set_addresses(uint64_t descriptor, uint64_t avail, uint64_t used)
{
    const struct wire_vring_addr addr = { .descriptor = descriptor,
                                          .used = used,
                                          .available = avail };
    pass(sample_raw(FRONT_SET_VRING_ADDR, 0, &addr, sizeof(addr), 0));
}

/* Ring 0 of `num` entries in a region that begins `offset` bytes into its file. */
static void begin_at(uint32_t num, uint64_t features, uint64_t protocol, uint64_t offset)
{
    memset(&record, 0, sizeof(record));
    record.features_acked = features;
    record.protocol_acked = protocol;
    memory_fd = memfd_create("guest", MFD_CLOEXEC);
    assert_int_equal(ftruncate(memory_fd, (off_t)(offset + REGION_SIZE)), 0);
    uint8_t *all =
        mmap(NULL, offset + REGION_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
    assert_true(all != MAP_FAILED);
    memory = all + offset;
    add_region(GUEST_AT, USER_AT, REGION_SIZE, offset, memory_fd);
    pass(sample_state(FRONT_SET_VRING_NUM, 0, num));
    uint64_t at = protocol & BIT(PROTOCOL_GPA_ADDRESSES) ? GUEST_AT : USER_AT;
    set_addresses(at + DESCRIPTORS, at + AVAIL, at + USED);
}

static void begin(uint32_t num)
{
    begin_at(num, BIT(RING_VERSION_1), 0, 0);
}

static void end(void)
{
    kept_clear(&kept);
    close(memory_fd);
}

static void put16(uint64_t at, uint16_t value)
{
    value = htole16(value);
    memcpy(memory + at, &value, sizeof(value));
}

static bool found(enum restart_source source)
{
    why[0] = '\0';
    base = 0xdeadbeef;
    bool is = position_of_ring(&record, &kept, 0, source, &base, why, sizeof(why));
    unit_check(is == (why[0] == '\0'), "a reason goes with a failure: '%s'", why);
    return is;
}

static void expect_base(enum restart_source source, uint32_t wanted)
{
    unit_check(found(source), "%s", why);
    unit_check(base == wanted, "%#x, expected %#x", base, wanted);
}

static void expect_failure(enum restart_source source, const char *reason)
{
    unit_check(!found(source), "%#x is found, expected: %s", base, reason);
    assert_string_equal(why, reason);
    assert_true(base == 0xdeadbeef);
}

/* ---- whose file it is ---- */

#define SLOW                                                                                       \
    "ring 0: its memory is in a file that may be slow to read (use a memfd, tmpfs or hugetlbfs)"

/* Ring 0 in this file instead. */
static void begin_in(int fd)
{
    begin(256);
    close(memory_fd);
    record.n_regions = 0;
    memory_fd = fd;
    add_region(GUEST_AT, USER_AT, REGION_SIZE, 0, fd);
}

static int file_of(const char *folder)
{
    char path[64];
    snprintf(path, sizeof(path), "%s/vushim-position.XXXXXX", folder);
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) {
        unlink(path);
        assert_int_equal(ftruncate(fd, REGION_SIZE), 0);
        assert_int_equal(pwrite(fd, "\x34\x12", 2, USED + 2), 2);
    }
    return fd;
}

/* -errno of what we do not want to wait for; 0 when it is at hand. */
static int waits(int fd)
{
    uint16_t value;
    struct iovec part = { .iov_base = &value, .iov_len = sizeof(value) };
    return preadv2(fd, &part, 1, USED + 2, RWF_NOWAIT) < 0 ? -errno : 0;
}

static void a_file_of_tmpfs_is_memory(void **state)
{
    (void)state;
    int fd = file_of("/dev/shm");
    if (fd < 0 || !position_is_memory(fd)) {
        close(fd);
        skip();
    }
    begin_in(fd);
    expect_base(SOURCE_USED_INDEX, 0x1234);
    end();
}

static void another_file_is_read_when_nobody_waits_for_it(void **state)
{
    (void)state;
    int fd = file_of("/var/tmp");
    if (fd < 0 || position_is_memory(fd)) {
        close(fd);
        skip();
    }
    begin_in(fd);
    if (waits(fd) == 0) {
        expect_base(SOURCE_USED_INDEX, 0x1234);
    }
    fsync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    if (waits(fd) != 0) {
        expect_failure(SOURCE_USED_INDEX, SLOW);
    }
    end();
}

/* It promises nothing of how long it takes: as FUSE. */
static void a_file_that_somebody_serves_is_not_read(void **state)
{
    (void)state;
    begin_in(open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
    assert_int_equal(waits(memory_fd), -EOPNOTSUPP);
    expect_failure(SOURCE_USED_INDEX, SLOW);
    end();
}

/* ---- the index, and where it is read ---- */

static void the_used_index_is_read(void **state)
{
    const uint16_t indices[] = { 0, 1, 255, 256, 0x1234, 0xffff };
    (void)state;
    begin(256);
    for (size_t i = 0; i < ARRAY_SIZE(indices); i++) {
        put16(USED + 2, indices[i]);
        put16(USED, 0x5555); /* flags */
        expect_base(SOURCE_USED_INDEX, indices[i]);
    }
    end();
}

static void a_legacy_ring_has_the_guests_byte_order(void **state)
{
    const struct {
        uint64_t features;
        uint32_t told; /* 2: nothing */
        bool swapped;
    } rows[] = {
        { BIT(RING_VERSION_1), 2, false },
        { BIT(RING_VERSION_1), 1, false },
        { 0, 2, __BYTE_ORDER == __BIG_ENDIAN },
        { 0, 0, false },
        { 0, 1, true },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        begin_at(256, rows[i].features, 0, 0);
        if (rows[i].told < 2) {
            pass(sample_state(FRONT_SET_VRING_ENDIAN, 0, rows[i].told));
        }
        put16(USED + 2, 0x1234);
        expect_base(SOURCE_USED_INDEX, rows[i].swapped ? 0x3412 : 0x1234);
        end();
    }
}

static void a_region_may_begin_inside_its_file(void **state)
{
    (void)state;
    begin_at(256, BIT(RING_VERSION_1), 0, 0x3000);
    put16(USED + 2, 77);
    expect_base(SOURCE_USED_INDEX, 77);
    end();
}

static void addresses_may_be_the_guests(void **state)
{
    (void)state;
    begin_at(256, BIT(RING_VERSION_1), BIT(PROTOCOL_GPA_ADDRESSES), 0);
    put16(USED + 2, 78);
    expect_base(SOURCE_USED_INDEX, 78);
    /* The front-end's own mean nothing then. */
    set_addresses(USER_AT, USER_AT + AVAIL, USER_AT + USED);
    expect_failure(SOURCE_USED_INDEX, "ring 0: lies in no memory region");
    end();
}

static void the_region_that_has_it_is_read(void **state)
{
    (void)state;
    begin(256);
    int other = memfd_create("other", MFD_CLOEXEC);
    uint16_t index = htole16(99);
    assert_int_equal(pwrite(other, &index, 2, 0x1000 + 2), 2);
    add_region(GUEST_AT + REGION_SIZE, USER_AT + REGION_SIZE, 0x2000, 0, other);
    close(other);
    set_addresses(USER_AT, USER_AT + AVAIL, USER_AT + REGION_SIZE + 0x1000);
    expect_base(SOURCE_USED_INDEX, 99);
    end();
}

static void a_ring_may_end_with_its_region(void **state)
{
    const uint32_t num = 8;
    const uint64_t used = REGION_SIZE - (4 + 8 * num);
    (void)state;
    begin(num);
    put16(AVAIL + 2, 1);
    put16(AVAIL + 4, 3);
    set_addresses(USER_AT, USER_AT + AVAIL, USER_AT + used);
    expect_base(SOURCE_RINGS_SHOW, 0);
    set_addresses(USER_AT, USER_AT + AVAIL, USER_AT + used + 2);
    expect_failure(SOURCE_RINGS_SHOW, "ring 0: reaches past its memory region");
    set_addresses(USER_AT, USER_AT + REGION_SIZE - (4 + 2 * num), USER_AT + USED);
    put16(REGION_SIZE - (4 + 2 * num) + 2, 1);
    put16(REGION_SIZE - (4 + 2 * num) + 4, 3);
    expect_base(SOURCE_RINGS_SHOW, 0);
    /* The last two bytes are the index. */
    set_addresses(USER_AT, USER_AT + AVAIL, USER_AT + REGION_SIZE - 4);
    expect_base(SOURCE_USED_INDEX, 0);
    set_addresses(USER_AT, USER_AT + AVAIL, USER_AT + REGION_SIZE - 3);
    expect_failure(SOURCE_USED_INDEX, "ring 0: reaches past its memory region");
    set_addresses(USER_AT, USER_AT + AVAIL, USER_AT + REGION_SIZE - 2);
    expect_failure(SOURCE_USED_INDEX, "ring 0: lies in no memory region");
    end();
}

static void addresses_that_make_no_sense_are_in_no_region(void **state)
{
    const uint64_t places[] = { 0,       USER_AT - 4, USER_AT + REGION_SIZE,
                                OUTSIDE, UINT64_MAX,  UINT64_MAX - 1,
                                GUEST_AT };
    (void)state;
    begin(256);
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        set_addresses(USER_AT, USER_AT + AVAIL, places[i]);
        expect_failure(SOURCE_USED_INDEX, "ring 0: lies in no memory region");
    }
    put16(USED + 2, 3);
    set_addresses(USER_AT, OUTSIDE, USER_AT + USED);
    expect_base(SOURCE_USED_INDEX, 3);
    expect_failure(SOURCE_RINGS_SHOW, "ring 0: lies in no memory region");
    end();
}

/* Sizes and offsets come from the front-end as well. */
static void regions_that_make_no_sense_are_not_read(void **state)
{
    const uint64_t offsets[] = { UINT64_MAX, (uint64_t)INT64_MAX + 1, INT64_MAX, INT64_MAX - USED,
                                 UINT64_MAX - USED - 2 };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
        begin(256);
        const struct wire_mem_region region = { 0, GUEST_AT, REGION_SIZE, USER_AT, 0 };
        pass(sample_raw(FRONT_REM_MEM_REG, 0, &region, sizeof(region), 0));
        add_region(GUEST_AT, USER_AT, UINT64_MAX, offsets[i], memory_fd);
        unit_check(!found(SOURCE_USED_INDEX), "offset %#lx: %#x is found",
                   (unsigned long)offsets[i], base);
        end();
    }
}

static void a_file_that_became_shorter_is_an_error(void **state)
{
    (void)state;
    begin(8);
    put16(AVAIL + 2, 1);
    assert_int_equal(ftruncate(memory_fd, USED + 4), 0);
    expect_base(SOURCE_USED_INDEX, 0);
    expect_failure(SOURCE_RINGS_SHOW, "ring 0: its memory cannot be read");
    assert_int_equal(ftruncate(memory_fd, USED + 3), 0);
    expect_failure(SOURCE_USED_INDEX, "ring 0: its memory cannot be read");
    assert_int_equal(ftruncate(memory_fd, 0), 0);
    expect_failure(SOURCE_USED_INDEX, "ring 0: its memory cannot be read");
    end();
}

static void what_cannot_be_read_is_an_error(void **state)
{
    int fds[2];
    (void)state;
    begin(256);
    assert_int_equal(pipe(fds), 0);
    const struct wire_mem_region region = { 0, GUEST_AT, REGION_SIZE, USER_AT, 0 };
    const int unreadable[] = { sample_fd(), fds[0], fds[1], open("/dev/null", O_WRONLY), -1 };
    for (size_t i = 0; i < ARRAY_SIZE(unreadable); i++) {
        pass(sample_raw(FRONT_REM_MEM_REG, 0, &region, sizeof(region), 0));
        if (unreadable[i] >= 0) {
            add_region(GUEST_AT, USER_AT, REGION_SIZE, 0, unreadable[i]);
            close(unreadable[i]);
        } else { /* its descriptor could not be kept */
            pass(sample_raw(FRONT_ADD_MEM_REG, 0, &region, sizeof(region), 0));
        }
        expect_failure(SOURCE_USED_INDEX, "ring 0: its memory cannot be read");
    }
    end();
}

static void a_ring_that_was_never_set_up_has_no_place(void **state)
{
    const uint32_t nums[] = { 0, PROTOCOL_MAX_RING + 1, 65536, UINT32_MAX };
    const enum restart_source sources[] = { SOURCE_USED_INDEX, SOURCE_RINGS_SHOW,
                                            SOURCE_FROM_REGION };
    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(sources); k++) {
        for (size_t i = 0; i < ARRAY_SIZE(nums); i++) {
            begin(nums[i]);
            expect_failure(sources[k], "ring 0: its place in memory is not known");
            end();
        }
        begin(256);
        record.rings[0].told &= (uint8_t)~BIT(RING_ADDR);
        expect_failure(sources[k], "ring 0: its place in memory is not known");
        end();
    }
}

static void nothing_says_where_some_rings_stand(void **state)
{
    (void)state;
    begin(256);
    expect_failure(SOURCE_NOWHERE, "ring 0: nothing says where it stands");
    end();
}

/* ---- what split rings show ---- */

/* A driver and a back-end, as far as the two rings go. */
struct play {
    uint32_t num;
    uint16_t available, used; /* indices */
    bool swapped;
};

static void put_index(const struct play *p, uint64_t at, uint16_t value)
{
    put16(at, p->swapped ? (uint16_t)(value << 8 | value >> 8) : value);
}

static void makes_available(struct play *p, uint16_t head)
{
    put_index(p, AVAIL + 4 + UINT64_C(2) * (p->available % p->num), head);
    put_index(p, AVAIL + 2, ++p->available);
}

static void completes(struct play *p, uint16_t head)
{
    uint64_t at = USED + 4 + UINT64_C(8) * (p->used % p->num);
    memset(memory + at, 0, 8);
    put_index(p, at + (p->swapped ? 2 : 0), head); /* the low half of the id */
    put16(at + 4, 0x7777);                         /* a length */
    put_index(p, USED + 2, ++p->used);
}

static void nothing_outstanding_is_sound_in_any_order(void **state)
{
    (void)state;
    struct play p = { .num = 8 };
    begin(p.num);
    expect_base(SOURCE_RINGS_SHOW, 0);
    makes_available(&p, 0);
    makes_available(&p, 1);
    completes(&p, 1);
    completes(&p, 0);
    expect_base(SOURCE_RINGS_SHOW, 2);
    end();
}

/* A driver that uses each head once a round shows which of them are complete. */
static void heads_that_rest_for_a_round_are_sound(void **state)
{
    (void)state;
    for (uint16_t first = 0; first < 2; first++) {
        struct play p = { .num = 8, .available = first ? 0xfff0 : 0, .used = first ? 0xfff0 : 0 };
        begin(p.num);
        put16(AVAIL + 2, p.available);
        put16(USED + 2, p.used);
        /* Through the end of the ring and, from 0xfff0 on, of the index. */
        for (uint16_t i = 0; i < 40; i += 2) {
            makes_available(&p, i % 8);
            makes_available(&p, (i + 1) % 8);
            assert_true(i < 8 || found(SOURCE_RINGS_SHOW));
            assert_true(i < 8 || base == p.used);
            completes(&p, i % 8);
            assert_true(i < 8 || found(SOURCE_RINGS_SHOW));
            completes(&p, (i + 1) % 8);
            expect_base(SOURCE_RINGS_SHOW, p.used);
        }
        end();
    }
}

/* One request hangs and the others all have the same head: the rings look the same when the hanging one
 * is complete and the last one is not. */
static void a_head_that_is_used_again_at_once_shows_nothing(void **state)
{
    (void)state;
    for (int hangs = 0; hangs < 2; hangs++) {
        struct play p = { .num = 4 };
        begin(p.num);
        makes_available(&p, 2);
        if (!hangs) {
            completes(&p, 2);
        }
        for (uint16_t i = 0; i < 10; i++) {
            makes_available(&p, 1);
            if (hangs || i < 9) {
                completes(&p, 1);
            }
        }
        expect_failure(SOURCE_RINGS_SHOW,
                       "ring 0: 1 requests are outstanding, and it does not show "
                       "that they are the last ones");
        end();
    }
}

static void a_request_that_was_overtaken_is_not_shown(void **state)
{
    (void)state;
    struct play p = { .num = 8 };
    begin(p.num);
    makes_available(&p, 0);
    makes_available(&p, 1);
    makes_available(&p, 2);
    completes(&p, 1);
    expect_failure(SOURCE_RINGS_SHOW, "ring 0: 2 requests are outstanding, and it does not show "
                                      "that they are the last ones");
    /* Head 2 was never complete, and it is the only one now. */
    completes(&p, 0);
    expect_base(SOURCE_RINGS_SHOW, 2);
    completes(&p, 2);
    expect_base(SOURCE_RINGS_SHOW, 3);
    end();
}

/* Head 0 hangs while the others go round until the ring has forgotten when it came. */
static void a_request_that_hangs_for_a_whole_round_is_not_shown(void **state)
{
    (void)state;
    for (uint16_t rounds = 1; rounds < 9; rounds++) {
        struct play p = { .num = 4 };
        begin(p.num);
        makes_available(&p, 0);
        makes_available(&p, 1);
        for (uint16_t i = 0; i < rounds; i++) {
            uint16_t head = 1 + i % 3;
            completes(&p, head);
            makes_available(&p, 1 + (i + 1) % 3);
        }
        unit_check(!found(SOURCE_RINGS_SHOW), "%u rounds: %u is found", rounds, base);
        end();
    }
}

/* As many outstanding as the ring has entries, one of them from long ago: the same head cannot be
 * there twice. */
static void a_head_that_is_outstanding_twice_is_not_shown(void **state)
{
    (void)state;
    struct play p = { .num = 4 };
    begin(p.num);
    for (uint16_t i = 0; i < 4; i++) {
        makes_available(&p, i);
    }
    for (uint16_t i = 1; i < 4; i++) {
        completes(&p, i);
        makes_available(&p, i);
    }
    expect_failure(SOURCE_RINGS_SHOW, "ring 0: 4 requests are outstanding, and it does not show "
                                      "that they are the last ones");
    end();
}

static void indices_that_make_no_sense_are_no_position(void **state)
{
    const struct {
        uint16_t available, used;
        bool sane;
    } rows[] = { { 8, 0, true },      { 9, 0, false },     { 0, 1, false },
                 { 0, 0xffff, true }, { 7, 0xffff, true }, { 8, 0xffff, false },
                 { 0x8000, 0, false } };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        begin(8);
        put16(AVAIL + 2, rows[i].available);
        put16(USED + 2, rows[i].used);
        for (uint64_t k = 0; k < 8; k++) {
            put16(AVAIL + 4 + 2 * k, (uint16_t)k);
            put16(USED + 4 + 8 * k, (uint16_t)k);
        }
        unit_check(rows[i].sane || !found(SOURCE_RINGS_SHOW), "row %zu", i);
        if (i == 1) {
            expect_failure(SOURCE_RINGS_SHOW, "ring 0: its indices make no sense");
        }
        end();
    }
    /* One outstanding of a ring whose indices have wrapped between the two. */
    struct play p = { .num = 8, .available = 0xffff, .used = 0xffff };
    begin(8);
    put16(USED + 2, 0xffff);
    makes_available(&p, 5);
    expect_base(SOURCE_RINGS_SHOW, 0xffff);
    end();
}

static void a_head_beyond_the_table_is_not_shown(void **state)
{
    const uint16_t heads[] = { 8, 0x7fff, 0x8000, 0xffff };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
        struct play p = { .num = 8 };
        begin(p.num);
        makes_available(&p, heads[i]);
        assert_false(found(SOURCE_RINGS_SHOW));
        end();
    }
}

static void legacy_rings_show_it_in_the_other_byte_order(void **state)
{
    (void)state;
    for (int late = 0; late < 2; late++) {
        struct play p = { .num = 8, .swapped = true };
        begin_at(p.num, 0, 0, 0);
        pass(sample_state(FRONT_SET_VRING_ENDIAN, 0, 1));
        for (uint16_t i = 0; i < 3; i++) {
            makes_available(&p, i);
        }
        completes(&p, late ? 1 : 0);
        assert_int_equal(found(SOURCE_RINGS_SHOW), !late);
        assert_true(late || base == 1);
        end();
    }
}

static void the_largest_ring_is_looked_at(void **state)
{
    (void)state;
    begin(PROTOCOL_MAX_RING);
    set_addresses(USER_AT, USER_AT + 0x10000, USER_AT + 0x40000);
    put16(0x10000 + 2, 0x8000);
    for (uint64_t k = 0; k < PROTOCOL_MAX_RING; k++) {
        put16(0x10000 + 4 + 2 * k, (uint16_t)k);
        put16(0x40000 + 4 + 8 * k, (uint16_t)k); /* of the round before */
    }
    expect_base(SOURCE_RINGS_SHOW, 0);
    put16(0x10000 + 4 + 2 * 0x7000, 0);
    assert_false(found(SOURCE_RINGS_SHOW));
    end();
}

/* A device and a driver at random. */
struct guest {
    struct play play;
    uint16_t outstanding[8]; /* heads, oldest first */
    size_t n;
};

static bool is_outstanding(const struct guest *g, uint16_t head)
{
    for (size_t k = 0; k < g->n; k++) {
        if (g->outstanding[k] == head) {
            return true;
        }
    }
    return false;
}

static void step_at_random(struct guest *g, uint64_t *seed)
{
    uint16_t head = (uint16_t)(sample_random(seed) % g->play.num);
    if (!is_outstanding(g, head) && sample_random(seed) % 2) {
        g->outstanding[g->n++] = head;
        makes_available(&g->play, head);
    } else if (g->n > 0) {
        size_t which = sample_random(seed) % 6 ? 0 : sample_random(seed) % g->n;
        completes(&g->play, g->outstanding[which]);
        memmove(&g->outstanding[which], &g->outstanding[which + 1],
                (--g->n - which) * sizeof(g->outstanding[0]));
    }
}

/* Exactly the requests behind `base` are outstanding. */
static void check_position(const struct guest *g)
{
    const struct play *p = &g->play;
    uint16_t behind = (uint16_t)(p->available - p->used);
    assert_int_equal(base, p->used);
    assert_int_equal(behind, g->n);
    for (uint16_t k = 0; k < behind; k++) {
        uint16_t head;
        memcpy(&head, memory + AVAIL + 4 + 2 * ((uint16_t)(p->used + k) % p->num), sizeof(head));
        unit_check(is_outstanding(g, le16toh(head)), "head %u is not outstanding", head);
    }
}

static void a_position_that_is_found_is_right(void **state)
{
    uint64_t seed = 11;
    unsigned n_found = 0;
    (void)state;
    for (int round = 0; round < 600; round++) {
        struct guest g = { .play = { .num = round % 2 ? 4 : 8 } };
        begin(g.play.num);
        for (int step = 0; step < 60; step++) {
            step_at_random(&g, &seed);
            if (found(SOURCE_RINGS_SHOW)) {
                n_found++;
                check_position(&g);
            }
        }
        end();
    }
    unit_check(n_found > 5000, "found %u times only", n_found);
}

/* ---- packed rings: vhost-user specification, "Inflight I/O tracking" ---- */

#define STRIDE 0x1000
#define FLAG_AVAIL 0x80
#define FLAG_USED 0x8000

static int region_fd;

static void begin_packed(uint32_t num, uint64_t mmap_size, uint64_t offset, uint16_t n_queues)
{
    const struct wire_inflight told = { .mmap_size = mmap_size,
                                        .mmap_offset = offset,
                                        .num_queues = n_queues,
                                        .queue_size = (uint16_t)num };
    begin_at(num, BIT(RING_VERSION_1) | BIT(RING_RING_PACKED), 0, 0);
    region_fd = memfd_create("region", MFD_CLOEXEC);
    assert_int_equal(ftruncate(region_fd, 4 * STRIDE), 0);
    pass(with_fd(sample_raw(FRONT_SET_INFLIGHT_FD, 0, &told, sizeof(told), 0), region_fd));
}

static void end_packed(void)
{
    close(region_fd);
    end();
}

/* The queue's region as a back-end leaves it. */
static void put_region(uint64_t at, uint16_t used, uint16_t old_used, uint8_t wrap,
                       uint8_t old_wrap)
{
    struct __attribute__((packed)) {
        uint64_t features;
        uint16_t version, desc_num, free_head, old_free_head, used_idx, old_used_idx;
        uint8_t used_wrap_counter, old_used_wrap_counter, padding[7];
    } region = { .version = 1,
                 .desc_num = 256,
                 .used_idx = used,
                 .old_used_idx = old_used,
                 .used_wrap_counter = wrap,
                 .old_used_wrap_counter = old_wrap };
    assert_int_equal(pwrite(region_fd, &region, sizeof(region), (off_t)at), sizeof(region));
}

static uint32_t packed_base(uint16_t index, bool wrap)
{
    uint32_t half = index | (wrap ? 0x8000u : 0);
    return half << 16 | half;
}

static void a_packed_ring_goes_on_where_the_region_says(void **state)
{
    (void)state;
    for (int wrap = 0; wrap < 2; wrap++) {
        for (uint16_t used = 0; used < 256; used += 51) {
            begin_packed(256, STRIDE, 0, 1);
            put_region(0, used, used, (uint8_t)wrap, (uint8_t)wrap);
            expect_base(SOURCE_FROM_REGION, packed_base(used, wrap));
            end_packed();
        }
    }
}

static void each_queue_has_its_part_of_the_region(void **state)
{
    (void)state;
    begin_packed(256, 3 * STRIDE, STRIDE, 3);
    put_region(STRIDE + 2 * STRIDE, 5, 5, 1, 1);
    pass(sample_state(FRONT_SET_VRING_NUM, 2, 256));
    const struct wire_vring_addr addr = {
        .index = 2, .descriptor = USER_AT, .used = USER_AT + USED, .available = USER_AT + AVAIL
    };
    pass(sample_raw(FRONT_SET_VRING_ADDR, 0, &addr, sizeof(addr), 0));
    assert_true(position_of_ring(&record, &kept, 2, SOURCE_FROM_REGION, &base, why, sizeof(why)));
    assert_true(base == packed_base(5, true));
    expect_base(SOURCE_FROM_REGION, packed_base(0, false));
    end_packed();
}

/* The last batch is in the region; whether the guest has been given it, its first descriptor shows. */
static void a_batch_that_was_not_published_is_taken_back(void **state)
{
    (void)state;
    for (int old_wrap = 0; old_wrap < 2; old_wrap++) {
        for (uint16_t flags = 0; flags < 4; flags++) {
            bool avail = flags & 1;
            bool used = flags & 2;
            /* Once within the ring and once across its end. */
            for (int across = 0; across < 2; across++) {
                uint16_t old_at = across ? 254 : 10;
                uint16_t at = across ? 2 : 14;
                bool wrap = across ? !old_wrap : old_wrap;
                begin_packed(256, STRIDE, 0, 1);
                put_region(0, at, old_at, wrap, (uint8_t)old_wrap);
                put16(DESCRIPTORS + UINT64_C(16) * old_at + 14,
                      (avail ? FLAG_AVAIL : 0) | (used ? FLAG_USED : 0) | 0x3);
                bool untouched = avail == (bool)old_wrap && used != (bool)old_wrap;
                expect_base(SOURCE_FROM_REGION,
                            untouched ? packed_base(old_at, old_wrap) : packed_base(at, wrap));
                end_packed();
            }
        }
    }
}

/* A batch of the whole ring: the same index again, with the other wrap. */
static void a_batch_of_the_whole_ring_is_a_batch(void **state)
{
    (void)state;
    begin_packed(256, STRIDE, 0, 1);
    put_region(0, 7, 7, 0, 1);
    put16(DESCRIPTORS + 16 * 7 + 14, FLAG_AVAIL);
    expect_base(SOURCE_FROM_REGION, packed_base(7, true));
    put16(DESCRIPTORS + 16 * 7 + 14, FLAG_AVAIL | FLAG_USED);
    expect_base(SOURCE_FROM_REGION, packed_base(7, false));
    end_packed();
}

static void the_ring_is_read_only_where_it_decides(void **state)
{
    (void)state;
    begin_packed(256, STRIDE, 0, 1);
    set_addresses(OUTSIDE, OUTSIDE, OUTSIDE);
    put_region(0, 9, 9, 1, 1);
    expect_base(SOURCE_FROM_REGION, packed_base(9, true));
    put_region(0, 9, 8, 1, 1);
    expect_failure(SOURCE_FROM_REGION, "ring 0: lies in no memory region");
    set_addresses(UINT64_MAX - 100, OUTSIDE, OUTSIDE); /* wraps */
    assert_false(found(SOURCE_FROM_REGION));
    set_addresses(USER_AT + REGION_SIZE - 16 * 8 - 15, OUTSIDE, OUTSIDE);
    expect_failure(SOURCE_FROM_REGION, "ring 0: reaches past its memory region");
    end_packed();
}

static void a_region_that_makes_no_sense_is_no_position(void **state)
{
    const uint16_t far[] = { 256, 0x7fff, 0xffff };
    (void)state;
    begin_packed(256, STRIDE, 0, 1);
    for (size_t i = 0; i < ARRAY_SIZE(far); i++) {
        put_region(0, far[i], 0, 0, 0);
        expect_failure(SOURCE_FROM_REGION, "ring 0: the in-flight region makes no sense");
        put_region(0, 0, far[i], 0, 0);
        expect_failure(SOURCE_FROM_REGION, "ring 0: the in-flight region makes no sense");
    }
    end_packed();
}

static void a_region_without_room_for_the_ring_is_no_position(void **state)
{
    const struct {
        uint64_t size, offset;
        uint16_t n_queues;
        const char *reason;
    } rows[] = {
        { STRIDE, 0, 0, "ring 0: is not in the in-flight region" },
        { 0, 0, 1, "ring 0: is not in the in-flight region" },
        { 21, 0, 1, "ring 0: is not in the in-flight region" },
        { 22, 0, 1, NULL },
        { STRIDE, 4 * STRIDE - 22, 1, NULL },
        { STRIDE, 4 * STRIDE - 21, 1, "ring 0: the in-flight region cannot be read" },
        { STRIDE, UINT64_MAX, 1, "ring 0: the in-flight region cannot be read" },
        { STRIDE, INT64_MAX, 1, "ring 0: the in-flight region cannot be read" },
        { STRIDE, UINT64_MAX - 15, 1, "ring 0: the in-flight region cannot be read" },
        { UINT64_MAX, 0, UINT16_MAX, NULL },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        begin_packed(256, rows[i].size, rows[i].offset, rows[i].n_queues);
        if (rows[i].reason != NULL) {
            expect_failure(SOURCE_FROM_REGION, rows[i].reason);
        } else {
            expect_base(SOURCE_FROM_REGION, 0);
        }
        end_packed();
    }
}

static void a_ring_beyond_the_regions_queues_is_no_position(void **state)
{
    (void)state;
    begin_packed(256, STRIDE, 0, 1);
    pass(sample_state(FRONT_SET_VRING_NUM, 1, 256));
    const struct wire_vring_addr addr = { .index = 1, .descriptor = USER_AT };
    pass(sample_raw(FRONT_SET_VRING_ADDR, 0, &addr, sizeof(addr), 0));
    assert_false(position_of_ring(&record, &kept, 1, SOURCE_FROM_REGION, &base, why, sizeof(why)));
    assert_string_equal(why, "ring 1: is not in the in-flight region");
    end_packed();
}

/* Some send it without its last field. */
static void a_short_form_of_the_region_is_one(void **state)
{
    const struct wire_inflight told = { .mmap_size = STRIDE, .num_queues = 1, .queue_size = 256 };
    (void)state;
    begin_packed(256, STRIDE, 0, 1);
    pass(with_fd(sample_raw(FRONT_SET_INFLIGHT_FD, 0, &told, 20, 0), region_fd));
    put_region(0, 3, 3, 1, 1);
    expect_base(SOURCE_FROM_REGION, packed_base(3, true));
    end_packed();
}

static const struct unit_test tests[] = {
    UNIT(a_file_of_tmpfs_is_memory),
    UNIT(another_file_is_read_when_nobody_waits_for_it),
    UNIT(a_file_that_somebody_serves_is_not_read),
    UNIT(the_used_index_is_read),
    UNIT(a_legacy_ring_has_the_guests_byte_order),
    UNIT(a_region_may_begin_inside_its_file),
    UNIT(addresses_may_be_the_guests),
    UNIT(the_region_that_has_it_is_read),
    UNIT(a_ring_may_end_with_its_region),
    UNIT(addresses_that_make_no_sense_are_in_no_region),
    UNIT(regions_that_make_no_sense_are_not_read),
    UNIT(a_file_that_became_shorter_is_an_error),
    UNIT(what_cannot_be_read_is_an_error),
    UNIT(a_ring_that_was_never_set_up_has_no_place),
    UNIT(nothing_says_where_some_rings_stand),
    UNIT(nothing_outstanding_is_sound_in_any_order),
    UNIT(heads_that_rest_for_a_round_are_sound),
    UNIT(a_head_that_is_used_again_at_once_shows_nothing),
    UNIT(a_request_that_was_overtaken_is_not_shown),
    UNIT(a_request_that_hangs_for_a_whole_round_is_not_shown),
    UNIT(a_head_that_is_outstanding_twice_is_not_shown),
    UNIT(indices_that_make_no_sense_are_no_position),
    UNIT(a_head_beyond_the_table_is_not_shown),
    UNIT(legacy_rings_show_it_in_the_other_byte_order),
    UNIT(the_largest_ring_is_looked_at),
    UNIT(a_position_that_is_found_is_right),
    UNIT(a_packed_ring_goes_on_where_the_region_says),
    UNIT(each_queue_has_its_part_of_the_region),
    UNIT(a_batch_that_was_not_published_is_taken_back),
    UNIT(a_batch_of_the_whole_ring_is_a_batch),
    UNIT(the_ring_is_read_only_where_it_decides),
    UNIT(a_region_that_makes_no_sense_is_no_position),
    UNIT(a_region_without_room_for_the_ring_is_no_position),
    UNIT(a_ring_beyond_the_regions_queues_is_no_position),
    UNIT(a_short_form_of_the_region_is_one),
};

UNIT_MAIN("position", tests)
