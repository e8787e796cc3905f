/* SPDX-License-Identifier: MIT
 *
 * A trace file from anywhere, read in pieces: no record is more than the file, each message can be
 * printed, and what has been read can be written and read again as it was. Input: one byte, the size of a piece; then the file. */
#include <string.h>

#include "input.h"
#include "print.h"
#include "traceformat.h"

struct file {
    const uint8_t *at;
    size_t left, piece;
};

static int64_t read_file(void *from, uint8_t *buf, size_t len)
{
    struct file *f = from;
    size_t n = len < f->left ? len : f->left;
    n = n < f->piece ? n : f->piece;
    memcpy(buf, f->at, n);
    f->at += n;
    f->left -= n;
    return (int64_t)n;
}

static void check_same(const struct trace_record *a, const struct trace_record *b)
{
    fuzz_check(a->kind == b->kind && a->wire == b->wire && a->number == b->number);
    fuzz_check(a->time_ns == b->time_ns && a->life == b->life && a->lost == b->lost);
    fuzz_check(a->device == b->device && a->flags == b->flags && a->n_fds == b->n_fds);
    for (size_t i = 0; i < a->n_fds; i++) {
        fuzz_check(a->fds[i].role == b->fds[i].role && a->fds[i].kind == b->fds[i].kind);
        fuzz_check(a->fds[i].inode == b->fds[i].inode && a->fds[i].size == b->fds[i].size);
    }
    fuzz_check(strcmp(a->name, b->name) == 0 && strcmp(a->text, b->text) == 0);
    if (a->kind == TRACE_MESSAGE) {
        fuzz_check(memcmp(&a->head, &b->head, sizeof(a->head)) == 0);
        fuzz_check(memcmp(a->body, b->body, a->head.size) == 0);
    }
}

static void check_written(const struct trace_record *r)
{
    static uint8_t bytes[2 * TRACE_BLOCK_MAX];
    static struct trace_reader reader;
    static struct trace_record again;
    size_t head = trace_write_head("net0", bytes, TRACE_BLOCK_MAX);
    size_t block = trace_write(r, bytes + head, TRACE_BLOCK_MAX);
    struct file file = { .at = bytes, .left = head + block, .piece = sizeof(bytes) };
    fuzz_check(head > 0 && block > 0);
    trace_reader_init(&reader, read_file, &file);
    fuzz_check(trace_reader_next(&reader, &again) == TRACE_OK);
    check_same(r, &again);
    fuzz_check(trace_reader_next(&reader, &again) == TRACE_END);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct trace_reader reader;
    static struct trace_record record;
    if (size < 1) {
        return 0;
    }
    struct file file = { .at = data + 1, .left = size - 1, .piece = data[0] * 16u + 1 };
    size_t n = 0;
    int result;
    trace_reader_init(&reader, read_file, &file);
    while ((result = trace_reader_next(&reader, &record)) == TRACE_OK) {
        char text[2048];
        struct msg m = trace_message(&record);
        enum device_type device = DEVICE_UNKNOWN;
        device_of_id(record.device, &device);
        if (record.kind == TRACE_MESSAGE) {
            message_print(trace_space(record.wire), device, &m, text, sizeof(text));
        } else {
            fuzz_check(strlen(record.name) + strlen(record.text) <= 2 * TRACE_TEXT_MAX);
        }
        check_written(&record);
        n++;
    }
    fuzz_check(n <= size / 60);
    fuzz_check(result == TRACE_END || result == TRACE_CUT || result == TRACE_FOREIGN ||
               (result == TRACE_BROKEN && reader.why != NULL));
    return 0;
}
