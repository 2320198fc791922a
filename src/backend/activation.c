#include <math.h>

#include "backend/backend.h"

static const char *const names[ACT_COUNT] = {
    [ACT_LOGISTIC] = "logistic", [ACT_RELU] = "relu",   [ACT_RELU6] = "relu6",       [ACT_RELIE] = "relie",
    [ACT_LINEAR] = "linear",     [ACT_RAMP] = "ramp",   [ACT_TANH] = "tanh",         [ACT_PLSE] = "plse",
    [ACT_REVLEAKY] = "revleaky", [ACT_LEAKY] = "leaky", [ACT_ELU] = "elu",           [ACT_LOGGY] = "loggy",
    [ACT_STAIR] = "stair",       [ACT_HARDTAN] = "hardtan", [ACT_LHTAN] = "lhtan",   [ACT_SELU] = "selu",
    [ACT_GELU] = "gelu",         [ACT_SWISH] = "swish", [ACT_MISH] = "mish",         [ACT_HARD_MISH] = "hard_mish",
};

static const double selu_scale = 1.0507, selu_alpha = 1.6732;
static const double gelu_linear = 0.797885, gelu_cubic = 0.035677; /* Darknet's rounding of sqrt(2/pi) and its product */

const char *activation_name(enum activation a) {
    return (int)a >= 0 && a < ACT_COUNT ? names[a] : "?";
}

bool activation_needs_input(enum activation a) {
    return a == ACT_SWISH || a == ACT_MISH || a == ACT_HARD_MISH || a == ACT_GELU || a == ACT_STAIR;
}

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

/* tanh(softplus(x)) without cancellation: with e = exp(x) it is (e*e + 2e)/(e*e + 2e + 2). */
static double mish_gate(double x) {
    if (x > 20) return tanh(x);
    double e = exp(x), n = e * (e + 2);
    return n / (n + 2);
}

static double stair(double x) {
    double whole = floor(x), half = floor(x / 2);
    return fmod(whole, 2) == 0 ? half : x - whole + half;
}

double activation_value(enum activation a, double x) {
    switch (a) {
    case ACT_LOGISTIC: return sigmoid(x);
    case ACT_LOGGY: return 2 * sigmoid(x) - 1;
    case ACT_RELU: return x < 0 ? 0 : x; /* written so that NaN stays NaN, here and below */
    case ACT_RELU6: return x < 0 ? 0 : x > 6 ? 6 : x;
    case ACT_RELIE: return x > 0 ? x : .01 * x;
    case ACT_RAMP: return x > 0 ? x + .1 * x : .1 * x;
    case ACT_TANH: return tanh(x);
    case ACT_PLSE: return x < -4 ? .01 * (x + 4) : x > 4 ? .01 * (x - 4) + 1 : .125 * x + .5;
    case ACT_REVLEAKY:
    case ACT_LEAKY: return x > 0 ? x : .1 * x;
    case ACT_ELU: return x >= 0 ? x : expm1(x);
    case ACT_SELU: return x >= 0 ? selu_scale * x : selu_scale * selu_alpha * expm1(x);
    case ACT_GELU: return .5 * x * (1 + tanh(gelu_linear * x + gelu_cubic * x * x * x));
    case ACT_STAIR: return stair(x);
    case ACT_HARDTAN: return x < -1 ? -1 : x > 1 ? 1 : x;
    case ACT_LHTAN: return x < 0 ? .001 * x : x > 1 ? .001 * (x - 1) + 1 : x;
    case ACT_SWISH: return x * sigmoid(x);
    case ACT_MISH: return x * mish_gate(x);
    case ACT_HARD_MISH: return x < -2 ? 0 : x > 0 ? x : x * x / 2 + x;
    case ACT_LINEAR:
    case ACT_COUNT: break;
    }
    return x;
}

static double gelu_slope(double x) {
    double t = tanh(gelu_linear * x + gelu_cubic * x * x * x);
    return .5 * (1 + t) + .5 * x * (1 - t * t) * (gelu_linear + 3 * gelu_cubic * x * x);
}

double activation_slope(enum activation a, double x, double y) {
    switch (a) {
    case ACT_LOGISTIC: return y * (1 - y);
    case ACT_LOGGY: return (1 - y * y) / 2;
    case ACT_RELU: return y > 0;
    case ACT_RELU6: return y > 0 && y < 6;
    case ACT_RELIE: return y > 0 ? 1 : .01;
    case ACT_RAMP: return y > 0 ? 1.1 : .1;
    case ACT_TANH: return 1 - y * y;
    case ACT_PLSE: return y < 0 || y > 1 ? .01 : .125;
    case ACT_REVLEAKY:
    case ACT_LEAKY: return y > 0 ? 1 : .1;
    case ACT_ELU: return y >= 0 ? 1 : y + 1;
    case ACT_SELU: return y >= 0 ? selu_scale : y + selu_scale * selu_alpha;
    case ACT_GELU: return gelu_slope(x);
    case ACT_STAIR: return fmod(floor(x), 2) == 0 ? 0 : 1;
    case ACT_HARDTAN: return y > -1 && y < 1;
    case ACT_LHTAN: return y > 0 && y < 1 ? 1 : .001;
    case ACT_SWISH: return y + sigmoid(x) * (1 - y);
    case ACT_MISH: {
        double t = mish_gate(x);
        return t + x * (1 - t * t) * sigmoid(x);
    }
    case ACT_HARD_MISH: return x > 0 ? 1 : x > -2 ? x + 1 : 0;
    case ACT_LINEAR:
    case ACT_COUNT: break;
    }
    return 1;
}
