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

#include "message.h"
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

/* ---- what there is to ask for: a word that no record has is a mistake, not an empty answer ---- */

/* "features", "features.names", "index", "nofd" */
static bool has_field(const struct payload *p, const char *name)
{
    for (size_t i = 0; i < p->n_fields; i++) {
        const struct field *f = &p->fields[i];
        size_t len = strlen(f->name);
        bool bits = f->kind == KIND_FEATURES || f->kind == KIND_PROTOCOL_FEATURES;
        if (f->kind == KIND_VRING_FD && strcmp(name, "nofd") == 0) {
            return true;
        }
        if (f->kind == KIND_PAD || strncmp(name, f->name, len) != 0) {
            continue;
        }
        const char *rest = name + len;
        if (*rest == '\0' ||
            (bits && (strcmp(rest, ".names") == 0 || strcmp(rest, ".value") == 0))) {
            return true;
        }
    }
    return false;
}

/* "regions", "regions.size" */
static bool has_element(const struct payload *p, const char *name)
{
    if (p->tail != TAIL_REPEAT) {
        return false;
    }
    const struct payload *element = &payloads[p->tail_element];
    size_t len = strlen(element->name);
    if (strncmp(name, element->name, len) != 0 || name[len] != 's') {
        return false;
    }
    const char *rest = name + len + 1;
    return *rest == '\0' || (*rest == '.' && has_field(element, rest + 1));
}

static bool is_member(const char *path)
{
    static const char *const members[] = {
        "number",       "time",      "life",     "wire",           "direction",
        "kind",         "request",   "id",       "reply",          "need_reply",
        "size",         "fields",    "fds",      "origin",         "before",
        "name",         "text",      "lost",     "request_number", "latency_ns",
        "fds.role",     "fds.inode", "fds.kind", "fds.size",       "fields.bytes",
        "before.bytes",
    };
    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        if (strcmp(path, members[i]) == 0) {
            return true;
        }
    }
    if (strncmp(path, "fields.", 7) != 0 && strncmp(path, "before.", 7) != 0) {
        return false;
    }
    for (size_t i = 0; i < N_PAYLOADS; i++) {
        if (has_field(&payloads[i], path + 7) || has_element(&payloads[i], path + 7)) {
            return true;
        }
    }
    return false;
}

/* A message without a row has its number in its name. */
static bool is_request(const char *name)
{
    const struct message_row *row;
    for (unsigned space = SPACE_FRONT; space <= SPACE_BACK; space++) {
        for (size_t i = 0; (row = message_row_at((enum wire_space)space, i)) != NULL; i++) {
            if (strcmp(row->name, name) == 0) {
                return true;
            }
        }
    }
    return strncmp(name, "unknown(", strlen("unknown(")) == 0;
}

static bool no_such(struct parser *p, const char *at, const char *what, const char *word)
{
    char text[WORD_LEN + 64];
    snprintf(text, sizeof(text), "no record has %s %s (see vushim-trace(1))", what, word);
    p->at = at;
    return fail(p, text);
}

static bool parse_value(struct parser *p, struct node *node)
{
    skip_blanks(p);
    const char *at = p->at;
    if (!take_value(p, node->value)) {
        return fail(p, "a value is wanted");
    }
    bool whole = node->op == OP_EQ || node->op == OP_NE;
    if (whole && strcmp(node->path, "request") == 0 && !is_request(node->value)) {
        return no_such(p, at, "the message", node->value);
    }
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
    skip_blanks(p);
    const char *at = p->at;
    if (!take_word(p, PATH_CHARS, node->path)) {
        return fail(p, "a member's name is wanted (request, wire, fields.index, ...)");
    }
    if (!is_member(node->path)) {
        return no_such(p, at, "the member", node->path);
    }
    for (size_t k = 0; k < ARRAY_SIZE(operators); k++) {
        if (take(p, operators[k].token)) {
            node->op = operators[k].op;
            return parse_value(p, node);
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
