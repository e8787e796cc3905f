/* SPDX-License-Identifier: MIT */
#include "cmd_trace.h"

#include <string.h>

#include "commands.h"
#include "util.h"

#define MAX_WORDS 2
#define REPLAY_TIMEOUT_S 5.0

static const struct verb {
    const char *name;
    size_t n_words; /* behind it */
    int (*run)(const struct trace_options *o, const char *const *words);
    const char *usage;
} verbs[] = {
    { "show", 1, trace_show, "vushim trace show FILE" },
    { "diagram", 1, trace_diagram, "vushim trace diagram FILE" },
    { "diff", 2, trace_diff, "vushim trace diff A B" },
    { "replay", 1, trace_replay, "vushim trace replay FILE --back EP|--front EP" },
};

int cmd_trace(const struct command *command, int argc, char **argv)
{
    const char *words[MAX_WORDS + 1];
    struct trace_options o = { .json = false, .timeout = REPLAY_TIMEOUT_S };
    size_t n = 0;
    const struct option_row rows[] = {
        { "json", NULL, "as JSON", OPTION_FLAG, false, &o.json },
        { "filter", "EXPR", "show: only records like \"request == SET_VRING_KICK && reply\"",
          OPTION_TEXT, false, &o.filter },
        { "follow", NULL, "show: go on as the file grows", OPTION_FLAG, false, &o.follow },
        { "all", NULL, "show: what is passed on as two lines, as it came and as it went",
          OPTION_FLAG, false, &o.all },
        { "format", "FORMAT", "of a diagram: svg (the default) or mermaid", OPTION_TEXT, false,
          &o.format },
        { "output", "FILE", "where to write (default: standard output)", OPTION_TEXT, false,
          &o.output },
        { "back", "EP", "act as the front-end towards this back-end (replay)", OPTION_TEXT, false,
          &o.back },
        { "front", "EP", "act as the back-end towards this front-end (replay)", OPTION_TEXT, false,
          &o.front },
        { "wire", "front|back", "what was said at this end of vushim (replay)", OPTION_TEXT, false,
          &o.wire },
        { "life", "N", "only the Nth connection of the device", OPTION_TEXT, false, &o.life },
        { "timeout", "SECONDS", "how long to wait for each answer (replay; 5)", OPTION_SECONDS,
          false, &o.timeout },
    };
    enum options_result parsed =
        options_parse(command, rows, ARRAY_SIZE(rows), argc, argv, words, ARRAY_SIZE(words), &n);
    if (parsed != OPTIONS_OK) {
        return parsed;
    }
    for (size_t i = 0; i < ARRAY_SIZE(verbs) && n > 0; i++) {
        if (strcmp(words[0], verbs[i].name) != 0) {
            continue;
        }
        if (n - 1 != verbs[i].n_words) {
            return usage_error("trace %s: wrong number of arguments (%s)", words[0],
                               verbs[i].usage);
        }
        return verbs[i].run(&o, words + 1);
    }
    return usage_error("trace: say what to do (see vushim trace --help)");
}
