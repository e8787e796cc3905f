/* SPDX-License-Identifier: MIT
 *
 * A message that the shim passes on stands in two records; for people they are one line. So a record
 * that came in is held until the next one is known. */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cmd_trace.h"
#include "print.h"
#include "trace_change.h"
#include "trace_clean.h"
#include "trace_file.h"
#include "trace_filter.h"
#include "trace_json.h"

#define LINE_LEN 4096
#define PATH_WIDTH 16
/* How often a live file is looked at, and how many times more once it has been renamed while a record
 * in it is not complete: whoever wrote it may have gone. */
#define LOOK_MS 50
#define LAST_LOOKS 20
/* The head of a file's first block: with less it would be taken for something else. */
#define HEAD_LEN 12

struct show {
    const struct trace_options *o;
    struct trace_filter *filter;                       /* NULL: everything */
    struct trace_file *file;                           /* owned */
    char path[sizeof(((struct trace_file *)0)->path)]; /* of files that follow each other */
    struct trace_story story;
    struct trace_record record;
    uint64_t begin_ns;
    uint64_t n;           /* records so far */
    uint64_t last_number; /* of the last one, and its connection */
    uint32_t last_life;
    bool holds;               /* `line` waits for what becomes of its message */
    bool held_match;          /* the filter wants it */
    struct trace_record held; /* only its head is used */
    char line[LINE_LEN];
    bool idle;       /* nothing has come since the last look */
    unsigned turned; /* looks since the file got a successor */
};

static volatile sig_atomic_t is_over;

static void on_signal(int number)
{
    (void)number;
    is_over = 1;
}

/* ---- lines for people ---- */

static const char *peer_of(enum trace_wire wire)
{
    bool front = wire == TRACE_FRONT || wire == TRACE_FRONT_CHANNEL;
    return wire == TRACE_NEXT_BACK ? "next" : front ? "front" : "back";
}

/* "front -> back"; "=>" on the back-end channel. */
static void print_line(const struct show *s, const struct trace_record *r, const char *from,
                       const char *to, const char *line)
{
    char path[48];
    uint64_t us = r->time_ns > s->begin_ns ? (r->time_ns - s->begin_ns) / 1000 : 0;
    snprintf(path, sizeof(path), "%s %s %s", from, trace_space(r->wire) == SPACE_BACK ? "=>" : "->",
             to);
    printf("%6" PRIu64 " %4" PRIu64 ".%06" PRIu64 "  %-*s %s\n", r->number, us / 1000000,
           us % 1000000, PATH_WIDTH, path, line);
}

/* In the unit that people would say it in. */
static void add_latency(struct text *t, uint64_t ns)
{
    if (ns < 1000000) {
        text_add(t, "  [%" PRIu64 ".%" PRIu64 " us", ns / 1000, ns / 100 % 10);
    } else if (ns < 1000000000) {
        text_add(t, "  [%" PRIu64 ".%03" PRIu64 " ms", ns / 1000000, ns / 1000 % 1000);
    } else {
        text_add(t, "  [%" PRIu64 ".%03" PRIu64 " s", ns / 1000000000, ns / 1000000 % 1000);
    }
}

static void describe(const struct trace_view *v, struct text *t)
{
    char message[LINE_LEN / 2];
    struct msg m = trace_message(v->record);
    message_print(trace_space(v->record->wire), v->device, &m, message, sizeof(message));
    text_add(t, "%s", message);
    for (size_t i = 0; i < v->record->n_fds; i++) {
        const struct trace_fd *fd = &v->record->fds[i];
        text_add(t, "%s%s %" PRIu64, i == 0 ? " (" : ", ", trace_fd_kind_name(fd->kind), fd->inode);
        if (fd->size != 0) {
            text_add(t, " of %#" PRIx64, fd->size);
        }
    }
    text_add(t, "%s", v->record->n_fds > 0 ? ")" : "");
    if (v->request_number != 0) {
        add_latency(t, v->latency_ns);
        text_add(t, " after %" PRIu64 "]", v->request_number);
    }
}

static void describe_change(const struct trace_view *v, struct text *t)
{
    struct trace_said said[2];
    const struct trace_record *both[2] = { v->before, v->record };
    for (size_t i = 0; i < 2; i++) {
        said[i] = (struct trace_said){ .head = both[i]->head,
                                       .body = (uint8_t *)both[i]->body,
                                       .n_fds = both[i]->n_fds,
                                       .fds_sum = both[i]->n_fds > 0 ? both[i]->fds[0].inode : 0 };
    }
    char words[LINE_LEN / 2];
    struct text change = text_in(words, sizeof(words));
    trace_change(trace_space(v->record->wire), v->device, &said[0], &said[1], CHANGE_ALL, &change);
    text_add(t, "  changed: %s", words);
}

/* What came in and was not passed on stays with the shim. */
static void release(struct show *s)
{
    if (s->holds && s->held_match) {
        print_line(s, &s->held, peer_of(s->held.wire), "vushim", s->line);
    }
    s->holds = false;
}

static void show_note(struct show *s, const struct trace_record *r)
{
    char line[LINE_LEN];
    char clean[LINE_LEN]; /* of what a terminal would obey */
    char lost[64];
    snprintf(lost, sizeof(lost), "%" PRIu64 " records lost here", r->lost);
    snprintf(line, sizeof(line), "--- %s%s%s", r->kind == TRACE_GAP ? lost : r->name,
             r->text[0] != '\0' ? ": " : "", r->text);
    trace_clean(line, LINE_LEN, clean, sizeof(clean));
    uint64_t us = r->time_ns > s->begin_ns ? (r->time_ns - s->begin_ns) / 1000 : 0;
    bool has_side = r->kind == TRACE_ENDING || r->kind == TRACE_REFUSED;
    printf("%6" PRIu64 " %4" PRIu64 ".%06" PRIu64 "  %-*s %s\n", r->number, us / 1000000,
           us % 1000000, PATH_WIDTH, has_side ? trace_wire_name(r->wire) : "", clean);
}

static void show_message(struct show *s, const struct trace_view *v, bool match)
{
    const struct trace_record *r = v->record;
    const char *peer = peer_of(r->wire);
    char line[LINE_LEN];
    struct text t = text_in(line, sizeof(line));
    describe(v, &t);
    if (v->origin == ORIGIN_PEER && !s->o->all) {
        release(s);
        s->held = *r;
        s->holds = true;
        s->held_match = match;
        memcpy(s->line, line, sizeof(line));
        return;
    }
    bool joined = s->holds && (v->origin == ORIGIN_PASSED || v->origin == ORIGIN_CHANGED);
    if (joined) {
        match = match || s->held_match;
        s->holds = false;
    }
    release(s);
    if (v->origin == ORIGIN_CHANGED) {
        describe_change(v, &t);
    }
    if (!match) {
        return;
    }
    if (joined) { /* as it went; the times are those of its arrival */
        print_line(s, &s->held, peer_of(s->held.wire), peer, line);
    } else if (v->origin == ORIGIN_PEER) {
        print_line(s, r, peer, "vushim", line);
    } else {
        print_line(s, r, "vushim", peer, line);
    }
}

static void show_head(const struct show *s)
{
    char when[64];
    char device[sizeof(s->file->reader.device) + 8];
    time_t seconds = (time_t)(s->begin_ns / 1000000000);
    struct tm tm;
    if (s->o->json) {
        return;
    }
    if (localtime_r(&seconds, &tm) != NULL && strftime(when, sizeof(when), "%F %T %z", &tm) > 0) {
        trace_clean(s->file->reader.device, sizeof(device), device, sizeof(device));
        printf("# %s, from %s\n", device, when);
    }
}

/* What is between this record and the last one: another connection, or records that were lost without
 * a word (a file of the rotation that is no longer there). */
static void show_between(struct show *s)
{
    const struct trace_record *r = &s->record;
    uint64_t next = s->last_number + 1 + (r->kind == TRACE_GAP ? r->lost : 0);
    bool missing = s->n > 1 && r->number > next;
    bool another = s->n > 1 && r->life != s->last_life;
    s->last_number = r->number;
    s->last_life = r->life;
    if (s->o->json || (!missing && !another)) {
        return;
    }
    release(s);
    if (another) {
        printf("# connection %" PRIu32 "\n", r->life);
    }
    if (missing) {
        printf("# %" PRIu64 " records are missing here\n", r->number - next);
    }
}

static void show_record(struct show *s)
{
    struct trace_view v = trace_story_next(&s->story, &s->record);
    json_t *json = s->filter != NULL || s->o->json ? trace_json(&v) : NULL;
    bool match = s->filter == NULL || (json != NULL && trace_filter_matches(s->filter, json));
    if (s->n++ == 0) {
        s->begin_ns = s->record.time_ns;
        show_head(s);
    }
    show_between(s);
    if (s->o->json) {
        char *text = match && json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
        if (text != NULL) {
            puts(text);
        }
        free(text);
    } else if (s->record.kind == TRACE_MESSAGE) {
        show_message(s, &v, match);
    } else {
        release(s);
        if (match) {
            show_note(s, &s->record);
        }
    }
    json_decref(json);
}

/* ---- files that grow ---- */

/* The file of that name is another one by now, or was begun anew. */
static bool has_turned(const struct show *s)
{
    struct stat ours;
    struct stat there;
    return fstat(s->file->fd, &ours) == 0 && stat(s->path, &there) == 0 &&
           there.st_size >= HEAD_LEN &&
           (ours.st_ino != there.st_ino || ours.st_dev != there.st_dev ||
            (uint64_t)ours.st_size < s->file->reader.offset);
}

static bool open_successor(struct show *s)
{
    trace_file_close(s->file);
    s->file = trace_file_open("show", s->path);
    s->turned = 0;
    return s->file != NULL;
}

/* True when there may be more. A file that has a successor is read once more before it is left: its
 * last records may have come between the last reading and the renaming. */
static bool wait_for_more(struct show *s)
{
    struct pollfd out = { .fd = STDOUT_FILENO }; /* tells when nobody reads it any more */
    bool complete = s->file->reader.have == s->file->reader.used;
    if (s->turned > 0 && (complete || s->turned > LAST_LOOKS)) {
        return open_successor(s);
    }
    if (s->idle) {
        release(s); /* what is passed on is so at once */
    }
    s->idle = true;
    if (fflush(stdout) != 0) {
        return false;
    }
    s->turned = has_turned(s) ? s->turned + 1 : 0;
    return poll(&out, 1, LOOK_MS) <= 0 && !is_over;
}

static void begin_following(void)
{
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* What a reader that has gone did not take is no error: it has seen what it wanted. */
static void end_following(void)
{
    struct pollfd out = { .fd = STDOUT_FILENO };
    fflush(stdout);
    if (poll(&out, 1, 0) > 0 && (out.revents & POLLERR) != 0) {
        __fpurge(stdout);
        clearerr(stdout);
    }
}

static int show_all(struct show *s)
{
    for (;;) {
        enum trace_file_result result = trace_file_next(s->file, s->o->follow, &s->record);
        if (result == TRACE_FILE_RECORD && !is_over && !ferror(stdout)) {
            s->idle = false;
            show_record(s);
        } else if (result == TRACE_FILE_BAD) {
            release(s);
            return 2;
        } else if (!s->o->follow || is_over || ferror(stdout)) {
            release(s);
            return 0;
        } else if (!wait_for_more(s)) {
            release(s);
            return s->file != NULL ? 0 : 2;
        }
    }
}

int trace_show(const struct trace_options *o, const char *const *words)
{
    static struct show show;
    char why[256];
    show = (struct show){ .o = o };
    if (o->filter != NULL) {
        show.filter = trace_filter_parse(o->filter, why, sizeof(why));
        if (show.filter == NULL) {
            return usage_error("trace show: --filter: %s", why);
        }
    }
    trace_story_init(&show.story);
    show.file = trace_file_open("show", words[0]);
    if (show.file == NULL) {
        trace_filter_free(show.filter);
        return 2;
    }
    if (o->follow) {
        begin_following();
    }
    snprintf(show.path, sizeof(show.path), "%s", show.file->path);
    int status = show_all(&show);
    if (o->follow) {
        end_following();
    }
    trace_file_close(show.file);
    trace_filter_free(show.filter);
    return status;
}
