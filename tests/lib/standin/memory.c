/* SPDX-License-Identifier: MIT
 *
 * The guest's memory as the front-end has described it, and the log of what we write there. */
#include "memory.h"

#include "util.h"

#include <sys/mman.h>

#define LOG_PAGE 4096

struct mapped {
    struct mem_region r;
    uint8_t *at;
};

static struct mapped regions[MAX_REGIONS];
static uint32_t n_regions;
static uint8_t *log_at;
static size_t log_len;
static bool log_on;

void *memory_find(uint64_t at, uint64_t len, bool by_uva)
{
    for (uint32_t i = 0; i < n_regions; i++) {
        struct mapped *m = &regions[i];
        uint64_t start = by_uva ? m->r.uva : m->r.gpa;
        if (at >= start && len <= m->r.size && at - start <= m->r.size - len) {
            return m->at + m->r.offset + (at - start);
        }
    }
    WRONG("no memory at %#llx", (unsigned long long)at);
    return NULL;
}

bool memory_gpa(uint64_t uva, uint64_t *ret_gpa)
{
    for (uint32_t i = 0; i < n_regions; i++) {
        struct mem_region *r = &regions[i].r;
        if (uva - r->uva < r->size) {
            *ret_gpa = uva - r->uva + r->gpa;
            return true;
        }
    }
    return false;
}

void memory_add(const struct mem_region *r, int fd)
{
    uint8_t *at = mmap(NULL, r->size + r->offset, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED || n_regions == MAX_REGIONS) {
        die("mapping guest memory");
    }
    regions[n_regions++] = (struct mapped){ *r, at };
}

static void unmap(struct mapped *m)
{
    munmap(m->at, m->r.size + m->r.offset);
    *m = regions[--n_regions];
}

bool memory_remove(const struct mem_region *r)
{
    for (uint32_t i = 0; i < n_regions; i++) {
        struct mem_region *have = &regions[i].r;
        if (have->gpa == r->gpa && have->uva == r->uva && have->size == r->size) {
            unmap(&regions[i]);
            return true;
        }
    }
    return false;
}

void memory_forget(void)
{
    while (n_regions) {
        unmap(&regions[0]);
    }
}

void log_map(int fd, uint64_t size, uint64_t offset)
{
    log_forget();
    log_at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
    log_len = size;
    if (log_at == MAP_FAILED) {
        die("mapping the log");
    }
}

void log_turn(bool on)
{
    log_on = on;
}

void log_pages(uint64_t gpa, uint64_t len)
{
    if (!log_on || !log_at || !len) {
        return;
    }
    for (uint64_t page = gpa / LOG_PAGE; page <= (gpa + len - 1) / LOG_PAGE; page++) {
        if (page / 8 < log_len) {
            __atomic_fetch_or(&log_at[page / 8], 1 << page % 8, __ATOMIC_SEQ_CST);
        }
    }
}

void log_forget(void)
{
    if (log_at) {
        munmap(log_at, log_len);
    }
    log_at = NULL;
}
