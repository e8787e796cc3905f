/* SPDX-License-Identifier: MIT
 *
 * Families: append-only lists of named interfaces, one JSON file each. The format is in
 * profiles/family.schema.json and vushim-profile(5). A version is resolved when it is read: what a
 * device is given later is a complete interface, and no file is looked at again. */
#pragma once

#include "interface.h"

/* Larger files are no families. */
#define FAMILY_MAX_BYTES 1048576

struct version {
    char *name;        /* "v22.11" */
    char *full_name;   /* "org.dpdk.v22.11" */
    char *description; /* NULL: none */
    char *source;      /* where the numbers come from; NULL: not said */
    struct interface interface;
};

struct family {
    char *name; /* "org.dpdk" */
    char *description;
    char *path;
    enum device_type device;
    struct version *versions; /* oldest first */
    size_t n_versions;
};

/* "FILE:LINE:COLUMN: 'NAME': what is wrong", one line. */
struct family_error {
    char text[512];
};

/* Names of families and versions are words of spec strings, so they must not hold what those are made
 * of: letters, digits and .-_+ only. */
bool family_name_is_plain(const char *name);

/* 0 and a family (to be freed), or -errno with *ret_error filled: -EINVAL for what is in the file.
 */
int family_load(const char *path, struct family **ret_family, struct family_error *ret_error);
/* Returns NULL, accepts NULL. */
struct family *family_free(struct family *f);

/* The version that was published against what it has become; for lint. */
enum family_breach_kind {
    BREACH_REMOVED, /* a published version is gone */
    BREACH_CHANGED, /* its interface is another one */
    BREACH_ORDER,   /* something was put between or before published versions */
    BREACH_SAME,    /* equals the version before it: the version need not change */
    BREACH_RENAMED, /* the family's name or device is another one */
};

/* Calls `found` for each breach with a sentence about it; returns how many. `old` may be NULL: then
 * only what can be seen in `now` alone. */
typedef void family_breach_fn(void *owner, enum family_breach_kind kind, const char *text);
size_t family_lint(const struct family *now, const struct family *old, family_breach_fn *found,
                   void *owner);

/* ---- all families of this machine ---- */

struct store {
    struct family **families;
    size_t n;
};

/* Reads every *.json of the folders in order (a folder that is not there is none); a family that an
 * earlier folder has wins. 0, or -errno with *ret_error. */
int store_load(const char *const *folders, size_t n_folders, struct store *ret_store,
               struct family_error *ret_error);
void store_clear(struct store *s);
/* The version with this full name; NULL if none. *ret_family may be NULL. */
const struct version *store_find(const struct store *s, const char *name, size_t len,
                                 const struct family **ret_family);
