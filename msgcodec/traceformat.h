/* SPDX-License-Identifier: MIT
 *
 * Trace records as bytes. A trace is a pcapng file (draft-ietf-opsawg-pcapng) of link type 252,
 * Wireshark's upper PDU export: each packet names its dissector ("vhostuser"), so that no
 * preference needs setting. One pcapng interface is one wire end of the shim:
 *
 *   0 front          1 back            the main socket, as the front-end and the back-end see it
 *   2 back channel   3 front channel   the same for the socket of SET_BACKEND_REQ_FD
 *   4 next back                        the socket of a back-end that is connected beside the live one,
 *                                      until it takes over: from then on it is the back-end of 1
 *
 * so a message that passes appears twice, as it came and, right behind that, as it went; on 4 nothing
 * does. Files from before there was a 4 do not describe it. Behind the tags of the export a packet is
 * one record, in little-endian order whatever the machine is:
 *
 *    0 u8  version        1; another one is another layout
 *    1 u8  kind           enum trace_kind; readers skip kinds that they do not know
 *    2 u8  wire           enum trace_wire: the pcapng interface again; the same
 *    3 u8  flags          TRACE_*
 *    4 u16 device         virtio device id, 0: not known
 *    6 u16 n_fds
 *    8 u32 life           which connection of this device, from 1
 *   12 u32 reserved       0
 *   16 u64 number         the shim's own order of events, over all wires, from 1. A number that is
 *                         missing was lost
 *   24 n_fds x 24 bytes   u8 role (enum fd_role), u8 kind (enum trace_fd_kind), 6 bytes 0, u64 inode,
 *                         u64 size in bytes
 *   then                  MESSAGE: header and payload as they were on the wire (in the machine's
 *                         order: TRACE_BIG_ENDIAN); GAP: u64, how many records were lost; else two
 *                         texts, each u16 length and UTF-8
 *
 * Guest memory is never in it, and of a descriptor only what names it. Nothing here does I/O. */
#pragma once

#include "message.h"

#define TRACE_DISSECTOR "vhostuser"
#define TRACE_VERSION 1
#define TRACE_LINKTYPE 252 /* LINKTYPE_WIRESHARK_UPPER_PDU */
#define TRACE_RECORD_LEN 24
#define TRACE_FD_LEN 24
#define TRACE_TEXT_MAX 4096
/* A whole block of the largest record: more than this is not ours. */
#define TRACE_BLOCK_MAX 16384

enum trace_wire {
    TRACE_FRONT,
    TRACE_BACK,
    TRACE_BACK_CHANNEL,
    TRACE_FRONT_CHANNEL,
    TRACE_NEXT_BACK,
    N_TRACE_WIRES
};

enum trace_kind {
    TRACE_MESSAGE = 1,
    TRACE_ENDING = 2,  /* name: a row of endings.def; text: what led to it */
    TRACE_REFUSED = 3, /* a request was refused by an acknowledgement; text: why */
    TRACE_EVENT = 4,   /* name: a row of events.def, or START with the interface as text */
    TRACE_GAP = 5,
};

enum trace_flag {
    TRACE_SENT = 1 << 0,       /* by the shim to the peer of this wire; else received from it */
    TRACE_BIG_ENDIAN = 1 << 1, /* the message's own order */
    TRACE_REDACTED = 1 << 2,   /* addresses are replaced by keyed hashes */
};

enum trace_fd_kind {
    TRACE_FD_OTHER,
    TRACE_FD_EVENTFD, /* inode: the kernel's eventfd-id */
    TRACE_FD_MEMFD,   /* a file in memory: tmpfs or memfd */
    TRACE_FD_HUGETLB,
    TRACE_FD_SOCKET,
    TRACE_FD_PIPE,
    TRACE_FD_FILE,
    N_TRACE_FD_KINDS
};

struct trace_fd {
    enum fd_role role;
    enum trace_fd_kind kind;
    uint64_t inode;
    uint64_t size;
};

/* One record. Pointers are borrowed: from the caller when written, from the reader when read (they
 * hold until the next one is read). */
struct trace_record {
    uint64_t time_ns; /* since 1970 */
    enum trace_kind kind;
    enum trace_wire wire;
    unsigned flags;
    unsigned device; /* virtio id */
    uint32_t life;
    uint64_t number;
    size_t n_fds;
    struct trace_fd fds[WIRE_MAX_FDS];
    struct wire_header head; /* MESSAGE; body: head.size bytes */
    const uint8_t *body;
    const char *name, *text; /* ENDING, REFUSED, EVENT; terminated */
    uint64_t lost;           /* GAP */
};

const char *trace_wire_name(enum trace_wire wire);
const char *trace_fd_kind_name(enum trace_fd_kind kind);
/* Whose requests travel on the socket that this wire is an end of. */
static inline enum wire_space trace_space(enum trace_wire wire)
{
    bool channel = wire == TRACE_BACK_CHANNEL || wire == TRACE_FRONT_CHANNEL;
    return channel ? SPACE_BACK : SPACE_FRONT;
}
/* The same socket's other end: where a message that passes is seen again. N_TRACE_WIRES: none passes. */
static inline enum trace_wire trace_across(enum trace_wire wire)
{
    return wire < TRACE_NEXT_BACK ? (enum trace_wire)((unsigned)wire ^ 1u) : N_TRACE_WIRES;
}

/* ---- writing ---- */

/* The head of a file: section and interfaces of a device of this name. Bytes written, 0 when `len` is
 * too small (TRACE_BLOCK_MAX is enough). */
size_t trace_write_head(const char *device, uint8_t *buf, size_t len);
/* One record as a block. Bytes written, 0 when `len` is too small. Texts are cut at TRACE_TEXT_MAX. */
size_t trace_write(const struct trace_record *r, uint8_t *buf, size_t len);

/* ---- reading ---- */

/* Up to `len` bytes to `buf`: how many, 0 at the end (of what is there by now), or -errno. */
typedef int64_t trace_read_fn(void *from, uint8_t *buf, size_t len);

enum trace_result {
    TRACE_OK,
    TRACE_END,     /* the end, after a whole block; may be asked again when the file grows */
    TRACE_CUT,     /* the end, inside a block; may be asked again when the file grows */
    TRACE_FOREIGN, /* no pcapng, or one without a record of ours at its head */
    TRACE_BROKEN,  /* trace_reader.why and .offset say what and where */
};

/* Memory is bounded: one block. Blocks and packets that are not ours are skipped and counted. */
struct trace_reader {
    trace_read_fn *read;
    void *from;
    uint64_t offset;  /* of the block at hand, in the file */
    uint64_t skipped; /* blocks, packets, kinds and wires of no concern */
    const char *why;
    char device[256]; /* from the head */
    size_t have;      /* bytes in buf */
    size_t used;      /* of them, of the block that was returned last */
    uint64_t drop;    /* bytes of a large foreign block still to be skipped */
    bool swapped;     /* the section's numbers are in the other order */
    bool begun;       /* a section has begun */
    uint32_t n_interfaces;
    uint8_t ours[64];       /* interface -> 1 for link type 252 */
    uint8_t resolution[64]; /* if_tsresol */
    char name_buf[TRACE_TEXT_MAX + 1], text_buf[TRACE_TEXT_MAX + 1];
    uint8_t body[WIRE_MAX_PAYLOAD];
    uint8_t buf[TRACE_BLOCK_MAX];
};

void trace_reader_init(struct trace_reader *r, trace_read_fn *read, void *from);
/* The next record: an enum trace_result, or -errno of `read`. After BROKEN or FOREIGN nothing more
 * can be read. */
int trace_reader_next(struct trace_reader *r, struct trace_record *ret_record);

/* The message of a record for message_print() and the like: payload and number of descriptors are
 * there, but no descriptor is; borrowed, not to be cleared. */
struct msg trace_message(const struct trace_record *r);
