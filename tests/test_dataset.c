/* .data files, lists, label paths and label files. */
#include <glob.h>
#include <unistd.h>

#include "base/io.h"
#include "data/dataset.h"
#include "test.h"

struct journal { int n; char last[1024]; };

static void note(void *user, enum log_level level, const char *line) {
    struct journal *j = user;
    if (level != LOG_WARN) return;
    ++j->n;
    snprintf(j->last, sizeof j->last, "%s", line);
}

static char folder[] = "/tmp/darknet-test-XXXXXX";

/* A path inside the test's folder; valid until the eighth call after. */
static const char *at(const char *name) {
    static char path[8][256];
    static int turn;
    char *p = path[turn++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static const char *put_bytes(const char *name, const char *text, size_t size) {
    struct ctx ctx = { 0 };
    CHECK(io_write(&ctx, at(name), text, size) == ST_OK, "%s", ctx.error);
    return at(name);
}

static const char *put(const char *name, const char *text) { return put_bytes(name, text, strlen(text)); }

/* --- Lists ---------------------------------------------------------------------------------------------- */

static void test_lists(void) {
    struct journal j = { 0 };
    struct ctx ctx = { .log = note, .log_user = &j };
    struct text_list l;
    CHECK(list_read(&ctx,
                    put("l", "\xEF\xBB\xBF"
                             "traffic light\r\ncar \r\n\r\n\n"),
                    &l) == ST_OK,
          "%s", ctx.error);
    CHECK(l.n == 2 && !strcmp(l.item[0], "traffic light") && !strcmp(l.item[1], "car "), "%d items", l.n);
    CHECK(j.n == 0, "blank lines at the end are harmless: %s", j.last);
    list_free(&l);
    CHECK(l.n == 0 && !l.item, "freed");
    CHECK(list_read(&ctx, put("l", "a\n \t\n\nb\n\nc\r"), &l) == ST_OK, "%s", ctx.error);
    CHECK(l.n == 3 && !strcmp(l.item[1], "b") && !strcmp(l.item[2], "c"),
          "blank lines drop out, CR at the end too");
    CHECK(j.n == 1 && strstr(j.last, "/l:2: blank line"), "%s", j.last);
    list_free(&l);
    CHECK(list_read(&ctx, put("l", ""), &l) == ST_OK && l.n == 0, "an empty file is an empty list");
    list_free(&l);
    CHECK(list_read(&ctx, at("none"), &l) == ST_IO && strstr(ctx.error, at("none")), "%s", ctx.error);
    ctx_clear(&ctx);
    CHECK(list_read(&ctx, put_bytes("l", "a\0b\n", 4), &l) == ST_FORMAT && strstr(ctx.error, "/l: "), "%s",
          ctx.error);
}

static void test_many_lines(void) {
    struct ctx ctx = { 0 };
    struct text_list l;
    char *text = malloc(5000 * 8);
    size_t n = 0;
    for (int i = 0; i < 5000; ++i) n += (size_t)sprintf(text + n, "%d%s", i, i % 3 ? "\n" : "\r\n");
    CHECK(list_read(&ctx, put_bytes("many", text, n), &l) == ST_OK, "%s", ctx.error);
    int wrong = l.n != 5000;
    for (int i = 0; i < l.n; ++i) wrong += atoi(l.item[i]) != i;
    CHECK(!wrong, "%d of %d", wrong, l.n);
    list_free(&l);
    free(text);
}

/* --- .data ---------------------------------------------------------------------------------------------- */

static void test_data_file(void) {
    struct journal j = { 0 };
    struct ctx ctx = { .log = note, .log_user = &j };
    struct data_options o;
    const char *path =
        put("x.data", "# note\r\n classes = 8 0\r\ntrain  = /my data/train set.txt \r\nvalid=v.txt\n"
                      "train=other\n nam es = a.names\nbackup=\nsaveweights=500\nlabels=l\ntop=5");
    CHECK(data_read(&ctx, path, &o) == ST_OK, "%s", ctx.error);
    CHECK(o.classes == 80 && o.save_weights == 500 && o.save_last == 0, "%d %d", o.classes, o.save_weights);
    CHECK(o.train && !strcmp(o.train, "/my data/train set.txt"), "blanks stay: %s", o.train);
    CHECK(o.valid && !strcmp(o.valid, "v.txt") && o.names && !strcmp(o.names, "a.names"), "texts");
    CHECK(!o.backup && !o.results && !o.difficult && !o.eval && !o.map, "not given");
    CHECK(o.path && !strcmp(o.path, path), "%s", o.path);
    CHECK(j.n == 2 && strstr(j.last, "x.data:5: key 'train' is repeated, line 3 counts"), "%d: %s", j.n,
          j.last);
    data_free(&o);
    CHECK(!o.train && !o.path, "freed");
    j.n = 0;
    CHECK(data_read(&ctx, put("y.data", "classes=2\nvalidd = x\n"), &o) == ST_OK, "%s", ctx.error);
    CHECK(j.n == 1 && strstr(j.last, "y.data:2: unknown key 'validd', did you mean 'valid'?"), "%s", j.last);
    data_free(&o);
    CHECK(data_read(&ctx, put("z.data", "train=x\nclasses=many\n"), &o) == ST_CFG,
          "classes must be a number");
    CHECK(strstr(ctx.error, "/z.data:2: classes: 'many' is not a whole number"), "%s", ctx.error);
    ctx_clear(&ctx);
    CHECK(data_read(&ctx, at("none.data"), &o) == ST_IO && strstr(ctx.error, "none.data"), "%s", ctx.error);
}

/* --- Label paths ---------------------------------------------------------------------------------------- */

static void expect_label(const char *image, const char *want) {
    struct ctx ctx = { 0 };
    char *got = label_path(&ctx, image);
    CHECK(got && !strcmp(got, want), "%s: %s", image, got ? got : ctx.error);
    free(got);
}

static void test_label_paths(void) {
    expect_label("/d/images/train2017/a.jpg", "/d/labels/train2017/a.txt");
    expect_label("/d/images/val2017/a.PNG", "/d/labels/val2017/a.txt");
    expect_label("/d/images/train2014/a.jpeg", "/d/labels/train2014/a.txt");
    expect_label("/d/images/val2014/a.JPEG", "/d/labels/val2014/a.txt");
    expect_label("/voc/JPEGImages/a.bmp", "/voc/labels/a.txt");
    expect_label("d\\images\\train2017\\a.ppm", "d\\labels\\train2017\\a.txt");
    expect_label("d\\images\\val2014\\a.tiff", "d\\labels\\val2014\\a.txt");
    expect_label("d\\JPEGImages\\a.TIFF", "d\\labels\\a.txt");
    expect_label("/images/val2017/images/val2017/a.jpg", "/labels/val2017/images/val2017/a.txt");
    expect_label("/JPEGImages/JPEGImages/a.jpg", "/labels/JPEGImages/a.txt");
    expect_label(" \t/d/a.jpg \t", "/d/a.txt");
    expect_label("/d/a.jpg.png", "/d/a.jpg.txt");
    expect_label("/d/a.webp", "/d/a.webp");
    expect_label("/d/a.Jpg", "/d/a.Jpg");
    expect_label("", "");
    expect_label("/none/images/a.jpg", "/none/images/a.txt");
    struct ctx ctx = { 0 };
    CHECK(io_make_dirs(&ctx, at("images")) == ST_OK && io_make_dirs(&ctx, at("labels")) == ST_OK, "%s",
          ctx.error);
    put("labels/a.txt", "");
    expect_label(at("images/a.jpg"), at("labels/a.txt"));
    expect_label(at("images/b.jpg"), at("images/b.txt"));
    put("images/a.txt", "");
    expect_label(at("images/a.jpg"), at("images/a.txt"));
}

/* --- Labels --------------------------------------------------------------------------------------------- */

static void test_good_labels(void) {
    struct ctx ctx = { 0 };
    struct truth_list t = { 0, 0, NULL };
    const char *path =
        put("g.txt",
            "3 0.5 .25 0.5 1e-1\r\n\n79\t1.0 0.0 1 1.000001 extra 7\n  0 0 1 .001 .002\n0 0 1 .001 .002");
    CHECK(labels_read(&ctx, path, 80, &t, NULL) == ST_OK, "%s", ctx.error);
    CHECK(t.n == 4, "%d boxes", t.n);
    CHECK(t.item[0].class_id == 3 && t.item[0].track == -1 && t.item[0].box.x == .5f &&
              t.item[0].box.y == .25f && t.item[0].box.w == .5f && t.item[0].box.h == .1f,
          "first box");
    CHECK(t.item[1].class_id == 79 && t.item[1].box.x == 1 && t.item[1].box.y == 0 && t.item[1].box.h == 1,
          "borders are inside, rounding is clipped, further columns do not count");
    CHECK(t.item[2].class_id == 0 && t.item[2].box.w == .001f && t.item[3].box.h == .002f, "doubles stay");
    CHECK(labels_read(&ctx, put("g.txt", ""), 80, &t, NULL) == ST_OK && t.n == 4,
          "empty: background; boxes are appended");
    CHECK(labels_read(&ctx, put("g.txt", "5000 .5 .5 .1 .1"), 0, &t, NULL) == ST_OK && t.n == 5,
          "no class check");
    free(t.item);
}

static void expect_issue(const char *line, const char *want) {
    struct ctx ctx = { 0 };
    struct truth_list t = { 0, 0, NULL };
    char text[256], full[400];
    snprintf(text, sizeof text, "1 .5 .5 .1 .1\n%s\n0 .5 .5 .2 .2\n", line);
    const char *path = put("bad.txt", text);
    snprintf(full, sizeof full, "%s:2: %s", path, want);
    CHECK(labels_read(&ctx, path, 2, &t, NULL) == ST_FORMAT && !strcmp(ctx.error, full), "%s: %s", line,
          ctx.error);
    ctx_clear(&ctx);
    t.n = 0;
    struct label_issues issues = { 0, 0, NULL };
    CHECK(labels_read(&ctx, path, 2, &t, &issues) == ST_OK, "%s", ctx.error);
    CHECK(issues.n == 1 && issues.item[0].line == 2 && !strcmp(issues.item[0].text, want), "%d issues",
          issues.n);
    bool clipped = strstr(want, "larger") != NULL;
    CHECK(t.n == (clipped ? 3 : 2) && t.item[t.n - 1].box.w == .2f, "%s: the lines around it count, %d boxes",
          line, t.n);
    if (clipped) CHECK(t.item[1].box.w == 1 || t.item[1].box.h == 1, "clipped");
    free(issues.item);
    free(t.item);
}

static void test_bad_labels(void) {
    expect_issue("0 .5 .5 .1", "4 columns, but 'class x y width height' is needed");
    expect_issue("class x y w h", "class 'class' is not a whole number");
    expect_issue("1.0 .5 .5 .1 .1", "class '1.0' is not a whole number");
    expect_issue("0,.5,.5,.1,.1", "class '0,.5,.5,.1,.1' is not a whole number");
    expect_issue("0 .5 0,5 .1 .1", "y '0,5' is not a finite number");
    expect_issue("0 .5x .5 .1 .1", "x '.5x' is not a finite number");
    expect_issue("0 nan .5 .1 .1", "x 'nan' is not a finite number");
    expect_issue("0 .5 .5 inf .1", "width 'inf' is not a finite number");
    expect_issue("2 .5 .5 .1 .1", "class 2 is out of range, 0 to 1 is allowed");
    expect_issue("-1 .5 .5 .1 .1", "class -1 is out of range, 0 to 1 is allowed");
    expect_issue("0 .5 .5 0 .1", "width 0 gives a box without extent, it must be above 0");
    expect_issue("0 .5 .5 .1 -.1", "height -0.1 gives a box without extent, it must be above 0");
    expect_issue("0 .5 .5 .1 1e-60", "height 1e-60 gives a box without extent, it must be above 0");
    expect_issue("0 1.2 .5 .1 .1", "centre x 1.2 lies outside the image, 0 to 1 is allowed");
    expect_issue("0 .5 -.01 .1 .1", "centre y -0.01 lies outside the image, 0 to 1 is allowed");
    expect_issue("0 .5 .5 1.5 .1", "width 1.5 is larger than the image, at most 1 is allowed");
    expect_issue("0 .5 .5 .1 300", "height 300 is larger than the image, at most 1 is allowed");
    struct ctx ctx = { 0 };
    struct truth_list t = { 0, 0, NULL };
    CHECK(labels_read(&ctx, at("none.txt"), 2, &t, NULL) == ST_IO && strstr(ctx.error, at("none.txt")), "%s",
          ctx.error);
    ctx_clear(&ctx);
    CHECK(labels_read(&ctx, put("n.txt", "-3 .5 .5 .1 .1"), 0, &t, NULL) == ST_FORMAT,
          "negative without a class count");
    CHECK(strstr(ctx.error, "n.txt:1: class -3 is negative"), "%s", ctx.error);
    ctx_clear(&ctx);
    CHECK(labels_read(&ctx, put_bytes("n.txt", "0\0 1", 4), 2, &t, NULL) == ST_FORMAT, "NUL");
    free(t.item);
}

/* Every recorded label file reads without an issue, under the path found from its image. */
static void test_recorded(void) {
    const char *root = test_data("label files");
    if (!root) return;
    char pattern[1024];
    glob_t found;
    int boxes = 0;
    snprintf(pattern, sizeof pattern, "%s/coco/*/*.jpg", root);
    if (glob(pattern, 0, NULL, &found) != 0) {
        SKIP("%s: nothing there", pattern);
        return;
    }
    for (size_t i = 0; i < found.gl_pathc; ++i) {
        struct ctx ctx = { 0 };
        struct truth_list t = { 0, 0, NULL };
        char *path = label_path(&ctx, found.gl_pathv[i]);
        if (path && io_exists(path)) CHECK(labels_read(&ctx, path, 80, &t, NULL) == ST_OK, "%s", ctx.error);
        boxes += t.n;
        free(t.item);
        free(path);
    }
    CHECK(boxes > 0, "no box in %zu images", found.gl_pathc);
    printf("dataset: %d recorded boxes of %zu images\n", boxes, found.gl_pathc);
    globfree(&found);
}

static void remove_folder(void) {
    static const char *const files[] = { "labels/a.txt", "images/a.txt", "labels", "images", "l",
                                         "many",         "x.data",       "y.data", "z.data", "g.txt",
                                         "bad.txt",      "n.txt" };
    for (size_t i = 0; i < sizeof files / sizeof *files; ++i) remove(at(files[i]));
    CHECK(rmdir(folder) == 0, "something is left in %s", folder);
}

int main(void) {
    if (!mkdtemp(folder)) {
        perror(folder);
        return 1;
    }
    test_lists();
    test_many_lines();
    test_data_file();
    test_label_paths();
    test_good_labels();
    test_bad_labels();
    test_recorded();
    remove_folder();
    return test_end("dataset");
}
