/* SPDX-License-Identifier: MIT */
#include "hold.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "carry.h"
#include "position.h"

static enum device_type device_of(const struct device *d)
{
    struct offer heard = carry_heard(&d->record);
    return carry_device(&d->options.interface, &heard);
}

/* It may have moved on from where it was put. */
static bool runs(const struct record_ring *ring)
{
    return ring->started && record_ring_told(ring, RING_ADDR) && record_ring_told(ring, RING_NUM);
}

static bool any_runs(const struct record *r)
{
    for (uint32_t k = 0; k < r->n_rings; k++) {
        if (runs(&r->rings[k])) {
            return true;
        }
    }
    return false;
}

const struct restart_row *hold_verdict(const struct device *d, const char **ret_name,
                                       const char **ret_text)
{
    const struct restart_row *row = restart_row_of(device_of(d), &d->record);
    const char *obstacle = hold_obstacle(d);
    bool idle = !any_runs(&d->record);
    *ret_name = obstacle != NULL ? "none" : idle ? "sound" : restart_verdict_name(row);
    *ret_text = obstacle != NULL ? obstacle : idle ? "no ring has been started" : row->text;
    return row;
}

const char *hold_obstacle(const struct device *d)
{
    return d->record.incomplete ? "not everything that the front-end said could be kept"
           : d->record.postcopy != POSTCOPY_NONE ? "a postcopy migration is under way"
                                                 : NULL;
}

bool hold_may_replay(const struct device *d)
{
    const struct record *r = &d->record;
    for (uint32_t k = 0; k < r->n_rings; k++) {
        if (runs(&r->rings[k]) && r->rings[k].base_is_stale) {
            return false;
        }
    }
    /* What the lost one has not moved of its state the next one would call good: that it fails is said
     * before. */
    return hold_obstacle(d) == NULL && !r->state_moves;
}

/* Where a ring goes on, to the record. False when that is not known: then its base is stale. */
static bool find_position(struct device *d, size_t ring, const struct restart_row *row, char *why,
                          size_t why_len)
{
    uint32_t base;
    d->record.rings[ring].base_is_stale = true;
    if (!position_of_ring(&d->record, &d->kept, ring, row->source, &base, why, why_len)) {
        return false;
    }
    record_set_base(&d->record, ring, base);
    return true;
}

/* The same for each ring that runs. */
static bool find_positions(struct device *d, char *why, size_t why_len)
{
    struct record *r = &d->record;
    const struct restart_row *row = restart_row_of(device_of(d), r);
    bool all = true;
    if (any_runs(r) && row->verdict == RESTART_NONE) {
        snprintf(why, why_len, "%s", row->text);
        return false;
    }
    for (uint32_t k = 0; k < r->n_rings; k++) {
        bool known = !runs(&r->rings[k]) || find_position(d, k, row, why, why_len);
        all = all && known;
    }
    return all;
}

/* The used index of a split ring; false when it cannot be seen. */
static bool used_index(const struct device *d, size_t ring, uint16_t *ret_used)
{
    char why[128];
    uint32_t used;
    bool packed = (restart_facts(&d->record) & FACT_PACKED) != 0;
    if (packed || !runs(&d->record.rings[ring]) ||
        !position_of_ring(&d->record, &d->kept, ring, SOURCE_USED_INDEX, &used, why, sizeof(why))) {
        return false;
    }
    *ret_used = (uint16_t)used;
    return true;
}

void hold_note_used(struct device *d)
{
    for (uint32_t k = 0; k < d->record.n_rings; k++) {
        struct record_ring *ring = &d->record.rings[k];
        ring->used_known = used_index(d, k, &ring->used_seen);
    }
}

/* Its back-ends need not complete requests in order. */
static bool is_out_of_order(const struct device *d)
{
    enum device_type device = device_of(d);
    bool in_order = (restart_facts(&d->record) & FACT_IN_ORDER) != 0;
    return device != DEVICE_NET && device != DEVICE_UNKNOWN && !in_order;
}

const char *hold_loses(const struct device *d)
{
    bool region = (restart_facts(&d->record) & FACT_REGION) != 0;
    const struct restart_row *row = restart_row_of(device_of(d), &d->record);
    if (!any_runs(&d->record)) {
        return NULL;
    }
    if (row->verdict == RESTART_PARTLY) {
        return row->text;
    }
    /* qemu-storage-daemon 7.2 says where a ring stands while requests before that are under way, and
     * never completes them. */
    return is_out_of_order(d) && !region
               ? "the old back-end need not complete what it has taken, and without an in-flight "
                 "region nobody else can"
               : NULL;
}

bool hold_place_suffices(const struct device *d, size_t ring)
{
    const struct record *r = &d->record;
    unsigned facts = restart_facts(r);
    bool goes_along = (r->protocol_acked & BIT(PROTOCOL_GET_VRING_BASE_INFLIGHT)) != 0;
    char why[128];
    uint32_t base;
    if (!runs(&r->rings[ring]) || (facts & FACT_REGION) == 0 || goes_along || !is_out_of_order(d)) {
        return true;
    }
    return (facts & FACT_SPLIT) != 0 &&
           position_of_ring(r, &d->kept, ring, SOURCE_RINGS_SHOW, &base, why, sizeof(why));
}

bool hold_is_drained(const struct device *d)
{
    bool looks = is_out_of_order(d);
    for (uint32_t k = 0; looks && k < d->record.n_rings; k++) {
        uint16_t used;
        if (used_index(d, k, &used) && used != (uint16_t)record_ring_base(&d->record.rings[k])) {
            return false;
        }
    }
    return true;
}

static bool is_unmoved(const struct device *d, size_t ring)
{
    const struct record_ring *r = &d->record.rings[ring];
    uint16_t used;
    return r->used_known && used_index(d, ring, &used) && used == r->used_seen;
}

bool hold_look_again(struct device *d, enum replay_ran ran, char *why, size_t why_len)
{
    struct record *r = &d->record;
    const struct restart_row *row = restart_row_of(device_of(d), r);
    bool packed = (restart_facts(r) & FACT_PACKED) != 0;
    bool all = true;
    for (uint32_t k = 0; k < r->n_rings && ran != RAN_NOT; k++) {
        bool stands = packed ? ran == RAN_PERHAPS : is_unmoved(d, k);
        bool known = !runs(&r->rings[k]) || stands || find_position(d, k, row, why, why_len);
        all = all && known;
    }
    return all;
}

bool hold_rings_moved(const struct device *d)
{
    for (uint32_t k = 0; k < d->record.n_rings; k++) {
        if (runs(&d->record.rings[k]) && !is_unmoved(d, k)) {
            return true;
        }
    }
    return false;
}

/* GET_VRING_BASE waits for an answer that nobody can give. */
static bool owes_lost_position(const struct device *d)
{
    for (uint32_t k = 0; k < d->record.n_rings; k++) {
        const struct record_ring *ring = &d->record.rings[k];
        if (ring->stopping && runs(ring) && ring->base_is_stale) {
            return true;
        }
    }
    return false;
}

/* A bit a page: 64 TiB of memory. */
#define LOG_MOST (UINT64_C(2) << 30)

/* Pages that the back-end had written may be missing in the log of a migration: all count as written.
 */
static bool mark_all_dirty(struct device *d, char *why, size_t why_len)
{
    struct wire_log log;
    struct stat st;
    uint8_t ones[4096];
    int fd = kept_last(&d->kept, FRONT_SET_LOG_BASE);
    if ((d->record.features_acked & BIT(VHOST_LOG_ALL)) == 0 ||
        !d->record.last[FRONT_SET_LOG_BASE].told) {
        return true;
    }
    record_last_get(&d->record, FRONT_SET_LOG_BASE, &log, sizeof(log));
    bool done = fd >= 0 && position_is_memory(fd) && fstat(fd, &st) == 0 && log.size > 0 &&
                log.size <= LOG_MOST && log.offset < INT64_MAX / 2 &&
                (uint64_t)st.st_size >= log.offset + log.size;
    memset(ones, 0xff, sizeof(ones));
    for (uint64_t at = 0; done && at < log.size;) {
        size_t len = log.size - at < sizeof(ones) ? (size_t)(log.size - at) : sizeof(ones);
        ssize_t n = pwrite(fd, ones, len, (off_t)(log.offset + at));
        done = n > 0 || (n < 0 && errno == EINTR);
        at += n > 0 ? (uint64_t)n : 0;
    }
    if (!done) {
        snprintf(why, why_len, "the log of written pages cannot be completed");
        return false;
    }
    log_info(d->options.name, NULL, "all memory counts as written for the migration under way");
    return true;
}

static bool can_hold(struct device *d, char *why, size_t why_len)
{
    const char *obstacle = hold_obstacle(d);
    bool asked = d->options.on_loss == LOSS_HOLD;
    if (d->options.on_loss == LOSS_CLOSE) {
        why[0] = '\0';
        return false;
    }
    if (obstacle != NULL) {
        snprintf(why, why_len, "%s", obstacle);
        return false;
    }
    /* In a switch the old one has said where its rings stand before it was lost. */
    bool stopped = switch_knows_rings(d);
    if (!stopped) {
        record_rings_run(&d->record);
    }
    bool sound = stopped || find_positions(d, why, why_len);
    if ((!sound && !asked) || owes_lost_position(d)) {
        return false;
    }
    if (!mark_all_dirty(d, why, why_len)) {
        return false;
    }
    if (!sound) {
        log_warn(d->options.name, NULL,
                 "nothing is replayed before the front-end resets the device: %s", why);
    }
    return true;
}

bool hold_begin(struct device *d, char *why, size_t why_len)
{
    const char *name;
    const char *text;
    const struct restart_row *row = hold_verdict(d, &name, &text);
    bool lossy = any_runs(&d->record) && row->verdict == RESTART_PARTLY;
    if (!can_hold(d, why, why_len)) {
        return false;
    }
    if (d->switching.stage != SWITCH_STARTING) { /* there it is the new one's already */
        channel_lose_back(d);
    }
    d->held = true;
    if (lossy) {
        log_warn(d->options.name, NULL, "not all can be kept: %s", text);
    }
    relay_lose_responder(&d->wire);
    /* One that is being told the rings hears of nothing else. */
    d->wire.paused = successor_is_open(d) && d->next.state >= FINISHING;
    return true;
}
