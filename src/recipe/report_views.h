/* What two networks see in the same pictures, and which pictures show best where they differ. */
#ifndef RECIPE_REPORT_VIEWS_H
#define RECIPE_REPORT_VIEWS_H

#include <cjson/cJSON.h>

#include "data/dataset.h"
#include "recipe/report.h"

/* Of a truth: who finds it.  Of a detection before: right and still found, right and lost, wrong.  After: right before and now, new,
 * wrong. */
enum view_state { VIEW_BOTH, VIEW_LOST, VIEW_GAINED, VIEW_MISSED, VIEW_WRONG };
struct view_box { struct box box; int class_id; float prob; enum view_state state; };
struct view_list { int n; size_t cap; struct view_box *item; };
struct view { struct view_list truth, seen[REPORT_SIDES]; int lost, gained; };
struct views {
    int n;
    struct view *image;
    int side;                        /* that is being collected */
    float thresh;
    const volatile int *stop;
};
enum status views_open(struct ctx *, int images, float thresh, const volatile int *stop, struct views *);
void views_close(struct views *);
/* For map_options.each; user: the views. */
enum status views_add(struct ctx *, void *views, int image, const struct detection_list *, const struct truth_list *);
/* Sets the states.  Without truths at all (judged false) the two networks are held to each other. */
enum status views_match(struct ctx *, struct views *, double iou_thresh, bool judged);
/* `count` of them: one half those with the most changes, the other spread evenly over the list; chosen[] in list order, changed[]:
 * of the first kind.  Returns how many there are. */
int views_choose(const struct views *, int count, int *chosen, bool *changed);
/* One example of the record. */
cJSON *views_json(const struct view *, const char *path, int w, int h, bool changed, const struct text_list *names);

#endif
