#include "layers/layer.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYER(name) extern const struct layer_ops name##_ops;
#include "layers/list.inc"
#undef LAYER

static const struct layer_ops *const types[] = {
#define LAYER(name) &name##_ops,
#include "layers/list.inc"
#undef LAYER
};

int layer_type_count(void) { return (int)(sizeof types / sizeof types[0]); }
const struct layer_ops *layer_type(int i) { return types[i]; }

const struct layer_ops *layer_find(const char *section) {
    for (int i = 0; i < layer_type_count(); ++i)
        if (!strcmp(types[i]->name, section) || (types[i]->alias && !strcmp(types[i]->alias, section))) return types[i];
    return NULL;
}

const struct cfg_key layer_common_keys[] = {
    CFG_INT(struct layer_common, dontload, 0, 0, 1),
    CFG_INT(struct layer_common, dontloadscales, 0, 0, 1),
    CFG_INT(struct layer_common, stopbackward, 0, 0, 1000000000),
    CFG_FLOAT_IN(struct layer_common, learning_rate, 1, 0, 1e9),
    CFG_BOOL(struct layer_common, onlyforward, 0),
    CFG_BOOL(struct layer_common, train_only_bn, 0),
    CFG_FLOAT_IN(struct layer_common, clip, 0, 0, 1e30),
    CFG_INT(struct layer_common, dont_update, 0, 0, 1000000000),
    CFG_INT(struct layer_common, burnin_update, 0, 0, 1000000000),
    CFG_END
};

/* silu: the other name of swish, in cfg files that were written for Darknet's readers in PyTorch. */
const struct cfg_choice conv_activation_choices[] = {
    { "normalize_channels", ACT_COUNT + CHANNEL_NORM_RELU },
    { "normalize_channels_softmax", ACT_COUNT + CHANNEL_NORM_SOFTMAX },
    { "normalize_channels_softmax_maxval", ACT_COUNT + CHANNEL_NORM_MAXVAL },
    { "logistic", ACT_LOGISTIC }, { "relu", ACT_RELU }, { "relu6", ACT_RELU6 }, { "relie", ACT_RELIE },
    { "linear", ACT_LINEAR }, { "ramp", ACT_RAMP }, { "tanh", ACT_TANH }, { "plse", ACT_PLSE },
    { "revleaky", ACT_REVLEAKY }, { "leaky", ACT_LEAKY }, { "elu", ACT_ELU }, { "loggy", ACT_LOGGY },
    { "stair", ACT_STAIR }, { "hardtan", ACT_HARDTAN }, { "lhtan", ACT_LHTAN }, { "selu", ACT_SELU },
    { "gelu", ACT_GELU }, { "swish", ACT_SWISH }, { "silu", ACT_SWISH }, { "mish", ACT_MISH }, { "hard_mish", ACT_HARD_MISH },
    { NULL, 0 }
};

bool layer_steady(const struct layer *l, enum net_mode mode) {
    (void)l, (void)mode;
    return true;
}
bool layer_repeats(const struct layer *l) { return l != NULL; }

bool layer_views(const struct layer *l) { return l != NULL; }

bool param_owned(const struct param *p) { return !(p->flags & PARAM_SHARED); }

size_t param_count(const struct param *p) { return (size_t)p->dim[0] * (size_t)p->dim[1] * (size_t)p->dim[2]; }

bool layer_has_filters(const struct layer *l) {
    for (int k = 0; k < l->n_param; ++k)
        if (l->param[k].out_axis >= 0 && l->param[k].role != PARAM_MIX) return true;
    return false;
}

const struct param *layer_filters(const struct layer *l) {
    for (int k = 0; k < l->n_param; ++k)
        if (l->param[k].role == PARAM_WEIGHT && l->param[k].out_axis == 0) return &l->param[k];
    return NULL;
}

void layer_param(struct layer *l, const struct param *p) {
    assert(l->n_param < LAYER_MAX_PARAM);
    l->param[l->n_param++] = *p;
}

enum status layer_out(struct ctx *ctx, struct layer *l, long long c, long long h, long long w) {
    if ((double)c * (double)h * (double)w > INT_MAX)
        return layer_fail(ctx, l, NULL, "its output of %lld x %lld x %lld is too large", w, h, c);
    l->out = (struct shape){ 1, (int)c, (int)h, (int)w };
    return ST_OK;
}

enum status layer_inputs(struct ctx *ctx, struct layer *l, const char *key, const int *index, int n) {
    free(l->in);
    free(l->in_shape);
    l->in = mem_zero(ctx, (size_t)n + 1, sizeof *l->in);
    l->in_shape = mem_zero(ctx, (size_t)n + 1, sizeof *l->in_shape);
    if (!l->in || !l->in_shape) return ST_MEMORY;
    l->n_in = n;
    l->in[n] = LAYER_INPUT; /* what in[0] says for a layer without inputs */
    for (int i = 0; i < n; ++i) {
        int from = index[i] < 0 ? l->index + index[i] : index[i];
        if (from < 0 || from >= l->index)
            return layer_fail(ctx, l, key, "%d names layer %d, but this is layer %d and only layers 0 to %d come before it",
                              index[i], from, l->index, l->index - 1);
        l->in[i] = from;
    }
    return ST_OK;
}

enum status layer_fail(struct ctx *ctx, const struct layer *l, const char *key, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return cfg_fail(ctx, l->section, key, "%s", text);
}

struct tensor shape_tensor(const struct backend *be, struct shape s, int batch, real *data) {
    s.n = batch;
    return tensor_of(be, s, data);
}

static bool watched(const struct pass *p) { return p->hook && p->hook->reader; }

struct tensor edge_begin(const struct layer *l, struct pass *p, bool *add) {
    bool apart = watched(p) && p->add[0];
    *add = p->add[0] && !apart;
    return apart ? shape_tensor(p->be, l->in_shape[0], p->batch, p->scratch) : *p->dx[0];
}

enum status edge_end(const struct layer *l, struct pass *p, const struct tensor *edge) {
    if (!watched(p)) return ST_OK;
    TRY(p->hook->reader(p->hook->user, p, l, p->x[0], edge));
    if (edge->data != p->dx[0]->data) p->be->ops->copy_channels(p->be, edge, 0, p->dx[0], 0, edge->c, 1, true);
    return ST_OK;
}
