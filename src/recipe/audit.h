/* Parts of records that several kinds of them share. */
#ifndef RECIPE_AUDIT_H
#define RECIPE_AUDIT_H

#include <cjson/cJSON.h>

#include "recipe/prune_job.h"

/* What a measurement found, as a member of a record and back; map_free afterwards. */
void audit_add_map(cJSON *to, const char *name, const struct map_result *, double iou_thresh);
enum status audit_read_map(struct ctx *, const cJSON *from, const char *name, struct map_result *);
/* Path and hash of one file, as member `name`; of everything that a run reads. */
enum status audit_add_file(struct ctx *, cJSON *to, const char *name, const char *path);
enum status audit_add_inputs(struct ctx *, const struct prune_job *, cJSON *to);

/* Of this program, as its records name it. */
const char *audit_version(void);

#endif
