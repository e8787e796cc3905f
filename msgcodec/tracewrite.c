/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "text.h"
#include "traceformat.h"

#define BLOCK_SECTION 0x0a0d0d0au
#define BLOCK_INTERFACE 1u
#define BLOCK_PACKET 6u
#define OPTION_END 0u
#define OPTION_IF_NAME 2u
#define OPTION_IF_TSRESOL 9u
#define OPTION_SHB_APPLICATION 4u
#define OPTION_EPB_FLAGS 2u
#define EPB_INBOUND 1u
#define EPB_OUTBOUND 2u
#define TAG_DISSECTOR 12u
#define NANOSECONDS 9

static const char *const wire_names[N_TRACE_WIRES] = {
    [TRACE_FRONT] = "front",
    [TRACE_BACK] = "back",
    [TRACE_BACK_CHANNEL] = "back channel",
    [TRACE_FRONT_CHANNEL] = "front channel",
    [TRACE_NEXT_BACK] = "next back",
};

static const char *const fd_kind_names[N_TRACE_FD_KINDS] = {
    [TRACE_FD_OTHER] = "other",     [TRACE_FD_EVENTFD] = "eventfd", [TRACE_FD_MEMFD] = "memfd",
    [TRACE_FD_HUGETLB] = "hugetlb", [TRACE_FD_SOCKET] = "socket",   [TRACE_FD_PIPE] = "pipe",
    [TRACE_FD_FILE] = "file",
};

const char *trace_wire_name(enum trace_wire wire)
{
    return wire_names[wire];
}

const char *trace_fd_kind_name(enum trace_fd_kind kind)
{
    return fd_kind_names[kind];
}

/* Bytes into a buffer that may be too small: then `full`, and nothing of it is used. */
struct out {
    uint8_t *buf;
    size_t len;
    size_t used;
    bool full;
};

static void put(struct out *o, const void *bytes, size_t n)
{
    if (n > o->len - o->used) {
        o->full = true;
        return;
    }
    if (n > 0) {
        memcpy(o->buf + o->used, bytes, n);
    }
    o->used += n;
}

/* pcapng's own numbers are in the machine's order: the section's magic says which. */
static void put16(struct out *o, unsigned value)
{
    uint16_t v = (uint16_t)value;
    put(o, &v, sizeof(v));
}

static void put32(struct out *o, uint32_t value)
{
    put(o, &value, sizeof(value));
}

static void put_little(struct out *o, uint64_t value, size_t bytes)
{
    uint8_t b[8];
    for (size_t i = 0; i < bytes; i++) {
        b[i] = (uint8_t)(value >> (8 * i));
    }
    put(o, b, bytes);
}

/* Tags of the upper PDU export are in network order; texts are filled up with zeroes, which their
 * length counts (Wireshark, epan/exported_pdu.c). */
static void put_tag(struct out *o, unsigned tag, const char *value, size_t len)
{
    size_t padded = (len + 3) & ~(size_t)3;
    uint8_t head[4] = { 0, (uint8_t)tag, (uint8_t)(padded >> 8), (uint8_t)padded };
    put(o, head, sizeof(head));
    put(o, value, len);
    put(o, (const uint8_t[3]){ 0 }, padded - len);
}

static void pad(struct out *o)
{
    static const uint8_t zero[4];
    put(o, zero, (4 - o->used % 4) % 4);
}

static void put_option(struct out *o, unsigned code, const void *value, size_t len)
{
    put16(o, code);
    put16(o, (unsigned)len);
    put(o, value, len);
    pad(o);
}

static size_t begin_block(struct out *o, uint32_t type)
{
    size_t at = o->used;
    put32(o, type);
    put32(o, 0);
    return at;
}

static void end_block(struct out *o, size_t at)
{
    uint32_t total = (uint32_t)(o->used - at) + 4;
    put32(o, total);
    if (!o->full) {
        memcpy(o->buf + at + 4, &total, sizeof(total));
    }
}

static void put_interface(struct out *o, const char *device, enum trace_wire wire)
{
    static const uint8_t resolution = NANOSECONDS;
    char name[256];
    struct text t = text_in(name, sizeof(name));
    size_t at = begin_block(o, BLOCK_INTERFACE);
    put16(o, TRACE_LINKTYPE);
    put16(o, 0);
    put32(o, 0); /* no limit of length */
    text_add(&t, "%.200s %s", device, wire_names[wire]);
    put_option(o, OPTION_IF_NAME, name, strlen(name));
    put_option(o, OPTION_IF_TSRESOL, &resolution, 1);
    put_option(o, OPTION_END, NULL, 0);
    end_block(o, at);
}

size_t trace_write_head(const char *device, uint8_t *buf, size_t len)
{
    static const char application[] = "vushim " VUSHIM_VERSION;
    struct out o = { .buf = buf, .len = len };
    size_t at = begin_block(&o, BLOCK_SECTION);
    put32(&o, 0x1a2b3c4d);
    put16(&o, 1);
    put16(&o, 0);
    put32(&o, 0xffffffff); /* the section's length is not known */
    put32(&o, 0xffffffff);
    put_option(&o, OPTION_SHB_APPLICATION, application, strlen(application));
    put_option(&o, OPTION_END, NULL, 0);
    end_block(&o, at);
    for (unsigned wire = 0; wire < N_TRACE_WIRES; wire++) {
        put_interface(&o, device, (enum trace_wire)wire);
    }
    return o.full ? 0 : o.used;
}

static void put_text(struct out *o, const char *text)
{
    size_t len = text != NULL ? strnlen(text, TRACE_TEXT_MAX) : 0;
    put_little(o, len, 2);
    put(o, text, len);
}

static void put_record(struct out *o, const struct trace_record *r)
{
    const uint16_t one = 1;
    bool big = *(const uint8_t *)&one == 0;
    put_little(o, TRACE_VERSION, 1);
    put_little(o, r->kind, 1);
    put_little(o, r->wire, 1);
    put_little(o, r->flags | (big ? TRACE_BIG_ENDIAN : 0u), 1);
    put_little(o, r->device, 2);
    put_little(o, r->n_fds, 2);
    put_little(o, r->life, 4);
    put_little(o, 0, 4);
    put_little(o, r->number, 8);
    for (size_t i = 0; i < r->n_fds; i++) {
        put_little(o, r->fds[i].role, 1);
        put_little(o, r->fds[i].kind, 1);
        put_little(o, 0, 6);
        put_little(o, r->fds[i].inode, 8);
        put_little(o, r->fds[i].size, 8);
    }
    if (r->kind == TRACE_MESSAGE) {
        put(o, &r->head, sizeof(r->head));
        put(o, r->body, r->head.size);
    } else if (r->kind == TRACE_GAP) {
        put_little(o, r->lost, 8);
    } else {
        put_text(o, r->name);
        put_text(o, r->text);
    }
}

size_t trace_write(const struct trace_record *r, uint8_t *buf, size_t len)
{
    struct out o = { .buf = buf, .len = len };
    size_t at = begin_block(&o, BLOCK_PACKET);
    put32(&o, r->wire);
    put32(&o, (uint32_t)(r->time_ns >> 32));
    put32(&o, (uint32_t)r->time_ns);
    size_t lengths = o.used;
    put32(&o, 0);
    put32(&o, 0);
    size_t data = o.used;
    put_tag(&o, TAG_DISSECTOR, TRACE_DISSECTOR, strlen(TRACE_DISSECTOR));
    put_tag(&o, 0, NULL, 0);
    put_record(&o, r);
    uint32_t captured = (uint32_t)(o.used - data);
    pad(&o);
    uint32_t direction = (r->flags & TRACE_SENT) != 0 ? EPB_OUTBOUND : EPB_INBOUND;
    put_option(&o, OPTION_EPB_FLAGS, &direction, sizeof(direction));
    put_option(&o, OPTION_END, NULL, 0);
    end_block(&o, at);
    if (o.full) {
        return 0;
    }
    memcpy(buf + lengths, &captured, sizeof(captured));
    memcpy(buf + lengths + 4, &captured, sizeof(captured));
    return o.used;
}
