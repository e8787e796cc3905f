/* SPDX-License-Identifier: MIT */
#include "greeting.h"

/* REPLY_ACK stays out: whether acknowledgements are in force is the front-end's to settle. */
static uint64_t protocol_to_set(const struct greeting *g, const struct interface *i)
{
    return interface_protocol_features(i, &g->offer) & ~BIT(PROTOCOL_REPLY_ACK);
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
    default:
        return true;
    }
}

int greeting_next(struct greeting *g, const struct interface *i, struct msg *ret_msg)
{
    static const uint32_t requests[] = {
        [GREETING_FEATURES] = FRONT_GET_FEATURES,
        [GREETING_PROTOCOL] = FRONT_GET_PROTOCOL_FEATURES,
        [GREETING_SET_PROTOCOL] = FRONT_SET_PROTOCOL_FEATURES,
        [GREETING_QUEUES] = FRONT_GET_QUEUE_NUM,
        [GREETING_SLOTS] = FRONT_GET_MAX_MEM_SLOTS,
    };
    while (!step_applies(g, i, g->step)) {
        g->step++;
    }
    if (g->step == GREETING_DONE) {
        return GREETING_OVER;
    }
    if (g->step != GREETING_SET_PROTOCOL) {
        int err = msg_make(requests[g->step], 0, NULL, 0, ret_msg);
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

void greeting_answer(struct greeting *g, const struct msg *answer)
{
    const struct message_row *row = message_row(SPACE_FRONT, answer->head.request);
    uint64_t value = field_get(answer, &message_payload(row, true)->fields[0]);
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
