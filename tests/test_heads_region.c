/* [region] with a word tree (YOLO9000): decoding down the hierarchy, class maps, losses along the path, labels of whole images,
 * the utility's gradient. */
#include "head_rig.h"

#include "vision/word_tree.h"

#include <unistd.h>

/* animal(cat, dog(poodle, beagle)), thing: groups {0,1} {2,3} {4,5} */
#define TREE "animal -1\nthing -1\ncat 0\ndog 0\npoodle 3\nbeagle 3\n"
#define REGION "[region]\nanchors=1,2, 3,1.5\nnum=2\nclasses=6\nsoftmax=1\nabsolute=1\nmask_scale=1\nthresh=.6\nbias_match=1\nclass_scale=2\n"
enum { PER = 11, ROWS = 4, COLS = 5, CHANNELS = 2 * PER, NET = 64 };

static char tree_path[] = "/tmp/test_region_XXXXXX";

static bool tree_open(struct rig *r, const char *more, int batch, enum net_mode mode) {
    char text[512];
    snprintf(text, sizeof text, REGION "tree=%s\n%s", tree_path, more);
    if (rig_open(r, text, CHANNELS, ROWS, COLS, batch, mode)) return true;
    CHECK(false, "%s", ctx.error);
    rig_close(r);
    return false;
}

/* p(class | siblings) of one prediction. */
static void conditional(const struct rig *r, int image, int anchor, int row, int col, double *p) {
    for (int g = 0; g < 6; g += 2) {
        double a = r->l.head_x[at(r, PER, image, anchor, row, col, 5 + g)], b = r->l.head_x[at(r, PER, image, anchor, row, col, 6 + g)];
        p[g] = 1 / (1 + exp(b - a));
        p[g + 1] = 1 - p[g];
    }
}

static void absolute(const double *p, double *q) {
    q[0] = p[0], q[1] = p[1], q[2] = p[0] * p[2], q[3] = p[0] * p[3], q[4] = q[3] * p[4], q[5] = q[3] * p[5];
}

static void decode(void) {
    struct rig r;
    if (!tree_open(&r, "", 1, NET_INFER)) return;
    fill_random(&r, 21, -3, 3);
    const int map[] = { 5, 0 };
    struct detection_list all = { .classes = 6 }, mapped = { .classes = 2, .class_map = map };
    r.l.ops->head->decode(&ctx, &r.l, 0, NET, NET, .3f, &all);
    r.l.ops->head->decode(&ctx, &r.l, 0, NET, NET, .3f, &mapped);
    float *active = calloc(rig_count(&r), sizeof *active);
    r.l.ops->head->activate(&r.l, r.l.head_x, active);
    int n = 0, m = 0, place = 0, seen[6] = { 0 };
    for (int row = 0; row < ROWS; ++row)
        for (int col = 0; col < COLS; ++col)
            for (int a = 0; a < 2; ++a, place += PER) {
                double p[6], q[6], o = sigmoid(r.l.head_x[at(&r, PER, 0, a, row, col, 4)]);
                conditional(&r, 0, a, row, col, p);
                absolute(p, q);
                for (int k = 0; k < 6; ++k) CHECK_NEAR(active[place + 5 + k], p[k], 1e-6, "activated class %d", k);
                int deepest = 5;
                while (deepest >= 0 && q[deepest] <= .5) --deepest;
                if (o > .3 && deepest >= 0 && n < all.n) {
                    const struct detection *d = &all.item[n++];
                    ++seen[deepest];
                    CHECK(d->best_class == deepest && d->objectness == 1, "class %d, not %d", d->best_class, deepest);
                    for (int k = 0; k < 6; ++k) CHECK_NEAR(d->prob[k], k == deepest ? q[k] : 0, 1e-6, "probability of %d", k);
                }
                if ((o * q[5] > .3 || o * q[0] > .3) && m < mapped.n) {
                    const struct detection *d = &mapped.item[m++];
                    CHECK_NEAR(d->prob[0], o * q[5] > .3 ? o * q[5] : 0, 1e-6, "mapped class 5");
                    CHECK_NEAR(d->prob[1], o * q[0] > .3 ? o * q[0] : 0, 1e-6, "mapped class 0");
                }
            }
    CHECK(n == all.n && m == mapped.n && m > 2, "%d of %d, mapped %d of %d", n, all.n, m, mapped.n);
    CHECK(seen[0] && seen[1] && seen[2] && seen[5], "leaves and inner classes are found");
    detections_free(&all);
    CHECK(mapped.class_map == map, "the map is the caller's");
    detections_free(&mapped);
    free(active);
    rig_close(&r);
}

static struct truth truths[3];
static struct truth_list list = { 1, 3, truths };
static const struct loss_args args = { .truth = &list, .batch = 1, .net_w = NET, .net_h = NET, .seen = 100000, .max_batches = 10 };

/* -ln of p(class), what the class deltas along the path are the gradient of. */
static double path_energy(const struct rig *r, int anchor, int row, int col, int class_id) {
    double p[6], q[6];
    conditional(r, 0, anchor, row, col, p);
    absolute(p, q);
    return -log(q[class_id]);
}

static void expect_path(struct rig *r, int anchor, int row, int col, int class_id, double scale) {
    int touched = 0;
    for (int k = 0; k < 6; ++k) {
        size_t i = at(r, PER, 0, anchor, row, col, 5 + k);
        float keep = r->l.head_x[i], step = .01f;
        r->l.head_x[i] = keep + step;
        double up = path_energy(r, anchor, row, col, class_id);
        r->l.head_x[i] = keep - step;
        double down = path_energy(r, anchor, row, col, class_id);
        r->l.head_x[i] = keep;
        CHECK_NEAR(r->l.head_delta[i], scale * (up - down) / (2 * (double)step), 1e-4, "class %d of a %d", k, class_id);
        touched += r->l.head_delta[i] != 0;
    }
    CHECK(touched == (class_id == 4 ? 6 : class_id == 2 ? 4 : 2), "a %d touches %d classes", class_id, touched);
}

static void path_loss(void) {
    static const int classes[] = { 1, 2, 4 };
    for (int i = 0; i < 3; ++i) {
        struct rig r;
        if (!tree_open(&r, "", 1, NET_TRAIN)) return;
        fill_random(&r, 22, -1, 1);
        list.n = 1;
        truths[0] = (struct truth){ { .47f, .81f, .55f, .4f }, classes[i], -1 };
        struct loss_stats s;
        CHECK(r.l.ops->loss(&ctx, &r.l, &args, &s) == ST_OK && s.count == 1, "%s", ctx.error);
        expect_path(&r, 1, 3, 2, classes[i], 2);
        CHECK_NEAR(s.loss, rig_squares(&r), 1e-6, "cost");
        double energy = exp(-path_energy(&r, 1, 3, 2, classes[i]));
        char part[64];
        snprintf(part, sizeof part, "Class: %f", energy);
        CHECK(strstr(s.line, part), "%s has no %s", s.line, part);
        rig_close(&r);
    }
}

static void image_labels(void) {
    struct rig r;
    if (!tree_open(&r, "", 1, NET_TRAIN)) return;
    fill_random(&r, 23, -1, 1);
    list.n = 2;
    truths[0] = (struct truth){ { .47f, .81f, .55f, .4f }, 1, -1 };
    truths[1] = (struct truth){ { 999999, 999999, 0, 0 }, 4, -1 };
    double best = 0;
    int at_best[3] = { 0 };
    for (int a = 0; a < 2; ++a)
        for (int row = 0; row < ROWS; ++row)
            for (int col = 0; col < COLS; ++col) {
                double sure = sigmoid(r.l.head_x[at(&r, PER, 0, a, row, col, 4)]) * exp(-path_energy(&r, a, row, col, 4));
                if (sure > best) best = sure, at_best[0] = a, at_best[1] = row, at_best[2] = col;
            }
    struct loss_stats s;
    CHECK(r.l.ops->loss(&ctx, &r.l, &args, &s) == ST_OK, "%s", ctx.error);
    expect_path(&r, at_best[0], at_best[1], at_best[2], 4, 2);
    int touched = 0;
    for (size_t i = 0; i < rig_count(&r); ++i) touched += r.l.head_delta[i] != 0;
    CHECK(touched == 6, "nothing but classes of one prediction trains: %d values", touched);
    rig_close(&r);
    /* Without a tree it is a box far outside. */
    OPEN(&r, REGION, CHANNELS, ROWS, COLS, 1, NET_TRAIN);
    fill_random(&r, 23, -1, 1);
    CHECK(r.l.ops->loss(&ctx, &r.l, &args, &s) == ST_OK && s.count == 2, "%d", s.count);
    rig_close(&r);
}

static void utility(void) {
    struct rig r;
    if (!tree_open(&r, "", 1, NET_SCORE)) return;
    fill_random(&r, 24, -.5, .5);
    struct truth t = { { .69f, .63f, .2f, .4f }, 4, -1 };
    struct utility_weights u = { .probability = true };
    int prediction = (ROWS + 2) * COLS + 3, touched = 0;
    float *grad = calloc(rig_count(&r), sizeof *grad);
    r.l.ops->head->utility(&r.l, 0, prediction, &t, &u, 1, NET, NET);
    memcpy(grad, r.l.head_delta, rig_count(&r) * sizeof *grad);
    for (size_t i = 0; i < rig_count(&r); ++i) {
        float keep = r.l.head_x[i], step = 2e-3f;
        r.l.head_x[i] = keep + step;
        double up = r.l.ops->head->utility(&r.l, 0, prediction, &t, &u, 0, NET, NET);
        r.l.head_x[i] = keep - step;
        double down = r.l.ops->head->utility(&r.l, 0, prediction, &t, &u, 0, NET, NET);
        r.l.head_x[i] = keep;
        CHECK_NEAR(grad[i], (up - down) / (2 * (double)step), 2e-4, "element %zu", i);
        touched += grad[i] != 0;
    }
    CHECK(touched >= 9 && touched <= 11, "%d values have a gradient", touched);
    free(grad);
    rig_close(&r);
}

static void errors(void) {
    struct rig r;
    CHECK(!rig_open(&r, REGION "tree=data/9k.tree\n", CHANNELS, ROWS, COLS, 1, NET_INFER), "accepted");
    CHECK(strstr(ctx.error, "test.cfg:") && strstr(ctx.error, "[region] tree") && strstr(ctx.error, "data/9k.tree") && !strchr(ctx.error, '\n'),
          "%s", ctx.error);
    rig_close(&r);
    char text[512];
    snprintf(text, sizeof text, "[region]\nnum=2\nclasses=5\ntree=%s\n", tree_path);
    CHECK(!rig_open(&r, text, 20, ROWS, COLS, 1, NET_INFER) && strstr(ctx.error, "has 6 classes, but this layer has 5"), "%s", ctx.error);
    rig_close(&r);
    OPEN(&r, REGION, CHANNELS, ROWS, COLS, 1, NET_TRAIN);
    struct loss_args none = { .batch = 1 };
    struct loss_stats s;
    CHECK(r.l.ops->loss(&ctx, &r.l, &none, &s) == ST_CFG && strstr(ctx.error, "boxes"), "%s", ctx.error);
    rig_close(&r);
}

int main(void) {
    if (rig_file(tree_path, TREE)) {
        decode();
        path_loss();
        image_labels();
        utility();
        errors();
        unlink(tree_path);
    }
    return test_end("heads_region");
}
