/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "profiles.h"
#include "run.h"

#define WAIT_S 10.0
#define SLOW_AFTER_S 5.0

/* "net0" from "listen:/run/vm1/net0.sock", or the endpoint as it is written. */
static const char *default_name(const struct endpoint *e, char *buf, size_t len)
{
    const char *slash = strrchr(e->path, '/');
    if (e->path[0] == '\0') {
        endpoint_print(e, buf, len);
        return buf;
    }
    snprintf(buf, len, "%s", slash != NULL ? slash + 1 : e->path);
    char *dot = strrchr(buf, '.');
    if (dot != NULL && dot != buf) {
        *dot = '\0';
    }
    return buf;
}

static bool parse_endpoint(const char *option, const char *text, enum endpoint_kind bare,
                           struct endpoint *ret_endpoint)
{
    char why[256];
    if (text == NULL) {
        usage_error("run: %s is missing (listen:PATH, connect:PATH or fd:N)", option);
        return false;
    }
    if (!endpoint_parse(text, bare, ret_endpoint, why, sizeof(why))) {
        usage_error("run: %s %s: %s", option, text, why);
        return false;
    }
    return true;
}

/* A name stands in every line of the log, and must not make two of one. */
static bool is_printable(const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            return false;
        }
    }
    return text[0] != '\0';
}

static bool same_endpoint(const struct endpoint *a, const struct endpoint *b)
{
    return a->path[0] != '\0' ? strcmp(a->path, b->path) == 0 : a->fd == b->fd;
}

int cmd_run(const struct command *command, int argc, char **argv)
{
    struct device_options options = {
        .wait = WAIT_S,
        .slow_after = SLOW_AFTER_S,
    };
    const char *front = NULL;
    const char *back = NULL;
    const char *profile = "host";
    const char *dir = NULL;
    const char *control_text = NULL;
    const char *expect = NULL;
    struct endpoint control;
    const char *level = "info";
    bool json = false;
    char name[256];
    const struct option_row rows[] = {
        { "front", "EP", "where the front-end (QEMU) is: listen:PATH, connect:PATH, fd:N",
          OPTION_TEXT, false, &front },
        { "back", "EP", "where the back-end is: connect:PATH, listen:PATH, fd:N", OPTION_TEXT,
          false, &back },
        { "profile", "SPEC", "interface that the guest sees (default host: not pinned)",
          OPTION_TEXT, false, &profile },
        { "profile-dir", "DIR", "folder with families, looked at first", OPTION_TEXT, false, &dir },
        { "name", "NAME", "name in the log (default: from --front)", OPTION_TEXT, false,
          &options.name },
        { "control", "PATH", "where the control socket listens (see vushim ctl)", OPTION_TEXT,
          false, &control_text },
        { "expect", "STATE",
          "end at once, with 1, if a guest of this saved state could not carry on", OPTION_TEXT,
          false, &expect },
        { "wait", "SECONDS|forever", "how long a front-end waits for a back-end (default 10)",
          OPTION_SECONDS, true, &options.wait },
        { "slow-after", "SECONDS", "say so when an answer takes longer (default 5, 0: never)",
          OPTION_SECONDS, false, &options.slow_after },
        { "channel-answer-within", "SECONDS",
          "answer a back-end's own request with a failure when the front-end has not (default 0: "
          "never)",
          OPTION_SECONDS, false, &options.channel_answer_within },
        { "log-level", "LEVEL", "error, warn, info (default) or debug (every message)", OPTION_TEXT,
          false, &level },
        { "json", NULL, "log as JSON, one object a line", OPTION_FLAG, false, &json },
    };
    size_t n_words;
    enum log_level most;
    switch (options_parse(command, rows, ARRAY_SIZE(rows), argc, argv, NULL, 0, &n_words)) {
    case OPTIONS_HELP:
        return 0;
    case OPTIONS_BAD:
        return 2;
    case OPTIONS_OK:
        break;
    }
    if (!parse_endpoint("--front", front, ENDPOINT_LISTEN, &options.front) ||
        !parse_endpoint("--back", back, ENDPOINT_CONNECT, &options.back) ||
        !spec_from_option("run", profile, dir, &options.interface)) {
        return 2;
    }
    if (same_endpoint(&options.front, &options.back)) {
        return usage_error("run: --front and --back are the same: %s (give each its own)", front);
    }
    if (!log_level_of_name(level, &most)) {
        return usage_error("run: --log-level %s: no such level (error, warn, info, debug)", level);
    }
    options.profile = profile;
    if (options.name != NULL && !is_printable(options.name)) {
        return usage_error("run: --name: not printable text on one line");
    }
    if (options.name == NULL) {
        options.name = default_name(&options.front, name, sizeof(name));
    }
    if (control_text != NULL &&
        !parse_endpoint("--control", control_text, ENDPOINT_LISTEN, &control)) {
        return 2;
    }
    if (expect != NULL) {
        options.expects = true;
        if (!state_from_option("run", expect, &options.expectation)) {
            return 2;
        }
    }
    log_setup(most, json);
    return run(&options, control_text != NULL ? &control : NULL);
}
