/* SPDX-License-Identifier: MIT
 *
 * Feature bits and device numbers against the kernel's headers. A row that no header of the build
 * machine defines must be in the list that says so: none is forgotten. */
#include <linux/vhost_types.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_crypto.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_gpu.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_scsi.h>
#include <linux/virtio_vsock.h>
#include <stdio.h>
#include <string.h>

#include "feature.h"
#include "runner.h"

struct known {
    enum device_type device;
    unsigned ours;
    unsigned theirs;
    const char *name;
};

#define SAME(device, name, theirs)                                                                 \
    {                                                                                              \
        DEVICE_##device, device##_##name, theirs, #theirs                                          \
    }

static const struct known defined[] = {
    SAME(RING, NOTIFY_ON_EMPTY, VIRTIO_F_NOTIFY_ON_EMPTY),
    SAME(RING, ANY_LAYOUT, VIRTIO_F_ANY_LAYOUT),
    SAME(RING, INDIRECT_DESC, VIRTIO_RING_F_INDIRECT_DESC),
    SAME(RING, EVENT_IDX, VIRTIO_RING_F_EVENT_IDX),
    SAME(RING, VERSION_1, VIRTIO_F_VERSION_1),
    SAME(RING, ACCESS_PLATFORM, VIRTIO_F_ACCESS_PLATFORM),
    SAME(RING, RING_PACKED, VIRTIO_F_RING_PACKED),
    SAME(RING, IN_ORDER, VIRTIO_F_IN_ORDER),
    SAME(RING, ORDER_PLATFORM, VIRTIO_F_ORDER_PLATFORM),
    SAME(RING, SR_IOV, VIRTIO_F_SR_IOV),
    SAME(RING, RING_RESET, VIRTIO_F_RING_RESET),
    SAME(VHOST, LOG_ALL, VHOST_F_LOG_ALL),
    SAME(NET, CSUM, VIRTIO_NET_F_CSUM),
    SAME(NET, GUEST_CSUM, VIRTIO_NET_F_GUEST_CSUM),
    SAME(NET, CTRL_GUEST_OFFLOADS, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS),
    SAME(NET, MTU, VIRTIO_NET_F_MTU),
    SAME(NET, MAC, VIRTIO_NET_F_MAC),
    SAME(NET, GSO, VIRTIO_NET_F_GSO),
    SAME(NET, GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO4),
    SAME(NET, GUEST_TSO6, VIRTIO_NET_F_GUEST_TSO6),
    SAME(NET, GUEST_ECN, VIRTIO_NET_F_GUEST_ECN),
    SAME(NET, GUEST_UFO, VIRTIO_NET_F_GUEST_UFO),
    SAME(NET, HOST_TSO4, VIRTIO_NET_F_HOST_TSO4),
    SAME(NET, HOST_TSO6, VIRTIO_NET_F_HOST_TSO6),
    SAME(NET, HOST_ECN, VIRTIO_NET_F_HOST_ECN),
    SAME(NET, HOST_UFO, VIRTIO_NET_F_HOST_UFO),
    SAME(NET, MRG_RXBUF, VIRTIO_NET_F_MRG_RXBUF),
    SAME(NET, STATUS, VIRTIO_NET_F_STATUS),
    SAME(NET, CTRL_VQ, VIRTIO_NET_F_CTRL_VQ),
    SAME(NET, CTRL_RX, VIRTIO_NET_F_CTRL_RX),
    SAME(NET, CTRL_VLAN, VIRTIO_NET_F_CTRL_VLAN),
    SAME(NET, CTRL_RX_EXTRA, VIRTIO_NET_F_CTRL_RX_EXTRA),
    SAME(NET, GUEST_ANNOUNCE, VIRTIO_NET_F_GUEST_ANNOUNCE),
    SAME(NET, MQ, VIRTIO_NET_F_MQ),
    SAME(NET, CTRL_MAC_ADDR, VIRTIO_NET_F_CTRL_MAC_ADDR),
    SAME(NET, NOTF_COAL, VIRTIO_NET_F_NOTF_COAL),
    SAME(NET, HASH_REPORT, VIRTIO_NET_F_HASH_REPORT),
    SAME(NET, RSS, VIRTIO_NET_F_RSS),
    SAME(NET, RSC_EXT, VIRTIO_NET_F_RSC_EXT),
    SAME(NET, STANDBY, VIRTIO_NET_F_STANDBY),
    SAME(NET, SPEED_DUPLEX, VIRTIO_NET_F_SPEED_DUPLEX),
    SAME(BLK, BARRIER, VIRTIO_BLK_F_BARRIER),
    SAME(BLK, SIZE_MAX, VIRTIO_BLK_F_SIZE_MAX),
    SAME(BLK, SEG_MAX, VIRTIO_BLK_F_SEG_MAX),
    SAME(BLK, GEOMETRY, VIRTIO_BLK_F_GEOMETRY),
    SAME(BLK, RO, VIRTIO_BLK_F_RO),
    SAME(BLK, BLK_SIZE, VIRTIO_BLK_F_BLK_SIZE),
    SAME(BLK, SCSI, VIRTIO_BLK_F_SCSI),
    SAME(BLK, FLUSH, VIRTIO_BLK_F_FLUSH),
    SAME(BLK, TOPOLOGY, VIRTIO_BLK_F_TOPOLOGY),
    SAME(BLK, CONFIG_WCE, VIRTIO_BLK_F_CONFIG_WCE),
    SAME(BLK, MQ, VIRTIO_BLK_F_MQ),
    SAME(BLK, DISCARD, VIRTIO_BLK_F_DISCARD),
    SAME(BLK, WRITE_ZEROES, VIRTIO_BLK_F_WRITE_ZEROES),
    SAME(BLK, SECURE_ERASE, VIRTIO_BLK_F_SECURE_ERASE),
    SAME(SCSI, INOUT, VIRTIO_SCSI_F_INOUT),
    SAME(SCSI, HOTPLUG, VIRTIO_SCSI_F_HOTPLUG),
    SAME(SCSI, CHANGE, VIRTIO_SCSI_F_CHANGE),
    SAME(SCSI, T10_PI, VIRTIO_SCSI_F_T10_PI),
    SAME(VSOCK, SEQPACKET, VIRTIO_VSOCK_F_SEQPACKET),
    SAME(GPU, VIRGL, VIRTIO_GPU_F_VIRGL),
    SAME(GPU, EDID, VIRTIO_GPU_F_EDID),
    SAME(GPU, RESOURCE_UUID, VIRTIO_GPU_F_RESOURCE_UUID),
    SAME(GPU, RESOURCE_BLOB, VIRTIO_GPU_F_RESOURCE_BLOB),
    SAME(GPU, CONTEXT_INIT, VIRTIO_GPU_F_CONTEXT_INIT),
/* Newer than the kernel headers of some distributions. */
#ifdef VIRTIO_F_NOTIFICATION_DATA
    SAME(RING, NOTIFICATION_DATA, VIRTIO_F_NOTIFICATION_DATA),
#endif
#ifdef VIRTIO_F_NOTIF_CONFIG_DATA
    SAME(RING, NOTIF_CONFIG_DATA, VIRTIO_F_NOTIF_CONFIG_DATA),
#endif
#ifdef VIRTIO_F_ADMIN_VQ
    SAME(RING, ADMIN_VQ, VIRTIO_F_ADMIN_VQ),
#endif
#ifdef VIRTIO_NET_F_VQ_NOTF_COAL
    SAME(NET, VQ_NOTF_COAL, VIRTIO_NET_F_VQ_NOTF_COAL),
#endif
#ifdef VIRTIO_NET_F_GUEST_USO4
    SAME(NET, GUEST_USO4, VIRTIO_NET_F_GUEST_USO4),
    SAME(NET, GUEST_USO6, VIRTIO_NET_F_GUEST_USO6),
    SAME(NET, HOST_USO, VIRTIO_NET_F_HOST_USO),
#endif
#ifdef VIRTIO_BLK_F_ZONED
    SAME(BLK, ZONED, VIRTIO_BLK_F_ZONED),
#endif
};

/* Bits of the virtio 1.3 specification that the kernel's headers of Debian 12 do not have, with the
 * number that the specification gives. */
#define SPECIFIED(device, name, bit)                                                               \
    {                                                                                              \
        DEVICE_##device, device##_##name, bit, #device "_" #name                                   \
    }

static const struct known undefined_by_headers[] = {
    SPECIFIED(RING, NOTIFICATION_DATA, 38),
    SPECIFIED(RING, NOTIF_CONFIG_DATA, 39),
    SPECIFIED(RING, ADMIN_VQ, 41),
    SPECIFIED(RING, SUSPEND, 43),
    SPECIFIED(NET, VQ_NOTF_COAL, 52),
    SPECIFIED(NET, GUEST_USO4, 54),
    SPECIFIED(NET, GUEST_USO6, 55),
    SPECIFIED(NET, HOST_USO, 56),
    SPECIFIED(BLK, LIFETIME, 15),
    SPECIFIED(BLK, ZONED, 17),
    SPECIFIED(FS, NOTIFICATION, 0),
    SPECIFIED(VSOCK, STREAM, 0),
    SPECIFIED(VSOCK, NO_IMPLIED_STREAM, 2),
    SPECIFIED(CRYPTO, REVISION_1, 0),
    SPECIFIED(CRYPTO, CIPHER_STATELESS, 1),
    SPECIFIED(CRYPTO, HASH_STATELESS, 2),
    SPECIFIED(CRYPTO, MAC_STATELESS, 3),
    SPECIFIED(CRYPTO, AEAD_STATELESS, 4),
    SPECIFIED(CRYPTO, AKCIPHER_STATELESS, 5),
    /* In rte_vhost.h: test_numbers_protocol. */
    SPECIFIED(VHOST, PROTOCOL_FEATURES, 30),
};

static bool find(const struct known *list, size_t n, const struct feature_row *row)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i].device == row->device && list[i].ours == row->bit) {
            return true;
        }
    }
    return false;
}

static void bits_are_those_of_the_kernel(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(defined); i++) {
        unit_check(defined[i].ours == defined[i].theirs, "%s is %u there, %u here", defined[i].name,
                   defined[i].theirs, defined[i].ours);
    }
    for (size_t i = 0; i < ARRAY_SIZE(undefined_by_headers); i++) {
        assert_int_equal(undefined_by_headers[i].ours, undefined_by_headers[i].theirs);
    }
}

static void no_row_is_forgotten(void **state)
{
    size_t compared = 0;
    (void)state;
    for (size_t i = 0; i < n_feature_rows; i++) {
        const struct feature_row *row = &feature_rows[i];
        if (find(defined, ARRAY_SIZE(defined), row)) {
            compared++;
        } else if (find(undefined_by_headers, ARRAY_SIZE(undefined_by_headers), row)) {
            printf("# no kernel header defines %s %s (bit %u)\n", device_name(row->device),
                   row->name, row->bit);
        } else {
            unit_fail("%s %s is compared with nothing", device_name(row->device), row->name);
        }
    }
    assert_int_equal(compared, ARRAY_SIZE(defined));
    printf("# %zu of %zu feature bits compared with the kernel's headers\n", compared,
           n_feature_rows);
}

static void device_numbers_are_those_of_the_kernel(void **state)
{
    static const int ours[N_DEVICE_TYPES] = {
#define DEVICE(name, text, id) [DEVICE_##name] = id,
#define FEATURE(...)
#define PROTOCOL_FEATURE(...)
#include "features.def"
#undef DEVICE
#undef FEATURE
#undef PROTOCOL_FEATURE
    };
    static const int theirs[N_DEVICE_TYPES] = {
        [DEVICE_NET] = VIRTIO_ID_NET,       [DEVICE_BLK] = VIRTIO_ID_BLOCK,
        [DEVICE_SCSI] = VIRTIO_ID_SCSI,     [DEVICE_FS] = VIRTIO_ID_FS,
        [DEVICE_VSOCK] = VIRTIO_ID_VSOCK,   [DEVICE_GPU] = VIRTIO_ID_GPU,
        [DEVICE_CRYPTO] = VIRTIO_ID_CRYPTO, [DEVICE_INPUT] = VIRTIO_ID_INPUT,
    };
    (void)state;
    for (unsigned i = 0; i < N_DEVICE_TYPES; i++) {
        bool group = i == DEVICE_RING || i == DEVICE_VHOST;
        assert_int_equal(ours[i], theirs[i]);
        assert_true(group || theirs[i] != 0);
    }
}

static const struct unit_test tests[] = {
    UNIT(bits_are_those_of_the_kernel),
    UNIT(no_row_is_forgotten),
    UNIT(device_numbers_are_those_of_the_kernel),
};

UNIT_MAIN("numbers_feature", tests)
