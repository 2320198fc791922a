/* How many training images a second the loader makes: decoding and augmenting, nothing computed.  For docs/gpu.md.
 *   loader_rate LIST WIDTH HEIGHT THREADS SECONDS [mosaic] */
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "data/loader.h"

static int width, height;
static void plan(void *user, uint64_t i, int *n, int *w, int *h) { (void)user, (void)i, *n = 16, *w = width, *h = height; }

int main(int argc, char **argv) {
    struct ctx ctx = { 0 };
    struct text_list images = { 0 };
    struct loader *loader;
    const struct batch *batch;
    if (argc < 6 || list_read(&ctx, argv[1], &images) != ST_OK) return fprintf(stderr, "loader_rate LIST WIDTH HEIGHT THREADS SECONDS [mosaic] %s\n", ctx.error), 1;
    width = atoi(argv[2]), height = atoi(argv[3]);
    struct loader_options o = { .images = &images, .channels = 3, .seed = 1, .threads = atoi(argv[4]), .plan = plan, .steps = 1, .cache_bytes = 1,
                                .augment = { .jitter = .3, .resize = 1.5, .max_boxes = 200, .classes = 80, .flip = 1, .hue = .1, .saturation = 1.5,
                                             .exposure = 1.5, .mix = argc > 6 ? MIX_MOSAIC : MIX_NONE } };
    if (loader_open(&ctx, &o, &loader) != ST_OK) return fprintf(stderr, "%s\n", ctx.error), 1;
    double start = io_seconds(), last = atof(argv[5]);
    int n = 0;
    while (io_seconds() - start < last && loader_next(&ctx, loader, &batch, NULL) == ST_OK) n += batch->n;
    printf("%d images of %d x %d in %.1f s: %.1f images/s by %s threads\n", n, width, height, io_seconds() - start, n / (io_seconds() - start), argv[4]);
    loader_close(loader);
    list_free(&images);
    return ctx.code != ST_OK;
}
