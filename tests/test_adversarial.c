/* adversarial_lr: the gradient with respect to the pictures, their disturbance, and a run with it. */
#include "train_tiny.h"

#include "train/adversarial.h"

/* Objectness logits of some predictions, summed; with `weight` their gradient is left for backward. */
static double seen_objects(struct net *net, double weight) {
    struct layer *head = &net->layer[net->n - 1];
    double sum = 0;
    size_t n = shape_count((struct shape){ net->batch, head->in_shape[0].c, head->in_shape[0].h, head->in_shape[0].w });
    memset(head->head_delta, 0, n * sizeof *head->head_delta);
    for (int image = 0; image < net->batch; ++image)
        for (int p = image; p < 128; p += 17) sum += head->ops->head->objectness(head, image, p, weight);
    return sum;
}

/* dU/dinput against central differences, also where the input has two readers and passes through a layer. */
static void test_input_gradient(void) {
    static const char *const texts[] = {
        "[net]\nwidth=64\nheight=64\nchannels=3\n"
        "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=8\npad=1\nactivation=logistic\n"
        "[convolutional]\nsize=1\nfilters=14\nactivation=linear\n"
        "[yolo]\nmask=0,1\nanchors=18,18,26,26\nclasses=2\nnum=2\n",
        "[net]\nwidth=64\nheight=64\nchannels=3\n"
        "[dropout]\nprobability=.5\n"
        "[convolutional]\nfilters=4\nsize=3\nstride=8\npad=1\nactivation=mish\n"
        "[route]\nlayers=-2\n"
        "[convolutional]\nfilters=3\nsize=5\nstride=8\npad=1\nactivation=swish\n"
        "[route]\nlayers=-1,-3\n"
        "[convolutional]\nsize=1\nfilters=14\nactivation=linear\n"
        "[yolo]\nmask=0,1\nanchors=18,18,26,26\nclasses=2\nnum=2\n",
    };
    for (size_t t = 0; t < sizeof texts / sizeof *texts; ++t) {
        struct ctx ctx = { 0 };
        struct backend *be;
        struct cfg_doc *doc;
        struct net *net = NULL;
        enum { SIZE = 2 * 3 * 64 * 64 };
        float *x = malloc(SIZE * sizeof *x), *d = malloc(SIZE * sizeof *d);
        struct rng r = rng_stream(3, t, 0);
        for (int i = 0; i < SIZE; ++i) x[i] = (float)rng_uniform(&r);
        CHECK(backend_open(&ctx, "ref64", &be) == ST_OK && cfg_parse(&ctx, "a", texts[t], strlen(texts[t]), true, &doc) == ST_OK &&
                  net_open_doc(&ctx, doc, true, &net) == ST_OK, "%s", ctx.error);
        net_init_weights(net, 3);
        for (int k = 0; k < 8 && t == 0; ++k) net->param[net->layer[0].param[3].offset + (size_t)k] = 1; /* variances */
        net->wants_dinput = true;
        CHECK(net_bind(&ctx, net, be, NET_SCORE, 2) == ST_OK && net_forward(&ctx, net, x) == ST_OK, "%s", ctx.error);
        for (int twice = 0; twice < 2; ++twice) {
            /* backward works in place on gradients; the second round shows that nothing piles up */
            CHECK(net_forward(&ctx, net, x) == ST_OK, "%s", ctx.error);
            seen_objects(net, 1);
            CHECK(net_backward(&ctx, net) == ST_OK, "%s", ctx.error);
        }
        be->ops->to_nchw(be, &net->dinput, d);
        int none = 0;
        for (int k = 0; k < 40; ++k) {
            int i = rng_int(&r, 0, SIZE - 1);
            for (int tries = 0; k % 2 && d[i] == 0 && tries < SIZE; ++tries) i = (i + 1) % SIZE; /* most pixels are not read */
            float keep = x[i], h = 1.f / 1024;
            x[i] = keep + h;
            net_forward(&ctx, net, x);
            double up = seen_objects(net, 0);
            x[i] = keep - h;
            net_forward(&ctx, net, x);
            double down = seen_objects(net, 0), want = (up - down) / (2 * h);
            x[i] = keep;
            none += want == 0;
            CHECK(fabs(d[i] - want) < 1e-4 * fmax(fabs(want), 1), "net %d, pixel %d: %g, central difference %g", (int)t, i, d[i], want);
        }
        CHECK(none < 40, "some pixels matter");
        net_close(net);
        backend_close(be);
        free(x), free(d);
    }
}

static void test_disturbance(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    struct net *net = open_net("batch=4\nmax_batches=10", "", 0);
    struct adversary a = { .net = open_net("batch=4\nmax_batches=10", "", 0) };
    enum { IMAGE = 3 * 64 * 64, SIZE = 4 * IMAGE };
    float *x = malloc(SIZE * sizeof *x);
    const float *y;
    struct rng r = rng_stream(5, 0, 0);
    for (int i = 0; i < SIZE; ++i) x[i] = (float)rng_uniform(&r);
    for (int l = 0; l < net->n; ++l)
        for (int k = 0; k < net->layer[l].n_param; ++k)
            if (net->layer[l].param[k].role == PARAM_VARIANCE)
                for (size_t i = 0; i < param_count(&net->layer[l].param[k]); ++i) net->param[net->layer[l].param[k].offset + i] = 1;
    CHECK(backend_open(&ctx, "cpu", &be) == ST_OK && net_bind(&ctx, net, be, NET_TRAIN, 4) == ST_OK, "%s", ctx.error);
    CHECK(adversary_disturb(&ctx, &a, net, x, 20, 1, &y) == ST_OK, "%s", ctx.error);
    CHECK(!memcmp(net->param, a.net->param, net->n_param * sizeof(float)), "the adversary follows the weights");
    int moved = 0, outside = 0;
    for (int i = 0; i < SIZE; ++i) moved += x[i] != y[i], outside += y[i] < 0 || y[i] > 1;
    CHECK(moved > SIZE / 2 && outside == 0, "%d of %d pixels move, %d leave 0..1", moved, SIZE, outside);
    /* It hides what the network sees: the objectness everywhere falls. */
    double objects[2];
    for (int k = 0; k < 2; ++k) {
        CHECK(net_forward(&ctx, a.net, k ? y : x) == ST_OK, "%s", ctx.error);
        struct truth_list nothing[4] = { 0 };
        double loss;
        CHECK(net_loss(&ctx, a.net, &(struct net_truth){ .boxes = nothing }, &loss, NULL) == ST_OK, "%s", ctx.error);
        objects[k] = seen_objects(a.net, 0);
        if (k) CHECK(objects[1] < objects[0], "objectness falls from %g to %g", objects[0], objects[1]);
    }
    CHECK(adversary_disturb(&ctx, &a, net, x, 20, 2, &y) == ST_OK, "%s", ctx.error);
    CHECK(!memcmp(x, y, IMAGE * sizeof *x) && memcmp(x + IMAGE, y + IMAGE, IMAGE * sizeof *x) &&
              !memcmp(x + 2 * IMAGE, y + 2 * IMAGE, IMAGE * sizeof *x), "every second picture only");
    CHECK(net_rebind(&ctx, net, 96, 64, 2) == ST_OK, "%s", ctx.error);
    CHECK(adversary_disturb(&ctx, &a, net, x, 20, 1, &y) == ST_OK && a.net->batch == 2 && a.net->opt.width == 96, "another size");
    net_close(net);
    adversary_close(&a);
    backend_close(be);
    free(x);
}

static void test_run(void) {
    static struct run r;
    struct net *plain = open_net("batch=4\nsubdivisions=2\nlearning_rate=0.005\nmax_batches=12\nburn_in=2", "", 1),
               *rivals[2];
    memset(&r, 0, sizeof r);
    CHECK(train(&r, "cpu", plain, "none") == ST_OK, "%s", r.ctx.error);
    for (int k = 0; k < 2; ++k) {
        rivals[k] = open_net("batch=4\nsubdivisions=2\nlearning_rate=0.005\nmax_batches=12\nburn_in=2\nadversarial_lr=0.1", "", 1);
        CHECK(train(&r, "cpu", rivals[k], "none") == ST_OK, "%s", r.ctx.error);
    }
    CHECK(memcmp(plain->param, rivals[0]->param, plain->n_param * sizeof(float)), "it makes a difference");
    CHECK(!memcmp(rivals[1]->param, rivals[0]->param, plain->n_param * sizeof(float)), "the same one every time");
    net_close(plain), net_close(rivals[0]), net_close(rivals[1]);
}

int main(void) {
    tiny_start("adversarial");
    test_input_gradient();
    test_disturbance();
    test_run();
    return tiny_end("adversarial");
}
