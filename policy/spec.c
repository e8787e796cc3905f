/* SPDX-License-Identifier: MIT */
#include "spec.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A word of the spec string: `key=value`, or a bare word (value NULL). Borrowed from the text. */
struct word {
    const char *key;
    size_t key_len;
    const char *value;
    size_t value_len;
};

struct parse {
    const char *spec;
    const struct store *store;
    const struct version *base; /* NULL: host, or a whole list */
    struct interface *out;
    struct spec_error *error;
    const char *device_word; /* where device= stands */
    uint64_t seen_features;
    uint64_t seen_protocol;
    uint64_t seen_limits; /* bits are rows of limit_rows */
    uint64_t seen_fields; /* bits are rows of config_rows */
};

/* Longest name of the tables, and then some. */
#define NAME_LEN 64

PRINTF_LIKE(4, 5)
static int fail(struct parse *p, const char *word, size_t len, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(p->error->text, sizeof(p->error->text), format, args);
    va_end(args);
    p->error->at = (size_t)(word - p->spec);
    p->error->word_len = len;
    return -EINVAL;
}

/* Walks the comma-separated words; false at the end. */
static bool next_word(const char **pos, struct word *ret_word)
{
    if (*pos == NULL) {
        return false;
    }
    const char *start = *pos;
    size_t len = strcspn(start, ",");
    const char *equals = memchr(start, '=', len);
    *ret_word = (struct word){ .key = start, .key_len = len };
    if (equals != NULL) {
        ret_word->key_len = (size_t)(equals - start);
        ret_word->value = equals + 1;
        ret_word->value_len = len - ret_word->key_len - 1;
    }
    *pos = start[len] == ',' ? start + len + 1 : NULL;
    return true;
}

static bool has_prefix(const struct word *w, const char *prefix)
{
    return w->key_len > strlen(prefix) && memcmp(w->key, prefix, strlen(prefix)) == 0;
}

static bool key_is(const struct word *w, const char *name)
{
    return name_equal(name, w->key, w->key_len);
}

static bool value_is(const struct word *w, const char *value)
{
    return strlen(value) == w->value_len && memcmp(w->value, value, w->value_len) == 0;
}

/* ---- the nearest name, for a word that nobody knows ---- */

static size_t distance(const char *a, size_t a_len, const char *b)
{
    size_t b_len = strlen(b);
    size_t row[NAME_LEN + 1];
    if (a_len > NAME_LEN || b_len > NAME_LEN) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[b_len];
}

struct nearest {
    const char *word;
    size_t len;
    size_t best;
    char name[NAME_LEN];
};

static void consider(struct nearest *n, const char *prefix, const char *name)
{
    char full[NAME_LEN];
    snprintf(full, sizeof(full), "%s%s", prefix, name);
    size_t d = distance(n->word, n->len, full);
    if (d < n->best) {
        n->best = d;
        memcpy(n->name, full, sizeof(full));
    }
}

static void consider_versions(struct nearest *n, const struct store *store)
{
    for (size_t i = 0; store != NULL && i < store->n; i++) {
        for (size_t k = 0; k < store->families[i]->n_versions; k++) {
            consider(n, "", store->families[i]->versions[k].full_name);
        }
    }
}

static const char *const plain_keys[] = { "device", "queues", "max_ring", "mem_slots", "host" };

/* A name that is off by at most a third of its letters counts as meant. */
static int fail_unknown(struct parse *p, const struct word *w, const char *what)
{
    struct nearest n = { .word = w->key, .len = w->key_len, .best = w->key_len / 3 + 1 };
    for (size_t i = 0; i < ARRAY_SIZE(plain_keys); i++) {
        consider(&n, "", plain_keys[i]);
    }
    for (size_t i = 0; i < n_feature_rows; i++) {
        if (feature_rows[i].how != FEATURE_VHOST) {
            consider(&n, "", feature_rows[i].name);
        }
    }
    for (size_t i = 0; i < n_protocol_rows; i++) {
        consider(&n, "protocol.", protocol_rows[i].name);
    }
    for (size_t i = 0; i < n_config_rows; i++) {
        consider(&n, "config.", config_rows[i].name);
    }
    if (w->value == NULL) {
        consider_versions(&n, p->store);
    }
    if (n.name[0] != '\0') {
        return fail(p, w->key, w->key_len, "%s (did you mean %s?)", what, n.name);
    }
    return fail(p, w->key, w->key_len, "%s (see vushim help spec)", what);
}

/* ---- which kind of device ---- */

/* The word names something that only some kinds of device have. */
static bool word_is_of_device(const struct word *w, enum device_type device)
{
    if (has_prefix(w, "config.")) {
        return config_of_name(device, w->key + 7, w->key_len - 7) != NULL;
    }
    return feature_of_name(device, w->key, w->key_len) != NULL;
}

static bool word_is_common(const struct word *w)
{
    for (size_t i = 0; i < ARRAY_SIZE(plain_keys); i++) {
        if (key_is(w, plain_keys[i])) {
            return true;
        }
    }
    return w->value == NULL || has_prefix(w, "protocol.") ||
           feature_of_name(DEVICE_UNKNOWN, w->key, w->key_len) != NULL;
}

/* A name that some device has, so that a conflict is told from a typing error. */
static bool word_is_known(const struct word *w)
{
    for (unsigned d = DEVICE_NET; d < N_DEVICE_TYPES; d++) {
        if (word_is_of_device(w, (enum device_type)d)) {
            return true;
        }
    }
    return false;
}

static bool device_has_all(const char *spec, enum device_type device)
{
    struct word w;
    const char *pos = spec;
    while (next_word(&pos, &w)) {
        if (!word_is_common(&w) && !word_is_of_device(&w, device)) {
            return false;
        }
    }
    return true;
}

static int device_by_key(struct parse *p, const struct word *w)
{
    enum device_type before = p->out->device;
    if (p->device_word != NULL && p->device_word != w->key) {
        return fail(p, w->key, w->key_len, "given twice");
    }
    p->device_word = w->key;
    if (w->value == NULL || !device_of_name(w->value, w->value_len, &p->out->device)) {
        return fail(p, w->key, w->key_len,
                    "no such kind of device (net, blk, scsi, fs, vsock, gpu, crypto or input)");
    }
    if (p->base != NULL && p->out->device != before) {
        return fail(p, w->key, w->key_len, "%s is for %s devices", p->base->full_name,
                    device_name(before));
    }
    return 0;
}

static int find_device(struct parse *p)
{
    struct word w;
    bool all_common = true;
    if (p->base != NULL) {
        return 0; /* the version's, and names are looked up there */
    }
    const char *pos = p->spec;
    while (next_word(&pos, &w)) {
        if (key_is(&w, "device") && w.value != NULL) {
            return device_by_key(p, &w);
        }
        if (!word_is_common(&w)) {
            all_common = false;
            if (!word_is_known(&w)) {
                return fail_unknown(p, &w, "unknown name");
            }
        }
    }
    for (unsigned d = DEVICE_NET; d < N_DEVICE_TYPES && !all_common; d++) {
        if (device_has_all(p->spec, (enum device_type)d)) {
            p->out->device = (enum device_type)d;
            return 0;
        }
    }
    if (!all_common) {
        return fail(p, p->spec, strlen(p->spec), "no kind of device has all these names");
    }
    return 0;
}

/* ---- one word each ---- */

static int parse_number(struct parse *p, const struct word *w, uint64_t least, uint64_t most,
                        uint64_t *ret_value)
{
    char digits[24];
    char *end = NULL;
    if (w->value_len == 0 || w->value_len >= sizeof(digits) || w->value[0] == '-') {
        return fail(p, w->value, w->value_len, "not a number from %" PRIu64 " to %" PRIu64, least,
                    most);
    }
    memcpy(digits, w->value, w->value_len);
    digits[w->value_len] = '\0';
    errno = 0;
    bool hex = digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');
    uint64_t value = strtoull(digits, &end, hex ? 16 : 10);
    if (errno != 0 || *end != '\0' || value < least || value > most || digits[0] < '0' ||
        digits[0] > '9') {
        return fail(p, w->value, w->value_len, "not a number from %" PRIu64 " to %" PRIu64, least,
                    most);
    }
    *ret_value = value;
    return 0;
}

static int parse_limit(struct parse *p, const struct word *w, const struct limit_row *row)
{
    uint64_t value = 0;
    uint32_t *limit = (uint32_t *)(void *)((char *)p->out + row->offset);
    uint64_t bit = BIT(row - limit_rows);
    if ((p->seen_limits & bit) != 0) {
        return fail(p, w->key, w->key_len, "given twice");
    }
    p->seen_limits |= bit;
    int err = parse_number(p, w, 1, row->most, &value);
    if (err < 0) {
        return err;
    }
    /* The protocol's own limit is what holds where nothing is said. */
    *limit = value == row->most ? 0 : (uint32_t)value;
    if (limit == &p->out->max_ring && (value & (value - 1)) != 0) {
        return fail(p, w->value, w->value_len, "a ring size is a power of two");
    }
    return 0;
}

static int parse_protocol(struct parse *p, const struct word *w)
{
    const struct protocol_row *row = protocol_of_name(w->key + 9, w->key_len - 9);
    if (row == NULL) {
        return fail_unknown(p, w, "unknown protocol feature");
    }
    if ((p->seen_protocol & BIT(row->bit)) != 0) {
        return fail(p, w->key, w->key_len, "given twice");
    }
    p->seen_protocol |= BIT(row->bit);
    if (value_is(w, "on")) {
        p->out->protocol_on |= BIT(row->bit);
        p->out->protocol_off &= ~BIT(row->bit);
    } else if (value_is(w, "off")) {
        p->out->protocol_off |= BIT(row->bit);
        p->out->protocol_on &= ~BIT(row->bit);
    } else {
        return fail(p, w->value, w->value_len, "not a setting of a protocol feature (on or off)");
    }
    return 0;
}

static int parse_config(struct parse *p, const struct word *w)
{
    struct interface *i = p->out;
    const struct config_row *row = config_of_name(i->device, w->key + 7, w->key_len - 7);
    if (row == NULL) {
        return fail_unknown(p, w, "unknown configuration field of this kind of device");
    }
    if ((row->traits & CONFIG_TEXT) != 0) {
        return fail(p, w->key, w->key_len, "this field is not a number and cannot be pinned");
    }
    uint64_t value = 0;
    uint64_t most = row->size == 8 ? UINT64_MAX : BIT(8 * row->size) - 1;
    bool min = w->value_len > 4 && memcmp(w->value, "min:", 4) == 0;
    struct word number = *w;
    number.value += min ? 4 : 0;
    number.value_len -= min ? 4 : 0;
    int err = parse_number(p, &number, 0, most, &value);
    if (err < 0) {
        return err;
    }
    uint64_t bit = BIT(row - config_rows);
    if ((p->seen_fields & bit) != 0) {
        return fail(p, w->key, w->key_len, "given twice");
    }
    p->seen_fields |= bit;
    interface_pin(i, &(struct config_pin){ row, value, min ? PIN_MIN : PIN_VALUE });
    return 0;
}

static int parse_feature(struct parse *p, const struct word *w)
{
    struct interface *i = p->out;
    const struct feature_row *row = feature_of_name(i->device, w->key, w->key_len);
    if (key_is(w, "host")) {
        return fail(p, w->key, w->key_len, "stands alone, and first (write host,NAME=off)");
    }
    if (row == NULL && word_is_known(w)) {
        return fail(p, w->key, w->key_len, "no feature of a %s device", device_name(i->device));
    }
    if (row == NULL) {
        return fail_unknown(p, w, "unknown name");
    }
    if (row->how == FEATURE_VHOST) {
        return fail(p, w->key, w->key_len, "no guest sees this bit: it passes by itself");
    }
    if ((p->seen_features & BIT(row->bit)) != 0) {
        return fail(p, w->key, w->key_len, "given twice");
    }
    p->seen_features |= BIT(row->bit);
    i->on &= ~BIT(row->bit);
    i->front &= ~BIT(row->bit);
    if (value_is(w, "on")) {
        i->on |= BIT(row->bit);
    } else if (value_is(w, "off")) {
        i->off |= BIT(row->bit);
    } else if (value_is(w, "front") && row->how != FEATURE_LAYOUT) {
        i->front |= BIT(row->bit);
    } else if (value_is(w, "front")) {
        return fail(p, w->value, w->value_len,
                    "this bit changes the layout of rings or buffers: both sides need it");
    } else {
        return fail(p, w->value, w->value_len, "not a setting of a feature (on, off or front)");
    }
    return 0;
}

static int parse_word(struct parse *p, const struct word *w)
{
    if (w->value == NULL) {
        return fail(p, w->key, w->key_len, "has no value (write NAME=on, NAME=off or NAME=NUMBER)");
    }
    if (key_is(w, "device")) {
        return device_by_key(p, w);
    }
    for (size_t i = 0; i < N_LIMITS; i++) {
        if (key_is(w, limit_rows[i].name)) {
            return parse_limit(p, w, &limit_rows[i]);
        }
    }
    if (has_prefix(w, "protocol.")) {
        return parse_protocol(p, w);
    }
    if (has_prefix(w, "config.")) {
        return parse_config(p, w);
    }
    return parse_feature(p, w);
}

/* What a change takes away from a named version, it takes from what stood on it too; unless the
 * spec string itself wants that. */
static int close_changes(struct parse *p)
{
    struct interface *i = p->out;
    char names[128];
    if (p->base == NULL) {
        return 0;
    }
    uint64_t before = p->base->interface.on | i->on;
    uint64_t protocol = protocol_close((protocol_shown() | i->protocol_on) & ~i->protocol_off);
    uint64_t kept = features_close(i->device, before, i->on, protocol);
    uint64_t contradicted = p->seen_features & i->on & ~kept;
    if (contradicted != 0) {
        features_print(i->device, contradicted, names, sizeof(names));
        return fail(p, p->spec, strlen(p->spec), "on, but what it needs is off: %s", names);
    }
    i->on = kept;
    i->protocol_on &= protocol;
    return 0;
}

/* Withholding what is not shown anyway says nothing. On top of plain host, where everything is
 * shown, it says that no such thing is, whichever of them was named. */
static void normalise(struct interface *i)
{
    uint64_t on_request = protocol_known() & ~protocol_shown();
    bool named = (i->protocol_off & on_request) != 0;
    i->protocol_off &= ~on_request;
    if (named && interface_is_transparent(i)) {
        i->protocol_off = on_request;
    }
}

static int check_contradictions(struct parse *p)
{
    char why[256];
    if (interface_consistent(p->out, why, sizeof(why))) {
        return 0;
    }
    return fail(p, p->spec, strlen(p->spec), "%s", why);
}

/* The first word may be a base instead of a setting. */
static int parse_base(struct parse *p, const struct word *w)
{
    if (w->value != NULL) {
        return parse_word(p, w);
    }
    if (key_is(w, "host")) {
        p->out->host = true;
        return 0;
    }
    if (p->base != NULL) {
        return 0;
    }
    return fail_unknown(p, w, w->key_len == 0 ? "empty" : "unknown profile");
}

bool spec_is_named(const char *spec)
{
    struct word w = { .key = spec };
    const char *pos = spec;
    return next_word(&pos, &w) && w.value == NULL && w.key_len > 0 && !key_is(&w, "host");
}

int spec_parse(const char *spec, const struct store *store, struct interface *ret_interface,
               struct spec_error *ret_error)
{
    struct interface out = { .device = DEVICE_UNKNOWN };
    struct parse p = { .spec = spec, .store = store, .out = &out, .error = ret_error };
    struct word w = { .key = spec };
    const char *pos = spec;
    if (store != NULL && spec_is_named(spec)) {
        p.base = store_find(store, spec, strcspn(spec, ","), NULL);
    }
    if (p.base != NULL) {
        out = p.base->interface;
    }
    int err = find_device(&p);
    if (err == 0 && next_word(&pos, &w)) {
        err = parse_base(&p, &w);
    }
    while (err == 0 && next_word(&pos, &w)) {
        err =
            w.key_len == 0 ? fail(&p, w.key, 0, "nothing between two commas") : parse_word(&p, &w);
    }
    if (err == 0) {
        normalise(&out);
        err = close_changes(&p);
    }
    if (err == 0 && interface_is_empty(&out) && out.device == DEVICE_UNKNOWN) {
        err =
            fail(&p, spec, strlen(spec), "nothing is on (write host for what the back-end offers)");
    }
    if (err == 0) {
        err = check_contradictions(&p);
    }
    if (err == 0) {
        *ret_interface = out;
    }
    return err;
}
