/* SPDX-License-Identifier: MIT */
#include "endpoint.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

static bool parse_path(const char *path, struct endpoint *e, char *why, size_t why_len)
{
    if (path[0] == '\0') {
        snprintf(why, why_len, "the path is empty");
        return false;
    }
    if (strlen(path) >= sizeof(e->path)) {
        snprintf(why, why_len,
                 "the path has %zu characters, a socket's may have %zu (use a shorter one)",
                 strlen(path), sizeof(e->path) - 1);
        return false;
    }
    memcpy(e->path, path, strlen(path) + 1);
    return true;
}

static bool parse_fd(const char *number, struct endpoint *e, char *why, size_t why_len)
{
    char *end = NULL;
    errno = 0;
    long fd = strtol(number, &end, 10);
    if (errno != 0 || end == number || *end != '\0' || fd < 0 || fd > INT_MAX) {
        snprintf(why, why_len, "not a descriptor number (write fd:3)");
        return false;
    }
    int value = 0;
    socklen_t len = sizeof(value);
    if (getsockopt((int)fd, SOL_SOCKET, SO_DOMAIN, &value, &len) < 0) {
        snprintf(why, why_len, "%s (is it open, and a socket?)", strerror(errno));
        return false;
    }
    int type = 0;
    len = sizeof(type);
    getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &len);
    if (value != AF_UNIX || type != SOCK_STREAM) {
        snprintf(why, why_len, "not a unix stream socket");
        return false;
    }
    int listening = 0;
    len = sizeof(listening);
    getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len);
    struct sockaddr_un peer;
    len = sizeof(peer);
    if (!listening && getpeername((int)fd, (struct sockaddr *)&peer, &len) < 0) {
        snprintf(why, why_len, "a socket that is neither connected nor listening");
        return false;
    }
    e->kind = listening ? ENDPOINT_FD_LISTENING : ENDPOINT_FD;
    e->fd = (int)fd;
    return true;
}

bool endpoint_parse(const char *text, enum endpoint_kind bare, struct endpoint *ret_endpoint,
                    char *why, size_t why_len)
{
    struct endpoint e = { .kind = bare, .fd = -1 };
    bool ok;
    if (strncmp(text, "fd:", 3) == 0) {
        ok = parse_fd(text + 3, &e, why, why_len);
    } else if (strncmp(text, "listen:", 7) == 0) {
        e.kind = ENDPOINT_LISTEN;
        ok = parse_path(text + 7, &e, why, why_len);
    } else if (strncmp(text, "connect:", 8) == 0) {
        e.kind = ENDPOINT_CONNECT;
        ok = parse_path(text + 8, &e, why, why_len);
    } else {
        ok = parse_path(text, &e, why, why_len);
    }
    if (ok) {
        *ret_endpoint = e;
    }
    return ok;
}

void endpoint_address(const struct endpoint *e, struct sockaddr_un *ret_address)
{
    *ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    memcpy(ret_address->sun_path, e->path, sizeof(ret_address->sun_path));
}

struct endpoint_mark endpoint_mark(const struct endpoint *e)
{
    struct stat st;
    if (e->kind != ENDPOINT_CONNECT || stat(e->path, &st) < 0) {
        return (struct endpoint_mark){ .ino = 0 };
    }
    return (struct endpoint_mark){ .dev = st.st_dev, .ino = st.st_ino, .changed = st.st_ctim };
}

bool endpoint_is_marked(const struct endpoint *e, const struct endpoint_mark *mark)
{
    struct endpoint_mark now = endpoint_mark(e);
    return now.ino != 0 && now.dev == mark->dev && now.ino == mark->ino &&
           now.changed.tv_sec == mark->changed.tv_sec &&
           now.changed.tv_nsec == mark->changed.tv_nsec;
}

void endpoint_print(const struct endpoint *e, char *buf, size_t len)
{
    switch (e->kind) {
    case ENDPOINT_LISTEN:
        snprintf(buf, len, "listen:%s", e->path);
        break;
    case ENDPOINT_CONNECT:
        snprintf(buf, len, "connect:%s", e->path);
        break;
    case ENDPOINT_FD_LISTENING:
    case ENDPOINT_FD:
        snprintf(buf, len, "fd:%d", e->fd);
        break;
    }
}
