/* SPDX-License-Identifier: MIT */
#include "trace_items.h"

#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "trace_clean.h"

static void item_clear(struct trace_item *i)
{
    free(i->said.body);
    free(i->sent.body);
    free(i->name);
    free(i->text);
}

struct trace_items *trace_items_free(struct trace_items *t)
{
    if (t != NULL) {
        for (size_t i = 0; i < t->n; i++) {
            item_clear(&t->items[i]);
        }
        free(t->items);
        free(t->start);
        free(t);
    }
    return NULL;
}

static bool take_said(const struct trace_record *r, struct trace_said *to)
{
    to->head = r->head;
    to->n_fds = r->n_fds;
    for (size_t i = 0; i < r->n_fds; i++) {
        to->fds_sum = to->fds_sum * 31 + r->fds[i].inode;
    }
    if (r->head.size > 0) {
        to->body = malloc(r->head.size);
        if (to->body == NULL) {
            return false;
        }
        memcpy(to->body, r->body, r->head.size);
    }
    return true;
}

static char *clean_copy(const char *text)
{
    char buf[TRACE_TEXT_MAX + 8];
    trace_clean(text, TRACE_TEXT_MAX, buf, sizeof(buf));
    return strdup(buf);
}

/* Room for one more, zeroed; NULL without memory. */
static struct trace_item *add(struct trace_items *t)
{
    if ((t->n & (t->n - 1)) == 0) { /* full at each power of two */
        size_t room = t->n == 0 ? 1 : t->n * 2;
        struct trace_item *more = realloc(t->items, room * sizeof(*more));
        if (more == NULL) {
            return NULL;
        }
        t->items = more;
    }
    memset(&t->items[t->n], 0, sizeof(*t->items));
    return &t->items[t->n++];
}

static bool take_note(const struct trace_record *r, struct trace_item *i)
{
    i->flow = FLOW_NOTE;
    if (r->kind == TRACE_GAP) {
        i->lost = r->lost;
        return true;
    }
    i->name = clean_copy(r->name);
    i->text = clean_copy(r->text);
    return i->name != NULL && i->text != NULL;
}

static bool add_item(struct trace_items *t, const struct trace_view *v)
{
    const struct trace_record *r = v->record;
    struct trace_item *i = add(t);
    if (i == NULL) {
        return false;
    }
    i->kind = r->kind;
    i->wire = r->wire;
    i->device = v->device;
    i->life = r->life;
    i->number = r->number;
    i->time_ns = r->time_ns;
    if (r->kind != TRACE_MESSAGE) {
        return take_note(r, i);
    }
    i->flow = v->origin == ORIGIN_PEER ? FLOW_KEPT : FLOW_OWN;
    i->request_number = v->request_number;
    i->latency_ns = v->latency_ns;
    return take_said(r, &i->said);
}

/* The second record of a message joins the item of the first. */
static bool join(struct trace_items *t, const struct trace_view *v)
{
    struct trace_item *last = &t->items[t->n - 1];
    if (v->origin == ORIGIN_PASSED) {
        last->flow = FLOW_PASSED;
        return true;
    }
    last->flow = FLOW_CHANGED;
    return take_said(v->record, &last->sent);
}

static void drop_other_lives(struct trace_items *t, uint32_t life)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->n; i++) {
        struct trace_item one = t->items[i];
        if (one.life == life) {
            t->items[kept++] = one;
        } else {
            item_clear(&one);
        }
    }
    if (kept == 0) { /* add() counts room by powers of two from nothing */
        free(t->items);
        t->items = NULL;
    } else if (kept != t->n) {
        size_t room = 1;
        while (room < kept) {
            room *= 2;
        }
        struct trace_item *less = realloc(t->items, room * sizeof(*less));
        t->items = less != NULL ? less : t->items;
    }
    t->n = kept;
    t->left_out = 0;
}

/* Which lives a trace has, as far as they follow each other. */
static void note_life(struct trace_items *t, const struct trace_record *r,
                      const struct trace_wanted *wanted, uint32_t *at)
{
    if (t->n_lives > 0 && r->life == *at) {
        return;
    }
    if (r->kind == TRACE_MESSAGE || t->n_lives == 0) {
        t->n_lives++;
        *at = r->life;
        if (wanted->last_life && r->kind == TRACE_MESSAGE) {
            drop_other_lives(t, r->life);
        }
    }
}

/* It says what vushim was started with, for all connections. */
static bool take_start(struct trace_items *t, const struct trace_record *r)
{
    free(t->start);
    t->start = clean_copy(r->text);
    return t->start != NULL;
}

static bool take(struct trace_items *t, const struct trace_view *v,
                 const struct trace_wanted *wanted, uint32_t *life)
{
    bool second = v->origin == ORIGIN_PASSED || v->origin == ORIGIN_CHANGED;
    if (v->record->kind == TRACE_EVENT && strcmp(v->record->name, TRACE_START) == 0 &&
        !take_start(t, v->record)) {
        return false;
    }
    if (wanted->life != 0 && v->record->life != wanted->life) {
        return true;
    }
    note_life(t, v->record, wanted, life);
    if (v->record->kind == TRACE_GAP) {
        t->lost += v->record->lost;
    }
    if (v->record->kind == TRACE_MESSAGE && second) {
        /* Not there when the first one had no room. */
        bool there = t->n > 0 && t->items[t->n - 1].number + 1 == v->record->number;
        return !there || join(t, v);
    }
    if (t->n >= wanted->most) {
        t->left_out++;
        return true;
    }
    return add_item(t, v);
}

/* Of what came before and after the one life, notes are left. */
static void finish(struct trace_items *t, const struct trace_wanted *wanted, uint32_t life,
                   const char *device)
{
    uint64_t left_out = t->left_out;
    if (wanted->last_life) {
        drop_other_lives(t, life);
        t->left_out = left_out;
    }
    trace_clean(device, 80, t->device, sizeof(t->device));
}

bool trace_wanted_life(const char *verb, const char *text, struct trace_wanted *wanted)
{
    char *end = NULL;
    if (text == NULL) {
        return true;
    }
    errno = 0;
    unsigned long life = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || life == 0 ||
        life > UINT32_MAX) {
        usage_error("trace %s: --life %s: not the number of a connection, from 1", verb, text);
        return false;
    }
    wanted->life = (uint32_t)life;
    return true;
}

struct trace_items *trace_items_read(const char *verb, const char *path,
                                     const struct trace_wanted *wanted)
{
    static struct trace_story story;
    static struct trace_record record;
    struct trace_file *f = trace_file_open(verb, path);
    struct trace_items *t = f != NULL ? calloc(1, sizeof(*t)) : NULL;
    enum trace_file_result result = TRACE_FILE_BAD;
    uint32_t life = 0;
    bool good = t != NULL;
    trace_story_init(&story);
    while (good && (result = trace_file_next(f, false, &record)) == TRACE_FILE_RECORD) {
        struct trace_view v = trace_story_next(&story, &record);
        good = take(t, &v, wanted, &life);
    }
    if (good && result == TRACE_FILE_END) {
        finish(t, wanted, life, f->reader.device);
    }
    if (f != NULL && !good) {
        usage_error("trace %s: %s: out of memory", verb, path);
    } else if (result == TRACE_FILE_END && t->n == 0) {
        usage_error("trace %s: %s: no message in it%s", verb, path,
                    wanted->life != 0 ? " of this connection (see --life)" : "");
        good = false;
    }
    trace_file_close(f);
    return good && result == TRACE_FILE_END ? t : trace_items_free(t);
}
