/* SPDX-License-Identifier: MIT
 *
 * What a published family must not do. */
#include <stdio.h>
#include <string.h>

#include "family.h"

static bool same_interface(const struct interface *a, const struct interface *b)
{
    char text_a[INTERFACE_TEXT_LEN];
    char text_b[INTERFACE_TEXT_LEN];
    interface_canonical(a, text_a, sizeof(text_a));
    interface_canonical(b, text_b, sizeof(text_b));
    return strcmp(text_a, text_b) == 0;
}

struct lint {
    family_breach_fn *found;
    void *owner;
    size_t n;
};

static void breach(struct lint *l, enum family_breach_kind kind, const char *name,
                   const char *sentence)
{
    char text[512];
    snprintf(text, sizeof(text), "%s: %s", name, sentence);
    l->n++;
    l->found(l->owner, kind, text);
}

static const struct version *find(const struct family *f, const char *name)
{
    for (size_t i = 0; i < f->n_versions; i++) {
        if (strcmp(f->versions[i].name, name) == 0) {
            return &f->versions[i];
        }
    }
    return NULL;
}

static void against(struct lint *l, const struct family *now, const struct family *old)
{
    if (strcmp(now->name, old->name) != 0 || now->device != old->device) {
        breach(l, BREACH_RENAMED, now->name, "another family, or another kind of device");
    }
    for (size_t i = 0; i < old->n_versions; i++) {
        const struct version *was = &old->versions[i];
        const struct version *is = find(now, was->name);
        if (is == NULL) {
            breach(l, BREACH_REMOVED, was->full_name, "published, and gone");
        } else if (!same_interface(&was->interface, &is->interface)) {
            breach(l, BREACH_CHANGED, was->full_name,
                   "published, and its interface has changed (add a version instead)");
        } else if (is != &now->versions[i]) {
            breach(l, BREACH_ORDER, was->full_name,
                   "no longer in its place (new versions go to the end)");
        }
    }
}

size_t family_lint(const struct family *now, const struct family *old, family_breach_fn *found,
                   void *owner)
{
    struct lint l = { .found = found, .owner = owner };
    for (size_t i = 1; i < now->n_versions; i++) {
        if (same_interface(&now->versions[i - 1].interface, &now->versions[i].interface)) {
            breach(&l, BREACH_SAME, now->versions[i].full_name,
                   "the same interface as the version before it: the version need not change");
        }
    }
    if (old != NULL) {
        against(&l, now, old);
    }
    return l.n;
}
