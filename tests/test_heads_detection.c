/* [detection] (YOLOv1): decoding, deltas against squared errors written out here, truth from boxes and dense truth, the
 * utility's gradient. */
#include "head_rig.h"

enum { SIDE = 3, CELLS = SIDE * SIDE, CLASSES = 4, NUM = 2, SIZE = CELLS * (CLASSES + 5 * NUM), TRUTH = CELLS * (5 + CLASSES) };
#define HEAD "[detection]\nclasses=4\ncoords=4\nside=3\nnum=2\n"

static size_t class_at(int cell, int k) { return (size_t)(cell * CLASSES + k); }
static size_t object_at(int cell, int j) { return (size_t)(CELLS * CLASSES + cell * NUM + j); }
static size_t box_at(int cell, int j) { return (size_t)(CELLS * (CLASSES + NUM) + (cell * NUM + j) * 4); }

static struct box box_of(const float *x, int cell, int j, bool squared) {
    const float *v = x + box_at(cell, j);
    return (struct box){ (v[0] + (float)(cell % SIDE)) / SIDE, (v[1] + (float)(cell / SIDE)) / SIDE, squared ? v[2] * v[2] : v[2],
                         squared ? v[3] * v[3] : v[3] };
}

static void softmax(const float *x, double *p) {
    double sum = 0;
    for (int k = 0; k < CLASSES; ++k) sum += exp(x[k]);
    for (int k = 0; k < CLASSES; ++k) p[k] = exp(x[k]) / sum;
}

/* --- Decoding ------------------------------------------------------------------------------------------------------- */

static void decode(bool squared, bool soft) {
    char text[256];
    snprintf(text, sizeof text, HEAD "sqrt=%d\nsoftmax=%d\n", squared, soft);
    struct rig r;
    OPEN(&r, text, SIZE, 1, 1, 2, NET_INFER);
    fill_random(&r, 41, -.2, 1);
    const float *x = r.l.head_x + SIZE;
    struct detection_list list = { .classes = CLASSES };
    r.l.ops->head->decode(&ctx, &r.l, 1, 448, 448, .2f, &list);
    float active[SIZE];
    r.l.ops->head->activate(&r.l, x, active);
    int n = 0;
    for (int cell = 0; cell < CELLS; ++cell) {
        double p[CLASSES];
        softmax(x + class_at(cell, 0), p);
        for (int k = 0; k < CLASSES; ++k) {
            if (!soft) p[k] = x[class_at(cell, k)];
            CHECK_NEAR(active[class_at(cell, k)], p[k], 1e-6, "class %d", k);
        }
        for (int j = 0; j < NUM; ++j) {
            double o = x[object_at(cell, j)];
            bool any = false;
            for (int k = 0; k < CLASSES; ++k) any = any || o * p[k] > .2;
            if (!any) continue;
            if (n >= list.n) { ++n; continue; }
            const struct detection *d = &list.item[n++];
            struct box b = box_of(x, cell, j, squared);
            CHECK(d->box.x == b.x && d->box.y == b.y && d->box.w == b.w && d->box.h == b.h, "box %g %g", d->box.x, d->box.w);
            CHECK(d->objectness == (float)o && d->prediction == j * CELLS + cell && d->head == 7, "where it comes from");
            for (int k = 0; k < CLASSES; ++k) CHECK_NEAR(d->prob[k], o * p[k] > .2 ? o * p[k] : 0, 1e-6, "class %d", k);
        }
    }
    CHECK(n == list.n && n > 3, "%d detections, %d expected", list.n, n);
    CHECK(active[box_at(3, 1)] == x[box_at(3, 1)], "boxes stay as they are");
    detections_free(&list);
    rig_close(&r);
}

/* --- Training ---------------------------------------------------------------------------------------------------------- */

static struct truth truths[3];
static struct truth_list lists[2];

static struct loss_args two_images(int n) {
    lists[0] = (struct truth_list){ 0, 0, NULL };
    lists[1] = (struct truth_list){ n, 3, truths };
    return (struct loss_args){ .truth = lists, .batch = 2, .net_w = 448, .net_h = 448, .seen = 100000, .iteration = 1, .max_batches = 10 };
}

/* Half of the squared errors of one image whose only object sits in `cell` and is answered for by box `best`. */
static double energy(const float *x, int cell, int best, struct truth t, bool squared, bool soft, double want_object) {
    double e = 0;
    for (int c = 0; c < CELLS; ++c)
        for (int j = 0; j < NUM; ++j) {
            double o = x[object_at(c, j)];
            e += c == cell && j == best ? 3 * pow(o - want_object, 2) : .5 * o * o;
        }
    if (cell < 0) return e / 2;
    const float *v = x + box_at(cell, best);
    e += 5 * (pow(v[0] - ((double)t.box.x * SIDE - cell % SIDE), 2) + pow(v[1] - ((double)t.box.y * SIDE - cell / SIDE), 2));
    e += 5 * (pow(v[2] - (squared ? sqrt(t.box.w) : t.box.w), 2) + pow(v[3] - (squared ? sqrt(t.box.h) : t.box.h), 2));
    for (int k = 0; k < CLASSES && !soft; ++k) e += 2 * pow(x[class_at(cell, k)] - (k == t.class_id), 2);
    return e / 2;
}

#define SCALES "coord_scale=5\nobject_scale=3\nnoobject_scale=.5\nclass_scale=2\n"

static void loss_of(bool squared, bool soft, bool rescore) {
    char text[512];
    snprintf(text, sizeof text, HEAD SCALES "sqrt=%d\nsoftmax=%d\nrescore=%d\n", squared, soft, rescore);
    struct rig r;
    OPEN(&r, text, SIZE, 1, 1, 2, NET_TRAIN);
    fill_random(&r, 42, .1, .9);
    truths[0] = (struct truth){ { .5f, .8f, .3f, .2f }, 2, -1 }; /* row 2, column 1 */
    const int cell = 7;
    float *x = r.l.head_x + SIZE, *d = r.l.head_delta + SIZE;
    double iou[NUM], p[CLASSES];
    for (int j = 0; j < NUM; ++j) iou[j] = box_iou(box_of(x, cell, j, squared), truths[0].box);
    int best = iou[1] > iou[0];
    CHECK(iou[best] > 0, "the boxes overlap the truth");
    struct loss_args args = two_images(1);
    struct loss_stats s;
    CHECK(r.l.ops->loss(&ctx, &r.l, &args, &s) == ST_OK && s.count == 1, "%s", ctx.error);
    CHECK_NEAR(s.loss, rig_squares(&r), 1e-6, "cost");
    softmax(x + class_at(cell, 0), p);
    for (int i = 0; i < 2 * SIZE; ++i) {
        float *v = r.l.head_x + i, keep = *v, h = .01f;
        double e[2];
        for (int side = 0; side < 2; ++side) {
            *v = keep + (side ? h : -h);
            e[side] = energy(r.l.head_x, -1, 0, truths[0], squared, soft, 0) +
                      energy(x, cell, best, truths[0], squared, soft, rescore ? iou[best] : 1);
        }
        *v = keep;
        double want = (e[1] - e[0]) / (2 * (double)h);
        int k = i - SIZE - (int)class_at(cell, 0);
        if (soft && k >= 0 && k < CLASSES) want = 2 * (p[k] - (k == 2));
        CHECK_NEAR(r.l.head_delta[i], want, 1e-4, "%s element %d", text, i);
    }
    double all = 0, any = 0;
    for (int k = 0; k < CLASSES; ++k) all += soft ? p[k] : x[class_at(cell, k)];
    for (int b = 0; b < 2; ++b)
        for (int i = 0; i < CELLS * NUM; ++i) any += r.l.head_x[(size_t)b * SIZE + object_at(0, 0) + (size_t)i];
    char line[256];
    snprintf(line, sizeof line, "Detection Avg IOU: %f, Pos Cat: %f, All Cat: %f, Pos Obj: %f, Any Obj: %f, count: 1", iou[best],
             soft ? p[2] : (double)x[class_at(cell, 2)], all / CLASSES, x[object_at(cell, best)], any / (2 * CELLS * NUM));
    CHECK(!strcmp(s.line, line), "%s, not %s", s.line, line);
    int got;
    CHECK(r.l.ops->head->assign(&r.l, 1, truths[0].box, 448, 448, &got, 1) == 1 && got == best * CELLS + cell, "assign %d", got);
    CHECK(d[box_at(cell, !best)] == 0 && d[box_at(cell, best)] != 0, "one box answers");
    rig_close(&r);
}

/* The same truth, dense; the first box of a cell has it; tiny boxes and unknown classes have none. */
static void dense_truth(void) {
    struct rig r;
    OPEN(&r, HEAD, SIZE, 1, 1, 2, NET_TRAIN);
    fill_random(&r, 43, .1, .9);
    truths[0] = (struct truth){ { .9f, .1f, .004f, .2f }, 1, -1 };
    truths[1] = (struct truth){ { .5f, .8f, .3f, .2f }, 2, -1 };
    truths[2] = (struct truth){ { .51f, .81f, .2f, .3f }, 3, -1 };
    struct loss_args args = two_images(3);
    struct loss_stats s;
    r.l.ops->loss(&ctx, &r.l, &args, &s);
    float boxes[2 * SIZE], target[2 * TRUTH] = { 0 };
    memcpy(boxes, r.l.head_delta, sizeof boxes);
    CHECK(s.count == 1, "%d objects", s.count);
    float *cell = target + TRUTH + 7 * (5 + CLASSES);
    cell[0] = cell[1 + 2] = 1;
    cell[5] = .5f * SIDE - 1, cell[6] = .8f * SIDE - 2, cell[7] = .3f, cell[8] = .2f;
    args.truth = NULL, args.target = target, args.target_size = TRUTH;
    CHECK(r.l.ops->loss(&ctx, &r.l, &args, &s) == ST_OK && s.count == 1, "%s", ctx.error);
    for (int i = 0; i < 2 * SIZE; ++i) CHECK_NEAR(boxes[i], r.l.head_delta[i], 1e-6, "element %d", i);
    args.target_size = TRUTH - 1;
    CHECK(r.l.ops->loss(&ctx, &r.l, &args, &s) == ST_CFG && strstr(ctx.error, "trains on 81 values"), "%s", ctx.error);
    ctx_clear(&ctx);
    args.target = NULL;
    CHECK(r.l.ops->loss(&ctx, &r.l, &args, &s) == ST_CFG && strstr(ctx.error, "boxes"), "%s", ctx.error);
    rig_close(&r);
}

/* Which box answers in the cell of the truth, by whose coordinates train. */
static int answering(const char *text, struct box truth, const float *boxes, uint64_t seen) {
    struct rig r;
    int found = -1;
    if (!rig_open(&r, text, SIZE, 1, 1, 2, NET_TRAIN)) {
        CHECK(false, "%s", ctx.error);
        return -1;
    }
    memcpy(r.l.head_x + SIZE + box_at(4, 0), boxes, 8 * sizeof *boxes);
    truths[0] = (struct truth){ truth, 0, -1 };
    struct loss_args args = two_images(1);
    struct loss_stats s;
    args.seen = seen;
    r.l.ops->loss(&ctx, &r.l, &args, &s);
    for (int j = 0; j < NUM; ++j)
        if (r.l.head_delta[SIZE + box_at(4, j)] != 0) found = found < 0 ? j : 9;
    rig_close(&r);
    return found;
}

static void responsible(void) {
    const struct box truth = { .45f, .45f, .2f, .2f }, large = { .45f, .45f, .5f, .5f };
    const float far[8] = { 5, 5, .2f, .2f, 3, 3, .2f, .2f }, overlapping[8] = { .5f, .5f, .2f, .2f, .9f, .9f, .2f, .2f };
    CHECK(answering(HEAD, truth, far, 100000) == 1, "without overlap the nearest");
    CHECK(answering(HEAD, truth, overlapping, 100000) == 0, "the largest overlap");
    CHECK(answering(HEAD "forced=1\n", truth, overlapping, 100000) == 1, "forced: the second for small ones");
    CHECK(answering(HEAD "forced=1\n", large, overlapping, 100000) == 0, "forced: the first for large ones");
    int seen[2] = { 0 };
    for (int i = 0; i < 40; ++i) ++seen[answering(HEAD "random=1\n", truth, overlapping, (uint64_t)i)];
    CHECK(seen[0] > 5 && seen[1] > 5, "drawn at first: %d and %d", seen[0], seen[1]);
    CHECK(answering(HEAD "random=1\n", truth, overlapping, 64000) == 0, "later chosen");
}

/* --- Utility ------------------------------------------------------------------------------------------------------------- */

static void utility(bool squared, bool soft, bool probability) {
    char text[256];
    snprintf(text, sizeof text, HEAD "sqrt=%d\nsoftmax=%d\n", squared, soft);
    struct rig r;
    OPEN(&r, text, SIZE, 1, 1, 2, NET_SCORE);
    fill_random(&r, 44, .2, .8);
    struct box b = box_of(r.l.head_x + SIZE, 5, 1, squared);
    struct truth t = { { b.x + .2f * b.w, b.y - .15f * b.h, b.w * 1.1f, b.h * .9f }, 3, -1 };
    struct utility_weights u = { 1, .7, 4, probability };
    const struct head_ops *h = r.l.ops->head;
    int prediction = CELLS + 5, touched = 0;
    float grad[2 * SIZE];
    h->utility(&r.l, 1, prediction, &t, &u, 1, 448, 448);
    memcpy(grad, r.l.head_delta, sizeof grad);
    for (int i = 0; i < 2 * SIZE; ++i) {
        float keep = r.l.head_x[i], step = 2e-3f;
        r.l.head_x[i] = keep + step;
        double up = h->utility(&r.l, 1, prediction, &t, &u, 0, 448, 448);
        r.l.head_x[i] = keep - step;
        double down = h->utility(&r.l, 1, prediction, &t, &u, 0, 448, 448);
        r.l.head_x[i] = keep;
        CHECK_NEAR(grad[i], (up - down) / (2 * (double)step), 5e-4, "%s element %d", text, i);
        touched += grad[i] != 0;
    }
    CHECK(touched == (soft && probability ? 9 : 6), "%d values have a gradient", touched);
    double z = h->objectness(&r.l, 1, prediction, 2);
    CHECK(z == r.l.head_x[SIZE + object_at(5, 1)], "objectness");
    CHECK_NEAR(r.l.head_delta[SIZE + object_at(5, 1)], grad[SIZE + object_at(5, 1)] + 2, 1e-6, "and its gradient");
    rig_close(&r);
}

static void section(void) {
    struct rig r;
    struct head_info i;
    char text[64];
    OPEN(&r, HEAD "jitter=.4\nrandom=1\nmax=5\nreorg=1\n", SIZE / 2, 2, 1, 1, NET_INFER);
    r.l.ops->head->info(&r.l, &i);
    CHECK(i.classes == CLASSES && i.predictions == CELLS * NUM && i.random == 0 && i.jitter == .4 && i.max_boxes == 5 && i.type_number == 6, "info");
    r.l.ops->describe(&r.l, text, sizeof text);
    CHECK(!strcmp(text, "Detection Layer"), "%s", text);
    rig_close(&r);
    CHECK(!rig_open(&r, HEAD, SIZE + 1, 1, 1, 1, NET_INFER) && strstr(ctx.error, "need 126"), "%s", ctx.error);
    rig_close(&r);
    CHECK(!rig_open(&r, "[detection]\nclasses=4\n", SIZE, 1, 1, 1, NET_INFER) && strstr(ctx.error, "coords"), "%s", ctx.error);
    rig_close(&r);
}

int main(void) {
    for (int i = 0; i < 8; ++i) {
        if (i < 4) decode(i & 1, i & 2);
        loss_of(i & 1, i & 2, i & 4);
        utility(i & 1, i & 2, i & 4);
    }
    dense_truth();
    responsible();
    section();
    return test_end("heads_detection");
}
