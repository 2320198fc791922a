/* Where a source keeps its JSON files and their pictures; shared by COCO and BDD100K. */
#ifndef DATA_IMPORT_JSON_H
#define DATA_IMPORT_JSON_H

#include "data/import_set.h"

struct json_source {
    char *path;
    enum import_part part;     /* by its name or its folder's */
    int n_folder, last;        /* folders where its pictures may be; the one that had the last */
    char *folder[12];
};
struct json_sources { int n; struct json_source item[2]; };

/* `fits`: whether a file of that name is one of this format.  word: in the name of a file for that part, e.g. "train2017" of
 * instances_train2017.json.  A source that is a file is that file alone. */
struct json_pattern {
    bool (*fits)(const char *name);
    const char *const *folders; /* of pictures: patterns with one %s for the word, NULL at the end, under the source and its parents */
    const char *what;           /* for the complaint when there is none */
};
enum status json_sources_find(struct ctx *, const struct import_options *, const struct json_pattern *, struct json_sources *);
void json_sources_free(struct json_sources *);
/* The picture of that file name; NULL in *path when no folder has it. */
enum status json_source_picture(struct ctx *, struct json_source *, const char *name, char **path);

#endif
