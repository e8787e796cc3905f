/* SPDX-License-Identifier: MIT */
#include "ctl_client.h"

#include <fcntl.h>
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

/* As send(), with a descriptor; -1: none. */
static bool say(int socket, const char *line, size_t len, int fd)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = { .iov_base = (char *)line, .iov_len = len };
    struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1 };
    if (fd >= 0) {
        memset(&control, 0, sizeof(control));
        control.head = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)),
                                         .cmsg_level = SOL_SOCKET,
                                         .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(&control.head), &fd, sizeof(int));
        m.msg_control = &control;
        m.msg_controllen = sizeof(control);
    }
    return sendmsg(socket, &m, MSG_NOSIGNAL) == (ssize_t)len;
}

/* The answer to a command (a new reference), or NULL. Events in between are passed over. */
static json_t *ask(struct conversation *c, const char *command, json_t *arguments, int fd)
{
    json_t *request = json_pack("{s:s, s:O*}", "execute", command, "arguments", arguments);
    char *line = request != NULL ? json_dumps(request, JSON_COMPACT) : NULL;
    bool sent = line != NULL && say(c->fd, line, strlen(line), fd);
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
                        ? ask(c, "qmp_capabilities", NULL, -1)
                        : NULL;
    bool ok = ready != NULL && json_object_get(ready, "return") != NULL;
    json_decref(greeting);
    json_decref(ready);
    if (!ok) {
        usage_error("%s: %s: no vushim answers there", command, path);
    }
    return ok;
}

static json_t *converse(const char *command, const char *path, const char *execute,
                        json_t *arguments, int file, int timeout_ms)
{
    static struct conversation conversation;
    json_t *answer = NULL;
    conversation = (struct conversation){ .fd = -1, .timeout_ms = TIMEOUT_MS };
    if (begin(&conversation, command, path)) {
        conversation.timeout_ms = timeout_ms;
        answer = ask(&conversation, execute, arguments, file);
        if (answer == NULL) {
            usage_error("%s: %s: no answer", command, path);
        }
    }
    json_decref(arguments);
    close_keep_errno(conversation.fd);
    return answer;
}

json_t *ctl_ask(const char *command, const char *path, const char *execute)
{
    return converse(command, path, execute, NULL, -1, TIMEOUT_MS);
}

json_t *ctl_ask_with(const char *command, const char *path, const char *execute, json_t *arguments,
                     bool patient)
{
    return converse(command, path, execute, arguments, -1, patient ? -1 : TIMEOUT_MS);
}

json_t *ctl_ask_for_trace(const char *command, const char *path, json_t *arguments, int file)
{
    return converse(command, path, "trace-start", arguments, file, TIMEOUT_MS);
}

int ctl_open_trace(const char *file, bool *ret_made)
{
    /* Without waiting for the reader of a fifo, but later writes do wait. */
    const int how = O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK;
    int fd = open(file, how | O_EXCL, 0600);
    *ret_made = fd >= 0;
    if (fd < 0 && errno == EEXIST) {
        fd = open(file, how, 0600);
    }
    if (fd < 0) {
        return -errno;
    }
    fcntl(fd, F_SETFL, 0);
    return fd;
}
