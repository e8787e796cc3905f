/* SPDX-License-Identifier: MIT */
#include "fdset.h"

#include <stdlib.h>
#include <string.h>

int fdset_append_take(struct fdset *set, const int *fds, size_t n)
{
    if (n == 0) {
        return 0;
    }
    int *grown = realloc(set->fd, (set->n + n) * sizeof(*grown));
    if (grown == NULL) {
        return -ENOMEM;
    }
    memcpy(grown + set->n, fds, n * sizeof(*grown));
    set->fd = grown;
    set->n += n;
    return 0;
}

void fdset_move(struct fdset *to, struct fdset *from)
{
    assert(to->n == 0);
    *to = *from;
    *from = FDSET_NULL;
}

int fdset_steal(struct fdset *set, size_t i)
{
    assert(i < set->n);
    int fd = set->fd[i];
    memmove(set->fd + i, set->fd + i + 1, (set->n - i - 1) * sizeof(*set->fd));
    set->n--;
    if (set->n == 0) {
        free(set->fd);
        set->fd = NULL;
    }
    return fd;
}

void fdset_close(struct fdset *set)
{
    for (size_t i = 0; i < set->n; i++) {
        close_keep_errno(set->fd[i]);
    }
    free(set->fd);
    *set = FDSET_NULL;
}
