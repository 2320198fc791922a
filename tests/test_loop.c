/* detector prune in steps: what it writes, that a killed run ends in the same bytes, what it refuses; -compare with training,
 * -sensitivity. */
#include "loop_rig.h"

static const char cfg[] =
    "[net]\nbatch=4\nsubdivisions=1\nwidth=32\nheight=32\nchannels=3\nmax_batches=100\nlearning_rate=0.01\nburn_in=10\n"
    "policy=steps\nsteps=60,80\nscales=.1,.1\nflip=0\nhue=0\nsaturation=1\nexposure=1\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[shortcut]\nfrom=-2\nactivation=linear\n"
    "[convolutional]\nbatch_normalize=1\nfilters=24\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[convolutional]\nsize=1\nfilters=14\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=10,10,14,14\nclasses=2\nnum=2\njitter=0\nrandom=0\n";

#define BASE "detector prune t.data t.cfg saved/t_final.weights -round 1 -min_filters 2 -images 4 -no_report "
#define STEPS "-target_flops .5 -steps 3 -finetune 8 -final_finetune 12 -distill .5 -baseline "

static double number_at(const cJSON *o, const char *a, int i, const char *b) {
    const cJSON *list = cJSON_GetObjectItem(cJSON_GetObjectItem(o, "loop"), a);
    return cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetArrayItem(list, i), b));
}

static void test_whole_run(void) {
    run(BASE STEPS "-out a");
    CHECK(run_.status == 0 && has(run_.out, "after training") && has(run_.out, "unpruned network after the same 28 iterations"), "%s", run_.err);
    static const char *const files[] = { "a.cfg", "a.weights", "a.prune.json", "a_best.cfg", "a_best.weights", "a_baseline.weights", "a.steps/step2.weights" };
    for (size_t i = 0; i < sizeof files / sizeof *files; ++i) CHECK(io_exists(files[i]), "%s is written", files[i]);
    CHECK(!io_exists("a.steps/step3_train_last.weights"), "checkpoints of a finished training are gone");
    cJSON *o = parse_file("a.prune.json");
    double whole = cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetObjectItem(o, "before"), "flops"));
    for (int s = 0; s < 3; ++s) {
        double share = number_at(o, "steps", s, "flops") / whole, most = 1 - (s + 1) / 3. * .5;
        CHECK(share <= most + 1e-9 && share > most - .12, "step %d keeps %.3f of the FLOPs, %.3f were asked for", s + 1, share, most);
        CHECK(number_at(o, "steps", s, "iterations") == (s < 2 ? 8 : 12), "step %d: %g iterations", s + 1, number_at(o, "steps", s, "iterations"));
        CHECK(number_at(o, "steps", s, "masked_vs_pruned") <= 1e-4, "step %d is proved", s + 1);
    }
    CHECK(cJSON_GetArraySize(cJSON_GetObjectItem(cJSON_GetObjectItem(o, "loop"), "baseline")) == 3, "the unpruned network had three trainings, too");
    cJSON_Delete(o);
    /* The record makes the final network's shape from the unpruned one, in one cut. */
    run(BASE "-from_plan a.prune.json -out plan");
    CHECK(run_.status == 0 && has(run_.err, "without the training"), "%s", run_.err);
    CHECK(same("plan.cfg", "a.cfg"), "three cuts as one give the same cfg");
    CHECK(!same("plan.weights", "a.weights"), "before training, so other weights");
    /* With one step, that network is the one before training, byte for byte; and trained alike it is the same again. */
    run(BASE "-target_flops .5 -final_finetune 6 -out one");
    CHECK(run_.status == 0, "%s", run_.err);
    run(BASE "-from_plan one.prune.json -out oneplan");
    CHECK(run_.status == 0 && same("oneplan.weights", "one.steps/step1_cut.weights"), "the cut again, byte for byte %s", run_.err);
    run(BASE "-from_plan one.prune.json -final_finetune 6 -out again");
    CHECK(run_.status == 0 && same("again.weights", "one.weights") && same("again.cfg", "one.cfg"), "and its training %s", run_.err);
}

/* Limits per layer are about the unpruned network, however many cuts there are. */
static void test_limits(void) {
    run(BASE "-target_flops .05 -max_layer_ratio .5 -steps 3 -finetune 1 -out l");
    CHECK(run_.status == 0 && has(run_.err, "out of reach"), "%s", run_.err);
    struct ctx ctx = { 0 };
    struct net *net = NULL, *small = NULL;
    CHECK(net_open(&ctx, "t.cfg", false, &net) == ST_OK && net_open(&ctx, "l.cfg", false, &small) == ST_OK, "%s", ctx.error);
    for (int i = 0; net && small && i < 5; ++i)
        CHECK(2 * small->layer[i].out.c == net->layer[i].out.c, "layer %d keeps half: %d of %d", i, small->layer[i].out.c, net->layer[i].out.c);
    net_close(net), net_close(small);
}

static void test_killed(void) {
    double begun = io_seconds();
    run(BASE STEPS "-out b -force");
    int kills = run_through_kills(BASE STEPS "-out k -resume", io_seconds() - begun);
    static const char *const file[] = { ".cfg", ".weights", "_best.cfg", "_best.weights", "_baseline.weights" };
    for (size_t i = 0; i < sizeof file / sizeof *file; ++i) {
        char a[64], b[64];
        snprintf(a, sizeof a, "b%s", file[i]);
        snprintf(b, sizeof b, "k%s", file[i]);
        CHECK(same(a, b), "killed %d times, %s is another one", kills, b);
    }
    CHECK(same_record("b.prune.json", "k.prune.json"), "killed %d times, the record is another one", kills);
    CHECK(system("ls -d *.tmp.* k.steps/*.tmp.* >found 2>/dev/null") != 0, "nothing is left behind of the kills");
}

/* Ctrl-C in a training: saved, exit status 0, and the same end. */
static void test_interrupted(void) {
    pid_t pid = start(BASE "-target_flops .6 -steps 2 -finetune 3000 -out i");
    int status;
    for (int i = 0; i < 2000 && !io_exists("i.steps/step1_cut.weights"); ++i) pause_for(.005);
    pause_for(.05);
    kill(pid, SIGINT);
    waitpid(pid, &status, 0);
    char *err = slurp("err");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0 && has(err, "interrupted after 0 of 2 steps") && has(err, "-resume"), "%d: %s", status, err);
    free(err);
    CHECK(io_exists("i.steps/step1_train_last.weights") && io_exists("i.steps/step1_train_last.state"), "the training is saved");
}

static void test_refused(void) {
    run(BASE "-target_flops .5 -steps 3 -finetune 8 -out a");
    check_refused("existing files", "a.cfg", "exists already");
    run(BASE "-target_flops .6 -steps 3 -finetune 8 -out a -resume");
    check_refused("another command", "a.prune.json", "the very command");
    run(BASE "-out a -resume");
    check_refused("nothing to resume", "-resume", "steps");
    run(BASE "-threshold 1 -steps 2 -out x");
    check_refused("threshold in steps", "-threshold", "steps");
    run(BASE "-from_plan a.prune.json -steps 2 -out x");
    check_refused("plan in steps", "-from_plan", "-steps");
    run(BASE "-distill 1 -out x");
    check_refused("teaching nobody", "-distill", "-finetune");
    run(BASE "-compare -criterion l1,bn -steps 2 -max_map_drop 1 -out x");
    check_refused("unequal budgets", "-max_map_drop", "-compare");
    run(BASE STEPS "-out a -resume");
    CHECK(run_.status == 0 && has(run_.out, "final"), "a finished run tells what it did: %s", run_.err);
    char *label = slurp("im0.txt");
    spit("im0.txt", "0 0.5 0.5 0.25 0.25\n");
    run(BASE STEPS "-out a -resume -images 4");
    check_refused("another command", "a.prune.json", "the very command");
    run(BASE STEPS "-out a -resume");
    check_refused("changed labels", "a.prune.json", "labels");
    spit("im0.txt", label);
    free(label);
}

/* The trained network loses a lot at a cut to a tenth: the run falls back to what held, which gets the last training. */
static void test_map_drop(void) {
    run(BASE "-target_flops .1 -max_layer_ratio .97 -steps 4 -finetune 4 -finetune_lr .01 -final_finetune 5 -max_map_drop 0 -out d");
    cJSON *o = parse_file("d.prune.json"), *loop = cJSON_GetObjectItem(o, "loop");
    int n = cJSON_GetArraySize(cJSON_GetObjectItem(loop, "steps")), last = 0;
    for (int s = 0; s < n; ++s)
        if (cJSON_IsTrue(cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(loop, "steps"), s), "held"))) last = s + 1;
    CHECK(cJSON_HasObjectItem(loop, "stopped") && last == n - 1, "stopped at step %d, %d held", n, last);
    if (last) {
        char path[64];
        snprintf(path, sizeof path, "d.steps/step%d.cfg", last);
        CHECK(run_.status == 0 && same("d.cfg", path) && same("d.weights", "d.steps/final.weights") && has(run_.out, "ended early"), "%s", run_.err);
    } else {
        CHECK(run_.status == 1 && has(run_.err, "no step held") && !io_exists("d.cfg"), "%s", run_.err);
    }
    cJSON_Delete(o);
}

static void test_compare(void) {
    run(BASE "-target_flops .6 -compare -criterion saliency,l1 -seeds 2 -steps 2 -finetune 4 -baseline -out c");
    CHECK(run_.status == 0 && has(run_.out, "(uncut+train)") && has(run_.out, "+-"), "%s%s", run_.out, run_.err);
    CHECK(io_exists("c.compare.png") && io_exists("c.compare/l1-2.weights"), "a plot, and the networks");
    cJSON *o = parse_file("c.compare.json"), *rows = cJSON_GetObjectItem(o, "rows");
    CHECK(cJSON_GetArraySize(rows) == 4, "uncut, two criteria, uncut and trained: %d", cJSON_GetArraySize(rows));
    CHECK(cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetArrayItem(rows, 1), "runs")) == 2, "every criterion runs twice");
    CHECK(!same("c.compare/l1-1.weights", "c.compare/l1-2.weights") && same("c.compare/l1-1.steps/step1.cfg", "c.compare/l1-2.steps/step1.cfg"),
          "the runs differ in their training, not in their first cut");
    cJSON_Delete(o);
    run(BASE "-target_flops .6 -compare -criterion saliency,l1 -seeds 2 -steps 2 -finetune 4 -baseline -out c -resume");
    CHECK(run_.status == 0 && has(run_.err, "goes on after 2 of 2"), "runs that are there are not run again: %s", run_.err);
    CHECK(same_record("c.compare.json", "c.compare.json"), "readable");
}

static void test_sensitivity(void) {
    run(BASE "-sensitivity -ratios .25,.75 -eval_images 3 -out s");
    CHECK(run_.status == 0 && has(run_.out, "uncut: loss"), "%s", run_.err);
    CHECK(io_exists("s.sensitivity.png") && io_exists("s.sensitivity.csv"), "files");
    cJSON *o = parse_file("s.sensitivity.json"), *units = cJSON_GetObjectItem(o, "units"), *whole = cJSON_GetObjectItem(o, "uncut");
    CHECK(cJSON_GetArraySize(units) == 3, "three layers may lose filters (the residual is one): %d", cJSON_GetArraySize(units));
    double before = cJSON_GetNumberValue(cJSON_GetObjectItem(whole, "loss"));
    for (int i = 0; i < cJSON_GetArraySize(units); ++i) {
        const cJSON *at = cJSON_GetObjectItem(cJSON_GetArrayItem(units, i), "at");
        double less = cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetArrayItem(at, 0), "loss")),
               more = cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetArrayItem(at, 1), "loss")),
               groups = cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetArrayItem(units, i), "groups"));
        CHECK(cJSON_GetNumberValue(cJSON_GetObjectItem(cJSON_GetArrayItem(at, 1), "removed")) == floor(.75 * groups + .5), "three quarters of layer %d go", i);
        CHECK(less != before && more != less, "layer %d: the loss answers, %g %g %g", i, before, less, more);
    }
    check_taken_up(o, "units", BASE "-sensitivity -ratios .25,.75 -eval_images 3 -out s");
    cJSON_Delete(o);
    run(BASE "-sensitivity -out s");
    check_refused("existing", "s.sensitivity.json", "-resume");
    run(BASE "-sensitivity -ratios .5,2 -out r");
    check_refused("ratios", "-ratios", "between 0 and 1");
}

/* Layers with fewer than four of the groups say nothing about the ranking within them. */
static void test_validate(void) {
#define VALIDATE "detector saliency t.data t.cfg saved/t_final.weights -images 4 -criterion l1,hrank -out w -validate "
    run(VALIDATE "9");
    CHECK(run_.status == 0 && has(run_.out, "mean over the 0 that have 4") && count(run_.out, "-\n") == 2, "%s%s", run_.out, run_.err);
    cJSON *o = parse_file("w.validate.json"), *row = cJSON_GetArrayItem(cJSON_GetObjectItem(o, "criteria"), 0);
    CHECK(cJSON_IsNull(cJSON_GetObjectItem(row, "spearman_within_layers")) && cJSON_IsNumber(cJSON_GetObjectItem(row, "spearman")), "no layer, no figure");
    cJSON_Delete(o);
    run(VALIDATE "36"); /* 8, 16 and 12 of the three layers' 8, 16 and 24 groups */
    CHECK(run_.status == 0 && has(run_.out, "mean over the 3 that have 4") && count(run_.out, "-\n") == 0, "%s%s", run_.out, run_.err);
    o = parse_file("w.validate.json"), row = cJSON_GetArrayItem(cJSON_GetObjectItem(o, "criteria"), 1);
    CHECK(cJSON_GetNumberValue(cJSON_GetObjectItem(row, "layers_counted")) == 3 && cJSON_IsNumber(cJSON_GetObjectItem(row, "spearman_within_layers")), "three layers");
    cJSON_Delete(o);
}

int main(void) {
    if (!cli_start()) return test_end("loop");
    make_set(cfg);
    test_whole_run();
    test_limits();
    test_killed();
    test_interrupted();
    test_refused();
    test_map_drop();
    test_compare();
    test_sensitivity();
    test_validate();
    cli_end();
    return test_end("loop");
}
