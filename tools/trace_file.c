/* SPDX-License-Identifier: MIT */
#include "trace_file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl_client.h"
#include "options.h"

static int64_t read_file(void *from, uint8_t *buf, size_t len)
{
    struct trace_file *f = from;
    ssize_t n;
    do {
        n = read(f->fd, buf, len);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* Which file a running vushim writes. False after a line on stderr. */
static bool ask_for_path(const char *verb, const char *control, char *buf, size_t len)
{
    char who[32];
    snprintf(who, sizeof(who), "trace %s", verb);
    json_t *answer = ctl_ask(who, control, "query-trace");
    const char *path =
        json_string_value(json_object_get(json_object_get(answer, "return"), "file"));
    if (answer != NULL && path == NULL) {
        usage_error("trace %s: ctl:%s: no trace is being written (vushim ctl %s trace start FILE)",
                    verb, control, control);
    }
    snprintf(buf, len, "%s", path != NULL ? path : "");
    json_decref(answer);
    return path != NULL;
}

struct trace_file *trace_file_open(const char *verb, const char *path)
{
    struct trace_file *f = calloc(1, sizeof(*f));
    if (f == NULL) {
        usage_error("trace %s: out of memory", verb);
        return NULL;
    }
    f->verb = verb;
    snprintf(f->path, sizeof(f->path), "%s", path);
    if (strncmp(path, "ctl:", 4) == 0 && !ask_for_path(verb, path + 4, f->path, sizeof(f->path))) {
        free(f);
        return NULL;
    }
    path = f->path;
    f->fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0) {
        usage_error("trace %s: %s: %s", verb, path, strerror(errno));
        free(f);
        return NULL;
    }
    trace_reader_init(&f->reader, read_file, f);
    return f;
}

enum trace_file_result trace_file_next(struct trace_file *f, bool live,
                                       struct trace_record *ret_record)
{
    struct trace_reader *r = &f->reader;
    int result = trace_reader_next(r, ret_record);
    if (result == TRACE_OK) {
        return TRACE_FILE_RECORD;
    }
    if ((result == TRACE_END || result == TRACE_CUT) && live) {
        return TRACE_FILE_END;
    }
    if (result == TRACE_END && r->begun) {
        return TRACE_FILE_END;
    }
    if (result == TRACE_CUT) {
        usage_error("trace %s: %s: ends inside a record at byte %" PRIu64
                    " (it was still being written, or was cut)",
                    f->verb, f->path, r->offset);
        return TRACE_FILE_END;
    }
    if (result == TRACE_END) {
        usage_error("trace %s: %s: is empty", f->verb, f->path);
    } else if (result == TRACE_FOREIGN) {
        usage_error("trace %s: %s: not a pcapng file (vushim run --trace writes them)", f->verb,
                    f->path);
    } else if (result == TRACE_BROKEN) {
        usage_error("trace %s: %s: at byte %" PRIu64 ": %s", f->verb, f->path, r->offset, r->why);
    } else {
        usage_error("trace %s: %s: %s", f->verb, f->path, strerror(-result));
    }
    return TRACE_FILE_BAD;
}

struct trace_file *trace_file_close(struct trace_file *f)
{
    if (f != NULL) {
        close(f->fd);
        free(f);
    }
    return NULL;
}
