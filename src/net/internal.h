/* Shared by the files of net/ only. */
#ifndef NET_INTERNAL_H
#define NET_INTERNAL_H

#include "net/net.h"

/* Shapes and parameter offsets of all layers for opt.width x opt.height. */
enum status net_shapes(struct ctx *, struct net *);

struct net_buffers {
    real *arena, *scratch;            /* arena: outputs, kept values and gradients by lifetimes */
    real **kept;         /* per layer: see layer_ops.kept */
    int n_segment, *segment; /* segment s: layers segment[s] .. segment[s + 1] - 1 */
    bool *again;         /* per layer: computed a second time before its segment's backward pass */
    int *owner;          /* per layer: the layer whose tensor y and dy are (itself, or what it passes through); -1: the input */
    int *channel;        /* per layer that is not its own owner: the first channel of the owner's tensor that is its y */
    int *home, *place;   /* per owner: the layer in whose tensor y lies, from channel `place` on; LAYER_INPUT: none, it has its own */
    bool *narrow, narrow_input; /* per layer, of those that are nobody else's part: its map is of the backend's narrow_maps */
    int *skip;           /* per owner: the layer whose output it sums into its own; LAYER_INPUT: none */
    int *spare;          /* per owner: spare elements of its tensor's pixels */
    bool **add;          /* per layer and input: the gradient's first writer has been there already */
    int *first_writer;   /* per layer: the layer whose backward writes its dy first, or -1 */
    bool *clear;         /* per layer: dy must be zeroed before the first writer */
    bool *differentiable;/* per layer: backward runs */
    size_t arena_size;     /* elements */
    int short_layer;       /* the one that there was no memory for; -1: none */
    bool labels_read;      /* [contrastive] looks at what [yolo] assigned */
    struct loss_args loss; /* of the batch at work: between net_loss_begin and net_loss_end */
    struct loss_stats *stats; /* per layer, likewise */
    struct stretch *stretch; /* of layers that are noted and replayed (replay.c): of forward passes, then of backward ones */
    int n_stretch;
    struct tensor **in, **din; /* scratch arrays of a pass, as many as the widest layer has inputs */
};

/* One layer's turn, as run.c has it; layers without a turn of their own are passed over. */
enum status net_forward_layer(struct ctx *, struct net *, int i);
enum status net_backward_layer(struct ctx *, struct net *, int i);

/* --- replay.c --- */
enum status net_find_stretches(struct ctx *, struct net *);
void net_drop_stretches(struct net *);
/* Layers first .. of a forward pass, or first, first - 1 .. of a backward pass: one of them or a whole stretch.  *next: the one
 * whose turn is then. */
enum status net_play(struct ctx *, struct net *, bool backward, int first, int *next);

enum status net_refresh_layer(struct ctx *, struct net *, int i);

/* The pass of layer i, with its tensors, parameters and flags. */
void net_pass(struct ctx *, struct net *, int i, struct pass *);

enum net_mode net_layer_mode(const struct net *, int layer); /* INFER for layers frozen in training */

/* --- share.c --- */
/* Owners and sums, from first to last layer; then the places of what is concatenated; then, when the outputs have memory, the
 * tensors of those that have none of their own. */
void net_own(struct net *);
void net_settle(struct net *);
void net_point(struct net *);
int net_owner(const struct net *, int from); /* LAYER_INPUT for the network's input */
/* The owner in whose memory owner i's tensor lies in the end, and from which channel on. */
int net_home(const struct net_buffers *, int i, int *channel);

/* --- elements.c --- */
void net_choose_elements(struct net *); /* when owners and places are settled */
enum element net_element(const struct net *, int i); /* of layer i's output and its gradient; LAYER_INPUT: of the network's input */
size_t net_reals(const struct net *, int i, size_t n); /* room, in reals, for n elements of that */

/* A device has no memory for what layer i asked for (-1: for what all share): which one, how much, what there is, and which batch or
 * size the plan's arithmetic has room for in the `left` bytes that were free before the network was bound. */
enum status net_explain_memory(struct ctx *, const struct net *, int layer, double left);

/* --- weights.c: parameters that lie in a file --- */
void net_drop_param(struct net *);
void net_leave_param(const struct net *, const struct layer *); /* nobody will read them soon */
enum status net_check_param(struct ctx *, const struct net *); /* fails when the file is another one by now */

/* Fails when that many bytes are more than the machine has. */
enum status net_check_memory(struct ctx *, const struct net *, const char *what, double bytes);

/* Outputs, kept values and gradients: lifetimes, segments, one arena (memory.c). */
enum status net_place(struct ctx *, struct net *);

/* A block in use from step first to step last, and once more if again_first <= again_last. */
struct span { size_t size; int first, last, again_first, again_last; };
/* Offsets in one arena: first fit by falling size; *total is the arena's size. */
enum status plan_offsets(struct ctx *, int n, const struct span *, size_t *offset, size_t *total);
/* The largest sum of sizes in use at one step; change: room for steps + 1 numbers. */
size_t plan_peak(int n, const struct span *, int steps, ptrdiff_t *change);

#endif
