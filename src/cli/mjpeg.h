/* Pictures for browsers: an endless multipart answer of JPEGs to everybody who connects. */
#ifndef CLI_MJPEG_H
#define CLI_MJPEG_H

#include "base/stream.h"
#include "vision/image.h"

enum status mjpeg_open(struct ctx *, int port, struct stream **);
/* Nothing is compressed while nobody listens. */
enum status mjpeg_send(struct ctx *, struct stream *, const struct pixels *, int quality);

#endif
