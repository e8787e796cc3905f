/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "ctl_client.h"
#include "show.h"

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

int cmd_ctl(const struct command *command, int argc, char **argv)
{
    static const struct {
        const char *word;
        const char *execute;
    } words[] = { { "status", "query-status" },
                  { "state", "query-state" },
                  { "offer", "query-offer" } };
    bool json = false;
    const char *given[2];
    size_t n = 0;
    const struct option_row rows[] = {
        { "json", NULL, "as JSON", OPTION_FLAG, false, &json },
    };
    switch (options_parse(command, rows, ARRAY_SIZE(rows), argc, argv, given, 2, &n)) {
    case OPTIONS_HELP:
        return 0;
    case OPTIONS_BAD:
        return 2;
    case OPTIONS_OK:
        break;
    }
    if (n != 2) {
        return usage_error("ctl: say where and what: vushim ctl PATH status");
    }
    const char *execute = given[1];
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        execute = strcmp(given[1], words[i].word) == 0 ? words[i].execute : execute;
    }
    if (!is_plain(execute)) {
        return usage_error("ctl: %s: not a command", given[1]);
    }
    json_t *answer = ctl_ask("ctl", given[0], execute);
    int status = answer != NULL ? print_answer(given[0], given[1], answer, json) : 2;
    json_decref(answer);
    return status;
}
