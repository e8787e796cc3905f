/* SPDX-License-Identifier: MIT */
#include "trace.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "log.h"
#include "trace_fds.h"
#include "trace_redact.h"

#define N_BUFFERS 16
#define BUFFER_LEN 65536
/* A file that is followed shows a message so much later. */
#define FLUSH_S 0.02
/* After a write that failed. */
#define RETRY_S 1.0
/* How long the end waits for a disk. */
#define PATIENCE_S 2.0
/* Most that one message makes: it comes, it goes, it is refused and the connection ends; or it comes,
 * it goes, a standby hears of it, is lost by that, and so is the switch to it. */
#define RECORDS_OF_A_MESSAGE ((size_t)6)

struct buffer {
    uint8_t *bytes;
    size_t used;
    bool new_file; /* the file is changed before it is written */
};

enum step { STEP_NONE, STEP_WRITE, STEP_RENAME, STEP_OPEN, STEP_CLOSE };

struct trace {
    struct trace_options options;
    char path[PATH_MAX];
    char old_path[PATH_MAX + 12], new_path[PATH_MAX + 12]; /* of the rename under way */
    char name[256];
    struct ev_loop *loop;
    const struct sink_ops *ops;
    struct sink *sink;
    int fd; /* owned; belongs to the sink while something is under way */
    ev_timer flush, retry;
    trace_room_fn *room;
    void *owner;
    struct buffer pool[N_BUFFERS]; /* a ring: `first` is the oldest, the last one is being filled */
    size_t first, n;               /* n: in use, the one being filled included */
    size_t written;                /* bytes of the oldest that are in the file */
    uint64_t planned;              /* bytes of the file once everything is written */
    enum step step;
    unsigned rename; /* its number, from the oldest file on */
    int error;       /* of the last write */
    bool waits;      /* somebody was told that it is full */
    uint64_t lost;   /* since the last record that found room */
    uint64_t number; /* of the last record */
    uint64_t records, lost_in_all, bytes;
    struct redaction redaction;
    struct trace_record record;
};

static void advance(struct trace *t);

static struct buffer *at(struct trace *t, size_t i)
{
    return &t->pool[(t->first + i) % N_BUFFERS];
}

/* ---- buffers ---- */

static void put_head(struct trace *t, struct buffer *b)
{
    b->used = trace_write_head(t->name, b->bytes, BUFFER_LEN);
    t->planned = b->used;
}

/* The buffer to fill, with room for the largest record; NULL when all are in use. */
static struct buffer *room(struct trace *t)
{
    struct buffer *b = t->n > 0 ? at(t, t->n - 1) : NULL;
    bool file_full = t->options.max > 0 && t->planned + TRACE_BLOCK_MAX > t->options.max;
    bool open = t->n > 1 || (t->n == 1 && t->step != STEP_WRITE);
    if (b != NULL && open && !file_full && b->used + TRACE_BLOCK_MAX <= BUFFER_LEN) {
        return b;
    }
    if (t->n == N_BUFFERS) {
        return NULL;
    }
    b = at(t, t->n++);
    b->used = 0;
    b->new_file = file_full;
    if (file_full) {
        put_head(t, b);
    }
    return b;
}

static void put(struct trace *t, struct buffer *b)
{
    t->record.number = ++t->number;
    size_t n = trace_write(&t->record, b->bytes + b->used, BUFFER_LEN - b->used);
    b->used += n;
    t->planned += n;
    t->records++;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* The numbers of lost records are left out, and the gap has the next one. */
static bool put_gap(struct trace *t)
{
    struct buffer *b = t->lost > 0 ? room(t) : NULL;
    if (b == NULL) {
        return t->lost == 0;
    }
    enum trace_kind kind = t->record.kind;
    size_t n_fds = t->record.n_fds;
    t->record.kind = TRACE_GAP;
    t->record.n_fds = 0;
    t->record.lost = t->lost;
    t->lost = 0;
    put(t, b);
    t->record.kind = kind;
    t->record.n_fds = n_fds;
    return true;
}

/* The record in t->record. */
static void put_record(struct trace *t)
{
    t->record.time_ns = now_ns();
    struct buffer *b = put_gap(t) ? room(t) : NULL;
    if (b == NULL) {
        t->lost++;
        t->lost_in_all++;
        t->number++;
        return;
    }
    put(t, b);
    if (t->n > 1) {
        advance(t);
    } else if (!ev_is_active(&t->flush)) {
        ev_timer_set(&t->flush, FLUSH_S, 0);
        ev_timer_start(t->loop, &t->flush);
    }
}

/* ---- to the file ---- */

static void submit(struct trace *t, enum step step, const struct sink_op *op)
{
    t->step = step;
    t->ops->submit(t->sink, op);
}

static void numbered(const struct trace *t, unsigned number, char *buf, size_t len)
{
    if (number == 0) {
        snprintf(buf, len, "%s", t->path);
    } else {
        snprintf(buf, len, "%s.%u", t->path, number);
    }
}

/* FILE.2 to FILE.3, FILE.1 to FILE.2, FILE to FILE.1, then a new FILE. */
static void rotate(struct trace *t)
{
    if (t->rename > 0) {
        t->rename--;
        numbered(t, t->rename, t->old_path, sizeof(t->old_path));
        numbered(t, t->rename + 1, t->new_path, sizeof(t->new_path));
        submit(
            t, STEP_RENAME,
            &(struct sink_op){ .kind = SINK_RENAME, .path = t->old_path, .new_path = t->new_path });
        return;
    }
    submit(t, STEP_OPEN, &(struct sink_op){ .kind = SINK_OPEN, .path = t->path });
}

/* Hands the oldest buffer over, or what must happen before. */
static void advance(struct trace *t)
{
    if (t->step != STEP_NONE || t->n == 0 || ev_is_active(&t->retry)) {
        return;
    }
    struct buffer *b = at(t, 0);
    if (b->new_file && t->fd >= 0) {
        t->rename = t->options.files - 1;
        submit(t, STEP_CLOSE, &(struct sink_op){ .kind = SINK_CLOSE, .fd = t->fd });
        t->fd = -1;
        return;
    }
    if (b->new_file) {
        rotate(t);
        return;
    }
    submit(t, STEP_WRITE,
           &(struct sink_op){ .kind = SINK_WRITE,
                              .fd = t->fd,
                              .buf = b->bytes + t->written,
                              .len = b->used - t->written });
}

static void say_error(struct trace *t, int err)
{
    if (t->error == 0) {
        log_warn(t->name, NULL, "trace %s: %s: %s (it is tried again every second)", t->path,
                 t->step == STEP_OPEN ? "cannot open a new file" : "cannot write", strerror(-err));
    }
    t->error = err;
    ev_timer_set(&t->retry, RETRY_S, 0);
    ev_timer_start(t->loop, &t->retry);
}

static void buffer_written(struct trace *t)
{
    t->written = 0;
    t->first = (t->first + 1) % N_BUFFERS;
    t->n--;
    if (t->waits) {
        t->waits = false;
        t->room(t->owner);
    }
}

static void done(void *owner, int64_t result)
{
    struct trace *t = owner;
    enum step step = t->step;
    if (step == STEP_WRITE && result >= 0) {
        t->written += (size_t)result;
        t->bytes += (uint64_t)result;
        if (t->error != 0) {
            log_info(t->name, NULL, "trace %s: writing again", t->path);
            t->error = 0;
        }
    } else if (step == STEP_OPEN && result >= 0) {
        t->fd = (int)result;
        at(t, 0)->new_file = false;
        t->error = 0;
    } else if (step == STEP_WRITE || step == STEP_OPEN) {
        say_error(t, (int)result);
    }
    /* A file that is not there cannot be renamed, and one that cannot be closed is gone all the same. */
    t->step = STEP_NONE;
    if (step == STEP_WRITE && result >= 0 && t->written == at(t, 0)->used) {
        buffer_written(t);
    }
    if (t->n > 1 || t->written > 0 || step != STEP_WRITE) {
        advance(t);
    } else if (t->n == 1 && !ev_is_active(&t->flush)) {
        ev_timer_set(&t->flush, FLUSH_S, 0);
        ev_timer_start(t->loop, &t->flush);
    }
}

static void on_flush(struct ev_loop *loop, ev_timer *w, int events)
{
    struct trace *t = w->data;
    (void)loop;
    (void)events;
    advance(t);
}

/* ---- records ---- */

void trace_of(struct trace *t, enum device_type device, uint32_t life)
{
    if (t != NULL) {
        t->record.device = device_id(device);
        t->record.life = life;
    }
}

static void begin(struct trace *t, enum trace_kind kind, enum trace_wire wire, bool sent)
{
    t->record.kind = kind;
    t->record.wire = wire;
    t->record.flags = sent ? TRACE_SENT : 0;
    t->record.n_fds = 0;
}

void trace_put_message(struct trace *t, enum trace_wire wire, bool sent, const struct msg *m)
{
    uint8_t redacted[WIRE_MAX_PAYLOAD];
    if (t == NULL) {
        return;
    }
    begin(t, TRACE_MESSAGE, wire, sent);
    t->record.head = m->head;
    t->record.body = m->body;
    if (m->fds.n > 0) {
        t->record.n_fds = trace_describe_fds(trace_space(wire), m, t->record.fds);
    }
    if (t->options.redact) {
        redact(&t->redaction, trace_space(wire), m, redacted);
        t->record.flags |= TRACE_REDACTED;
        t->record.body = redacted;
    }
    put_record(t);
    t->record.body = NULL;
}

void trace_put_text(struct trace *t, enum trace_kind kind, enum trace_wire wire, const char *name,
                    const char *text)
{
    if (t == NULL) {
        return;
    }
    begin(t, kind, wire, false);
    t->record.name = name;
    t->record.text = text;
    put_record(t);
    t->record.name = t->record.text = NULL;
}

bool trace_is_full(const struct trace *t)
{
    struct trace *mutable = (struct trace *)t;
    if (t == NULL || !t->options.lossless) {
        return false;
    }
    const struct buffer *last = t->n > 0 ? at(mutable, t->n - 1) : NULL;
    bool full =
        t->n == N_BUFFERS && last->used + RECORDS_OF_A_MESSAGE * TRACE_BLOCK_MAX > BUFFER_LEN;
    mutable->waits = mutable->waits || full;
    return full;
}

/* ---- start and stop ---- */

/* The file as it was given, emptied as one of ours is; a fifo cannot be. */
static int take_file(int fd)
{
    return ftruncate(fd, 0) < 0 && errno != EINVAL ? -errno : fd;
}

static bool open_sink(struct trace *t, char *why, size_t why_len)
{
    int err = 0;
    t->ops = &sink_uring;
    t->sink = t->ops->start(t->loop, done, t, &err);
    if (t->sink == NULL) {
        log_info(t->name, NULL, "trace %s: no io_uring (%s), written by a thread", t->path,
                 strerror(-err));
        t->ops = &sink_thread;
        t->sink = t->ops->start(t->loop, done, t, &err);
    }
    if (t->sink == NULL) {
        snprintf(why, why_len, "trace %s: cannot start a writer: %s", t->path, strerror(-err));
        return false;
    }
    const struct trace_options *o = &t->options;
    t->fd = o->has_fd ? take_file(o->fd) : sink_open_now(t->path);
    if (t->fd < 0) {
        bool sandboxed = t->fd == -EACCES && o->confined && !o->has_fd;
        snprintf(why, why_len, "trace %s: %s%s", t->path, strerror(-t->fd),
                 sandboxed ? " (vushim's sandbox lets it write beside its --trace and in its "
                             "--trace-dir only)"
                           : "");
        return false;
    }
    return true;
}

static bool make_buffers(struct trace *t)
{
    uint8_t *bytes = malloc((size_t)N_BUFFERS * BUFFER_LEN);
    for (size_t i = 0; bytes != NULL && i < N_BUFFERS; i++) {
        t->pool[i].bytes = bytes + i * BUFFER_LEN;
    }
    return bytes != NULL;
}

static void destroy(struct trace *t)
{
    ev_timer_stop(t->loop, &t->flush);
    ev_timer_stop(t->loop, &t->retry);
    if (t->sink != NULL) {
        t->ops->stop(t->sink);
    }
    close_keep_errno(t->fd);
    free(t->pool[0].bytes);
    free(t);
}

struct trace *trace_start(struct ev_loop *loop, const struct trace_options *options,
                          const char *name, trace_room_fn *room_again, void *owner, char *why,
                          size_t why_len)
{
    struct trace *t = calloc(1, sizeof(*t));
    if (t == NULL) {
        snprintf(why, why_len, "trace: out of memory");
        return NULL;
    }
    t->fd = -1;
    t->loop = loop;
    t->options = *options;
    t->room = room_again;
    t->owner = owner;
    ev_timer_init(&t->flush, on_flush, FLUSH_S, 0);
    ev_timer_init(&t->retry, on_flush, RETRY_S, 0);
    t->flush.data = t->retry.data = t;
    snprintf(t->name, sizeof(t->name), "%s", name);
    int n = snprintf(t->path, sizeof(t->path), "%s", options->path);
    bool keyed = getrandom(&t->redaction, sizeof(t->redaction), 0) == sizeof(t->redaction);
    if (n >= (int)sizeof(t->path) || !keyed || !make_buffers(t)) {
        snprintf(why, why_len, "trace %.100s: %s", options->path,
                 n >= (int)sizeof(t->path) ? "the path is too long" : "out of memory");
        destroy(t);
        return NULL;
    }
    if (!open_sink(t, why, why_len)) {
        destroy(t);
        return NULL;
    }
    put_head(t, at(t, t->n++));
    return t;
}

/* False when the disk does not take it in time: what the sink still holds must stay then. */
static bool finish(struct trace *t)
{
    double until = monotonic_s() + PATIENCE_S;
    put_gap(t);
    while (t->n > 0 || t->step != STEP_NONE) {
        ev_timer_stop(t->loop, &t->retry);
        advance(t);
        double left = until - monotonic_s();
        if (left <= 0 || !t->ops->wait(t->sink, left)) {
            return t->step == STEP_NONE;
        }
        if (t->error != 0) {
            return true;
        }
    }
    return true;
}

void trace_stop(struct trace *t)
{
    if (t == NULL) {
        return;
    }
    bool over = finish(t);
    t->lost_in_all += t->lost;
    if (t->n > 0 || t->lost_in_all > 0) {
        log_warn(t->name, NULL, "trace %s: %" PRIu64 " records, %" PRIu64 " lost%s", t->path,
                 t->records, t->lost_in_all,
                 t->n > 0 ? ", and the last ones could not be written" : "");
    }
    if (!over) { /* the kernel, or the thread, may still use the buffers */
        ev_timer_stop(t->loop, &t->flush);
        ev_timer_stop(t->loop, &t->retry);
        t->ops->stop(t->sink);
        return;
    }
    destroy(t);
}

struct trace_status trace_status(const struct trace *t)
{
    return (struct trace_status){ .path = t->path,
                                  .sink = t->ops->name,
                                  .records = t->records,
                                  .lost = t->lost_in_all,
                                  .bytes = t->bytes,
                                  .error = t->error };
}
