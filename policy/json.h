/* SPDX-License-Identifier: MIT
 *
 * Interfaces, offers and a device's acknowledged state as JSON: what commands print, what the
 * control socket answers, and what is read back from files. Values made here are new references. */
#pragma once

#include <jansson.h>

#include "interface.h"
#include "record.h"

/* An integer, or above 2^63 - 1, which is more than JSON's integers hold here, its digits as text. */
json_t *json_of_number(uint64_t value);

/* Names of the bits, "bit 50" where there is none. */
json_t *json_of_features(enum device_type device, uint64_t bits);
json_t *json_of_protocol_features(uint64_t bits);

json_t *json_of_interface(const struct interface *i);

/* An offer with the interface that it is exactly; `guessed`: nobody said what kind of device. */
json_t *json_of_offer(const char *back_end, enum device_type device, bool guessed,
                      const struct offer *o);
/* False when it is not what json_of_offer() makes. *ret_device: DEVICE_UNKNOWN if it does not tell.
 */
bool offer_of_json(const json_t *root, struct offer *ret_offer, enum device_type *ret_device);

/* What the guest has negotiated. Adds to an object of the caller's. */
void json_add_state(json_t *to, enum device_type device, const struct record *r);

/* Bits written as "0x..." under a key; false when there are none. */
bool json_get_bits(const json_t *root, const char *key, uint64_t *ret_bits);
