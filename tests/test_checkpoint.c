/* Checkpoints: resuming exactly with every optimiser, files that belong together, full disks, names. */
#include "train_tiny.h"

#include <signal.h>
#include <sys/resource.h>

#include "train/checkpoint.h"

static void load_last(struct net *net, const char *folder) {
    struct ctx ctx = { 0 };
    char path[256];
    snprintf(path, sizeof path, "%s/%s/tiny_last.weights", dir, folder);
    CHECK(net_load(&ctx, net, path, LOAD_WHOLE, NULL) == ST_OK, "%s", ctx.error);
}

/* --- Resuming ------------------------------------------------------------------------------------------- */

struct resume_case { const char *name, *kind, *keys; int iterations, stop_at, random; };

static void test_resume(const struct resume_case *c) {
    static struct run r;
    char folder[64], path[256], keys[400];
    snprintf(keys, sizeof keys, "batch=4\nsubdivisions=2\nmax_batches=%d\nhue=.1\nsaturation=1.5\nexposure=1.5\n%s",
             c->iterations, c->keys);
    memset(&r, 0, sizeof r);
    r.opt.save = true;
    struct net *whole = open_net(keys, "", c->random), *parts = open_net(keys, "", c->random),
               *plain = open_net(keys, "", c->random);
    snprintf(folder, sizeof folder, "whole_%s", c->name);
    CHECK(train(&r, c->kind, whole, folder) == ST_OK, "%s", r.ctx.error);
    CHECK(r.watch.calls == c->iterations, "%d iterations", r.watch.calls);
    double average = r.result.avg_loss;

    snprintf(folder, sizeof folder, "parts_%s", c->name);
    r.watch.stop_at = c->stop_at;
    CHECK(train(&r, c->kind, parts, folder) == ST_INTERRUPTED, "the stop flag stops");
    CHECK(strstr(r.ctx.error, "stopped after iteration") && strstr(r.ctx.error, "_last.weights"), "%s",
          r.ctx.error);
    CHECK((int)r.result.iteration == c->stop_at && parts->seen == (uint64_t)c->stop_at * 4,
          "after the step it was in: %d", (int)r.result.iteration);
    load_last(plain, folder);
    CHECK(plain->seen == parts->seen && !memcmp(plain->param, parts->param, parts->n_param * sizeof(float)),
          "everything was saved");
    net_close(parts);
    parts = open_net(keys, "", c->random);
    load_last(parts, folder);
    r.watch.stop_at = 0;
    CHECK(train(&r, c->kind, parts, folder) == ST_OK, "%s", r.ctx.error);
    CHECK(r.watch.calls == c->iterations - c->stop_at, "%d iterations were left", r.watch.calls);
    CHECK(!strstr(r.log, "momentum starts at 0"), "%s", r.log);
    CHECK(!memcmp(whole->param, parts->param, parts->n_param * sizeof(float)),
          "%s: stopped and resumed equals uninterrupted", c->name);
    CHECK_NEAR(r.result.avg_loss, average, 1e-12, "average loss goes on");
    CHECK((int)r.watch.points == c->iterations, "the history holds the whole run: %d", (int)r.watch.points);

    /* Without its state file the run goes on, with a note. */
    snprintf(path, sizeof path, "%s/%s/tiny_last.state", dir, folder);
    CHECK(io_exists(path), "state file");
    unlink(path);
    CHECK(train(&r, c->kind, plain, folder) == ST_OK, "%s", r.ctx.error);
    CHECK(strstr(r.log, "momentum starts at 0"), "%s", r.log);
    CHECK(memcmp(whole->param, plain->param, plain->n_param * sizeof(float)), "momentum was lost");
    net_close(whole), net_close(parts), net_close(plain);
}

static void test_resumes(void) {
    static const struct resume_case cases[] = {
        { "sgd_ref", "ref", "learning_rate=0.005", 6, 4, 0 },
        { "sgd", "cpu", "learning_rate=0.005", 24, 13, 1 },
        { "adam", "cpu", "learning_rate=0.002\nadam=1", 16, 9, 0 },
        { "adamw_ref", "ref", "learning_rate=0.002\nadamw=1\ndecay=0.01", 6, 3, 0 },
        { "average", "cpu", "learning_rate=0.005\nema_alpha=0.9", 24, 15, 0 },
        { "average_adam", "cpu", "learning_rate=0.002\nadam=1\nema_alpha=0.9", 24, 17, 0 },
        { "averaged", "cpu", "learning_rate=0.005\nema_alpha=0.9", 24, 20, 0 }, /* after the average took over */
        { "rejection", "cpu", "learning_rate=0.005\nequidistant_point=2\nbadlabels_rejection_percentage=5\nnum_sigmas_reject_badlabels=1", 24, 20, 1 },
        { "adversary", "cpu", "learning_rate=0.005\nadversarial_lr=0.1\nmax_grad_norm=1", 16, 9, 0 },
        { "dynamic", "cpu", "learning_rate=0.005\ndynamic_minibatch=1\nweights_reject_freq=3", 24, 13, 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) test_resume(&cases[i]);
}

/* --- State files ---------------------------------------------------------------------------------------- */

struct bench { struct ctx ctx; struct backend *be; struct net *net; struct optimizer o; float *values, *back; };

static void bench_open(struct bench *b, const char *keys) {
    memset(b, 0, sizeof *b);
    b->net = open_net(keys, "", 0);
    b->values = calloc(b->net->n_param, sizeof(float));
    b->back = calloc(b->net->n_param, sizeof(float));
    CHECK(backend_open(&b->ctx, "cpu", &b->be) == ST_OK && net_bind(&b->ctx, b->net, b->be, NET_TRAIN, 2) == ST_OK &&
              optimizer_open(&b->ctx, b->net, &b->o) == ST_OK, "%s", b->ctx.error);
}

static void bench_close(struct bench *b) {
    optimizer_close(&b->o);
    net_close(b->net);
    backend_close(b->be);
    free(b->values), free(b->back);
}

static bool resumes(struct bench *b, const struct checkpoint *c, uint64_t iteration, struct train_state *got) {
    bool found;
    memset(got, 0, sizeof *got);
    ctx_clear(&b->ctx);
    CHECK(checkpoint_resume(&b->ctx, c, b->net, iteration, got, &b->o, &found) == ST_OK, "%s", b->ctx.error);
    return found;
}

static void test_state_belongs(void) {
    struct bench b, adam;
    struct checkpoint c;
    char folder[256], path[300];
    struct train_state s = { .iteration = 9, .last_map = 4, .avg_loss = 1.25, .best_map = 0.5 }, got;
    bench_open(&b, "batch=4\nmax_batches=24");
    bench_open(&adam, "batch=4\nmax_batches=24\nadam=1");
    size_t n = b.net->n_param;
    for (size_t i = 0; i < n; ++i) b.values[i] = (float)i * 0.25f - 3;
    b.be->ops->put(b.be, b.values, n, b.o.momentum);
    CHECK(optimizer_average(&b.ctx, &b.o, b.net, 0) == ST_OK, "average");
    b.o.updates = 5;
    for (uint64_t i = 1; i < 10; ++i)
        CHECK(history_add(&b.ctx, &s.history, &(struct train_point){ i, 2.0 / (double)i, i == 4 ? .5 : -1 }) == ST_OK, "history");
    CHECK(checkpoint_open(&b.ctx, path_of(folder, "state"), "tiny", &c) == ST_OK, "%s", b.ctx.error);
    CHECK(!resumes(&b, &c, 9, &got), "no file, nothing found");
    CHECK(checkpoint_save_last(&b.ctx, &c, b.net, &s, &b.o) == ST_OK, "%s", b.ctx.error);
    optimizer_reset(&b.o);
    CHECK(resumes(&b, &c, 9, &got), "found");
    b.be->ops->get(b.be, b.o.momentum, n, b.back);
    CHECK(!memcmp(b.values, b.back, n * sizeof(float)) && got.avg_loss == 1.25 && got.best_map == 0.5 && got.last_map == 4 &&
              b.o.updates == 5 && b.o.average, "as saved");
    b.be->ops->get(b.be, b.o.average, n, b.back);
    CHECK(!memcmp(b.net->param, b.back, n * sizeof(float)), "with the average");
    CHECK(got.history.n == 9 && got.history.point[3].map == .5 && got.history.point[8].loss == 2.0 / 9, "and the history");
    history_free(&got.history);
    /* Killed between the new weights and the new state: the old state lies under its name, the one that belongs beside it. */
    char state[300], next[300];
    snprintf(state, sizeof state, "%s/tiny_last.state", folder);
    snprintf(next, sizeof next, "%s/tiny_next.state", folder);
    CHECK(!io_exists(next), "nothing beside it after a whole save");
    CHECK(rename(state, next) == 0 && io_write(&b.ctx, state, "dktrain", 7) == ST_OK, "moved");
    CHECK(resumes(&b, &c, 9, &got) && got.history.n == 9, "found beside it");
    history_free(&got.history);
    /* Killed again, with the state of a save to come beside it: it does not lie in the place of the only one that belongs here. */
    CHECK(!io_exists(next) && io_write(&b.ctx, next, "dktrain", 7) == ST_OK, "moved to its name");
    CHECK(resumes(&b, &c, 9, &got) && got.history.n == 9, "found under its name");
    history_free(&got.history);
    CHECK(unlink(next) == 0, "as it was");
    CHECK(!resumes(&b, &c, 8, &got), "another iteration");
    CHECK(!resumes(&adam, &c, 9, &got), "another optimiser");
    b.net->param[3] += 1;
    CHECK(!resumes(&b, &c, 9, &got), "other weights");
    b.net->param[3] = NAN;
    CHECK(checkpoint_save(&b.ctx, &c, b.net, "nan") == ST_NUMERIC && !there("state/tiny_nan.weights"), "NaN is not saved");
    ctx_clear(&b.ctx);
    memcpy(b.net->param, b.back, n * sizeof(float));
    snprintf(path, sizeof path, "%s/tiny_last.state", folder);
    CHECK(resumes(&b, &c, 9, &got), "the same again");
    history_free(&got.history);
    CHECK(truncate(path, 3000) == 0, "cut");
    CHECK(!resumes(&b, &c, 9, &got), "a cut file");
    b.be->ops->get(b.be, b.o.momentum, n, b.back);
    double left = 0;
    for (size_t i = 0; i < n; ++i) left += fabs(b.back[i]);
    CHECK(left == 0 && !b.o.average, "leaves nothing behind");
    checkpoint_close(&c);
    history_free(&s.history);
    bench_close(&b), bench_close(&adam);
}

static void test_history(void) {
    struct ctx ctx = { 0 };
    struct history h = { 0 };
    int measured = 0;
    for (uint64_t i = 1; i <= 100000; ++i)
        history_add(&ctx, &h, &(struct train_point){ i, (double)i, i % 1001 == 0 ? .5 : -1 });
    for (size_t i = 0; i < h.n; ++i) {
        measured += h.point[i].map >= 0;
        CHECK(h.point[i].loss == (double)h.point[i].iteration && (i == 0 || h.point[i].iteration > h.point[i - 1].iteration), "in order");
    }
    CHECK(measured == 99 && h.n > 2000 && h.n <= 4096, "%d scores among %zu points", measured, h.n);
    history_free(&h);
}

/* --- Disks that are full -------------------------------------------------------------------------------- */

/* Files may not grow beyond `bytes`: writes fail as on a full disk. */
static void limit_files(rlim_t bytes) {
    struct rlimit limit = { bytes, RLIM_INFINITY };
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0, "limit");
}

static void test_full_disk(void) {
    struct bench b;
    struct checkpoint c;
    struct train_state s = { .iteration = 3, .best_map = -1 }, got;
    char folder[256], path[300], *bytes;
    size_t size, again;
    signal(SIGXFSZ, SIG_IGN);
    bench_open(&b, "batch=4\nmax_batches=24");
    CHECK(checkpoint_open(&b.ctx, path_of(folder, "full"), "tiny", &c) == ST_OK, "%s", b.ctx.error);
    CHECK(checkpoint_save_last(&b.ctx, &c, b.net, &s, &b.o) == ST_OK, "%s", b.ctx.error);
    snprintf(path, sizeof path, "%s/tiny_last.weights", folder);
    CHECK(io_read(&b.ctx, path, &bytes, &size) == ST_OK, "%s", b.ctx.error);
    float before = b.net->param[0];
    for (rlim_t limit = 100; limit < size; limit += size / 3) {
        char *now;
        b.net->param[0] = before + 1;
        s.iteration = 4;
        limit_files(limit);
        enum status st = checkpoint_save_last(&b.ctx, &c, b.net, &s, &b.o);
        limit_files(RLIM_INFINITY);
        CHECK(st == ST_IO && strstr(b.ctx.error, "tiny_") && strstr(b.ctx.error, "untouched"), "%s", b.ctx.error);
        ctx_clear(&b.ctx);
        CHECK(io_read(&b.ctx, path, &now, &again) == ST_OK && again == size && !memcmp(now, bytes, size),
              "the previous weights stay");
        free(now);
        b.net->param[0] = before;
        CHECK(resumes(&b, &c, 3, &got), "with their state");
    }
    int files = 0;
    char command[300];
    snprintf(command, sizeof command, "ls '%s' | wc -l", folder);
    FILE *f = popen(command, "r");
    CHECK(f && fscanf(f, "%d", &files) == 1 && files == 2, "no scraps are left: %d files", files);
    if (f) pclose(f);
    free(bytes);
    checkpoint_close(&c);
    bench_close(&b);
}

/* --- Names ---------------------------------------------------------------------------------------------- */

static void test_saved_files(void) {
    static struct run r;
    struct net *net = open_net("batch=2\nlearning_rate=0.001\nmax_batches=10", "", 0);
    memset(&r, 0, sizeof r);
    r.opt.save = true;
    r.data.save_weights = 4;
    r.data.save_last = 3;
    CHECK(train(&r, "cpu", net, "names") == ST_OK, "%s", r.ctx.error);
    CHECK(there("names/tiny_4.weights") && there("names/tiny_8.weights") && there("names/tiny_final.weights"),
          "numbered files");
    CHECK(!there("names/tiny_3.weights") && !there("names/tiny_10.weights") &&
              !there("names/tiny_best.weights") && !there("names/tiny.backup"),
          "and no others");
    CHECK(there("names/tiny_last.weights") && there("names/tiny_last.state"), "_last");
    net->seen = 0;
    r.opt.backup_every = 7;
    CHECK(train(&r, "cpu", net, "names") == ST_OK, "%s", r.ctx.error);
    struct ctx ctx = { 0 };
    char path[256];
    CHECK(net_load(&ctx, net, path_of(path, "names/tiny.backup"), LOAD_WHOLE, NULL) == ST_OK && net->seen == 14,
          "the .backup file of iteration 7: %s", ctx.error);
    net_close(net);
}

int main(void) {
    tiny_start("checkpoint");
    test_resumes();
    test_state_belongs();
    test_history();
    test_full_disk();
    test_saved_files();
    return tiny_end("checkpoint");
}
