/* SPDX-License-Identifier: MIT */
#include "privileges.h"

#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "sanitized.h"
#include "util.h"

/* ---- names ---- */

/* (uid_t)-1 means "leave it" to the kernel, so it is nobody's number. */
static bool number_of_text(const char *text, unsigned long *ret_number)
{
    char *end = NULL;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || errno != 0 || *end != '\0' || number >= UINT_MAX) {
        return false;
    }
    *ret_number = number;
    return true;
}

bool user_of_text(const char *text, uid_t *ret_uid, char *why, size_t why_len)
{
    unsigned long number;
    if (number_of_text(text, &number)) {
        *ret_uid = (uid_t)number;
        return true;
    }
    const struct passwd *entry = getpwnam(text);
    if (entry == NULL) {
        snprintf(why, why_len, "no such user (a name, or a number)");
        return false;
    }
    *ret_uid = entry->pw_uid;
    return true;
}

bool group_of_text(const char *text, gid_t *ret_gid, char *why, size_t why_len)
{
    unsigned long number;
    if (number_of_text(text, &number)) {
        *ret_gid = (gid_t)number;
        return true;
    }
    const struct group *entry = getgrnam(text);
    if (entry == NULL) {
        snprintf(why, why_len, "no such group (a name, or a number)");
        return false;
    }
    *ret_gid = entry->gr_gid;
    return true;
}

bool users_of_text(const char *text, uid_t *ret_uids, size_t most, size_t *ret_n, char *why,
                   size_t why_len)
{
    char word[64];
    size_t n = 0;
    for (;;) {
        size_t len = strcspn(text, ",");
        if (n == most) {
            snprintf(why, why_len, "more than %zu users", most);
            return false;
        }
        snprintf(word, sizeof(word), "%.*s", (int)len, text);
        if (len >= sizeof(word) || !user_of_text(word, &ret_uids[n], why, why_len)) {
            snprintf(why, why_len, "%s: no such user (a name, or a number)", word);
            return false;
        }
        n++;
        if (text[len] == '\0') {
            break;
        }
        text += len + 1;
    }
    *ret_n = n;
    return true;
}

bool identity_of_text(const char *user, const char *group, struct identity *ret_identity, char *why,
                      size_t why_len)
{
    struct identity who = { .has_user = user != NULL, .has_group = group != NULL, .user = user };
    if ((user != NULL && !user_of_text(user, &who.uid, why, why_len)) ||
        (group != NULL && !group_of_text(group, &who.gid, why, why_len))) {
        return false;
    }
    if (user != NULL && group == NULL) {
        const struct passwd *entry = getpwuid(who.uid);
        if (entry == NULL) {
            snprintf(why, why_len, "nobody has this number, so its group must be said (--group)");
            return false;
        }
        who.has_group = true;
        who.gid = entry->pw_gid;
    }
    *ret_identity = who;
    return true;
}

/* ---- becoming less ---- */

static int become(const struct identity *who, char *why, size_t why_len)
{
    const char *what = "its groups";
    bool ok = !who->has_group ||
              (who->has_user && getpwnam(who->user) != NULL ? initgroups(who->user, who->gid)
                                                            : setgroups(0, NULL)) == 0;
    if (ok && who->has_group) {
        what = "the group";
        ok = setresgid(who->gid, who->gid, who->gid) == 0;
    }
    if (ok && who->has_user) {
        what = "the user";
        ok = setresuid(who->uid, who->uid, who->uid) == 0;
    }
    if (!ok) {
        int err = -errno;
        snprintf(why, why_len, "--user, --group: cannot change %s: %s (start vushim as root)", what,
                 strerror(errno));
        return err;
    }
    return 0;
}

/* Those that exec could bring back; of a user without CAP_SETPCAP they stay, and no_new_privs makes
 * them useless. */
static void drop_bounding_set(void)
{
    for (unsigned long capability = 0; capability < 64; capability++) {
        (void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    }
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return syscall(SYS_capset, &head, none) < 0 ? -errno : 0;
}

int privileges_drop(const struct identity *who, char *why, size_t why_len)
{
    drop_bounding_set();
    int err = become(who, why, why_len);
    if (err < 0) {
        return err;
    }
    err = drop_capabilities();
    if (err == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        err = -errno;
    }
    if (err < 0) {
        snprintf(why, why_len, "cannot give up its privileges: %s", strerror(-err));
    }
    return err;
}

uint64_t privileges_capabilities(void)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct has[_LINUX_CAPABILITY_U32S_3] = { { 0 } };
    if (syscall(SYS_capget, &head, has) < 0) {
        return UINT64_MAX;
    }
    return (uint64_t)(has[1].permitted | has[1].effective) << 32 |
           (has[0].permitted | has[0].effective);
}

bool privileges_can_grow(void)
{
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1;
}

/* ---- memory ---- */

int privileges_hide_memory(void)
{
    const struct rlimit none = { 0, 0 };
    if (setrlimit(RLIMIT_CORE, &none) < 0) {
        return -errno;
    }
    /* The limit alone does not keep a core dump from a program that the kernel pipes it to
     * (core(5)). The search for leaks traces its own process. */
    return prctl(PR_SET_DUMPABLE, SANITIZED, 0, 0, 0) < 0 ? -errno : 0;
}

bool privileges_dumps_core(void)
{
    struct rlimit limit = { 0, 0 };
    return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0 &&
           (getrlimit(RLIMIT_CORE, &limit) < 0 || limit.rlim_cur != 0);
}
