/* SPDX-License-Identifier: MIT
 *
 * vushim profile baseline: what a fleet has in common. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_profile.h"
#include "common.h"
#include "options.h"
#include "show.h"

struct fleet {
    struct offer *offers;
    size_t n;
    enum device_type device;
};

static bool load_fleet(const struct profile_options *o, const char *const *words,
                       struct fleet *fleet)
{
    if (o->device != NULL && !device_of_name(o->device, strlen(o->device), &fleet->device)) {
        usage_error("profile baseline: --device %s: no such kind of device", o->device);
        return false;
    }
    for (size_t k = 0; k < o->n_words; k++) {
        enum device_type device;
        if (!offer_from_option("profile baseline", words[k], &fleet->offers[k], &device)) {
            return false;
        }
        if (fleet->device == DEVICE_UNKNOWN) {
            fleet->device = device;
        }
        if (device != DEVICE_UNKNOWN && device != fleet->device) {
            usage_error("profile baseline: %s is a %s device, the others are %s", words[k],
                        device_name(device), device_name(fleet->device));
            return false;
        }
    }
    fleet->n = o->n_words;
    return true;
}

static bool all_can_serve(const struct fleet *fleet, const struct interface *i)
{
    struct gap gap;
    for (size_t k = 0; k < fleet->n; k++) {
        if (!compat_check(i, &fleet->offers[k], &gap)) {
            return false;
        }
    }
    return true;
}

/* The newest version of one family that all of them can serve. */
static int newest_version(const struct profile_options *o, const struct fleet *fleet)
{
    struct store store;
    const struct version *newest = NULL;
    bool known = false;
    if (!profiles_load("profile baseline", o->dir, &store)) {
        return 2;
    }
    for (size_t i = 0; i < store.n; i++) {
        const struct family *f = store.families[i];
        for (size_t k = 0; k < f->n_versions && strcmp(f->name, o->family) == 0; k++) {
            known = true;
            if (all_can_serve(fleet, &f->versions[k].interface)) {
                newest = &f->versions[k];
            }
        }
    }
    int status = 0;
    if (!known) {
        status = usage_error("profile baseline: --family %s: no such family (see vushim versions)",
                             o->family);
    } else if (o->json) {
        show_json(json_pack("{s:s?, s:o?}", "version", newest != NULL ? newest->full_name : NULL,
                            "profile",
                            newest != NULL ? json_of_interface(&newest->interface) : NULL));
    } else {
        puts(newest != NULL ? newest->full_name : "none: no version that all of them can serve");
    }
    store_clear(&store);
    return status != 0 ? status : newest != NULL ? 0 : 1;
}

static int greatest_common(const struct profile_options *o, const struct fleet *fleet)
{
    struct interface common;
    char why[1024];
    if (fleet->device == DEVICE_UNKNOWN) {
        return usage_error("profile baseline: no offer tells the kind of device (add --device)");
    }
    if (!common_interface(fleet->device, fleet->offers, fleet->n, &common, why, sizeof(why))) {
        if (o->json) {
            show_json(json_pack("{s:n, s:s}", "spec", "why", why));
        } else {
            printf("none: %s\n", why);
        }
        return 1;
    }
    if (o->json) {
        show_json(json_of_interface(&common));
    } else {
        profile_print(&common);
    }
    return 0;
}

int profile_baseline(const struct profile_options *o, const char *const *words)
{
    struct fleet fleet = { .device = DEVICE_UNKNOWN };
    fleet.offers = calloc(o->n_words, sizeof(*fleet.offers));
    if (fleet.offers == NULL) {
        return usage_error("profile baseline: out of memory");
    }
    int status = 2;
    if (load_fleet(o, words, &fleet)) {
        status = o->family != NULL ? newest_version(o, &fleet) : greatest_common(o, &fleet);
    }
    free(fleet.offers);
    return status;
}
