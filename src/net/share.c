/* Whose memory a layer's output is.
 *
 * A layer that passes its input through has no tensor of its own: its y is its owner's.  Networks that only run (INFER, on backends
 * with views, or with sums for the last of these) share more: a block of an input's channels is a window into it; what is concatenated is made where it belongs; the
 * convolution before a shortcut sums what the shortcut would have added. */
#include "net/internal.h"

static bool shares(const struct net *net) { return net->mode == NET_INFER && net->be->views; }

/* A layer that keeps gradients from those before it has a tensor of its own. */
static bool passes_through(const struct net *net, int i) {
    const struct layer *l = &net->layer[i];
    if (net->mode == NET_TRAIN && l->common.onlyforward && net->layer[i].ops->backward) return false;
    return l->ops->transparent && l->ops->transparent(l, net_layer_mode(net, i));
}

int net_owner(const struct net *net, int from) { return from == LAYER_INPUT ? LAYER_INPUT : net->buffers->owner[from]; }

static bool takes_views(const struct layer *l) { return l->ops->views && l->ops->views(l); }

static bool same(struct shape a, struct shape b) { return a.c == b.c && a.h == b.h && a.w == b.w; }

/* True when layer i's tensor is the whole of its owner's. */
static bool whole(const struct net *net, int i) {
    const struct net_buffers *b = net->buffers;
    return b->owner[i] >= 0 && b->channel[i] == 0 && same(net->layer[i].out, net->layer[b->owner[i]].out);
}

/* How many inputs of layers with a tensor of their own lead to `owner`; layers from `limit` on count whatever they are. */
static int readers(const struct net *net, int owner, int limit) {
    int n = 0;
    for (int i = owner + 1; i < net->n; ++i)
        for (int k = 0; k < net->layer[i].n_in; ++k) {
            int from = net->layer[i].in[k];
            if (from == LAYER_INPUT || from >= limit) continue;
            n += net->buffers->owner[from] == owner && (i >= limit || net->buffers->owner[i] != owner);
        }
    return n;
}

/* Layer i adds two tensors, the first of which nobody else reads and a convolution makes after the second one is there. */
static bool sum_moves(const struct net *net, int i) {
    const struct net_buffers *b = net->buffers;
    const struct layer *l = &net->layer[i];
    if (net->mode != NET_INFER || !net->be->sums || !l->ops->sums || !l->ops->sums(l) || l->in[0] == LAYER_INPUT || l->in[1] == LAYER_INPUT) return false;
    int maker = b->owner[l->in[0]], other = b->owner[l->in[1]];
    if (maker < 0 || other < 0 || other >= maker || !whole(net, l->in[0]) || !takes_views(l)) return false;
    const struct layer *m = &net->layer[maker];
    return m->ops->adds && m->ops->adds(m) && b->skip[maker] == LAYER_INPUT && readers(net, maker, i) == 1;
}

void net_own(struct net *net) {
    struct net_buffers *b = net->buffers;
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        int window = shares(net) && l->ops->window ? l->ops->window(l) : -1;
        b->owner[i] = i;
        b->home[i] = b->skip[i] = LAYER_INPUT;
        if (passes_through(net, i) || window >= 0) {
            b->owner[i] = net_owner(net, l->in[0]);
            b->channel[i] = (l->in[0] == LAYER_INPUT ? 0 : b->channel[l->in[0]]) + (window > 0 ? window : 0);
        } else if (sum_moves(net, i)) {
            b->owner[i] = b->owner[l->in[0]];
            b->skip[b->owner[i]] = l->in[1];
        }
    }
}

/* Whoever makes or reads the tensor of layer i takes slices of wider maps. */
static bool may_move(const struct net *net, int i) {
    const struct net_buffers *b = net->buffers;
    if (b->home[i] != LAYER_INPUT || !takes_views(&net->layer[i])) return false;
    for (int j = i + 1; j < net->n; ++j)
        for (int k = 0; k < net->layer[j].n_in; ++k)
            if (net_owner(net, net->layer[j].in[k]) == i && b->owner[j] == j && !takes_views(&net->layer[j])) return false;
    int output = net_output_layer(net);
    return output < 0 || b->owner[output] != i;
}

/* Pixels of maps that a depthwise convolution reads and makes get spare elements, unless those would be more than half as many as
 * there are channels; both maps do or none. */
static void spare_channels(const struct net *net) {
    struct net_buffers *b = net->buffers;
    for (int i = 0; i < net->n && shares(net) && net->be->lanes; ++i) {
        const struct layer *l = &net->layer[i];
        int from = b->owner[i] == i && l->ops->separate && l->ops->separate(l) ? net_owner(net, l->in[0]) : LAYER_INPUT;
        int c = l->out.c, spare = (net->be->lanes - c % net->be->lanes) % net->be->lanes;
        if (from < 0 || 2 * spare > c || !whole(net, l->in[0]) || !may_move(net, from) || !may_move(net, i)) continue;
        b->spare[from] = b->spare[i] = spare;
    }
}

void net_settle(struct net *net) {
    struct net_buffers *b = net->buffers;
    for (int i = 0; i < net->n && shares(net); ++i) {
        const struct layer *l = &net->layer[i];
        if (!l->ops->joins || !l->ops->joins(l)) continue;
        for (int k = 0, channel = 0; k < l->n_in; channel += l->in_shape[k++].c) {
            int owner = net_owner(net, l->in[k]);
            if (owner < 0 || !whole(net, l->in[k]) || !may_move(net, owner)) continue;
            b->home[owner] = i;
            b->place[owner] = channel;
        }
    }
    spare_channels(net);
}

int net_home(const struct net_buffers *b, int i, int *channel) {
    *channel = 0;
    for (; b->home[i] != LAYER_INPUT; i = b->home[i]) *channel += b->place[i];
    return i;
}

void net_point(struct net *net) {
    const struct net_buffers *b = net->buffers;
    for (int i = 0; i < net->n; ++i) {
        int channel, home = b->owner[i] == i ? net_home(b, i, &channel) : i;
        if (home != i) net->y[i] = tensor_channels(net->be, &net->y[home], channel, net->layer[i].out.c);
    }
    for (int i = 0; i < net->n; ++i) {
        if (b->owner[i] == i) continue;
        const struct tensor *t = b->owner[i] < 0 ? &net->input : &net->y[b->owner[i]];
        if (shares(net)) net->y[i] = tensor_channels(net->be, t, b->channel[i], net->layer[i].out.c);
        else net->y[i].data = t->data;
    }
}
