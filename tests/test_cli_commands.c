/* The smaller commands as their users see them. */
#include "cli_rig.h"

#include <cjson/cJSON.h>

#include "backend/backend.h"
#include "data/dataset.h"

static size_t file_size(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? (size_t)st.st_size : 0;
}

/* --- Words ---------------------------------------------------------------------------------------------- */

static void test_words(void) {
    run("help detector");
    CHECK(run_.status == 0 && has(run_.out, "detector calc_anchors DATA") && !has(run_.out, "average CFG"), "one group: %s", run_.out);
    run("help detect");
    CHECK(run_.status == 0 && has(run_.out, "darknet detect CFG WEIGHTS [IMAGE]") && has(run_.out, "-ext_output"),
          "a short form has the flags of what it means: %s", run_.out);
    run("average -h");
    CHECK(run_.status == 0 && has(run_.out, "CFG OUT WEIGHTS..."), "%s", run_.out);
    run("avrage t.cfg");
    check_refused("word", "'avrage'", "did you mean 'average'?");
    run("detector calc_anchor t.data");
    check_refused("word", "'detector calc_anchor'", "did you mean 'detector calc_anchors'?");
    run("detector calc_anchors t.data -num_of_cluster 3");
    check_refused("flag", "-num_of_cluster", "did you mean -num_of_clusters?");
    static const char *const left[] = { "go", "captcha", "dice", "nightmare", "art", "3d", "cifar", "super", "voxel", "compare",
                                        "writing", "tag", "vid", "imtest" };
    for (size_t i = 0; i < sizeof left / sizeof *left; ++i) {
        run(left[i]);
        check_refused("left out", left[i], "out");
    }
    run("detect t.cfg");
    check_refused("short form", "detector test", "needs CFG WEIGHTS [IMAGE]");
    run("detect t.cfg t.weights a.png");
    check_refused("short form", "cfg/coco.data", "No such file");
    CHECK(mkdir("cfg", 0777) == 0, "cfg");
    spit("cfg/coco.data", "names=t.names\n");
    run("detect t.cfg t.weights a.png");
    CHECK(run_.status == 0 && has(run_.out, "cat: 92%\ndog: 64%\n"), "detect: %s%s", run_.out, run_.err);
    run("detect t.cfg t.weights a.png -thresh .9");
    CHECK(run_.status == 0 && has(run_.out, "cat: 92%\n") && !has(run_.out, "dog"), "its threshold can be changed: %s", run_.out);
}

static void test_shared_flags(void) {
    run("detector recall t.data t.cfg -thresh .3 t.weights -ext_output");
    CHECK(run_.status == 0 && has(run_.err, "warning: -thresh has no effect on detector recall\n") &&
              has(run_.err, "warning: -ext_output has no effect on detector recall\n"),
          "flags of other commands: %s", run_.err);
    run("detector recall t.data t.cfg t.weights -tresh .3");
    check_refused("no flag at all", "-tresh", "unknown flag");
    run("ops t.cfg -thresh .3");
    check_refused("another group", "-thresh", "unknown flag");
}

static void test_device_flags(void) {
    char why[256];
    int warnings = backend_gpus(why, sizeof why) > 0 ? 0 : 1;
    run("ops t.cfg -i 0 -gpus 0,1 -i 2");
    CHECK(run_.status == 0 && count(run_.err, "CPU") == warnings && count(run_.err, "warning: ") == warnings, "a warning where there is no GPU: %s",
          run_.err);
    run("ops t.cfg -nogpu -cuda_debug_sync");
    CHECK(run_.status == 0 && !has(run_.err, "warning"), "no GPU is what there is: %s", run_.err);
    run("ops t.cfg -i -1");
    CHECK(run_.status == 0 && !has(run_.err, "warning"), "-1 is the CPU: %s", run_.err);
    run("ops t.cfg -i");
    check_refused("value", "-i", "needs a number");
    run("ops t.cfg -gpus all");
    check_refused("value", "-gpus", "'all'");
}

/* --- Weights -------------------------------------------------------------------------------------------- */

static void test_weights(void) {
    run("average t.cfg mean.weights t.weights t.weights t.weights");
    char *a = slurp("t.weights"), *b = slurp("mean.weights");
    size_t n = file_size("t.weights");
    CHECK(run_.status == 0 && file_size("mean.weights") == n && memcmp(a + 20, b + 20, n - 20) == 0, "the mean of one file: %s", run_.err);
    free(b);
    run("average t.cfg mean.weights");
    check_refused("average", "average", "CFG OUT WEIGHTS...");
    run("average t.cfg mean.weights t.weights none.weights");
    check_refused("average", "none.weights", "No such file");

    run("partial t.cfg t.weights first.1 1");
    b = slurp("first.1");
    CHECK(run_.status == 0 && file_size("first.1") == 20 + 4 * 124 && memcmp(a + 20, b + 20, 4 * 124) == 0, "a prefix of the bytes: %s",
          run_.err);
    free(a), free(b);

    run("denormalize t.cfg t.weights d.weights -cfg_out d.cfg");
    CHECK(run_.status == 0 && has(run_.out, "1 batch norms") && file_size("d.weights") == n - 4 * 12, "%s%s", run_.out, run_.err);
    run("detector test t.data d.cfg d.weights a.png");
    CHECK(run_.status == 0 && has(run_.out, "cat: 92%\ndog: 64%\n"), "the same answer: %s%s", run_.out, run_.err);
    run("denormalize t.cfg t.weights e.weights");
    CHECK(run_.status == 0 && has(run_.out, "-cfg_out"), "says which cfg: %s", run_.out);
    run("normalize t.cfg t.weights n.weights -cfg_out n.cfg");
    CHECK(run_.status == 0 && file_size("n.weights") == n + 4 * 42, "%s", run_.err);
    run("reset n.cfg n.weights r.weights");
    CHECK(run_.status == 0 && has(run_.out, "2 batch norms"), "%s", run_.out);
    run("detector test t.data n.cfg r.weights a.png");
    CHECK(run_.status == 0 && has(run_.out, "cat: 92%\ndog: 64%\n"), "still: %s%s", run_.out, run_.err);
    run("rescale t.cfg t.weights x.weights");
    CHECK(run_.status == 0 && file_size("x.weights") == n, "%s", run_.err);
    run("rgbgr t.cfg t.weights x.weights");
    CHECK(run_.status == 0 && file_size("x.weights") == n, "%s", run_.err);
    run("oneoff t.cfg t.weights y.weights");
    check_refused("oneoff", "t.weights", "another cfg");
    CHECK(!io_exists("y.weights"), "nothing is written");
    run("statistics t.cfg t.weights");
    CHECK(run_.status == 0 && has(run_.out, "   0 convolutional\n") &&
              has(run_.out, "scales                     4  RMS: 1.000000, Mean: 1.000000, Variance: 0.000000"),
          "%s", run_.out);
}

static void test_speed(void) {
    run("speed t.cfg 7");
    int evals = 0;
    double seconds = 0, each = 0, hz = 0;
    CHECK(run_.status == 0 &&
              sscanf(run_.out, "\n%d evals, %lf Seconds\nSpeed: %lf sec/eval\nSpeed: %lf Hz\n", &evals, &seconds, &each, &hz) == 4 &&
              evals == 7,
          "%s", run_.out);
    CHECK_NEAR(each * 7, seconds, 1e-4, "per pass");
    run("speed t.cfg many");
    check_refused("speed", "'many'", "count");
}

static void test_ops_json(void) {
    run("ops t.cfg -json ops.json");
    char *text = slurp("ops.json");
    cJSON *root = cJSON_Parse(text), *layers = cJSON_GetObjectItem(root, "layers"), *first = cJSON_GetArrayItem(layers, 0);
    CHECK(run_.status == 0 && cJSON_GetArraySize(layers) == 3, "%s", text);
    CHECK(cJSON_GetNumberValue(cJSON_GetObjectItem(root, "parameters")) == 194, "%s", text);
    CHECK(cJSON_GetNumberValue(cJSON_GetObjectItem(first, "out_w")) == 4 && cJSON_GetNumberValue(cJSON_GetObjectItem(first, "parameters")) == 124,
          "%s", text);
    cJSON *head = cJSON_GetArrayItem(layers, 2);
    CHECK(cJSON_GetNumberValue(cJSON_GetObjectItem(head, "outputs")) == 14, "a head's outputs are its inputs: %s", text);
    cJSON_Delete(root);
    free(text);
}

/* --- Pictures ------------------------------------------------------------------------------------------- */

static void check_png(const char *path, int w, int h) {
    struct ctx ctx = { 0 };
    struct pixels px = { 0 };
    char *bytes = slurp(path);
    CHECK(memcmp(bytes, "\x89PNG", 4) == 0, "%s is a PNG", path);
    CHECK(pixels_read(&ctx, path, 3, &px) == ST_OK && px.w == w && px.h == h, "%s: %d x %d %s", path, px.w, px.h, ctx.error);
    pixels_free(&px);
    free(bytes);
}

static void test_visualize(void) {
    run("visualize t.cfg t.weights -zoom 3 -out f.png");
    CHECK(run_.status == 0 && has(run_.out, "f.png: layer 0 [convolutional], 2 x 2 tiles of 9 x 9 pixels\n"), "%s%s", run_.out, run_.err);
    check_png("f.png", 21, 21);
    run("visualize t.cfg t.weights -layer 1");
    CHECK(run_.status == 0, "%s", run_.err);
    check_png("filters.png", 4 * 17 + 1, 14 * 17 + 1);
    run("visualize t.cfg -image a.png -layer 0");
    CHECK(run_.status == 0, "%s", run_.err);
    check_png("output.png", 2 * 5 + 1, 2 * 5 + 1);
    run("visualize t.cfg t.weights -layer 2");
    check_refused("visualize", "layer 2 [yolo]", "no filters");
    run("visualize t.cfg t.weights -layer 3");
    check_refused("visualize", "-layer", "0 to 2");
}

/* --- Detector ------------------------------------------------------------------------------------------- */

static void test_recall(void) {
    run("detector recall t.data t.cfg t.weights");
    /* a.png: the cat. b.png: of a dog and a small cat, the dog.  Two boxes each. */
    CHECK(run_.status == 0 && has(run_.err, "    0     1     1\tRPs/Img: 2.00\tIOU: 100.00%\tRecall:100.00%\n"), "%s", run_.err);
    CHECK(has(run_.err, "    1     2     3\tRPs/Img: 2.00\t"), "%s", run_.err);
}

static void test_anchors(void) {
    run("detector calc_anchors t.data -num_of_clusters 2 -width 100 -height 100 -show");
    CHECK(run_.status == 0 && has(run_.out, "counters_per_class = 2, 1") && has(run_.out, " avg IoU = "), "%s%s", run_.out, run_.err);
    char *first = slurp("anchors.txt"), *counters = slurp("counters_per_class.txt");
    CHECK(strcmp(first, " 10, 10,  38, 62\n") == 0, "anchors.txt: %s", first);
    CHECK(strcmp(counters, "counters_per_class = 2, 1\n") == 0, "counters_per_class.txt: %s", counters);
    check_png("cloud.png", 800, 816);
    run("detector calc_anchors t.data -num_of_clusters 2 -width 100 -height 100");
    char *second = slurp("anchors.txt");
    CHECK(strcmp(first, second) == 0, "the same again: %s", second);
    free(first), free(second), free(counters);
    run("detector calc_anchors t.data -num_of_clusters 2 -width 13 -height 13");
    first = slurp("anchors.txt");
    CHECK(strcmp(first, "1.3000,1.3000, 4.8750,8.1250\n") == 0, "cells have fractions: %s", first);
    free(first);
    char *labels = slurp("b.txt"), more[256];
    snprintf(more, sizeof more, "%s7 0.5 0.5 0.2 0.2\n", labels);
    spit("b.txt", more);
    run("detector calc_anchors t.data -num_of_clusters 2 -width 100 -height 100");
    CHECK(run_.status == 0 && has(run_.err, "warning: b.txt:3: class 7") && has(run_.out, "box: 3\n"), "bad lines are told: %s%s",
          run_.err, run_.out);
    spit("b.txt", labels);
    free(labels);
    run("detector calc_anchors t.data -num_of_clusters 4 -width 100 -height 100");
    check_refused("too many", "3 boxes", "4 anchors");
    run("detector calc_anchors t.data");
    check_refused("size", "-width", "-height");
}

static void test_draw(void) {
    run("detector draw t.data t.cfg t.weights a.png -class dog -box 0.7,0.5,0.25,0.75");
    CHECK(run_.status == 0 && has(run_.out, "drawn.png: the object is seen after 0 rounds\n"), "it was there: %s%s", run_.out, run_.err);
    check_png("drawn.png", 32, 32);
    run("detector draw t.data t.cfg t.weights a.png -class cow");
    check_refused("class", "'cow'", "0 to 1");
    run("detector draw t.data t.cfg t.weights a.png -box 0.7,0.5,0.25");
    check_refused("box", "-box", "X,Y,W,H");
}

static void test_layers_timed(void) {
    run("detector test t.data t.cfg t.weights a.png -benchmark_layers");
    CHECK(run_.status == 0 && count(run_.out, "fw-sort-layer") == 3 && has(run_.out, "type: convolutional") && has(run_.out, "Total time: "),
          "%s", run_.out);
    run("detector train t.data t.cfg -benchmark_layers -dont_show");
    CHECK(run_.status == 0 && count(run_.out, "fw-sort-layer") == 6 * 3 && count(run_.out, "bw-sort-layer") == 6 * 3,
          "in each of six iterations: %s%s", run_.out, run_.err);
}

static void test_valid_json(void) {
    spit("none.cfg", base_cfg);
    char *weights;
    size_t size;
    struct ctx ctx = { 0 };
    if (io_read(&ctx, "t.weights", &weights, &size) != ST_OK) return;
    const float never = -30;
    memcpy(weights + 20 + 4 * (124 + 4), &never, sizeof never);
    memcpy(weights + 20 + 4 * (124 + 11), &never, sizeof never);
    io_write(&ctx, "none.weights", weights, size);
    free(weights);
    run("detector valid t.data t.cfg none.weights");
    char *text = slurp("results/coco_results.json");
    cJSON *root = cJSON_Parse(text);
    CHECK(run_.status == 0 && cJSON_IsArray(root) && cJSON_GetArraySize(root) == 0, "nothing found is an empty list: %s", text);
    cJSON_Delete(root);
    free(text);
    make_picture("qu\"o\\te.png", 20, 20);
    spit("odd.txt", "qu\"o\\te.png\na.png\n");
    spit("bdd.data", "valid=odd.txt\nnames=t.names\nresults=results\neval=bdd\n");
    run("detector valid bdd.data t.cfg t.weights");
    text = slurp("results/bdd_results.json");
    root = cJSON_Parse(text);
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetArrayItem(root, 0), "name"));
    CHECK(run_.status == 0 && cJSON_GetArraySize(root) == 4 && name && strcmp(name, "te") == 0, "the name behind the last \\: %s", text);
    cJSON_Delete(root);
    free(text);
    rename("qu\"o\\te.png", "qu\"ote.png");
    spit("odd.txt", "qu\"ote.png\n");
    run("detector valid bdd.data t.cfg t.weights");
    text = slurp("results/bdd_results.json");
    root = cJSON_Parse(text);
    name = cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetArrayItem(root, 0), "name"));
    CHECK(name && strcmp(name, "qu\"ote") == 0, "names are escaped: %s", text);
    cJSON_Delete(root);
    free(text);
    spit("inet.data", "valid=list.txt\nnames=t.names\nresults=results\neval=imagenet\n");
    run("detector valid inet.data t.cfg t.weights");
    text = slurp("results/imagenet-detection.txt");
    CHECK(has(text, "1 1 0.924652 16.000000 12.000000 48.000000 36.000000\n") && has(text, "\n2 1 0.924652 "), "imagenet: %s", text);
    free(text);
    spit("gone.txt", "a.png\ngone.png\n");
    spit("inet.data", "valid=gone.txt\nnames=t.names\nresults=elsewhere\n");
    run("detector valid inet.data t.cfg t.weights");
    check_refused("a missing picture is told at once", "gone.png", "No such file");
    CHECK(!io_exists("elsewhere"), "and nothing is made");
    spit("inet.data", "valid=list.txt\nnames=t.names\nresults=results\nmap=t.names\n");
    run("detector valid inet.data t.cfg t.weights");
    CHECK(run_.status == 0 && has(run_.err, "map= is for a [region] with a tree="), "a map without a tree is not used: %s", run_.err);
}

/* --- Classifiers ---------------------------------------------------------------------------------------- */

/* The classes are the colours: the output is the mean of each channel through softmax. */
static const char colour_cfg[] = "[net]\nbatch=1\nsubdivisions=1\nwidth=8\nheight=8\nchannels=3\nmax_batches=5\n"
                                 "[convolutional]\nfilters=3\nsize=1\nstride=1\nactivation=linear\n[avgpool]\n[softmax]\n";

static void colour_picture(const char *path, int channel, uint8_t rest) {
    struct ctx ctx = { 0 };
    struct pixels px;
    if (pixels_new(&ctx, 24, 16, 3, &px) != ST_OK) return;
    for (int i = 0; i < 24 * 16 * 3; ++i) px.data[i] = i % 3 == channel ? 255 : rest;
    CHECK(pixels_write(&ctx, path, &px, 90) == ST_OK, "%s", ctx.error);
    pixels_free(&px);
}

static void make_colours(void) {
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    spit("c.cfg", colour_cfg);
    spit("c.names", "rot\ngruen\nblau\n");
    spit("c.labels", "red\ngreen\nblue\n");
    spit("c.data", "classes=3\nvalid=c.list\ntest=c.list\nnames=c.names\nlabels=c.labels\ntop=2\n");
    spit("c.list", "red.png\ngreen.png\nnot_blue.png\n");
    colour_picture("red.png", 0, 0);
    colour_picture("green.png", 1, 100);
    colour_picture("not_blue.png", 0, 128);
    if (net_open(&ctx, "c.cfg", true, &net) != ST_OK) {
        CHECK(false, "%s", ctx.error);
        return;
    }
    for (size_t i = 0; i < net->n_param; ++i) net->param[i] = 0;
    for (size_t i = 0; i < 3; ++i) net->param[net->layer[0].param[1].offset + 4 * i] = 1; /* identity */
    CHECK(net_save(&ctx, net, "c.weights", -1) == ST_OK, "%s", ctx.error);
    net_close(net);
}

static void test_classifier(void) {
    make_colours();
    run("classifier predict c.data c.cfg c.weights red.png");
    CHECK(run_.status == 0 && has(run_.out, " classes = 3, output in cfg = 3 \n8 8\nred.png: Predicted in "), "%s%s", run_.out, run_.err);
    /* e/(e + 2) and 1/(e + 2) */
    CHECK(has(run_.out, " milli-seconds.\nrot: 0.576117\ngruen: 0.211942\n") && !has(run_.out, "blau"), "the two best: %s", run_.out);
    run("classifier predict c.data c.cfg c.weights green.png -t 1");
    CHECK(has(run_.out, "gruen: ") && !has(run_.out, "rot: "), "-t: %s", run_.out);
    run_input("red.png\r\nnone.png\ngreen.png\n", "classifier predict c.data c.cfg c.weights");
    CHECK(run_.status == 1 && count(run_.out, "Enter Image Path: ") == 4 && count(run_.out, "Predicted in") == 2 &&
              has(run_.err, "none.png: No such file"),
          "a list: %s%s", run_.out, run_.err);
    run("classifier valid c.data c.cfg c.weights");
    CHECK(run_.status == 0 && has(run_.out, "0: top 1: 1.000000, top 2: 1.000000\n1: top 1: 1.000000, top 2: 1.000000\n"
                                            "2: top 1: 0.666667, top 2: 0.666667\n"),
          "%s%s", run_.out, run_.err);
    static const char *const kin[] = { "valid10", "validmulti", "validfull", "validcrop" };
    for (int i = 0; i < 4; ++i) {
        char line[128];
        snprintf(line, sizeof line, "classifier %s c.data c.cfg c.weights", kin[i]);
        run(line);
        CHECK(run_.status == 0 && has(run_.out, "2: top 1: 0.666667, top 2: "), "%s: %s%s", kin[i], run_.out, run_.err);
    }
    run("classifier test c.data c.cfg c.weights");
    CHECK(run_.status == 0 && has(run_.out, "red.png\t0.576117\t0.211942\t0.211942\n"), "%s", run_.out);
    run("classifier label c.data c.cfg c.weights");
    CHECK(run_.status == 0 && strncmp(run_.out, "rot\ngruen\n", 10) == 0, "%s", run_.out);
    run("classifier try c.data c.cfg c.weights red.png 1");
    CHECK(run_.status == 0 && strncmp(run_.out, "1.000000\n0.000000\n0.000000\nrot: 0.57", 36) == 0, "%s%s", run_.out, run_.err);
    spit("cfg/imagenet1k.data", "classes=3\nnames=c.names\n");
    run("classify c.cfg c.weights red.png");
    CHECK(run_.status == 0 && has(run_.out, "rot: 0.576117\n") && has(run_.out, "blau: "), "classify: %s%s", run_.out, run_.err);
}

/* Two animals below "animal", and "stone": with outputs 1, 0, 0, 0 each group's softmax is known. */
static void test_classifier_tree(void) {
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    spit("w.tree", "animal -1\nstone -1\ncat 0\ndog 0\n");
    spit("w.names", "Animal\nStone\nCat\nDog\n");
    spit("w.labels", "animal\nstone\nred\ngreen\n");
    spit("w.list", "red.png\n");
    spit("w.data", "classes=4\nvalid=w.list\nnames=w.names\nlabels=w.labels\ntop=4\n");
    spit("w.cfg", "[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=4\nsize=1\nstride=1\nactivation=linear\n"
                  "[avgpool]\n[softmax]\ntree=w.tree\n");
    if (net_open(&ctx, "w.cfg", true, &net) != ST_OK) {
        CHECK(false, "%s", ctx.error);
        return;
    }
    for (size_t i = 0; i < net->n_param; ++i) net->param[i] = 0;
    net->param[net->layer[0].param[0].offset] = 1;
    net->param[net->layer[0].param[0].offset + 2] = 1;
    CHECK(net_save(&ctx, net, "w.weights", -1) == ST_OK, "%s", ctx.error);
    net_close(net);
    run("classifier predict w.data w.cfg w.weights red.png");
    /* e/(e+1) = 0.731059, its square and the product with 1/(e+1) */
    CHECK(run_.status == 0 && has(run_.out, "0, Animal: 0.731059, parent: Root \n2, Cat: 0.534447, parent: Animal \n"
                                            "1, Stone: 0.268941, parent: Root \n3, Dog: 0.196612, parent: Animal \n"),
          "%s%s", run_.out, run_.err);
    run("classifier valid w.data w.cfg w.weights -t 1");
    CHECK(run_.status == 0 && has(run_.out, "0: top 1: 1.000000, "), "leaves alone count, so the cat beats the animal: %s", run_.out);
    spit("w.leaves", "animal\nstone\n");
    spit("w.data", "classes=4\nvalid=w.list\nnames=w.names\nlabels=w.labels\nleaves=w.leaves\n");
    run("classifier valid w.data w.cfg w.weights -t 1");
    CHECK(run_.status == 0 && has(run_.out, "0: top 1: 0.000000, "), "other leaves: now the animal beats the cat: %s", run_.out);
    spit("w.leaves", "mineral\n");
    run("classifier valid w.data w.cfg w.weights");
    check_refused("leaves", "w.leaves", "names no class of the tree");
}

/* A [region] whose word tree the data set knows two classes of, the other way round. */
static void test_class_map(void) {
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    spit("m.tree", "animal -1\nstone -1\ncat 0\ndog 0\n");
    spit("m.map", "3\n2\n");
    spit("m.names", "tree animal\ntree stone\ntree cat\ntree dog\n");
    spit("m.cfg", "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nfilters=9\nsize=1\nstride=32\nactivation=linear\n"
                  "[region]\nanchors=.5,.5\nclasses=4\nnum=1\ncoords=4\nsoftmax=1\ntree=m.tree\n");
    if (net_open(&ctx, "m.cfg", true, &net) != ST_OK) {
        CHECK(false, "%s", ctx.error);
        return;
    }
    const float bias[9] = { 0, 0, 0, 0, 9, 5, 0, 3, 0 }; /* an object, surely an animal, rather a cat */
    for (size_t i = 0; i < net->n_param; ++i) net->param[i] = 0;
    memcpy(net->param + net->layer[0].param[0].offset, bias, sizeof bias);
    CHECK(net_save(&ctx, net, "m.weights", -1) == ST_OK, "%s", ctx.error);
    net_close(net);
    spit("m.data", "valid=list.txt\nnames=m.names\nmap=m.map\nresults=results\n");
    run("detector test m.data m.cfg m.weights a.png -thresh .5");
    CHECK(run_.status == 0 && has(run_.out, "tree cat: 95%") && !has(run_.out, "tree animal:"), "names of the tree: %s%s", run_.out, run_.err);
    spit("m.names", "dog of the set\ncat of the set\n");
    run("detector test m.data m.cfg m.weights a.png -thresh .5");
    CHECK(run_.status == 0 && has(run_.out, "cat of the set: 95%"), "names of the set: %s%s", run_.out, run_.err);
    spit("a.txt", "1 0.5 0.5 0.5 0.5\n");
    spit("one.list", "a.png\n");
    spit("m.data", "valid=one.list\nnames=m.names\nmap=m.map\n");
    run("detector map m.data m.cfg m.weights");
    CHECK(run_.status == 0 && has(run_.out, "class_id = 1, name = cat of the set, ap = 100.00%   \t (TP = 1, FP = 0)"), "%s%s", run_.out,
          run_.err);
    spit("a.txt", "0 0.5 0.5 0.5 0.5\n");
}

static void test_classifier_train(void) {
    static const char *const name[] = { "red", "green", "blue" };
    char list[1024] = "", path[64];
    for (int i = 0; i < 12; ++i) {
        snprintf(path, sizeof path, "%s_%d.png", name[i % 3], i);
        colour_picture(path, i % 3, (uint8_t)(10 * i));
        strcat(strcat(list, path), "\n");
    }
    spit("train.list", list);
    spit("ct.data", "classes=3\ntrain=train.list\nvalid=train.list\nlabels=c.labels\nnames=c.names\nbackup=saved\ntop=1\n");
    spit("ct.v1.cfg", "[net]\nbatch=6\nsubdivisions=2\nwidth=8\nheight=8\nchannels=3\nmax_batches=130\nlearning_rate=0.2\nburn_in=1\n"
                      "min_crop=8\nmax_crop=10\nangle=5\naspect=1.1\nsaturation=1.1\nexposure=1.1\nhue=.02\n"
                      "[convolutional]\nfilters=3\nsize=1\nstride=1\nactivation=linear\n[avgpool]\n[softmax]\n");
    run("classifier train ct.data ct.v1.cfg -topk -dont_show -seed 3");
    CHECK(run_.status == 0 && strncmp(run_.out, "ct\n3 classes, 12 training images\n", 33) == 0, "%s%s", run_.out, run_.err);
    int iteration = 0;
    unsigned images = 0;
    double epochs, loss, avg, rate, seconds, hours;
    const char *line = strstr(run_.out, "\n 3, ");
    CHECK(line &&
              sscanf(line, " %d, %lf: %lf, %lf avg, %lf rate, %lf seconds, %u images, %lf hours left\n", &iteration, &epochs, &loss,
                     &avg, &rate, &seconds, &images, &hours) == 8 &&
              iteration == 3 && images == 18 && epochs == 1.5,
          "Darknet's line: %s", run_.out);
    CHECK(has(run_.out, "accuracy top1 = 1.000000") && io_exists("saved/ct_final.weights") && io_exists("saved/ct_best.weights"),
          "it learns: %s", run_.out);
    run("classifier valid ct.data ct.v1.cfg saved/ct_final.weights");
    CHECK(run_.status == 0 && has(run_.out, "11: top 1: 1.000000, top 1: 1.000000\n"), "%s", run_.out);
    run("classifier train ct.data ct.v1.cfg -show_imgs -clear -seed 3");
    CHECK(run_.status == 0 && has(run_.out, "Wrote the first 48 training images"), "%s%s", run_.out, run_.err);
    struct pixels px = { 0 };
    struct ctx ctx = { 0 };
    CHECK(system("mv aug_000000_00_*.png first.png") == 0 && pixels_read(&ctx, "first.png", 3, &px) == ST_OK && px.w == 8 && px.h == 8,
          "a sample in the network's size: %d x %d %s", px.w, px.h, ctx.error);
    pixels_free(&px);
    run("classifier train ct.data ct.v1.cfg saved/ct_final.weights");
    CHECK(run_.status == 1 && has(run_.err, "-clear"), "nothing left to do: %s", run_.err);
    spit("train.list", "red_0.png\na.png\n");
    run("classifier train ct.data ct.v1.cfg -topk");
    CHECK(run_.status == 1 && has(run_.err, "a.png: no label"), "validation needs classes: %s", run_.err);
    run("classifier train ct.data ct.v1.cfg -strict");
    CHECK(run_.status == 1 && has(run_.err, "1 paths hold no class"), "strict: %s", run_.err);
    run("classifier train ct.data t.cfg");
    check_refused("a detector", "t.cfg", "detector");
}

static void test_classifier_refused(void) {
    run("classifier predict t.data t.cfg t.weights a.png");
    check_refused("a detector", "t.cfg", "detector");
    spit("c.names", "rot\ngruen\n");
    run("classifier predict c.data c.cfg c.weights red.png");
    check_refused("names", "c.names", "3 outputs");
    spit("bad.data", "classes=4\nnames=c.names\nlabels=c.labels\nvalid=c.list\n");
    run("classifier valid bad.data c.cfg c.weights");
    check_refused("classes", "bad.data", "3 outputs");
    spit("c.list", "red.png\na.png\n");
    run("classifier valid c.data c.cfg c.weights");
    check_refused("no label", "a.png", "no label");
    run("classifier demo c.data c.cfg c.weights");
    check_refused("video", "classifier demo", "OPENCV=1");
}

int main(void) {
    if (!cli_start()) return test_end("cli_commands");
    make_files();
    test_words();
    test_shared_flags();
    test_device_flags();
    test_weights();
    test_speed();
    test_ops_json();
    test_visualize();
    test_recall();
    test_anchors();
    test_draw();
    test_layers_timed();
    test_valid_json();
    test_classifier();
    test_classifier_tree();
    test_class_map();
    test_classifier_train();
    test_classifier_refused();
    cli_end();
    return test_end("cli_commands");
}
