/* SPDX-License-Identifier: MIT
 *
 * What real back-ends offer, for tests that compare interfaces with offers. */
#pragma once

#include "interface.h"

/* Features, protocol features, queues, memory slots. */
#define OFFER(f, p, q, s)                                                                          \
    {                                                                                              \
        .features = (f), .protocol_features = (p), .queues = (q), .mem_slots = (s)                 \
    }

struct known_offer {
    const char *name;
    enum device_type device;
    struct offer offer;
};

/* One family over its releases: DPDK's lib/vhost, and Open vSwitch on top of it. */
static const struct known_offer net_releases[] = {
    { "DPDK 16.11", DEVICE_NET, OFFER(0x154669983, 0x7, 32768, 0) },
    { "DPDK 17.02", DEVICE_NET, OFFER(0x154669983, 0xf, 128, 0) },
    { "DPDK 17.05", DEVICE_NET, OFFER(0x15466998b, 0x17, 128, 0) },
    { "DPDK 17.11", DEVICE_NET, OFFER(0x15466998b, 0x37, 128, 0) },
    { "DPDK 18.02", DEVICE_NET, OFFER(0x17c66ffcb, 0x37, 128, 0) },
    { "DPDK 18.05", DEVICE_NET, OFFER(0x17c66ffcb, 0xb7, 128, 0) },
    { "DPDK 18.08", DEVICE_NET, OFFER(0x97c66ffcb, 0xcb7, 128, 0) },
    { "DPDK 18.11", DEVICE_NET, OFFER(0xd7c66ffcb, 0xcb7, 128, 0) },
    { "DPDK 20.08", DEVICE_NET, OFFER(0xd7c66ffcb, 0x10cbf, 128, 0) },
    { "DPDK 26.07", DEVICE_NET, OFFER(0xd7c66ffcb, 0x18cbf, 128, 8) },
    { "OVS 2.10", DEVICE_NET, OFFER(0xd7c66e7ca, 0xcb7, 128, 0) },
    { "OVS 2.13", DEVICE_NET, OFFER(0xd7c66a7ca, 0xcb7, 128, 0) },
    { "OVS 3.1", DEVICE_NET, OFFER(0xd7c66a7ca, 0x10cbf, 128, 0) },
    { "OVS 3.2", DEVICE_NET, OFFER(0xd7c66a7cb, 0x10cbf, 128, 0) },
};

/* Others, for questions that are not about releases. */
static const struct known_offer other_offers[] = {
    { "DPDK 17.11, IOMMU", DEVICE_NET, OFFER(0x35466998b, 0x3f, 128, 0) },
    { "DPDK 22.11, IOMMU", DEVICE_NET, OFFER(0xf7c66e7cb, 0x10cbf, 128, 0) },
    { "OVS 3.1, TSO", DEVICE_NET, OFFER(0xd7c669fcb, 0x10cbf, 128, 0) },
    { "VPP 23.10", DEVICE_NET, OFFER(0x15c628000, 0x3, 128, 0) },
    { "VPP 23.10, GSO and packed", DEVICE_NET, OFFER(0x57c62dd83, 0x3, 128, 0) },
    { "VPP 23.10, all off", DEVICE_NET, OFFER(0x100008000, 0, 0, 0) },
    { "qemu-storage-daemon 7.2", DEVICE_BLK, OFFER(0x175007e46, 0x8f2b, 1, 32) },
    { "qemu-storage-daemon 7.2, read-only", DEVICE_BLK, OFFER(0x175007e66, 0x8f2b, 4, 32) },
    { "qemu-storage-daemon 10.0", DEVICE_BLK, OFFER(0x175007e46, 0x8f2b, 1, 509) },
    { "yc-libvhost-server", DEVICE_BLK, OFFER(0x174001454, 0x10920b, 256, 32) },
    { "SPDK 18.10 blk", DEVICE_BLK, OFFER(0x154001446, 0x21f, 128, 0) },
    { "SPDK 26.05 blk", DEVICE_BLK, OFFER(0x15c007646, 0x11ebf, 128, 0) },
    { "SPDK 18.10 scsi", DEVICE_SCSI, OFFER(0x154000007, 0x21f, 128, 0) },
    { "SPDK 26.05 scsi", DEVICE_SCSI, OFFER(0x15c000007, 0x11cbf, 128, 0) },
    { "virtiofsd 7.2", DEVICE_FS, OFFER(0x175000000, 0x8c2b, 2, 32) },
    { "virtiofsd 1.13", DEVICE_FS, OFFER(0x174000000, 0x8a42b, 2, 509) },
};
