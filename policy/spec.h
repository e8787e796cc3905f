/* SPDX-License-Identifier: MIT
 *
 * Spec strings: how people and managers write an interface.
 *
 *   host                              whatever the back-end offers, unpinned
 *   host,mq=off                       the same with changes
 *   mrg_rxbuf=on,max_ring=256         the whole interface: what is not listed is off, a limit that
 *                                     is not listed is the protocol's own
 *   org.dpdk.v22.11[,changes]         a named version, as it is or with changes
 *   NAME=on|off|front                 a virtio feature; front: the front-end implements it
 *   queues=N max_ring=N mem_slots=N   limits
 *   protocol.NAME=on|off              a vhost-user protocol feature that is required or withheld
 *   config.FIELD=N                    a field of the configuration space; min:N shows the smaller of
 *                                     N and the back-end's value
 *   device=NAME                       kind of device that names are looked up in; without it, the
 *                                     first kind (net, blk, scsi, ...) that has all the names */
#pragma once

#include "family.h"
#include "interface.h"

struct spec_error {
    size_t at; /* offset of the word in the text */
    size_t word_len;
    char text[256]; /* what is wrong with it, and what to do */
};

/* 0, or -EINVAL with *ret_error filled. Names are resolved here: nothing compares strings later.
 * `store` has the named versions; NULL: there are none. */
int spec_parse(const char *spec, const struct store *store, struct interface *ret_interface,
               struct spec_error *ret_error);

/* The spec string begins with the name of a version, so that a store is needed to read it. */
bool spec_is_named(const char *spec);
