/* COCO's and KITTI's figures against those of the official evaluators, and on cases small enough to work out by hand. */
#include <unistd.h>

#include "eval/coco_metric.h"
#include "eval/kitti_metric.h"
#include "golden.h"

/* Official figures for the recorded COCO case. */
static const double coco_official[COCO_FIGURES] = { 0.503647, 0.696973, 0.571667, 0.593252, 0.557991, 0.489363,
                                                    0.386813, 0.593680, 0.595353, 0.654764, 0.603130, 0.553744 };

static void check_coco(const char *root, const char *results) {
    struct ctx ctx = { 0 };
    struct eval_set s = { 0 };
    struct coco_result r;
    char gt[1200], dt[1200];
    snprintf(gt, sizeof gt, "%s/metrics/coco_eval/gts/sampled_gts_bbox_area.json", root);
    snprintf(dt, sizeof dt, "%s/metrics/coco_eval/%s", root, results);
    if (!io_exists(gt) || !io_exists(dt)) {
        SKIP("no metrics/coco_eval under %s", root);
        return;
    }
    enum status st = eval_read_coco_truth(&ctx, gt, &s);
    if (st == ST_OK) st = eval_read_coco_detections(&ctx, dt, &s);
    if (st == ST_OK) st = coco_evaluate(&ctx, &s, &r);
    CHECK(st == ST_OK, "%s", ctx.error);
    for (int f = 0; f < COCO_FIGURES && st == ST_OK; ++f)
        CHECK(fabs(r.figure[f] - coco_official[f]) < 1e-6, "%s %.7f, official %.6f", coco_figure_name[f], r.figure[f], coco_official[f]);
    if (st == ST_OK) coco_free(&r);
    eval_set_free(&s);
}

static void check_kitti(const char *root) {
    struct ctx ctx = { 0 };
    struct eval_set s = { 0 };
    struct kitti_result r;
    char path[1200];
    snprintf(path, sizeof path, "%s/metrics/kitti_eval/expected.json", root);
    cJSON *expected = golden_json(path);
    if (!expected) {
        SKIP("no metrics/kitti_eval under %s", root);
        return;
    }
    snprintf(path, sizeof path, "%s/metrics/kitti_eval/label_2", root);
    enum status st = eval_read_kitti_truth(&ctx, path, &s);
    snprintf(path, sizeof path, "%s/metrics/kitti_eval/detections", root);
    if (st == ST_OK) st = eval_read_kitti_detections(&ctx, path, &s, NULL);
    if (st == ST_OK) st = kitti_evaluate(&ctx, &s, &r);
    CHECK(st == ST_OK, "%s", ctx.error);
    for (int c = 0; c < KITTI_CLASSES && st == ST_OK; ++c)
        for (int l = 0; l < KITTI_LEVELS; ++l) {
            const cJSON *want = cJSON_GetObjectItem(cJSON_GetObjectItem(expected, kitti_class_name[c]), kitti_level_name[l]);
            double r11 = golden_number(want, "AP_R11"), r40 = golden_number(want, "AP_R40");
            CHECK(fabs(r.of[c][l].r11 - r11) < .01 && fabs(r.of[c][l].r40 - r40) < .01, "%s %s: R11 %.4f, official %.4f; R40 %.4f, official %.4f",
                  kitti_class_name[c], kitti_level_name[l], r.of[c][l].r11, r11, r.of[c][l].r40, r40);
        }
    cJSON_Delete(expected);
    eval_set_free(&s);
}

/* One picture, one category: a small and a large object, a crowd, detections of known outcome. */
static void check_by_hand(void) {
    struct ctx ctx = { 0 };
    struct eval_set s = { 0 };
    struct coco_result r;
    eval_add_category(&ctx, &s, "thing", 1, NULL);
    eval_add_image(&ctx, &s, "a", 1, 640, 480, NULL);
    struct eval_truth truths[] = { { .x = 0, .y = 0, .w = 20, .h = 20, .area = 400 },
                                   { .x = 100, .y = 100, .w = 200, .h = 100, .area = 20000 },
                                   { .x = 400, .y = 0, .w = 200, .h = 200, .area = 40000, .crowd = true } };
    struct eval_detection found[] = { { 0, 0, 0, 0, 20, 20, .9 },       /* the small one, exactly */
                                      { 0, 0, 450, 50, 40, 40, .8 },    /* inside the crowd: excused */
                                      { 0, 0, 460, 60, 40, 40, .7 },    /* again: a crowd excuses many */
                                      { 0, 0, 300, 400, 50, 50, .6 },   /* wrong */
                                      { 0, 0, 100, 100, 200, 80, .5 } };/* the large one at overlap .8 */
    for (int i = 0; i < 3; ++i) eval_add_truth(&ctx, &s, &truths[i]);
    for (int i = 0; i < 5; ++i) eval_add_detection(&ctx, &s, &found[i]);
    CHECK(coco_evaluate(&ctx, &s, &r) == ST_OK, "%s", ctx.error);
    /* Up to overlap .8 precision is 1 to recall .5 and 2/3 behind it; above, recall ends at .5. */
    double both = (51 + 50 * 2. / 3) / 101, one = 51. / 101;
    CHECK_NEAR(r.figure[COCO_AP50], both, 1e-9, "AP50");
    CHECK_NEAR(r.figure[COCO_AP], (7 * both + 3 * one) / 10, 1e-9, "AP");
    CHECK_NEAR(r.figure[COCO_AP_S], 1, 1e-9, "AP of small objects");
    CHECK(r.figure[COCO_AP_M] == -1, "there is no medium object, yet AP_M is %g", r.figure[COCO_AP_M]);
    CHECK_NEAR(r.figure[COCO_AR1], .5, 1e-9, "recall of one detection per picture");
    CHECK_NEAR(r.figure[COCO_AR100], (7 * 1 + 3 * .5) / 10, 1e-9, "recall");
    coco_free(&r);
    eval_set_free(&s);
}

static void check_bad(const char *path, const char *truth, const char *results, const char *message) {
    struct ctx ctx = { 0 };
    struct eval_set s = { 0 };
    char other[512];
    snprintf(other, sizeof other, "%s.dt", path);
    io_write(&ctx, path, truth, strlen(truth));
    io_write(&ctx, other, results, strlen(results));
    enum status st = eval_read_coco_truth(&ctx, path, &s);
    if (st == ST_OK) st = eval_read_coco_detections(&ctx, other, &s);
    CHECK(st == ST_FORMAT && strstr(ctx.error, path) && strstr(ctx.error, message), "wanted '%s', got '%s'", message, ctx.error);
    unlink(path), unlink(other);
    eval_set_free(&s);
}

static void check_bad_files(void) {
    char path[64] = "/tmp/test_metrics_XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0, "no temporary file");
    if (fd >= 0) close(fd);
    const char *good = "{\"images\":[{\"id\":7}],\"categories\":[{\"id\":3,\"name\":\"x\"}],\"annotations\":[]}";
    check_bad(path, "{\"images\":[\n{\"id\":7}", "[]", ":2: broken JSON");
    check_bad(path, "{}", "[]", "'annotations'");
    check_bad(path, "{\"images\":[{\"id\":7}],\"categories\":[],\"annotations\":[{\"image_id\":8,\"category_id\":1}]}", "[]", "image_id 8");
    check_bad(path, "{\"images\":[{\"id\":7}],\"categories\":[{\"id\":3}],\"annotations\":[{\"image_id\":7,\"category_id\":3,\"bbox\":[1,2,3]}]}",
              "[]", "annotations[0]: bbox");
    check_bad(path, good, "{\"annotations\":1}", "no COCO results");
    check_bad(path, good, "[{\"image_id\":7,\"category_id\":4,\"bbox\":[0,0,1,1],\"score\":1}]", "category_id 4");
    check_bad(path, good, "[{\"image_id\":7,\"category_id\":3,\"bbox\":[0,0,1,1]}]", "score");
}

int main(void) {
    const char *root = test_data("official figures of COCO and KITTI");
    check_by_hand();
    check_bad_files();
    if (root) {
        check_coco(root, "cocoapi_results.json");
        check_coco(root, "dets/sampled_bbox_results.json"); /* the same, wrapped */
        check_kitti(root);
    }
    return test_end("metrics");
}
