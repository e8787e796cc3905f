/* SPDX-License-Identifier: MIT
 *
 * Where things stand in the text of a JSON file, for error messages. The text must be valid JSON: it is
 * walked only after a parser has taken it. */
#pragma once

#include <stddef.h>

struct place {
    int line;
    int column;
};

/* `scope` points to the value that is being read. The place of the key `word` of it, else of the first
 * string `word` inside, else of the value itself. */
struct place place_of_word(const char *text, const char *scope, const char *word);
/* The value of a key of an object; `scope` when it has no such key. */
const char *place_of_value(const char *scope, const char *key);
/* The i-th element of an array; `scope` when there is none. */
const char *place_of_element(const char *scope, size_t i);
