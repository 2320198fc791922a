/* A pixel's colour changed in the hexcone model (Smith 1978), for the host and for devices. */
#ifndef BASE_COLOUR_H
#define BASE_COLOUR_H

#include "base/element_fn.h"

/* One channel from the value v, the chroma v*s and k = (n + 6*hue) mod 6, n = 5, 3, 1 for R, G, B; 0..1. */
ELEMENT_FN float hexcone(float v, float chroma, float k) {
    float slope, out;
    k -= k >= 6 ? 6.0f : 0.0f;
    slope = 4 - k;
    slope = slope < k ? slope : k;
    slope = slope < 1 ? slope : 1;
    slope = slope > 0 ? slope : 0;
    out = v - chroma * slope;
    out = out < 1 ? out : 1;
    return out > 0 ? out : 0;
}

/* The hue moves by turn sixths of the circle (0..6), chroma and value are multiplied.  Saturation is chroma/value, so chroma_scale is
 * saturation times exposure. */
ELEMENT_FN void colour_turn(float *red, float *green, float *blue, float turn, float chroma_scale, float exposure) {
    float r = *red, g = *green, b = *blue;
    float high = r > g ? r : g, low = r > g ? g : r, delta, inverse, red_sector, green_sector, blue_sector, sector, v, chroma;
    high = b > high ? b : high;
    low = b < low ? b : low;
    delta = high - low, inverse = 1 / (delta > 0 ? delta : 1);
    red_sector = (g - b) * inverse, green_sector = 2 + (b - r) * inverse, blue_sector = 4 + (r - g) * inverse;
    red_sector += red_sector < 0 ? 6.0f : 0.0f;
    sector = g >= high ? green_sector : blue_sector;
    sector = r >= high ? red_sector : sector;
    sector += turn;
    sector -= sector >= 6 ? 6.0f : 0.0f;
    v = high * exposure, chroma = delta * chroma_scale;
    *red = hexcone(v, chroma, sector + 5);
    *green = hexcone(v, chroma, sector + 3);
    *blue = hexcone(v, chroma, sector + 1);
}

#endif
