/* SPDX-License-Identifier: MIT
 *
 * A message in hand: fields by the table, who owns what. */
#include <string.h>

#include "alloc.h"
#include "runner.h"
#include "sample.h"

static bool is_number(const struct field *f)
{
    return f->size == 1 || f->size == 2 || f->size == 4 || f->size == 8;
}

/* Writes each field of each payload with extremes: it reads back, and no other byte changes. */
static void fields_read_back_and_touch_nothing_else(void **state)
{
    const uint64_t values[] = { 0, 1, UINT64_MAX, 0x8000000000000000u, 0x0123456789abcdefu };
    (void)state;
    for (size_t p = 0; p < N_PAYLOADS; p++) {
        for (size_t i = 0; i < payloads[p].n_fields; i++) {
            const struct field *f = &payloads[p].fields[i];
            for (size_t k = 0; is_number(f) && k < ARRAY_SIZE(values); k++) {
                struct msg m = sample_raw(1, 0, NULL, payloads[p].fixed + 1, 0);
                memset(m.body, 0x5a, m.head.size);
                uint64_t mask = f->size == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * f->size)) - 1;
                field_set(&m, f, values[k]);
                assert_true(field_get(&m, f) == (values[k] & mask));
                for (uint32_t at = 0; at < m.head.size; at++) {
                    bool inside = at >= f->offset && at < (uint32_t)f->offset + f->size;
                    assert_true(inside || m.body[at] == 0x5a);
                }
                msg_clear(&m);
            }
        }
    }
}

static void missing_field_reads_as_zero(void **state)
{
    (void)state;
    for (size_t p = 0; p < N_PAYLOADS; p++) {
        for (size_t i = 0; i < payloads[p].n_fields; i++) {
            const struct field *f = &payloads[p].fields[i];
            uint32_t cut = (uint32_t)f->offset + f->size - 1;
            struct msg m = sample_raw(1, 0, NULL, cut, 0);
            if (cut > 0) {
                memset(m.body, 0xff, cut);
            }
            assert_false(field_present(&m, f));
            assert_true(field_get(&m, f) == 0);
            msg_clear(&m);
        }
    }
}

/* Fields lie behind each other without a hole, in the order of the wire. */
static void fields_are_packed(void **state)
{
    (void)state;
    for (size_t p = 0; p < N_PAYLOADS; p++) {
        uint32_t at = 0;
        for (size_t i = 0; i < payloads[p].n_fields; i++) {
            assert_int_equal(payloads[p].fields[i].offset, at);
            at += payloads[p].fields[i].size;
        }
        assert_int_equal(payloads[p].fixed, at);
        assert_true(payloads[p].least <= payloads[p].most);
    }
}

static void kinds_and_roles_have_names(void **state)
{
    (void)state;
    for (enum field_kind k = 0; k < N_FIELD_KINDS; k++) {
        assert_non_null(field_kind_name(k));
    }
    for (enum fd_role r = ROLE_NONE; r <= ROLE_SHARED_MEMORY; r++) {
        assert_non_null(fd_role_name(r));
    }
}

static void first_field_of_a_kind_is_found(void **state)
{
    (void)state;
    const struct payload *p = &payloads[PAYLOAD_vring_addr];
    assert_string_equal(field_of_kind(p, KIND_ADDRESS)->name, "descriptor");
    assert_null(field_of_kind(p, KIND_MAC));
    assert_null(field_of_kind(&payloads[PAYLOAD_empty], KIND_PAD));
}

static void made_message_has_the_version_and_a_copy(void **state)
{
    uint8_t body[] = { 1, 2, 3 };
    (void)state;
    struct msg m = sample_raw(7, WIRE_NEED_REPLY, body, sizeof(body), 0);
    body[0] = 9;
    assert_int_equal(m.head.flags, 0x9);
    assert_int_equal(m.body[0], 1);
    assert_true(msg_needs_reply(&m));
    assert_false(msg_is_reply(&m));
    msg_clear(&m);
    msg_clear(&m);
    assert_null(m.body);
}

static void making_without_memory_leaves_nothing(void **state)
{
    struct msg m = MSG_NULL;
    (void)state;
    alloc_fail_at(1);
    int err = msg_make(1, 0, NULL, 8, &m);
    alloc_fail_at(0);
    assert_int_equal(err, -ENOMEM);
    assert_null(m.body);
}

static void moving_moves_everything(void **state)
{
    struct msg to = MSG_NULL;
    struct msg from = sample_raw(5, 0, "abc", 3, 2);
    const uint8_t *body = from.body;
    (void)state;
    msg_move(&to, &from);
    assert_ptr_equal(to.body, body);
    assert_int_equal(to.fds.n, 2);
    assert_null(from.body);
    assert_int_equal(from.fds.n, 0);
    msg_clear(&from);
    msg_clear(&to);
}

static const struct unit_test tests[] = {
    UNIT(fields_read_back_and_touch_nothing_else),
    UNIT(missing_field_reads_as_zero),
    UNIT(fields_are_packed),
    UNIT(kinds_and_roles_have_names),
    UNIT(first_field_of_a_kind_is_found),
    UNIT(made_message_has_the_version_and_a_copy),
    UNIT(making_without_memory_leaves_nothing),
    UNIT(moving_moves_everything),
};

UNIT_MAIN("message", tests)
