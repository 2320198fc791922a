/* One training step of upstream as golden values: losses, deltas, outputs and weight gradients of every recorded case. */
#include "golden.h"
#include "kinds.h"
#include "net/net.h"

static const char *golden_backend = "cpu"; /* what computes */

static double l2(const float *v, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += (double)v[i] * v[i];
    return sqrt(sum);
}

static void recorded_input(float *x, size_t n) {
    for (size_t k = 0; k < n; ++k) x[k] = (float)((uint32_t)(k * 2654435761u) >> 8) / 16777216.0f;
}

#define NEAR(got, want, tol, ...) CHECK(fabs((got) - (want)) <= (tol)*fmax(fabs(want), 1e-6), __VA_ARGS__)

/* Upstream's CPU convolution overwrites the gradient of its input, which loses what other readers of that tensor had sent
 * back.  Its weight gradients are therefore right only where nothing downstream has a second reader. */
static bool single_path(const struct net *net, int i) {
    int readers = 0, next = -1;
    for (int k = i + 1; k < net->n; ++k)
        for (int j = 0; j < net->layer[k].n_in; ++j)
            if (net->layer[k].in[j] == i) ++readers, next = k;
    return readers == 0 || (readers == 1 && single_path(net, next));
}

/* Before the backward pass, which needs the memory. */
static void check_outputs(const char *stem, struct net *net, const cJSON *layers) {
    const cJSON *row;
    cJSON_ArrayForEach(row, layers) {
        int i = cJSON_GetObjectItem(row, "layer")->valueint;
        size_t n = shape_count(net->layer[i].out);
        float *y = calloc(n, sizeof *y);
        net_output(net, i, y);
        NEAR(l2(y, n), golden_number(row, "output_l2"), 1e-3, "%s layer %d: output %g, recorded %g", stem, i, l2(y, n),
             golden_number(row, "output_l2"));
        free(y);
    }
}

static void check_layers(const char *stem, struct net *net, const cJSON *layers) {
    const cJSON *row;
    int compared = 0;
    float *grad = calloc(net->n_param, sizeof *grad);
    net->be->ops->get(net->be, net->dev_grad, net->n_param, grad);
    cJSON_ArrayForEach(row, layers) {
        int i = cJSON_GetObjectItem(row, "layer")->valueint;
        const struct layer *l = &net->layer[i];
        const struct param *w = &l->param[l->n_param - 1];
        size_t m = param_count(w);
        if (!single_path(net, i)) continue;
        double dot = 0, norm = l2(grad + w->offset, m), weights = l2(net->param + w->offset, m), want = golden_number(row, "weight_grad_l2");
        for (size_t k = 0; k < m; ++k) dot += (double)grad[w->offset + k] * net->param[w->offset + k];
        /* The floors: batch norm makes some gradients 0 but for rounding (a scale in front of it, a map of one cell). */
        CHECK(fabs(norm - want) <= 1e-3 * want + 1e-3, "%s layer %d: |dw| %g, recorded %g", stem, i, norm, want);
        want = golden_number(row, "weight_grad_dot_weight");
        CHECK(fabs(dot - want) <= 1e-3 * fabs(want) + 1e-4 * norm * weights + 1e-3, "%s layer %d: dw.w %g, recorded %g", stem, i, dot, want);
        ++compared;
    }
    CHECK(compared > 0, "%s: no weight gradient could be compared", stem);
    free(grad);
}

static void check_step(const char *stem, struct net *net, const cJSON *json) {
    struct ctx ctx = { 0 };
    struct truth item[] = { { { .31f, .42f, .22f, .35f }, 0, -1 }, { { .70f, .55f, .05f, .08f }, 1, -1 }, { { .52f, .80f, .60f, .30f }, 0, -1 } };
    struct truth_list truth = { 3, 3, item };
    size_t n = shape_count((struct shape){ 1, net->opt.channels, net->opt.height, net->opt.width });
    float *x = calloc(n, sizeof *x);
    struct loss_stats *stats = calloc((size_t)net->n, sizeof *stats);
    double loss = 0;
    recorded_input(x, n);
    net->seen = 0;
    net->iteration = 1;
    enum status st = net_forward(&ctx, net, x);
    if (st == ST_OK) st = net_loss(&ctx, net, &(struct net_truth){ .boxes = &truth }, &loss, stats);
    if (st == ST_OK) check_outputs(stem, net, cJSON_GetObjectItem(json, "layers"));
    if (st == ST_OK) st = net_backward(&ctx, net);
    CHECK(st == ST_OK, "%s: %s", stem, ctx.error);
    NEAR(loss, golden_number(json, "loss"), 1e-3, "%s: loss %g, recorded %g", stem, loss, golden_number(json, "loss"));
    const cJSON *head;
    cJSON_ArrayForEach(head, cJSON_GetObjectItem(json, "heads")) {
        int i = cJSON_GetObjectItem(head, "layer")->valueint;
        double delta = l2(net->layer[i].head_delta, shape_count(net->layer[i].in_shape[0]));
        NEAR(stats[i].loss, golden_number(head, "loss"), 1e-3, "%s head %d: loss %g, recorded %g", stem, i, stats[i].loss,
             golden_number(head, "loss"));
        NEAR(delta, golden_number(head, "delta_l2"), 1e-3, "%s head %d: |delta| %g, recorded %g", stem, i, delta, golden_number(head, "delta_l2"));
    }
    check_layers(stem, net, cJSON_GetObjectItem(json, "layers"));
    free(x);
    free(stats);
}

static void one_case(const char *root, const char *path, const char *stem) {
    char name[300], weights[1024];
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    struct backend *be = NULL;
    cJSON *json = golden_json(path);
    CHECK(json != NULL, "%s: not JSON", path);
    if (!json) return;
    snprintf(name, sizeof name, "golden/loss/%s", cJSON_GetStringValue(cJSON_GetObjectItem(json, "cfg")));
    char cfg[1400];
    snprintf(cfg, sizeof cfg, "%s/%s", root, name);
    const char *recorded = cJSON_GetStringValue(cJSON_GetObjectItem(json, "weights"));
    snprintf(weights, sizeof weights, "%s", golden_find(root, "weights", recorded));
    CHECK(weights[0], "%s: no %s anywhere under weights/", stem, recorded);
    enum status st = backend_open(&ctx, golden_backend, &be);
    if (st == ST_OK) st = net_open(&ctx, cfg, false, &net);
    if (st == ST_OK) st = net_load(&ctx, net, weights, LOAD_WHOLE, NULL);
    if (st == ST_OK) st = net_bind(&ctx, net, be, NET_TRAIN, 1);
    CHECK(st == ST_OK, "%s: %s", stem, ctx.error);
    if (st == ST_OK) check_step(stem, net, json);
    net_close(net);
    backend_close(be);
    cJSON_Delete(json);
}

int main(void) {
    const char *root = test_data("recorded training steps"), *kinds[MAX_KINDS];
    int n = root ? golden_kinds(kinds) : 0;
    for (int i = 1; i < n; ++i) {
        golden_backend = kinds[i];
        golden_each(root, "golden/loss", ".loss.json", one_case);
    }
    golden_backend = "cpu";
    if (root && golden_each(root, "golden/loss", ".loss.json", one_case) == 0) SKIP("no golden/loss/*.loss.json under %s", root);
    return test_end("golden_loss");
}
