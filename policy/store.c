/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "family.h"

static bool has_family(const struct store *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->families[i]->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Owns `f`, whatever comes of it. */
static int add_take(struct store *s, struct family *f)
{
    if (has_family(s, f->name)) {
        family_free(f);
        return 0;
    }
    size_t size = (s->n + 1) * sizeof(struct family *);
    struct family **grown = realloc((void *)s->families, size);
    if (grown == NULL) {
        family_free(f);
        return -ENOMEM;
    }
    s->families = grown;
    s->families[s->n++] = f;
    return 0;
}

static int is_family_file(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot != NULL && strcmp(dot, ".json") == 0 && strstr(entry->d_name, ".schema.") == NULL;
}

static int load_folder(struct store *s, const char *folder, struct family_error *error)
{
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, is_family_file, alphasort);
    int err = 0;
    if (n < 0) {
        return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
    }
    for (int i = 0; i < n; i++) {
        char *path = NULL;
        struct family *f = NULL;
        if (err == 0 && asprintf(&path, "%s/%s", folder, entries[i]->d_name) < 0) {
            path = NULL;
            err = -ENOMEM;
        }
        if (err == 0) {
            err = family_load(path, &f, error);
        }
        if (err == 0) {
            err = add_take(s, f);
        }
        free(path);
        free(entries[i]);
    }
    free((void *)entries);
    return err;
}

int store_load(const char *const *folders, size_t n_folders, struct store *ret_store,
               struct family_error *ret_error)
{
    struct store s = { .families = NULL };
    for (size_t i = 0; i < n_folders; i++) {
        snprintf(ret_error->text, sizeof(ret_error->text), "%s: cannot be read", folders[i]);
        int err = load_folder(&s, folders[i], ret_error);
        if (err < 0) {
            store_clear(&s);
            return err;
        }
    }
    *ret_store = s;
    return 0;
}

void store_clear(struct store *s)
{
    for (size_t i = 0; i < s->n; i++) {
        family_free(s->families[i]);
    }
    free((void *)s->families);
    *s = (struct store){ .families = NULL };
}

const struct version *store_find(const struct store *s, const char *name, size_t len,
                                 const struct family **ret_family)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct family *f = s->families[i];
        for (size_t k = 0; k < f->n_versions; k++) {
            const struct version *v = &f->versions[k];
            if (strlen(v->full_name) == len && memcmp(v->full_name, name, len) == 0) {
                if (ret_family != NULL) {
                    *ret_family = f;
                }
                return v;
            }
        }
    }
    return NULL;
}
