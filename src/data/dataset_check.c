#include "data/loader.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/io.h"

static enum status check_image(struct ctx *ctx, const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) return ctx_fail(ctx, ST_IO, "%s: image missing", path);
    if (S_ISREG(st.st_mode) && st.st_size == 0)
        return ctx_fail(ctx, ST_FORMAT, "%s: image is empty (0 bytes)", path);
    return ST_OK;
}

enum status dataset_check(struct ctx *ctx, const struct text_list *images, int classes, long long *boxes,
                          int *background, long long *per_class) {
    struct truth_list truth = { 0, 0, NULL };
    enum status st = ST_OK;
    if (boxes) *boxes = 0;
    if (background) *background = 0;
    for (int k = 0; per_class && k < classes; ++k) per_class[k] = 0;
    for (int i = 0; i < images->n && st == ST_OK; ++i) {
        st = check_image(ctx, images->item[i]);
        if (st == ST_OK) st = labels_of(ctx, images->item[i], classes, &truth);
        if (st != ST_OK) break;
        if (boxes) *boxes += truth.n;
        if (background) *background += truth.n == 0;
        for (int k = 0; per_class && k < truth.n; ++k) {
            int id = truth.item[k].class_id;
            if (id >= 0 && id < classes) ++per_class[id];
        }
    }
    free(truth.item);
    return st;
}
