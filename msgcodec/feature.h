/* SPDX-License-Identifier: MIT
 *
 * Names of kinds of device, feature bits, protocol features and configuration fields, both ways,
 * and what depends on what. All from features.def and config.def. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "util.h"

enum device_type {
#define DEVICE(name, text, id) DEVICE_##name,
#define FEATURE(...)
#define PROTOCOL_FEATURE(...)
#include "features.def"
#undef DEVICE
#undef FEATURE
#undef PROTOCOL_FEATURE
    N_DEVICE_TYPES,
    /* Groups of bits rather than devices come first; a device whose kind is not known is one. */
    DEVICE_UNKNOWN = DEVICE_RING,
};

/* NET_CSUM = 0, RING_VERSION_1 = 32, VHOST_LOG_ALL = 26, ... */
enum feature_bit {
#define DEVICE(...)
#define FEATURE(device, bit, name, text, needs, protocol, how) device##_##name = bit,
#define PROTOCOL_FEATURE(...)
#include "features.def"
#undef DEVICE
#undef FEATURE
#undef PROTOCOL_FEATURE
};

enum protocol_bit {
#define DEVICE(...)
#define FEATURE(...)
#define PROTOCOL_FEATURE(bit, name, text, needs, how) PROTOCOL_##name = bit,
#include "features.def"
#undef DEVICE
#undef FEATURE
#undef PROTOCOL_FEATURE
};

enum feature_how { FEATURE_PLAIN, FEATURE_LAYOUT, FEATURE_FACT, FEATURE_VHOST };
enum protocol_how { PROTOCOL_SHOWN, PROTOCOL_ON_REQUEST };

struct feature_row {
    enum device_type device;
    unsigned bit;
    const char *name;
    uint64_t needs;
    uint64_t protocol;
    enum feature_how how;
};

struct protocol_row {
    unsigned bit;
    enum protocol_how how;
    const char *name;
    uint64_t needs;
};

enum config_trait { CONFIG_OF_INSTANCE = 1, CONFIG_WRITABLE = 2, CONFIG_TEXT = 4 };
enum config_relation { CONFIG_ANY, CONFIG_UP_TO, CONFIG_SAME };
#define CONFIG_ALWAYS_VALID 64u

struct config_row {
    enum device_type device;
    uint16_t offset;
    uint16_t size;
    const char *name;
    unsigned gate; /* feature bit, or CONFIG_ALWAYS_VALID */
    enum config_relation relation;
    unsigned traits;
};

extern const struct feature_row feature_rows[];
extern const size_t n_feature_rows;
extern const struct protocol_row protocol_rows[];
extern const size_t n_protocol_rows;
extern const struct config_row config_rows[];
extern const size_t n_config_rows;

/* Bits between front-end and back-end, never the guest's: log_all, protocol_features. */
uint64_t features_of_vhost(void);
/* Bits that have a row for this kind of device, those of all devices included. */
uint64_t features_known(enum device_type device);
/* Bits of a kind of device (those that all devices share included) with this column. FEATURE_FACT:
 * they say what the device is, and hiding one would not change that. */
uint64_t features_how(enum device_type device, enum feature_how how);
/* Protocol features that a pinned device lets through unless told otherwise. */
uint64_t protocol_shown(void);
uint64_t protocol_known(void);

/* Row of a bit of a device; NULL when the bit has no name there. */
const struct feature_row *feature_of_bit(enum device_type device, unsigned bit);
/* Row of a name; '-' and '_' are the same. NULL when the device has no such bit. */
const struct feature_row *feature_of_name(enum device_type device, const char *name, size_t len);
const struct protocol_row *protocol_of_bit(unsigned bit);
const struct protocol_row *protocol_of_name(const char *name, size_t len);
const struct config_row *config_of_name(enum device_type device, const char *name, size_t len);
/* Bytes of the configuration space that rows of this device cover; 0: it has none. */
size_t config_size(enum device_type device);

const char *device_name(enum device_type device);
/* Its id in the virtio specification (section 5), 0 for groups of bits; and back: false when no kind
 * of device has this id. */
unsigned device_id(enum device_type device);
bool device_of_id(unsigned id, enum device_type *ret_device);
/* False when no kind of device has this name. */
bool device_of_name(const char *name, size_t len, enum device_type *ret_device);

/* `after` came from `before` by clearing bits, or protocol features are down to `protocol`: clears
 * what has lost the ground it stood on. A bit that had no ground before keeps what it has: real
 * back-ends offer such bits (Open vSwitch: host_ecn without any host_tso). */
uint64_t features_close(enum device_type device, uint64_t before, uint64_t after,
                        uint64_t protocol);
/* Clears protocol features of which another that they need is missing. */
uint64_t protocol_close(uint64_t protocol);

/* Names separated by ", ", unnamed bits as "bit 50". For an unknown kind of device a low bit gets
 * the name that each kind has for it: "bit 5 (net mac, blk ro)". Always terminated; cut when too
 * long. */
void features_print(enum device_type device, uint64_t bits, char *buf, size_t len);
void protocol_print(uint64_t bits, char *buf, size_t len);

/* Name with '-' and '_' taken as one; used wherever a user's word meets a row's. */
bool name_equal(const char *row, const char *word, size_t len);
