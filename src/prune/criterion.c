#include "prune/criterion.h"

#include <string.h>

#define CRITERION(name) extern const struct criterion name##_criterion;
#include "prune/criteria.inc"
#undef CRITERION

static const struct criterion *const all[] = {
#define CRITERION(name) &name##_criterion,
#include "prune/criteria.inc"
#undef CRITERION
};

int criterion_count(void) { return (int)(sizeof all / sizeof all[0]); }
const struct criterion *criterion_at(int i) { return all[i]; }

const struct criterion *criterion_find(const char *name) {
    for (int i = 0; i < criterion_count(); ++i)
        if (!strcmp(all[i]->name, name)) return all[i];
    return NULL;
}
