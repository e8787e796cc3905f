/* SPDX-License-Identifier: MIT
 *
 * A message as text: its name, every field that is shown, nothing that is hidden. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "print.h"
#include "runner.h"
#include "sample.h"

enum style {
    DECIMAL,
    HEX,
    HIDDEN,
    FEATURE_NAMES,
    PROTOCOL_NAMES,
    VRING_FD_BITS,
    MAC_ADDRESS,
    UUID_TEXT
};

static const enum style styles[] = {
#define KIND(name, style) [KIND_##name] = style,
#include "fields.def"
#undef KIND
};

#define TEXT_LEN 8192

static bool is_tail_count(const struct payload *p, const struct field *f)
{
    return p->tail != TAIL_NONE && f->offset == p->tail_count_offset;
}

static void check_field(const struct payload *p, size_t i, const char *text, const char *name)
{
    const struct field *f = &p->fields[i];
    char label[64];
    char value[96];
    snprintf(label, sizeof(label), " %s=", f->name);
    bool shown = strstr(text, label) != NULL;
    unit_check(shown == (styles[f->kind] != HIDDEN), "%s: field %s: %s", name, f->name, text);
    if (styles[f->kind] == DECIMAL && !is_tail_count(p, f)) {
        snprintf(value, sizeof(value), " %s=%" PRIu64, f->name, sample_value(f, i));
    } else if (styles[f->kind] == HEX && f->size <= 8) {
        snprintf(value, sizeof(value), " %s=%#" PRIx64, f->name, sample_value(f, i));
    } else {
        return;
    }
    unit_check(strstr(text, value) != NULL, "%s: no '%s' in: %s", name, value, text);
}

static void every_row_prints_its_name_and_fields(void **state)
{
    enum wire_space space;
    const struct message_row *row;
    (void)state;
    for (size_t i = 0; (row = sample_row(i, &space)) != NULL; i++) {
        for (int reply = 0; reply < 2; reply++) {
            char text[TEXT_LEN];
            struct msg m = sample_message(row, reply);
            const struct payload *p = message_payload(row, reply);
            message_print(space, DEVICE_NET, &m, text, sizeof(text));
            const char *at = strstr(text, row->name);
            assert_true(at == text + (reply ? strlen("reply ") : 0));
            for (size_t k = 0; k < p->n_fields; k++) {
                check_field(p, k, text, row->name);
            }
            if (m.fds.n > 0) {
                char fds[64];
                snprintf(fds, sizeof(fds), " +%zu %s", m.fds.n,
                         fd_role_name(message_fds(row, reply)->role));
                assert_non_null(strstr(text, fds));
            } else {
                assert_null(strstr(text, " +"));
            }
            msg_clear(&m);
        }
    }
}

static void shorter_forms_print_what_they_have(void **state)
{
    char text[256];
    struct msg m = sample_raw(FRONT_SET_LOG_BASE, 0, "\0\1\0\0\0\0\0", 8, 0);
    (void)state;
    message_print(SPACE_FRONT, DEVICE_NET, &m, text, sizeof(text));
    assert_string_equal(text, "SET_LOG_BASE size=0x100");
    msg_clear(&m);
}

static void check_text(enum wire_space space, struct msg *m, const char *expected)
{
    char text[512];
    message_print(space, DEVICE_NET, m, text, sizeof(text));
    assert_string_equal(text, expected);
    msg_clear(m);
}

static void known_messages_read_as_people_expect(void **state)
{
    const uint8_t mac[8] = { 0x52, 0x54, 0, 0xab, 0xcd, 0xef, 0x77, 0x88 };
    (void)state;
    struct msg m = sample_state(FRONT_SET_VRING_NUM, 0, 256);
    m.head.flags |= WIRE_NEED_REPLY;
    check_text(SPACE_FRONT, &m, "SET_VRING_NUM need_reply index=0 num=256");
    m = sample_u64(FRONT_SET_VRING_KICK, 0, 1);
    sample_add_fds(&m, 1);
    check_text(SPACE_FRONT, &m, "SET_VRING_KICK index=1 +1 kick");
    m = sample_u64(FRONT_SET_VRING_CALL, 0, 0x103);
    check_text(SPACE_FRONT, &m, "SET_VRING_CALL index=3 nofd");
    m = sample_u64(FRONT_GET_QUEUE_NUM, WIRE_REPLY, 4);
    check_text(SPACE_FRONT, &m, "reply GET_QUEUE_NUM queues=4");
    m = sample_u64(FRONT_SET_FEATURES, 0, BIT(RING_VERSION_1) | BIT(NET_MRG_RXBUF) | BIT(51));
    check_text(SPACE_FRONT, &m, "SET_FEATURES features={mrg_rxbuf, version_1, bit 51}");
    m = sample_u64(FRONT_SET_PROTOCOL_FEATURES, 0, BIT(PROTOCOL_MQ) | BIT(40));
    check_text(SPACE_FRONT, &m, "SET_PROTOCOL_FEATURES protocol_features={mq, bit 40}");
    m = sample_raw(FRONT_SEND_RARP, 0, mac, sizeof(mac), 0);
    check_text(SPACE_FRONT, &m, "SEND_RARP mac=52:54:00:ab:cd:ef");
    m = sample_raw(1000, 0, NULL, 24, 2);
    check_text(SPACE_FRONT, &m, "unknown(1000) 24 bytes +2 descriptors");
    m = sample_raw(BACK_CONFIG_CHANGE_MSG, 0, NULL, 0, 0);
    check_text(SPACE_BACK, &m, "CONFIG_CHANGE_MSG");
}

static void check_table(uint32_t size, uint32_t stride)
{
    uint8_t body[8 + 8 * 40] = { 2 };
    uint64_t region[4] = { 0, 0x1000, 0x7000, 0 };
    memcpy(body + 8, region, sizeof(region));
    region[0] = 0x100000;
    memcpy(body + 8 + stride, region, sizeof(region));
    struct msg m = sample_raw(FRONT_SET_MEM_TABLE, 0, body, size, 2);
    check_text(SPACE_FRONT, &m,
               "SET_MEM_TABLE nregions=2 regions=[{guest_addr=0 size=0x1000 user_addr=0x7000 "
               "mmap_offset=0} {guest_addr=0x100000 size=0x1000 user_addr=0x7000 mmap_offset=0}] "
               "+2 memory");
}

static void what_follows_the_fields_is_printed(void **state)
{
    uint8_t config[12 + 64] = { 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0xff };
    (void)state;
    check_table(8 + 2 * 32, 32);
    check_table(8 + 2 * 40, 40); /* xen_mmap */
    check_table(8 + 8 * 32, 32); /* room for more than are counted */
    struct msg m = sample_raw(FRONT_GET_CONFIG, WIRE_REPLY, config, 12 + 3, 0);
    check_text(SPACE_FRONT, &m, "reply GET_CONFIG offset=0 size=3 flags=0 bytes=0102ff");
    m = sample_raw(FRONT_GET_CONFIG, WIRE_REPLY, config, 12 + 2, 0); /* says more than it has */
    check_text(SPACE_FRONT, &m, "reply GET_CONFIG offset=0 size=3 flags=0 bytes=0102");
    config[4] = 64;
    m = sample_raw(FRONT_GET_CONFIG, WIRE_REPLY, config, sizeof(config), 0);
    check_text(SPACE_FRONT, &m,
               "reply GET_CONFIG offset=0 size=64 flags=0 "
               "bytes=0102ff0000000000000000000000000000000000000000000000000000000000...");
    m = sample_raw(FRONT_GET_CONFIG, WIRE_REPLY, config, 12, 0);
    check_text(SPACE_FRONT, &m, "reply GET_CONFIG offset=0 size=64 flags=0");
}

/* Any buffer: terminated, and the beginning of the whole text. */
static void text_is_cut_where_the_buffer_ends(void **state)
{
    enum wire_space space;
    const struct message_row *row;
    (void)state;
    for (size_t i = 0; (row = sample_row(i, &space)) != NULL; i++) {
        char whole[TEXT_LEN];
        struct msg m = sample_message(row, false);
        message_print(space, DEVICE_UNKNOWN, &m, whole, sizeof(whole));
        size_t len = strlen(whole);
        for (size_t room = 1; room <= len + 1; room++) {
            char text[TEXT_LEN];
            memset(text, '#', sizeof(text));
            message_print(space, DEVICE_UNKNOWN, &m, text, room);
            assert_int_equal(strlen(text), room - 1);
            assert_memory_equal(text, whole, room - 1);
            assert_int_equal(text[room], '#');
        }
        msg_clear(&m);
    }
}

static const struct unit_test tests[] = {
    UNIT(every_row_prints_its_name_and_fields),
    UNIT(shorter_forms_print_what_they_have),
    UNIT(known_messages_read_as_people_expect),
    UNIT(what_follows_the_fields_is_printed),
    UNIT(text_is_cut_where_the_buffer_ends),
};

UNIT_MAIN("print", tests)
