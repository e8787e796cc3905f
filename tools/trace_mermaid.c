/* SPDX-License-Identifier: MIT
 *
 * A sequence diagram for Mermaid (mermaid.js.org), which README files and wikis render. Its grammar
 * ends a statement at ';' and begins an entity with '#'. */
#include <string.h>

#include "print.h"
#include "trace_change.h"
#include "trace_clean.h"
#include "trace_picture.h"

#define LABEL_MOST 120

static void write_text(FILE *out, const char *text)
{
    char clean[2048];
    trace_clean(text, LABEL_MOST, clean, sizeof(clean));
    for (const char *at = clean; *at != '\0'; at++) {
        if (strchr("#;<>\"%{}&`", *at) != NULL) {
            fprintf(out, "#%d;", *at);
        } else {
            fputc(*at, out);
        }
    }
}

static const char *participant(enum trace_wire wire)
{
    return wire == TRACE_NEXT_BACK ? "N" : wire_is_front(wire) ? "F" : "B";
}

static void write_arrow(FILE *out, const char *from, const char *to, const struct trace_item *i,
                        const struct trace_said *said)
{
    char line[2048];
    char duration[32];
    struct msg m = said_message(said);
    const char *line_kind = item_is_reply(i) ? "-->>" : "->>";
    message_print(trace_space(i->wire), i->device, &m, line, sizeof(line));
    fprintf(out, "    %s%s%s: ", from, line_kind, to);
    write_text(out, line);
    if (i->latency_ns > 0) {
        picture_duration(i->latency_ns, duration, sizeof(duration));
        fprintf(out, " (%s)", duration);
    }
    fputc('\n', out);
}

static void write_message(FILE *out, const struct trace_item *i)
{
    const char *here = participant(i->wire);
    const char *there = participant(trace_across(i->wire));
    switch (i->flow) {
    case FLOW_PASSED:
        write_arrow(out, here, there, i, &i->said);
        break;
    case FLOW_OWN:
        write_arrow(out, "S", here, i, &i->said);
        break;
    case FLOW_CHANGED: {
        char buf[2048];
        struct text t = text_in(buf, sizeof(buf));
        write_arrow(out, here, "S", i, &i->said);
        trace_change(trace_space(i->wire), i->device, &i->said, &i->sent, CHANGE_ALL, &t);
        fprintf(out, "    Note over S: ");
        write_text(out, buf);
        fputc('\n', out);
        write_arrow(out, "S", there, i, &i->sent);
        break;
    }
    case FLOW_KEPT:
    case FLOW_NOTE:
        write_arrow(out, here, "S", i, &i->said);
        break;
    }
}

/* The first of the repetitions stands for all. */
static void write_group(FILE *out, const struct picture *p, const struct picture_row *row)
{
    char text[1024];
    picture_text(p, row, text, sizeof(text));
    fprintf(out, "    loop ");
    write_text(out, text);
    fputc('\n', out);
    for (size_t i = 0; i < row->n_members / row->times; i++) {
        write_message(out, row[1 + i].item);
    }
    fprintf(out, "    end\n");
}

void picture_mermaid(const struct picture *p, FILE *out)
{
    fprintf(out, "sequenceDiagram\n    participant F as front-end\n    participant S as vushim");
    if (p->items->device[0] != '\0') {
        fputc(' ', out);
        write_text(out, p->items->device);
    }
    fprintf(out, "\n    participant B as back-end\n%s",
            p->has_next ? "    participant N as next back-end\n" : "");
    for (size_t i = 0; i < p->n; i++) {
        const struct picture_row *row = &p->rows[i];
        char text[TRACE_TEXT_MAX * 2 + 64];
        if (row->kind == ROW_MESSAGE) {
            write_message(out, row->item);
        } else if (row->kind == ROW_GROUP) {
            write_group(out, p, row);
            i += row->n_members;
        } else {
            picture_text(p, row, text, sizeof(text));
            fprintf(out, "    Note over F,%s: ", p->has_next ? "N" : "B");
            write_text(out, text);
            fputc('\n', out);
        }
    }
}
