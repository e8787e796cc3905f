/* SPDX-License-Identifier: MIT
 *
 * A trace file from anywhere, read in pieces: no record is more than the file, and each message can be
 * printed. Input: one byte, the size of a piece; then the file. */
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
        n++;
    }
    fuzz_check(n <= size / 60);
    fuzz_check(result == TRACE_END || result == TRACE_CUT || result == TRACE_FOREIGN ||
               (result == TRACE_BROKEN && reader.why != NULL));
    return 0;
}
