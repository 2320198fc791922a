/* Stretches of steady layers: run once, then noted by the backend, then replayed at the cost of one launch.  Layers between them, which
 * talk to the host, split a pass into its stretches.  What a training step does to the weights of all layers after its update is one, too. */
#include <stdlib.h>

#include "net/internal.h"

enum stretch_state { STRETCH_FRESH, STRETCH_SEEN, STRETCH_NOTED, STRETCH_PLAIN };
enum stretch_kind { STRETCH_FORWARD, STRETCH_BACKWARD, STRETCH_REFRESH };
struct stretch { enum stretch_kind kind; int from, to; /* layers from .. to - 1 */ enum stretch_state state; struct recording *note; };

/* Fewer layers than this are not worth a launch of their own. */
enum { LEAST_LAYERS = 2 };

static bool steady(const struct net *net, int i) {
    const struct layer *l = &net->layer[i];
    return net->buffers->owner[i] != i || (l->ops->steady && l->ops->steady(l, net_layer_mode(net, i)));
}

static bool has_turn(const struct net *net, bool backward, int i) {
    return net->buffers->owner[i] == i && (!backward || net->buffers->differentiable[i]);
}

static void find(struct net *net, enum stretch_kind kind) {
    struct net_buffers *b = net->buffers;
    for (int from = 0, to; from < net->n; from = to + 1) {
        int turns = 0;
        for (to = from; to < net->n && steady(net, to); ++to) turns += has_turn(net, kind == STRETCH_BACKWARD, to);
        if (turns >= LEAST_LAYERS) b->stretch[b->n_stretch++] = (struct stretch){ .kind = kind, .from = from, .to = to };
    }
}

/* Only where all weights change again and again: layers that only run, frozen ones too, let go of memory when they have packed theirs. */
static void find_refresh(struct net *net) {
    struct net_buffers *b = net->buffers;
    int turns = 0;
    for (int i = 0; i < net->n; ++i) {
        if (net->layer[i].frozen) return;
        turns += net->layer[i].ops->refresh != NULL;
    }
    if (net->mode == NET_TRAIN && turns >= LEAST_LAYERS) b->stretch[b->n_stretch++] = (struct stretch){ .kind = STRETCH_REFRESH, .to = net->n };
}

enum status net_find_stretches(struct ctx *ctx, struct net *net) {
    struct net_buffers *b = net->buffers;
    if (!net->be->passes || b->n_segment > 1) return ST_OK;
    b->stretch = mem_zero(ctx, 2 * (size_t)net->n + 1, sizeof *b->stretch);
    if (!b->stretch) return ST_MEMORY;
    find(net, STRETCH_FORWARD);
    if (net->mode != NET_INFER) find(net, STRETCH_BACKWARD);
    find_refresh(net);
    return ST_OK;
}

static void forget(struct net *net, struct stretch *s) {
    if (s->note) net->be->passes->drop(net->be, s->note);
    s->note = NULL;
}

void net_drop_stretches(struct net *net) {
    struct net_buffers *b = net->buffers;
    for (int i = 0; b && i < b->n_stretch; ++i) forget(net, &b->stretch[i]);
    if (!b) return;
    free(b->stretch);
    b->stretch = NULL;
    b->n_stretch = 0;
}

/* Somebody looks on, layer by layer. */
static bool watched(const struct net *net) { return net->mask || net->hook || net->layer_seconds || net->backward_seconds; }

/* The stretch that begins with this layer's turn. */
static struct stretch *stretch_at(const struct net *net, enum stretch_kind kind, int first) {
    const struct net_buffers *b = net->buffers;
    if (kind == STRETCH_BACKWARD && net->gradients_done) return NULL; /* gradients leave while other layers are at work */
    for (int i = 0; i < b->n_stretch && !watched(net); ++i) {
        struct stretch *s = &b->stretch[i];
        if (s->kind == kind && first == (kind == STRETCH_BACKWARD ? s->to - 1 : s->from)) return s;
    }
    return NULL;
}

static enum status run(struct ctx *ctx, struct net *net, const struct stretch *s) {
    for (int i = s->from; i < s->to && s->kind == STRETCH_FORWARD; ++i) TRY(net_forward_layer(ctx, net, i));
    for (int i = s->from; i < s->to && s->kind == STRETCH_REFRESH; ++i) TRY(net_refresh_layer(ctx, net, i));
    for (int i = s->to - 1; i >= s->from && s->kind == STRETCH_BACKWARD; --i) TRY(net_backward_layer(ctx, net, i));
    return ST_OK;
}

/* Notes the stretch, which has been run before, so that all memory is there. */
static enum status note(struct ctx *ctx, struct net *net, struct stretch *s) {
    if (!net->be->passes->record(net->be)) {
        s->state = STRETCH_PLAIN;
        return ST_OK;
    }
    enum status st = run(ctx, net, s);
    s->note = net->be->passes->recorded(net->be, ctx);
    s->state = s->note ? STRETCH_NOTED : STRETCH_PLAIN;
    return st;
}

static enum status play(struct ctx *ctx, struct net *net, struct stretch *s) {
    if (s->state == STRETCH_SEEN) TRY(note(ctx, net, s));
    if (s->state == STRETCH_NOTED) {
        if (net->be->passes->replay(net->be, s->note)) return ST_OK;
        forget(net, s);
        s->state = STRETCH_FRESH;
    }
    if (s->state == STRETCH_FRESH) s->state = STRETCH_SEEN;
    return run(ctx, net, s);
}

enum status net_play(struct ctx *ctx, struct net *net, bool backward, int first, int *next) {
    struct stretch *s = stretch_at(net, backward ? STRETCH_BACKWARD : STRETCH_FORWARD, first);
    if (s) {
        *next = backward ? s->from - 1 : s->to;
        return play(ctx, net, s);
    }
    *next = backward ? first - 1 : first + 1;
    return backward ? net_backward_layer(ctx, net, first) : net_forward_layer(ctx, net, first);
}

enum status net_refresh(struct ctx *ctx, struct net *net) {
    struct stretch *s = stretch_at(net, STRETCH_REFRESH, 0);
    if (s) return play(ctx, net, s);
    for (int i = 0; i < net->n; ++i) TRY(net_refresh_layer(ctx, net, i));
    return ST_OK;
}
