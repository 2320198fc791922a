/* [contrastive] and the embeddings of [yolo]: deltas against the formulas written out here, for tracks and for images; training
 * on them sorts embeddings by label. */
#include "head_rig.h"
#include "net/internal.h"

enum { BATCH = 4, E = 3, ANCHORS = 2, ROWS = 4, COLS = 5, PLANE = ROWS * COLS, CELLS = ANCHORS * PLANE, IN = 3 * 16 * 20 };

#define NET "[net]\nwidth=20\nheight=16\nchannels=3\nbatch=4\nsubdivisions=1\n"
#define CONV(f, s) "[convolutional]\nfilters=" #f "\nsize=3\nstride=" #s "\npad=1\nactivation=linear\n"
#define YOLO "[yolo]\nmask=0,1\nnum=2\nanchors=4,4, 9,9\nclasses=2\n"
#define TRACKS NET CONV(6, 4) CONV(6, 1) "[route]\nlayers=-2\n" CONV(14, 1) YOLO "embedding_layer=-3\n[route]\nlayers=1\n"

struct model { struct net *net; struct backend *be; float x[BATCH * IN]; };

static bool model_open(struct model *m, const char *text, enum net_mode mode) {
    struct cfg_doc *doc;
    *m = (struct model){ 0 };
    ctx_clear(&ctx);
    if (cfg_parse(&ctx, "test.cfg", text, strlen(text), true, &doc) != ST_OK) return false;
    if (net_open_doc(&ctx, doc, true, &m->net) != ST_OK || backend_open(&ctx, "ref64", &m->be) != ST_OK) return false;
    net_init_weights(m->net, 5);
    if (net_bind(&ctx, m->net, m->be, mode, BATCH) != ST_OK) return false;
    struct rng g = rng_stream(7, 0, 0);
    for (int i = 0; i < BATCH * IN; ++i) m->x[i] = (float)rng_between(&g, -2, 2);
    return net_forward(&ctx, m->net, m->x) == ST_OK;
}

static void model_close(struct model *m) {
    net_close(m->net);
    if (m->be) backend_close(m->be);
}

/* --- The formulas, over samples with embeddings z[i][k] --------------------------------------------------------------- */

struct sample { int label, class_id, at; double z[E]; };

static double cosine(const struct sample *a, const struct sample *b) {
    double ab = 0, aa = 0, bb = 0;
    for (int k = 0; k < E; ++k) ab += a->z[k] * b->z[k], aa += a->z[k] * a->z[k], bb += b->z[k] * b->z[k];
    return ab / sqrt(aa * bb);
}

static double likelihood(const struct sample *s, int n, int i, int j, double temperature) {
    double rest = 0, own = exp(cosine(&s[i], &s[j]) / temperature);
    for (int k = 0; k < n; ++k)
        if (k != i && k != j && s[k].class_id == s[j].class_id) rest += exp(cosine(&s[k], &s[j]) / temperature);
    return rest == 0 || own / rest > 1 ? .9999 : own / rest;
}

static void expected(const struct sample *s, int n, int i, double temperature, bool tracks, int most, double *d) {
    int partners = 0, pushed = 0;
    double length = 0;
    for (int k = 0; k < E; ++k) length += s[i].z[k] * s[i].z[k], d[k] = 0;
    for (int j = 0; j < n; ++j) partners += j != i && s[j].label == s[i].label;
    for (int j = 0; j < n; ++j) {
        if (j == i || s[j].label != s[i].label) continue;
        double f = 1 / (partners * temperature * sqrt(length));
        if (s[j].class_id == s[i].class_id)
            for (int m = 0; m < E; ++m) d[m] -= f * (cosine(&s[i], &s[j]) * s[i].z[m] - s[j].z[m]) * (1 - likelihood(s, n, i, j, temperature));
        for (int k = 0; k < n && pushed < most; ++k) {
            if (k == i || k == j || s[k].class_id != s[i].class_id || (tracks && s[k].label == s[i].label)) continue;
            for (int m = 0; m < E; ++m) d[m] -= f * (s[k].z[m] - cosine(&s[i], &s[k]) * s[i].z[m]) * likelihood(s, n, i, k, temperature);
            pushed += tracks;
        }
    }
}

/* --- Tracks of a [yolo] ------------------------------------------------------------------------------------------------ */

static struct truth truths[BATCH][3];
static struct truth_list lists[BATCH];

/* Three objects per image in cells of their own: tracks 10, 11 of class 0 and 12 of class 1; one without a track in the last. */
static void make_truth(void) {
    for (int b = 0; b < BATCH; ++b) {
        for (int i = 0; i < 3; ++i) {
            int col = (b + 2 * i) % COLS, row = i + (b > 1);
            truths[b][i] = (struct truth){ { ((float)col + .5f) / COLS, ((float)row + .5f) / ROWS, .2f, .25f }, i / 2, 10 + i };
        }
        lists[b] = (struct truth_list){ 3, 3, truths[b] };
    }
    truths[BATCH - 1][0].track = -1;
}

static int collect(const struct model *m, struct sample *s) {
    float *z = calloc(BATCH * ANCHORS * E * PLANE, sizeof *z);
    int n = 0;
    net_output(m->net, 1, z);
    for (int b = 0; b < BATCH; ++b)
        for (int i = 0; i < 3; ++i) {
            const struct truth *t = &truths[b][i];
            if (t->track < 0) continue;
            int cell = (int)(t->box.y * ROWS) * COLS + (int)(t->box.x * COLS); /* 4 x 4 pixels: anchor 0 */
            s[n] = (struct sample){ .label = t->track, .class_id = t->class_id, .at = b * ANCHORS * E * PLANE + cell };
            for (int k = 0; k < E; ++k) s[n].z[k] = z[s[n].at + k * PLANE];
            ++n;
        }
    free(z);
    for (int i = 0; i < n; ++i) /* in the order of places */
        for (int j = i + 1; j < n; ++j)
            if (s[j].at < s[i].at) {
                struct sample t = s[i];
                s[i] = s[j], s[j] = t;
            }
    return n;
}

static void tracks(int most) {
    char text[2048];
    snprintf(text, sizeof text, TRACKS "[contrastive]\nyolo_layer=-2\ntemperature=.5\ncls_normalizer=.7\ncontrastive_neg_max=%d\n", most);
    struct model m;
    if (!model_open(&m, text, NET_TRAIN)) {
        CHECK(false, "%s", ctx.error);
        model_close(&m);
        return;
    }
    make_truth();
    struct sample s[3 * BATCH];
    int n = collect(&m, s);
    CHECK(n == 11, "%d samples", n);
    struct net_truth truth = { .boxes = lists };
    struct loss_stats stats[7];
    double loss, squares = 0, want[BATCH * ANCHORS * E * PLANE] = { 0 };
    CHECK(net_loss(&ctx, m.net, &truth, &loss, stats) == ST_OK, "%s", ctx.error);
    for (int i = 0; i < n; ++i) {
        double d[E];
        expected(s, n, i, .5, true, most, d);
        for (int k = 0; k < E; ++k) want[s[i].at + k * PLANE] = .7 * d[k], squares += .49 * d[k] * d[k];
    }
    int moved = 0;
    for (int i = 0; i < BATCH * ANCHORS * E * PLANE; ++i) {
        CHECK_NEAR(-m.net->layer[6].head_delta[i], want[i], 1e-5, "delta %d", i);
        moved += want[i] != 0;
    }
    CHECK(moved == 11 * E, "%d values move", moved);
    CHECK_NEAR(stats[6].loss, squares, 1e-5, "cost");
    CHECK(!strncmp(stats[6].line, " Contrast accuracy = ", 21) && strstr(stats[6].line, "all = 7, ") && strstr(stats[6].line, "\n contrastive loss = "),
          "%s", stats[6].line);
    /* The embedding layer learns from [contrastive] alone. */
    CHECK(net_backward(&ctx, m.net) == ST_OK, "%s", ctx.error);
    float *dx = calloc(BATCH * ANCHORS * E * PLANE, sizeof *dx);
    m.be->ops->to_nchw(m.be, &m.net->dy[1], dx);
    for (int i = 0; i < BATCH * ANCHORS * E * PLANE; ++i) CHECK_NEAR(dx[i], -want[i], 1e-5, "gradient %d", i);
    free(dx);
    model_close(&m);
}

static void embeddings(void) {
    struct model m;
    struct head_info info;
    if (!model_open(&m, TRACKS CONV(4, 1), NET_INFER)) {
        CHECK(false, "%s", ctx.error);
        model_close(&m);
        return;
    }
    const struct layer *l = &m.net->layer[4];
    l->ops->head->info(l, &info);
    CHECK(info.embedding == E && info.track.history == 5 && info.track.for_show == 1 && info.track.similarity == .8, "info");
    model_close(&m);
    if (!model_open(&m, TRACKS CONV(4, 1), NET_TRAIN)) { /* keeps the layer */
        CHECK(false, "%s", ctx.error);
        return;
    }
    float z[BATCH * ANCHORS * E * PLANE], got[E];
    net_output(m.net, 1, z);
    l = &m.net->layer[4];
    for (int b = 0; b < BATCH; ++b)
        for (int p = 0; p < CELLS; p += 3) {
            l->ops->head->embedding(l, b, p, got);
            for (int k = 0; k < E; ++k)
                CHECK_NEAR(got[k], z[((b * ANCHORS + p / PLANE) * E + k) * PLANE + p % PLANE], 1e-6, "image %d prediction %d", b, p);
        }
    model_close(&m);
}

/* The head itself sends nothing back to the embedding layer, whatever stands in that gradient's memory. */
static void silent_reader(void) {
    struct model m;
    if (!model_open(&m, TRACKS, NET_TRAIN)) {
        CHECK(false, "%s", ctx.error);
        model_close(&m);
        return;
    }
    make_truth();
    struct net_truth truth = { .boxes = lists };
    float dx[BATCH * ANCHORS * E * PLANE];
    double loss, sum = 0;
    net_loss(&ctx, m.net, &truth, &loss, NULL);
    m.be->ops->fill(m.be, &m.net->dy[1], 7);
    CHECK(net_backward(&ctx, m.net) == ST_OK, "%s", ctx.error);
    m.be->ops->to_nchw(m.be, &m.net->dy[1], dx);
    for (int i = 0; i < BATCH * ANCHORS * E * PLANE; ++i) sum += fabsf(dx[i]);
    CHECK(sum == 0, "the embedding layer got a gradient: %g", sum);
    model_close(&m);
}

/* --- Images of a classifier ---------------------------------------------------------------------------------------------- */

#define CLASSES "[contrastive]\nclasses=3\ntemperature=.8\n"

static void images(const int *label, const float *target, bool adversarial) {
    struct rig r;
    OPEN(&r, CLASSES, E, 1, 1, 6, NET_TRAIN);
    fill_random(&r, 51, -1, 1);
    struct sample s[6];
    for (int b = 0; b < 6; ++b) {
        s[b] = (struct sample){ .label = label[b], .at = b * E };
        for (int k = 0; k < E; ++k) s[b].z[k] = r.l.head_x[b * E + k];
    }
    struct loss_args args = { .target = target, .target_size = 3, .batch = 6, .steps = 1, .adversarial = adversarial };
    struct loss_stats stats;
    CHECK(r.l.ops->loss(&ctx, &r.l, &args, &stats) == ST_OK, "%s", ctx.error);
    for (int b = 0; b < 6; ++b) {
        double d[E];
        expected(s, 6, b, .8, false, 1000, d);
        for (int k = 0; k < E; ++k) CHECK_NEAR(-r.l.head_delta[b * E + k], d[k], 1e-5, "image %d value %d", b, k);
    }
    CHECK_NEAR(stats.loss, rig_squares(&r), 1e-5, "cost");
    CHECK(!strstr(stats.line, "adversarial") == !adversarial, "%s", stats.line);
    rig_close(&r);
}

/* Frames of one sequence step meet each other alone: two steps are two batches. */
static void sequences(void) {
    struct rig one, two;
    OPEN(&two, CLASSES, E, 1, 1, 8, NET_TRAIN);
    fill_random(&two, 52, -1, 1);
    struct loss_args args = { .batch = 8, .steps = 2 };
    struct loss_stats stats;
    two.l.ops->loss(&ctx, &two.l, &args, &stats);
    OPEN(&one, CLASSES, E, 1, 1, 4, NET_TRAIN);
    args.batch = 4, args.steps = 1;
    for (int step = 0; step < 2; ++step) {
        memcpy(one.l.head_x, two.l.head_x + step * 4 * E, 4 * E * sizeof(float));
        one.l.ops->loss(&ctx, &one.l, &args, &stats);
        for (int i = 0; i < 4 * E; ++i) CHECK_NEAR(one.l.head_delta[i], two.l.head_delta[step * 4 * E + i], 1e-6, "step %d value %d", step, i);
    }
    rig_close(&one);
    rig_close(&two);
}

static void learns(void) {
    struct rig r;
    OPEN(&r, CLASSES "max_delta=.5\n", E, 1, 1, 12, NET_TRAIN);
    fill_random(&r, 53, -1, 1);
    float target[12 * 3] = { 0 };
    for (int b = 0; b < 12; ++b) target[b * 3 + b % 3] = 1;
    struct loss_args args = { .target = target, .target_size = 3, .batch = 12, .steps = 1 };
    struct loss_stats stats;
    double first = -1, most = 0;
    for (int step = 0; step < 200; ++step) {
        CHECK(r.l.ops->loss(&ctx, &r.l, &args, &stats) == ST_OK, "%s", ctx.error);
        if (step == 0) first = atof(stats.line + 21);
        for (int i = 0; i < 12 * E; ++i) {
            r.l.head_x[i] -= .1f * r.l.head_delta[i];
            most = fmax(most, fabsf(r.l.head_delta[i]));
        }
    }
    CHECK(first < 90 && strstr(stats.line, "accuracy = 100.000000 %, all = 12, good = 12"), "from %g%% to %s", first, stats.line);
    CHECK(most <= .5, "max_delta: %g", most);
    rig_close(&r);
}

/* --- Errors ------------------------------------------------------------------------------------------------------------------ */

static void expect_error(const char *text, const char *part) {
    struct model m;
    CHECK(!model_open(&m, text, NET_INFER) && strstr(ctx.error, part) && !strchr(ctx.error, '\n'), "'%s' has no '%s'", ctx.error, part);
    model_close(&m);
}

static void errors(void) {
    expect_error(TRACKS "[contrastive]\nyolo_layer=1\n", "no [yolo] before this one");
    expect_error(TRACKS "[contrastive]\nyolo_layer=9\n", "no [yolo] before this one");
    expect_error(TRACKS CONV(4, 1) "[contrastive]\nyolo_layer=4\n", "2 x 3 values of embedding per cell, the layer before has 4");
    expect_error(TRACKS CONV(6, 2) "[contrastive]\nyolo_layer=4\n", "5 x 4, but the embeddings are 3 x 2");
    expect_error(TRACKS "[contrastive]\n", "one embedding per image is 1 x 1");
    expect_error(NET CONV(7, 4) CONV(14, 1) YOLO "embedding_layer=0\n", "7 channels, which 2 anchors do not divide");
    expect_error(NET CONV(6, 2) CONV(14, 2) YOLO "embedding_layer=0\n", "layer 0 is 10 x 8, but this head is 5 x 4");
    expect_error(NET CONV(14, 4) YOLO "embedding_layer=5\n", "embedding_layer");
    struct rig r;
    OPEN(&r, CLASSES, E, 1, 1, 2, NET_TRAIN);
    float target[8] = { 0 };
    struct loss_args args = { .target = target, .target_size = 4, .batch = 2, .steps = 1 };
    struct loss_stats stats;
    CHECK(r.l.ops->loss(&ctx, &r.l, &args, &stats) == ST_CFG && strstr(ctx.error, "3 values per image"), "%s", ctx.error);
    rig_close(&r);
}

int main(void) {
    const float target[18] = { 1, 0, 0, .1f, 0, .9f, 1, 0, 0, 0, .7f, 0, 0, 1, 0, 0, 0, 1 };
    const int by_class[] = { 0, 2, 0, 1, 1, 2 }, by_pair[] = { 0, 0, 1, 1, 2, 2 }, by_parity[] = { 0, 1, 0, 1, 0, 1 };
    tracks(3);
    tracks(1000);
    embeddings();
    silent_reader();
    images(by_class, target, false);
    images(by_pair, NULL, false);
    images(by_parity, NULL, true);
    sequences();
    learns();
    errors();
    return test_end("contrastive");
}
