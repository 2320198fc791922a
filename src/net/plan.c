/* Blocks that are never alive together share memory. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "net/internal.h"

enum { ALIGN = 16 }; /* elements: 64 bytes of floats */

static bool overlap(int a_first, int a_last, int b_first, int b_last) { return a_first <= b_last && b_first <= a_last; }

static bool meet(const struct span *a, const struct span *b) {
    bool a_twice = a->again_first <= a->again_last, b_twice = b->again_first <= b->again_last;
    return overlap(a->first, a->last, b->first, b->last) ||
           (a_twice && overlap(a->again_first, a->again_last, b->first, b->last)) ||
           (b_twice && overlap(a->first, a->last, b->again_first, b->again_last)) ||
           (a_twice && b_twice && overlap(a->again_first, a->again_last, b->again_first, b->again_last));
}

/* The lowest offset at which block i touches none of the placed blocks that live at the same time. */
static size_t lowest(int i, const int *placed, int n_placed, const struct span *span, const size_t *offset) {
    size_t at = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int j = 0; j < n_placed; ++j) {
            int k = placed[j];
            if (at >= offset[k] + span[k].size || offset[k] >= at + span[i].size || !meet(&span[i], &span[k])) continue;
            at = (offset[k] + span[k].size + ALIGN - 1) / ALIGN * ALIGN;
            moved = true;
        }
    }
    return at;
}

enum status plan_offsets(struct ctx *ctx, int n, const struct span *span, size_t *offset, size_t *total) {
    int *placed = mem_zero(ctx, (size_t)n, sizeof *placed);
    bool *done = mem_zero(ctx, (size_t)n, sizeof *done);
    *total = 0;
    for (int p = 0; p < n && done; ++p) {
        int next = -1;
        for (int i = 0; i < n; ++i)
            if (!done[i] && (next < 0 || span[i].size > span[next].size)) next = i;
        if (span[next].size == 0) break;
        offset[next] = lowest(next, placed, p, span, offset);
        placed[p] = next;
        done[next] = true;
        if (offset[next] + span[next].size > *total) *total = offset[next] + span[next].size;
    }
    free(placed);
    free(done);
    return ctx->code;
}

size_t plan_peak(int n, const struct span *span, int steps, ptrdiff_t *change) {
    ptrdiff_t now = 0, peak = 0;
    for (int t = 0; t <= steps; ++t) change[t] = 0;
    for (int i = 0; i < n; ++i) {
        ptrdiff_t size = (ptrdiff_t)span[i].size;
        change[span[i].first] += size, change[span[i].last + 1] -= size;
        if (span[i].again_first <= span[i].again_last)
            change[span[i].again_first] += size, change[span[i].again_last + 1] -= size;
    }
    for (int t = 0; t < steps; ++t) {
        now += change[t];
        if (now > peak) peak = now;
    }
    return (size_t)peak;
}
