/* Detections as Darknet shows them: which ones, as text, drawn, as JSON.  `detector test` and `demo` share it. */
#ifndef CLI_SHOWN_H
#define CLI_SHOWN_H

#include <stdio.h>

#include "cli/session.h"
#include "vision/draw.h"

/* One box with its best class; `order` keeps sorting stable.  track: 0, or the object's number over the frames. */
struct shown { const struct detection *d; int best, order, track; };

/* The boxes with a class above the threshold whose name does not begin with dont_show; room for list->n. */
int shown_select(const struct session *, const struct detection_list *, float thresh, struct shown *);
/* A line per box and class on stdout, from left to right; `boxes`: with the pixels of a w x h picture. */
void shown_print(const struct session *, int classes, struct shown *, int n, float thresh, bool boxes, int w, int h);
/* Frames and labels, the surest on top. */
void shown_draw(const struct session *, int classes, struct shown *, int n, float thresh, struct pixels *);
/* Darknet's object of one picture, to the byte, blanks before line ends included; only names and paths are escaped.
 * filename NULL: left out, as for frames of a video. */
void shown_json(const struct session *, const struct detection_list *, long long frame, const char *filename, FILE *);

#endif
