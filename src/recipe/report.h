/* Two networks side by side, before and after, on one data set: speed, memory, accuracy, pictures; as JSON and as a page to decide
 * by.  The page shows nothing that is not in the JSON, but the pictures themselves. */
#ifndef RECIPE_REPORT_H
#define RECIPE_REPORT_H

#include <cjson/cJSON.h>

#include "backend/backend.h"

enum { REPORT_BEFORE, REPORT_AFTER, REPORT_SIDES };

struct report_options {
    const char *data, *cfg[REPORT_SIDES], *weights[REPORT_SIDES];
    const char *title;               /* NULL: from the cfgs' names */
    int images;                      /* example pictures; 0: none */
    double thresh, iou_thresh;       /* confidence from which a box is shown and counts; overlap from which it is right */
    bool strict;                     /* unknown cfg keys are errors */
    void (*progress)(void *user, const char *what, int done, int total);
    void *user;
    const volatile int *stop;
};
struct report_options report_defaults(void);

/* Of one example: JPEG of the picture, and of the heat maps over it where there are any. */
struct report_picture { char *jpeg, *heat[REPORT_SIDES]; size_t size, heat_size[REPORT_SIDES]; };
struct report {
    cJSON *figures;                  /* member "report" of the JSON */
    int n_picture;
    struct report_picture *picture;  /* of figures.examples, in their order */
};
/* Runs both networks.  Accuracy is measured on the valid= list; where that is missing, unreadable or without labels, the figures
 * say why ("accuracy_missing") and pictures come from what list there is.  Unreadable pictures are left out and counted. */
enum status report_measure(struct ctx *, struct backend *, const struct report_options *, struct report *);
void report_free(struct report *);

/* The page of a record: its member "report", and around it, where they are there, those of PREFIX.prune.json.  Caller frees. */
enum status report_page(struct ctx *, const cJSON *record, const struct report *, char **html);
/* The record and its page, each replaced as a whole; report->figures becomes the record's member "report". */
enum status report_write(struct ctx *, struct report *, cJSON *record, const char *json, const char *html);
/* A record as text, and what that text says: pages are made of that, so that their figures are the file's to the last digit. */
enum status report_read_back(struct ctx *, const cJSON *record, char **text, cJSON **back);
/* PREFIX.prune.json gets its member "report", PREFIX.html is written. */
enum status report_add(struct ctx *, struct report *, const char *record_path, const char *html);

#endif
