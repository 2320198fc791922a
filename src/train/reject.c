#include "train/reject.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

static const uint64_t REJECT_STREAM = 0x72656a656374;
enum { BEFORE_YOLO = 3 };
static const double ALIKE = 0.4;

static double dot(const float *a, const float *b, int n) {
    double sum = 0;
    for (int i = 0; i < n; ++i) sum += (double)a[i] * b[i];
    return sum;
}

/* The first filter of the pair with the largest cosine, or -1 when none exceeds the limit. */
static int most_similar(const float *w, int filters, int per) {
    double best = ALIKE;
    int found = -1;
    for (int a = 0; a < filters; ++a) {
        const float *wa = w + (size_t)a * (size_t)per;
        double aa = dot(wa, wa, per);
        for (int b = a + 1; b < filters; ++b) {
            const float *wb = w + (size_t)b * (size_t)per;
            double length = sqrt(aa * dot(wb, wb, per)), cosine = length > 0 ? dot(wa, wb, per) / length : 0;
            if (cosine > best) best = cosine, found = a;
        }
    }
    return found;
}

static bool spared(const struct net *net, int i) {
    const struct layer *l = &net->layer[i];
    const char *activation = cfg_value(l->section, "activation");
    if (i == 0 || strcmp(l->ops->name, "convolutional") || l->frozen || l->only_bn) return true;
    if (activation && !strcmp(activation, "linear")) return true;
    for (int k = i + 1; k < net->n && k <= i + BEFORE_YOLO; ++k)
        if (net->layer[k].ops->head) return true;
    return false;
}

static void draw_anew(struct net *net, const struct layer *l, int filter, struct rng *r) {
    for (int k = 0; k < l->n_param; ++k) {
        const struct param *p = &l->param[k];
        float *first = net->param + p->offset;
        size_t per = param_count(p) / (size_t)l->out.c;
        if (!(p->flags & PARAM_TRAIN) || !param_owned(p)) continue;
        for (size_t i = 0; i < per; ++i)
            first[(size_t)filter * per + i] = (float)(p->init_mean + p->init_span * rng_between(r, -1, 1));
    }
}

int reject_similar(struct net *net, uint64_t seed, uint64_t iteration) {
    int redrawn = 0;
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        if (spared(net, i)) continue;
        const struct param *weights = &l->param[l->n_param - 1];
        if (weights->role != PARAM_WEIGHT || weights->dim[0] != l->out.c || !param_owned(weights)) continue;
        int filter = most_similar(net->param + weights->offset, l->out.c, (int)(param_count(weights) / (size_t)l->out.c));
        if (filter < 0) continue;
        struct rng r = rng_stream(seed ^ REJECT_STREAM, iteration, (uint64_t)i);
        draw_anew(net, l, filter, &r);
        ++redrawn;
    }
    return redrawn;
}
