/* What a data set can get wrong: named, counted, and never a silent zero. */
#include "cli_rig.h"

#include "net/net.h"

static void random_weights(void) {
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    bool ok = net_open(&ctx, "t.cfg", false, &net) == ST_OK;
    if (ok) net_init_weights(net, 3);
    CHECK(ok && net_save(&ctx, net, "r.weights", -1) == ST_OK, "%s", ctx.error);
    net_close(net);
}

static const char *const scoring[] = { "map", "eval", "recall", "saliency", "prune" };
enum { COMMANDS = sizeof scoring / sizeof *scoring };

static void run_on_set(const char *command) {
    char words[200];
    snprintf(words, sizeof words, "detector %s t.data t.cfg r.weights%s", command, strcmp(command, "prune") ? "" : " -ratio 0.1 -force");
    run(words);
}

static void test_missing_pictures(void) {
    spit("list.txt", "a.png\nnowhere1.png\nb.png\nnowhere2.png\n");
    for (int i = 0; i < COMMANDS; ++i) {
        run_on_set(scoring[i]);
        check_refused(scoring[i], "2 of the 4 images", "nowhere1.png");
    }
    spit("list.txt", "a.png\nnowhere1.png\n");
    for (int i = 0; i < COMMANDS; ++i) {
        run_on_set(scoring[i]);
        check_refused(scoring[i], "nowhere1.png", "");
    }
    spit("list.txt", "");
    for (int i = 0; i < COMMANDS; ++i) {
        run_on_set(scoring[i]);
        check_refused(scoring[i], "list.txt", "empty");
    }
    spit("list.txt", "a.png\nb.png\n");
}

static void test_missing_labels(void) {
    spit("list.txt", "a.png\nb.png\nc.png\nd.png\n");
    make_picture("c.png", 40, 40);
    make_picture("d.png", 40, 40);
    run_on_set("saliency");
    check_refused("saliency", "2 of the 4 images", "c.txt: label file missing");
    run_on_set("map"); /* as in Darknet: no objects there */
    CHECK(run_.status == 0 && has(run_.err, "2 have no label file"), "%s", run_.err);
    spit("list.txt", "a.png\nb.png\n");
}

static void test_no_objects(void) {
    spit("a.txt", ""), spit("b.txt", "");
    for (int i = 0; i < 3; ++i) {
        run_on_set(scoring[i]);
        check_refused(scoring[i], "the 2 images hold no object", "nothing can be measured");
    }
    run_on_set("saliency");
    CHECK(run_.status == 0 && has(run_.err, "none of the 2 images to score on holds a labelled object"), "%s", run_.err);
}

static void test_classes(void) {
    spit("a.txt", "7 0.5 0.5 0.5 0.5\n"), spit("b.txt", "8 0.5 0.5 0.5 0.5\n9 .5 .5 .5 .5\n");
    for (int i = 0; i < COMMANDS; ++i) {
        run_on_set(scoring[i]);
        check_refused(scoring[i], "none of the 3 lines", "a.txt:1: class 7 is out of range, 0 to 1");
    }
    spit("b.txt", "0 0.5 0.5 0.5 0.5\n9 .5 .5 .5 .5\n");
    for (int i = 0; i < COMMANDS; ++i) {
        run_on_set(scoring[i]);
        CHECK(run_.status == 0 && has(run_.err, "2 label files hold 2 bad lines; they are left out"), "%s: %s", scoring[i], run_.err);
    }
}

/* Ground truth in COCO's form, whose names are not the network's. */
static void test_names(void) {
    static const char truth[] =
        "{\"images\":[{\"id\":1,\"file_name\":\"a.png\",\"width\":64,\"height\":48},{\"id\":2,\"file_name\":\"b.png\",\"width\":40,\"height\":40}],\n"
        "\"annotations\":[{\"id\":1,\"image_id\":1,\"category_id\":1,\"bbox\":[16,12,32,24],\"area\":768,\"iscrowd\":0},\n"
        "{\"id\":2,\"image_id\":2,\"category_id\":2,\"bbox\":[1,1,9,9],\"area\":81,\"iscrowd\":0}],\n"
        "\"categories\":[{\"id\":1,\"name\":\"cat\"},{\"id\":2,\"name\":\"cow\"}]}\n";
    spit("truth.json", truth);
    run("detector eval t.data t.cfg t.weights -gt truth.json");
    CHECK(run_.status == 0 && has(run_.err, "1 of the network's 2 classes are not in the ground truth, their detections are left out: dog") &&
              has(run_.err, "1 classes of the ground truth are none of the network's, none of their objects can be found: cow"),
          "%s", run_.err);
    spit("t.names", "katze\nhund\n");
    run("detector eval t.data t.cfg t.weights -gt truth.json");
    check_refused("other names", "none of the network's classes (katze, hund)", "names=");
    spit("t.names", "cat\ndog\n");
    spit("truth.json", "{\"images\":[],\n\"annotations\":[}");
    run("detector eval t.data t.cfg t.weights -gt truth.json");
    check_refused("broken JSON", "truth.json:2: broken JSON", "");
    spit("truth.json", "{\"images\":[],\"annotations\":[],\"categories\":[]}");
    run("detector eval -gt truth.json -dt truth.json");
    check_refused("empty", "holds no objects", "nothing can be measured");
}

/* A difficulty that no object has is no score of 0. */
static void test_kitti_without_objects(void) {
    if (mkdir("gt", 0777) || mkdir("dt", 0777)) CHECK(false, "folders");
    spit("gt/000000.txt", "Car 0.00 0 0 100 100 200 200 -1 -1 -1 -1 -1 -1 -1\n");
    spit("dt/000000.txt", "Car -1 -1 0 100 100 200 200 -1 -1 -1 -1 -1 -1 -1 0.9\n");
    run("detector eval -metric kitti -gt gt -dt dt");
    CHECK(run_.status == 0 && has(run_.out, "cyclist      easy               -         -        0"), "%s%s", run_.out, run_.err);
    run("detector eval -metric kitti -gt gt -dt dt -json");
    CHECK(run_.status == 0 && count(run_.out, "null") == 12 && count(run_.out, "AP_R11") == 9, "%s%s", run_.out, run_.err);
}

int main(void) {
    if (!cli_start()) return test_end("bad_input");
    make_files();
    random_weights();
    test_missing_pictures();
    test_missing_labels();
    test_no_objects();
    test_classes();
    test_names();
    test_kitti_without_objects();
    cli_end();
    return test_end("bad_input");
}
