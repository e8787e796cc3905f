/* SPDX-License-Identifier: MIT */
#include "expect.h"

#include <string.h>

#include "json.h"
#include "text.h"

bool expectation_of_json(const json_t *root, struct expectation *ret_expectation)
{
    struct expectation e = { .features = 0 };
    json_t *rings = json_object_get(root, "rings");
    size_t k;
    json_t *ring;
    if (!json_get_bits(root, "features_acked_bits", &e.features) || !json_is_array(rings)) {
        return false;
    }
    json_array_foreach(rings, k, ring)
    {
        const json_t *index_value = json_object_get(ring, "index");
        const json_t *num_value = json_object_get(ring, "num");
        json_int_t index = json_integer_value(index_value);
        json_int_t num = json_integer_value(num_value);
        if (!json_is_integer(index_value) || !json_is_integer(num_value) || index < 0 ||
            index >= PROTOCOL_MAX_QUEUES || num < 0 || num > PROTOCOL_MAX_RING) {
            return false;
        }
        e.rings = index >= e.rings ? (uint32_t)index + 1 : e.rings;
        e.ring_num = num > e.ring_num ? (uint32_t)num : e.ring_num;
    }
    const json_t *regions = json_object_get(root, "memory_regions");
    json_int_t n = json_integer_value(regions);
    const char *device = json_string_value(json_object_get(root, "device"));
    if ((regions != NULL && !json_is_integer(regions)) || n < 0 || n > RECORD_MAX_REGIONS ||
        (device != NULL && strcmp(device, device_name(DEVICE_UNKNOWN)) != 0 &&
         !device_of_name(device, strlen(device), &e.device))) {
        return false;
    }
    e.regions = (uint32_t)n;
    e.features &= ~features_of_vhost();
    *ret_expectation = e;
    return true;
}

struct expectation expectation_of_record(const struct record *r)
{
    struct expectation e = { .features = r->features_acked & ~features_of_vhost(),
                             .regions = r->n_regions };
    for (uint32_t k = 0; k < r->n_rings; k++) {
        if (r->rings[k].num != 0) {
            e.rings = k + 1;
            e.ring_num = r->rings[k].num > e.ring_num ? r->rings[k].num : e.ring_num;
        }
    }
    return e;
}

bool expectation_met(const struct expectation *e, const struct interface *i, const struct offer *o,
                     char *why, size_t why_len)
{
    struct text t = text_in(why, why_len);
    char names[1024];
    uint64_t can = interface_features(i, o) & o->features;
    uint64_t missing = e->features & ~i->front & ~can;
    if (missing != 0) {
        features_print(i->device, missing, names, sizeof(names));
        text_add_item(&t, "; ", "features that the guest uses: ");
        text_add(&t, "%s", names);
    }
    if (e->rings > interface_vrings(i, o)) {
        text_add_item(&t, "; ", "");
        text_add(&t, "virtqueues %u in use, %u here", e->rings, interface_vrings(i, o));
    }
    if (i->max_ring != 0 && e->ring_num > i->max_ring) {
        text_add_item(&t, "; ", "");
        text_add(&t, "a ring of %u in use, max_ring is %u", e->ring_num, i->max_ring);
    }
    uint32_t slots = interface_mem_slots(i, o);
    slots = slots != 0 ? slots : PROTOCOL_MEM_TABLE_SLOTS;
    if (e->regions > slots) {
        text_add_item(&t, "; ", "");
        text_add(&t, "memory regions %u in use, %u slots here", e->regions, slots);
    }
    return t.used == 0;
}
