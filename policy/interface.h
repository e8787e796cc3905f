/* SPDX-License-Identifier: MIT
 *
 * An interface: what a guest may see of a device, as a spec string says it; and an offer: what a
 * live back-end can do. What a front-end is shown follows from the two alone. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "feature.h"

/* Most fields of a configuration space that one interface pins: more than any device has. */
#define INTERFACE_MAX_PINS 32
/* The protocol's own limits, which hold where a spec string says nothing. */
#define PROTOCOL_MAX_QUEUES 32768
#define PROTOCOL_MAX_RING 32768
#define PROTOCOL_MAX_SLOTS 512
#define PROTOCOL_MEM_TABLE_SLOTS 8

/* What the front-end is shown of a field: the value, or the smaller of it and the back-end's. A
 * field without a pin passes. */
enum pin_mode { PIN_VALUE, PIN_MIN };

struct config_pin {
    const struct config_row *row;
    uint64_t value;
    enum pin_mode mode;
};

struct interface {
    bool host; /* starts from whatever the back-end offers, not from nothing */
    enum device_type device;
    uint64_t on;    /* feature bits that must be there */
    uint64_t off;   /* feature bits that are hidden (only needed on top of `host`) */
    uint64_t front; /* feature bits that the front-end implements: never sent to the back-end */
    uint64_t protocol_on;
    uint64_t protocol_off;
    uint32_t queues;    /* 0: not limited */
    uint32_t max_ring;  /* 0: not limited */
    uint32_t mem_slots; /* 0: not limited */
    size_t n_pins;
    struct config_pin pins[INTERFACE_MAX_PINS]; /* in the order of config.def */
};

/* The limits of an interface, by name: what spec strings, JSON and the canonical form have in
 * common. */
struct limit_row {
    const char *name;
    size_t offset; /* of the uint32_t in struct interface */
    uint32_t most;
};

#define N_LIMITS 3
extern const struct limit_row limit_rows[N_LIMITS];

static inline uint32_t interface_limit(const struct interface *i, const struct limit_row *row)
{
    return *(const uint32_t *)(const void *)((const char *)i + row->offset);
}

/* The specification's largest configuration space. */
#define OFFER_CONFIG_MAX 256

/* Sets a pin (replacing that of the same field), keeping the order of config.def; takes one away.
 */
void interface_pin(struct interface *i, const struct config_pin *pin);
void interface_unpin(struct interface *i, const struct config_row *row);

/* False, with the reason, when an interface wants something and withholds what that needs. */
bool interface_consistent(const struct interface *i, char *why, size_t why_len);

/* What a back-end says of itself. A number that was not asked for is 0. */
struct offer {
    uint64_t features;
    uint64_t protocol_features;
    uint32_t queues;
    uint32_t mem_slots;
    uint32_t config_len; /* bytes of the configuration space that are known, from its start */
    uint8_t config[OFFER_CONFIG_MAX];
};

/* A field of the offered configuration space; false when it is not known. */
bool offer_config(const struct offer *o, const struct config_row *row, uint64_t *ret_value);

/* Plain `host`: nothing is changed, and nothing is asked in the front-end's place. */
bool interface_is_transparent(const struct interface *i);

/* No feature, no limit, no field: it says nothing. */
bool interface_is_empty(const struct interface *i);

/* What the front-end is shown: answers to GET_PROTOCOL_FEATURES and GET_FEATURES. A transparent
 * interface shows the offer. Bits that depend on what is hidden are hidden too. */
uint64_t interface_protocol_features(const struct interface *i, const struct offer *o);
uint64_t interface_features(const struct interface *i, const struct offer *o);

/* Answers to GET_QUEUE_NUM and GET_MAX_MEM_SLOTS. */
uint32_t interface_queues(const struct interface *i, const struct offer *o);
uint32_t interface_mem_slots(const struct interface *i, const struct offer *o);
/* Virtqueues that messages may name: indices below this. Net devices count pairs, and may have a
 * control queue behind them; where the kind of device is not known, the larger reading holds. */
uint32_t interface_vrings(const struct interface *i, const struct offer *o);

/* The one way to write an interface: fixed order, every name from the tables, nothing that is a
 * default. Two spec strings mean the same exactly when these are equal. Cut when too long;
 * INTERFACE_TEXT_LEN always suffices. */
#define INTERFACE_TEXT_LEN 4096
void interface_canonical(const struct interface *i, char *buf, size_t len);

/* SHA-256 of the canonical form in hexadecimal: the interface's identity. */
#define INTERFACE_DIGEST_LEN 65
void interface_digest(const struct interface *i, char ret_digest[static INTERFACE_DIGEST_LEN]);

/* The interface that is exactly this offer; fields of the configuration space are pinned where they
 * belong to the interface. Bits without a name cannot be part of one: they are returned in
 * *ret_unnamed. */
void interface_of_offer(enum device_type device, const struct offer *o,
                        struct interface *ret_interface, uint64_t *ret_unnamed);

/* The field is there for these features, as a number: it can be shown and pinned. */
bool config_row_valid(const struct config_row *row, enum device_type device, uint64_t features);

/* Bytes from the start of the configuration space that the pins reach; 0: nothing is pinned. */
size_t interface_config_len(const struct interface *i);

/* The kind of device that a back-end's offer looks like, DEVICE_UNKNOWN when it could be several:
 * the protocol does not tell. */
enum device_type offer_guess_device(const struct offer *o);
