/* Inputs that a device draws from 8-bit pictures equal those that the loader draws, over all options of augmentation. */
#include "test.h"

#include <unistd.h>

#include "base/io.h"
#include "base/rng.h"
#include "data/loader.h"
#include "kinds.h"

static char dir[64];

static char *path_of(char *to, const char *name) {
    snprintf(to, 256, "%s/%s", dir, name);
    return to;
}

/* Pictures of many sizes, one of them very long, with boxes.  The names are classes, too. */
enum { SET = 7, CLASSES = 3 };
static const int size_of[SET][2] = { { 53, 41 }, { 40, 70 }, { 131, 97 }, { 260, 190 }, { 21, 17 }, { 420, 300 }, { 1500, 48 } };
static char set_path[SET][256];
static char *set_item[SET], *class_item[CLASSES] = { "red", "green", "blue" };
static const struct text_list set = { SET, SET, set_item }, names = { CLASSES, CLASSES, class_item };

static void make_set(void) {
    for (int i = 0; i < SET; ++i) {
        char name[64], text[512] = "", path[256];
        struct ctx ctx = { 0 };
        struct pixels px;
        struct rng r = rng_stream(3, (uint64_t)i, 0);
        CHECK(pixels_new(&ctx, size_of[i][0], size_of[i][1], 3, &px) == ST_OK, "%s", ctx.error);
        for (int k = 0; k < px.w * px.h * 3; ++k) {
            uint64_t v = rng_u64(&r);
            px.data[k] = (uint8_t)(v % 5 == 0 ? 0 : v % 5 == 1 ? 255 : v % 5 == 2 ? 90 : v >> 40); /* grey and extreme colours, too */
        }
        snprintf(name, sizeof name, "%s%d.%s", class_item[i % CLASSES], i, i % 2 ? "png" : "jpg");
        set_item[i] = path_of(set_path[i], name);
        CHECK(pixels_write(&ctx, set_item[i], &px, 95) == ST_OK, "%s", ctx.error);
        pixels_free(&px);
        for (int k = 0; k < i; ++k) {
            size_t at = strlen(text);
            snprintf(text + at, sizeof text - at, "%d %.3f %.3f 0.3 0.25\n", k % CLASSES, 0.2 + 0.1 * k, 0.8 - 0.1 * k);
        }
        snprintf(name, sizeof name, "%s%d.txt", class_item[i % CLASSES], i);
        CHECK(io_write(&ctx, path_of(path, name), text, strlen(text)) == ST_OK, "%s", ctx.error);
    }
}

static void plan(void *user, uint64_t i, int *n, int *w, int *h) {
    (void)user;
    *n = 4 + 2 * (int)(i % 2);
    *w = i % 3 ? 64 : 40;
    *h = i % 3 == 1 ? 33 : 64;
}
static uint64_t sequence(void *user, uint64_t i) { return (void)user, i; }

static void *get(void *user, size_t bytes) { return ((struct backend *)user)->pictures->memory(user, bytes); }
static void put(void *user, void *at) { ((struct backend *)user)->pictures->release(user, at); }

/* How many parts of each kind have been seen. */
struct seen { int kind[3], mixed; };

static void look_at(const struct batch *b, struct seen *seen) {
    for (int i = 0; i < b->n; ++i) {
        seen->mixed += b->block[i]->parts > 1;
        for (int k = 0; k < b->block[i]->parts; ++k) ++seen->kind[b->block[i]->part[k].kind];
    }
}

static bool same_truth(const struct batch *a, const struct batch *b) {
    bool same = a->n == b->n && a->w == b->w && a->h == b->h && a->c == b->c;
    for (int i = 0; same && i < a->n; ++i) {
        same = strcmp(a->path[i], b->path[i]) == 0 && a->truth[i].n == b->truth[i].n;
        for (int k = 0; same && k < a->truth[i].n; ++k)
            same = !memcmp(&a->truth[i].item[k].box, &b->truth[i].item[k].box, sizeof(struct box)) &&
                   a->truth[i].item[k].class_id == b->truth[i].item[k].class_id && a->truth[i].item[k].track == b->truth[i].item[k].track;
    }
    return same && (!a->target || !memcmp(a->target, b->target, (size_t)a->n * (size_t)a->target_size * sizeof *a->target));
}

/* Sends, draws and compares one batch; x as the device has it. */
static void check_batch(struct backend *be, struct picture_stage *stage, const char *what, const struct batch *host, const struct batch *sent) {
    struct ctx ctx = { 0 };
    size_t n = (size_t)host->n * (size_t)host->c * (size_t)host->w * (size_t)host->h;
    struct tensor x = tensor_of(be, (struct shape){ host->n, host->c, host->h, host->w }, be->ops->alloc(be, &ctx, n));
    float *got = malloc(n * sizeof *got);
    CHECK(be->pictures->send(be, &ctx, stage, sent->block, sent->n) == ST_OK, "%s", ctx.error);
    CHECK(be->pictures->draw(be, &ctx, stage, &x) == ST_OK && be->ops->sync(be, &ctx) == ST_OK, "%s", ctx.error);
    be->ops->to_nchw(be, &x, got);
    double worst = 0;
    size_t where = 0;
    for (size_t i = 0; i < n; ++i)
        if (!(fabs((double)got[i] - (double)host->x[i]) <= worst)) worst = fabs((double)got[i] - (double)host->x[i]), where = i;
    CHECK(worst <= 1e-5, "%s: value %zu of %zu is %g on the device, %g on the host", what, where, n, (double)got[where], (double)host->x[where]);
    CHECK(!sent->x && !host->block, "%s: blocks or values, not both", what);
    free(got);
    be->ops->free(be, x.data);
}

static int batches = 6; /* of each case */
static struct seen check(struct backend *be, const char *what, struct loader_options o) {
    struct ctx ctx = { 0 };
    struct seen seen = { 0 };
    struct loader *host, *device;
    struct picture_stage *stage = NULL;
    struct block_memory blocks = { get, put, be };
    o.images = &set;
    o.plan = plan;
    o.seed = 5;
    o.threads = 2;
    if (!o.channels) o.channels = 3;
    o.augment.max_boxes = 50, o.augment.classes = CLASSES;
    CHECK(loader_open(&ctx, &o, &host) == ST_OK, "%s", ctx.error);
    o.blocks = &blocks;
    o.threads = 3;
    CHECK(loader_open(&ctx, &o, &device) == ST_OK && be->pictures->open(be, &ctx, &stage) == ST_OK, "%s", ctx.error);
    for (int i = 0; i < batches; ++i) {
        const struct batch *a, *b, *ahead = loader_ahead(device);
        CHECK(loader_next(&ctx, host, &a, NULL) == ST_OK && loader_next(&ctx, device, &b, NULL) == ST_OK, "%s: %s", what, ctx.error);
        CHECK(!ahead || ahead == b, "%s: what was ahead is not what came", what);
        CHECK(same_truth(a, b), "%s: batch %d has other boxes, targets or paths", what, i);
        look_at(b, &seen);
        check_batch(be, stage, what, a, b);
    }
    be->pictures->close(be, stage);
    loader_close(host);
    loader_close(device);
    return seen;
}

static struct augment_options usual(void) {
    return (struct augment_options){ .jitter = .3, .resize = 1.5, .flip = 1, .hue = .2, .saturation = 1.8, .exposure = 1.8 };
}

static void check_boxes(struct backend *be) {
    struct loader_options o = { .augment = usual() };
    struct seen seen = check(be, "usual", o);
    CHECK(seen.kind[PART_VIEW] > 0 && seen.kind[PART_TURN] == 0 && seen.mixed == 0, "views are drawn by the device");
    CHECK(seen.kind[PART_VALUES] <= batches, "the host draws %d of %d views", seen.kind[PART_VALUES], seen.kind[PART_VIEW]);
    check(be, "nothing", (struct loader_options){ .augment = { .flip = 0 } });
    o.channels = 1, check(be, "grey", o), o.channels = 3;
    o.augment.letter_box = 1, check(be, "letter_box", o), o.augment.letter_box = 0;
    o.augment.contrastive = 1, check(be, "contrastive", o), o.augment.contrastive = 0;
    o.sequence = sequence, o.steps = 2, o.augment_speed = 2, check(be, "sequences", o);
    o = (struct loader_options){ .augment = usual() };

    o.augment.mix = MIX_UP;
    CHECK(check(be, "mixup", o).mixed > 0, "nothing was mixed");
    o.augment.mix = MIX_MOSAIC;
    seen = check(be, "mosaic", o);
    CHECK(seen.mixed > 0 && seen.kind[PART_VIEW] > 4 * batches, "nothing was mixed");
    o.augment.mosaic_bound = 1, check(be, "mosaic_bound", o);
    o.augment.letter_box = 1, check(be, "mosaic, letter_box", o), o.augment.letter_box = 0;
    o.channels = 1, check(be, "mosaic, grey", o), o.channels = 3;
    o.augment.mix = MIX_CUT_OR_MOSAIC, check(be, "cutmix or mosaic", o);

    /* What the host draws, between views that it does not. */
    o.augment.blur = 1;
    seen = check(be, "mosaic, blurred background", o);
    CHECK(seen.kind[PART_VALUES] > 0 && seen.kind[PART_VIEW] > 0, "blurred views are the host's, sharp ones the device's");
    o.augment.mix = MIX_UP, o.augment.blur = 7, check(be, "mixup, blur", o);
    o = (struct loader_options){ .augment = usual() };
    o.augment.gaussian_noise = 20;
    seen = check(be, "noise", o);
    CHECK(seen.kind[PART_VALUES] > 0 && seen.kind[PART_VIEW] > 0, "noisy views are the host's, others the device's");
}

static void check_classes(struct backend *be) {
    static const enum mix_kind mixes[] = { MIX_NONE, MIX_UP, MIX_CUT, MIX_MOSAIC, MIX_CUT_OR_MOSAIC };
    struct class_options classes = { .names = &names };
    struct loader_options o = { .classes = &classes, .augment = usual() };
    o.augment.angle = 30, o.augment.aspect = 1.4, o.augment.min_crop = 50, o.augment.max_crop = 140, o.augment.label_smooth_eps = .1;
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; ++i) {
        o.augment.mix = mixes[i];
        struct seen seen = check(be, "classes", o);
        CHECK(seen.kind[PART_TURN] > seen.kind[PART_VALUES] && seen.kind[PART_VIEW] == 0, "turned views are drawn by the device");
        CHECK((seen.mixed > 0) == (mixes[i] != MIX_NONE), "mix %d: %d images are mixed", mixes[i], seen.mixed);
    }
    o.augment.blur = 1;
    struct seen seen = check(be, "classes, blurred", o);
    CHECK(seen.kind[PART_VALUES] > 0 && seen.kind[PART_TURN] > 0, "blurred views are the host's, sharp ones the device's");
    o.augment.mix = MIX_NONE, o.channels = 1, check(be, "classes, grey", o);
}

/* A stage refuses what does not fit, and grows and shrinks with its batches. */
static void check_misfit(struct backend *be) {
    struct ctx ctx = { 0 };
    struct picture_stage *stage = NULL;
    struct block_memory blocks = { get, put, be };
    struct parts parts = { .memory = &blocks };
    struct tensor x = tensor_of(be, (struct shape){ 2, 3, 4, 4 }, be->ops->alloc(be, &ctx, 96));
    float value[48], got[96];
    struct tile left = { 0, 0, 0, 0, 2, 4 }, right = { 2, 0, 2, 0, 2, 4 };
    for (int i = 0; i < 48; ++i) value[i] = (float)i / 48;
    CHECK(parts_clear(&ctx, &parts) == ST_OK && parts_values(&ctx, &parts, value, 3, 4, 4, &left, 1) == ST_OK, "%s", ctx.error);
    CHECK(parts_values(&ctx, &parts, value, 3, 4, 4, &right, 1) == ST_OK && be->pictures->open(be, &ctx, &stage) == ST_OK, "%s", ctx.error);
    const struct picture_block *block[] = { parts.block, parts.block };
    CHECK(be->pictures->send(be, &ctx, stage, block, 1) == ST_OK && be->pictures->draw(be, &ctx, stage, &x) == ST_BACKEND, "one block is no input of two images");
    ctx_clear(&ctx);
    CHECK(be->pictures->send(be, &ctx, stage, block, 2) == ST_OK && be->pictures->draw(be, &ctx, stage, &x) == ST_OK, "%s", ctx.error);
    be->ops->to_nchw(be, &x, got);
    for (int i = 0; i < 96; ++i) CHECK(got[i] == value[i % 48], "value %d: %g", i, (double)got[i]);
    CHECK(be->pictures->send(be, &ctx, stage, block, 2) == ST_OK, "%s", ctx.error);
    be->pictures->close(be, stage); /* with copies on their way */
    parts_free(&parts);
    be->ops->free(be, x.data);
}

int main(void) {
    const char *kinds[MAX_KINDS];
    char command[96];
    int n = fast_kinds(kinds);
    snprintf(dir, sizeof dir, "/tmp/test_pictures.XXXXXX");
    if (!mkdtemp(dir)) return 1;
    make_set();
    bool few = getenv("PICTURES_FEW") != NULL; /* under a device's sanitizer, which is slow */
    if (few) batches = 2;
    for (int i = few && n > 2 ? 2 : 1; i < n; ++i) {
        struct ctx ctx = { 0 };
        struct backend *be;
        CHECK(backend_open(&ctx, kinds[i], &be) == ST_OK, "%s", ctx.error);
        check_boxes(be);
        check_classes(be);
        check_misfit(be);
        backend_close(be);
    }
    struct ctx ctx = { 0 };
    struct backend *cpu;
    CHECK(backend_open(&ctx, "cpu", &cpu) == ST_OK && !cpu->pictures, "the CPU draws its pictures in the loader");
    backend_close(cpu);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0) printf("skip: %s was not removed\n", dir);
    return test_end("pictures");
}
