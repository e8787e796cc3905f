/* SPDX-License-Identifier: MIT */
#include "profiles.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "options.h"
#include "prober.h"

#define TIMEOUT_S 5.0

/* Profiles beside the program, as a build folder has them. */
static bool folder_of_program(char *buf, size_t len)
{
    ssize_t n = readlink("/proc/self/exe", buf, len - 1);
    if (n < 0) {
        return false;
    }
    buf[n] = '\0';
    char *slash = strrchr(buf, '/');
    if (slash == NULL || (size_t)(slash - buf) + sizeof("/profiles") > len) {
        return false;
    }
    memcpy(slash, "/profiles", sizeof("/profiles"));
    return true;
}

bool profiles_load(const char *command, const char *dir, struct store *ret_store)
{
    char beside[PATH_MAX];
    const char *folders[5];
    size_t n = 0;
    struct stat st;
    struct family_error error;
    if (dir != NULL) {
        if (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode)) {
            usage_error("%s: --profile-dir %s: no such folder", command, dir);
            return false;
        }
        folders[n++] = dir;
    }
    folders[n++] = "/etc/vushim/profiles";
    folders[n++] = "/usr/share/vushim/profiles";
    if (strcmp(VUSHIM_PROFILE_DIR, "/usr/share/vushim/profiles") != 0) {
        folders[n++] = VUSHIM_PROFILE_DIR;
    }
    if (folder_of_program(beside, sizeof(beside))) {
        folders[n++] = beside;
    }
    if (store_load(folders, n, ret_store, &error) < 0) {
        usage_error("%s: %s", command, error.text);
        return false;
    }
    return true;
}

bool spec_from_option(const char *command, const char *spec, const char *dir,
                      struct interface *ret_interface)
{
    struct store store = { .families = NULL };
    struct spec_error error = { .at = 0 };
    if (spec_is_named(spec) && !profiles_load(command, dir, &store)) {
        return false;
    }
    int err = spec_parse(spec, &store, ret_interface, &error);
    store_clear(&store);
    if (err < 0) {
        usage_error("%s: profile '%s': '%.*s' at character %zu: %s", command, spec,
                    (int)error.word_len, spec + error.at, error.at + 1, error.text);
    }
    return err == 0;
}

/* ---- saved probes ---- */

static bool get_bits(const json_t *root, const char *key, uint64_t *ret_bits)
{
    const char *text = json_string_value(json_object_get(root, key));
    char *end = NULL;
    if (text == NULL) {
        return false;
    }
    errno = 0;
    *ret_bits = strtoull(text, &end, 16);
    return errno == 0 && end != text && *end == '\0';
}

static bool get_number(const json_t *root, const char *key, uint32_t *ret_number)
{
    const json_t *value = json_object_get(root, key);
    json_int_t n = json_integer_value(value);
    if (value == NULL) {
        return true;
    }
    if (!json_is_integer(value) || n < 0 || n > UINT32_MAX) {
        return false;
    }
    *ret_number = (uint32_t)n;
    return true;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool get_config(const json_t *root, struct offer *o)
{
    const char *text = json_string_value(json_object_get(root, "config_bytes"));
    size_t len = text != NULL ? strlen(text) : 0;
    if (len % 2 != 0 || len / 2 > OFFER_CONFIG_MAX) {
        return false;
    }
    for (size_t k = 0; k < len / 2; k++) {
        int high = digit(text[2 * k]);
        int low = digit(text[2 * k + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        o->config[k] = (uint8_t)(high * 16 + low);
    }
    o->config_len = (uint32_t)(len / 2);
    return true;
}

static bool offer_of_json(const json_t *root, struct offer *ret_offer, enum device_type *ret_device)
{
    struct offer o = { .features = 0 };
    const char *device = json_string_value(json_object_get(root, "device"));
    *ret_device = DEVICE_UNKNOWN;
    if (device != NULL) {
        device_of_name(device, strlen(device), ret_device);
    }
    if (!get_bits(root, "features_bits", &o.features) ||
        !get_bits(root, "protocol_features_bits", &o.protocol_features) ||
        !get_number(root, "queues", &o.queues) || !get_number(root, "mem_slots", &o.mem_slots) ||
        !get_config(root, &o)) {
        return false;
    }
    *ret_offer = o;
    return true;
}

static bool offer_of_file(const char *command, const char *path, struct offer *ret_offer,
                          enum device_type *ret_device)
{
    json_error_t where;
    struct stat st;
    if (stat(path, &st) < 0) {
        usage_error("%s: offer %s: %s", command, path, strerror(errno));
        return false;
    }
    if (S_ISSOCK(st.st_mode)) {
        usage_error("%s: offer %s: a socket (write connect:%s to ask the back-end there, which "
                    "creates a device on DPDK, Open vSwitch and SPDK)",
                    command, path, path);
        return false;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > FAMILY_MAX_BYTES) {
        usage_error("%s: offer %s: no file of at most %d bytes", command, path, FAMILY_MAX_BYTES);
        return false;
    }
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL) {
        usage_error("%s: offer %s:%d:%d: not JSON: %s", command, path, where.line, where.column,
                    where.text);
        return false;
    }
    bool ok = offer_of_json(root, ret_offer, ret_device);
    json_decref(root);
    if (!ok) {
        usage_error("%s: offer %s: not what vushim probe --json writes", command, path);
    }
    return ok;
}

bool offer_from_option(const char *command, const char *text, struct offer *ret_offer,
                       enum device_type *ret_device)
{
    struct endpoint endpoint;
    char why[256];
    if (strncmp(text, "connect:", 8) != 0 && strncmp(text, "fd:", 3) != 0) {
        return offer_of_file(command, text, ret_offer, ret_device);
    }
    if (!endpoint_parse(text, ENDPOINT_CONNECT, &endpoint, why, sizeof(why)) ||
        prober_run(&endpoint, TIMEOUT_S, ret_offer, why, sizeof(why)) < 0) {
        usage_error("%s: offer %s: %s", command, text, why);
        return false;
    }
    *ret_device = offer_guess_device(ret_offer);
    return true;
}
