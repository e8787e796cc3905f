/* SPDX-License-Identifier: MIT
 *
 * Whether this build has AddressSanitizer in it: its checks at the end of the process, and its reports,
 * need more than vushim does. What is widened for it asks here, and nowhere else. */
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifndef SANITIZED
#define SANITIZED 0
#endif
