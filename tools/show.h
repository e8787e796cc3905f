/* SPDX-License-Identifier: MIT
 *
 * What several commands print in the same way. */
#pragma once

#include <jansson.h>

#include "interface.h"

/* Names of the bits, "bit 50" where there is none. New references. */
json_t *show_features(enum device_type device, uint64_t bits);
json_t *show_protocol_features(uint64_t bits);
/* Adds the limits that are set. */
void show_limits(json_t *to, const struct interface *i);
/* Prints indented, and gives the reference up. */
void show_json(json_t *value);
