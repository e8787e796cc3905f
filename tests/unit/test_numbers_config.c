/* SPDX-License-Identifier: MIT
 *
 * Fields of the configuration spaces against the structures of the kernel's headers. */
#include <linux/virtio_blk.h>
#include <linux/virtio_crypto.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_gpu.h>
#include <linux/virtio_net.h>
#include <linux/virtio_scsi.h>
#include <linux/virtio_vsock.h>
#include <stdio.h>
#include <string.h>

#include "feature.h"
#include "runner.h"

static const struct there {
    enum device_type device;
    const char *name;
    size_t offset;
    size_t size;
} there[] = {
#define THERE(device, type, field)                                                                 \
    {                                                                                              \
        DEVICE_##device, #field, offsetof(struct type, field), sizeof(((struct type *)0)->field)   \
    }
    THERE(NET, virtio_net_config, mac),
    THERE(NET, virtio_net_config, status),
    THERE(NET, virtio_net_config, max_virtqueue_pairs),
    THERE(NET, virtio_net_config, mtu),
    THERE(NET, virtio_net_config, speed),
    THERE(NET, virtio_net_config, duplex),
    THERE(NET, virtio_net_config, rss_max_key_size),
    THERE(NET, virtio_net_config, rss_max_indirection_table_length),
    THERE(NET, virtio_net_config, supported_hash_types),
    THERE(BLK, virtio_blk_config, capacity),
    THERE(BLK, virtio_blk_config, size_max),
    THERE(BLK, virtio_blk_config, seg_max),
    THERE(BLK, virtio_blk_config, geometry.cylinders),
    THERE(BLK, virtio_blk_config, geometry.heads),
    THERE(BLK, virtio_blk_config, geometry.sectors),
    THERE(BLK, virtio_blk_config, blk_size),
    THERE(BLK, virtio_blk_config, physical_block_exp),
    THERE(BLK, virtio_blk_config, alignment_offset),
    THERE(BLK, virtio_blk_config, min_io_size),
    THERE(BLK, virtio_blk_config, opt_io_size),
    THERE(BLK, virtio_blk_config, wce),
    THERE(BLK, virtio_blk_config, num_queues),
    THERE(BLK, virtio_blk_config, max_discard_sectors),
    THERE(BLK, virtio_blk_config, max_discard_seg),
    THERE(BLK, virtio_blk_config, discard_sector_alignment),
    THERE(BLK, virtio_blk_config, max_write_zeroes_sectors),
    THERE(BLK, virtio_blk_config, max_write_zeroes_seg),
    THERE(BLK, virtio_blk_config, write_zeroes_may_unmap),
    THERE(BLK, virtio_blk_config, max_secure_erase_sectors),
    THERE(BLK, virtio_blk_config, max_secure_erase_seg),
    THERE(BLK, virtio_blk_config, secure_erase_sector_alignment),
    THERE(SCSI, virtio_scsi_config, num_queues),
    THERE(SCSI, virtio_scsi_config, seg_max),
    THERE(SCSI, virtio_scsi_config, max_sectors),
    THERE(SCSI, virtio_scsi_config, cmd_per_lun),
    THERE(SCSI, virtio_scsi_config, event_info_size),
    THERE(SCSI, virtio_scsi_config, sense_size),
    THERE(SCSI, virtio_scsi_config, cdb_size),
    THERE(SCSI, virtio_scsi_config, max_channel),
    THERE(SCSI, virtio_scsi_config, max_target),
    THERE(SCSI, virtio_scsi_config, max_lun),
    THERE(FS, virtio_fs_config, tag),
    THERE(FS, virtio_fs_config, num_request_queues),
    THERE(VSOCK, virtio_vsock_config, guest_cid),
    THERE(GPU, virtio_gpu_config, events_read),
    THERE(GPU, virtio_gpu_config, events_clear),
    THERE(GPU, virtio_gpu_config, num_scanouts),
    THERE(GPU, virtio_gpu_config, num_capsets),
    THERE(CRYPTO, virtio_crypto_config, status),
    THERE(CRYPTO, virtio_crypto_config, max_dataqueues),
    THERE(CRYPTO, virtio_crypto_config, crypto_services),
    THERE(CRYPTO, virtio_crypto_config, cipher_algo_l),
    THERE(CRYPTO, virtio_crypto_config, cipher_algo_h),
    THERE(CRYPTO, virtio_crypto_config, hash_algo),
    THERE(CRYPTO, virtio_crypto_config, mac_algo_l),
    THERE(CRYPTO, virtio_crypto_config, mac_algo_h),
    THERE(CRYPTO, virtio_crypto_config, aead_algo),
    THERE(CRYPTO, virtio_crypto_config, max_cipher_key_len),
    THERE(CRYPTO, virtio_crypto_config, max_auth_key_len),
    THERE(CRYPTO, virtio_crypto_config, akcipher_algo),
    THERE(CRYPTO, virtio_crypto_config, max_size),
#undef THERE
};

static const size_t sizes[N_DEVICE_TYPES] = {
    [DEVICE_NET] = sizeof(struct virtio_net_config),
    [DEVICE_BLK] = sizeof(struct virtio_blk_config),
    [DEVICE_SCSI] = sizeof(struct virtio_scsi_config),
    [DEVICE_FS] = sizeof(struct virtio_fs_config),
    [DEVICE_VSOCK] = sizeof(struct virtio_vsock_config),
    [DEVICE_GPU] = sizeof(struct virtio_gpu_config),
    [DEVICE_CRYPTO] = sizeof(struct virtio_crypto_config),
};

static const struct there *find(const struct config_row *row)
{
    for (size_t i = 0; i < ARRAY_SIZE(there); i++) {
        if (there[i].device == row->device && strcmp(there[i].name, row->name) == 0) {
            return &there[i];
        }
    }
    return NULL;
}

static void fields_are_where_the_kernel_has_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_config_rows; i++) {
        const struct config_row *row = &config_rows[i];
        const struct there *t = find(row);
        unit_check(t != NULL, "%s %s is compared with nothing", device_name(row->device),
                   row->name);
        unit_check(row->offset == t->offset && row->size == t->size,
                   "%s %s: %u bytes at %u here, %zu at %zu there", device_name(row->device),
                   row->name, row->size, row->offset, t->size, t->offset);
    }
    assert_int_equal(n_config_rows, ARRAY_SIZE(there));
    printf("# %zu of %zu configuration fields compared with the kernel's headers\n",
           ARRAY_SIZE(there), n_config_rows);
}

/* Newer kernels append fields; ours never reach past theirs. */
static void spaces_end_where_the_kernel_has_them_end(void **state)
{
    (void)state;
    for (unsigned d = 0; d < N_DEVICE_TYPES; d++) {
        assert_true(config_size((enum device_type)d) <= sizes[d]);
        assert_true((config_size((enum device_type)d) == 0) == (sizes[d] == 0));
    }
    assert_int_equal(config_size(DEVICE_BLK), 72);
    assert_int_equal(config_size(DEVICE_NET), 24);
}

static void fields_do_not_overlap(void **state)
{
    (void)state;
    for (size_t i = 1; i < n_config_rows; i++) {
        const struct config_row *a = &config_rows[i - 1];
        const struct config_row *b = &config_rows[i];
        assert_true(a->device != b->device || a->offset + a->size <= b->offset);
    }
}

/* A field that is no number cannot be pinned; everything else fits 64 bits. */
static void fields_are_numbers_or_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_config_rows; i++) {
        const struct config_row *row = &config_rows[i];
        bool number = row->size == 1 || row->size == 2 || row->size == 4 || row->size == 8;
        assert_true(number != ((row->traits & CONFIG_TEXT) != 0));
        assert_true(row->gate == CONFIG_ALWAYS_VALID ||
                    feature_of_bit(row->device, row->gate)->device == row->device);
    }
}

static const struct unit_test tests[] = {
    UNIT(fields_are_where_the_kernel_has_them),
    UNIT(spaces_end_where_the_kernel_has_them_end),
    UNIT(fields_do_not_overlap),
    UNIT(fields_are_numbers_or_text),
};

UNIT_MAIN("numbers_config", tests)
