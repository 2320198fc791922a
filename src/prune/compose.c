#include "prune/compose.h"

#include <assert.h>

void compose_cut(const struct channels *full, const struct channels *now, const uint8_t *keep_group, uint8_t *alive) {
    assert(full->net->n == now->net->n);
    for (int i = 0; i < full->net->n; ++i) {
        int at = now->first_node[i];
        for (int k = full->first_node[i]; k < full->first_node[i + 1]; ++k)
            if (alive[k]) alive[k] = keep_group[now->group_of[at++]];
        assert(at == now->first_node[i + 1]);
    }
}

void compose_groups(const struct channels *full, const uint8_t *alive, uint8_t *keep_group) {
    for (int k = 0; k < full->n_node; ++k) keep_group[full->group_of[k]] = alive[k];
}
