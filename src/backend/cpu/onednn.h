/* oneDNN as this program calls it: what differs between its interfaces 2.x and 3.x is here and nowhere else.
 *   2: memory descriptors are structs of the caller; an operation is described in two steps; an element-wise operation after
 *      another has a scale.
 *   3: memory descriptors are handles that must be destroyed; one call per operation; no scale. */
#ifndef BACKEND_CPU_ONEDNN_H
#define BACKEND_CPU_ONEDNN_H

#include <oneapi/dnnl/dnnl.h>
#include <stdbool.h>

typedef dnnl_memory_desc_t layout; /* owned, all zero at first */
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t layout_view; /* of a layout, or of what a primitive wants */
#else
typedef const dnnl_memory_desc_t *layout_view;
#endif

/* A 2-d convolution; kind tells the direction, and which of the operands are gradients.  bias may be NULL.  dilates: 0 for
 * neighbouring taps. */
struct onednn_conv_desc {
    dnnl_prop_kind_t kind;
    layout_view x, w, bias, y;
    const dnnl_dim_t *strides, *dilates, *before, *behind; /* the last two: padding */
};

#if DNNL_VERSION_MAJOR >= 3

static inline layout_view view_of(const layout *l) { return *l; }

static inline bool layout_new(layout *l, int dims, const dnnl_dims_t sizes, dnnl_format_tag_t tag) {
    return dnnl_memory_desc_create_with_tag(l, dims, sizes, dnnl_f32, tag) == dnnl_success;
}

static inline void layout_free(layout *l) {
    if (*l) dnnl_memory_desc_destroy(*l);
}

static inline dnnl_status_t append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t kind, float alpha, float beta) {
    return dnnl_post_ops_append_eltwise(ops, kind, alpha, beta);
}

static inline dnnl_status_t append_sum(dnnl_post_ops_t ops) { return dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef); }

static inline dnnl_status_t onednn_conv_describe(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const struct onednn_conv_desc *d,
                                                 dnnl_primitive_desc_t hint, dnnl_primitive_attr_t attr) {
    if (d->kind == dnnl_backward_data)
        return dnnl_convolution_backward_data_primitive_desc_create(pd, engine, dnnl_convolution_direct, d->x, d->w, d->y, d->strides,
                                                                    d->dilates, d->before, d->behind, hint, attr);
    if (d->kind == dnnl_backward_weights)
        return dnnl_convolution_backward_weights_primitive_desc_create(pd, engine, dnnl_convolution_direct, d->x, d->w, d->bias, d->y,
                                                                       d->strides, d->dilates, d->before, d->behind, hint, attr);
    return dnnl_convolution_forward_primitive_desc_create(pd, engine, d->kind, dnnl_convolution_direct, d->x, d->w, d->bias, d->y,
                                                          d->strides, d->dilates, d->before, d->behind, attr);
}

#else

static inline layout_view view_of(const layout *l) { return l; }

static inline bool layout_new(layout *l, int dims, const dnnl_dims_t sizes, dnnl_format_tag_t tag) {
    return dnnl_memory_desc_init_by_tag(l, dims, sizes, dnnl_f32, tag) == dnnl_success;
}

static inline void layout_free(layout *l) { (void)l; }

static inline dnnl_status_t append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t kind, float alpha, float beta) {
    return dnnl_post_ops_append_eltwise(ops, 1, kind, alpha, beta);
}

static inline dnnl_status_t append_sum(dnnl_post_ops_t ops) { return dnnl_post_ops_append_sum(ops, 1); }

static inline dnnl_status_t onednn_conv_describe(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const struct onednn_conv_desc *d,
                                                 dnnl_primitive_desc_t hint, dnnl_primitive_attr_t attr) {
    dnnl_convolution_desc_t op;
    dnnl_status_t status;
    if (d->kind == dnnl_backward_data)
        status = dnnl_dilated_convolution_backward_data_desc_init(&op, dnnl_convolution_direct, d->x, d->w, d->y, d->strides, d->dilates,
                                                                  d->before, d->behind);
    else if (d->kind == dnnl_backward_weights)
        status = dnnl_dilated_convolution_backward_weights_desc_init(&op, dnnl_convolution_direct, d->x, d->w, d->bias, d->y, d->strides,
                                                                     d->dilates, d->before, d->behind);
    else
        status = dnnl_dilated_convolution_forward_desc_init(&op, d->kind, dnnl_convolution_direct, d->x, d->w, d->bias, d->y, d->strides,
                                                            d->dilates, d->before, d->behind);
    return status == dnnl_success ? dnnl_primitive_desc_create(pd, &op, attr, engine, hint) : status;
}

#endif

#endif
