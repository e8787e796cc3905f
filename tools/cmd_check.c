/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "compat.h"
#include "profiles.h"
#include "show.h"

/* Where a missing feature is known to hang on an option of the back-end, the option. */
static const char *hint_of(const struct feature_row *row)
{
    static const struct {
        enum device_type device;
        unsigned bit;
        const char *hint;
    } hints[] = {
        { DEVICE_NET, NET_HOST_TSO4, "testpmd and Open vSwitch offer it only with tso enabled" },
        { DEVICE_NET, NET_HOST_TSO6, "testpmd and Open vSwitch offer it only with tso enabled" },
        { DEVICE_NET, NET_HOST_ECN, "Open vSwitch withholds it with userspace-tso-enable=true" },
        { DEVICE_NET, NET_HOST_UFO,
          "linear buffers take it away: no Open vSwitch since 2.14 offers it" },
        { DEVICE_NET, NET_CSUM, "Open vSwitch offers it from 3.2 on, or with tso enabled" },
        { DEVICE_RING, RING_RING_PACKED, "SPDK from 23.09 on and VPP offer it only when asked to" },
        { DEVICE_RING, RING_EVENT_IDX, "SPDK never offers it, VPP only with event-idx" },
        { DEVICE_RING, RING_ACCESS_PLATFORM, "offered only with iommu support switched on" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(hints); i++) {
        if (hints[i].device == row->device && hints[i].bit == row->bit) {
            return hints[i].hint;
        }
    }
    return NULL;
}

static const struct feature_row *row_of_missing(const struct gap *g, enum device_type device,
                                                unsigned bit)
{
    return (g->features & BIT(bit)) != 0 ? feature_of_bit(device, bit) : NULL;
}

static void print_text(const struct interface *i, const struct gap *g, bool fits, const char *why)
{
    char text[4096];
    if (fits && why[0] == '\0') {
        puts("yes: this back-end can serve the interface");
        return;
    }
    if (why[0] != '\0') {
        printf("no: the running guest could not carry on: %s\n", why);
    }
    if (fits) {
        return;
    }
    gap_print(g, i->device, text, sizeof(text));
    printf("no: %s\n", text);
    for (unsigned bit = 0; bit < 64; bit++) {
        const struct feature_row *row = row_of_missing(g, i->device, bit);
        if (row != NULL && hint_of(row) != NULL) {
            printf("hint: %s: %s\n", row->name, hint_of(row));
        }
    }
}

static json_t *limits_json(const struct gap *g)
{
    json_t *limits = json_object();
    if (g->queues_wanted != 0) {
        json_object_set_new(
            limits, "queues",
            json_pack("{s:i, s:i}", "wanted", g->queues_wanted, "offered", g->queues_offered));
    }
    if (g->mem_slots_wanted != 0) {
        json_object_set_new(limits, "mem_slots",
                            json_pack("{s:i, s:i}", "wanted", g->mem_slots_wanted, "offered",
                                      g->mem_slots_offered));
    }
    for (size_t k = 0; k < g->n_fields; k++) {
        char name[64];
        snprintf(name, sizeof(name), "config.%s", g->fields[k].row->name);
        json_object_set_new(limits, name,
                            json_pack("{s:o, s:o}", "wanted", json_of_number(g->fields[k].wanted),
                                      "offered", json_of_number(g->fields[k].offered)));
    }
    return limits;
}

static json_t *hints_json(const struct gap *g, enum device_type device)
{
    json_t *hints = json_object();
    for (unsigned bit = 0; bit < 64; bit++) {
        const struct feature_row *row = row_of_missing(g, device, bit);
        if (row != NULL && hint_of(row) != NULL) {
            json_object_set_new(hints, row->name, json_string(hint_of(row)));
        }
    }
    return hints;
}

static void print_json(const struct interface *i, const struct gap *g, bool yes, const char *why)
{
    char spec[INTERFACE_TEXT_LEN];
    char digest[INTERFACE_DIGEST_LEN];
    interface_canonical(i, spec, sizeof(spec));
    interface_digest(i, digest);
    show_json(json_pack("{s:b, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:b, s:s}", "compatible",
                        yes, "spec", spec, "digest", digest, "host", i->host, "missing_features",
                        json_of_features(i->device, g->features | g->without_protocol),
                        "missing_protocol_features",
                        json_of_protocol_features(g->protocol_features), "unwanted_features",
                        json_of_features(i->device, g->facts), "limits", limits_json(g), "hints",
                        hints_json(g, i->device), "missing_config", g->config, "state", why));
}

int cmd_check(const struct command *command, int argc, char **argv)
{
    bool json = false;
    const char *spec = NULL;
    const char *offer_text = NULL;
    const char *dir = NULL;
    const char *state = NULL;
    struct expectation expectation;
    char why[2048] = "";
    size_t n_words = 0;
    struct interface interface;
    struct offer offer;
    enum device_type device;
    struct gap gap = { .config = false };
    const struct option_row rows[] = {
        { "offer", "OFFER", "a saved probe, ctl:PATH or connect:PATH", OPTION_TEXT, false,
          &offer_text },
        { "state", "STATE", "a running device's saved state: may its guest move there?",
          OPTION_TEXT, false, &state },
        { "profile-dir", "DIR", "folder with families, looked at first", OPTION_TEXT, false, &dir },
        { "json", NULL, "as JSON", OPTION_FLAG, false, &json },
    };
    enum options_result parsed =
        options_parse(command, rows, ARRAY_SIZE(rows), argc, argv, &spec, 1, &n_words);
    if (parsed != OPTIONS_OK) {
        return parsed;
    }
    if (n_words == 0 || offer_text == NULL) {
        return usage_error("check: say what and where: vushim check SPEC --offer OFFER");
    }
    if (!spec_from_option("check", spec, dir, &interface) ||
        !offer_from_option("check", offer_text, &offer, &device)) {
        return 2;
    }
    if (device != DEVICE_UNKNOWN && interface.device != DEVICE_UNKNOWN &&
        device != interface.device) {
        return usage_error("check: the offer is a %s device's, the spec string is for %s (compare "
                           "like with like, or probe with --device)",
                           device_name(device), device_name(interface.device));
    }
    if (state != NULL && !state_from_option("check", state, &expectation)) {
        return 2;
    }
    if (state != NULL && expectation.device != DEVICE_UNKNOWN &&
        interface.device != DEVICE_UNKNOWN && expectation.device != interface.device) {
        return usage_error("check: the state is a %s device's, the spec string is for %s",
                           device_name(expectation.device), device_name(interface.device));
    }
    bool fits = compat_check(&interface, &offer, &gap);
    bool met = state == NULL || expectation_met(&expectation, &interface, &offer, why, sizeof(why));
    if (json) {
        print_json(&interface, &gap, fits && met, why);
    } else {
        print_text(&interface, &gap, fits, why);
    }
    return fits && met ? 0 : 1;
}
