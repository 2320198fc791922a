#include "cli/console.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"

static void log_line(void *user, enum log_level level, const char *line) {
    (void)user;
    if (level == LOG_DEBUG) return;
    fflush(stdout);
    fprintf(stderr, "%s%s\n", level == LOG_WARN ? "warning: " : "", line);
}

struct ctx console_ctx(void) {
    return (struct ctx){ .log = log_line };
}

int console_fail(const struct ctx *ctx) {
    fflush(stdout);
    if (ctx->code == ST_INTERRUPTED) {
        fprintf(stderr, "%s\n", ctx->error);
        return 0;
    }
    fprintf(stderr, "darknet: %s\n", ctx->error);
    return 1;
}

/* --- Progress ------------------------------------------------------------------------------------------- */

void progress_start(struct progress *p, const char *what, const char *unit) {
    p->what = what;
    p->unit = unit;
    p->started = p->shown = io_seconds();
    p->first = p->last_done = 0;
    p->open = false;
}

static void duration(char *text, size_t size, double seconds) {
    if (!(seconds < 360000)) snprintf(text, size, "%.0f h", seconds / 3600);
    else if (seconds >= 3600) snprintf(text, size, "%d:%02d h", (int)seconds / 3600, (int)seconds / 60 % 60);
    else snprintf(text, size, "%d:%02d", (int)seconds / 60, (int)seconds % 60);
}

void progress_eta(struct progress *p, int done, int total, double seconds_left) {
    enum { EVERY_SECONDS = 10 };
    const double frame = 0.1;
    bool terminal = isatty(STDERR_FILENO), last = done >= total;
    double now = io_seconds(), since = now - p->shown, spent = now - p->started;
    p->last_done = done;
    if (since < (terminal ? frame : EVERY_SECONDS) && !(last && terminal)) return;
    p->shown = now;
    double rate = spent > 0 ? (done - p->first) / spent : 0;
    char left[32] = "?";
    if (seconds_left >= 0) duration(left, sizeof left, seconds_left);
    fflush(stdout);
    fprintf(stderr, "%s%s: %d of %d %s (%d%%), %.*f per second, %s left%s", terminal ? "\r" : "", p->what,
            done, total, p->unit, total > 0 ? (int)(100.0 * done / total) : 100, rate < 10 ? 2 : 0, rate,
            left, terminal ? "\033[K" : "\n");
    p->open = terminal;
}

void progress_show(struct progress *p, int done, int total) {
    double spent = io_seconds() - p->started;
    progress_eta(p, done, total, done > p->first ? (total - done) * spent / (done - p->first) : -1);
}

void progress_end(struct progress *p) {
    if (p->open) fputc('\n', stderr);
    p->open = false;
}

/* --- Stopping ------------------------------------------------------------------------------------------- */

/* A signal handler can reach nothing but a static. */
static volatile int stop_wanted;

static void on_signal(int number) {
    if (stop_wanted) _exit(128 + number);
    stop_wanted = number;
}

const volatile int *console_stop(void) {
    struct sigaction act;
    memset(&act, 0, sizeof act);
    act.sa_handler = on_signal; /* without SA_RESTART: a read from the terminal ends, too */
    sigemptyset(&act.sa_mask);
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    return &stop_wanted;
}
