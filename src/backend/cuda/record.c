/* Passes that are noted once and played again. */
#include <stdlib.h>

#include "backend/cuda/internal.h"

struct recording { void *note; unsigned generation; };

bool device_free_to(struct device *d) {
    if (d->recording) d->spoilt = true;
    return !d->recording;
}

static void cuda_reserve(struct backend *be, size_t n) { cuda_scratch(be, SCRATCH_STAGE, n * sizeof(float)); }

static bool cuda_record(struct backend *be) {
    struct device *dev = cuda_device(be);
    dev->spoilt = false;
    return dev->recording = !dev->failed && dev->ops->record(dev);
}

static struct recording *cuda_recorded(struct backend *be, struct ctx *ctx) {
    struct device *dev = cuda_device(be);
    if (!dev->recording) return NULL;
    void *note = dev->ops->recorded(dev);
    dev->recording = false;
    struct recording *r = note && !dev->spoilt ? mem_zero(ctx, 1, sizeof *r) : NULL;
    if (!r) {
        if (note) dev->ops->forget(dev, note);
        return NULL;
    }
    *r = (struct recording){ note, dev->generation };
    ++dev->notes;
    return r;
}

static bool cuda_replay(struct backend *be, struct recording *r) {
    struct device *dev = cuda_device(be);
    if (r->generation != dev->generation) return false;
    if (!dev->failed) dev->ops->replay(dev, r->note);
    ++dev->replays;
    return true;
}

static void cuda_drop(struct backend *be, struct recording *r) {
    struct device *dev = cuda_device(be);
    if (!r) return;
    dev->ops->forget(dev, r->note);
    free(r);
}

const struct pass_ops cuda_pass_ops = { .reserve = cuda_reserve, .record = cuda_record, .recorded = cuda_recorded, .replay = cuda_replay,
                                        .drop = cuda_drop };
