/* SPDX-License-Identifier: MIT */
#include "runner.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Longest that a test may take; sanitizers and Valgrind make some of them slow. */
#define LIMIT_S 120
#define EXIT_SKIPPED 77
#define OUTPUT_LEN (256 * 1024)
#define WHY_LEN 1024

static const char skip_mark[] = "@skip ";
static const char why_mark[] = "@why ";

void unit_say_why(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs(why_mark, stdout);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

void unit_skip(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs(skip_mark, stdout);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
    _exit(EXIT_SKIPPED);
}

static struct {
    int fd;
    int real;
    int caught;
} capture;

void unit_capture_begin(int fd)
{
    fflush(NULL);
    capture.fd = fd;
    capture.real = dup(fd);
    capture.caught = memfd_create("caught", 0);
    assert_true(capture.real >= 0 && capture.caught >= 0);
    dup2(capture.caught, fd);
}

void unit_capture_end(char *buf, size_t len)
{
    fflush(NULL);
    ssize_t n = pread(capture.caught, buf, len - 1, 0);
    buf[n > 0 ? n : 0] = '\0';
    dup2(capture.real, capture.fd);
    close(capture.real);
    close(capture.caught);
}

size_t unit_open_fds(void)
{
    size_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        n += entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(dir);
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return n;
}

/* cmocka's body: the test between two counts of descriptors. */
static void counted(void **state)
{
    const struct unit_test *test = *state;
    void *nothing = NULL;
    size_t before = unit_open_fds();
    test->run(&nothing);
    size_t after = unit_open_fds();
    unit_check(before == after, "%zu descriptors open before, %zu after", before, after);
}

__attribute__((noreturn)) static void run_child(const struct unit_test *test, int output)
{
    union {
        const struct unit_test *in;
        void *out;
    } state = { .in = test };
    const struct CMUnitTest body = { test->name, counted, NULL, NULL, state.out };
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    close(output);
    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(LIMIT_S);
    int failed = _cmocka_run_group_tests(test->name, &body, 1, NULL, NULL);
    fflush(NULL);
    exit(failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* What in a line of a failed test's output says why it failed; NULL when nothing does. */
static const char *reason_in(const char *line)
{
    static const char *const marks[] = { "[  ERROR   ] --- ", "@why " };
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        const char *at = strstr(line, marks[i]);
        const char *text = at != NULL ? at + strlen(marks[i]) : "";
        if (text[0] != '\0') {
            return text;
        }
    }
    bool whole = strstr(line, ": error: Failure!") != NULL || strstr(line, "Assertion") != NULL ||
                 strstr(line, "ERROR: ") != NULL || strstr(line, "runtime error:") != NULL ||
                 strstr(line, "stack smashing") != NULL || strstr(line, "exception") != NULL;
    return whole ? line : NULL;
}

static void collect_reasons(char *output, char *why, size_t len)
{
    char *rest = output;
    char *line;
    size_t used = strlen(why);
    while ((line = strsep(&rest, "\n")) != NULL) {
        const char *reason = reason_in(line);
        if (reason != NULL && used < len - 1) {
            int n = snprintf(why + used, len - used, "%s%s", used > 0 ? "; " : "", reason);
            used += (size_t)n < len - used ? (size_t)n : len - used - 1;
        }
    }
}

static void show_notes(const char *output)
{
    for (const char *line = output; line != NULL;) {
        if (strncmp(line, "# ", 2) == 0) {
            printf("%.*s\n", (int)strcspn(line, "\n"), line);
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
}

/* True when the test did not fail. */
static bool report(const char *suite, const char *name, int status, char *output)
{
    char why[WHY_LEN] = "";
    const char *ci = getenv("CI");
    const char *skipped = strstr(output, skip_mark);
    show_notes(output);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        printf("PASS %s.%s\n", suite, name);
        return true;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED && skipped != NULL) {
        bool must = ci != NULL && strcmp(ci, "true") == 0;
        const char *reason = skipped + strlen(skip_mark);
        printf("%s %s.%s: %.*s\n", must ? "FAIL" : "SKIP", suite, name, (int)strcspn(reason, "\n"),
               reason);
        return !must;
    }
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
        snprintf(why, sizeof(why), "took longer than %d s", LIMIT_S);
    } else if (WIFSIGNALED(status)) {
        snprintf(why, sizeof(why), "ended by signal %d", WTERMSIG(status));
    }
    if (getenv("UNIT_VERBOSE") != NULL) {
        fputs(output, stderr);
    }
    collect_reasons(output, why, sizeof(why));
    printf("FAIL %s.%s: %s\n", suite, name, why[0] != '\0' ? why : "exit status not 0");
    return false;
}

static bool run_one(const char *suite, const struct unit_test *test)
{
    static char text[OUTPUT_LEN];
    int status = 0;
    int output = memfd_create("output", 0);
    fflush(NULL);
    pid_t child = output < 0 ? -1 : fork();
    if (child == 0) {
        run_child(test, output);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0) {
        printf("FAIL %s.%s: cannot run: %s\n", suite, test->name, strerror(errno));
        return false;
    }
    ssize_t n = pread(output, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    close(output);
    return report(suite, test->name, status, text);
}

int unit_main(const char *suite, const struct unit_test *tests, size_t n, int argc, char **argv)
{
    int failed = 0;
    for (size_t i = 0; i < n; i++) {
        if (argc < 2 || strstr(tests[i].name, argv[1]) != NULL) {
            failed += run_one(suite, &tests[i]) ? 0 : 1;
            fflush(stdout);
        }
    }
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
