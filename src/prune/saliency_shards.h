/* Scoring on several devices: each takes a run of the images with a network of its own.  Votes come together in the order of the
 * images before anything is made of them, so scores are those of one device up to the rounding of its passes. */
#ifndef PRUNE_SALIENCY_SHARDS_H
#define PRUNE_SALIENCY_SHARDS_H

#include "prune/saliency.h"

/* source[i] delivers the same images to device i, each from its own thread; progress and stop are those of source[0]. */
struct score_team { int n; struct backend *const *be; const struct score_source *source; };

/* As saliency_means and saliency_collect; `net` is the first device's.  Evidence with weights needs the gradient of all images in one
 * place, so it is collected by the first device alone. */
enum status saliency_means_by(struct ctx *, struct net *, const struct score_team *, const struct channels *, int batch, double *mean);
enum status saliency_collect_by(struct ctx *, struct net *, const struct score_team *, const struct channels *, const struct saliency_options *,
                                const double *mean, struct saliency *, struct loss_evidence *);

/* What saliency_collect does with a shard's votes, an array of n elements of `size`, instead of concluding from them: those of the first
 * shard become all of them, the others' become none.  ST_INTERRUPTED without an error text: another device has failed. */
struct score_meeting;
void saliency_free_votes(void *votes, size_t n);
enum status saliency_meet(struct ctx *, struct score_meeting *, int rank, void *votes, size_t *n, size_t *cap, size_t size);

#endif
