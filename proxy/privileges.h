/* SPDX-License-Identifier: MIT
 *
 * Who this process is, and what it may do because of it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct identity {
    bool has_user, has_group;
    uid_t uid;
    gid_t gid;        /* of --group, else the user's own */
    const char *user; /* as given; names have further groups, numbers need not */
};

/* A name or a number. False with a reason in `why`. */
bool user_of_text(const char *text, uid_t *ret_uid, char *why, size_t why_len);
bool group_of_text(const char *text, gid_t *ret_gid, char *why, size_t why_len);
/* "alice,1000": at most `most`. False with a reason in `why`. */
bool users_of_text(const char *text, uid_t *ret_uids, size_t most, size_t *ret_n, char *why,
                   size_t why_len);
/* --user and --group, each may be NULL. False with a reason in `why`. */
bool identity_of_text(const char *user, const char *group, struct identity *ret_identity, char *why,
                      size_t why_len);

/* Becomes `who`, for good, and gives up all capabilities and every way to new ones. Before the first
 * thread is made. 0, or -errno with a reason in `why`. */
int privileges_drop(const struct identity *who, char *why, size_t why_len);
/* What is left of them. */
uint64_t privileges_capabilities(void);
bool privileges_can_grow(void);

/* Nobody gets a picture of this process's memory: no core dump, and no other process of the same
 * user reads it or traces this one. */
int privileges_hide_memory(void);
bool privileges_dumps_core(void);
