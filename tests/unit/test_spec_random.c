/* SPDX-License-Identifier: MIT
 *
 * Canonical forms of many random spec strings: they parse to the same interface, and equal
 * canonical forms are what equal meanings have. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compat.h"
#include "runner.h"
#include "sample.h"
#include "specs.h"

#define ROUNDS 20000
#define MAX_WORDS 64
#define WORD_LEN 96
#define SPEC_LEN (MAX_WORDS * WORD_LEN)

struct words {
    size_t n;
    char word[MAX_WORDS][WORD_LEN];
};

static uint64_t seed = 20240229;

static uint64_t below(uint64_t n)
{
    return sample_random(&seed) % n;
}

__attribute__((format(printf, 2, 3))) static void add(struct words *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (w->n < MAX_WORDS) {
        vsnprintf(w->word[w->n++], WORD_LEN, format, args);
    }
    va_end(args);
}

static void add_features(struct words *w, enum device_type device)
{
    static const char *const values[] = { "on", "off", "front" };
    uint64_t chance = 1 + below(12);
    for (size_t i = 0; i < n_feature_rows; i++) {
        const struct feature_row *row = &feature_rows[i];
        bool of_device = row->device == device || row->device == DEVICE_RING;
        if (of_device && below(chance) == 0) {
            add(w, "%s=%s", row->name, values[below(row->how == FEATURE_LAYOUT ? 2 : 3)]);
        }
    }
}

static void add_protocol(struct words *w)
{
    uint64_t chance = 4 + below(20);
    for (size_t i = 0; i < n_protocol_rows; i++) {
        if (below(chance) == 0) {
            add(w, "protocol.%s=%s", protocol_rows[i].name, below(2) ? "on" : "off");
        }
    }
}

static void add_pins(struct words *w, enum device_type device)
{
    uint64_t chance = 3 + below(30);
    for (size_t i = 0; i < n_config_rows; i++) {
        const struct config_row *row = &config_rows[i];
        uint64_t most = row->size >= 8 ? UINT64_MAX : BIT(8 * row->size) - 1;
        if (row->device == device && (row->traits & CONFIG_TEXT) == 0 && below(chance) == 0) {
            add(w, below(2) ? "config.%s=%s%" PRIu64 : "config.%s=%s%#" PRIx64, row->name,
                below(3) == 0 ? "min:" : "", sample_random(&seed) & most);
        }
    }
}

static void add_limits(struct words *w)
{
    if (below(3) == 0) {
        add(w, "queues=%" PRIu64, 1 + below(PROTOCOL_MAX_QUEUES));
    }
    if (below(3) == 0) {
        add(w, "max_ring=%" PRIu64, BIT(below(16)));
    }
    if (below(3) == 0) {
        add(w, "mem_slots=%" PRIu64, 1 + below(PROTOCOL_MAX_SLOTS));
    }
}

static void shuffle(struct words *w)
{
    for (size_t i = w->n; i > 1; i--) {
        size_t k = below(i);
        char swap[WORD_LEN];
        memcpy(swap, w->word[i - 1], WORD_LEN);
        memcpy(w->word[i - 1], w->word[k], WORD_LEN);
        memcpy(w->word[k], swap, WORD_LEN);
    }
}

static void join(const struct words *w, bool host, char spec[static SPEC_LEN])
{
    size_t used = (size_t)snprintf(spec, SPEC_LEN, "%s", host ? "host" : "");
    for (size_t i = 0; i < w->n; i++) {
        used +=
            (size_t)snprintf(spec + used, SPEC_LEN - used, "%s%s", used > 0 ? "," : "", w->word[i]);
    }
}

/* A random spec string; false when it contradicts itself. */
static bool random_interface(struct words *w, bool *host, struct interface *ret)
{
    char spec[SPEC_LEN];
    struct spec_error error;
    unsigned device = (unsigned)below(N_DEVICE_TYPES);
    *w = (struct words){ .n = 0 };
    *host = below(2);
    if (device < DEVICE_NET) {
        device = DEVICE_UNKNOWN;
    } else {
        add(w, "device=%s", device_name((enum device_type)device));
    }
    add_features(w, (enum device_type)device);
    add_protocol(w);
    add_pins(w, (enum device_type)device);
    add_limits(w);
    shuffle(w);
    join(w, *host, spec);
    int err = parse_spec(spec, ret, &error);
    bool contradicts = strstr(error.text, "off") != NULL || spec[0] == '\0';
    unit_check(err == 0 || contradicts, "'%s': %s", spec, error.text);
    return err == 0;
}

static struct offer random_offer(void)
{
    return (struct offer){ .features = sample_random(&seed) | sample_random(&seed),
                           .protocol_features =
                               sample_random(&seed) | sample_random(&seed) | sample_random(&seed),
                           .queues = (uint32_t)below(300),
                           .mem_slots = (uint32_t)below(600) };
}

/* All that an interface decides, for a few offers. */
static bool same_meaning(const struct interface *a, const struct interface *b)
{
    if (a->device != b->device || a->max_ring != b->max_ring || a->n_pins != b->n_pins ||
        a->front != b->front || interface_is_transparent(a) != interface_is_transparent(b)) {
        return false;
    }
    for (size_t i = 0; i < a->n_pins; i++) {
        if (a->pins[i].row != b->pins[i].row || a->pins[i].value != b->pins[i].value ||
            a->pins[i].mode != b->pins[i].mode) {
            return false;
        }
    }
    for (int k = 0; k < 8; k++) {
        struct offer o = random_offer();
        struct gap gap;
        o.features |= k % 2 ? a->on : 0;
        if (interface_features(a, &o) != interface_features(b, &o) ||
            interface_protocol_features(a, &o) != interface_protocol_features(b, &o) ||
            interface_queues(a, &o) != interface_queues(b, &o) ||
            interface_mem_slots(a, &o) != interface_mem_slots(b, &o) ||
            interface_vrings(a, &o) != interface_vrings(b, &o) ||
            compat_check(a, &o, &gap) != compat_check(b, &o, &gap)) {
            return false;
        }
    }
    return true;
}

static void canonical_form_parses_to_the_same(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct words w;
        bool host;
        struct interface x;
        struct interface again = { .host = false };
        struct spec_error error;
        char first[INTERFACE_TEXT_LEN];
        char second[INTERFACE_TEXT_LEN];
        if (!random_interface(&w, &host, &x)) {
            continue;
        }
        interface_canonical(&x, first, sizeof(first));
        if (first[0] == '\0') {
            continue; /* an interface of nothing: test_spec */
        }
        unit_check(parse_spec(first, &again, &error) == 0, "canonical '%s' does not parse: %s",
                   first, error.text);
        interface_canonical(&again, second, sizeof(second));
        assert_string_equal(first, second);
        char spec[SPEC_LEN];
        join(&w, host, spec);
        unit_check(same_meaning(&x, &again),
                   "'%s' means another thing than its canonical form '%s'", spec, first);
    }
}

static void order_does_not_matter(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS / 4; round++) {
        struct words w;
        bool host;
        struct interface x;
        struct interface y;
        struct spec_error error;
        char spec[SPEC_LEN];
        char first[INTERFACE_TEXT_LEN];
        char second[INTERFACE_TEXT_LEN];
        char digests[2][INTERFACE_DIGEST_LEN];
        if (!random_interface(&w, &host, &x)) {
            continue;
        }
        shuffle(&w);
        join(&w, host, spec);
        assert_int_equal(parse_spec(spec, &y, &error), 0);
        interface_canonical(&x, first, sizeof(first));
        interface_canonical(&y, second, sizeof(second));
        assert_string_equal(first, second);
        interface_digest(&x, digests[0]);
        interface_digest(&y, digests[1]);
        assert_string_equal(digests[0], digests[1]);
    }
}

/* One word less: another canonical form if, and only if, it means another thing. */
static void another_meaning_has_another_form(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS / 4; round++) {
        struct words w;
        bool host;
        struct interface x;
        struct interface y;
        struct spec_error error;
        char spec[SPEC_LEN];
        char forms[2][INTERFACE_TEXT_LEN];
        if (!random_interface(&w, &host, &x) || w.n < 2) {
            continue;
        }
        size_t out = below(w.n);
        char word[WORD_LEN];
        memcpy(word, w.word[out], WORD_LEN);
        memmove(w.word[out], w.word[out + 1], (w.n - out - 1) * WORD_LEN);
        w.n--;
        join(&w, host, spec);
        if (parse_spec(spec, &y, &error) < 0) {
            continue;
        }
        interface_canonical(&x, forms[0], INTERFACE_TEXT_LEN);
        interface_canonical(&y, forms[1], INTERFACE_TEXT_LEN);
        if (strcmp(forms[0], forms[1]) == 0) {
            unit_check(same_meaning(&x, &y),
                       "'%s' with and without '%s': one form '%s', two meanings", spec, word,
                       forms[0]);
        } else {
            bool means_nothing =
                !host && strstr(word, "=off") != NULL && strstr(word, "protocol.") == NULL;
            unit_check(!means_nothing, "'%s' changes the form of '%s'", word, spec);
        }
    }
}

static const struct unit_test tests[] = {
    UNIT(canonical_form_parses_to_the_same),
    UNIT(order_does_not_matter),
    UNIT(another_meaning_has_another_form),
};

UNIT_MAIN("spec_random", tests)
