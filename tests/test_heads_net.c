/* Heads and losses at the end of networks: each learns to find squares on pictures, trains a classifier, and lets channels be
 * cut only where it does not look. */
#include "prune_nets.h"
#include "train/optimizer.h"

enum { SIDE = 32, BATCH = 8, IMAGE = 3 * SIDE * SIDE };

#define NET "[net]\nwidth=32\nheight=32\nchannels=3\nbatch=8\nsubdivisions=1\n"
#define CONV(f, s) "[convolutional]\nbatch_normalize=1\nfilters=" #f "\nsize=3\nstride=" #s "\npad=1\nactivation=leaky\n"
#define LINEAR(f) "[convolutional]\nfilters=" #f "\nsize=1\nstride=1\npad=0\nactivation=linear\n"
#define TRUNK NET CONV(8, 2) CONV(12, 2) CONV(16, 2) /* 4 x 4 */

/* rising: the sum of squared deltas is no measure of progress where surer predictions have larger ones. */
static const struct { const char *name, *text; bool rising; } heads[] = {
    { "gaussian", TRUNK LINEAR(22) "[Gaussian_yolo]\nmask=0,1\nnum=2\nanchors=8,8, 14,14\nclasses=2\niou_loss=giou\n"
      "max_delta=2\niou_normalizer=.2\nuc_normalizer=.05\n", true },
    { "gaussian corner", TRUNK LINEAR(22) "[Gaussian_yolo]\nnum=2\nanchors=8,8, 14,14\nclasses=2\nyolo_point=left_top\n"
      "max_delta=2\niou_normalizer=.2\nuc_normalizer=.05\n", true },
    /* 4 x 4 cells of 2 classes and 2 boxes: 16 * 12 values */
    { "detection", TRUNK LINEAR(12) "[detection]\nclasses=2\ncoords=4\nside=4\nnum=2\nsqrt=1\nrescore=1\ncoord_scale=5\nnoobject_scale=.5\n", false },
    { "region", TRUNK LINEAR(14) "[region]\nnum=2\nanchors=1,1, 2,2\nclasses=2\nsoftmax=1\nobject_scale=5\ncoord_scale=2\nthresh=.6\n", false },
    { "yolo", TRUNK LINEAR(14) "[yolo]\nnum=2\nanchors=8,8, 14,14\nclasses=2\niou_loss=ciou\n", false }
};

static const struct { const char *name, *text; bool whole; } losses[] = {
    { "softmax", TRUNK LINEAR(4) "[avgpool]\n[softmax]\n", true },
    { "softmax with cost", TRUNK LINEAR(4) "[avgpool]\n[softmax]\n[cost]\n", true },
    { "cost", TRUNK LINEAR(4) "[avgpool]\n[cost]\ntype=smooth\n", true },
    { "embeddings", TRUNK CONV(6, 1) "[route]\nlayers=-2\n" LINEAR(14)
      "[yolo]\nnum=2\nanchors=8,8, 14,14\nclasses=2\nembedding_layer=3\n[route]\nlayers=3\n[contrastive]\nyolo_layer=-2\n", false }
};

/* A bright square per picture, red or green, on noise; truth in the square's pixels. */
static void draw(struct truth_list *list, struct truth *truth, float *target, float *x) {
    struct rng r = rng_stream(61, 0, 0);
    for (int i = 0; i < BATCH * IMAGE; ++i) x[i] = (float)rng_between(&r, 0, .3);
    for (int b = 0; b < BATCH; ++b) {
        int class_id = b % 2, size = b % 4 < 2 ? 8 : 14, left = rng_int(&r, 1, SIDE - size - 1), top = rng_int(&r, 1, SIDE - size - 1);
        for (int i = 0; i < size * size; ++i)
            x[b * IMAGE + (class_id * SIDE + top + i / size) * SIDE + left + i % size] = 1;
        truth[b] = (struct truth){ { ((float)left + (float)size / 2) / SIDE, ((float)top + (float)size / 2) / SIDE, (float)size / SIDE, (float)size / SIDE },
                                   class_id, b % 4 };
        list[b] = (struct truth_list){ 1, 1, &truth[b] };
        for (int k = 0; k < 4; ++k) target[b * 4 + k] = k == b % 4;
    }
}

struct lesson { struct net *net; struct backend *be; struct optimizer optimizer; struct truth_list list[BATCH]; struct truth truth[BATCH];
                float target[BATCH * 4], x[BATCH * IMAGE]; };

static bool lesson_open(struct lesson *l, struct ctx *ctx, const char *name, const char *text) {
    memset(l, 0, sizeof *l);
    if (!(l->net = nets_parse(ctx, name, text, strlen(text)))) return false;
    net_init_weights(l->net, 3);
    draw(l->list, l->truth, l->target, l->x);
    l->net->seen = 100000;
    bool ok = backend_open(ctx, "cpu", &l->be) == ST_OK && net_bind(ctx, l->net, l->be, NET_TRAIN, BATCH) == ST_OK &&
              optimizer_open(ctx, l->net, &l->optimizer) == ST_OK;
    CHECK(ok, "%s: %s", name, ctx->error);
    return ok;
}

static void lesson_close(struct lesson *l) {
    optimizer_close(&l->optimizer);
    net_close(l->net);
    if (l->be) backend_close(l->be);
}

static void step(struct lesson *l, struct ctx *ctx, double rate, double *loss) {
    struct net_truth truth = { .boxes = l->list, .target = l->target, .target_size = 4 };
    struct loss_stats stats[16];
    enum status st = net_forward(ctx, l->net, l->x);
    if (st == ST_OK) st = net_loss(ctx, l->net, &truth, loss, stats);
    if (st == ST_OK) st = net_backward(ctx, l->net);
    optimizer_step(&l->optimizer, l->net, &(struct update){ .number = 1, .rate = rate, .images = BATCH });
    if (st == ST_OK) st = net_refresh(ctx, l->net);
    CHECK(st == ST_OK, "%s", ctx->error);
}

static void finds_squares(const char *name, const char *text, bool rising) {
    struct ctx ctx = { 0 };
    struct lesson l;
    if (!lesson_open(&l, &ctx, name, text)) return;
    double first = 0, last = 0;
    for (int i = 0; i < (rising ? 300 : 200) && ctx.code == ST_OK; ++i) step(&l, &ctx, .01, i ? &last : &first);
    CHECK(rising || last < first / 5, "%s: loss from %g to %g", name, first, last);
    struct layer *head = &l.net->layer[l.net->n - 1];
    struct detection_list found = { .classes = 2 };
    int right = 0;
    net_forward(&ctx, l.net, l.x);
    for (int b = 0; b < BATCH; ++b) {
        detections_clear(&found);
        CHECK(head->ops->head->decode(&ctx, head, b, SIDE, SIDE, .2f, &found) == ST_OK, "%s", ctx.error);
        detections_nms(&found, .45f, NMS_DEFAULT, .6f);
        bool hit = false, wrong = false;
        for (int i = 0; i < found.n; ++i)
            for (int k = 0; k < 2; ++k)
                if (found.item[i].prob[k] > .3f)
                    *(k == l.truth[b].class_id && box_iou(found.item[i].box, l.truth[b].box) > .5 ? &hit : &wrong) = true;
        right += hit && !wrong;
    }
    CHECK(right >= 7, "%s: %d of %d pictures right after loss %g", name, right, BATCH, last);
    detections_free(&found);
    lesson_close(&l);
}

static void learns_classes(const char *name, const char *text) {
    struct ctx ctx = { 0 };
    struct lesson l;
    if (!lesson_open(&l, &ctx, name, text)) return;
    double first = 0, last = 0;
    for (int i = 0; i < 120 && ctx.code == ST_OK; ++i) step(&l, &ctx, .05, i ? &last : &first);
    CHECK(last < first / 5, "%s: loss from %g to %g", name, first, last);
    float y[BATCH * 4];
    int right = 0;
    net_forward(&ctx, l.net, l.x); /* the backward pass has used up the outputs */
    net_forward(&ctx, l.net, l.x); /* backward has given the outputs' memory away */
    net_output(l.net, net_output_layer(l.net), y);
    for (int b = 0; b < BATCH; ++b) {
        int best = 0;
        for (int k = 1; k < 4; ++k)
            if (y[b * 4 + k] > y[b * 4 + best]) best = k;
        right += best == b % 4;
    }
    CHECK(right == BATCH, "%s: %d of %d right", name, right, BATCH);
    lesson_close(&l);
}

/* The channels that a head reads stay, others go, and what is left computes the same. */
static void cut(const char *name, const char *text) {
    struct ctx ctx = { 0 };
    struct net *net = nets_open(&ctx, name, text, 9), *small = NULL;
    struct channels *ch = NULL;
    struct backend *be = NULL;
    if (!net || channels_build(&ctx, net, &ch) != ST_OK || backend_open(&ctx, "ref64", &be) != ST_OK) {
        CHECK(false, "%s: %s", name, ctx.error);
        return;
    }
    uint8_t *keep = calloc((size_t)ch->n_group, 1);
    int gone = nets_choose(ch, 9, .4, 1, keep);
    double worst = -1;
    float *x = nets_input(net, 2, 9);
    CHECK(slice_apply(&ctx, net, ch, keep, net->param, &small) == ST_OK, "%s: %s", name, ctx.error);
    double *mean = calloc((size_t)ch->n_node, sizeof *mean);
    float *param = calloc(net->n_param, sizeof *param);
    memcpy(param, net->param, net->n_param * sizeof *param);
    slice_compensate(net, ch, keep, mean, param);
    CHECK(!memcmp(param, net->param, net->n_param * sizeof *param), "%s: means of 0 need no compensation", name);
    free(mean), free(param);
    if (small) {
        CHECK(slice_check(&ctx, be, net, ch, keep, net->param, small, x, 2, &worst) == ST_OK && worst < 1e-6, "%s: differ by %g %s", name,
              worst, ctx.error);
        CHECK(gone > 5, "%s: %d groups gone", name, gone);
        for (int i = 0; i < net->n; ++i) {
            const struct layer *l = &net->layer[i];
            for (int k = 0; l->ops->loss && k < l->n_in; ++k)
                CHECK(small->layer[l->in[k]].out.c == net->layer[l->in[k]].out.c, "%s: channels read by [%s] are gone", name, l->ops->name);
        }
    }
    free(keep), free(x);
    net_close(small);
    channels_drop(ch);
    net_close(net);
    backend_close(be);
}

int main(void) {
    for (size_t i = 0; i < sizeof heads / sizeof *heads; ++i) {
        finds_squares(heads[i].name, heads[i].text, heads[i].rising);
        cut(heads[i].name, heads[i].text);
    }
    for (size_t i = 0; i < sizeof losses / sizeof *losses; ++i) {
        if (losses[i].whole) learns_classes(losses[i].name, losses[i].text);
        cut(losses[i].name, losses[i].text);
    }
    return test_end("heads_net");
}
