/* SPDX-License-Identifier: MIT
 *
 * What a running vushim can no longer do, whoever is in charge of it.
 *
 * It is entered in two steps. sandbox_confine() changes what belongs to a thread (user, capabilities,
 * Landlock), so it stands before the first thread and before the trace's file is made, and after the
 * sockets: these may be where only the user who started it can make them. sandbox_filter() takes
 * system calls away from all threads, before the first byte of a peer is read. */
#pragma once

#include <stdint.h>

#include "privileges.h"
#include "sandbox_files.h"

/* AUTO: whatever this kernel has, with a line in the log about what it lacks. ON: all or nothing. */
enum sandbox_mode { SANDBOX_AUTO, SANDBOX_ON, SANDBOX_OFF };

/* Sockets' folders (front, back, standby, control), traces', and that of descriptors' descriptions. */
#define SANDBOX_FOLDERS 8

struct sandbox_options {
    enum sandbox_mode mode;
    bool dumps_core;
    struct identity identity;
    const char *trace_dir; /* where traces may be begun later; NULL: beside that of --trace only */
};

struct sandbox {
    struct sandbox_options options;
    struct sandbox_folder folders[SANDBOX_FOLDERS];
    char paths[SANDBOX_FOLDERS][4096]; /* of the folders; untouched pages cost nothing */
    size_t n_folders;
    int fdinfo_fd; /* keeps that folder's entry, which its rule hangs on, in the kernel's memory */
    /* What holds: */
    uid_t uid;
    gid_t gid;
    uint64_t capabilities;
    bool no_new_privileges, dumps_core;
    int landlock; /* its version; 0: not in force */
    bool filtered;
    char lacks[256]; /* what the kernel does not have; empty: nothing */
};

void sandbox_init(struct sandbox *s, const struct sandbox_options *options);
/* The folder of this file may be used so. */
void sandbox_add_file(struct sandbox *s, const char *file, enum folder_use use);
/* 0, or -errno with a reason in `why`. */
int sandbox_confine(struct sandbox *s, char *why, size_t why_len);
int sandbox_filter(struct sandbox *s, char *why, size_t why_len);
void sandbox_deinit(struct sandbox *s);

/* What holds, as the kernel said it in between: a row's name, and its text in `buf`. False behind the
 * last row. */
bool sandbox_describe(const struct sandbox *s, size_t row, const char **ret_name, char *buf,
                      size_t len);
