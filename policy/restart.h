/* SPDX-License-Identifier: MIT
 *
 * Whether a device may be carried on by another back-end than the one that it lost (restart.def). */
#pragma once

#include "record.h"

enum restart_verdict { RESTART_SOUND, RESTART_PARTLY, RESTART_NONE };
enum restart_source { SOURCE_USED_INDEX, SOURCE_RINGS_SHOW, SOURCE_FROM_REGION, SOURCE_NOWHERE };

/* What a row asks for. */
enum restart_fact {
    FACT_SPLIT = 1 << 0,
    FACT_PACKED = 1 << 1,
    FACT_REGION = 1 << 2,
    FACT_NO_REGION = 1 << 3,
    FACT_IN_ORDER = 1 << 4,
    FACT_TRANSLATED = 1 << 5,
};

struct restart_row {
    int device; /* enum device_type, or -1 for any */
    unsigned when;
    enum restart_verdict verdict;
    enum restart_source source;
    const char *text;
};

/* The rows in order; NULL past the end: for the manual. */
const struct restart_row *restart_row_at(size_t i);
unsigned restart_facts(const struct record *r);
/* The row that holds for a device in this state, whether or not a ring runs. */
const struct restart_row *restart_row_of(enum device_type device, const struct record *r);

/* "sound", "partly", "rings" (sound or partly when the rings show it), "none" */
const char *restart_verdict_name(const struct restart_row *row);
const char *restart_source_name(enum restart_source source);
