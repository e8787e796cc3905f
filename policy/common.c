/* SPDX-License-Identifier: MIT */
#include "common.h"

#include <inttypes.h>
#include <stdio.h>

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* A limit that is the protocol's own says nothing. */
static uint32_t unless_most(uint32_t value, uint32_t most)
{
    return value < most ? value : 0;
}

/* Why no interface can be common: a field that a guest would see change under it. */
static bool is_divided(const struct config_row *row, const struct offer *offers, size_t n,
                       char *why, size_t why_len)
{
    uint64_t first = 0;
    uint64_t own = 0;
    for (size_t k = 0; k < n && row->relation == CONFIG_SAME; k++) {
        if (!offer_config(&offers[k], row, &own)) {
            return false;
        }
        first = k == 0 ? own : first;
        if (own != first) {
            snprintf(why, why_len, "config.%s is %" PRIu64 " here and %" PRIu64 " there", row->name,
                     first, own);
            return true;
        }
    }
    return false;
}

/* The value of a field that can be pinned on all hosts; false when there is none. */
static bool common_value(const struct config_row *row, const struct offer *offers, size_t n,
                         uint64_t *ret_value)
{
    uint64_t value = 0;
    for (size_t k = 0; k < n; k++) {
        uint64_t own = 0;
        if (!offer_config(&offers[k], row, &own)) {
            return false;
        }
        if (k > 0 && own != value && row->relation != CONFIG_UP_TO) {
            return false;
        }
        value = k == 0 || own < value ? own : value;
    }
    *ret_value = value;
    return true;
}

/* False when the hosts' devices are different ones for a guest. */
static bool add_fields(struct interface *i, const struct offer *offers, size_t n, char *why,
                       size_t why_len)
{
    for (size_t k = 0; k < n_config_rows && i->n_pins < INTERFACE_MAX_PINS; k++) {
        struct config_pin pin = { .row = &config_rows[k], .mode = PIN_VALUE };
        if (!config_row_valid(pin.row, i->device, i->on) ||
            (pin.row->traits & CONFIG_OF_INSTANCE) != 0) {
            continue;
        }
        if (is_divided(pin.row, offers, n, why, why_len)) {
            return false;
        }
        if (common_value(pin.row, offers, n, &pin.value)) {
            interface_pin(i, &pin);
        }
    }
    return true;
}

bool common_interface(enum device_type device, const struct offer *offers, size_t n_offers,
                      struct interface *ret_interface, char *why, size_t why_len)
{
    /* Anything but plain `host`: what a pinned device would show of an offer. */
    const struct interface shown = { .host = true,
                                     .device = device,
                                     .max_ring = PROTOCOL_MAX_RING };
    struct interface i = { .device = device };
    struct gap gap;
    uint64_t protocol = UINT64_MAX;
    uint32_t queues = PROTOCOL_MAX_QUEUES;
    uint32_t slots = PROTOCOL_MAX_SLOTS;
    i.on = features_known(device) & ~features_of_vhost();
    for (size_t k = 0; k < n_offers; k++) {
        i.on &= offers[k].features;
        protocol &= interface_protocol_features(&shown, &offers[k]);
        queues = least(queues, compat_queues(&shown, &offers[k]));
        slots = least(slots, compat_mem_slots(&shown, &offers[k]));
    }
    i.queues = unless_most(queues, PROTOCOL_MAX_QUEUES);
    i.mem_slots = unless_most(slots, PROTOCOL_MAX_SLOTS);
    /* A bit that stands on a protocol feature can be had only where all of them have that too. */
    i.on = features_close(device, i.on, i.on, protocol);
    if ((protocol & BIT(PROTOCOL_CONFIG)) != 0 && !add_fields(&i, offers, n_offers, why, why_len)) {
        return false;
    }
    for (size_t k = 0; k < n_offers; k++) {
        if (!compat_check(&i, &offers[k], &gap)) {
            gap_print(&gap, device, why, why_len);
            return false;
        }
    }
    *ret_interface = i;
    return true;
}
