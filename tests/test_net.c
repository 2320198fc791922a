/* Whole networks: gradients of every layer type in company against central differences, the fast backend against the
 * reference, resizing, weights round trip. */
#include "net_check.h"

#include <unistd.h>

#define NET "[net]\nwidth=16\nheight=16\nchannels=3\nbatch=2\nsubdivisions=1\n"
#define CONV(f, k, s, act) "[convolutional]\nbatch_normalize=1\nfilters=" #f "\nsize=" #k "\nstride=" #s "\npad=1\nactivation=" act "\n"
#define PLAIN(f, k, s, act) "[convolutional]\nfilters=" #f "\nsize=" #k "\nstride=" #s "\npad=1\nactivation=" act "\n"
#define DEPTHWISE(f, act) "[convolutional]\nbatch_normalize=1\nfilters=" #f "\ngroups=" #f "\nsize=3\nstride=1\npad=1\nactivation=" act "\n"

static const struct { const char *name, *text; } cases[] = {
    { "plain", NET PLAIN(5, 3, 2, "leaky") PLAIN(4, 1, 1, "logistic") PLAIN(6, 3, 1, "linear") },
    { "batch norm", NET CONV(6, 3, 2, "leaky") CONV(5, 3, 1, "mish") CONV(4, 1, 1, "swish") PLAIN(3, 1, 1, "linear") },
    { "residual", NET CONV(6, 3, 2, "leaky") CONV(4, 1, 1, "leaky") CONV(6, 3, 1, "linear") "[dropout]\nprobability=0\n"
      "[shortcut]\nfrom=-4\nactivation=linear\n" CONV(4, 1, 1, "leaky") CONV(6, 3, 1, "linear") "[shortcut]\nfrom=-3\nactivation=leaky\n"
      PLAIN(3, 1, 1, "linear") },
    { "unequal residual", NET CONV(6, 3, 2, "leaky") CONV(4, 1, 1, "mish") "[shortcut]\nfrom=-2\nactivation=swish\n" CONV(8, 1, 1, "relu")
      "[shortcut]\nfrom=0,2\nactivation=linear\n" PLAIN(3, 1, 1, "linear") },
    { "split and concat", NET CONV(8, 3, 2, "leaky") "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n" CONV(4, 3, 1, "leaky") CONV(4, 3, 1, "leaky")
      "[route]\nlayers=-1,-2\n" CONV(8, 1, 1, "leaky") "[route]\nlayers=0,-1\n" "[maxpool]\nsize=2\nstride=2\n" PLAIN(3, 1, 1, "linear") },
    { "depthwise", NET CONV(6, 1, 1, "leaky") DEPTHWISE(6, "leaky") "[maxpool]\nsize=3\nstride=1\n" "[convolutional]\nbatch_normalize=1\n"
      "filters=12\ngroups=6\nsize=3\nstride=2\npad=1\nactivation=relu6\n" PLAIN(4, 1, 1, "linear") },
    { "depthwise of odd widths", NET CONV(12, 1, 1, "leaky") DEPTHWISE(12, "leaky") CONV(9, 1, 1, "linear") CONV(20, 1, 1, "leaky") DEPTHWISE(20, "swish")
      CONV(9, 1, 1, "linear") "[shortcut]\nfrom=-4\nactivation=linear\n" CONV(21, 1, 1, "mish") "[convolutional]\nbatch_normalize=1\nfilters=21\n"
      "groups=21\nsize=5\nstride=2\npad=1\nactivation=logistic\n" PLAIN(4, 1, 1, "linear") },
    { "depthwise among windows", NET CONV(22, 3, 2, "leaky") DEPTHWISE(22, "leaky") "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n" DEPTHWISE(11, "leaky")
      DEPTHWISE(11, "relu") "[route]\nlayers=-1,-2\n" DEPTHWISE(22, "leaky") "[maxpool]\nsize=2\nstride=2\n" PLAIN(3, 1, 1, "linear") },
    { "grouped", NET CONV(6, 3, 2, "leaky") "[convolutional]\nbatch_normalize=1\nfilters=8\ngroups=2\nsize=3\nstride=1\npad=1\nactivation=mish\n"
      PLAIN(4, 3, 1, "linear") },
    { "squeeze-excite", NET CONV(6, 3, 2, "leaky") CONV(8, 3, 1, "leaky") "[avgpool]\n" PLAIN(3, 1, 1, "swish") PLAIN(8, 1, 1, "logistic")
      "[scale_channels]\nfrom=-4\n" PLAIN(4, 1, 1, "linear") },
    { "attention and space to depth", NET CONV(6, 3, 1, "leaky") CONV(6, 1, 1, "logistic") "[sam]\nfrom=-2\n" "[reorg3d]\nstride=2\n"
      CONV(8, 1, 1, "leaky") "[upsample]\nstride=2\n" "[route]\nlayers=-1,2\n" CONV(4, 3, 2, "tanh") PLAIN(3, 1, 1, "linear") },
    { "pyramid pooling", NET CONV(6, 3, 2, "leaky") "[maxpool]\nsize=5\nstride=1\n[route]\nlayers=-2\n[maxpool]\nsize=3\nstride=1\n"
      "[route]\nlayers=-1,-3,-4\n" PLAIN(4, 1, 1, "linear") },
    { "dilated", NET "[convolutional]\nbatch_normalize=1\nfilters=5\nsize=3\nstride=1\npad=1\ndilation=2\nactivation=leaky\n"
      "[convolutional]\nfilters=4\nsize=3\nstride_x=2\nstride_y=1\npadding=1\nactivation=linear\n" },
    { "dropout", NET CONV(6, 3, 2, "leaky") "[dropout]\nprobability=.4\n" PLAIN(4, 1, 1, "linear") },
};

static const char odd_depthwise[] = NET CONV(12, 3, 2, "leaky") DEPTHWISE(12, "relu6") DEPTHWISE(12, "mish") CONV(12, 1, 1, "leaky") DEPTHWISE(12, "leaky")
    CONV(9, 1, 1, "leaky") DEPTHWISE(9, "leaky") "[route]\nlayers=2\ngroups=2\ngroup_id=1\n" "[route]\nlayers=-1,6,4\n" PLAIN(5, 1, 1, "linear");

static void check_weights_round_trip(void) {
    struct ctx ctx = { 0 };
    struct net *a = opened(&ctx, "round trip", cases[2].text), *b = opened(&ctx, "round trip", cases[2].text);
    char path[] = "/tmp/test_net_XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && a && b, "no temporary file");
    if (fd < 0 || !a || !b) return;
    close(fd);
    a->seen = 0x123456789ull;
    for (size_t i = 0; i < a->n_param; ++i) a->param[i] = 0.5f + (float)i;
    int layers = -1;
    CHECK(net_save(&ctx, a, path, -1) == ST_OK, "%s", ctx.error);
    CHECK(net_load(&ctx, b, path, LOAD_WHOLE, &layers) == ST_OK, "%s", ctx.error);
    CHECK(layers == b->n && b->seen == a->seen, "%d layers, seen %llu", layers, (unsigned long long)b->seen);
    CHECK(!memcmp(a->param, b->param, a->n_param * sizeof *a->param), "values changed on the way");
    CHECK(net_save(&ctx, a, path, 2) == ST_OK, "%s", ctx.error);
    CHECK(net_load(&ctx, b, path, LOAD_PREFIX, &layers) == ST_OK && layers == 2, "a prefix loads: %d %s", layers, ctx.error);
    CHECK(net_load(&ctx, b, path, LOAD_WHOLE, NULL) == ST_FORMAT && strstr(ctx.error, "ends before layer 2 ["), "%s", ctx.error);
    ctx_clear(&ctx);
    CHECK(truncate(path, 20 + 4 * 37) == 0, "truncate");
    CHECK(net_load(&ctx, b, path, LOAD_PREFIX, NULL) == ST_FORMAT && strstr(ctx.error, "ends inside layer 0"), "%s", ctx.error);
    unlink(path);
    net_close(a);
    net_close(b);
}

/* From a pipe, whose size shows at its end only; and a prefix that lacks fewer values than a header has bytes leaves them. */
static void check_weights_streams(void) {
    struct ctx ctx = { 0 };
    const char *text = NET PLAIN(3, 3, 2, "leaky") PLAIN(1, 1, 1, "linear"); /* the last has 4 values */
    struct net *a = opened(&ctx, "streams", text), *b = opened(&ctx, "streams", text);
    char path[] = "/tmp/test_net_XXXXXX", command[64];
    int fd = mkstemp(path), layers = 0;
    if (fd < 0 || !a || !b) return;
    close(fd);
    for (size_t i = 0; i < a->n_param; ++i) a->param[i] = 0.5f + (float)i;
    CHECK(net_save(&ctx, a, path, -1) == ST_OK, "%s", ctx.error);
    snprintf(command, sizeof command, "cat %s", path);
    FILE *pipe = popen(command, "r");
    char name[64];
    snprintf(name, sizeof name, "/dev/fd/%d", pipe ? fileno(pipe) : -1);
    CHECK(net_load(&ctx, b, name, LOAD_WHOLE, &layers) == ST_OK && layers == b->n, "%s", ctx.error);
    CHECK(!memcmp(a->param, b->param, a->n_param * sizeof *a->param), "values changed in the pipe");
    if (pipe) pclose(pipe);
    const struct layer *last = &b->layer[b->n - 1];
    b->param[last->param[0].offset] = 77;
    CHECK(net_save(&ctx, a, path, b->n - 1) == ST_OK, "%s", ctx.error);
    CHECK(net_load(&ctx, b, path, LOAD_PREFIX, &layers) == ST_OK && layers == b->n - 1, "%d layers %s", layers, ctx.error);
    CHECK(b->param[last->param[0].offset] == 77, "a layer that the file does not hold was changed to %g", (double)b->param[last->param[0].offset]);
    unlink(path);
    net_close(a);
    net_close(b);
}

/* Depthwise convolutions of odd widths have spare elements behind the channels of their maps, but not where maps lie within others;
 * what the spare ones hold does not matter. */
static void check_spare(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    struct net *net = opened(&ctx, "spare", odd_depthwise);
    if (!net || backend_open(&ctx, "cpu", &be) != ST_OK) return;
    CHECK(net_bind(&ctx, net, be, NET_INFER, 2) == ST_OK, "%s", ctx.error);
    size_t n = 2 * shape_count(net->layer[net->n - 1].out);
    float *x = calloc(input_size(net), sizeof *x), *y = calloc(n, sizeof *y), *again = calloc(n, sizeof *again);
    random_input(net, x);
    CHECK(net_forward(&ctx, net, x) == ST_OK, "%s", ctx.error);
    net_output(net, net->n - 1, y);
    for (int i = 0; i < net->n; ++i) {
        const struct tensor *t = &net->y[i];
        int want = be->lanes && i <= 2 ? 4 : 0;
        CHECK(t->spare == want && (i > 3 || t->sw == 12 + want), "layer %d: %d spare elements, pixels %td apart", i, t->spare, t->sw);
    }
    for (size_t i = 0; i < net->buffers->arena_size; ++i) ((float *)net->buffers->arena)[i] = NAN;
    CHECK(net_forward(&ctx, net, x) == ST_OK, "%s", ctx.error);
    net_output(net, net->n - 1, again);
    CHECK(!memcmp(y, again, n * sizeof *y), "what memory held before shows in the output");
    free(x), free(y), free(again);
    net_close(net);
    backend_close(be);
}

static void check_resize(void) {
    struct ctx ctx = { 0 };
    struct backend *be;
    struct net *net = opened(&ctx, "resize", cases[4].text);
    if (!net || backend_open(&ctx, "cpu", &be) != ST_OK) return;
    CHECK(net_bind(&ctx, net, be, NET_INFER, 1) == ST_OK && net_resize(&ctx, net, 32, 48) == ST_OK, "%s", ctx.error);
    CHECK(net->layer[net->n - 1].out.w == 8 && net->layer[net->n - 1].out.h == 12, "resized to %d x %d", net->layer[net->n - 1].out.w,
          net->layer[net->n - 1].out.h);
    float *x = calloc(input_size(net), sizeof *x), *y = calloc(shape_count(net->layer[net->n - 1].out), sizeof *y);
    CHECK(net_forward(&ctx, net, x) == ST_OK, "%s", ctx.error);
    net_output(net, net->n - 1, y);
    free(x), free(y);
    net_close(net);
    backend_close(be);
}

/* Outputs share memory by lifetime, and must not show it. */
static void check_plan(void) {
    struct ctx ctx = { 0 };
    const struct span span[] = { { 100, 0, 1, 1, 0 }, { 50, 1, 2, 1, 0 }, { 100, 2, 3, 1, 0 }, { 10, 0, 3, 1, 0 }, { 0, 3, 4, 1, 0 },
                                 { 100, 0, 0, 4, 5 }, { 30, 5, 6, 1, 0 } };
    enum { N = sizeof span / sizeof *span, STEPS = 8 };
    size_t at[N] = { 0 }, total;
    ptrdiff_t change[STEPS + 1];
    bool used[STEPS][400] = { { false } };
    CHECK(plan_offsets(&ctx, N, span, at, &total) == ST_OK, "%s", ctx.error);
    for (int i = 0; i < N; ++i)
        for (int t = 0; t < STEPS; ++t) {
            if ((t < span[i].first || t > span[i].last) && (t < span[i].again_first || t > span[i].again_last)) continue;
            for (size_t k = at[i]; k < at[i] + span[i].size; ++k) {
                CHECK(!used[t][k], "step %d: block %d lies on another one", t, i);
                used[t][k] = true;
            }
        }
    CHECK(plan_peak(N, span, STEPS, change) == 210, "%zu elements at once", plan_peak(N, span, STEPS, change));
    CHECK(total >= 210 && total < 260, "%zu elements: nothing was shared", total);
}

static void count_short(void *user, enum log_level level, const char *line) {
    if (level == LOG_WARN && strstr(line, "a.cfg:") && strstr(line, "anchors: 3 numbers, but num=2 anchors need 4")) ++*(int *)user;
}

/* A list of anchors that lost a number trains on garbage in silence otherwise; said once, not at every change of size. */
static void check_short_anchors(void) {
    static const char *const heads[] = { "[yolo]\nclasses=2\nnum=2\nanchors=4,4, 8\n", "[region]\nclasses=2\nnum=2\nanchors=4,4, 8\n" };
    for (size_t i = 0; i < 2; ++i) {
        char text[512];
        int said = 0;
        struct ctx ctx = { .log = count_short, .log_user = &said };
        snprintf(text, sizeof text, "%s%s%s", NET, PLAIN(14, 1, 1, "linear"), heads[i]);
        struct net *net = opened(&ctx, "a.cfg", text);
        if (!net) continue;
        CHECK(net_resize(&ctx, net, 64, 64) == ST_OK && said == 1, "said %d times", said);
        net_close(net);
    }
}

int main(void) {
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        check_gradients(cases[i].name, cases[i].text, NET_TRAIN, NULL);
        if (strcmp(cases[i].name, "plain")) check_activation_gradients(cases[i].name, cases[i].text);
        check_backends(cases[i].name, cases[i].text, NET_INFER, NULL);
        check_backends(cases[i].name, cases[i].text, NET_TRAIN, NULL);
    }
    check_weights_round_trip();
    check_weights_streams();
    check_spare();
    check_resize();
    check_plan();
    check_short_anchors();
    return test_end("net");
}
