/* SPDX-License-Identifier: MIT */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "ctl_client.h"
#include "show.h"
#include "trace_options.h"
#include "util.h"

static bool is_plain(const char *word)
{
    return strspn(word, "abcdefghijklmnopqrstuvwxyz-_") == strlen(word) && strlen(word) < 64;
}

static void print_value(const char *key, const json_t *value)
{
    if (json_is_array(value) && json_is_string(json_array_get(value, 0))) {
        printf("%-24s ", key);
        for (size_t i = 0; i < json_array_size(value); i++) {
            printf("%s%s", i > 0 ? ", " : "", json_string_value(json_array_get(value, i)));
        }
        putchar('\n');
        return;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    size_t len = text != NULL ? strlen(text) : 0;
    if (json_is_string(value)) {
        printf("%-24s %s\n", key, json_string_value(value));
    } else {
        printf("%-24s %.*s\n", key, (int)len, text != NULL ? text : "");
    }
    free(text);
}

static int print_answer(const char *path, const char *word, const json_t *answer, bool json)
{
    json_t *value = json_object_get(answer, "return");
    const char *desc = json_string_value(json_object_get(json_object_get(answer, "error"), "desc"));
    const char *key;
    json_t *item;
    if (value == NULL) {
        return usage_error("ctl: %s: %s: %s", path, word, desc != NULL ? desc : "no answer");
    }
    if (json || !json_is_object(value)) {
        show_json(json_incref(value));
        return 0;
    }
    json_object_foreach(value, key, item)
    {
        print_value(key, item);
    }
    return 0;
}

/* What a word of the command line asks for. `n` is how many words go with it. */
static const struct {
    const char *word, *next; /* next: a second word, or NULL */
    size_t n;
    const char *execute;
} words[] = {
    { "status", NULL, 1, "query-status" },  { "state", NULL, 1, "query-state" },
    { "offer", NULL, 1, "query-offer" },    { "trace", NULL, 1, "query-trace" },
    { "trace", "start", 3, "trace-start" }, { "trace", "stop", 2, "trace-stop" },
    { "switch", NULL, 2, "switch" },
};

static const char *execute_of(const char *const *given, size_t n)
{
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (n == words[i].n && strcmp(given[0], words[i].word) == 0 &&
            (words[i].next == NULL || strcmp(given[1], words[i].next) == 0)) {
            return words[i].execute;
        }
    }
    return n == 1 && is_plain(given[0]) ? given[0] : NULL;
}

/* The other process is in another folder. */
static void absolute(const char *file, char path[static 2 * PATH_MAX])
{
    char here[PATH_MAX] = "";
    if (file[0] != '/' && getcwd(here, sizeof(here)) == NULL) {
        here[0] = '\0';
    }
    snprintf(path, 2 * (size_t)PATH_MAX, "%s%s%s", here, here[0] != '\0' ? "/" : "", file);
}

static json_t *trace_arguments(const char *file, const struct trace_options *o)
{
    char path[2 * PATH_MAX];
    absolute(file, path);
    return json_pack("{s:s, s:I, s:I, s:b, s:b}", "file", path, "max", (json_int_t)o->max, "files",
                     (json_int_t)o->files, "redact", o->redact, "lossless", o->lossless);
}

/* The file is opened here, with the rights of who asks: the other one's sandbox has left it few. One
 * that is to be followed by others, only it can open. NULL after a line on stderr. */
static json_t *ask_for_trace(const char *path, const char *file, const struct trace_options *o)
{
    if (o->max != 0) {
        return ctl_ask_with("ctl", path, "trace-start", trace_arguments(file, o), false);
    }
    bool made;
    CLEANUP_CLOSE int fd = ctl_open_trace(file, &made);
    if (fd < 0) {
        usage_error("ctl: trace start: %s: %s", file, strerror(-fd));
        return NULL;
    }
    json_t *answer = ctl_ask_for_trace("ctl", path, trace_arguments(file, o), fd);
    if (made && json_object_get(answer, "return") == NULL) {
        unlink(file);
    }
    return answer;
}

/* An endpoint other than connect:PATH is the other side's to refuse. */
static json_t *switch_arguments(const char *endpoint)
{
    static const char prefix[] = "connect:";
    const char *file = strncmp(endpoint, prefix, sizeof(prefix) - 1) == 0
                           ? endpoint + sizeof(prefix) - 1
                       : strchr(endpoint, ':') == NULL ? endpoint
                                                       : NULL;
    char path[2 * PATH_MAX];
    if (file == NULL) {
        return json_pack("{s:s}", "back", endpoint);
    }
    absolute(file, path);
    return json_pack("{s:s+}", "back", prefix, path);
}

int cmd_ctl(const struct command *command, int argc, char **argv)
{
    bool json = false;
    struct trace_options trace = { .files = TRACE_FILES_DEFAULT };
    const char *given[4];
    size_t n = 0;
    const struct option_row rows[] = {
        { "json", NULL, "as JSON", OPTION_FLAG, false, &json },
        TRACE_OPTION_ROWS(&trace),
    };
    enum options_result parsed =
        options_parse(command, rows, ARRAY_SIZE(rows), argc, argv, given, ARRAY_SIZE(given), &n);
    if (parsed != OPTIONS_OK) {
        return parsed;
    }
    if (n < 2) {
        return usage_error("ctl: say where and what: vushim ctl PATH status");
    }
    const char *execute = execute_of(given + 1, n - 1);
    if (execute == NULL) {
        return usage_error("ctl: %s: not a command", given[1]);
    }
    if (!trace_options_valid("ctl", &trace)) {
        return 2;
    }
    bool switches = strcmp(execute, "switch") == 0 && n == 3;
    json_t *answer = n == 4 ? ask_for_trace(given[0], given[3], &trace)
                            : ctl_ask_with("ctl", given[0], execute,
                                           switches ? switch_arguments(given[2]) : NULL, switches);
    int status = answer != NULL ? print_answer(given[0], given[1], answer, json) : 2;
    json_decref(answer);
    return status;
}
