/* SPDX-License-Identifier: MIT
 *
 * Running vushims as capture interfaces of Wireshark (its extcap interface, doc/extcap.html there).
 * Wireshark starts this once for each question, and for a capture with a fifo that the vushim whose
 * control socket is the interface then writes its trace to. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "ctl_client.h"
#include "traceformat.h"
#include "util.h"

#define FOLDER "/run/vushim"
#define SUFFIX ".ctl"
/* An interface is called "vushim-NAME" after FOLDER/NAME.ctl: Wireshark takes a path for a pipe. */
#define PREFIX "vushim-"
#define TRIES 50
#define TRY_NS 100000000

static volatile sig_atomic_t is_over;

static void on_signal(int number)
{
    (void)number;
    is_over = 1;
}

static const char *folder(void)
{
    const char *given = getenv("VUSHIM_CONTROL_DIR");
    return given != NULL ? given : FOLDER;
}

static bool is_control_socket(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return len > strlen(SUFFIX) && strcmp(entry->d_name + len - strlen(SUFFIX), SUFFIX) == 0 &&
           strpbrk(entry->d_name, "{}\n") == NULL;
}

/* Braces and line ends would end the sentence. */
static void print_plain(const char *text)
{
    for (; *text != '\0'; text++) {
        bool plain = (unsigned char)*text >= 0x20 && *text != '{' && *text != '}';
        putchar(plain ? *text : '_');
    }
}

static void print_interface(const char *file)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", folder(), file);
    json_t *answer = ctl_ask("extcap", path, "query-status");
    json_t *status = json_object_get(answer, "return");
    const char *name = json_string_value(json_object_get(status, "name"));
    const char *life = json_string_value(json_object_get(status, "life"));
    if (name != NULL && life != NULL) {
        printf("interface {value=" PREFIX "%.*s", (int)(strlen(file) - strlen(SUFFIX)), file);
        printf("}{display=vushim ");
        print_plain(name);
        printf(" (%s)}\n", life);
    }
    json_decref(answer);
}

static int print_interfaces(void)
{
    printf("extcap {version=" VUSHIM_VERSION "}{display=vushim vhost-user traces}\n");
    DIR *dir = opendir(folder());
    const struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (is_control_socket(entry)) {
            print_interface(entry->d_name);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return 0;
}

/* Wireshark may open its end of the fifo a moment later. A descriptor or -errno. */
static int open_fifo(const char *fifo)
{
    const struct timespec pause = { .tv_nsec = TRY_NS };
    int fd = -EINTR;
    bool made;
    for (unsigned i = 0; i < TRIES && !is_over; i++) {
        fd = ctl_open_trace(fifo, &made);
        if (fd != -ENXIO) {
            break;
        }
        nanosleep(&pause, NULL);
    }
    return fd;
}

/* False after a line on stderr. */
static bool start_trace(const char *path, const char *fifo)
{
    CLEANUP_CLOSE int fd = open_fifo(fifo);
    if (fd < 0) {
        usage_error("extcap: %s: %s", fifo, strerror(-fd));
        return false;
    }
    json_t *answer = ctl_ask_for_trace("extcap", path, json_pack("{s:s}", "file", fifo), fd);
    bool begun = json_object_get(answer, "return") != NULL;
    const char *why = json_string_value(json_object_get(json_object_get(answer, "error"), "desc"));
    if (answer != NULL && !begun) {
        usage_error("extcap: %s: %s", path, why != NULL ? why : "no trace could be started");
    }
    json_decref(answer);
    return begun;
}

static int capture(const char *path, const char *fifo)
{
    struct sigaction action = { .sa_handler = on_signal };
    sigset_t stops;
    sigset_t before;
    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    if (!start_trace(path, fifo)) {
        return 2;
    }
    /* Until Wireshark ends the capture. A signal between the question and the wait is not lost. */
    sigprocmask(SIG_BLOCK, &stops, &before);
    while (!is_over) {
        sigsuspend(&before);
    }
    json_decref(ctl_ask("extcap", path, "trace-stop"));
    return 0;
}

int cmd_extcap(const struct command *command, int argc, char **argv)
{
    bool interfaces = false;
    bool dlts = false;
    bool config = false;
    bool captures = false;
    const char *interface = NULL;
    const char *fifo = NULL;
    const char *ignored;
    size_t n = 0;
    const struct option_row rows[] = {
        { "extcap-interfaces", NULL, "list running vushims", OPTION_FLAG, false, &interfaces },
        { "extcap-interface", "NAME", "one of that list", OPTION_TEXT, false, &interface },
        { "extcap-dlts", NULL, "what an interface captures", OPTION_FLAG, false, &dlts },
        { "extcap-config", NULL, "an interface's options (none)", OPTION_FLAG, false, &config },
        { "capture", NULL, "capture until SIGTERM", OPTION_FLAG, false, &captures },
        { "fifo", "PATH", "where to", OPTION_TEXT, false, &fifo },
        { "extcap-version", "N", "Wireshark's (not looked at)", OPTION_TEXT, false, &ignored },
        { "extcap-capture-filter", "TEXT", "not looked at", OPTION_TEXT, false, &ignored },
    };
    enum options_result parsed =
        options_parse(command, rows, ARRAY_SIZE(rows), argc, argv, NULL, 0, &n);
    if (parsed != OPTIONS_OK) {
        return parsed;
    }
    if (interfaces) {
        return print_interfaces();
    }
    if (dlts || config) {
        if (dlts) {
            printf("dlt {number=%d}{name=WIRESHARK_UPPER_PDU}{display=vhost-user}\n",
                   TRACE_LINKTYPE);
        }
        return 0;
    }
    if (!captures || interface == NULL || fifo == NULL) {
        return usage_error("extcap: Wireshark calls this (see vushim-wireshark(7))");
    }
    if (strncmp(interface, PREFIX, strlen(PREFIX)) != 0) {
        return usage_error("extcap: %s: no such interface", interface);
    }
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s" SUFFIX, folder(), interface + strlen(PREFIX));
    return capture(path, fifo);
}
