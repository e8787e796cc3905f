/* SPDX-License-Identifier: MIT */
#include "capacity.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "ctl.h"

/* Standard streams, epoll, the eventfd of libev's signals, the sandbox's folder. */
#define OF_PROCESS 6
/* A listening socket and its lock, the newcomer that is turned away. */
#define OF_LISTENER 3
/* inotify, and a socket being tried. */
#define OF_SEEKER 2
/* A client, and a descriptor that it has sent. */
#define OF_CLIENT 2
/* The file, and the ring or the thread's eventfd. */
#define OF_TRACE 2
/* Front, back, successor; four ends of channels; two peers that wait; an epoll of each side. */
#define OF_WIRES (3 + 4 + 2 + 5)
/* Sides that may have a message being read and one being written: two wires and the successor's. */
#define SIDES 5
#define MESSAGES (2 * SIDES)

static size_t overhead(void)
{
    return OF_PROCESS + (size_t)(N_PLACES + 2) * OF_LISTENER + (size_t)(N_PLACES + 1) * OF_SEEKER +
           (size_t)CTL_MAX_CLIENTS * OF_CLIENT + OF_TRACE + OF_WIRES;
}

/* A back-end that has everything: what is left is what the profile allows. */
static size_t most_rings(const struct interface *i)
{
    const struct offer all = { .features = UINT64_MAX,
                               .protocol_features = UINT64_MAX,
                               .queues = PROTOCOL_MAX_QUEUES,
                               .mem_slots = PROTOCOL_MAX_SLOTS };
    size_t rings = interface_vrings(i, &all);
    return rings < RECORD_MAX_RINGS ? rings : RECORD_MAX_RINGS;
}

static size_t most_regions(const struct interface *i)
{
    return i->mem_slots != 0 && i->mem_slots < RECORD_MAX_REGIONS ? i->mem_slots
                                                                  : RECORD_MAX_REGIONS;
}

/* Messages that are kept with a descriptor and name no ring. */
static size_t most_kept(void)
{
    const struct message_row *row;
    size_t n = 0;
    for (size_t k = 0; (row = message_row_at(SPACE_FRONT, k)) != NULL; k++) {
        n += (row->traits & KEPT) != 0 && row->fds.most > 0 ? 1 : 0;
    }
    return n;
}

size_t capacity_descriptors(const struct device_options *options, bool has_control)
{
    size_t n = overhead() + (size_t)MESSAGES * WIRE_MAX_FDS;
    if (!has_control) {
        n -= OF_LISTENER + (size_t)CTL_MAX_CLIENTS * OF_CLIENT;
    }
    if (options->on_loss != LOSS_CLOSE || options->detached) {
        n += most_kept() + most_regions(&options->interface) +
             KEPT_OF_RING * most_rings(&options->interface);
    }
    return n;
}

size_t capacity_descriptors_least(void)
{
    return overhead() + WIRE_MAX_FDS;
}

int capacity_raise(size_t need, size_t *ret_limit, bool *ret_short, char *why, size_t why_len)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        int err = -errno;
        snprintf(why, why_len, "cannot read the limit of descriptors: %s", strerror(-err));
        return err;
    }
    /* No further than needed: a limit of a million makes a leak last longer, and nothing else. */
    rlim_t wanted = limit.rlim_max < need ? limit.rlim_max : need;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    *ret_limit = (size_t)limit.rlim_cur;
    *ret_short = limit.rlim_cur < need;
    if (limit.rlim_cur < capacity_descriptors_least()) {
        snprintf(
            why, why_len,
            "may have %zu descriptors and needs at least %zu (raise ulimit -n, or LimitNOFILE= "
            "of its unit)",
            *ret_limit, capacity_descriptors_least());
        return -EMFILE;
    }
    return 0;
}
