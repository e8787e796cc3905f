/* SPDX-License-Identifier: MIT
 *
 * Text in a buffer of the caller's: always terminated, cut when it does not fit. */
#pragma once

#include <stddef.h>

#include "util.h"

struct text {
    char *buf;
    size_t len;
    size_t used;
};

static inline struct text text_in(char *buf, size_t len)
{
    buf[0] = '\0';
    return (struct text){ .buf = buf, .len = len };
}

PRINTF_LIKE(2, 3) void text_add(struct text *t, const char *format, ...);
/* `word` with `separator` before it unless it is the first. */
void text_add_item(struct text *t, const char *separator, const char *word);
