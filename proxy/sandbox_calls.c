/* SPDX-License-Identifier: MIT
 *
 * A seccomp filter from a table.
 *
 * What is not in the table ends the whole process, with SIGSYS and the kernel's own line in the audit
 * log. An error instead would leave the one who made the call in charge of a process that does things
 * which its source never does, to try the next one. And it would be silent: nobody reads a counter of
 * EPERMs, everybody sees a service that has been killed.
 *
 * A later version of the C library may try calls that did not exist when the table was written, and
 * go on with the old ones where they fail. So numbers behind the newest known call fail with ENOSYS,
 * which is what they did then. */
#include "sandbox_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "sanitized.h"
#include "util.h"

/* Behind the last call of Linux 5.16, the newest that the library of Debian 12 has a name for, and as
 * far as a kernel of the next years may go. */
#define FIRST_UNKNOWN 450
#define LAST_UNKNOWN 511
#define MAP_KIND 0x0f /* MAP_SHARED, MAP_PRIVATE, ... are one field */

enum rule { ANY, UNIX, MEMORY, PLAIN, THREAD, OURSELVES, FLAGS };

static const struct call {
    int number;
    enum rule rule;
} calls[] = {
#define CALL(name, rule) { SCMP_SYS(name), rule },
#define LACKS(name, error)
#define SANITIZER(name)
#include "sandbox_calls.def"
#undef CALL
#undef SANITIZER
#define CALL(name, rule)
#if SANITIZED
#define SANITIZER(name) { SCMP_SYS(name), ANY },
#else
#define SANITIZER(name)
#endif
#include "sandbox_calls.def"
#undef CALL
#undef LACKS
#undef SANITIZER
};

static const struct lacking {
    int number;
    int error;
} lacking[] = {
#define CALL(name, rule)
#define LACKS(name, error) { SCMP_SYS(name), error },
#define SANITIZER(name)
#include "sandbox_calls.def"
#undef CALL
#undef LACKS
#undef SANITIZER
};

static struct scmp_arg_cmp equal(unsigned argument, scmp_datum_t value)
{
    return (struct scmp_arg_cmp){ argument, SCMP_CMP_EQ, value, 0 };
}

static struct scmp_arg_cmp bits(unsigned argument, scmp_datum_t mask, scmp_datum_t value)
{
    return (struct scmp_arg_cmp){ argument, SCMP_CMP_MASKED_EQ, mask, value };
}

static int allow(scmp_filter_ctx ctx, int number, unsigned n, const struct scmp_arg_cmp *args)
{
    return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, number, n, args);
}

static int allow_if(scmp_filter_ctx ctx, int number, struct scmp_arg_cmp condition)
{
    return allow(ctx, number, 1, &condition);
}

static int allow_fcntl(scmp_filter_ctx ctx, int number)
{
    static const int commands[] = {
        F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GET_SEALS
    };
    int err = 0;
    for (size_t i = 0; i < ARRAY_SIZE(commands) && err == 0; i++) {
        err = allow_if(ctx, number, equal(1, (scmp_datum_t)commands[i]));
    }
    return err;
}

static int allow_memory(scmp_filter_ctx ctx, int number)
{
    const struct scmp_arg_cmp fresh[] = {
        bits(2, PROT_EXEC, 0), bits(3, MAP_ANONYMOUS | MAP_KIND, MAP_ANONYMOUS | MAP_PRIVATE)
    };
    int err = allow(ctx, number, ARRAY_SIZE(fresh), fresh);
    if (SANITIZED && err == 0) { /* a report looks its own program up */
        const struct scmp_arg_cmp file[] = { equal(2, PROT_READ), equal(3, MAP_PRIVATE) };
        err = allow(ctx, number, ARRAY_SIZE(file), file);
    }
    return err;
}

static int add_call(scmp_filter_ctx ctx, const struct call *c)
{
    const scmp_datum_t thread = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND;
    switch (c->rule) {
    case ANY:
        break;
    case UNIX:
        return allow_if(ctx, c->number, equal(0, AF_UNIX));
    case MEMORY:
        return allow_memory(ctx, c->number);
    case PLAIN:
        return allow_if(ctx, c->number, bits(2, PROT_EXEC, 0));
    case THREAD:
        return allow_if(ctx, c->number, bits(0, thread, thread));
    case OURSELVES:
        return allow_if(ctx, c->number, equal(0, (scmp_datum_t)getpid()));
    case FLAGS:
        return allow_fcntl(ctx, c->number);
    }
    return allow(ctx, c->number, 0, NULL);
}

static int add_all(scmp_filter_ctx ctx)
{
    int err = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    err = err == 0 ? seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1) : err;
    /* A tree instead of a list: the cost of a call does not depend on its place in the table. */
    err = err == 0 ? seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2) : err;
    for (size_t i = 0; i < ARRAY_SIZE(calls) && err == 0; i++) {
        err = add_call(ctx, &calls[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(lacking) && err == 0; i++) {
        err = seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO((uint32_t)lacking[i].error),
                                     lacking[i].number, 0, NULL);
    }
    for (int number = FIRST_UNKNOWN; number <= LAST_UNKNOWN && err == 0; number++) {
        err = seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(ENOSYS), number, 0, NULL);
    }
    return err;
}

int sandbox_calls_limit(void)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (ctx == NULL) {
        return -ENOMEM;
    }
    int err = add_all(ctx);
    err = err == 0 ? seccomp_load(ctx) : err;
    seccomp_release(ctx);
    malloc_trim(0); /* it took more than all of vushim does */
    return err;
}

size_t sandbox_calls_count(void)
{
    return ARRAY_SIZE(calls);
}
