/* What batches are made of: mosaic, mixup, blur, noise, pairs, sequences, classifier images, reduced decoding.  Pictures
 * with painted rectangles show whether boxes stay where the objects went. */
#include "test.h"

#include <unistd.h>

#include "base/io.h"
#include "data/loader.h"

static char dir[64];
static struct ctx ctx;

static char *path_of(char to[256], const char *name) {
    snprintf(to, 256, "%s/%.100s", dir, name);
    return to;
}

static struct pixels flat(int w, int h, int grey) {
    struct pixels px = { 0 };
    CHECK(pixels_new(&ctx, w, h, 3, &px) == ST_OK, "%s", ctx.error);
    memset(px.data, grey, (size_t)(w * h * 3));
    return px;
}

static void save(const char *name, struct pixels *px, const char *labels) {
    char path[256], text[64];
    CHECK(pixels_write(&ctx, path_of(path, name), px, 95) == ST_OK, "%s", ctx.error);
    snprintf(text, sizeof text, "%.*s.txt", (int)strcspn(name, "."), name);
    CHECK(io_write(&ctx, path_of(path, text), labels, strlen(labels)) == ST_OK, "%s", ctx.error);
    pixels_free(px);
}

static void paint(struct pixels *px, int x0, int y0, int w, int h, int r, int g, int b) {
    for (int y = y0; y < y0 + h; ++y)
        for (int x = x0; x < x0 + w; ++x) {
            uint8_t *p = px->data + (y * px->w + x) * 3;
            p[0] = (uint8_t)r, p[1] = (uint8_t)g, p[2] = (uint8_t)b;
        }
}

static void label(char *text, size_t size, int k, double x, double y, double w, double h, double pw, double ph) {
    size_t at = strlen(text);
    snprintf(text + at, size - at, "%d %.8f %.8f %.8f %.8f\n", k, (x + w / 2) / pw, (y + h / 2) / ph, w / pw, h / ph);
}

/* Three wide and high pictures, two rectangles of one colour in each: class 0 red, 1 green, 2 blue. */
enum { PICTURES = 3 };
static char picture_path[PICTURES][256];
static char *picture_item[PICTURES];
static struct text_list pictures = { PICTURES, PICTURES, picture_item };

static void make_pictures(void) {
    static const int size[PICTURES][2] = { { 300, 170 }, { 160, 240 }, { 200, 200 } };
    for (int k = 0; k < PICTURES; ++k) {
        int w = size[k][0], h = size[k][1];
        struct pixels px = flat(w, h, 90);
        char name[32], text[256] = "";
        for (int i = 0; i < 2; ++i) {
            int bw = w / 4 + 7 * i, bh = h / 4 - 5 * i, x = w / 8 + i * w / 2, y = h / 2 - i * h / 3;
            paint(&px, x, y, bw, bh, k == 0 ? 255 : 0, k == 1 ? 255 : 0, k == 2 ? 255 : 0);
            label(text, sizeof text, k, x, y, bw, bh, w, h);
        }
        snprintf(name, sizeof name, "paint%d.png", k);
        save(name, &px, text);
        picture_item[k] = path_of(picture_path[k], name);
    }
}

static struct augment_options plain(void) {
    return (struct augment_options){ .resize = 1, .saturation = 1, .exposure = 1, .aspect = 1, .classes = 3, .max_boxes = 90 };
}

static enum status from_file(struct ctx *c, void *user, int i, int w, int h, struct sample *own, const struct sample **out) {
    const struct text_list *list = user;
    *out = own;
    return sample_load(c, list->item[i], 3, 3, w, h, own);
}

static struct picture_source files(struct text_list *list) {
    return (struct picture_source){ .images = list, .get = from_file, .user = list, .strict = true };
}

/* --- Mosaic --------------------------------------------------------------------------------------------- */

static int colour_at(const float *x, int plane, int i) {
    for (int k = 0; k < 3; ++k) {
        float v = x[k * plane + i], a = x[(k + 1) % 3 * plane + i], b = x[(k + 2) % 3 * plane + i];
        if (v > 0.67f && a < 0.22f && b < 0.22f) return k;
    }
    return -1;
}

static bool inside(const struct truth *t, int w, int h, double x, double y, double slack) {
    double bx = t->box.x, by = t->box.y, bw = t->box.w, bh = t->box.h;
    return fabs(x - bx * w) <= bw * w / 2 + slack && fabs(y - by * h) <= bh * h / 2 + slack;
}

/* Shares of coloured pixels that no box of their class covers, and of box pixels without their colour. */
static void compare(const float *x, int w, int h, const struct truth_list *truth, int *uncovered, int *wrong, int *area) {
    for (int y = 0; y < h; ++y)
        for (int i = 0; i < w; ++i) {
            int k = colour_at(x, w * h, y * w + i);
            bool covered = k < 0;
            for (int t = 0; t < truth->n; ++t) {
                const struct truth *b = &truth->item[t];
                covered |= b->class_id == k && inside(b, w, h, i + 0.5, y + 0.5, 1.5);
                if (!inside(b, w, h, i + 0.5, y + 0.5, -2)) continue;
                ++*area;
                *wrong += k != b->class_id;
            }
            *uncovered += !covered;
        }
}

static void test_mosaic(void) {
    enum { W = 128, H = 96, RUNS = 150 };
    static float x[3 * W * H];
    struct picture_source src = files(&pictures);
    for (int mode = 0; mode < 4; ++mode) {
        struct augment_options o = plain();
        struct truth_list truth = { 0 };
        int uncovered = 0, wrong = 0, area = 0, tiled = 0, boxes = 0;
        o.mix = mode == 3 ? MIX_CUT_OR_MOSAIC : MIX_MOSAIC;
        o.flip = 1, o.jitter = 0.2, o.resize = mode == 0 ? 1 : 1.4, o.letter_box = mode == 1;
        o.mosaic_bound = mode != 2;
        for (uint64_t b = 0; b < RUNS; ++b) {
            struct image_out out = { .w = W, .h = H, .c = 3, .x = x };
            struct image_key key = image_key(11, b, b % 4);
            CHECK(compose_boxes(&ctx, &src, &o, &key, (struct frame){ 0, 0 }, &out, &truth) == ST_OK, "%s", ctx.error);
            bool mixed = draw_mixed(&key);
            compare(x, W, H, &truth, &uncovered, &wrong, &area);
            tiled += mixed;
            boxes += truth.n;
            for (int t = 0; t < truth.n; ++t) {
                struct box q = truth.item[t].box;
                CHECK(q.x - q.w / 2 > -1e-5 && q.x + q.w / 2 < 1 + 1e-5 && q.y - q.h / 2 > -1e-5 && q.y + q.h / 2 < 1 + 1e-5,
                      "boxes stay in the image");
                if (!mixed || !o.mosaic_bound) continue;
                struct rng r = image_stream(&key, DRAW_LAYOUT, 0);
                int cx, cy;
                draw_cut(&r, W, H, &cx, &cy);
                CHECK(cx >= W / 5 && cx <= W * 4 / 5 && cy >= H / 5 && cy <= H * 4 / 5, "%d %d", cx, cy);
                double bx = q.x, by = q.y, bw = q.w / 2, bh = q.h / 2;
                double left = (bx - bw) * W - cx, right = (bx + bw) * W - cx;
                double top = (by - bh) * H - cy, bottom = (by + bh) * H - cy;
                CHECK((left > -1e-3 || right < 1e-3) && (top > -1e-3 || bottom < 1e-3), "the box lies in one tile");
            }
        }
        CHECK(tiled > RUNS / 3 && tiled < RUNS * 2 / 3, "mode %d: half of the images are tiled: %d", mode, tiled);
        CHECK(boxes > RUNS, "mode %d: %d boxes", mode, boxes);
        CHECK(uncovered < area / 200, "mode %d: %d of %d coloured pixels have no box", mode, uncovered, area);
        if (o.mosaic_bound) CHECK(wrong < area / 100, "mode %d: %d of %d box pixels are not the object", mode, wrong, area);
        free(truth.item);
    }
}

/* Half of the views for a corner have no margin beside it, mirrored or not. */
static void test_corners(void) {
    struct sample s = { .w = 100, .h = 80, .divisor = 1 };
    struct augment_options o = plain();
    o.jitter = 0.2, o.resize = 1.5, o.flip = 1;
    for (int corner = -1; corner < 4; ++corner) {
        int pushed = 0, flipped = 0;
        for (uint64_t b = 0; b < 200; ++b) {
            struct image_key key = image_key(1, b, 0);
            struct view v = view_random(&key, 0, &o, &s, 64, 64, corner), still = view_random(&key, 0, &o, &s, 64, 64, -1);
            int right = s.w - v.left - v.w, bottom = s.h - v.top - v.h;
            int side = (corner % 2 == 0) == v.flip ? right : v.left, end = corner < 2 ? v.top : bottom;
            bool there = side == 0 && end == 0;
            CHECK(v.w == still.w && v.h == still.h && v.flip == still.flip, "the view is moved, not changed");
            CHECK(there || v.left == still.left, "or it stays");
            pushed += there;
            flipped += there && v.flip;
        }
        CHECK(corner < 0 ? pushed < 10 : pushed > 70 && pushed < 130 && flipped > 25 && flipped < pushed - 25,
              "corner %d: %d of 200, %d mirrored", corner, pushed, flipped);
    }
}

/* A tile shows the picture's corner and not the margin outside it: a shrunk picture is pushed there, or its margin skipped. */
static void test_mosaic_margin(void) {
    enum { W = 96, H = 96 };
    static float x[3 * W * H];
    struct pixels px = flat(80, 80, 0);
    for (int i = 0; i < 80 * 80 * 3; ++i) px.data[i] = i / 3 % 80 < 40 ? 0 : 255; /* its mean, 0.5, occurs nowhere in it */
    save("halves.png", &px, "");
    char path[256];
    char *item[] = { path_of(path, "halves.png") };
    struct text_list list = { 1, 1, item };
    struct picture_source src = files(&list);
    struct augment_options o = plain();
    struct truth_list truth = { 0 };
    int margin[2] = { 0, 0 }, images[2] = { 0, 0 };
    o.mix = MIX_MOSAIC, o.resize = 0.6;
    for (uint64_t b = 0; b < 120; ++b) {
        struct image_out out = { .w = W, .h = H, .c = 3, .x = x };
        struct image_key key = image_key(5, b, 0);
        CHECK(compose_boxes(&ctx, &src, &o, &key, (struct frame){ 0, 0 }, &out, &truth) == ST_OK, "%s", ctx.error);
        bool mixed = draw_mixed(&key);
        ++images[mixed];
        for (int i = 0; i < W * H; ++i) margin[mixed] += fabs(x[i] - 0.5) < 0.01;
    }
    double single = (double)margin[0] / images[0], tiled = (double)margin[1] / images[1];
    CHECK(tiled < single / 3, "%.0f pixels of margin in a tiled image, %.0f in a single one", tiled, single);
    free(truth.item);
}

/* --- Mixup ---------------------------------------------------------------------------------------------- */

static void test_mixup(void) {
    enum { W = 32, H = 32, RUNS = 200 };
    static float x[3 * W * H];
    char path[2][256];
    struct pixels dark = flat(40, 40, 40), light = flat(40, 40, 200);
    save("dark.png", &dark, "0 .3 .3 .2 .2\n0 .7 .7 .2 .2\n");
    save("light.png", &light, "1 .5 .5 .4 .4\n");
    char *item[] = { path_of(path[0], "dark.png"), path_of(path[1], "light.png") };
    struct text_list list = { 2, 2, item };
    struct picture_source src = files(&list);
    struct augment_options o = plain();
    struct truth_list truth = { 0 };
    int seen[3] = { 0 };
    o.mix = MIX_UP;
    for (uint64_t b = 0; b < RUNS; ++b) {
        struct image_out out = { .w = W, .h = H, .c = 3, .x = x };
        struct image_key key = image_key(3, b, 1);
        CHECK(compose_boxes(&ctx, &src, &o, &key, (struct frame){ 0, 0 }, &out, &truth) == ST_OK, "%s", ctx.error);
        double v = x[0] * 255;
        int kind = fabs(v - 120) < 0.01 ? 2 : fabs(v - 200) < 0.01;
        ++seen[kind];
        CHECK(kind == 2 || fabs(v - (kind ? 200 : 40)) < 0.01, "a picture, or the mean of two: %g", v);
        for (int i = 0; i < 3 * W * H; ++i)
            if (fabs(x[i] * 255 - v) > 0.01) v = -1;
        CHECK(v >= 0, "the same everywhere");
        int twice = draw_mixed(&key) ? 2 : 1;
        CHECK(truth.n == (kind == 2 ? 3 : kind == 1 ? twice : 2 * twice), "%d boxes of kind %d", truth.n, kind);
        CHECK((out.path == item[0]) == (truth.item[0].class_id == 0), "the first picture's boxes come first");
    }
    CHECK(abs(seen[2] - RUNS / 4) < RUNS / 10, "half are mixed, half of those of two kinds: %d of %d", seen[2], RUNS);
    o.max_boxes = 2;
    for (uint64_t b = 0; b < 20; ++b) {
        struct image_out out = { .w = W, .h = H, .c = 3, .x = x };
        struct image_key key = image_key(3, b, 1);
        CHECK(compose_boxes(&ctx, &src, &o, &key, (struct frame){ 0, 0 }, &out, &truth) == ST_OK && truth.n <= 2,
              "no more boxes than the head takes");
    }
    free(truth.item);
}

/* --- Blur and noise ------------------------------------------------------------------------------------- */

static void test_blur_kernel(void) {
    struct image im;
    CHECK(image_new(&ctx, 31, 21, 1, &im) == ST_OK, "%s", ctx.error);
    im.data[10 * 31 + 15] = 1;
    CHECK(image_blur(&ctx, &im, 7) == ST_OK, "%s", ctx.error);
    double sum = 0, sigma = 0.3 * (3 - 1) + 0.8;
    for (int i = 0; i < 31 * 21; ++i) sum += im.data[i];
    CHECK_NEAR(sum, 1, 1e-5, "light is kept");
    CHECK_NEAR(im.data[10 * 31 + 16] / im.data[10 * 31 + 15], exp(-1 / (2 * sigma * sigma)), 1e-5, "a Gaussian across");
    CHECK_NEAR(im.data[12 * 31 + 15] / im.data[10 * 31 + 15], exp(-4 / (2 * sigma * sigma)), 1e-5, "and down");
    CHECK(im.data[10 * 31 + 19] == 0 && im.data[14 * 31 + 15] == 0, "seven taps wide");
    for (int i = 0; i < 31 * 21; ++i) im.data[i] = 0.25f;
    CHECK(image_blur(&ctx, &im, 17) == ST_OK, "%s", ctx.error);
    for (int i = 0; i < 31 * 21; ++i) CHECK(fabs(im.data[i] - 0.25) < 1e-6, "the border is mirrored");
    image_free(&im);
}

/* Mean squared difference of neighbours in a square: what blur takes away. */
static double roughness(const float *x, int w, int x0, int y0, int n) {
    double sum = 0;
    for (int y = y0; y < y0 + n; ++y)
        for (int i = x0; i < x0 + n; ++i) sum += pow(x[y * w + i] - x[y * w + i + 1], 2);
    return sum / (n * n);
}

static void test_blur(void) {
    enum { W = 96 };
    static float x[3 * W * W], sharp[3 * W * W];
    struct pixels px = flat(W, W, 0);
    for (int i = 0; i < W * W * 3; ++i) px.data[i] = (i / 3 % W / 4 + i / 3 / W / 4) % 2 ? 220 : 40;
    save("checks.png", &px, "0 .25 .25 .25 .25\n");
    char path[256];
    struct sample s;
    struct truth_list truth = { 0 };
    CHECK(sample_load(&ctx, path_of(path, "checks.png"), 3, 3, 0, 0, &s) == ST_OK, "%s", ctx.error);
    struct augment_options o = plain();
    CHECK(sample_augment(&ctx, &s, &o, 0, 0, 0, W, W, sharp, &truth) == ST_OK, "%s", ctx.error);
    double full = roughness(sharp, W, 40, 40, 40), object = roughness(sharp, W, 16, 16, 15);
    for (int mode = 0; mode < 3; ++mode) { /* background only; a small kernel; one that the box of 24 pixels limits to 3 */
        int none = 0, background = 0, whole = 0;
        o.blur = mode == 0 ? 1 : mode == 1 ? 3 : 31;
        for (uint64_t b = 0; b < 150; ++b) {
            CHECK(sample_augment(&ctx, &s, &o, 0, b, 0, W, W, x, &truth) == ST_OK, "%s", ctx.error);
            double in = roughness(x, W, 16, 16, 15) * full / object, out = roughness(x, W, 40, 40, 40);
            none += in > 0.9 * full && out > 0.99 * full;
            background += in > 0.9 * full && out < 0.15 * full;
            whole += in < 0.7 * full && in > 0.15 * full && fabs(in - out) < 0.1 * full; /* what 3 taps leave */
        }
        CHECK(none + background + whole == 150, "blur=%d: %d + %d + %d", o.blur, none, background, whole);
        CHECK(none > 30 && none < 70, "blur=%d: %d of 150 stay", o.blur, none);
        CHECK(mode == 0 ? whole == 0 : whole > 30 && whole < 70, "blur=%d: %d all over", o.blur, whole);
    }
    sample_free(&s);
    free(truth.item);
}

static void test_noise(void) {
    enum { W = 64 };
    static float x[3 * W * W];
    struct pixels px = flat(W, W, 128);
    save("grey.png", &px, "");
    char path[256];
    struct sample s;
    struct truth_list truth = { 0 };
    struct augment_options o = plain();
    int noisy = 0;
    CHECK(sample_load(&ctx, path_of(path, "grey.png"), 3, 3, 0, 0, &s) == ST_OK, "%s", ctx.error);
    o.gaussian_noise = 20;
    for (uint64_t b = 0; b < 60; ++b) {
        CHECK(sample_augment(&ctx, &s, &o, 0, b, 0, W, W, x, &truth) == ST_OK, "%s", ctx.error);
        double sum = 0, squares = 0;
        for (int i = 0; i < 3 * W * W; ++i) sum += x[i] * 255 - 128, squares += pow(x[i] * 255 - 128, 2);
        double deviation = sqrt(squares / (3 * W * W));
        if (deviation < 1e-3) continue;
        ++noisy;
        CHECK(fabs(deviation - 20) < 1 && fabs(sum / (3 * W * W)) < 1, "deviation %g, mean %g", deviation, sum / (3 * W * W));
    }
    CHECK(noisy > 15 && noisy < 45, "%d of 60", noisy);
    sample_free(&s);
    free(truth.item);
}

/* --- Loader: threads, pairs, sequences ------------------------------------------------------------------ */

static uint64_t hash(uint64_t h, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; ++i) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

static void plan_six(void *user, uint64_t i, int *n, int *w, int *h) {
    (void)user;
    *n = 6, *w = i % 2 ? 64 : 40, *h = 48;
}

static uint64_t run_hash(const struct loader_options *o) {
    struct loader *l;
    uint64_t h = 0;
    CHECK(loader_open(&ctx, o, &l) == ST_OK, "%s", ctx.error);
    for (int i = 0; i < 8; ++i) {
        const struct batch *b;
        CHECK(loader_next(&ctx, l, &b, NULL) == ST_OK, "%s", ctx.error);
        h = hash(h, b->x, (size_t)(b->n * b->c * b->w * b->h) * sizeof *b->x);
        for (int k = 0; k < b->n; ++k)
            for (int t = 0; !b->target && t < b->truth[k].n; ++t) h = hash(h, &b->truth[k].item[t].box, sizeof(struct box));
        if (b->target) h = hash(h, b->target, (size_t)(b->n * b->target_size) * sizeof *b->target);
    }
    loader_close(l);
    return h;
}

static void test_threads(void) {
    static char *name[] = { "paint0", "paint1", "paint2" };
    struct text_list names = { 3, 3, name };
    struct class_options classes = { .names = &names };
    struct loader_options o = { .images = &pictures, .channels = 3, .seed = 9, .plan = plan_six, .augment = plain() };
    o.augment.jitter = 0.2, o.augment.blur = 1, o.augment.gaussian_noise = 5, o.augment.hue = 0.1, o.augment.flip = 1;
    o.augment.angle = 10, o.augment.min_crop = 40, o.augment.max_crop = 80;
    for (int mix = MIX_UP; mix <= MIX_CUT_OR_MOSAIC; ++mix)
        for (int kind = 0; kind < 2; ++kind) {
            o.classes = kind ? &classes : NULL;
            o.augment.mix = (enum mix_kind)mix;
            o.threads = 1, o.cache_bytes = 0;
            uint64_t one = run_hash(&o);
            o.threads = 4, o.cache_bytes = 1;
            CHECK(run_hash(&o) == one, "mixture %d, kind %d: four threads and no cache give the same run", mix, kind);
            o.seed = 10;
            CHECK(run_hash(&o) != one, "another seed, another run");
            o.seed = 9;
        }
}

static void test_pairs(void) {
    struct loader_options o = { .images = &pictures, .channels = 3, .seed = 4, .plan = plan_six, .augment = plain() };
    o.augment.contrastive = 1, o.augment.jitter = 0.2, o.augment.exposure = 1.5, o.augment.flip = 1;
    for (int mode = 0; mode < 3; ++mode) {
        struct loader *l;
        int same = 0, same_boxes = 0, total = 0;
        o.augment.contrastive_jit_flip = mode == 1, o.augment.contrastive_color = mode == 2;
        CHECK(loader_open(&ctx, &o, &l) == ST_OK, "%s", ctx.error);
        for (int i = 0; i < 10; ++i) {
            const struct batch *b;
            CHECK(loader_next(&ctx, l, &b, NULL) == ST_OK, "%s", ctx.error);
            size_t size = (size_t)(b->w * b->h * 3);
            for (int k = 0; k < b->n; k += 2, ++total) {
                CHECK(b->path[k] == b->path[k + 1], "both are views of one picture");
                same += !memcmp(b->x + (size_t)k * size, b->x + (size_t)(k + 1) * size, size * sizeof *b->x);
                double sum[2] = { 0, 0 };
                for (int v = 0; v < 2; ++v)
                    for (int t = 0; t < b->truth[k + v].n; ++t) sum[v] += b->truth[k + v].item[t].box.x * 7 + b->truth[k + v].item[t].box.w;
                same_boxes += fabs(sum[0] - sum[1]) < 1e-5;
                CHECK(!b->truth[k].n || !b->truth[k + 1].n || b->truth[k].item[0].track / 4000 == b->truth[k + 1].item[0].track / 4000,
                      "tracks belong to the file");
            }
        }
        loader_close(l);
        CHECK(mode == 0 ? same == total : same == 0, "mode %d: %d of %d pairs are alike", mode, same, total);
        CHECK(mode == 1 ? same_boxes < total / 3 : same_boxes == total, "mode %d: %d of %d have the same boxes", mode, same_boxes,
              total);
    }
}

static uint64_t sequence_of_two(void *user, uint64_t i) {
    (void)user;
    return i - i % 2;
}

static void test_sequences(void) {
    enum { FRAMES = 30 };
    static char path[FRAMES][256];
    char *item[FRAMES];
    for (int i = 0; i < FRAMES; ++i) { /* the red channel of the first row counts the frames */
        char name[32];
        struct pixels px = flat(60, 60, 50);
        for (int k = 0; k < 60 * 60; ++k) px.data[3 * k] = (uint8_t)(100 + 5 * i);
        snprintf(name, sizeof name, "frame%02d.png", i);
        save(name, &px, "0 .4 .5 .3 .3\n");
        item[i] = path_of(path[i], name);
    }
    struct text_list list = { FRAMES, FRAMES, item };
    struct loader_options o = { .images = &list, .channels = 3, .seed = 2, .plan = plan_six, .augment = plain() };
    o.sequence = sequence_of_two, o.steps = 3, o.augment_speed = 4;
    o.augment.jitter = 0.2, o.augment.flip = 1;
    struct loader *l;
    int speeds[5] = { 0 }, last[2] = { 0 }, speed[2] = { 0 };
    float box[2][4];
    CHECK(loader_open(&ctx, &o, &l) == ST_OK, "%s", ctx.error);
    for (int i = 0; i < 60; ++i) {
        const struct batch *b;
        CHECK(loader_next(&ctx, l, &b, NULL) == ST_OK, "%s", ctx.error);
        for (int k = 0; k < 6; ++k) {
            int s = k % 2, step = i % 2 * 3 + k / 2, frame = atoi(strstr(b->path[k], "frame") + 5);
            if (step == 1) speed[s] = (frame - last[s] + FRAMES) % FRAMES;
            if (step == 1) ++speeds[speed[s] > 4 ? 0 : speed[s]];
            if (step > 0) CHECK((last[s] + speed[s]) % FRAMES == frame, "frame %d comes after %d at speed %d", frame, last[s], speed[s]);
            last[s] = frame;
            CHECK(b->truth[k].n == 1, "%d boxes", b->truth[k].n);
            const struct box q = b->truth[k].item[0].box;
            if (step > 0) CHECK(fabs(q.x - box[s][0]) + fabs(q.y - box[s][1]) + fabs(q.w - box[s][2]) < 1e-6,
                                "all frames of a sequence are augmented alike");
            box[s][0] = q.x, box[s][1] = q.y, box[s][2] = q.w;
        }
    }
    loader_close(l);
    CHECK(speeds[0] == 0 && speeds[1] > 5 && speeds[2] > 5 && speeds[3] > 5 && speeds[4] > 5, "speeds %d %d %d %d", speeds[1],
          speeds[2], speeds[3], speeds[4]);

    struct net_options n = { .subdivisions = 8, .sequential_subdivisions = 4 };
    int at[] = { 10 };
    double scale[] = { 0.5 };
    n.steps = (struct cfg_ints){ 1, at }, n.seq_scales = (struct cfg_floats){ 1, scale };
    CHECK(net_sequence_batches(&n, 9) == 2 && net_sequence_batches(&n, 10) == 4, "8 mini-batches as 4, then 2 sequences");
}

/* --- Classifiers ---------------------------------------------------------------------------------------- */

static void test_targets(void) {
    static char *name[] = { "dog", "cat", "bird", "animal", "red" };
    struct text_list names = { 5, 5, name };
    struct class_options o = { .names = &names };
    float t[5];
    CHECK(class_target("/d/cat/1.jpg", &o, 0.1, t) == 1, "one class");
    CHECK_NEAR(t[1], 0.9, 1e-6, "1 - eps");
    CHECK_NEAR(t[0], 0.025, 1e-6, "eps / (K - 1)");
    CHECK(class_target("/d/catbird/1.jpg", &o, 0, t) == 2 && t[1] == 1 && t[2] == 1 && t[0] == 0, "two classes");
    CHECK(class_target("/d/x.jpg", &o, 0, t) == 0 && t[0] == 0, "none");
    /* red and animal at the top; dog, cat and bird are animals */
    static char *tree_name[] = { "animal", "red", "dog", "cat" };
    static const int parent[] = { -1, -1, 0, 0 };
    names = (struct text_list){ 4, 4, tree_name };
    o.parent = parent;
    CHECK(class_target("cat.jpg", &o, 0, t) == 1 && t[0] == 1 && t[1] == 0 && t[2] == 0 && t[3] == 1, "ancestors count");
    CHECK(class_target("red.jpg", &o, 0, t) == 1 && t[0] == 0 && t[1] == 1 && t[2] == CLASS_IGNORED && t[3] == CLASS_IGNORED,
          "the red one is no animal of any kind");
    o.unlabelled = true;
    CHECK(class_target("cat.jpg", &o, 0, t) == 0 && t[3] == 0, "no labels");
    o.unlabelled = false;
    char *some[] = { "cat.jpg", "dogcat.jpg", "x.jpg" };
    struct text_list images = { 3, 3, some };
    struct class_report report;
    CHECK(class_check(&ctx, &images, &o, &report) == ST_OK && report.none == 1 && report.several == 1, "%s", ctx.error);
    images = (struct text_list){ 1, 1, some + 2 };
    CHECK(class_check(&ctx, &images, &o, &report) == ST_FORMAT && strstr(ctx.error, "x.jpg"), "%s", ctx.error);
    ctx_clear(&ctx);
}

static void test_class_view(void) {
    enum { N = 64 };
    static float x[3 * N * N];
    struct pixels px = flat(2 * N, N, 60);
    paint(&px, N / 2 + 8, 16, 24, 20, 255, 0, 0);
    save("one.png", &px, "");
    char path[256];
    struct sample s;
    struct augment_options o = plain();
    CHECK(sample_picture(&ctx, path_of(path, "one.png"), 3, 0, 0, &s) == ST_OK, "%s", ctx.error);
    o.min_crop = o.max_crop = N;
    int shifts = 0;
    for (uint64_t b = 0; b < 40; ++b) {
        struct image_key key = image_key(1, b, 0);
        CHECK(class_view(&ctx, &s, &o, &key, 0, N, N, x) == ST_OK, "%s", ctx.error);
        int red = 0, black = 0, first = N;
        for (int i = 0; i < N * N; ++i) {
            red += x[i] - x[N * N + i] > 0.5;
            black += x[i] < 0.1;
            if (x[i] - x[N * N + i] > 0.5 && i % N < first) first = i % N;
        }
        CHECK(black == 0, "the crop stays inside the picture");
        CHECK(red >= 23 * 20 || first == 0 || first > N - 26, "the rectangle keeps its size: %d", red);
        shifts += first != 40;
    }
    CHECK(shifts > 20, "the crop moves across a wide picture");
    o.angle = 40;
    int turned = 0;
    for (uint64_t b = 0; b < 20; ++b) {
        struct image_key key = image_key(1, b, 0);
        CHECK(class_view(&ctx, &s, &o, &key, 0, N, N, x) == ST_OK, "%s", ctx.error);
        turned += x[0] < 0.1 || x[N - 1] < 0.1 || x[N * N - 1] < 0.1; /* black corners */
    }
    CHECK(turned > 10, "%d of 20 are turned", turned);
    o.angle = 0, o.min_crop = N, o.max_crop = 2 * N;
    double low = 1e9, high = 0;
    struct pixels centre = flat(N, N, 60);
    sample_free(&s);
    paint(&centre, 24, 24, 16, 16, 255, 0, 0);
    save("centre.png", &centre, "");
    CHECK(sample_picture(&ctx, path_of(path, "centre.png"), 3, 0, 0, &s) == ST_OK, "%s", ctx.error);
    for (uint64_t b = 0; b < 60; ++b) {
        struct image_key key = image_key(1, b, 0);
        double red = 0;
        CHECK(class_view(&ctx, &s, &o, &key, 0, N, N, x) == ST_OK, "%s", ctx.error);
        for (int i = 0; i < N * N; ++i) red += x[i] - x[N * N + i] > 0.5;
        low = fmin(low, red), high = fmax(high, red);
    }
    CHECK(low < 1.4 * 256 && low > 0.9 * 256 && high > 2.5 * 256 && high < 4.3 * 256, "crops from %g to %g", low, high);
    /* A square picture at its own size is shown as it is, or mirrored. */
    int mirrored = 0;
    o.max_crop = N, o.flip = 1;
    paint(&s.px, 3, 50, 9, 6, 0, 255, 0);
    for (uint64_t b = 0; b < 30; ++b) {
        struct image_key key = image_key(1, b, 0);
        double off[2] = { 0, 0 };
        CHECK(class_view(&ctx, &s, &o, &key, 0, N, N, x) == ST_OK, "%s", ctx.error);
        for (int i = 0; i < N * N; ++i)
            for (int flip = 0; flip < 2; ++flip)
                off[flip] = fmax(off[flip], fabs(x[N * N + i] * 255 - s.px.data[3 * (flip ? i / N * N + N - 1 - i % N : i) + 1]));
        CHECK(fmin(off[0], off[1]) < 1e-3, "off by %g and %g", off[0], off[1]);
        mirrored += off[1] < off[0];
    }
    CHECK(mirrored > 7 && mirrored < 23, "%d of 30 mirrored", mirrored);
    sample_free(&s);
}

/* What share of the image a picture has is its share of the target. */
static void test_class_mixing(void) {
    enum { W = 40, H = 30 };
    static float x[3 * W * H];
    char path[2][256];
    struct pixels black = flat(60, 60, 0), white = flat(60, 60, 255);
    save("coal.png", &black, "");
    save("snow.png", &white, "");
    char *item[] = { path_of(path[0], "coal.png"), path_of(path[1], "snow.png") };
    static char *name[] = { "coal", "snow", "rain" };
    struct text_list list = { 2, 2, item }, names = { 3, 3, name };
    struct class_options classes = { .names = &names };
    struct picture_source src = files(&list);
    struct augment_options o = plain();
    o.min_crop = o.max_crop = 40;
    for (int mix = MIX_NONE; mix <= MIX_CUT_OR_MOSAIC; ++mix) {
        int shared = 0;
        o.mix = (enum mix_kind)mix;
        for (uint64_t b = 0; b < 100; ++b) {
            struct image_out out = { .w = W, .h = H, .c = 3, .x = x };
            struct image_key key = image_key(8, b, 0);
            float target[3];
            double light = 0;
            CHECK(compose_class(&ctx, &src, &o, &classes, &key, &out, target) == ST_OK, "%s", ctx.error);
            for (int i = 0; i < 3 * W * H; ++i) light += x[i];
            CHECK_NEAR(target[1], light / (3 * W * H), 1e-4, "mixture %d", mix);
            CHECK_NEAR(target[0] + target[1], 1, 1e-5, "mixture %d", mix);
            shared += target[1] > 0.01 && target[1] < 0.99;
        }
        int most = mix == MIX_NONE ? 0 : mix == MIX_MOSAIC ? 60 : 45;
        CHECK(shared <= most && (mix == MIX_NONE || shared > 12), "mixture %d: %d of 100 show both", mix, shared);
    }
}

/* --- Reduced decoding ----------------------------------------------------------------------------------- */

static void test_small(void) {
    CHECK(pixels_divisor(1920, 1080, 416, 416) == 2 && pixels_divisor(1920, 1080, 270, 270) == 4 &&
              pixels_divisor(1920, 1080, 271, 270) == 4 && pixels_divisor(1920, 1080, 270, 271) == 2 &&
              pixels_divisor(100, 100, 0, 0) == 1 && pixels_divisor(9000, 9000, 10, 10) == 8,
          "the largest divisor that leaves enough");
    char path[256];
    struct pixels px = flat(203, 151, 0), all, half;
    for (int i = 0; i < 203 * 151 * 3; ++i) px.data[i] = (uint8_t)(128 + 60 * sin(i / 3 % 203 / 9.0 + i % 3) + 50 * cos(i / 3 / 203 / 7.0));
    for (int kind = 0; kind < 2; ++kind) {
        struct pixels_small small = { .need_w = 60, .need_h = 60 };
        path_of(path, kind ? "wave.jpg" : "wave.png");
        CHECK(pixels_write(&ctx, path, &px, 95) == ST_OK && pixels_read(&ctx, path, 3, &all) == ST_OK, "%s", ctx.error);
        CHECK(pixels_read_small(&ctx, path, 3, &small, &half) == ST_OK, "%s", ctx.error);
        CHECK(small.w == 203 && small.h == 151 && small.divisor == 2 && half.w == 102 && half.h == 76, "%d x %d / %d = %d x %d",
              small.w, small.h, small.divisor, half.w, half.h);
        int worst = 0;
        for (int y = 0; y < 75; ++y)
            for (int x = 0; x < 101; ++x)
                for (int k = 0; k < 3; ++k) {
                    const uint8_t *p = all.data + (2 * y * 203 + 2 * x) * 3 + k;
                    int mean = (p[0] + p[3] + p[3 * 203] + p[3 * 203 + 3] + 2) / 4;
                    int off = abs(mean - half.data[(y * 102 + x) * 3 + k]);
                    worst = off > worst ? off : worst;
                }
        CHECK(worst <= (kind ? 12 : 0), "%s: means of blocks, off by %d", path, worst);
        pixels_free(&all);
        pixels_free(&half);
        /* The same view from either: boxes do not know of it, pixels hardly. */
        static float x[2][3 * 48 * 48];
        struct sample s;
        struct augment_options o = plain();
        struct truth_list truth = { 0 };
        o.jitter = 0.2, o.flip = 1;
        for (int reduced = 0; reduced < 2; ++reduced) {
            CHECK(sample_load(&ctx, path, 3, 3, reduced ? 48 : 0, reduced ? 48 : 0, &s) == ST_OK, "%s", ctx.error);
            CHECK(s.divisor == 1 + reduced && s.w == 203 && s.h == 151, "divisor %d", s.divisor);
            CHECK(sample_augment(&ctx, &s, &o, 1, 7, 0, 48, 48, x[reduced], &truth) == ST_OK, "%s", ctx.error);
            sample_free(&s);
        }
        double off = 0;
        for (int i = 0; i < 3 * 48 * 48; ++i) off = fmax(off, fabs(x[0][i] - x[1][i]));
        CHECK(off < 0.12, "%s: the reduced picture gives the same view, off by %g", path, off);
        free(truth.item);
    }
    pixels_free(&px);
    char *bytes;
    size_t size;
    int w, h, c;
    CHECK(pixels_probe(&ctx, path, &w, &h, &c) == ST_OK && w == 203 && h == 151 && c == 3, "%d x %d", w, h);
    CHECK(io_read(&ctx, path, &bytes, &size) == ST_OK && io_write(&ctx, path_of(path, "cut.jpg"), bytes, size / 2) == ST_OK, "%s",
          ctx.error);
    free(bytes);
    struct pixels_small small = { .need_w = 60, .need_h = 60 };
    if (pixels_read_small(&ctx, path, 3, &small, &half) == ST_OK)
        pixels_free(&half); /* the portable decoder takes what there is */
    else
        CHECK(strstr(ctx.error, "cut.jpg"), "%s", ctx.error);
    ctx_clear(&ctx);
}

int main(void) {
    snprintf(dir, sizeof dir, "/tmp/test_augment.XXXXXX");
    if (!mkdtemp(dir)) return 1;
    make_pictures();
    test_mosaic();
    test_corners();
    test_mosaic_margin();
    test_mixup();
    test_blur_kernel();
    test_blur();
    test_noise();
    test_threads();
    test_pairs();
    test_sequences();
    test_targets();
    test_class_view();
    test_class_mixing();
    test_small();
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0) printf("skip: %s was not removed\n", dir);
    return test_end("augment");
}
