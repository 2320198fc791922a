/* From a picture to class probabilities, and how often they are right (darknet-compat 5.7, 6.10). */
#ifndef EVAL_CLASSIFY_H
#define EVAL_CLASSIFY_H

#include "data/dataset.h"
#include "net/net.h"
#include "vision/image.h"

/* What the network, which is w x h, gets to see.  CENTRE: shorter side to the network's width, the middle.  TEN: the picture 32 pixels larger than
 * the network, its corners and middle, and their mirror images.  MULTI: the whole picture in five sizes and mirrored.  FULL: the
 * whole picture, shorter side to the network's width.  CROP: as CENTRE, but anywhere (`draw` says where). */
enum classify_view { VIEW_CENTRE, VIEW_TEN, VIEW_MULTI, VIEW_FULL, VIEW_CROP };

/* The network's output as one row of probabilities; fails when it is a detector or has none. */
enum status classify_outputs(struct ctx *, const struct net *, int *outputs);
/* The word tree of a bound network's output layer, or NULL. */
const struct word_tree *classify_tree(const struct net *);
struct classify_options {
    enum classify_view view;
    int w, h;         /* of the network as its cfg has it: MULTI and FULL leave the bound one in another size */
    bool only_leaves; /* with a word tree: 0 for classes that have children */
    const bool *others; /* only_leaves: 0 for these classes instead (word_tree_leaves); may be NULL */
    uint64_t draw;
};
/* Mean probabilities over the views, `outputs` of them; with a word tree the products down from the roots.  The net is bound for
 * INFER with batch 1. */
enum status classify_image(struct ctx *, struct net *, const struct image *im, const struct classify_options *, float *p);
/* The k best of n, best first; ties: the smaller index first. */
void classify_top(const float *p, int n, int k, int *index);

/* The class of a picture is the label that occurs in its path, the first of the list when several do, as Darknet takes it; -1:
 * none. */
int classify_label(const struct text_list *labels, const char *path);

/* Before scores: every path holds a label, and a picture. */
enum status classify_check(struct ctx *, const struct text_list *images, const struct text_list *labels);

struct classify_score { int images, top1, topk; };
/* others: as in struct classify_options. */
enum status classify_evaluate(struct ctx *, struct net *, const struct text_list *images, const struct text_list *labels,
                              enum classify_view, int k, const bool *others, void (*each)(void *user, const struct classify_score *), void *user,
                              struct classify_score *);

#endif
