/* SPDX-License-Identifier: MIT
 *
 * Landlock by its system calls: the C library has no names for them. Header files that are older than
 * the kernel lack bits, so all are here, by the version that brought them (kernel documentation,
 * userspace-api/landlock.rst).
 *
 * What Landlock does not govern: connecting to a socket by its path, inotify, and looking whether a
 * file is there. So a switch may go to a back-end in any folder. */
#include "sandbox_files.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "util.h"

enum {
    WRITE_FILE = 1 << 1,
    READ_FILE = 1 << 2,
    READ_FOLDER = 1 << 3,
    REMOVE_FILE = 1 << 5,
    MAKE_FILE = 1 << 8,
    TRUNCATE = 1 << 14,
};
#define PATH_BENEATH 1
#define ASK_VERSION 1u

/* Everything that a version can forbid is forbidden. */
static const struct {
    int version;
    uint64_t files;
    uint64_t ports;     /* TCP: to bind, to connect */
    uint64_t outsiders; /* abstract sockets of others, signals to others */
    size_t attribute_len;
} versions[] = {
    { 1, (1 << 13) - 1, 0, 0, 8 },  { 2, (1 << 14) - 1, 0, 0, 8 },  { 3, (1 << 15) - 1, 0, 0, 8 },
    { 4, (1 << 15) - 1, 3, 0, 16 }, { 5, (1 << 16) - 1, 3, 0, 16 }, { 6, (1 << 16) - 1, 3, 3, 24 },
};

struct ruleset_attribute {
    uint64_t files, ports, outsiders;
};

struct path_attribute {
    uint64_t allowed;
    int32_t folder;
} __attribute__((packed));

static const uint64_t rights[] = {
    [FOLDER_OF_SOCKETS] = REMOVE_FILE,
    [FOLDER_OF_TRACES] = WRITE_FILE | MAKE_FILE | REMOVE_FILE | TRUNCATE,
    [FOLDER_TO_READ] = READ_FILE | READ_FOLDER,
};

/* 0: none. */
static int version_here(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, ASK_VERSION);
    return version > 0 ? (int)version : 0;
}

static int add_folder(int ruleset, const struct sandbox_folder *f, uint64_t governed)
{
    CLEANUP_CLOSE int fd = open(f->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    struct path_attribute attribute = { .allowed = rights[f->use] & governed, .folder = fd };
    long err = syscall(SYS_landlock_add_rule, ruleset, PATH_BENEATH, &attribute, 0);
    return err < 0 ? -errno : 0;
}

int sandbox_files_limit(const struct sandbox_folder *folders, size_t n, const char **ret_which)
{
    int version = version_here();
    size_t k = ARRAY_SIZE(versions) - 1;
    *ret_which = NULL;
    if (version == 0) {
        return -ENOSYS;
    }
    while (versions[k].version > version) {
        k--;
    }
    struct ruleset_attribute attribute = { versions[k].files, versions[k].ports,
                                           versions[k].outsiders };
    CLEANUP_CLOSE int ruleset =
        (int)syscall(SYS_landlock_create_ruleset, &attribute, versions[k].attribute_len, 0);
    if (ruleset < 0) {
        return -errno;
    }
    for (size_t i = 0; i < n; i++) {
        int err = add_folder(ruleset, &folders[i], versions[k].files);
        /* The user whom vushim has become could remove nothing there either. */
        bool no_loss = err == -EACCES && folders[i].use == FOLDER_OF_SOCKETS;
        if (err < 0 && !no_loss) {
            *ret_which = folders[i].path;
            return err;
        }
    }
    return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -errno : version;
}
