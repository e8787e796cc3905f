/* SPDX-License-Identifier: MIT
 *
 * Which devices another back-end may carry on. */
#include "restart.h"
#include "runner.h"

#define N_FACTS 32 /* four facts of features and region, and one bit that decides nothing */

struct wanted {
    enum restart_verdict verdict;
    enum restart_source source;
};

/* A device's state from five bits. */
static struct record state_of(unsigned bits)
{
    struct record r = { .n_rings = 0 };
    r.features_acked = (bits & 1 ? BIT(RING_RING_PACKED) : 0) |
                       (bits & 2 ? BIT(RING_IN_ORDER) : 0) |
                       (bits & 4 ? BIT(RING_ACCESS_PLATFORM) : 0) |
                       (bits & 16 ? BIT(RING_VERSION_1) | BIT(RING_EVENT_IDX) : 0);
    r.last[FRONT_SET_INFLIGHT_FD].told = (bits & 8) != 0;
    return r;
}

/* The same as the table, said by what a successor needs: to know what was, and where rings stand. */
static struct wanted judged(enum device_type device, unsigned bits)
{
    const struct wanted no = { RESTART_NONE, SOURCE_NOWHERE };
    bool packed = bits & 1;
    bool in_order = bits & 2;
    bool translated = bits & 4;
    bool region = bits & 8;
    /* Of an unknown kind it may be one of these. */
    bool only_in_memory_of_its_own =
        device == DEVICE_GPU || device == DEVICE_CRYPTO || device == DEVICE_UNKNOWN;
    bool loses_something = device == DEVICE_FS || device == DEVICE_VSOCK;
    struct wanted w = { loses_something ? RESTART_PARTLY : RESTART_SOUND, SOURCE_RINGS_SHOW };
    if (translated || only_in_memory_of_its_own || (packed && !region)) {
        return no;
    }
    if (packed) {
        w.source = SOURCE_FROM_REGION;
    } else if (region || in_order || device == DEVICE_NET) {
        w.source = SOURCE_USED_INDEX;
    }
    return w;
}

static void the_table_says_what_it_should(void **state)
{
    (void)state;
    for (int device = 0; device < N_DEVICE_TYPES; device++) {
        for (unsigned bits = 0; bits < N_FACTS; bits++) {
            struct record r = state_of(bits);
            const struct restart_row *row = restart_row_of((enum device_type)device, &r);
            const struct wanted w = judged((enum device_type)device, bits);
            unit_check(row->verdict == w.verdict && row->source == w.source, "%s %#x: %s from %s",
                       device_name((enum device_type)device), bits, restart_verdict_name(row),
                       restart_source_name(row->source));
        }
    }
}

/* Whatever comes, a row of the table is found, and it is one that holds. */
static void some_row_holds_always(void **state)
{
    (void)state;
    for (int device = -1; device <= N_DEVICE_TYPES; device++) {
        for (unsigned bits = 0; bits < N_FACTS; bits++) {
            struct record r = state_of(bits);
            const struct restart_row *row = restart_row_of((enum device_type)device, &r);
            size_t i = 0;
            while (restart_row_at(i) != NULL && restart_row_at(i) != row) {
                i++;
            }
            unit_check(restart_row_at(i) == row, "device %d, %#x: past the table", device, bits);
            assert_int_equal(restart_facts(&r) & row->when, row->when);
            assert_true(row->device == -1 || row->device == device);
        }
    }
}

static void every_row_is_of_use(void **state)
{
    const struct restart_row *row;
    (void)state;
    for (size_t i = 0; (row = restart_row_at(i)) != NULL; i++) {
        bool hit = false;
        for (int device = 0; device < N_DEVICE_TYPES && !hit; device++) {
            for (unsigned bits = 0; bits < N_FACTS && !hit; bits++) {
                struct record r = state_of(bits);
                hit = restart_row_of((enum device_type)device, &r) == row;
            }
        }
        unit_check(hit, "row %zu (%s) never holds", i, row->text);
    }
}

static void facts_are_those_of_the_record(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < N_FACTS; bits++) {
        struct record r = state_of(bits);
        unsigned facts = restart_facts(&r);
        assert_int_equal((facts & FACT_PACKED) != 0, bits & 1);
        assert_int_equal((facts & FACT_SPLIT) == 0, bits & 1);
        assert_int_equal((facts & FACT_IN_ORDER) != 0, (bits & 2) != 0);
        assert_int_equal((facts & FACT_TRANSLATED) != 0, (bits & 4) != 0);
        assert_int_equal((facts & FACT_REGION) != 0, (bits & 8) != 0);
        assert_int_equal((facts & FACT_NO_REGION) == 0, (bits & 8) != 0);
    }
}

/* A place without a verdict, or a verdict without a place, would be followed blindly. */
static void what_is_carried_on_has_a_place(void **state)
{
    const struct restart_row *row;
    (void)state;
    for (size_t i = 0; (row = restart_row_at(i)) != NULL; i++) {
        assert_int_equal(row->verdict == RESTART_NONE, row->source == SOURCE_NOWHERE);
        assert_true(row->text[0] != '\0');
        assert_true(restart_source_name(row->source)[0] != '\0');
    }
}

static void verdicts_have_names(void **state)
{
    static const struct {
        enum restart_verdict verdict;
        enum restart_source source;
        const char *name;
    } names[] = {
        { RESTART_SOUND, SOURCE_USED_INDEX, "sound" },
        { RESTART_SOUND, SOURCE_RINGS_SHOW, "rings" },
        { RESTART_SOUND, SOURCE_FROM_REGION, "sound" },
        { RESTART_PARTLY, SOURCE_RINGS_SHOW, "partly" },
        { RESTART_NONE, SOURCE_NOWHERE, "none" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const struct restart_row row = { .verdict = names[i].verdict, .source = names[i].source };
        assert_string_equal(restart_verdict_name(&row), names[i].name);
    }
}

static const struct unit_test tests[] = {
    UNIT(the_table_says_what_it_should),
    UNIT(some_row_holds_always),
    UNIT(every_row_is_of_use),
    UNIT(facts_are_those_of_the_record),
    UNIT(what_is_carried_on_has_a_place),
    UNIT(verdicts_have_names),
};

UNIT_MAIN("restart", tests)
