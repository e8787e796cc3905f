/* SPDX-License-Identifier: MIT
 *
 * Bytes and descriptors of a peer, in any pieces: read, checked, printed, written again. What comes
 * out is what went in, and no descriptor is left over.
 *
 * Input: one byte of options, then pieces: length, number of descriptors (0xff: as many as the
 * kernel sends), bytes. */
#include <string.h>

#include "check.h"
#include "frame.h"
#include "input.h"
#include "print.h"

#define TOTAL_MAX 16384
#define FDS_MAX 700

struct stream {
    struct input in;
    size_t piece; /* bytes left in it */
    size_t fds;   /* descriptors that come with its next byte */
    size_t fds_ever;
    uint8_t read[TOTAL_MAX];
    size_t n_read;
    uint8_t written[TOTAL_MAX];
    size_t n_written;
    size_t fds_written;
};

static void next_piece(struct stream *s)
{
    s->piece = input_u8(&s->in);
    uint8_t fds = input_u8(&s->in);
    s->fds = fds == 0xff ? WIRE_MAX_FDS : fds % 8;
    s->fds = s->fds_ever + s->fds <= FDS_MAX ? s->fds : 0;
    s->piece = s->piece < s->in.left ? s->piece : s->in.left;
}

static ssize_t stream_recv(void *opaque, void *buf, size_t len, int *fds, size_t *ret_n_fds,
                           bool *ret_lost)
{
    struct stream *s = opaque;
    if (s->piece == 0) {
        if (s->in.left < 3) {
            return 0;
        }
        next_piece(s);
        if (s->piece == 0) {
            return -EAGAIN;
        }
    }
    size_t n = s->piece < len ? s->piece : len;
    n = n < TOTAL_MAX - s->n_read ? n : TOTAL_MAX - s->n_read;
    if (n == 0) {
        return -ECONNRESET;
    }
    for (size_t i = 0; i < s->fds; i++) {
        fds[i] = fuzz_fd();
    }
    *ret_n_fds = s->fds;
    *ret_lost = false;
    s->fds_ever += s->fds;
    s->fds = 0;
    input_bytes(&s->in, buf, n);
    memcpy(s->read + s->n_read, buf, n);
    s->n_read += n;
    s->piece -= n;
    return (ssize_t)n;
}

static ssize_t stream_send(void *opaque, const void *head, size_t head_len, const void *body,
                           size_t body_len, const int *fds, size_t n_fds)
{
    struct stream *s = opaque;
    (void)fds;
    size_t len = head_len + body_len;
    size_t n = len > 1 ? (len + 1) / 2 : len; /* always in parts */
    size_t from_head = n < head_len ? n : head_len;
    memcpy(s->written + s->n_written, head, from_head);
    if (n > from_head) {
        memcpy(s->written + s->n_written + from_head, body, n - from_head);
    }
    s->n_written += n;
    s->fds_written += n_fds;
    return (ssize_t)n;
}

static const struct frame_ops ops = { .recv = stream_recv, .send = stream_send };

static void look_at(const struct msg *m)
{
    static char text[512];
    for (enum wire_space space = SPACE_FRONT; space <= SPACE_BACK; space++) {
        const struct message_row *row = message_row(space, m->head.request);
        struct check_fault fault = check_message(row, msg_is_reply(m), m);
        if (fault.result == CHECK_OK) {
            message_print(space, DEVICE_UNKNOWN, m, text, sizeof(text));
            fuzz_check(strlen(text) < sizeof(text));
        }
    }
}

static struct stream stream;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_reader reader = { .got = 0 };
    int lowest = fuzz_lowest_free_fd();
    memset(&stream, 0, sizeof(stream));
    stream.in = (struct input){ data, size };
    size_t expect = input_u8(&stream.in) % 2 ? FRAME_MAX_EXPECT : 0;
    int result = FRAME_OK;
    while (result == FRAME_OK || (result == FRAME_AGAIN && stream.in.left > 0)) {
        struct msg m = MSG_NULL;
        result = frame_read(&reader, &ops, &stream, expect, &m);
        if (result == FRAME_OK) {
            struct frame_writer writer = { .busy = false };
            fuzz_check(m.fds.n <= WIRE_MAX_FDS);
            look_at(&m);
            size_t fds = m.fds.n + stream.fds_written;
            frame_writer_take(&writer, &m);
            fuzz_check(frame_write(&writer, &ops, &stream) == FRAME_OK);
            fuzz_check(stream.fds_written == fds);
            fuzz_check(memcmp(stream.read, stream.written, stream.n_written) == 0);
        }
    }
    frame_reader_clear(&reader);
    fuzz_check(stream.n_written <= stream.n_read);
    fuzz_check(fuzz_lowest_free_fd() == lowest);
    return 0;
}
