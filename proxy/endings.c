/* SPDX-License-Identifier: MIT */
#include "endings.h"

const struct ending_row ending_rows[N_ENDINGS] = {
#define ENDING(name, level, text) [ENDING_##name] = { #name, LOG_LEVEL_##level, text },
#include "endings.def"
#undef ENDING
};

enum ending ending_of_frame(int result)
{
    switch (result) {
    case FRAME_EOF:
        return ENDING_LEFT;
    case FRAME_CUT:
        return ENDING_CUT;
    case FRAME_FDS_LOST:
        return ENDING_DESCRIPTORS_LOST;
    case FRAME_TOO_MANY_FDS:
        return ENDING_BAD_DESCRIPTORS;
    case FRAME_BAD_VERSION:
        return ENDING_BAD_VERSION;
    case FRAME_TOO_LARGE:
        return ENDING_TOO_LARGE;
    case FRAME_TOO_SHORT:
        return ENDING_WRONG_SIZE;
    case -ENOMEM:
        return ENDING_NO_MEMORY;
    default:
        return ENDING_IO_ERROR;
    }
}

enum ending ending_of_check(enum check_result result)
{
    switch (result) {
    case CHECK_BAD_FLAGS:
        return ENDING_BAD_FLAGS;
    case CHECK_WRONG_SIZE:
        return ENDING_WRONG_SIZE;
    case CHECK_BAD_DESCRIPTORS:
        return ENDING_BAD_DESCRIPTORS;
    case CHECK_BAD_SPAN:
        return ENDING_BAD_SPAN;
    case CHECK_BAD_FIELD:
    case CHECK_OK:
        break;
    }
    return ENDING_BAD_FIELD;
}
