/* .data files, name lists, image lists, label files (darknet-compat 5.1-5.4). */
#ifndef DATA_DATASET_H
#define DATA_DATASET_H

#include "base/ctx.h"
#include "vision/box.h"

struct text_list { int n, cap; char **item; };
/* Lines of a file; trailing CR and a byte order mark dropped; blank lines dropped (with a warning when in the middle).
 * Upstream counts blank lines as entries, which its users keep reporting as a trap.  A NUL byte is ST_FORMAT. */
enum status list_read(struct ctx *, const char *path, struct text_list *);
void list_free(struct text_list *);

struct data_options {
    int classes;             /* 0: not given, as the two below; texts: NULL when not given */
    char *train, *valid, *names, *backup, *results, *difficult, *eval, *map;
    char *annotations;       /* ground truth of valid= that knows more than labels: a COCO JSON file or a folder of KITTI label files */
    int save_weights, save_last;
    char *labels, *test, *leaves; /* of classifiers: names of the classes as they stand in paths; pictures to label; leaves of a tree */
    int top;                 /* of classifiers: how many of the best classes to look at */
    char *path;              /* of the .data file */
};
/* Relative paths stay relative to the current folder, as upstream.  Unlike upstream, blanks inside a value are kept.
 * Unknown keys: a warning with the nearest known one. */
enum status data_read(struct ctx *, const char *path, struct data_options *);
void data_free(struct data_options *);

/* The label file of an image (5.3): /images/train2017/ and its kin become /labels/..., the extension becomes .txt.  When the
 * file so named does not exist but a plain /images/ -> /labels/ exchange does, that one is used.  Caller frees. */
char *label_path(struct ctx *, const char *image_path);

/* What a label file's reading found. */
struct label_issue { int line; char text[160]; };
struct label_issues { int n, cap; struct label_issue *item; };

/* Appends the boxes of `path` in file order.  Each line is "class x y w h"; further columns are ignored.  A line that does
 * not parse, a class outside 0..classes-1 (classes 0: only negative ones), a box that is not finite, has no extent, or whose
 * centre lies outside the image (both borders belong to it) is an issue and left out; width or height over 1 is an issue and
 * clipped.  An excess of 1e-5, the rounding of six written decimals, is clipped in silence.  Tracks are -1.  `issues` NULL: the first issue is an
 * error "path:line: what, what would be right" (ST_FORMAT).  A missing file is ST_IO with the path. */
enum status labels_read(struct ctx *, const char *path, int classes, struct truth_list *, struct label_issues *issues);

/* The boxes of an image, in place of what the list held: labels_read of its label_path.  Strictly, the first issue is an error, and
 * so is a missing file; else bad lines are left out and a missing file is one without objects, as in Darknet. */
enum status labels_of(struct ctx *, const char *image_path, int classes, bool strict, struct truth_list *);

/* What training will find (dataset_check.c).  Every problem is one line "FILE:LINE: reason" in `text`, those of
 * pictures before those of labels. */
struct dataset_report {
    int images, unreadable, no_labels, background;  /* no_labels: label file missing; background: no boxes, for any reason */
    int bad_files;                                  /* label files with lines that are left out or changed */
    long long boxes, bad_lines, *per_class;
    char *text;                                     /* '\n' separated; NULL: all is well */
    size_t text_size, text_cap;
};
/* Reads every label file and every picture's head once.  The content never makes it fail. */
enum status dataset_survey(struct ctx *, const struct text_list *images, int classes, struct dataset_report *);
void dataset_report_free(struct dataset_report *);
/* The first few problems and their number, as warnings; all of them go to `path` (NULL: nowhere). */
enum status dataset_tell(struct ctx *, const struct dataset_report *, const char *path);
/* The data set in a few lines: images, boxes of each class (by number, where `names` has none), images without objects. */
void dataset_describe(struct ctx *, const struct dataset_report *, int classes, const struct text_list *names);
/* Whether it will do.  For training something must be left: an image that can be read, one label file.  For scores every
 * image must be readable and there must be an object.  Strictly, the first problem is an error. */
enum dataset_use { DATASET_TRAIN, DATASET_SCORE, DATASET_STRICT };
enum status dataset_usable(struct ctx *, const struct dataset_report *, enum dataset_use);
/* Survey and dataset_usable in one; the counts of the report, without its text, go to `counts` (may be NULL). */
enum status dataset_check(struct ctx *, const struct text_list *images, int classes, enum dataset_use,
                          struct dataset_report *counts);

#endif
