/* SPDX-License-Identifier: MIT */
#include "failure.h"

#include <string.h>

int failure_make(const struct message_row *row, uint32_t request_len, struct msg *ret_msg)
{
    const struct payload *p = message_payload(row, true);
    uint64_t error = 1;
    int err;
    if (row->answer != ANSWER_REPLY) {
        err = msg_make(row->id, WIRE_REPLY, &error, sizeof(error), ret_msg);
    } else if ((row->traits & FAILS_ALONE) != 0) {
        /* An error code in the last eight bytes of an answer of the request's size: a device's
         * state, a crypto session. */
        bool same = p == message_payload(row, false);
        err = msg_make(row->id, WIRE_REPLY, NULL, same ? request_len : p->most, ret_msg);
        if (err == 0) {
            memset(ret_msg->body + ret_msg->head.size - sizeof(error), 0xff, sizeof(error));
        }
    } else if (field_of_kind(p, KIND_ERROR) != NULL) {
        err = msg_make(row->id, WIRE_REPLY, &error, sizeof(error), ret_msg);
    } else if (message_fds(row, true)->most > 0) {
        /* No descriptor comes: there is none. */
        bool same = p == message_payload(row, false);
        err = msg_make(row->id, WIRE_REPLY, NULL, same ? request_len : p->most, ret_msg);
    } else if (p->least == 0) {
        /* A configuration space without bytes. */
        err = msg_make(row->id, WIRE_REPLY, NULL, 0, ret_msg);
    } else {
        return 0;
    }
    return err < 0 ? err : 1;
}
