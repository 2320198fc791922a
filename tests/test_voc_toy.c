/* A published toy case (7 pictures, 15 objects, 24 detections): at overlap 0.3 its AP over 11 recalls is 26.84 %, its area
 * 24.57 %.  (The area cannot be held against that of `detector map`, which takes the precision of the rank before.) */
#include "eval/map.h"
#include "eval/voc_metric.h"
#include "golden.h"

static struct truth_list truth;
static struct detection_list list;
static const float SIDE = 200; /* larger than every coordinate: boxes become relative */

static bool read_boxes(struct ctx *ctx, const char *path, bool detections) {
    char line[256], name[64];
    FILE *f = fopen(path, "r");
    if (!f) return false;
    while (fgets(line, sizeof line, f)) {
        float score = 1, x, y, w, h;
        if (sscanf(line, detections ? "%63s %f %f %f %f %f" : "%63s%f%f%f%f", name, detections ? &score : &x, detections ? &x : &y,
                   detections ? &y : &w, detections ? &w : &h, &h) < (detections ? 6 : 5))
            continue;
        struct box b = { (x + w / 2) / SIDE, (y + h / 2) / SIDE, w / SIDE, h / SIDE };
        if (detections) {
            struct detection *d;
            if (detections_add(ctx, &list, &d) != ST_OK) break;
            d->box = b;
            d->objectness = d->prob[0] = score;
        } else {
            size_t cap = (size_t)truth.cap;
            if (mem_grow(ctx, &truth.item, &cap, (size_t)truth.n + 1, sizeof *truth.item) != ST_OK) break;
            truth.cap = (int)cap;
            truth.item[truth.n++] = (struct truth){ b, 0, -1 };
        }
    }
    fclose(f);
    return true;
}

static void one_image(const char *root, const char *path, const char *stem);
static struct ctx ctx;
static struct map_tally *tally;
static struct eval_set set;

static void one_image(const char *root, const char *path, const char *stem) {
    char other[2048];
    struct truth_list none = { 0 };
    (void)stem;
    const char *name = strrchr(path, '/') + 1;
    snprintf(other, sizeof other, "%s/metrics/voc_toy/dets/%s", root, name);
    truth.n = 0;
    detections_clear(&list);
    list.classes = 1;
    CHECK(read_boxes(&ctx, path, false), "%s", path);
    read_boxes(&ctx, other, true); /* a picture may have no detections */
    int image;
    eval_add_image(&ctx, &set, name, set.n_image, 0, 0, &image);
    for (int i = 0; i < truth.n; ++i) {
        struct box b = truth.item[i].box;
        eval_add_truth(&ctx, &set, &(struct eval_truth){ .image = image, .x = (double)((b.x - b.w / 2) * SIDE), .y = (double)((b.y - b.h / 2) * SIDE),
                                                         .w = (double)(b.w * SIDE), .h = (double)(b.h * SIDE) });
    }
    for (int i = 0; i < list.n; ++i) {
        struct box b = list.item[i].box;
        eval_add_detection(&ctx, &set, &(struct eval_detection){ image, 0, (double)((b.x - b.w / 2) * SIDE), (double)((b.y - b.h / 2) * SIDE),
                                                                 (double)(b.w * SIDE), (double)(b.h * SIDE), (double)list.item[i].prob[0] });
    }
    CHECK(map_add(&ctx, tally, &list, &truth, &none, SIDE, SIDE) == ST_OK, "%s", ctx.error);
}

static void evaluate(const char *root, int points, double want) {
    struct map_options opt = { .thresh = 0.25f, .iou_thresh = 0.3f, .points = points };
    struct map_result r;
    CHECK(map_begin(&ctx, 1, &opt, &r, &tally) == ST_OK, "%s", ctx.error);
    int images = golden_each(root, "metrics/voc_toy/gts", ".txt", one_image);
    CHECK(map_end(&ctx, tally, ST_OK) == ST_OK, "%s", ctx.error);
    if (images == 7 && r.unique_truths == 15 && r.detections == 24)
        CHECK(fabs(100 * r.map - want) < 0.006, "%d points: AP %.4f %%, published %.2f %%", points, 100 * r.map, want);
    else SKIP("metrics/voc_toy: %d images, %d objects, %d detections: not the published case, whose AP is known", images, r.unique_truths,
              r.detections);
    map_free(&r);
}

static void evaluate_voc(void) {
    struct voc_result r;
    CHECK(voc_evaluate(&ctx, &set, 0.3, &r) == ST_OK, "%s", ctx.error);
    CHECK(r.category[0].truths == 15 && set.n_detection == 24, "%d objects, %d detections", r.category[0].truths, set.n_detection);
    CHECK(fabs(100 * r.ap11 - 26.84) < .006 && fabs(100 * r.area - 24.57) < .006, "AP %.4f, area %.4f; published 26.84, 24.57", 100 * r.ap11,
          100 * r.area);
    voc_free(&r);
}

int main(void) {
    const char *root = test_data("VOC toy case");
    char path[1024];
    if (root) {
        snprintf(path, sizeof path, "%s/metrics/voc_toy/gts", root);
        if (io_exists(path)) {
            eval_add_category(&ctx, &set, "object", 0, NULL);
            evaluate(root, 11, 26.84);
            evaluate_voc();
        } else {
            SKIP("no metrics/voc_toy under %s", root);
        }
    }
    eval_set_free(&set);
    detections_free(&list);
    free(truth.item);
    return test_end("voc_toy");
}
