/* What the inputs of a network's convolutions hold: net->range, which backends that compute in 8 bits need, and its file.
 *
 * The file, NAME.int8.json beside NAME.weights, is JSON: "format" ("darknet int8 ranges"), "version" (1), "cfg_sha256" and
 * "weights_sha256" of the files that it belongs to, "images" (how many were looked at), "layers": a list of objects with "layer"
 * (its number), "low" and "high" (a number per input channel).  Convolutions that are not listed are not computed in 8 bits. */
#ifndef NET_RANGES_H
#define NET_RANGES_H

#include "net/net.h"

/* Convolutions whose input should have a range: not depthwise ones, not those that read the picture or that a head reads, which are few
 * products and much of the accuracy. */
bool ranges_wanted(const struct net *, int layer);
/* -1 to 1 for all of them: enough to time a network, or to know its memory, but not for results. */
enum status ranges_guess(struct ctx *, struct net *);
/* Room for the ranges of all layers that want one, zeroed, in place of what was there. */
enum status ranges_new(struct ctx *, struct net *);
void ranges_free(struct net *);

/* The name of the file that belongs to these weights; caller frees. */
enum status ranges_path(struct ctx *, const char *weights, char **path);
/* cfg, weights: the files that the network was read from. */
enum status ranges_save(struct ctx *, const struct net *, const char *path, const char *cfg, const char *weights, int images);
/* Sets net->range.  ST_FORMAT when the file belongs to another cfg or other weights; *images (may be NULL): how many were looked at. */
enum status ranges_load(struct ctx *, struct net *, const char *path, const char *cfg, const char *weights, int *images);

#endif
