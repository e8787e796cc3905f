/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdint.h>

/* One line of the log, at once: a kill loses none. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Something that a correct front-end never does. */
#define WRONG(...) say("WRONG " __VA_ARGS__)

void die(const char *what) __attribute__((noreturn));
uint64_t now_us(void);
void close_fd(int *fd);
