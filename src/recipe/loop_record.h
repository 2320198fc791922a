/* What a run in steps has done, as the member "loop" of its record.  For recipe/loop.c only. */
#ifndef RECIPE_LOOP_RECORD_H
#define RECIPE_LOOP_RECORD_H

#include "recipe/loop.h"

cJSON *record_new(const struct prune_job *);
/* From PREFIX.prune.json; fails where that was made by another command line or from other files. */
enum status record_read(struct ctx *, const struct prune_job *, cJSON **loop);

/* Hashes of what the steps read, by name; check: against those of the run that is taken up. */
enum status record_add_sets(struct ctx *, cJSON *loop, const char *const *name, char (*hex)[65], int n);
enum status record_check_sets(struct ctx *, const cJSON *loop, const char *path, const char *const *name, char (*hex)[65], int n);

/* Cut s: v is the job of the network that was cut, alive what is left of the unpruned one.  The first brings means and scores. */
enum status record_add_step(struct ctx *, cJSON *loop, const struct prune_job *, const struct prune_job *v, const uint8_t *alive, int s,
                            int iterations);
void record_add_tuned(cJSON *loop, int s, const struct map_result *, double iou, bool held);
void record_stop(cJSON *loop, int s, double points, double limit);
void record_add_final(cJSON *loop, const struct map_result *, double iou, int iterations);
void record_add_baseline(cJSON *loop, const struct map_result *, double iou, int s, int iterations);
void record_finish(cJSON *loop);

int record_steps(const cJSON *loop);         /* cut */
int record_steps_trained(const cJSON *loop); /* of them, also trained and measured */
int record_rounds(const cJSON *loop);        /* cuts that the last step measured for its latency */
int record_baseline_steps(const cJSON *loop);
bool record_has_final(const cJSON *loop);
bool record_finished(const cJSON *loop);

/* Means, scores and what was found with them, of the unpruned network, into job. */
enum status record_get_values(struct ctx *, const cJSON *loop, struct prune_job *);
/* What is alive after step s (0: everything). */
enum status record_get_alive(struct ctx *, const cJSON *loop, int s, const struct channels *, uint8_t *alive);
/* map_after and map_tuned as measured in step s, or after the last training where s is the final step. */
enum status record_get_maps(struct ctx *, const cJSON *loop, int s, struct prune_job *);
enum status record_get_cut_map(struct ctx *, const cJSON *loop, int s, struct map_result *);

#endif
