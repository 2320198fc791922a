#include "recipe/heat_pictures.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/text.h"
#include "eval/detect.h"

enum { MAX_SITES = 64, ALL_CLASSES = -1 };

/* One image at work. */
struct scene {
    const char *path;
    int number;
    struct truth_list objects; /* relative to the network's input */
    struct box part;
    bool detected;
    struct image input;
    struct pixels picture;
};

static enum status parse_sites(struct ctx *ctx, const struct net *net, const char *layers, struct heatmap_site *site, int *n) {
    *n = heatmap_sites(net, site, MAX_SITES);
    for (const char *p = layers; p && *p;) {
        struct heatmap_site s = { .head = HEATMAP_ALL_HEADS };
        const char *rest;
        if (!text_int(p, &s.layer, &rest) || (*rest && *rest != ','))
            return ctx_fail(ctx, ST_USAGE, "-heatmap_layers %s: wants numbers of layers with commas between, e.g. 10,20", layers);
        if (*n == MAX_SITES) return ctx_fail(ctx, ST_USAGE, "-heatmap_layers: more than %d maps per image", (int)MAX_SITES);
        TRY(heatmap_check(ctx, net, s));
        site[(*n)++] = s;
        p = *rest ? rest + 1 : rest;
    }
    return ST_OK;
}

static enum status parse_class(struct ctx *ctx, const struct prune_job *job, const char *name, int *class_id) {
    const char *rest;
    *class_id = ALL_CLASSES;
    if (!name) return ST_OK;
    for (int k = 0; k < job->names.n && k < job->head.classes; ++k)
        if (strcmp(job->names.item[k], name) == 0) return *class_id = k, ST_OK;
    if (text_int(name, class_id, &rest) && !*rest && *class_id >= 0 && *class_id < job->head.classes) return ST_OK;
    const char *near = text_nearest(name, (const char *const *)job->names.item, (size_t)job->names.n);
    if (near) return ctx_fail(ctx, ST_USAGE, "-heatmap_class %s: no such class, did you mean %s?", name, near);
    return ctx_fail(ctx, ST_USAGE, "-heatmap_class %s: is no name of names= and no number from 0 to %d", name, job->head.classes - 1);
}

enum status heat_pictures_ready(struct ctx *ctx, const struct prune_job *job, const struct heat_options *opt) {
    struct heatmap_site site[MAX_SITES];
    int n, class_id;
    TRY(parse_class(ctx, job, opt->class_name, &class_id));
    TRY(parse_sites(ctx, job->net, opt->layers, site, &n));
    struct stat is;
    TRY(io_make_dirs(ctx, opt->folder));
    if (stat(opt->folder, &is) == 0 && !S_ISDIR(is.st_mode)) return ctx_fail(ctx, ST_USAGE, "-heatmap %s: is no folder", opt->folder);
    if (access(opt->folder, W_OK) == 0) return ST_OK;
    return ctx_fail(ctx, ST_IO, "%s: cannot be written: %s", opt->folder, strerror(errno));
}

/* --- one image --------------------------------------------------------------------------------------------------------- */

static enum status add_object(struct ctx *ctx, struct truth_list *list, struct truth t) {
    size_t cap = (size_t)list->cap;
    TRY(mem_grow(ctx, &list->item, &cap, (size_t)list->n + 1, sizeof *list->item));
    list->cap = (int)cap;
    list->item[list->n++] = t;
    return ST_OK;
}

/* From the picture to the input. */
static struct box into_part(struct box b, struct box part) {
    return (struct box){ part.x - part.w / 2 + b.x * part.w, part.y - part.h / 2 + b.y * part.h, b.w * part.w, b.h * part.h };
}

static enum status take_labels(struct ctx *ctx, struct scene *s, const struct prune_job *job, int class_id, bool *labelled) {
    struct truth_list all = { 0 };
    enum status st = labels_of(ctx, s->path, job->head.classes, false, &all);
    *labelled = all.n > 0;
    for (int i = 0; i < all.n && st == ST_OK; ++i) {
        if (class_id != ALL_CLASSES && all.item[i].class_id != class_id) continue;
        all.item[i].box = into_part(all.item[i].box, s->part);
        st = add_object(ctx, &s->objects, all.item[i]);
    }
    free(all.item);
    return st;
}

static enum status take_detections(struct ctx *ctx, struct scene *s, struct net *net, int class_id) {
    struct detection_list found = { 0 };
    struct detect_options opt = { .thresh = .25f, .nms = .45f };
    enum status st = net_forward(ctx, net, s->input.data);
    if (st == ST_OK) st = detect_collect(ctx, net, 0, net->opt.width, net->opt.height, &opt, &found);
    for (int i = 0; i < found.n && st == ST_OK; ++i) {
        int best = -1;
        for (int k = 0; k < found.classes; ++k)
            if (found.item[i].prob[k] > 0 && (best < 0 || found.item[i].prob[k] > found.item[i].prob[best])) best = k;
        if (best >= 0 && (class_id == ALL_CLASSES || best == class_id))
            st = add_object(ctx, &s->objects, (struct truth){ found.item[i].box, best, -1 });
    }
    s->detected = true;
    detections_free(&found);
    return st;
}

static enum status scene_open(struct ctx *ctx, const struct prune_job *job, int class_id, struct scene *s) {
    struct image im;
    bool letter_box = job->net->opt.letter_box, labelled;
    TRY(pixels_read(ctx, s->path, 3, &s->picture));
    TRY(image_read(ctx, s->path, job->net->opt.channels, &im));
    enum status st = detect_input(ctx, job->net, &im, letter_box, &s->input);
    s->part = heatmap_part(job->net, im.w, im.h, letter_box);
    image_free(&im);
    if (st == ST_OK) st = take_labels(ctx, s, job, class_id, &labelled);
    if (st == ST_OK && !labelled) st = take_detections(ctx, s, job->net, class_id);
    return st;
}

static void scene_close(struct scene *s) {
    image_free(&s->input);
    pixels_free(&s->picture);
    free(s->objects.item);
}

static const char *stem_of(const char *path, int *length) {
    const char *slash = strrchr(path, '/'), *start = slash ? slash + 1 : path, *dot = strrchr(start, '.');
    *length = dot ? (int)(dot - start) : (int)strlen(start);
    return start;
}

static const char *class_text(const struct prune_job *job, int class_id, char number[16]) {
    if (class_id < job->names.n) return job->names.item[class_id];
    snprintf(number, 16, "%d", class_id);
    return number;
}

static enum status write_map(struct ctx *ctx, const struct prune_job *job, const struct heat_options *opt, const struct scene *s,
                             const struct heatmap *m, int class_id) {
    bool all = m->site.head == HEATMAP_ALL_HEADS;
    int length;
    char number[16], site[64], path[1200], caption[400];
    const char *stem = stem_of(s->path, &length), *of_class = class_id == ALL_CLASSES ? "" : class_text(job, class_id, number);
    if (all) snprintf(site, sizeof site, "layer%d", m->site.layer);
    else snprintf(site, sizeof site, "%s%d", job->net->layer[m->site.head].section->type, m->site.head);
    size_t at = (size_t)snprintf(path, sizeof path, "%s/%03d_%.*s.%s%s%s", opt->folder, s->number, length, stem, site, *of_class ? "." : "", of_class);
    for (char *p = path + strlen(opt->folder) + 1; *p; ++p)
        if (*p == '/' || *p == ' ') *p = '_';
    if (at < sizeof path) snprintf(path + at, sizeof path - at, ".png");
    at = (size_t)snprintf(caption, sizeof caption, "head %s at layer %d (%dx%d)\n", site, m->site.layer, m->grid_w, m->grid_h);
    if (all) at = (size_t)snprintf(caption, sizeof caption, "all heads at layer %d (%dx%d)\n", m->site.layer, m->grid_w, m->grid_h);
    snprintf(caption + at, sizeof caption - at, "%d of %d %s, %s%s", m->objects, s->objects.n, s->detected ? "detections" : "objects",
             *of_class ? "class " : "all classes", of_class);
    struct pixels px;
    struct heatmap_picture p = { .picture = &s->picture, .part = s->part, .objects = &s->objects, .net = job->net,
                                 .name = (const char *const *)job->names.item, .n_name = job->names.n, .caption = caption };
    TRY(heatmap_draw(ctx, m, &p, &px));
    enum status st = pixels_write(ctx, path, &px, 0);
    pixels_free(&px);
    return st;
}

static enum status write_scene(struct ctx *ctx, const struct prune_job *job, const struct heat_options *opt, struct scene *s,
                               const struct heatmap_site *site, int n, int class_id, struct heat_tally *tally) {
    struct heatmap map[MAX_SITES];
    TRY(scene_open(ctx, job, class_id, s));
    if (s->objects.n == 0) return ++tally->without, ST_OK;
    TRY(heatmap_compute(ctx, job->net, s->input.data, &s->objects, site, n, map));
    enum status st = ST_OK;
    for (int i = 0; i < n; ++i) {
        bool empty = map[i].objects == 0;
        if (st == ST_OK && !empty) st = write_map(ctx, job, opt, s, &map[i], class_id);
        tally->files += st == ST_OK && !empty;
        tally->empty += empty;
        heatmap_free(&map[i]);
    }
    ++tally->images;
    tally->detected += s->detected;
    return st;
}

enum status heat_pictures_write(struct ctx *ctx, struct prune_job *job, const struct heat_options *opt, struct heat_tally *tally) {
    struct heatmap_site site[MAX_SITES];
    int n, class_id, total = score_images_count(job->images), count = opt->images > 0 && opt->images < total ? opt->images : total;
    *tally = (struct heat_tally){ 0 };
    TRY(parse_class(ctx, job, opt->class_name, &class_id));
    TRY(parse_sites(ctx, job->net, opt->layers, site, &n));
    enum status st = net_bind(ctx, job->net, job->be, NET_SCORE, 1);
    for (int i = 0; i < count && st == ST_OK; ++i) {
        struct scene s = { .number = i, .path = score_images_path(job->images, (int)((long long)i * total / count)) };
        if (job->opt.stop && *job->opt.stop)
            st = ctx_fail(ctx, ST_INTERRUPTED, "interrupted: heat maps of %d images are in %s", tally->images, opt->folder);
        if (st == ST_OK) st = write_scene(ctx, job, opt, &s, site, n, class_id, tally);
        scene_close(&s);
        if (job->opt.progress) job->opt.progress(job->opt.user, "heat maps", i + 1, count);
    }
    net_unbind(job->net);
    if (st == ST_OK && tally->files == 0)
        st = ctx_fail(ctx, ST_USAGE, "none of the %d images has an object%s%s, by its labels or as detected: no heat map was drawn", count,
                      opt->class_name ? " of class " : "", opt->class_name ? opt->class_name : "");
    return st;
}
