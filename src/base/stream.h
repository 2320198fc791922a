/* One sender, any number of listeners over TCP: a browser or a script that connects gets what is sent from then on. */
#ifndef BASE_STREAM_H
#define BASE_STREAM_H

#include "base/ctx.h"

struct stream;
/* Listens on `port` of all interfaces; each listener gets `head` first.  0: a free port, see stream_port. */
enum status stream_open(struct ctx *, int port, const char *head, struct stream **);
int stream_port(const struct stream *);
/* Lets in who knocked; how many listen. */
int stream_listeners(struct stream *);
/* To all listeners; `between` (or NULL) goes first to those who have had something before.  Who does not take it within two
 * seconds is dropped. */
void stream_send(struct stream *, const char *between, const void *bytes, size_t n);
void stream_close(struct stream *, const char *tail); /* tail: sent last, or NULL */

/* One HTTP/1.0 POST of text/plain to "host[:port][/path]" (port 80); the answer is not waited for longer than two seconds. */
enum status stream_post(struct ctx *, const char *where, const char *text);

#endif
