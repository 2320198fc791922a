/* Data sets of other formats as Darknet data sets: KITTI, COCO, Pascal VOC, BDD100K.
 *
 * A reader (import_KIND.c) fills an import_set with pictures and boxes under the source's own class names; a class map turns
 * names into classes, a split turns pictures into training and validation; import_write.c writes, beside the pictures (links or
 * copies), labels, lists, names, the .data file, what COCO's and KITTI's rules need beyond labels, and a report. */
#ifndef DATA_IMPORT_H
#define DATA_IMPORT_H

#include "data/dataset.h"

enum import_kind { IMPORT_KITTI, IMPORT_COCO, IMPORT_VOC, IMPORT_BDD, IMPORT_KINDS };
extern const char *const import_kind_name[IMPORT_KINDS];

enum import_split_rule { IMPORT_BY_DEFAULT, IMPORT_HALVES, IMPORT_CHEN };

typedef void (*import_progress)(void *user, const char *what, int done, int total);

struct import_options {
    enum import_kind kind;
    const char *source, *out;             /* out: a folder that does not exist yet; the lists begin with it as given */
    const char *images;                   /* where the pictures are, when not where the format puts them; NULL */
    const char *classes;                  /* "a,b,c": these, in this order; "all"; "traffic" (COCO); NULL: the format's default */
    const char *map;                      /* file of "source = target" lines; NULL: the format's default */
    enum import_split_rule split;
    const char *train_list, *valid_list;  /* files of picture names; one of them alone: the rest is the other */
    double valid_share;                   /* 0..1; below 0: the source's own split, or .2 where it has none */
    uint64_t seed;
    double min_size;                      /* boxes with a side under so many pixels are dropped */
    bool with_objects;                    /* pictures where no box is left are left out */
    bool copy;                            /* pictures are copied; else linked */
    bool force;                           /* an import of before may be replaced */
    import_progress progress;
    void *user;
    const volatile int *stop;             /* not 0: stop, nothing is left (may be NULL) */
};
struct import_options import_defaults(enum import_kind, const char *source, const char *out);

/* Everything, or nothing: the set is made under a temporary name beside `out` and renamed at the end.  *report: the text that
 * also stands in OUT/import.txt; caller frees (NULL after a failure). */
enum status import_run(struct ctx *, const struct import_options *, char **report);

#endif
