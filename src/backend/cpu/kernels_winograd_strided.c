/* Winograd convolution of 3x3 windows that move by 2.  In one dimension the inputs of even place meet two of the weights,
 * y_j = w_0 d_2j + w_2 d_2j+2, which is F(4, 2) with five points (0, 1, -1, 2 and infinity); those of odd place meet the third, and
 * pass as they are.  Nine points instead of twelve products a side for 4 outputs: 81 instead of 144 for 4x4. */
#include "backend/cpu/vec.h"

enum { TILE = 4, SPAN = 9, STEP = 8 };

/* B': nine inputs to nine points, those of odd place last.  The factors of the usual G (1/2, -1/2, 1/6) are here: there are more
 * weights than inputs. */
ALWAYS_INLINE void map_input(const vec d[SPAN], vec p[SPAN]) {
    vec a = d[6] - d[2];
    p[0] = d[0] - d[4] + .5f * a;
    p[1] = d[2] + .5f * (d[4] - d[6]);
    p[2] = (d[6] + 2 * d[2]) * (1.f / 6) - .5f * d[4];
    p[3] = a * (1.f / 6);
    p[4] = d[8] - d[4] - 2 * a;
    for (int i = 0; i < 4; ++i) p[5 + i] = d[2 * i + 1];
}

/* A': nine points to four outputs. */
ALWAYS_INLINE void map_output(const vec p[SPAN], vec y[TILE]) {
    vec a = p[1] + p[2], b = p[1] - p[2];
    y[0] = p[5] + p[0] + a + p[3];
    y[1] = p[6] + b + 2 * p[3];
    y[2] = p[7] + a + 4 * p[3];
    y[3] = p[8] + b + 8 * p[3] + p[4];
}

/* G: three weights to the points of even place, and the one that those of odd place share. */
ALWAYS_INLINE void map_weights(const vec g[3], vec p[6]) {
    p[0] = g[0];
    p[1] = g[0] + g[2];
    p[2] = g[2] - g[0];
    p[3] = g[0] + 2 * g[2];
    p[4] = g[2];
    p[5] = g[1];
}

#include "backend/cpu/winograd_tiles.inc"

const struct winograd_ops CPU_NAME(winograd_strided_) = { weights_size, forward_scratch, pack_forward, forward, NULL, NULL };
