/* How many training images a second the loader makes, nothing computed, and where one core's time goes.  For docs/gpu.md.
 *   loader_rate LIST WIDTH HEIGHT THREADS SECONDS [mosaic] [blocks]     blocks: images that a device draws
 *   loader_rate LIST WIDTH HEIGHT split                                 each stage of the first pictures by itself */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "data/loader.h"

enum { PICTURES = 24, ROUNDS = 3 };
static int width, height;
static void plan(void *user, uint64_t i, int *n, int *w, int *h) { (void)user, (void)i, *n = 16, *w = width, *h = height; }
static void *get(void *user, size_t bytes) { return (void)user, malloc(bytes); }
static void put(void *user, void *at) { (void)user, free(at); }
static const struct block_memory blocks = { get, put, NULL };
static const struct augment_options augment = { .jitter = .3, .resize = 1.5, .max_boxes = 200, .classes = 80, .flip = 1, .hue = .1, .saturation = 1.5, .exposure = 1.5 };

static enum status rate(struct ctx *ctx, const struct text_list *images, int threads, double last, bool mosaic, bool drawn) {
    struct loader *loader;
    const struct batch *batch;
    struct loader_options o = { .images = images, .channels = 3, .seed = 1, .threads = threads, .plan = plan, .steps = 1, .cache_bytes = 1, .augment = augment };
    if (mosaic) o.augment.mix = MIX_MOSAIC;
    if (drawn) o.blocks = &blocks;
    TRY(loader_open(ctx, &o, &loader));
    double start = io_seconds(), bytes = 0;
    int n = 0;
    for (; io_seconds() - start < last && loader_next(ctx, loader, &batch, NULL) == ST_OK; n += batch->n)
        for (int i = 0; i < batch->n; ++i) bytes += batch->block ? (double)batch->block[i]->size : 4. * batch->c * batch->w * batch->h;
    double seconds = io_seconds() - start;
    printf("%d images of %d x %d in %.1f s: %.1f images/s by %d threads, %.2f MB each\n", n, width, height, seconds, n / seconds, threads, bytes / 1e6 / (n ? n : 1));
    loader_close(loader);
    return ctx->code;
}

static struct sample kept[PICTURES];
static enum status cached(struct ctx *ctx, void *user, int i, int w, int h, struct sample *own, const struct sample **out) {
    (void)ctx, (void)user, (void)w, (void)h, (void)own;
    *out = &kept[i];
    return ST_OK;
}

/* Seconds per image of what comes behind decoding. */
static enum status made(struct ctx *ctx, const struct text_list *images, const struct augment_options *a, bool mixed, struct parts *parts, float *x, double *seconds) {
    struct picture_source source = { .images = images, .get = cached };
    struct truth_list truth = { 0 };
    int n = 0;
    double start = io_seconds();
    for (uint64_t i = 0; i < ROUNDS * PICTURES; ++i) {
        struct image_key key = image_key(1, 7, i);
        struct image_out out = { .w = width, .h = height, .c = 3, .x = x, .parts = parts };
        if (a->mix != MIX_NONE && draw_mixed(&key) != mixed) continue;
        TRY(compose_boxes(ctx, &source, a, &key, (struct frame){ 0, 0 }, &out, &truth));
        ++n;
    }
    *seconds = (io_seconds() - start) / n;
    free(truth.item);
    return ST_OK;
}

static enum status split(struct ctx *ctx, const struct text_list *images) {
    struct text_list few = { .n = images->n < PICTURES ? images->n : PICTURES, .item = images->item };
    struct augment_options a = augment, grey = augment, tiles = augment;
    struct parts parts = { .memory = &blocks };
    float *x = malloc(3 * sizeof *x * (size_t)width * (size_t)height);
    double plain, coloured, mosaic, block, block_mosaic, start = io_seconds();
    for (int i = 0; i < few.n; ++i, sample_free(kept)) TRY(sample_load(ctx, few.item[i], 3, 80, width, height, kept));
    double decode = (io_seconds() - start) / few.n;
    for (int i = 0; i < few.n; ++i) TRY(sample_load(ctx, few.item[i], 3, 80, width, height, &kept[i]));
    grey.hue = 0, grey.saturation = grey.exposure = 1, tiles.mix = MIX_MOSAIC;
    TRY(made(ctx, &few, &grey, false, NULL, x, &plain));
    TRY(made(ctx, &few, &a, false, NULL, x, &coloured));
    TRY(made(ctx, &few, &tiles, true, NULL, x, &mosaic));
    TRY(made(ctx, &few, &a, false, &parts, NULL, &block));
    TRY(made(ctx, &few, &tiles, true, &parts, NULL, &block_mosaic));
    printf("%d x %d, ms: decoding %.2f (to %d x %d), resampling %.2f, colours %.2f; a mosaic of decoded pictures %.2f; for a device to draw %.2f, %.2f\n", width,
           height, 1e3 * decode, kept[0].px.w, kept[0].px.h, 1e3 * plain, 1e3 * (coloured - plain), 1e3 * mosaic, 1e3 * block, 1e3 * block_mosaic);
    for (int i = 0; i < few.n; ++i) sample_free(&kept[i]);
    parts_free(&parts);
    free(x);
    return ST_OK;
}

int main(int argc, char **argv) {
    struct ctx ctx = { 0 };
    struct text_list images = { 0 };
    bool by_stage = argc == 5 && strcmp(argv[4], "split") == 0, mosaic = false, drawn = false;
    if (argc < 6 && !by_stage) return fprintf(stderr, "loader_rate LIST WIDTH HEIGHT (THREADS SECONDS [mosaic] [blocks] | split)\n"), 1;
    for (int i = 6; i < argc; ++i) mosaic |= strcmp(argv[i], "mosaic") == 0, drawn |= strcmp(argv[i], "blocks") == 0;
    width = atoi(argv[2]), height = atoi(argv[3]);
    enum status st = list_read(&ctx, argv[1], &images);
    if (st == ST_OK) st = by_stage ? split(&ctx, &images) : rate(&ctx, &images, atoi(argv[4]), atof(argv[5]), mosaic, drawn);
    if (st != ST_OK) fprintf(stderr, "%s\n", ctx.error);
    list_free(&images);
    return st != ST_OK;
}
