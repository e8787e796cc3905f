/* SPDX-License-Identifier: MIT */
#include "family.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "place.h"

/* One file on its way to a family. jansson keeps no positions of values, so an error finds its word
 * again in the text, in the value that is being read (place.h). */
struct reading {
    const char *path;
    const char *text;
    size_t len;
    const char *scope;   /* in the text: the value that is being read */
    const char *version; /* its name, once it is known */
    struct family *family;
    struct family_error *error;
};

/* Longest word that is repeated in an error. */
#define WORD_MOST 80

PRINTF_LIKE(3, 4)
static int fail(struct reading *r, const char *word, const char *format, ...)
{
    char what[256];
    struct place place = place_of_word(r->text, r->scope, word);
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    snprintf(r->error->text, sizeof(r->error->text), "%s:%d:%d: '%.*s'%s%.*s: %s", r->path,
             place.line, place.column, WORD_MOST, word, r->version != NULL ? " in version " : "",
             WORD_MOST, r->version != NULL ? r->version : "", what);
    return -EINVAL;
}

/* Reads on inside the value of a key; returns where reading was before. */
static const char *enter(struct reading *r, const char *key)
{
    const char *before = r->scope;
    r->scope = place_of_value(r->scope, key);
    return before;
}

/* ---- fields of JSON ---- */

static int read_string(struct reading *r, const json_t *object, const char *key, bool required,
                       char **ret_text)
{
    const json_t *value = json_object_get(object, key);
    if (value == NULL && !required) {
        return 0;
    }
    if (!json_is_string(value) || json_string_length(value) == 0) {
        return fail(r, key, "a text is needed here");
    }
    *ret_text = strdup(json_string_value(value));
    return *ret_text != NULL ? 0 : -ENOMEM;
}

static int only_known_keys(struct reading *r, json_t *object, const char *const *keys)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        size_t i = 0;
        while (keys[i] != NULL && strcmp(keys[i], key) != 0) {
            i++;
        }
        if (keys[i] == NULL) {
            return fail(r, key, "unknown key");
        }
    }
    return 0;
}

/* Names to bits, by a table's look-up. */
typedef int bit_of_name_fn(struct reading *r, const char *name, uint64_t *ret_bit);

static int feature_bit(struct reading *r, const char *name, uint64_t *ret_bit)
{
    const struct feature_row *row = feature_of_name(r->family->device, name, strlen(name));
    if (row == NULL || row->how == FEATURE_VHOST) {
        return fail(r, name, "no feature of a %s device", device_name(r->family->device));
    }
    *ret_bit = BIT(row->bit);
    return 0;
}

static int protocol_bit(struct reading *r, const char *name, uint64_t *ret_bit)
{
    const struct protocol_row *row = protocol_of_name(name, strlen(name));
    if (row == NULL) {
        return fail(r, name, "no protocol feature");
    }
    *ret_bit = BIT(row->bit);
    return 0;
}

/* A list of names; bits of `forbidden` may not be in it, for the reason in `why`. */
static int read_names(struct reading *r, const char *key, json_t *list, bit_of_name_fn *bit_of,
                      uint64_t forbidden, const char *why, uint64_t *ret_bits)
{
    uint64_t bits = 0;
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        uint64_t bit = 0;
        const char *name = json_string_value(item);
        if (name == NULL) {
            r->scope = place_of_element(r->scope, i);
            return fail(r, key, "names are needed here");
        }
        int err = bit_of(r, name, &bit);
        if (err < 0) {
            return err;
        }
        if ((bits & bit) != 0) {
            return fail(r, name, "stands twice in this list");
        }
        if ((forbidden & bit) != 0) {
            return fail(r, name, "%s", why);
        }
        bits |= bit;
    }
    *ret_bits = bits;
    return 0;
}

/* The list under a key, if there is one. */
static int read_list(struct reading *r, const json_t *object, const char *key,
                     bit_of_name_fn *bit_of, uint64_t forbidden, const char *why,
                     uint64_t *ret_bits)
{
    json_t *list = json_object_get(object, key);
    if (list == NULL) {
        return 0;
    }
    if (!json_is_array(list)) {
        return fail(r, key, "a list of names is needed here");
    }
    const char *before = enter(r, key);
    int err = read_names(r, key, list, bit_of, forbidden, why, ret_bits);
    r->scope = before;
    return err;
}

/* {"add": [...], "remove": [...]} on top of the version that this one is based on. */
static int read_changes(struct reading *r, json_t *changes, bit_of_name_fn *bit_of, uint64_t *bits)
{
    static const char *const keys[] = { "add", "remove", NULL };
    uint64_t add = 0;
    uint64_t remove = 0;
    int err = only_known_keys(r, changes, keys);
    if (err == 0) {
        err = read_list(r, changes, "add", bit_of, *bits, "is there already", &add);
    }
    if (err == 0) {
        err =
            read_list(r, changes, "remove", bit_of, ~*bits, "is not there to be removed", &remove);
    }
    *bits = (*bits | add) & ~remove;
    return err;
}

/* A whole list, or changes. */
static int read_bits(struct reading *r, const json_t *version, const char *key, bool based,
                     bit_of_name_fn *bit_of, uint64_t *bits)
{
    json_t *value = json_object_get(version, key);
    if (value == NULL) {
        return based ? 0 : fail(r, key, "is missing");
    }
    if (!based || !json_is_object(value)) {
        return read_list(r, version, key, bit_of, 0, "", bits);
    }
    const char *before = enter(r, key);
    int err = read_changes(r, value, bit_of, bits);
    r->scope = before;
    return err;
}

static int read_limit(struct reading *r, const json_t *version, const struct limit_row *row,
                      struct interface *i)
{
    const json_t *value = json_object_get(version, row->name);
    uint32_t *limit = (uint32_t *)(void *)((char *)i + row->offset);
    if (value == NULL) {
        return 0;
    }
    if (json_is_null(value)) {
        *limit = 0;
        return 0;
    }
    json_int_t n = json_integer_value(value);
    if (!json_is_integer(value) || n < 1 || n > row->most) {
        return fail(r, row->name, "a whole number from 1 to %u is needed here", row->most);
    }
    *limit = n == row->most ? 0 : (uint32_t)n;
    if (limit == &i->max_ring && (n & (n - 1)) != 0) {
        return fail(r, row->name, "%d is no power of two, and a ring size is", (int)n);
    }
    return 0;
}

/* "pass", {"pin": N} or {"min": N}. */
static int read_config_field(struct reading *r, const char *key, const json_t *value,
                             struct interface *i)
{
    const struct config_row *row = config_of_name(i->device, key, strlen(key));
    struct config_pin pin = { .row = row, .mode = PIN_VALUE };
    if (row == NULL) {
        return fail(r, key, "no configuration field of a %s device", device_name(i->device));
    }
    if (json_is_string(value) && strcmp(json_string_value(value), "pass") == 0) {
        interface_unpin(i, row);
        return 0;
    }
    const json_t *number = json_object_get(value, "pin");
    if (number == NULL) {
        number = json_object_get(value, "min");
        pin.mode = PIN_MIN;
    }
    if (!json_is_integer(number) || json_object_size(value) != 1 ||
        (row->traits & CONFIG_TEXT) != 0) {
        return fail(r, key, "\"pass\", {\"pin\": NUMBER} or {\"min\": NUMBER} is needed here");
    }
    pin.value = (uint64_t)json_integer_value(number);
    if (json_integer_value(number) < 0 || (row->size < 8 && pin.value > BIT(8 * row->size) - 1)) {
        return fail(r, key, "the number does not fit the field's %u bytes", row->size);
    }
    interface_pin(i, &pin);
    return 0;
}

static int read_config(struct reading *r, const json_t *version, struct interface *i)
{
    json_t *config = json_object_get(version, "config");
    const char *key;
    json_t *value;
    if (config == NULL) {
        return 0;
    }
    if (!json_is_object(config)) {
        return fail(r, "config", "an object of fields is needed here");
    }
    const char *before = enter(r, "config");
    int err = 0;
    json_object_foreach(config, key, value)
    {
        err = err < 0 ? err : read_config_field(r, key, value, i);
    }
    r->scope = before;
    return err;
}

/* ---- versions ---- */

static const struct version *version_of_name(const struct family *f, const char *name)
{
    for (size_t i = 0; i < f->n_versions; i++) {
        if (strcmp(f->versions[i].name, name) == 0) {
            return &f->versions[i];
        }
    }
    return NULL;
}

/* Only earlier versions can be named, so there are no cycles. */
static int read_base(struct reading *r, const json_t *object, struct interface *i, bool *ret_based)
{
    char *base_name = NULL;
    int err = read_string(r, object, "based_on", false, &base_name);
    if (err < 0 || base_name == NULL) {
        return err;
    }
    const struct version *base = version_of_name(r->family, base_name);
    if (base == NULL) {
        const char *before = enter(r, "based_on");
        err = fail(r, base_name, "based_on must name an earlier version of this file");
        r->scope = before;
    } else {
        *i = base->interface;
        *ret_based = true;
    }
    free(base_name);
    return err;
}

/* Protocol features of a version are all that it shows: the rest of what vushim would let through
 * is withheld, so that a named interface does not change with the program. */
static void set_protocol(struct interface *i, uint64_t shown)
{
    i->protocol_on = shown;
    /* Dirty logging is between front-end and back-end, as the feature bit log_all is: a version that does
     * not ask for it does not forbid it, or its guests could never migrate. */
    i->protocol_off = protocol_shown() & ~shown & ~BIT(PROTOCOL_LOG_SHMFD);
}

static int read_interface(struct reading *r, const json_t *object, struct interface *ret_interface)
{
    struct interface i = { .device = r->family->device };
    bool based = false;
    char why[256];
    int err = read_base(r, object, &i, &based);
    uint64_t protocol = i.protocol_on;
    if (err == 0) {
        err = read_bits(r, object, "features", based, feature_bit, &i.on);
    }
    if (err == 0) {
        err = read_bits(r, object, "protocol_features", based, protocol_bit, &protocol);
    }
    for (size_t k = 0; k < N_LIMITS && err == 0; k++) {
        err = read_limit(r, object, &limit_rows[k], &i);
    }
    if (err == 0) {
        err = read_config(r, object, &i);
    }
    if (err < 0) {
        return err;
    }
    set_protocol(&i, protocol);
    if (!interface_consistent(&i, why, sizeof(why))) {
        return fail(r, r->version, "%s", why);
    }
    *ret_interface = i;
    return 0;
}

bool family_name_is_plain(const char *name)
{
    return name[0] != '\0' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_+") ==
               strlen(name);
}

static int read_version(struct reading *r, json_t *object)
{
    static const char *const keys[] = { "name",     "description", "source",
                                        "based_on", "features",    "queues",
                                        "max_ring", "mem_slots",   "protocol_features",
                                        "config",   NULL };
    struct family *f = r->family;
    struct version *v = &f->versions[f->n_versions];
    *v = (struct version){ .name = NULL };
    r->version = NULL;
    if (!json_is_object(object)) {
        return fail(r, "", "a version is an object");
    }
    int err = read_string(r, object, "name", true, &v->name);
    if (err < 0) {
        return err;
    }
    if (!family_name_is_plain(v->name) || version_of_name(f, v->name) != NULL) {
        err = fail(r, v->name, "version names are letters, digits and .-_+, and stand once each");
    }
    r->version = v->name;
    if (err == 0) {
        err = only_known_keys(r, object, keys);
    }
    if (err == 0) {
        err = read_string(r, object, "description", false, &v->description);
    }
    if (err == 0) {
        err = read_string(r, object, "source", false, &v->source);
    }
    if (err == 0) {
        err = read_interface(r, object, &v->interface);
    }
    if (err == 0 && asprintf(&v->full_name, "%s.%s", f->name, v->name) < 0) {
        v->full_name = NULL;
        err = -ENOMEM;
    }
    if (err == 0) {
        f->n_versions++;
    } else {
        /* The error's text has the name already. */
        r->version = NULL;
        free(v->name);
        free(v->description);
        free(v->source);
    }
    return err;
}

static int read_versions(struct reading *r, const json_t *root)
{
    json_t *list = json_object_get(root, "versions");
    size_t i;
    json_t *object;
    if (!json_is_array(list) || json_array_size(list) == 0) {
        return fail(r, "versions", "a list of versions, oldest first, is needed");
    }
    r->family->versions = calloc(json_array_size(list), sizeof(*r->family->versions));
    if (r->family->versions == NULL) {
        return -ENOMEM;
    }
    const char *before = enter(r, "versions");
    const char *all = r->scope;
    int err = 0;
    json_array_foreach(list, i, object)
    {
        r->scope = place_of_element(all, i);
        err = err < 0 ? err : read_version(r, object);
    }
    r->scope = before;
    return err;
}

static int read_family(struct reading *r, json_t *root)
{
    static const char *const keys[] = { "$schema",     "family",   "device",
                                        "description", "versions", NULL };
    struct family *f = r->family;
    const char *device = json_string_value(json_object_get(root, "device"));
    if (!json_is_object(root)) {
        return fail(r, "family", "the file must hold one object");
    }
    int err = only_known_keys(r, root, keys);
    if (err == 0) {
        err = read_string(r, root, "family", true, &f->name);
    }
    if (err == 0 && !family_name_is_plain(f->name)) {
        err = fail(r, f->name, "family names are letters, digits and .-_+");
    }
    if (err == 0) {
        err = read_string(r, root, "description", false, &f->description);
    }
    if (err == 0 && (device == NULL || !device_of_name(device, strlen(device), &f->device))) {
        err = fail(r, "device",
                   "a kind of device is needed: net, blk, scsi, fs, vsock, gpu, "
                   "crypto or input");
    }
    return err < 0 ? err : read_versions(r, root);
}

/* ---- files ---- */

static int read_file(const char *path, char **ret_text, size_t *ret_len, struct family_error *error)
{
    struct stat st;
    /* Not blocking: a pipe is no file, and is not waited for. */
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0) {
        int err = -errno;
        snprintf(error->text, sizeof(error->text), "%s: %s", path, strerror(errno));
        return err;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > FAMILY_MAX_BYTES) {
        snprintf(error->text, sizeof(error->text), "%s: no file of at most %d bytes", path,
                 FAMILY_MAX_BYTES);
        return -EINVAL;
    }
    char *text = calloc(1, (size_t)st.st_size + 1);
    if (text == NULL) {
        return -ENOMEM;
    }
    ssize_t n = read(fd, text, (size_t)st.st_size);
    if (n < 0) {
        int err = -errno;
        snprintf(error->text, sizeof(error->text), "%s: %s", path, strerror(errno));
        free(text);
        return err;
    }
    *ret_text = text;
    *ret_len = (size_t)n;
    return 0;
}

static int parse_family(struct reading *r)
{
    json_error_t where;
    json_t *root = json_loadb(r->text, r->len, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL) {
        snprintf(r->error->text, sizeof(r->error->text), "%s:%d:%d: not JSON: %s", r->path,
                 where.line, where.column, where.text);
        return -EINVAL;
    }
    int err = read_family(r, root);
    json_decref(root);
    return err;
}

int family_load(const char *path, struct family **ret_family, struct family_error *ret_error)
{
    char *text = NULL;
    size_t len = 0;
    snprintf(ret_error->text, sizeof(ret_error->text), "%s: out of memory", path);
    int err = read_file(path, &text, &len, ret_error);
    if (err < 0) {
        return err;
    }
    struct family *f = calloc(1, sizeof(*f));
    struct reading r = {
        .path = path, .text = text, .len = len, .scope = text, .family = f, .error = ret_error
    };
    err = f == NULL ? -ENOMEM : 0;
    if (err == 0) {
        f->path = strdup(path);
        err = f->path == NULL ? -ENOMEM : parse_family(&r);
    }
    free(text);
    if (err < 0) {
        family_free(f);
        return err;
    }
    *ret_family = f;
    return 0;
}

struct family *family_free(struct family *f)
{
    if (f == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < f->n_versions; i++) {
        free(f->versions[i].name);
        free(f->versions[i].full_name);
        free(f->versions[i].description);
        free(f->versions[i].source);
    }
    free(f->versions);
    free(f->name);
    free(f->description);
    free(f->path);
    free(f);
    return NULL;
}
