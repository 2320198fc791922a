/* The [net] section (darknet-compat 1.3) as typed groups. */
#ifndef CFG_NET_OPTIONS_H
#define CFG_NET_OPTIONS_H

#include "cfg/keys.h"

/* How training images are mixed, by upstream's numbers (darknet-compat 1.3). */
enum mix_kind { MIX_NONE, MIX_UP, MIX_CUT, MIX_MOSAIC, MIX_CUT_OR_MOSAIC };
enum rate_policy { POLICY_CONSTANT, POLICY_STEP, POLICY_EXP, POLICY_POLY, POLICY_STEPS, POLICY_SIGMOID, POLICY_RANDOM, POLICY_SGDR };

struct net_options {
    /* input; inputs = width * height * channels unless given */
    int width, height, channels, inputs;
    /* batch: images per step, parts it is split in, frames per sequence */
    int batch, subdivisions, time_steps;
    /* schedule (darknet-compat 1.5) */
    int max_batches, burn_in, step, sgdr_cycle, sgdr_mult;
    double learning_rate, learning_rate_min, power, scale, gamma;
    int policy;                       /* enum rate_policy */
    struct cfg_ints steps;
    struct cfg_floats scales;
    /* optimiser; adamw and max_grad_norm are ours: decay apart from the gradient, and a bound on the mean gradient's length */
    double momentum, decay;
    int adam, adamw;
    double B1, B2, eps, max_grad_norm;
    /* darknet-compat 1.7 */
    double ema_alpha, adversarial_lr;
    int weights_reject_freq, dynamic_minibatch;
    /* sequences of frames */
    int track, augment_speed, sequential_subdivisions;
    struct cfg_floats seq_scales;
    /* augmentation; max_crop, min_crop, angle, aspect, label_smooth_eps concern classifiers only */
    int flip, letter_box, max_crop, min_crop, resize_step;
    double hue, saturation, exposure, angle, aspect, label_smooth_eps;
    /* which deltas [yolo] leaves out late in training */
    int equidistant_point;
    double badlabels_rejection_percentage, num_sigmas_reject_badlabels;
    int mixup, cutmix, mosaic, mosaic_bound, blur;   /* what they come to together: net_mix */
    double gaussian_noise;
    /* pairs of views of one picture */
    int contrastive, contrastive_jit_flip, contrastive_color, unsupervised;
    /* chart */
    double max_chart_loss;
};

extern const struct cfg_key net_option_keys[];

/* Reads and cross-checks section 0, which must be [net] or [network]: sizes positive (or `inputs`), batch and subdivisions
 * at least 1 and batch >= subdivisions, policy=steps with steps and as many scales.  Defaults that depend on other keys are
 * filled in (inputs, sgdr_cycle, max_crop, min_crop).  Keys whose effect on training is not built pass. */
enum status net_options_read(struct ctx *, const struct cfg_doc *, bool strict, struct net_options *);
void net_options_free(struct net_options *);
/* Before training: ST_UNSUPPORTED naming file, line and key when [net] asks for something that is not built
 * (equidistant_point, ...); ST_CFG when policy=poly has no max_batches. */
enum status net_options_check_training(struct ctx *, const struct cfg_doc *, const struct net_options *);
/* Which mixture mosaic, cutmix and mixup ask for together. */
enum mix_kind net_mix(const struct net_options *);
/* With track=1, step n's mini-batches show sequential_subdivisions sequences one after the other: how many of them one takes,
 * 1..subdivisions. */
int net_sequence_batches(const struct net_options *, long long n);
/* The rate of iteration n (1 for the first update), darknet-compat 1.5; `uniform` in [0,1) feeds policy=random.
 * While n < burn_in: the warm-up alone. */
double net_learning_rate(const struct net_options *, long long n, double uniform);

#endif
