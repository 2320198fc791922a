/* visualize: the filters of a layer as a picture, or its output for a picture. */
#include <stdio.h>
#include <string.h>

#include "cli/console.h"
#include "cli/device.h"
#include "cli/options.h"
#include "eval/detect.h"
#include "eval/visualize.h"

struct visualize_flags {
    int layer, zoom;
    const char *image, *out;
    bool dont_show, strict;
};

#define AT(field) offsetof(struct visualize_flags, field)
static const struct option visualize_options[] = {
    { "layer", OPTION_INT, AT(layer), "N", "which layer (the first with filters)", NULL, 0, 100000 },
    { "image", OPTION_TEXT, AT(image), "FILE", "show what the layer answers to this picture, not its filters", NULL, 1, 0 },
    { "out", OPTION_TEXT, AT(out), "FILE", "PNG, JPEG or BMP (filters.png, output.png)", NULL, 1, 0 },
    { "zoom", OPTION_INT, AT(zoom), "N", "pixels per weight (as large as fits 1024)", NULL, 1, 16 },
    { "dont_show", OPTION_FLAG, AT(dont_show), NULL, "no window; there never is one here", NULL, 1, 0 },
    { "strict", OPTION_FLAG, AT(strict), NULL, "unknown cfg keys are errors", NULL, 1, 0 },
    OPTION_END
};

struct job {
    struct ctx ctx;
    struct visualize_flags flags;
    struct net *net;
    struct backend *be;
};

/* NET_SCORE keeps every layer's output; otherwise later layers write over it. */
static enum status answer(struct job *j, struct pixels *px, struct montage *m) {
    struct ctx *ctx = &j->ctx;
    struct image im = { 0 }, input = { 0 };
    TRY(image_read(ctx, j->flags.image, j->net->opt.channels, &im));
    enum status st = detect_input(ctx, j->net, &im, j->net->opt.letter_box, &input);
    image_free(&im);
    if (st == ST_OK) st = device_open(ctx, false, &j->be);
    if (st == ST_OK) st = net_bind(ctx, j->net, j->be, NET_SCORE, 1);
    if (st == ST_OK) st = net_forward(ctx, j->net, input.data);
    image_free(&input);
    TRY(st);
    return visualize_output(ctx, j->net, j->flags.layer, px, m);
}

static enum status draw(struct job *j, const struct arguments *words, struct pixels *px) {
    struct ctx *ctx = &j->ctx;
    struct visualize_flags *f = &j->flags;
    struct montage m;
    TRY(net_open(ctx, words->word[0], f->strict, &j->net));
    net_init_weights(j->net, 1);
    if (words->n > 1) TRY(net_load(ctx, j->net, words->word[1], LOAD_WHOLE, NULL));
    if (f->layer < 0) f->layer = visualize_first(j->net);
    if (f->layer < 0) return ctx_fail(ctx, ST_USAGE, "%s: no layer has filters to show", words->word[0]);
    if (f->layer >= j->net->n)
        return ctx_fail(ctx, ST_USAGE, "-layer: %s has layers 0 to %d", words->word[0], j->net->n - 1);
    TRY(f->image ? answer(j, px, &m) : visualize_filters(ctx, j->net, f->layer, f->zoom, px, &m));
    const char *out = f->out ? f->out : f->image ? "output.png" : "filters.png";
    TRY(pixels_write(ctx, out, px, 90));
    printf("%s: layer %d [%s], %d x %d tiles of %d x %d pixels\n", out, f->layer, j->net->layer[f->layer].section->type, m.columns,
           m.rows, m.w, m.h);
    return ST_OK;
}

static int visualize_run(const struct command *self, int argc, char **argv) {
    struct job j = { .ctx = console_ctx(), .flags = { .layer = -1 } };
    struct arguments words;
    struct pixels px = { 0 };
    enum status st = options_parse(&j.ctx, argc, argv, self->options, &j.flags, &words, 2);
    if (st == ST_OK && words.n < 1) st = ctx_fail(&j.ctx, ST_USAGE, "visualize: needs %s", self->words);
    if (st == ST_OK) st = draw(&j, &words, &px);
    pixels_free(&px);
    net_close(j.net);
    backend_close(j.be);
    return st == ST_OK ? 0 : console_fail(&j.ctx);
}

const struct command visualize_command = { .name = "visualize",
                                           .words = "CFG [WEIGHTS]",
                                           .summary = "draws the filters of a layer, or its answer to a picture",
                                           .options = visualize_options,
                                           .run = visualize_run };
