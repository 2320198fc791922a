/* Moving pictures and windows, which a build with OPENCV=1 takes from OpenCV; without it every call fails with ST_UNSUPPORTED
 * and one line that says how to get them. */
#ifndef VISION_VIDEO_H
#define VISION_VIDEO_H

#include "vision/image.h"

bool video_built(void); /* whether this build has them */

struct video;
struct video_info {
    int w, h;
    double fps;         /* 25 where the source does not say */
    bool live;          /* frames come when they come: camera or network stream */
};
/* A file or a URL; "camera:N" is the N-th camera of the machine. */
enum status video_open(struct ctx *, const char *source, struct video **, struct video_info *);
/* The next frame, RGB; out's memory is used again when its size fits.  *end: there is none any more. */
enum status video_read(struct ctx *, struct video *, struct pixels *out, bool *end);
void video_close(struct video *);

struct video_writer;
/* The codec follows from the extension: .mp4 and .mov MPEG-4 part 2 (mp4v), others DIVX as Darknet's. */
enum status video_create(struct ctx *, const char *path, double fps, int w, int h, struct video_writer **);
enum status video_add(struct ctx *, struct video_writer *, const struct pixels *);
void video_finish(struct video_writer *);

/* Shows the picture in the window of that name, which opens at w x h pixels (0: as large as the picture). */
enum status window_show(struct ctx *, const char *name, const struct pixels *, int w, int h);
/* Lets windows draw themselves; the key pressed within `milliseconds` (0: waits for one), -1: none. */
int window_key(int milliseconds);
void window_close_all(void);

#endif
