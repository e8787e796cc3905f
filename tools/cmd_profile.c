/* SPDX-License-Identifier: MIT */
#include "cmd_profile.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "show.h"

void profile_print(const struct interface *i)
{
    char spec[INTERFACE_TEXT_LEN];
    char digest[INTERFACE_DIGEST_LEN];
    char names[1024];
    interface_canonical(i, spec, sizeof(spec));
    interface_digest(i, digest);
    printf("spec      %s\ndigest    %s\ndevice    %s\n", spec, digest, device_name(i->device));
    features_print(i->device, i->on, names, sizeof(names));
    printf("features  %s%s%s\n", i->host ? "whatever is offered" : "",
           i->host && i->on != 0 ? ", and required: " : "", names);
    if (i->host) {
        puts("warning   host is whatever the back-end offers: not safe to migrate");
    }
}

int profile_show(const struct profile_options *o, const char *const *words)
{
    struct interface i;
    if (!spec_from_option("profile show", words[0], o->dir, &i)) {
        return 2;
    }
    if (o->json) {
        show_json(json_of_interface(&i));
    } else {
        profile_print(&i);
    }
    return 0;
}

/* ---- diff ---- */

static void print_bits_diff(const char *what, const char *only_a, const char *only_b)
{
    if (only_a[0] != '\0') {
        printf("- %s %s\n", what, only_a);
    }
    if (only_b[0] != '\0') {
        printf("+ %s %s\n", what, only_b);
    }
}

static void diff_features(const struct interface *a, const struct interface *b)
{
    char only_a[1024];
    char only_b[1024];
    features_print(a->device, a->on & ~b->on, only_a, sizeof(only_a));
    features_print(b->device, b->on & ~a->on, only_b, sizeof(only_b));
    print_bits_diff("features", only_a, only_b);
    if (a->host || b->host) {
        features_print(a->device, a->off & ~b->off, only_a, sizeof(only_a));
        features_print(b->device, b->off & ~a->off, only_b, sizeof(only_b));
        print_bits_diff("withheld", only_a, only_b);
    }
    features_print(a->device, a->front & ~b->front, only_a, sizeof(only_a));
    features_print(b->device, b->front & ~a->front, only_b, sizeof(only_b));
    print_bits_diff("front", only_a, only_b);
    protocol_print(a->protocol_on & ~b->protocol_on, only_a, sizeof(only_a));
    protocol_print(b->protocol_on & ~a->protocol_on, only_b, sizeof(only_b));
    print_bits_diff("required protocol features", only_a, only_b);
    protocol_print(a->protocol_off & ~b->protocol_off, only_a, sizeof(only_a));
    protocol_print(b->protocol_off & ~a->protocol_off, only_b, sizeof(only_b));
    print_bits_diff("withheld protocol features", only_a, only_b);
}

static const struct config_pin *pin_of(const struct interface *i, const struct config_row *row)
{
    for (size_t k = 0; k < i->n_pins; k++) {
        if (i->pins[k].row == row) {
            return &i->pins[k];
        }
    }
    return NULL;
}

static void print_pin(char sign, const struct config_pin *pin)
{
    if (pin != NULL) {
        printf("%c config.%s=%s%" PRIu64 "\n", sign, pin->row->name,
               pin->mode == PIN_MIN ? "min:" : "", pin->value);
    }
}

static void diff_numbers(const struct interface *a, const struct interface *b)
{
    for (size_t k = 0; k < N_LIMITS; k++) {
        uint32_t in_a = interface_limit(a, &limit_rows[k]);
        uint32_t in_b = interface_limit(b, &limit_rows[k]);
        if (in_a != in_b && in_a != 0) {
            printf("- %s=%u\n", limit_rows[k].name, in_a);
        }
        if (in_a != in_b && in_b != 0) {
            printf("+ %s=%u\n", limit_rows[k].name, in_b);
        }
    }
    for (size_t k = 0; k < n_config_rows; k++) {
        const struct config_pin *in_a = pin_of(a, &config_rows[k]);
        const struct config_pin *in_b = pin_of(b, &config_rows[k]);
        bool same =
            in_a != NULL && in_b != NULL && in_a->value == in_b->value && in_a->mode == in_b->mode;
        if (!same) {
            print_pin('-', in_a);
            print_pin('+', in_b);
        }
    }
}

int profile_diff(const struct profile_options *o, const char *const *words)
{
    struct interface a;
    struct interface b;
    char text_a[INTERFACE_TEXT_LEN];
    char text_b[INTERFACE_TEXT_LEN];
    if (!spec_from_option("profile diff", words[0], o->dir, &a) ||
        !spec_from_option("profile diff", words[1], o->dir, &b)) {
        return 2;
    }
    interface_canonical(&a, text_a, sizeof(text_a));
    interface_canonical(&b, text_b, sizeof(text_b));
    bool same = strcmp(text_a, text_b) == 0;
    if (o->json) {
        show_json(json_pack("{s:b, s:o, s:o}", "equal", same, "a", json_of_interface(&a), "b",
                            json_of_interface(&b)));
    } else if (same) {
        puts("equal");
    } else {
        if (a.device != b.device || a.host != b.host) {
            printf("- %sdevice=%s\n+ %sdevice=%s\n", a.host ? "host," : "", device_name(a.device),
                   b.host ? "host," : "", device_name(b.device));
        }
        diff_features(&a, &b);
        diff_numbers(&a, &b);
    }
    return same ? 0 : 1;
}

/* ---- the subcommands ---- */

static const struct verb {
    const char *name;
    size_t least, most; /* words behind it */
    int (*run)(const struct profile_options *o, const char *const *words);
    const char *usage;
} verbs[] = {
    { "show", 1, 1, profile_show, "vushim profile show SPEC" },
    { "diff", 2, 2, profile_diff, "vushim profile diff SPEC SPEC" },
    { "capture", 1, 1, profile_capture, "vushim profile capture OFFER --as FAMILY.VERSION" },
    { "baseline", 1, PROFILE_MAX_WORDS, profile_baseline, "vushim profile baseline OFFER..." },
    { "lint", 1, 1, profile_lint, "vushim profile lint FILE [--against OLD]" },
};

int cmd_profile(const struct command *command, int argc, char **argv)
{
    static const char *words[PROFILE_MAX_WORDS + 1];
    struct profile_options o = { .json = false };
    size_t n = 0;
    const struct option_row rows[] = {
        { "profile-dir", "DIR", "folder with families, looked at first", OPTION_TEXT, false,
          &o.dir },
        { "against", "OLD", "lint: the file as it was published", OPTION_TEXT, false, &o.against },
        { "as", "NAME", "capture: name of the version, as in org.example.v1", OPTION_TEXT, false,
          &o.as },
        { "device", "NAME", "capture, baseline: kind of device, where an offer does not tell",
          OPTION_TEXT, false, &o.device },
        { "family", "NAME", "baseline: the newest version of this family that all can serve",
          OPTION_TEXT, false, &o.family },
        { "json", NULL, "as JSON", OPTION_FLAG, false, &o.json },
    };
    enum options_result parsed =
        options_parse(command, rows, ARRAY_SIZE(rows), argc, argv, words, ARRAY_SIZE(words), &n);
    if (parsed != OPTIONS_OK) {
        return parsed;
    }
    for (size_t i = 0; i < ARRAY_SIZE(verbs) && n > 0; i++) {
        if (strcmp(words[0], verbs[i].name) != 0) {
            continue;
        }
        if (n - 1 < verbs[i].least || n - 1 > verbs[i].most) {
            return usage_error("profile %s: wrong number of arguments (%s)", words[0],
                               verbs[i].usage);
        }
        o.n_words = n - 1;
        return verbs[i].run(&o, words + 1);
    }
    return usage_error("profile: say what to do: show, diff, capture, baseline or lint (see vushim "
                       "profile --help)");
}
