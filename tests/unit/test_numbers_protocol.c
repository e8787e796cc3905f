/* SPDX-License-Identifier: MIT
 *
 * Protocol feature bits against DPDK's rte_vhost.h, and against the specification's numbers where
 * DPDK has none. */
#ifdef HAVE_RTE_VHOST
#include <rte_vhost.h>
#endif
#include <stdio.h>
#include <string.h>

#include "feature.h"
#include "runner.h"

#ifdef HAVE_RTE_VHOST
#define DPDK(name, theirs)                                                                         \
    {                                                                                              \
        PROTOCOL_##name, VHOST_USER_PROTOCOL_F_##theirs, true                                      \
    }
#else
#define DPDK(name, theirs)                                                                         \
    {                                                                                              \
        PROTOCOL_##name, 0, false                                                                  \
    }
#endif
#define SPECIFIED(name, bit)                                                                       \
    {                                                                                              \
        PROTOCOL_##name, bit, false                                                                \
    }

/* DPDK's names before the change of words: SLAVE_REQ, SLAVE_SEND_FD. */
#if defined(HAVE_RTE_VHOST) && !defined(VHOST_USER_PROTOCOL_F_SLAVE_REQ)
#define VHOST_USER_PROTOCOL_F_SLAVE_REQ VHOST_USER_PROTOCOL_F_BACKEND_REQ
#define VHOST_USER_PROTOCOL_F_SLAVE_SEND_FD VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD
#endif

static const struct {
    unsigned ours;
    unsigned theirs;
    bool by_dpdk;
} known[] = {
    DPDK(MQ, MQ),
    DPDK(LOG_SHMFD, LOG_SHMFD),
    DPDK(RARP, RARP),
    DPDK(REPLY_ACK, REPLY_ACK),
    DPDK(NET_MTU, NET_MTU),
    DPDK(BACKEND_REQ, SLAVE_REQ),
    DPDK(CRYPTO_SESSION, CRYPTO_SESSION),
    DPDK(PAGEFAULT, PAGEFAULT),
    DPDK(CONFIG, CONFIG),
    DPDK(BACKEND_SEND_FD, SLAVE_SEND_FD),
    DPDK(HOST_NOTIFIER, HOST_NOTIFIER),
    DPDK(INFLIGHT_SHMFD, INFLIGHT_SHMFD),
    DPDK(STATUS, STATUS),
    SPECIFIED(CROSS_ENDIAN, 6),
    SPECIFIED(RESET_DEVICE, 13),
    SPECIFIED(INBAND_NOTIFICATIONS, 14),
    SPECIFIED(CONFIGURE_MEM_SLOTS, 15),
    SPECIFIED(XEN_MMAP, 17),
    SPECIFIED(SHARED_OBJECT, 18),
    SPECIFIED(DEVICE_STATE, 19),
    SPECIFIED(GET_VRING_BASE_INFLIGHT, 20),
    SPECIFIED(GPA_ADDRESSES, 21),
    SPECIFIED(SHMEM, 22),
    SPECIFIED(GET_VRING_BASE_SKIP_DRAIN, 23),
};

static void need_dpdk(void)
{
#ifndef HAVE_RTE_VHOST
    unit_skip("rte_vhost.h is missing (package libdpdk-dev)");
#endif
}

static void bits_are_those_of_dpdk(void **state)
{
    size_t compared = 0;
    (void)state;
    need_dpdk();
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        const struct protocol_row *row = protocol_of_bit(known[i].ours);
        if (known[i].by_dpdk) {
            unit_check(known[i].ours == known[i].theirs, "%s is %u here, %u there", row->name,
                       known[i].ours, known[i].theirs);
            compared++;
        } else {
            printf("# rte_vhost.h does not define protocol feature %s (bit %u)\n", row->name,
                   row->bit);
        }
    }
    printf("# %zu of %zu protocol features compared with rte_vhost.h\n", compared, n_protocol_rows);
    assert_int_equal(compared, 13);
}

static void bit_of_protocol_features_is_dpdks(void **state)
{
    (void)state;
    need_dpdk();
#ifdef HAVE_RTE_VHOST
    assert_int_equal(VHOST_PROTOCOL_FEATURES, VHOST_USER_F_PROTOCOL_FEATURES);
#endif
}

static void other_bits_are_the_specifications(void **state)
{
    (void)state;
    for (size_t i = 13; i < ARRAY_SIZE(known); i++) {
        assert_int_equal(known[i].ours, known[i].theirs);
    }
}

static void no_row_is_forgotten(void **state)
{
    (void)state;
    assert_int_equal(n_protocol_rows, ARRAY_SIZE(known));
    for (size_t i = 0; i < n_protocol_rows; i++) {
        bool found = false;
        for (size_t k = 0; k < ARRAY_SIZE(known); k++) {
            found = found || known[k].ours == protocol_rows[i].bit;
        }
        unit_check(found, "%s is compared with nothing", protocol_rows[i].name);
    }
}

static const struct unit_test tests[] = {
    UNIT(bits_are_those_of_dpdk),
    UNIT(bit_of_protocol_features_is_dpdks),
    UNIT(other_bits_are_the_specifications),
    UNIT(no_row_is_forgotten),
};

UNIT_MAIN("numbers_protocol", tests)
