/* detector bench: figures, when a difference is noise, memory of one network alone, the command. */
#include "cli_rig.h"

#include <cjson/cJSON.h>

#include "base/rng.h"
#include "eval/speed.h"

static void test_figures(void) {
    struct ctx ctx = { 0 };
    struct speed_figures f;
    double ms[101];
    for (int i = 0; i <= 100; ++i) ms[i] = (i * 37) % 101; /* 0..100, mixed */
    CHECK(speed_figures(&ctx, ms, 101, &f) == ST_OK, "%s", ctx.error);
    CHECK_NEAR(f.best, 0, 1e-12, "best");
    CHECK_NEAR(f.p50, 50, 1e-12, "p50");
    CHECK_NEAR(f.p90, 90, 1e-12, "p90");
    CHECK_NEAR(f.p99, 99, 1e-12, "p99");
    CHECK_NEAR(f.mean, 50, 1e-9, "mean");
    CHECK(speed_figures(&ctx, ms, 1, &f) == ST_OK && f.p99 <= ms[0], "one value is every quantile");
}

/* Pairs whose ratio is `ratio` times a disturbance of `spread`, with load that comes and goes and hits both. */
static void make_pairs(double *a, double *b, int n, double ratio, double spread, uint64_t seed) {
    struct rng r = rng_stream(seed, 1, 2);
    for (int i = 0; i < n; ++i) {
        double load = i / 10 % 3 == 0 ? 4 : 1;
        a[i] = 5 * load * exp(spread * rng_normal(&r));
        b[i] = 5 * load * ratio * exp(spread * rng_normal(&r));
    }
}

static void test_ratio(void) {
    struct ctx ctx = { 0 };
    double a[200], b[200];
    struct speed_ratio r;
    make_pairs(a, b, 200, .8, .1, 1);
    CHECK(speed_ratio_of(&ctx, a, b, 200, &r) == ST_OK, "%s", ctx.error);
    CHECK(!r.noise && fabs(r.median - .8) < .03 && r.low < .8 && r.high > .8 && r.high < .9 && r.p < 1e-6, "%g in %g to %g, p %g", r.median, r.low,
          r.high, r.p);
    CHECK(r.quartile[0] < r.low && r.quartile[1] > r.high, "the middle half is wider than what is known of its middle");
    make_pairs(a, b, 7, .8, .01, 1);
    CHECK(speed_ratio_of(&ctx, a, b, 7, &r) == ST_OK && r.noise, "seven pairs cannot tell (p %g)", r.p);
    make_pairs(a, b, 200, .995, .0005, 1);
    CHECK(speed_ratio_of(&ctx, a, b, 200, &r) == ST_OK && r.noise && r.p < 1e-6, "half a percent is no difference though p is %g", r.p);
    for (int i = 0; i < 200; ++i) b[i] = a[i];
    CHECK(speed_ratio_of(&ctx, a, b, 200, &r) == ST_OK && r.noise && r.p >= 1, "equal times");
}

/* Of 400 runs of two equal networks, at least 99 % say noise, and their intervals hold 1. */
static void test_coverage(void) {
    struct ctx ctx = { 0 };
    double a[60], b[60];
    int held = 0, noise = 0;
    for (int k = 0; k < 400; ++k) {
        struct speed_ratio r;
        make_pairs(a, b, 60, 1, .2, (uint64_t)k);
        if (speed_ratio_of(&ctx, a, b, 60, &r) != ST_OK) break;
        held += r.low <= 1 && r.high >= 1;
        noise += r.noise;
    }
    CHECK(held >= 390 && held < 400, "the interval held the truth in %d of 400", held);
    CHECK(noise >= 390, "%d of 400 called noise", noise);
}

static void test_footprint(void) {
    struct ctx ctx = { 0 };
    struct footprint small, large;
    struct footprint_request r = { .cfg = "t.cfg", .weights = "t.weights", .backend = "cpu", .batch = 1 };
    CHECK(speed_footprint(&ctx, &r, &small) == ST_OK, "%s", ctx.error);
    r.width = r.height = 2048;
    CHECK(speed_footprint(&ctx, &r, &large) == ST_OK, "%s", ctx.error);
    double input = 4. * 3 * 2048 * 2048;
    CHECK(large.buffers - small.buffers > .9 * input, "the buffers hold at least the input: %g", large.buffers);
    if (!getenv("SANITIZE") || !*getenv("SANITIZE"))
        CHECK(large.resident - small.resident > input, "so does the process: %g, %g", small.resident, large.resident);
    CHECK(small.resident > small.buffers && small.weights_ms > 0 && small.bind_ms > 0 && small.first_ms > 0, "times");
    r.weights = "t.cfg";
    CHECK(speed_footprint(&ctx, &r, &large) == ST_FORMAT && has(ctx.error, "t.cfg"), "%s", ctx.error);
}

static double number(const cJSON *o, const char *key) {
    const cJSON *v = cJSON_GetObjectItem(o, key);
    CHECK(cJSON_IsNumber(v), "has a number %s", key);
    return v ? v->valuedouble : NAN;
}

static void check_json(const char *text, int nets, int batch, int side) {
    cJSON *root = cJSON_Parse(text);
    CHECK(root && cJSON_GetArraySize(cJSON_GetObjectItem(root, "networks")) == nets && (int)number(root, "batch") == batch, "%s", text);
    const cJSON *net;
    cJSON_ArrayForEach(net, cJSON_GetObjectItem(root, "networks")) {
        const cJSON *ms = cJSON_GetObjectItem(net, "ms_per_image"), *layers = cJSON_GetObjectItem(net, "layers"), *l;
        double sum = 0, share = 0;
        CHECK(number(ms, "best") <= number(ms, "p50") && number(ms, "p50") <= number(ms, "p90") && number(ms, "p90") <= number(ms, "p99"), "in order");
        CHECK((int)number(net, "width") == side, "width %g", number(net, "width"));
        cJSON_ArrayForEach(l, layers) sum += number(l, "ms"), share += number(l, "share");
        CHECK(cJSON_GetArraySize(layers) == 3 && sum > 0 && sum <= number(ms, "mean") * 1.0001 && share <= 1.0001 && share > 0,
              "three layers fill the pass: %g of %g ms", sum, number(ms, "mean"));
        CHECK_NEAR(number(net, "images_per_second"), 1e3 / number(ms, "mean"), 1e-9, "rate");
        CHECK(number(cJSON_GetObjectItem(net, "memory"), "peak_bytes") > number(cJSON_GetObjectItem(net, "memory"), "buffer_bytes"), "memory");
    }
    const cJSON *ratio = cJSON_GetObjectItem(root, "ratio");
    CHECK((nets == 2) == (ratio != NULL), "a ratio for two");
    if (ratio) CHECK(number(ratio, "low") <= number(ratio, "median") && number(ratio, "median") <= number(ratio, "high"), "in order");
    cJSON_Delete(root);
}

static void test_command(void) {
    run("detector bench t.cfg t.weights -runs 20 -json -");
    CHECK(run_.status == 0, "%s", run_.err);
    check_json(run_.out, 1, 1, 32);
    run("detector bench t.cfg t.weights -vs t.cfg t.weights -runs 20 -batch 3 -width 64 -height 96 -threads 1 -json f.json");
    CHECK(run_.status == 0 && has(run_.out, "pairs run alternately") && has(run_.out, "1 thread") && has(run_.out, "64x96x3, batch 3"), "%s%s", run_.out,
          run_.err);
    char *text = slurp("f.json");
    check_json(text, 2, 3, 64);
    free(text);
    run("detector bench t.cfg -runs 10 -ceiling");
    CHECK(run_.status == 0 && has(run_.out, "at what the device does at most") && (has(run_.out, "% compute") || has(run_.out, "% memory")), "%s%s", run_.out,
          run_.err);
    run("detector bench t.cfg -vs other.cfg -runs 20 -no_layers");
    check_refused("no such file", "other.cfg", "No such file");
    spit("other.cfg", "[net]\nwidth=256\nheight=256\nchannels=1\n[convolutional]\nfilters=64\nsize=3\npad=1\nactivation=linear\n");
    run("detector bench -vs other.cfg t.cfg -runs 40 -no_layers -threads 1");
    CHECK(run_.status == 0 && has(run_.out, "random weights") && has(run_.out, "256x256x1") && has(run_.out, "times as long"), "other inputs: %s%s", run_.out,
          run_.err);
    run("detector bench t.cfg t.names");
    check_refused("names for weights", "t.names", "");
    run("detector bench t.cfg t.weights -vs other.cfg t.weights");
    check_refused("weights of another network", "t.weights", "");
    run("detector bench");
    check_refused("nothing", "needs", "CFG");
    run("detector bench t.cfg -runs 2");
    check_refused("too few", "-runs", "10");
}

int main(void) {
    test_figures();
    test_ratio();
    test_coverage();
    if (cli_start()) {
        make_files();
        test_footprint();
        test_command();
        cli_end();
    }
    return test_end("bench");
}
