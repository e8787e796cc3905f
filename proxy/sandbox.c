/* SPDX-License-Identifier: MIT */
#include "sandbox.h"

#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "sandbox_calls.h"
#include "sanitized.h"
#include "util.h"

#define FDINFO "/proc/self/fdinfo"

void sandbox_init(struct sandbox *s, const struct sandbox_options *options)
{
    s->options = *options;
    s->n_folders = 0;
    s->fdinfo_fd = -1;
    s->landlock = 0;
    s->filtered = false;
    s->lacks[0] = '\0';
}

static void add_folder(struct sandbox *s, const char *path, enum folder_use use)
{
    for (size_t i = 0; i < s->n_folders; i++) {
        if (s->folders[i].use == use && strcmp(s->paths[i], path) == 0) {
            return;
        }
    }
    assert(s->n_folders < SANDBOX_FOLDERS);
    snprintf(s->paths[s->n_folders], sizeof(s->paths[0]), "%s", path);
    s->folders[s->n_folders] =
        (struct sandbox_folder){ .path = s->paths[s->n_folders], .use = use };
    s->n_folders++;
}

void sandbox_add_file(struct sandbox *s, const char *file, enum folder_use use)
{
    char folder[PATH_MAX];
    int n = snprintf(folder, sizeof(folder), "%s", file);
    char *slash = strrchr(folder, '/');
    if (n >= (int)sizeof(folder)) {
        return; /* what opens it will say so */
    }
    if (slash == NULL) {
        snprintf(folder, sizeof(folder), ".");
    } else {
        slash[slash == folder ? 1 : 0] = '\0';
    }
    add_folder(s, folder, use);
}

/* The kernel does not have it: that is an error only for who insists. */
static int miss(struct sandbox *s, const char *what, int err, char *why, size_t why_len)
{
    if (s->options.mode == SANDBOX_ON) {
        snprintf(why, why_len,
                 "--sandbox on: %s: %s (a newer kernel has it; --sandbox auto goes without)", what,
                 strerror(-err));
        return err;
    }
    size_t used = strlen(s->lacks);
    snprintf(s->lacks + used, sizeof(s->lacks) - used, "%s%s (%s)", used > 0 ? ", " : "", what,
             strerror(-err));
    return 0;
}

static int limit_files(struct sandbox *s, char *why, size_t why_len)
{
    const char *which = NULL;
    if (s->options.trace_dir != NULL) {
        add_folder(s, s->options.trace_dir, FOLDER_OF_TRACES);
    }
    s->fdinfo_fd = open(FDINFO, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (s->fdinfo_fd >= 0) {
        add_folder(s, FDINFO, FOLDER_TO_READ);
    }
    if (SANITIZED) {
        add_folder(s, "/", FOLDER_TO_READ);
    }
    int result = sandbox_files_limit(s->folders, s->n_folders, &which);
    if (result < 0 && which != NULL) {
        snprintf(why, why_len, "%s: %s (sockets and traces must be in folders that are there)",
                 which, strerror(-result));
        return result;
    }
    if (result < 0) {
        return miss(s, "Landlock", result, why, why_len);
    }
    s->landlock = result;
    return 0;
}

static int confine(struct sandbox *s, char *why, size_t why_len)
{
    int err = privileges_drop(&s->options.identity, why, why_len);
    if (err == 0 && !s->options.dumps_core) {
        err = privileges_hide_memory();
        if (err < 0) {
            snprintf(why, why_len, "cannot forbid core dumps: %s", strerror(-err));
        }
    }
    return err < 0 ? err : limit_files(s, why, why_len);
}

/* While nothing forbids to ask. */
static void look(struct sandbox *s)
{
    s->uid = geteuid();
    s->gid = getegid();
    s->capabilities = privileges_capabilities();
    s->no_new_privileges = !privileges_can_grow();
    s->dumps_core = privileges_dumps_core();
}

int sandbox_confine(struct sandbox *s, char *why, size_t why_len)
{
    /* It would be read from a file at the first use. */
    json_object_seed(0);
    int err = s->options.mode == SANDBOX_OFF ? 0 : confine(s, why, why_len);
    look(s);
    return err;
}

int sandbox_filter(struct sandbox *s, char *why, size_t why_len)
{
    if (s->options.mode == SANDBOX_OFF) {
        return 0;
    }
    int err = sandbox_calls_limit();
    if (err == -ENOMEM) {
        snprintf(why, why_len, "out of memory");
        return err;
    }
    s->filtered = err == 0;
    return err < 0 ? miss(s, "seccomp filters", err, why, why_len) : 0;
}

void sandbox_deinit(struct sandbox *s)
{
    s->fdinfo_fd = close_keep_errno(s->fdinfo_fd);
}

/* ---- what holds ---- */

static void describe_folders(const struct sandbox *s, char *buf, size_t len)
{
    static const char *const words[] = {
        [FOLDER_OF_SOCKETS] = "remove", [FOLDER_OF_TRACES] = "write", [FOLDER_TO_READ] = "read"
    };
    size_t used = (size_t)snprintf(buf, len, "Landlock %d:", s->landlock);
    for (size_t i = 0; i < s->n_folders && used < len; i++) {
        used += (size_t)snprintf(buf + used, len - used, "%s %s in %s", i > 0 ? "," : "",
                                 words[s->folders[i].use], s->folders[i].path);
    }
}

static const char *text_of(const char *yes, const char *no, bool is)
{
    return is ? yes : no;
}

bool sandbox_describe(const struct sandbox *s, size_t row, const char **ret_name, char *buf,
                      size_t len)
{
    static const char *const names[] = { "user",  "capabilities", "new-privileges", "core-dumps",
                                         "files", "system-calls", "guest-memory",   "lacks" };
    if (row >= ARRAY_SIZE(names)) {
        return false;
    }
    *ret_name = names[row];
    switch (row) {
    case 0:
        snprintf(buf, len, "uid %u, gid %u", (unsigned)s->uid, (unsigned)s->gid);
        break;
    case 1:
        snprintf(buf, len, s->capabilities == 0 ? "none" : "0x%llx",
                 (unsigned long long)s->capabilities);
        break;
    case 2:
        snprintf(buf, len, "%s", text_of("never", "possible", s->no_new_privileges));
        break;
    case 3:
        snprintf(buf, len, "%s", text_of("possible", "off", s->dumps_core));
        break;
    case 4:
        if (s->landlock > 0) {
            describe_folders(s, buf, len);
        } else {
            snprintf(buf, len, "what the user may");
        }
        break;
    case 5:
        snprintf(buf, len, s->filtered ? "%zu, any other ends vushim" : "all",
                 sandbox_calls_count());
        break;
    case 6:
        snprintf(buf, len, "%s", text_of("cannot be mapped", "is not mapped", s->filtered));
        break;
    default:
        snprintf(buf, len, "%s", s->lacks[0] != '\0' ? s->lacks : "nothing");
        break;
    }
    return true;
}
