/* COCO's instances files: pictures, categories and boxes.  Outlines are not kept. */
#ifndef DATA_COCO_FILE_H
#define DATA_COCO_FILE_H

#include <cjson/cJSON.h>

#include "base/ctx.h"

/* Ids to indices: filled by the caller, sorted once, searched often. */
struct id_entry { long long id; int index; };
struct id_map { int n; struct id_entry *entry; };
enum status id_map_new(struct ctx *, int n, struct id_map *);
void id_map_sort(struct id_map *);
int id_map_find(const struct id_map *, long long id); /* -1: not there */
void id_map_free(struct id_map *);

struct coco_image { char *name; long long id; double w, h; }; /* sizes: 0 when not given */
struct coco_category { char *name; long long id; };
struct coco_box {
    int line, image, category;       /* indices; -1: the id is not listed */
    long long image_id, category_id;
    double x, y, w, h, area;         /* pixels: left, top, width, height; area of the outline where given, else w*h */
    bool ids_given, box_given, crowd; /* what the annotation had of the things it must have */
};
struct coco_file {
    int n_image, n_category, n_box;
    size_t image_cap, category_cap, box_cap;
    struct coco_image *image;
    struct coco_category *category;
    struct coco_box *box;            /* in the file's order */
};
bool coco_box_of(const cJSON *object, double v[4]); /* its bbox; false: none, or no four numbers of a rectangle */

/* Lists of the file in any order.  An annotation that lacks something is kept and says so.  A file without the three lists is
 * ST_FORMAT.
 * Free after a failure, too. */
enum status coco_read(struct ctx *, const char *path, struct coco_file *);
void coco_file_free(struct coco_file *);

#endif
