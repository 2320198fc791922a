/* The scene generator: same bytes for the same seed, labels that fit what is seen, usable shares, sizes. */
#include "test.h"

#include <unistd.h>

#include "base/io.h"
#include "data/synth.h"

static struct ctx ctx;

enum { W = 416, H = 256, SCENES = 120 };

static void test_determinism(void) {
    struct synth_picture a, b, other;
    for (int i = 0; i < 3; ++i) {
        CHECK(synth_render(&ctx, 5, SYNTH_TRAIN, i, W, H, &a) == ST_OK, "%s", ctx.error);
        CHECK(synth_render(&ctx, 5, SYNTH_VALID, i, W, H, &other) == ST_OK, "%s", ctx.error);
        CHECK(memcmp(a.px.data, other.px.data, W * H * 3) != 0, "scene %d is the same in both splits", i);
        synth_picture_free(&other);
        CHECK(synth_render(&ctx, 6, SYNTH_TRAIN, i, W, H, &other) == ST_OK, "%s", ctx.error);
        CHECK(memcmp(a.px.data, other.px.data, W * H * 3) != 0, "scene %d is the same for two seeds", i);
        CHECK(synth_render(&ctx, 5, SYNTH_TRAIN, i, W, H, &b) == ST_OK, "%s", ctx.error);
        CHECK(memcmp(a.px.data, b.px.data, W * H * 3) == 0, "scene %d drawn twice differs", i);
        CHECK(a.truth.n == b.truth.n, "scene %d: %d and %d objects", i, a.truth.n, b.truth.n);
        CHECK(memcmp(a.truth.item, b.truth.item, (size_t)a.truth.n * sizeof *a.truth.item) == 0, "scene %d",
              i);
        synth_picture_free(&a);
        synth_picture_free(&b);
        synth_picture_free(&other);
    }
}

struct totals { int objects, of_class[SYNTH_CLASSES], small, under_6, most, fewest; };

/* Every box must be exactly the extent of the pixels that show its object. */
static void check_scene(const struct synth_picture *p, int index, struct totals *t) {
    int x0[16], y0[16], x1[16], y1[16];
    CHECK(p->truth.n >= 1 && p->truth.n <= 12, "scene %d has %d objects", index, p->truth.n);
    for (int k = 0; k < 16; ++k) {
        x0[k] = y0[k] = 1 << 20;
        x1[k] = y1[k] = -1;
    }
    for (int i = 0; i < W * H; ++i) {
        int k = p->owner[i], x = i % W, y = i / W;
        if (k < 0 || k > p->truth.n) {
            CHECK(false, "scene %d: owner %d of %d", index, k, p->truth.n);
            return;
        }
        x0[k] = x < x0[k] ? x : x0[k];
        x1[k] = x >= x1[k] ? x + 1 : x1[k];
        y0[k] = y < y0[k] ? y : y0[k];
        y1[k] = y >= y1[k] ? y + 1 : y1[k];
    }
    for (int i = 0; i < p->truth.n; ++i) {
        struct box b = p->truth.item[i].box;
        double w = (double)b.w * W, h = (double)b.h * H, left = (double)b.x * W - w / 2,
               top = (double)b.y * H - h / 2;
        CHECK(fabs(left - x0[i + 1]) < 0.01 && fabs(left + w - x1[i + 1]) < 0.01, "scene %d object %d: x",
              index, i);
        CHECK(fabs(top - y0[i + 1]) < 0.01 && fabs(top + h - y1[i + 1]) < 0.01, "scene %d object %d: y",
              index, i);
        CHECK(w > 2.9 && h > 2.9, "scene %d object %d: %g x %g pixels", index, i, w, h);
        int c = p->truth.item[i].class_id;
        CHECK(c >= 0 && c < SYNTH_CLASSES, "scene %d object %d: class %d", index, i, c);
        ++t->objects;
        ++t->of_class[c];
        t->small += w * h < 32 * 32;
        t->under_6 += h < 6;
    }
    t->most = p->truth.n > t->most ? p->truth.n : t->most;
    t->fewest = p->truth.n < t->fewest ? p->truth.n : t->fewest;
}

static void test_labels_and_shares(void) {
    struct totals t = {.fewest = 99};
    for (int i = 0; i < SCENES; ++i) {
        struct synth_picture p;
        CHECK(synth_render(&ctx, 1, SYNTH_TRAIN, i, W, H, &p) == ST_OK, "%s", ctx.error);
        check_scene(&p, i, &t);
        synth_picture_free(&p);
    }
    double mean = (double)t.objects / SCENES, small = (double)t.small / t.objects;
    CHECK(mean > 4 && mean < 6.5, "%g objects per scene", mean);
    CHECK(t.fewest <= 2 && t.most >= 8, "from %d to %d objects per scene", t.fewest, t.most);
    for (int c = 0; c < SYNTH_CLASSES; ++c)
        CHECK(t.of_class[c] > 0.12 * t.objects, "%s: %d of %d objects", synth_class_name[c], t.of_class[c],
              t.objects);
    CHECK(small > 0.33 && small < 0.65, "share of small objects %g", small);
    CHECK(t.under_6 < 0.08 * t.objects, "%d of %d objects under 6 pixels high", t.under_6, t.objects);
}

/* A label is worth nothing when its object cannot be told from what is around it. */
static void test_objects_stand_out(void) {
    int flat = 0, objects = 0;
    for (int i = 0; i < 20; ++i) {
        struct synth_picture p;
        CHECK(synth_render(&ctx, 3, SYNTH_VALID, i, W, H, &p) == ST_OK, "%s", ctx.error);
        for (int k = 0; k < p.truth.n; ++k, ++objects) {
            double sum = 0, squares = 0, n = 0;
            for (int j = 0; j < W * H; ++j)
                if (p.owner[j] == k + 1) {
                    double v = p.px.data[3 * j] + p.px.data[3 * j + 1] + p.px.data[3 * j + 2];
                    sum += v;
                    squares += v * v;
                    ++n;
                }
            flat += sqrt(fmax(squares / n - sum / n * sum / n, 0)) / 3 < 6; /* grey levels */
        }
        synth_picture_free(&p);
    }
    CHECK(flat < objects / 15, "%d of %d objects have no structure", flat, objects);
}

static void test_sizes(void) {
    const int sizes[][2] = {{96, 64}, {384, 224}, {320, 320}, {250, 480}};
    for (int k = 0; k < 4; ++k) {
        struct synth_picture p;
        CHECK(synth_render(&ctx, 9, SYNTH_TRAIN, 4, sizes[k][0], sizes[k][1], &p) == ST_OK, "%s", ctx.error);
        CHECK(p.px.w == sizes[k][0] && p.px.h == sizes[k][1] && p.truth.n > 0, "size %d", k);
        synth_picture_free(&p);
    }
    struct ctx own = {0};
    struct synth_picture p;
    CHECK(synth_render(&own, 9, SYNTH_TRAIN, 4, 40, 40, &p) == ST_USAGE && strstr(own.error, "40"), "%s",
          own.error);
    CHECK(!p.px.data && !p.owner && !p.truth.item, "nothing may be left after a failure");
}

static void count_calls(void *user, int done, int total) {
    int *calls = user;
    CHECK(done == ++*calls && total == 5, "call %d: %d of %d", *calls, done, total);
}

static int count_lines(const char *path, const char *starts_with) {
    char *text;
    size_t size;
    int lines = 0;
    if (io_read(&ctx, path, &text, &size) != ST_OK) return -1;
    for (char *at = text; *at; ++lines) {
        CHECK(strncmp(at, starts_with, strlen(starts_with)) == 0, "%s: line %d", path, lines + 1);
        char *end = strchr(at, '\n');
        if (!end) break;
        at = end + 1;
    }
    free(text);
    return lines;
}

static void check_label_file(const char *path, const struct truth_list *truth) {
    char *text;
    size_t size;
    CHECK(io_read(&ctx, path, &text, &size) == ST_OK, "%s", ctx.error);
    int used = 0, class_id, n = 0;
    float x, y, w, h;
    for (const char *at = text; sscanf(at, "%d %f %f %f %f %n", &class_id, &x, &y, &w, &h, &used) == 5;
         at += used) {
        if (n >= truth->n) break;
        struct box b = truth->item[n].box;
        CHECK(class_id == truth->item[n].class_id, "%s line %d: class", path, n + 1);
        CHECK(fabsf(b.x - x) < 1e-5f && fabsf(b.y - y) < 1e-5f, "%s line %d: centre", path, n + 1);
        CHECK(fabsf(b.w - w) < 1e-5f && fabsf(b.h - h) < 1e-5f, "%s line %d: size", path, n + 1);
        ++n;
    }
    CHECK(n == truth->n, "%s: %d lines, %d objects", path, n, truth->n);
    free(text);
}

static void test_write(const char *root) {
    char dir[300], path[600], line[320], first[65], second[65];
    snprintf(dir, sizeof dir, "%s/set/deep", root);
    struct synth_options o = synth_defaults(dir);
    o.train = 3;
    o.valid = 2;
    o.width = 192;
    o.height = 128;
    int calls = 0;
    CHECK(synth_write(&ctx, &o, count_calls, &calls) == ST_OK, "%s", ctx.error);
    CHECK(calls == 5, "progress was told %d times", calls);
    snprintf(line, sizeof line, "%s/images/", dir);
    snprintf(path, sizeof path, "%s/train.txt", dir);
    CHECK(count_lines(path, line) == 3, "%s", path);
    snprintf(path, sizeof path, "%s/valid.txt", dir);
    CHECK(count_lines(path, line) == 2, "%s", path);
    snprintf(path, sizeof path, "%s/synth.names", dir);
    CHECK(count_lines(path, "") == SYNTH_CLASSES, "%s", path);
    snprintf(path, sizeof path, "%s/synth.data", dir);
    CHECK(count_lines(path, "") == 5, "%s", path);
    snprintf(path, sizeof path, "%s/backup", dir);
    CHECK(io_exists(path), "%s", path);
    for (int i = 0; i < 5; ++i) {
        struct synth_picture p;
        struct pixels px;
        enum synth_split split = i < 3 ? SYNTH_TRAIN : SYNTH_VALID;
        int index = i < 3 ? i : i - 3;
        CHECK(synth_render(&ctx, o.seed, split, index, o.width, o.height, &p) == ST_OK, "%s", ctx.error);
        snprintf(path, sizeof path, "%s/images/%s/%06d.jpg", dir, i < 3 ? "train" : "valid", index);
        CHECK(pixels_read(&ctx, path, 3, &px) == ST_OK && px.w == 192 && px.h == 128, "%s", ctx.error);
        pixels_free(&px);
        memcpy(path + strlen(path) - 3, "txt", 3);
        check_label_file(path, &p.truth);
        synth_picture_free(&p);
    }
    snprintf(path, sizeof path, "%s/images/train/000001.jpg", dir);
    CHECK(io_sha256(&ctx, path, first) == ST_OK, "%s", ctx.error);
    o.train = 2; /* other counts, same picture */
    CHECK(synth_write(&ctx, &o, NULL, NULL) == ST_OK, "%s", ctx.error);
    CHECK(io_sha256(&ctx, path, second) == ST_OK && strcmp(first, second) == 0, "%s changed", path);
}

static void test_write_errors(void) {
    struct ctx own = {0};
    struct synth_options o = synth_defaults("/proc/nowhere");
    CHECK(synth_write(&own, &o, NULL, NULL) == ST_IO && strstr(own.error, "/proc/nowhere"), "%s", own.error);
    own = (struct ctx){0};
    o = synth_defaults("");
    CHECK(synth_write(&own, &o, NULL, NULL) == ST_USAGE, "%s", own.error);
    own = (struct ctx){0};
    o = synth_defaults("x");
    o.train = -1;
    CHECK(synth_write(&own, &o, NULL, NULL) == ST_USAGE, "%s", own.error);
}

int main(void) {
    char root[] = "/tmp/test_synth_XXXXXX", command[64];
    if (!mkdtemp(root)) return 1;
    test_determinism();
    test_labels_and_shares();
    test_objects_stand_out();
    test_sizes();
    test_write(root);
    test_write_errors();
    snprintf(command, sizeof command, "rm -r %s", root);
    if (system(command) != 0) printf("left behind: %s\n", root);
    return test_end("synth");
}
