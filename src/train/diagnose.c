#include "train/diagnose.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool finite_values(const float *v, size_t n) {
    for (size_t i = 0; i < n; ++i)
        if (!isfinite(v[i])) return false;
    return true;
}

/* The first row of layer i in `arena` with a value that is not finite, or -1. */
static int bad_row(const struct net *net, int i, real *arena) {
    const struct backend_ops *ops = net->be->ops;
    const struct layer *l = &net->layer[i];
    for (int k = 0; k < l->n_param; ++k) {
        if (!param_owned(&l->param[k])) continue;
        double squares = ops->sum_squares(net->be, param_count(&l->param[k]), ops->at(net->be, arena, l->param[k].offset));
        if (!isfinite(squares)) return k;
    }
    return -1;
}

static bool bad_output(const struct net *net, int i) {
    const struct tensor *y = &net->y[i];
    size_t n = shape_count((struct shape){ y->n, y->c, y->h, y->w });
    float *values = y->data && n ? malloc(n * sizeof *values) : NULL;
    if (!values) return false;
    net_output(net, i, values);
    bool bad = !finite_values(values, n);
    free(values);
    return bad;
}

static void name(const struct net *net, int i, char *text, size_t size) {
    const struct layer *l = &net->layer[i];
    snprintf(text, size, "layer %d ([%s] in line %d of the cfg)", i, l->section->type, l->section->line);
}

void diagnose_forward(const struct net *net, char *text, size_t size) {
    char layer[128];
    for (int i = 0; i < net->n; ++i) {
        int row = bad_row(net, i, net->dev_param);
        bool output = row < 0 && bad_output(net, i);
        if (row < 0 && !output) continue;
        name(net, i, layer, sizeof layer);
        if (output) snprintf(text, size, "the output of %s is not finite, the first one", layer);
        else snprintf(text, size, "%s of %s are not finite", net->layer[i].param[row].name, layer);
        return;
    }
    snprintf(text, size, "every layer's output is finite, the loss is not");
}

void diagnose_backward(const struct net *net, char *text, size_t size) {
    char layer[128];
    for (int i = net->n - 1; i >= 0; --i) {
        int row = bad_row(net, i, net->dev_grad);
        if (row < 0) continue;
        name(net, i, layer, sizeof layer);
        snprintf(text, size, "the gradient of the %s of %s is not finite", net->layer[i].param[row].name, layer);
        return;
    }
    snprintf(text, size, "the gradient is not finite");
}
