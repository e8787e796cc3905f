/* SPDX-License-Identifier: MIT */
#include "compat.h"

#include <inttypes.h>

#include "text.h"

static uint64_t bits_without_protocol(const struct interface *i, const struct offer *o)
{
    uint64_t shown = interface_protocol_features(i, o);
    uint64_t kept = features_close(i->device, i->on, i->on, shown);
    return i->on & o->features & ~kept;
}

/* Without the mq protocol feature a back-end has the queues that its kind of device has at least:
 * one (or one pair) where more are optional; for other kinds nothing is known. */
uint32_t compat_queues(const struct interface *i, const struct offer *o)
{
    if ((interface_protocol_features(i, o) & BIT(PROTOCOL_MQ)) != 0) {
        return o->queues;
    }
    bool optional =
        i->device == DEVICE_NET || i->device == DEVICE_BLK || i->device == DEVICE_UNKNOWN;
    return optional ? 1 : PROTOCOL_MAX_QUEUES;
}

uint32_t compat_mem_slots(const struct interface *i, const struct offer *o)
{
    bool by_slot = (interface_protocol_features(i, o) & BIT(PROTOCOL_CONFIGURE_MEM_SLOTS)) != 0;
    return by_slot ? o->mem_slots : PROTOCOL_MEM_TABLE_SLOTS;
}

/* May the back-end's guest be told `wanted`, when its own value is `offered`? */
static bool field_fits(const struct config_pin *pin, uint64_t offered)
{
    uint64_t told = pin->mode == PIN_MIN && offered < pin->value ? offered : pin->value;
    switch (pin->row->relation) {
    case CONFIG_SAME:
        return told == offered;
    case CONFIG_UP_TO:
        return told <= offered;
    case CONFIG_ANY:
        break;
    }
    return true;
}

static void check_fields(const struct interface *i, const struct offer *o, struct gap *g)
{
    for (size_t k = 0; k < i->n_pins; k++) {
        const struct config_pin *pin = &i->pins[k];
        uint64_t offered = 0;
        if (offer_config(o, pin->row, &offered) && !field_fits(pin, offered)) {
            g->fields[g->n_fields].row = pin->row;
            g->fields[g->n_fields].wanted = pin->value;
            g->fields[g->n_fields].offered = offered;
            g->n_fields++;
        }
    }
}

bool compat_check(const struct interface *i, const struct offer *o, struct gap *ret_gap)
{
    if (interface_is_transparent(i)) {
        return true;
    }
    struct gap g = {
        .features = i->on & ~o->features,
        .protocol_features = i->protocol_on & ~interface_protocol_features(i, o),
        .without_protocol = bits_without_protocol(i, o),
        .facts = features_how(i->device, FEATURE_FACT) & o->features & ~interface_features(i, o),
        .config = i->n_pins > 0 && (interface_protocol_features(i, o) & BIT(PROTOCOL_CONFIG)) == 0,
    };
    if (compat_queues(i, o) < i->queues) {
        g.queues_wanted = i->queues;
        g.queues_offered = compat_queues(i, o);
    }
    if (compat_mem_slots(i, o) < i->mem_slots) {
        g.mem_slots_wanted = i->mem_slots;
        g.mem_slots_offered = compat_mem_slots(i, o);
    }
    check_fields(i, o, &g);
    if (g.facts == 0 && g.n_fields == 0 && g.features == 0 && g.protocol_features == 0 &&
        g.without_protocol == 0 && g.queues_wanted == 0 && g.mem_slots_wanted == 0 && !g.config) {
        return true;
    }
    *ret_gap = g;
    return false;
}

void gap_print(const struct gap *g, enum device_type device, char *buf, size_t len)
{
    struct text t = text_in(buf, len);
    char names[1024];
    if (g->features != 0) {
        features_print(device, g->features, names, sizeof(names));
        text_add_item(&t, "; ", "features ");
        text_add(&t, "%s", names);
    }
    if (g->without_protocol != 0) {
        features_print(device, g->without_protocol, names, sizeof(names));
        text_add_item(&t, "; ", "protocol features that ");
        text_add(&t, "%s need%s", names,
                 (g->without_protocol & (g->without_protocol - 1)) ? "" : "s");
    }
    if (g->protocol_features != 0) {
        protocol_print(g->protocol_features, names, sizeof(names));
        text_add_item(&t, "; ", "protocol features ");
        text_add(&t, "%s", names);
    }
    if (g->facts != 0) {
        features_print(device, g->facts, names, sizeof(names));
        text_add_item(&t, "; ", "the back-end is ");
        text_add(&t, "%s, which the profile does not say", names);
    }
    if (g->queues_wanted != 0) {
        text_add_item(&t, "; ", "");
        text_add(&t, "queues %u wanted, %u offered", g->queues_wanted, g->queues_offered);
    }
    if (g->mem_slots_wanted != 0) {
        text_add_item(&t, "; ", "");
        text_add(&t, "mem_slots %u wanted, %u offered", g->mem_slots_wanted, g->mem_slots_offered);
    }
    for (size_t k = 0; k < g->n_fields; k++) {
        text_add_item(&t, "; ", "config.");
        text_add(&t, "%s %" PRIu64 " wanted, %" PRIu64 " offered", g->fields[k].row->name,
                 g->fields[k].wanted, g->fields[k].offered);
    }
    if (g->config) {
        text_add_item(&t, "; ", "protocol feature config, without which no config field is shown");
    }
}
