/* SPDX-License-Identifier: MIT
 *
 * Writes a trace with every message of the table to standard output: each request and its answer,
 * received and passed on, and after them one record of every other kind. For the tests of what reads
 * traces.
 *
 *   tracesample [DEVICE]     kind of device for the names of features (default net) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "feature.h"
#include "sample.h"
#include "traceformat.h"

static uint64_t number;
static struct trace_record record;

static void write_record(void)
{
    uint8_t block[TRACE_BLOCK_MAX];
    record.number = ++number;
    record.time_ns = UINT64_C(1700000000123456789) + number * 1000;
    record.life = 1;
    size_t n = trace_write(&record, block, sizeof(block));
    if (n == 0 || fwrite(block, 1, n, stdout) != n) {
        exit(1);
    }
}

static void write_message(const struct message_row *row, enum trace_wire from, bool reply)
{
    struct msg m = sample_message(row, reply);
    m.head.flags |= WIRE_VERSION;
    record.kind = TRACE_MESSAGE;
    record.head = m.head;
    record.body = m.body;
    record.n_fds = m.fds.n;
    for (size_t i = 0; i < m.fds.n; i++) {
        record.fds[i] = (struct trace_fd){ .role = message_fds(row, reply)->role,
                                           .kind = TRACE_FD_EVENTFD,
                                           .inode = 1000 + i };
    }
    record.wire = from;
    record.flags = 0;
    write_record();
    record.wire = trace_across(from);
    record.flags = TRACE_SENT;
    write_record();
    msg_clear(&m);
}

int main(int argc, char **argv)
{
    uint8_t head[TRACE_BLOCK_MAX];
    enum device_type device = DEVICE_NET;
    enum wire_space space;
    const struct message_row *row;
    if (argc > 1 && !device_of_name(argv[1], strlen(argv[1]), &device)) {
        return 2;
    }
    record.device = device_id(device);
    size_t n = trace_write_head("sample", head, sizeof(head));
    fwrite(head, 1, n, stdout);
    for (size_t i = 0; (row = sample_row(i, &space)) != NULL; i++) {
        enum trace_wire asks = space == SPACE_FRONT ? TRACE_FRONT : TRACE_BACK_CHANNEL;
        write_message(row, asks, false);
        write_message(row, trace_across(asks), true);
    }
    record.n_fds = 0;
    record.wire = TRACE_FRONT;
    record.flags = 0;
    for (unsigned kind = TRACE_ENDING; kind <= TRACE_EVENT; kind++) {
        record.kind = (enum trace_kind)kind;
        record.name = kind == TRACE_ENDING ? "LEFT" : kind == TRACE_REFUSED ? "REFUSED" : "START";
        record.text = "SET_VRING_NUM: ring 0 of 512, at most 256";
        write_record();
    }
    record.kind = TRACE_GAP;
    record.lost = 7;
    number += 7;
    write_record();
    return 0;
}
