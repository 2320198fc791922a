#include "recipe/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "data/json.h"
#include "eval/map.h"
#include "eval/speed.h"
#include "prune/channels.h"
#include "recipe/audit.h"
#include "recipe/report_heat.h"
#include "recipe/report_views.h"
#include "vision/image.h"

enum { BATCH = 8, PICTURE_WIDTH = 640, PICTURE_QUALITY = 82, UNJUDGED_POOL = 8 /* pictures looked at per picture shown */ };
static const char *const side_name[REPORT_SIDES] = { "before", "after" };

struct report_options report_defaults(void) { return (struct report_options){ .images = 8, .thresh = 0.25, .iou_thresh = 0.5 }; }

void report_free(struct report *r) {
    for (int i = 0; i < r->n_picture; ++i) {
        free(r->picture[i].jpeg);
        for (int s = 0; s < REPORT_SIDES; ++s) free(r->picture[i].heat[s]);
    }
    free(r->picture);
    cJSON_Delete(r->figures);
    *r = (struct report){ 0 };
}

/* --- What is read --------------------------------------------------------------------------------------- */

struct measuring {
    const struct report_options *opt;
    struct backend *be;
    struct data_options data;
    struct net *net[REPORT_SIDES];
    int classes;
    struct text_list names;
    const char *list_path;           /* of the pictures; NULL: there are none */
    struct text_list images, difficult;
    struct dataset_report survey;
    char missing[1200];              /* why there is no accuracy; "": there is */
    struct views views;
    struct map_result map[REPORT_SIDES];
    struct speed_record times;
    struct speed_figures speed[REPORT_SIDES];
    struct speed_ratio ratio;
    struct working { double bytes, load_ms; } working[REPORT_SIDES];
};

static enum status open_net(struct ctx *ctx, struct measuring *m, int side) {
    const char *cfg = m->opt->cfg[side];
    struct head_info info = { 0 };
    TRY(net_open(ctx, cfg, m->opt->strict, &m->net[side]));
    TRY(net_load(ctx, m->net[side], m->opt->weights[side], LOAD_WHOLE, NULL));
    for (int i = 0; i < m->net[side]->n; ++i)
        if (m->net[side]->layer[i].ops->head) m->net[side]->layer[i].ops->head->info(&m->net[side]->layer[i], &info);
    if (info.classes < 1) return ctx_fail(ctx, ST_UNSUPPORTED, "%s: has no detection head; a report compares detectors", cfg);
    if (side && info.classes != m->classes)
        return ctx_fail(ctx, ST_USAGE, "%s: classes=%d, but classes=%d in %s; one data set judges both only when they have the same classes", cfg,
                        info.classes, m->classes, m->opt->cfg[0]);
    m->classes = info.classes;
    return ST_OK;
}

static enum status read_names(struct ctx *ctx, struct measuring *m) {
    if (!m->data.names) return ST_OK;
    TRY(list_read(ctx, m->data.names, &m->names));
    if (m->names.n != m->classes) ctx_log(ctx, LOG_WARN, "%s: %d names, but classes=%d in %s", m->data.names, m->names.n, m->classes, m->opt->cfg[0]);
    return ST_OK;
}

/* The pictures to judge by: those of valid=; without them those of train=, to look at only. */
static enum status choose_list(struct ctx *ctx, struct measuring *m) {
    const char *try[] = { m->data.valid, m->data.train };
    for (int i = 0; i < 2 && !m->list_path; ++i) {
        struct ctx own = { .log = ctx->log, .log_user = ctx->log_user };
        char why[sizeof own.error + 100] = "";
        if (!try[i]) snprintf(why, sizeof why, "%s has no '%s=' list of images", m->opt->data, i ? "train" : "valid");
        else if (list_read(&own, try[i], &m->images) == ST_MEMORY) return ctx_fail(ctx, ST_MEMORY, "%s", own.error);
        else if (own.code != ST_OK) snprintf(why, sizeof why, "%s", own.error);
        else if (m->images.n == 0) snprintf(why, sizeof why, "%s: the list of images is empty", try[i]);
        else m->list_path = try[i];
        if (!m->list_path) list_free(&m->images);
        if (!m->list_path && i == 0) snprintf(m->missing, sizeof m->missing, "%s", why);
    }
    return ST_OK;
}

static void drop(struct text_list *l, const bool *gone) {
    int n = 0;
    for (int i = 0; i < l->n; ++i) {
        if (gone[i]) free(l->item[i]);
        else l->item[n++] = l->item[i];
    }
    l->n = n;
}

static enum status drop_unreadable(struct ctx *ctx, struct measuring *m) {
    bool *gone = mem_zero(ctx, (size_t)m->images.n, sizeof *gone);
    if (!gone) return ST_MEMORY;
    for (int i = 0; i < m->images.n; ++i) {
        struct ctx own = { 0 };
        int w, h, c;
        gone[i] = pixels_probe(&own, m->images.item[i], &w, &h, &c) != ST_OK;
    }
    if (m->difficult.n) drop(&m->difficult, gone);
    drop(&m->images, gone);
    free(gone);
    return ST_OK;
}

/* Every k-th: where nobody judges, pictures to choose from will do. */
static enum status thin_out(struct ctx *ctx, struct measuring *m) {
    int most = m->opt->images * UNJUDGED_POOL, n = m->images.n;
    bool *gone = mem_zero(ctx, (size_t)n, sizeof *gone);
    if (!gone) return ST_MEMORY;
    for (int i = 0; i < n && n > most; ++i) gone[i] = i > 0 && (long long)i * most / n == (long long)(i - 1) * most / n;
    if (most == 0 && n) gone[0] = true;
    drop(&m->images, gone);
    free(gone);
    return ST_OK;
}

static enum status read_lists(struct ctx *ctx, struct measuring *m) {
    TRY(choose_list(ctx, m));
    if (!m->list_path) return ST_OK;
    TRY(dataset_survey(ctx, &m->images, m->classes, &m->survey));
    TRY(dataset_tell(ctx, &m->survey, NULL));
    if (m->data.difficult && !*m->missing) TRY(list_read(ctx, m->data.difficult, &m->difficult));
    if (m->difficult.n && m->difficult.n != m->images.n)
        return ctx_fail(ctx, ST_FORMAT, "%s: %d entries, but %d in %s; they must go line by line", m->data.difficult, m->difficult.n, m->images.n,
                        m->list_path);
    char *first = label_path(ctx, m->images.item[0]);
    if (!first) return ctx->code;
    if (!*m->missing && m->survey.unreadable == m->survey.images)
        snprintf(m->missing, sizeof m->missing, "none of the %d images of %s can be read", m->survey.images, m->list_path);
    else if (!*m->missing && m->survey.boxes == 0)
        snprintf(m->missing, sizeof m->missing, "the %d images of %s have no labelled objects (labels are looked for in %s and so on)", m->survey.images,
                 m->list_path, first);
    free(first);
    TRY(drop_unreadable(ctx, m));
    return *m->missing ? thin_out(ctx, m) : ST_OK;
}

static enum status open_all(struct ctx *ctx, struct measuring *m) {
    TRY(data_read(ctx, m->opt->data, &m->data));
    for (int s = 0; s < REPORT_SIDES; ++s) TRY(open_net(ctx, m, s));
    TRY(read_names(ctx, m));
    TRY(read_lists(ctx, m));
    if (*m->missing) ctx_log(ctx, LOG_WARN, "no accuracy in the report: %s", m->missing);
    return ST_OK;
}

/* --- What is measured ----------------------------------------------------------------------------------- */

struct watch { const struct report_options *opt; char what[64]; };
static void show(void *user, int done, int total) {
    struct watch *w = user;
    if (w->opt->progress) w->opt->progress(w->opt->user, w->what, done, total);
}

static enum status look(struct ctx *ctx, struct measuring *m, int side) {
    struct watch watch = { .opt = m->opt };
    struct map_options opt = { .thresh = (float)m->opt->thresh, .iou_thresh = (float)m->opt->iou_thresh, .curves = true, .each = views_add,
                               .each_user = &m->views, .progress = show, .user = &watch };
    snprintf(watch.what, sizeof watch.what, "%s the network %s", *m->missing ? "looking with" : "mAP of", side ? "after" : "before");
    m->views.side = side;
    TRY(net_bind(ctx, m->net[side], m->be, NET_INFER, m->images.n < BATCH ? m->images.n : BATCH));
    enum status st = map_evaluate(ctx, m->net[side], &m->images, m->difficult.n ? &m->difficult : NULL, &opt, &m->map[side]);
    net_unbind(m->net[side]);
    return st;
}

/* One image at a time, alternately. */
static enum status time_both(struct ctx *ctx, struct measuring *m) {
    struct watch watch = { .opt = m->opt, .what = "timing" };
    struct speed_plan plan = { .batch = 1, .warmup = 3, .runs = 60, .seconds = 6, .stop = m->opt->stop, .progress = show, .user = &watch };
    TRY(speed_measure(ctx, m->be, m->net, REPORT_SIDES, &plan, &m->times));
    for (int s = 0; s < REPORT_SIDES; ++s) TRY(speed_figures(ctx, m->times.ms[s], m->times.runs, &m->speed[s]));
    return speed_ratio_of(ctx, m->times.ms[0], m->times.ms[1], m->times.runs, &m->ratio);
}

/* What the network needs by itself, on a backend of its own: from the files to the first result. */
static enum status work_of(struct ctx *ctx, struct measuring *m, int side) {
    struct ctx silent = { 0 }; /* what there is to say about the files was said before */
    struct footprint_request request = { .cfg = m->opt->cfg[side], .weights = m->opt->weights[side], .strict = m->opt->strict };
    struct backend *be = NULL;
    struct net *net = NULL;
    float *x = NULL;
    double start = io_seconds();
    enum status st = backend_open(&silent, m->be->ops->name, &be);
    if (st == ST_OK) st = speed_open(&silent, &request, &net, NULL);
    if (st == ST_OK) st = net_bind(&silent, net, be, NET_INFER, 1);
    if (st == ST_OK) x = mem_zero(&silent, (size_t)net->opt.channels * (size_t)net->opt.height * (size_t)net->opt.width, sizeof *x);
    if (st == ST_OK) st = x ? net_forward(&silent, net, x) : ST_MEMORY;
    m->working[side].load_ms = (io_seconds() - start) * 1e3;
    if (st == ST_OK) m->working[side].bytes = (double)be->peak_bytes;
    free(x);
    net_close(net);
    backend_close(be);
    return st == ST_OK ? ST_OK : ctx_fail(ctx, st, "%s", silent.error);
}

static enum status measure(struct ctx *ctx, struct measuring *m) {
    TRY(time_both(ctx, m));
    for (int s = 0; s < REPORT_SIDES; ++s) TRY(work_of(ctx, m, s));
    TRY(views_open(ctx, m->images.n, (float)m->opt->thresh, m->opt->stop, &m->views));
    for (int s = 0; s < REPORT_SIDES && m->images.n; ++s) TRY(look(ctx, m, s));
    return views_match(ctx, &m->views, m->opt->iou_thresh, !*m->missing);
}

/* --- The figures as JSON -------------------------------------------------------------------------------- */

static void add_rate(cJSON *to, const char *name, double v) {
    if (v >= 0) cJSON_AddNumberToObject(to, name, v);
    else cJSON_AddNullToObject(to, name);
}

static cJSON *curve_json(const double *curve) {
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < MAP_CURVE; ++i) cJSON_AddItemToArray(list, cJSON_CreateNumber((int)(curve[i] * 1e4 + .5) / 1e4));
    return list;
}

static void add_classes(cJSON *to, const struct measuring *m, const struct map_result *r) {
    double mean[MAP_CURVE] = { 0 }, one[MAP_CURVE];
    int present = 0;
    cJSON *list = cJSON_AddArrayToObject(to, "classes");
    for (int k = 0; k < r->classes; ++k) present += r->of[k].truths > 0;
    for (int k = 0; k < r->classes; ++k) {
        char number[16];
        cJSON *o = cJSON_CreateObject();
        snprintf(number, sizeof number, "%d", k);
        cJSON_AddItemToArray(list, o);
        cJSON_AddNumberToObject(o, "class", k);
        cJSON_AddStringToObject(o, "name", k < m->names.n ? m->names.item[k] : number);
        cJSON_AddNumberToObject(o, "truths", r->of[k].truths);
        add_rate(o, "ap", r->of[k].truths ? r->of[k].ap : -1);
        cJSON_AddNumberToObject(o, "tp", r->of[k].tp);
        cJSON_AddNumberToObject(o, "fp", r->of[k].fp);
        if (!r->of[k].truths) continue;
        for (int i = 0; i < MAP_CURVE; ++i) one[i] = (double)r->curve[k][i], mean[i] += one[i] / present;
        cJSON_AddItemToObject(o, "curve", curve_json(one));
    }
    cJSON_AddNumberToObject(to, "classes_present", present);
    cJSON_AddItemToObject(to, "curve", curve_json(mean));
}

static void add_accuracy(cJSON *to, const struct measuring *m, const struct map_result *r) {
    static const char *const size[MAP_SIZES] = { "small", "medium", "large" };
    cJSON *o = cJSON_AddObjectToObject(to, "accuracy"), *sizes;
    add_rate(o, "map", r->map);
    add_rate(o, "map_present", r->map_present);
    cJSON_AddNumberToObject(o, "truths", r->unique_truths);
    cJSON_AddNumberToObject(o, "detections", r->detections);
    cJSON_AddNumberToObject(o, "tp", r->tp);
    cJSON_AddNumberToObject(o, "fp", r->fp);
    cJSON_AddNumberToObject(o, "fn", r->fn);
    add_rate(o, "precision", r->tp + r->fp ? r->precision : -1);
    add_rate(o, "recall", r->unique_truths ? r->recall : -1);
    sizes = cJSON_AddObjectToObject(o, "size");
    for (int i = 0; i < MAP_SIZES; ++i) {
        cJSON *s = cJSON_AddObjectToObject(sizes, size[i]);
        add_rate(s, "map", r->map_size[i]);
        cJSON_AddNumberToObject(s, "truths", r->truths_size[i]);
    }
    add_classes(o, m, r);
}

static void add_layers(cJSON *to, const struct net *net, const double *ms) {
    cJSON *list = cJSON_AddArrayToObject(to, "layers");
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        double params = 0;
        cJSON *o = cJSON_CreateObject();
        cJSON_AddItemToArray(list, o);
        for (int k = 0; k < l->n_param; ++k) params += param_owned(&l->param[k]) ? (double)param_count(&l->param[k]) : 0;
        cJSON_AddNumberToObject(o, "layer", i);
        cJSON_AddStringToObject(o, "type", l->section->type);
        cJSON_AddNumberToObject(o, "filters", l->out.c);
        cJSON_AddNumberToObject(o, "params", params);
        cJSON_AddNumberToObject(o, "flops", l->flops);
        if (ms) cJSON_AddNumberToObject(o, "ms", ms[i]);
    }
}

static enum status add_side(struct ctx *ctx, cJSON *to, const struct measuring *m, int side) {
    const struct net *net = m->net[side];
    cJSON *o = cJSON_AddObjectToObject(to, side_name[side]);
    int *width = mem_zero(ctx, (size_t)net->n, sizeof *width);
    if (!width) return ST_MEMORY;
    for (int i = 0; i < net->n; ++i) width[i] = net->layer[i].out.c;
    struct cost cost = cost_at(net, width);
    free(width);
    TRY(audit_add_file(ctx, o, "cfg", m->opt->cfg[side]));
    TRY(audit_add_file(ctx, o, "weights", m->opt->weights[side]));
    cJSON_AddNumberToObject(o, "width", net->opt.width);
    cJSON_AddNumberToObject(o, "height", net->opt.height);
    cJSON_AddNumberToObject(o, "params", cost.params);
    cJSON_AddNumberToObject(o, "flops", cost.flops);
    cJSON_AddNumberToObject(o, "weight_bytes", 20 + 4 * cost.params);
    cJSON_AddNumberToObject(o, "activation_bytes", 4 * cost.activations);
    cJSON_AddNumberToObject(o, "peak_bytes", m->working[side].bytes);
    cJSON_AddNumberToObject(o, "load_ms", m->working[side].load_ms);
    cJSON_AddNumberToObject(o, "ms", m->speed[side].p50);
    cJSON_AddNumberToObject(o, "ms_p90", m->speed[side].p90);
    cJSON_AddNumberToObject(o, "ms_p99", m->speed[side].p99);
    if (!*m->missing) add_accuracy(o, m, &m->map[side]);
    add_layers(o, net, m->times.layer_ms[side]);
    return ST_OK;
}

/* Layer by layer only where both are built alike. */
static bool paired(const struct net *a, const struct net *b) {
    for (int i = 0; i < a->n && i < b->n; ++i)
        if (strcmp(a->layer[i].section->type, b->layer[i].section->type)) return false;
    return a->n == b->n;
}

/* --- Pictures ------------------------------------------------------------------------------------------- */

static enum status shrink(struct ctx *ctx, const struct pixels *px, struct pixels *out) {
    struct image im, small;
    int w = PICTURE_WIDTH, h = (int)((double)px->h * w / px->w + .5);
    TRY(image_from_pixels(ctx, px, &im));
    enum status st = image_resize(ctx, &im, w, h > 0 ? h : 1, &small);
    image_free(&im);
    if (st != ST_OK) return st;
    st = pixels_from_image(ctx, &small, out);
    image_free(&small);
    return st;
}

/* At most PICTURE_WIDTH wide; *w, *h: the picture's own size. */
static enum status read_small(struct ctx *ctx, const char *path, struct pixels *out, int *w, int *h) {
    struct pixels_small size = { .need_w = PICTURE_WIDTH, .need_h = 1 };
    struct pixels px;
    TRY(pixels_read_small(ctx, path, 3, &size, &px));
    *w = size.w, *h = size.h;
    if (px.w <= PICTURE_WIDTH) {
        *out = px;
        return ST_OK;
    }
    enum status st = shrink(ctx, &px, out);
    pixels_free(&px);
    return st;
}

static enum status add_example(struct ctx *ctx, struct measuring *m, struct report_picture *p, int index, bool changed, cJSON *list) {
    const char *path = m->images.item[index];
    struct pixels small = { 0 };
    int w, h;
    TRY(read_small(ctx, path, &small, &w, &h));
    enum status st = pixels_jpeg(ctx, &small, PICTURE_QUALITY, &p->jpeg, &p->size);
    pixels_free(&small);
    if (st == ST_OK) cJSON_AddItemToArray(list, views_json(&m->views.image[index], path, w, h, changed, &m->names));
    return st;
}

/* A network may be beyond gradients (after a training that went astray): then this picture has no map, and the report goes on. */
static enum status heat_of(struct ctx *ctx, struct measuring *m, int side, int layer, int index, const struct pixels *small, struct report_picture *p,
                           double *inside) {
    const struct view *v = &m->views.image[index];
    struct ctx own = { 0 };
    enum status st = heat_over(&own, m->net[side], layer, m->images.item[index], *m->missing ? &v->seen[REPORT_BEFORE] : &v->truth, small, PICTURE_QUALITY,
                               &p->heat[side], &p->heat_size[side], inside);
    if (st == ST_OK) return ST_OK;
    *inside = -1;
    if (st != ST_NUMERIC && st != ST_UNSUPPORTED) return ctx_fail(ctx, st, "%s", own.error);
    ctx_log(ctx, LOG_WARN, "%s: no heat map of the network %s: %s", m->images.item[index], side_name[side], own.error);
    return ST_OK;
}

static enum status add_heat(struct ctx *ctx, struct measuring *m, int side, struct report *r, const int *chosen) {
    struct net *net = m->net[side];
    int layer = heat_layer(ctx, net), w, h;
    cJSON *example = cJSON_GetObjectItem(r->figures, "examples")->child, *o;
    if (layer < 0) return ST_OK;
    enum status st = net_bind(ctx, net, m->be, NET_SCORE, 1);
    for (int i = 0; i < r->n_picture && st == ST_OK; ++i, example = example->next) {
        struct report_picture *p = &r->picture[i];
        struct pixels small = { 0 };
        double inside = -1;
        if (m->opt->stop && *m->opt->stop) st = ctx_fail(ctx, ST_INTERRUPTED, "interrupted: no report was written");
        if (st == ST_OK) st = read_small(ctx, m->images.item[chosen[i]], &small, &w, &h);
        if (st == ST_OK) st = heat_of(ctx, m, side, layer, chosen[i], &small, p, &inside);
        pixels_free(&small);
        if (inside < 0) continue;
        o = cJSON_AddObjectToObject(example, side ? "heat_after" : "heat_before");
        cJSON_AddNumberToObject(o, "layer", layer);
        cJSON_AddNumberToObject(o, "inside", inside);
    }
    net_unbind(net);
    return st;
}

static enum status add_examples(struct ctx *ctx, struct measuring *m, struct report *r) {
    cJSON *list = cJSON_AddArrayToObject(r->figures, "examples");
    int *chosen = mem_zero(ctx, (size_t)m->opt->images, sizeof *chosen);
    bool *changed = mem_zero(ctx, (size_t)m->opt->images, sizeof *changed);
    r->picture = mem_zero(ctx, (size_t)m->opt->images, sizeof *r->picture);
    enum status st = ctx->code;
    r->n_picture = st == ST_OK ? views_choose(&m->views, m->opt->images, chosen, changed) : 0;
    for (int i = 0; i < r->n_picture && st == ST_OK; ++i) st = add_example(ctx, m, &r->picture[i], chosen[i], changed[i], list);
    for (int s = 0; s < REPORT_SIDES && st == ST_OK && r->n_picture; ++s) st = add_heat(ctx, m, s, r, chosen);
    free(chosen), free(changed);
    return st;
}

/* --- All of it ------------------------------------------------------------------------------------------ */

static void add_data(cJSON *to, const struct measuring *m) {
    cJSON *o = cJSON_AddObjectToObject(to, "data");
    cJSON_AddStringToObject(o, "path", m->opt->data);
    if (!m->list_path) return;
    cJSON_AddStringToObject(o, "list", m->list_path);
    cJSON_AddNumberToObject(o, "images_listed", m->survey.images);
    cJSON_AddNumberToObject(o, "images_unreadable", m->survey.unreadable);
    cJSON_AddNumberToObject(o, "images_seen", m->images.n);
    cJSON_AddNumberToObject(o, "label_files_missing", m->survey.no_labels);
    cJSON_AddNumberToObject(o, "label_lines_left_out", (double)m->survey.bad_lines);
    cJSON_AddNumberToObject(o, "objects", (double)m->survey.boxes);
}

/* "CFG and CFG2", without folders and extensions. */
static void default_title(const struct report_options *opt, char *text, size_t size) {
    const char *name[REPORT_SIDES];
    int n[REPORT_SIDES];
    for (int s = 0; s < REPORT_SIDES; ++s) {
        const char *slash = strrchr(opt->cfg[s], '/'), *dot;
        name[s] = slash ? slash + 1 : opt->cfg[s];
        dot = strrchr(name[s], '.');
        n[s] = dot ? (int)(dot - name[s]) : (int)strlen(name[s]);
    }
    snprintf(text, size, "%.*s and %.*s", n[0], name[0], n[1], name[1]);
}

/* Of the times after to those before, pass by pass. */
static void add_ratio(cJSON *to, const struct speed_ratio *r, int runs) {
    cJSON *o = cJSON_AddObjectToObject(to, "time_ratio");
    cJSON_AddNumberToObject(o, "median", r->median);
    cJSON_AddNumberToObject(o, "low", r->low);
    cJSON_AddNumberToObject(o, "high", r->high);
    cJSON_AddNumberToObject(o, "passes", runs);
    cJSON_AddBoolToObject(o, "noise", r->noise);
}

static enum status write_figures(struct ctx *ctx, struct measuring *m, struct report *r) {
    char title[600], device[200];
    r->figures = cJSON_CreateObject();
    default_title(m->opt, title, sizeof title);
    cJSON_AddStringToObject(r->figures, "title", m->opt->title ? m->opt->title : title);
    backend_describe(m->be, device, sizeof device);
    cJSON_AddStringToObject(r->figures, "device", device);
    cJSON_AddNumberToObject(r->figures, "thresh", m->opt->thresh);
    cJSON_AddNumberToObject(r->figures, "iou_thresh", m->opt->iou_thresh);
    if (*m->missing) cJSON_AddStringToObject(r->figures, "accuracy_missing", m->missing);
    add_data(r->figures, m);
    for (int s = 0; s < REPORT_SIDES; ++s) TRY(add_side(ctx, r->figures, m, s));
    add_ratio(r->figures, &m->ratio, m->times.runs);
    cJSON_AddBoolToObject(r->figures, "layers_paired", paired(m->net[0], m->net[1]));
    return add_examples(ctx, m, r);
}

enum status report_measure(struct ctx *ctx, struct backend *be, const struct report_options *opt, struct report *r) {
    struct measuring m = { .opt = opt, .be = be };
    *r = (struct report){ 0 };
    enum status st = open_all(ctx, &m);
    if (st == ST_OK) st = measure(ctx, &m);
    if (st == ST_OK) st = write_figures(ctx, &m, r);
    for (int s = 0; s < REPORT_SIDES; ++s) {
        net_close(m.net[s]);
        map_free(&m.map[s]);
    }
    speed_record_free(&m.times);
    views_close(&m.views);
    dataset_report_free(&m.survey);
    list_free(&m.images);
    list_free(&m.difficult);
    list_free(&m.names);
    data_free(&m.data);
    if (st != ST_OK) report_free(r);
    return st;
}

/* --- Files ---------------------------------------------------------------------------------------------- */

enum status report_read_back(struct ctx *ctx, const cJSON *record, char **text, cJSON **back) {
    *text = cJSON_Print(record);
    *back = *text ? cJSON_Parse(*text) : NULL;
    if (*back) return ST_OK;
    free(*text);
    *text = NULL;
    return ctx_fail(ctx, ST_MEMORY, "out of memory for the record");
}

enum status report_write(struct ctx *ctx, struct report *r, cJSON *record, const char *json, const char *html) {
    char *text = NULL, *page = NULL;
    cJSON *back = NULL;
    cJSON_DeleteItemFromObject(record, "report");
    cJSON_AddItemToObject(record, "report", r->figures);
    r->figures = NULL; /* the record's now */
    enum status st = report_read_back(ctx, record, &text, &back);
    if (st == ST_OK) st = report_page(ctx, back, r, &page);
    if (st == ST_OK) st = io_write(ctx, json, text, strlen(text));
    if (st == ST_OK) st = io_write(ctx, html, page, strlen(page));
    cJSON_Delete(back);
    free(text), free(page);
    return st;
}

enum status report_add(struct ctx *ctx, struct report *r, const char *record_path, const char *html) {
    cJSON *record;
    TRY(json_read(ctx, record_path, &record));
    enum status st = report_write(ctx, r, record, record_path, html);
    cJSON_Delete(record);
    return st;
}
