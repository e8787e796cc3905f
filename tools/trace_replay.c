/* SPDX-License-Identifier: MIT
 *
 * One side of a recording against a real peer. */
#include <inttypes.h>
#include <stdarg.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cmd_trace.h"
#include "endpoint.h"
#include "replay_play.h"
#include "show.h"
#include "text.h"

#define MAX_NOTES 6

struct notes {
    char text[MAX_NOTES][256];
    size_t n;
};

PRINTF_LIKE(2, 3) static void note(struct notes *notes, const char *format, ...)
{
    va_list args;
    if (notes->n < MAX_NOTES) {
        va_start(args, format);
        vsnprintf(notes->text[notes->n++], sizeof(notes->text[0]), format, args);
        va_end(args);
    }
}

/* ---- connecting ---- */

static int wait_for_peer(int listening, double timeout)
{
    struct pollfd p = { .fd = listening, .events = POLLIN };
    int n = poll(&p, 1, (int)(timeout * 1000));
    errno = n == 0 ? ETIMEDOUT : errno;
    return n <= 0 ? -1 : accept4(listening, NULL, NULL, SOCK_CLOEXEC);
}

static int connect_to(const struct endpoint *e, double timeout)
{
    struct sockaddr_un address;
    if (e->kind == ENDPOINT_FD) {
        return e->fd;
    }
    if (e->kind == ENDPOINT_FD_LISTENING) {
        return wait_for_peer(e->fd, timeout);
    }
    endpoint_address(e, &address);
    CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    if (e->kind == ENDPOINT_CONNECT) {
        return connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -1 : steal_fd(&fd);
    }
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        return -1;
    }
    int peer = listen(fd, 1) < 0 ? -1 : wait_for_peer(fd, timeout);
    int saved = errno;
    unlink(e->path);
    errno = saved;
    return peer;
}

/* ---- showing ---- */

static void add_notes(struct notes *notes, const struct replay *r)
{
    const struct replay_script *s = r->script;
    if (s->lost > 0) {
        note(notes, "%" PRIu64 " records are missing in the recording", s->lost);
    }
    if (s->redacted) {
        note(notes, "the recording is redacted: no rings can be found in memory");
    }
    if (s->more_lives) {
        note(notes, "connection %u of several was played (--life chooses)", s->life);
    }
    if (r->n_rings_reset > 0) {
        note(notes, "%zu rings were told to begin at 0, as stand-in memory is empty",
             r->n_rings_reset);
    }
    if (r->fds.others > 0) {
        note(notes, "%zu descriptors of unusual kinds were /dev/null", r->fds.others);
    }
    if (r->n_channel_left > 0) {
        note(notes, "%zu requests on the back-end channel did not come again", r->n_channel_left);
    }
}

static void show_difference(const struct difference *d)
{
    printf("difference at record %" PRIu64 " (%s): ", d->record, d->request);
    if (d->why[0] != '\0') {
        puts(d->why);
        return;
    }
    printf("%s: recorded %s, now %s%s%s\n", d->field, d->recorded, d->now,
           d->change[0] != '\0' ? ": " : "", d->change);
}

static void set_text(json_t *object, const char *key, const char *value)
{
    if (value[0] != '\0') {
        json_object_set_new(object, key, json_string(value));
    }
}

static void show_result_json(const struct replay *r, const struct difference *d,
                             const struct notes *notes)
{
    json_t *list = json_array();
    for (size_t i = 0; i < notes->n; i++) {
        json_array_append_new(list, json_string(notes->text[i]));
    }
    json_t *o =
        json_pack("{s:s, s:I, s:I, s:o}", "result", d != NULL ? "difference" : "same", "played",
                  (json_int_t)r->n_played, "compared", (json_int_t)r->n_compared, "notes", list);
    if (d != NULL) {
        json_object_set_new(o, "record", json_integer((json_int_t)d->record));
        set_text(o, "request", d->request);
        set_text(o, "field", d->field);
        set_text(o, "recorded", d->recorded);
        set_text(o, "now", d->now);
        set_text(o, "change", d->change);
        set_text(o, "why", d->why);
    }
    show_json(o);
}

static void show_result(const struct replay *r, const struct difference *d, bool json)
{
    struct notes notes = { .n = 0 };
    add_notes(&notes, r);
    if (json) {
        show_result_json(r, d, &notes);
        return;
    }
    if (d != NULL) {
        show_difference(d);
    } else {
        printf("same: %zu messages played, %zu came as recorded\n", r->n_played, r->n_compared);
    }
    for (size_t i = 0; i < notes.n; i++) {
        printf("note: %s\n", notes.text[i]);
    }
}

/* ---- the verb ---- */

static bool choose(const struct trace_options *o, struct replay_script *s)
{
    s->as_front = o->back != NULL;
    s->wire = s->as_front ? TRACE_BACK : TRACE_FRONT;
    if (o->wire != NULL && strcmp(o->wire, trace_wire_name(s->wire)) != 0) {
        s->wire = trace_across(s->wire);
        if (strcmp(o->wire, trace_wire_name(s->wire)) != 0) {
            usage_error("trace replay: --wire %s: it is front or back", o->wire);
            return false;
        }
    }
    if (o->life != NULL) {
        char *end = NULL;
        errno = 0;
        unsigned long life = strtoul(o->life, &end, 10);
        if (errno != 0 || *end != '\0' || life == 0 || life > UINT32_MAX) {
            usage_error("trace replay: --life %s: not the number of a connection, from 1", o->life);
            return false;
        }
        s->life = (uint32_t)life;
    }
    return true;
}

static int play(const struct trace_options *o, const struct replay_script *s, int fd)
{
    struct replay r;
    static struct difference d;
    replay_init_take(&r, s, fd, o->timeout);
    int result = replay_run(&r, &d);
    if (result == -EFBIG) {
        usage_error("trace replay: the recording wants more than %" PRIu64 " GiB of memory",
                    STANDINS_MAX_BYTES >> 30);
    } else if (result < 0) {
        usage_error("trace replay: cannot go on: %s", strerror(-result));
    } else {
        show_result(&r, result == REPLAY_DIFFERS ? &d : NULL, o->json);
    }
    replay_deinit(&r);
    return result < 0 ? 2 : result == REPLAY_DIFFERS;
}

int trace_replay(const struct trace_options *o, const char *const *words)
{
    char why[256];
    struct endpoint e;
    struct replay_script s = { .steps = NULL };
    const char *to = o->back != NULL ? o->back : o->front;
    if ((o->back == NULL) == (o->front == NULL)) {
        return usage_error("trace replay: say who the peer is (--back EP, or --front EP)");
    }
    if (!endpoint_parse(to, o->back != NULL ? ENDPOINT_CONNECT : ENDPOINT_LISTEN, &e, why,
                        sizeof(why))) {
        return usage_error("trace replay: %s: %s", to, why);
    }
    int status = 2;
    if (choose(o, &s) && replay_script_load(&s, words[0])) {
        int fd = connect_to(&e, o->timeout);
        status = fd < 0 ? usage_error("trace replay: %s: no connection: %s", to, strerror(errno))
                        : play(o, &s, fd);
    }
    replay_script_free(&s);
    return status;
}
