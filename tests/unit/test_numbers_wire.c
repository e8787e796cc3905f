/* SPDX-License-Identifier: MIT
 *
 * Layouts and sizes of messages against other people's descriptions: the structures of
 * linux/vhost.h, which vhost-user carries as they are, and the sizes of the specification, written
 * down a second time. */
#include <linux/vhost_types.h>
#include <string.h>

#include "message.h"
#include "runner.h"
#include "wire.h"

#define SAME(ours, our_field, theirs, their_field)                                                 \
    do {                                                                                           \
        assert_int_equal(offsetof(struct ours, our_field), offsetof(struct theirs, their_field));  \
        assert_int_equal(sizeof(((struct ours *)0)->our_field),                                    \
                         sizeof(((struct theirs *)0)->their_field));                               \
    } while (0)

static void ring_state_is_linux_vhost_vring_state(void **state)
{
    (void)state;
    SAME(wire_vring_num, index, vhost_vring_state, index);
    SAME(wire_vring_num, num, vhost_vring_state, num);
    SAME(wire_vring_base, base, vhost_vring_state, num);
    SAME(wire_vring_enable, enable, vhost_vring_state, num);
    SAME(wire_vring_endian, big, vhost_vring_state, num);
    SAME(wire_vring_event, index, vhost_vring_state, index);
    assert_int_equal(sizeof(struct wire_vring_num), sizeof(struct vhost_vring_state));
}

static void ring_address_is_linux_vhost_vring_addr(void **state)
{
    (void)state;
    SAME(wire_vring_addr, index, vhost_vring_addr, index);
    SAME(wire_vring_addr, flags, vhost_vring_addr, flags);
    SAME(wire_vring_addr, descriptor, vhost_vring_addr, desc_user_addr);
    SAME(wire_vring_addr, used, vhost_vring_addr, used_user_addr);
    SAME(wire_vring_addr, available, vhost_vring_addr, avail_user_addr);
    SAME(wire_vring_addr, log, vhost_vring_addr, log_guest_addr);
    assert_int_equal(sizeof(struct wire_vring_addr), sizeof(struct vhost_vring_addr));
}

static void iotlb_is_linux_vhost_iotlb_msg(void **state)
{
    (void)state;
    SAME(wire_iotlb, iova, vhost_iotlb_msg, iova);
    SAME(wire_iotlb, size, vhost_iotlb_msg, size);
    SAME(wire_iotlb, user_addr, vhost_iotlb_msg, uaddr);
    SAME(wire_iotlb, perm, vhost_iotlb_msg, perm);
    SAME(wire_iotlb, type, vhost_iotlb_msg, type);
    assert_int_equal(sizeof(struct wire_iotlb), sizeof(struct vhost_iotlb_msg));
}

static void memory_table_is_linux_vhost_memory(void **state)
{
    (void)state;
    SAME(wire_mem_table, nregions, vhost_memory, nregions);
    SAME(wire_mem_table, padding, vhost_memory, padding);
    assert_int_equal(sizeof(struct wire_mem_table), offsetof(struct vhost_memory, regions));
    SAME(wire_region, guest_addr, vhost_memory_region, guest_phys_addr);
    SAME(wire_region, size, vhost_memory_region, memory_size);
    SAME(wire_region, user_addr, vhost_memory_region, userspace_addr);
    assert_int_equal(sizeof(struct wire_region), sizeof(struct vhost_memory_region));
    /* A single region has 8 bytes of padding before it. */
    assert_int_equal(offsetof(struct wire_mem_region, guest_addr), 8);
    assert_int_equal(sizeof(struct wire_mem_region), 8 + sizeof(struct wire_region));
}

/* Least and most bytes of request and answer, least and most descriptors of both, in the words of
 * the specification; -1: as many descriptors as regions, -2: by the "no descriptor" bit. */
static const struct {
    enum wire_space space;
    uint32_t id;
    const char *name;
    int least, most, fds_least, fds_most;
    int answer_least, answer_most, answer_fds_most;
} specified[] = {
    { SPACE_FRONT, 1, "GET_FEATURES", 0, 0, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 2, "SET_FEATURES", 8, 8, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 3, "SET_OWNER", 0, 0, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 4, "RESET_OWNER", 0, 0, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 5, "SET_MEM_TABLE", 8, 1288, -1, -1, 8, 1288, 0 },
    { SPACE_FRONT, 6, "SET_LOG_BASE", 8, 16, 0, 1, 0, 16, 0 },
    { SPACE_FRONT, 7, "SET_LOG_FD", 0, 0, 0, 1, 8, 8, 0 },
    { SPACE_FRONT, 8, "SET_VRING_NUM", 8, 8, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 9, "SET_VRING_ADDR", 40, 40, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 10, "SET_VRING_BASE", 8, 8, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 11, "GET_VRING_BASE", 8, 8, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 12, "SET_VRING_KICK", 8, 8, -2, -2, 8, 8, 0 },
    { SPACE_FRONT, 13, "SET_VRING_CALL", 8, 8, -2, -2, 8, 8, 0 },
    { SPACE_FRONT, 14, "SET_VRING_ERR", 8, 8, -2, -2, 8, 8, 0 },
    { SPACE_FRONT, 15, "GET_PROTOCOL_FEATURES", 0, 0, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 16, "SET_PROTOCOL_FEATURES", 8, 8, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 17, "GET_QUEUE_NUM", 0, 0, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 18, "SET_VRING_ENABLE", 8, 8, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 19, "SEND_RARP", 8, 8, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 20, "NET_SET_MTU", 8, 8, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 21, "SET_BACKEND_REQ_FD", 0, 0, 1, 1, 8, 8, 0 },
    { SPACE_FRONT, 22, "IOTLB_MSG", 32, 32, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 23, "SET_VRING_ENDIAN", 8, 8, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 24, "GET_CONFIG", 12, 4096, 0, 0, 0, 4096, 0 },
    { SPACE_FRONT, 25, "SET_CONFIG", 12, 4096, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 26, "CREATE_CRYPTO_SESSION", 632, 1072, 0, 0, 632, 1072, 0 },
    { SPACE_FRONT, 27, "CLOSE_CRYPTO_SESSION", 8, 8, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 28, "POSTCOPY_ADVISE", 0, 0, 0, 0, 0, 0, 1 },
    { SPACE_FRONT, 29, "POSTCOPY_LISTEN", 0, 0, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 30, "POSTCOPY_END", 0, 0, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 31, "GET_INFLIGHT_FD", 20, 24, 0, 0, 20, 24, 1 },
    { SPACE_FRONT, 32, "SET_INFLIGHT_FD", 20, 24, 1, 1, 8, 8, 0 },
    { SPACE_FRONT, 33, "GPU_SET_SOCKET", 0, 0, 1, 1, 8, 8, 0 },
    { SPACE_FRONT, 34, "RESET_DEVICE", 0, 0, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 35, "VRING_KICK", 8, 8, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 36, "GET_MAX_MEM_SLOTS", 0, 0, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 37, "ADD_MEM_REG", 40, 48, 1, 1, 8, 1288, 0 },
    { SPACE_FRONT, 38, "REM_MEM_REG", 40, 48, 0, 1, 8, 8, 0 },
    { SPACE_FRONT, 39, "SET_STATUS", 8, 8, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 40, "GET_STATUS", 0, 0, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 41, "GET_SHARED_OBJECT", 0, 16, 0, 0, 0, 16, 1 },
    { SPACE_FRONT, 42, "SET_DEVICE_STATE_FD", 8, 8, 1, 1, 8, 8, 1 },
    { SPACE_FRONT, 43, "CHECK_DEVICE_STATE", 0, 0, 0, 0, 8, 8, 0 },
    { SPACE_FRONT, 44, "GET_SHMEM_CONFIG", 0, 0, 0, 0, 8, 2056, 0 },
    { SPACE_FRONT, 45, "GET_VRING_BASE_SKIP_DRAIN", 8, 8, 0, 0, 8, 8, 0 },
    { SPACE_BACK, 1, "IOTLB_MSG", 32, 32, 0, 0, 8, 8, 0 },
    { SPACE_BACK, 2, "CONFIG_CHANGE_MSG", 0, 0, 0, 0, 8, 8, 0 },
    { SPACE_BACK, 3, "VRING_HOST_NOTIFIER_MSG", 24, 24, -2, -2, 8, 8, 0 },
    { SPACE_BACK, 4, "VRING_CALL", 8, 8, 0, 0, 8, 8, 0 },
    { SPACE_BACK, 5, "VRING_ERR", 8, 8, 0, 0, 8, 8, 0 },
    { SPACE_BACK, 6, "SHARED_OBJECT_ADD", 0, 16, 0, 0, 8, 8, 0 },
    { SPACE_BACK, 7, "SHARED_OBJECT_REMOVE", 0, 16, 0, 0, 8, 8, 0 },
    { SPACE_BACK, 8, "SHARED_OBJECT_LOOKUP", 0, 16, 0, 1, 8, 8, 1 },
    { SPACE_BACK, 9, "SHMEM_MAP", 40, 40, 1, 1, 8, 8, 0 },
    { SPACE_BACK, 10, "SHMEM_UNMAP", 40, 40, 0, 0, 8, 8, 0 },
};

static void check_fds(const struct fds_allowed *got, int least, int most)
{
    if (least == -1) {
        assert_int_equal(got->rule, FDS_BY_REGION);
    } else if (least == -2) {
        assert_int_equal(got->rule, FDS_BY_NOFD_BIT);
    } else {
        assert_int_equal(got->rule, FDS_COUNTED);
        assert_int_equal(got->least, least);
        assert_int_equal(got->most, most);
    }
}

static void rows_have_the_sizes_of_the_specification(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(specified); i++) {
        const struct message_row *row = message_row(specified[i].space, specified[i].id);
        assert_non_null(row);
        const struct payload *request = message_payload(row, false);
        const struct payload *answer = message_payload(row, true);
        assert_string_equal(row->name, specified[i].name);
        unit_check(request->least == specified[i].least && request->most == specified[i].most,
                   "%s: %d to %d bytes", row->name, request->least, request->most);
        unit_check(answer->least == specified[i].answer_least &&
                       answer->most == specified[i].answer_most,
                   "answer to %s: %d to %d bytes", row->name, answer->least, answer->most);
        check_fds(message_fds(row, false), specified[i].fds_least, specified[i].fds_most);
        check_fds(message_fds(row, true), 0, specified[i].answer_fds_most);
    }
}

static void every_row_is_in_that_list(void **state)
{
    (void)state;
    size_t n = 0;
    for (enum wire_space space = SPACE_FRONT; space <= SPACE_BACK; space++) {
        for (size_t i = 0; message_row_at(space, i) != NULL; i++) {
            n++;
        }
    }
    assert_int_equal(n, ARRAY_SIZE(specified));
}

static const struct unit_test tests[] = {
    UNIT(ring_state_is_linux_vhost_vring_state),    UNIT(ring_address_is_linux_vhost_vring_addr),
    UNIT(iotlb_is_linux_vhost_iotlb_msg),           UNIT(memory_table_is_linux_vhost_memory),
    UNIT(rows_have_the_sizes_of_the_specification), UNIT(every_row_is_in_that_list),
};

UNIT_MAIN("numbers_wire", tests)
