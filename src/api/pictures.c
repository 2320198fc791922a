/* include/darknet.h over the library: pictures and .data files. */
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "darknet.h"
#include "data/dataset.h"
#include "vision/image.h"

static image give(struct ctx *ctx, enum status st, struct image im) {
    if (st == ST_OK) return (image){ im.w, im.h, im.c, im.data };
    api_complain(ctx);
    return (image){ 0, 0, 0, NULL };
}

static struct image view(image im) { return (struct image){ im.w, im.h, im.c, im.data }; }

image make_image(int w, int h, int c) {
    struct ctx ctx = { 0 };
    struct image im = { 0 };
    return give(&ctx, image_new(&ctx, w, h, c, &im), im);
}

void free_image(image im) { free(im.data); }

image load_image_color(char *path, int w, int h) {
    struct ctx ctx = { 0 };
    struct image im = { 0 }, sized = { 0 };
    enum status st = image_read(&ctx, path, 3, &im);
    if (st == ST_OK && w > 0 && h > 0 && (w != im.w || h != im.h)) {
        st = image_resize(&ctx, &im, w, h, &sized);
        image_free(&im);
        im = sized;
    }
    return give(&ctx, st, im);
}

image resize_image(image im, int w, int h) {
    struct ctx ctx = { 0 };
    struct image from = view(im), to = { 0 };
    return give(&ctx, image_resize(&ctx, &from, w, h, &to), to);
}

image letterbox_image(image im, int w, int h) {
    struct ctx ctx = { 0 };
    struct image from = view(im), to = { 0 };
    return give(&ctx, image_letterbox(&ctx, &from, w, h, &to), to);
}

void rgbgr_image(image im) {
    size_t plane = (size_t)im.w * (size_t)im.h;
    for (size_t i = 0; im.c >= 3 && i < plane; ++i) {
        float keep = im.data[i];
        im.data[i] = im.data[i + 2 * plane];
        im.data[i + 2 * plane] = keep;
    }
}

void copy_image_from_bytes(image im, char *bytes) {
    size_t plane = (size_t)im.w * (size_t)im.h, channels = (size_t)im.c;
    const unsigned char *from = (const unsigned char *)bytes;
    for (size_t k = 0; k < channels; ++k)
        for (size_t i = 0; i < plane; ++i) im.data[k * plane + i] = (float)from[i * channels + k] / 255.0f;
}

metadata get_metadata(char *data_file) {
    struct ctx ctx = { 0 };
    struct data_options data = { 0 };
    struct text_list names = { 0 };
    metadata meta = { 0, NULL };
    enum status st = data_read(&ctx, data_file, &data);
    if (st == ST_OK && data.names) st = list_read(&ctx, data.names, &names);
    int classes = data.classes > 0 ? data.classes : names.n;
    if (st == ST_OK && data.names && names.n < classes)
        st = ctx_fail(&ctx, ST_FORMAT, "%s: %d names, but classes=%d in %s", data.names, names.n, classes,
                      data_file);
    if (st == ST_OK) {
        while (names.n > classes) free(names.item[--names.n]);
        meta = (metadata){ classes, names.item };
    } else {
        list_free(&names);
    }
    api_complain(&ctx);
    data_free(&data);
    return meta;
}

void free_ptrs(void **ptrs, int n) {
    for (int i = 0; ptrs && i < n; ++i) free(ptrs[i]);
    free(ptrs);
}
