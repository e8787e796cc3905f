/* SPDX-License-Identifier: MIT */
#include "replay_fds.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

static const struct standin nothing = { .fd = -1, .far = -1 };

void standins_init(struct standins *s)
{
    *s = (struct standins){ .channel = -1, .drain = -1 };
    for (size_t i = 0; i < STANDINS_MAX; i++) {
        s->at[i] = nothing;
    }
}

static void drop(struct standins *s, struct standin *one)
{
    s->drain = one->far >= 0 && one->far == s->drain ? -1 : s->drain;
    s->bytes -= one->size;
    close_keep_errno(one->fd);
    close_keep_errno(one->far);
    *one = nothing;
}

void standins_deinit(struct standins *s)
{
    for (size_t i = 0; i < STANDINS_MAX; i++) {
        drop(s, &s->at[i]);
    }
    s->channel = close_keep_errno(s->channel);
}

static enum standin_kind kind_by_file(enum trace_fd_kind kind)
{
    switch (kind) {
    case TRACE_FD_EVENTFD:
        return AS_EVENTFD;
    case TRACE_FD_MEMFD:
    case TRACE_FD_HUGETLB:
    case TRACE_FD_FILE:
        return AS_MEMORY;
    case TRACE_FD_SOCKET:
    case TRACE_FD_PIPE:
        return AS_SOCKET;
    case TRACE_FD_OTHER:
    case N_TRACE_FD_KINDS:
        break;
    }
    return AS_NULL;
}

static enum standin_kind kind_of(const struct trace_fd *fd)
{
    switch (fd->role) {
    case ROLE_MEMORY:
    case ROLE_LOG:
    case ROLE_INFLIGHT:
    case ROLE_NOTIFIER:
    case ROLE_SHARED_MEMORY:
        return AS_MEMORY;
    case ROLE_KICK:
    case ROLE_CALL:
    case ROLE_ERR:
    case ROLE_LOG_EVENT:
        return AS_EVENTFD;
    case ROLE_CHANNEL:
        return AS_CHANNEL;
    case ROLE_GPU_SOCKET:
        return AS_SOCKET;
    case ROLE_STATE:
        return AS_STATE;
    case ROLE_USERFAULTFD:
    case ROLE_DMABUF:
        return AS_NULL;
    case ROLE_NONE:
        break;
    }
    return kind_by_file(fd->kind);
}

/* What the message says of the file of descriptor `i`: offsets and sizes added up, UINT64_MAX when
 * that wraps. */
static uint64_t needed(const struct replay_step *step, size_t i)
{
    const struct message_row *row = message_row(step->space, step->head.request);
    struct msg m = replay_step_message(step);
    uint64_t sum = 0;
    if (row == NULL) {
        return 0;
    }
    const struct payload *p = message_payload(row, replay_step_is_reply(step));
    if (p->tail == TAIL_REPEAT) {
        const struct payload *element = &payloads[p->tail_element];
        size_t at = p->fixed + i * element->fixed;
        if (at + element->fixed > m.head.size) {
            return 0;
        }
        m.body += at;
        m.head.size -= (uint32_t)at;
        p = element;
    }
    for (size_t k = 0; k < p->n_fields; k++) {
        if (p->fields[k].kind == KIND_SIZE &&
            __builtin_add_overflow(sum, field_get(&m, &p->fields[k]), &sum)) {
            return UINT64_MAX;
        }
    }
    return sum;
}

/* Memory grows, never shrinks: two regions may be of one file. */
static int resize(struct standins *s, struct standin *one, uint64_t size)
{
    if (size <= one->size) {
        return 0;
    }
    if (size > STANDINS_MAX_BYTES || s->bytes - one->size > STANDINS_MAX_BYTES - size) {
        return -EFBIG;
    }
    if (ftruncate(one->fd, (off_t)size) < 0) {
        return -errno;
    }
    s->bytes += size - one->size;
    one->size = size;
    return 0;
}

static int make(struct standins *s, enum standin_kind kind, struct standin *one)
{
    int pair[2] = { -1, -1 };
    switch (kind) {
    case AS_MEMORY:
        one->fd = memfd_create("vushim-replay", MFD_CLOEXEC);
        break;
    case AS_EVENTFD:
        one->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        break;
    case AS_NULL:
        one->fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        s->others++;
        break;
    case AS_SOCKET:
    case AS_STATE:
    case AS_CHANNEL:
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
            one->fd = pair[0];
            one->far = pair[1];
        }
        break;
    }
    return one->fd < 0 ? -errno : 0;
}

/* The channel is handed to who plays it; of a state nobody knows the bytes: reading it is at its
 * end at once, and what is written goes nowhere. */
static void appoint(struct standins *s, enum standin_kind kind, struct standin *one)
{
    if (kind == AS_CHANNEL) {
        close_keep_errno(s->channel);
        s->channel = steal_fd(&one->far);
    } else if (kind == AS_STATE) {
        shutdown(one->far, SHUT_WR);
        s->drain = one->far;
    }
}

/* Inodes of eventfds and of files are numbers of different kinds. */
static struct standin *find(struct standins *s, enum standin_kind kind, uint64_t inode)
{
    for (size_t i = 0; inode != 0 && i < STANDINS_MAX; i++) {
        if (s->at[i].fd >= 0 && s->at[i].kind == kind && s->at[i].inode == inode) {
            return &s->at[i];
        }
    }
    return NULL;
}

static struct standin *next_slot(struct standins *s)
{
    struct standin *one = &s->at[s->next++ % STANDINS_MAX];
    drop(s, one);
    return one;
}

/* The stand-in of descriptor `i` of a step, of its own or one that was there. */
static int stand_in(struct standins *s, const struct replay_step *step, size_t i,
                    struct standin **ret_one)
{
    const struct trace_fd *recorded = &step->fds[i];
    enum standin_kind kind = kind_of(recorded);
    struct standin *one = kind == AS_CHANNEL ? NULL : find(s, kind, recorded->inode);
    if (one == NULL) {
        one = next_slot(s);
        int err = make(s, kind, one);
        if (err < 0) {
            return err;
        }
        one->kind = kind;
        one->inode = recorded->inode;
        appoint(s, kind, one);
    }
    *ret_one = one;
    if (kind != AS_MEMORY || one->theirs) {
        return 0;
    }
    uint64_t need = needed(step, i);
    return resize(s, one, need > recorded->size ? need : recorded->size);
}

int standins_attach(struct standins *s, const struct replay_step *step, struct msg *m)
{
    for (size_t i = 0; i < step->n_fds; i++) {
        struct standin *one = NULL;
        int err = stand_in(s, step, i, &one);
        if (err < 0) {
            return err;
        }
        int fd = fcntl(one->fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0) {
            return -errno;
        }
        err = fdset_append_take(&m->fds, &fd, 1);
        if (err < 0) {
            close(fd);
            return err;
        }
    }
    return 0;
}

void standins_keep_take(struct standins *s, const struct trace_fd *recorded, int fd)
{
    enum standin_kind kind = kind_of(recorded);
    struct standin *one = find(s, kind, recorded->inode);
    if (one != NULL) {
        drop(s, one);
    } else {
        one = next_slot(s);
    }
    *one = (struct standin){
        .kind = kind, .theirs = true, .inode = recorded->inode, .fd = fd, .far = -1
    };
}
