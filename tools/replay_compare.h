/* SPDX-License-Identifier: MIT
 *
 * Does a message say what the recorded one says? From the tables alone: fields by their names, and
 * by their kinds what differs from one run to the next and means nothing. */
#pragma once

#include "replay_script.h"

#define DIFFERENCE_TEXT_LEN 2048

/* The first difference. Texts are terminated; empty where they do not apply. */
struct difference {
    uint64_t record;
    char request[24 + 8]; /* "GET_FEATURES", "unknown(46)" */
    char field[64];
    char recorded[DIFFERENCE_TEXT_LEN];
    char now[DIFFERENCE_TEXT_LEN];
    char change[DIFFERENCE_TEXT_LEN]; /* sets of bits: "-csum +mq" */
    char why[DIFFERENCE_TEXT_LEN];    /* instead of field, recorded and now */
};

/* Compares what came, with its descriptors, to the step that expects it. */
bool replay_same(const struct replay_step *step, enum device_type device, const struct msg *now,
                 struct difference *ret);
/* A difference at `step` in words of the caller's; returns false. */
__attribute__((format(printf, 3, 4))) bool
replay_differs(struct difference *d, const struct replay_step *step, const char *format, ...);
