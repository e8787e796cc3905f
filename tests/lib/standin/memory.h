/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mem_region {
    uint64_t gpa, size, uva, offset;
};

#define MAX_REGIONS 32

/* What is there, or NULL. Addresses are the guest's, those of rings the front-end's own (uva). */
void *memory_find(uint64_t at, uint64_t len, bool by_uva);
bool memory_gpa(uint64_t uva, uint64_t *ret_gpa);
void memory_add(const struct mem_region *r, int fd);
bool memory_remove(const struct mem_region *r);
void memory_forget(void);

/* The log of pages that we have written. */
void log_map(int fd, uint64_t size, uint64_t offset);
void log_turn(bool on);
void log_pages(uint64_t gpa, uint64_t len);
void log_forget(void);
