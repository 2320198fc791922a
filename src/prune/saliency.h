/* Box-weighted gradient saliency (pruning.md 1-4), and what every other criterion shares with it.
 *
 * Source of the idea: Choi & Tian, Visual Saliency-Guided Channel Pruning for Deep Visual Detectors in Autonomous Driving,
 * IEEE IV 2023 (arXiv 2303.02512); the formulation is this project's own. */
#ifndef PRUNE_SALIENCY_H
#define PRUNE_SALIENCY_H

#include "prune/channels.h"

struct blocks;
struct score_meeting;
enum utility_kind { UTILITY_DETECTION, UTILITY_PROBABILITY, UTILITY_LOSS };
enum score_form { FORM_ABS, FORM_RELU, FORM_ASYMMETRIC, FORM_ELEMENTWISE, FORM_SQUARE };
enum score_balance { BALANCE_SIZE, BALANCE_OBJECT, BALANCE_NONE };
enum score_normalize { NORMALIZE_NONE, NORMALIZE_MEAN, NORMALIZE_L2, NORMALIZE_RANK };
enum cost_kind { COST_FLOPS, COST_MEMORY, COST_PARAMS, COST_NONE, COST_LATENCY };

struct saliency_options {
    enum utility_kind utility;
    double kappa;             /* weight of the IoU term; 4 */
    double background_guard;  /* lambda; 0.1, 0: off */
    double context;           /* ring around a box, share of its side; 0.5, 0: the hard box */
    double background;        /* weight elsewhere; 0.02 */
    enum score_form form;
    enum score_balance balance;
    enum score_normalize normalize;
    bool centred;             /* g*(a - mean): matches -compensate mean */
    int batch;
    uint64_t seed;
    const struct blocks *blocks; /* NULL, or residual blocks whose branches are scored, too, at the sum that they join */
};
struct saliency_options saliency_defaults(void);

/* One image for scoring: the network's input (planar floats, the net's size) and its objects, relative to that input. */
struct score_image { float *x; struct truth_list truth; const float *target; /* NULL, or the source's target_size values */ };
/* Delivers image i; called in order, once per pass; the callee keeps ownership until the next call. */
struct score_source {
    int count;
    int target_size;          /* of classifiers: values of dense truth per image; else 0 */
    enum status (*get)(void *user, struct ctx *, int i, struct score_image *);
    void *user;
    void (*progress)(void *user, const char *phase, int done, int total);
    void *progress_user;
    const volatile int *stop;
    /* Of one device among several (saliency_shards.h): the number of its first image, where it takes its votes, its place there. */
    int first, rank;
    struct score_meeting *meeting;
};

/* Mean of every layer output's channel over images and cells, double [layer][channel] flattened by channels.first_node. */
enum status saliency_means(struct ctx *, struct net *, struct backend *, const struct channels *, const struct score_source *,
                           int batch, double *mean);

struct saliency {
    int n_group, n_object;    /* objects of all images, the guard's votes among them */
    double *score;            /* S per group, after balance, before cost */
    double *block;            /* S per block of options.blocks (0: not scored), in the same units; part of `score` */
    double *half[2];          /* the same from even and from odd images */
    float *response;          /* per group n_response values: its part in each vote, weighted so that their squares add up to its
                               * mean squared share of an object */
    int n_response;
    double tau;               /* Kendall's tau-b between the halves, over groups that may be removed */
    int bin_count[4];         /* small, medium, large, guard */
};
/* Scores every group.  `mean` as saliency_means gives it (centred). The net is bound for SCORE inside and unbound after;
 * weights, statistics and `seen` do not change. */
enum status saliency_score(struct ctx *, struct net *, struct backend *, const struct channels *, const struct score_source *,
                           const struct saliency_options *, const double *mean, struct saliency *);
void saliency_free(struct saliency *);

/* What the gradient of the training loss says, for the criteria that go by it. */
struct loss_evidence {
    double *block;               /* |t| of the branches of options.blocks; part of `magnitude` */
    double *magnitude, *square;  /* per group: means over the images of |t| and t*t; t: the group's response, all cells alike */
    bool wants_weights;          /* set before: fill `weight`, too */
    double *weight;              /* per node with weights of its own: sum of |w * dL/dw| over its filter; L: mean loss; else -1 */
};
void loss_evidence_free(struct loss_evidence *);
/* saliency_score and the evidence of the loss from one forward pass, each left out when NULL; backward runs once more only
 * where both are wanted and the utility is not the loss itself. */
enum status saliency_collect(struct ctx *, struct net *, struct backend *, const struct channels *, const struct score_source *,
                             const struct saliency_options *, const double *mean, struct saliency *, struct loss_evidence *);

/* m_o(p) of section 3 on a grid of w x h cells of an input of net_w x net_h pixels; map: h*w floats. */
void saliency_map(struct box box, int w, int h, int net_w, int net_h, double context, double background, float *map);
/* Rows that give the sums over all maps of k boxes without visiting every cell for every box; cells that several boxes claim are
 * divided in proportion of their claims.  k rows: what each map has beyond the background, mostly 0; one: minus what boxes claim,
 * at most 1; one of ones.  So with s the sums under the rows, map o has s[o] + background*s[k+1], and the place that no box claims
 * has s[k+1] + s[k]. */
void saliency_rows(const struct truth *object, int k, int w, int h, int net_w, int net_h, double context, double background, float *rows);

double kendall_tau(const double *a, const double *b, const uint8_t *use, int n);

#endif
