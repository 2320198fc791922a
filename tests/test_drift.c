/* detector saliency -compare: what two runs have in common, told from what one run's own halves have in common. */
#include "cli_rig.h"

#include <cjson/cJSON.h>

#include "recipe/drift.h"

/* One saliency file.  scores[g] per group; layer 0: groups 0..19, layer 3 the same groups (tied), layer 5: groups 20..39, layer 6
 * frozen: group 40. */
enum { GROUPS = 40, HALF = 20 };
struct file {
    const char *cfg_hash, *weights_hash, *criterion;
    double tau;           /* < 0: the criterion has no halves */
    int last_layer, wide; /* number of the last free layer; its filters */
    int shift;            /* added to its groups */
    double score[GROUPS];
};

static void put_layer(FILE *f, int layer, int first, int n, int shift, const double *score, double tau, bool frozen) {
    fprintf(f, "{\"layer\":%d,\"type\":\"convolutional\"%s,\"kendall_tau_halves\":%g,\"score\":[", layer, frozen ? ",\"frozen\":\"head\"" : "", tau);
    for (int i = 0; i < n; ++i) fprintf(f, "%s%.17g", i ? "," : "", score ? score[first + i] : 1e9 * i);
    fprintf(f, "],\"group\":[");
    for (int i = 0; i < n; ++i) fprintf(f, "%s%d", i ? "," : "", first + i + shift);
    fprintf(f, "]}");
}

static void write_file(const char *path, const struct file *s) {
    FILE *f = fopen(path, "w");
    if (!f) exit(1);
    fprintf(f, "{\"version\":\"1.0\",\"criterion\":\"%s\",\"cfg\":\"x.cfg\",\"cfg_sha256\":\"%s\",\"weights\":\"x.weights\",\"weights_sha256\":\"%s\",",
            s->criterion, s->cfg_hash, s->weights_hash);
    fprintf(f, "\"image_list\":\"%s.txt\",\"images\":9,\"votes\":%d,\"kendall_tau_halves\":%g,\"layers\":[", path, s->tau < 0 ? 0 : 12, fmax(s->tau, 0));
    put_layer(f, 0, 0, HALF, 0, s->score, s->tau, false);
    fputc(',', f);
    put_layer(f, 3, 0, HALF, 0, s->score, s->tau, false);
    fputc(',', f);
    put_layer(f, s->last_layer, HALF, s->wide, s->shift, s->score, s->tau, false);
    fputc(',', f);
    put_layer(f, 9, GROUPS, 4, 0, NULL, s->tau, true);
    fprintf(f, "]}\n");
    fclose(f);
}

static struct file plain(void) {
    struct file s = { "aa", "bb", "saliency", .9, 5, HALF, 0, { 0 } };
    for (int g = 0; g < GROUPS; ++g) s.score[g] = 1 + (g * 17) % GROUPS;
    return s;
}

static void test_alike(void) {
    struct ctx ctx = { 0 };
    struct drift d;
    struct file a = plain();
    write_file("a.json", &a);
    for (int g = 0; g < GROUPS; ++g) a.score[g] *= 3; /* ranks alone count */
    write_file("b.json", &a);
    CHECK(drift_compare(&ctx, "a.json", "b.json", &d) == ST_OK, "%s", ctx.error);
    CHECK(d.verdict == DRIFT_HOLDS && has(d.text, "holds on the other"), "%s", d.text);
    CHECK_NEAR(d.tau, 1, 1e-12, "ranks");
    CHECK(d.groups == GROUPS && d.n_layer == 3, "tied layers share groups, frozen ones are out: %d groups, %d layers", d.groups, d.n_layer);
    CHECK(d.layer[1].layer == 3 && d.layer[1].groups == HALF, "layer %d, %d groups", d.layer[1].layer, d.layer[1].groups);
    CHECK_NEAR(d.expected, .9, 1e-12, "halves");
    for (int c = 0; c < DRIFT_CUTS; ++c) {
        CHECK_NEAR(d.cut[c].common, 1, 1e-12, "cut");
        CHECK_NEAR(d.cut[c].lost, d.cut[c].own, 1e-12, "cut");
    }
    CHECK_NEAR(d.cut[2].own, 210. / 820, 1e-12, "the lowest 20 of 1..40 of 820");
    drift_free(&d);
}

static void test_reversed(void) {
    struct ctx ctx = { 0 };
    struct drift d;
    struct file a = plain(), b = a;
    write_file("a.json", &a);
    for (int g = 0; g < GROUPS; ++g) b.score[g] = GROUPS + 1 - a.score[g];
    write_file("b.json", &b);
    CHECK(drift_compare(&ctx, "a.json", "b.json", &d) == ST_OK, "%s", ctx.error);
    CHECK(d.verdict == DRIFT_DIFFERS && has(d.text, "does not hold"), "%s", d.text);
    CHECK_NEAR(d.tau, -1, 1e-12, "ranks");
    CHECK(d.cut[0].common <= 0 && d.cut[0].lost > 5 * d.cut[0].own, "what A thinks little of is what B needs");
    drift_free(&d);
    b.tau = a.tau = .3; /* halves that hardly agree */
    write_file("a.json", &a), write_file("b.json", &b);
    CHECK(drift_compare(&ctx, "a.json", "b.json", &d) == ST_OK && d.verdict == DRIFT_UNKNOWN && has(d.text, "more images"), "%s", d.text);
    drift_free(&d);
    b.tau = a.tau = -1; /* no halves at all */
    a.criterion = b.criterion = "l1";
    write_file("a.json", &a), write_file("b.json", &b);
    CHECK(drift_compare(&ctx, "a.json", "b.json", &d) == ST_OK && d.verdict == DRIFT_UNKNOWN && isnan(d.expected), "%s", d.text);
    drift_free(&d);
}

/* The same disturbance is drift when the halves are firm, and noise when they are as far apart themselves. */
static void test_between(void) {
    struct ctx ctx = { 0 };
    struct drift d;
    struct file a = plain(), b = a;
    for (int g = 0; g < GROUPS; ++g) b.score[g] = a.score[g] + (g % 3 == 0 ? 11.5 : g % 3 == 1 ? -5.5 : 0);
    enum drift_verdict seen[3];
    double taus[3] = { .95, .85, .6 };
    for (int i = 0; i < 3; ++i) {
        a.tau = b.tau = taus[i];
        write_file("a.json", &a), write_file("b.json", &b);
        CHECK(drift_compare(&ctx, "a.json", "b.json", &d) == ST_OK, "%s", ctx.error);
        seen[i] = d.verdict;
        CHECK(d.tau > .6 && d.tau < .75, "tau %g", d.tau);
        drift_free(&d);
    }
    CHECK(seen[0] != DRIFT_HOLDS && seen[1] == DRIFT_PARTLY && seen[2] == DRIFT_HOLDS, "%d %d %d", seen[0], seen[1], seen[2]);
}

static void refused(const char *what, const char *part) {
    run("detector saliency -compare a.json b.json -out no");
    check_refused(what, part, ".json");
    CHECK(!io_exists("no.drift.json") && !io_exists("no.drift.svg"), "%s: nothing is written", what);
}

static void test_refusals(void) {
    struct file a = plain(), b;
    write_file("a.json", &a);
    b = a, b.cfg_hash = "cc", write_file("b.json", &b);
    refused("another network", "the cfg files differ");
    b = a, b.criterion = "taylor", write_file("b.json", &b);
    refused("another criterion", "other criteria");
    b = a, b.last_layer = 7, write_file("b.json", &b);
    refused("another layer", "layer 5 has other types");
    b = a, b.wide = 10, write_file("b.json", &b);
    refused("another width", "numbers of filters");
    b = a, b.shift = 1, write_file("b.json", &b);
    refused("another coupling", "coupling");
    spit("b.json", "{\n\"criterion\": \"saliency\",\n\"layers\": [1, 2\n}");
    refused("broken JSON", "b.json:4: broken JSON");
    spit("b.json", "{\"layers\": []}");
    refused("another kind of file", "is no file of 'detector saliency'");
    spit("b.json", "[1]");
    refused("a list", "is no file of 'detector saliency'");
    remove("b.json");
    refused("no file", "b.json");
    run("detector saliency -compare a.json");
    check_refused("one file", "two files", "A.json B.json");
}

static void test_command(void) {
    struct file a = plain(), b = a;
    b.weights_hash = "dd";
    write_file("a.json", &a), write_file("b.json", &b);
    run("detector saliency a.json b.json -compare -out both");
    CHECK(run_.status == 0 && has(run_.out, "holds on the other") && has(run_.err, "other weights"), "%s%s", run_.out, run_.err);
    char *text = slurp("both.drift.json"), *svg = slurp("both.drift.svg");
    cJSON *root = cJSON_Parse(text);
    CHECK(root && !strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(root, "verdict")), "holds"), "%s", text);
    CHECK(cJSON_GetArraySize(cJSON_GetObjectItem(root, "layers")) == 3 && cJSON_GetArraySize(cJSON_GetObjectItem(root, "cuts")) == 3, "%s", text);
    CHECK(!strncmp(svg, "<svg ", 5) && has(svg, "</svg>") && count(svg, "<g>") == 3 && count(svg, "</g>") == 3, "a mark per layer");
    cJSON_Delete(root);
    free(text), free(svg);
}

/* Two real runs over one network; the second on other pictures. */
static void test_real_files(void) {
    make_files();
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    bool ok = net_open(&ctx, "t.cfg", false, &net) == ST_OK;
    if (ok) net_init_weights(net, 3);
    CHECK(ok && net_save(&ctx, net, "r.weights", -1) == ST_OK, "%s", ctx.error);
    net_close(net);
    run("detector saliency t.data t.cfg r.weights -out one");
    CHECK(run_.status == 0, "%s", run_.err);
    run("detector saliency t.data t.cfg r.weights -out two -images 1");
    CHECK(run_.status == 0, "%s", run_.err);
    run("detector saliency -compare one.json two.json");
    CHECK(run_.status == 0 && io_exists("saliency.drift.svg") && has(run_.out, "2 images of list.txt"), "%s%s", run_.out, run_.err);
    run("detector saliency t.data t.cfg r.weights -out two -form square");
    run("detector saliency -compare one.json two.json");
    check_refused("another form", "other forms", "abs, square");
}

int main(void) {
    if (!cli_start()) return test_end("drift");
    test_alike();
    test_reversed();
    test_between();
    test_refusals();
    test_command();
    test_real_files();
    cli_end();
    return test_end("drift");
}
