/* What maps are made of: floats, or elements of half their size where the backend has them (narrow_maps).
 *
 * A map, and with it its gradient and what its layer keeps of it, is narrow when the layers that make and read it, or parts of it, all
 * say that they can (layer_ops.narrow).  So heads, losses and whatever else asks for floats get them, straight from the layer before; and
 * so does the caller, who looks at the network's output.  The pruner's scores count digits: for them all maps are floats. */
#include "net/internal.h"

/* The layer in whose memory layer i's output lies; LAYER_INPUT: the network's input. */
static int home_of(const struct net *net, int i) {
    int channel, owner = net_owner(net, i);
    return owner < 0 ? LAYER_INPUT : net_home(net->buffers, owner, &channel);
}

static bool *narrow_at(const struct net *net, int i) {
    int home = home_of(net, i);
    return home < 0 ? &net->buffers->narrow_input : &net->buffers->narrow[home];
}

void net_choose_elements(struct net *net) {
    struct net_buffers *b = net->buffers;
    bool possible = net->mode != NET_SCORE && net->be->narrow_maps != ELEMENT_REAL;
    int output = net_output_layer(net);
    b->narrow_input = possible;
    for (int i = 0; i < net->n; ++i) b->narrow[i] = possible;
    for (int i = 0; i < net->n; ++i) {
        const struct layer *l = &net->layer[i];
        if (l->ops->narrow && l->ops->narrow(l)) continue;
        *narrow_at(net, i) = false;
        for (int k = 0; k < l->n_in; ++k) *narrow_at(net, l->in[k]) = false;
    }
    if (output >= 0) *narrow_at(net, output) = false;
}

enum element net_element(const struct net *net, int i) { return *narrow_at(net, i) ? net->be->narrow_maps : ELEMENT_REAL; }

size_t net_reals(const struct net *net, int i, size_t n) {
    size_t size = element_size(net->be, net_element(net, i)), whole = net->be->elem_size;
    return (n * size + whole - 1) / whole;
}

double net_layer_bytes(const struct net *net, int i) {
    const struct layer *l = &net->layer[i];
    double maps = (double)shape_count(l->out) * (double)element_size(net->be, net_element(net, i)), weights = 0;
    for (int k = 0; k < l->n_in; ++k) maps += (double)shape_count(l->in_shape[k]) * (double)element_size(net->be, net_element(net, l->in[k]));
    for (int k = 0; k < l->n_param; ++k) weights += (double)param_count(&l->param[k]) * (double)element_size(net->be, net->be->narrow_maps);
    return net->batch * maps + weights;
}
