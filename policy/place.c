/* SPDX-License-Identifier: MIT */
#include "place.h"

#include <stdbool.h>
#include <string.h>

static const char *skip_blank(const char *c)
{
    return c + strspn(c, " \t\r\n");
}

/* Behind the string that begins at `c`. */
static const char *skip_string(const char *c)
{
    for (c++; *c != '\0' && *c != '"'; c++) {
        if (*c == '\\' && c[1] != '\0') {
            c++;
        }
    }
    return *c == '"' ? c + 1 : c;
}

/* Behind the value that begins at `c`. */
static const char *skip_value(const char *c)
{
    int depth = 0;
    do {
        c = skip_blank(c);
        if (*c == '"') {
            c = skip_string(c);
        } else if (*c == '{' || *c == '[') {
            depth++;
            c++;
        } else if (*c == '}' || *c == ']') {
            depth--;
            c++;
        } else if (*c == ',' || *c == ':') {
            c++;
        } else if (*c != '\0') {
            c += strcspn(c, " \t\r\n,:]}");
        }
    } while (depth > 0 && *c != '\0');
    return c;
}

static bool string_is(const char *c, const char *word)
{
    size_t len = strlen(word);
    return *c == '"' && strncmp(c + 1, word, len) == 0 && c[1 + len] == '"';
}

/* The key of an object; NULL when it has none of that name. */
static const char *find_key(const char *scope, const char *key)
{
    const char *c = skip_blank(scope);
    if (*c != '{') {
        return NULL;
    }
    c = skip_blank(c + 1);
    while (*c == '"') {
        if (string_is(c, key)) {
            return c;
        }
        c = skip_blank(skip_string(c));
        c = skip_blank(skip_value(c + 1)); /* past the colon */
        c = *c == ',' ? skip_blank(c + 1) : c;
    }
    return NULL;
}

static const char *find_string(const char *scope, const char *word)
{
    const char *end = skip_value(scope);
    for (const char *c = scope; c < end; c++) {
        if (string_is(c, word)) {
            return c;
        }
        if (*c == '"') {
            c = skip_string(c) - 1;
        }
    }
    return NULL;
}

struct place place_of_word(const char *text, const char *scope, const char *word)
{
    struct place p = { .line = 1, .column = 1 };
    const char *at = find_key(scope, word);
    at = at != NULL ? at : find_string(scope, word);
    at = at != NULL ? at + 1 : skip_blank(scope);
    for (const char *c = text; c < at; c++) {
        p.line += *c == '\n' ? 1 : 0;
        p.column = *c == '\n' ? 1 : p.column + 1;
    }
    return p;
}

const char *place_of_value(const char *scope, const char *key)
{
    const char *c = find_key(scope, key);
    if (c == NULL) {
        return scope;
    }
    return skip_blank(skip_blank(skip_string(c)) + 1);
}

const char *place_of_element(const char *scope, size_t i)
{
    const char *c = skip_blank(scope);
    if (*c != '[') {
        return scope;
    }
    c = skip_blank(c + 1);
    while (i > 0 && *c != ']' && *c != '\0') {
        c = skip_blank(skip_value(c));
        c = *c == ',' ? skip_blank(c + 1) : c;
        i--;
    }
    return c;
}
