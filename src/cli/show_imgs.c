#include "cli/show_imgs.h"

#include <stdio.h>
#include <string.h>

#include "data/loader.h"
#include "vision/draw.h"

enum { SHOWN = 48 };

struct plan { int n, w, h, run; };

static void plan_batch(void *user, uint64_t i, int *n, int *w, int *h) {
    const struct plan *p = user;
    (void)i;
    *n = p->n, *w = p->w, *h = p->h;
}

static uint64_t plan_sequence(void *user, uint64_t i) { return i - i % (uint64_t)((const struct plan *)user)->run; }

static void draw_boxes(const struct session *s, const struct truth_list *truth, struct pixels *px) {
    float w = (float)px->w, h = (float)px->h, thick = h / 300 > 1 ? h / 300 : 1;
    for (int i = 0; i < truth->n; ++i) {
        const struct truth *t = &truth->item[i];
        char number[16];
        float left = (t->box.x - t->box.w / 2) * w, top = (t->box.y - t->box.h / 2) * h;
        draw_frame(px, left, top, t->box.w * w, t->box.h * h, thick, draw_class_colour(t->class_id, s->classes));
        draw_text(px, left + 2, top + 1, h / 36 > 9 ? h / 36 : 9, session_name(s, t->class_id, number),
                  (struct colour){ 255, 255, 255, 1 });
    }
}

static enum status write_image(struct session *s, const struct batch *b, uint64_t number, int i) {
    struct ctx *ctx = &s->ctx;
    size_t size = (size_t)b->w * (size_t)b->h * (size_t)b->c;
    struct image im = { .w = b->w, .h = b->h, .c = b->c, .data = b->x + (size_t)i * size };
    const char *slash = strrchr(b->path[i], '/'), *name = slash ? slash + 1 : b->path[i];
    char path[320];
    struct pixels px;
    snprintf(path, sizeof path, "aug_%06llu_%02d_%.*s.png", (unsigned long long)number, i, (int)strcspn(name, "."), name);
    TRY(pixels_from_image(ctx, &im, &px));
    if (px.c == 3) draw_boxes(s, &b->truth[i], &px);
    enum status st = pixels_write(ctx, path, &px, 90);
    pixels_free(&px);
    return st;
}

enum status show_imgs(struct session *s, const struct text_list *images, uint64_t seed, int *written) {
    const struct net_options *o = &s->net->opt;
    struct head_info head = { 0 };
    const struct layer *last = &s->net->layer[s->last_head];
    last->ops->head->info(last, &head);
    struct plan plan = { o->batch / o->subdivisions * o->time_steps, o->width, o->height, net_sequence_batches(o, 1) };
    struct loader_options lo = { .images = images, .channels = o->channels, .seed = seed, .plan = plan_batch,
                                 .sequence = o->track ? plan_sequence : NULL, .steps = o->time_steps,
                                 .augment_speed = o->augment_speed, .user = &plan,
                                 .augment = { .jitter = head.jitter, .resize = head.resize, .max_boxes = head.max_boxes,
                                              .classes = head.classes } };
    augment_from_net(o, &lo.augment);
    struct loader *loader;
    const struct batch *b;
    enum status st = loader_open(&s->ctx, &lo, &loader);
    *written = 0;
    for (uint64_t number = 0; st == ST_OK && *written < SHOWN; ++number) {
        st = loader_next(&s->ctx, loader, &b, NULL);
        for (int i = 0; st == ST_OK && i < b->n && *written < SHOWN; ++i, ++*written) st = write_image(s, b, number, i);
    }
    loader_close(loader);
    return st;
}
