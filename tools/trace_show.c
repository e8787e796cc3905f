/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>

#include "cmd_trace.h"
#include "print.h"
#include "trace_file.h"
#include "trace_story.h"

int trace_show(const struct trace_options *o, const char *const *words)
{
    static struct trace_story story;
    static struct trace_record record;
    struct trace_file *f = trace_file_open("show", words[0]);
    enum trace_file_result result = TRACE_FILE_BAD;
    (void)o;
    trace_story_init(&story);
    while (f != NULL && (result = trace_file_next(f, false, &record)) == TRACE_FILE_RECORD) {
        struct trace_view v = trace_story_next(&story, &record);
        char line[2048];
        struct msg m = trace_message(&record);
        if (record.kind == TRACE_MESSAGE) {
            message_print(trace_space(record.wire), v.device, &m, line, sizeof(line));
        } else {
            snprintf(line, sizeof(line), "%s %s", record.name, record.text);
        }
        printf("%" PRIu64 " %s %s %s\n", record.number, trace_wire_name(record.wire),
               (record.flags & TRACE_SENT) != 0 ? "<" : ">", line);
    }
    trace_file_close(f);
    return result == TRACE_FILE_END ? 0 : 2;
}
