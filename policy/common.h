/* SPDX-License-Identifier: MIT
 *
 * What several hosts have in common: the interface that a guest can keep on each of them. */
#pragma once

#include "compat.h"

/* The greatest interface that all offers can serve: every feature, queue, slot and field value that
 * all of them have, and no more. False with the reason when there is none (a device that is
 * read-only here and writable there is two devices). */
bool common_interface(enum device_type device, const struct offer *offers, size_t n_offers,
                      struct interface *ret_interface, char *why, size_t why_len);
