/* SPDX-License-Identifier: MIT */
#include "ctl_client.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "endpoint.h"
#include "options.h"
#include "util.h"

#define ANSWER_MOST (1024 * 1024)
#define TIMEOUT_MS 5000

struct conversation {
    int fd;
    int timeout_ms;
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
        if (c->len == sizeof(c->buf) || poll(&p, 1, c->timeout_ms) != 1) {
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
static json_t *ask(struct conversation *c, const char *command, json_t *arguments)
{
    json_t *request = json_pack("{s:s, s:O*}", "execute", command, "arguments", arguments);
    char *line = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL;
    ssize_t len = line != NULL ? (ssize_t)strlen(line) : -1;
    bool sent = line != NULL && send(c->fd, line, (size_t)len, MSG_NOSIGNAL) == len;
    json_decref(request);
    free(line);
    if (!sent) {
        return NULL;
    }
    json_t *value = hear(c);
    while (value != NULL && json_object_get(value, "event") != NULL) {
        json_decref(value);
        value = hear(c);
    }
    return value;
}

/* Past the greeting; false after a line on stderr. */
static bool begin(struct conversation *c, const char *command, const char *path)
{
    struct endpoint e;
    struct sockaddr_un address;
    char why[256];
    if (!endpoint_parse(path, ENDPOINT_CONNECT, &e, why, sizeof(why))) {
        usage_error("%s: %s: %s", command, path, why);
        return false;
    }
    endpoint_address(&e, &address);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        usage_error("%s: %s: %s (is vushim run --control there?)", command, path, strerror(errno));
        return false;
    }
    json_t *greeting = hear(c);
    json_t *ready = greeting != NULL && json_object_get(greeting, "QMP") != NULL
                        ? ask(c, "qmp_capabilities", NULL)
                        : NULL;
    bool ok = ready != NULL && json_object_get(ready, "return") != NULL;
    json_decref(greeting);
    json_decref(ready);
    if (!ok) {
        usage_error("%s: %s: no vushim answers there", command, path);
    }
    return ok;
}

json_t *ctl_ask(const char *command, const char *path, const char *execute)
{
    return ctl_ask_with(command, path, execute, NULL, false);
}

json_t *ctl_ask_with(const char *command, const char *path, const char *execute, json_t *arguments,
                     bool patient)
{
    static struct conversation conversation;
    json_t *answer = NULL;
    conversation = (struct conversation){ .fd = -1, .timeout_ms = TIMEOUT_MS };
    if (begin(&conversation, command, path)) {
        conversation.timeout_ms = patient ? -1 : TIMEOUT_MS;
        answer = ask(&conversation, execute, arguments);
        if (answer == NULL) {
            usage_error("%s: %s: no answer", command, path);
        }
    }
    json_decref(arguments);
    close_keep_errno(conversation.fd);
    return answer;
}
