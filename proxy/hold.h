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
/* Rings are about to be told to a successor: notes where they stand. */
void hold_note_used(struct device *d);
/* What would be lost of a live back-end that is stopped for another one, and hands on nothing but where
 * its rings stand. NULL: nothing. */
const char *hold_loses(const struct device *d);
/* The requests that the old back-end says it has taken are complete; where that cannot be seen, or
 * back-ends of this kind drain by themselves, true. */
bool hold_is_drained(const struct device *d);
/* A successor that has been told rings is lost: looks again where they stand. False, with the reason
 * in `why`, when that cannot be known. */
bool hold_look_again(struct device *d, enum replay_ran ran, char *why, size_t why_len);
/* One of them has used a ring, or that cannot be seen. */
bool hold_rings_moved(const struct device *d);
/* Why no other back-end can be told what holds now, whatever it is; NULL when nothing is against it. */
const char *hold_obstacle(const struct device *d);
/* The place of a ring of a lost back-end is all that another one needs: what is outstanding is just what
 * was made available behind it, or the in-flight region is handed on as well. */
bool hold_place_suffices(const struct device *d, size_t ring);
/* A successor may be told: every ring's place is known. */
bool hold_may_replay(const struct device *d);
