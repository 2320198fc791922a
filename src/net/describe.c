#include <math.h>
#include <stdio.h>

#include "net/net.h"

void net_describe(const struct net *net, void (*line)(void *user, const char *text), void *user) {
    char row[512], text[640];
    line(user, "   layer   filters  size/strd(dil)      input                output");
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        row[0] = '\0';
        if (l->ops->describe) l->ops->describe(l, row, sizeof row);
        snprintf(text, sizeof text, "%4d %s", i, row);
        line(user, text);
    }
    snprintf(text, sizeof text, "Total BFLOPS %5.3f ", net_flops(net) / 1e9);
    line(user, text);
    /* upstream's mean over layers whose input is a map */
    long long sum = 0, count = 0;
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        struct shape in = l->in_shape[0], out = l->out.c ? l->out : in;
        if (in.w <= 1 || in.h <= 1 || l->ops->uncounted) continue;
        sum += (long long)out.c * out.h * out.w;
        ++count;
    }
    snprintf(text, sizeof text, "avg_outputs = %lld ", count ? sum / count : 0);
    line(user, text);
}

double net_flops(const struct net *net) {
    double sum = 0;
    for (int i = 0; i < net->n; ++i) sum += net->layer[i].flops;
    return sum;
}

size_t net_activation_count(const struct net *net) {
    size_t sum = 0;
    for (int i = 0; i < net->n; ++i) {
        struct shape s = net->layer[i].out;
        sum += (size_t)s.c * (size_t)s.h * (size_t)s.w;
    }
    return sum;
}

struct array_stats net_param_stats(const struct net *net, const struct param *p) {
    size_t n = param_count(p);
    const float *x = net->param + p->offset;
    struct array_stats s = { .min = INFINITY, .max = -INFINITY };
    for (size_t i = 0; i < n; ++i) {
        s.mean += (double)x[i] / (double)n;
        s.rms += (double)x[i] * (double)x[i] / (double)n;
        s.min = fmin(s.min, (double)x[i]);
        s.max = fmax(s.max, (double)x[i]);
    }
    for (size_t i = 0; i < n; ++i) s.variance += ((double)x[i] - s.mean) * ((double)x[i] - s.mean);
    s.variance = n > 1 ? s.variance / (double)(n - 1) : 0;
    s.rms = sqrt(s.rms);
    return s;
}

int net_heads(const struct net *net, int *layer, int cap) {
    int n = 0;
    for (int i = 0; i < net->n; ++i) {
        if (!net->layer[i].ops->head) continue;
        if (n < cap) layer[n] = i;
        ++n;
    }
    return n;
}
