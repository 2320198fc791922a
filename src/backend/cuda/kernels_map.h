/* Kernels that move or combine elements of feature maps.  What each computes stands in backend.h. */
#ifndef BACKEND_CUDA_KERNELS_MAP_H
#define BACKEND_CUDA_KERNELS_MAP_H

#include "backend/cuda/element.h"

struct fill_args { struct view y; float value; };
ELEMENT_FN void fill_each(const struct fill_args *a, size_t i) { set_element(&a->y, i, a->value, false); }

/* Between a tensor and an array in Darknet's order; i counts the array. */
struct planar_args { struct view t; float *planar; bool add; };
ELEMENT_FN void to_planar_each(const struct planar_args *a, size_t i) { a->planar[i] = at(&a->t, place_of_planar(&a->t, i)); }
ELEMENT_FN void from_planar_each(const struct planar_args *a, size_t i) {
    set_at(&a->t, place_of_planar(&a->t, i), a->planar[i], a->add);
}

/* y (+)= alpha * weight * x; weight NULL: 1; per_channel: one for each, else one for all. */
struct copy_args { struct view x, y; const float *weight; bool per_channel, add; float alpha; };
ELEMENT_FN void copy_each(const struct copy_args *a, size_t i) {
    float factor = a->alpha;
    if (a->weight) factor *= a->weight[a->per_channel ? channel_of(&a->y, i) : 0];
    set_element(&a->y, i, factor * element(&a->x, i), a->add);
}

/* --- Pooling -------------------------------------------------------------------------------------------------------- */

struct pool_args { struct view x, y; struct pool_desc p; int32_t *argmax; bool add; };

ELEMENT_FN void maxpool_each(const struct pool_args *a, size_t i) {
    struct place p = place_of(&a->y, i);
    int y0 = (int)p.y * a->p.stride_y + a->p.offset_y, x0 = (int)p.x * a->p.stride_x + a->p.offset_x, y, x;
    float best = -FLT_MAX;
    int32_t where = -1;
    for (y = y0 < 0 ? 0 : y0; y < y0 + a->p.size && y < (int)a->x.h; ++y)
        for (x = x0 < 0 ? 0 : x0; x < x0 + a->p.size && x < (int)a->x.w; ++x) {
            float value = at4(&a->x, p.n, p.c, (uint32_t)y, (uint32_t)x);
            if (!(value > best)) continue;
            best = value;
            where = y * (int)a->x.w + x;
        }
    set_at(&a->y, p, best, false);
    if (a->argmax) a->argmax[i] = where;
}

/* The outputs along one axis whose window holds cell i: [*from, *to). */
ELEMENT_FN void windows_over(int i, int stride, int offset, int size, int outputs, int *from, int *to) {
    int first = i - offset - size + 1, last = i - offset;
    *from = first <= 0 ? 0 : (first + stride - 1) / stride;
    *to = last < 0 ? 0 : last / stride + 1;
    if (*to > outputs) *to = outputs;
}

/* Each cell collects from the windows that chose it: x is dx, y is dy. */
ELEMENT_FN void maxpool_back_each(const struct pool_args *a, size_t i) {
    struct place p = place_of(&a->x, i);
    int y0, y1, x0, x1, y, x, where = (int)p.y * (int)a->x.w + (int)p.x;
    float sum = 0;
    windows_over((int)p.y, a->p.stride_y, a->p.offset_y, a->p.size, (int)a->y.h, &y0, &y1);
    windows_over((int)p.x, a->p.stride_x, a->p.offset_x, a->p.size, (int)a->y.w, &x0, &x1);
    for (y = y0; y < y1; ++y)
        for (x = x0; x < x1; ++x) {
            size_t out = (((size_t)p.n * a->y.h + (size_t)y) * a->y.w + (size_t)x) * a->y.c + p.c;
            if (a->argmax[out] == where) sum += at4(&a->y, p.n, p.c, (uint32_t)y, (uint32_t)x);
        }
    set_at(&a->x, p, sum, true);
}

/* Cells of the window of output o along one axis of n cells: [*from, *to). */
ELEMENT_FN void window_cells(int o, int stride, int offset, int size, int n, int *from, int *to) {
    int first = o * stride + offset;
    *from = first < 0 ? 0 : first;
    *to = first + size > n ? n : first + size;
}

ELEMENT_FN void local_avgpool_each(const struct pool_args *a, size_t i) {
    struct place p = place_of(&a->y, i);
    int y0, y1, x0, x1, y, x;
    float sum = 0;
    window_cells((int)p.y, a->p.stride_y, a->p.offset_y, a->p.size, (int)a->x.h, &y0, &y1);
    window_cells((int)p.x, a->p.stride_x, a->p.offset_x, a->p.size, (int)a->x.w, &x0, &x1);
    for (y = y0; y < y1; ++y)
        for (x = x0; x < x1; ++x) sum += at4(&a->x, p.n, p.c, (uint32_t)y, (uint32_t)x);
    set_at(&a->y, p, y1 > y0 && x1 > x0 ? sum / (float)((y1 - y0) * (x1 - x0)) : 0, false);
}

ELEMENT_FN void local_avgpool_back_each(const struct pool_args *a, size_t i) {
    struct place p = place_of(&a->x, i);
    int y0, y1, x0, x1, y, x;
    float sum = 0;
    windows_over((int)p.y, a->p.stride_y, a->p.offset_y, a->p.size, (int)a->y.h, &y0, &y1);
    windows_over((int)p.x, a->p.stride_x, a->p.offset_x, a->p.size, (int)a->y.w, &x0, &x1);
    for (y = y0; y < y1; ++y)
        for (x = x0; x < x1; ++x) {
            int cy0, cy1, cx0, cx1;
            window_cells(y, a->p.stride_y, a->p.offset_y, a->p.size, (int)a->x.h, &cy0, &cy1);
            window_cells(x, a->p.stride_x, a->p.offset_x, a->p.size, (int)a->x.w, &cx0, &cx1);
            sum += at4(&a->y, p.n, p.c, (uint32_t)y, (uint32_t)x) / (float)((cy1 - cy0) * (cx1 - cx0));
        }
    set_at(&a->x, p, sum, a->add);
}

/* One column per image and channel. */
struct mean_args { struct view x, y; };
ELEMENT_FN void avgpool_term(const struct mean_args *a, size_t column, size_t row, float *t) {
    size_t n, y;
    uint32_t c = split(column, a->x.c, &n), x = split(row, a->x.w, &y);
    t[0] = at4(&a->x, (uint32_t)n, c, (uint32_t)y, x);
}
ELEMENT_FN void avgpool_finish(const struct mean_args *a, size_t column, const double *sum) {
    size_t n;
    struct place p;
    p.c = split(column, a->x.c, &n);
    p.n = (uint32_t)n, p.y = p.x = 0;
    set_at(&a->y, p, (float)(sum[0] / ((double)a->x.h * a->x.w)), false);
}

struct spread_args { struct view from, to; uint32_t stride; float scale; bool add; };
ELEMENT_FN void avgpool_back_each(const struct spread_args *a, size_t i) {
    struct place p = place_of(&a->to, i);
    set_at(&a->to, p, a->scale * at4(&a->from, p.n, p.c, 0, 0), a->add);
}

/* --- Resampling ------------------------------------------------------------------------------------------------------ */

/* Each element of `from` over a block; cells of `to` beyond the last whole block get 0. */
ELEMENT_FN void spread_each(const struct spread_args *a, size_t i) {
    struct place p = place_of(&a->to, i);
    uint32_t y = p.y / a->stride, x = p.x / a->stride;
    bool inside = y < a->from.h && x < a->from.w;
    set_at(&a->to, p, inside ? a->scale * at4(&a->from, p.n, p.c, y, x) : 0, a->add);
}

ELEMENT_FN void gather_each(const struct spread_args *a, size_t i) {
    struct place p = place_of(&a->to, i);
    float sum = 0;
    uint32_t y, x;
    for (y = 0; y < a->stride; ++y)
        for (x = 0; x < a->stride; ++x) sum += at4(&a->from, p.n, p.c, p.y * a->stride + y, p.x * a->stride + x);
    set_at(&a->to, p, a->scale * sum, a->add);
}

/* i counts the deep side; it meets every element of the wide side at most once. */
struct reorg_args { struct view x, y; struct shape deep; uint32_t stride; bool reverse, add; };
ELEMENT_FN void reorg_each(const struct reorg_args *a, size_t i) {
    const struct view *deep = a->reverse ? &a->x : &a->y, *wide = a->reverse ? &a->y : &a->x;
    struct place p = place_of(deep, i), q = p;
    size_t o;
    q.c = split(p.c, wide->c, &o);
    q.y = p.y * a->stride + (uint32_t)o / a->stride, q.x = p.x * a->stride + (uint32_t)o % a->stride;
    if (a->reverse) set_at(wide, q, at(deep, p), a->add);
    else set_at(deep, p, at(wide, q), a->add);
}

/* Element i of an image in the order c, h, w. */
ELEMENT_FN struct place flat_place(const struct view *v, uint32_t n, uint32_t i) {
    struct place p;
    p.n = n, p.c = i / (v->h * v->w), p.y = i / v->w % v->h, p.x = i % v->w;
    return p;
}

/* i counts images and the elements of one in the order c, h, w of `deep`. */
ELEMENT_FN void reorg_old_each(const struct reorg_args *a, size_t i) {
    uint32_t s = a->stride, w = (uint32_t)a->deep.w, h = (uint32_t)a->deep.h, c = (uint32_t)a->deep.c, narrow = c / (s * s);
    size_t n;
    uint32_t k = split(i, c * h * w, &n), x = k % w, y = k / w % h, deep = k / (w * h), o = deep / narrow;
    uint32_t wide = x * s + o % s + w * s * (y * s + o / s + h * s * (deep % narrow));
    struct place from = flat_place(&a->x, (uint32_t)n, a->reverse ? k : wide), to = flat_place(&a->y, (uint32_t)n, a->reverse ? wide : k);
    set_at(&a->y, to, at(&a->x, from), a->add);
}

struct reshape_args { struct view x, y; bool add; };
ELEMENT_FN void reshape_each(const struct reshape_args *a, size_t i) {
    struct place p = place_of(&a->y, i);
    uint32_t k = (p.c * a->y.h + p.y) * a->y.w + p.x;
    set_at(&a->y, p, at(&a->x, flat_place(&a->x, p.n, k)), a->add);
}

struct crop_args { struct view x, y; const struct crop_place *place; float scale, offset; bool add; };

/* The picture's colours as the place wants them. */
ELEMENT_FN float crop_level(const struct crop_args *a, const struct crop_place *at_, struct place p) {
    float value = at(&a->x, p), most;
    if (a->x.c != 3) return a->scale * value + a->offset;
    most = fmaxf(fmaxf(at4(&a->x, p.n, 0, p.y, p.x), at4(&a->x, p.n, 1, p.y, p.x)), at4(&a->x, p.n, 2, p.y, p.x));
    return a->scale * (float)at_->exposure * (most - (most - value) * (float)at_->saturation) + a->offset + (float)at_->shift[p.c];
}

/* Where the window's cell (y, x) lies in the picture, turned: the upper left of the four cells around it, and how far from that. */
struct crop_point { int y, x; double dy, dx; };
ELEMENT_FN struct crop_point crop_point(const struct crop_args *a, const struct crop_place *at_, int y, int x) {
    double w = a->x.w, h = a->x.h, px = (at_->flip ? w - 1 - at_->x - x : at_->x + x) - w / 2, py = at_->y + y - h / 2;
    double sx = cos(at_->angle) * px - sin(at_->angle) * py + w / 2, sy = sin(at_->angle) * px + cos(at_->angle) * py + h / 2;
    struct crop_point p;
    p.y = (int)floor(sy), p.x = (int)floor(sx);
    p.dy = sy - floor(sy), p.dx = sx - floor(sx);
    return p;
}
/* The share that picture cell (y, x) has in the point; 0: none. */
ELEMENT_FN float crop_share(const struct crop_point *p, int y, int x) {
    int ky = y - p->y, kx = x - p->x;
    if (ky < 0 || ky > 1 || kx < 0 || kx > 1) return 0;
    return (float)((ky ? p->dy : 1 - p->dy) * (kx ? p->dx : 1 - p->dx));
}

ELEMENT_FN void crop_each(const struct crop_args *a, size_t i) {
    struct place p = place_of(&a->y, i), q = p;
    const struct crop_place *at_ = &a->place[p.n];
    if (at_->angle != 0) {
        struct crop_point t = crop_point(a, at_, (int)p.y, (int)p.x);
        float sum = 0;
        int k;
        for (k = 0; k < 4; ++k) {
            int y = t.y + k / 2, x = t.x + k % 2;
            if (y < 0 || y >= (int)a->x.h || x < 0 || x >= (int)a->x.w) continue;
            q.y = (uint32_t)y, q.x = (uint32_t)x;
            sum += crop_share(&t, y, x) * crop_level(a, at_, q);
        }
        set_at(&a->y, p, sum, false);
        return;
    }
    q.y = (uint32_t)at_->y + p.y, q.x = (uint32_t)at_->x + p.x;
    if (at_->flip) q.x = a->x.w - 1 - q.x;
    set_at(&a->y, p, crop_level(a, at_, q), false);
}

/* x is dx, y is dy.  The outputs that a cell of a turned picture may have a share in lie around the one that it turns back to. */
ELEMENT_FN float crop_turned_back(const struct crop_args *a, const struct crop_place *at_, struct place p) {
    double w = a->x.w, h = a->x.h, sx = p.x - w / 2, sy = p.y - h / 2;
    double px = cos(at_->angle) * sx + sin(at_->angle) * sy + w / 2, py = -sin(at_->angle) * sx + cos(at_->angle) * sy + h / 2;
    int x0 = (int)floor(at_->flip ? w - 1 - at_->x - px : px - at_->x), y0 = (int)floor(py - at_->y), x, y;
    float sum = 0;
    for (y = y0 - 2; y <= y0 + 3; ++y)
        for (x = x0 - 2; x <= x0 + 3; ++x) {
            struct crop_point t;
            if (y < 0 || y >= (int)a->y.h || x < 0 || x >= (int)a->y.w) continue;
            t = crop_point(a, at_, y, x);
            sum += crop_share(&t, (int)p.y, (int)p.x) * at4(&a->y, p.n, p.c, (uint32_t)y, (uint32_t)x);
        }
    return sum;
}

ELEMENT_FN void crop_back_each(const struct crop_args *a, size_t i) {
    struct place p = place_of(&a->x, i);
    const struct crop_place *at_ = &a->place[p.n];
    int x = (at_->flip ? (int)a->x.w - 1 - (int)p.x : (int)p.x) - at_->x, y = (int)p.y - at_->y;
    float value = 0;
    if (at_->angle != 0) value = crop_turned_back(a, at_, p);
    else if (x >= 0 && x < (int)a->y.w && y >= 0 && y < (int)a->y.h) value = at4(&a->y, p.n, p.c, (uint32_t)y, (uint32_t)x);
    set_at(&a->x, p, a->scale * value, a->add);
}

/* --- Gates, limits, masks ------------------------------------------------------------------------------------------- */

/* y (+)= x * gate, broadcast. */
struct gate_args { struct view x, gate, y; bool add; };
ELEMENT_FN void gate_each(const struct gate_args *a, size_t i) {
    struct place p = place_of(&a->y, i), g = p;
    if (a->gate.c == 1) g.c = 0;
    if (a->gate.h == 1) g.y = 0;
    if (a->gate.w == 1) g.x = 0;
    set_at(&a->y, p, at(&a->x, p) * at(&a->gate, g), a->add);
}

/* One column per element of the gate (y is dgate), a row per element that it meets (gate is dy). */
ELEMENT_FN void gate_back_term(const struct gate_args *a, size_t column, size_t row, float *t) {
    struct place p = place_of(&a->y, column);
    uint32_t ws = a->y.w == 1 ? a->x.w : 1, hs = a->y.h == 1 ? a->x.h : 1;
    size_t rest, c;
    p.x += split(row, ws, &rest);
    p.y += split(rest, hs, &c);
    p.c += (uint32_t)c;
    t[0] = at(&a->x, p) * at(&a->gate, p);
}
ELEMENT_FN void gate_back_finish(const struct gate_args *a, size_t column, const double *sum) {
    set_element(&a->y, column, (float)sum[0], a->add);
}

struct constrain_args { struct view x, dy, y; float limit; bool add; };
ELEMENT_FN void constrain_each(const struct constrain_args *a, size_t i) {
    float v = element(&a->x, i);
    if (!isfinite(v)) v = 0;
    set_element(&a->y, i, a->limit > 0 ? fminf(fmaxf(v, -a->limit), a->limit) : v, false);
}
ELEMENT_FN void constrain_back_each(const struct constrain_args *a, size_t i) {
    float v = element(&a->x, i);
    bool passes = isfinite(v) && (a->limit <= 0 || fabsf(v) < a->limit);
    set_element(&a->y, i, passes ? element(&a->dy, i) : 0, a->add);
}

struct dropout_args { struct view x, y; float probability, factor; uint64_t seed; bool add; };
ELEMENT_FN void dropout_each(const struct dropout_args *a, size_t i) {
    struct place p = place_of(&a->y, i);
    uint64_t planar = (((uint64_t)p.n * a->y.c + p.c) * a->y.h + p.y) * a->y.w + p.x;
    bool kept = hash_uniform(a->seed, planar) >= a->probability;
    set_at(&a->y, p, kept ? a->factor * at(&a->x, p) : 0, a->add);
}

struct mask_args { struct view y; const uint8_t *keep; };
ELEMENT_FN void mask_each(const struct mask_args *a, size_t i) {
    if (!a->keep[channel_of(&a->y, i)]) set_element(&a->y, i, 0, false);
}

struct drop_blocks_args { struct view x, y; const int32_t *corner; const double *scale; int side; bool add; };
ELEMENT_FN void drop_blocks_each(const struct drop_blocks_args *a, size_t i) {
    struct place p = place_of(&a->y, i);
    int first = a->corner[p.n * a->y.c + p.c], dx = (int)p.x - first % (int)a->y.w, dy = (int)p.y - first / (int)a->y.w;
    bool dropped = first >= 0 && dx >= 0 && dx < a->side && dy >= 0 && dy < a->side;
    set_at(&a->y, p, dropped ? 0 : (float)a->scale[p.n] * at(&a->x, p), a->add);
}

/* --- Sums over maps ---------------------------------------------------------------------------------------------------- */

/* A column per channel, a row per cell. */
struct channel_args { struct view x, dy; float *target; double *wide; };
ELEMENT_FN void bias_back_term(const struct channel_args *a, size_t column, size_t row, float *t) {
    t[0] = in_cell(&a->dy, row, column);
}
ELEMENT_FN void bias_back_finish(const struct channel_args *a, size_t column, const double *sum) {
    put(&a->target[column], (float)sum[0], true);
}
ELEMENT_FN void weight_back_term(const struct channel_args *a, size_t column, size_t row, float *t) {
    t[0] = in_cell(&a->x, row, column) * in_cell(&a->dy, row, column);
}
/* wide: the sums themselves are wanted, to be added up over the channels. */
ELEMENT_FN void weight_back_finish(const struct channel_args *a, size_t column, const double *sum) {
    if (a->wide) a->wide[column] = sum[0];
    else put(&a->target[column], (float)sum[0], true);
}
ELEMENT_FN void channel_sum_term(const struct channel_args *a, size_t column, size_t row, double *t) {
    t[0] = in_cell(&a->x, row, column);
}
ELEMENT_FN void channel_sum_finish(const struct channel_args *a, size_t column, const double *sum) { a->wide[column] = sum[0]; }

/* The pruner's responses: a column per map and channel, a row per cell.  x, g: one image. */
struct dot_args { struct view x, g; const float *maps; const double *mean; double *dot, *sum; };
/* An object's map is 0 almost everywhere: cells that it leaves out are not read. */
ELEMENT_FN void channel_dot_term(const struct dot_args *a, size_t column, size_t row, double *t) {
    size_t map;
    uint32_t c = split(column, a->x.c, &map);
    float weight = a->maps[map * a->x.h * a->x.w + row];
    t[0] = t[1] = 0;
    if (weight == 0) return;
    t[1] = (double)weight * in_cell(&a->g, row, c);
    t[0] = t[1] * in_cell(&a->x, row, c);
}
ELEMENT_FN void channel_dot_finish(const struct dot_args *a, size_t column, const double *sum) {
    a->dot[column] = sum[0];
    a->sum[column] = sum[1];
}
ELEMENT_FN void channel_abs_dot_term(const struct dot_args *a, size_t column, size_t row, double *t) {
    size_t map;
    uint32_t c = split(column, a->x.c, &map);
    float weight = a->maps[map * a->x.h * a->x.w + row];
    double centred;
    t[0] = 0;
    if (weight == 0) return;
    centred = in_cell(&a->x, row, c) - (a->mean ? a->mean[c] : 0);
    t[0] = weight * fabs(in_cell(&a->g, row, c) * centred);
}
ELEMENT_FN void channel_abs_dot_finish(const struct dot_args *a, size_t column, const double *sum) { a->dot[column] = sum[0]; }

#endif
