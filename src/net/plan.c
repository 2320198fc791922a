/* Blocks that are never alive together share memory. */
#include <stdbool.h>
#include <stdint.h>

#include "net/internal.h"

enum { ALIGN = 16 }; /* elements: 64 bytes of floats */

static bool meet(int i, int k, const int *first, const int *last) { return first[i] <= last[k] && first[k] <= last[i]; }

/* The lowest offset at which block i touches no placed block that lives at the same time. */
static size_t lowest(int n, int i, const bool *placed, const int *first, const int *last, const size_t *size, const size_t *offset) {
    size_t at = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int k = 0; k < n; ++k)
            if (placed[k] && meet(i, k, first, last) && at < offset[k] + size[k] && offset[k] < at + size[i])
                at = (offset[k] + size[k] + ALIGN - 1) / ALIGN * ALIGN, moved = true;
    }
    return at;
}

size_t plan_offsets(int n, const int *first, const int *last, const size_t *size, size_t *offset) {
    size_t total = 0;
    bool placed[4096] = { false };
    for (int done = 0; done < n && done < 4096; ++done) {
        int next = -1;
        for (int i = 0; i < n; ++i)
            if (!placed[i] && (next < 0 || size[i] > size[next])) next = i;
        offset[next] = lowest(n, next, placed, first, last, size, offset);
        placed[next] = true;
        if (offset[next] + size[next] > total) total = offset[next] + size[next];
    }
    return total;
}
