#include "eval/visualize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TARGET = 1024, MAX_ZOOM = 16, MAX_SIDE = 30000 };

static enum status montage_new(struct ctx *ctx, const struct montage *m, int channels, struct pixels *px) {
    double w = (double)m->columns * (m->w + 1) + 1, h = (double)m->rows * (m->h + 1) + 1;
    if (w > MAX_SIDE || h > MAX_SIDE)
        return ctx_fail(ctx, ST_UNSUPPORTED, "the picture would have %.0f x %.0f pixels, more than %d a side", w, h, (int)MAX_SIDE);
    return pixels_new(ctx, (int)w, (int)h, channels, px);
}

/* A square grid, rather wide than high. */
static void arrange(int n, struct montage *m) {
    m->columns = (int)ceil(sqrt((double)n));
    m->rows = (n + m->columns - 1) / m->columns;
}

/* One plane (h rows of w values) into channel `channel` of tile number t; low and high become 0 and 255. */
static void draw_plane(struct pixels *px, const struct montage *m, int t, int channel, const float *x, int w, int h, int zoom,
                       float low, float high) {
    int left = 1 + t % m->columns * (m->w + 1), top = 1 + t / m->columns * (m->h + 1);
    for (int row = 0; row < h * zoom; ++row)
        for (int col = 0; col < w * zoom; ++col) {
            float v = x[row / zoom * w + col / zoom], unit = high > low ? (v - low) / (high - low) : .5f;
            px->data[((size_t)(top + row) * (size_t)px->w + (size_t)(left + col)) * (size_t)px->c + (size_t)channel] =
                (uint8_t)lrintf(unit * 255);
        }
}

static void range(const float *x, size_t n, float *low, float *high) {
    *low = *high = x[0];
    for (size_t i = 1; i < n; ++i) {
        if (x[i] < *low) *low = x[i];
        if (x[i] > *high) *high = x[i];
    }
}

static const struct param *window_weights(const struct layer *l, int *side) {
    for (int k = 0; k < l->n_param; ++k) {
        const struct param *p = &l->param[k];
        if (p->role != PARAM_WEIGHT || p->out_axis != 0) continue;
        *side = (int)lround(sqrt((double)p->dim[2]));
        return *side * *side == p->dim[2] ? p : NULL;
    }
    return NULL;
}

int visualize_first(const struct net *net) {
    int side;
    for (int i = 0; i < net->n; ++i)
        if (window_weights(&net->layer[i], &side)) return i;
    return -1;
}

enum status visualize_filters(struct ctx *ctx, const struct net *net, int layer, int zoom, struct pixels *px, struct montage *m) {
    int side = 0;
    const struct layer *l = &net->layer[layer];
    const struct param *p = window_weights(l, &side);
    if (!p) return ctx_fail(ctx, ST_USAGE, "layer %d [%s] has no filters to show", layer, l->section->type);
    int filters = p->dim[0], channels = p->dim[1], per_tile = channels == 3 ? 3 : 1;
    if (channels == 1 || channels == 3) arrange(filters, m);
    else *m = (struct montage){ .columns = channels, .rows = filters };
    if (zoom < 1) zoom = (TARGET / m->columns - 1) / side;
    zoom = zoom < 1 ? 1 : zoom > MAX_ZOOM ? MAX_ZOOM : zoom;
    m->w = m->h = side * zoom;
    TRY(montage_new(ctx, m, per_tile, px));
    size_t plane = (size_t)side * (size_t)side;
    const float *w = net->param + p->offset;
    for (int f = 0; f < filters; ++f, w += plane * (size_t)channels) {
        float low, high;
        range(w, plane * (size_t)channels, &low, &high);
        for (int c = 0; c < channels; ++c)
            draw_plane(px, m, per_tile == 3 ? f : f * channels + c, per_tile == 3 ? c : 0, w + plane * (size_t)c, side, side, zoom, low,
                       high);
    }
    return ST_OK;
}

enum status visualize_output(struct ctx *ctx, const struct net *net, int layer, struct pixels *px, struct montage *m) {
    struct shape s = net->layer[layer].out;
    if (s.c == 0) return ctx_fail(ctx, ST_USAGE, "layer %d [%s] has no output to show", layer, net->layer[layer].section->type);
    arrange(s.c, m);
    m->w = s.w;
    m->h = s.h;
    TRY(montage_new(ctx, m, 1, px));
    size_t plane = (size_t)s.w * (size_t)s.h;
    float *y = mem_zero(ctx, plane * (size_t)s.c * (size_t)net->batch, sizeof *y);
    if (!y) return ST_MEMORY;
    net_output(net, layer, y);
    for (int c = 0; c < s.c; ++c) {
        float low, high;
        range(y + plane * (size_t)c, plane, &low, &high);
        draw_plane(px, m, c, 0, y + plane * (size_t)c, s.w, s.h, 1, low, high);
    }
    free(y);
    return ST_OK;
}
