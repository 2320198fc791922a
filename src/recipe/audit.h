/* Parts of records that several kinds of them share. */
#ifndef RECIPE_AUDIT_H
#define RECIPE_AUDIT_H

#include <cjson/cJSON.h>

#include "recipe/prune_job.h"

/* Path and hash of everything that a run reads. */
enum status audit_add_inputs(struct ctx *, const struct prune_job *, cJSON *to);

/* Of this program, as its records name it. */
const char *audit_version(void);

#endif
