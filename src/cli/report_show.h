/* What commands that make reports show: progress by phases, and the figures in a few lines. */
#ifndef CLI_REPORT_SHOW_H
#define CLI_REPORT_SHOW_H

#include "cli/console.h"
#include "recipe/report.h"

/* Progress of a long job that goes through phases. */
struct phases { struct progress progress; char what[64]; };
void phases_show(void *phases, const char *what, int done, int total); /* for options.progress */
void phases_end(struct phases *);

/* `record` has a member "report". */
void report_print(const cJSON *record);

#endif
