/* SPDX-License-Identifier: MIT
 *
 * The control socket. Speaks QMP's wire format, because the people who run this have clients for
 * it: a greeting, qmp_capabilities first, then {"execute": NAME} answered by {"return": ...} or
 * {"error": {"class", "desc"}}. A client that sends garbage, never reads or fills its line is cut
 * off alone. Only the owner may connect (mode 0600). */
#pragma once

#include "device.h"

/* More clients than this are turned away. */
#define CTL_MAX_CLIENTS 16

struct ctl_client;

struct ctl {
    struct ev_loop *loop;
    struct device *device;
    struct listener listener;
    struct ctl_client *clients;
    unsigned n_clients;
};

/* Tells clients of a device's events; to be called once the device has started. */
void ctl_listen(struct ctl *c);

/* Listens at `e`; `owner` is whose the socket is, (uid_t)-1: the process's own. 0, or -errno with a
 * reason in `why`. */
int ctl_start(struct ctl *c, struct ev_loop *loop, struct device *d, const struct endpoint *e,
              uid_t owner, char *why, size_t why_len);
void ctl_stop(struct ctl *c);
