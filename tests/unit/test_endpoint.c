/* SPDX-License-Identifier: MIT
 *
 * Endpoints as people write them. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "endpoint.h"
#include "runner.h"

static bool parse(const char *text, struct endpoint *e, char why[static 256])
{
    why[0] = '\0';
    return endpoint_parse(text, ENDPOINT_LISTEN, e, why, 256);
}

static void expect_path(const char *text, enum endpoint_kind kind, const char *path,
                        const char *printed)
{
    struct endpoint e;
    char why[256];
    char buf[256];
    assert_true(parse(text, &e, why));
    assert_int_equal(e.kind, kind);
    assert_string_equal(e.path, path);
    assert_int_equal(e.fd, -1);
    endpoint_print(&e, buf, sizeof(buf));
    assert_string_equal(buf, printed);
}

static void paths_listen_or_connect(void **state)
{
    struct endpoint e;
    char why[256];
    (void)state;
    expect_path("listen:/run/x.sock", ENDPOINT_LISTEN, "/run/x.sock", "listen:/run/x.sock");
    expect_path("connect:/run/x.sock", ENDPOINT_CONNECT, "/run/x.sock", "connect:/run/x.sock");
    expect_path("x.sock", ENDPOINT_LISTEN, "x.sock", "listen:x.sock");
    expect_path("listen:fd:3", ENDPOINT_LISTEN, "fd:3", "listen:fd:3");
    expect_path("connect:listen:x", ENDPOINT_CONNECT, "listen:x", "connect:listen:x");
    assert_true(endpoint_parse("x", ENDPOINT_CONNECT, &e, why, sizeof(why)));
    assert_int_equal(e.kind, ENDPOINT_CONNECT);
}

static void expect_wrong(const char *text, const char *why_part)
{
    struct endpoint e = { .fd = 77 };
    char why[256];
    assert_false(parse(text, &e, why));
    unit_check(strstr(why, why_part) != NULL, "'%s': %s", text, why);
    assert_int_equal(e.fd, 77);
}

static void what_is_no_endpoint_is_told(void **state)
{
    (void)state;
    expect_wrong("", "empty");
    expect_wrong("listen:", "empty");
    expect_wrong("connect:", "empty");
    expect_wrong("fd:", "not a descriptor number");
    expect_wrong("fd:x", "not a descriptor number");
    expect_wrong("fd:3x", "not a descriptor number");
    expect_wrong("fd:-1", "not a descriptor number");
    expect_wrong("fd:4294967299", "not a descriptor number");
    expect_wrong("fd:99999999999999999999", "not a descriptor number");
    expect_wrong("fd:1000", "is it open");
}

/* sun_path holds 107 characters and the end. */
static void paths_may_be_as_long_as_the_kernel_takes(void **state)
{
    char text[300];
    struct endpoint e;
    struct sockaddr_un address;
    char why[256];
    (void)state;
    for (size_t len = 100; len < 120; len++) {
        memset(text, 'p', len);
        text[len] = '\0';
        assert_int_equal(parse(text, &e, why), len <= 107);
        if (len <= 107) {
            endpoint_address(&e, &address);
            assert_string_equal(address.sun_path, text);
            assert_int_equal(address.sun_family, AF_UNIX);
        } else {
            assert_non_null(strstr(why, "107"));
        }
    }
}

static void descriptors_are_connected_or_listening(void **state)
{
    int fds[2];
    struct endpoint e;
    char why[256];
    char text[32];
    char printed[32];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    snprintf(text, sizeof(text), "fd:%d", fds[0]);
    assert_true(parse(text, &e, why));
    assert_int_equal(e.kind, ENDPOINT_FD);
    assert_int_equal(e.fd, fds[0]);
    assert_string_equal(e.path, "");
    endpoint_print(&e, printed, sizeof(printed));
    assert_string_equal(printed, text);
    close(fds[0]);
    close(fds[1]);

    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    const struct sockaddr_un any = { .sun_family = AF_UNIX };
    assert_int_equal(bind(listener, (const struct sockaddr *)&any, sizeof(sa_family_t)), 0);
    assert_int_equal(listen(listener, 1), 0);
    snprintf(text, sizeof(text), "fd:%d", listener);
    assert_true(parse(text, &e, why));
    assert_int_equal(e.kind, ENDPOINT_FD_LISTENING);
    close(listener);
}

static void other_descriptors_are_none_of_ours(void **state)
{
    const struct {
        int domain;
        int type;
    } kinds[] = { { AF_UNIX, SOCK_DGRAM }, { AF_UNIX, SOCK_SEQPACKET }, { AF_INET, SOCK_STREAM } };
    char text[32];
    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        int fd = socket(kinds[i].domain, kinds[i].type, 0);
        assert_true(fd >= 0);
        snprintf(text, sizeof(text), "fd:%d", fd);
        expect_wrong(text, "not a unix stream socket");
        close(fd);
    }
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    snprintf(text, sizeof(text), "fd:%d", fds[0]);
    expect_wrong(text, "a socket?");
    close(fds[0]);
    close(fds[1]);
}

static const struct unit_test tests[] = {
    UNIT(paths_listen_or_connect),
    UNIT(what_is_no_endpoint_is_told),
    UNIT(paths_may_be_as_long_as_the_kernel_takes),
    UNIT(descriptors_are_connected_or_listening),
    UNIT(other_descriptors_are_none_of_ours),
};

UNIT_MAIN("endpoint", tests)
