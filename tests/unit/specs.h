/* SPDX-License-Identifier: MIT
 *
 * Spec strings without named versions, as most tests need them. */
#pragma once

#include "spec.h"

static inline int parse_spec(const char *spec, struct interface *ret_interface,
                             struct spec_error *ret_error)
{
    return spec_parse(spec, NULL, ret_interface, ret_error);
}
