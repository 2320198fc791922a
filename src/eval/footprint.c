/* Memory and load time of a network in a process of its own. */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "eval/speed.h"
#include "net/ranges.h"

enum status speed_open(struct ctx *ctx, const struct footprint_request *r, struct net **net, double seconds[2]) {
    double start = io_seconds();
    TRY(net_open(ctx, r->cfg, r->strict, net));
    if (r->width || r->height)
        TRY(net_resize(ctx, *net, r->width ? r->width : (*net)->opt.width, r->height ? r->height : (*net)->opt.height));
    double opened = io_seconds();
    if (!r->weights) net_init_weights(*net, 1);
    else TRY(net_load_to_run(ctx, *net, r->weights, 1, NULL));
    if (r->backend && strcmp(r->backend, "cpu:int8") == 0) TRY(ranges_guess(ctx, *net)); /* as good as any for time and memory */
    if (seconds) seconds[0] = opened - start, seconds[1] = r->weights ? io_seconds() - opened : 0;
    return ST_OK;
}

/* What the child says; a plain copy through the pipe. */
struct report { enum status code; char error[sizeof((struct ctx *)0)->error]; struct footprint f; };

static enum status load_and_run(struct ctx *ctx, const struct footprint_request *r, struct footprint *f) {
    struct backend *be = NULL;
    struct net *net = NULL;
    float *x = NULL;
    double seconds[2] = { 0 }, start, bound = 0;
    enum status st = speed_open(ctx, r, &net, seconds);
    if (st == ST_OK) st = backend_open(ctx, r->backend, &be);
    if (st == ST_OK) x = mem_zero(ctx, (size_t)r->batch * (size_t)net->opt.channels * (size_t)net->opt.height * (size_t)net->opt.width, sizeof *x);
    if (st == ST_OK && !x) st = ctx->code;
    start = io_seconds();
    if (st == ST_OK) st = net_bind(ctx, net, be, NET_INFER, r->batch);
    bound = io_seconds();
    if (st == ST_OK) st = net_forward(ctx, net, x);
    if (st == ST_OK)
        *f = (struct footprint){ .read_ms = seconds[0] * 1e3, .weights_ms = seconds[1] * 1e3, .bind_ms = (bound - start) * 1e3,
                                 .first_ms = (io_seconds() - bound) * 1e3, .buffers = (double)be->peak_bytes };
    return st; /* the process ends now and its memory with it */
}

static void child(const struct footprint_request *r, int to) {
    struct ctx ctx = { 0 }; /* silent: the caller opens the same files and says what there is to say */
    struct report report;
    memset(&report, 0, sizeof report);
    report.code = load_and_run(&ctx, r, &report.f);
    memcpy(report.error, ctx.error, sizeof report.error);
    _exit(write(to, &report, sizeof report) == (ssize_t)sizeof report ? 0 : 1);
}

enum status speed_footprint(struct ctx *ctx, const struct footprint_request *r, struct footprint *f) {
    struct report report;
    struct rusage use;
    int ends[2], state;
    size_t got = 0;
    if (pipe(ends) != 0) return ctx_fail(ctx, ST_IO, "a process to measure memory in cannot be started: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        child(r, ends[1]);
    }
    close(ends[1]);
    while (pid > 0 && got < sizeof report) {
        ssize_t n = read(ends[0], (char *)&report + got, sizeof report - got);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        got += (size_t)n;
    }
    close(ends[0]);
    if (pid < 0) return ctx_fail(ctx, ST_IO, "a process to measure memory in cannot be started: %s", strerror(errno));
    while (wait4(pid, &state, 0, &use) < 0 && errno == EINTR) continue;
    if (got < sizeof report) return ctx_fail(ctx, ST_MEMORY, "%s: the process that loads and runs it ended early (%s %d)", r->cfg,
                                             WIFSIGNALED(state) ? "signal" : "exit", WIFSIGNALED(state) ? WTERMSIG(state) : WEXITSTATUS(state));
    if (report.code != ST_OK) return ctx_fail(ctx, report.code, "%s", report.error);
    *f = report.f;
    f->resident = (double)use.ru_maxrss * 1024;
    return ST_OK;
}
