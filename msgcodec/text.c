/* SPDX-License-Identifier: MIT */
#include "text.h"

#include <stdarg.h>
#include <stdio.h>

void text_add(struct text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->buf + t->used, t->len - t->used, format, args);
    va_end(args);
    if (n > 0) {
        size_t room = t->len - t->used - 1;
        t->used += (size_t)n < room ? (size_t)n : room;
    }
}

void text_add_item(struct text *t, const char *separator, const char *word)
{
    text_add(t, "%s%s", t->used > 0 ? separator : "", word);
}
