/* SPDX-License-Identifier: MIT
 *
 * Which files there are from now on: Landlock, where the kernel has it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum folder_use {
    FOLDER_OF_SOCKETS, /* their files are removed at the end */
    FOLDER_OF_TRACES,  /* files are made, written, renamed and removed */
    FOLDER_TO_READ,
};

struct sandbox_folder {
    const char *path;
    enum folder_use use;
};

/* For this thread and those that it makes, for good: nothing but these folders. The version of Landlock
 * that the kernel has, or -errno with the folder that is to blame, or NULL, in *ret_which. */
int sandbox_files_limit(const struct sandbox_folder *folders, size_t n, const char **ret_which);
