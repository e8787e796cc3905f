/* SPDX-License-Identifier: MIT
 *
 * Any text as a spec string: errors point into it, and what is taken has a canonical form that is
 * taken too and is its own. */
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "specs.h"

static void check_error(const char *spec, const struct spec_error *error)
{
    fuzz_check(error->at + error->word_len <= strlen(spec));
    fuzz_check(error->text[0] != '\0' && strlen(error->text) < sizeof(error->text));
}

static void check_canonical(const struct interface *i)
{
    char first[INTERFACE_TEXT_LEN];
    char second[INTERFACE_TEXT_LEN];
    char digest[INTERFACE_DIGEST_LEN];
    struct interface again;
    struct spec_error error;
    interface_canonical(i, first, sizeof(first));
    fuzz_check(strlen(first) < sizeof(first) - 1);
    fuzz_check(parse_spec(first, &again, &error) == 0);
    interface_canonical(&again, second, sizeof(second));
    fuzz_check(strcmp(first, second) == 0);
    fuzz_check(interface_is_transparent(i) == interface_is_transparent(&again));
    interface_digest(i, digest);
    fuzz_check(strlen(digest) == 64);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct interface i;
    struct spec_error error = { .at = 0 };
    char *spec = malloc(size + 1);
    if (spec == NULL) {
        return 0;
    }
    memcpy(spec, data, size);
    spec[size] = '\0';
    if (parse_spec(spec, &i, &error) < 0) {
        check_error(spec, &error);
    } else {
        check_canonical(&i);
    }
    free(spec);
    return 0;
}
