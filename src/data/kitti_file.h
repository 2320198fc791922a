/* KITTI's object label and result files. */
#ifndef DATA_KITTI_FILE_H
#define DATA_KITTI_FILE_H

#include "base/ctx.h"

struct kitti_line {
    const char *path, *text;                     /* text: the line as written, without its end */
    int number;
    char type[64];                               /* as written */
    double truncation, occlusion, left, top, right, bottom, score;
    bool has_score;                              /* column 16 is there */
    const char *wrong;                           /* NULL, or what keeps the line from being one; the fields above mean nothing then */
};
/* type truncation occlusion alpha left top right bottom height width length x y z rotation [score].  Of the columns behind the
 * box only their number is looked at.  Blank lines are passed over. */
typedef enum status (*kitti_visit)(struct ctx *, void *user, const struct kitti_line *);
enum status kitti_each(struct ctx *, const char *path, kitti_visit visit, void *user);

#endif
