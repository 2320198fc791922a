/* cuDNN's graphs of convolutions for a card that is only described: they can be built, have engines, and their plans survive being written
 * down.  No device is needed for that. */
#include "test.h"

#ifndef HAVE_CUDNN
int main(void) {
    SKIP("this build has no cuDNN");
    return test_end("gpu_graph");
}
#else
#include "backend/cuda/gpu/graph_cudnn.h"

static const char card[] =
    "{\"deviceName\":\"NVIDIA H100 80GB HBM3\",\"cudaDeviceId\":0,\"deviceVer\":900,\"driverVer\":13000,\"multiProcessorCount\":132,"
    "\"maxSharedMemoryPerBlockOptin\":232448,\"maxSharedMemoryPerBlock\":49152,\"reservedSharedMemoryPerBlock\":1024,\"totalGlobalMem\":85017755648,"
    "\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,\"warpSize\":32,\"maxRegistersPerSM\":65536,"
    "\"maxCtasPerSM\":32,\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048,\"pciDeviceId\":0,\"isTccDriver\":0,\"supportCoopLaunch\":1,"
    "\"smClockRateKHz\":1980000,\"memClockRateKHz\":2619000,\"l2CacheSize\":52428800}";

static const struct conv_shape square = { 8, 64, 52, 52, 64, 52, 52, 1, 3, 1, 1, 1, 1 }, odd = { 1, 37, 13, 13, 75, 13, 13, 1, 1, 1, 1, 1, 0 },
                               first = { 1, 3, 416, 416, 32, 208, 208, 1, 3, 2, 2, 1, 1 };

/* The first engine with a plan; -1: the graph cannot be built, 0: it has no engine. */
static int planned(cudnnBackendDescriptor_t device, const struct graph_spec *s) {
    struct graph_engine list[8];
    size_t bytes;
    struct graph *g = graph_new(s, NULL, device);
    int n = g ? graph_engines(g, list, 8) : -1;
    for (int i = 0; i < n; ++i) {
        CHECK(list[i].id >= 0, "an engine without a number");
        if (!graph_plan(g, &list[i], &bytes)) continue;
        n = i + 1;
        break;
    }
    graph_free(g);
    return n;
}

static void check_engines(cudnnBackendDescriptor_t device) {
    static const struct conv_shape *const shape[] = { &square, &odd, &first };
    for (int s = 0; s < 3; ++s)
        for (int p = PRECISION_FP32; p <= PRECISION_FP16; ++p)
            for (int pass = CONV_FORWARD; pass < CONV_PASSES; ++pass) {
                struct graph_spec spec = { .pass = (enum conv_pass)pass, .shape = *shape[s], .precision = (enum precision)p, .act = ACT_LINEAR,
                                           .narrow = precision_factor((enum precision)p) != ELEMENT_REAL };
                int n = planned(device, &spec);
                CHECK(n > 0, "shape %d, %s, pass %d: %d", s, precision_name(spec.precision), pass, n);
            }
}

/* Every activation that is said to be fused gives a graph that cuDNN accepts. */
static void check_fused(cudnnBackendDescriptor_t device) {
    int fused = 0;
    for (int act = 0; act < ACT_COUNT; ++act)
        for (int skip = 0; skip < 2; ++skip) {
            struct graph_spec spec = { .shape = square, .precision = PRECISION_TF32, .bias = true, .skip = skip, .act = (enum activation)act };
            struct graph *g = graph_new(&spec, NULL, device);
            CHECK((g != NULL) == graph_fuses(spec.act), "%s", activation_name(spec.act));
            fused += g != NULL;
            graph_free(g);
        }
    CHECK(fused == 2 * 11, "%d graphs", fused);
    struct graph_spec relu = { .shape = square, .precision = PRECISION_TF32, .bias = true, .act = ACT_RELU };
    CHECK(planned(device, &relu) > 0, "bias and relu come with cuDNN");
}

/* Maps of 16 bits: result and residual, each on its own, in either type beside factors that are narrow. */
static void check_narrow(cudnnBackendDescriptor_t device) {
    static const struct conv_shape *const shape[] = { &square, &odd, &first };
    int built = 0;
    for (int k = 0; k < 3 * 2 * 8; ++k) {
        struct graph_spec spec = { .shape = *shape[k % 3], .precision = k / 3 % 2 ? PRECISION_FP16 : PRECISION_BF16, .bias = true, .act = k / 24 ? ACT_MISH : ACT_LEAKY,
                                   .narrow = k / 6 % 2, .skip = true, .narrow_skip = k / 12 % 2 };
        struct graph *g = graph_new(&spec, NULL, device);
        CHECK(g != NULL, "%s, result %d, residual %d", precision_name(spec.precision), spec.narrow, spec.narrow_skip);
        built += g != NULL;
        graph_free(g);
    }
    CHECK(built == 48, "%d graphs", built);
}

static void check_text(cudnnBackendDescriptor_t device) {
    struct graph_spec spec = { .shape = square, .precision = PRECISION_TF32, .bias = true, .act = ACT_RELU };
    struct graph *g = graph_new(&spec, NULL, device), *h = graph_new(&spec, NULL, device);
    struct graph_engine list[4];
    size_t a = 0, b = 1, n = 0;
    bool ok = g && h && graph_engines(g, list, 4) > 0 && graph_plan(g, &list[0], &a);
    char *text = ok ? graph_text(g, 2, &n) : NULL;
    CHECK(text && n == 2 + strlen(text + 2), "the plan as text");
    if (text) {
        CHECK(graph_restore(h, text + 2, n - 2, &b) && a == b, "and back, with its workspace: %zu, %zu", a, b);
        text[n / 2] ^= 1;
        CHECK(!graph_restore(h, text + 2, n - 2, &b), "damaged text is no plan");
        CHECK(!graph_restore(h, "{}", 2, &b), "nor is other text");
    }
    list[0].id += 1000;
    CHECK(!g || !graph_plan(g, &list[0], &b), "an engine that has changed its number is none");
    free(text);
    graph_free(g), graph_free(h);
}

int main(void) {
    cudnnBackendDescriptor_t device = graph_device(card);
    if (device) {
        check_engines(device);
        check_fused(device);
        check_narrow(device);
        check_text(device);
        cudnnBackendDestroyDescriptor(device);
    } else {
        SKIP("this cuDNN knows no devices that are only described");
    }
    return test_end("gpu_graph");
}
#endif
