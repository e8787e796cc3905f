/* SPDX-License-Identifier: MIT
 *
 * Why connections end (endings.def). */
#pragma once

#include "check.h"
#include "frame.h"
#include "log.h"

enum ending {
#define ENDING(name, level, text) ENDING_##name,
#include "endings.def"
#undef ENDING
    N_ENDINGS
};

struct ending_row {
    const char *name;
    enum log_level level;
    const char *text;
};

extern const struct ending_row ending_rows[N_ENDINGS];

/* The ending that a result of frame_read() or frame_write() means; not for FRAME_OK and
 * FRAME_AGAIN. */
enum ending ending_of_frame(int result);
/* The ending that a fault of check_message() means; not for CHECK_OK. */
enum ending ending_of_check(enum check_result result);
