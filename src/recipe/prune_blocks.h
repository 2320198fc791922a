/* -blocks N: whole residual blocks go before single filters do.  The rest of a run then works on the network without them. */
#ifndef RECIPE_PRUNE_BLOCKS_H
#define RECIPE_PRUNE_BLOCKS_H

#include <cjson/cJSON.h>

#include "recipe/prune_job.h"

/* After prune_ready: scores the blocks, removes the opt.blocks lowest (or those of the plan, or of `record`: of this run, begun
 * earlier; NULL: it begins), proves the result equal to the original with those branches at zero, and puts it in the place of
 * job->net; the original is job->whole from then on.  Nothing happens with opt.blocks 0 and a plan without blocks. */
enum status prune_blocks(struct ctx *, struct prune_job *, const char *record);
/* From job->net and those of job->blocks that are gone, with what they leave behind: what prune_blocks ends with. */
enum status prune_blocks_take_out(struct ctx *, struct prune_job *);
/* Marks the first n of order[] as gone, their means to be left behind. */
enum status prune_blocks_mark(struct ctx *, struct prune_job *, const double *mean, const int *order, int n);
/* Fills job->blocks with what there is and what it is worth; nothing goes. */
enum status prune_blocks_score(struct ctx *, struct prune_job *);
void prune_blocks_free(struct prune_job *);
/* The network as it came. */
struct net *prune_before(const struct prune_job *);
/* The cost and the number of filters of the network as it came. */
enum status prune_blocks_before(struct ctx *, const struct prune_job *, struct selection *);
/* A share of the whole network as a share of what the blocks left of it; not of its time (latency_target.h). */
enum status prune_blocks_share(struct ctx *, struct prune_job *, struct select_options *);
/* "blocks" of the record. */
void prune_blocks_record(const struct prune_job *, cJSON *to);

#endif
