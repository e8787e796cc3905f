/* SPDX-License-Identifier: MIT
 *
 * Can this back-end serve this interface? Asked before the guest sees anything; the answer names
 * everything that is missing, and nothing is ever taken away to make it fit. */
#pragma once

#include "interface.h"

/* What stands between an interface and an offer. All zero: nothing. */
struct gap {
    uint64_t features;          /* wanted, not offered */
    uint64_t protocol_features; /* wanted, not offered */
    uint64_t
        without_protocol; /* wanted and offered, but the protocol feature they need is not shown */
    uint32_t queues_wanted, queues_offered;
    uint32_t mem_slots_wanted, mem_slots_offered;
    uint64_t facts; /* offered and not wanted, but hiding them would not make them untrue */
    bool config;    /* fields are pinned, and the back-end has no configuration space to show */
    size_t n_fields;
    struct {
        const struct config_row *row;
        uint64_t wanted, offered;
    } fields[INTERFACE_MAX_PINS]; /* pinned fields that this back-end cannot stand behind */
};

/* Queues and memory slots that a back-end has, whether or not it has the message that says so. */
uint32_t compat_queues(const struct interface *i, const struct offer *o);
uint32_t compat_mem_slots(const struct interface *i, const struct offer *o);

/* True when the offer can serve the interface; otherwise *ret_gap says what is missing. */
bool compat_check(const struct interface *i, const struct offer *o, struct gap *ret_gap);

/* "features host_tso4, host_tso6; queues 4 wanted, 1 offered": every point, in names. */
void gap_print(const struct gap *g, enum device_type device, char *buf, size_t len);
