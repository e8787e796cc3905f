/* SPDX-License-Identifier: MIT
 *
 * Named versions and offers as commands take them. Each function that fails has said why in one
 * line on stderr. */
#pragma once

#include "expect.h"
#include "family.h"
#include "spec.h"

/* The families of --profile-dir (may be NULL), /etc/vushim/profiles and what was shipped. */
bool profiles_load(const char *command, const char *dir, struct store *ret_store);

/* Parses a spec string; the families are read only when it begins with a version's name. */
bool spec_from_option(const char *command, const char *spec, const char *dir,
                      struct interface *ret_interface);

/* Reads an offer: a file that `vushim probe --json` has written, a running vushim's (ctl:PATH), or
 * that of a back-end to connect to (connect:PATH, fd:N). A bare path is a file: nothing is
 * connected to unless it is asked for. *ret_device is DEVICE_UNKNOWN when the offer does not tell.
 */
bool offer_from_option(const char *command, const char *text, struct offer *ret_offer,
                       enum device_type *ret_device);

/* Reads what `vushim ctl PATH state --json` has written. */
bool state_from_option(const char *command, const char *path, struct expectation *ret_expectation);
