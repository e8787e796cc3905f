/* SPDX-License-Identifier: MIT
 *
 * A message as text for people, from its row alone: the log, tests and every other reader show the
 * same words. */
#pragma once

#include "feature.h"
#include "message.h"

/* "SET_VRING_NUM need_reply index=0 num=256", "SET_VRING_KICK index=1 +1 kick",
 * "SET_MEM_TABLE nregions=1 regions=[{guest_addr=0 size=0x1000 ...}] +1 memory", "... bytes=0102...",
 * "reply GET_QUEUE_NUM queues=4". `device` names feature bits, DEVICE_UNKNOWN when not known.
 * Always terminated; cut when too long. */
void message_print(enum wire_space space, enum device_type device, const struct msg *m, char *buf,
                   size_t len);
