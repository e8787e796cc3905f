/* SPDX-License-Identifier: MIT
 *
 * A switch hands on what the old back-end knows that is not in the guest's memory, such as virtiofsd's
 * table of files (protocol feature device_state): the old one writes it into a pipe, the new one reads
 * it from another, and vushim copies from one to the other without looking, as a migrating VMM does.
 *
 * vhost-user specification, "Device state". */
#pragma once

#include <ev.h>
#include <stdbool.h>

struct device;
struct msg;

enum transfer_step {
    TRANSFER_NONE,
    TRANSFER_SAVE,   /* the old one is asked to write */
    TRANSFER_LOAD,   /* the new one is asked to read */
    TRANSFER_COPY,   /* until the old one has closed its end */
    TRANSFER_SAVED,  /* the old one is asked whether it was all */
    TRANSFER_LOADED, /* the new one, whether it is good */
};

struct transfer {
    enum transfer_step step;
    int from; /* what the old one writes can be read here; -1 */
    int to;   /* what is written here the new one reads; -1 */
    ev_io watch;
};

void transfer_init(struct device *d);
/* Both back-ends have agreed to hand it on. */
bool transfer_is_wanted(const struct device *d);
/* All rings stand still. What fails ends the new back-end's connection. */
void transfer_begin(struct device *d);
/* Either back-end has answered. True when the new one has the state. */
bool transfer_answered(struct device *d, const struct msg *answer);
/* It takes too long: why, unless it is an answer of the new one that is missing; NULL. */
const char *transfer_waits_for(const struct device *d);
/* May be repeated. */
void transfer_stop(struct device *d);
