/* SPDX-License-Identifier: MIT */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alone.h"
#include "commands.h"
#include "profiles.h"
#include "run.h"
#include "show.h"
#include "trace_options.h"

#define WAIT_S 10.0
#define ANSWER_WITHIN_S 5.0

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
    json_t *as_json = json_string(text); /* NULL for what is no UTF-8 */
    bool is_text = as_json != NULL;
    json_decref(as_json);
    return is_text && text[0] != '\0';
}

static bool same_endpoint(const struct endpoint *a, const struct endpoint *b)
{
    return a->path[0] != '\0' ? strcmp(a->path, b->path) == 0 : a->fd == b->fd;
}

/* The command line as it came. */
struct arguments {
    const char *front, *back, *profile, *dir, *control, *expect, *level, *start;
    const char *standby, *on_loss, *when_late;
    const char *sandbox, *user, *group, *allow_uid, *socket_mode, *socket_group;
    bool json, print_sandbox;
    char name[256]; /* room for one that is made up */
};

static enum options_result parse_arguments(const struct command *command, int argc, char **argv,
                                           struct arguments *a, struct run_options *options)
{
    struct device_options *o = &options->device;
    size_t n_words;
    const struct option_row rows[] = {
        { "front", "EP", "where the front-end (QEMU) is: listen:PATH, connect:PATH, fd:N",
          OPTION_TEXT, false, &a->front },
        { "back", "EP", "where the back-end is: connect:PATH, listen:PATH, fd:N", OPTION_TEXT,
          false, &a->back },
        { "profile", "SPEC", "interface that the guest sees (default host: not pinned)",
          OPTION_TEXT, false, &a->profile },
        { "profile-dir", "DIR", "folder with families, looked at first", OPTION_TEXT, false,
          &a->dir },
        { "name", "NAME", "name in the log (default: from --front)", OPTION_TEXT, false, &o->name },
        { "control", "PATH", "where the control socket listens (see vushim ctl)", OPTION_TEXT,
          false, &a->control },
        { "expect", "STATE",
          "end at once, with 1, if a guest of this saved state could not carry on", OPTION_TEXT,
          false, &a->expect },
        { "start", "attached|detached",
          "detached: serve a front-end from the profile until a back-end comes (default attached)",
          OPTION_TEXT, false, &a->start },
        { "wait", "SECONDS|forever", "how long a front-end waits for a back-end (default 10)",
          OPTION_SECONDS, true, &o->wait },
        { "on-back-end-loss", "hold|close",
          "when the back-end is lost: keep the front-end for the next one, or close its connection "
          "(default hold, where the next one can carry on what ran)",
          OPTION_TEXT, false, &a->on_loss },
        { "hold-for", "SECONDS|forever", "how long a front-end is kept then (default forever)",
          OPTION_SECONDS, true, &o->hold_for },
        { "standby", "EP", "where a second back-end is, which is kept ready to take over",
          OPTION_TEXT, false, &a->standby },
        { "answer-within", "SECONDS", "say so when an answer takes longer (default 5, 0: never)",
          OPTION_SECONDS, false, &o->answer_within },
        { "when-late", "wait|fail|lose",
          "and then: wait (default), answer with a failure, or take the back-end for lost",
          OPTION_TEXT, false, &a->when_late },
        { "channel-answer-within", "SECONDS",
          "answer a back-end's own request with a failure when the front-end has not (default 0: "
          "never)",
          OPTION_SECONDS, false, &o->channel_answer_within },
        { "trace", "FILE", "write a protocol trace (pcapng; see vushim trace)", OPTION_TEXT, false,
          &o->trace.path },
        TRACE_OPTION_ROWS(&o->trace),
        { "trace-dir", "DIR", "folder in which the control socket may begin traces", OPTION_TEXT,
          false, &options->sandbox.trace_dir },
        { "user", "USER", "become this user once the sockets are there", OPTION_TEXT, false,
          &a->user },
        { "group", "GROUP", "and this group (default: the user's own)", OPTION_TEXT, false,
          &a->group },
        { "socket-mode", "MODE",
          "of the front's and the back's sockets, octal (default: the umask's)", OPTION_TEXT, false,
          &a->socket_mode },
        { "socket-group", "GROUP", "their group", OPTION_TEXT, false, &a->socket_group },
        { "allow-uid", "USER,...", "serve peers that run as these users, and no others",
          OPTION_TEXT, false, &a->allow_uid },
        { "sandbox", "auto|on|off",
          "give up what is not needed: as far as the kernel can (default), or do not start, or not "
          "at all",
          OPTION_TEXT, false, &a->sandbox },
        { "core-dumps", NULL, "let a crash leave a core dump", OPTION_FLAG, false,
          &options->sandbox.dumps_core },
        { "print-sandbox", NULL, "say what holds for a vushim that is started so, and end",
          OPTION_FLAG, false, &a->print_sandbox },
        { "log-level", "LEVEL", "error, warn, info (default) or debug (every message)", OPTION_TEXT,
          false, &a->level },
        { "json", NULL, "log as JSON, one object a line", OPTION_FLAG, false, &a->json },
    };
    return options_parse(command, rows, ARRAY_SIZE(rows), argc, argv, NULL, 0, &n_words);
}

static bool resolve_start(const struct arguments *a, struct device_options *o)
{
    char why[256];
    o->identity = o->interface;
    o->detached = strcmp(a->start, "detached") == 0;
    if (!o->detached && strcmp(a->start, "attached") != 0) {
        usage_error("run: --start %s: attached or detached", a->start);
        return false;
    }
    if (o->detached && !alone_offer(&o->interface, &o->detached_offer, why, sizeof(why))) {
        usage_error("run: --start detached: %s: %s", a->profile, why);
        return false;
    }
    return true;
}

/* Which of two or three words; -1 after one line on stderr. */
static int word_of(const char *option, const char *word, const char *const *words, size_t n)
{
    char list[64] = "";
    size_t used = 0;
    for (size_t k = 0; k < n; k++) {
        if (strcmp(words[k], word) == 0) {
            return (int)k;
        }
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
                                 k == 0      ? ""
                                 : k + 1 < n ? ", "
                                             : " or ",
                                 words[k]);
    }
    usage_error("run: --%s %s: %s", option, word, list);
    return -1;
}

/* What happens when a back-end leaves, or does not answer. */
static bool resolve_loss(const struct arguments *a, struct device_options *o)
{
    static const char *const losses[] = { "hold", "close" };
    static const char *const lates[] = { "wait", "fail", "lose" };
    int late = word_of("when-late", a->when_late, lates, ARRAY_SIZE(lates));
    int loss = a->on_loss == NULL
                   ? 0
                   : word_of("on-back-end-loss", a->on_loss, losses, ARRAY_SIZE(losses));
    if (late < 0 || loss < 0) {
        return false;
    }
    o->when_late = (enum when_late)late;
    o->on_loss = a->on_loss == NULL ? LOSS_AUTO : loss == 0 ? LOSS_HOLD : LOSS_CLOSE;
    o->has_standby = a->standby != NULL;
    if (!o->has_standby) {
        return true;
    }
    if (o->on_loss == LOSS_CLOSE) {
        usage_error("run: --standby does not go with --on-back-end-loss close");
        return false;
    }
    if (!parse_endpoint("--standby", a->standby, ENDPOINT_CONNECT, &o->standby)) {
        return false;
    }
    if (o->standby.kind == ENDPOINT_FD || same_endpoint(&o->standby, &o->back) ||
        same_endpoint(&o->standby, &o->front)) {
        usage_error("run: --standby %s: must be a path of its own", a->standby);
        return false;
    }
    return true;
}

static bool mode_of_text(const char *text, int *ret_mode)
{
    char *end = NULL;
    long mode = strtol(text, &end, 8);
    if (text[0] < '0' || text[0] > '7' || *end != '\0' || mode > 0777) {
        return false;
    }
    *ret_mode = (int)mode;
    return true;
}

/* Who may come. Sockets are the property of the user whom vushim becomes. */
static bool resolve_access(const struct arguments *a, const struct identity *who,
                           struct device_options *o)
{
    struct listener_access *access = &o->access;
    char why[256];
    *access = (struct listener_access){ .mode = -1,
                                        .uid = who->has_user ? who->uid : (uid_t)-1,
                                        .gid = who->has_group ? who->gid : (gid_t)-1 };
    if (a->socket_mode != NULL && !mode_of_text(a->socket_mode, &access->mode)) {
        usage_error("run: --socket-mode %s: not a mode (octal, 0660)", a->socket_mode);
        return false;
    }
    if (a->socket_group != NULL &&
        !group_of_text(a->socket_group, &access->gid, why, sizeof(why))) {
        usage_error("run: --socket-group %s: %s", a->socket_group, why);
        return false;
    }
    if (a->allow_uid != NULL && !users_of_text(a->allow_uid, o->users, ARRAY_SIZE(o->users),
                                               &o->n_users, why, sizeof(why))) {
        usage_error("run: --allow-uid %s: %s", a->allow_uid, why);
        return false;
    }
    return true;
}

/* What it may do once it runs. */
static bool resolve_sandbox(const struct arguments *a, struct run_options *options)
{
    struct sandbox_options *o = &options->sandbox;
    static const char *const modes[] = { "auto", "on", "off" };
    char why[256];
    int mode = word_of("sandbox", a->sandbox, modes, ARRAY_SIZE(modes));
    if (mode < 0) {
        return false;
    }
    o->mode = (enum sandbox_mode)mode;
    options->device.confined = o->mode != SANDBOX_OFF;
    if (o->mode == SANDBOX_OFF && (a->user != NULL || a->group != NULL)) {
        usage_error("run: --user and --group do not go with --sandbox off");
        return false;
    }
    if (!identity_of_text(a->user, a->group, &o->identity, why, sizeof(why))) {
        usage_error("run: --user %s%s%s: %s", a->user != NULL ? a->user : "-",
                    a->group != NULL ? " --group " : "", a->group != NULL ? a->group : "", why);
        return false;
    }
    return true;
}

/* What the words mean; false after one line on stderr. */
static bool resolve(struct arguments *a, struct run_options *options)
{
    struct device_options *o = &options->device;
    options->has_control = a->control != NULL;
    if (!parse_endpoint("--front", a->front, ENDPOINT_LISTEN, &o->front) ||
        !parse_endpoint("--back", a->back, ENDPOINT_CONNECT, &o->back)) {
        return false;
    }
    if (same_endpoint(&o->front, &o->back)) {
        usage_error("run: --front and --back are the same: %s (give each its own)", a->front);
        return false;
    }
    if (a->control != NULL &&
        !parse_endpoint("--control", a->control, ENDPOINT_LISTEN, &options->control)) {
        return false;
    }
    if (o->name != NULL && !is_printable(o->name)) {
        usage_error("run: --name: not printable text on one line");
        return false;
    }
    if (o->name == NULL) {
        o->name = default_name(&o->front, a->name, sizeof(a->name));
    }
    if (!trace_options_valid("run", &o->trace)) {
        return false;
    }
    o->profile = a->profile;
    o->expects = a->expect != NULL;
    return spec_from_option("run", a->profile, a->dir, &o->interface) &&
           (a->expect == NULL || state_from_option("run", a->expect, &o->expectation)) &&
           resolve_start(a, o) && resolve_loss(a, o) && resolve_sandbox(a, options) &&
           resolve_access(a, &options->sandbox.identity, o);
}

static json_t *sandbox_rows; /* being collected, with --json */

static void show_row(const char *name, const char *text)
{
    if (sandbox_rows != NULL) {
        json_object_set_new(sandbox_rows, name, json_string(text));
    } else {
        printf("%-24s %s\n", name, text);
    }
}

static int print_sandbox(const struct run_options *options, bool json)
{
    sandbox_rows = json ? json_object() : NULL;
    int status = run_print_sandbox(options, show_row);
    if (sandbox_rows != NULL && status == 0) {
        show_json(sandbox_rows);
    }
    return status;
}

int cmd_run(const struct command *command, int argc, char **argv)
{
    struct run_options options = { .device = { .wait = WAIT_S,
                                               .hold_for = -1,
                                               .answer_within = ANSWER_WITHIN_S,
                                               .trace = { .files = TRACE_FILES_DEFAULT } } };
    struct arguments a = { .profile = "host",
                           .level = "info",
                           .start = "attached",
                           .when_late = "wait",
                           .sandbox = "auto" };
    enum log_level most;
    enum options_result parsed = parse_arguments(command, argc, argv, &a, &options);
    if (parsed != OPTIONS_OK) {
        return parsed;
    }
    if (!log_level_of_name(a.level, &most)) {
        return usage_error("run: --log-level %s: no such level (error, warn, info, debug)",
                           a.level);
    }
    if (!resolve(&a, &options)) {
        return 2;
    }
    log_setup(most, a.json);
    return a.print_sandbox ? print_sandbox(&options, a.json) : run(&options);
}
