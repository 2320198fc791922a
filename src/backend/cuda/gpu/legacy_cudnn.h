/* cuDNN's older convolution calls, on floats: where no engine of a graph serves.  Algorithms by cuDNN's own expectation, among those
 * whose results repeat. */
#ifndef BACKEND_CUDA_GPU_LEGACY_CUDNN_H
#define BACKEND_CUDA_GPU_LEGACY_CUDNN_H

#include <cudnn.h>

#include "backend/cuda/device.h"

/* More than this is not worth what it takes from the batch. */
#define WORKSPACE_LIMIT ((size_t)1 << 30)

struct legacy;
/* NULL: there is no algorithm for some pass.  *bytes: of workspace for any pass. */
struct legacy *legacy_open(cudnnHandle_t, enum precision, const struct conv_desc *, size_t *bytes);
void legacy_close(struct legacy *);
cudnnStatus_t legacy_forward(struct legacy *, cudnnHandle_t, const void *x, const void *w, void *y, void *space);
cudnnStatus_t legacy_data(struct legacy *, cudnnHandle_t, const void *w, const void *dy, void *dx, bool add, void *space);
cudnnStatus_t legacy_weights(struct legacy *, cudnnHandle_t, const void *x, const void *dy, void *dw, void *space);

#endif
