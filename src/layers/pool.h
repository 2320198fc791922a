/* Window keys and geometry of the pooling layers (darknet-compat 2.3, 2.4). */
#ifndef LAYERS_POOL_H
#define LAYERS_POOL_H

#include "layers/layer.h"

struct pool_keys { int size, stride, stride_x, stride_y, padding; };

/* Rows of a key table whose struct begins with a struct pool_keys. */
#define POOL_KEYS                                                                                               \
    CFG_INT(struct pool_keys, stride, 1, 1, 1024), CFG_INT(struct pool_keys, size, 0, 0, 1024),                 \
    CFG_INT(struct pool_keys, stride_x, 0, 0, 1024), CFG_INT(struct pool_keys, stride_y, 0, 0, 1024),           \
    CFG_INT(struct pool_keys, padding, -1, -1, 4096)

/* Defaults that depend on other keys. */
void pool_defaults(struct pool_keys *);
enum status pool_out(struct ctx *, const struct layer *, const struct pool_keys *, struct shape *out);
struct pool_desc pool_window(const struct pool_keys *);
double pool_flops(const struct layer *, const struct pool_keys *, struct shape out); /* as Darknet counts them */
/* "max  2x 2/ 2 ..." as the table has it; returns the length as snprintf does. */
int pool_describe(const struct layer *, const struct pool_keys *, struct shape out, const char *tag, char *text, size_t size);

#endif
