/* Training inside a pruning run: its schedule, the teacher, the pull on the scales of batch norm. */
#include "recipe/finetune.h"
#include "train/sparsity.h"
#include "train_tiny.h"

static void test_schedule(void) {
    int at[] = { 400, 450 };
    struct net_options o = { .max_batches = 500, .burn_in = 50, .policy = POLICY_STEPS, .learning_rate = 1, .power = 1, .step = 100 };
    double scale[] = { .1, .1 }, before[3], after[3];
    o.steps.v = at, o.steps.n = 2;
    o.scales.v = scale, o.scales.n = 2;
    const int place[] = { 25, 300, 475 };
    for (int i = 0; i < 3; ++i) before[i] = net_learning_rate(&o, place[i], 0);
    finetune_schedule(&o, 100);
    CHECK(o.max_batches == 100 && o.burn_in == 10 && at[0] == 80 && at[1] == 90 && o.step == 20, "%d %d %d %d %d", o.max_batches, o.burn_in, at[0], at[1], o.step);
    for (int i = 0; i < 3; ++i) after[i] = net_learning_rate(&o, place[i] / 5, 0);
    for (int i = 0; i < 3; ++i) CHECK_NEAR(after[i], before[i], 1e-9, "the same rate at the same part of the way, %d", i);
    finetune_schedule(&o, 1);
    CHECK(at[0] >= 1 && o.burn_in == 0, "one iteration is not all warm-up: %d %d", at[0], o.burn_in);
}

/* A student that differs from its teacher, and sees no labels that would say otherwise, comes nearer to it. */
static void test_teaches(void) {
    struct ctx c = { 0 };
    struct backend *be;
    struct net *teacher = open_net("batch=2\nmax_batches=9", "", 0), *student = open_net("batch=2\nmax_batches=9", "", 0);
    struct distill d;
    CHECK(backend_open(&c, "ref", &be) == ST_OK && net_bind(&c, student, be, NET_TRAIN, 2) == ST_OK, "%s", c.error);
    CHECK(distill_open(&c, &d, be, teacher, 2, .5, .02) == ST_OK, "%s", c.error);
    struct truth box[2] = { { .box = { .5f, .5f, .3f, .3f } }, { .box = { .2f, .7f, .2f, .1f } } };
    struct truth_list boxes[2] = { { .n = 1, .cap = 1, .item = box }, { .n = 1, .cap = 1, .item = box + 1 } };
    float *x = calloc(2 * 3 * 64 * 64, sizeof *x);
    for (int i = 0; i < 2 * 3 * 64 * 64; ++i) x[i] = (float)(i % 17) / 17;
    /* Its copy, but for batch norm's mode: the heads' values are set by hand. */
    double loss = 0, more = 0;
    CHECK(net_forward(&c, student, x) == ST_OK, "%s", c.error);
    struct layer *head = &student->layer[student->n - 1];
    size_t n = 2 * shape_count(head->in_shape[0]);
    memset(head->head_delta, 0, n * sizeof(float));
    CHECK(distill_loss(&c, &d, student, x, boxes, &loss) == ST_OK, "%s", c.error);
    double slope = 0;
    for (size_t i = 0; i < n; ++i) slope += (double)head->head_delta[i] * head->head_delta[i];
    CHECK(loss > 0 && slope > 0, "loss %g, slope %g", loss, slope);
    for (size_t i = 0; i < n; ++i) head->head_x[i] -= (float)(1e-2 / sqrt(slope)) * head->head_delta[i];
    CHECK(distill_loss(&c, &d, student, x, boxes, &more) == ST_OK, "%s", c.error);
    CHECK_NEAR((more - loss) / 1e-2, -sqrt(slope), 2e-2, "one small step down its slope: from %g to %g", loss, more);
    distill_close(&d);
    CHECK(!teacher->be, "the teacher is unbound");
    net_close(student), net_close(teacher);
    backend_close(be);
    free(x);
}

static void test_sparsity(void) {
    struct run plain = { .opt = { .seed = 0 } }, pulled = plain;
    struct net *a = open_net("batch=4\nmax_batches=30\nlearning_rate=0.01", "", 0), *b = open_net("batch=4\nmax_batches=30\nlearning_rate=0.01", "", 0);
    pulled.opt.sparsity = .05;
    CHECK(train(&plain, "cpu", a, "plain") == ST_OK && train(&pulled, "cpu", b, "pulled") == ST_OK, "%s%s", plain.ctx.error, pulled.ctx.error);
    struct sparsity s = sparsity_of(a, .5), t = sparsity_of(b, .5);
    CHECK(s.n == 8 + 16 + 24 && t.mean < s.mean - .05, "the pull makes scales smaller: %g, without it %g", t.mean, s.mean);
    /* Without momentum, decay and data's gradient, each step takes rate * pull. */
    struct ctx c = { 0 };
    struct backend *be;
    CHECK(backend_open(&c, "ref", &be) == ST_OK && net_bind(&c, a, be, NET_TRAIN, 2) == ST_OK && sparsity_pull(&c, a, 3) == ST_OK, "%s", c.error);
    float *g = calloc(a->n_param, sizeof *g);
    be->ops->get(be, a->dev_grad, a->n_param, g);
    double sum = 0, scales = 0;
    for (int i = 0; i < a->n; ++i)
        for (int k = 0; k < a->layer[i].n_param; ++k)
            for (size_t j = 0; j < param_count(&a->layer[i].param[k]); ++j) {
                double v = (double)g[a->layer[i].param[k].offset + j];
                sum += fabs(v);
                if (a->layer[i].param[k].role == PARAM_SCALE) scales += v;
            }
    CHECK_NEAR(sum, 3 * 48, 1e-6, "each scale is pulled, nothing else");
    CHECK_NEAR(scales, 3 * 48, 1e-6, "towards 0");
    net_close(a), net_close(b);
    backend_close(be);
    free(g);
}

/* [region] draws every box to its anchor while it has seen fewer than 12800 images: in this training or before it. */
static double region_loss(uint64_t seen, uint64_t before) {
    static const char text[] = "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nfilters=14\nsize=3\nstride=8\npad=1\nactivation=linear\n"
                               "[region]\nanchors=1,2, 2,1\nnum=2\nclasses=2\ncoord_scale=1\n";
    struct ctx c = { 0 };
    struct backend *be = NULL;
    struct cfg_doc *doc;
    struct net *net = NULL;
    double loss = -1;
    float *x = calloc(3 * 32 * 32, sizeof *x);
    CHECK(cfg_parse(&c, "region.cfg", text, strlen(text), true, &doc) == ST_OK && net_open_doc(&c, doc, true, &net) == ST_OK, "%s", c.error);
    net_init_weights(net, 5);
    for (int i = 0; i < 3 * 32 * 32; ++i) x[i] = (float)(i % 17) / 17;
    net->seen = seen, net->seen_before = before;
    struct truth_list none = { 0 };
    struct net_truth truth = { .boxes = &none };
    CHECK(backend_open(&c, "ref", &be) == ST_OK && net_bind(&c, net, be, NET_TRAIN, 1) == ST_OK && net_forward(&c, net, x) == ST_OK &&
              net_loss(&c, net, &truth, &loss, NULL) == ST_OK, "%s", c.error);
    net_close(net);
    backend_close(be);
    free(x);
    return loss;
}

static void test_warm_up(void) {
    double fresh = region_loss(0, 0), later = region_loss(20000, 0), tuned = region_loss(64, 20000);
    CHECK(fresh > later * 1.001, "warm-up costs: %g, without it %g", fresh, later);
    CHECK_NEAR(tuned, later, 1e-9, "a network that was trained before does not warm up again");
}

int main(void) {
    tiny_start("finetune");
    test_schedule();
    test_teaches();
    test_sparsity();
    test_warm_up();
    return tiny_end("finetune");
}
