/* SPDX-License-Identifier: MIT */
#include "json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *json_of_number(uint64_t value)
{
    return value <= INT64_MAX ? json_integer((json_int_t)value) : json_sprintf("%" PRIu64, value);
}

static void append(json_t *names, const char *name, unsigned bit)
{
    json_array_append_new(names, name != NULL ? json_string(name) : json_sprintf("bit %u", bit));
}

json_t *json_of_features(enum device_type device, uint64_t bits)
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

json_t *json_of_protocol_features(uint64_t bits)
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

static void add_limits(json_t *to, const struct interface *i)
{
    for (size_t k = 0; k < N_LIMITS; k++) {
        if (interface_limit(i, &limit_rows[k]) != 0) {
            json_object_set_new(to, limit_rows[k].name,
                                json_integer(interface_limit(i, &limit_rows[k])));
        }
    }
}

static json_t *config_json(const struct interface *i)
{
    json_t *config = json_object();
    for (size_t k = 0; k < i->n_pins; k++) {
        const struct config_pin *pin = &i->pins[k];
        json_object_set_new(
            config, pin->row->name,
            json_pack("{s:o}", pin->mode == PIN_MIN ? "min" : "pin", json_of_number(pin->value)));
    }
    return config;
}

json_t *json_of_interface(const struct interface *i)
{
    char spec[INTERFACE_TEXT_LEN];
    char digest[INTERFACE_DIGEST_LEN];
    interface_canonical(i, spec, sizeof(spec));
    interface_digest(i, digest);
    json_t *out = json_pack("{s:s, s:s, s:b, s:s, s:o, s:o, s:o, s:o, s:o}", "spec", spec, "digest",
                            digest, "host", i->host, "device", device_name(i->device), "features",
                            json_of_features(i->device, i->on), "front_features",
                            json_of_features(i->device, i->front), "protocol_features",
                            json_of_protocol_features(i->protocol_on), "withheld_protocol_features",
                            json_of_protocol_features(i->protocol_off), "config", config_json(i));
    add_limits(out, i);
    return out;
}

/* ---- offers ---- */

static json_t *offered_config_json(enum device_type device, const struct offer *o)
{
    json_t *config = json_object();
    for (size_t k = 0; k < n_config_rows; k++) {
        uint64_t value = 0;
        if (config_row_valid(&config_rows[k], device, o->features) &&
            offer_config(o, &config_rows[k], &value)) {
            json_object_set_new(config, config_rows[k].name, json_of_number(value));
        }
    }
    return config;
}

static json_t *json_of_bits(uint64_t bits)
{
    return json_sprintf("%#" PRIx64, bits);
}

json_t *json_of_offer(const char *back_end, enum device_type device, bool guessed,
                      const struct offer *o)
{
    struct interface exact;
    uint64_t unnamed;
    char spec[INTERFACE_TEXT_LEN];
    char digest[INTERFACE_DIGEST_LEN];
    char config[2 * OFFER_CONFIG_MAX + 1] = "";
    interface_of_offer(device, o, &exact, &unnamed);
    interface_canonical(&exact, spec, sizeof(spec));
    interface_digest(&exact, digest);
    for (size_t k = 0; k < o->config_len; k++) {
        snprintf(config + 2 * k, 3, "%02x", o->config[k]);
    }
    json_t *out = json_pack(
        "{s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:s}", "back_end", back_end, "device",
        device_name(device), "device_guessed", guessed, "features",
        json_of_features(device, o->features), "features_bits", json_of_bits(o->features),
        "protocol_features", json_of_protocol_features(o->protocol_features),
        "protocol_features_bits", json_of_bits(o->protocol_features), "config",
        offered_config_json(device, o), "config_bytes", config, "spec", spec, "digest", digest);
    add_limits(out, &exact);
    return out;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool json_get_bits(const json_t *root, const char *key, uint64_t *ret_bits)
{
    const char *text = json_string_value(json_object_get(root, key));
    char *end = NULL;
    if (text == NULL) {
        return false;
    }
    if (digit(text[0]) < 0) {
        return false;
    }
    errno = 0;
    *ret_bits = strtoull(text, &end, 16);
    return errno == 0 && end != text && *end == '\0';
}

static bool get_number(const json_t *root, const char *key, uint32_t *ret_number)
{
    const json_t *value = json_object_get(root, key);
    json_int_t n = json_integer_value(value);
    if (value == NULL) {
        return true;
    }
    if (!json_is_integer(value) || n < 0 || n > UINT32_MAX) {
        return false;
    }
    *ret_number = (uint32_t)n;
    return true;
}

static bool get_config(const json_t *root, struct offer *o)
{
    const json_t *value = json_object_get(root, "config_bytes");
    const char *text = json_string_value(value);
    size_t len = text != NULL ? strlen(text) : 0;
    if ((value != NULL && text == NULL) || len % 2 != 0 || len / 2 > OFFER_CONFIG_MAX) {
        return false;
    }
    for (size_t k = 0; k < len / 2; k++) {
        int high = digit(text[2 * k]);
        int low = digit(text[2 * k + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        o->config[k] = (uint8_t)(high * 16 + low);
    }
    o->config_len = (uint32_t)(len / 2);
    return true;
}

bool offer_of_json(const json_t *root, struct offer *ret_offer, enum device_type *ret_device)
{
    struct offer o = { .features = 0 };
    const char *device = json_string_value(json_object_get(root, "device"));
    *ret_device = DEVICE_UNKNOWN;
    if (device != NULL && strcmp(device, device_name(DEVICE_UNKNOWN)) != 0 &&
        !device_of_name(device, strlen(device), ret_device)) {
        return false;
    }
    if (!json_get_bits(root, "features_bits", &o.features) ||
        !json_get_bits(root, "protocol_features_bits", &o.protocol_features) ||
        !get_number(root, "queues", &o.queues) || !get_number(root, "mem_slots", &o.mem_slots) ||
        !get_config(root, &o)) {
        return false;
    }
    *ret_offer = o;
    return true;
}

/* ---- state ---- */

static json_t *rings_json(const struct record *r)
{
    json_t *rings = json_array();
    for (uint32_t k = 0; k < r->n_rings; k++) {
        const struct record_ring *ring = &r->rings[k];
        if (ring->num != 0) {
            json_array_append_new(rings,
                                  json_pack("{s:i, s:i, s:b, s:b}", "index", k, "num", ring->num,
                                            "enabled", ring->enabled, "started", ring->started));
        }
    }
    return rings;
}

void json_add_state(json_t *to, enum device_type device, const struct record *r)
{
    json_object_set_new(to, "features_acked", json_of_features(device, r->features_acked));
    json_object_set_new(to, "features_acked_bits", json_of_bits(r->features_acked));
    json_object_set_new(to, "protocol_features_acked",
                        json_of_protocol_features(r->protocol_acked));
    json_object_set_new(to, "protocol_features_acked_bits", json_of_bits(r->protocol_acked));
    json_object_set_new(to, "rings", rings_json(r));
    json_object_set_new(to, "memory_regions", json_integer(r->n_regions));
}
