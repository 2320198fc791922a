/* Convolutions by oneDNN (https://github.com/oneapi-src/oneDNN, 2.x and 3.x).  Without HAVE_ONEDNN there is no engine,
 * and callers use the plain kernels. */
#ifndef BACKEND_CPU_CONV_ONEDNN_H
#define BACKEND_CPU_CONV_ONEDNN_H

#include "backend/backend.h"

struct onednn;      /* engine and stream */
struct onednn_conv; /* the primitives of one convolution */

/* *out is NULL with ST_OK when the build has no oneDNN. */
enum status onednn_open(struct ctx *ctx, struct onednn **out);
void onednn_close(struct onednn *);
/* E.g. "oneDNN 2.6.3"; empty without it. */
void onednn_describe(char *text, size_t size);

/* NULL when oneDNN has no implementation for this convolution (or is not there): not an error.  Tensors must be dense
 * channels-last.  weights_only: of all passes, backward_weights alone will be asked for.  *fused: the activation is part of the
 * convolution. */
struct onednn_conv *onednn_conv_new(struct onednn *, struct backend *, const struct conv_desc *, bool weights_only, bool *fused);
void onednn_conv_free(struct onednn_conv *);
/* Data in dense channels-last order, weights in Darknet's; false: the library reported a failure or memory ran out. */
bool onednn_conv_weights(struct onednn_conv *, const float *w);
bool onednn_conv_forward(struct onednn_conv *, const float *x, const float *bias, float *y);
bool onednn_conv_backward_data(struct onednn_conv *, const float *dy, float *dx);                    /* overwrites */
bool onednn_conv_backward_weights(struct onednn_conv *, const float *x, const float *dy, float *dw); /* adds */

/* Row-major c (m, n) = a (m, k) * b (k, n) + beta*c; `a_turned`: a is stored (k, m), `b_turned`: b is stored (n, k). */
bool onednn_product(bool a_turned, bool b_turned, int m, int n, int k, const float *a, const float *b, float beta, float *c);

#endif
