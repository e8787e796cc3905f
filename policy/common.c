/* SPDX-License-Identifier: MIT */
#include "common.h"

#include <stdio.h>
#include <string.h>

/* Anything but plain `host`: what a pinned device would show of an offer. */
static const struct interface shown = { .host = true, .max_ring = PROTOCOL_MAX_RING };

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void add_limits(struct interface *i, const struct offer *o, uint64_t protocol, bool first)
{
    bool mq = (protocol & BIT(PROTOCOL_MQ)) != 0;
    bool by_slot = (protocol & BIT(PROTOCOL_CONFIGURE_MEM_SLOTS)) != 0;
    uint32_t queues = mq ? o->queues : 1;
    uint32_t slots = by_slot ? o->mem_slots : PROTOCOL_MEM_TABLE_SLOTS;
    i->queues = first ? queues : least(i->queues, queues);
    i->mem_slots = first ? slots : least(i->mem_slots, slots);
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

static void add_fields(struct interface *i, const struct offer *offers, size_t n)
{
    for (size_t k = 0; k < n_config_rows && i->n_pins < INTERFACE_MAX_PINS; k++) {
        struct config_pin pin = { .row = &config_rows[k], .mode = PIN_VALUE };
        if (config_row_valid(pin.row, i->device, i->on) &&
            (pin.row->traits & CONFIG_OF_INSTANCE) == 0 &&
            common_value(pin.row, offers, n, &pin.value)) {
            interface_pin(i, &pin);
        }
    }
}

bool common_interface(enum device_type device, const struct offer *offers, size_t n_offers,
                      struct interface *ret_interface, char *why, size_t why_len)
{
    struct interface i = { .device = device };
    struct gap gap;
    uint64_t protocol = UINT64_MAX;
    i.on = features_known(device) & ~features_of_vhost();
    for (size_t k = 0; k < n_offers; k++) {
        uint64_t own = interface_protocol_features(&shown, &offers[k]);
        i.on &= offers[k].features;
        protocol &= own;
        add_limits(&i, &offers[k], own, k == 0);
    }
    /* A bit that stands on a protocol feature can be had only where all of them have that too. */
    i.on = features_close(device, i.on, i.on, protocol);
    if ((protocol & BIT(PROTOCOL_CONFIG)) != 0) {
        add_fields(&i, offers, n_offers);
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
