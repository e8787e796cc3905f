/* SPDX-License-Identifier: MIT */
#include "greeting.h"

#include <string.h>

/* A back-end answers only a size that it has: the largest of the specification, then those of the
 * structures that virtio devices have had. */
static const uint32_t config_sizes[] = {
    OFFER_CONFIG_MAX, 136, 96, 72, 60, 57, 56, 40, 36, 24, 16, 12, 8, 4
};

/* Bytes of the configuration space to ask for now; 0: none. */
static uint32_t config_to_ask(const struct greeting *g, const struct interface *i)
{
    if (g->offer.config_len > 0) {
        return 0;
    }
    if (g->whole_config) {
        return g->tries < ARRAY_SIZE(config_sizes) ? config_sizes[g->tries] : 0;
    }
    uint32_t pinned = (uint32_t)interface_config_len(i);
    return g->tries > 0 ? 0 : pinned > g->config_wanted ? pinned : g->config_wanted;
}

/* REPLY_ACK stays out: whether acknowledgements are in force is the front-end's to settle. */
static uint64_t protocol_to_set(const struct greeting *g, const struct interface *i)
{
    return protocol_close(interface_protocol_features(i, &g->offer) & ~BIT(PROTOCOL_REPLY_ACK));
}

static bool step_applies(const struct greeting *g, const struct interface *i,
                         enum greeting_step step)
{
    uint64_t protocol = interface_protocol_features(i, &g->offer);
    switch (step) {
    case GREETING_PROTOCOL:
    case GREETING_SET_PROTOCOL:
        return (g->offer.features & BIT(VHOST_PROTOCOL_FEATURES)) != 0;
    case GREETING_QUEUES:
        return (protocol & BIT(PROTOCOL_MQ)) != 0;
    case GREETING_SLOTS:
        return (protocol & BIT(PROTOCOL_CONFIGURE_MEM_SLOTS)) != 0;
    case GREETING_CONFIG:
        return (protocol & BIT(PROTOCOL_CONFIG)) != 0 && config_to_ask(g, i) > 0;
    default:
        return true;
    }
}

/* The payload of a question: zeroes but for GET_CONFIG, which says what it wants. */
static int make_question(const struct greeting *g, const struct interface *i, uint32_t request,
                         struct msg *ret_msg)
{
    uint32_t size = g->step == GREETING_CONFIG ? config_to_ask(g, i) : 0;
    struct wire_config head = { .size = size };
    int err = msg_make(request, 0, NULL, size > 0 ? (uint32_t)sizeof(head) + size : 0, ret_msg);
    if (err == 0 && size > 0) {
        memcpy(ret_msg->body, &head, sizeof(head));
    }
    return err;
}

int greeting_next(struct greeting *g, const struct interface *i, struct msg *ret_msg)
{
    static const uint32_t requests[] = {
        [GREETING_FEATURES] = FRONT_GET_FEATURES,
        [GREETING_PROTOCOL] = FRONT_GET_PROTOCOL_FEATURES,
        [GREETING_SET_PROTOCOL] = FRONT_SET_PROTOCOL_FEATURES,
        [GREETING_QUEUES] = FRONT_GET_QUEUE_NUM,
        [GREETING_SLOTS] = FRONT_GET_MAX_MEM_SLOTS,
        [GREETING_CONFIG] = FRONT_GET_CONFIG,
    };
    while (!step_applies(g, i, g->step)) {
        g->step++;
    }
    if (g->step == GREETING_DONE) {
        return GREETING_OVER;
    }
    if (g->step != GREETING_SET_PROTOCOL) {
        int err = make_question(g, i, requests[g->step], ret_msg);
        return err < 0 ? err : GREETING_ASK;
    }
    uint64_t bits = protocol_to_set(g, i);
    int err = msg_make(requests[g->step], 0, &bits, sizeof(bits), ret_msg);
    if (err < 0) {
        return err;
    }
    g->step++;
    return GREETING_TELL;
}

/* A number of queues or slots above what 32 bits hold is no promise that anyone can use. */
static uint32_t clamp32(uint64_t value)
{
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

/* Shorter than asked, or empty, when the back-end has no so many bytes. */
static void take_config(struct greeting *g, const struct msg *answer)
{
    struct wire_config head;
    g->tries++;
    if (answer->head.size < sizeof(head)) {
        return;
    }
    memcpy(&head, answer->body, sizeof(head));
    g->offer.config_len = head.size < OFFER_CONFIG_MAX ? head.size : OFFER_CONFIG_MAX;
    memcpy(g->offer.config, answer->body + sizeof(head), g->offer.config_len);
}

void greeting_answer(struct greeting *g, const struct msg *answer)
{
    const struct message_row *row = message_row(SPACE_FRONT, answer->head.request);
    uint64_t value = field_get(answer, &message_payload(row, true)->fields[0]);
    if (g->step == GREETING_CONFIG) {
        take_config(g, answer); /* the step is over when there is nothing left to try */
        return;
    }
    switch (g->step) {
    case GREETING_FEATURES:
        g->offer.features = value;
        break;
    case GREETING_PROTOCOL:
        g->offer.protocol_features = value;
        break;
    case GREETING_QUEUES:
        g->offer.queues = clamp32(value);
        break;
    case GREETING_SLOTS:
        g->offer.mem_slots = clamp32(value);
        break;
    default:
        return;
    }
    g->step++;
}
