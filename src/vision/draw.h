/* Drawing on 8-bit RGB pictures.  Coordinates are pixels, (0,0) the top left corner of the top left pixel; everything is
 * clipped.  Filled shapes are anti-aliased by coverage. */
#ifndef VISION_DRAW_H
#define VISION_DRAW_H

#include "vision/image.h"

struct colour { uint8_t r, g, b; float alpha; }; /* alpha 1: opaque */

/* Coverage of a polygon (at most 256 points, even-odd rule) on a grid of w x h pixels: `span` gets runs of `n` pixels of
 * row y from column x on, with the covered share 0..1 of each.  What all filled shapes below are made of. */
typedef void (*draw_span)(void *user, int y, int x, int n, const float *coverage);
void draw_cover(int w, int h, const float *xy, int n_points, draw_span span, void *user);

void draw_polygon(struct pixels *px, const float *xy, int n_points, struct colour c); /* x0,y0,x1,y1,... simple polygon */
void draw_rect(struct pixels *px, float x, float y, float w, float h, struct colour c);
void draw_ellipse(struct pixels *px, float cx, float cy, float rx, float ry, struct colour c);
void draw_line(struct pixels *px, float x0, float y0, float x1, float y1, float thickness, struct colour c);
void draw_frame(struct pixels *px, float x, float y, float w, float h, float thickness, struct colour c); /* box outline */
/* One line of text, its top left corner at (x, y), `size` pixels high; returns its width.  With a NULL picture: only the width. */
float draw_text(struct pixels *px, float x, float y, float size, const char *text, struct colour c);
/* Darknet's colour of class k of n (darknet-compat 6.4). */
struct colour draw_class_colour(int k, int n);

#endif
