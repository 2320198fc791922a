/* include/darknet.h over the library: networks and detections. */
#include "darknet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "eval/detect.h"

/* Behind `network`. */
struct handle {
    struct ctx ctx;
    struct backend *be;
    struct net *net;
    int batch;
    float *out; /* the last prediction's output */
    bool predicted;
};

void api_complain(struct ctx *ctx) {
    if (ctx->code != ST_OK) fprintf(stderr, "darknet: %s\n", ctx->error);
    ctx_clear(ctx);
}

static struct handle *handle_of(const network *n) { return n ? n->handle : NULL; }

/* --- Networks ------------------------------------------------------------------------------------------- */

static int last_layer(const struct net *net) {
    int last = net->n - 1;
    return net->layer[last].ops->head ? last : net_output_layer(net);
}

static size_t layer_outputs(const struct net *net, int layer) {
    const struct layer *l = &net->layer[layer];
    struct shape s = l->ops->head ? l->in_shape[0] : l->out;
    return (size_t)s.c * (size_t)s.h * (size_t)s.w;
}

static void close_handle(struct handle *h) {
    if (!h) return;
    net_close(h->net);
    backend_close(h->be);
    free(h->out);
    free(h);
}

/* cuda_set_device says where the networks go that this thread opens from then on. */
static _Thread_local int device;

static enum status open_device(struct ctx *ctx, struct backend **be) {
    char why[256], kind[32];
    if (device < 0 || backend_gpus(why, sizeof why) <= 0) return backend_open(ctx, "cpu", be);
    snprintf(kind, sizeof kind, "cuda:%d:fast", device);
    return backend_open(ctx, kind, be);
}

static enum status open_handle(struct handle *h, const char *cfg, const char *weights, int clear) {
    TRY(net_open(&h->ctx, cfg, false, &h->net));
    if (h->net->opt.inputs != h->net->opt.width * h->net->opt.height * h->net->opt.channels)
        return ctx_fail(&h->ctx, ST_UNSUPPORTED,
                        "%s: a network of images is needed, with width, height and channels", cfg);
    if (weights && *weights) TRY(net_load_to_run(&h->ctx, h->net, weights, 1, NULL));
    else net_init_weights(h->net, 1);
    if (clear) h->net->seen = 0;
    return open_device(&h->ctx, &h->be);
}

network *load_network_custom(char *cfg, char *weights, int clear, int batch) {
    struct handle *h = calloc(1, sizeof *h);
    network *n = calloc(1, sizeof *n);
    bool ok = h && n && open_handle(h, cfg, weights, clear) == ST_OK;
    if (!ok) {
        if (h) api_complain(&h->ctx);
        close_handle(h);
        free(n);
        return NULL;
    }
    const struct net_options *o = &h->net->opt;
    h->batch = batch > 0 ? batch : 1;
    *n = (network){ .n = h->net->n,
                    .batch = h->batch,
                    .w = o->width,
                    .h = o->height,
                    .c = o->channels,
                    .inputs = o->inputs,
                    .outputs = (int)layer_outputs(h->net, last_layer(h->net)),
                    .handle = h };
    return n;
}

network *load_network(char *cfg, char *weights, int clear) {
    network *n = load_network_custom(cfg, weights, clear, 1);
    if (n) set_batch_network(n, handle_of(n)->net->opt.batch / handle_of(n)->net->opt.subdivisions);
    return n;
}

void free_network(network net) { close_handle(net.handle); }

void free_network_ptr(network *net) {
    if (!net) return;
    close_handle(net->handle);
    net->handle = NULL;
}

int network_width(network *net) { return net->w; }
int network_height(network *net) { return net->h; }

void set_batch_network(network *net, int b) {
    struct handle *h = handle_of(net);
    if (!h || b < 1) return;
    net->batch = h->batch = b;
}

void reset_rnn(network *net) {
    struct handle *h = handle_of(net);
    if (h && h->net->be && net_reset(&h->ctx, h->net) != ST_OK) api_complain(&h->ctx);
}
void init_cpu(void) {}
void cuda_set_device(int n) { device = n; }

/* --- Prediction ----------------------------------------------------------------------------------------- */

static enum status predict(struct handle *h, const float *x) {
    struct ctx *ctx = &h->ctx;
    struct net *net = h->net;
    int last = last_layer(net);
    size_t each = layer_outputs(net, last);
    h->predicted = false;
    if (net->batch != h->batch || !net->be) {
        TRY(net_bind(ctx, net, h->be, NET_INFER, h->batch));
        free(h->out);
        h->out = mem_zero(ctx, each * (size_t)h->batch, sizeof *h->out);
        if (!h->out) {
            net_unbind(net);
            return ST_MEMORY;
        }
    }
    TRY(net_forward(ctx, net, x));
    h->predicted = true;
    const struct layer *l = &net->layer[last];
    if (!l->ops->head) net_output(net, last, h->out);
    for (size_t b = 0; l->ops->head && b < (size_t)h->batch; ++b)
        l->ops->head->activate(l, l->head_x + b * each, h->out + b * each);
    return ST_OK;
}

static float *predict_handle(struct handle *h, const float *x) {
    if (!h) return NULL;
    if (predict(h, x) == ST_OK) return h->out;
    api_complain(&h->ctx);
    return NULL;
}

float *network_predict(network net, float *x) { return predict_handle(net.handle, x); }
float *network_predict_ptr(network *net, float *x) { return predict_handle(handle_of(net), x); }

static float *predict_picture(network *net, image im, bool letter) {
    struct handle *h = handle_of(net);
    struct image input = { 0 }, picture = { im.w, im.h, im.c, im.data };
    if (!h) return NULL;
    set_batch_network(net, 1);
    enum status st = ST_OK;
    if (im.c != net->c)
        st = ctx_fail(&h->ctx, ST_USAGE, "the image has %d channels, the network takes %d", im.c, net->c);
    if (st == ST_OK) st = detect_input(&h->ctx, h->net, &picture, letter, &input);
    float *out = NULL;
    if (st == ST_OK) out = predict_handle(h, input.data);
    else api_complain(&h->ctx);
    image_free(&input);
    return out;
}

float *network_predict_image(network *net, image im) { return predict_picture(net, im, false); }
float *network_predict_image_letterbox(network *net, image im) { return predict_picture(net, im, true); }

/* --- Detections ----------------------------------------------------------------------------------------- */

/* What some heads know besides: the uncertainties of [Gaussian_yolo], the embeddings of [yolo]. */
static enum status copy_extras(struct handle *h, int b, const struct detection *from, detection *to) {
    enum { BOX = 4 };
    if (from->head < 0) return ST_OK;
    const struct layer *l = &h->net->layer[from->head];
    struct head_info info = { 0 };
    l->ops->head->info(l, &info);
    to->points = info.point;
    to->embedding_size = info.embedding;
    if (l->ops->head->uncertainty) {
        to->uc = mem_zero(&h->ctx, BOX, sizeof *to->uc);
        if (!to->uc) return ST_MEMORY;
        l->ops->head->uncertainty(l, b, from->prediction, to->uc);
    }
    if (info.embedding > 0) {
        to->embeddings = mem_zero(&h->ctx, (size_t)info.embedding, sizeof *to->embeddings);
        if (!to->embeddings) return ST_MEMORY;
        l->ops->head->embedding(l, b, from->prediction, to->embeddings);
    }
    return ST_OK;
}

static enum status copy_detections(struct handle *h, int b, const struct detection_list *list, float sx, float sy,
                                   detection **out) {
    struct ctx *ctx = &h->ctx;
    *out = mem_zero(ctx, (size_t)list->n, sizeof **out);
    if (!*out) return ST_MEMORY;
    for (int i = 0; i < list->n; ++i) {
        const struct detection *from = &list->item[i];
        detection *to = &(*out)[i];
        to->prob = mem_zero(ctx, (size_t)list->classes, sizeof *to->prob);
        if (!to->prob || copy_extras(h, b, from, to) != ST_OK) {
            free_detections(*out, i + 1);
            *out = NULL;
            return ST_MEMORY;
        }
        memcpy(to->prob, from->prob, (size_t)list->classes * sizeof *to->prob);
        to->bbox = (box){ from->box.x * sx, from->box.y * sy, from->box.w * sx, from->box.h * sy };
        to->classes = list->classes;
        to->objectness = from->objectness;
        to->best_class_idx = -1;
        for (int k = 0; k < list->classes; ++k)
            if (to->prob[k] > 0 && (to->best_class_idx < 0 || to->prob[k] > to->prob[to->best_class_idx]))
                to->best_class_idx = k;
    }
    return ST_OK;
}

static detection *boxes_of(struct handle *h, int b, int w, int hgt, float thresh, bool relative, bool letter,
                           int *num) {
    struct detection_list list = { 0 };
    struct detect_options opt = { .thresh = thresh, .letter_box = letter };
    detection *dets = NULL;
    *num = 0;
    enum status st =
        h->predicted ? ST_OK : ctx_fail(&h->ctx, ST_USAGE, "boxes were asked for before a prediction");
    if (st == ST_OK) st = detect_collect(&h->ctx, h->net, b, w, hgt, &opt, &list);
    if (st == ST_OK)
        st = copy_detections(h, b, &list, relative ? 1 : (float)w, relative ? 1 : (float)hgt, &dets);
    if (st == ST_OK) *num = list.n;
    else api_complain(&h->ctx);
    detections_free(&list);
    return dets;
}

detection *get_network_boxes(network *net, int w, int h, float thresh, float hier, int *map, int relative,
                             int *num, int letter) {
    struct handle *handle = handle_of(net);
    int none = 0;
    (void)hier;
    (void)map;
    return handle ? boxes_of(handle, 0, w, h, thresh, relative != 0, letter != 0, num ? num : &none) : NULL;
}

detection *make_network_boxes(network *net, float thresh, int *num) {
    int n = 0;
    detection *dets = get_network_boxes(net, net->w, net->h, thresh, 0, NULL, 1, &n, 0);
    for (int i = 0; i < n; ++i) {
        memset(dets[i].prob, 0, (size_t)dets[i].classes * sizeof *dets[i].prob);
        dets[i].bbox = (box){ 0, 0, 0, 0 };
        dets[i].objectness = 0;
    }
    if (num) *num = n;
    return dets;
}

void free_detections(detection *dets, int n) {
    for (int i = 0; dets && i < n; ++i) {
        free(dets[i].prob);
        free(dets[i].uc);
        free(dets[i].mask);
        free(dets[i].embeddings);
    }
    free(dets);
}

det_num_pair *network_predict_batch(network *net, image im, int batch_size, int w, int h, float thresh,
                                    float hier, int *map, int relative, int letter) {
    struct handle *handle = handle_of(net);
    (void)hier;
    (void)map;
    if (!handle || batch_size < 1) return NULL;
    set_batch_network(net, batch_size);
    if (!predict_handle(handle, im.data)) return NULL;
    det_num_pair *pairs = calloc((size_t)batch_size, sizeof *pairs);
    for (int b = 0; pairs && b < batch_size; ++b)
        pairs[b].dets = boxes_of(handle, b, w, h, thresh, relative != 0, letter != 0, &pairs[b].num);
    return pairs;
}

void free_batch_detections(det_num_pair *pairs, int n) {
    for (int i = 0; pairs && i < n; ++i) free_detections(pairs[i].dets, pairs[i].num);
    free(pairs);
}

/* --- Suppression ---------------------------------------------------------------------------------------- */

static struct box box_of(const detection *d) {
    return (struct box){ d->bbox.x, d->bbox.y, d->bbox.w, d->bbox.h };
}

/* The list works on the caller's probabilities; best_class carries each entry's old place through sorting. */
void diounms_sort(detection *dets, int total, int classes, float thresh, NMS_KIND kind, float beta) {
    if (!dets || total < 1) return;
    size_t n = (size_t)total;
    struct detection *item = calloc(n, sizeof *item);
    detection *old = malloc(n * sizeof *old);
    if (item && old) {
        memcpy(old, dets, n * sizeof *old);
        for (int i = 0; i < total; ++i)
            item[i] = (struct detection){ .box = box_of(&dets[i]),
                                          .objectness = dets[i].objectness,
                                          .prob = dets[i].prob,
                                          .best_class = i };
        struct detection_list list = { .n = total, .cap = total, .classes = classes, .item = item };
        detections_nms(&list, thresh, (enum nms_kind)kind, beta);
        for (int i = 0; i < total; ++i) dets[i] = old[list.item[i].best_class];
        item = list.item;
    }
    free(item);
    free(old);
}

void do_nms_sort(detection *dets, int total, int classes, float thresh) {
    diounms_sort(dets, total, classes, thresh, DEFAULT_NMS, 0);
}

static int by_objectness(const void *a, const void *b) {
    float p = ((const detection *)a)->objectness, q = ((const detection *)b)->objectness;
    return p < q ? 1 : p > q ? -1 : 0;
}

void do_nms_obj(detection *dets, int total, int classes, float thresh) {
    if (!dets || total < 1) return;
    qsort(dets, (size_t)total, sizeof *dets, by_objectness);
    for (int i = 0; i < total; ++i) {
        if (!(dets[i].objectness > 0)) continue;
        for (int j = i + 1; j < total; ++j) {
            if (!(dets[j].objectness > 0) || box_iou(box_of(&dets[i]), box_of(&dets[j])) <= (double)thresh)
                continue;
            dets[j].objectness = 0;
            for (int k = 0; k < classes; ++k) dets[j].prob[k] = 0;
        }
    }
}
