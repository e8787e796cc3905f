/* SPDX-License-Identifier: MIT */
#include "replay_script.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "trace_file.h"

/* A session is some hundred messages; a migration's dirty logging or postcopy some thousand. */
#define SCRIPT_MAX_BYTES ((size_t)64 << 20)

/* The channel's end at the same place as this wire. */
static enum trace_wire channel_of(enum trace_wire wire)
{
    return wire == TRACE_BACK ? TRACE_BACK_CHANNEL : TRACE_FRONT_CHANNEL;
}

static void *copy(const void *from, size_t len)
{
    void *to = malloc(len > 0 ? len : 1);
    if (to != NULL && len > 0) {
        memcpy(to, from, len);
    }
    return to;
}

static bool grow(struct replay_script *s)
{
    if ((s->n & (s->n - 1)) != 0) {
        return true; /* room doubles at each power of two */
    }
    size_t room = s->n == 0 ? 1 : 2 * s->n;
    struct replay_step *steps = realloc(s->steps, room * sizeof(*steps));
    s->steps = steps != NULL ? steps : s->steps;
    return steps != NULL;
}

/* At the back-end's wire the shim sends what the front-end says; at the front-end's it receives. */
static bool is_ours(const struct replay_script *s, const struct trace_record *r)
{
    bool of_front = (s->wire == TRACE_BACK) == ((r->flags & TRACE_SENT) != 0);
    return of_front == s->as_front;
}

static bool add(struct replay_script *s, const struct trace_record *r)
{
    size_t fds_len = r->n_fds * sizeof(r->fds[0]);
    s->bytes += sizeof(struct replay_step) + r->head.size + fds_len;
    if (s->bytes > SCRIPT_MAX_BYTES || !grow(s)) {
        return false;
    }
    struct replay_step step = { .number = r->number,
                                .space = trace_space(r->wire),
                                .ours = is_ours(s, r),
                                .head = r->head,
                                .body = copy(r->body, r->head.size),
                                .fds = copy(r->fds, fds_len),
                                .n_fds = r->n_fds };
    s->steps[s->n++] = step;
    return step.body != NULL && step.fds != NULL;
}

static bool take(struct replay_script *s, const struct trace_record *r)
{
    enum device_type device;
    if (r->device != 0 && device_of_id(r->device, &device)) {
        s->device = device;
    }
    if (r->kind == TRACE_GAP && s->n > 0) {
        s->lost += r->lost;
    }
    if (r->kind != TRACE_MESSAGE || (r->wire != s->wire && r->wire != channel_of(s->wire))) {
        return true;
    }
    s->life = s->life == 0 ? r->life : s->life;
    s->more_lives |= r->life != s->life;
    s->redacted |= (r->flags & TRACE_REDACTED) != 0;
    return r->life != s->life || add(s, r);
}

bool replay_script_load(struct replay_script *s, const char *path)
{
    static struct trace_record record;
    enum trace_file_result result = TRACE_FILE_BAD;
    struct trace_file *f = trace_file_open("replay", path);
    bool ok = f != NULL;
    s->device = DEVICE_UNKNOWN;
    while (ok && (result = trace_file_next(f, false, &record)) == TRACE_FILE_RECORD) {
        ok = take(s, &record);
        if (!ok) {
            usage_error("trace replay: %s: too large at record %" PRIu64 " (replay a part of it)",
                        path, record.number);
        }
    }
    trace_file_close(f);
    ok = ok && result == TRACE_FILE_END;
    if (ok && s->n == 0) {
        usage_error("trace replay: %s: no message at the %s-end's wire (see --wire and --life)",
                    path, trace_wire_name(s->wire));
        ok = false;
    }
    return ok;
}

void replay_script_free(struct replay_script *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->steps[i].body);
        free(s->steps[i].fds);
    }
    free(s->steps);
    s->steps = NULL;
    s->n = 0;
}

struct msg replay_step_message(const struct replay_step *step)
{
    return (struct msg){ .head = step->head, .body = step->body, .fds = { .n = step->n_fds } };
}

bool replay_script_resends(const struct replay_script *s, const struct replay_step *step,
                           const struct trace_fd *fd)
{
    /* Few messages that come have descriptors, so this is no long walk. */
    for (const struct replay_step *later = step + 1; later < s->steps + s->n; later++) {
        for (size_t i = 0; later->ours && i < later->n_fds; i++) {
            if (later->fds[i].inode == fd->inode && later->fds[i].role == fd->role) {
                return true;
            }
        }
    }
    return false;
}
