/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "cmd_trace.h"
#include "trace_align.h"
#include "trace_clean.h"
#include "trace_compare.h"
#include "trace_picture.h"

#define PATH_MOST 1000

static const char *const titles[N_DIFFERENCE_KINDS] = {
    [DIFFERENCE_OFFER] = "offers",
    [DIFFERENCE_MESSAGE] = "messages (- only in A, + only in B)",
    [DIFFERENCE_VALUE] = "values",
    [DIFFERENCE_TIMING] = "time to answer (medians, more than twice; does not count as different)",
};
static const char *const keys[N_DIFFERENCE_KINDS] = {
    [DIFFERENCE_OFFER] = "offers",
    [DIFFERENCE_MESSAGE] = "messages",
    [DIFFERENCE_VALUE] = "values",
    [DIFFERENCE_TIMING] = "timing",
};

struct compared {
    const char *path;
    struct trace_items *items;
};

static size_t n_messages(const struct trace_items *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++) {
        n += item_is_message(&t->items[i]) ? 1 : 0;
    }
    return n;
}

/* ---- for people ---- */

static void show_side(const char *letter, const struct compared *c)
{
    char path[2 * PATH_MOST];
    trace_clean(c->path, PATH_MOST, path, sizeof(path));
    printf("%s: %s: %s%sconnection %" PRIu32, letter, path, c->items->device,
           c->items->device[0] != '\0' ? ", " : "", c->items->items[0].life);
    if (c->items->n_lives > 1) {
        printf(" (the last of %" PRIu32 ")", c->items->n_lives);
    }
    printf(", %zu messages\n", n_messages(c->items));
    if (c->items->left_out > 0) {
        printf("%s: only its first %d records are compared, %" PRIu64 " more are not\n", letter,
               ALIGN_MOST, c->items->left_out);
    }
    if (c->items->lost > 0) {
        printf("%s: lost %" PRIu64 " records while it was recorded\n", letter, c->items->lost);
    }
}

static void show_one(const struct difference *one)
{
    char before[32];
    char after[32];
    switch (one->kind) {
    case DIFFERENCE_MESSAGE:
        printf("  %s #%" PRIu64 " %s\n", one->only_b ? "+" : "-", one->only_b ? one->b : one->a,
               one->what);
        break;
    case DIFFERENCE_VALUE:
        printf("  %s: %s (A #%" PRIu64 ", B #%" PRIu64, one->what, one->how, one->a, one->b);
        printf(one->times > 1 ? "; %u times)\n" : ")\n", one->times);
        break;
    case DIFFERENCE_TIMING:
        picture_duration(one->a, before, sizeof(before));
        picture_duration(one->b, after, sizeof(after));
        printf("  %s: %s -> %s\n", one->what, before, after);
        break;
    case DIFFERENCE_OFFER:
    case N_DIFFERENCE_KINDS:
        printf("  %s: %s\n", one->what, one->how);
        break;
    }
}

static void show(const struct compared *a, const struct compared *b, const struct differences *d)
{
    show_side("A", a);
    show_side("B", b);
    for (unsigned kind = 0; kind < N_DIFFERENCE_KINDS; kind++) {
        bool begun = false;
        for (size_t i = 0; i < d->n; i++) {
            if (d->list[i].kind == (enum difference_kind)kind) {
                if (!begun) {
                    printf("%s:\n", titles[kind]);
                }
                begun = true;
                show_one(&d->list[i]);
            }
        }
    }
    printf("%s\n", d->differ ? "different" : "equal");
}

/* ---- JSON ---- */

static json_t *side_json(const struct compared *c)
{
    char path[2 * PATH_MOST];
    trace_clean(c->path, PATH_MOST, path, sizeof(path));
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "file", path, "device",
                     c->items->device, "life", (json_int_t)c->items->items[0].life, "lives",
                     (json_int_t)c->items->n_lives, "messages", (json_int_t)n_messages(c->items),
                     "left_out", (json_int_t)c->items->left_out, "lost",
                     (json_int_t)c->items->lost);
}

static json_t *one_json(const struct difference *one)
{
    json_int_t a = (json_int_t)one->a;
    json_int_t b = (json_int_t)one->b;
    switch (one->kind) {
    case DIFFERENCE_MESSAGE:
        return json_pack("{s:s, s:I, s:s}", "only", one->only_b ? "b" : "a", "number",
                         one->only_b ? b : a, "message", one->what);
    case DIFFERENCE_VALUE:
        return json_pack("{s:s, s:s, s:I, s:I, s:I}", "message", one->what, "change", one->how, "a",
                         a, "b", b, "times", (json_int_t)one->times);
    case DIFFERENCE_TIMING:
        return json_pack("{s:s, s:I, s:I}", "what", one->what, "a_ns", a, "b_ns", b);
    case DIFFERENCE_OFFER:
    case N_DIFFERENCE_KINDS:
        break;
    }
    return json_pack("{s:s, s:s}", "what", one->what, "change", one->how);
}

static void show_json(const struct compared *a, const struct compared *b,
                      const struct differences *d)
{
    json_t *root =
        json_pack("{s:b, s:o, s:o}", "equal", !d->differ, "a", side_json(a), "b", side_json(b));
    for (unsigned kind = 0; kind < N_DIFFERENCE_KINDS; kind++) {
        json_t *list = json_array();
        for (size_t i = 0; i < d->n; i++) {
            if (d->list[i].kind == (enum difference_kind)kind) {
                json_array_append_new(list, one_json(&d->list[i]));
            }
        }
        json_object_set_new(root, keys[kind], list);
    }
    json_dumpf(root, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(root);
}

int trace_diff(const struct trace_options *o, const char *const *words)
{
    struct trace_wanted wanted = { .most = ALIGN_MOST, .last_life = true };
    struct compared a = { .path = words[0] };
    struct compared b = { .path = words[1] };
    struct differences d = { .list = NULL };
    int status = 2;
    if (trace_wanted_life("diff", o->life, &wanted)) {
        a.items = trace_items_read("diff", words[0], &wanted);
    }
    if (a.items != NULL) {
        b.items = trace_items_read("diff", words[1], &wanted);
    }
    if (b.items != NULL && trace_compare(a.items, b.items, &d) != 0) {
        usage_error("trace diff: out of memory");
    } else if (b.items != NULL) {
        d.differ = d.differ || a.items->left_out != b.items->left_out;
        (o->json ? show_json : show)(&a, &b, &d);
        status = d.differ ? 1 : 0;
    }
    differences_free(&d);
    trace_items_free(a.items);
    trace_items_free(b.items);
    return status;
}
