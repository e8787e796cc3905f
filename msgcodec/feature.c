/* SPDX-License-Identifier: MIT */
#include "feature.h"

#include <string.h>

#include "text.h"

#define LAYOUT FEATURE_LAYOUT
#define FACT FEATURE_FACT
#define VHOST FEATURE_VHOST
#define SHOWN PROTOCOL_SHOWN
#define ON_REQUEST PROTOCOL_ON_REQUEST

const struct feature_row feature_rows[] = {
#define DEVICE(...)
#define FEATURE(device, bit, name, text, needs, protocol, how)                                     \
    { DEVICE_##device, bit, text, needs, protocol, (enum feature_how)(how) },
#define PROTOCOL_FEATURE(...)
#include "features.def"
#undef FEATURE
#undef PROTOCOL_FEATURE
};
const size_t n_feature_rows = ARRAY_SIZE(feature_rows);

const struct protocol_row protocol_rows[] = {
#define FEATURE(...)
#define PROTOCOL_FEATURE(bit, name, text, needs, how) { bit, how, text, needs },
#include "features.def"
#undef DEVICE
#undef PROTOCOL_FEATURE
};
const size_t n_protocol_rows = ARRAY_SIZE(protocol_rows);

static const char *const device_names[N_DEVICE_TYPES] = {
#define DEVICE(name, text, id) [DEVICE_##name] = text,
#define PROTOCOL_FEATURE(...)
#include "features.def"
#undef DEVICE
#undef FEATURE
#undef PROTOCOL_FEATURE
};

static const uint16_t device_ids[N_DEVICE_TYPES] = {
#define DEVICE(name, text, id) [DEVICE_##name] = id,
#define FEATURE(...)
#define PROTOCOL_FEATURE(...)
#include "features.def"
#undef DEVICE
#undef FEATURE
#undef PROTOCOL_FEATURE
};

#define OF_INSTANCE CONFIG_OF_INSTANCE
#define WRITABLE CONFIG_WRITABLE
#define TEXT CONFIG_TEXT
#define ALWAYS_VALID CONFIG_ALWAYS_VALID

const struct config_row config_rows[] = {
#define CONFIG_FIELD(device, offset, size, name, gate, relation, traits)                           \
    { DEVICE_##device, offset, size, #name, gate, CONFIG_##relation, traits },
#include "config.def"
#undef CONFIG_FIELD
};
const size_t n_config_rows = ARRAY_SIZE(config_rows);

/* Rows that count for a device: its own, and those that all devices share. */
static bool row_is_of(const struct feature_row *row, enum device_type device)
{
    return row->device == device || row->device == DEVICE_RING || row->device == DEVICE_VHOST;
}

uint64_t features_of_vhost(void)
{
    return BIT(VHOST_LOG_ALL) | BIT(VHOST_PROTOCOL_FEATURES);
}

uint64_t features_known(enum device_type device)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < n_feature_rows; i++) {
        if (row_is_of(&feature_rows[i], device)) {
            bits |= BIT(feature_rows[i].bit);
        }
    }
    return bits;
}

uint64_t features_how(enum device_type device, enum feature_how how)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < n_feature_rows; i++) {
        if (row_is_of(&feature_rows[i], device) && feature_rows[i].how == how) {
            bits |= BIT(feature_rows[i].bit);
        }
    }
    return bits;
}

uint64_t protocol_known(void)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < n_protocol_rows; i++) {
        bits |= BIT(protocol_rows[i].bit);
    }
    return bits;
}

uint64_t protocol_shown(void)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < n_protocol_rows; i++) {
        if (protocol_rows[i].how == PROTOCOL_SHOWN) {
            bits |= BIT(protocol_rows[i].bit);
        }
    }
    return bits;
}

const struct feature_row *feature_of_bit(enum device_type device, unsigned bit)
{
    for (size_t i = 0; i < n_feature_rows; i++) {
        if (feature_rows[i].bit == bit && row_is_of(&feature_rows[i], device)) {
            return &feature_rows[i];
        }
    }
    return NULL;
}

bool name_equal(const char *row, const char *word, size_t len)
{
    if (strlen(row) != len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        bool dashes = (row[i] == '-' || row[i] == '_') && (word[i] == '-' || word[i] == '_');
        if (row[i] != word[i] && !dashes) {
            return false;
        }
    }
    return true;
}

const struct feature_row *feature_of_name(enum device_type device, const char *name, size_t len)
{
    for (size_t i = 0; i < n_feature_rows; i++) {
        if (row_is_of(&feature_rows[i], device) && name_equal(feature_rows[i].name, name, len)) {
            return &feature_rows[i];
        }
    }
    return NULL;
}

const struct protocol_row *protocol_of_bit(unsigned bit)
{
    for (size_t i = 0; i < n_protocol_rows; i++) {
        if (protocol_rows[i].bit == bit) {
            return &protocol_rows[i];
        }
    }
    return NULL;
}

const struct protocol_row *protocol_of_name(const char *name, size_t len)
{
    for (size_t i = 0; i < n_protocol_rows; i++) {
        if (name_equal(protocol_rows[i].name, name, len)) {
            return &protocol_rows[i];
        }
    }
    return NULL;
}

const struct config_row *config_of_name(enum device_type device, const char *name, size_t len)
{
    for (size_t i = 0; i < n_config_rows; i++) {
        if (config_rows[i].device == device && name_equal(config_rows[i].name, name, len)) {
            return &config_rows[i];
        }
    }
    return NULL;
}

size_t config_size(enum device_type device)
{
    size_t size = 0;
    for (size_t i = 0; i < n_config_rows; i++) {
        const struct config_row *row = &config_rows[i];
        if (row->device == device && (size_t)row->offset + row->size > size) {
            size = (size_t)row->offset + row->size;
        }
    }
    return size;
}

const char *device_name(enum device_type device)
{
    return device_names[device];
}

bool device_of_name(const char *name, size_t len, enum device_type *ret_device)
{
    for (unsigned i = DEVICE_NET; i < N_DEVICE_TYPES; i++) {
        if (name_equal(device_names[i], name, len)) {
            *ret_device = (enum device_type)i;
            return true;
        }
    }
    return false;
}

unsigned device_id(enum device_type device)
{
    return device_ids[device];
}

bool device_of_id(unsigned id, enum device_type *ret_device)
{
    for (unsigned i = DEVICE_NET; i < N_DEVICE_TYPES; i++) {
        if (device_ids[i] == id) {
            *ret_device = (enum device_type)i;
            return true;
        }
    }
    return false;
}

static uint64_t features_close_once(enum device_type device, uint64_t before, uint64_t after,
                                    uint64_t protocol)
{
    for (size_t i = 0; i < n_feature_rows; i++) {
        const struct feature_row *row = &feature_rows[i];
        if (!row_is_of(row, device)) {
            continue;
        }
        bool lost_ground = (row->needs & before) != 0 && (row->needs & after) == 0;
        bool lost_protocol = (row->protocol & ~protocol) != 0;
        if (lost_ground || lost_protocol) {
            after &= ~BIT(row->bit);
        }
    }
    return after;
}

uint64_t features_close(enum device_type device, uint64_t before, uint64_t after, uint64_t protocol)
{
    uint64_t next = features_close_once(device, before, after, protocol);
    while (next != after) {
        after = next;
        next = features_close_once(device, before, after, protocol);
    }
    return after;
}

uint64_t protocol_close(uint64_t protocol)
{
    uint64_t next = protocol;
    do {
        protocol = next;
        for (size_t i = 0; i < n_protocol_rows; i++) {
            if ((protocol_rows[i].needs & ~next) != 0) {
                next &= ~BIT(protocol_rows[i].bit);
            }
        }
    } while (next != protocol);
    return protocol;
}

/* "bit 5 (net mac, blk ro)": every meaning that the bit can have. */
static void print_meanings(struct text *t, unsigned bit)
{
    const char *before = " (";
    text_add(t, "bit %u", bit);
    for (size_t i = 0; i < n_feature_rows; i++) {
        const struct feature_row *row = &feature_rows[i];
        if (row->bit == bit) {
            text_add(t, "%s%s %s", before, device_names[row->device], row->name);
            before = ", ";
        }
    }
    text_add(t, "%s", before[0] == ',' ? ")" : "");
}

void features_print(enum device_type device, uint64_t bits, char *buf, size_t len)
{
    struct text t = text_in(buf, len);
    for (unsigned bit = 0; bit < 64; bit++) {
        if ((bits & BIT(bit)) == 0) {
            continue;
        }
        const struct feature_row *row = feature_of_bit(device, bit);
        text_add_item(&t, ", ", row != NULL ? row->name : "");
        if (row == NULL && device == DEVICE_UNKNOWN) {
            print_meanings(&t, bit);
        } else if (row == NULL) {
            text_add(&t, "bit %u", bit);
        }
    }
}

void protocol_print(uint64_t bits, char *buf, size_t len)
{
    struct text t = text_in(buf, len);
    for (unsigned bit = 0; bit < 64; bit++) {
        if ((bits & BIT(bit)) == 0) {
            continue;
        }
        const struct protocol_row *row = protocol_of_bit(bit);
        text_add_item(&t, ", ", row != NULL ? row->name : "");
        if (row == NULL) {
            text_add(&t, "bit %u", bit);
        }
    }
}
