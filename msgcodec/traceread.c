/* SPDX-License-Identifier: MIT
 *
 * Files come from anywhere: every length is compared with what is there before it is used. */
#include <string.h>

#include "traceformat.h"

#define BLOCK_SECTION 0x0a0d0d0au
#define BLOCK_INTERFACE 1u
#define BLOCK_PACKET 6u
#define MAGIC 0x1a2b3c4du
#define OPTION_END 0u
#define OPTION_IF_NAME 2u
#define OPTION_IF_TSRESOL 9u
#define TAG_END 0u
#define TAG_DISSECTOR 12u
#define BLOCK_LEAST 12u
#define PACKET_HEAD 28u
#define SECTION_HEAD 24u
#define INTERFACE_HEAD 16u
#define MICROSECONDS 6
#define TRACE_SKIPPED 100 /* between next_block() and its caller: a block too large to hold */

static uint16_t get16(const struct trace_reader *r, const uint8_t *at)
{
    uint16_t v;
    memcpy(&v, at, sizeof(v));
    return r->swapped ? __builtin_bswap16(v) : v;
}

static uint32_t get32(const struct trace_reader *r, const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof(v));
    return r->swapped ? __builtin_bswap32(v) : v;
}

static uint64_t get_little(const uint8_t *at, size_t bytes)
{
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++) {
        v |= (uint64_t)at[i] << (8 * i);
    }
    return v;
}

void trace_reader_init(struct trace_reader *r, trace_read_fn *read, void *from)
{
    memset(r, 0, sizeof(*r));
    r->read = read;
    r->from = from;
}

static int broken(struct trace_reader *r, const char *why)
{
    r->why = why;
    return TRACE_BROKEN;
}

/* At least `n` bytes in hand. TRACE_OK, TRACE_END with less, or -errno. */
static int fill(struct trace_reader *r, size_t n)
{
    while (r->have < n) {
        int64_t got = r->read(r->from, r->buf + r->have, sizeof(r->buf) - r->have);
        if (got <= 0) {
            return got < 0 ? (int)got : TRACE_END;
        }
        r->have += (size_t)got;
    }
    return TRACE_OK;
}

static void discard(struct trace_reader *r, size_t n)
{
    r->have -= n;
    memmove(r->buf, r->buf + n, r->have);
    r->offset += n;
}

/* Skips what is left of a block that is too large to hold. */
static int drop(struct trace_reader *r)
{
    while (r->drop > 0) {
        int result = fill(r, 1);
        if (result != TRACE_OK) {
            return result == TRACE_END ? TRACE_CUT : result;
        }
        size_t n = r->drop < r->have ? (size_t)r->drop : r->have;
        discard(r, n);
        r->drop -= n;
    }
    return TRACE_OK;
}

/* ---- blocks ---- */

static int begin_section(struct trace_reader *r)
{
    uint32_t magic;
    memcpy(&magic, r->buf + 8, sizeof(magic));
    if (magic != MAGIC && magic != __builtin_bswap32(MAGIC)) {
        return r->begun ? broken(r, "a section without its byte order") : TRACE_FOREIGN;
    }
    r->swapped = magic != MAGIC;
    r->begun = true;
    r->n_interfaces = 0;
    return TRACE_OK;
}

/* "net0 front": what is before the wire's name is the device's. */
static void take_name(struct trace_reader *r, const uint8_t *value, size_t len)
{
    static const char end[] = " front";
    size_t tail = strlen(end);
    if (r->device[0] == '\0' && len > tail && len - tail < sizeof(r->device) &&
        memcmp(value + len - tail, end, tail) == 0) {
        memcpy(r->device, value, len - tail);
        r->device[len - tail] = '\0';
    }
}

static void add_interface(struct trace_reader *r, size_t total)
{
    uint32_t i = r->n_interfaces++;
    if (i >= sizeof(r->ours)) {
        return; /* its packets are skipped */
    }
    r->ours[i] = get16(r, r->buf + 8) == TRACE_LINKTYPE;
    r->resolution[i] = MICROSECONDS;
    size_t at = INTERFACE_HEAD;
    while (at + 8 <= total) { /* a whole option, before the block's closing length */
        unsigned code = get16(r, r->buf + at);
        size_t len = get16(r, r->buf + at + 2);
        at += 4;
        if (code == OPTION_END || len > total - 4 - at) {
            return;
        }
        if (code == OPTION_IF_NAME && r->ours[i]) {
            take_name(r, r->buf + at, len);
        } else if (code == OPTION_IF_TSRESOL && len == 1) {
            r->resolution[i] = r->buf[at];
        }
        at += (len + 3) & ~(size_t)3;
        if (at > total - 4) {
            return;
        }
    }
}

/* ---- records ---- */

static uint64_t to_ns(uint64_t units, uint8_t resolution)
{
    if ((resolution & 0x80) != 0) {
        unsigned bits = resolution & 0x7f;
        return bits < 64 ? (uint64_t)(((unsigned __int128)units * 1000000000u) >> bits) : 0;
    }
    for (; resolution < 9; resolution++) {
        units *= 10;
    }
    for (; resolution > 9; resolution--) {
        units /= 10;
    }
    return units;
}

/* Past the tags of the upper PDU export, if its dissector is ours; else NULL. */
static const uint8_t *past_tags(const uint8_t *at, const uint8_t *end)
{
    bool ours = false;
    while (end - at >= 4) {
        unsigned tag = (unsigned)at[0] << 8 | at[1];
        size_t len = (size_t)at[2] << 8 | at[3];
        at += 4;
        if (len > (size_t)(end - at)) {
            return NULL;
        }
        if (tag == TAG_END) {
            return ours ? at : NULL;
        }
        if (tag == TAG_DISSECTOR) {
            size_t most = strlen(TRACE_DISSECTOR);
            ours = len >= most && memcmp(at, TRACE_DISSECTOR, most) == 0;
        }
        at += len;
    }
    return NULL;
}

static bool take_text(const uint8_t **at, const uint8_t *end, char *to)
{
    if (end - *at < 2) {
        return false;
    }
    size_t len = (size_t)get_little(*at, 2);
    *at += 2;
    if (len > (size_t)(end - *at) || len > TRACE_TEXT_MAX) {
        return false;
    }
    memcpy(to, *at, len);
    to[len] = '\0';
    for (size_t i = 0; i < len; i++) { /* one line, whoever wrote it */
        if ((unsigned char)to[i] < 0x20 || to[i] == 0x7f) {
            to[i] = '?';
        }
    }
    *at += len;
    return true;
}

static int take_message(struct trace_reader *r, const uint8_t *at, const uint8_t *end,
                        struct trace_record *ret)
{
    const uint16_t one = 1;
    bool here_big = *(const uint8_t *)&one == 0;
    bool other = ((ret->flags & TRACE_BIG_ENDIAN) != 0) != here_big;
    if ((size_t)(end - at) < sizeof(ret->head)) {
        return broken(r, "a message without its header");
    }
    if (other) {
        return broken(r, "a message of a machine with the other byte order (read it there)");
    }
    memcpy(&ret->head, at, sizeof(ret->head));
    at += sizeof(ret->head);
    if (ret->head.size > WIRE_MAX_PAYLOAD || ret->head.size != (size_t)(end - at)) {
        return broken(r, "a message whose size is not what its header says");
    }
    memcpy(r->body, at, ret->head.size);
    ret->body = r->body;
    return TRACE_OK;
}

static void take_fds(const uint8_t *at, struct trace_record *ret)
{
    for (size_t i = 0; i < ret->n_fds; i++, at += TRACE_FD_LEN) {
        ret->fds[i] = (struct trace_fd){
            .role = at[0] <= ROLE_SHARED_MEMORY ? (enum fd_role)at[0] : ROLE_NONE,
            .kind = at[1] < N_TRACE_FD_KINDS ? (enum trace_fd_kind)at[1] : TRACE_FD_OTHER,
            .inode = get_little(at + 8, 8),
            .size = get_little(at + 16, 8),
        };
    }
}

/* What stands behind the tags. TRACE_END: of no concern. */
static int take_record(struct trace_reader *r, const uint8_t *at, const uint8_t *end,
                       struct trace_record *ret)
{
    if (end - at < TRACE_RECORD_LEN) {
        return broken(r, "a record that is too short");
    }
    if (at[0] != TRACE_VERSION) {
        return broken(r, "records of a version that this vushim does not know (use a newer one)");
    }
    if (at[1] < TRACE_MESSAGE || at[1] > TRACE_GAP || at[2] >= N_TRACE_WIRES) {
        return TRACE_END;
    }
    ret->kind = (enum trace_kind)at[1];
    ret->flags = at[3];
    ret->device = (unsigned)get_little(at + 4, 2);
    ret->n_fds = (size_t)get_little(at + 6, 2);
    ret->life = (uint32_t)get_little(at + 8, 4);
    ret->number = get_little(at + 16, 8);
    if (ret->n_fds > WIRE_MAX_FDS ||
        ret->n_fds * TRACE_FD_LEN > (size_t)(end - at) - TRACE_RECORD_LEN) {
        return broken(r, "a record with impossible numbers");
    }
    ret->wire = (enum trace_wire)at[2];
    take_fds(at + TRACE_RECORD_LEN, ret);
    at += TRACE_RECORD_LEN + ret->n_fds * TRACE_FD_LEN;
    if (ret->kind == TRACE_MESSAGE) {
        return take_message(r, at, end, ret);
    }
    if (ret->kind == TRACE_GAP) {
        if (end - at < 8) {
            return broken(r, "a gap that does not say how long it is");
        }
        ret->lost = get_little(at, 8);
        return TRACE_OK;
    }
    if (!take_text(&at, end, r->name_buf) || !take_text(&at, end, r->text_buf)) {
        return broken(r, "a text that reaches past its record");
    }
    ret->name = r->name_buf;
    ret->text = r->text_buf;
    return TRACE_OK;
}

static int take_packet(struct trace_reader *r, size_t total, struct trace_record *ret)
{
    if (total < PACKET_HEAD + 4) {
        return broken(r, "a packet block that is too short");
    }
    uint32_t interface = get32(r, r->buf + 8);
    size_t captured = get32(r, r->buf + 20);
    if (captured > total - PACKET_HEAD - 4) {
        return broken(r, "a packet that reaches past its block");
    }
    if (interface >= r->n_interfaces) {
        return broken(r, "a packet of an interface that was not described");
    }
    if (interface >= sizeof(r->ours) || !r->ours[interface]) {
        return TRACE_END;
    }
    const uint8_t *at = past_tags(r->buf + PACKET_HEAD, r->buf + PACKET_HEAD + captured);
    if (at == NULL) {
        return TRACE_END;
    }
    memset(ret, 0, offsetof(struct trace_record, fds));
    ret->body = NULL;
    ret->name = ret->text = "";
    ret->lost = 0;
    uint64_t units = (uint64_t)get32(r, r->buf + 12) << 32 | get32(r, r->buf + 16);
    ret->time_ns = to_ns(units, r->resolution[interface]);
    return take_record(r, at, r->buf + PACKET_HEAD + captured, ret);
}

/* The block at the head of the buffer; its size to *ret_total. */
static int next_block(struct trace_reader *r, size_t *ret_total)
{
    discard(r, r->used);
    r->used = 0;
    int result = drop(r);
    if (result != TRACE_OK) {
        return result;
    }
    result = fill(r, BLOCK_LEAST);
    if (result != TRACE_OK) {
        return result == TRACE_END && r->have > 0 ? (r->begun ? TRACE_CUT : TRACE_FOREIGN) : result;
    }
    uint32_t type;
    memcpy(&type, r->buf, sizeof(type));
    if (type == BLOCK_SECTION) {
        result = begin_section(r);
        if (result != TRACE_OK) {
            return result;
        }
    } else if (!r->begun) {
        return TRACE_FOREIGN;
    }
    size_t total = get32(r, r->buf + 4);
    if (total < BLOCK_LEAST || total % 4 != 0) {
        return broken(r, "a block of an impossible length");
    }
    if (total > sizeof(r->buf)) { /* not one of ours: foreign packets and comments may be long */
        r->drop = total;
        r->skipped++;
        return TRACE_SKIPPED;
    }
    result = fill(r, total);
    if (result != TRACE_OK) {
        return result == TRACE_END ? TRACE_CUT : result;
    }
    if (get32(r, r->buf + total - 4) != total) {
        return broken(r, "a block whose two lengths differ");
    }
    *ret_total = total;
    return TRACE_OK;
}

int trace_reader_next(struct trace_reader *r, struct trace_record *ret_record)
{
    for (;;) {
        size_t total = 0;
        if (r->why != NULL) {
            return TRACE_BROKEN;
        }
        int result = next_block(r, &total);
        if (result == TRACE_SKIPPED) {
            continue;
        }
        if (result != TRACE_OK) {
            return result;
        }
        r->used = total;
        uint32_t type = get32(r, r->buf);
        if (type == BLOCK_INTERFACE && total >= INTERFACE_HEAD + 4) {
            add_interface(r, total);
        } else if (type == BLOCK_PACKET) {
            result = take_packet(r, total, ret_record);
            if (result != TRACE_END) {
                return result;
            }
            r->skipped++;
        } else if (type != BLOCK_SECTION) {
            r->skipped++;
        }
    }
}

struct msg trace_message(const struct trace_record *r)
{
    return (struct msg){ .head = r->head, .body = (uint8_t *)r->body, .fds = { .n = r->n_fds } };
}
