#include "cli/mjpeg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum status mjpeg_open(struct ctx *ctx, int port, struct stream **out) {
    return stream_open(ctx, port,
                       "HTTP/1.0 200 OK\r\nCache-Control: no-cache\r\nContent-Type: multipart/x-mixed-replace; boundary=mjpegstream\r\n\r\n", out);
}

enum status mjpeg_send(struct ctx *ctx, struct stream *s, const struct pixels *px, int quality) {
    char *jpeg = NULL, head[128];
    size_t size = 0;
    if (!stream_listeners(s)) return ST_OK;
    TRY(pixels_jpeg(ctx, px, quality, &jpeg, &size));
    size_t n = (size_t)snprintf(head, sizeof head, "--mjpegstream\r\nContent-Type: image/jpeg\r\nContent-Length: %zu\r\n\r\n", size);
    char *part = mem_zero(ctx, n + size + 2, 1);
    if (part) {
        memcpy(part, head, n);
        memcpy(part + n, jpeg, size);
        memcpy(part + n + size, "\r\n", 2);
        stream_send(s, NULL, part, n + size + 2);
    }
    free(part), free(jpeg);
    return part ? ST_OK : ST_MEMORY;
}
