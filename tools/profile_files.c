/* SPDX-License-Identifier: MIT
 *
 * vushim profile lint and capture: families as files. */
#include <stdio.h>
#include <string.h>

#include "cmd_profile.h"
#include "options.h"
#include "show.h"

/* ---- lint ---- */

static void collect_breach(void *owner, enum family_breach_kind kind, const char *text)
{
    static const char *const names[] = {
        [BREACH_REMOVED] = "removed", [BREACH_CHANGED] = "changed", [BREACH_ORDER] = "order",
        [BREACH_SAME] = "same",       [BREACH_RENAMED] = "renamed",
    };
    json_array_append_new(owner, json_pack("{s:s, s:s}", "kind", names[kind], "text", text));
}

int profile_lint(const struct profile_options *o, const char *const *words)
{
    struct family *now = NULL;
    struct family *old = NULL;
    struct family_error error;
    if (family_load(words[0], &now, &error) < 0) {
        return usage_error("profile lint: %s", error.text);
    }
    if (o->against != NULL && family_load(o->against, &old, &error) < 0) {
        family_free(now);
        return usage_error("profile lint: %s", error.text);
    }
    json_t *breaches = json_array();
    size_t n = family_lint(now, old, collect_breach, breaches);
    if (o->json) {
        show_json(json_pack("{s:b, s:O}", "good", n == 0, "breaches", breaches));
    } else {
        size_t i;
        json_t *one;
        json_array_foreach(breaches, i, one)
        {
            printf("%s: %s\n", words[0], json_string_value(json_object_get(one, "text")));
        }
        if (n == 0) {
            printf("%s: %zu versions, good\n", words[0], now->n_versions);
        }
    }
    json_decref(breaches);
    family_free(now);
    family_free(old);
    return n == 0 ? 0 : 1;
}

/* ---- capture ---- */

static json_t *version_json(const char *name, const struct interface *i, const struct offer *o)
{
    json_t *config = json_object();
    uint64_t protocol = protocol_close(o->protocol_features & protocol_shown());
    for (size_t k = 0; k < i->n_pins; k++) {
        if (i->pins[k].value > INT64_MAX) {
            continue; /* no number of a family file */
        }
        json_object_set_new(config, i->pins[k].row->name,
                            json_pack("{s:I}", "pin", (json_int_t)i->pins[k].value));
    }
    json_t *version = json_pack("{s:s, s:s, s:o, s:o, s:o}", "name", name, "source",
                                "captured from a back-end's offer", "features",
                                json_of_features(i->device, i->on), "protocol_features",
                                json_of_protocol_features(protocol), "config", config);
    for (size_t k = 0; k < N_LIMITS; k++) {
        if (interface_limit(i, &limit_rows[k]) != 0) {
            json_object_set_new(version, limit_rows[k].name,
                                json_integer(interface_limit(i, &limit_rows[k])));
        }
    }
    return version;
}

int profile_capture(const struct profile_options *o, const char *const *words)
{
    struct offer offer;
    struct interface interface;
    enum device_type device;
    uint64_t unnamed;
    const char *dot = o->as != NULL ? strrchr(o->as, '.') : NULL;
    if (dot == NULL || dot == o->as || dot[1] == '\0' || !family_name_is_plain(o->as)) {
        return usage_error("profile capture: --as: say the name, as in --as org.example.v1");
    }
    if (!offer_from_option("profile capture", words[0], &offer, &device)) {
        return 2;
    }
    if (o->device != NULL && !device_of_name(o->device, strlen(o->device), &device)) {
        return usage_error("profile capture: --device %s: no such kind of device", o->device);
    }
    if (device == DEVICE_UNKNOWN) {
        return usage_error("profile capture: %s does not tell the kind of device (add --device)",
                           words[0]);
    }
    interface_of_offer(device, &offer, &interface, &unnamed);
    char family[256];
    snprintf(family, sizeof(family), "%.*s", (int)(dot - o->as), o->as);
    show_json(json_pack("{s:s, s:s, s:[o]}", "family", family, "device", device_name(device),
                        "versions", version_json(dot + 1, &interface, &offer)));
    return 0;
}
