/* SPDX-License-Identifier: MIT
 *
 * A client of the control socket: one command, one answer. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "commands.h"
#include "endpoint.h"
#include "show.h"
#include "util.h"

#define ANSWER_MOST (1024 * 1024)
#define TIMEOUT_MS 5000

struct conversation {
    int fd;
    size_t len;
    char buf[ANSWER_MOST];
};

/* The next whole value from the socket; NULL when it ends or takes too long. */
static json_t *hear(struct conversation *c)
{
    for (;;) {
        json_error_t error;
        json_t *value =
            c->len > 0 ? json_loadb(c->buf, c->len, JSON_DISABLE_EOF_CHECK, &error) : NULL;
        if (value != NULL) {
            c->len -= (size_t)error.position;
            memmove(c->buf, c->buf + error.position, c->len);
            return value;
        }
        struct pollfd p = { .fd = c->fd, .events = POLLIN };
        if (c->len == sizeof(c->buf) || poll(&p, 1, TIMEOUT_MS) != 1) {
            return NULL;
        }
        ssize_t n = recv(c->fd, c->buf + c->len, sizeof(c->buf) - c->len, 0);
        if (n <= 0) {
            return NULL;
        }
        c->len += (size_t)n;
    }
}

/* The answer to a command (a new reference), or NULL. Events in between are passed over. */
static json_t *ask(struct conversation *c, const char *command)
{
    char line[256];
    int n = snprintf(line, sizeof(line), "{\"execute\": \"%s\"}\r\n", command);
    if (send(c->fd, line, (size_t)n, MSG_NOSIGNAL) != n) {
        return NULL;
    }
    json_t *value = hear(c);
    while (value != NULL && json_object_get(value, "event") != NULL) {
        json_decref(value);
        value = hear(c);
    }
    return value;
}

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

/* Past the greeting; false after a line on stderr. */
static bool begin(struct conversation *c, const char *path)
{
    struct endpoint e;
    struct sockaddr_un address;
    char why[256];
    if (!endpoint_parse(path, ENDPOINT_CONNECT, &e, why, sizeof(why))) {
        usage_error("ctl: %s: %s", path, why);
        return false;
    }
    endpoint_address(&e, &address);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        usage_error("ctl: %s: %s (is vushim run --control there?)", path, strerror(errno));
        return false;
    }
    json_t *greeting = hear(c);
    json_t *ready = greeting != NULL && json_object_get(greeting, "QMP") != NULL
                        ? ask(c, "qmp_capabilities")
                        : NULL;
    bool ok = ready != NULL && json_object_get(ready, "return") != NULL;
    json_decref(greeting);
    json_decref(ready);
    if (!ok) {
        usage_error("ctl: %s: no vushim answers there", path);
    }
    return ok;
}

int cmd_ctl(const struct command *command, int argc, char **argv)
{
    static const struct {
        const char *word;
        const char *execute;
    } words[] = { { "status", "query-status" },
                  { "state", "query-state" },
                  { "offer", "query-offer" } };
    static struct conversation conversation = { .fd = -1 };
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
    int status = 2;
    if (begin(&conversation, given[0])) {
        json_t *answer = ask(&conversation, execute);
        status = print_answer(given[0], given[1], answer, json);
        json_decref(answer);
    }
    close_keep_errno(conversation.fd);
    return status;
}
