/* SPDX-License-Identifier: MIT
 *
 * Failures in an answer's place: each is an answer that its requester takes. */
#include <string.h>

#include "alloc.h"
#include "check.h"
#include "failure.h"
#include "runner.h"
#include "sample.h"

/* Payload sizes that requests of a row have: the least, and all of it. */
static size_t sizes_of(const struct message_row *row, uint32_t ret_sizes[static 2])
{
    struct msg m = sample_message(row, false);
    ret_sizes[0] = payloads[row->payload].least;
    ret_sizes[1] = m.head.size;
    msg_clear(&m);
    return ret_sizes[0] == ret_sizes[1] ? 1 : 2;
}

static void a_failure_is_an_answer_of_its_row(void **state)
{
    enum wire_space space;
    const struct message_row *row;
    (void)state;
    for (size_t i = 0; (row = sample_row(i, &space)) != NULL; i++) {
        uint32_t sizes[2];
        for (size_t n = sizes_of(row, sizes); n > 0; n--) {
            struct msg m = MSG_NULL;
            int result = failure_make(row, sizes[n - 1], &m);
            unit_check(result == 0 || result == 1, "%s: %d", row->name, result);
            if (result == 1) {
                unit_check(check_message(row, true, &m).result == CHECK_OK, "%s: %u bytes",
                           row->name, m.head.size);
                assert_int_equal(m.head.request, row->id);
                assert_true(msg_is_reply(&m));
                assert_int_equal(m.fds.n, 0);
            } else {
                assert_null(m.body);
            }
            msg_clear(&m);
        }
    }
}

/* What asks for an acknowledgement can always be told no. */
static void every_acknowledgement_can_fail(void **state)
{
    enum wire_space space;
    const struct message_row *row;
    (void)state;
    for (size_t i = 0; (row = sample_row(i, &space)) != NULL; i++) {
        struct msg m = MSG_NULL;
        uint64_t value = 0;
        if (row->answer == ANSWER_REPLY) {
            continue;
        }
        assert_int_equal(failure_make(row, 0, &m), 1);
        assert_int_equal(m.head.size, sizeof(value));
        memcpy(&value, m.body, sizeof(value));
        assert_true(value == 1);
        msg_clear(&m);
    }
}

/* Numbers that mean something have no value that means "failed". */
static void some_questions_have_no_failure(void **state)
{
    static const uint32_t none[] = {
        FRONT_GET_FEATURES,     FRONT_GET_PROTOCOL_FEATURES,     FRONT_GET_QUEUE_NUM,
        FRONT_GET_VRING_BASE,   FRONT_GET_MAX_MEM_SLOTS,         FRONT_GET_STATUS,
        FRONT_GET_SHMEM_CONFIG, FRONT_GET_VRING_BASE_SKIP_DRAIN,
    };
    const struct message_row *row;
    (void)state;
    for (size_t i = 0; (row = message_row_at(SPACE_FRONT, i)) != NULL; i++) {
        struct msg m = MSG_NULL;
        bool listed = false;
        for (size_t k = 0; k < ARRAY_SIZE(none); k++) {
            listed = listed || none[k] == row->id;
        }
        uint32_t sizes[2];
        sizes_of(row, sizes);
        unit_check(failure_make(row, sizes[0], &m) == (listed ? 0 : 1), "%s", row->name);
        msg_clear(&m);
    }
}

static int64_t last_of(uint32_t id, uint32_t request_len, uint32_t *ret_size)
{
    struct msg m = MSG_NULL;
    int64_t value = 0;
    assert_int_equal(failure_make(message_row(SPACE_FRONT, id), request_len, &m), 1);
    *ret_size = m.head.size;
    if (m.head.size >= sizeof(value)) {
        memcpy(&value, m.body + m.head.size - sizeof(value), sizeof(value));
    }
    msg_clear(&m);
    return value;
}

static void each_form_says_it_in_its_own_way(void **state)
{
    uint32_t size;
    (void)state;
    /* A crypto session has the size that was asked for, and its id is negative. */
    assert_true(last_of(FRONT_CREATE_CRYPTO_SESSION, 632, &size) == -1 && size == 632);
    assert_true(last_of(FRONT_CREATE_CRYPTO_SESSION, 1072, &size) == -1 && size == 1072);
    /* An error, and bit 8: no descriptor. */
    assert_true(last_of(FRONT_SET_DEVICE_STATE_FD, 8, &size) == -1 && size == 8);
    assert_true(last_of(FRONT_CHECK_DEVICE_STATE, 0, &size) == 1 && size == 8);
    /* No region: its size is zero. */
    assert_true(last_of(FRONT_GET_INFLIGHT_FD, 24, &size) == 0 && size == 24);
    assert_true(last_of(FRONT_GET_INFLIGHT_FD, 20, &size) == 0 && size == 20);
    last_of(FRONT_GET_SHARED_OBJECT, 0, &size);
    assert_int_equal(size, 0);
    last_of(FRONT_GET_CONFIG, 12 + 60, &size);
    assert_int_equal(size, 0);
    last_of(FRONT_POSTCOPY_ADVISE, 0, &size);
    assert_int_equal(size, 0);
}

static void want_of_memory_is_told(void **state)
{
    struct msg m = MSG_NULL;
    (void)state;
    alloc_fail_at(1);
    assert_int_equal(failure_make(message_row(SPACE_FRONT, FRONT_SET_OWNER), 0, &m), -ENOMEM);
    alloc_fail_at(1);
    assert_int_equal(failure_make(message_row(SPACE_FRONT, FRONT_CREATE_CRYPTO_SESSION), 632, &m),
                     -ENOMEM);
    alloc_fail_at(0);
    assert_null(m.body);
}

static const struct unit_test tests[] = {
    UNIT(a_failure_is_an_answer_of_its_row),
    UNIT(every_acknowledgement_can_fail),
    UNIT(some_questions_have_no_failure),
    UNIT(each_form_says_it_in_its_own_way),
    UNIT(want_of_memory_is_told),
};

UNIT_MAIN("failure", tests)
