/* Upstream's detections and mean average precision as golden values: every recorded model. */
#include "data/dataset.h"
#include "eval/detect.h"
#include "eval/map.h"
#include "golden.h"
#include "kinds.h"

/* What computes, and what is asked of it: differences in boxes and confidences, of objects from a confidence on, of how many images, in
 * networks of up to so many FLOPs. */
struct demand { const char *backend; double pixels, share, least; int images; double flops; };
static const struct demand exact = { "cpu", 1, .002, 0, 1000, INFINITY };
static struct demand golden;

struct model { struct ctx ctx; struct backend *be; struct net *net; };

static bool model_open(struct model *m, const char *cfg, const char *weights, int batch) {
    memset(m, 0, sizeof *m);
    if (!*cfg || !*weights) {
        CHECK(false, "recorded, but its %s nowhere under weights/", *cfg ? "weights are" : "cfg is");
        return false;
    }
    enum status st = backend_open(&m->ctx, golden.backend, &m->be);
    if (st == ST_OK) st = net_open(&m->ctx, cfg, false, &m->net);
    if (st == ST_OK) st = net_load(&m->ctx, m->net, weights, LOAD_WHOLE, NULL);
    if (st == ST_OK) st = net_bind(&m->ctx, m->net, m->be, NET_INFER, batch);
    CHECK(st == ST_OK, "%s: %s", cfg, m->ctx.error);
    return st == ST_OK;
}

static void model_close(struct model *m) {
    net_close(m->net);
    backend_close(m->be);
}

/* Of all (box, class) pairs above the threshold, the one nearest to a recorded object. */
static double nearest(const struct detection_list *list, const cJSON *o, int w, int h, uint8_t *taken, double *confidence) {
    int class_id = cJSON_GetObjectItem(o, "class_id")->valueint, best = -1;
    double least = 1e9;
    for (int i = 0; i < list->n; ++i) {
        const struct detection *d = &list->item[i];
        if (class_id >= list->classes || d->prob[class_id] <= 0 || taken[i * list->classes + class_id]) continue;
        double off = fmax(fmax(fabs(d->box.x - golden_number(o, "cx")) * w, fabs(d->box.y - golden_number(o, "cy")) * h),
                          fmax(fabs(d->box.w - golden_number(o, "w")) * w, fabs(d->box.h - golden_number(o, "h")) * h));
        off += fabs(d->prob[class_id] - golden_number(o, "confidence"));
        if (off < least) least = off, best = i;
    }
    if (best < 0) return 1e9;
    taken[best * list->classes + class_id] = 1;
    *confidence = list->item[best].prob[class_id];
    return least - fabs(*confidence - golden_number(o, "confidence"));
}

static int above(const struct detection_list *list, float thresh) {
    int n = 0;
    for (int i = 0; i < list->n; ++i)
        for (int k = 0; k < list->classes; ++k) n += list->item[i].prob[k] > thresh;
    return n;
}

static void check_image(struct model *m, const char *root, const char *stem, const cJSON *record, float thresh, float nms) {
    char path[1024];
    struct image im;
    struct detection_list list = { 0 };
    struct detect_options opt = { .thresh = thresh * 0.9f, .nms = nms };
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(record, "image"));
    snprintf(path, sizeof path, "%s/%s", root, name);
    if (!io_exists(path)) {
        SKIP("%s: no %s under %s", stem, name, root);
        return;
    }
    enum status st = image_read(&m->ctx, path, m->net->opt.channels, &im);
    if (st == ST_OK) st = detect_image(&m->ctx, m->net, &im, &opt, &list);
    CHECK(st == ST_OK, "%s %s: %s", stem, name, m->ctx.error);
    if (st != ST_OK) {
        ctx_clear(&m->ctx);
        return;
    }
    const cJSON *o, *objects = cJSON_GetObjectItem(record, "objects");
    uint8_t *taken = calloc((size_t)(list.n * list.classes) + 1, 1);
    cJSON_ArrayForEach(o, objects) {
        double confidence = 0, off = nearest(&list, o, im.w, im.h, taken, &confidence), want = golden_number(o, "confidence");
        if (want < golden.least) continue;
        CHECK(off <= golden.pixels && fabs(confidence - want) <= golden.share, "%s %s: class %d at %.3f recorded; off by %.2f px, confidence %.4f", stem, name,
              cJSON_GetObjectItem(o, "class_id")->valueint, want, off, confidence);
    }
    int certain = above(&list, (float)(fmax((double)thresh, golden.least) + golden.share)), recorded = 0;
    cJSON_ArrayForEach(o, objects) recorded += golden_number(o, "confidence") >= golden.least;
    CHECK(certain <= recorded, "%s %s: %d detections, recorded %d", stem, name, certain, recorded);
    free(taken);
    detections_free(&list);
    image_free(&im);
}

static void one_model(const char *root, const char *path, const char *stem) {
    char cfg[1024], weights[1024];
    struct model m;
    cJSON *json = golden_json(path);
    CHECK(json != NULL, "%s: not JSON", path);
    if (!json) return;
    snprintf(cfg, sizeof cfg, "%s", golden_find(root, "weights", cJSON_GetStringValue(cJSON_GetObjectItem(json, "cfg"))));
    snprintf(weights, sizeof weights, "%s", golden_find(root, "weights", cJSON_GetStringValue(cJSON_GetObjectItem(json, "weights"))));
    if (model_open(&m, cfg, weights, 1) && net_flops(m.net) <= golden.flops) {
        const cJSON *record;
        int images = 0;
        cJSON_ArrayForEach(record, cJSON_GetObjectItem(json, "images"))
            if (images++ < golden.images) check_image(&m, root, stem, record, (float)golden_number(json, "thresh"), (float)golden_number(json, "nms"));
    }
    model_close(&m);
    cJSON_Delete(json);
}

/* --- mean average precision ------------------------------------------------------------------------------------------- */

static enum status coco_images(struct ctx *ctx, const char *root, struct text_list *list) {
    char dir[1024];
    struct dirent **entry;
    size_t cap = 0;
    snprintf(dir, sizeof dir, "%s/coco/val2017", root);
    int n = scandir(dir, &entry, NULL, alphasort);
    for (int i = 0; i < n; ++i) {
        if (text_ends_with(entry[i]->d_name, ".jpg")) {
            char path[2048];
            snprintf(path, sizeof path, "%s/%s", dir, entry[i]->d_name);
            TRY(mem_grow(ctx, &list->item, &cap, (size_t)list->n + 1, sizeof *list->item));
            list->item[list->n++] = mem_text(ctx, path);
        }
        free(entry[i]);
    }
    if (n >= 0) free(entry);
    return ctx->code;
}

/* The mean is what must agree; in a class with few objects a tie of two detections moves AP by more. */
static void check_map_lines(const char *stem, FILE *f, const struct map_result *r) {
    char line[512];
    double value, percent, iou;
    int compared = 0, count, truths, k, tp, fp;
    while (fgets(line, sizeof line, f)) {
        const char *at = strstr(line, "mean average precision (mAP@");
        if (at && sscanf(at, "mean average precision (mAP@%lf) = %lf, or %lf", &iou, &value, &percent) == 3) {
            CHECK(fabs(100 * r->map - percent) <= 0.05, "%s: mAP %.3f %%, recorded %.2f %%", stem, 100 * r->map, percent);
            ++compared;
        }
        if (sscanf(line, " detections_count = %d, unique_truth_count = %d", &count, &truths) == 2)
            CHECK(truths == r->unique_truths && abs(count - r->detections) <= 2 + count / 2000, "%s: %d detections of %d truths, recorded %d of %d",
                  stem, r->detections, r->unique_truths, count, truths);
        at = strstr(line, "ap = ");
        if (at && sscanf(line, "class_id = %d", &k) == 1 && k < r->classes && sscanf(strstr(at, "(TP"), "(TP = %d, FP = %d)", &tp, &fp) == 2) {
            CHECK(fabs(100 * r->of[k].ap - atof(at + 5)) <= 2, "%s class %d: AP %.2f, recorded %.2f", stem, k, 100 * r->of[k].ap, atof(at + 5));
            CHECK(abs(r->of[k].tp - tp) <= 2 + tp / 50 && abs(r->of[k].fp - fp) <= 2 + fp / 50, "%s class %d: TP %d FP %d, recorded %d %d", stem, k, r->of[k].tp,
                  r->of[k].fp, tp, fp);
        }
    }
    CHECK(compared == 1, "%s: no mAP line in the record", stem);
}

/* The flags that a report was made with stand in the report. */
static struct map_options recorded_options(FILE *f) {
    struct map_options opt = { .thresh = 0.25f, .iou_thresh = 0.5f, .points = 0 };
    char line[512];
    int percent;
    while (fgets(line, sizeof line, f)) {
        sscanf(line, " for conf_thresh = %f,", &opt.thresh);
        if (sscanf(line, " IoU threshold = %d %%, used %d Recall", &percent, &opt.points) >= 1) opt.iou_thresh = (float)percent / 100;
    }
    rewind(f);
    return opt;
}

static int maps;

/* NAME.map.txt, or with other flags NAME.map-ANYTHING.txt */
static void one_map(const char *root, const char *path, const char *stem) {
    char name[256], file[300], cfg[1024], weights[1024];
    const char *mark = strstr(stem, ".map");
    if (!mark) return;
    ++maps;
    snprintf(cfg, sizeof cfg, "%s/coco/val2017", root);
    if (!io_exists(cfg)) {
        SKIP("%s: no coco/val2017 under %s", stem, root);
        return;
    }
    FILE *f = fopen(path, "r");
    if (!f) return;
    struct map_options opt = recorded_options(f);
    snprintf(name, sizeof name, "%.*s", (int)(mark - stem), stem);
    snprintf(file, sizeof file, "%s.cfg", name);
    snprintf(cfg, sizeof cfg, "%s", golden_find(root, "weights", file));
    snprintf(weights, sizeof weights, "%s", golden_weights(root, name));
    struct model m;
    struct text_list images = { 0 };
    struct map_result r = { 0 };
    if (model_open(&m, cfg, weights, 4)) {
        enum status st = coco_images(&m.ctx, root, &images);
        if (st == ST_OK) st = map_evaluate(&m.ctx, m.net, &images, NULL, &opt, &r);
        CHECK(st == ST_OK, "%s: %s", stem, m.ctx.error);
        if (st == ST_OK) check_map_lines(stem, f, &r);
    }
    fclose(f);
    map_free(&r);
    list_free(&images);
    model_close(&m);
}

/* In 16 bits: the objects that are more than a guess, about where they were. */
static void check_narrow(const char *root) {
    static const struct demand demands[] = { { "cuda-emulated:fp16", 1, .006, .25, 2, 3e8 }, { "cuda-emulated:bf16", 4, .05, .25, 2, 3e8 },
                                             { "cuda:0:fp16", 2, .01, .25, 1000, INFINITY }, { "cuda:0:bf16", 8, .1, .25, 1000, INFINITY } };
    char why[256];
    int n = backend_gpus(why, sizeof why) > 0 ? 4 : 2;
    for (int i = 0; root && i < n; ++i) {
        golden = demands[i];
        golden_each(root, "golden", ".detections.json", one_model);
    }
}

int main(void) {
    const char *root = test_data("recorded detections and mAP"), *kinds[MAX_KINDS];
    int n = root ? golden_kinds(kinds) : 0;
    for (int i = 1; i < n; ++i) {
        golden = exact;
        golden.backend = kinds[i];
        golden_each(root, "golden", ".detections.json", one_model);
    }
    check_narrow(root);
    golden = exact;
    if (root && golden_each(root, "golden", ".detections.json", one_model) == 0) SKIP("no golden/*.detections.json under %s", root);
    if (root) golden_each(root, "golden", ".txt", one_map);
    if (root && !maps) SKIP("no golden/*.map*.txt under %s", root);
    return test_end("golden_detect");
}
