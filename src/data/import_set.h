/* Between the steps of an import; not for others. */
#ifndef DATA_IMPORT_SET_H
#define DATA_IMPORT_SET_H

#include "data/import.h"

enum { IMPORT_UNKNOWN = -1, IMPORT_DROP = -2, IMPORT_REGION = -3 }; /* in place of a class; REGION: where detections are excused */
enum import_part { PART_NONE, PART_TRAIN, PART_VALID };

struct import_type { char *name; int class_id; long long id, boxes; }; /* a class name of the source; id: its number there */
struct import_box {
    int image, type;
    double x, y, w, h, area;          /* pixels: left, top, width, height, as the source has them */
    bool crowd, difficult, kept;      /* kept: goes into a label file */
};
struct import_image {
    char *path, *name;                /* of the picture; what it is called in the set, without folder and extension */
    char *labels;                     /* KITTI: its label file */
    int w, h;                         /* as the labels say, 0: nothing; later the picture's own */
    double scale_x, scale_y;          /* from the labels' pixels to the picture's */
    long long id;
    enum import_part given, part;     /* the source's own split; the one that is made */
    bool left_out;                    /* for a reason that was counted */
};

/* Why something is not in the set, or not as it was. */
enum import_issue {
    ISSUE_NO_PICTURE, ISSUE_BAD_PICTURE, ISSUE_BAD_FILE, ISSUE_NAME_TAKEN, ISSUE_NO_LABELS, ISSUE_EMPTY, ISSUE_NOT_LISTED, /* pictures */
    ISSUE_BAD_BOX, ISSUE_NO_EXTENT, ISSUE_SMALL, ISSUE_OUTSIDE, ISSUE_CROWD, ISSUE_DIFFICULT, ISSUE_REGION,  /* boxes */
    ISSUE_CLIPPED, ISSUE_SIZE,                                                                               /* remarks */
    ISSUES
};

struct import_set {
    int n_type, n_image, n_box;
    size_t type_cap, image_cap, box_cap, note_cap, note_size;
    struct import_type *type;
    struct import_image *image;
    struct import_box *box;           /* of one picture: one behind the other */
    struct text_list classes;
    long long issue[ISSUES];
    char *note;                       /* a line for each thing that is wrong with the files, '\n' behind each; no NUL */
    long long n_notes;
    char split[160];                  /* how the parts were made, in words */
    bool coco_truth;                  /* the source knows more than labels hold: COCO ground truth is written */
};
void import_set_free(struct import_set *);
enum status import_add_type(struct ctx *, struct import_set *, const char *name, long long id, int *index); /* the known one of this name, else a new one */
/* name: of the picture's file, perhaps with folders and extension.  All texts, like->labels too, are copied; index may be NULL. */
enum status import_add_image(struct ctx *, struct import_set *, const char *path, const char *name, const struct import_image *like,
                             int *index);
enum status import_add_box(struct ctx *, struct import_set *, const struct import_box *);
/* Counts the issue and writes a line about it. */
enum status import_note(struct ctx *, struct import_set *, enum import_issue, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
enum status import_step(struct ctx *, const struct import_options *, const char *what, int done, int total); /* progress, where there is a total; ST_INTERRUPTED */

/* "folder/name" in new memory; NULL: none left. */
char *import_path(struct ctx *, const char *folder, const char *name);
bool import_is_folder(const char *path);
/* The picture of that stem in the folder, whatever its extension; NULL in *path when there is none. */
enum status import_find_picture(struct ctx *, const char *folder, const char *stem, char **path);

char *import_kitti_root(struct ctx *, const char *source); /* the folder that holds label_2; caller frees */
enum status import_read_kitti(struct ctx *, const struct import_options *, struct import_set *);
enum status import_read_coco(struct ctx *, const struct import_options *, struct import_set *);
enum status import_read_voc(struct ctx *, const struct import_options *, struct import_set *);
enum status import_read_bdd(struct ctx *, const struct import_options *, struct import_set *);

/* Marks the pictures from `first` on that a file of names lists; *missing: how many of its names are no picture's. */
enum status import_mark_listed(struct ctx *, struct import_set *, int first, const char *list, enum import_part, int *names, int *missing);
bool import_clip(const struct import_image *, const struct import_box *, double v[4]); /* left, top, right, bottom; false: outside */
enum status import_check_out(struct ctx *, const struct import_options *); /* whether `out` can be written */

/* Classes of the set, and the class of each type. */
enum status import_map_classes(struct ctx *, const struct import_options *, struct import_set *);
enum status import_split(struct ctx *, const struct import_options *, struct import_set *);
enum status import_write(struct ctx *, const struct import_options *, struct import_set *, char **report);

#endif
