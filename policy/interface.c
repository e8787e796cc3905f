/* SPDX-License-Identifier: MIT */
#include "interface.h"

#include <inttypes.h>
#include <sha2.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

const struct limit_row limit_rows[N_LIMITS] = {
    { "queues", offsetof(struct interface, queues), PROTOCOL_MAX_QUEUES },
    { "max_ring", offsetof(struct interface, max_ring), PROTOCOL_MAX_RING },
    { "mem_slots", offsetof(struct interface, mem_slots), PROTOCOL_MAX_SLOTS },
};

bool interface_is_empty(const struct interface *i)
{
    struct interface like_host = *i;
    like_host.host = true;
    like_host.off = 0;
    return !i->host && interface_is_transparent(&like_host);
}

void interface_pin(struct interface *i, const struct config_pin *pin)
{
    size_t at = 0;
    while (at < i->n_pins && i->pins[at].row < pin->row) {
        at++;
    }
    if (at == i->n_pins || i->pins[at].row != pin->row) {
        assert(i->n_pins < INTERFACE_MAX_PINS);
        memmove(&i->pins[at + 1], &i->pins[at], (i->n_pins - at) * sizeof(i->pins[0]));
        i->n_pins++;
    }
    i->pins[at] = *pin;
}

void interface_unpin(struct interface *i, const struct config_row *row)
{
    for (size_t k = 0; k < i->n_pins; k++) {
        if (i->pins[k].row == row) {
            i->n_pins--;
            memmove(&i->pins[k], &i->pins[k + 1], (i->n_pins - k) * sizeof(i->pins[0]));
            return;
        }
    }
}

bool interface_consistent(const struct interface *i, char *why, size_t why_len)
{
    char names[128];
    uint64_t best = protocol_close((protocol_shown() | i->protocol_on) & ~i->protocol_off);
    uint64_t lost = i->on & ~features_close(i->device, i->on, i->on, best);
    if (lost != 0) {
        features_print(i->device, lost, names, sizeof(names));
        snprintf(why, why_len, "on, but a protocol feature that it needs is off: %s", names);
        return false;
    }
    lost = i->protocol_on & ~best;
    if (lost != 0) {
        protocol_print(lost, names, sizeof(names));
        snprintf(why, why_len, "on, but another that it needs is off: protocol %s", names);
        return false;
    }
    if (i->n_pins > 0 && (best & BIT(PROTOCOL_CONFIG)) == 0) {
        snprintf(why, why_len, "fields are pinned, but protocol feature config is off");
        return false;
    }
    return true;
}

bool interface_is_transparent(const struct interface *i)
{
    return i->host && i->on == 0 && i->off == 0 && i->front == 0 && i->protocol_on == 0 &&
           i->protocol_off == 0 && i->queues == 0 && i->max_ring == 0 && i->mem_slots == 0 &&
           i->n_pins == 0;
}

uint64_t interface_protocol_features(const struct interface *i, const struct offer *o)
{
    if (interface_is_transparent(i)) {
        return o->protocol_features;
    }
    uint64_t allowed = (protocol_shown() | i->protocol_on) & ~i->protocol_off;
    return protocol_close(o->protocol_features & allowed);
}

/* On top of `host`, what a cleared bit or protocol feature carried goes with it. A listed interface
 * is shown as it is written; whether the back-end can serve it is compat.h's question. */
uint64_t interface_features(const struct interface *i, const struct offer *o)
{
    if (interface_is_transparent(i)) {
        return o->features;
    }
    uint64_t vhost = o->features & features_of_vhost();
    if (!i->host) {
        return i->on | vhost;
    }
    uint64_t kept = o->features & ~i->off & ~i->front;
    return features_close(i->device, o->features, kept, interface_protocol_features(i, o)) | vhost;
}

static uint32_t smaller_unless_zero(uint32_t a, uint32_t b)
{
    return a == 0 ? b : b == 0 || a < b ? a : b;
}

uint32_t interface_queues(const struct interface *i, const struct offer *o)
{
    return smaller_unless_zero(i->queues, o->queues);
}

uint32_t interface_mem_slots(const struct interface *i, const struct offer *o)
{
    return smaller_unless_zero(i->mem_slots, o->mem_slots);
}

uint32_t interface_vrings(const struct interface *i, const struct offer *o)
{
    uint32_t queues = interface_queues(i, o);
    if (queues == 0 || queues > PROTOCOL_MAX_QUEUES) {
        return PROTOCOL_MAX_QUEUES;
    }
    if (i->device == DEVICE_UNKNOWN) {
        return 2 * queues + 1;
    }
    if (i->device == DEVICE_NET) {
        return 2 * queues + ((interface_features(i, o) & BIT(NET_CTRL_VQ)) != 0 ? 1 : 0);
    }
    return queues;
}

static void add_switch(struct text *t, const char *prefix, const char *name, const char *value)
{
    text_add_item(t, ",", prefix);
    text_add(t, "%s=%s", name, value);
}

static void add_number(struct text *t, const char *prefix, const char *name, uint64_t value)
{
    text_add_item(t, ",", prefix);
    text_add(t, "%s=%" PRIu64, name, value);
}

/* Rows in table order: bits that all devices share first, then the device's own. */
static void add_features(struct text *t, const struct interface *i)
{
    for (size_t k = 0; k < n_feature_rows; k++) {
        const struct feature_row *row = &feature_rows[k];
        if (row->device != i->device && row->device != DEVICE_RING) {
            continue;
        }
        uint64_t bit = BIT(row->bit);
        if ((i->on & bit) != 0) {
            add_switch(t, "", row->name, "on");
        } else if ((i->front & bit) != 0) {
            add_switch(t, "", row->name, "front");
        } else if (i->host && (i->off & bit) != 0) {
            add_switch(t, "", row->name, "off");
        }
    }
}

static void add_protocol(struct text *t, const struct interface *i)
{
    for (size_t k = 0; k < n_protocol_rows; k++) {
        const struct protocol_row *row = &protocol_rows[k];
        if ((i->protocol_on & BIT(row->bit)) != 0) {
            add_switch(t, "protocol.", row->name, "on");
        } else if ((i->protocol_off & BIT(row->bit)) != 0) {
            add_switch(t, "protocol.", row->name, "off");
        }
    }
}

void interface_canonical(const struct interface *i, char *buf, size_t len)
{
    struct text t = text_in(buf, len);
    if (i->host) {
        text_add_item(&t, ",", "host");
    }
    if (i->device != DEVICE_UNKNOWN) {
        add_switch(&t, "", "device", device_name(i->device));
    }
    add_features(&t, i);
    for (size_t k = 0; k < N_LIMITS; k++) {
        if (interface_limit(i, &limit_rows[k]) != 0) {
            add_number(&t, "", limit_rows[k].name, interface_limit(i, &limit_rows[k]));
        }
    }
    add_protocol(&t, i);
    for (size_t k = 0; k < i->n_pins; k++) {
        text_add_item(&t, ",", "config.");
        text_add(&t, "%s=%s%" PRIu64, i->pins[k].row->name,
                 i->pins[k].mode == PIN_MIN ? "min:" : "", i->pins[k].value);
    }
}

void interface_digest(const struct interface *i, char ret_digest[static INTERFACE_DIGEST_LEN])
{
    char text[INTERFACE_TEXT_LEN];
    interface_canonical(i, text, sizeof(text));
    SHA256Data((const uint8_t *)text, strlen(text), ret_digest);
}

bool offer_config(const struct offer *o, const struct config_row *row, uint64_t *ret_value)
{
    uint64_t value = 0;
    if ((size_t)row->offset + row->size > o->config_len || row->size > sizeof(value)) {
        return false;
    }
    for (size_t k = row->size; k > 0; k--) {
        value = value << 8 | o->config[row->offset + k - 1];
    }
    *ret_value = value;
    return true;
}

bool config_row_valid(const struct config_row *row, enum device_type device, uint64_t features)
{
    bool valid = row->gate == CONFIG_ALWAYS_VALID || (features & BIT(row->gate)) != 0;
    return row->device == device && valid && (row->traits & CONFIG_TEXT) == 0;
}

size_t interface_config_len(const struct interface *i)
{
    size_t len = 0;
    for (size_t k = 0; k < i->n_pins; k++) {
        size_t end = (size_t)i->pins[k].row->offset + i->pins[k].row->size;
        len = end > len ? end : len;
    }
    return len;
}

void interface_of_offer(enum device_type device, const struct offer *o,
                        struct interface *ret_interface, uint64_t *ret_unnamed)
{
    struct interface i = { .device = device };
    uint64_t guest = o->features & ~features_of_vhost();
    i.on = guest & features_known(device);
    i.on = features_close(device, i.on, i.on, protocol_close(o->protocol_features));
    /* A number that is above the protocol's own limit says as much as none. */
    i.queues = o->queues < PROTOCOL_MAX_QUEUES ? o->queues : 0;
    i.mem_slots = o->mem_slots < PROTOCOL_MAX_SLOTS ? o->mem_slots : 0;
    for (size_t k = 0; k < n_config_rows && i.n_pins < INTERFACE_MAX_PINS; k++) {
        const struct config_row *row = &config_rows[k];
        uint64_t value = 0;
        if (config_row_valid(row, device, i.on) && (row->traits & CONFIG_OF_INSTANCE) == 0 &&
            offer_config(o, row, &value)) {
            i.pins[i.n_pins++] = (struct config_pin){ row, value, PIN_VALUE };
        }
    }
    *ret_unnamed = guest & ~features_known(device);
    *ret_interface = i;
}

/* Net back-ends offer RARP or an MTU message. So does SPDK, which takes them from DPDK, but its
 * disks also have a configuration space or in-flight descriptors, and DPDK's net devices have
 * neither. Where low bits have a name in one kind of device only, it is that one. */
enum device_type offer_guess_device(const struct offer *o)
{
    uint64_t protocol = o->protocol_features;
    uint64_t low = o->features & ~features_known(DEVICE_UNKNOWN);
    enum device_type found = DEVICE_UNKNOWN;
    uint64_t net = BIT(PROTOCOL_RARP) | BIT(PROTOCOL_NET_MTU);
    uint64_t not_net = BIT(PROTOCOL_CONFIG) | BIT(PROTOCOL_INFLIGHT_SHMFD);
    if ((protocol & net) != 0 && (protocol & not_net) == 0) {
        return DEVICE_NET;
    }
    if (low == 0) {
        return DEVICE_UNKNOWN;
    }
    for (unsigned d = DEVICE_NET; d < N_DEVICE_TYPES; d++) {
        bool fits = (low & ~features_known((enum device_type)d)) == 0 &&
                    (d != DEVICE_NET || (protocol & not_net) == 0);
        if (fits && found != DEVICE_UNKNOWN) {
            return DEVICE_UNKNOWN;
        }
        found = fits ? (enum device_type)d : found;
    }
    return found;
}
