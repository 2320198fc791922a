/* The fixed low-pass filter of antialiasing=1|2 (darknet-compat 2.1): the layer itself runs at stride 1 into `inner`, and the
 * blur steps over that with the stride asked for. */
#ifndef LAYERS_BLUR_H
#define LAYERS_BLUR_H

#include "layers/layer.h"

enum { BLUR_NONE, BLUR_BINOMIAL, BLUR_BOX }; /* values of the key: 3x3 of 1 2 1, padding 1; 2x2 of equal weights */

struct blur {
    struct conv_plan *plan;
    real *weights;
    struct tensor inner, dinner;
};

struct shape blur_out(int kind, struct shape inner, int stride_x, int stride_y);
enum status blur_new(struct pass *, int kind, struct shape inner, int stride_x, int stride_y, struct blur *);
void blur_free(struct backend *, struct blur *);
enum status blur_forward(struct pass *, struct blur *);  /* inner -> p->y */
enum status blur_backward(struct pass *, struct blur *); /* p->dy -> dinner */
/* The table's second row. */
void blur_describe(int kind, struct shape inner, struct shape out, int stride_x, int stride_y, char *text, size_t size);

#endif
