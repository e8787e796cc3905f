/* SPDX-License-Identifier: MIT */
#include "show.h"

#include <stdio.h>
#include <stdlib.h>

static void append(json_t *names, const char *name, unsigned bit)
{
    json_array_append_new(names, name != NULL ? json_string(name) : json_sprintf("bit %u", bit));
}

json_t *show_features(enum device_type device, uint64_t bits)
{
    json_t *names = json_array();
    for (unsigned bit = 0; bit < 64; bit++) {
        if ((bits & BIT(bit)) != 0) {
            const struct feature_row *row = feature_of_bit(device, bit);
            append(names, row != NULL ? row->name : NULL, bit);
        }
    }
    return names;
}

json_t *show_protocol_features(uint64_t bits)
{
    json_t *names = json_array();
    for (unsigned bit = 0; bit < 64; bit++) {
        if ((bits & BIT(bit)) != 0) {
            const struct protocol_row *row = protocol_of_bit(bit);
            append(names, row != NULL ? row->name : NULL, bit);
        }
    }
    return names;
}

void show_limits(json_t *to, const struct interface *i)
{
    for (size_t k = 0; k < N_LIMITS; k++) {
        if (interface_limit(i, &limit_rows[k]) != 0) {
            json_object_set_new(to, limit_rows[k].name,
                                json_integer(interface_limit(i, &limit_rows[k])));
        }
    }
}

void show_json(json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2));
    puts(text != NULL ? text : "{}");
    free(text);
    json_decref(value);
}
