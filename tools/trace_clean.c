/* SPDX-License-Identifier: MIT */
#include "trace_clean.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define ELLIPSIS "\xe2\x80\xa6"

/* Bytes of the character at `at`, 0 when it is none. */
static size_t character(const unsigned char *at, uint32_t *ret)
{
    size_t n = at[0] < 0x80       ? 1
               : at[0] >> 5 == 6  ? 2
               : at[0] >> 4 == 14 ? 3
               : at[0] >> 3 == 30 ? 4
                                  : 0;
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (n < 2) {
        *ret = at[0];
        return n;
    }
    uint32_t c = at[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (at[i] >> 6 != 2) {
            return 0; /* the terminator is none either */
        }
        c = c << 6 | (at[i] & 0x3fu);
    }
    *ret = c;
    return c < least[n] ? 0 : n;
}

/* Neither XML's excluded characters nor what a reader cannot see or is misled by. */
static bool is_good(uint32_t c)
{
    bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
    bool turns = (c >= 0x200e && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
                 (c >= 0x2066 && c <= 0x2069);
    bool none = (c >= 0xd800 && c < 0xe000) || (c & 0xfffe) == 0xfffe || c > 0x10ffff;
    return !control && !turns && !none;
}

void trace_clean(const char *in, size_t most, char *out, size_t len)
{
    size_t used = 0;
    size_t n = 0;
    size_t mark = 0; /* where the sign of a cut would go */
    while (*in != '\0') {
        uint32_t c = 0;
        size_t bytes = character((const unsigned char *)in, &c);
        bool good = bytes > 0 && is_good(c);
        size_t out_bytes = good ? bytes : 1;
        if (n == most || used + out_bytes + sizeof(ELLIPSIS) > len) {
            memcpy(out + mark, ELLIPSIS, sizeof(ELLIPSIS));
            return;
        }
        mark = used;
        memcpy(out + used, good ? in : "?", out_bytes);
        used += out_bytes;
        in += bytes > 0 ? bytes : 1;
        n++;
    }
    out[used] = '\0';
}
