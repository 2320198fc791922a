#include "cfg/net_options.h"

#include <limits.h>
#include <math.h>
#include <string.h>

enum { MAX_SIDE = 65536, MAX_CHANNELS = 65536, MAX_BATCH = 1 << 24 };

static const struct cfg_choice policies[] = {
    { "constant", POLICY_CONSTANT }, { "step", POLICY_STEP }, { "exp", POLICY_EXP }, { "poly", POLICY_POLY },
    { "steps", POLICY_STEPS }, { "sigmoid", POLICY_SIGMOID }, { "random", POLICY_RANDOM },
    { "sgdr", POLICY_SGDR }, { NULL, 0 }
};

const struct cfg_key net_option_keys[] = {
    CFG_INT(struct net_options, width, 0, 0, MAX_SIDE),
    CFG_INT(struct net_options, height, 0, 0, MAX_SIDE),
    CFG_INT(struct net_options, channels, 0, 0, MAX_CHANNELS),
    CFG_INT(struct net_options, inputs, 0, 0, INT_MAX),
    CFG_INT(struct net_options, batch, 1, 1, MAX_BATCH),
    CFG_INT(struct net_options, subdivisions, 1, 1, MAX_BATCH),
    CFG_INT(struct net_options, time_steps, 1, 1, MAX_BATCH),
    CFG_INT(struct net_options, max_batches, 0, 0, INT_MAX),
    CFG_INT(struct net_options, burn_in, 0, 0, INT_MAX),
    CFG_INT(struct net_options, step, 1, 1, INT_MAX),
    CFG_INT(struct net_options, sgdr_cycle, 0, 0, INT_MAX),
    CFG_INT(struct net_options, sgdr_mult, 2, 1, 1000),
    CFG_FLOAT_IN(struct net_options, learning_rate, .001, 0, 1e9),
    CFG_FLOAT_IN(struct net_options, learning_rate_min, 1e-5, 0, 1e9),
    CFG_FLOAT(struct net_options, power, 4),
    CFG_FLOAT(struct net_options, scale, 1),
    CFG_FLOAT(struct net_options, gamma, 1),
    { .name = "policy", .type = CFG_T_CHOICE, .offset = offsetof(struct net_options, policy),
      .def = POLICY_CONSTANT, .choices = policies, .lenient = true },
    CFG_INTS(struct net_options, steps),
    CFG_FLOATS(struct net_options, scales),
    CFG_FLOAT_IN(struct net_options, momentum, .9, 0, 1),
    CFG_FLOAT_IN(struct net_options, decay, .0001, 0, 1e9),
    CFG_BOOL(struct net_options, adam, 0),
    CFG_FLOAT(struct net_options, B1, .9),
    CFG_FLOAT(struct net_options, B2, .999),
    CFG_FLOAT(struct net_options, eps, 1e-6),
    CFG_BOOL(struct net_options, adamw, 0),
    CFG_FLOAT_IN(struct net_options, max_grad_norm, 0, 0, 1e30),
    CFG_FLOAT_IN(struct net_options, ema_alpha, 0, 0, 1),
    CFG_FLOAT_IN(struct net_options, adversarial_lr, 0, 0, 1e9),
    CFG_INT(struct net_options, weights_reject_freq, 0, 0, INT_MAX),
    CFG_BOOL(struct net_options, dynamic_minibatch, 0),
    CFG_BOOL(struct net_options, track, 0),
    CFG_INT(struct net_options, augment_speed, 2, 1, 1000000),
    CFG_INT(struct net_options, sequential_subdivisions, 0, 0, INT_MAX),
    CFG_FLOATS(struct net_options, seq_scales),
    CFG_BOOL(struct net_options, flip, 1),
    CFG_BOOL(struct net_options, letter_box, 0),
    CFG_INT(struct net_options, max_crop, 0, 0, INT_MAX),
    CFG_INT(struct net_options, min_crop, 0, 0, INT_MAX),
    CFG_INT(struct net_options, resize_step, 32, 1, MAX_SIDE),
    CFG_FLOAT(struct net_options, hue, 0),
    CFG_FLOAT(struct net_options, saturation, 1),
    CFG_FLOAT(struct net_options, exposure, 1),
    CFG_FLOAT(struct net_options, angle, 0),
    CFG_FLOAT(struct net_options, aspect, 1),
    CFG_FLOAT_IN(struct net_options, label_smooth_eps, 0, 0, 1),
    CFG_INT(struct net_options, mixup, 0, 0, MIX_CUT_OR_MOSAIC),
    CFG_BOOL(struct net_options, cutmix, 0),
    CFG_BOOL(struct net_options, mosaic, 0),
    CFG_BOOL(struct net_options, mosaic_bound, 0),
    CFG_INT(struct net_options, blur, 0, 0, 255),
    CFG_FLOAT_IN(struct net_options, gaussian_noise, 0, 0, 1e9),
    CFG_BOOL(struct net_options, contrastive, 0),
    CFG_BOOL(struct net_options, contrastive_jit_flip, 0),
    CFG_BOOL(struct net_options, contrastive_color, 0),
    CFG_BOOL(struct net_options, unsupervised, 0),
    CFG_FLOAT_IN(struct net_options, max_chart_loss, 20, 0, 1e9),
    CFG_INT(struct net_options, equidistant_point, 0, 0, INT_MAX),
    CFG_FLOAT_IN(struct net_options, badlabels_rejection_percentage, 0, 0, 100),
    CFG_FLOAT_IN(struct net_options, num_sigmas_reject_badlabels, 0, 0, 1e9),
    /* Details of the above, which refuse training when they are on. */
    CFG_IGNORED("attention"),
    /* Upstream's GPU memory and display. */
    CFG_IGNORED("use_cuda_graph"), CFG_IGNORED("loss_scale"), CFG_IGNORED("optimized_memory"),
    CFG_IGNORED("workspace_size_limit_MB"), CFG_IGNORED("try_fix_nan"),
    CFG_IGNORED("show_receptive_field"),
    /* In published cfgs, read by nobody. */
    CFG_IGNORED("max_epochs"), CFG_IGNORED("seen"),
    CFG_END
};

static enum status check_input(struct ctx *ctx, const struct cfg_section *s, struct net_options *o) {
    const struct { const char *key; int v; } side[] = {
        { "width", o->width }, { "height", o->height }, { "channels", o->channels }
    };
    if (o->inputs > 0) {
        /* A vector is a picture of one cell. */
        if (o->width <= 0 || o->height <= 0 || o->channels <= 0) o->width = o->height = 1, o->channels = o->inputs;
        return ST_OK;
    }
    for (int i = 0; i < 3; ++i)
        if (side[i].v <= 0) return cfg_fail(ctx, s, side[i].key, "must be at least 1 (or give inputs=)");
    double inputs = (double)o->width * o->height * o->channels;
    if (inputs > INT_MAX)
        return cfg_fail(ctx, s, "width", "%d x %d x %d is too large an input", o->width, o->height,
                        o->channels);
    o->inputs = (int)inputs;
    return ST_OK;
}

static enum status check_batch(struct ctx *ctx, const struct cfg_section *s, const struct net_options *o) {
    if (o->batch < o->subdivisions)
        return cfg_fail(ctx, s, "batch",
                        "%d images cannot be split in subdivisions=%d parts, batch must be at least as large",
                        o->batch, o->subdivisions);
    if (o->batch % o->subdivisions)
        cfg_warn(ctx, s, 0, "batch", "%d is no multiple of subdivisions=%d: a training step takes %d images",
                 o->batch, o->subdivisions, o->batch / o->subdivisions * o->subdivisions);
    return ST_OK;
}

/* Views of one picture come in pairs, and a pair must not be split. */
static enum status check_pairs(struct ctx *ctx, const struct cfg_section *s, const struct net_options *o) {
    if (!o->contrastive || o->batch / 2 >= o->subdivisions) return ST_OK;
    return cfg_fail(ctx, s, "contrastive", "needs at least 2 images per mini-batch: batch=%d, subdivisions=%d", o->batch,
                    o->subdivisions);
}

static enum status check_policy(struct ctx *ctx, const struct cfg_section *s, const struct net_options *o) {
    if (o->policy != POLICY_STEPS) return ST_OK;
    if (!o->steps.n) return cfg_fail(ctx, s, "policy", "steps needs steps= and scales=, steps= is missing");
    if (!o->scales.n) return cfg_fail(ctx, s, "policy", "steps needs steps= and scales=, scales= is missing");
    if (o->scales.n < o->steps.n)
        return cfg_fail(ctx, s, "scales", "%d values for %d steps, one for each is needed", o->scales.n,
                        o->steps.n);
    if (o->scales.n > o->steps.n)
        cfg_warn(ctx, s, 0, "scales", "%d values for %d steps, the last ones have no effect", o->scales.n,
                 o->steps.n);
    return ST_OK;
}

enum status net_options_read(struct ctx *ctx, const struct cfg_doc *doc, bool strict, struct net_options *o) {
    const struct cfg_section *s = &doc->section[0];
    const struct cfg_key *tables[] = { net_option_keys };
    if (strcmp(s->type, "net") && strcmp(s->type, "network"))
        return cfg_fail(ctx, s, NULL, "the first section must be [net] or [network]");
    TRY(keys_read(ctx, s, net_option_keys, o));
    TRY(check_input(ctx, s, o));
    TRY(check_batch(ctx, s, o));
    TRY(check_policy(ctx, s, o));
    if (!o->sgdr_cycle) o->sgdr_cycle = o->max_batches;
    if (!o->sequential_subdivisions || o->sequential_subdivisions > o->subdivisions)
        o->sequential_subdivisions = o->subdivisions;
    if (!o->max_crop) o->max_crop = 2 * o->width;
    if (!o->min_crop) o->min_crop = o->width;
    return keys_check_unused(ctx, s, tables, 1, strict);
}

void net_options_free(struct net_options *o) { keys_free(net_option_keys, o); }

enum status net_options_check_training(struct ctx *ctx, const struct cfg_doc *doc,
                                       const struct net_options *o) {
    const struct cfg_section *s = &doc->section[0];
    TRY(check_pairs(ctx, s, o));
    if ((o->adam || o->adamw) && (o->B1 < 0 || o->B1 >= 1 || o->B2 < 0 || o->B2 >= 1 || o->eps <= 0))
        return cfg_fail(ctx, s, "adam", "needs 0 <= B1 < 1, 0 <= B2 < 1 and eps > 0");
    if (o->seq_scales.n && o->seq_scales.n < o->steps.n)
        return cfg_fail(ctx, s, "seq_scales", "%d values for %d steps, one for each is needed", o->seq_scales.n, o->steps.n);
    if (o->policy == POLICY_POLY && o->max_batches == 0)
        return cfg_fail(ctx, s, "policy", "poly needs max_batches=");
    return ST_OK;
}

enum mix_kind net_mix(const struct net_options *o) {
    if (o->mosaic && o->cutmix) return MIX_CUT_OR_MOSAIC;
    if (o->cutmix) return MIX_CUT;
    if (o->mosaic) return MIX_MOSAIC;
    return (enum mix_kind)o->mixup;
}

int net_sequence_batches(const struct net_options *o, long long n) {
    double sequences = o->sequential_subdivisions;
    for (int i = 0; i < o->seq_scales.n && i < o->steps.n && o->steps.v[i] <= n; ++i) sequences *= o->seq_scales.v[i];
    int whole = sequences < 1 ? 1 : sequences > o->subdivisions ? o->subdivisions : (int)sequences;
    return o->subdivisions / whole;
}

static double rate_steps(const struct net_options *o, long long n) {
    double rate = o->learning_rate;
    for (int i = 0; i < o->steps.n && o->steps.v[i] <= n; ++i) rate *= o->scales.v[i];
    return rate;
}

static double rate_sgdr(const struct net_options *o, long long n) {
    long long start = 0, cycle = o->sgdr_cycle;
    if (cycle <= 0) return o->learning_rate;
    while (start + cycle < n) {
        start += cycle;
        cycle *= o->sgdr_mult;
    }
    double turn = (double)(n - start) / (double)cycle;
    return o->learning_rate_min + .5 * (o->learning_rate - o->learning_rate_min) * (1 + cos(turn * acos(-1)));
}

double net_learning_rate(const struct net_options *o, long long n, double uniform) {
    double r = o->learning_rate, i = (double)n;
    if (n < o->burn_in) return r * pow(i / o->burn_in, o->power);
    switch ((enum rate_policy)o->policy) {
    case POLICY_CONSTANT: return r;
    case POLICY_STEP: return r * pow(o->scale, (double)(n / o->step));
    case POLICY_EXP: return r * pow(o->gamma, i);
    case POLICY_POLY: return o->max_batches > 0 ? r * pow(1 - i / o->max_batches, o->power) : 0;
    case POLICY_STEPS: return rate_steps(o, n);
    case POLICY_SIGMOID: return r / (1 + exp(o->gamma * (i - o->step)));
    case POLICY_RANDOM: return r * pow(uniform, o->power);
    case POLICY_SGDR: return rate_sgdr(o, n);
    }
    return r;
}
