/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE_LEN 4096

static enum log_level log_most = LOG_LEVEL_INFO;
static bool log_json;

static const char *const level_names[] = { "error", "warn", "info", "debug" };

void log_setup(enum log_level most, bool json)
{
    log_most = most;
    log_json = json;
}

bool log_level_of_name(const char *name, enum log_level *ret_level)
{
    for (unsigned i = 0; i < ARRAY_SIZE(level_names); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *ret_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_wants(enum log_level level)
{
    return level <= log_most;
}

/* JSON is UTF-8, and the names of people's files need not be. */
static void make_ascii(char *text)
{
    for (char *c = text; *c != '\0'; c++) {
        if ((*c & 0x80) != 0) {
            *c = '?';
        }
    }
}

static json_t *line_json(enum log_level level, const char *device, const char *side,
                         const char *text)
{
    return json_pack("{s:s, s:s*, s:s*, s:s}", "level", level_names[level], "device", device,
                     "side", side, "text", text);
}

/* One write per line, so that lines of several processes do not mix; and none that could block,
 * because a reader that has stopped must not stop the relay. A pipe that can be polled for writing
 * takes a page. */
static void write_line(const char *line, size_t len)
{
    static unsigned long lost;
    char said[64];
    struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
    if (poll(&p, 1, 0) != 1 || (p.revents & POLLOUT) == 0) {
        lost++;
        return;
    }
    if (lost > 0) {
        int n = snprintf(said, sizeof(said), "vushim: %lu lines of log were lost\n", lost);
        lost = write(STDERR_FILENO, said, (size_t)n) == n ? 0 : lost;
        if (poll(&p, 1, 0) != 1 || (p.revents & POLLOUT) == 0) {
            lost++;
            return;
        }
    }
    lost += write(STDERR_FILENO, line, len) < 0 ? 1 : 0;
}

static void write_json(enum log_level level, const char *device, const char *side, char *text)
{
    char name[256];
    json_t *line = line_json(level, device, side, text);
    if (line == NULL) {
        snprintf(name, sizeof(name), "%s", device != NULL ? device : "");
        make_ascii(name);
        make_ascii(text);
        line = line_json(level, device != NULL ? name : NULL, side, text);
    }
    char *dumped = line != NULL ? json_dumps(line, JSON_COMPACT) : NULL;
    size_t len = dumped != NULL ? strlen(dumped) : 0;
    if (len > 0) {
        dumped[len] = '\n'; /* in the place of the end, which write_line() needs not */
        write_line(dumped, len + 1);
    }
    free(dumped);
    json_decref(line);
}

/* A path may hold anything; a line stays one. */
static void make_one_line(char *text)
{
    for (char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = '?';
        }
    }
}

static void write_text(const char *device, const char *side, const char *text)
{
    char line[LINE_LEN];
    int n = snprintf(line, sizeof(line) - 1, "vushim: %s%s%s%s%s", device != NULL ? device : "",
                     device != NULL && side != NULL ? " " : "", side != NULL ? side : "",
                     device != NULL || side != NULL ? ": " : "", text);
    size_t len = n < (int)sizeof(line) - 1 ? (size_t)n : sizeof(line) - 2;
    make_one_line(line);
    line[len] = '\n';
    write_line(line, len + 1);
}

void log_line(enum log_level level, const char *device, const char *side, const char *format, ...)
{
    int saved = errno;
    char text[LINE_LEN];
    va_list args;
    if (!log_wants(level)) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (log_json) {
        write_json(level, device, side, text);
    } else {
        write_text(device, side, text);
    }
    errno = saved;
}

bool log_limit_pass(struct log_limit *limit, double now, unsigned long *ret_suppressed)
{
    double refilled = now > limit->when ? (now - limit->when) / LOG_REFILL_S : 0;
    limit->spent = refilled >= limit->spent ? 0 : limit->spent - refilled;
    limit->when = now;
    if (limit->spent > LOG_BURST - 1) {
        limit->suppressed++;
        return false;
    }
    limit->spent += 1;
    *ret_suppressed = limit->suppressed;
    limit->suppressed = 0;
    return true;
}
