/* Activation functions in float, branch-free so that loops over them vectorise.  The formulas are those of
 * backend/activation.c; relative error of exp_f below 2e-7. */
#ifndef BACKEND_CPU_MATH_H
#define BACKEND_CPU_MATH_H

#include "backend/cpu/kernels.h"

/* exp(r) for |r| <= ln(2)/2, floats or vectors: the polynomial of degree 5 of least relative error (1.05e-7) among those that
 * begin with 1 + r. */
#define EXP_SERIES(r) (((((8.31252024e-3f * (r) + 4.18901568e-2f) * (r) + 1.66671146e-1f) * (r) + 4.99992315e-1f) * (r) + 1.0f) * (r) + 1.0f)

/* exp(x) for -87 <= x <= 88: 2^n * exp(r), n by adding and removing 1.5*2^23, which leaves n in the low mantissa bits too. */
ALWAYS_INLINE float exp_within(float x) {
    const float magic = 12582912.0f;
    union { float f; uint32_t u; } shifted, power;
    shifted.f = x * 1.44269504f + magic;
    float n = shifted.f - magic;
    float r = x - n * 0.693359375f; /* ln 2 in two parts; the first times n is exact */
    r = r + n * 2.12194440e-4f;
    power.f = EXP_SERIES(r);
    power.u += shifted.u << 23;
    return power.f;
}

ALWAYS_INLINE float exp_f(float x) {
    x = x < -87.0f ? -87.0f : x;
    return exp_within(x > 88.0f ? 88.0f : x);
}

ALWAYS_INLINE float sigmoid_f(float x) {
    return 1.0f / (1.0f + exp_f(-x));
}

ALWAYS_INLINE float value_f(enum activation a, float x) {
    switch (a) {
    case ACT_LINEAR: return x;
    case ACT_RELU: return x < 0 ? 0 : x;
    case ACT_RELU6: return (x < 0 ? 0 : x) > 6 ? 6 : (x < 0 ? 0 : x);
    case ACT_REVLEAKY:
    case ACT_LEAKY: return x < 0 ? .1f * x : x;
    case ACT_RELIE: return x < 0 ? .01f * x : x;
    case ACT_LOGISTIC: return sigmoid_f(x);
    case ACT_TANH: return 2 * sigmoid_f(2 * x) - 1;
    case ACT_SWISH: return x / (1.0f + exp_f(-x));
    case ACT_MISH: {
        float most = x > 20 ? 20 : x; /* tanh(softplus) is 1 in float beyond 20 */
        float e = exp_within(most < -87 ? -87 : most), n = e * (e + 2);
        return x * (n / (n + 2));
    }
    default: return (float)activation_value(a, (double)x);
    }
}

ALWAYS_INLINE float slope_f(enum activation a, float x, float y) {
    switch (a) {
    case ACT_LINEAR: return 1;
    case ACT_RELU: return y > 0 ? 1.0f : 0.0f;
    case ACT_RELU6: return (y > 0 ? 1.0f : 0.0f) * (y < 6 ? 1.0f : 0.0f);
    case ACT_REVLEAKY:
    case ACT_LEAKY: return y > 0 ? 1.0f : .1f;
    case ACT_RELIE: return y > 0 ? 1.0f : .01f;
    case ACT_LOGISTIC: return y * (1 - y);
    case ACT_TANH: return 1 - y * y;
    case ACT_SWISH: return y + sigmoid_f(x) * (1 - y);
    case ACT_MISH: {
        float e = exp_f(x > 20 ? 20 : x), n = e * (e + 2), inv = 1 / (n + 2);
        float t = n * inv; /* 1 - t*t = (1 - t)*(1 + t) with 1 - t = 2/(n + 2) */
        return t + x * (2 * inv) * (1 + t) * (e / (1 + e));
    }
    default: return (float)activation_slope(a, (double)x, (double)y);
    }
}

/* Calls CALL(a) with `act` as a constant where the loop then vectorises, and with the variable itself otherwise. */
#define DISPATCH_ACTIVATION(act, CALL)              \
    switch (act) {                                  \
    case ACT_LINEAR: CALL(ACT_LINEAR); break;       \
    case ACT_RELU: CALL(ACT_RELU); break;           \
    case ACT_RELU6: CALL(ACT_RELU6); break;         \
    case ACT_REVLEAKY:                              \
    case ACT_LEAKY: CALL(ACT_LEAKY); break;         \
    case ACT_RELIE: CALL(ACT_RELIE); break;         \
    case ACT_LOGISTIC: CALL(ACT_LOGISTIC); break;   \
    case ACT_TANH: CALL(ACT_TANH); break;           \
    case ACT_SWISH: CALL(ACT_SWISH); break;         \
    case ACT_MISH: CALL(ACT_MISH); break;           \
    default: CALL(act); break;                      \
    }

#endif
