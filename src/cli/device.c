#include "cli/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* Set by main before a command runs, and read from then on. */
static struct { bool asked, none, told; int gpu[DEVICES_MAX], n; enum device_precision precision; } choice;

static const char *const precision_name[] = { [DEVICE_F32] = "fp32", [DEVICE_TF32] = "tf32", [DEVICE_FP16] = "fp16", [DEVICE_BF16] = "bf16",
                                              [DEVICE_INT8] = "int8" };

enum device_precision device_precision(void) { return choice.precision; }

static enum status read_gpus(struct ctx *ctx, const char *flag, const char *value) {
    bool listed = strcmp(flag, "-gpus") == 0;
    const char *rest = value;
    choice.n = 0;
    do {
        int number;
        bool more = choice.n > 0;
        if (!text_int(rest + more, &number, &rest) || (*rest && !(listed && *rest == ',')) || (more && number < 0))
            return ctx_fail(ctx, ST_USAGE, "%s: needs %s, not '%s'", flag, listed ? "numbers with commas between" : "a number", value);
        for (int i = 0; i < choice.n; ++i)
            if (choice.gpu[i] == number) return ctx_fail(ctx, ST_USAGE, "%s %s: GPU %d is named twice", flag, value, number);
        if (choice.n == DEVICES_MAX) return ctx_fail(ctx, ST_USAGE, "%s: at most %d GPUs", flag, DEVICES_MAX);
        choice.gpu[choice.n++] = number;
    } while (*rest == ',');
    choice.none = choice.gpu[0] < 0;
    choice.asked = !choice.none;
    return ST_OK;
}

static enum status read_precision(struct ctx *ctx, const char *value) {
    choice.precision = strcmp(value, "f32") == 0 ? DEVICE_F32 : DEVICE_USUAL;
    for (int i = DEVICE_F32; i <= DEVICE_INT8; ++i)
        if (strcmp(value, precision_name[i]) == 0) choice.precision = (enum device_precision)i;
    return choice.precision ? ST_OK : ctx_fail(ctx, ST_USAGE, "-precision: '%s' is none of f32, bf16, int8 (CPU), fp32, tf32, bf16, fp16 (GPU)", value);
}

enum status device_flags(struct ctx *ctx, int *n, char **word) {
    int kept = 0;
    for (int i = 0; i < *n; ++i) {
        const char *flag = word[i];
        if (strcmp(flag, "-cuda_debug_sync") == 0) continue;
        if (strcmp(flag, "-nogpu") == 0) choice.none = true;
        else if (strcmp(flag, "-i") == 0 || strcmp(flag, "-gpus") == 0) TRY(read_gpus(ctx, flag, ++i < *n ? word[i] : ""));
        else if (strcmp(flag, "-precision") == 0) TRY(read_precision(ctx, ++i < *n ? word[i] : ""));
        else word[kept++] = word[i];
    }
    *n = kept;
    return ST_OK;
}

void device_tell(struct ctx *ctx) {
    char why[256];
    int n = choice.asked ? backend_gpus(why, sizeof why) : 1;
    choice.told = n <= 0;
    if (choice.told) ctx_log(ctx, LOG_WARN, "-i and -gpus choose a GPU: %s%s", why, n < 0 ? "" : ": computing on the CPU");
}

enum status device_cpu_kind(struct ctx *ctx, const char **kind) {
    *kind = choice.precision == DEVICE_BF16 ? "cpu:bf16" : choice.precision == DEVICE_INT8 ? "cpu:int8" : "cpu";
    if (choice.precision == DEVICE_TF32 || choice.precision == DEVICE_FP16)
        return ctx_fail(ctx, ST_UNSUPPORTED, "-precision %s: is for GPUs; the CPU has f32, bf16 and int8", precision_name[choice.precision]);
    return ST_OK;
}

static enum status open_cpu(struct ctx *ctx, struct backend **be) {
    const char *kind;
    TRY(device_cpu_kind(ctx, &kind));
    return backend_open(ctx, kind, be);
}

/* GPU number i of those that were named. */
static enum status open_gpu(struct ctx *ctx, bool exact, int i, struct backend **be) {
    char kind[64], text[128];
    if (choice.precision == DEVICE_INT8)
        return ctx_fail(ctx, ST_UNSUPPORTED, "-precision int8: is for the CPU (-nogpu); the GPU has fp32, tf32, bf16 and fp16");
    snprintf(kind, sizeof kind, "cuda:%d:%s", choice.gpu[i], choice.precision ? precision_name[choice.precision] : exact ? "fp32" : "fast");
    TRY(backend_open(ctx, kind, be));
    backend_describe(*be, text, sizeof text);
    ctx_log(ctx, LOG_INFO, "%s", text);
    return ST_OK;
}

/* What the environment's DARKNET_DEVICE says, where it counts: "cpu", or kinds with commas between. */
static const char *from_environment(void) {
    const char *usual = choice.asked || choice.none ? NULL : getenv("DARKNET_DEVICE");
    return usual && (strcmp(usual, "cpu") == 0 || strchr(usual, ',')) ? usual : NULL;
}

bool device_is_gpu(void) {
    char why[256];
    return !from_environment() && !choice.none && !choice.told && backend_gpus(why, sizeof why) > 0;
}

/* The kind in place i of such a list. */
static bool kind_in(const char *list, int i, char *kind, size_t size) {
    for (; i > 0; --i) {
        list = strchr(list, ',');
        if (!list++) return false;
    }
    snprintf(kind, size, "%.*s", (int)strcspn(list, ","), list);
    return true;
}

static enum status open_first(struct ctx *ctx, bool exact, struct backend **be) {
    char kind[64];
    const char *usual = from_environment();
    bool chosen = usual || choice.none || choice.told || choice.precision > DEVICE_F32;
    if (usual && strchr(usual, ',') && kind_in(usual, 0, kind, sizeof kind)) return backend_open(ctx, kind, be);
    if (!device_is_gpu()) return chosen ? open_cpu(ctx, be) : backend_open(ctx, "auto", be); /* which says why there is no GPU */
    return open_gpu(ctx, exact, 0, be);
}

enum status device_open(struct ctx *ctx, bool exact, struct backend **be) {
    TRY(open_first(ctx, exact, be));
    if (choice.n > 1 && !choice.told) ctx_log(ctx, LOG_INFO, "-gpus: this command computes on GPU %d alone", choice.gpu[0]);
    return ST_OK;
}

enum status device_open_all(struct ctx *ctx, bool exact, struct backend **be, struct devices *others) {
    const char *usual = from_environment();
    char kind[64];
    *others = (struct devices){ .n = 0 };
    TRY(open_first(ctx, exact, be));
    for (int i = 1; usual && i <= DEVICES_MAX && kind_in(usual, i, kind, sizeof kind); ++others->n, ++i)
        TRY(backend_open(ctx, kind, &others->be[others->n]));
    for (int i = 1; !choice.told && i < choice.n; ++others->n, ++i) TRY(open_gpu(ctx, exact, i, &others->be[others->n]));
    return ST_OK;
}

void device_close_all(struct devices *others) {
    for (int i = 0; i < others->n; ++i) backend_close(others->be[i]);
    others->n = 0;
}
