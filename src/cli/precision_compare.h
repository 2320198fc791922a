/* What a narrower precision costs and gives: the same network in f32 beside it. */
#ifndef CLI_PRECISION_COMPARE_H
#define CLI_PRECISION_COMPARE_H

#include <cjson/cJSON.h>

#include "eval/map.h"

struct precision_side {
    const char *name;         /* "f32", "int8" */
    struct map_result map;
    double ms, bytes;         /* fastest time of one picture and memory of the backend, at batch 1 */
};

/* side[1]: what -precision asks for, its map given; side[0]: f32, all of which is measured here, as are the times of both, in
 * turns.  The network is unbound after.  map_free both maps. */
enum status precision_compare(struct ctx *, struct net *, const struct text_list *images, const struct text_list *difficult,
                              const struct map_options *, struct precision_side side[2]);
void precision_print(const struct precision_side side[2], double iou_thresh);
cJSON *precision_json(const struct precision_side *);

#endif
