#include "vision/jpeg.h"

#ifdef HAVE_JPEG

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>

/* libjpeg reports through these two; `leave` returns from whatever it was doing. */
struct trouble {
    struct jpeg_error_mgr base;
    jmp_buf leave;
    char text[JMSG_LENGTH_MAX];
};

static void fatal(j_common_ptr cinfo) {
    struct trouble *t = (struct trouble *)cinfo->err;
    t->base.format_message(cinfo, t->text);
    longjmp(t->leave, 1);
}

/* Most damage is passed over, as every viewer does; a file that ends early is no picture to learn from. */
static void message(j_common_ptr cinfo, int level) {
    if (level < 0 && cinfo->err->msg_code == JWRN_JPEG_EOF) fatal(cinfo);
}

static bool starts_as_jpeg(const char *bytes, size_t size) {
    return size > 3 && (uint8_t)bytes[0] == 0xFF && (uint8_t)bytes[1] == 0xD8 && (uint8_t)bytes[2] == 0xFF;
}

/* The part between setjmp's two returns: locals that change live in *out. */
static enum status decode(struct ctx *ctx, struct jpeg_decompress_struct *j, int channels, struct pixels_small *small,
                          struct pixels *out) {
    int divisor = pixels_divisor((int)j->image_width, (int)j->image_height, small->need_w, small->need_h);
    j->scale_num = 1;
    j->scale_denom = (unsigned)divisor;
    j->out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_calc_output_dimensions(j);
    small->w = (int)j->image_width;
    small->h = (int)j->image_height;
    small->divisor = divisor;
    TRY(pixels_new(ctx, (int)j->output_width, (int)j->output_height, channels, out));
    jpeg_start_decompress(j);
    while (j->output_scanline < j->output_height) {
        JSAMPROW row = out->data + (size_t)j->output_scanline * (size_t)out->w * (size_t)out->c;
        jpeg_read_scanlines(j, &row, 1);
    }
    jpeg_finish_decompress(j);
    return ST_OK;
}

enum status jpeg_decode(struct ctx *ctx, const char *path, const char *bytes, size_t size, int channels,
                        struct pixels_small *small, struct pixels *out, bool *done) {
    struct jpeg_decompress_struct j;
    struct trouble trouble;
    *done = false;
    *out = (struct pixels){ 0, 0, 0, NULL };
    if (!starts_as_jpeg(bytes, size)) return ST_OK;
    j.err = jpeg_std_error(&trouble.base);
    trouble.base.error_exit = fatal;
    trouble.base.emit_message = message;
    if (setjmp(trouble.leave)) {
        jpeg_destroy_decompress(&j);
        pixels_free(out);
        *done = true;
        return ctx_fail(ctx, ST_FORMAT, "%s: not a readable JPEG (%s)", path, trouble.text);
    }
    jpeg_create_decompress(&j);
    jpeg_mem_src(&j, (const unsigned char *)bytes, (unsigned long)size);
    jpeg_read_header(&j, TRUE);
    /* Four inks are the portable decoder's matter: libjpeg leaves their conversion to the caller. */
    bool ours = j.num_components == 1 || j.num_components == 3;
    enum status st = ST_OK;
    if (ours) st = decode(ctx, &j, channels ? channels : j.num_components, small, out);
    jpeg_destroy_decompress(&j);
    *done = ours;
    return st;
}

#else

enum status jpeg_decode(struct ctx *ctx, const char *path, const char *bytes, size_t size, int channels,
                        struct pixels_small *small, struct pixels *out, bool *done) {
    (void)ctx, (void)path, (void)bytes, (void)size, (void)channels, (void)small, (void)out;
    *done = false;
    return ST_OK;
}

#endif
