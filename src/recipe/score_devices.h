/* The devices of a pruning run, each with the images to score on. */
#ifndef RECIPE_SCORE_DEVICES_H
#define RECIPE_SCORE_DEVICES_H

#include "prune/saliency_shards.h"
#include "recipe/prune_job.h"

struct score_devices { struct score_team team; struct backend **be; struct score_source *source; struct score_images **images; };
enum status score_devices_open(struct ctx *, struct prune_job *, struct score_devices *);
void score_devices_close(struct score_devices *); /* also after a failure */

#endif
