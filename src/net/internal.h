/* Shared by the files of net/ only. */
#ifndef NET_INTERNAL_H
#define NET_INTERNAL_H

#include "net/net.h"

/* Shapes and parameter offsets of all layers for opt.width x opt.height. */
enum status net_shapes(struct ctx *, struct net *);

struct net_buffers {
    real *outputs, *gradients, *scratch;  /* one block each, shared by lifetimes */
    int *owner;          /* per layer: the layer whose tensor y and dy are (itself, or what it passes through); -1: the input */
    bool **add;          /* per layer and input: the gradient's first writer has been there already */
    int *first_writer;   /* per layer: the layer whose backward writes its dy first, or -1 */
    bool *clear;         /* per layer: dy must be zeroed before the first writer */
    bool *differentiable;/* per layer: backward runs */
    struct tensor **in, **din; /* scratch arrays of a pass, as many as the widest layer has inputs */
};

/* The pass of layer i, with its tensors, parameters and flags. */
void net_pass(struct ctx *, struct net *, int i, struct pass *);

enum net_mode net_layer_mode(const struct net *, int layer); /* INFER for layers frozen in training */

/* Placement of blocks with lifetimes [first, last] in one arena: first fit by falling size; returns the arena's size. */
size_t plan_offsets(int n, const int *first, const int *last, const size_t *size, size_t *offset);

#endif
