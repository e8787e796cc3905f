/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"
#include "trace_filter.h"

static const char record[] =
    "{\"request\": \"SET_VRING_NUM\", \"id\": 8, \"reply\": false, \"need_reply\": true,"
    " \"wire\": \"back channel\", \"fields\": {\"index\": 1, \"guest_addr\": \"0x7f00\","
    " \"features\": {\"value\": \"0x3\", \"names\": [\"csum\", \"mq\"]}},"
    " \"fds\": [{\"role\": \"kick\", \"inode\": 7}, {\"role\": \"call\", \"inode\": 9}],"
    " \"latency_ns\": 1500000}";

static const struct {
    const char *filter;
    bool matches;
} wanted[] = {
    { "request == SET_VRING_NUM", true },
    { "request == GET_FEATURES", false },
    { "request == \"unknown(99)\"", false },
    { "request contains set_vring", false },
    { "request != GET_FEATURES", true },
    { "request contains VRING", true },
    { "wire == \"back channel\"", true },
    { "id == 8", true },
    { "id == 0x8", true },
    { "id < 8", false },
    { "id <= 8 && id >= 8", true },
    { "latency_ns > 1000000", true },
    { "latency_ns > 20000000", false },
    { "fields.index == 1", true },
    { "fields.guest_addr == 32512", true },
    { "fields.guest_addr > 0x7eff", true },
    { "fields.features == 3", true },
    { "fields.features.names == mq", true },
    { "fields.features.names == packed", false },
    { "fds.role == call", true },
    { "fds.inode > 8", true },
    { "fds", true },
    { "need_reply", true },
    { "reply", false },
    { "!reply", true },
    { "!!reply", false },
    { "lost", false },
    { "lost != 5", false },
    { "reply == false", true },
    { "reply || need_reply", true },
    { "reply && need_reply", false },
    { "reply && reply || need_reply", true },
    { "need_reply || reply && reply", true },
    { "(need_reply || reply) && reply", false },
    { " ( ( id==8 ) ) ", true },
};

static void filters_choose(void **state)
{
    json_t *json = json_loads(record, 0, NULL);
    (void)state;
    assert_non_null(json);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        char why[128];
        struct trace_filter *f = trace_filter_parse(wanted[i].filter, why, sizeof(why));
        unit_check(f != NULL, "%s: %s", wanted[i].filter, why);
        unit_check(trace_filter_matches(f, json) == wanted[i].matches, "%s", wanted[i].filter);
        trace_filter_free(f);
    }
    json_decref(json);
}

static const struct {
    const char *filter, *why;
} wrong[] = {
    { "", "column 1: a member's name is wanted" },
    { "id ==", "column 6: a value is wanted" },
    { "id == 8 &&", "column 11: a member's name" },
    { "id == 8 wire", "column 9: && or || is wanted" },
    { "(id == 8", "column 9: a closing bracket" },
    { "id = 8", "column 4: && or || is wanted" },
    { "id == \"8", "column 7: a value is wanted" },
    { "!", "column 2: a member's name" },
    { "reply && wyre == front", "column 10: no record has the member wyre (see" },
    { "fields.indx == 1", "column 1: no record has the member fields.indx" },
    { "fields.padding == 1", "column 1: no record has the member fields.padding" },
    { "fields.regions.index == 1", "column 1: no record has the member fields.regions.index" },
    { "fds.names", "column 1: no record has the member fds.names" },
    { "request == SET_VRING_KIK", "column 12: no record has the message SET_VRING_KIK" },
};

static void wrong_ones_name_the_column(void **state)
{
    char why[128];
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_null(trace_filter_parse(wrong[i].filter, why, sizeof(why)));
        unit_check(strstr(why, wrong[i].why) == why, "%s: %s", wrong[i].filter, why);
    }
}

static void depth_and_length_are_limited(void **state)
{
    static char text[20000];
    char why[128];
    (void)state;
    memset(text, '(', 10000);
    assert_null(trace_filter_parse(text, why, sizeof(why)));
    assert_non_null(strstr(why, "too long"));
    memset(text, '!', 10000);
    assert_null(trace_filter_parse(text, why, sizeof(why)));
    memset(text, 0, sizeof(text));
    for (size_t i = 0; i < 1000; i++) {
        strcat(text, i == 0 ? "id" : "||id");
    }
    assert_null(trace_filter_parse(text, why, sizeof(why)));
    assert_non_null(strstr(why, "too long"));
    memset(text, 'a', 1000);
    text[1000] = '\0';
    assert_null(trace_filter_parse(text, why, sizeof(why)));
}

static const struct unit_test tests[] = {
    UNIT(filters_choose),
    UNIT(wrong_ones_name_the_column),
    UNIT(depth_and_length_are_limited),
};

UNIT_MAIN("trace_filter", tests)
