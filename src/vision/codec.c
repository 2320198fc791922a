/* The one translation unit that compiles the portable picture codecs.  They see memory only; files go
 * through base/io. */
#include "vision/image.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/io.h"
#include "vision/jpeg.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized" /* of members that only the other kind of source has */
#endif
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_MAX_DIMENSIONS 65536
#include <stb/stb_image.h>
/* The JPEG writer shifts its bit buffer through the sign bit on purpose. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((no_sanitize("shift"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC optimize("wrapv")
#endif
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#include <stb/stb_image_write.h>
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#pragma GCC diagnostic pop
/* gcc reports declared, never defined statics at the end of the unit, past the pop above. */
#pragma GCC diagnostic ignored "-Wunused-function"

/* Whether no Huffman table of a JPEG claims more than the 256 codes there can be: stb 2.27 writes past its table then.  Follows
 * the markers as stb does; what is wrong in other ways is left to it.  True for other formats. */
static bool jpeg_tables_fit(const uint8_t *p, size_t size) {
    enum { START = 0xd8, TABLES = 0xc4, END = 0xd9 };
    if (size < 2 || p[0] != 0xff || p[1] != START) return true;
    for (size_t i = 2; i + 4 <= size;) {
        uint8_t marker = p[i + 1];
        bool none = p[i] != 0xff || marker == 0xff || marker == 0 || (marker >= 0xd0 && marker <= START);
        if (none) { /* picture data, padding, restarts */
            ++i;
            continue;
        }
        if (marker == END) return true;
        size_t end = i + 2 + (size_t)(p[i + 2] << 8 | p[i + 3]);
        for (size_t at = i + 4; marker == TABLES && at + 17 <= size && at < end;) {
            size_t codes = 0;
            for (size_t k = 1; k <= 16; ++k) codes += p[at + k];
            if (codes > 256) return false;
            at += 17 + codes;
        }
        i = end > i + 2 ? end : i + 2;
    }
    return true;
}

int pixels_divisor(int w, int h, int need_w, int need_h) {
    int divisor = 8;
    if (need_w < 1 || need_h < 1) return 1;
    while (divisor > 1 && (w / divisor < need_w || h / divisor < need_h)) divisor /= 2;
    return divisor;
}

/* Means of blocks of divisor x divisor pixels; those at the right and lower border may be smaller. */
static enum status shrink(struct ctx *ctx, const struct pixels *px, int divisor, struct pixels *out) {
    TRY(pixels_new(ctx, (px->w + divisor - 1) / divisor, (px->h + divisor - 1) / divisor, px->c, out));
    uint8_t *to = out->data;
    for (int y = 0; y < px->h; y += divisor)
        for (int x = 0; x < px->w; x += divisor)
            for (int k = 0; k < px->c; ++k) {
                unsigned sum = 0, n = 0;
                for (int v = y; v < y + divisor && v < px->h; ++v)
                    for (int u = x; u < x + divisor && u < px->w; ++u, ++n)
                        sum += px->data[((size_t)v * (size_t)px->w + (size_t)u) * (size_t)px->c + (size_t)k];
                *to++ = (uint8_t)((sum + n / 2) / n);
            }
    return ST_OK;
}

static enum status decode_portably(struct ctx *ctx, const char *path, const char *bytes, size_t size, int channels,
                                   struct pixels_small *small, struct pixels *out) {
    if (!jpeg_tables_fit((const uint8_t *)bytes, size))
        return ctx_fail(ctx, ST_FORMAT, "%s: not a readable picture (a Huffman table of more than 256 codes)", path);
    int w = 0, h = 0, c = 0;
    uint8_t *data = stbi_load_from_memory((const uint8_t *)bytes, (int)size, &w, &h, &c, channels);
    if (!data) {
        const char *why = stbi_failure_reason();
        return ctx_fail(ctx, ST_FORMAT, "%s: not a readable picture (%s); JPEG, PNG, BMP, TGA, GIF, PSD or"
                        " PNM expected", path, why ? why : "unknown reason");
    }
    small->w = w;
    small->h = h;
    small->divisor = pixels_divisor(w, h, small->need_w, small->need_h);
    *out = (struct pixels){w, h, channels ? channels : c, data}; /* from malloc, as pixels_free expects */
    if (small->divisor == 1) return ST_OK;
    struct pixels whole = *out;
    enum status st = shrink(ctx, &whole, small->divisor, out);
    pixels_free(&whole);
    return st;
}

static enum status read_bytes(struct ctx *ctx, const char *path, int channels, char **bytes, size_t *size) {
    if (channels != 0 && channels != 1 && channels != 3)
        return ctx_fail(ctx, ST_USAGE, "%s: cannot be read as %d channels, only as 1 or 3", path, channels);
    TRY(io_read(ctx, path, bytes, size));
    if (*size > 0 && *size <= INT_MAX) return ST_OK;
    free(*bytes);
    return ctx_fail(ctx, ST_FORMAT, "%s: file of %zu bytes, a picture was expected", path, *size);
}

enum status pixels_read_small(struct ctx *ctx, const char *path, int channels, struct pixels_small *small,
                              struct pixels *out) {
    char *bytes;
    size_t size;
    bool done;
    TRY(read_bytes(ctx, path, channels, &bytes, &size));
    enum status st = jpeg_decode(ctx, path, bytes, size, channels, small, out, &done);
    if (st == ST_OK && !done) st = decode_portably(ctx, path, bytes, size, channels, small, out);
    free(bytes);
    return st;
}

enum status pixels_read(struct ctx *ctx, const char *path, int channels, struct pixels *out) {
    struct pixels_small whole = {0};
    char *bytes;
    size_t size;
    TRY(read_bytes(ctx, path, channels, &bytes, &size));
    enum status st = decode_portably(ctx, path, bytes, size, channels, &whole, out);
    free(bytes);
    return st;
}

static int probe_read(void *file, char *to, int n) { return (int)fread(to, 1, (size_t)n, file); }
static void probe_skip(void *file, int n) { (void)fseek(file, n, SEEK_CUR); }
static int probe_end(void *file) { return feof((FILE *)file); }

static int two_bytes(FILE *file) {
    int high = getc(file), low = getc(file);
    return low < 0 ? -1 : high << 8 | low;
}

/* A JPEG's size from its frame header, passing over all segments before it: tables may be anything. */
static bool probe_jpeg(FILE *file, int *w, int *h, int *c) {
    enum { START = 0xffd8, TABLES = 0xc4, EXTENSION = 0xc8, ARITHMETIC = 0xcc };
    if (two_bytes(file) != START) return false;
    for (int at = getc(file); at >= 0; at = getc(file)) {
        int marker = at;
        while (marker == 0xff) marker = getc(file); /* 0xff, as often as it likes, and the kind */
        if (at != 0xff || marker < 0) return false;
        int length = two_bytes(file);
        bool frame = marker >= 0xc0 && marker <= 0xcf && marker != TABLES && marker != EXTENSION && marker != ARITHMETIC;
        if (length < 2 || (!frame && fseek(file, length - 2, SEEK_CUR) != 0)) return false;
        if (!frame) continue;
        (void)getc(file); /* bits per sample */
        *h = two_bytes(file), *w = two_bytes(file), *c = getc(file);
        return *w > 0 && *h > 0 && *c > 0;
    }
    return false;
}

static bool probe(FILE *file, int *w, int *h, int *c) {
    static const stbi_io_callbacks calls = {probe_read, probe_skip, probe_end};
    bool jpeg = two_bytes(file) == 0xffd8;
    rewind(file);
    return jpeg ? probe_jpeg(file, w, h, c) : stbi_info_from_callbacks(&calls, file, w, h, c) != 0;
}

enum status pixels_probe(struct ctx *ctx, const char *path, int *w, int *h, int *c) {
    FILE *file = fopen(path, "rb");
    if (!file) return ctx_fail(ctx, ST_IO, "%s: %s", path, strerror(errno));
    bool known = probe(file, w, h, c), empty = !known && fseek(file, 0, SEEK_END) == 0 && ftell(file) == 0;
    fclose(file);
    if (known) return ST_OK;
    return empty ? ctx_fail(ctx, ST_FORMAT, "%s: image is empty (0 bytes)", path)
                 : ctx_fail(ctx, ST_FORMAT, "%s: not a readable picture", path);
}

enum status image_read(struct ctx *ctx, const char *path, int channels, struct image *out) {
    struct pixels px;
    TRY(pixels_read(ctx, path, channels, &px));
    enum status st = image_from_pixels(ctx, &px, out);
    pixels_free(&px);
    return st;
}

static void put_bytes(void *file, void *bytes, int n) {
    fwrite(bytes, 1, (size_t)n, (FILE *)file); /* a failure shows in io_commit */
}

static bool has_extension(const char *path, const char *extension) {
    size_t n = strlen(path), m = strlen(extension);
    return n >= m && strcasecmp(path + n - m, extension) == 0;
}

enum status pixels_write(struct ctx *ctx, const char *path, const struct pixels *px, int quality) {
    bool jpeg = has_extension(path, ".jpg") || has_extension(path, ".jpeg");
    bool png = has_extension(path, ".png"), bmp = has_extension(path, ".bmp");
    if (!jpeg && !png && !bmp)
        return ctx_fail(ctx, ST_USAGE, "%s: unknown extension, .jpg, .jpeg, .png or .bmp expected", path);
    if (px->c < 1 || px->c > 4)
        return ctx_fail(ctx, ST_USAGE, "%s: %d channels cannot be written, 1 to 4 can", path, px->c);
    if (quality < 1) quality = 1;
    if (quality > 100) quality = 100;
    struct io_out out;
    TRY(io_create(ctx, path, &out));
    int done;
    if (jpeg)
        done = stbi_write_jpg_to_func(put_bytes, out.file, px->w, px->h, px->c, px->data, quality);
    else if (png)
        done = stbi_write_png_to_func(put_bytes, out.file, px->w, px->h, px->c, px->data, px->w * px->c);
    else
        done = stbi_write_bmp_to_func(put_bytes, out.file, px->w, px->h, px->c, px->data);
    if (done) return io_commit(ctx, &out);
    io_abort(&out);
    return ctx_fail(ctx, ST_IO, "%s: picture of %d x %d could not be encoded", path, px->w, px->h);
}

enum status pixels_jpeg(struct ctx *ctx, const struct pixels *px, int quality, char **bytes, size_t *size) {
    *bytes = NULL;
    FILE *memory = open_memstream(bytes, size);
    if (!memory) return ctx_fail(ctx, ST_MEMORY, "out of memory for a picture");
    int done = stbi_write_jpg_to_func(put_bytes, memory, px->w, px->h, px->c, px->data, quality);
    if (fclose(memory) == 0 && done) return ST_OK;
    free(*bytes);
    *bytes = NULL;
    return ctx_fail(ctx, ST_IO, "a picture of %d x %d could not be encoded", px->w, px->h);
}
