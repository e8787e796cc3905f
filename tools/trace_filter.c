/* SPDX-License-Identifier: MIT
 *
 * Parsed into an array of nodes; a node's operands stand before it. Depth is limited, because the
 * parser and the evaluation call themselves. */
#include "trace_filter.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

#define MAX_NODES 64
#define MAX_DEPTH 32
#define WORD_LEN 128
#define PATH_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_."
#define VALUE_CHARS PATH_CHARS "-:"

enum operation { OP_OR, OP_AND, OP_NOT, OP_IS, OP_EQ, OP_NE, OP_LE, OP_LT, OP_GE, OP_GT, OP_HAS };

struct node {
    enum operation op;
    int left, right; /* of OR, AND, NOT (left) */
    char path[WORD_LEN];
    char value[WORD_LEN];
};

struct trace_filter {
    struct node nodes[MAX_NODES];
    int n;
    int root;
};

struct parser {
    struct trace_filter *f;
    const char *text, *at;
    int depth;
    char *why;
    size_t why_len;
};

static int fail(struct parser *p, const char *what)
{
    if (p->why[0] == '\0') {
        snprintf(p->why, p->why_len, "column %zu: %s", (size_t)(p->at - p->text) + 1, what);
    }
    return -1;
}

static void skip_blanks(struct parser *p)
{
    p->at += strspn(p->at, " \t");
}

static bool take(struct parser *p, const char *token)
{
    skip_blanks(p);
    size_t len = strlen(token);
    if (strncmp(p->at, token, len) != 0) {
        return false;
    }
    p->at += len;
    return true;
}

static int new_node(struct parser *p, enum operation op, int left, int right)
{
    if (left < 0 || right < 0) {
        return -1;
    }
    if (p->f->n == MAX_NODES) {
        return fail(p, "too long");
    }
    p->f->nodes[p->f->n] = (struct node){ .op = op, .left = left, .right = right };
    return p->f->n++;
}

static bool take_word(struct parser *p, const char *chars, char *to)
{
    skip_blanks(p);
    size_t len = strspn(p->at, chars);
    if (len == 0 || len >= WORD_LEN) {
        return false;
    }
    memcpy(to, p->at, len);
    to[len] = '\0';
    p->at += len;
    return true;
}

static bool take_value(struct parser *p, char *to)
{
    skip_blanks(p);
    if (*p->at != '"') {
        return take_word(p, VALUE_CHARS, to);
    }
    const char *end = strchr(p->at + 1, '"');
    size_t len = end != NULL ? (size_t)(end - p->at) - 1 : WORD_LEN;
    if (len >= WORD_LEN) {
        return false;
    }
    memcpy(to, p->at + 1, len);
    to[len] = '\0';
    p->at = end + 1;
    return true;
}

static int parse_comparison(struct parser *p)
{
    static const struct {
        const char *token;
        enum operation op;
    } operators[] = { { "==", OP_EQ }, { "!=", OP_NE }, { "<=", OP_LE },        { "<", OP_LT },
                      { ">=", OP_GE }, { ">", OP_GT },  { "contains ", OP_HAS } };
    int i = new_node(p, OP_IS, 0, 0);
    if (i < 0 || !take_word(p, PATH_CHARS, p->f->nodes[i].path)) {
        return i < 0 ? i : fail(p, "a member's name is wanted (request, wire, fields.index, ...)");
    }
    for (size_t k = 0; k < ARRAY_SIZE(operators); k++) {
        if (take(p, operators[k].token)) {
            p->f->nodes[i].op = operators[k].op;
            return take_value(p, p->f->nodes[i].value) ? i : fail(p, "a value is wanted");
        }
    }
    return i;
}

static int parse_either(struct parser *p);

static int parse_one(struct parser *p)
{
    int i = -1;
    if (++p->depth > MAX_DEPTH) {
        return fail(p, "too deep");
    }
    if (take(p, "(")) {
        i = parse_either(p);
        if (i >= 0 && !take(p, ")")) {
            return fail(p, "a closing bracket is wanted");
        }
    } else if (take(p, "!")) {
        i = new_node(p, OP_NOT, parse_one(p), 0);
    } else {
        i = parse_comparison(p);
    }
    p->depth--;
    return i;
}

static int parse_both(struct parser *p)
{
    int i = parse_one(p);
    while (i >= 0 && take(p, "&&")) {
        i = new_node(p, OP_AND, i, parse_one(p));
    }
    return i;
}

static int parse_either(struct parser *p)
{
    int i = parse_both(p);
    while (i >= 0 && take(p, "||")) {
        i = new_node(p, OP_OR, i, parse_both(p));
    }
    return i;
}

struct trace_filter *trace_filter_parse(const char *text, char *why, size_t why_len)
{
    struct trace_filter *f = calloc(1, sizeof(*f));
    struct parser p = { .f = f, .text = text, .at = text, .why = why, .why_len = why_len };
    why[0] = '\0';
    if (f == NULL) {
        snprintf(why, why_len, "out of memory");
        return NULL;
    }
    f->root = parse_either(&p);
    skip_blanks(&p);
    if (f->root >= 0 && *p.at != '\0') {
        f->root = fail(&p, "&& or || is wanted");
    }
    return f->root >= 0 ? f : trace_filter_free(f);
}

struct trace_filter *trace_filter_free(struct trace_filter *f)
{
    free(f);
    return NULL;
}

/* ---- evaluation ---- */

static bool number_of(const char *text, int64_t *ret_number)
{
    char *end = NULL;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 0);
    *ret_number = (int64_t)n;
    return errno == 0 && end != text && *end == '\0' && n <= INT64_MAX;
}

static bool holds(enum operation op, int order)
{
    switch (op) {
    case OP_EQ:
        return order == 0;
    case OP_NE:
        return order != 0;
    case OP_LE:
        return order <= 0;
    case OP_LT:
        return order < 0;
    case OP_GE:
        return order >= 0;
    case OP_GT:
        return order > 0;
    default:
        return false;
    }
}

static bool is_set(const json_t *value)
{
    return !json_is_null(value) && !json_is_false(value) &&
           !(json_is_integer(value) && json_integer_value(value) == 0) &&
           !(json_is_array(value) && json_array_size(value) == 0);
}

static bool compare(const struct node *n, const json_t *value)
{
    char text[32];
    int64_t here;
    int64_t wanted;
    const char *shown = json_string_value(value);
    if (n->op == OP_IS) {
        return is_set(value);
    }
    if (json_is_integer(value)) {
        snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        shown = text;
    } else if (json_is_boolean(value)) {
        shown = json_is_true(value) ? "true" : "false";
    } else if (json_is_object(value)) { /* bits: their number */
        shown = json_string_value(json_object_get(value, "value"));
    }
    if (shown == NULL) {
        return false;
    }
    if (n->op == OP_HAS) {
        return strstr(shown, n->value) != NULL;
    }
    if (number_of(shown, &here) && number_of(n->value, &wanted)) {
        return holds(n->op, here < wanted ? -1 : here > wanted);
    }
    return holds(n->op, strcmp(shown, n->value));
}

/* The member at `path`; lists are any of their elements. The depth is that of our own JSON. */
static bool at_path(const struct node *n, json_t *value, const char *path)
{
    size_t i;
    json_t *element;
    if (json_is_array(value) && !(n->op == OP_IS && *path == '\0')) {
        json_array_foreach(value, i, element)
        {
            if (at_path(n, element, path)) {
                return true;
            }
        }
        return false;
    }
    if (*path == '\0') {
        return compare(n, value);
    }
    size_t len = strcspn(path, ".");
    char key[WORD_LEN];
    memcpy(key, path, len);
    key[len] = '\0';
    json_t *next = json_object_get(value, key);
    return next != NULL && at_path(n, next, path + len + (path[len] == '.' ? 1 : 0));
}

static bool matches(const struct trace_filter *f, int i, json_t *record)
{
    const struct node *n = &f->nodes[i];
    switch (n->op) {
    case OP_OR:
        return matches(f, n->left, record) || matches(f, n->right, record);
    case OP_AND:
        return matches(f, n->left, record) && matches(f, n->right, record);
    case OP_NOT:
        return !matches(f, n->left, record);
    default:
        return at_path(n, record, n->path);
    }
}

bool trace_filter_matches(const struct trace_filter *f, json_t *record)
{
    return matches(f, f->root, record);
}
