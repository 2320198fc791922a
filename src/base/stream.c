#include "base/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { LISTENERS = 64 };
static const struct timeval patience = { .tv_sec = 2 };

struct stream {
    int socket, n, listener[LISTENERS];
    bool served[LISTENERS];
    char *head;
};

enum status stream_open(struct ctx *ctx, int port, const char *head, struct stream **out) {
    struct stream *s = *out = mem_zero(ctx, 1, sizeof *s);
    if (!s) return ST_MEMORY;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_ANY) };
    int yes = 1;
    s->head = mem_text(ctx, head);
    s->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->head && s->socket >= 0) {
        setsockopt(s->socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (bind(s->socket, (struct sockaddr *)&at, sizeof at) == 0 && listen(s->socket, 16) == 0) return ST_OK;
    }
    ctx_fail(ctx, ST_IO, "port %d: cannot be listened on: %s", port, strerror(errno));
    stream_close(s, NULL);
    *out = NULL;
    return ctx->code;
}

int stream_port(const struct stream *s) {
    struct sockaddr_in at;
    socklen_t n = sizeof at;
    return getsockname(s->socket, (struct sockaddr *)&at, &n) == 0 ? ntohs(at.sin_port) : -1;
}

static bool send_all(int to, const void *bytes, size_t n) {
    for (const char *p = bytes; n > 0;) {
        ssize_t sent = send(to, p, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        p += sent, n -= (size_t)sent;
    }
    return true;
}

static void drop(struct stream *s, int i) {
    close(s->listener[i]);
    --s->n;
    s->listener[i] = s->listener[s->n];
    s->served[i] = s->served[s->n];
}

int stream_listeners(struct stream *s) {
    for (int who; s->n < LISTENERS && (who = accept(s->socket, NULL, NULL)) >= 0;) {
        fcntl(who, F_SETFD, FD_CLOEXEC);
        setsockopt(who, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        if (send_all(who, s->head, strlen(s->head))) s->listener[s->n] = who, s->served[s->n] = false, ++s->n;
        else close(who);
    }
    char request[512]; /* what they ask for does not matter, but must not be left to fill up */
    for (int i = s->n - 1; i >= 0; --i) {
        ssize_t got;
        while ((got = recv(s->listener[i], request, sizeof request, MSG_DONTWAIT)) > 0) continue;
        if (got == 0) drop(s, i);
    }
    return s->n;
}

void stream_send(struct stream *s, const char *between, const void *bytes, size_t n) {
    stream_listeners(s);
    for (int i = s->n - 1; i >= 0; --i) {
        bool taken = !between || !s->served[i] || send_all(s->listener[i], between, strlen(between));
        if (!taken || !send_all(s->listener[i], bytes, n)) drop(s, i);
        else s->served[i] = true;
    }
}

void stream_close(struct stream *s, const char *tail) {
    if (!s) return;
    for (int i = 0; i < s->n; ++i) {
        if (tail) send_all(s->listener[i], tail, strlen(tail));
        shutdown(s->listener[i], SHUT_WR);
        close(s->listener[i]);
    }
    if (s->socket >= 0) close(s->socket);
    free(s->head);
    free(s);
}

static int connect_to(const char *host, const char *port) {
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    int to = -1;
    if (getaddrinfo(host, port, &hints, &found) != 0) return -1;
    for (struct addrinfo *a = found; a && to < 0; a = a->ai_next) {
        to = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (to < 0) continue;
        setsockopt(to, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        setsockopt(to, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (connect(to, a->ai_addr, a->ai_addrlen) != 0) close(to), to = -1;
    }
    freeaddrinfo(found);
    return to;
}

enum status stream_post(struct ctx *ctx, const char *where, const char *text) {
    char host[256], port[16] = "80", answer[256], *head = NULL;
    size_t n = strcspn(where, ":/");
    const char *path = strchr(where, '/');
    if (n == 0 || n >= sizeof host) return ctx_fail(ctx, ST_USAGE, "'%s' names no host; HOST/PATH or HOST:PORT/PATH does", where);
    memcpy(host, where, n);
    host[n] = '\0';
    if (where[n] == ':') snprintf(port, sizeof port, "%.*s", (int)strcspn(where + n + 1, "/"), where + n + 1);
    int to = connect_to(host, port);
    if (to < 0) return ctx_fail(ctx, ST_IO, "%s: nobody answers at port %s", host, port);
    int size = asprintf(&head, "POST %s HTTP/1.0\r\nHost: %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\n\r\n",
                        path ? path : "/", host, strlen(text));
    bool sent = size > 0 && send_all(to, head, (size_t)size) && send_all(to, text, strlen(text));
    if (sent) (void)!recv(to, answer, sizeof answer, 0);
    if (size > 0) free(head);
    close(to);
    return sent ? ST_OK : ctx_fail(ctx, ST_IO, "%s: the connection broke off", host);
}
