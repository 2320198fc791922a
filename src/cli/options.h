/* Command lines from tables.  Flags may stand anywhere behind the command words, as in Darknet ("-thresh .3"); what is no
 * flag is positional.  An unknown flag, a missing value or a value that is no number is an error that names the flag (and
 * the nearest known one).  The same table prints the help. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stddef.h>

#include "base/ctx.h"

enum option_type { OPTION_FLAG, OPTION_INT, OPTION_FLOAT, OPTION_TEXT, OPTION_CHOICE };
struct option_choice { const char *name; int value; };
struct option {
    const char *name;           /* without the dash */
    enum option_type type;
    size_t offset;              /* of a bool, int, double, const char * or int (choice) in the target */
    const char *value, *help;   /* value: what to call it in the help, e.g. "FILE" */
    const struct option_choice *choices;
    double min, max;            /* numbers; min > max: no limits */
};
#define OPTION_END { .name = NULL }

struct arguments { int n; const char *word[64]; }; /* positionals */
/* argv without the command words.  Values already in `target` are the defaults. */
enum status options_parse(struct ctx *, int argc, char **argv, const struct option *table, void *target, struct arguments *,
                          int max_words);
void options_help(const char *command, const char *words, const char *summary, const struct option *table);
/* The command as it was given, for records: name, then argv; caller frees, NULL: no memory. */
char *options_line(int argc, char **argv, const char *name);

struct command {
    const char *group, *name;   /* "detector", "prune"; group NULL: a top-level command */
    const char *words, *summary;
    const struct option *options;
    int (*run)(const struct command *, int argc, char **argv); /* exit status */
};
/* Every command, for dispatch and help: commands.inc lists them. */
extern const struct command *const commands[];
extern const int n_commands;

/* The command that a short form stands for, whose options are its own too; any other command: itself. */
const struct command *command_meant(const struct command *);

/* Takes away, with a warning, flags of Darknet's that belong to other commands of the same group; returns the new count. */
int drop_shared_flags(struct ctx *, const struct command *, int n, char **word);

/* What Darknet has and this program leaves out: one line that says so, or NULL when the words name nothing of it. */
const char *left_out(int n, char **word);

#endif
