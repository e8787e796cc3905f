/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "compat.h"
#include "profiles.h"
#include "show.h"

struct listing {
    const char *family;        /* NULL: all */
    const struct offer *offer; /* NULL: all versions */
    enum device_type device;   /* of the offer */
};

static bool family_listed(const struct listing *l, const struct family *f)
{
    bool wanted = l->family == NULL || strcmp(l->family, f->name) == 0;
    return wanted && (l->device == DEVICE_UNKNOWN || l->device == f->device);
}

static bool version_listed(const struct listing *l, const struct version *v)
{
    struct gap gap;
    return l->offer == NULL || compat_check(&v->interface, l->offer, &gap);
}

static size_t print_text(const struct listing *l, const struct store *store)
{
    size_t n = 0;
    for (size_t i = 0; i < store->n; i++) {
        const struct family *f = store->families[i];
        for (size_t k = 0; k < f->n_versions && family_listed(l, f); k++) {
            const struct version *v = &f->versions[k];
            if (version_listed(l, v)) {
                printf("%-36s %s\n", v->full_name, v->description != NULL ? v->description : "");
                n++;
            }
        }
    }
    return n;
}

/* `latest` is the newest name; where several families are listed there is one for each. */
static size_t print_json(const struct listing *l, const struct store *store)
{
    json_t *families = json_object();
    json_t *supported = json_array();
    const char *latest_of_all = NULL;
    for (size_t i = 0; i < store->n; i++) {
        const struct family *f = store->families[i];
        const char *latest = NULL;
        json_t *names = json_array();
        for (size_t k = 0; k < f->n_versions && family_listed(l, f); k++) {
            const struct version *v = &f->versions[k];
            char digest[INTERFACE_DIGEST_LEN];
            if (!version_listed(l, v)) {
                continue;
            }
            interface_digest(&v->interface, digest);
            json_array_append_new(names,
                                  json_pack("{s:s, s:s, s:s*}", "name", v->full_name, "digest",
                                            digest, "description", v->description));
            json_array_append_new(supported, json_string(v->full_name));
            latest = v->full_name;
        }
        if (latest != NULL) {
            json_object_set_new(families, f->name,
                                json_pack("{s:s, s:s, s:O}", "device", device_name(f->device),
                                          "latest", latest, "versions", names));
            latest_of_all = latest;
        }
        json_decref(names);
    }
    size_t n = json_array_size(supported);
    const char *latest = json_object_size(families) == 1 ? latest_of_all : NULL;
    show_json(json_pack("{s:s?, s:o, s:o}", "latest", latest, "supported", supported, "families",
                        families));
    return n;
}

static bool has_family(const struct store *store, const char *name)
{
    for (size_t i = 0; i < store->n; i++) {
        if (strcmp(store->families[i]->name, name) == 0) {
            return true;
        }
    }
    return false;
}

int cmd_versions(const struct command *command, int argc, char **argv)
{
    bool json = false;
    const char *offer_text = NULL;
    const char *dir = NULL;
    size_t n_words = 0;
    struct listing listing = { .device = DEVICE_UNKNOWN };
    struct store store;
    struct offer offer;
    const struct option_row rows[] = {
        { "family", "NAME", "one family only", OPTION_TEXT, false, &listing.family },
        { "offer", "OFFER",
          "only what this back-end can serve: a saved probe, ctl:PATH or connect:PATH", OPTION_TEXT,
          false, &offer_text },
        { "profile-dir", "DIR", "folder with families, looked at first", OPTION_TEXT, false, &dir },
        { "json", NULL, "as JSON", OPTION_FLAG, false, &json },
    };
    enum options_result parsed =
        options_parse(command, rows, ARRAY_SIZE(rows), argc, argv, NULL, 0, &n_words);
    if (parsed != OPTIONS_OK) {
        return parsed;
    }
    if (offer_text != NULL) {
        if (!offer_from_option("versions", offer_text, &offer, &listing.device)) {
            return 2;
        }
        listing.offer = &offer;
    }
    if (!profiles_load("versions", dir, &store)) {
        return 2;
    }
    if (listing.family != NULL && !has_family(&store, listing.family)) {
        store_clear(&store);
        return usage_error("versions: --family %s: no such family (see vushim versions)",
                           listing.family);
    }
    size_t n = json ? print_json(&listing, &store) : print_text(&listing, &store);
    store_clear(&store);
    if (n == 0 && !json) {
        puts("none");
    }
    return n > 0 ? 0 : 1;
}
