/* The chart of a training run: axes, curves, cut-off peaks, and a file that other programs read. */
#include "test.h"

#include <unistd.h>

#include "train/chart.h"

/* Pixels near a colour within a box. */
static int count_near(const struct pixels *px, int x0, int y0, int x1, int y1, int r, int g, int b) {
    int n = 0;
    for (int y = y0; y < y1; ++y)
        for (int x = x0; x < x1; ++x) {
            const uint8_t *p = px->data + (y * px->w + x) * 3;
            n += abs(p[0] - r) < 40 && abs(p[1] - g) < 40 && abs(p[2] - b) < 40;
        }
    return n;
}

enum { LEFT = 96, RIGHT = 904, TOP = 132, BOTTOM = 896 }; /* of the plot */

/* The mean row of blue pixels in one column: where the loss curve is. */
static double curve_row(const struct pixels *px, int x) {
    double sum = 0;
    int n = 0;
    for (int y = TOP; y < BOTTOM - 2; ++y)
        if (count_near(px, x, y, x + 1, y + 1, 31, 97, 182)) sum += y, ++n;
    return n ? sum / n : -1;
}

static void test_curves(void) {
    struct ctx ctx = { 0 };
    struct history h = { 0 };
    struct pixels px = { 0 };
    for (uint64_t i = 1; i <= 600; ++i)
        history_add(&ctx, &h, &(struct train_point){ i, i < 20 ? 300 : 1 + 6 * (600 - (double)i) / 600, i % 100 ? -1 : (double)i / 1000 });
    struct chart c = { .title = "test", .score = "mAP@0.50", .history = &h, .max_iterations = 1000, .top_loss = 8, .eta_seconds = 5000 };
    CHECK(chart_draw(&ctx, &c, &px) == ST_OK && px.w == 1000 && px.h == 1000 && px.c == 3, "%s", ctx.error);
    for (int i = 50; i < 600; i += 50) {
        int x = LEFT + (RIGHT - LEFT) * i / 1000 + 2;
        double loss = 1 + 6 * (600 - i - 2.5) / 600, want = BOTTOM - (BOTTOM - TOP) * loss / 8;
        double row = curve_row(&px, x);
        CHECK(fabs(row - want) < 4 || i % 100 == 0, "iteration %d: row %g, expected %g", i, row, want);
    }
    CHECK(count_near(&px, 600, TOP, RIGHT, BOTTOM - 2, 31, 97, 182) == 0, "no loss to come is drawn");
    CHECK(count_near(&px, LEFT + 2, 100, 400, BOTTOM, 200, 48, 40) > 100, "scores");
    CHECK(count_near(&px, LEFT + 60, 0, RIGHT, 20, 31, 97, 182) == 0, "peaks do not leave the plot");
    CHECK(count_near(&px, RIGHT + 10, TOP - 10, 1000, BOTTOM + 10, 200, 48, 40) > 200, "an axis for scores");
    pixels_free(&px);
    for (size_t i = 0; i < h.n; ++i) h.point[i].map = -1;
    CHECK(chart_draw(&ctx, &c, &px) == ST_OK, "%s", ctx.error);
    CHECK(count_near(&px, 0, 0, 1000, 1000, 200, 48, 40) == 0, "without scores nothing about them");
    pixels_free(&px);
    c.top_loss = 0;
    CHECK(chart_draw(&ctx, &c, &px) == ST_OK, "%s", ctx.error);
    double row = curve_row(&px, LEFT + (RIGHT - LEFT) * 50 / 1000 + 2);
    CHECK(row > TOP && row < TOP + 0.3 * (BOTTOM - TOP), "the axis fits the curve behind its peak: row %g", row);
    pixels_free(&px);
    history_free(&h);
}

static void test_extremes(void) {
    struct ctx ctx = { 0 };
    struct history h = { 0 };
    struct chart c = { .title = "empty", .score = "top-1", .history = &h, .max_iterations = 0, .eta_seconds = -1 };
    char path[] = "/tmp/test_chart_XXXXXX.png";
    int fd = mkstemps(path, 4);
    struct pixels px = { 0 };
    close(fd);
    CHECK(chart_write(&ctx, &c, path) == ST_OK && pixels_read(&ctx, path, 3, &px) == ST_OK && px.w == 1000, "%s", ctx.error);
    pixels_free(&px);
    const double losses[] = { 1e-30, 1e30, NAN, INFINITY, 0, 5 };
    for (uint64_t i = 0; i < 6; ++i) history_add(&ctx, &h, &(struct train_point){ i + 1, losses[i], i == 3 ? 1 : -1 });
    c.max_iterations = 6;
    CHECK(chart_write(&ctx, &c, path) == ST_OK, "%s", ctx.error);
    CHECK(chart_write(&ctx, &c, "/nowhere/chart.png") == ST_IO && strstr(ctx.error, "/nowhere/chart.png"), "%s", ctx.error);
    unlink(path);
    history_free(&h);
}

int main(void) {
    test_curves();
    test_extremes();
    return test_end("chart");
}
