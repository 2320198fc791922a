/* detector demo: a video, a camera or a network stream. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "cli/console.h"
#include "cli/mjpeg.h"
#include "cli/options.h"
#include "cli/session.h"
#include "cli/shown.h"
#include "eval/detect.h"
#include "eval/track.h"
#include "vision/video.h"

struct demo_flags {
    double thresh, iou_thresh, hier, time_limit;
    int camera, skip, avgframes, mjpeg_port, json_port;
    const char *out, *json, *prefix, *post;
    bool ext_output, dont_show, dontdraw, letter_box, benchmark, strict;
};

#define AT(member) offsetof(struct demo_flags, member)
static const struct option demo_options[] = {
    { "thresh", OPTION_FLOAT, AT(thresh), "T", "least confidence shown (0.25)", NULL, 0, 1 },
    { "c", OPTION_INT, AT(camera), "N", "the N-th camera, where no VIDEO is given (0)", NULL, 0, 1000 },
    { "s", OPTION_INT, AT(skip), "N", "leave N frames out after each (0)", NULL, 0, 1e6 },
    { "out_filename", OPTION_TEXT, AT(out), "FILE", "write the drawn frames as a video: .avi, .mp4, ...", NULL, 1, 0 },
    { "json_file_output", OPTION_TEXT, AT(json), "FILE", "write the detections of all frames as JSON", NULL, 1, 0 },
    { "prefix", OPTION_TEXT, AT(prefix), "P", "write the drawn frames as P_00000001.jpg, ...", NULL, 1, 0 },
    { "mjpeg_port", OPTION_INT, AT(mjpeg_port), "PORT", "serve the drawn frames to browsers", NULL, 1, 65535 },
    { "json_port", OPTION_INT, AT(json_port), "PORT", "serve the detections as JSON", NULL, 1, 65535 },
    { "http_post_host", OPTION_TEXT, AT(post), "HOST", "post what is seen as text to HOST[:PORT]/PATH", NULL, 1, 0 },
    { "time_limit_sec", OPTION_FLOAT, AT(time_limit), "S", "end after S seconds", NULL, 0, 1e9 },
    { "ext_output", OPTION_FLAG, AT(ext_output), NULL, "print the boxes in pixels, too", NULL, 1, 0 },
    { "dont_show", OPTION_FLAG, AT(dont_show), NULL, "no window", NULL, 1, 0 },
    { "dontdraw_bbox", OPTION_FLAG, AT(dontdraw), NULL, "leave the frames as they come", NULL, 1, 0 },
    { "letter_box", OPTION_FLAG, AT(letter_box), NULL, "keep the frame's aspect", NULL, 1, 0 },
    { "benchmark", OPTION_FLAG, AT(benchmark), NULL, "the first frame again and again, nothing drawn: the detector's own rate", NULL, 1, 0 },
    { "strict", OPTION_FLAG, AT(strict), NULL, "unknown cfg keys are errors", NULL, 1, 0 },
    { "avgframes", OPTION_INT, AT(avgframes), "N", "accepted, without effect as in Darknet", NULL, 1, 0 },
    { "iou_thresh", OPTION_FLOAT, AT(iou_thresh), "T", "accepted, without effect as in Darknet", NULL, 0, 1 },
    { "hier", OPTION_FLOAT, AT(hier), "T", "accepted, without effect as in Darknet", NULL, 0, 1 },
    OPTION_END
};

/* Frames are read by a thread of their own while the one before is worked on.  A live source never waits: the newest counts. */
struct reader {
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct video *video;
    struct video_info info;
    int skip;
    struct pixels frame;   /* the newest, if `fresh` */
    bool fresh, end, closing;
    struct ctx ctx;        /* of the thread */
};

struct demo {
    struct session s;
    struct demo_flags flags;
    const char *source;
    struct reader reader;
    struct pixels frame;
    struct detection_list list;
    struct shown *shown;
    int *track;
    size_t shown_cap, track_cap;
    struct tracker *tracker;
    struct video_writer *writer;
    struct io_out json;
    struct stream *mjpeg, *objects;
    long long frames;
    double started, last, rate;
};

/* --- Reading -------------------------------------------------------------------------------------------- */

/* The next frame that counts, in `px`. */
static enum status read_frame(struct reader *r, struct pixels *px, bool *end) {
    for (int i = 0; i <= r->skip; ++i) {
        TRY(video_read(&r->ctx, r->video, px, end));
        if (*end) return ST_OK;
    }
    return ST_OK;
}

static void *read_frames(void *user) {
    struct reader *r = user;
    struct pixels px = { 0 };
    bool end = false;
    while (!end) {
        enum status st = read_frame(r, &px, &end);
        pthread_mutex_lock(&r->lock);
        while (r->fresh && !r->info.live && !r->closing) pthread_cond_wait(&r->changed, &r->lock);
        end = end || r->closing || st != ST_OK;
        if (!end) {
            struct pixels old = r->frame;
            r->frame = px, px = old;
            r->fresh = true;
        }
        r->end = end;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
    }
    pixels_free(&px);
    return NULL;
}

static enum status reader_start(struct ctx *ctx, struct reader *r, const char *source) {
    TRY(video_open(ctx, source, &r->video, &r->info));
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    if (pthread_create(&r->thread, NULL, read_frames, r) != 0) return ctx_fail(ctx, ST_MEMORY, "no thread could be started to read frames");
    r->running = true;
    return ST_OK;
}

/* Exchanges `px` for the next frame. */
static enum status reader_next(struct ctx *ctx, struct reader *r, struct pixels *px, bool *end) {
    pthread_mutex_lock(&r->lock);
    while (!r->fresh && !r->end) pthread_cond_wait(&r->changed, &r->lock);
    *end = !r->fresh;
    if (r->fresh) {
        struct pixels old = *px;
        *px = r->frame, r->frame = old;
        r->fresh = false;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return *end && r->ctx.code != ST_OK ? ctx_fail(ctx, r->ctx.code, "%s", r->ctx.error) : ST_OK;
}

static void reader_stop(struct reader *r) {
    if (r->running) {
        pthread_mutex_lock(&r->lock);
        r->closing = true;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
        pthread_join(r->thread, NULL);
        pthread_cond_destroy(&r->changed);
        pthread_mutex_destroy(&r->lock);
    }
    if (r->video) video_close(r->video);
    pixels_free(&r->frame);
}

/* --- One frame ------------------------------------------------------------------------------------------ */

static enum status detect(struct demo *d) {
    struct ctx *ctx = &d->s.ctx;
    struct detect_options opt = { .thresh = (float)d->flags.thresh, .nms = 0.45f, .letter_box = d->flags.letter_box || d->s.net->opt.letter_box,
                                  .class_map = d->s.map, .n_map = d->s.n_map };
    struct image im = { 0 };
    enum status st = image_from_pixels(ctx, &d->frame, &im);
    if (st == ST_OK) st = detect_image(ctx, d->s.net, &im, &opt, &d->list);
    image_free(&im);
    return st;
}

static void count_rate(struct demo *d) {
    double now = io_seconds(), rate = 1 / (now - d->last + 1e-9);
    d->rate = d->frames == 1 ? rate : 0.9 * d->rate + 0.1 * rate;
    d->last = now;
}

/* What Darknet posts: a line per object, when, and of which video. */
static void post(struct demo *d, const struct shown *shown, int n) {
    char *text = NULL, number[16];
    size_t size;
    FILE *f = n > 0 ? open_memstream(&text, &size) : NULL;
    if (!f) return;
    for (int i = 0; i < n; ++i) fprintf(f, "%s, id: %d\n", session_name(&d->s, shown[i].best, number), shown[i].track ? shown[i].track : shown[i].best);
    fprintf(f, "time: %lld\nvideo_source: %s\n", (long long)time(NULL), d->source);
    if (fclose(f) == 0 && stream_post(&d->s.ctx, d->flags.post, text) != ST_OK) {
        ctx_log(&d->s.ctx, LOG_WARN, "-http_post_host: %s", d->s.ctx.error); /* the video goes on */
        ctx_clear(&d->s.ctx);
    }
    free(text);
}

static enum status send_objects(struct demo *d) {
    char *text = NULL;
    size_t size;
    if (d->json.file) {
        if (d->frames > 1) fprintf(d->json.file, ", \n");
        shown_json(&d->s, &d->list, d->frames, NULL, d->json.file);
    }
    if (!d->objects || !stream_listeners(d->objects)) return ST_OK;
    FILE *f = open_memstream(&text, &size);
    if (!f) return ctx_fail(&d->s.ctx, ST_MEMORY, "out of memory: a frame's JSON");
    shown_json(&d->s, &d->list, d->frames, NULL, f);
    if (fclose(f) == 0) stream_send(d->objects, ", \n", text, size);
    free(text);
    return ST_OK;
}

static void print_frame(struct demo *d, int n) {
    if (isatty(STDOUT_FILENO)) printf("\033[H\033[J");
    printf("Objects:\n\n");
    shown_print(&d->s, d->list.classes, d->shown, n, (float)d->flags.thresh, d->flags.ext_output, d->frame.w, d->frame.h);
    double seconds = d->last - d->started;
    printf("\nFPS:%.1f \t AVG_FPS:%.1f\n", d->rate, seconds > 0 ? (double)d->frames / seconds : 0);
    fflush(stdout);
}

/* *stop: the user pressed Escape in the window. */
static enum status show_window(struct demo *d, bool *stop) {
    struct ctx *ctx = &d->s.ctx;
    if (d->flags.dont_show) return ST_OK;
    if (window_show(ctx, "Demo", &d->frame, 1352, 1013) != ST_OK) {
        ctx_log(ctx, LOG_WARN, "%s", ctx->error);
        ctx_clear(ctx);
        d->flags.dont_show = true;
        return ST_OK;
    }
    int key = window_key(1);
    *stop = key == 27;
    return ST_OK;
}

static enum status give_out(struct demo *d, bool *stop) {
    struct ctx *ctx = &d->s.ctx;
    if (d->mjpeg) TRY(mjpeg_send(ctx, d->mjpeg, &d->frame, 40));
    if (d->writer) TRY(video_add(ctx, d->writer, &d->frame));
    if (d->flags.prefix) {
        char path[1200];
        snprintf(path, sizeof path, "%s_%08lld.jpg", d->flags.prefix, d->frames);
        TRY(pixels_write(ctx, path, &d->frame, 90));
    }
    return show_window(d, stop);
}

static enum status one_frame(struct demo *d, bool *stop) {
    struct ctx *ctx = &d->s.ctx;
    float thresh = (float)d->flags.thresh;
    TRY(detect(d));
    ++d->frames;
    count_rate(d);
    TRY(mem_grow(ctx, &d->shown, &d->shown_cap, (size_t)d->list.n + 1, sizeof *d->shown));
    TRY(mem_grow(ctx, &d->track, &d->track_cap, (size_t)d->list.n + 1, sizeof *d->track));
    int n = shown_select(&d->s, &d->list, thresh, d->shown);
    if (d->tracker) {
        TRY(tracker_follow(ctx, d->tracker, d->s.net, &d->list, thresh, d->track));
        for (int i = 0; i < n; ++i) d->shown[i].track = d->track[d->shown[i].d - d->list.item];
    }
    print_frame(d, n);
    TRY(send_objects(d));
    if (d->flags.post) post(d, d->shown, n);
    if (d->flags.benchmark) return ST_OK;
    if (!d->flags.dontdraw) shown_draw(&d->s, d->list.classes, d->shown, n, thresh, &d->frame);
    return give_out(d, stop);
}

/* --- The video ------------------------------------------------------------------------------------------ */

static enum status all_frames(struct demo *d) {
    struct ctx *ctx = &d->s.ctx;
    const volatile int *interrupt = console_stop();
    bool end = false, stop = false;
    d->started = d->last = io_seconds();
    while (!*interrupt && !stop) {
        if (!d->flags.benchmark || d->frames == 0) TRY(reader_next(ctx, &d->reader, &d->frame, &end));
        if (end) break;
        TRY(one_frame(d, &stop));
        if (d->flags.time_limit > 0 && io_seconds() - d->started >= d->flags.time_limit) break;
    }
    if (d->frames == 0 && !*interrupt) return ctx_fail(ctx, ST_FORMAT, "%s: has no frame that can be read", d->source);
    return ST_OK;
}

static enum status open_outputs(struct demo *d) {
    struct ctx *ctx = &d->s.ctx;
    const struct demo_flags *f = &d->flags;
    const struct video_info *v = &d->reader.info;
    if (f->json) TRY(io_create(ctx, f->json, &d->json));
    if (d->json.file) fprintf(d->json.file, "[\n");
    if (f->out && !f->benchmark) TRY(video_create(ctx, f->out, v->fps / (f->skip + 1), v->w, v->h, &d->writer));
    if (f->json_port) TRY(stream_open(ctx, f->json_port, "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n[\n", &d->objects));
    if (f->mjpeg_port) TRY(mjpeg_open(ctx, f->mjpeg_port, &d->mjpeg));
    return tracker_open(ctx, d->s.net, &d->tracker);
}

static enum status close_outputs(struct demo *d, enum status st) {
    stream_close(d->mjpeg, NULL);
    stream_close(d->objects, "\n]");
    video_finish(d->writer);
    if (!d->flags.dont_show) window_close_all();
    tracker_close(d->tracker);
    if (!d->json.file) return st;
    if (st != ST_OK) {
        io_abort(&d->json);
        return st;
    }
    fprintf(d->json.file, "\n]");
    return io_commit(&d->s.ctx, &d->json);
}

static enum status work(struct demo *d, const struct arguments *words) {
    struct ctx *ctx = &d->s.ctx;
    char camera[32];
    if (!video_built()) return video_open(ctx, "", &d->reader.video, &d->reader.info); /* says why */
    struct session_request request = { .data = words->word[0], .cfg = words->word[1], .weights = words->word[2], .strict = d->flags.strict, .class_map = true };
    TRY(session_open(&d->s, &request));
    if (d->s.net->opt.channels != 3)
        return ctx_fail(ctx, ST_UNSUPPORTED, "%s: takes %d channels, but a video has 3", words->word[1], d->s.net->opt.channels);
    snprintf(camera, sizeof camera, "camera:%d", d->flags.camera);
    d->source = words->n > 3 ? words->word[3] : camera;
    d->reader.skip = d->flags.skip;
    TRY(net_bind(ctx, d->s.net, d->s.be, NET_INFER, 1));
    TRY(reader_start(ctx, &d->reader, d->source));
    enum status st = open_outputs(d);
    if (st == ST_OK) {
        session_print(&d->s, words->word[2]);
        session_print_heads(&d->s);
        st = all_frames(d);
    }
    return close_outputs(d, st);
}

static int demo_run(const struct command *self, int argc, char **argv) {
    struct demo d = { .s.ctx = console_ctx(), .flags = { .thresh = .25, .iou_thresh = -1, .hier = -1 } };
    struct arguments words;
    enum status st = options_parse(&d.s.ctx, argc, argv, self->options, &d.flags, &words, 4);
    if (st == ST_OK && words.n < 3) st = ctx_fail(&d.s.ctx, ST_USAGE, "detector demo: needs %s", self->words);
    if (st == ST_OK) st = work(&d, &words);
    int status = st == ST_OK ? 0 : console_fail(&d.s.ctx);
    reader_stop(&d.reader);
    pixels_free(&d.frame);
    detections_free(&d.list);
    free(d.shown), free(d.track);
    session_close(&d.s);
    return status;
}

const struct command detector_demo_command = {
    "detector", "demo", "DATA CFG WEIGHTS [VIDEO|URL]", "finds objects in a video, or in what a camera sees (builds with OPENCV=1)", demo_options, demo_run
};
