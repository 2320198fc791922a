/* The style sheet that reports share: light and dark by the reader's choice, paper always light, phones in one column.
 * Series: s0 before, s1 after, s2 a third.  Blue, grey, orange and bluish green differ in lightness, too, so that they stay apart in
 * print and for all kinds of colour vision (after Okabe & Ito 2008); states in pictures differ in line style besides. */
#ifndef RECIPE_REPORT_STYLE_H
#define RECIPE_REPORT_STYLE_H

extern const char report_style[];

#endif
