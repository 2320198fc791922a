/* Images of a classifier: the classes stand in the path, the view is a rotated, stretched square (darknet-compat 5.7). */
#ifndef DATA_CLASSIFY_H
#define DATA_CLASSIFY_H

#include "data/mix.h"

enum { CLASS_IGNORED = -1234 };   /* in a target vector: [cost] type masked and [softmax] with a tree leave it out */

struct class_options {
    const struct text_list *names; /* the class of an image: those whose name occurs in its path */
    const int *parent;            /* tree: each class's parent, -1 for those at the top; classes of one parent stand
                                   * together.  NULL: no tree */
    bool unlabelled;              /* contrastive training without labels: all targets are 0 */
};
/* The target vector, names->n values: 1 - smooth for the image's classes, smooth / (n-1) for the others.  With a tree the
 * ancestors count as well, and groups of siblings without any of the image's classes are CLASS_IGNORED.  Returns how many
 * names the path holds. */
int class_target(const char *path, const struct class_options *, double smooth, float *target);

/* The random view of a picture at w x h. */
enum status class_view(struct ctx *, const struct sample *, const struct augment_options *, const struct image_key *,
                       int pass, int w, int h, float *x);
/* An image of a classifier, mixed as the options say, and its target of names->n values. */
enum status compose_class(struct ctx *, const struct picture_source *, const struct augment_options *,
                          const struct class_options *, const struct image_key *, struct image_out *, float *target);

/* Before training: how many paths hold no class's name, or more than one; the first few go to the log. */
struct class_report { int none, several; };
enum status class_check(struct ctx *, const struct text_list *images, const struct class_options *, struct class_report *);

#endif
