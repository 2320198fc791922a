/* Importing: small sets of every format, made here, with everything wrong that can be; what is written, what is said about the rest,
 * and that evaluation finds it.  With recorded data: the real ones. */
#include "test.h"

#include <dirent.h>
#include <ftw.h>
#include <unistd.h>

#include "base/io.h"
#include "data/coco_file.h"
#include "data/import.h"
#include "data/json.h"
#include "net/net.h"
#include "vision/image.h"

static char dir[64];

/* --- Helpers ------------------------------------------------------------------------------------------------ */

static void spit(const char *path, const char *text) {
    struct ctx ctx = { 0 };
    char folder[512];
    snprintf(folder, sizeof folder, "%s", path);
    if (strrchr(folder, '/')) {
        *strrchr(folder, '/') = '\0';
        io_make_dirs(&ctx, folder);
    }
    CHECK(io_write(&ctx, path, text, strlen(text)) == ST_OK, "%s", ctx.error);
}

static void picture(const char *path, int w, int h) {
    struct ctx ctx = { 0 };
    struct pixels px;
    char folder[512];
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    io_make_dirs(&ctx, folder);
    if (pixels_new(&ctx, w, h, 3, &px) == ST_OK) pixels_write(&ctx, path, &px, 90);
    pixels_free(&px);
    CHECK(ctx.code == ST_OK, "%s", ctx.error);
}

static char *slurp(const char *path) {
    struct ctx ctx = { 0 };
    char *bytes = NULL;
    size_t size;
    if (io_read(&ctx, path, &bytes, &size) != ST_OK) bytes = calloc(1, 1);
    return bytes;
}

static void check_file(const char *path, const char *wanted) {
    char *text = slurp(path);
    CHECK(io_exists(path) && !strcmp(text, wanted), "%s: wanted\n%s\ngot\n%s", path, wanted, text);
    free(text);
}

static int entries(const char *folder) {
    DIR *d = opendir(folder);
    int n = 0;
    if (!d) return -1;
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)st, (void)type, (void)at;
    return remove(path);
}
static void remove_tree(const char *path) { nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS); }

/* Imports into "out", which is removed first; the report, caller frees. */
static char *import(const struct import_options *o) {
    struct ctx ctx = { 0 };
    char *report;
    remove_tree(o->out);
    CHECK(import_run(&ctx, o, &report) == ST_OK, "%s", ctx.error);
    return report ? report : calloc(1, 1);
}

/* Refused with a line that holds `message`, and nothing is left behind. */
static void check_refused(const struct import_options *o, enum status code, const char *message) {
    struct ctx ctx = { 0 };
    char *report;
    int before = entries(".");
    bool there = io_exists(o->out);
    enum status st = import_run(&ctx, o, &report);
    CHECK(st == code && strstr(ctx.error, message) && !report, "wanted %d '%s', got %d '%s'", (int)code, message, (int)st, ctx.error);
    CHECK(entries(".") == before && io_exists(o->out) == there, "'%s': leaves something behind", message);
    free(report);
}

/* The number in front of the first line of the report that holds `text`; 0: there is none. */
static int said(const char *report, const char *text) {
    const char *at = strstr(report, text);
    if (!at) return 0;
    while (at > report && at[-1] != '\n') --at;
    return atoi(at);
}

/* --- JSON --------------------------------------------------------------------------------------------------- */

static enum status list_item(struct ctx *ctx, void *user, const struct json_item *it) {
    char *text = user;
    (void)ctx;
    sprintf(text + strlen(text), "%s:%d:%d:%s ", it->key, it->index, it->line, it->value ? cJSON_IsNumber(it->value) ? "number" : "other" : "begins");
    return ST_OK;
}

static void test_json(void) {
    struct ctx ctx = { 0 };
    char seen[256] = "";
    spit("a.json", "\xEF\xBB\xBF{ \"x\": 1,\n \"list\": [ 1,\n {\"list\": [2]} ], \"none\": [] }\n");
    CHECK(json_each(&ctx, "a.json", list_item, seen) == ST_OK, "%s", ctx.error);
    CHECK(!strcmp(seen, "x:-1:1:number list:-1:2:begins list:0:2:number list:1:3:other none:-1:3:begins "), "%s", seen);
    static const struct { const char *text, *where; } broken[] = {
        { "", "a.json:1: broken JSON" },           { "{\"x\": [1,\n2", "a.json:2: broken JSON" }, { "[1 2]", "near byte 3" },
        { "[1]\nx", "a.json:2: broken JSON" },     { "{\"x\":1,}", "near byte 7" },               { "{\"x\":1]", "near byte 6" },
        { "[1,\n\n{\"a\":tru}]", "a.json:3:" },    { "{x:1}", "near byte 1" },                    { "7", "broken JSON" }
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; ++i) {
        spit("a.json", broken[i].text);
        *seen = '\0';
        ctx_clear(&ctx);
        CHECK(json_each(&ctx, "a.json", list_item, seen) == ST_FORMAT && strstr(ctx.error, broken[i].where), "'%s': %s", broken[i].text, ctx.error);
    }
}

/* --- KITTI -------------------------------------------------------------------------------------------------- */

static const char rest[] = "1.5 1.6 3.9 1 2 30 0";

/* Frames a to h; c has no labels, d no picture, e is no picture. */
static void make_kitti(void) {
    char text[1024];
    for (const char *name = "abcfgh"; *name; ++name) {
        snprintf(text, sizeof text, "kitti/training/image_2/%c.png", *name);
        picture(text, 200, 100);
        snprintf(text, sizeof text, "kitti/training/label_2/%c.txt", *name);
        if (*name != 'c') spit(text, "");
    }
    spit("kitti/training/image_2/e.png", "no picture");
    spit("kitti/training/label_2/e.txt", "");
    spit("kitti/training/label_2/d.txt", "");
    snprintf(text, sizeof text,
             "Car 0.00 0 0 20 10 60 30 %s\r\n"
             "Van 0.00 0 0 100 50 140 90 %s\r\n"
             "\r\n"
             "Cyclist 0.00 3 0 180 80 210 120 %s\n"            /* cut */
             "Pedestrian 0 0 0 50 50\n"                        /* broken, line 5 */
             "Pedestrian 0 0 0 250 10 300 50 %s\n"             /* outside */
             "Pedestrian 0 0 0 10 10 10.5 50 %s\n"             /* thin */
             "Pedestrian 0 0 0 30 10 20 50 %s\n"               /* inside out */
             "Tram 0 0 0 1 1 9 9 %s\nZebra 0 0 0 1 1 9 9 %s\nDontCare -1 -1 -10 1 1 50 50 %s",
             rest, rest, rest, rest, rest, rest, rest, rest, "-1 -1 -1 -1000 -1000 -1000 -10");
    spit("kitti/training/label_2/a.txt", text);
    snprintf(text, sizeof text, "Person_sitting 0 0 0 0 0 20 10 %s\nVan 0 0 0 0 0 20 10 %s\nmoped 0 0 0 0 0 200 100 %s\n", rest, rest, rest);
    spit("kitti/training/label_2/b.txt", text);
}

static void test_kitti(void) {
    struct import_options o = import_defaults(IMPORT_KITTI, "kitti", "out/");
    spit("lists/train", "a\nf.png\n");
    spit("lists/valid", "some/where/b.jpg\ng\nnobody\n");
    o.train_list = "lists/train", o.valid_list = "lists/valid";
    char *report = import(&o);
    check_file("out/kitti.names", "car\npedestrian\ncyclist\n");
    check_file("out/kitti.data", "classes = 3\ntrain = out/train.txt\nvalid = out/valid.txt\nnames = out/kitti.names\nbackup = out/backup\n"
                                 "annotations = out/label_2\n");
    check_file("out/train.txt", "out/images/train/a.png\nout/images/train/f.png\n");
    check_file("out/valid.txt", "out/images/valid/b.png\nout/images/valid/g.png\n");
    check_file("out/images/train/a.txt", "0 0.200000 0.200000 0.200000 0.200000\n0 0.600000 0.700000 0.200000 0.400000\n"
                                         "2 0.950000 0.900000 0.100000 0.200000\n");
    check_file("out/images/train/f.txt", "");
    check_file("out/images/valid/b.txt", "1 0.050000 0.050000 0.100000 0.100000\n0 0.050000 0.050000 0.100000 0.100000\n");
    CHECK(!io_exists("out/label_2/a.txt") && io_exists("out/label_2/g.txt"), "annotations of the valid list, no more");
    char target[512] = "";
    CHECK(readlink("out/images/train/a.png", target, sizeof target - 1) > 0 && *target == '/', "the picture is a link that works from anywhere: %s", target);
    CHECK(said(report, "without a label file") == 1, "%s", report);
    CHECK(said(report, "that are not there") == 2, "d, and the list with a name too many: %s", report);
    CHECK(said(report, "in neither part") == 2, "e and h: %s", report);
    CHECK(said(report, "that are broken") == 1 && strstr(report, "kitti/training/label_2/a.txt:5: no KITTI line"), "%s", report);
    CHECK(said(report, "outside their picture") == 1 && said(report, "side under 1 pixels") == 1 && said(report, "without extent") == 1, "%s", report);
    CHECK(said(report, "to be ignored") == 1 && said(report, "cut at their") == 1, "%s", report);
    CHECK(strstr(report, "no class takes: Tram 1\n") && strstr(report, "does not know: Zebra 1, moped 1\n"), "%s", report);
    CHECK(strstr(report, "from Car, Van"), "%s", report);
    char *kept = slurp("out/import.txt");
    CHECK(strstr(kept, "split: the lists lists/train and lists/valid") && strstr(kept, "does not know"), "%s", kept);
    struct ctx ctx = { 0 };
    struct data_options data;
    CHECK(data_read(&ctx, "out/kitti.data", &data) == ST_OK && !strcmp(data.annotations, "out/label_2"), "%s", ctx.error);
    data_free(&data);
    free(kept), free(report);
}

static void test_kitti_map(void) {
    struct import_options o = import_defaults(IMPORT_KITTI, "kitti/training", "out");
    o.map = "map", o.valid_list = "lists/valid", o.copy = true;
    spit("map", "# mine\nvan = car # small\n Car=car\r\nmoped = rider\nPerson_sitting = two wheels\ntram =\nZebra = dontcare\n");
    char text[512], *report = import(&o);
    check_file("out/kitti.names", "car\nrider\ntwo wheels\n");
    check_file("out/images/valid/b.txt", "2 0.050000 0.050000 0.100000 0.100000\n0 0.050000 0.050000 0.100000 0.100000\n1 0.500000 0.500000 1.000000 1.000000\n");
    /* A van is excused for car and stays one; others are called what the network calls them, unless that is no single word. */
    snprintf(text, sizeof text, "Person_sitting 0 0 0 0 0 20 10 %s\nVan 0 0 0 0 0 20 10 %s\nrider 0 0 0 0 0 200 100 %s\n", rest, rest, rest);
    check_file("out/label_2/b.txt", text);
    CHECK(strstr(report, "to be ignored") && said(report, "to be ignored") == 1, "%s", report);
    CHECK(strstr(report, "does not know: "), "%s", report);
    free(report);
    spit("lists/a", "a\n");
    o.valid_list = "lists/a";
    free(import(&o));
    char *lines = slurp("out/label_2/a.txt");
    CHECK(strstr(lines, "\nTram 0 0 0 1 1 9 9") && strstr(lines, "\nDontCare 0 0 0 1 1 9 9") && !strstr(lines, "Zebra") && !strstr(lines, "50 50\n"), "%s", lines);
    free(lines);
    o.valid_list = "lists/valid";
    o.map = NULL, o.classes = " Cyclist,car ";
    free(import(&o));
    check_file("out/kitti.names", "cyclist\ncar\n");
    check_file("out/images/train/a.txt", "1 0.200000 0.200000 0.200000 0.200000\n1 0.600000 0.700000 0.200000 0.400000\n0 0.950000 0.900000 0.100000 0.200000\n");
    char target[16];
    CHECK(readlink("out/images/train/a.png", target, sizeof target) < 0 && io_exists("out/images/train/a.png"), "-copy made a link");
    o.classes = "bike,car";
    remove_tree("out");
    check_refused(&o, ST_USAGE, "'bike' is no class here");
    o.classes = NULL, o.map = "map";
    spit("map", "Car = car\nVan\n");
    check_refused(&o, ST_FORMAT, "map:2: no class map line");
    spit("map", "Car = car\n\ncar = van\n");
    check_refused(&o, ST_FORMAT, "map:3: 'car' stands there for the second time");
    spit("map", "Car =\n");
    check_refused(&o, ST_FORMAT, "map: no class is left");
    spit("map", "Unicorn = horse\n");
    check_refused(&o, ST_FORMAT, "no box is left for the classes asked for; its classes are: Car, Van");
}

static void test_splits(void) {
    struct import_options o = import_defaults(IMPORT_KITTI, "kitti", "out");
    o.split = IMPORT_HALVES;
    free(import(&o)); /* a b e | f g h: the half counts e, too, which then cannot be used */
    check_file("out/train.txt", "out/images/train/a.png\nout/images/train/b.png\n");
    check_file("out/valid.txt", "out/images/valid/f.png\nout/images/valid/g.png\nout/images/valid/h.png\n");
    remove_tree("out");
    o.split = IMPORT_CHEN;
    check_refused(&o, ST_USAGE, "ImageSets/train.txt");
    spit("kitti/ImageSets/train.txt", "b\n"), spit("kitti/ImageSets/val.txt", "a\n");
    char *report = import(&o);
    check_file("out/train.txt", "out/images/train/b.png\n");
    CHECK(strstr(report, "split: chen"), "%s", report);
    free(report);
    spit("kitti/ImageSets/val.txt", "a\nb\n");
    remove_tree("out");
    check_refused(&o, ST_FORMAT, "val.txt: 'b' is in the other list");
    o.valid_share = .5;
    check_refused(&o, ST_USAGE, "only one of the two");
    o.split = IMPORT_BY_DEFAULT;
    o.valid_share = 1. / 3;
    free(import(&o));
    char *first = slurp("out/valid.txt"), *again;
    free(import(&o));
    again = slurp("out/valid.txt");
    CHECK(!strcmp(first, again) && *first, "the same seed, another split: %s %s", first, again);
    bool other = false;
    for (o.seed = 2; o.seed < 8; ++o.seed) {
        free(import(&o));
        free(again);
        again = slurp("out/valid.txt");
        other |= strcmp(first, again) != 0;
    }
    CHECK(other, "the seed changes nothing");
    free(first), free(again);
    o.valid_share = 0;
    free(import(&o));
    CHECK(!io_exists("out/valid.txt"), "an empty list");
    check_file("out/kitti.data", "classes = 3\ntrain = out/train.txt\nnames = out/kitti.names\nbackup = out/backup\n");
}

/* --- The folder it writes ----------------------------------------------------------------------------------- */

static volatile int stop;
static void stop_while_writing(void *user, const char *what, int done, int total) {
    (void)user, (void)total;
    if (!strcmp(what, "writing") && done == 2) stop = 1;
}

static void test_folder(void) {
    struct import_options o = import_defaults(IMPORT_KITTI, "kitti", "out");
    free(import(&o));
    check_refused(&o, ST_USAGE, "out: is there already; -force");
    spit("out/backup/trained.weights", "x"), spit("out/my.cfg", "y"), spit("out/images/train/old.txt", "z");
    char *report;
    struct ctx ctx = { 0 };
    o.force = true;
    CHECK(import_run(&ctx, &o, &report) == ST_OK, "%s", ctx.error);
    free(report);
    check_file("out/backup/trained.weights", "x");
    check_file("out/my.cfg", "y");
    CHECK(!io_exists("out/images/train/old.txt"), "a label of before is still there");
    o.stop = &stop, o.progress = stop_while_writing;
    check_refused(&o, ST_INTERRUPTED, "nothing was written");
    check_file("out/my.cfg", "y");
    o.stop = NULL, o.progress = NULL;
    spit("mine/file", "");
    o.out = "mine";
    check_refused(&o, ST_USAGE, "was not made by an import");
    o.out = "lists/train";
    check_refused(&o, ST_USAGE, "no folder");
    o.out = "x/JPEGImages/out";
    check_refused(&o, ST_USAGE, "JPEGImages");
    o.out = "lists/train/out";
    check_refused(&o, ST_IO, "lists/train");
    o.out = "new", o.source = "nowhere";
    check_refused(&o, ST_IO, "nowhere");
    o.source = "lists";
    check_refused(&o, ST_FORMAT, "needs the folders label_2 and image_2");
    mkdir("new", 0777); /* an empty folder is as good as none */
    o.source = "kitti";
    o.force = false;
    CHECK(import_run(&ctx, &o, &report) == ST_OK, "%s", ctx.error);
    free(report);
}

/* --- COCO --------------------------------------------------------------------------------------------------- */

static const char coco_text[] =
    "{\"info\":{\"year\":2017},\n\"annotations\":[\n"
    "{\"id\":1,\"image_id\":7,\"category_id\":3,\"bbox\":[20,10,40,20],\"area\":500.5,\"iscrowd\":0,\"segmentation\":[[1,2,3,4,5,6]]},\n"
    "{\"id\":2,\"image_id\":7,\"category_id\":18,\"bbox\":[0,0,200,100],\"area\":9000,\"iscrowd\":1},\n"
    "{\"id\":3,\"image_id\":8,\"category_id\":18,\"bbox\":[10,10,20,20],\"area\":400,\"iscrowd\":0},\n"
    "{\"id\":4,\"image_id\":99,\"category_id\":18,\"bbox\":[10,10,20,20]},\n"
    "{\"id\":5,\"image_id\":8,\"category_id\":77,\"bbox\":[10,10,20,20]},\n"
    "{\"id\":6,\"image_id\":8,\"category_id\":18,\"bbox\":[10,10,20]},\n"
    "{\"id\":7,\"category_id\":18,\"bbox\":[10,10,20,20]},\n"
    "{\"id\":8,\"image_id\":7,\"category_id\":1,\"bbox\":[100,0,100,100],\"area\":8000}\n],\n"
    "\"images\":[{\"id\":7,\"file_name\":\"a.jpg\",\"width\":200,\"height\":100},\n{\"id\":8,\"file_name\":\"sub/b.JPG\",\"width\":200,\"height\":100},\n"
    "{\"id\":9,\"file_name\":\"lost.jpg\",\"width\":200,\"height\":100},\n{\"id\":10,\"file_name\":\"turned.png\",\"width\":100,\"height\":200}],\n"
    "\"categories\":[{\"id\":1,\"name\":\"person\"},{\"id\":3,\"name\":\"car\"},{\"id\":18,\"name\":\"dog\"}]}";

static void test_coco(void) {
    struct import_options o = import_defaults(IMPORT_COCO, "coco", "out");
    struct ctx ctx = { 0 };
    struct coco_file f;
    picture("coco/val2017/a.jpg", 200, 100);
    picture("coco/val2017/sub/b.JPG", 400, 50); /* twice as wide as the labels say, half as high */
    picture("coco/val2017/turned.png", 200, 100);
    spit("coco/annotations/instances_val2017.json", coco_text);
    spit("coco/annotations/captions_val2017.json", "not looked at");
    o.valid_share = 1;
    o.classes = "dog,car";
    char *report = import(&o);
    check_file("out/coco.names", "dog\ncar\n");
    check_file("out/valid.txt", "out/images/valid/a.jpg\nout/images/valid/sub_b.jpg\n");
    check_file("out/images/valid/a.txt", "1 0.200000 0.200000 0.200000 0.200000\n");
    check_file("out/images/valid/sub_b.txt", "0 0.100000 0.200000 0.100000 0.200000\n");
    CHECK(said(report, "that are broken") == 4, "%s", report);
    CHECK(strstr(report, "instances_val2017.json:6: annotations[3]: its image_id"), "%s", report);
    CHECK(strstr(report, ":8: annotations[5]: its bbox") && strstr(report, ":9: annotations[6]: has no image_id"), "%s", report);
    CHECK(said(report, "that are not there") == 1 && strstr(report, "'lost.jpg'"), "%s", report);
    CHECK(said(report, "cannot be used") == 1 && strstr(report, "lying on its side"), "%s", report);
    CHECK(said(report, "of another size") == 1 && strstr(report, "is 400 x 50, its labels say 200 x 100"), "%s", report);
    CHECK(said(report, "around crowds") == 1 && strstr(report, "no class takes: person 1\n"), "%s", report);
    free(report);
    /* What evaluation reads: the crowd and the outline's area are there, classes have COCO's numbers, boxes the picture's pixels. */
    CHECK(coco_read(&ctx, "out/annotations.json", &f) == ST_OK, "%s", ctx.error);
    CHECK(f.n_image == 2 && f.n_category == 2 && f.n_box == 3, "%d %d %d", f.n_image, f.n_category, f.n_box);
    if (f.n_image == 2 && f.n_category == 2 && f.n_box == 3) {
        CHECK(f.image[0].id == 7 && !strcmp(f.image[1].name, "sub_b.jpg") && f.image[1].w == 400, "%s", f.image[1].name);
        CHECK(f.category[0].id == 18 && f.category[1].id == 3, "%lld %lld", f.category[0].id, f.category[1].id);
        CHECK(f.box[0].area == 500.5 && !f.box[0].crowd && f.box[1].crowd && f.box[1].w == 200, "%g", f.box[0].area);
        CHECK(f.box[2].x == 20 && f.box[2].w == 40 && f.box[2].h == 10 && f.box[2].area == 400, "%g", f.box[2].w);
    }
    coco_file_free(&f);
    o.classes = "traffic";
    free(import(&o));
    check_file("out/images/valid/a.txt", "2 0.200000 0.200000 0.200000 0.200000\n0 0.750000 0.500000 0.500000 1.000000\n");
    o.with_objects = true;
    report = import(&o);
    check_file("out/valid.txt", "out/images/valid/a.jpg\n");
    CHECK(said(report, "without an object") == 1, "%s", report);
    free(report);
    /* Two files: COCO's own split. */
    picture("coco/train2017/c.jpg", 200, 100);
    spit("coco/annotations/instances_train2017.json",
         "{\"images\":[{\"id\":7,\"file_name\":\"c.jpg\"}],\"categories\":[{\"id\":18,\"name\":\"dog\"}],"
         "\"annotations\":[{\"image_id\":7,\"category_id\":18,\"bbox\":[0,0,20,10]}]}");
    o = import_defaults(IMPORT_COCO, "coco", "out");
    free(import(&o));
    check_file("out/train.txt", "out/images/train/c.jpg\n");
    check_file("out/images/train/c.txt", "0 0.050000 0.050000 0.100000 0.100000\n");
    check_file("out/coco.names", "dog\nperson\ncar\n");
    remove_tree("out");
    spit("coco/annotations/instances_train2014.json", "{}");
    check_refused(&o, ST_USAGE, "which one?");
    o.source = "coco/annotations/instances_train2014.json";
    check_refused(&o, ST_FORMAT, "needs the lists 'images', 'annotations', 'categories'");
    spit("coco/annotations/instances_train2014.json", "{\"images\":[\n{\"id\":}]}");
    check_refused(&o, ST_FORMAT, "instances_train2014.json:2: broken JSON");
    o.source = "lists";
    check_refused(&o, ST_FORMAT, "has no COCO file");
    o.source = "coco/annotations/instances_val2017.json", o.images = "lists";
    check_refused(&o, ST_FORMAT, "no picture with labels can be used; the first trouble: coco/annotations/instances_val2017.json: picture 'a.jpg'");
}

/* --- Pascal VOC --------------------------------------------------------------------------------------------- */

#ifdef HAVE_EXPAT
static void voc_file(const char *path, const char *inside) {
    char text[2048];
    snprintf(text, sizeof text, "<annotation>\n<filename>x.jpg</filename><size><width>200</width><height>100</height></size>\n%s</annotation>\n", inside);
    spit(path, text);
}
#endif

static void test_voc(void) {
    struct import_options o = import_defaults(IMPORT_VOC, "VOC", "out");
#ifdef HAVE_EXPAT
    static const char box[] = "<bndbox><xmin>21</xmin><ymin>11</ymin><xmax>60.0</xmax><ymax>30</ymax></bndbox>";
    char text[2048];
    for (const char *name = "abcd"; *name; ++name) {
        snprintf(text, sizeof text, "VOC/JPEGImages/%c.jpg", *name);
        picture(text, 200, 100);
    }
    snprintf(text, sizeof text,
             "<object><name>person</name><difficult>0</difficult>%s<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
             "<xmax>5</xmax><ymax>5</ymax></bndbox></part></object>\n<object>%s<name>a &amp; b</name></object>", box, box);
    voc_file("VOC/Annotations/a.xml", text);
    snprintf(text, sizeof text, "<object><name>person</name><difficult>1</difficult>%s</object>\n<object><name>person</name></object>", box);
    voc_file("VOC/Annotations/b.xml", text);
    spit("VOC/Annotations/c.xml", "<annotation>\n<object>\n</annotation>\n");
    spit("VOC/Annotations/d.xml", "<html/>");
    voc_file("VOC/Annotations/e.xml", "");
    spit("VOC/ImageSets/Main/train.txt", "a\n"), spit("VOC/ImageSets/Main/val.txt", "b\nc\n");
    char *report = import(&o);
    check_file("out/voc.names", "a & b\nperson\n");
    check_file("out/images/train/a.txt", "1 0.200000 0.200000 0.200000 0.200000\n0 0.200000 0.200000 0.200000 0.200000\n");
    check_file("out/images/valid/b.txt", "");
    check_file("out/difficult/b.txt", "1 0.200000 0.200000 0.200000 0.200000\n");
    check_file("out/difficult.txt", "out/difficult/b.jpg\n");
    check_file("out/voc.data", "classes = 2\ntrain = out/train.txt\nvalid = out/valid.txt\nnames = out/voc.names\nbackup = out/backup\n"
                               "difficult = out/difficult.txt\n");
    CHECK(said(report, "marked difficult") == 1 && said(report, "files or frames that are broken") == 2, "%s", report);
    CHECK(strstr(report, "c.xml:3: mismatched tag") && strstr(report, "d.xml:1: no <annotation>"), "%s", report);
    CHECK(strstr(report, "b.xml:4: an object without xmin") && strstr(report, "e.xml: there is no picture"), "%s", report);
    free(report);
    /* A devkit of two years: 2007's test validates. */
    picture("devkit/VOC2007/JPEGImages/t7.jpg", 200, 100), picture("devkit/VOC2007/JPEGImages/v7.jpg", 200, 100);
    picture("devkit/VOC2012/JPEGImages/t12.jpg", 200, 100);
    snprintf(text, sizeof text, "<object><name>cat</name>%s</object>", box);
    voc_file("devkit/VOC2007/Annotations/t7.xml", text), voc_file("devkit/VOC2007/Annotations/v7.xml", text);
    voc_file("devkit/VOC2012/Annotations/t12.xml", text);
    spit("devkit/VOC2007/ImageSets/Main/trainval.txt", "t7\n"), spit("devkit/VOC2007/ImageSets/Main/test.txt", "v7\n");
    spit("devkit/VOC2012/ImageSets/Main/trainval.txt", "t12\n");
    o.source = "devkit";
    free(import(&o));
    check_file("out/train.txt", "out/images/train/t7.jpg\nout/images/train/t12.jpg\n");
    check_file("out/valid.txt", "out/images/valid/v7.jpg\n");
    remove_tree("out");
    o.source = "lists";
    check_refused(&o, ST_FORMAT, "needs the folders Annotations and JPEGImages");
#else
    remove_tree("out");
    mkdir("VOC", 0777);
    check_refused(&o, ST_UNSUPPORTED, "no libexpat");
#endif
}

/* --- BDD100K ------------------------------------------------------------------------------------------------ */

static void test_bdd(void) {
    struct import_options o = import_defaults(IMPORT_BDD, "bdd", "out");
    static const char box[] = "\"box2d\":{\"x1\":20,\"y1\":10,\"x2\":60,\"y2\":30}";
    char text[2048];
    picture("bdd/images/100k/train/a.jpg", 200, 100);
    picture("bdd/images/100k/val/b.jpg", 200, 100);
    snprintf(text, sizeof text,
             "[\n{\"name\":\"a.jpg\",\"attributes\":{},\"labels\":[{\"category\":\"bike\",\"attributes\":{\"occluded\":true},%s},\n"
             "{\"category\":\"lane\",\"poly2d\":[{\"vertices\":[[1,2]]}]},{\"category\":\"person\",%s},{\"category\":\"car\",\"box2d\":{\"x1\":1}}]},\n"
             "{\"name\":\"lost.jpg\"}]", box, box);
    spit("bdd/labels/bdd100k_labels_images_train.json", text);
    snprintf(text, sizeof text,
             "{\"frames\":[{\"name\":\"b.jpg\",\"labels\":[{\"category\":\"bicycle\",\"attributes\":{\"crowd\":true},%s},{\"category\":\"pedestrian\",%s},\n"
             "{\"category\":\"other vehicle\",%s}]}],\"config\":{\"categories\":[{\"name\":\"car\"}]}}", box, box, box);
    spit("bdd/labels/det_20/det_val.json", text);
    char *report = import(&o);
    check_file("out/images/train/a.txt", "7 0.200000 0.200000 0.200000 0.200000\n0 0.200000 0.200000 0.200000 0.200000\n");
    check_file("out/images/valid/b.txt", "0 0.200000 0.200000 0.200000 0.200000\n");
    char *names = slurp("out/bdd.names");
    CHECK(!strncmp(names, "pedestrian\nrider\ncar\ntruck\nbus\ntrain\nmotorcycle\nbicycle\n", 52), "%s", names);
    free(names);
    CHECK(said(report, "around crowds or excused") == 2 && said(report, "boxes or lines that are broken") == 1, "%s", report);
    CHECK(strstr(report, "train.json:2: frame 0: labels[3]: box2d") && strstr(report, "'lost.jpg'"), "%s", report);
    free(report);
    struct ctx ctx = { 0 };
    struct coco_file f;
    CHECK(coco_read(&ctx, "out/annotations.json", &f) == ST_OK && f.n_box == 3 && f.box[0].crowd && !f.box[1].crowd && f.box[2].crowd, "%s", ctx.error);
    coco_file_free(&f);
    remove_tree("out");
    spit("bdd/labels/det_20/det_val.json", "{\"config\":1}");
    check_refused(&o, ST_FORMAT, "det_val.json: no BDD100K labels");
}

/* --- Evaluation takes what was kept ------------------------------------------------------------------------- */

static bool write_net(int classes, const char *cfg, const char *weights) {
    struct ctx ctx = { 0 };
    struct net *net = NULL;
    char text[1024];
    snprintf(text, sizeof text,
             "[net]\nbatch=1\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nfilters=%d\nsize=3\nstride=32\npad=1\nactivation=linear\n"
             "[yolo]\nmask=0\nanchors=16,16\nclasses=%d\nnum=1\n", classes + 5, classes);
    spit(cfg, text);
    bool ok = net_open(&ctx, cfg, false, &net) == ST_OK;
    if (ok) net_init_weights(net, 1);
    ok = ok && net_save(&ctx, net, weights, -1) == ST_OK;
    CHECK(ok, "%s", ctx.error);
    net_close(net);
    return ok;
}

static cJSON *figures(const char *program, const char *words) {
    char line[1024];
    snprintf(line, sizeof line, "'%s' detector eval %s -json >figures.json 2>errors", program, words);
    int status = system(line);
    char *text = slurp("figures.json"), *errors = slurp("errors");
    cJSON *root = cJSON_Parse(text);
    CHECK(status == 0 && root, "%s: %s", words, errors);
    free(text), free(errors);
    return root;
}

static const cJSON *at(const cJSON *o, const char *a, const char *b, const char *c) {
    o = cJSON_GetObjectItem(o, a);
    if (b) o = cJSON_GetObjectItem(o, b);
    return c ? cJSON_GetObjectItem(o, c) : o;
}

static void test_eval(void) {
    const char *program = getenv("DARKNET");
    if (!program) {
        SKIP("evaluation of an imported set: DARKNET does not name the program");
        return;
    }
    /* The only cyclist is hidden (occlusion 3): KITTI's rules excuse it, labels alone would count it. */
    struct import_options o = import_defaults(IMPORT_KITTI, "kitti", "out");
    spit("lists/valid", "a\n");
    o.valid_list = "lists/valid";
    free(import(&o));
    write_net(3, "t.cfg", "t.weights");
    cJSON *root = figures(program, "out/kitti.data t.cfg t.weights -metric kitti");
    CHECK(cJSON_GetNumberValue(at(root, "cyclist", "hard", "truths")) == 0, "the occlusion was not looked at");
    cJSON_Delete(root);
    root = figures(program, "out/kitti.data t.cfg t.weights -metric voc");
    CHECK(root && cJSON_GetArraySize(cJSON_GetObjectItem(root, "classes")) == 3, "the labels' three classes");
    cJSON_Delete(root);
    /* 40 x 20 pixels by its box are small, too; 1600 are not.  By its outline the person is of middle size at 9000. */
    o = import_defaults(IMPORT_COCO, "coco/annotations/instances_val2017.json", "out");
    o.valid_share = 1, o.classes = "person";
    free(import(&o));
    write_net(1, "t.cfg", "t.weights");
    root = figures(program, "out/coco.data t.cfg t.weights -metric coco");
    CHECK(cJSON_IsNumber(at(root, "AP_M", NULL, NULL)) && cJSON_IsNull(at(root, "AP_L", NULL, NULL)), "the outline's area was not looked at");
    cJSON_Delete(root);
}

/* --- Real data ---------------------------------------------------------------------------------------------- */

static void check_counts(const struct import_options *o, int train, int valid, const char *const *rows) {
    char *report = import(o), line[64], *to = report;
    for (const char *from = report; (*to = *from); ++from) to += *from != ' ' || from[1] != ' '; /* without the table's gaps */
    snprintf(line, sizeof line, "pictures %d %d\n", train, valid);
    CHECK(strstr(report, line), "%s in: %s", line, report);
    for (; *rows; ++rows) CHECK(strstr(report, *rows), "'%s' in: %s", *rows, report);
    free(report);
}

static void test_real(const char *root) {
    char source[600], train[700], valid[700];
    struct import_options o = import_defaults(IMPORT_KITTI, source, "out");
    snprintf(source, sizeof source, "%s/kitti", root);
    if (io_exists(source)) {
        o.split = IMPORT_HALVES;
        check_counts(&o, 6, 6, (const char *const[]){ " car 15 18 ", " pedestrian 1 9 ",
                                                      " cyclist 1 1 ", "44 regions", "Truck 3, Tram 1", NULL });
    } else SKIP("no real KITTI data");
    snprintf(source, sizeof source, "%s/road", root);
    if (io_exists(source)) {
        spit("map", "car = car\nvan = car\ntruck = truck\nbus = bus\npedestrian = pedestrian\ncyclist = cyclist\nmotorcyclist = cyclist\n"
                    "tricyclelist =\ntrafficcone =\nignore = DontCare\n");
        snprintf(train, sizeof train, "%s/train.txt", source);
        snprintf(valid, sizeof valid, "%s/valid.txt", source);
        o.split = IMPORT_BY_DEFAULT, o.map = "map", o.train_list = train, o.valid_list = valid;
        check_counts(&o, 118, 40, (const char *const[]){ " car 1127 233 ", " cyclist 137 17 ", "376 regions",
                                                         "tricyclelist 43, trafficcone 25", "barrowlist 2", NULL });
    } else SKIP("no real road data");
    snprintf(source, sizeof source, "%s/coco_json", root);
    if (io_exists(source)) {
        o = import_defaults(IMPORT_COCO, source, "out");
        o.valid_share = 1;
        check_counts(&o, 0, 50, (const char *const[]){ "boxes 0 465\n", " person 0 96\n", "5 boxes around crowds", NULL });
        /* The ground truth is the official one: scored as detections of itself, everything is found. */
        struct ctx ctx = { 0 };
        struct coco_file ours, official;
        snprintf(source, sizeof source, "%s/coco_json/instances_train2017.json", root);
        CHECK(coco_read(&ctx, "out/annotations.json", &ours) == ST_OK && coco_read(&ctx, source, &official) == ST_OK, "%s", ctx.error);
        CHECK(ours.n_box == official.n_box && ours.n_category == official.n_category, "%d of %d boxes", ours.n_box, official.n_box);
        double sum[2] = { 0 };
        for (int i = 0; i < ours.n_box; ++i) sum[0] += ours.box[i].area * ours.box[i].x * (double)ours.box[i].category_id;
        for (int i = 0; i < official.n_box; ++i) sum[1] += official.box[i].area * official.box[i].x * (double)official.box[i].category_id;
        CHECK(fabs(sum[0] - sum[1]) <= 1e-12 * sum[1], "boxes differ: %.17g %.17g", sum[0], sum[1]);
        coco_file_free(&ours), coco_file_free(&official);
    } else SKIP("no real COCO data");
}

int main(void) {
    char where[512] = "";
    const char *root = test_data("real data to import");
    if (root && !realpath(root, where)) root = NULL;
    strcpy(dir, "/tmp/test_import_XXXXXX");
    if (!mkdtemp(dir) || chdir(dir) != 0) return 1;
    test_json();
    make_kitti();
    test_kitti();
    test_kitti_map();
    test_splits();
    test_folder();
    test_coco();
    test_voc();
    test_bdd();
    test_eval();
    if (root) test_real(where);
    if (chdir("/") == 0) remove_tree(dir);
    return test_end("import");
}
