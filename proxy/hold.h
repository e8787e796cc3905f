/* SPDX-License-Identifier: MIT
 *
 * A device whose back-end is lost while its front-end stays: whether it can be carried on by another
 * one, and what must be done at that moment. */
#pragma once

#include "device.h"

/* The row of restart.def that holds now; *ret_text says why (the row's text, or that nothing runs). */
const struct restart_row *hold_verdict(const struct device *d, const char **ret_name,
                                       const char **ret_text);

/* The back-end is lost. True when the front-end is served alone from now on; false, with the reason
 * in `why`, when the device must end: nothing is changed then. */
bool hold_begin(struct device *d, char *why, size_t why_len);
/* Rings may have moved on from what is recorded: looks where they stand. False, with a reason in `why`,
 * when that of one is not known; nothing is replayed then. */
bool hold_look_again(struct device *d, char *why, size_t why_len);
/* A successor may be told: every ring's place is known. */
bool hold_may_replay(const struct device *d);
/* Takes back towards the front-end what the lost back-end had announced, as far as there is room. */
void hold_withdraw(struct device *d);
