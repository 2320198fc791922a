/* Pictures of what a layer has learned and of what it answers. */
#ifndef EVAL_VISUALIZE_H
#define EVAL_VISUALIZE_H

#include "net/net.h"
#include "vision/image.h"

/* Size and number of the tiles of a montage: columns x rows tiles of w x h pixels with one pixel between and around. */
struct montage { int columns, rows, w, h; };

/* The filters of layer `layer`, which must have weights over a square window: one tile per filter in colour over 3 channels, one
 * grey tile when it sees 1; else a row per filter with a grey tile per channel.  Each filter's values are stretched to
 * 0..255 and each weight is drawn as a square of `zoom` pixels; zoom 0: as large as 1024 pixels of width allow. */
enum status visualize_filters(struct ctx *, const struct net *, int layer, int zoom, struct pixels *, struct montage *);
/* The output channels of a layer after net_forward, each stretched to 0..255. */
enum status visualize_output(struct ctx *, const struct net *, int layer, struct pixels *, struct montage *);
/* The first layer whose filters can be shown; -1: there is none. */
int visualize_first(const struct net *);

#endif
