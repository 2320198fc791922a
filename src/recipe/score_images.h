/* The images that a pruning run scores on: chosen evenly by seed from a list, as the network sees them. */
#ifndef RECIPE_SCORE_IMAGES_H
#define RECIPE_SCORE_IMAGES_H

#include "data/dataset.h"
#include "prune/saliency.h"

struct score_images;
/* `count` of the list's images (0 or more than there are: all), stretched or letterboxed as the cfg says; labels beside
 * them.  A picture that cannot be read and a label file that is missing are errors, counted; bad lines (a class from `classes` on,
 * no box) are told and left out.  The list stays the caller's and must outlive this. */
enum status score_images_open(struct ctx *, const struct net *, const struct text_list *list, int count, uint64_t seed, int classes,
                              struct score_images **);
/* The same for a classifier: the middle of each picture, its class from its path. */
enum status score_images_open_classes(struct ctx *, const struct net *, const struct text_list *list, const struct text_list *labels, int count,
                                      uint64_t seed, struct score_images **);
/* The same images once more, for another thread. */
enum status score_images_again(struct ctx *, const struct score_images *, struct score_images **);
/* A source over them; progress and stop are left to the caller. */
struct score_source score_images_source(struct score_images *);
int score_images_count(const struct score_images *);
const char *score_images_path(const struct score_images *, int i);
void score_images_close(struct score_images *);

#endif
