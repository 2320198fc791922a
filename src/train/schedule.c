#include "train/schedule.h"

#include <math.h>

#include "base/rng.h"

enum { SIZE_PERIOD = 10, LARGEST_AT_END = 100 };
static const uint64_t SIZE_STREAM = 0x73697a65;

static int on_grid(double size, int step) {
    int v = (int)lround(size / step + 1) * step;
    return v < step ? step : v;
}

static double scale_factor(const struct scale_plan *p) { return p->random == 1 ? 1.4 : p->random; }

int schedule_images(const struct scale_plan *p, int w, int h) {
    if (!p->dynamic || p->random == 0) return p->images;
    double most = (double)on_grid(scale_factor(p) * p->w, p->step) * on_grid(scale_factor(p) * p->h, p->step);
    int n = (int)(.8 * (int)(p->images * most / ((double)w * h)));
    return n > p->images ? n : p->images;
}

void schedule_average(int max_iterations, uint64_t *start, uint64_t *apply) {
    uint64_t max = (uint64_t)max_iterations;
    *start = max / 2;
    *apply = max > *start + 1000 ? max - 1000 : (*start + max) / 2;
}

bool schedule_reject(uint64_t n, int frequency, int max_iterations) {
    return frequency > 0 && n < (uint64_t)max_iterations * 3 / 4 && n % (uint64_t)frequency == 0;
}

void schedule_size(const struct scale_plan *p, uint64_t iteration, int *w, int *h) {
    *w = p->w;
    *h = p->h;
    if (p->random == 0) return;
    uint64_t start = iteration - iteration % SIZE_PERIOD;
    double factor = scale_factor(p);
    struct rng r = rng_stream(p->seed, start, SIZE_STREAM);
    double v = rng_between(&r, 1, factor);
    if (rng_uniform(&r) < 0.5) v = 1 / v;
    /* The largest size comes first, to show missing memory at once, and last, for batch norm's statistics. */
    bool largest = start == 0 || (int64_t)start > (int64_t)p->max_iterations - LARGEST_AT_END;
    if (largest) v = factor;
    *w = on_grid(v * p->w, p->step);
    *h = on_grid(v * p->h, p->step);
    if (v < 1 && (*w > p->w || *h > p->h)) *w = p->w, *h = p->h;
}

bool schedule_numbered(uint64_t n, uint64_t last, int save_every) {
    uint64_t every = (uint64_t)save_every;
    return n >= last + every || n % every == 0;
}

bool schedule_last(uint64_t n, uint64_t last, int save_every, int last_every) {
    uint64_t every = (uint64_t)last_every;
    return save_every > last_every && (n >= last + every || (n % every == 0 && n > 1));
}

uint64_t schedule_next_map(uint64_t last_map, int epochs, int images, int images_per_step, int burn_in) {
    int64_t every = (int64_t)epochs * images / images_per_step;
    uint64_t next = last_map + (uint64_t)(every < 100 ? 100 : every);
    return next < (uint64_t)burn_in ? (uint64_t)burn_in : next;
}
