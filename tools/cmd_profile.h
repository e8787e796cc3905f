/* SPDX-License-Identifier: MIT
 *
 * The parts of `vushim profile`. Each returns the exit status. */
#pragma once

#include "profiles.h"

/* A thousand hosts, and then some. */
#define PROFILE_MAX_WORDS 4096

struct profile_options {
    bool json;
    const char *dir;
    const char *against;
    const char *as;
    const char *device;
    const char *family;
    size_t n_words;
};

int profile_show(const struct profile_options *o, const char *const *words);
int profile_diff(const struct profile_options *o, const char *const *words);
int profile_capture(const struct profile_options *o, const char *const *words);
int profile_baseline(const struct profile_options *o, const char *const *words);
int profile_lint(const struct profile_options *o, const char *const *words);

/* An interface for people. */
void profile_print(const struct interface *i);
