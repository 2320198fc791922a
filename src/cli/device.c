#include "cli/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* Set by main before a command runs, and read from then on. */
static struct { bool asked, none, several, told; int gpu; enum device_precision precision; } choice;

static const char *const precision_name[] = { [DEVICE_F32] = "fp32", [DEVICE_TF32] = "tf32", [DEVICE_FP16] = "fp16", [DEVICE_BF16] = "bf16",
                                              [DEVICE_INT8] = "int8" };

enum device_precision device_precision(void) { return choice.precision; }

static enum status read_gpus(struct ctx *ctx, const char *flag, const char *value) {
    bool listed = strcmp(flag, "-gpus") == 0;
    const char *rest;
    if (!text_int(value, &choice.gpu, &rest) || rest[listed ? strspn(rest, "0123456789,- ") : 0])
        return ctx_fail(ctx, ST_USAGE, "%s: needs %s, not '%s'", flag, listed ? "numbers with commas between" : "a number", value);
    choice.none = choice.gpu < 0;
    choice.asked = !choice.none;
    choice.several = strchr(rest, ',') != NULL;
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

enum status device_open(struct ctx *ctx, bool exact, struct backend **be) {
    char why[256], kind[64];
    const char *usual = getenv("DARKNET_DEVICE"); /* what counts where no flag chooses: cpu */
    if (!choice.asked && usual && strcmp(usual, "cpu") == 0) return open_cpu(ctx, be);
    if (choice.none || choice.told) return open_cpu(ctx, be);
    if (backend_gpus(why, sizeof why) <= 0) return choice.precision > DEVICE_F32 ? open_cpu(ctx, be) : backend_open(ctx, "auto", be);
    if (choice.precision == DEVICE_INT8)
        return ctx_fail(ctx, ST_UNSUPPORTED, "-precision %s: is for the CPU (-nogpu); the GPU has fp32, tf32, bf16 and fp16", precision_name[choice.precision]);
    if (choice.several) return ctx_fail(ctx, ST_UNSUPPORTED, "-gpus: several GPUs at once are not part of this version; name one of them");
    snprintf(kind, sizeof kind, "cuda:%d:%s", choice.gpu, choice.precision ? precision_name[choice.precision] : exact ? "fp32" : "fast");
    TRY(backend_open(ctx, kind, be));
    char text[128];
    backend_describe(*be, text, sizeof text);
    ctx_log(ctx, LOG_INFO, "%s", text);
    return ST_OK;
}
