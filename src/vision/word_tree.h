/* A word tree: classes in a hierarchy, where siblings exclude each other (YOLO9000's WordNet tree; [softmax] and [region]
 * with tree=, and the classifier commands).
 *
 * File: one class per line, "name parent", parent = line number from 0 of a class further up, -1 for a root.  Consecutive
 * lines with one parent form a group; a network's outputs are one softmax per group: p(class | parent). */
#ifndef VISION_WORD_TREE_H
#define VISION_WORD_TREE_H

#include "base/ctx.h"

struct word_tree {
    int n, groups;
    int *parent;          /* per class; -1: a root */
    int *group;           /* per class: its group */
    int *child;           /* per class: the group of its children, -1: a leaf */
    int *group_size, *group_offset; /* per group: classes [offset, offset + size) */
    char **name;          /* per class */
};

enum status word_tree_read(struct ctx *, const char *path, struct word_tree **);
void word_tree_free(struct word_tree *); /* NULL: nothing */

/* p(class) of one class: the product of p[k * stride] from it up to its root. */
double word_tree_probability(const struct word_tree *, const float *p, size_t stride, int class_id);
/* p(class | parent) -> p(class) for all of them, in place.  only_leaves: 0 for classes that have children. */
void word_tree_hierarchy(const struct word_tree *, float *p, size_t stride, bool only_leaves);
/* leaves= of a .data file names the classes that count, one per line, in place of the tree's own leaves.  (*others)[k]: class k is
 * none of them; the caller frees it. */
enum status word_tree_leaves(struct ctx *, const struct word_tree *, const char *path, bool **others);
/* From p(class | parent): down from the roots along the likeliest child while p(class) stays above `thresh`.  -1 when not even
 * a root does. */
int word_tree_top(const struct word_tree *, const float *p, size_t stride, double thresh);

#endif
