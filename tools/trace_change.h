/* SPDX-License-Identifier: MIT
 *
 * What differs between two messages of one kind, in words: "-csum, -mq", "queues 128 -> 4",
 * "config.mtu 9000 -> 1500". From the message's row alone. */
#pragma once

#include "trace_items.h"
#include "text.h"

enum change_noise {
    CHANGE_ALL,
    CHANGE_NO_NOISE, /* without what is different in each run: addresses, descriptors, ring bases */
};

/* Adds to `out`, separated by ", "; whether anything was added. */
bool trace_change(enum wire_space space, enum device_type device, const struct trace_said *a,
                  const struct trace_said *b, enum change_noise noise, struct text *out);
/* "-csum, -mq" of two masks of features or protocol features. */
void trace_change_names(enum field_kind kind, enum device_type device, uint64_t a, uint64_t b,
                        struct text *out);
/* "a -> b" of each field of the configuration space that both know (their masks of bytes are not
 * zero there). `len` bytes each. */
void trace_change_config(enum device_type device, const uint8_t *a, const uint8_t *b,
                         const uint8_t *known, size_t len, struct text *out);
