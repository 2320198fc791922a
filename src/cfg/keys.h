/* Typed key tables: one row per key of a section, from which parsing, range checks, defaults and the list of known names
 * follow.  The row names a field of the struct that receives the value. */
#ifndef CFG_KEYS_H
#define CFG_KEYS_H

#include <stddef.h>

#include "cfg/document.h"

enum cfg_type {
    CFG_T_INT,      /* int; a decimal is cut as upstream's atoi does ("64.5" -> 64) */
    CFG_T_FLOAT,    /* double */
    CFG_T_BOOL,     /* int: 0 or 1 from any integer */
    CFG_T_CHOICE,   /* int: value of a name */
    CFG_T_INTS,     /* struct cfg_ints: comma list, counting stops at '#' or ';' */
    CFG_T_FLOATS,   /* struct cfg_floats */
    CFG_T_TEXT,     /* const char *, owned by the document; NULL when absent */
    CFG_T_IGNORED,  /* known, without effect here or upstream: accepted in silence */
    CFG_T_MISSING   /* known upstream, its effect is not built: an error unless the value is neutral (def) */
};
struct cfg_choice { const char *name; int value; }; /* ends with name NULL */
struct cfg_ints { int n; int *v; };
struct cfg_floats { int n; double *v; };

struct cfg_key {
    const char *name;
    enum cfg_type type;
    size_t offset;
    double def, min, max;              /* min > max: no limits; int lists check each element */
    const struct cfg_choice *choices;
    bool lenient;                      /* CFG_T_CHOICE: an unknown name warns and takes the default, as upstream */
};

#define CFG_INT(S, f, d, lo, hi)      { .name = #f, .type = CFG_T_INT, .offset = offsetof(S, f), .def = (d), .min = (lo), .max = (hi) }
#define CFG_BOOL(S, f, d)             { .name = #f, .type = CFG_T_BOOL, .offset = offsetof(S, f), .def = (d), .min = 1, .max = 0 }
#define CFG_FLOAT(S, f, d)            { .name = #f, .type = CFG_T_FLOAT, .offset = offsetof(S, f), .def = (d), .min = 1, .max = 0 }
#define CFG_FLOAT_IN(S, f, d, lo, hi) { .name = #f, .type = CFG_T_FLOAT, .offset = offsetof(S, f), .def = (d), .min = (lo), .max = (hi) }
#define CFG_CHOICE(S, f, d, table)    { .name = #f, .type = CFG_T_CHOICE, .offset = offsetof(S, f), .def = (d), .choices = (table) }
#define CFG_INTS(S, f)                { .name = #f, .type = CFG_T_INTS, .offset = offsetof(S, f), .min = 1, .max = 0 }
#define CFG_FLOATS(S, f)              { .name = #f, .type = CFG_T_FLOATS, .offset = offsetof(S, f), .min = 1, .max = 0 }
#define CFG_TEXT(S, f)                { .name = #f, .type = CFG_T_TEXT, .offset = offsetof(S, f) }
#define CFG_IGNORED(n)                { .name = n, .type = CFG_T_IGNORED }
#define CFG_MISSING(n, neutral)       { .name = n, .type = CFG_T_MISSING, .def = (neutral) }
#define CFG_END                       { .name = NULL }

/* Fills `target` from the section: defaults first, then what the section says, marking entries used.  Lists point to
 * memory released by keys_free; `target` is zeroed memory.  Fails on a value that is no number, out of range or of an unknown
 * choice.  Text behind a number is a warning unless it starts with '#' or ';' (Darknet's readers ignore it). */
enum status keys_read(struct ctx *, const struct cfg_section *, const struct cfg_key *table, void *target);
void keys_free(const struct cfg_key *table, void *target);
/* After all tables of a section were read: every entry still unused gets a warning "path:line: [section] unknown key
 * 'kye', did you mean 'key'?"; with `strict` an error.  A repeated known key is named as such (the first one counts).  `tables`: n tables of names. */
enum status keys_check_unused(struct ctx *, const struct cfg_section *, const struct cfg_key *const *tables, int n, bool strict);

#endif
