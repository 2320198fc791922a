/* lamp: squared length of a group's filters over that of all in its unit that are no shorter (Lee et al. 2021, on groups of
 * weights instead of single ones).  The longest of every unit gets 1, so no unit can be emptied by scale alone. */
#include <stdlib.h>

#include "prune/criterion_weights.h"

struct entry { int unit, group; double squares; };

/* By unit, the longest first. */
static int by_length(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    if (x->unit != y->unit) return x->unit - y->unit;
    if (x->squares != y->squares) return x->squares > y->squares ? -1 : 1;
    return x->group - y->group;
}

static enum status score(struct ctx *ctx, const struct criterion_input *in, double *out) {
    const struct channels *ch = in->channels;
    double *squares = mem_zero(ctx, (size_t)ch->n_node, sizeof *squares), sum = 0;
    struct entry *e = mem_zero(ctx, (size_t)ch->n_group, sizeof *e);
    if (squares && e) {
        for (int node = 0; node < ch->n_node; ++node) {
            const struct layer *l = &in->net->layer[ch->layer_of[node]];
            squares[node] = filter_squares(in->net, l, node - ch->first_node[l->index]);
        }
        criterion_group_sum(ch, squares, out);
        for (int g = 0; g < ch->n_group; ++g) e[g] = (struct entry){ ch->group[g].unit, g, out[g] };
        qsort(e, (size_t)ch->n_group, sizeof *e, by_length);
        for (int i = 0, n; i < ch->n_group; i += n) { /* those of one length count alike */
            bool fresh = i == 0 || e[i].unit != e[i - 1].unit;
            if (fresh) sum = 0;
            for (n = 0; i + n < ch->n_group && e[i + n].unit == e[i].unit && e[i + n].squares == e[i].squares; ++n) sum += e[i].squares;
            for (int k = i; k < i + n; ++k) out[e[k].group] = sum > 0 ? e[k].squares / sum : 0;
        }
    }
    free(squares), free(e);
    return ctx->code;
}

const struct criterion lamp_criterion = { "lamp", "squared length over that of all longer filters of the layer", 0, 0, score, NULL, false };
