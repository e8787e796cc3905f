/* SPDX-License-Identifier: MIT
 *
 * Items to rows. A unit is a request with the answer right behind it; units of which the shim passed
 * everything on may be folded. What repeats is found from the left, longest stretch first. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"
#include "trace_picture.h"

#define PERIOD_MAX 8 /* NUM, BASE, ADDR, KICK, CALL, ERR, ENABLE, and one to spare */
#define PAUSE_NS UINT64_C(1000000000)

bool picture_is_error(const struct trace_item *i)
{
    const struct message_row *row = message_row(trace_space(i->wire), i->said.head.request);
    struct msg m = said_message(i->flow == FLOW_CHANGED ? &i->sent : &i->said);
    if (row == NULL || !item_is_reply(i)) {
        return false;
    }
    const struct field *error = field_of_kind(message_payload(row, true), KIND_ERROR);
    bool memory = row->answer == ANSWER_MEMORY && m.head.size == sizeof(struct wire_ack);
    if (memory) {
        error = field_of_kind(&payloads[PAYLOAD_ack], KIND_ERROR);
    }
    return error != NULL && field_get(&m, error) != 0;
}

/* ---- units ---- */

/* `reply` answers `request`: both stand for one or two records. */
static bool is_answer(const struct trace_item *reply, const struct trace_item *request)
{
    bool twice = request->flow == FLOW_PASSED || request->flow == FLOW_CHANGED;
    return item_is_reply(reply) && item_is_message(request) && !item_is_reply(request) &&
           reply->request_number != 0 && reply->life == request->life &&
           reply->said.head.request == request->said.head.request &&
           (reply->request_number == request->number ||
            (twice && reply->request_number == request->number + 1));
}

static bool is_plain(const struct trace_item *i)
{
    return item_is_message(i) && i->flow == FLOW_PASSED && !picture_is_error(i);
}

/* Items of the unit at `at`, 0 when what is there is not to be folded. */
static size_t unit_len(const struct trace_items *t, size_t at)
{
    if (at >= t->n || !is_plain(&t->items[at]) || item_is_reply(&t->items[at])) {
        return 0;
    }
    if (at + 1 < t->n && is_answer(&t->items[at + 1], &t->items[at])) {
        return is_plain(&t->items[at + 1]) ? 2 : 0;
    }
    return 1;
}

static bool names_ring(const struct trace_item *i)
{
    const struct message_row *row = message_row(trace_space(i->wire), i->said.head.request);
    const struct payload *p = row != NULL ? message_payload(row, false) : NULL;
    return p != NULL &&
           (field_of_kind(p, KIND_QUEUE_INDEX) != NULL || field_of_kind(p, KIND_VRING_FD) != NULL);
}

/* Same request, whatever its fields, and nothing missing between the two. */
static bool same_unit(const struct trace_items *t, size_t a, size_t b)
{
    const struct trace_item *x = &t->items[a];
    const struct trace_item *y = &t->items[b];
    return x->wire == y->wire && x->life == y->life &&
           x->said.head.request == y->said.head.request &&
           (x->said.head.flags & WIRE_NEED_REPLY) == (y->said.head.flags & WIRE_NEED_REPLY);
}

/* Where the unit behind the one at `at` begins; 0: none follows without a hole. */
static size_t next_unit(const struct trace_items *t, size_t at)
{
    size_t len = unit_len(t, at);
    if (len == 0 || unit_len(t, at + len) == 0) {
        return 0;
    }
    const struct trace_item *last = &t->items[at + len - 1];
    bool whole = t->items[at + len].number == last->number + 2;
    return whole && t->items[at + len].time_ns - last->time_ns < PAUSE_NS ? at + len : 0;
}

struct stretch {
    size_t n_items, times, n_names;
};

/* How far `period` units repeat from `at`. */
static struct stretch repeat_from(const struct trace_items *t, size_t at, size_t period)
{
    size_t starts[PERIOD_MAX];
    struct stretch s = { .times = 1, .n_names = period };
    size_t here = at;
    bool rings = true;
    for (size_t i = 0; i < period; i++) {
        if (i > 0 && (here = next_unit(t, here)) == 0) {
            return (struct stretch){ .times = 0 };
        }
        starts[i] = here;
        rings = rings && names_ring(&t->items[here]);
    }
    size_t end = here + unit_len(t, here);
    for (size_t i = 0; rings || period == 1; i = (i + 1) % period) {
        here = next_unit(t, here);
        if (here == 0 || !same_unit(t, starts[i], here)) {
            break;
        }
        if (i + 1 == period) {
            s.times++;
            end = here + unit_len(t, here);
        }
    }
    s.n_items = end - at;
    bool enough = period > 1 || rings ? s.times >= 2 : s.times >= 3;
    return enough && s.n_items >= 3 ? s : (struct stretch){ .times = 0 };
}

static struct stretch fold_at(const struct trace_items *t, size_t at)
{
    struct stretch best = { .times = 0 };
    if (unit_len(t, at) == 0) {
        return best;
    }
    for (size_t period = 1; period <= PERIOD_MAX; period++) {
        struct stretch s = repeat_from(t, at, period);
        if (s.times > 0 && s.n_items > best.n_items) {
            best = s;
        }
    }
    return best;
}

/* ---- rows ---- */

static struct picture_row *add_row(struct picture *p, enum row_kind kind,
                                   const struct trace_item *item)
{
    if (p->rows == NULL || p->n == p->room) {
        size_t room = p->room == 0 ? 256 : p->room * 2;
        struct picture_row *rows = realloc(p->rows, room * sizeof(*rows));
        if (rows == NULL) {
            return NULL;
        }
        p->rows = rows;
        p->room = room;
    }
    p->rows[p->n] = (struct picture_row){ .kind = kind, .item = item };
    return &p->rows[p->n++];
}

static uint64_t last_number(const struct trace_item *i)
{
    return i->number + (i->flow == FLOW_PASSED || i->flow == FLOW_CHANGED ? 1 : 0);
}

/* What is to be said between two items. */
static bool add_between(struct picture *p, const struct trace_item *before,
                        const struct trace_item *item)
{
    struct picture_row *row = NULL;
    if (p->items->n_lives > 1 && (before == NULL || before->life != item->life)) {
        row = add_row(p, ROW_LIFE, item);
        if (row == NULL) {
            return false;
        }
    }
    if (before == NULL) {
        return true;
    }
    if (item->kind != TRACE_GAP && item->number > last_number(before) + 1) {
        row = add_row(p, ROW_MISSING, item);
        if (row == NULL) {
            return false;
        }
        row->amount = item->number - last_number(before) - 1;
    }
    if (item->time_ns > before->time_ns + PAUSE_NS) {
        row = add_row(p, ROW_PAUSE, item);
        if (row == NULL) {
            return false;
        }
        row->amount = item->time_ns - before->time_ns;
    }
    return true;
}

static bool add_item_row(struct picture *p, const struct trace_item *item, size_t group)
{
    const struct picture_row *above = p->n > 0 ? &p->rows[p->n - 1] : NULL;
    const struct trace_item *asked =
        above != NULL && above->kind == ROW_MESSAGE && is_answer(item, above->item) ? above->item
                                                                                    : NULL;
    struct picture_row *row = add_row(p, item_is_message(item) ? ROW_MESSAGE : ROW_NOTE, item);
    if (row == NULL) {
        return false;
    }
    row->group = group;
    row->answers = asked;
    p->n_messages += item_is_message(item) ? 1 : 0;
    p->has_next = p->has_next || (item_is_message(item) && item->wire == TRACE_NEXT_BACK);
    return true;
}

static bool add_group(struct picture *p, size_t at, const struct stretch *s, size_t number)
{
    struct picture_row *row = add_row(p, ROW_GROUP, &p->items->items[at]);
    if (row == NULL) {
        return false;
    }
    row->group = number;
    row->n_members = s->n_items;
    row->times = s->times;
    row->n_names = s->n_names;
    for (size_t i = 0; i < s->n_items; i++) {
        if (!add_item_row(p, &p->items->items[at + i], number)) {
            return false;
        }
    }
    return true;
}

bool picture_make(const struct trace_items *items, struct picture *p)
{
    size_t n_groups = 0;
    *p = (struct picture){ .items = items };
    for (size_t i = 0; i < items->n;) {
        struct stretch s = fold_at(items, i);
        bool good = add_between(p, i > 0 ? &items->items[i - 1] : NULL, &items->items[i]);
        good = good && (s.times > 0 ? add_group(p, i, &s, ++n_groups)
                                    : add_item_row(p, &items->items[i], 0));
        if (!good) {
            return false;
        }
        i += s.times > 0 ? s.n_items : 1;
    }
    if (items->left_out > 0) {
        struct picture_row *row = add_row(p, ROW_LEFT_OUT, NULL);
        if (row == NULL) {
            return false;
        }
        row->amount = items->left_out;
    }
    return true;
}

void picture_free(struct picture *p)
{
    free(p->rows);
    *p = (struct picture){ .rows = NULL };
}

/* ---- words ---- */

void picture_duration(uint64_t ns, char *buf, size_t len)
{
    if (ns < 1000) {
        snprintf(buf, len, "%" PRIu64 " ns", ns);
    } else if (ns < 1000000) {
        snprintf(buf, len, "%.1f \xc2\xb5s", (double)ns / 1e3);
    } else if (ns < 1000000000) {
        snprintf(buf, len, "%.2f ms", (double)ns / 1e6);
    } else {
        snprintf(buf, len, "%.2f s", (double)ns / 1e9);
    }
}

static void group_text(const struct picture_row *row, struct text *t)
{
    size_t named = 0;
    text_add(t, "%zu \xc3\x97 ", row->times);
    text_add(t, row->n_names > 1 ? "(" : "");
    for (size_t i = 0; named < row->n_names && i < row->n_members; i++) {
        const struct trace_item *item = row[1 + i].item;
        char name[24];
        if (!item_is_reply(item)) {
            text_add(t, "%s%s", named > 0 ? ", " : "",
                     message_name(trace_space(item->wire), item->said.head.request, name));
            named++;
        }
    }
    text_add(t, row->n_names > 1 ? ")" : "");
}

void picture_text(const struct picture *p, const struct picture_row *row, char *buf, size_t len)
{
    struct text t = text_in(buf, len);
    char duration[32];
    switch (row->kind) {
    case ROW_GROUP:
        group_text(row, &t);
        break;
    case ROW_LIFE:
        text_add(&t, "connection %" PRIu32, row->item->life);
        break;
    case ROW_MISSING:
        text_add(&t, "gap: %" PRIu64 " records are missing here", row->amount);
        break;
    case ROW_PAUSE:
        picture_duration(row->amount, duration, sizeof(duration));
        text_add(&t, "%s later", duration);
        break;
    case ROW_LEFT_OUT:
        text_add(&t,
                 "the picture ends here: %" PRIu64 " more records are not shown (at most %zu are)",
                 row->amount, p->items->n);
        break;
    case ROW_NOTE:
        if (row->item->kind == TRACE_GAP) {
            text_add(&t, "gap: %" PRIu64 " records were lost here", row->item->lost);
        } else {
            bool known = row->item->kind != TRACE_REFUSED;
            text_add(&t, "%s%s%s", known ? row->item->name : "refused",
                     row->item->text[0] != '\0' ? ": " : "", row->item->text);
        }
        break;
    case ROW_MESSAGE:
        break;
    }
}
