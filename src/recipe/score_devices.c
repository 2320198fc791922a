#include "recipe/score_devices.h"

#include <stdlib.h>

enum status score_devices_open(struct ctx *ctx, struct prune_job *job, struct score_devices *d) {
    int n = 1 + job->opt.n_other;
    *d = (struct score_devices){ .be = mem_zero(ctx, (size_t)n, sizeof *d->be), .source = mem_zero(ctx, (size_t)n, sizeof *d->source),
                                 .images = mem_zero(ctx, (size_t)n, sizeof *d->images) };
    for (int i = 0; i < n && ctx->code == ST_OK; ++i) {
        if (i) score_images_again(ctx, job->images, &d->images[i]);
        if (ctx->code != ST_OK) break;
        d->be[i] = i ? job->opt.others[i - 1] : job->be;
        d->source[i] = i ? score_images_source(d->images[i]) : prune_source(job);
        d->source[i].stop = job->opt.stop;
    }
    d->team = (struct score_team){ n, d->be, d->source };
    return ctx->code;
}

void score_devices_close(struct score_devices *d) {
    for (int i = 1; d->images && i < d->team.n; ++i) score_images_close(d->images[i]);
    free(d->be), free(d->source), free(d->images);
}
