/* SPDX-License-Identifier: MIT
 *
 * A network back-end that needs no time of its own: it maps the memory that it is told and returns
 * the buffers of the rings. Nothing is sent or received. */
#pragma once

#include "standin_wire.h"

#define MAX_RINGS 64

struct ring {
    uint16_t size;
    uint16_t next; /* of the avail ring */
    struct vring_addr addr;
    int kick, call;
    bool started, enabled, returned;
    struct avail *avail;
    struct used *used;
};

struct backend {
    const char *path;
    int listener;
    int fd;
    struct region regions[MAX_REGIONS];
    uint8_t *maps[MAX_REGIONS];
    uint32_t n_regions;
    struct ring rings[MAX_RINGS];
    uint64_t protocol_features;
    uint64_t status;
    int64_t accepted, told, used, all_used, own; /* see restart.c */
    int64_t stopped;                             /* when the first ring was */
};

/* Of the front-end in the same program; 0: it is another one. */
extern int own_rings;

/* How often a ring was to begin elsewhere than its used index says. */
extern long wrong_bases;

void backend_listen(struct backend *b);

/* As if its process had been killed. */
void backend_die(struct backend *b);

/* Serves all of them until done(b). */
void serve_until(struct backend *list, size_t n, const struct backend *b,
                 bool (*done)(const struct backend *b));

/* It has returned buffers of every ring, and nothing more has been said to it for a moment. */
bool in_service(const struct backend *b);

/* A standby that has been told what it may be told. */
bool waits_ready(const struct backend *b);

bool has_stopped(const struct backend *b);
