/* Whole residual blocks in runs with training: in steps, killed and resumed, made again from the record; by several criteria; what each
 * block is worth; with a latency to reach. */
#include "loop_rig.h"
#include "prune/channels.h"

#define CONV(f, s) "[convolutional]\nbatch_normalize=1\nfilters=" #f "\nsize=3\nstride=" #s "\npad=1\nactivation=leaky\n"
#define BLOCK CONV(8, 1) CONV(16, 1) "[shortcut]\nfrom=-3\nactivation=linear\n"
static const char cfg[] =
    "[net]\nbatch=4\nsubdivisions=1\nwidth=32\nheight=32\nchannels=3\nmax_batches=200\nlearning_rate=0.01\nburn_in=10\n"
    "policy=steps\nsteps=140,180\nscales=.1,.1\nflip=0\nhue=0\nsaturation=1\nexposure=1\n"
    CONV(8, 2) CONV(16, 2) BLOCK BLOCK BLOCK CONV(24, 1)
    "[convolutional]\nsize=1\nfilters=14\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=10,10,14,14\nclasses=2\nnum=2\njitter=0\nrandom=0\n";

#define BASE "detector prune t.data t.cfg saved/t_final.weights -round 1 -min_filters 2 -images 4 -no_report "
#define STEPS "-target_flops .5 -steps 3 -finetune 8 -final_finetune 12 -distill .5 -baseline -blocks 1 "

static int layers_of(const char *path) {
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    int n = net_open(&ctx, path, false, &net) == ST_OK ? net->n : -1;
    net_close(net);
    return n;
}

static double number_in(const cJSON *o, const char *a, const char *b) { return cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetObjectItem(o, a), b)); }

static void test_steps(void) {
    double begun = io_seconds();
    run(BASE STEPS "-out a");
    double whole = io_seconds() - begun;
    int n = layers_of("t.cfg");
    CHECK(run_.status == 0 && has(run_.out, "branches at zero = without them") && has(run_.out, "unpruned network after the same 28 iterations"), "%s", run_.err);
    CHECK(n == 14 && layers_of("a.cfg") == n - 3 && layers_of("a.steps/step1.cfg") == n - 3 && layers_of("a.steps/step0.cfg") == n - 3, "one block has gone, in the first step: %d",
          layers_of("a.cfg"));
    cJSON *o = parse_file("a.prune.json"), *steps = cJSON_GetObjectItem(cJSON_GetObjectItem(o, "loop"), "steps");
    CHECK(cJSON_GetArraySize(cJSON_GetObjectItem(o, "blocks")) == 1 && cJSON_GetArraySize(cJSON_GetObjectItem(o, "blocks_left")) == 2, "the record names it");
    double all = number_in(o, "before", "flops");
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    int width[16];
    CHECK(net_open(&ctx, "t.cfg", false, &net) == ST_OK, "%s", ctx.error);
    for (int i = 0; net && i < net->n; ++i) width[i] = net->layer[i].out.c;
    CHECK(net && all == cost_at(net, width).flops, "before: the network as it came, %g", all);
    net_close(net);
    for (int s = 0; s < 3; ++s) { /* the block alone may be more than the first step's part */
        double share = cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetArrayItem(steps, s), "flops")) / all, most = 1 - (s + 1) / 3. * .5;
        CHECK(share <= most + 1e-9 && (s == 0 || share > most - .12), "step %d keeps %.3f of the FLOPs, %.3f were asked for", s + 1, share, most);
    }
    cJSON_Delete(o);
    /* The record makes the shape again from the network as it came, blocks and three cuts at once. */
    run(BASE "-from_plan a.prune.json -out plan");
    CHECK(run_.status == 0 && same("plan.cfg", "a.cfg"), "from the plan: %s", run_.err);
    int kills = run_through_kills(BASE STEPS "-out k -resume", whole);
    static const char *const file[] = { ".cfg", ".weights", "_best.cfg", "_best.weights", "_baseline.weights" };
    for (size_t i = 0; i < sizeof file / sizeof *file; ++i) {
        char a[64], b[64];
        snprintf(a, sizeof a, "a%s", file[i]);
        snprintf(b, sizeof b, "k%s", file[i]);
        CHECK(same(a, b), "killed %d times, %s is another one", kills, b);
    }
    CHECK(same_record("a.prune.json", "k.prune.json"), "killed %d times, the record is another one", kills);
}

/* One step, so that the cut and its training can be made again to the byte; blocks alone; what is no run in steps. */
static void test_plan(void) {
    run(BASE "-target_flops .5 -final_finetune 6 -blocks 2 -out one");
    CHECK(run_.status == 0 && layers_of("one.cfg") == 8, "%s", run_.err);
    run(BASE "-from_plan one.prune.json -out oneplan");
    CHECK(run_.status == 0 && same("oneplan.weights", "one.steps/step1_cut.weights") && same("oneplan.cfg", "one.cfg"), "the cut again, byte for byte: %s", run_.err);
    run(BASE "-from_plan one.prune.json -final_finetune 6 -out again");
    CHECK(run_.status == 0 && same("again.weights", "one.weights") && same("again.cfg", "one.cfg"), "and its training: %s", run_.err);
    run(BASE "-blocks 1 -finetune 5 -out alone");
    CHECK(run_.status == 0 && layers_of("alone.cfg") == 11, "%s", run_.err);
    run(BASE "-blocks 1 -out plain");
    CHECK(run_.status == 0 && same("plain.cfg", "alone.cfg") && same("plain.weights", "alone.steps/step1_cut.weights"), "a block and its training: %s", run_.err);
    run(BASE "-blocks 1 -steps 3 -finetune 5 -out x");
    check_refused("nothing to divide", "-blocks", "-steps");
}

/* Every criterion takes out the blocks that it thinks least of. */
static void test_compare(void) {
    run(BASE "-target_flops .5 -blocks 1 -compare -criterion all -seeds 2 -out c");
    CHECK(run_.status == 0, "%s", run_.err);
    cJSON *o = parse_file("c.compare.json"), *rows = cJSON_GetObjectItem(o, "rows"), *row;
    CHECK(cJSON_GetArraySize(rows) == 13, "uncut and twelve criteria: %d", cJSON_GetArraySize(rows));
    double all = cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetArrayItem(rows, 0), "flops"));
    cJSON_ArrayForEach(row, rows) {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(row, "criterion"));
        double share = cJSON_GetNumberValue(cJSON_GetObjectItem(row, "flops")) / all, runs = cJSON_GetNumberValue(cJSON_GetObjectItem(row, "runs"));
        if (strcmp(name, "none")) CHECK(share <= .5 && share > .42 && runs == (strcmp(name, "random") ? 1 : 2), "%s keeps %.3f, %g runs", name, share, runs);
    }
    cJSON_Delete(o);
    run(BASE "-target_flops .5 -blocks 1 -compare -criterion saliency,bn -seeds 1 -finetune 4 -baseline -out t");
    CHECK(run_.status == 0 && has(run_.out, "(uncut+train)"), "%s", run_.err);
    CHECK(layers_of("t.compare/saliency-1.cfg") == 11 && layers_of("t.compare/bn-1.cfg") == 11, "both without a block");
}

static void test_sensitivity(void) {
    run(BASE "-sensitivity -ratios .5 -eval_images 3 -blocks 1 -out s");
    CHECK(run_.status == 0 && has(run_.out, "without this residual block"), "%s", run_.err);
    cJSON *o = parse_file("s.sensitivity.json"), *blocks = cJSON_GetObjectItem(o, "blocks");
    CHECK(cJSON_GetArraySize(blocks) == 3, "a row for each block: %d", cJSON_GetArraySize(blocks));
    char *csv = slurp("s.sensitivity.csv");
    CHECK(has(csv, "\n4,3,0,1,3,") && has(csv, "\n7,3,0,1,3,") && has(csv, "\n10,3,0,1,3,"), "and in the CSV: %s", csv);
    free(csv);
    /* As the network without that block alone, scored highest or lowest, measures. */
    run(BASE "-blocks 1 -map -out b");
    cJSON *cut = parse_file("b.prune.json"), *gone = cJSON_GetArrayItem(cJSON_GetObjectItem(cut, "blocks"), 0), *block;
    double at = cJSON_GetNumberValue(cJSON_GetObjectItem(gone, "shortcut")), low = INFINITY;
    cJSON_ArrayForEach(block, blocks) low = fmin(low, cJSON_GetNumberValue(cJSON_GetObjectItem(block, "score")));
    cJSON_ArrayForEach(block, blocks)
        if (cJSON_GetNumberValue(cJSON_GetObjectItem(block, "shortcut")) == at)
            CHECK_NEAR(cJSON_GetNumberValue(cJSON_GetObjectItem(block, "score")), cJSON_GetNumberValue(cJSON_GetObjectItem(gone, "score")), 1e-9, "the same score");
    CHECK_NEAR(cJSON_GetNumberValue(cJSON_GetObjectItem(gone, "score")), low, 1e-9, "of blocks of one size the lowest goes");
    cJSON_Delete(cut);
    check_taken_up(o, "blocks", BASE "-sensitivity -ratios .5 -eval_images 3 -blocks 1 -out s");
    cJSON_Delete(o);
}

/* What a run found before its first cut stands in the record: resumed from there, it goes by that. */
static void test_before_the_first_cut(void) {
    cJSON *o = parse_file("a.prune.json"), *loop = cJSON_GetObjectItem(o, "loop");
    static const char *const later[] = { "unpruned", "final" };
    for (int i = 0; i < 2; ++i) cJSON_DeleteItemFromObject(loop, later[i]);
    cJSON_ReplaceItemInObject(loop, "steps", cJSON_CreateArray());
    cJSON_ReplaceItemInObject(loop, "baseline", cJSON_CreateArray());
    cJSON_ReplaceItemInObject(loop, "finished", cJSON_CreateFalse());
    cJSON_SetNumberValue(cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(o, "blocks_left"), 0), "score"), 77);
    char *text = cJSON_Print(o), *weights = slurp("a.weights");
    cJSON_Delete(o);
    spit("a.prune.json", text);
    CHECK(system("mv a.weights was.weights; rm -r a.steps") == 0, "moved");
    run(BASE STEPS "-out a -resume");
    CHECK(run_.status == 0 && has(run_.err, "goes on after 0 of 3") && same("a.weights", "was.weights"), "the same network: %s", run_.err);
    o = parse_file("a.prune.json");
    CHECK(cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(o, "blocks_left"), 0), "score")) == 77, "blocks are not scored again");
    cJSON_Delete(o);
    free(text), free(weights);
}

/* A latency in steps, and blocks on the way to it; what the clock says is told, whatever it is. */
static void test_latency(void) {
    run(BASE "-steps 3 -target_latency 0.6 -finetune 4 -latency_cache times.tsv -out y");
    CHECK(run_.status == 0 && has(run_.out, "latency: target 60.0 %") && io_exists("times.tsv"), "%s%s", run_.out, run_.err);
    cJSON *o = parse_file("y.prune.json"), *steps = cJSON_GetObjectItem(cJSON_GetObjectItem(o, "loop"), "steps"), *last = cJSON_GetArrayItem(steps, 2);
    CHECK(cJSON_GetArraySize(steps) == 3 && cJSON_GetNumberValue(cJSON_GetObjectItem(last, "cuts_measured")) >= 1, "three steps, timed");
    CHECK(number_in(o, "latency", "target_share") == .6 && number_in(o, "latency", "measured_share") > 0, "the record tells");
    double before = number_in(o, "before", "flops"), flops = cJSON_GetNumberValue(cJSON_GetObjectItem(last, "flops"));
    CHECK(flops < before, "something went: %g of %g", flops, before);
    cJSON_Delete(o);
    run(BASE "-target_latency 0.6 -blocks 1 -latency_cache times.tsv -out z");
    o = parse_file("z.prune.json");
    CHECK(run_.status == 0 && has(run_.out, "latency: target 60.0 %") && layers_of("z.cfg") == 11, "%s", run_.err);
    CHECK(number_in(o, "latency", "target_share") == .6 && number_in(o, "latency", "measured_share") < .95, "of the time of the network as it came: %g",
          number_in(o, "latency", "measured_share"));
    cJSON_Delete(o);
    run(BASE "-target_latency 0.5 -blocks auto -latency_cache times.tsv -out v");
    CHECK(run_.status == 0 && has(run_.out, "latency: target 50.0 %"), "%s", run_.err);
    run(BASE "-from_plan v.prune.json -out vplan");
    CHECK(run_.status == 0 && same("vplan.cfg", "v.cfg") && same("vplan.weights", "v.weights"), "the same from the record: %s", run_.err);
}

/* Blocks that lose against filters go, and trial cuts decide how many: known before anything is written. */
static void test_auto(void) {
    run(BASE "-target_flops .5 -blocks auto -out auto");
    cJSON *o = parse_file("auto.prune.json");
    int n = cJSON_GetArraySize(cJSON_GetObjectItem(o, "blocks"));
    cJSON_Delete(o);
    CHECK(run_.status == 0 && layers_of("auto.cfg") == 14 - 3 * n, "%d blocks went, %d layers are left: %s", n, layers_of("auto.cfg"), run_.err);
    /* All filters but those of the blocks are kept: either all three of them go, or the target is out of reach; the loss has no say. */
    run(BASE "-target_flops .4 -blocks auto -keep_layers 0,1,11,12 -max_layer_ratio .1 -out all");
    CHECK(run_.status == 0 && count(run_.err, "out of reach") >= 1, "%s", run_.err);
    CHECK(layers_of("all.cfg") < 14, "blocks make up for filters that may not go: %d layers", layers_of("all.cfg"));
    run(BASE "-blocks auto -out x");
    check_refused("nothing to compete about", "-blocks auto", "-target_latency");
    run(BASE "-blocks auto -target_flops .5 -criterion l1 -out x");
    CHECK(run_.status == 1 && has(run_.err, "l1 has no common measure"), "%s", run_.err);
    run(BASE "-blocks some -target_flops .5 -out x");
    check_refused("a word", "-blocks some", "auto");
    run(BASE "-target_flops .5 -steps 2 -finetune 4 -blocks auto -out as");
    CHECK(run_.status == 0, "in steps: %s", run_.err);
}

/* A [region] network that was trained does not warm up again when it is fine-tuned; one that was not does. */
static void test_region(void) {
    static const char region[] =
        "[net]\nbatch=4\nsubdivisions=1\nwidth=32\nheight=32\nchannels=3\nmax_batches=100\nlearning_rate=0.01\nflip=0\nhue=0\nsaturation=1\nexposure=1\n"
        CONV(8, 2) CONV(16, 2) "[convolutional]\nsize=1\nfilters=14\nactivation=linear\n"
        "[region]\nanchors=1,2, 2,1\nnum=2\nclasses=2\njitter=0\nrandom=0\nabsolute=1\nthresh=.6\nbias_match=1\n";
    static const char *const name[] = { "r0", "r12800", "r20000" };
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    spit("r.cfg", region);
    CHECK(net_open(&ctx, "r.cfg", false, &net) == ST_OK, "%s", ctx.error);
    if (!net) return;
    net_init_weights(net, 4);
    for (int i = 0; i < 3; ++i) {
        char words[256], path[32];
        snprintf(path, sizeof path, "%s.weights", name[i]);
        net->seen = (uint64_t)atoi(name[i] + 1);
        CHECK(net_save(&ctx, net, path, -1) == ST_OK, "%s", ctx.error);
        snprintf(words, sizeof words, "detector prune t.data r.cfg %s -target_flops .8 -round 1 -images 4 -no_report -criterion l1 -final_finetune 3 -out %s_cut", path, name[i]);
        run(words);
        CHECK(run_.status == 0, "%s", run_.err);
    }
    CHECK(same("r12800_cut.weights", "r20000_cut.weights"), "what has seen 12800 images has seen enough");
    CHECK(!same("r0_cut.weights", "r20000_cut.weights"), "what has seen none warms up");
    net_close(net);
}

int main(void) {
    if (!cli_start()) return test_end("blocks_loop");
    make_set(cfg);
    test_steps();
    test_before_the_first_cut();
    test_plan();
    test_latency();
    test_auto();
    test_compare();
    test_sensitivity();
    test_region();
    cli_end();
    return test_end("blocks_loop");
}
