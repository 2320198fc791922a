/* Heat maps: where in a picture the evidence for a detector's objects lies.
 *
 * For one picture and one site, a layer seen from one head or from all of them: M(p) = sum over channels of |g(p)*a(p)|, a the
 * layer's output and g = dU/da the whole gradient of the detection utility (pruning.md 2: objectness, class and overlap logits
 * of the predictions that own the objects; no background guard, no box weighting: the map must not know where the boxes are).
 * The grid is enlarged with cubic B-splines about the cells' centres: smooth, nowhere negative, no overshoot.
 * Computing does not print and changes no weight. */
#ifndef PRUNE_HEATMAP_H
#define PRUNE_HEATMAP_H

#include "net/net.h"
#include "vision/draw.h"

enum { HEATMAP_ALL_HEADS = -1 };
struct heatmap_site { int head, layer; }; /* indices of layers; head: whose utility, or HEATMAP_ALL_HEADS */
struct heatmap {
    struct heatmap_site site;
    int objects;          /* how many of the objects the head is to find */
    int grid_w, grid_h;   /* of the layer */
    int w, h;             /* of the network's input */
    float *map;           /* (h, w), of the input, >= 0, in units of the utility per cell; all 0 where no object asks the head */
    float peak;           /* largest value of map */
};

/* One site per head, seen where it is most telling: the last layer that the head depends on with a finer grid than its own (at
 * the head's own resolution the gradient sits in the assigned cells alone).  Returns how many there are, at most `cap`. */
int heatmap_sites(const struct net *, struct heatmap_site *, int cap);
/* Fails in one line when the site cannot be seen: no such layer, no map, no head. */
enum status heatmap_check(struct ctx *, const struct net *, struct heatmap_site);

/* net: bound for SCORE with batch 1.  x: the network's input (planar, 0..1).  objects: relative to the input; one class on demand:
 * hand over the objects of that class alone.  Fills out[n]; each map is freed by heatmap_free. */
enum status heatmap_compute(struct ctx *, struct net *, const float *x, const struct truth_list *objects, const struct heatmap_site *,
                            int n, struct heatmap *out);
void heatmap_free(struct heatmap *);

/* --- showing them --- */
/* The colour of a value 0..1: dark violet over red and orange to pale yellow, of steadily rising lightness, so that it survives
 * colour blindness and print. */
struct colour heatmap_colour(double value);
/* The part of the network's input that a picture of w x h pixels fills: all of it, or, letterboxed, a window. */
struct box heatmap_part(const struct net *, int w, int h, bool letter_box);
/* Greys the RGB picture and lays the map over it; `top` is the value that gets the last colour (<= 0: the map's peak). */
void heatmap_blend(struct pixels *, const struct heatmap *, struct box part, double top);
/* The finished overlay: the blended picture, shrunk or enlarged to a readable size, with the objects' outlines (those that the head
 * is to find bold), and a legend under it: `caption` and the colour scale.  name: of class k, or NULL. */
struct heatmap_picture {
    const struct pixels *picture;     /* RGB, of any size */
    struct box part;
    const struct truth_list *objects; /* relative to the input */
    const struct net *net;
    const char *const *name;
    int n_name;
    const char *caption;
};
enum status heatmap_draw(struct ctx *, const struct heatmap *, const struct heatmap_picture *, struct pixels *out);

#endif
