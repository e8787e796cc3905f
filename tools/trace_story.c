/* SPDX-License-Identifier: MIT */
#include "trace_story.h"

#include <string.h>

void trace_story_init(struct trace_story *s)
{
    memset(s, 0, sizeof(*s));
    s->device = DEVICE_UNKNOWN;
}

static bool is_reply(const struct trace_record *r)
{
    return (r->head.flags & WIRE_REPLY) != 0;
}

static void note_request(struct trace_story *s, const struct trace_record *r)
{
    struct wire_header head = r->head;
    size_t *n = &s->wires[r->wire].n;
    if (*n == STORY_MAX_OUTSTANDING) { /* most requests are never answered: the oldest goes */
        memmove(s->wires[r->wire].asked, s->wires[r->wire].asked + 1,
                sizeof(s->wires[r->wire].asked) - sizeof(s->wires[r->wire].asked[0]));
        (*n)--;
    }
    s->wires[r->wire].asked[*n].request = head.request;
    s->wires[r->wire].asked[*n].number = r->number;
    s->wires[r->wire].asked[*n].time_ns = r->time_ns;
    (*n)++;
}

/* Answers come in the order of their requests: those before the one that is answered had none. */
static void match_reply(struct trace_story *s, const struct trace_record *r, struct trace_view *v)
{
    size_t *n = &s->wires[r->wire].n;
    for (size_t i = 0; i < *n; i++) {
        if (s->wires[r->wire].asked[i].request == r->head.request) {
            uint64_t since = s->wires[r->wire].asked[i].time_ns;
            v->request_number = s->wires[r->wire].asked[i].number;
            v->latency_ns = r->time_ns > since ? r->time_ns - since : 0;
            *n -= i + 1;
            memmove(s->wires[r->wire].asked, s->wires[r->wire].asked + i + 1,
                    *n * sizeof(s->wires[r->wire].asked[0]));
            return;
        }
    }
}

static bool same_message(const struct trace_record *a, const struct trace_record *b)
{
    if (memcmp(&a->head, &b->head, sizeof(a->head)) != 0 || a->n_fds != b->n_fds ||
        (a->head.size > 0 && memcmp(a->body, b->body, a->head.size) != 0)) {
        return false;
    }
    for (size_t i = 0; i < a->n_fds; i++) {
        if (a->fds[i].inode != b->fds[i].inode) {
            return false;
        }
    }
    return true;
}

static enum trace_origin origin_of(struct trace_story *s, const struct trace_record *r,
                                   struct trace_view *v)
{
    if ((r->flags & TRACE_SENT) == 0) {
        return ORIGIN_PEER;
    }
    bool follows = s->last_is_message && s->last.number + 1 == r->number &&
                   (s->last.flags & TRACE_SENT) == 0 && s->last.wire == trace_across(r->wire) &&
                   s->last.head.request == r->head.request && is_reply(&s->last) == is_reply(r);
    if (!follows) {
        return ORIGIN_OWN;
    }
    if (same_message(&s->last, r)) {
        return ORIGIN_PASSED;
    }
    s->before = s->last;
    memcpy(s->before_body, s->last_body, s->last.head.size);
    s->before.body = s->before_body;
    v->before = &s->before;
    return ORIGIN_CHANGED;
}

/* Another back-end is there: what the one before was asked, and asked, stays without an answer. */
static void note_event(struct trace_story *s, const struct trace_record *r)
{
    if (strcmp(r->name, "BACK_CONNECTED") == 0) {
        s->wires[r->wire].n = 0;
    } else if (strcmp(r->name, "BACK_HELD") == 0) {
        s->wires[TRACE_BACK].n = s->wires[TRACE_BACK_CHANNEL].n = 0;
    }
}

struct trace_view trace_story_next(struct trace_story *s, const struct trace_record *r)
{
    struct trace_view v = { .record = r };
    if (s->wires[r->wire].life != r->life) {
        s->wires[r->wire].life = r->life;
        s->wires[r->wire].n = 0;
    }
    enum device_type named;
    if (r->device != 0 && device_of_id(r->device, &named)) {
        s->device = named;
    }
    v.device = s->device;
    if (r->kind == TRACE_MESSAGE) {
        v.is_reply = is_reply(r);
        v.origin = origin_of(s, r, &v);
        if (v.is_reply) {
            match_reply(s, r, &v);
        } else {
            note_request(s, r);
        }
        s->last = *r;
        s->last.body = s->last_body;
        if (r->head.size > 0) {
            memcpy(s->last_body, r->body, r->head.size);
        }
    } else if (r->kind == TRACE_EVENT) {
        note_event(s, r);
    }
    s->last_is_message = r->kind == TRACE_MESSAGE;
    return v;
}
