#include "train/history.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_POINTS = 4096 };

static void thin(struct history *h) {
    size_t kept = 0;
    h->stride *= 2;
    for (size_t i = 0; i < h->n; ++i)
        if (h->point[i].map >= 0 || h->point[i].iteration % h->stride == 0) h->point[kept++] = h->point[i];
    h->n = kept;
}

enum status history_add(struct ctx *ctx, struct history *h, const struct train_point *p) {
    if (h->stride == 0) h->stride = 1;
    if (p->map < 0 && p->iteration % h->stride) return ST_OK;
    if (h->n >= MOST_POINTS) thin(h);
    TRY(mem_grow(ctx, &h->point, &h->cap, h->n + 1, sizeof *h->point));
    h->point[h->n++] = *p;
    return ST_OK;
}

void history_free(struct history *h) {
    free(h->point);
    memset(h, 0, sizeof *h);
}
