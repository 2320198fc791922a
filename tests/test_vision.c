/* Pictures: resize, letterbox, colour distortion, flip, reading and writing, drawing. */
#include "test.h"

#include <unistd.h>

#include "base/io.h"
#include "vision/draw.h"
#include "vision/image.h"

static struct ctx ctx;

static struct image make(int w, int h, int c, const float *values) {
    struct image im = {0};
    CHECK(image_new(&ctx, w, h, c, &im) == ST_OK, "%s", ctx.error);
    for (int i = 0; i < w * h * c; ++i)
        im.data[i] = values ? values[i] : (float)((i * 37 + 11) % 256) / 255.0f;
    return im;
}

static void check_values(const struct image *im, const float *want, const char *what) {
    for (int i = 0; i < im->w * im->h * im->c; ++i)
        CHECK_NEAR(im->data[i], want[i], 1e-6, "%s, element %d", what, i);
}

static void test_resize_by_hand(void) {
    const float row[] = {0, 1, 0.5f}, wide[] = {0, 0.5f, 1, 0.75f, 0.5f};
    struct image im = make(3, 1, 1, row), out;
    CHECK(image_resize(&ctx, &im, 5, 1, &out) == ST_OK, "%s", ctx.error);
    check_values(&out, wide, "3 to 5 columns, corners aligned");
    image_free(&out);
    const float doubled[] = {0, 0.5f, 1, 0.75f, 0.5f, 0, 0.5f, 1, 0.75f, 0.5f};
    CHECK(image_resize(&ctx, &im, 5, 2, &out) == ST_OK, "%s", ctx.error);
    check_values(&out, doubled, "one row becomes two");
    image_free(&out);
    CHECK(image_resize(&ctx, &im, 1, 1, &out) == ST_OK, "%s", ctx.error);
    CHECK_NEAR(out.data[0], 0.5, 1e-6, "a single column is the last one");
    image_free(&out);
    image_free(&im);
    const float square[] = {0, 0.4f, 0.8f, 0.2f},
                middle[] = {0, 0.2f, 0.4f, 0.4f, 0.35f, 0.3f, 0.8f, 0.5f, 0.2f};
    im = make(2, 2, 1, square);
    CHECK(image_resize(&ctx, &im, 3, 3, &out) == ST_OK, "%s", ctx.error);
    check_values(&out, middle, "2x2 to 3x3");
    image_free(&out);
    image_free(&im);
}

/* For many heights (h - 1) * scale rounds to just below the last row; that row must not lose its weight. */
static void test_resize_last_row(void) {
    int bad = 0, tried = 0;
    for (int from = 2; from < 1400; from += 3)
        for (int k = 0; k < 3; ++k) {
            const int to[] = {416, 640, 608};
            struct image im, out;
            if (image_new(&ctx, 2, from, 1, &im) != ST_OK) return;
            for (int i = 0; i < 2 * from; ++i) im.data[i] = 0.25f;
            im.data[2 * from - 2] = im.data[2 * from - 1] = 0.75f;
            CHECK(image_resize(&ctx, &im, 2, to[k], &out) == ST_OK, "%s", ctx.error);
            const float *last = out.data + 2 * (to[k] - 1);
            bad += last[0] != 0.75f || last[1] != 0.75f;
            ++tried;
            image_free(&im);
            image_free(&out);
        }
    CHECK(bad == 0, "%d of %d heights lose the last row", bad, tried);
}

static void test_resize_identity(void) {
    struct image im = make(17, 9, 3, NULL), out;
    CHECK(image_resize(&ctx, &im, 17, 9, &out) == ST_OK, "%s", ctx.error);
    CHECK(memcmp(im.data, out.data, 17 * 9 * 3 * sizeof(float)) == 0, "same size must be a copy");
    image_free(&out);
    image_free(&im);
    struct ctx own = {0};
    im = make(4, 4, 1, NULL);
    CHECK(image_resize(&own, &im, 0, 4, &out) == ST_USAGE && own.error[0], "width 0 must be refused");
    image_free(&im);
}

static void test_letterbox(void) {
    struct image im = make(100, 50, 2, NULL), out, inner;
    for (int i = 0; i < 100 * 50 * 2; ++i) im.data[i] = 0.9f;
    CHECK(image_letterbox(&ctx, &im, 64, 63, &out) == ST_OK, "%s", ctx.error);
    int top = (63 - 32) / 2; /* 50 * 64 / 100 = 32 rows */
    for (int k = 0; k < 2; ++k)
        for (int y = 0; y < 63; ++y) {
            float want = y >= top && y < top + 32 ? 0.9f : 0.5f;
            CHECK_NEAR(out.data[(k * 63 + y) * 64 + 31], want, 1e-6, "plane %d row %d", k, y);
        }
    image_free(&out);
    image_free(&im);
    im = make(30, 70, 1, NULL);
    CHECK(image_letterbox(&ctx, &im, 41, 40, &out) == ST_OK, "%s", ctx.error);
    CHECK(image_resize(&ctx, &im, 17, 40, &inner) == ST_OK, "%s", ctx.error); /* 30 * 40 / 70 = 17 */
    for (int y = 0; y < 40; ++y) {
        CHECK(memcmp(out.data + y * 41 + 12, inner.data + y * 17, 17 * sizeof(float)) == 0, "row %d pasted",
              y);
        CHECK_NEAR(out.data[y * 41 + 11], 0.5, 0, "grey left of row %d", y);
        CHECK_NEAR(out.data[y * 41 + 29], 0.5, 0, "grey right of row %d", y);
    }
    image_free(&inner);
    image_free(&out);
    image_free(&im);
}

static void test_distort(void) {
    struct image im = make(16, 16, 3, NULL), same = make(16, 16, 3, NULL);
    image_distort(&im, 0, 1, 1);
    CHECK(memcmp(im.data, same.data, 16 * 16 * 3 * sizeof(float)) == 0, "no change asked for");
    image_distort(&im, 1, 1, 1);
    for (int i = 0; i < 768; ++i)
        CHECK_NEAR(im.data[i], same.data[i], 2e-5, "a full turn of the hue, element %d", i);
    image_distort(&im, 0.3f, 1, 1);
    image_distort(&im, -0.3f, 1, 1);
    for (int i = 0; i < 768; ++i) CHECK_NEAR(im.data[i], same.data[i], 2e-5, "forth and back, element %d", i);
    image_free(&im);
    image_free(&same);

    const float red[] = {0.8f, 0.2f, 0.2f};
    const float green[] = {0.2f, 0.8f, 0.2f}, half[] = {0.8f, 0.5f, 0.5f}, dim[] = {0.4f, 0.1f, 0.1f};
    im = make(1, 1, 3, red);
    image_distort(&im, 1.0f / 3, 1, 1);
    check_values(&im, green, "red turned by a third");
    memcpy(im.data, red, sizeof red);
    image_distort(&im, 0, 0.5f, 1);
    check_values(&im, half, "half the saturation");
    memcpy(im.data, red, sizeof red);
    image_distort(&im, 0, 1, 0.5f);
    check_values(&im, dim, "half the exposure");
    image_distort(&im, 0, 1, 50);
    CHECK(im.data[0] <= 1 && im.data[1] <= 1, "exposure is clamped");
    const float grey[] = {0.5f, 0.5f, 0.5f};
    memcpy(im.data, grey, sizeof grey);
    image_distort(&im, 0.2f, 1.5f, 1);
    check_values(&im, grey, "grey stays grey");
    image_free(&im);
}

static void test_flip(void) {
    const float before[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
                after[] = {3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10};
    struct image im = make(3, 2, 2, before);
    image_flip(&im);
    check_values(&im, after, "flip");
    image_free(&im);
}

static void test_round_trip(const char *dir) {
    char path[600];
    struct pixels px, back;
    CHECK(pixels_new(&ctx, 37, 21, 3, &px) == ST_OK, "%s", ctx.error);
    for (int i = 0; i < 37 * 21 * 3; ++i) px.data[i] = (uint8_t)((i * 73 + i / 11) & 255);
    static const char *const exact[] = {"a.png", "a.bmp", "a.PNG"};
    for (int k = 0; k < 3; ++k) {
        snprintf(path, sizeof path, "%s/%s", dir, exact[k]);
        CHECK(pixels_write(&ctx, path, &px, 90) == ST_OK, "%s", ctx.error);
        CHECK(pixels_read(&ctx, path, 0, &back) == ST_OK, "%s", ctx.error);
        CHECK(back.w == 37 && back.h == 21 && back.c == 3, "%s: %d %d %d", path, back.w, back.h, back.c);
        CHECK(memcmp(px.data, back.data, 37 * 21 * 3) == 0, "%s: other pixels", path);
        pixels_free(&back);
        remove(path);
    }
    for (int y = 0; y < 21; ++y) /* smooth, as JPEG likes it */
        for (int x = 0; x < 37; ++x)
            for (int c = 0; c < 3; ++c) px.data[(y * 37 + x) * 3 + c] = (uint8_t)(40 + 4 * x + 2 * y + 5 * c);
    snprintf(path, sizeof path, "%s/a.jpg", dir);
    CHECK(pixels_write(&ctx, path, &px, 95) == ST_OK, "%s", ctx.error);
    CHECK(pixels_read(&ctx, path, 3, &back) == ST_OK, "%s", ctx.error);
    int worst = 0;
    for (int i = 0; i < 37 * 21 * 3; ++i)
        worst = abs(px.data[i] - back.data[i]) > worst ? abs(px.data[i] - back.data[i]) : worst;
    CHECK(worst <= 6, "JPEG at quality 95 differs by %d", worst);
    pixels_free(&back);
    struct image im;
    CHECK(image_read(&ctx, path, 1, &im) == ST_OK && im.c == 1 && im.w == 37, "%s", ctx.error);
    image_free(&im);
    CHECK(image_from_pixels(&ctx, &px, &im) == ST_OK, "%s", ctx.error);
    CHECK_NEAR(im.data[(37 * 21) * 2 + 5], px.data[5 * 3 + 2] / 255.0, 1e-6, "planes in RGB order");
    im.data[0] = -1;
    im.data[1] = 2;
    CHECK(pixels_from_image(&ctx, &im, &back) == ST_OK, "%s", ctx.error);
    CHECK(back.data[0] == 0 && back.data[3] == 255, "clamped to bytes");
    CHECK(memcmp(back.data + 6, px.data + 6, 30) == 0, "v / 255 rounds back to v");
    pixels_free(&back);
    image_free(&im);
    pixels_free(&px);
    remove(path);
}

static void expect_error(const char *path, int channels, enum status want) {
    struct ctx own = {0};
    struct pixels px = {0};
    enum status st = pixels_read(&own, path, channels, &px);
    CHECK(st == want, "%s: status %d", path, (int)st);
    CHECK(strstr(own.error, path) && !strchr(own.error, '\n'), "message: %s", own.error);
}

static void test_codec_errors(const char *dir) {
    char path[600];
    snprintf(path, sizeof path, "%s/missing.png", dir);
    expect_error(path, 3, ST_IO);
    snprintf(path, sizeof path, "%s/empty.jpg", dir);
    CHECK(io_write(&ctx, path, "", 0) == ST_OK, "%s", ctx.error);
    expect_error(path, 3, ST_FORMAT);
    uint8_t many[2 + 2 + 2 + 17 + 300] = { 0xff, 0xd8, 0xff, 0xc4, 0x01, 0x3f }; /* one Huffman table of 300 codes */
    many[2 + 4 + 12] = 200, many[2 + 4 + 13] = 100;
    CHECK(io_write(&ctx, path, (const char *)many, sizeof many) == ST_OK, "%s", ctx.error);
    expect_error(path, 3, ST_FORMAT);
    CHECK(io_write(&ctx, path, "no picture at all", 17) == ST_OK, "%s", ctx.error);
    expect_error(path, 3, ST_FORMAT);
    expect_error(path, 2, ST_USAGE);
    struct pixels px;
    CHECK(pixels_new(&ctx, 4, 4, 3, &px) == ST_OK, "%s", ctx.error);
    struct ctx own = {0};
    CHECK(pixels_write(&own, "x.tiff", &px, 90) == ST_USAGE && strstr(own.error, "x.tiff"), "%s", own.error);
    own = (struct ctx){0};
    CHECK(pixels_write(&own, "/nowhere/at/all.png", &px, 90) == ST_IO, "%s", own.error);
    pixels_free(&px);
    remove(path);
}

static double sum(const struct pixels *px) {
    double total = 0;
    for (int i = 0; i < px->w * px->h * px->c; ++i) total += px->data[i];
    return total / 255 / px->c;
}

static void clear(struct pixels *px) { memset(px->data, 0, (size_t)(px->w * px->h * px->c)); }

static void test_draw(void) {
    const struct colour white = {255, 255, 255, 1};
    struct pixels px;
    CHECK(pixels_new(&ctx, 60, 40, 3, &px) == ST_OK, "%s", ctx.error);
    draw_rect(&px, 10.5f, 5.25f, 8, 4.5f, white);
    CHECK_NEAR(sum(&px), 36, 0.02, "area of a rectangle between the pixels");
    CHECK(px.data[3 * (6 * 60 + 10)] == 128, "left edge half covered: %d", px.data[3 * (6 * 60 + 10)]);
    clear(&px);
    draw_ellipse(&px, 30, 20, 12, 7, white);
    CHECK_NEAR(sum(&px), 3.14159 * 12 * 7, 0.03, "area of an ellipse");
    clear(&px);
    draw_line(&px, 5, 5, 45, 35, 2, white);
    CHECK_NEAR(sum(&px), 100, 0.02, "area of a line");
    clear(&px);
    draw_rect(&px, -100, -100, 1000, 1000, white);
    CHECK_NEAR(sum(&px), 60 * 40, 0, "clipped to the picture");
    clear(&px);
    draw_rect(&px, NAN, 0, 10, 10, white);
    CHECK_NEAR(sum(&px), 0, 0, "no place, no paint");
    draw_frame(&px, 10, 10, 20, 12, 2, white);
    CHECK_NEAR(sum(&px), 20 * 12 - 16 * 8, 1e-3, "a frame grows inwards");
    CHECK(px.data[3 * (10 * 60 + 10)] == 255 && px.data[3 * (13 * 60 + 13)] == 0, "frame and its inside");
    clear(&px);
    draw_rect(&px, 0, 0, 10, 10, (struct colour){200, 100, 0, 0.5f});
    CHECK(px.data[0] == 100 && px.data[1] == 50 && px.data[2] == 0, "half transparent: %d %d", px.data[0],
          px.data[1]);
    pixels_free(&px);
}

static void test_text_and_colours(void) {
    struct pixels px;
    CHECK(pixels_new(&ctx, 200, 30, 3, &px) == ST_OK, "%s", ctx.error);
    const struct colour white = {255, 255, 255, 1};
    float width = draw_text(&px, 4, 4, 12, "car: 0.87", white);
    CHECK(width > 30 && width < 100, "width %g", (double)width);
    CHECK_NEAR(draw_text(NULL, 0, 0, 12, "car: 0.87", white), width, 0, "measured as drawn");
    CHECK_NEAR(draw_text(NULL, 0, 0, 24, "car: 0.87", white), 2 * width, 1e-5, "width grows with size");
    double inked = sum(&px);
    CHECK(inked > 60 && inked < 400, "ink %g", inked);
    for (int y = 0; y < 30; ++y)
        for (int x = 0; x < 200; ++x)
            if (px.data[3 * (y * 200 + x)])
                CHECK(x >= 3 && (float)x < 6 + width && y >= 3 && y < 17, "ink outside the line at %d,%d", x,
                      y);
    draw_text(&px, 4, 4, 12, "\xc3\xa4\x01\x7f~", white); /* bytes outside the font */
    pixels_free(&px);
    struct colour c = draw_class_colour(0, 80);
    CHECK(c.r == 255 && c.g == 0 && c.b == 255, "class 0: %d %d %d", c.r, c.g, c.b);
    c = draw_class_colour(1, 5); /* 123457 mod 5 = 2: position 2 on the ramp, cyan, read from the end */
    CHECK(c.r == 255 && c.g == 255 && c.b == 0, "class 1 of 5: %d %d %d", c.r, c.g, c.b);
    c = draw_class_colour(1, 80); /* 123457 mod 80 = 17: 1.0625, between blue and cyan */
    CHECK(c.r == 255 && c.g == 16 && c.b == 0, "class 1 of 80: %d %d %d", c.r, c.g, c.b);
}

int main(void) {
    char dir[] = "/tmp/test_vision_XXXXXX";
    if (!mkdtemp(dir)) return 1;
    test_resize_by_hand();
    test_resize_last_row();
    test_resize_identity();
    test_letterbox();
    test_distort();
    test_flip();
    test_round_trip(dir);
    test_codec_errors(dir);
    test_draw();
    test_text_and_colours();
    rmdir(dir);
    return test_end("vision");
}
