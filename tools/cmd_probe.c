/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "prober.h"
#include "show.h"

#define TIMEOUT_S 5.0

/* An offer and what follows from it, ready to be shown. */
struct finding {
    struct offer offer;
    struct interface interface;
    uint64_t unnamed;
    bool guessed;
    char spec[INTERFACE_TEXT_LEN];
    char digest[INTERFACE_DIGEST_LEN];
};

/* A field that this device has and that the offered features make valid. */
static bool field_shown(const struct finding *f, const struct config_row *row, uint64_t *ret_value)
{
    return config_row_valid(row, f->interface.device, f->offer.features) &&
           offer_config(&f->offer, row, ret_value);
}

static void print_text(const struct finding *f, const char *endpoint)
{
    char names[2048];
    uint64_t value = 0;
    const struct offer *o = &f->offer;
    enum device_type device = f->interface.device;
    printf("back-end           %s\n", endpoint);
    if (device == DEVICE_UNKNOWN) {
        puts("device             not told by the protocol (--device NAME names its bits)");
    } else {
        printf("device             %s%s\n", device_name(device),
               f->guessed ? " (guessed from the offer; --device NAME says otherwise)" : "");
    }
    features_print(device, o->features, names, sizeof(names));
    printf("features           %s\n", names);
    protocol_print(o->protocol_features, names, sizeof(names));
    printf("protocol features  %s\n", names);
    if (o->queues != 0) {
        printf("queues             %u\n", o->queues);
    }
    if (o->mem_slots != 0) {
        printf("mem_slots          %u\n", o->mem_slots);
    }
    for (size_t i = 0; i < n_config_rows; i++) {
        if (field_shown(f, &config_rows[i], &value)) {
            printf("config             %s=%" PRIu64 "\n", config_rows[i].name, value);
        }
    }
    if (f->unnamed != 0) {
        features_print(device, f->unnamed, names, sizeof(names));
        printf("without a name     %s (a pinned interface hides them)\n", names);
    }
    printf("spec               %s\n", f->spec);
    printf("digest             %s\n", f->digest);
}

static void conclude(struct finding *f, enum device_type device)
{
    f->guessed = device == DEVICE_UNKNOWN;
    if (f->guessed) {
        device = offer_guess_device(&f->offer);
    }
    interface_of_offer(device, &f->offer, &f->interface, &f->unnamed);
    interface_canonical(&f->interface, f->spec, sizeof(f->spec));
    interface_digest(&f->interface, f->digest);
}

int cmd_probe(const struct command *command, int argc, char **argv)
{
    bool json = false;
    const char *device_text = NULL;
    double timeout = TIMEOUT_S;
    const char *word = NULL;
    size_t n_words = 0;
    enum device_type device = DEVICE_UNKNOWN;
    struct endpoint endpoint;
    struct finding finding = { .guessed = false };
    char why[256];
    const struct option_row rows[] = {
        { "device", "NAME", "kind of device: net, blk, scsi, fs, vsock, gpu, crypto, input",
          OPTION_TEXT, false, &device_text },
        { "timeout", "SECONDS", "how long the answers may take in all (default 5)", OPTION_SECONDS,
          false, &timeout },
        { "json", NULL, "as JSON", OPTION_FLAG, false, &json },
    };
    enum options_result parsed =
        options_parse(command, rows, ARRAY_SIZE(rows), argc, argv, &word, 1, &n_words);
    if (parsed != OPTIONS_OK) {
        return parsed;
    }
    if (n_words == 0) {
        return usage_error("probe: say which back-end: vushim probe PATH");
    }
    if (!endpoint_parse(word, ENDPOINT_CONNECT, &endpoint, why, sizeof(why))) {
        return usage_error("probe: %s: %s", word, why);
    }
    if (endpoint.kind != ENDPOINT_CONNECT && endpoint.kind != ENDPOINT_FD) {
        return usage_error("probe: %s: a probe connects (write connect:PATH or fd:N)", word);
    }
    if (device_text != NULL && !device_of_name(device_text, strlen(device_text), &device)) {
        return usage_error("probe: --device %s: no such kind of device", device_text);
    }
    int err = prober_run(&endpoint, timeout, &finding.offer, why, sizeof(why));
    if (err < 0) {
        return usage_error("probe: %s: %s", word, why);
    }
    conclude(&finding, device);
    if (json) {
        show_json(json_of_offer(word, finding.interface.device, finding.guessed, &finding.offer));
    } else {
        print_text(&finding, word);
    }
    return 0;
}
