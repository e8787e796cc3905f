/* SPDX-License-Identifier: MIT
 *
 * Reads the offer of a back-end: a front-end that asks and leaves. Blocking, with a time limit. */
#pragma once

#include "endpoint.h"
#include "interface.h"

/* The specification's largest configuration space. */
#define PROBE_CONFIG_MAX 256

struct probe {
    struct offer offer;
    uint8_t config[PROBE_CONFIG_MAX];
    size_t config_len; /* 0: the back-end shows none */
};

/* 0, or -errno with a reason in `why`. A back-end that gives up at the configuration space has
 * shown everything else by then: that is no error. */
int prober_run(const struct endpoint *e, double timeout, struct probe *ret_probe, char *why,
               size_t why_len);
