/* SPDX-License-Identifier: MIT */
#include "trace_align.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* common[i * (m + 1) + j]: how many the rest from a[i] and from b[j] have in common. */
static void fill(const uint64_t *a, size_t n, const uint64_t *b, size_t m, uint16_t *common)
{
    size_t w = m + 1;
    for (size_t i = n; i-- > 0;) {
        for (size_t j = m; j-- > 0;) {
            uint16_t down = common[(i + 1) * w + j];
            uint16_t right = common[i * w + j + 1];
            uint16_t both = (uint16_t)(common[(i + 1) * w + j + 1] + 1);
            common[i * w + j] = a[i] == b[j] ? both : down > right ? down : right;
        }
    }
}

int trace_align(const uint64_t *a, size_t n, const uint64_t *b, size_t m, size_t *ret_partners)
{
    size_t head = 0;
    size_t tail = 0;
    assert(n <= ALIGN_MOST && m <= ALIGN_MOST);
    while (head < n && head < m && a[head] == b[head]) {
        head++;
    }
    while (tail < n - head && tail < m - head && a[n - 1 - tail] == b[m - 1 - tail]) {
        tail++;
    }
    size_t rows = n - head - tail;
    size_t columns = m - head - tail;
    uint16_t *common = calloc((rows + 1) * (columns + 1), sizeof(*common));
    if (common == NULL) {
        return -ENOMEM;
    }
    fill(a + head, rows, b + head, columns, common);
    for (size_t i = 0; i < n; i++) {
        ret_partners[i] = i < head ? i : i >= n - tail ? m - (n - i) : ALIGN_NONE;
    }
    for (size_t i = 0, j = 0; i < rows && j < columns;) {
        if (a[head + i] == b[head + j]) {
            ret_partners[head + i++] = head + j++;
        } else if (common[(i + 1) * (columns + 1) + j] >= common[i * (columns + 1) + j + 1]) {
            i++;
        } else {
            j++;
        }
    }
    free(common);
    return 0;
}
