/* What commands share on the terminal: the ctx with its log on stderr, the closing error line, progress, Ctrl-C. */
#ifndef CLI_CONSOLE_H
#define CLI_CONSOLE_H

#include "base/ctx.h"

struct ctx console_ctx(void);            /* log: warnings and notes to stderr */
/* Prints "darknet: <error>" on stderr; returns the exit status: 1, or 0 when interrupted cleanly. */
int console_fail(const struct ctx *);

/* A live line on stderr with share, rate and ETA: redrawn in place on a terminal, otherwise a line at most every 10 s. */
struct progress { const char *what, *unit; double started, shown; int first, last_done; bool open; char last_what[64]; };
/* `first` may be set behind it: how many were done before, in a run that was taken up again. */
void progress_start(struct progress *, const char *what, const char *unit);
void progress_show(struct progress *, int done, int total);
void progress_eta(struct progress *, int done, int total, double seconds_left); /* as progress_show, with the caller's estimate */
void progress_end(struct progress *);    /* leaves the cursor on a fresh line */

/* SIGINT and SIGTERM set *console_stop(); a second one ends the process at once. */
const volatile int *console_stop(void);

#endif
