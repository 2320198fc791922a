/* What an import did, in words. */
#ifndef DATA_IMPORT_REPORT_H
#define DATA_IMPORT_REPORT_H

#include "data/import_set.h"

/* most_notes: how many lines about single files and boxes; below 0: all, and lists are not cut.  Caller frees. */
enum status import_report(struct ctx *, const struct import_options *, const struct import_set *, const char *out, int most_notes, char **text);

#endif
