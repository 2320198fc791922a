/* One pruning run: score, select, cut, prove, write.  What `detector saliency` and `detector prune` do. */
#ifndef RECIPE_PRUNE_JOB_H
#define RECIPE_PRUNE_JOB_H

#include <cjson/cJSON.h>

#include "data/dataset.h"
#include "eval/classify.h"
#include "eval/map.h"
#include "eval/speed.h"
#include "prune/blocks.h"
#include "prune/criterion.h"
#include "prune/select.h"
#include "prune/slice.h"
#include "recipe/latency_table.h"
#include "recipe/score_images.h"

/* Pruning in steps with training between them (loop.h). */
enum loop_schedule { SCHEDULE_LINEAR, SCHEDULE_CUBIC, SCHEDULE_ONESHOT };
struct loop_options {
    int steps;                       /* 1 */
    enum loop_schedule schedule;
    int finetune, final_finetune;    /* iterations after each step, and after the last one (0: as after the others) */
    bool each_schedule;              /* every step's training has the cfg's whole schedule, not a part of one for all */
    double rate_factor;              /* on the cfg's learning rate; 1 */
    double distill;                  /* weight of the unpruned network's teaching; 0: none */
    double max_map_drop;             /* points of mAP; < 0: any */
    bool baseline, resume;
    uint64_t seed;                   /* of the training's draws */
};
struct train_news;
enum { BLOCKS_AUTO = -1 };

struct prune_options {
    const char *data, *cfg, *weights;
    const char *out;                 /* prefix of what is written; NULL: the cfg's stem with "_pruned" (saliency: "saliency") */
    const char *criterion, *keep_layers, *from_plan;
    bool force, dry_run, keep_seen, strict, calc_map, use_valid, compensate;
    bool compare;                    /* criterion is a list; nothing is cut for good */
    int report_images;               /* examples on the page PREFIX.html; -1: no page */
    int blocks;                      /* residual blocks to remove first; BLOCKS_AUTO: those that compete with filters and lose */
    bool classifier;                 /* labels in paths, no boxes */
    bool blocks_only;                /* and no filter afterwards */
    int seeds;                       /* with compare: draws of criterion random */
    int validate;                    /* groups to remove one at a time (validate.h); criterion is a list; 0: none */
    int images;                      /* to score on; 0: all */
    double map_thresh, map_iou;
    struct saliency_options saliency;
    struct select_options select;
    double target_ms;                /* with TARGET_LATENCY: milliseconds instead of select.value; 0: a share */
    const char *latency_cache;       /* as in latency_options */
    struct loop_options loop;
    const char *flags;               /* the command line, for the record */
    void (*progress)(void *user, const char *what, int done, int total);
    /* An iteration of training: which one this is of the run, and how long the whole run still takes (< 0: not known). */
    void (*training)(void *user, const char *what, const struct train_news *, double run_seconds_left);
    void *user;
    const volatile int *stop;
};
struct prune_options prune_defaults(void);

/* What -target_latency asked for and what the clock said last. */
struct latency_outcome {
    bool asked, met;                 /* met: within the tolerance */
    double target_share, target_ms;  /* ms: 0 when a share was asked for */
    double uncut_ms;                 /* when the cut was chosen */
    double share, ms, off;           /* measured; relative distance from the target */
    int rounds;                      /* cuts tried */
    char why[160];                   /* it was missed */
};

/* Everything a run knows; the commands print from it. */
struct prune_job {
    struct prune_options opt;
    struct backend *be;
    struct data_options data;
    struct text_list list, names, labels;
    struct net *net, *small;
    struct channels *channels;
    struct score_images *images;
    struct head_info head;
    struct net *whole;               /* the network as it came, when residual blocks have gone from `net`; else NULL */
    struct net *timed;               /* whose time a latency target is a share of; NULL: the network as it came */
    struct blocks blocks;            /* of the network as it came */
    double **left_behind;            /* per block: NULL, or what its branch leaves behind, per channel */
    double worst_blocks;             /* branches at zero against none, relative */
    uint8_t *keep_layer;             /* per layer: -keep_layers */
    double *mean;                    /* per node */
    double *score;                   /* per group */
    struct saliency detail;
    struct selection selection;
    struct latency_model *latency;   /* where target or cost want it */
    struct latency_report latency_report;
    struct latency_outcome latency_outcome;
    bool by_table;                   /* a latency target is a share of what the table says, nothing is timed */
    float *compensated;              /* full-size parameters after compensation */
    double worst;                    /* masked against pruned, relative */
    struct speed speed_before, speed_after;
    struct map_result map_before, map_after, map_tuned;
    bool have_map, have_tuned;       /* tuned: after the last fine-tuning */
    cJSON *loop;                     /* of a run in steps: its part of the record, or NULL */
    struct classify_score classes_before, classes_after; /* of a classifier, in place of mAP */
    int top;
    char *cfg_out, *weights_out, *plan_out, *html_out, *compare_out;
};

enum status prune_open(struct ctx *, struct backend *, const struct prune_options *, struct prune_job **);
/* What can go wrong with a cut before the long part: files that exist already, a folder that cannot be written to,
 * -keep_layers.  `detector saliency` does not need it. */
enum status prune_ready(struct ctx *, struct prune_job *);
struct score_source prune_source(struct prune_job *);        /* the images, with progress and stop */
enum status prune_score(struct ctx *, struct prune_job *);   /* means and scores */
/* The same by several criteria at once, score[i] per group by list[i]. */
enum status prune_score_all(struct ctx *, struct prune_job *, const struct criterion *const *list, int n, double *const *score);
enum status prune_select(struct ctx *, struct prune_job *);  /* or from the plan: keep flags */
/* Up to four of the images as the network sees them, to prove a cut with; caller frees. */
enum status prune_proof_images(struct ctx *, struct prune_job *, float **x, int *count);
enum status prune_cut(struct ctx *, struct prune_job *);     /* the small network, proved equal to the masked one */
enum status prune_measure(struct ctx *, struct prune_job *); /* speed, and mAP when asked */
enum status prune_map(struct ctx *, struct prune_job *, struct net *, struct map_result *); /* on the valid list */
enum status prune_write(struct ctx *, struct prune_job *);   /* PREFIX.cfg, PREFIX.weights, PREFIX.prune.json */
/* After prune_write or loop_run: PREFIX.html, and its figures as the record's member "report" (report.h). */
enum status prune_report(struct ctx *, struct prune_job *);
void prune_close(struct prune_job *);

/* audit.c */
enum status saliency_write(struct ctx *, const struct prune_job *, const char *prefix); /* PREFIX.json and PREFIX.csv */
enum status audit_text(struct ctx *, const struct prune_job *, char **text);            /* caller frees */
enum status audit_read_plan(struct ctx *, struct prune_job *, const char *path);        /* keep flags and means from a record */

#endif
