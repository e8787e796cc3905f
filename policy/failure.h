/* SPDX-License-Identifier: MIT
 *
 * How a request that cannot be served is answered with a failure. */
#pragma once

#include "message.h"

/* The failure that answers a request of `row` whose payload had so many bytes: 1 with the message, 0
 * when the protocol has no way to say it, or -ENOMEM. */
int failure_make(const struct message_row *row, uint32_t request_len, struct msg *ret_msg);
