/* SPDX-License-Identifier: MIT
 *
 * Valid messages of any row, made from the row's description alone, and what else tests share. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "message.h"

/* A valid request of `row` (or its answer) with every field of its own value, and as many elements
 * and descriptors as go with it. Fails the test when there is no memory. */
struct msg sample_message(const struct message_row *row, bool reply);

/* A message with these bytes and `n_fds` new descriptors. */
struct msg sample_raw(uint32_t request, uint32_t flags, const void *body, uint32_t size,
                      size_t n_fds);
struct msg sample_u64(uint32_t request, uint32_t flags, uint64_t value);
struct msg sample_state(uint32_t request, uint32_t index, uint32_t num);

/* A new descriptor (an event), owned by the caller. */
int sample_fd(void);
void sample_add_fds(struct msg *m, size_t n);

/* The number that samples carry in field `i` of a payload: fits its size, is like no other's. */
uint64_t sample_value(const struct field *f, size_t i);

/* Reproducible random numbers. */
uint64_t sample_random(uint64_t *state);

/* Walks both spaces: row `i` of all, NULL past the end. */
const struct message_row *sample_row(size_t i, enum wire_space *ret_space);
