/* The record of a pruning run (pruning.md 8) and the files of a saliency run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "recipe/audit.h"
#include "recipe/prune_blocks.h"

static const char version[] = "1.0";
const char *audit_version(void) { return version; }

enum status audit_add_file(struct ctx *ctx, cJSON *to, const char *name, const char *path) {
    char hex[65];
    TRY(io_sha256(ctx, path, hex));
    cJSON *file = cJSON_AddObjectToObject(to, name);
    cJSON_AddStringToObject(file, "path", path);
    cJSON_AddStringToObject(file, "sha256", hex);
    return ST_OK;
}

static enum status add_labels(struct ctx *ctx, const struct prune_job *job, cJSON *to) {
    if (job->opt.classifier) return audit_add_file(ctx, to, "labels", job->data.labels ? job->data.labels : "data/labels.list");
    cJSON *labels = cJSON_AddArrayToObject(to, "labels");
    for (int i = 0; i < score_images_count(job->images); ++i) {
        char *path = label_path(ctx, score_images_path(job->images, i)), hex[65];
        enum status st = path ? io_sha256(ctx, path, hex) : ST_MEMORY;
        cJSON *file = st == ST_OK ? cJSON_CreateObject() : NULL;
        if (file) {
            cJSON_AddStringToObject(file, "path", path);
            cJSON_AddStringToObject(file, "sha256", hex);
            cJSON_AddItemToArray(labels, file);
        }
        free(path);
        if (st != ST_OK) return st;
    }
    return ST_OK;
}

static void add_cost(cJSON *to, const char *name, struct cost c, const struct speed *speed) {
    cJSON *o = cJSON_AddObjectToObject(to, name);
    cJSON_AddNumberToObject(o, "flops", c.flops);
    cJSON_AddNumberToObject(o, "params", c.params);
    cJSON_AddNumberToObject(o, "weight_bytes", 20 + 4 * c.params);
    cJSON_AddNumberToObject(o, "activation_bytes", 4 * c.activations);
    if (speed->ms > 0) cJSON_AddNumberToObject(o, "ms", speed->ms);
}

void audit_add_map(cJSON *to, const char *name, const struct map_result *m, double iou) {
    cJSON *o = cJSON_AddObjectToObject(to, name), *classes;
    cJSON_AddNumberToObject(o, "iou_thresh", iou);
    cJSON_AddNumberToObject(o, "map", m->map);
    cJSON_AddNumberToObject(o, "map_classes_present", m->map_present);
    cJSON_AddNumberToObject(o, "map_small", m->map_size[MAP_SMALL]);
    cJSON_AddNumberToObject(o, "map_medium", m->map_size[MAP_MEDIUM]);
    cJSON_AddNumberToObject(o, "map_large", m->map_size[MAP_LARGE]);
    classes = cJSON_AddArrayToObject(o, "ap");
    for (int i = 0; i < m->classes; ++i) cJSON_AddItemToArray(classes, cJSON_CreateNumber(m->of[i].ap));
    classes = cJSON_AddArrayToObject(o, "objects");
    for (int i = 0; i < m->classes; ++i) cJSON_AddItemToArray(classes, cJSON_CreateNumber(m->of[i].truths));
    classes = cJSON_AddArrayToObject(o, "objects_by_size");
    for (int i = 0; i < MAP_SIZES; ++i) cJSON_AddItemToArray(classes, cJSON_CreateNumber(m->truths_size[i]));
}

static double number(const cJSON *o, const char *name) { return cJSON_GetNumberValue(cJSON_GetObjectItem(o, name)); }

enum status audit_read_map(struct ctx *ctx, const cJSON *from, const char *name, struct map_result *m) {
    const cJSON *o = cJSON_GetObjectItem(from, name), *ap = cJSON_GetObjectItem(o, "ap"), *objects = cJSON_GetObjectItem(o, "objects"),
                *sizes = cJSON_GetObjectItem(o, "objects_by_size");
    map_free(m);
    *m = (struct map_result){ .classes = cJSON_GetArraySize(ap), .map = number(o, "map"), .map_present = number(o, "map_classes_present"),
                              .map_size = { number(o, "map_small"), number(o, "map_medium"), number(o, "map_large") } };
    m->of = mem_zero(ctx, (size_t)m->classes, sizeof *m->of);
    if (!m->of) return ST_MEMORY;
    for (int i = 0; i < m->classes; ++i) {
        m->of[i].ap = cJSON_GetNumberValue(cJSON_GetArrayItem(ap, i));
        m->of[i].truths = (int)cJSON_GetNumberValue(cJSON_GetArrayItem(objects, i));
    }
    for (int i = 0; i < MAP_SIZES; ++i) m->truths_size[i] = (int)cJSON_GetNumberValue(cJSON_GetArrayItem(sizes, i));
    return m->classes ? ST_OK : ctx_fail(ctx, ST_FORMAT, "the record has no whole '%s'", name);
}

static void add_classes(cJSON *to, const char *name, const struct classify_score *s, int top) {
    cJSON *o = cJSON_AddObjectToObject(to, name);
    cJSON_AddNumberToObject(o, "images", s->images);
    cJSON_AddNumberToObject(o, "top1", (double)s->top1 / s->images);
    cJSON_AddNumberToObject(o, "k", top);
    cJSON_AddNumberToObject(o, "topk", (double)s->topk / s->images);
}

/* Per layer with filters: kept indices, scores of all its channels, and, where a reader needs them, the means that removed
 * channels leave behind. */
static void add_layers(const struct prune_job *job, cJSON *to) {
    const struct channels *ch = job->channels;
    cJSON *layers = cJSON_AddArrayToObject(to, "layers");
    for (int i = 0; i < job->net->n; ++i) {
        const struct layer *l = &job->net->layer[i];
        if (l->out.c == 0) continue;
        cJSON *o = cJSON_CreateObject(), *kept, *score = NULL, *gone = cJSON_CreateObject();
        cJSON_AddItemToArray(layers, o);
        cJSON_AddNumberToObject(o, "layer", i);
        cJSON_AddStringToObject(o, "type", l->section->type);
        cJSON_AddNumberToObject(o, "filters", l->out.c);
        kept = cJSON_AddArrayToObject(o, "kept");
        if (l->n_param && !job->opt.from_plan && !job->opt.blocks_only) score = cJSON_AddArrayToObject(o, "score");
        for (int k = 0; k < l->out.c; ++k) {
            int node = ch->first_node[i] + k, g = ch->group_of[node];
            char key[16];
            snprintf(key, sizeof key, "%d", k);
            if (job->selection.keep[g]) cJSON_AddItemToArray(kept, cJSON_CreateNumber(k));
            else if (job->mean[node] != 0) cJSON_AddNumberToObject(gone, key, job->mean[node]);
            if (score) cJSON_AddItemToArray(score, cJSON_CreateNumber(job->score[g]));
        }
        if (gone->child) cJSON_AddItemToObject(o, "mean_of_removed", gone);
        else cJSON_Delete(gone);
        const struct channel_group *first = &ch->group[channels_group(ch, i, 0)];
        if (first->frozen) cJSON_AddStringToObject(o, "frozen", first->frozen);
    }
}

/* What was asked of the clock and what it said. */
static void add_latency(const struct prune_job *job, cJSON *to) {
    const struct latency_outcome *l = &job->latency_outcome;
    if (!l->asked) return;
    cJSON *o = cJSON_AddObjectToObject(to, "latency");
    cJSON_AddNumberToObject(o, "target_share", l->target_share);
    if (l->target_ms > 0) cJSON_AddNumberToObject(o, "target_ms", l->target_ms);
    cJSON_AddNumberToObject(o, "measured_share", l->share);
    cJSON_AddNumberToObject(o, "measured_ms", l->ms);
    cJSON_AddNumberToObject(o, "off", l->off);
    cJSON_AddBoolToObject(o, "within_tolerance", l->met);
    if (l->why[0]) cJSON_AddStringToObject(o, "why", l->why);
    cJSON_AddNumberToObject(o, "cuts_measured", l->rounds);
}

static const char *target_name(enum target_kind k) {
    static const char *const names[] = { "ratio", "flops", "params", "memory", "threshold", "latency" };
    return names[k];
}

enum status audit_add_inputs(struct ctx *ctx, const struct prune_job *job, cJSON *to) {
    TRY(audit_add_file(ctx, to, "cfg", job->opt.cfg));
    TRY(audit_add_file(ctx, to, "weights", job->opt.weights));
    TRY(audit_add_file(ctx, to, "data", job->opt.data));
    TRY(audit_add_file(ctx, to, "image_list", job->opt.use_valid ? job->data.valid : job->data.train));
    TRY(add_labels(ctx, job, to));
    return job->opt.from_plan ? audit_add_file(ctx, to, "plan", job->opt.from_plan) : ST_OK;
}

enum status audit_text(struct ctx *ctx, const struct prune_job *job, char **text) {
    cJSON *root = cJSON_CreateObject(), *in;
    enum status st = ST_OK;
    *text = NULL;
    cJSON_AddStringToObject(root, "version", version);
    if (job->opt.flags) cJSON_AddStringToObject(root, "command", job->opt.flags);
    in = cJSON_AddObjectToObject(root, "inputs");
    st = audit_add_inputs(ctx, job, in);
    cJSON_AddStringToObject(root, "criterion", job->opt.criterion);
    cJSON_AddStringToObject(root, "target", target_name(job->opt.select.target));
    cJSON_AddNumberToObject(root, "target_value", job->opt.select.value);
    cJSON_AddNumberToObject(root, "cost_power", job->opt.select.cost_power);
    cJSON_AddNumberToObject(root, "interaction", job->opt.select.interaction);
    cJSON_AddNumberToObject(root, "seed", (double)job->opt.saliency.seed);
    cJSON_AddNumberToObject(root, "images", score_images_count(job->images));
    cJSON_AddBoolToObject(root, "compensated", job->opt.compensate);
    if (job->detail.n_object) cJSON_AddNumberToObject(root, "kendall_tau_halves", job->detail.tau);
    add_latency(job, root);
    add_cost(root, "before", job->selection.before, &job->speed_before);
    add_cost(root, "after", job->selection.after, &job->speed_after);
    cJSON_AddNumberToObject(root, "masked_vs_pruned", job->worst);
    if (job->have_map) {
        audit_add_map(root, "map_before", &job->map_before, job->opt.map_iou);
        audit_add_map(root, "map_after_cut", &job->map_after, job->opt.map_iou);
        if (job->have_tuned) audit_add_map(root, "map_after_finetune", &job->map_tuned, job->opt.map_iou);
    }
    if (job->classes_before.images) {
        add_classes(root, "accuracy_before", &job->classes_before, job->top);
        add_classes(root, "accuracy_after_cut", &job->classes_after, job->top);
    }
    prune_blocks_record(job, root);
    if (job->loop) cJSON_AddItemReferenceToObject(root, "loop", job->loop);
    add_layers(job, root);
    if (st == ST_OK && !(*text = cJSON_Print(root))) st = ctx_fail(ctx, ST_MEMORY, "out of memory writing the record");
    cJSON_Delete(root);
    return st;
}

/* --- reading a plan back --------------------------------------------------------------------------------------------- */

static enum status check_input(struct ctx *ctx, const cJSON *root, const char *plan, const char *name, const char *path) {
    char hex[65];
    const cJSON *file = cJSON_GetObjectItem(cJSON_GetObjectItem(root, "inputs"), name);
    const char *sha = cJSON_GetStringValue(cJSON_GetObjectItem(file, "sha256"));
    TRY(io_sha256(ctx, path, hex));
    if (!sha || strcmp(sha, hex)) return ctx_fail(ctx, ST_FORMAT, "%s: was made for another %s than %s", plan, name, path);
    return ST_OK;
}

static enum status read_layer(struct ctx *ctx, struct prune_job *job, const char *path, const cJSON *o) {
    const struct channels *ch = job->channels;
    const cJSON *number = cJSON_GetObjectItem(o, "layer"), *kept = cJSON_GetObjectItem(o, "kept"), *k;
    int i = cJSON_IsNumber(number) ? number->valueint : -1;
    if (i < 0 || i >= job->net->n || !cJSON_IsArray(kept)) return ctx_fail(ctx, ST_FORMAT, "%s: a layer without 'layer' or 'kept'", path);
    int width = job->net->layer[i].out.c;
    for (int c = 0; c < width; ++c) job->selection.keep[channels_group(ch, i, c)] &= 2; /* 0, unless another layer kept it */
    cJSON_ArrayForEach(k, kept) {
        if (!cJSON_IsNumber(k) || k->valueint < 0 || k->valueint >= width)
            return ctx_fail(ctx, ST_FORMAT, "%s: layer %d keeps a channel outside 0 to %d", path, i, width - 1);
        job->selection.keep[channels_group(ch, i, k->valueint)] = 2;
    }
    const cJSON *gone = cJSON_GetObjectItem(o, "mean_of_removed");
    cJSON_ArrayForEach(k, gone) {
        int c = k->string ? atoi(k->string) : -1; /* an array's elements have no names */
        if (c >= 0 && c < width && cJSON_IsNumber(k)) job->mean[ch->first_node[i] + c] = k->valuedouble;
    }
    return ST_OK;
}

static enum status read_layers(struct ctx *ctx, struct prune_job *job, const char *path, const cJSON *root) {
    const struct channels *ch = job->channels;
    const cJSON *layers = cJSON_GetObjectItem(root, "layers"), *o;
    memset(job->selection.keep, 1, (size_t)ch->n_group);
    if (!cJSON_IsArray(layers)) return ctx_fail(ctx, ST_FORMAT, "%s: has no list 'layers'", path);
    cJSON_ArrayForEach(o, layers) TRY(read_layer(ctx, job, path, o));
    for (int g = 0; g < ch->n_group; ++g) {
        job->selection.keep[g] = job->selection.keep[g] != 0;
        if (!job->selection.keep[g] && ch->group[g].frozen)
            return ctx_fail(ctx, ST_FORMAT, "%s: removes channels of layer %d, which must stay (%s)", path, ch->group[g].frozen_by,
                            ch->group[g].frozen);
    }
    return ST_OK;
}

enum status audit_read_plan(struct ctx *ctx, struct prune_job *job, const char *path) {
    char *bytes;
    size_t size, n = (size_t)job->channels->n_group;
    TRY(io_read(ctx, path, &bytes, &size));
    cJSON *root = cJSON_Parse(bytes);
    free(bytes);
    if (!root) return ctx_fail(ctx, ST_FORMAT, "%s: is not JSON; it should be the .prune.json of an earlier run", path);
    job->selection.keep = mem_zero(ctx, n, 1);
    job->selection.rank = mem_zero(ctx, n, sizeof *job->selection.rank);
    int *kept = mem_zero(ctx, (size_t)job->net->n, sizeof *kept);
    enum status st = ctx->code;
    if (st == ST_OK) st = check_input(ctx, root, path, "cfg", job->opt.cfg);
    if (st == ST_OK) st = check_input(ctx, root, path, "weights", job->opt.weights);
    if (st == ST_OK) st = read_layers(ctx, job, path, root);
    const cJSON *loop = cJSON_GetObjectItem(root, "loop");
    if (st == ST_OK && loop)
        ctx_log(ctx, LOG_INFO, "%s: is of a run that trains after its cuts; this makes all of them at once, without the training: the final network's cfg, "
                               "its weights as cut from %s. The command in the record makes the trained ones.", path, job->opt.weights);
    if (st == ST_OK) {
        job->opt.compensate = cJSON_IsTrue(cJSON_GetObjectItem(root, "compensated"));
        for (int i = 0; i < job->net->n; ++i) kept[i] = job->net->layer[i].out.c;
        for (int i = 0; i < job->net->n; ++i) job->selection.filters_before += job->net->layer[i].n_param ? kept[i] : 0;
        job->selection.before = cost_at(job->net, kept);
        channels_widths(job->channels, job->selection.keep, kept);
        for (int i = 0; i < job->net->n; ++i) job->selection.filters_after += job->net->layer[i].n_param ? kept[i] : 0;
        job->selection.after = cost_at(job->net, kept);
        job->selection.reached = true;
    }
    free(kept);
    cJSON_Delete(root);
    return st;
}

/* --- detector saliency ------------------------------------------------------------------------------------------------ */

static enum status write_csv(struct ctx *ctx, const struct prune_job *job, const char *path) {
    struct io_out out;
    TRY(io_create(ctx, path, &out));
    fprintf(out.file, "layer,type,filter,group,score,mean_activation,frozen\n");
    for (int i = 0; i < job->net->n; ++i) {
        const struct layer *l = &job->net->layer[i];
        for (int k = 0; k < l->out.c && l->n_param; ++k) {
            int node = job->channels->first_node[i] + k, g = job->channels->group_of[node];
            const char *frozen = job->channels->group[g].frozen;
            fprintf(out.file, "%d,%s,%d,%d,%.9g,%.9g,%s\n", i, l->section->type, k, g, job->score[g], job->mean[node], frozen ? frozen : "");
        }
    }
    return io_commit(ctx, &out);
}

/* What makes two runs comparable. */
static enum status add_kind(struct ctx *ctx, const struct prune_job *job, cJSON *root) {
    static const char *const utility[] = { "detection", "probability", "loss" };
    static const char *const form[] = { "abs", "relu", "asymmetric", "elementwise", "square" };
    static const char *const balance[] = { "size", "object", "none" }, *const normalize[] = { "none", "mean", "l2", "rank" };
    char hex[65];
    cJSON_AddStringToObject(root, "criterion", job->opt.criterion);
    cJSON_AddStringToObject(root, "utility", utility[job->opt.saliency.utility]);
    cJSON_AddStringToObject(root, "form", form[job->opt.saliency.form]);
    cJSON_AddStringToObject(root, "balance", balance[job->opt.saliency.balance]);
    cJSON_AddStringToObject(root, "normalize", normalize[job->opt.saliency.normalize]);
    cJSON_AddStringToObject(root, "cfg", job->opt.cfg);
    TRY(io_sha256(ctx, job->opt.cfg, hex));
    cJSON_AddStringToObject(root, "cfg_sha256", hex);
    cJSON_AddStringToObject(root, "weights", job->opt.weights);
    TRY(io_sha256(ctx, job->opt.weights, hex));
    cJSON_AddStringToObject(root, "weights_sha256", hex);
    cJSON_AddStringToObject(root, "image_list", job->opt.use_valid ? job->data.valid : job->data.train);
    return ST_OK;
}

/* Kendall's tau between the halves of the images, over the groups of one layer. */
static enum status add_layer_tau(struct ctx *ctx, const struct prune_job *job, int layer, cJSON *to) {
    const struct channels *ch = job->channels;
    if (!job->detail.n_object || !job->detail.half[0]) return ST_OK;
    uint8_t *use = mem_zero(ctx, (size_t)ch->n_group, 1);
    if (!use) return ST_MEMORY;
    for (int k = ch->first_node[layer]; k < ch->first_node[layer + 1]; ++k) use[ch->group_of[k]] = 1;
    cJSON_AddNumberToObject(to, "kendall_tau_halves", kendall_tau(job->detail.half[0], job->detail.half[1], use, ch->n_group));
    free(use);
    return ST_OK;
}

static enum status saliency_json(struct ctx *ctx, const struct prune_job *job, char **text) {
    cJSON *root = cJSON_CreateObject(), *layers;
    cJSON_AddStringToObject(root, "version", version);
    enum status st = add_kind(ctx, job, root);
    cJSON_AddNumberToObject(root, "images", score_images_count(job->images));
    cJSON_AddNumberToObject(root, "votes", job->detail.n_object);
    cJSON_AddNumberToObject(root, "objects_small", job->detail.bin_count[0]);
    cJSON_AddNumberToObject(root, "objects_medium", job->detail.bin_count[1]);
    cJSON_AddNumberToObject(root, "objects_large", job->detail.bin_count[2]);
    cJSON_AddNumberToObject(root, "kendall_tau_halves", job->detail.tau);
    layers = cJSON_AddArrayToObject(root, "layers");
    for (int i = 0; i < job->net->n && st == ST_OK; ++i) {
        const struct layer *l = &job->net->layer[i];
        if (l->n_param == 0) continue;
        cJSON *o = cJSON_CreateObject(), *score, *mean, *group;
        cJSON_AddItemToArray(layers, o);
        cJSON_AddNumberToObject(o, "layer", i);
        cJSON_AddStringToObject(o, "type", l->section->type);
        const char *frozen = job->channels->group[channels_group(job->channels, i, 0)].frozen;
        if (frozen) cJSON_AddStringToObject(o, "frozen", frozen);
        st = add_layer_tau(ctx, job, i, o);
        score = cJSON_AddArrayToObject(o, "score");
        mean = cJSON_AddArrayToObject(o, "mean_activation");
        group = cJSON_AddArrayToObject(o, "group");
        for (int k = 0; k < l->out.c; ++k) {
            int node = job->channels->first_node[i] + k, g = job->channels->group_of[node];
            cJSON_AddItemToArray(score, cJSON_CreateNumber(job->score[g]));
            cJSON_AddItemToArray(mean, cJSON_CreateNumber(job->mean[node]));
            cJSON_AddItemToArray(group, cJSON_CreateNumber(g));
        }
    }
    *text = st == ST_OK ? cJSON_Print(root) : NULL;
    if (st == ST_OK && !*text) st = ctx_fail(ctx, ST_MEMORY, "out of memory writing the scores");
    cJSON_Delete(root);
    return st;
}

enum status saliency_write(struct ctx *ctx, const struct prune_job *job, const char *prefix) {
    char path[1100], *text;
    TRY(saliency_json(ctx, job, &text));
    snprintf(path, sizeof path, "%s.json", prefix);
    enum status st = io_write(ctx, path, text, strlen(text));
    free(text);
    snprintf(path, sizeof path, "%s.csv", prefix);
    return st == ST_OK ? write_csv(ctx, job, path) : st;
}
