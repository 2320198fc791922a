/* -precision on the command line: what each command makes of it, where the ranges of int8 come from, what is refused. */
#include "cli_rig.h"

#include <cjson/cJSON.h>

/* A network with convolutions that can be computed in 8 bits. */
static const char cfg[] =
    "[net]\nbatch=1\nwidth=64\nheight=64\nchannels=3\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=24\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=40\nsize=1\nactivation=leaky\n"
    "[convolutional]\nfilters=14\nsize=1\nactivation=linear\n"
    "[yolo]\nmask=0,1\nanchors=16,16, 8,24\nclasses=2\nnum=2\n";

static void make_net(const char *weights, uint64_t seed) {
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    bool ok = net_open(&ctx, "p.cfg", true, &net) == ST_OK;
    if (ok) net_init_weights(net, seed);
    CHECK(ok && net_save(&ctx, net, weights, -1) == ST_OK, "%s", ctx.error);
    net_close(net);
}

static void make_all(void) {
    make_files();
    spit("p.cfg", cfg);
    spit("lost.data", "classes=2\ntrain=lost.txt\nvalid=list.txt\nnames=t.names\n");
    make_net("p.weights", 1);
}

static bool narrow_here(void) {
    run("speed p.cfg 2 -precision int8");
    if (run_.status == 0) return true;
    check_refused("no 8 bits", "int8", "f32");
    SKIP("this CPU has no products of 8 bits");
    return false;
}

/* Words that no CPU, command or device takes. */
static void test_refused(void) {
    run("detector map t.data p.cfg p.weights -precision int4");
    check_refused("no precision", "int4", "bf16");
    run("detector map t.data p.cfg p.weights -precision");
    check_refused("nothing", "-precision", "int8");
    run("detector map t.data p.cfg p.weights -nogpu -precision tf32");
    check_refused("tf32", "tf32", "CPU");
    run("detector train t.data p.cfg -precision bf16");
    check_refused("training", "detector train", "f32");
    run("detector prune t.data p.cfg p.weights -precision int8 -images 3");
    check_refused("pruning", "detector prune", "f32");
    run("yolo train p.cfg -precision int8");
    check_refused("a short form", "yolo train", "f32");
    run("detector map t.data p.cfg p.weights -precision bf16 -calibrate list.txt");
    check_refused("calibrating bf16", "-calibrate", "int8");
    setenv("DARKNET_ISA", "avx2", 1);
    run("detector map t.data p.cfg p.weights -precision bf16");
    check_refused("no instructions", "bf16", "DARKNET_ISA");
    run("speed p.cfg 2 -precision int8");
    check_refused("no instructions", "int8", "DARKNET_ISA");
    unsetenv("DARKNET_ISA");
    CHECK(!io_exists("p.int8.json"), "nothing was written");
    for (int i = 0; i < 2; ++i) {
        run(i ? "detector test t.data p.cfg p.weights a.png -precision f32" : "detector test t.data p.cfg p.weights a.png -precision fp32");
        CHECK(run_.status == 0, "f32 has two names: %s", run_.err);
    }
}

static void test_ranges(void) {
    run("detector test lost.data p.cfg p.weights a.png -precision int8");
    CHECK(run_.status == 1 && has(run_.err, "lost.txt"), "the list is not there: %s", run_.err);
    run("detector test lost.data p.cfg p.weights a.png -precision int8 -calibrate list.txt -images 0");
    check_refused("no pictures", "-images", "0");
    run("detector test lost.data p.cfg p.weights a.png -precision int8 -calibrate list.txt -images 1");
    CHECK(run_.status == 0 && has(run_.err, "p.int8.json: ranges of 1 picture"), "%d: %s", run_.status, run_.err);
    char *text = slurp("p.int8.json");
    CHECK(has(text, "\"images\": 1") && has(text, "\"layer\": 1") && has(text, "\"layer\": 2") && !has(text, "\"layer\": 3"), "%s", text);
    free(text);
    run("detector test lost.data p.cfg p.weights a.png -precision int8");
    CHECK(run_.status == 0 && !has(run_.err, "ranges of"), "the file is enough from then on: %s", run_.err);
    run("detector test t.data p.cfg p.weights a.png -precision int8 -calibrate list.txt");
    text = slurp("p.int8.json");
    CHECK(run_.status == 0 && has(text, "\"images\": 2"), "made anew when asked: %s %s", run_.err, text);
    free(text);
    make_net("p.weights", 2);
    run("detector test t.data p.cfg p.weights a.png -precision int8");
    check_refused("other weights", "p.int8.json", "-calibrate");
    make_net("p.weights", 1);
    spit("p.int8.json", "{");
    run("detector test t.data p.cfg p.weights a.png -precision int8");
    check_refused("no JSON", "p.int8.json", "JSON");
    text = slurp("p.int8.json");
    CHECK(!strcmp(text, "{"), "a file that was not understood stays: %s", text);
    free(text);
    unlink("p.int8.json");
    run("detector test t.data p.cfg p.weights a.png -precision int8");
    CHECK(run_.status == 0 && has(run_.err, "ranges of 2 pictures of list.txt"), "train= is the usual list: %s", run_.err);
}

static double number(const cJSON *o, const char *a, const char *b) {
    const cJSON *v = cJSON_GetObjectItem(cJSON_GetObjectItem(cJSON_GetObjectItem(o, "precisions"), a), b);
    return cJSON_IsNumber(v) ? v->valuedouble : -1;
}

static void test_map(void) {
    static const char *const kind[] = { "bf16", "int8" };
    for (int i = 0; i < 2; ++i) {
        char line[128], change[64];
        snprintf(line, sizeof line, "detector map t.data p.cfg p.weights -json m.json -precision %s", kind[i]);
        run(line);
        snprintf(change, sizeof change, "\n %s  ", kind[i]);
        CHECK(run_.status == 0 && has(run_.out, "\n precision    mAP@0.50") && has(run_.out, "\n f32  ") && has(run_.out, change) && has(run_.out, "\n change  "),
              "%s: %s %s", kind[i], run_.out, run_.err);
        char *text = slurp("m.json");
        cJSON *root = cJSON_Parse(text);
        CHECK(number(root, "f32", "map") >= 0 && number(root, "f32", "ms") > 0 && number(root, "f32", "bytes") > 0 && number(root, kind[i], "map") >= 0 &&
                  number(root, kind[i], "ms") > 0 && number(root, kind[i], "bytes") > 0, "%s", text);
        cJSON_Delete(root);
        free(text);
        snprintf(line, sizeof line, "detector map t.data p.cfg p.weights -no_f32 -precision %s", kind[i]);
        run(line);
        CHECK(run_.status == 0 && !has(run_.out, "change") && has(run_.out, "mean average precision"), "%s alone: %s %s", kind[i], run_.out, run_.err);
    }
    run("detector map t.data p.cfg p.weights");
    CHECK(run_.status == 0 && !has(run_.out, "change"), "f32 has nothing beside it: %s", run_.out);
}

static void test_commands(void) {
    static const char *const words[] = { "detector valid t.data p.cfg p.weights", "detector eval t.data p.cfg p.weights", "detector recall t.data p.cfg p.weights",
                                         "detector bench p.cfg -runs 10", "detector bench p.cfg p.weights -runs 10", "speed p.cfg 3" };
    for (size_t i = 0; i < sizeof words / sizeof *words; ++i)
        for (int k = 0; k < 2; ++k) {
            char line[256];
            snprintf(line, sizeof line, "%s -precision %s", words[i], k ? "int8" : "bf16");
            run(line);
            CHECK(run_.status == 0, "%s: %s %s", line, run_.out, run_.err);
            if (has(words[i], "bench")) CHECK(has(run_.out, k ? ", int8," : ", bf16,"), "%s: %s", line, run_.out);
        }
    run("detector bench p.cfg -backend ref -precision int8");
    check_refused("the reference", "-precision", "ref");
}

int main(void) {
    if (!cli_start()) return test_end("test_precision_cli");
    make_all();
    test_refused();
    if (narrow_here()) {
        test_ranges();
        test_map();
        test_commands();
    }
    cli_end();
    return test_end("test_precision_cli");
}
