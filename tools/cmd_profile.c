/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "show.h"

bool spec_from_option(const char *command, const char *spec, struct interface *ret_interface)
{
    struct spec_error error = { .at = 0 };
    if (spec_parse(spec, ret_interface, &error) == 0) {
        return true;
    }
    usage_error("%s: profile '%s': '%.*s' at character %zu: %s", command, spec, (int)error.word_len,
                spec + error.at, error.at + 1, error.text);
    return false;
}

static void print_json(const struct interface *i, const char *canonical, const char *digest)
{
    json_t *config = json_object();
    for (size_t k = 0; k < i->n_pins; k++) {
        json_object_set_new(config, i->pins[k].row->name,
                            json_integer((json_int_t)i->pins[k].value));
    }
    json_t *out = json_pack("{s:s, s:s, s:b, s:s, s:o, s:o, s:o}", "spec", canonical, "digest",
                            digest, "host", i->host, "device", device_name(i->device), "features",
                            show_features(i->device, i->on), "front_features",
                            show_features(i->device, i->front), "config", config);
    show_limits(out, i);
    show_json(out);
}

static void print_text(const struct interface *i, const char *canonical, const char *digest)
{
    char names[1024];
    printf("spec      %s\ndigest    %s\ndevice    %s\n", canonical, digest, device_name(i->device));
    features_print(i->device, i->on, names, sizeof(names));
    printf("features  %s%s\n", i->host ? "whatever is offered, and required: " : "", names);
    if (i->host) {
        puts("warning   host is whatever the back-end offers: not safe to migrate");
    }
}

int cmd_profile(const struct command *command, int argc, char **argv)
{
    bool json = false;
    const char *words[2];
    size_t n_words = 0;
    struct interface interface;
    char canonical[INTERFACE_TEXT_LEN];
    char digest[INTERFACE_DIGEST_LEN];
    const struct option_row rows[] = {
        { "json", NULL, "as JSON", OPTION_FLAG, false, &json },
    };
    switch (options_parse(command, rows, ARRAY_SIZE(rows), argc, argv, words, 2, &n_words)) {
    case OPTIONS_HELP:
        return 0;
    case OPTIONS_BAD:
        return 2;
    case OPTIONS_OK:
        break;
    }
    if (n_words != 2 || strcmp(words[0], "show") != 0) {
        return usage_error("profile: say what to show: vushim profile show SPEC");
    }
    if (!spec_from_option("profile show", words[1], &interface)) {
        return 2;
    }
    interface_canonical(&interface, canonical, sizeof(canonical));
    interface_digest(&interface, digest);
    if (json) {
        print_json(&interface, canonical, digest);
    } else {
        print_text(&interface, canonical, digest);
    }
    return 0;
}
