#include "prune/select.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct select_options select_defaults(void) {
    return (struct select_options){ .target = TARGET_RATIO, .value = 0.3, .max_layer_ratio = 0.9, .min_filters = 8, .round = 8,
                                    .cost = COST_FLOPS, .cost_power = 0.5, .recount = true, .interaction = 1 };
}

/* Groups that take the same number of channels from the same layers: what can be rounded and counted together.  Its
 * removable ones are member[first .. first + n), worst first. */
struct family { int n, first, all, per_group, of; };
/* A layer whose cost falls with a group: how many channels it takes from the layer's input and output. */
struct touch { int layer, in, out; };

struct selecting {
    const struct channels *ch;
    const struct select_options *opt;
    const double *rank;
    uint8_t *keep;
    int *order, n_order;        /* removable groups, worst first */
    int *member;                /* the same, family after family */
    struct family *family;
    int n_family, *family_of;   /* per group */
    int *given;                 /* work space, one per group */
    int *kept, *least;          /* output channels per layer: now, and at least */
    struct touch *touch;        /* of one group at a time */
    const uint8_t *gone;        /* per layer, or NULL: those that went with a block, and cost nothing */
};

double cost_price(const struct cost *c, enum cost_kind kind) {
    switch (kind) {
    case COST_FLOPS: return c->flops;
    case COST_MEMORY: return c->activations;
    case COST_PARAMS: return c->params;
    case COST_LATENCY: return c->ms;
    case COST_NONE: break;
    }
    return 1;
}

static struct cost layer_cost(const struct selecting *s, const struct layer *l, int in, int out) {
    if (s->gone && s->gone[l->index]) return (struct cost){ 0 };
    struct cost c = cost_of_layer(l, in, out);
    if (s->opt->latency) c.ms = latency_of_layer(s->opt->latency, l, in, out);
    return c;
}

static int width_in(const struct selecting *s, const struct layer *l) {
    return l->in[0] == LAYER_INPUT ? s->ch->net->opt.channels : s->kept[l->in[0]];
}

static struct cost cost_now(const struct selecting *s) {
    struct cost sum = { 0, 0, 0, 0 };
    for (int i = 0; i < s->ch->net->n; ++i) {
        const struct layer *l = &s->ch->net->layer[i];
        sum = cost_add(sum, layer_cost(s, l, width_in(s, l), l->out.c ? s->kept[i] : 0), 1);
    }
    return sum;
}

static int touched_by(const struct selecting *s, int g, struct touch *touch) {
    int n = 0;
    for (int i = 0; i < s->ch->net->n; ++i) {
        const struct layer *l = &s->ch->net->layer[i];
        int in = l->in[0] == LAYER_INPUT ? 0 : channels_in_layer(s->ch, g, l->in[0]), out = channels_in_layer(s->ch, g, i);
        if (in || out) touch[n++] = (struct touch){ i, in, out };
    }
    return n;
}

/* What taking this away saves at the present widths. */
static struct cost saving_now(const struct selecting *s, const struct touch *touch, int n) {
    struct cost sum = { 0, 0, 0, 0 };
    for (int i = 0; i < n; ++i) {
        const struct layer *l = &s->ch->net->layer[touch[i].layer];
        int in = width_in(s, l), out = l->out.c ? s->kept[l->index] : 0;
        sum = cost_add(cost_add(sum, layer_cost(s, l, in, out), 1), layer_cost(s, l, in - touch[i].in, out - touch[i].out), -1);
    }
    return sum;
}

/* Times between measured widths can stand still where work does not: a group saves no less than a tenth of its share of the
 * FLOPs, so that noise alone makes none priceless. */
static double share_saved(const struct selecting *s, struct cost saved, struct cost full) {
    double share = cost_price(&saved, s->opt->cost) / cost_price(&full, s->opt->cost);
    if (s->opt->cost == COST_LATENCY) share = fmax(share, 0.1 * saved.flops / full.flops);
    return fmax(share, 1e-12);
}

static bool removable(const struct selecting *s, int g) {
    if (s->ch->group[g].frozen) return false;
    for (int k = 0; s->opt->keep_layer && k < s->ch->group[g].size; ++k)
        if (s->opt->keep_layer[s->ch->layer_of[s->ch->node_of_group[s->ch->group[g].first + k]]]) return false;
    return true;
}

/* Sorting wants the ranks at hand: pairs, so that no state is shared. */
struct pair { double rank; int group; };
static int by_rank(const void *a, const void *b) {
    const struct pair *x = a, *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return (x->group > y->group) - (x->group < y->group);
}

static void into_families(struct selecting *s, int n) {
    int at = 0;
    for (int f = 0; f < s->n_family; ++f) {
        s->family[f].first = at;
        for (int i = 0; i < n; ++i)
            if (s->family_of[s->order[i]] == f) s->member[at++] = s->order[i];
        s->family[f].n = at - s->family[f].first;
    }
}

static enum status order_groups(struct ctx *ctx, struct selecting *s) {
    int n = s->ch->n_group;
    struct pair *pair = mem_zero(ctx, (size_t)n, sizeof *pair);
    if (!pair) return ST_MEMORY;
    for (int g = 0; g < n; ++g)
        if (removable(s, g)) pair[s->n_order++] = (struct pair){ s->rank[g], g };
    qsort(pair, (size_t)s->n_order, sizeof *pair, by_rank);
    for (int i = 0; i < s->n_order; ++i) s->order[i] = pair[i].group;
    free(pair);
    into_families(s, s->n_order);
    return ST_OK;
}

static int layer_at(const struct channels *ch, const struct channel_group *g, int i) {
    return ch->layer_of[ch->node_of_group[g->first + i]];
}

/* The group's next member from number i on that is a filter; its size: none. */
static int next_filter(const struct channels *ch, const struct channel_group *g, int i) {
    while (i < g->size && !layer_has_filters(&ch->net->layer[layer_at(ch, g, i)])) ++i;
    return i;
}

static bool alike(const struct channels *ch, int a, int b) {
    const struct channel_group *x = &ch->group[a], *y = &ch->group[b];
    if (x->unit != y->unit) return false;
    for (int i = -1, k = -1;;) {
        i = next_filter(ch, x, i + 1), k = next_filter(ch, y, k + 1);
        if (i == x->size || k == y->size) return i == x->size && k == y->size;
        if (layer_at(ch, x, i) != layer_at(ch, y, k)) return false;
    }
}

static void find_families(struct selecting *s) {
    const struct channels *ch = s->ch;
    for (int g = 0; g < ch->n_group; ++g) {
        int f = s->n_family - 1; /* neighbours are alike */
        while (f >= 0 && !alike(ch, s->family[f].of, g)) --f;
        if (f < 0) {
            const struct channel_group *group = &ch->group[g];
            int i = next_filter(ch, group, 0), layer = i < group->size ? layer_at(ch, group, i) : -1;
            f = s->n_family++;
            s->family[f].of = g;
            for (; i < group->size; ++i) s->family[f].per_group += layer_at(ch, group, i) == layer;
        }
        s->family_of[g] = f;
        ++s->family[f].all;
    }
}

static void reset(struct selecting *s) {
    memset(s->keep, 1, (size_t)s->ch->n_group);
    for (int i = 0; i < s->ch->net->n; ++i) s->kept[i] = s->ch->net->layer[i].out.c;
}

static void count_group(struct selecting *s, int g, int sign) {
    for (int k = 0; k < s->ch->group[g].size; ++k) s->kept[s->ch->layer_of[s->ch->node_of_group[s->ch->group[g].first + k]]] += sign;
}

/* Removes g unless a layer would fall under its minimum. */
static bool remove_group(struct selecting *s, int g) {
    count_group(s, g, -1);
    bool allowed = true;
    for (int k = 0; k < s->ch->group[g].size && allowed; ++k) {
        int l = s->ch->layer_of[s->ch->node_of_group[s->ch->group[g].first + k]];
        allowed = s->kept[l] >= s->least[l];
    }
    if (allowed) s->keep[g] = 0;
    else count_group(s, g, 1);
    return allowed;
}

static void restore_group(struct selecting *s, int g) {
    s->keep[g] = 1;
    count_group(s, g, 1);
}

/* Kept widths land on a multiple: the best removed come back, or the next worst go, whichever is nearer and allowed. */
static void round_family(struct selecting *s, const struct family *family) {
    int gone = 0, step = s->opt->round;
    for (int i = 0; i < family->n; ++i) gone += !s->keep[s->member[family->first + i]];
    if (gone == 0 || step <= 1 || family->per_group == 0) return;
    int width = (family->all - gone) * family->per_group, over = width % step;
    if (over == 0) return;
    int more = over % family->per_group ? 0 : over / family->per_group;            /* to remove */
    int back = (step - over) % family->per_group ? gone : (step - over) / family->per_group;
    if (back > gone) back = gone; /* the full width, whatever it is */
    if (more > 0 && over * 2 < step && width - over > 0) {
        int done = 0;
        for (int i = 0; i < family->n && done < more; ++i) {
            int g = s->member[family->first + i];
            if (s->keep[g] && remove_group(s, g)) ++done;
        }
        if (done == more) return;
        gone += done;
        width -= done * family->per_group;
        over = width % step;
        back = (step - over) % step / family->per_group;
        if (back > gone) back = gone;
    }
    for (int i = family->n - 1; i >= 0 && back > 0; --i) {
        int g = s->member[family->first + i];
        if (s->keep[g]) continue;
        restore_group(s, g);
        --back;
    }
}

static void round_all(struct selecting *s) {
    for (int f = 0; f < s->n_family; ++f)
        if (s->family[f].n) round_family(s, &s->family[f]);
}

static void remove_worst(struct selecting *s, int steps) {
    reset(s);
    if (!s->opt->by_layer) {
        for (int i = 0, done = 0; i < s->n_order && done < steps; ++i) done += remove_group(s, s->order[i]);
    } else { /* steps: share of each family in 1/1000 */
        for (int f = 0; f < s->n_family; ++f) {
            const struct family *family = &s->family[f];
            int want = (int)((double)family->n * steps / 1000 + 0.5);
            for (int i = 0, done = 0; i < family->n && done < want; ++i) done += remove_group(s, s->member[family->first + i]);
        }
    }
    round_all(s);
}

static int filters(const struct selecting *s, bool now) {
    int sum = 0;
    for (int i = 0; i < s->ch->net->n; ++i)
        if (layer_has_filters(&s->ch->net->layer[i])) sum += !now ? s->ch->net->layer[i].out.c : s->gone && s->gone[i] ? 0 : s->kept[i];
    return sum;
}

static double share(struct cost now, struct cost full, enum target_kind kind) {
    if (kind == TARGET_FLOPS) return now.flops / full.flops;
    if (kind == TARGET_LATENCY) return now.ms / full.ms;
    return kind == TARGET_PARAMS ? now.params / full.params : now.activations / full.activations;
}

static bool target_met(const struct selecting *s, struct cost full) {
    if (s->opt->target == TARGET_RATIO) return filters(s, true) <= (1 - s->opt->value) * filters(s, false) + 1e-9;
    return share(cost_now(s), full, s->opt->target) <= s->opt->value + 1e-9;
}

/* Gives the best removed groups of a family back, as many as bring it to the next multiple or to its full width; what they are worth. */
static double give_back(struct selecting *s, const struct family *family, int *given, int *n) {
    int step = s->opt->round, block = family->per_group > 0 && step % family->per_group == 0 ? step / family->per_group : family->n;
    double worth = 0;
    *n = 0;
    for (int i = family->n - 1; i >= 0 && *n < block; --i) {
        int g = s->member[family->first + i];
        if (s->keep[g]) continue;
        restore_group(s, g);
        given[(*n)++] = g;
        worth += s->rank[g];
    }
    return worth;
}

static void take_again(struct selecting *s, const int *given, int n) {
    for (int i = 0; i < n; ++i) {
        s->keep[given[i]] = 0;
        count_group(s, given[i], -1);
    }
}

/* Rounding moves whole blocks, and several families at once, so the search may end well below the target: the most valuable blocks
 * come back as long as it holds. */
static void settle(struct selecting *s, struct cost full, int *given) {
    for (int best = 0, n; best >= 0;) {
        double most = 0;
        best = -1;
        for (int f = 0; f < s->n_family; ++f) {
            double worth = give_back(s, &s->family[f], given, &n);
            if (n && worth > most && target_met(s, full)) best = f, most = worth;
            take_again(s, given, n);
        }
        if (best >= 0) give_back(s, &s->family[best], given, &n);
    }
}

/* The fewest removals that meet the target: cost falls with them, so halve the interval. */
static bool search(struct selecting *s, struct cost full) {
    int low = 0, high = s->opt->by_layer ? 1000 : s->n_order;
    remove_worst(s, high);
    bool reached = target_met(s, full);
    while (reached && low < high) {
        int middle = (low + high) / 2;
        remove_worst(s, middle);
        if (target_met(s, full)) high = middle;
        else low = middle + 1;
    }
    remove_worst(s, high);
    return reached;
}

static bool has_price(const struct select_options *opt) { return opt->cost_power != 0 && opt->cost != COST_NONE; }

static void rank_groups(const struct selecting *s, const double *score, struct cost full, double *rank) {
    for (int g = 0; g < s->ch->n_group; ++g) {
        rank[g] = score[g];
        if (!has_price(s->opt) || cost_price(&full, s->opt->cost) <= 0) continue;
        struct cost saved = saving_now(s, s->touch, touched_by(s, g, s->touch));
        rank[g] /= pow(share_saved(s, saved, full), s->opt->cost_power);
    }
}

/* --- recounting ------------------------------------------------------------------------------------------------------------ */

struct offer { int at, n_touch; double price; struct touch *touch; }; /* a family's worst remaining group, and what it saves now */

static void reprice(const struct selecting *s, struct offer *o, struct cost full) {
    o->price = pow(share_saved(s, saving_now(s, o->touch, o->n_touch), full), s->opt->cost_power);
}

static bool meet(const struct offer *a, const struct offer *b) {
    for (int i = 0; i < a->n_touch; ++i)
        for (int k = 0; k < b->n_touch; ++k)
            if (a->touch[i].layer == b->touch[k].layer) return true;
    return false;
}

/* Takes the worst group of all by score / price now, and prices anew what shares a layer with it, until nothing can go. */
static void take_in_turn(struct selecting *s, const double *score, struct cost full, struct offer *offer, const uint8_t *meets) {
    s->n_order = 0;
    for (;;) {
        int best = -1;
        double lowest = INFINITY;
        for (int f = 0; f < s->n_family; ++f) {
            if (offer[f].at >= s->family[f].n) continue;
            double rank = score[s->member[s->family[f].first + offer[f].at]] / offer[f].price;
            if (rank < lowest || best < 0) lowest = rank, best = f;
        }
        if (best < 0) return;
        int g = s->member[s->family[best].first + offer[best].at++];
        if (!remove_group(s, g)) continue;
        s->order[s->n_order++] = g;
        for (int f = 0; f < s->n_family; ++f)
            if (meets[(size_t)best * (size_t)s->n_family + (size_t)f] && offer[f].at < s->family[f].n) reprice(s, &offer[f], full);
    }
}

static void offers_free(struct offer *offer, int n) {
    for (int f = 0; offer && f < n; ++f) free(offer[f].touch);
    free(offer);
}

static enum status offers_new(struct ctx *ctx, struct selecting *s, struct offer **out) {
    struct offer *offer = *out = mem_zero(ctx, (size_t)s->n_family, sizeof *offer);
    for (int f = 0; offer && f < s->n_family; ++f) {
        offer[f].n_touch = touched_by(s, s->family[f].of, s->touch);
        offer[f].touch = mem_zero(ctx, (size_t)offer[f].n_touch + 1, sizeof *offer[f].touch);
        if (!offer[f].touch) break;
        memcpy(offer[f].touch, s->touch, (size_t)offer[f].n_touch * sizeof *s->touch);
    }
    return ctx->code;
}

static enum status order_by_savings(struct ctx *ctx, struct selecting *s, const double *score, struct cost full) {
    size_t n = (size_t)s->n_family;
    uint8_t *meets = mem_zero(ctx, n * n, 1);
    struct offer *offer = NULL;
    enum status st = meets ? offers_new(ctx, s, &offer) : ST_MEMORY;
    if (st == ST_OK) {
        for (size_t a = 0; a < n; ++a) reprice(s, &offer[a], full);
        for (size_t a = 0; a < n; ++a)
            for (size_t b = 0; b < n; ++b) meets[a * n + b] = meet(&offer[a], &offer[b]);
        take_in_turn(s, score, full, offer, meets);
    }
    offers_free(offer, s->n_family);
    free(meets);
    return st;
}

/* --- together -------------------------------------------------------------------------------------------------------------- */

/* Removing the set R moves object o by T_o = sum of its responses, to first order; what that costs is taken as the mean of T_o
 * squared (responses carry the weights).  One more group g adds |r_g|^2 + 2 r_g.T: groups that lean on the same objects, or
 * carry the same feature, count together, and a group that is harmless alone may be the one too many.  A group that makes up
 * for others is credited with half its own square at most: the first order does not hold that far. */
enum { ROUNDS = 400 };

struct joint { int n, *group; double *square, *cross, *price, *moved; struct pair *pair; };

static double inner(const float *a, const float *b, int n) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < n; ++i) sum += (double)a[i] * (double)b[i];
    return sum;
}

static void measure_against(const struct selecting *s, const struct joint *j, const float *moved) {
    int n = s->opt->n_response;
#pragma omp parallel for schedule(static)
    for (int i = 0; i < j->n; ++i) {
        int g = j->group[i];
        j->cross[g] = inner(s->opt->response + (size_t)g * (size_t)n, moved, n);
    }
}

static void price_families(const struct selecting *s, const struct offer *offer, struct cost full, double *price) {
    for (int f = 0; f < s->n_family; ++f) {
        double share = has_price(s->opt) ? share_saved(s, saving_now(s, offer[f].touch, offer[f].n_touch), full) : 1;
        price[f] = pow(share, 2 * s->opt->cost_power); /* squares: twice the power that goes with a magnitude */
    }
}

/* One round: the `most` cheapest go.  What is at its layer's limit is given up. */
static void joint_round(struct selecting *s, struct joint *j, int most, float *moved) {
    int n = s->opt->n_response, done = 0, left = 0;
    for (int i = 0; i < j->n; ++i) {
        int g = j->group[i];
        double value = j->square[g] + fmax(2 * s->opt->interaction * j->cross[g], -j->square[g] / 2);
        j->pair[i] = (struct pair){ value / j->price[s->family_of[g]], g };
    }
    qsort(j->pair, (size_t)j->n, sizeof *j->pair, by_rank);
    for (int i = 0; i < j->n; ++i) {
        int g = j->pair[i].group;
        if (done == most) {
            j->group[left++] = g;
            continue;
        }
        if (!remove_group(s, g)) continue;
        s->order[s->n_order++] = g;
        ++done;
        for (int k = 0; k < n; ++k) j->moved[k] += (double)s->opt->response[(size_t)g * (size_t)n + (size_t)k];
    }
    j->n = left;
    for (int k = 0; k < n; ++k) moved[k] = (float)j->moved[k];
}

static void joint_rounds(struct selecting *s, struct joint *j, struct offer *offer, struct cost full, float *moved) {
    int most = s->n_order / ROUNDS + 1, all = s->n_order, n = s->opt->n_response;
    memcpy(j->group, s->order, (size_t)all * sizeof *j->group);
    memcpy(s->member, s->order, (size_t)all * sizeof *s->member);
    j->n = all;
    for (int i = 0; i < all; ++i) {
        const float *r = s->opt->response + (size_t)s->order[i] * (size_t)n;
        j->square[s->order[i]] = inner(r, r, n);
    }
    for (s->n_order = 0; j->n;) {
        price_families(s, offer, full, j->price);
        joint_round(s, j, most, moved);
        measure_against(s, j, moved);
    }
    int last = s->n_order; /* what never went, behind: rounding may ask for it */
    for (int i = 0; i < all; ++i)
        if (s->keep[s->member[i]]) s->order[last++] = s->member[i];
    into_families(s, all);
}

static enum status order_jointly(struct ctx *ctx, struct selecting *s, struct cost full) {
    size_t n = (size_t)s->ch->n_group, responses = (size_t)s->opt->n_response;
    struct joint j = { .group = mem_zero(ctx, n, sizeof *j.group), .square = mem_zero(ctx, n, sizeof *j.square),
                       .cross = mem_zero(ctx, n, sizeof *j.cross), .price = mem_zero(ctx, (size_t)s->n_family, sizeof *j.price),
                       .moved = mem_zero(ctx, responses, sizeof *j.moved), .pair = mem_zero(ctx, n, sizeof *j.pair) };
    float *moved = mem_zero(ctx, responses, sizeof *moved);
    struct offer *offer = NULL;
    enum status st = ctx->code == ST_OK ? offers_new(ctx, s, &offer) : ctx->code;
    if (st == ST_OK) joint_rounds(s, &j, offer, full, moved);
    offers_free(offer, s->n_family);
    free(j.group), free(j.square), free(j.cross), free(j.price), free(j.moved), free(j.pair), free(moved);
    return st;
}

static void find_least(struct selecting *s) {
    const struct net *net = s->ch->net;
    for (int i = 0; i < net->n; ++i) {
        int width = s->opt->whole ? s->opt->whole[i] : net->layer[i].out.c, floor_ = s->opt->min_filters < width ? s->opt->min_filters : width;
        int share_ = (int)ceil(width * (1 - s->opt->max_layer_ratio) - 1e-9);
        s->least[i] = floor_ > share_ ? floor_ : share_;
        if (s->least[i] < 1) s->least[i] = width > 0;
    }
}

static enum status select_now(struct ctx *ctx, struct selecting *s, const double *score, struct selection *out) {
    find_least(s);
    reset(s);
    out->before = cost_now(s);
    rank_groups(s, score, out->before, out->rank);
    find_families(s);
    TRY(order_groups(ctx, s));
    bool ranked = s->opt->by_layer || s->opt->target == TARGET_THRESHOLD; /* by the score of each group alone */
    if (s->opt->response && s->opt->interaction > 0 && !ranked) TRY(order_jointly(ctx, s, out->before));
    else if (s->opt->recount && !ranked && has_price(s->opt))
        TRY(order_by_savings(ctx, s, score, out->before));
    if (s->opt->target == TARGET_THRESHOLD) {
        int n = 0;
        while (n < s->n_order && s->rank[s->order[n]] < s->opt->value) ++n;
        remove_worst(s, n);
        out->reached = true;
    } else {
        out->reached = search(s, out->before);
        if (out->reached && !s->opt->by_layer && s->opt->round > 1) settle(s, out->before, s->given);
    }
    out->after = cost_now(s);
    out->filters_before = filters(s, false);
    out->filters_after = filters(s, true);
    return ST_OK;
}

/* Work space but for `rank` and `keep`. */
static enum status selecting_new(struct ctx *ctx, struct selecting *s) {
    size_t n = (size_t)s->ch->n_group, layers = (size_t)s->ch->net->n;
    s->order = mem_zero(ctx, n, sizeof *s->order);
    s->member = mem_zero(ctx, n, sizeof *s->member);
    s->family = mem_zero(ctx, n, sizeof *s->family);
    s->given = mem_zero(ctx, n, sizeof *s->given);
    s->family_of = mem_zero(ctx, n, sizeof *s->family_of);
    s->kept = mem_zero(ctx, layers, sizeof *s->kept);
    s->least = mem_zero(ctx, layers, sizeof *s->least);
    s->touch = mem_zero(ctx, layers, sizeof *s->touch);
    return ctx->code;
}

static void selecting_free(struct selecting *s) {
    free(s->touch), free(s->order), free(s->member), free(s->given), free(s->family), free(s->family_of), free(s->kept), free(s->least);
}

enum status select_groups(struct ctx *ctx, const struct channels *ch, const double *score, const struct select_options *opt,
                          struct selection *out) {
    size_t n = (size_t)ch->n_group;
    memset(out, 0, sizeof *out);
    out->keep = mem_zero(ctx, n, 1);
    out->rank = mem_zero(ctx, n, sizeof *out->rank);
    struct selecting s = { .ch = ch, .opt = opt, .rank = out->rank, .keep = out->keep };
    enum status st = selecting_new(ctx, &s);
    if (st == ST_OK) st = select_now(ctx, &s, score, out);
    selecting_free(&s);
    if (st != ST_OK) selection_free(out);
    return st;
}

void selection_free(struct selection *s) {
    free(s->keep);
    free(s->rank);
    s->keep = NULL;
    s->rank = NULL;
}

/* --- blocks among groups --------------------------------------------------------------------------------------------------- */

/* What is left of a network between groups and blocks that went. */
struct contest {
    struct selecting *s;
    struct blocks *b;
    struct cost full;
    uint8_t *gone;      /* per layer: s->gone */
    uint8_t *goes;      /* per block and layer: what would go besides */
    uint8_t *out;       /* per block: it went, or cannot */
    int *order, n;      /* that went */
};

/* What each block takes along, now that others have gone. */
static void list_layers(struct contest *c) {
    size_t layers = (size_t)c->b->net->n;
    for (int i = 0; i < c->b->net->n; ++i) c->gone[i] = c->b->place[i] == PLACE_GONE;
    for (int k = 0; k < c->b->n; ++k) {
        if (c->out[k]) continue;
        if (!blocks_remove(c->b, k)) {
            c->out[k] = 1;
            continue;
        }
        for (size_t i = 0; i < layers; ++i) c->goes[(size_t)k * layers + i] = c->b->place[i] == PLACE_GONE && !c->gone[i];
        blocks_restore(c->b, k);
    }
}

/* Of the share that is still too much: what a block saves beyond the target is worth nothing. */
static double still_needed(const struct contest *c) {
    const struct select_options *o = c->s->opt;
    if (o->target == TARGET_RATIO) return INFINITY;
    struct cost now = cost_now(c->s);
    return share(now, c->full, o->target) - o->value;
}

static double block_rank(const struct contest *c, int k, double needed) {
    const struct select_options *o = c->s->opt;
    struct cost saved = { 0 };
    for (int i = 0; i < c->b->net->n; ++i) {
        const struct layer *l = &c->b->net->layer[i];
        if (c->goes[(size_t)k * (size_t)c->b->net->n + (size_t)i]) saved = cost_add(saved, layer_cost(c->s, l, width_in(c->s, l), l->out.c ? c->s->kept[i] : 0), 1);
    }
    if (!has_price(o)) return c->b->item[k].score;
    double part = share_saved(c->s, saved, c->full), of_target = share(saved, c->full, o->target);
    if (of_target > needed) part *= needed / of_target;
    return c->b->item[k].score / pow(fmax(part, 1e-12), o->cost_power);
}

static int lowest_block(const struct contest *c, double *rank) {
    int best = -1;
    double needed = still_needed(c);
    for (int k = 0; k < c->b->n; ++k) {
        double r = c->out[k] ? INFINITY : block_rank(c, k, needed);
        if (r < *rank) *rank = r, best = k;
    }
    return best;
}

/* Groups and blocks in turn, whichever ranks lowest, until the target holds or nothing can go. */
static void contest_run(struct contest *c, const double *score, struct offer *offer, const uint8_t *meets) {
    struct selecting *s = c->s;
    while (!target_met(s, c->full)) {
        int best = -1;
        double lowest = INFINITY;
        for (int f = 0; f < s->n_family; ++f) {
            if (offer[f].at >= s->family[f].n) continue;
            double rank = score[s->member[s->family[f].first + offer[f].at]] / offer[f].price;
            if (rank < lowest) lowest = rank, best = f;
        }
        int block = lowest_block(c, &lowest);
        if (block >= 0) {
            c->out[block] = 1;
            if (blocks_remove(c->b, block)) {
                c->order[c->n++] = block;
                list_layers(c);
            }
            for (int f = 0; f < s->n_family; ++f) reprice(s, &offer[f], c->full);
            continue;
        }
        if (best < 0) return;
        int g = s->member[s->family[best].first + offer[best].at++];
        if (!remove_group(s, g)) continue;
        for (int f = 0; f < s->n_family; ++f)
            if (meets[(size_t)best * (size_t)s->n_family + (size_t)f] && offer[f].at < s->family[f].n) reprice(s, &offer[f], c->full);
    }
}

static enum status hold_contest(struct ctx *ctx, struct contest *c, const double *score, double *rank) {
    struct selecting *s = c->s;
    find_least(s);
    reset(s);
    c->full = cost_now(s);
    list_layers(c);
    for (int k = 0; k < c->b->n; ++k) c->b->item[k].rank = c->out[k] ? 0 : block_rank(c, k, INFINITY);
    rank_groups(s, score, c->full, rank);
    find_families(s);
    TRY(order_groups(ctx, s));
    size_t n = (size_t)s->n_family;
    uint8_t *meets = mem_zero(ctx, n * n, 1);
    struct offer *offer = NULL;
    enum status st = meets ? offers_new(ctx, s, &offer) : ST_MEMORY;
    if (st == ST_OK) {
        for (size_t a = 0; a < n; ++a) reprice(s, &offer[a], c->full);
        for (size_t a = 0; a < n; ++a)
            for (size_t d = 0; d < n; ++d) meets[a * n + d] = meet(&offer[a], &offer[d]);
        contest_run(c, score, offer, meets);
    }
    offers_free(offer, s->n_family);
    free(meets);
    return st;
}

enum status select_blocks(struct ctx *ctx, const struct channels *ch, const double *score, const struct select_options *opt, struct blocks *b, int *order,
                          int *n) {
    size_t layers = (size_t)ch->net->n;
    double *rank = mem_zero(ctx, (size_t)ch->n_group, sizeof *rank);
    struct selecting s = { .ch = ch, .opt = opt, .rank = rank };
    struct contest c = { .s = &s, .b = b, .order = order };
    s.keep = mem_zero(ctx, (size_t)ch->n_group, 1);
    s.gone = c.gone = mem_zero(ctx, layers, 1);
    c.goes = mem_zero(ctx, layers * (size_t)b->n + 1, 1);
    c.out = mem_zero(ctx, (size_t)b->n + 1, 1);
    enum status st = selecting_new(ctx, &s);
    if (st == ST_OK) st = hold_contest(ctx, &c, score, rank);
    for (int i = c.n; i-- > 0;) blocks_restore(b, order[i]);
    *n = c.n;
    selecting_free(&s);
    free(rank), free(s.keep), free(c.gone), free(c.goes), free(c.out);
    return st;
}
