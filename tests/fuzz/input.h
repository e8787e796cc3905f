/* SPDX-License-Identifier: MIT
 *
 * A fuzzer's input, read piece by piece; past its end everything is zero. What fuzzers share. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at;
    size_t left;
};

uint8_t input_u8(struct input *in);
uint16_t input_u16(struct input *in);
uint64_t input_u64(struct input *in);
/* At most `len` bytes; returns how many there were, the rest of `buf` is zero. */
size_t input_bytes(struct input *in, void *buf, size_t len);

/* A message (owned by the caller) as the input has it: of a row that the next byte chooses, mostly
 * of a legal size and with the descriptors that belong to it, or of any number, size and count. */
struct msg input_message(struct input *in, enum wire_space space, bool reply);

/* A new descriptor. */
int fuzz_fd(void);
/* Ends the run when something holds that never may. */
#define fuzz_check(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fuzz_fail(__FILE__, __LINE__, #condition);                                             \
        }                                                                                          \
    } while (0)
__attribute__((noreturn)) void fuzz_fail(const char *file, int line, const char *what);

/* The lowest free descriptor number: the same before and after a run that leaks none. */
int fuzz_lowest_free_fd(void);
