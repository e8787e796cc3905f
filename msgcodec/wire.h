/* SPDX-License-Identifier: MIT
 *
 * The bytes of the wire: header, and one packed structure for each row of payloads.def, called
 * `struct wire_NAME`. Host byte order throughout, as the protocol has it. */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* Largest payload taken. The largest of the standard has 2056 bytes, rust-vmm's peers may use 4096.
 */
#define WIRE_MAX_PAYLOAD 4096
/* Most descriptors of one message: the kernel's SCM_MAX_FD (net/scm.h). */
#define WIRE_MAX_FDS 253

#define WIRE_VERSION 0x1u
#define WIRE_VERSION_MASK 0x3u
#define WIRE_REPLY 0x4u
#define WIRE_NEED_REPLY 0x8u
#define WIRE_KNOWN_FLAGS 0xfu

/* The VRING_FD field: index of the virtqueue, and "no descriptor comes with this". */
#define WIRE_VRING_INDEX_MASK 0xffu
#define WIRE_VRING_NOFD 0x100u

struct wire_header {
    uint32_t request;
    uint32_t flags;
    uint32_t size;
} __attribute__((packed));

static_assert(sizeof(struct wire_header) == 12, "header of 12 bytes");

typedef uint8_t wire_u8;
typedef uint16_t wire_u16;
typedef uint32_t wire_u32;
typedef uint64_t wire_u64;
typedef uint8_t wire_bytes6[6];
typedef uint8_t wire_bytes7[7];
typedef uint8_t wire_bytes16[16];

#define PAYLOAD_BEGIN(payload) struct wire_##payload {
#define FIELD(payload, type, name, kind) wire_##type name;
#define PAYLOAD_END(payload, least, most, tail)                                                    \
    }                                                                                              \
    __attribute__((packed));                                                                       \
    static_assert(most <= WIRE_MAX_PAYLOAD, #payload " fits");                                     \
    static_assert(sizeof(struct wire_##payload) <= most, #payload " has room for its fields");
#include "payloads.def"
#undef PAYLOAD_BEGIN
#undef FIELD
#undef PAYLOAD_END
