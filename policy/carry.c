/* SPDX-License-Identifier: MIT */
#include "carry.h"

#include <inttypes.h>
#include <string.h>

#include "text.h"

static bool is_pinned(const struct interface *i, const struct config_row *row)
{
    for (size_t k = 0; k < i->n_pins; k++) {
        if (i->pins[k].row == row) {
            return true;
        }
    }
    return false;
}

/* What a driver has read and built upon. A disk may have grown; what belongs to the one device (its
 * address, its link) may be another. */
static void check_field(const struct record *r, const struct config_row *row,
                        const struct offer *heard, const struct offer *o, struct text *t)
{
    uint64_t before;
    uint64_t now;
    bool amount = row->relation == CONFIG_UP_TO;
    bool loose =
        row->relation == CONFIG_ANY || (row->traits & (CONFIG_TEXT | CONFIG_WRITABLE)) != 0;
    if (loose || !record_bytes_known(&r->answers.config, row->offset, row->size) ||
        !offer_config(heard, row, &before) || !offer_config(o, row, &now)) {
        return;
    }
    if (amount ? now < before : now != before) {
        text_add_item(t, "; ", "");
        text_add(t, "config.%s %" PRIu64 " in use, %" PRIu64 " here", row->name, before, now);
    }
}

static void check_config(const struct record *r, const struct interface *i,
                         const struct offer *heard, const struct offer *o, struct text *t)
{
    enum device_type device = carry_device(i, heard);
    if (o->config_len < heard->config_len) {
        /* It refuses to be asked, or has no so many bytes; the front-end will read them again. */
        text_add_item(t, "; ", "");
        text_add(t, "config: %u bytes read before, %u to be had here", heard->config_len,
                 o->config_len);
    }
    for (size_t k = 0; k < n_config_rows; k++) {
        const struct config_row *row = &config_rows[k];
        if (row->device == device && config_row_valid(row, device, r->features_acked) &&
            !is_pinned(i, row)) {
            check_field(r, row, heard, o, t);
        }
    }
}

enum device_type carry_device(const struct interface *i, const struct offer *heard)
{
    return i->device != DEVICE_UNKNOWN ? i->device : offer_guess_device(heard);
}

struct offer carry_heard(const struct record *r)
{
    const struct record_answers *a = &r->answers;
    struct offer o = { .features = a->features,
                       .protocol_features = a->protocol,
                       .queues = (uint32_t)a->queues,
                       .mem_slots = (uint32_t)a->slots };
    for (uint32_t at = 0; at < OFFER_CONFIG_MAX; at++) {
        if (record_bytes_known(&a->config, at, 1)) {
            o.config_len = at + 1;
            o.config[at] = a->config.at[at];
        }
    }
    return o;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

struct offer carry_narrowed(const struct offer *before, const struct offer *now)
{
    struct offer o = *now;
    o.features &= before->features;
    o.protocol_features &= before->protocol_features;
    o.queues = smaller(before->queues, now->queues);
    o.mem_slots = smaller(before->mem_slots, now->mem_slots);
    return o;
}

bool carry_on(const struct record *r, const struct interface *i, const struct offer *o, char *why,
              size_t why_len)
{
    struct text t = text_in(why, why_len);
    char names[1024];
    const struct record_answers *a = &r->answers;
    struct expectation e = expectation_of_record(r);
    struct offer heard = carry_heard(r);
    enum device_type device = carry_device(i, &heard);
    uint64_t vhost = (a->features | r->features_acked) & features_of_vhost() & ~o->features;
    uint64_t protocol = r->protocol_acked & ~o->protocol_features;
    uint64_t facts = a->features_known ? features_how(device, FEATURE_FACT) & o->features &
                                             ~(a->features | r->features_acked)
                                       : 0;
    if (!expectation_met(&e, i, o, names, sizeof(names))) {
        text_add_item(&t, "; ", "");
        text_add(&t, "%s", names);
    }
    if (vhost != 0) {
        features_print(device, vhost, names, sizeof(names));
        text_add_item(&t, "; ", "features ");
        text_add(&t, "%s", names);
    }
    if (protocol != 0) {
        protocol_print(protocol, names, sizeof(names));
        text_add_item(&t, "; ", "protocol features in use: ");
        text_add(&t, "%s", names);
    }
    if (facts != 0) {
        features_print(device, facts, names, sizeof(names));
        text_add_item(&t, "; ", "the back-end is ");
        text_add(&t, "%s, which the one before was not", names);
    }
    bool by_slot = (r->protocol_acked & BIT(PROTOCOL_CONFIGURE_MEM_SLOTS)) != 0;
    if (a->slots_known && by_slot && o->mem_slots < interface_mem_slots(i, &heard)) {
        text_add_item(&t, "; ", "");
        text_add(&t, "mem_slots %u told, %u here", interface_mem_slots(i, &heard), o->mem_slots);
    }
    check_config(r, i, &heard, o, &t);
    return t.used == 0;
}
