/* SPDX-License-Identifier: MIT
 *
 * One event, one line on stderr: "vushim: net0 front: text". As JSON when asked. Keeps errno. */
#pragma once

#include <stdbool.h>

#include "util.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_setup(enum log_level most, bool json);
bool log_level_of_name(const char *name, enum log_level *ret_level);
bool log_wants(enum log_level level);

/* `device` and `side` may be NULL. */
PRINTF_LIKE(4, 5)
void log_line(enum log_level level, const char *device, const char *side, const char *format, ...);

#define log_error(device, side, ...) log_line(LOG_LEVEL_ERROR, device, side, __VA_ARGS__)
#define log_warn(device, side, ...) log_line(LOG_LEVEL_WARN, device, side, __VA_ARGS__)
#define log_info(device, side, ...) log_line(LOG_LEVEL_INFO, device, side, __VA_ARGS__)
#define log_debug(device, side, ...)                                                               \
    do {                                                                                           \
        if (log_wants(LOG_LEVEL_DEBUG)) {                                                          \
            log_line(LOG_LEVEL_DEBUG, device, side, __VA_ARGS__);                                  \
        }                                                                                          \
    } while (0)

/* What a peer can repeat is said at most LOG_BURST times at once, then once in LOG_REFILL_S
 * seconds; the line that gets through says how many did not. Zero-initialised is full. */
#define LOG_BURST 20
#define LOG_REFILL_S 5.0

struct log_limit {
    double spent; /* tokens used up */
    double when;
    unsigned long suppressed;
};

/* True when a line may be written now; *ret_suppressed lines were not since the last one. */
bool log_limit_pass(struct log_limit *limit, double now, unsigned long *ret_suppressed);
