/* What removing groups truly does to the training loss: the network runs on labelled images with the groups' channels at zero
 * and, where means are given, what compensation leaves in their place. */
#ifndef PRUNE_ABLATE_H
#define PRUNE_ABLATE_H

#include "prune/saliency.h"

struct ablation;
/* Takes at most `most` of the source's images, evenly chosen, and binds the net until ablation_close.  mean: per node as
 * saliency_means gives it, or NULL. */
enum status ablation_open(struct ctx *, struct net *, struct backend *, const struct channels *, const struct score_source *, int most,
                          int batch, const double *mean, struct ablation **);
/* Mean loss over the images without the groups whose keep flag is 0; keep NULL: nothing is removed. */
enum status ablation_loss(struct ctx *, struct ablation *, const uint8_t *keep, double *loss);
int ablation_images(const struct ablation *);
/* Unbinds; parameters are as before. */
void ablation_close(struct ablation *);

#endif
