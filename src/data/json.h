/* JSON files of any size: whole, or list element by list element so that only one is held parsed at a time. */
#ifndef DATA_JSON_H
#define DATA_JSON_H

#include <cjson/cJSON.h>

#include "base/ctx.h"

/* Both: a file that is no JSON is ST_FORMAT with its line. */
enum status json_read(struct ctx *, const char *path, cJSON **out); /* caller deletes */

/* One value: element `index` of the list that is member `key` of the file's object ("": the file itself is the list); or, with
 * index -1, a member that is no list; or, with value NULL besides, the beginning of a list.  line: where it begins. */
struct json_item { const char *path, *key; int index, line; const cJSON *value; };
typedef enum status (*json_visit)(struct ctx *, void *user, const struct json_item *);
/* In the file's order, until one is not ST_OK. */
enum status json_each(struct ctx *, const char *path, json_visit visit, void *user);

double json_number(const cJSON *object, const char *name, double otherwise);
bool json_whole(const cJSON *object, const char *name, long long *value); /* false: none, or too large to be exact */
const char *json_text(const cJSON *object, const char *name); /* NULL: there is none */
bool json_true(const cJSON *object, const char *name);        /* true, or a number other than 0 */

#endif
