/* Finds the command and runs it.  The process ends with what the command returns: 0, or 1 after an error line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cores.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/device.h"
#include "cli/options.h"
#include "cli/precision.h"

#define COMMAND(name) extern const struct command name##_command;
#include "cli/commands.inc"
#undef COMMAND

const struct command *const commands[] = {
#define COMMAND(name) &name##_command,
#include "cli/commands.inc"
#undef COMMAND
};
const int n_commands = sizeof commands / sizeof *commands;

enum { MAX_NAMES = 64, MAX_NAME = 64 };

static void full_name(const struct command *c, char *text, size_t size) {
    snprintf(text, size, "%s%s%s", c->group ? c->group : "", c->group ? " " : "", c->name);
}

/* Every command, or those of one group. */
static void overview(FILE *to, const char *group) {
    char why[256];
    fprintf(to, "usage: darknet %s%sCOMMAND ...\n\n", group ? group : "", group ? " " : "");
    for (int i = 0; i < n_commands; ++i) {
        char name[MAX_NAME], line[256];
        if (group && (!commands[i]->group || strcmp(commands[i]->group, group) != 0)) continue;
        full_name(commands[i], name, sizeof name);
        snprintf(line, sizeof line, "%s %s", name, commands[i]->words);
        fprintf(to, "  %-56s %s\n", line, commands[i]->summary);
    }
    fprintf(to, "\ndarknet help COMMAND, or -h behind any command, lists its flags.\n"
                "-i N or -gpus N chooses the GPU, -nogpu or -i -1 the CPU, -precision what convolutions multiply by: fp32|tf32|bf16|fp16 on a\n"
                "GPU; on the CPU, where a network only runs, f32|bf16|int8, with -calibrate LIST -images N for the ranges of int8.  They may stand\n"
                "anywhere.%s\n", backend_gpus(why, sizeof why) < 0 ? "  This build computes on the CPU." : "");
}

static void command_help(const struct command *c) {
    char name[MAX_NAME];
    full_name(c, name, sizeof name);
    options_help(name, c->words, c->summary, command_meant(c)->options);
}

static bool is_group(const char *word) {
    for (int i = 0; i < n_commands; ++i)
        if (commands[i]->group && strcmp(commands[i]->group, word) == 0) return true;
    return false;
}

/* The command that the words name; *used: how many words its name takes. */
static const struct command *find(int n, char **word, int *used) {
    for (int i = 0; i < n_commands; ++i) {
        const struct command *c = commands[i];
        *used = c->group ? 2 : 1;
        if (n < *used || strcmp(word[0], c->group ? c->group : c->name) != 0) continue;
        if (!c->group || strcmp(word[1], c->name) == 0) return c;
    }
    return NULL;
}

static void nearest(const char *group, const char *word, char *hint, size_t size) {
    const char *names[MAX_NAMES];
    size_t n = 0;
    for (int i = 0; i < n_commands && n < MAX_NAMES; ++i) {
        const struct command *c = commands[i];
        if (!group) names[n++] = c->group ? c->group : c->name;
        else if (c->group && strcmp(c->group, group) == 0) names[n++] = c->name;
    }
    const char *best = text_nearest(word, names, n);
    hint[0] = '\0';
    if (best) snprintf(hint, size, ", did you mean '%s%s%s'?", group ? group : "", group ? " " : "", best);
}

static int not_found(int n, char **word) {
    struct ctx ctx = console_ctx();
    const char *group = is_group(word[0]) ? word[0] : NULL, *why = left_out(n, word);
    char hint[128];
    if (why) {
        ctx_fail(&ctx, ST_UNSUPPORTED, "%s", why);
    } else if (group && n < 2) {
        ctx_fail(&ctx, ST_USAGE, "%s: which one? 'darknet help %s' lists the commands", group, group);
    } else {
        nearest(group, word[group ? 1 : 0], hint, sizeof hint);
        ctx_fail(&ctx, ST_USAGE, "'%s%s%s' is no command%s", group ? group : "", group ? " " : "",
                 word[group ? 1 : 0], *hint ? hint : "; 'darknet help' lists them");
    }
    return console_fail(&ctx);
}

/* Darknet strips these anywhere in an argument: lists made on Windows end in CR. */
static void strip_line_ends(char *s) {
    char *to = s;
    for (; *s; ++s)
        if (*s != '\t' && *s != '\r' && *s != '\n') *to++ = *s;
    *to = '\0';
}

static bool drop_help_flags(int *n, char **word) {
    int kept = 0;
    bool found = false;
    for (int i = 0; i < *n; ++i) {
        if (strcmp(word[i], "-h") == 0 || strcmp(word[i], "-help") == 0 || strcmp(word[i], "--help") == 0)
            found = true;
        else word[kept++] = word[i];
    }
    *n = kept;
    return found;
}

/* One thread per core that may be used; the runtime's own count knows nothing of cores with two threads, nor of a container's
 * share of time.  True: something was set. */
static bool thread_count(void) {
    char text[16];
    int processors, cores = cores_here(&processors);
    if (getenv("OMP_NUM_THREADS") || getenv("OMP_THREAD_LIMIT") || cores < 1 || cores >= processors) return false;
    snprintf(text, sizeof text, "%d", cores);
    return setenv("OMP_NUM_THREADS", text, 1) == 0;
}

/* OpenMP threads that spin long while they wait ruin each other wherever anything else runs on the machine (readers of images
 * beside the network, another program); threads that sleep at once cost small networks two thirds of their speed.  A short
 * spin serves both: two copies of yolov4-tiny on two cores take 40 ms a picture each, 70 with a spin of 20000, 280 with OpenMP's
 * own.  True: something was set. */
static bool short_spin(void) {
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT") || getenv("KMP_BLOCKTIME")) return false;
    return setenv("GOMP_SPINCOUNT", "3000", 1) == 0 && setenv("KMP_BLOCKTIME", "1", 1) == 0;
}

/* The runtime looks at its settings before main begins, so the program starts itself again with them, unless the user has
 * chosen. */
static void set_threads(char **argv) {
    bool count = thread_count(), spin = short_spin();
    char self[4096];
    ssize_t n;
    if ((count || spin) && (n = readlink("/proc/self/exe", self, sizeof self)) > 0 && (size_t)n < sizeof self) {
        self[n] = '\0'; /* by its path, so that it keeps its name in the list of processes */
        execv(self, argv); /* failing that: go on as is */
    }
}

int main(int argc, char **argv) {
    set_threads(argv);
    struct ctx ctx = console_ctx();
    int n = argc > 1 ? argc - 1 : 0, used = 0;
    char **word = argv + 1;
    for (int i = 0; i < n; ++i) strip_line_ends(word[i]);
    if (device_flags(&ctx, &n, word) != ST_OK || precision_flags(&ctx, &n, word) != ST_OK) return console_fail(&ctx);
    bool help = drop_help_flags(&n, word);
    if (n && strcmp(word[0], "help") == 0) {
        help = true;
        ++word, --n;
    }
    if (n == 0 || (help && n == 1 && is_group(word[0]))) {
        overview(help ? stdout : stderr, n ? word[0] : NULL);
        return help ? 0 : 1;
    }
    const struct command *c = find(n, word, &used);
    if (!c) return not_found(n, word);
    if (help) {
        command_help(c);
        return 0;
    }
    if (precision_check(&ctx, c) != ST_OK) return console_fail(&ctx);
    device_tell(&ctx);
    n = drop_shared_flags(&ctx, command_meant(c), n - used, word + used);
    return c->run(c, n, word + used);
}
