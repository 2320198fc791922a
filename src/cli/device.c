#include "cli/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* Set by main before a command runs, and read from then on. */
static struct { bool asked, none, several, told; int gpu; const char *precision; } choice;

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
    static const char *const names[] = { "fp32", "tf32", "bf16", "fp16" };
    for (size_t i = 0; i < sizeof names / sizeof *names; ++i)
        if (strcmp(value, names[i]) == 0) choice.precision = names[i];
    return choice.precision ? ST_OK : ctx_fail(ctx, ST_USAGE, "-precision: '%s' is none of fp32, tf32, bf16, fp16", value);
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

enum status device_open(struct ctx *ctx, bool exact, struct backend **be) {
    char why[256], kind[64];
    const char *usual = getenv("DARKNET_DEVICE"); /* what counts where no flag chooses: cpu */
    if (!choice.asked && usual && strcmp(usual, "cpu") == 0) return backend_open(ctx, "cpu", be);
    if (choice.none || choice.told) return backend_open(ctx, "cpu", be);
    if (backend_gpus(why, sizeof why) <= 0) return backend_open(ctx, "auto", be);
    if (choice.several) return ctx_fail(ctx, ST_UNSUPPORTED, "-gpus: several GPUs at once are not part of this version; name one of them");
    snprintf(kind, sizeof kind, "cuda:%d:%s", choice.gpu, choice.precision ? choice.precision : exact ? "fp32" : "fast");
    TRY(backend_open(ctx, kind, be));
    char text[128];
    backend_describe(*be, text, sizeof text);
    ctx_log(ctx, LOG_INFO, "%s", text);
    return ST_OK;
}
