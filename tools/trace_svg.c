/* SPDX-License-Identifier: MIT
 *
 * The diagram as one SVG file that needs nothing else. Rows are groups at a height of their own, so
 * that the script at the end can move them when a folded one opens; without scripts they stay
 * folded, and the tooltip of a row has all of its text. Colours stand on a background of our own. */
#include <inttypes.h>
#include <string.h>

#include "print.h"
#include "trace_change.h"
#include "trace_clean.h"
#include "trace_picture.h"

#define X_TIME 128 /* right edge of the time scale */
#define X_FRONT 170
#define X_SHIM 720
#define X_BACK 1270
#define X_NEXT 1470
#define PAST_LANES 14    /* from the last lane to the latencies */
#define PAST_LATENCY 170 /* and to the edge of the picture */
#define Y_TOP 104        /* under the lanes' heads */
#define Y_ARROW 22
#define H_ROW 30
#define H_CHANGED 50
#define H_NOTE 30
/* Characters that fit beside an arrow: 12 px of a monospaced font are 7.25 px wide. */
#define FULL_MOST 146
#define HALF_MOST 70
#define NOTE_MOST 140
#define TITLE_MOST 4000

static const char style[] =
    "svg{font:12px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace}"
    "text{fill:#1e293b;white-space:pre}"
    ".bg{fill:#fcfcfd}.title{font-size:17px;font-weight:bold}.soft,.time{fill:#64748b}"
    ".time,.took{font-size:11px}.took{fill:#475569}"
    ".lane{stroke:#cbd5e1;stroke-width:2}.headbox{fill:#1e293b}.headbox.s{fill:#0f766e}"
    ".head{fill:#fff;font-weight:bold;font-size:13px;text-anchor:middle}"
    ".hit{fill:#fff;fill-opacity:0}.row:hover .hit{fill:#e2e8f0;fill-opacity:.6}"
    ".label{stroke:#fcfcfd;stroke-width:4px;stroke-linejoin:round;paint-order:stroke}"
    ".n{font-weight:bold}"
    ".line{stroke:#334155;stroke-width:1.5;fill:none}.tip{fill:#334155}"
    ".reply .line{stroke-dasharray:6 4}"
    ".own .line{stroke:#0f766e}.own .tip{fill:#0f766e}.own .n{fill:#0f766e}"
    ".channel .line{stroke:#7c3aed}.channel .tip{fill:#7c3aed}.channel .n{fill:#6d28d9}"
    ".changed .line{stroke:#c2410c;stroke-width:2}.changed .tip{fill:#c2410c}"
    ".error .line{stroke:#b91c1c;stroke-width:2}.error .tip,.error .n{fill:#b91c1c}"
    ".busy{fill:#94a3b8}"
    ".pill{fill:#ffedd5;stroke:#c2410c}.pilltext{fill:#9a3412;text-anchor:middle;font-weight:bold}"
    ".note text{text-anchor:middle}.note .box{fill:#e0f2fe;stroke:#7dd3fc}"
    ".ending .box{fill:#fee2e2;stroke:#b91c1c}.ending text{fill:#991b1b;font-weight:bold}"
    ".refused .box{fill:#ffedd5;stroke:#c2410c}.refused text{fill:#9a3412;font-weight:bold}"
    ".gap .box{fill:#fef9c3;stroke:#a16207;stroke-dasharray:5 4}"
    ".gap text{fill:#713f12;font-weight:bold}"
    ".life .box{fill:#1e293b}.life text{fill:#fff;font-weight:bold}"
    ".pause .box{fill:#fcfcfd;stroke:none}.pause text{fill:#64748b;font-style:italic}"
    ".group{cursor:pointer}.group .box{fill:#eef2ff;stroke:#818cf8}.group .n{fill:#3730a3}"
    ".group:focus .box{stroke-width:3}.note .time,.group .time{font-weight:normal}"
    ".row .time{text-anchor:end;fill:#64748b}";

/* Rows in document order: what is hidden takes no room. */
static const char script[] =
    "(function(){\n"
    "var here=document.currentScript,svg=here&&here.ownerSVGElement||document.documentElement;\n"
    "var rows=[].slice.call(svg.querySelectorAll('.row')),open={};\n"
    "function lay(){\n"
    "  var y=+svg.getAttribute('data-top');\n"
    "  rows.forEach(function(r){\n"
    "    var m=r.getAttribute('data-member');\n"
    "    if(m&&!open[m]){r.setAttribute('display','none');return;}\n"
    "    r.removeAttribute('display');\n"
    "    r.setAttribute('transform','translate(0,'+y+')');\n"
    "    y+=+r.getAttribute('data-h');\n"
    "  });\n"
    "  [].forEach.call(svg.querySelectorAll('.lane'),function(l){l.setAttribute('y2',y+10);});\n"
    "  y+=24;\n"
    "  svg.querySelector('.bg').setAttribute('height',y);\n"
    "  svg.setAttribute('height',y);\n"
    "  svg.setAttribute('viewBox','0 0 '+svg.getAttribute('width')+' '+y);\n"
    "}\n"
    "function turn(r){\n"
    "  var g=r.getAttribute('data-group');\n"
    "  open[g]=!open[g];\n"
    "  r.setAttribute('aria-expanded',open[g]?'true':'false');\n"
    "  r.querySelector('.mark').textContent=open[g]?'\\u25be':'\\u25b8';\n"
    "  lay();\n"
    "}\n"
    "rows.forEach(function(r){\n"
    "  if(!r.getAttribute('data-group'))return;\n"
    "  r.addEventListener('click',function(){turn(r);});\n"
    "  r.addEventListener('keydown',function(e){\n"
    "    if(e.key==='Enter'||e.key===' '){e.preventDefault();turn(r);}\n"
    "  });\n"
    "});\n"
    "})();\n";

/* At most `most` characters; safe wherever XML takes text or an attribute's value. */
static void write_text(FILE *out, const char *text, size_t most)
{
    char clean[TRACE_TEXT_MAX * 3];
    trace_clean(text, most, clean, sizeof(clean));
    for (const char *at = clean; *at != '\0'; at++) {
        switch (*at) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        case '\'':
            fputs("&#39;", out);
            break;
        default:
            fputc(*at, out);
        }
    }
}

static unsigned row_height(const struct picture_row *row)
{
    bool changed = row->kind == ROW_MESSAGE && row->item->flow == FLOW_CHANGED;
    return changed ? H_CHANGED : row->kind == ROW_MESSAGE ? H_ROW : H_NOTE;
}

static int lane_of(enum trace_wire wire)
{
    return wire == TRACE_NEXT_BACK ? X_NEXT : wire_is_front(wire) ? X_FRONT : X_BACK;
}

/* Few traces have messages of a back-end beside the live one. */
static int last_lane(const struct picture *p)
{
    return p->has_next ? X_NEXT : X_BACK;
}

static int width_of(const struct picture *p)
{
    return last_lane(p) + PAST_LATENCY;
}

/* ---- messages ---- */

/* From lane to lane; an end that is the message's own is marked with a dot. */
static void write_arrow(FILE *out, int from, int to, bool dot_from, bool dot_to)
{
    int way = to > from ? 1 : -1;
    int tip = to - way * (dot_to ? 5 : 1);
    if (dot_from) {
        fprintf(out, "<circle class=\"tip\" cx=\"%d\" cy=\"%d\" r=\"4.5\"/>", from, Y_ARROW);
    }
    if (dot_to) {
        fprintf(out, "<circle class=\"tip\" cx=\"%d\" cy=\"%d\" r=\"4.5\"/>", to, Y_ARROW);
    }
    fprintf(out, "<path class=\"line\" d=\"M%d %dH%d\"/>", from, Y_ARROW, tip - way * 8);
    fprintf(out, "<path class=\"tip\" d=\"M%d %dl%d -4.5v9z\"/>", tip, Y_ARROW, -way * 10);
}

/* The name stands out from the fields. */
static void write_label(FILE *out, int x, const struct trace_item *i, const struct trace_said *said,
                        size_t most)
{
    char line[2048];
    char name[24];
    struct msg m = said_message(said);
    enum wire_space space = trace_space(i->wire);
    message_print(space, i->device, &m, line, sizeof(line));
    size_t named = strlen(message_name(space, said->head.request, name)) +
                   (item_is_reply(i) ? strlen("reply ") : 0);
    fprintf(out, "<text class=\"label\" x=\"%d\" y=\"%d\"><tspan class=\"n\">%.*s</tspan>", x,
            Y_ARROW - 6, (int)named, line);
    write_text(out, line + named, most > named ? most - named : 1);
    fprintf(out, "</text>");
}

static void write_changed(FILE *out, const struct trace_item *i, int from, int to)
{
    char buf[2048];
    char clean[2048];
    struct text t = text_in(buf, sizeof(buf));
    trace_change(trace_space(i->wire), i->device, &i->said, &i->sent, CHANGE_ALL, &t);
    trace_clean(buf, NOTE_MOST, clean, sizeof(clean));
    int width = (int)(strlen(clean) * 29 / 4) + 20;
    write_arrow(out, from, X_SHIM, false, false);
    write_arrow(out, X_SHIM, to, false, false);
    write_label(out, (from < X_SHIM ? from : X_SHIM) + 10, i, &i->said, HALF_MOST);
    write_label(out, (to < X_SHIM ? to : X_SHIM) + 10, i, &i->sent, HALF_MOST);
    fprintf(out,
            "<rect class=\"pill\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"18\" rx=\"9\"/>"
            "<text class=\"pilltext\" x=\"%d\" y=\"%d\">",
            X_SHIM - width / 2, Y_ARROW + 6, width, X_SHIM, Y_ARROW + 19);
    write_text(out, buf, NOTE_MOST);
    fprintf(out, "</text>");
}

static void write_arrows(FILE *out, const struct trace_item *i)
{
    int here = lane_of(i->wire);
    int there = lane_of(trace_across(i->wire));
    switch (i->flow) {
    case FLOW_PASSED:
        write_arrow(out, here, there, false, false);
        write_label(out, X_FRONT + 10, i, &i->said, FULL_MOST);
        break;
    case FLOW_CHANGED:
        write_changed(out, i, here, there);
        break;
    case FLOW_OWN:
        write_arrow(out, X_SHIM, here, true, false);
        write_label(out, (here < X_SHIM ? here : X_SHIM) + 10, i, &i->said, HALF_MOST);
        break;
    case FLOW_KEPT:
    case FLOW_NOTE:
        write_arrow(out, here, X_SHIM, false, true);
        write_label(out, (here < X_SHIM ? here : X_SHIM) + 10, i, &i->said, HALF_MOST);
        break;
    }
}

/* How long the one who answers took: a bar on the lane, and the time. */
static void write_latency(FILE *out, const struct picture *p, const struct picture_row *row)
{
    const struct trace_item *i = row->item;
    char duration[32];
    if (!item_is_reply(i) || i->request_number == 0) {
        return;
    }
    picture_duration(i->latency_ns, duration, sizeof(duration));
    if (row->answers != NULL) {
        int lane = i->flow == FLOW_OWN ? X_SHIM : lane_of(i->wire);
        int up = row->answers->flow == FLOW_CHANGED ? H_CHANGED : H_ROW;
        fprintf(out, "<rect class=\"busy\" x=\"%d\" y=\"%d\" width=\"8\" height=\"%d\" rx=\"2\"/>",
                lane - 4, Y_ARROW - up, up);
    }
    fprintf(out, "<text class=\"took\" x=\"%d\" y=\"%d\">%s", last_lane(p) + PAST_LANES,
            Y_ARROW + 4, duration);
    if (row->answers == NULL) {
        fprintf(out, " (to #%" PRIu64 ")", i->request_number);
    }
    fprintf(out, "</text>");
}

static void write_tooltip(FILE *out, const struct trace_item *i, const struct trace_said *said,
                          const char *before)
{
    char line[2048];
    struct msg m = said_message(said);
    message_print(trace_space(i->wire), i->device, &m, line, sizeof(line));
    fprintf(out, "%s", before);
    write_text(out, line, TITLE_MOST);
}

static void write_message(FILE *out, const struct picture *p, const struct picture_row *row)
{
    const struct trace_item *i = row->item;
    fprintf(out, "<title>#%" PRIu64 " %s: ", i->number, trace_wire_name(i->wire));
    write_tooltip(out, i, &i->said, "");
    if (i->flow == FLOW_CHANGED) {
        write_tooltip(out, i, &i->sent, "&#10;sent as: ");
    }
    fprintf(out, "</title>");
    write_latency(out, p, row);
    write_arrows(out, i);
}

/* ---- everything else ---- */

static void write_group(FILE *out, const struct picture *p, const struct picture_row *row)
{
    char text[1024];
    picture_text(p, row, text, sizeof(text));
    fprintf(out, "<title>%zu messages, a click shows them", row->n_members);
    for (size_t i = 1; i <= row->n_members && i <= 40; i++) {
        char before[48];
        snprintf(before, sizeof(before), "&#10;#%" PRIu64 " ", row[i].item->number);
        write_tooltip(out, row[i].item, &row[i].item->said, before);
    }
    fprintf(out,
            "</title><rect class=\"box\" x=\"%d\" y=\"4\" width=\"%d\" height=\"22\" rx=\"4\"/>"
            "<text class=\"mark\" x=\"%d\" y=\"20\">\xe2\x96\xb8</text>"
            "<text class=\"n\" x=\"%d\" y=\"20\">",
            X_FRONT - 10, last_lane(p) - X_FRONT + 20, X_FRONT + 2, X_FRONT + 20);
    write_text(out, text, NOTE_MOST);
    fprintf(out, "</text><text class=\"took\" x=\"%d\" y=\"20\">%zu messages</text>",
            last_lane(p) + PAST_LANES, row->n_members);
}

static void write_note(FILE *out, const struct picture *p, const struct picture_row *row)
{
    char text[TRACE_TEXT_MAX * 2 + 64];
    picture_text(p, row, text, sizeof(text));
    fprintf(out, "<title>");
    write_text(out, text, TITLE_MOST);
    fprintf(out,
            "</title><rect class=\"box\" x=\"%d\" y=\"4\" width=\"%d\" height=\"22\" rx=\"4\"/>"
            "<text x=\"%d\" y=\"19\">",
            X_FRONT - 10, last_lane(p) - X_FRONT + 20, X_SHIM);
    write_text(out, text, NOTE_MOST);
    fprintf(out, "</text>");
}

static const char *note_class(const struct picture_row *row)
{
    if (row->kind == ROW_MISSING || row->kind == ROW_LEFT_OUT) {
        return "note gap";
    }
    if (row->kind == ROW_LIFE || row->kind == ROW_PAUSE) {
        return row->kind == ROW_LIFE ? "note life" : "note pause";
    }
    switch (row->item->kind) {
    case TRACE_ENDING:
        return "note ending";
    case TRACE_REFUSED:
        return "note refused";
    case TRACE_GAP:
        return "note gap";
    case TRACE_MESSAGE:
    case TRACE_EVENT:
        break;
    }
    return "note event";
}

static void write_classes(FILE *out, const struct picture_row *row)
{
    static const char *const flows[] = {
        [FLOW_KEPT] = "kept", [FLOW_PASSED] = "passed", [FLOW_CHANGED] = "changed",
        [FLOW_OWN] = "own",   [FLOW_NOTE] = "",
    };
    const struct trace_item *i = row->item;
    if (row->kind != ROW_MESSAGE) {
        fputs(row->kind == ROW_GROUP ? "group" : note_class(row), out);
        return;
    }
    fprintf(out, "%s%s%s%s", flows[i->flow], item_is_reply(i) ? " reply" : "",
            trace_space(i->wire) == SPACE_BACK ? " channel" : "",
            picture_is_error(i) ? " error" : "");
}

static void write_time(FILE *out, const struct picture *p, const struct picture_row *row)
{
    uint64_t begin = p->items->items[0].time_ns;
    if (row->item == NULL || row->kind == ROW_PAUSE || row->item->time_ns < begin) {
        return;
    }
    fprintf(out, "<text class=\"time\" x=\"%d\" y=\"%d\">%.6f s</text>", X_TIME,
            row->kind == ROW_MESSAGE ? Y_ARROW + 4 : 19,
            (double)(row->item->time_ns - begin) / 1e9);
}

/* Its height where it is shown, else 0. */
static unsigned write_row(FILE *out, const struct picture *p, const struct picture_row *row,
                          unsigned y)
{
    bool member = row->group != 0 && row->kind != ROW_GROUP;
    unsigned h = row_height(row);
    fprintf(out, "<g class=\"row ");
    write_classes(out, row);
    fprintf(out, "\" data-h=\"%u\" transform=\"translate(0,%u)\"", h, y);
    if (member) {
        fprintf(out, " data-member=\"%zu\" display=\"none\"", row->group);
    } else if (row->kind == ROW_GROUP) {
        fprintf(out, " data-group=\"%zu\" tabindex=\"0\" role=\"button\" aria-expanded=\"false\"",
                row->group);
    }
    fprintf(out, "><rect class=\"hit\" width=\"%d\" height=\"%u\"/>", width_of(p), h);
    write_time(out, p, row);
    if (row->kind == ROW_MESSAGE) {
        write_message(out, p, row);
    } else if (row->kind == ROW_GROUP) {
        write_group(out, p, row);
    } else {
        write_note(out, p, row);
    }
    fprintf(out, "</g>\n");
    return member ? 0 : h;
}

/* ---- the whole ---- */

static void write_lane(FILE *out, int x, const char *name, const char *class, unsigned bottom)
{
    fprintf(out,
            "<line class=\"lane\" x1=\"%d\" y1=\"92\" x2=\"%d\" y2=\"%u\"/>"
            "<rect class=\"headbox%s\" x=\"%d\" y=\"66\" width=\"120\" height=\"26\" rx=\"5\"/>"
            "<text class=\"head\" x=\"%d\" y=\"84\">%s</text>\n",
            x, x, bottom, class, x - 60, x, name);
}

static void write_legend(FILE *out, int x, const char *class, const char *text)
{
    fprintf(out,
            "<g class=\"%s\" transform=\"translate(%d,22)\"><path class=\"line\" d=\"M0 %dh26\"/>"
            "<path class=\"tip\" d=\"M34 %dl-10 -4.5v9z\"/>"
            "<text class=\"soft\" x=\"42\" y=\"%d\">%s</text></g>\n",
            class, x, Y_ARROW, Y_ARROW, Y_ARROW + 4, text);
}

static void write_top(const struct picture *p, FILE *out, unsigned bottom)
{
    unsigned height = bottom + 24;
    int width = width_of(p);
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%u\" "
            "viewBox=\"0 0 %d %u\" data-top=\"%d\">\n<title>",
            width, height, width, height, Y_TOP);
    write_text(out, p->items->device[0] != '\0' ? p->items->device : "vhost-user", 80);
    fprintf(out,
            ": vhost-user messages</title>\n<style>%s</style>\n"
            "<rect class=\"bg\" width=\"%d\" height=\"%u\" fill=\"#fcfcfd\"/>\n"
            "<text class=\"title\" x=\"20\" y=\"28\">",
            style, width, height);
    write_text(out, p->items->device[0] != '\0' ? p->items->device : "vhost-user", 80);
    fprintf(out,
            "<tspan class=\"soft\" dx=\"16\" font-size=\"12\" font-weight=\"normal\">%zu messages",
            p->n_messages);
    if (p->items->n_lives > 1) {
        fprintf(out, ", %" PRIu32 " connections", p->items->n_lives);
    }
    fprintf(out, "%s</tspan></text>\n",
            p->items->left_out > 0 ? ", not all of them shown (see the end)" : "");
    write_legend(out, 20, "passed", "passed unchanged");
    write_legend(out, 220, "passed reply", "reply");
    write_legend(out, 330, "changed", "changed by vushim");
    write_legend(out, 530, "own", "from vushim itself");
    write_legend(out, 740, "channel", "back-end channel");
    write_legend(out, 930, "error", "error");
    write_lane(out, X_FRONT, "front-end", "", bottom + 10);
    write_lane(out, X_SHIM, "vushim", " s", bottom + 10);
    write_lane(out, X_BACK, "back-end", "", bottom + 10);
    if (p->has_next) {
        write_lane(out, X_NEXT, "next back-end", "", bottom + 10);
    }
}

void picture_svg(const struct picture *p, FILE *out)
{
    unsigned y = Y_TOP;
    unsigned bottom = Y_TOP;
    for (size_t i = 0; i < p->n; i++) {
        bool member = p->rows[i].group != 0 && p->rows[i].kind != ROW_GROUP;
        bottom += member ? 0 : row_height(&p->rows[i]);
    }
    write_top(p, out, bottom);
    for (size_t i = 0; i < p->n; i++) {
        y += write_row(out, p, &p->rows[i], y);
    }
    fprintf(out, "<script><![CDATA[\n%s]]></script>\n</svg>\n", script);
}
