#include "cli/show_imgs.h"

#include <stdio.h>
#include <string.h>

#include "net/net.h"
#include "vision/draw.h"

enum { SHOWN = 48 };

struct plan { int n, w, h, run; };

static void plan_batch(void *user, uint64_t i, int *n, int *w, int *h) {
    const struct plan *p = user;
    (void)i;
    *n = p->n, *w = p->w, *h = p->h;
}

static uint64_t plan_sequence(void *user, uint64_t i) { return i - i % (uint64_t)((const struct plan *)user)->run; }

static const char *class_name(const struct shown_run *run, int k, char number[16]) {
    if (run->names && k < run->names->n) return run->names->item[k];
    snprintf(number, 16, "%d", k);
    return number;
}

static float letters(const struct pixels *px) { return px->h > 9 * 36 ? (float)px->h / 36 : 9; }

static void draw_boxes(const struct shown_run *run, const struct truth_list *truth, struct pixels *px) {
    float w = (float)px->w, h = (float)px->h, thick = h / 300 > 1 ? h / 300 : 1;
    for (int i = 0; i < truth->n; ++i) {
        const struct truth *t = &truth->item[i];
        char number[16];
        float left = (t->box.x - t->box.w / 2) * w, top = (t->box.y - t->box.h / 2) * h;
        draw_frame(px, left, top, t->box.w * w, t->box.h * h, thick, draw_class_colour(t->class_id, run->classes));
        draw_text(px, left + 2, top + 1, letters(px), class_name(run, t->class_id, number), (struct colour){ 255, 255, 255, 1 });
    }
}

/* What is more than the rest that label smoothing leaves to every class. */
static void draw_classes(const struct shown_run *run, const float *target, int n, struct pixels *px) {
    const float least = .1f;
    float y = 1, size = letters(px);
    for (int k = 0; k < n; ++k) {
        char number[16], text[128];
        if (!(target[k] >= least)) continue;
        snprintf(text, sizeof text, "%s %.2f", class_name(run, k, number), (double)target[k]);
        draw_rect(px, 0, y, draw_text(NULL, 0, 0, size, text, (struct colour){ 0 }) + 4, size, (struct colour){ 0, 0, 0, .5f });
        draw_text(px, 2, y, size, text, (struct colour){ 255, 255, 255, 1 });
        y += size;
    }
}

static enum status write_image(struct ctx *ctx, const struct shown_run *run, const struct batch *b, uint64_t number, int i) {
    size_t size = (size_t)b->w * (size_t)b->h * (size_t)b->c;
    struct image im = { .w = b->w, .h = b->h, .c = b->c, .data = b->x + (size_t)i * size };
    const char *file = b->path ? b->path[i] : "", *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
    char path[320];
    struct pixels px;
    snprintf(path, sizeof path, "aug_%06llu_%02d_%.*s.png", (unsigned long long)number, i, (int)strcspn(name, "."), name);
    TRY(pixels_from_image(ctx, &im, &px));
    if (px.c == 3 && b->target) draw_classes(run, b->target + (size_t)i * (size_t)b->target_size, b->target_size, &px);
    else if (px.c == 3 && b->truth) draw_boxes(run, &b->truth[i], &px);
    enum status st = pixels_write(ctx, path, &px, 90);
    pixels_free(&px);
    return st;
}

enum status show_imgs(struct ctx *ctx, const struct net_options *o, const struct shown_run *run, int *written) {
    struct plan plan = { o->batch / o->subdivisions * o->time_steps, o->width, o->height, net_sequence_batches(o, 1) };
    struct batch_request request = { .plan = plan_batch, .sequence = plan_sequence, .user = &plan, .steps = o->time_steps, .seed = run->seed };
    struct batch_source source;
    const struct batch *b;
    double wait;
    *written = 0;
    TRY(run->open(ctx, run->user, &request, &source));
    enum status st = ST_OK;
    for (uint64_t number = 0; st == ST_OK && *written < SHOWN; ++number) {
        st = source.next(ctx, source.self, &b, &wait);
        for (int i = 0; st == ST_OK && i < b->n && *written < SHOWN; ++i, ++*written) st = write_image(ctx, run, b, number, i);
    }
    source.close(source.self);
    return st;
}
