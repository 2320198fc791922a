/* Augmentation, the loader's determinism, the check of a data set. */
#include "test.h"

#include <unistd.h>

#include "base/io.h"
#include "base/rng.h"
#include "data/augment.h"
#include "data/loader.h"

static char dir[64];

static char *path_of(char *to, const char *name) {
    snprintf(to, 256, "%s/%s", dir, name);
    return to;
}

static void write_text(const char *name, const char *text) {
    char path[256];
    struct ctx ctx = { 0 };
    CHECK(io_write(&ctx, path_of(path, name), text, strlen(text)) == ST_OK, "%s", ctx.error);
}

static void write_picture(const char *name, struct pixels *px) {
    char path[256];
    struct ctx ctx = { 0 };
    CHECK(pixels_write(&ctx, path_of(path, name), px, 95) == ST_OK, "%s", ctx.error);
}

static struct pixels noise_picture(int w, int h, uint64_t seed) {
    struct ctx ctx = { 0 };
    struct pixels px = { 0 };
    struct rng r = rng_stream(seed, 1, 2);
    CHECK(pixels_new(&ctx, w, h, 3, &px) == ST_OK, "%s", ctx.error);
    for (int i = 0; i < w * h * 3; ++i) px.data[i] = (uint8_t)(40 + (rng_u64(&r) & 127));
    return px;
}

/* Six pictures of different sizes with 0..5 boxes. */
enum { SET = 6 };
static char set_path[SET][256];
static char *set_item[SET];
static struct text_list set = { SET, SET, set_item };

static void make_set(void) {
    for (int i = 0; i < SET; ++i) {
        char name[32], text[512] = "";
        struct pixels px = noise_picture(40 + 13 * i, 70 - 7 * i, (uint64_t)i);
        snprintf(name, sizeof name, "set%d.png", i);
        write_picture(name, &px);
        pixels_free(&px);
        set_item[i] = path_of(set_path[i], name);
        for (int k = 0; k < i; ++k) {
            size_t at = strlen(text);
            snprintf(text + at, sizeof text - at, "%d %.3f %.3f 0.3 0.25\n", k % 3, 0.2 + 0.1 * k,
                     0.8 - 0.1 * k);
        }
        snprintf(name, sizeof name, "set%d.txt", i);
        write_text(name, text);
    }
}

/* --- Determinism ---------------------------------------------------------------------------------------- */

static void plan(void *user, uint64_t i, int *n, int *w, int *h) {
    (void)user;
    *n = 3 + (int)(i % 2);
    *w = i % 3 ? 32 : 48;
    *h = 32;
}

static uint64_t hash(uint64_t h, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; ++i) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

static uint64_t batch_hash(const struct batch *b) {
    uint64_t h = hash(1, b->x, sizeof *b->x * (size_t)b->n * (size_t)b->c * (size_t)b->w * (size_t)b->h);
    for (int i = 0; i < b->n; ++i) {
        h = hash(h, b->path[i], strlen(b->path[i]));
        for (int k = 0; k < b->truth[i].n; ++k) {
            h = hash(h, &b->truth[i].item[k].box, sizeof b->truth[i].item[k].box);
            h = hash(h, &b->truth[i].item[k].class_id, sizeof(int));
        }
    }
    return h;
}

static struct loader_options loader_defaults(void) {
    return (struct loader_options){
        .images = &set,
        .channels = 3,
        .seed = 7,
        .threads = 1,
        .plan = plan,
        .augment = { .jitter = 0.3,
                     .resize = 1.3,
                     .hue = 0.1,
                     .saturation = 1.5,
                     .exposure = 1.5,
                     .flip = 1,
                     .max_boxes = 90,
                     .classes = 3 },
    };
}

enum { BATCHES = 14 };
static void batch_hashes(const struct loader_options *o, uint64_t *out) {
    struct ctx ctx = { 0 };
    struct loader *l;
    memset(out, 0, BATCHES * sizeof *out);
    CHECK(loader_open(&ctx, o, &l) == ST_OK, "%s", ctx.error);
    for (uint64_t i = o->first; i < BATCHES; ++i) {
        const struct batch *b;
        double wait = -1;
        int n, w, h;
        plan(NULL, i, &n, &w, &h);
        CHECK(loader_next(&ctx, l, &b, &wait) == ST_OK, "%s", ctx.error);
        CHECK(b->n == n && b->w == w && b->h == h && b->c == 3 && wait >= 0, "batch %d has the planned shape",
              (int)i);
        out[i] = batch_hash(b);
    }
    loader_close(l);
}

static void test_determinism(void) {
    uint64_t one[BATCHES], other[BATCHES];
    struct loader_options o = loader_defaults();
    batch_hashes(&o, one);
    int distinct = 0;
    for (int i = 0; i < BATCHES; ++i)
        for (int k = 0; k < i; ++k) distinct += one[i] != one[k];
    CHECK(distinct == BATCHES * (BATCHES - 1) / 2, "every batch is another one");
    o.threads = 3;
    batch_hashes(&o, other);
    CHECK(!memcmp(one, other, sizeof one), "three threads give the batches of one");
    o.cache_bytes = 1;
    batch_hashes(&o, other);
    CHECK(!memcmp(one, other, sizeof one), "without a cache, too");
    o.first = 5;
    o.threads = 2;
    batch_hashes(&o, other);
    CHECK(!memcmp(one + 5, other + 5, (BATCHES - 5) * sizeof *one),
          "a loader opened at batch 5 goes on as the first did");
    o.seed = 8;
    batch_hashes(&o, other);
    CHECK(one[6] != other[6], "another seed gives other batches");

    struct ctx ctx = { 0 };
    struct loader *l;
    o = loader_defaults();
    o.threads = 2;
    CHECK(loader_open(&ctx, &o, &l) == ST_OK, "%s", ctx.error);
    loader_close(l); /* while it works */
    struct text_list empty = { 0, 0, NULL };
    o.images = &empty;
    CHECK(loader_open(&ctx, &o, &l) == ST_USAGE, "an empty list is refused");
}

/* The same picture twice in a batch is seen in two ways. */
static void test_views_differ(void) {
    char *item[] = { set_item[2] };
    struct text_list list = { 1, 1, item };
    struct loader_options o = loader_defaults();
    struct ctx ctx = { 0 };
    struct loader *l;
    const struct batch *b;
    o.images = &list;
    CHECK(loader_open(&ctx, &o, &l) == ST_OK, "%s", ctx.error);
    for (int i = 0; i < 5; ++i) {
        CHECK(loader_next(&ctx, l, &b, NULL) == ST_OK, "%s", ctx.error);
        size_t size = (size_t)b->w * (size_t)b->h * 3;
        CHECK(memcmp(b->x, b->x + size, size * sizeof *b->x), "images 0 and 1 of batch %d", i);
    }
    loader_close(l);
}

static void test_draws_all(void) {
    struct loader_options o = loader_defaults();
    struct ctx ctx = { 0 };
    struct loader *l;
    int drawn[SET] = { 0 }, total = 0;
    CHECK(loader_open(&ctx, &o, &l) == ST_OK, "%s", ctx.error);
    for (int i = 0; i < 100; ++i) {
        const struct batch *b;
        CHECK(loader_next(&ctx, l, &b, NULL) == ST_OK, "%s", ctx.error);
        for (int k = 0; k < b->n; ++k, ++total)
            for (int j = 0; j < SET; ++j) drawn[j] += b->path[k] == set_item[j];
    }
    loader_close(l);
    for (int j = 0; j < SET; ++j)
        CHECK(abs(drawn[j] - total / SET) < 35, "image %d drawn %d times of %d", j, drawn[j], total);
}

/* --- Errors --------------------------------------------------------------------------------------------- */

static void test_errors(void) {
    char bad[256], path[256];
    char worse[256];
    write_text("bad.txt", "");
    write_text("bad.png", "");
    write_text("worse.txt", "");
    write_text("worse.png", "");
    char *items[] = { set_item[1], set_item[2], path_of(bad, "bad.png"), path_of(worse, "worse.png") };
    struct text_list list = { 4, 4, items };
    struct loader_options o = loader_defaults();
    o.images = &list;
    o.strict = true;
    int failed[2] = { -1, -1 };
    char text[2][1024];
    for (int run = 0; run < 2; ++run) {
        struct ctx ctx = { 0 };
        struct loader *l;
        o.threads = run ? 3 : 1;
        CHECK(loader_open(&ctx, &o, &l) == ST_OK, "%s", ctx.error);
        for (int i = 0; i < 30; ++i) {
            const struct batch *b;
            const char *first_bad = NULL;
            ctx_clear(&ctx);
            enum status st = loader_next(&ctx, l, &b, NULL);
            for (int k = 0; k < b->n; ++k)
                if (!first_bad && (b->path[k] == items[2] || b->path[k] == items[3])) first_bad = b->path[k];
            CHECK((st != ST_OK) == (first_bad != NULL),
                  "batch %d: the error comes with the batch that drew the bad image", i);
            if (first_bad)
                CHECK(strstr(ctx.error, first_bad), "of several the first is named: %s", ctx.error);
            if (st != ST_OK && failed[run] < 0) {
                failed[run] = i;
                strcpy(text[run], ctx.error);
            }
        }
        loader_close(l);
    }
    CHECK(failed[0] >= 0 && failed[0] == failed[1], "the same batch fails with one thread and with three");
    CHECK(failed[0] >= 0 && !strcmp(text[0], text[1]) && strstr(text[0], ".png"), "%s", text[0]);

    struct ctx ctx = { 0 };
    struct sample s;
    struct pixels px = noise_picture(20, 20, 3);
    write_picture("lonely.png", &px);
    CHECK(sample_load(&ctx, path_of(path, "lonely.png"), 3, 3, 0, 0, &s) == ST_OK && s.truth.n == 0,
          "a missing label file counts as empty");
    sample_free(&s);
    write_text("lonely.txt", "3 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2\nx\n");
    CHECK(sample_load(&ctx, path, 3, 3, 0, 0, &s) == ST_OK && s.truth.n == 1 && s.truth.item[0].class_id == 1,
          "bad lines are left out");
    CHECK(s.truth.item[0].track % 4000 == 0, "tracks count the boxes of a file: %d", s.truth.item[0].track);
    sample_free(&s);
    pixels_free(&px);
}

static int warnings;
static char warning[1024];
static void count_warning(void *user, enum log_level level, const char *line) {
    (void)user;
    if (level != LOG_WARN) return;
    ++warnings;
    snprintf(warning, sizeof warning, "%s", line);
}

/* Without strict the pictures that cannot be read are passed over, the same way in every run. */
static void test_unreadable(void) {
    char bad[256];
    char *items[] = { set_item[1], path_of(bad, "bad.png"), set_item[2] };
    struct text_list list = { 3, 3, items };
    struct loader_options o = loader_defaults();
    uint64_t one[BATCHES], other[BATCHES];
    o.images = &list;
    batch_hashes(&o, one);
    o.threads = 3;
    o.cache_bytes = 1;
    batch_hashes(&o, other);
    CHECK(!memcmp(one, other, sizeof one), "the same batches with three threads");

    struct ctx ctx = { .log = count_warning };
    struct loader *l;
    const struct batch *b;
    warnings = 0;
    CHECK(loader_open(&ctx, &o, &l) == ST_OK, "%s", ctx.error);
    for (int i = 0; i < 20; ++i) {
        CHECK(loader_next(&ctx, l, &b, NULL) == ST_OK, "%s", ctx.error);
        for (int k = 0; k < b->n; ++k) CHECK(b->path[k] != items[1], "the bad image is not used");
    }
    loader_close(l);
    CHECK(warnings == 1 && strstr(warning, "bad.png"), "told once: %d, %s", warnings, warning);
    items[0] = items[2] = items[1];
    CHECK(loader_open(&ctx, &o, &l) == ST_OK, "%s", ctx.error);
    CHECK(loader_next(&ctx, l, &b, NULL) == ST_FORMAT && strstr(ctx.error, "bad.png"), "%s", ctx.error);
    loader_close(l);
}

static void test_check(void) {
    struct ctx ctx = { .log = count_warning };
    struct dataset_report r;
    char path[256];
    CHECK(dataset_survey(&ctx, &set, 3, &r) == ST_OK, "%s", ctx.error);
    CHECK(r.boxes == 15 && r.background == 1 && !r.text, "%lld boxes, %d background", r.boxes, r.background);
    CHECK(r.per_class[0] == 7 && r.per_class[1] == 5 && r.per_class[2] == 3, "%lld %lld %lld", r.per_class[0],
          r.per_class[1], r.per_class[2]);
    CHECK(dataset_usable(&ctx, &r, DATASET_STRICT) == ST_OK, "%s", ctx.error);
    dataset_report_free(&r);

    CHECK(dataset_survey(&ctx, &set, 2, &r) == ST_OK, "%s", ctx.error);
    CHECK(r.boxes == 12 && r.bad_lines == 3 && r.bad_files == 3, "%lld boxes, %lld bad lines", r.boxes, r.bad_lines);
    CHECK(dataset_usable(&ctx, &r, DATASET_TRAIN) == ST_OK && dataset_usable(&ctx, &r, DATASET_SCORE) == ST_OK, "the rest will do");
    CHECK(dataset_usable(&ctx, &r, DATASET_STRICT) == ST_FORMAT && strstr(ctx.error, "set3.txt:3: class 2"), "%s", ctx.error);
    warnings = 0;
    CHECK(dataset_tell(&ctx, &r, path_of(path, "bad_labels.txt")) == ST_OK, "%s", ctx.error);
    CHECK(warnings == 4 && strstr(warning, "3 label files hold 3 bad lines"), "%d warnings: %s", warnings, warning);
    dataset_report_free(&r);
    char *text;
    size_t size;
    ctx_clear(&ctx);
    CHECK(io_read(&ctx, path, &text, &size) == ST_OK, "%s", ctx.error);
    CHECK(strstr(text, "set3.txt:3: ") && strstr(text, "set5.txt:3: "), "all problems stand in the file: %s", text);
    free(text);

    struct pixels px = noise_picture(8, 8, 1);
    write_picture("nolabel.png", &px);
    pixels_free(&px);
    write_text("empty.png", "");
    write_text("empty.txt", "0 .5 .5 .1 .1\n9 .5 .5 .1 .1\n8 .5 .5 .1 .1\n");
    const struct { const char *image, *says; int unreadable, no_labels; } bad[] = {
        { "empty.png", "empty.png: ", 1, 0 },
        { "nowhere.png", "nowhere.png: ", 1, 1 },
        { "nolabel.png", "nolabel.txt: ", 0, 1 } };
    for (int i = 0; i < 3; ++i) {
        char *items[] = { set_item[2], path_of(path, bad[i].image) };
        struct text_list list = { 2, 2, items };
        ctx_clear(&ctx);
        CHECK(dataset_survey(&ctx, &list, 3, &r) == ST_OK, "%s", ctx.error);
        CHECK(r.unreadable == bad[i].unreadable && r.no_labels == bad[i].no_labels, "%s: %d %d", bad[i].image, r.unreadable,
              r.no_labels);
        CHECK(dataset_usable(&ctx, &r, DATASET_TRAIN) == ST_OK, "%s", ctx.error);
        CHECK((dataset_usable(&ctx, &r, DATASET_SCORE) == ST_OK) == !bad[i].unreadable, "scores need every image");
        ctx_clear(&ctx);
        CHECK(dataset_usable(&ctx, &r, DATASET_STRICT) == ST_FORMAT && strstr(ctx.error, bad[i].says), "%s", ctx.error);
        dataset_report_free(&r);
        list = (struct text_list){ 1, 1, items + 1 };
        ctx_clear(&ctx);
        CHECK(dataset_check(&ctx, &list, 3, DATASET_TRAIN, NULL) == ST_FORMAT && strstr(ctx.error, "none of the 1 images"),
              "%s", ctx.error);
    }
}

/* --- Geometry ------------------------------------------------------------------------------------------- */

static struct augment_options plain(void) {
    return (struct augment_options){
        .resize = 1, .saturation = 1, .exposure = 1, .classes = 3, .max_boxes = 90 };
}

static void test_identity(void) {
    struct ctx ctx = { 0 };
    struct sample s;
    struct truth_list truth = { 0, 0, NULL };
    struct augment_options o = plain();
    CHECK(sample_load(&ctx, set_item[3], 3, 3, 0, 0, &s) == ST_OK, "%s", ctx.error);
    int w = s.px.w, h = s.px.h, flips = 0;
    float *x = calloc((size_t)(w * h * 3), sizeof *x);
    o.flip = 1;
    for (uint64_t b = 0; b < 40; ++b) {
        CHECK(sample_augment(&ctx, &s, &o, 1, b, 0, w, h, x, &truth) == ST_OK, "%s", ctx.error);
        double plain_error = 0, flip_error = 0;
        for (int k = 0; k < 3; ++k)
            for (int y = 0; y < h; ++y)
                for (int i = 0; i < w; ++i) {
                    double v = x[(k * h + y) * w + i] * 255;
                    plain_error = fmax(plain_error, fabs(v - s.px.data[(y * w + i) * 3 + k]));
                    flip_error = fmax(flip_error, fabs(v - s.px.data[(y * w + w - 1 - i) * 3 + k]));
                }
        CHECK(fmin(plain_error, flip_error) < 1e-3,
              "without jitter the picture stays, or is mirrored (%g, %g)", plain_error, flip_error);
        bool flipped = flip_error < plain_error;
        flips += flipped;
        CHECK(truth.n == 3, "all boxes are there");
        for (int k = 0; k < truth.n; ++k) { /* class k stands at .2 + .1k, .8 - .1k */
            double at = 0.2 + 0.1 * truth.item[k].class_id;
            CHECK_NEAR(truth.item[k].box.x, flipped ? 1 - at : at, 1e-5, "box follows");
            CHECK_NEAR(truth.item[k].box.y, 1 - at, 1e-5, "box follows");
            CHECK_NEAR(truth.item[k].box.w, 0.3, 1e-5, "box keeps its size");
        }
    }
    CHECK(flips > 10 && flips < 30, "%d of 40 mirrored", flips);
    o.flip = 0;
    for (uint64_t b = 0; b < 20; ++b) {
        sample_augment(&ctx, &s, &o, 1, b, 0, w, h, x, &truth);
        CHECK(fabs(x[0] * 255 - s.px.data[0]) < 1e-3, "flip=0 never mirrors");
    }
    free(x);
    free(truth.item);
    sample_free(&s);
}

/* Extent of the magenta pixels, edges in pixels; false when there are none. */
static bool coloured(const float *x, int w, int h, double edge[4]) {
    int low_x = w, high_x = -1, low_y = h, high_y = -1;
    for (int y = 0; y < h; ++y)
        for (int i = 0; i < w; ++i) {
            if (x[y * w + i] - x[(h + y) * w + i] < 0.5) continue;
            low_x = i < low_x ? i : low_x, high_x = i > high_x ? i : high_x;
            low_y = y < low_y ? y : low_y, high_y = y > high_y ? y : high_y;
        }
    edge[0] = low_x, edge[1] = high_x + 1, edge[2] = low_y, edge[3] = high_y + 1;
    return high_x >= 0;
}

static void magenta_sample(struct sample *s, int w, int h, int x0, int y0, int bw, int bh) {
    struct ctx ctx = { 0 };
    char path[256], text[128];
    struct pixels px = noise_picture(w, h, 5);
    for (int i = 0; i < w * h * 3; ++i) px.data[i] = 60;
    for (int y = y0; y < y0 + bh; ++y)
        for (int x = x0; x < x0 + bw; ++x) {
            uint8_t *p = px.data + (y * w + x) * 3;
            p[0] = p[2] = 255, p[1] = 0;
        }
    write_picture("magenta.png", &px);
    pixels_free(&px);
    snprintf(text, sizeof text, "1 %.8f %.8f %.8f %.8f\n", (x0 + bw / 2.0) / w, (y0 + bh / 2.0) / h,
             (double)bw / w, (double)bh / h);
    write_text("magenta.txt", text);
    CHECK(sample_load(&ctx, path_of(path, "magenta.png"), 3, 3, 0, 0, s) == ST_OK, "%s", ctx.error);
}

static void test_boxes_follow(void) {
    struct ctx ctx = { 0 };
    struct sample s;
    struct truth_list truth = { 0, 0, NULL };
    magenta_sample(&s, 210, 150, 130, 40, 50, 36);
    for (int mode = 0; mode < 4; ++mode) {
        struct augment_options o = plain();
        const double resize[] = { 1, 1.8, 0.6, 1 };
        o.jitter = mode == 3 ? 0.1 : 0.4, o.flip = 1, o.resize = resize[mode], o.letter_box = mode == 3;
        int w = 96 + 32 * mode, h = 128, seen = 0, gone = 0, mirrored = 0, cut = 0;
        float *x = calloc((size_t)(w * h * 3), sizeof *x);
        double worst = 0;
        for (uint64_t b = 0; b < 200; ++b) {
            CHECK(sample_augment(&ctx, &s, &o, 3, b, (int)b % 5, w, h, x, &truth) == ST_OK, "%s", ctx.error);
            double edge[4];
            bool found = coloured(x, w, h, edge);
            if (truth.n == 0) {
                ++gone;
                CHECK(!found || edge[1] - edge[0] < 2.5 || edge[3] - edge[2] < 2.5,
                      "a box was lost that can be seen");
                continue;
            }
            const struct box *b0 = &truth.item[0].box;
            struct { double x, y, w, h; } q = { b0->x, b0->y, b0->w, b0->h };
            if (!found) {
                CHECK(q.w * w < 2 || q.h * h < 2, "a box without its object");
                continue;
            }
            ++seen;
            double box[4] = { (q.x - q.w / 2) * w, (q.x + q.w / 2) * w, (q.y - q.h / 2) * h,
                              (q.y + q.h / 2) * h };
            for (int k = 0; k < 4; ++k) worst = fmax(worst, fabs(box[k] - edge[k]));
            mirrored += q.x < 0.5;
            cut += edge[0] == 0 || edge[1] == w || edge[2] == 0 || edge[3] == h;
        }
        CHECK(worst <= 1.5, "mode %d: boxes and pixels part by %.2f px", mode, worst);
        CHECK(seen > 120 && mirrored > 40 && mirrored < 170, "mode %d: %d seen, %d gone, %d mirrored", mode,
              seen, gone, mirrored);
        if (mode == 0) CHECK(cut > 5, "%d cut at the border: jitter is strong", cut);
        free(x);
    }
    free(truth.item);
    sample_free(&s);
}

/* resize below 1 only zooms out, above 1 does both. */
static void test_zoom(void) {
    struct ctx ctx = { 0 };
    struct sample s;
    struct truth_list truth = { 0, 0, NULL };
    static float x[3 * 64 * 64];
    magenta_sample(&s, 120, 100, 50, 40, 24, 20);
    for (int above = 0; above < 2; ++above) {
        struct augment_options o = plain();
        double low = 9, high = 0;
        o.resize = above ? 1.5 : 0.6;
        for (uint64_t b = 0; b < 100; ++b) {
            CHECK(sample_augment(&ctx, &s, &o, 3, b, 0, 64, 64, x, &truth) == ST_OK, "%s", ctx.error);
            if (truth.n != 1) continue;
            low = fmin(low, truth.item[0].box.w), high = fmax(high, truth.item[0].box.w);
        }
        CHECK(low < 0.16 && low > 0.2 * (above ? 0.66 : 0.59), "resize %g shrinks to %g", o.resize, low);
        CHECK(above ? high > 0.24 && high < 0.31 : high < 0.2 + 1e-6, "resize %g enlarges to %g", o.resize,
              high);
    }
    free(truth.item);
    sample_free(&s);
}

static void test_outside(void) {
    struct ctx ctx = { 0 };
    struct sample s;
    struct truth_list truth = { 0, 0, NULL };
    struct augment_options o = plain();
    float x[3 * 64 * 64];
    magenta_sample(&s, 120, 60, 30, 15, 60, 30);
    o.letter_box = 1;
    CHECK(sample_augment(&ctx, &s, &o, 3, 0, 0, 64, 64, x, &truth) == ST_OK, "%s", ctx.error);
    double red = 60 + 0.25 * (255 - 60), green = 60 - 0.25 * 60; /* a quarter of the picture is magenta */
    CHECK_NEAR(x[0] * 255, red, 1e-3, "above the picture stands its mean colour");
    CHECK_NEAR(x[64 * 64 + 63 * 64 + 5] * 255, green, 1e-3, "below, too");
    CHECK_NEAR(x[16 * 64 + 1] * 255, 60, 0.2, "the picture begins where the letterbox says");
    CHECK(truth.n == 1, "one box");
    CHECK_NEAR(truth.item[0].box.h, 0.25, 1e-5, "a wide picture's box gets flatter");
    CHECK_NEAR(truth.item[0].box.w, 0.5, 1e-5, "and keeps its width");
    free(truth.item);
    sample_free(&s);
}

/* --- Labels and colour ---------------------------------------------------------------------------------- */

static void test_filters(void) {
    struct ctx ctx = { 0 };
    struct sample s;
    char path[256];
    struct truth_list truth = { 0, 0, NULL };
    struct augment_options o = plain();
    static float x[3 * 40 * 40];
    struct pixels px = noise_picture(64, 64, 9);
    write_picture("small.png", &px);
    pixels_free(&px);
    write_text("small.txt",
               "0 0.5 0.5 0.03 0.5\n1 0.5 0.5 0.5 0.03\n2 0.25 0.25 0.04 0.04\n0 0.9 0.9 0.4 0.4\n");
    CHECK(sample_load(&ctx, path_of(path, "small.png"), 3, 3, 0, 0, &s) == ST_OK, "%s", ctx.error);
    CHECK(sample_augment(&ctx, &s, &o, 0, 0, 0, 32, 32, x, &truth) == ST_OK, "%s", ctx.error);
    CHECK(truth.n == 2, "narrower than one of 32 pixels is dropped: %d stay", truth.n);
    for (int i = 0; i < truth.n; ++i) {
        if (truth.item[i].class_id != 0) continue;
        CHECK_NEAR(truth.item[i].box.w, 0.3, 1e-5, "clipped at the border");
        CHECK_NEAR(truth.item[i].box.x, 0.85, 1e-5, "with its centre moved");
    }
    CHECK(sample_augment(&ctx, &s, &o, 0, 0, 0, 40, 40, x, &truth) == ST_OK && truth.n == 4,
          "1/40 < 0.03: %d stay", truth.n);
    o.max_boxes = 1;
    int first[3] = { 0 };
    for (uint64_t b = 0; b < 60; ++b) {
        CHECK(sample_augment(&ctx, &s, &o, 0, b, 0, 20, 20, x, &truth) == ST_OK && truth.n <= 1,
              "at most one");
        if (truth.n) ++first[truth.item[0].class_id];
    }
    CHECK(first[0] > 0 && first[0] < 60 && first[1] == 0 && first[2] == 0,
          "the limit counts before the filter, in random order: %d", first[0]);
    free(truth.item);
    sample_free(&s);
}

static void test_colour(void) {
    struct ctx ctx = { 0 };
    struct sample s;
    struct truth_list truth = { 0, 0, NULL };
    struct augment_options o = plain();
    static float x[3 * 32 * 32], y[3 * 32 * 32];
    magenta_sample(&s, 64, 64, 20, 20, 8, 8);
    o.exposure = 1.5;
    CHECK(sample_augment(&ctx, &s, &o, 0, 0, 0, 32, 32, y, &truth) == ST_OK, "%s", ctx.error);
    double low = 9, high = 0;
    for (uint64_t b = 0; b < 60; ++b) {
        sample_augment(&ctx, &s, &o, 0, b, 0, 32, 32, x, &truth);
        double ratio = x[0] * 255 / 60;
        low = fmin(low, ratio), high = fmax(high, ratio);
    }
    CHECK(low > 1 / 1.5 - 1e-4 && low < 0.75 && high < 1.5 + 1e-4 && high > 1.35, "exposure factors %g..%g",
          low, high);
    o.exposure = 1;
    o.hue = 0.1;
    bool turned = false;
    for (uint64_t b = 0; b < 10; ++b) {
        sample_augment(&ctx, &s, &o, 0, b, 0, 32, 32, x, &truth);
        CHECK_NEAR(x[0] * 255, 60, 1e-3, "grey has no hue");
        turned |= fabs(x[12 * 32 + 12] - 1) > 0.05 || fabs(x[2 * 32 * 32 + 12 * 32 + 12] - 1) > 0.05;
    }
    CHECK(turned, "hue turns magenta");
    free(truth.item);
    sample_free(&s);
}

int main(void) {
    snprintf(dir, sizeof dir, "/tmp/test_loader.XXXXXX");
    if (!mkdtemp(dir)) return 1;
    make_set();
    test_determinism();
    test_views_differ();
    test_draws_all();
    test_errors();
    test_unreadable();
    test_check();
    test_identity();
    test_boxes_follow();
    test_zoom();
    test_outside();
    test_filters();
    test_colour();
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0) printf("skip: %s was not removed\n", dir);
    return test_end("loader");
}
