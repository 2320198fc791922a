/* A report's figures in a few lines. */
#ifndef CLI_REPORT_SHOW_H
#define CLI_REPORT_SHOW_H

#include "recipe/report.h"

/* `record` has a member "report". */
void report_print(const cJSON *record);

#endif
