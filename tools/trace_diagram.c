/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd_trace.h"
#include "trace_picture.h"

static const struct {
    const char *name;
    void (*write)(const struct picture *p, FILE *out);
} formats[] = {
    { "svg", picture_svg },
    { "mermaid", picture_mermaid },
};

/* Writing over what was just read would lose the trace. */
static bool is_same_file(const char *a, const char *b)
{
    struct stat x;
    struct stat y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && S_ISREG(x.st_mode) && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}

static int write_to(const char *path, size_t format, const struct picture *p)
{
    FILE *out = path != NULL ? fopen(path, "we") : stdout;
    if (out == NULL) {
        return usage_error("trace diagram: %s: %s", path, strerror(errno));
    }
    formats[format].write(p, out);
    bool bad = fflush(out) != 0 || ferror(out) != 0;
    int saved = errno;
    bad = (path != NULL && fclose(out) != 0) || bad;
    return bad ? usage_error("trace diagram: %s: cannot be written: %s",
                             path != NULL ? path : "standard output", strerror(saved))
               : 0;
}

int trace_diagram(const struct trace_options *o, const char *const *words)
{
    struct trace_wanted wanted = { .most = PICTURE_MOST };
    const char *name = o->format != NULL ? o->format : formats[0].name;
    size_t format = 0;
    while (format < ARRAY_SIZE(formats) && strcmp(name, formats[format].name) != 0) {
        format++;
    }
    if (format == ARRAY_SIZE(formats)) {
        return usage_error("trace diagram: --format %s: unknown (svg or mermaid)", name);
    }
    if (o->output != NULL && is_same_file(words[0], o->output)) {
        return usage_error("trace diagram: --output %s: is the trace itself (name another file)",
                           o->output);
    }
    if (!trace_wanted_life("diagram", o->life, &wanted)) {
        return 2;
    }
    struct trace_items *items = trace_items_read("diagram", words[0], &wanted);
    if (items == NULL) {
        return 2;
    }
    struct picture p;
    int status = picture_make(items, &p) ? write_to(o->output, format, &p)
                                         : usage_error("trace diagram: out of memory");
    picture_free(&p);
    trace_items_free(items);
    return status;
}
