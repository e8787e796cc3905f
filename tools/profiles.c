/* SPDX-License-Identifier: MIT */
#include "profiles.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl_client.h"
#include "json.h"
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

/* A file of JSON, of a sane size. NULL after a line on stderr. */
static json_t *load_json(const char *command, const char *what, const char *path)
{
    json_error_t where;
    struct stat st;
    if (stat(path, &st) < 0) {
        usage_error("%s: %s %s: %s", command, what, path, strerror(errno));
        return NULL;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > FAMILY_MAX_BYTES) {
        usage_error("%s: %s %s: no file of at most %d bytes", command, what, path,
                    FAMILY_MAX_BYTES);
        return NULL;
    }
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL) {
        usage_error("%s: %s %s:%d:%d: not JSON: %s", command, what, path, where.line, where.column,
                    where.text);
    }
    return root;
}

static bool offer_of_file(const char *command, const char *path, struct offer *ret_offer,
                          enum device_type *ret_device)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        usage_error(
            "%s: offer %s: a socket (write ctl:%s for a running vushim's control socket, or "
            "connect:%s to ask a back-end, which creates a device on DPDK, Open vSwitch "
            "and SPDK)",
            command, path, path, path);
        return false;
    }
    json_t *root = load_json(command, "offer", path);
    bool ok = root != NULL && offer_of_json(root, ret_offer, ret_device);
    if (root != NULL && !ok) {
        usage_error("%s: offer %s: not what vushim probe --json writes", command, path);
    }
    json_decref(root);
    return ok;
}

bool state_from_option(const char *command, const char *path, struct expectation *ret_expectation)
{
    json_t *root = load_json(command, "state", path);
    bool ok = root != NULL && expectation_of_json(root, ret_expectation);
    if (root != NULL && !ok) {
        usage_error("%s: state %s: not what vushim ctl PATH state --json writes", command, path);
    }
    json_decref(root);
    return ok;
}

/* What the back-end of a running vushim offers; nothing is connected to but its control socket. */
static bool offer_of_control(const char *command, const char *path, struct offer *ret_offer,
                             enum device_type *ret_device)
{
    json_t *answer = ctl_ask(command, path, "query-offer");
    const json_t *error = json_object_get(answer, "error");
    bool ok = answer != NULL && error == NULL &&
              offer_of_json(json_object_get(answer, "return"), ret_offer, ret_device);
    if (answer != NULL && !ok) {
        const char *desc = json_string_value(json_object_get(error, "desc"));
        usage_error("%s: offer ctl:%s: %s", command, path,
                    desc != NULL ? desc : "not an offer that this version understands");
    }
    json_decref(answer);
    return ok;
}

bool offer_from_option(const char *command, const char *text, struct offer *ret_offer,
                       enum device_type *ret_device)
{
    struct endpoint endpoint;
    char why[256];
    if (strncmp(text, "ctl:", 4) == 0) {
        return offer_of_control(command, text + 4, ret_offer, ret_device);
    }
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
