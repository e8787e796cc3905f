/* SPDX-License-Identifier: MIT
 *
 * Moves a running device from one live back-end to another: the new one is prepared beside the old
 * one, then each ring is stopped on the old and started on the new where it stood. Whatever fails
 * before the new one has taken all, the old one gets its rings back. */
#pragma once

#include "endpoint.h"
#include "record.h"
#include "replay.h"
#include "transfer.h"

struct device;
struct side;

/* It is over; `error` NULL: the new back-end serves, else why the old one still does. */
typedef void switch_done_fn(void *owner, struct device *d, const char *error);

enum switch_stage {
    SWITCH_NONE,
    SWITCH_PREPARING, /* the new one is connected, checked and prepared */
    SWITCH_STOPPING,  /* the old one is asked for its rings */
    SWITCH_STATE,     /* the old one's device state goes to the new one */
    SWITCH_REGION,    /* the new one is asked for an in-flight region */
    SWITCH_STARTING,  /* the new one is told the rings */
    SWITCH_BACK,      /* the old one gets them back */
};

struct switching {
    enum switch_stage stage;
    size_t at;                  /* STOPPING: next message */
    size_t n_asked, n_answered; /* of the old one's rings, in the order of device.asked */
    struct transfer transfer;   /* STATE */
    struct replay replay;
    int channel_fd; /* STARTING: the old one's end of its channel; -1 */
    bool fence;     /* BACK: all is told, and the last question is out */
    char why[512];
    switch_done_fn *done;
    void *owner;
};

/* Blackouts of all switches of this device, counted by how long they were. */
#define SWITCH_N_BUCKETS 10
extern const uint32_t switch_bucket_us[SWITCH_N_BUCKETS]; /* upper bounds; the last is endless: 0 */

/* 0, or -errno with a reason in `why`: then nothing has begun. */
int switch_begin(struct device *d, const struct endpoint *e, switch_done_fn *done, void *owner,
                 char *why, size_t why_len);
/* Nobody waits for the end any more. */
void switch_disown(struct device *d, void *owner);
bool switch_is_on(const struct device *d);
/* All of the old back-end's rings have been stopped, and where they stand is known. */
bool switch_knows_rings(const struct device *d);
/* The old back-end's rings are stopped or being stopped: the front-end has to wait. */
bool switch_has_stopped(const struct device *d);
/* The successor is prepared. */
void switch_prepared(struct device *d);
/* Goes on as far as there is room. */
void switch_advance(struct device *d);
/* The old back-end's answer, or the new one's, to a question of the switch. */
void switch_answered(struct device *d, const struct msg *answer);
void switch_next_answered(struct device *d, const struct msg *answer);
/* What takes too long now, if that is not the new back-end's fault; NULL. */
const char *switch_late(const struct device *d);
/* The new back-end is gone, or of no use. */
void switch_failed(struct device *d, const char *why);
/* It has failed, and the old back-end has not shown yet that it has its rings back. */
bool switch_goes_back(const struct device *d);
/* That takes too long: whoever waits for the end is told so. */
void switch_say_late(struct device *d);
/* The old back-end is gone: the new one is a successor like any other. */
void switch_lost_old(struct device *d);
/* The new one serves. `gap`: seconds for which there was no back-end. */
void switch_succeeded(struct device *d, double gap);
/* The new one can serve, and no front-end has relied on the old one. */
void switch_unused(struct device *d);
/* The device's life is about to end, because of what that side did (`text`). */
void switch_doom(struct device *d, const struct side *side, const char *text);
/* The device's life ends. */
void switch_abort(struct device *d);
/* How long a ring stood still in the last switch, in microseconds; 0: it did not run. */
uint32_t switch_blackout_us(const struct device *d, size_t ring);
