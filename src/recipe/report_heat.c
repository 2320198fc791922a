#include "recipe/report_heat.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/detect.h"
#include "prune/heatmap.h"

enum { MAX_SITES = 64 };

int heat_layer(struct ctx *ctx, const struct net *net) {
    struct heatmap_site site[MAX_SITES];
    struct ctx own = { 0 };
    int n = heatmap_sites(net, site, MAX_SITES), layer = -1;
    for (int i = 0; i < n; ++i)
        if (layer < 0 || site[i].layer < layer) layer = site[i].layer;
    if (layer >= 0 && heatmap_check(&own, net, (struct heatmap_site){ HEATMAP_ALL_HEADS, layer }) == ST_OK) return layer;
    ctx_log(ctx, LOG_WARN, "%s: no heat maps: %s", net->doc->path, layer < 0 ? "no layer to see them at" : own.error);
    return -1;
}

/* Share of the map's cells that lie in any box. */
static double share_inside(const struct heatmap *m, const struct truth_list *objects) {
    double all = 0, in = 0;
    for (int y = 0; y < m->h; ++y)
        for (int x = 0; x < m->w; ++x) {
            double v = (double)m->map[(size_t)y * (size_t)m->w + (size_t)x], px = (x + .5) / m->w, py = (y + .5) / m->h;
            bool hit = false;
            for (int i = 0; i < objects->n && !hit; ++i) {
                struct box b = objects->item[i].box;
                hit = fabs(px - (double)b.x) <= (double)b.w / 2 && fabs(py - (double)b.y) <= (double)b.h / 2;
            }
            all += v;
            in += hit ? v : 0;
        }
    return all > 0 ? in / all : -1;
}

static enum status blend(struct ctx *ctx, const struct pixels *small, const struct heatmap *m, struct box part, int quality, char **jpeg, size_t *size) {
    struct pixels px;
    TRY(pixels_new(ctx, small->w, small->h, 3, &px));
    memcpy(px.data, small->data, (size_t)small->w * (size_t)small->h * 3);
    heatmap_blend(&px, m, part, 0);
    enum status st = pixels_jpeg(ctx, &px, quality, jpeg, size);
    pixels_free(&px);
    return st;
}

enum status heat_over(struct ctx *ctx, struct net *net, int layer, const char *path, const struct view_list *objects, const struct pixels *small, int quality,
                      char **jpeg, size_t *size, double *inside) {
    struct image im, input = { 0 };
    struct heatmap map = { .objects = 0 };
    struct truth_list list = { 0 };
    bool letter_box = net->opt.letter_box;
    *inside = -1;
    if (objects->n == 0) return ST_OK;
    TRY(image_read(ctx, path, net->opt.channels, &im));
    struct box part = heatmap_part(net, im.w, im.h, letter_box);
    enum status st = detect_input(ctx, net, &im, letter_box, &input);
    image_free(&im);
    list.item = mem_zero(ctx, (size_t)objects->n, sizeof *list.item);
    for (int i = 0; list.item && i < objects->n; ++i) {
        struct box b = objects->item[i].box;
        list.item[list.n++] = (struct truth){ { part.x - part.w / 2 + b.x * part.w, part.y - part.h / 2 + b.y * part.h, b.w * part.w, b.h * part.h },
                                              objects->item[i].class_id, -1 };
    }
    if (st == ST_OK) st = ctx->code;
    if (st == ST_OK) st = heatmap_compute(ctx, net, input.data, &list, &(struct heatmap_site){ HEATMAP_ALL_HEADS, layer }, 1, &map);
    if (st == ST_OK && map.objects > 0) {
        *inside = share_inside(&map, &list);
        if (*inside >= 0) st = blend(ctx, small, &map, part, quality, jpeg, size);
    }
    heatmap_free(&map);
    image_free(&input);
    free(list.item);
    return st;
}
