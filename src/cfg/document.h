/* A .cfg (or .data) file kept whole: every line, comment, blank and line ending as the user wrote it.
 * write(read(f)) == f byte for byte, and an edit changes the value of one line only.
 * Grammar: darknet-compat 1.1.  Blanks anywhere in a line do not count; '#' or ';' first: comment; '[' first: section; else
 * key=value, split at the first '='; the first of two equal keys wins. */
#ifndef CFG_DOCUMENT_H
#define CFG_DOCUMENT_H

#include "base/ctx.h"

struct cfg_entry {
    char *key, *value;   /* without blanks; value NULL when the line had no '=' */
    int line;            /* 1-based */
    bool used;           /* somebody looked it up */
};
struct cfg_section {
    char *type;          /* "[convolutional]" without brackets: "convolutional"; a header that is not one pair of brackets
                          * around a name ("[yolo]#x") stays whole, so that it equals no layer type; "" in a .data file */
    int line;
    int n, cap;
    struct cfg_entry *entry;
    const struct cfg_doc *doc;
};
struct cfg_doc {
    char *path;          /* as given; for messages */
    int n_line;
    char **text;         /* lines as read, without their line ends */
    const char **eol;    /* "\n", "\r\n" or "" (last line) */
    int n, cap;
    struct cfg_section *section;
    int line_cap;
};

/* `sections` false: a .data file, whose options form one nameless section.  Errors: option before the first section,
 * no section at all, a NUL byte, unreadable file.  An empty value ("key=") is dropped with a warning, as upstream does.
 * A UTF-8 byte order mark is kept, but is not part of the first line's meaning. */
enum status cfg_read(struct ctx *, const char *path, bool sections, struct cfg_doc **);
enum status cfg_parse(struct ctx *, const char *name, const char *text, size_t size, bool sections, struct cfg_doc **);
void cfg_free(struct cfg_doc *);

/* The text with all edits made so far; caller frees. */
enum status cfg_text(struct ctx *, const struct cfg_doc *, char **text, size_t *size);
/* The same where section i is replaced by instead[i]: NULL leaves it as it is, lines (each with '\n') stand in its place, ""
 * takes it out with the comment right above it and the blank lines below.  Other comments stay. */
enum status cfg_text_instead(struct ctx *, const struct cfg_doc *, const char *const *instead, char **text, size_t *size);
/* The line of an entry as the user wrote it, from behind the '=' to the line's end. */
const char *cfg_raw_value(const struct cfg_doc *, const struct cfg_entry *);
/* Replaces the value of `key` in place (spacing, inline rest such as "#note" and line ends stay); adds a line after the
 * section's last option when the key is not there (later line numbers move).  Pointers from earlier look-ups in this section
 * are invalid afterwards.  The value may not be empty, nor hold line ends. */
enum status cfg_set_int(struct ctx *, struct cfg_doc *, int section, const char *key, int value);
enum status cfg_set_text(struct ctx *, struct cfg_doc *, int section, const char *key, const char *value);

/* Raw look-ups; mark the entry used.  NULL when absent or without '='. */
const char *cfg_value(const struct cfg_section *, const char *key);
const struct cfg_entry *cfg_entry(const struct cfg_section *, const char *key);

/* Fails with "path:line: [section] key: message", code ST_CFG or the one given.  key may be NULL; the line is that of the
 * key's first entry, else of the section. */
enum status cfg_fail(struct ctx *, const struct cfg_section *, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
enum status cfg_fail_as(struct ctx *, enum status code, const struct cfg_section *, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* The same text as a warning; `line` 0: found as above. */
void cfg_warn(struct ctx *, const struct cfg_section *, int line, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

#endif
