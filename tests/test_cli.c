/* The program as its users see it: exact lines on both streams, exit statuses, files written or left alone.
 * DARKNET: path of the program (make test sets it). */
#include "cli_rig.h"

#include <cjson/cJSON.h>
#include <signal.h>


static const char row_cat[] = "cat: 92%\t(left_x:   16   top_y:   12   width:   32   height:   24)\n";
static const char row_dog[] = "dog: 64%\t(left_x:   39   top_y:    6   width:   16   height:   36)\n";
static const char json_objects[] =
    " \"objects\": [ \n"
    "  {\"class_id\":1, \"name\":\"dog\", \"relative_coordinates\":{\"center_x\":0.731059, \"center_y\":0.500000, "
    "\"width\":0.250000, \"height\":0.750000}, \"confidence\":0.643914}, \n"
    "  {\"class_id\":0, \"name\":\"cat\", \"relative_coordinates\":{\"center_x\":0.500000, \"center_y\":0.500000, "
    "\"width\":0.500000, \"height\":0.500000}, \"confidence\":0.924652}\n"
    " ] \n}";

/* --- Command lines -------------------------------------------------------------------------------------- */

static void test_words(void) {
    run("");
    CHECK(run_.status == 1 && has(run_.err, "detector test DATA CFG WEIGHTS [IMAGE]"), "usage on stderr: %s",
          run_.err);
    run("help");
    CHECK(run_.status == 0 && has(run_.out, "detector train") && has(run_.out, "partial"), "all commands: %s",
          run_.out);
    run("help detector map");
    CHECK(run_.status == 0 && has(run_.out, "-points N"), "flags of a command: %s", run_.out);
    run("detector test t.data -h");
    CHECK(run_.status == 0 && has(run_.out, "-ext_output"), "-h anywhere: %s", run_.out);
    run("detektor test");
    check_refused("group", "'detektor'", "did you mean 'detector'?");
    run("detector tset t.data");
    check_refused("command", "'detector tset'", "did you mean 'detector test'?");
    run("detector");
    check_refused("group alone", "detector", "which one");
    run("detector test t.data t.cfg");
    check_refused("too few words", "detector test", "DATA CFG WEIGHTS [IMAGE]");
    run("detector test t.data t.cfg t.weights a.png b.png");
    check_refused("too many words", "'b.png'", "too many");
    run("detector test t.data t.cfg t.weights a.png -ext_otput");
    check_refused("unknown flag", "-ext_otput", "did you mean -ext_output?");
    run("detector test t.data t.cfg t.weights a.png -thresh");
    check_refused("no value", "-thresh", "needs a value");
    run("detector test t.data t.cfg t.weights a.png -thresh .3x");
    check_refused("no number", "-thresh", "'.3x'");
    run("detector test t.data t.cfg t.weights a.png -thresh 3");
    check_refused("range", "-thresh", "outside 0 to 1");
    run("detector train t.data t.cfg -mjpeg_port 80900");
    check_refused("port", "-mjpeg_port", "65535");
}

/* --- detector test -------------------------------------------------------------------------------------- */

static void test_one_picture(void) {
    unlink("predictions.jpg");
    run("detector test t.data t.cfg t.weights a.png -ext_output -dont_show -out o.json");
    CHECK(run_.status == 0, "%s", run_.err);
    char start[512], end[512];
    snprintf(
        start, sizeof start,
        "\n seen 64, trained: 0 K-images (0 Kilo-batches_64) \n"
             " Detection layer: 2 - type = 28 \na.png: Predicted in ");
    snprintf(end, sizeof end, " milli-seconds.\n%s%s", row_cat, row_dog);
    CHECK(strncmp(run_.out, start, strlen(start)) == 0, "begins as Darknet does: %s", run_.out);
    const char *rest = strstr(run_.out, " milli-seconds");
    CHECK(rest && strcmp(rest, end) == 0, "boxes by their left edges: %s", run_.out);
    CHECK(has(run_.err,
              "   layer   filters  size/strd(dil)      input                output\n   0 conv      4 "),
          "table: %s", run_.err);
    CHECK(has(run_.err, "Total BFLOPS ") &&
              has(run_.err, "Loading weights from t.weights...Done! Loaded 3 layers from weights-file \n"),
          "loading: %s", run_.err);
    char want[1024], *json = slurp("o.json");
    snprintf(want, sizeof want, "[\n{\n \"frame_id\":1, \n \"filename\":\"a.png\", \n%s\n]", json_objects);
    CHECK(strcmp(json, want) == 0, "JSON to the byte:\n%s", json);
    free(json);

    struct ctx ctx = { 0 };
    struct pixels px = { 0 };
    CHECK(pixels_read(&ctx, "predictions.jpg", 3, &px) == ST_OK && px.w == 64 && px.h == 48,
          "predictions.jpg: %s", ctx.error);
    pixels_free(&px);

    run("detector test -thresh .8 t.data -i 0 t.cfg -nogpu t.weights a.png");
    CHECK(run_.status == 0 && has(run_.out, "cat: 92%\n") && !has(run_.out, "dog"), "flags anywhere: %s",
          run_.out);
    run("detector test t.data t.cfg \"$(printf 't.weights\\r')\" \"$(printf 'a.png\\r')\"");
    CHECK(run_.status == 0 && has(run_.out, "a.png: Predicted"), "CR behind arguments: %s", run_.err);
    run("detector test t.data t.cfg t.weights a.png -letter_box -ext_output");
    CHECK(has(run_.out, "cat: 92%\t(left_x:   16   top_y:    8   width:   32   height:   32)\n"),
          "letter box: %s", run_.out);
}

static void test_list(void) {
    make_picture("quote\"d.png", 30, 20);
    run_input("a.png\r\n\nnone.png\nquote\"d.png\n",
              "detector test t.data t.cfg t.weights -out o.json -save_labels -thresh .5");
    CHECK(run_.status == 1 && count(run_.err, "darknet: ") == 1 &&
              has(run_.err, "darknet: none.png: No such file or directory\n"),
          "one unreadable: %s", run_.err);
    CHECK(count(run_.out, "Enter Image Path: ") == 5 && count(run_.out, "Predicted in") == 2,
          "the others go on: %s", run_.out);
    char *json = slurp("o.json"), *label = slurp("a.txt");
    cJSON *root = cJSON_Parse(json), *second = cJSON_GetArrayItem(root, 1);
    CHECK(cJSON_GetArraySize(root) == 2 && has(json, "\n}, \n{\n \"frame_id\":2, \n"), "two pictures: %s",
          json);
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(second, "filename"));
    CHECK(name && strcmp(name, "quote\"d.png") == 0, "escaped: %s", json);
    CHECK(strcmp(label, "1 0.7311 0.5000 0.2500 0.7500\n0 0.5000 0.5000 0.5000 0.5000\n") == 0, "labels: %s",
          label);
    cJSON_Delete(root);
    free(json);
    free(label);
    spit("a.txt", "0 0.5 0.5 0.5 0.5\n");
}

/* --- detector map, valid -------------------------------------------------------------------------------- */

static void test_map(void) {
    run("detector map t.data t.cfg t.weights -json m.json");
    CHECK(run_.status == 0, "%s", run_.err);
    CHECK(
        has(run_.out,
            "\n calculation mAP (mean average precision)...\n Detection layer: 2 - type = 28 \n\n detections_count = 4, "
            "unique_truth_count = 3  \n"),
        "head: %s", run_.out);
    CHECK(has(run_.out, "class_id = 0, name = cat, ap = 50.00%   \t (TP = 1, FP = 1) \n"
                        "class_id = 1, name = dog, ap = 50.00%   \t (TP = 1, FP = 1) \n"),
          "classes: %s", run_.out);
    CHECK(has(run_.out, " mean average precision (mAP@0.50) = 0.500000, or 50.00 % \n"), "mAP: %s", run_.out);
    CHECK(has(run_.err, "Total Detection Time: "), "%s", run_.err);
    char *json = slurp("m.json");
    cJSON *root = cJSON_Parse(json);
    CHECK(cJSON_GetNumberValue(cJSON_GetObjectItem(root, "map")) == 0.5, "%s", json);
    cJSON_Delete(root);
    free(json);
    spit("t.names", "cat\n");
    run("detector map t.data t.cfg t.weights");
    check_refused("names", "t.names", "classes=2");
    spit("t.names", "cat\ndog\n");
}

static void test_valid(void) {
    rename("a.png", "COCO_val2014_000000000042.png");
    spit("list.txt", "COCO_val2014_000000000042.png\n");
    run("detector valid t.data t.cfg t.weights");
    CHECK(run_.status == 0, "%s", run_.err);
    char *text = slurp("results/coco_results.json");
    CHECK(strncmp(text, "[\n{\"image_id\":42, \"category_id\":", 32) == 0 && has(text, "}\n]\n"), "%s", text);
    CHECK(
        has(text,
            "{\"image_id\":42, \"category_id\":1, \"bbox\":[16.000000, 12.000000, 32.000000, 24.000000], \"score\":0.924652}"),
        "%s", text);
    free(text);
    spit("v.data", "valid=list.txt\nnames=t.names\nresults=results/deep\n");
    run("detector valid v.data t.cfg t.weights -out x_");
    text = slurp("results/deep/x_dog.txt");
    CHECK(has(text, "COCO_val2014_000000000042 0.643914 39.787750 7.000000 55.787750 43.000000\n"), "voc: %s",
          text);
    free(text);
    spit("v.data", "valid=list.txt\nnames=t.names\nresults=results\neval=kitti\n");
    run("detector valid v.data t.cfg t.weights");
    text = slurp("results/kitti_results/data/COCO_val2014_000000000042.txt");
    CHECK(
        has(text,
            "car -1 -1 -10 16.000000 12.000000 48.000000 36.000000 -1 -1 -1 -1000 -1000 -1000 -10 0.924652\n"),
        "kitti: %s", text);
    free(text);
    rename("COCO_val2014_000000000042.png", "a.png");
    spit("list.txt", "a.png\nb.png\n");
}

/* --- detector train ------------------------------------------------------------------------------------- */

static void test_train(void) {
    run("detector train t.data t.cfg -dont_show -map -seed 5 -log run.json");
    CHECK(run_.status == 0, "%s", run_.err);
    const char opening[] = " Prepare additional network for mAP calculation...\nt\n";
    CHECK(strncmp(run_.out, opening, sizeof opening - 1) == 0, "the checkpoints' base name: %s", run_.out);
    CHECK(has(run_.out,
              "Learning Rate: 0.001, Momentum: 0.9, Decay: 0.0001\n Detection layer: 2 - type = 28 \n"),
          "start: %s", run_.out);
    int iteration = 0;
    unsigned images = 0;
    double loss, avg, rate, seconds, hours;
    const char *line = strstr(run_.out, "\n 3: ");
    CHECK(line &&
              sscanf(line, " %d: %lf, %lf avg loss, %lf rate, %lf seconds, %u images, %lf hours left\n",
                     &iteration, &loss, &avg, &rate, &seconds, &images, &hours) == 7 &&
              iteration == 3 && images == 12,
          "the parsed line: %s", run_.out);
    CHECK(count(run_.err, "v3 (") == 12, "a line per sub-batch: %s", run_.err);
    CHECK(count(run_.err, "\n total_bbox = ") == 12 && count(run_.err, ", rewritten_bbox = ") == 12, "the boxes so far: %s", run_.err);
    CHECK(count(run_.out, "\n (next mAP calculation at 6 iterations) \n") == 5 && !has(run_.out, "Resizing"), "what comes: %s", run_.out);
    CHECK(has(run_.out, "mean_average_precision (mAP@0.50) = ") && io_exists("saved/t_best.weights"),
          "mAP at the end: %s", run_.out);
    CHECK(io_exists("saved/t_final.weights") && io_exists("saved/t_last.weights"), "checkpoints");
    CHECK(io_exists("chart.png") && io_exists("chart_t.png"), "the chart");
    CHECK(has(run_.out, "(next mAP calculation at 6 iterations)"), "%s", run_.out);
    char *log = slurp("run.json");
    CHECK(count(log, "\n") == 7 && !strncmp(log, "{\"run\":\"t\",", 11), "a line per iteration: %s", log);
    CHECK(has(log, "{\"iteration\":3,\"images\":12,\"loss\":") && count(log, "\"score\":\"mAP@0.50\",\"value\":") == 1, "%s", log);
    free(log);
    run("detector train t.data t.cfg -log /nowhere/x.json");
    CHECK(run_.status == 1 && has(run_.err, "/nowhere/x.json"), "%s", run_.err);
    run("detector train t.data t.cfg saved/t_final.weights");
    CHECK(run_.status == 1 && has(run_.err, "-clear") && has(run_.err, "max_batches"),
          "nothing left to do: %s", run_.err);
    run("detector train t.data t.cfg saved/t_final.weights -clear -quiet");
    CHECK(run_.status == 0 && !has(run_.out, "avg loss, ") && !has(run_.err, "v3 ("), "quiet: %s", run_.out);
}

static void test_interrupt(int signal_number) {
    char line[1024];
    spit("long.cfg", base_cfg);
    char *text = slurp("long.cfg"), *at = strstr(text, "max_batches=6");
    snprintf(line, sizeof line, "%.*smax_batches=900000%s", (int)(at - text), text, at + 13);
    spit("long.cfg", line);
    free(text);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("out", "w", stdout) || !freopen("err", "w", stderr)) _exit(99);
        execl(program, program, "detector", "train", "t.data", "long.cfg", "t.weights", "-clear",
              (char *)NULL);
        _exit(99);
    }
    for (int i = 0; i < 600; ++i) {
        usleep(50000);
        char *out = slurp("out");
        bool going = has(out, "avg loss");
        free(out);
        if (going) break;
    }
    kill(child, signal_number);
    int status = 0;
    waitpid(child, &status, 0);
    char *err = slurp("err");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "signal %d is no error: %d, %s", signal_number, status, err);
    CHECK(has(err, "stopped after iteration ") && io_exists("saved/long_last.weights"), "saved: %s", err);
    free(err);
}

/* --- ops, partial, data --------------------------------------------------------------------------------- */

static void test_small_commands(void) {
    run("ops t.cfg");
    CHECK(run_.status == 0 && has(run_.err, "   2 yolo\n") && has(run_.err, "Total BFLOPS 0.000 \n"),
          "table: %s", run_.err);
    /* 2 * 4 * 9 * 3 * 4 * 4 + 2 * 14 * 4 */
    CHECK(has(run_.out, "Floating Point Operations: 3568\n") &&
              has(run_.out, "Floating Point Operations: 0.00 Bn\n"),
          "%s", run_.out);
    CHECK(has(run_.out, "Parameters: 194 "), "4 * (3 + 1 + 27) + 14 * 5: %s", run_.out);

    run("partial t.cfg t.weights first.1 1");
    struct stat st;
    CHECK(run_.status == 0 && stat("first.1", &st) == 0 && st.st_size == 20 + 4 * 124, "one layer: %s",
          run_.err);
    run("detector train t.data t.cfg first.1");
    CHECK(run_.status == 0 && has(run_.err, "first.1 holds the first 1 of 3 layers"),
          "a prefix starts a training: %s", run_.err);
    run("detector test t.data t.cfg first.1 a.png");
    check_refused("a prefix is no detector", "first.1", "ends before layer");
    run("partial t.cfg t.weights p.weights 9");
    check_refused("partial", "t.cfg", "3 layers");

    run("data synth made -train 3 -valid 2 -width 128 -height 96 -seed 4");
    CHECK(run_.status == 0 &&
              has(run_.out, "3 training and 2 validation pictures of 128 x 96, 5 classes: made/synth.data\n"),
          "%s%s", run_.out, run_.err);
    CHECK(io_exists("made/synth.data") && io_exists("made/train.txt"), "files");
    run("data synth made -width 5");
    check_refused("synth", "-width", "outside");
}

/* --- Bad input ------------------------------------------------------------------------------------------ */

static void edit(const char *from, const char *to, const char *out) {
    char text[2048];
    const char *at = strstr(base_cfg, from);
    CHECK(at, "%s", from);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - base_cfg), base_cfg, to, at + strlen(from));
    spit(out, text);
}

static void bad_cfg(const char *from, const char *to, const char *where, const char *reason) {
    edit(from, to, "bad.cfg");
    run("ops bad.cfg");
    check_refused(reason, where, reason);
    run("detector test t.data bad.cfg t.weights a.png -out o.json");
    check_refused(reason, where, reason);
    run("detector train t.data bad.cfg");
    check_refused(reason, where, reason);
}

static void test_bad_cfg(void) {
    bad_cfg("[yolo]", "[shortcut]\nfrom=-7\nactivation=linear\n[yolo]", "bad.cfg:2", "from");
    bad_cfg("[yolo]", "[route]\nlayers=-1,-2\n[yolo]", "bad.cfg:2", "4 x 4");
    bad_cfg("[yolo]", "[yollo]", "bad.cfg:22", "yollo");
    bad_cfg("[net]", "batch=1\n[net]", "bad.cfg:1", "section");
    bad_cfg("filters=4", "filters=-1", "bad.cfg:12", "filters");
    bad_cfg("batch=4", "batch=0", "bad.cfg:2", "batch");
    edit("filters=4", "filtres=4\nfilters=4", "odd.cfg");
    run("ops odd.cfg");
    CHECK(run_.status == 0 && has(run_.err, "odd.cfg:12") && has(run_.err, "'filters'"),
          "a warning for an unknown key: %s", run_.err);
    run("ops odd.cfg -strict");
    check_refused("strict", "odd.cfg:12", "filtres");
}

/* Every command that reads the file refuses it, and leaves alone what earlier runs wrote. */
static void bad_file(const char *words, const char *where, const char *reason) {
    spit("o.json", "old");
    spit("m.json", "old");
    spit("predictions.jpg", "old");
    run(words);
    check_refused(words, where, reason);
    const char *const kept[] = { "o.json", "m.json", "predictions.jpg", "saved/t_last.weights" };
    for (int i = 0; i < 4; ++i) {
        char *text = slurp(kept[i]);
        CHECK(strcmp(text, "old") == 0, "%s: %s was overwritten", words, kept[i]);
        free(text);
    }
}

static void test_bad_weights(void) {
    spit("saved/t_last.weights", "old");
    struct ctx ctx = { 0 };
    char *bytes;
    size_t size;
    if (io_read(&ctx, "t.weights", &bytes, &size) != ST_OK) return;
    io_write(&ctx, "cut.weights", bytes, size - 6);
    free(bytes);
    bad_file("detector test t.data t.cfg cut.weights a.png -out o.json", "cut.weights",
             "ends inside layer 1");
    bad_file("detector map t.data t.cfg cut.weights -json m.json", "cut.weights", "ends inside layer 1");
    bad_file("detector train t.data t.cfg cut.weights", "cut.weights", "ends inside layer 1");
    edit("filters=4", "filters=3", "other.cfg");
    bad_file("detector test t.data other.cfg t.weights a.png -out o.json", "t.weights", "other.cfg");
    bad_file("detector map t.data other.cfg t.weights -json m.json", "t.weights", "other.cfg");
    spit("empty.weights", "");
    bad_file("detector test t.data t.cfg empty.weights a.png -out o.json", "empty.weights", "0 bytes");
    bad_file("detector test t.data t.cfg none.weights a.png -out o.json", "none.weights", "No such file");
}

/* The command goes on without the boxes and images that are wrong, and says so once. */
static void told(const char *words, const char *where) {
    run(words);
    CHECK(run_.status == 0 && has(run_.err, where), "%s: status %d, %s", words, run_.status, run_.err);
    const char *at = strstr(run_.err, where);
    CHECK(at && !strstr(at + 1, where), "%s: told once: %s", words, run_.err);
}

static void test_bad_data(void) {
    spit("fresh.data", "classes=2\ntrain=list.txt\nbackup=fresh\n");
    rename("b.txt", "kept.txt");
    bad_file("detector train t.data t.cfg -strict", "b.txt", "missing");
    bad_file("detector map t.data t.cfg t.weights -json m.json -strict", "b.txt", "missing");
    told("detector map t.data t.cfg t.weights", "b.txt: label file missing");
    spit("b.txt", "1 0.5 0.5 0.2 0.2\n2 0.5 0.5 0.2 0.2\n");
    bad_file("detector train t.data t.cfg -strict", "b.txt:2", "class 2");
    bad_file("detector train fresh.data t.cfg t.weights -clear -strict", "b.txt:2", "class 2");
    CHECK(!io_exists("fresh"), "a refused training makes no folder");
    bad_file("detector map t.data t.cfg t.weights -json m.json -strict", "b.txt:2", "class 2");
    CHECK(!io_exists("bad_labels.txt"), "nothing was written");
    spit("b.txt", "1 0.5 0.5 0.2\n5 .5 .5 .1 .1\n");
    told("detector train fresh.data t.cfg -quiet", "b.txt:1: 4 columns");
    CHECK(has(run_.err, "and 1 more in this file") && has(run_.err, "1 label files hold 2 bad lines"), "%s", run_.err);
    char *list = slurp("bad_labels.txt");
    CHECK(has(list, "b.txt:1: ") && has(list, "b.txt:2: class 5"), "all problems: %s", list);
    free(list);
    CHECK(io_exists("fresh/t_final.weights"), "training went on without them");
    rename("kept.txt", "b.txt");
    rename("b.png", "kept.png");
    spit("b.png", "");
    bad_file("detector test t.data t.cfg t.weights b.png -out o.json -save_labels", "b.png", "0 bytes");
    bad_file("detector train t.data t.cfg -strict", "b.png", "empty");
    told("detector train fresh.data t.cfg -quiet", "b.png: image is empty");
    bad_file("detector map t.data t.cfg t.weights -json m.json", "b.png", "empty");
    spit("b.png", "\x89PNG\r\n\x1a\n garbage");
    bad_file("detector test t.data t.cfg t.weights b.png -out o.json", "b.png", "picture");
    char *label = slurp("b.txt");
    CHECK(has(label, "0.73"), "labels beside an unreadable picture stay: %s", label);
    free(label);
    rename("a.png", "away.png");
    bad_file("detector train t.data t.cfg", "none of the 2 images", "a.png");
    rename("away.png", "a.png");
    rename("kept.png", "b.png");
    spit("t.data", "classes=2\ntrain=nowhere.txt\nvalid=nowhere.txt\nnames=t.names\nbackup=saved\n");
    bad_file("detector train t.data t.cfg", "nowhere.txt", "No such file");
    bad_file("detector map t.data t.cfg t.weights -json m.json", "nowhere.txt", "No such file");
    bad_file("detector test nowhere.data t.cfg t.weights a.png -out o.json", "nowhere.data", "No such file");
}

int main(void) {
    if (!cli_start()) return test_end("cli");
    make_files();
    test_words();
    test_one_picture();
    test_list();
    test_map();
    test_valid();
    test_train();
    test_interrupt(SIGINT);
    test_interrupt(SIGTERM);
    test_small_commands();
    test_bad_cfg();
    test_bad_weights();
    test_bad_data();
    cli_end();
    return test_end("cli");
}
