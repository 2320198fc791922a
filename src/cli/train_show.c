#include "cli/train_show.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "cli/mjpeg.h"
#include "train/chart.h"
#include "vision/video.h"

enum { CHART_EVERY = 100, LIVE_SECONDS = 2 };

/* --- JSON lines ----------------------------------------------------------------------------------------- */

/* One object as one line, on disk at once.  A log that cannot be written does not end a training run. */
static void write_line(struct train_show *s, cJSON *object) {
    char *text = cJSON_PrintUnformatted(object);
    cJSON_Delete(object);
    errno = 0;
    bool ok = text && fprintf(s->file, "%s\n", text) > 0 && fflush(s->file) == 0;
    free(text);
    if (ok) return;
    ctx_log(s->ctx, LOG_WARN, "%s: cannot be written, it ends here: %s", s->log, strerror(errno));
    fclose(s->file);
    s->file = NULL;
}

enum status train_show_open(struct train_show *s, const struct net *net, uint64_t seed) {
    if (s->mjpeg_port) TRY(mjpeg_open(s->ctx, s->mjpeg_port, &s->mjpeg));
    s->window = s->window && video_built();
    if (!s->log) return ST_OK;
    s->file = fopen(s->log, "a");
    if (!s->file) return ctx_fail(s->ctx, ST_IO, "%s: cannot be written: %s", s->log, strerror(errno));
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "run", s->base);
    cJSON_AddStringToObject(o, "cfg", net->doc->path);
    cJSON_AddNumberToObject(o, "seen", (double)net->seen);
    cJSON_AddNumberToObject(o, "batch", net->opt.batch);
    cJSON_AddNumberToObject(o, "max_batches", net->opt.max_batches);
    cJSON_AddNumberToObject(o, "seed", (double)seed);
    write_line(s, o);
    return ST_OK;
}

static void log_news(struct train_show *s, const struct train_news *n) {
    cJSON *o = cJSON_CreateObject();
    const struct { const char *key; double value; } row[] = {
        { "iteration", (double)n->iteration }, { "images", (double)n->images }, { "loss", n->loss }, { "avg_loss", n->avg_loss },
        { "rate", n->rate }, { "seconds", n->seconds }, { "load_seconds", n->load_seconds },
        { "images_per_second", n->images_per_second }, { "eta_seconds", n->eta_seconds },
        { "width", n->net_w }, { "height", n->net_h }, { "mini_batch", n->mini_batch }
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; ++i) cJSON_AddNumberToObject(o, row[i].key, row[i].value);
    if (n->new_map) {
        cJSON_AddStringToObject(o, "score", s->score);
        cJSON_AddNumberToObject(o, "value", n->map);
        cJSON_AddNumberToObject(o, "best", n->best_map);
    }
    write_line(s, o);
}

/* --- Lines for people and log parsers ------------------------------------------------------------------- */

/* Darknet's line, that log parsers read, and what it prints before it. */
static void print_iteration(const struct train_show *s, const struct train_news *n) {
    double hours = n->eta_seconds / 3600;
    printf("Loaded: %f seconds\n", n->load_seconds);
    if (n->random_coef > 0) printf("Resizing, random_coef = %.2f \n\n %d x %d \n", n->random_coef, n->net_w, n->net_h);
    fputs(n->head_lines, stderr);
    if (n->next_map && !n->new_map) printf("\n (next %s calculation at %llu iterations) ", s->epoch_images ? s->score : "mAP", (unsigned long long)n->next_map);
    if (s->score && n->map >= 0 && !n->new_map)
        printf("\n Last accuracy %s = %2.2f %%, best = %2.2f %% ", s->score, n->map * 100, n->best_map * 100);
    if (s->epoch_images > 0)
        printf("\n %llu, %.3f: %f, %f avg, %f rate, %f seconds, %llu images, %f hours left\n", (unsigned long long)n->iteration,
               (double)n->images / s->epoch_images, n->loss, n->avg_loss, n->rate, n->seconds, (unsigned long long)n->images, hours);
    else
        printf("\n %llu: %f, %f avg loss, %f rate, %f seconds, %llu images, %f hours left\n", (unsigned long long)n->iteration,
               n->loss, n->avg_loss, n->rate, n->seconds, (unsigned long long)n->images, hours);
}

static void print_score(const struct train_show *s, const struct train_news *n) {
    printf("\n %s = %f \n", s->score_line, n->map);
    if (n->map >= n->best_map) printf("New best %s!\n", s->epoch_images ? s->score : "mAP");
}

/* --- Chart ---------------------------------------------------------------------------------------------- */

static struct chart chart_of(const struct train_show *s, const struct train_news *n) {
    return (struct chart){ .title = s->base, .score = s->score ? s->score : "", .history = n->history,
                           .max_iterations = n->max_iterations, .top_loss = s->top_loss, .eta_seconds = n->eta_seconds };
}

static void draw(struct train_show *s, const struct train_news *n) {
    struct chart c = chart_of(s, n);
    struct ctx own = { .log = s->ctx->log, .log_user = s->ctx->log_user };
    char path[4096];
    snprintf(path, sizeof path, "chart_%s.png", s->base);
    enum status st = chart_write(&own, &c, s->chart ? s->chart : "chart.png");
    if (st == ST_OK) st = chart_write(&own, &c, path);
    if (st != ST_OK && !s->chart_failed) ctx_log(s->ctx, LOG_WARN, "the chart is missing: %s", own.error);
    s->chart_failed = st != ST_OK;
}

/* For those who watch: not in every iteration, which may be many a second.  What fails is told once, and left. */
static void draw_live(struct train_show *s, const struct train_news *n) {
    struct ctx own = { .log = s->ctx->log, .log_user = s->ctx->log_user };
    struct chart c = chart_of(s, n);
    struct pixels px = { 0 };
    if (!s->window && !(s->mjpeg && stream_listeners(s->mjpeg))) return;
    if (s->window) window_key(1); /* lets it draw */
    if (io_seconds() - s->live_at < LIVE_SECONDS && !n->stopping) return;
    s->live_at = io_seconds();
    if (chart_draw(&own, &c, &px) == ST_OK && s->mjpeg) (void)mjpeg_send(&own, s->mjpeg, &px, 70);
    if (own.code == ST_OK && s->window) s->window = window_show(&own, s->base, &px, 0, 0) == ST_OK;
    if (own.code != ST_OK) ctx_log(s->ctx, LOG_WARN, "%s", own.error);
    pixels_free(&px);
}

/* --- All of it ------------------------------------------------------------------------------------------ */

void train_show_news(void *user, const struct train_news *n) {
    struct train_show *s = user;
    if (!s->started) {
        progress_start(&s->progress, s->what, "iterations");
        s->progress.started -= n->seconds + n->load_seconds;
        s->progress.first = (int)n->iteration - 1;
        s->started = true;
    }
    if (!s->quiet || n->new_map) progress_end(&s->progress);
    if (!s->quiet) print_iteration(s, n);
    if (n->new_map) print_score(s, n);
    fflush(stdout);
    if (s->file) log_news(s, n);
    if (n->iteration % CHART_EVERY == 0 || n->new_map || n->iteration == (uint64_t)n->max_iterations || n->stopping) draw(s, n);
    draw_live(s, n);
    size_t at = (size_t)snprintf(s->what, sizeof s->what, "loss %.3f, avg %.3f, rate %.5f, %.1f images/s", n->loss, n->avg_loss,
                                 n->rate, n->images_per_second);
    if (s->score && n->map >= 0 && at < sizeof s->what)
        snprintf(s->what + at, sizeof s->what - at, ", %s %.1f %% (best %.1f)", s->score, n->map * 100, n->best_map * 100);
    progress_eta(&s->progress, (int)n->iteration, n->max_iterations, n->eta_seconds);
}

void train_show_close(struct train_show *s) {
    progress_end(&s->progress);
    if (s->file && fclose(s->file) != 0) ctx_log(s->ctx, LOG_WARN, "%s: cannot be written: %s", s->log, strerror(errno));
    s->file = NULL;
    stream_close(s->mjpeg, NULL);
    s->mjpeg = NULL;
    if (s->window) window_close_all();
}

/* --- What a training command starts with ---------------------------------------------------------------- */

char *train_base_name(struct ctx *ctx, const char *cfg) {
    const char *start = cfg;
    for (const char *p = cfg; *p; ++p)
        if (*p == '/' || *p == '\\') start = p + 1;
    char *base = mem_text(ctx, start);
    if (base) base[strcspn(base, ".")] = '\0';
    return base;
}

double train_chart_top(const struct net *net) {
    return cfg_value(&net->doc->section[0], "max_chart_loss") ? net->opt.max_chart_loss : 0;
}
