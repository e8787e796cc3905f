/* SPDX-License-Identifier: MIT */
#pragma once

#include "json.h"

/* Prints indented, and gives the reference up. */
void show_json(json_t *value);
