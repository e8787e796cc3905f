/* SPDX-License-Identifier: MIT
 *
 * Parsed into reverse Polish order with a stack of operators (Dijkstra's shunting yard), so that
 * nothing calls itself, whatever the text is. */
#include "trace_filter.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

#define MAX_NODES 64
/* Values that one path can mean: every descriptor of a message, or every name of a set. */
#define MAX_VALUES 512
#define WORD_LEN 128
#define PATH_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_."
#define VALUE_CHARS PATH_CHARS "-:"

/* Those that join others, the one that binds least first. */
enum operation {
    OP_OPEN,
    OP_OR,
    OP_AND,
    OP_NOT,
    OP_IS,
    OP_EQ,
    OP_NE,
    OP_LE,
    OP_LT,
    OP_GE,
    OP_GT,
    OP_HAS
};

struct node {
    enum operation op;
    char path[WORD_LEN];
    char value[WORD_LEN];
};

struct trace_filter {
    struct node nodes[MAX_NODES]; /* operands stand before their operator */
    size_t n;
};

struct parser {
    struct trace_filter *f;
    const char *text, *at;
    enum operation waiting[MAX_NODES]; /* operators whose right side is not complete */
    size_t n_waiting;
    char *why;
    size_t why_len;
};

static bool fail(struct parser *p, const char *what)
{
    if (p->why[0] == '\0') {
        snprintf(p->why, p->why_len, "column %zu: %s", (size_t)(p->at - p->text) + 1, what);
    }
    return false;
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

static struct node *new_node(struct parser *p, enum operation op)
{
    if (p->f->n == MAX_NODES) {
        fail(p, "too long");
        return NULL;
    }
    p->f->nodes[p->f->n] = (struct node){ .op = op };
    return &p->f->nodes[p->f->n++];
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

static bool parse_comparison(struct parser *p)
{
    static const struct {
        const char *token;
        enum operation op;
    } operators[] = { { "==", OP_EQ }, { "!=", OP_NE }, { "<=", OP_LE },        { "<", OP_LT },
                      { ">=", OP_GE }, { ">", OP_GT },  { "contains ", OP_HAS } };
    struct node *node = new_node(p, OP_IS);
    if (node == NULL) {
        return false;
    }
    if (!take_word(p, PATH_CHARS, node->path)) {
        return fail(p, "a member's name is wanted (request, wire, fields.index, ...)");
    }
    for (size_t k = 0; k < ARRAY_SIZE(operators); k++) {
        if (take(p, operators[k].token)) {
            node->op = operators[k].op;
            return take_value(p, node->value) || fail(p, "a value is wanted");
        }
    }
    return true;
}

static bool wait_with(struct parser *p, enum operation op)
{
    if (p->n_waiting == MAX_NODES) {
        return fail(p, "too long");
    }
    p->waiting[p->n_waiting++] = op;
    return true;
}

/* What waits and binds at least as much as `op` has its right side now. */
static bool complete(struct parser *p, enum operation op)
{
    while (p->n_waiting > 0 && p->waiting[p->n_waiting - 1] >= op) {
        if (new_node(p, p->waiting[--p->n_waiting]) == NULL) {
            return false;
        }
    }
    return true;
}

static bool close_bracket(struct parser *p)
{
    if (!complete(p, OP_OR)) {
        return false;
    }
    if (p->n_waiting == 0) {
        return fail(p, "&& or || is wanted");
    }
    p->n_waiting--;
    return true;
}

/* An operand, or what stands before one. */
static bool parse_operand(struct parser *p, bool *ret_complete)
{
    *ret_complete = false;
    if (take(p, "(")) {
        return wait_with(p, OP_OPEN);
    }
    if (take(p, "!")) {
        return wait_with(p, OP_NOT);
    }
    *ret_complete = true;
    return parse_comparison(p);
}

/* What may follow an operand. */
static bool parse_operator(struct parser *p, bool *ret_complete)
{
    *ret_complete = false;
    if (take(p, "&&")) {
        return complete(p, OP_AND) && wait_with(p, OP_AND);
    }
    if (take(p, "||")) {
        return complete(p, OP_OR) && wait_with(p, OP_OR);
    }
    *ret_complete = true;
    if (*p->at == ')') {
        return close_bracket(p) && take(p, ")");
    }
    return fail(p, "&& or || is wanted");
}

static bool parse(struct parser *p)
{
    bool operand = false; /* one is complete */
    skip_blanks(p);
    while (*p->at != '\0' || !operand) {
        bool good = operand ? parse_operator(p, &operand) : parse_operand(p, &operand);
        if (!good) {
            return false;
        }
        skip_blanks(p);
    }
    return complete(p, OP_OR) && (p->n_waiting == 0 || fail(p, "a closing bracket is wanted"));
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
    return parse(&p) ? f : trace_filter_free(f);
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

/* The values among `values` without lists: each list's elements in its place. */
static size_t flatten(json_t *const *values, size_t n, json_t **ret_values)
{
    size_t flat = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k;
        json_t *element;
        if (!json_is_array(values[i]) && flat < MAX_VALUES) {
            ret_values[flat++] = values[i];
        }
        json_array_foreach(values[i], k, element)
        {
            if (flat < MAX_VALUES) {
                ret_values[flat++] = element;
            }
        }
    }
    return flat;
}

/* Whether one of the values at the node's path fits. */
static bool any_fits(const struct node *node, json_t *record)
{
    json_t *values[MAX_VALUES];
    json_t *flat[MAX_VALUES];
    size_t n = 1;
    values[0] = record;
    for (const char *path = node->path; *path != '\0';) {
        char key[WORD_LEN];
        size_t len = strcspn(path, ".");
        memcpy(key, path, len);
        key[len] = '\0';
        path += len + (path[len] == '.' ? 1 : 0);
        size_t n_flat = flatten(values, n, flat);
        n = 0;
        for (size_t i = 0; i < n_flat; i++) {
            json_t *value = json_object_get(flat[i], key);
            if (value != NULL) {
                values[n++] = value;
            }
        }
    }
    if (node->op != OP_IS) {
        n = flatten(values, n, flat);
        memcpy(values, flat, n * sizeof(json_t *));
    }
    for (size_t i = 0; i < n; i++) {
        if (compare(node, values[i])) {
            return true;
        }
    }
    return false;
}

bool trace_filter_matches(const struct trace_filter *f, json_t *record)
{
    bool stack[MAX_NODES] = { false };
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++) {
        const struct node *node = &f->nodes[i];
        if (node->op == OP_NOT) {
            stack[n - 1] = !stack[n - 1];
        } else if (node->op == OP_AND || node->op == OP_OR) {
            n--;
            stack[n - 1] = node->op == OP_AND ? stack[n - 1] && stack[n] : stack[n - 1] || stack[n];
        } else {
            stack[n++] = any_fits(node, record);
        }
    }
    return stack[0];
}
