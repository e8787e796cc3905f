/* SPDX-License-Identifier: MIT */
#include "restart.h"

#define DEVICE_ANY (-1)

static const struct restart_row rows[] = {
#define SPLIT FACT_SPLIT
#define PACKED FACT_PACKED
#define REGION FACT_REGION
#define NO_REGION FACT_NO_REGION
#define IN_ORDER FACT_IN_ORDER
#define TRANSLATED FACT_TRANSLATED
#define RESTART(device, when, verdict, source, text)                                               \
    { DEVICE_##device, when, RESTART_##verdict, SOURCE_##source, text },
#include "restart.def"
#undef RESTART
#undef SPLIT
#undef PACKED
#undef REGION
#undef NO_REGION
#undef IN_ORDER
#undef TRANSLATED
};

const struct restart_row *restart_row_at(size_t i)
{
    return i < ARRAY_SIZE(rows) ? &rows[i] : NULL;
}

unsigned restart_facts(const struct record *r)
{
    uint64_t f = r->features_acked;
    unsigned facts = (f & BIT(RING_RING_PACKED)) != 0 ? FACT_PACKED : FACT_SPLIT;
    facts |= r->last[FRONT_SET_INFLIGHT_FD].told ? FACT_REGION : FACT_NO_REGION;
    facts |= (f & BIT(RING_IN_ORDER)) != 0 ? FACT_IN_ORDER : 0;
    facts |= (f & BIT(RING_ACCESS_PLATFORM)) != 0 ? FACT_TRANSLATED : 0;
    return facts;
}

const struct restart_row *restart_row_of(enum device_type device, const struct record *r)
{
    unsigned facts = restart_facts(r);
    size_t i = 0;
    while ((rows[i].device != DEVICE_ANY && rows[i].device != (int)device) ||
           (facts & rows[i].when) != rows[i].when) {
        i++; /* the last row fits whatever the others do not */
    }
    return &rows[i];
}

const char *restart_verdict_name(const struct restart_row *row)
{
    static const char *const names[] = {
        [RESTART_SOUND] = "sound", [RESTART_PARTLY] = "partly", [RESTART_NONE] = "none"
    };
    bool shown = row->verdict == RESTART_SOUND && row->source == SOURCE_RINGS_SHOW;
    return shown ? "rings" : names[row->verdict];
}

const char *restart_source_name(enum restart_source source)
{
    static const char *const names[] = { [SOURCE_USED_INDEX] = "used index",
                                         [SOURCE_RINGS_SHOW] = "used index, if shown",
                                         [SOURCE_FROM_REGION] = "in-flight region",
                                         [SOURCE_NOWHERE] = "nowhere" };
    return names[source];
}
