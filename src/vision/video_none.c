/* A build without OpenCV. */
#include "vision/video.h"

static enum status missing(struct ctx *ctx) {
    return ctx_fail(ctx, ST_UNSUPPORTED, "video, cameras and windows need OpenCV, which this program was built without: make OPENCV=1");
}

bool video_built(void) { return false; }

enum status video_open(struct ctx *ctx, const char *source, struct video **out, struct video_info *info) {
    (void)source, (void)info;
    *out = NULL;
    return missing(ctx);
}

enum status video_read(struct ctx *ctx, struct video *v, struct pixels *out, bool *end) {
    (void)v, (void)out, (void)end;
    return missing(ctx);
}

void video_close(struct video *v) { (void)v; }

enum status video_create(struct ctx *ctx, const char *path, double fps, int w, int h, struct video_writer **out) {
    (void)path, (void)fps, (void)w, (void)h;
    *out = NULL;
    return missing(ctx);
}

enum status video_add(struct ctx *ctx, struct video_writer *w, const struct pixels *px) {
    (void)w, (void)px;
    return missing(ctx);
}

void video_finish(struct video_writer *w) { (void)w; }

enum status window_show(struct ctx *ctx, const char *name, const struct pixels *px, int w, int h) {
    (void)name, (void)px, (void)w, (void)h;
    return missing(ctx);
}

int window_key(int milliseconds) {
    (void)milliseconds;
    return -1;
}

void window_close_all(void) {}
