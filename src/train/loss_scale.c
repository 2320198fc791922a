#include "train/loss_scale.h"

#include <math.h>

#define FIRST_SCALE 65536.
#define LARGEST_SCALE 16777216.

void loss_scale_open(struct loss_scale *s, const struct backend *be, double scale, uint64_t good) {
    *s = (struct loss_scale){ .scale = 1, .on = be->narrow_gradients };
    if (!s->on) return;
    bool known = scale >= 1 && scale <= LARGEST_SCALE;
    s->scale = known ? scale : FIRST_SCALE;
    s->good = known ? good : 0;
}

bool loss_scale_seen(struct loss_scale *s, double *squares) {
    if (isfinite(*squares)) {
        *squares /= s->scale * s->scale;
        return true;
    }
    s->overflow = s->on && s->scale > 1;
    return s->overflow;
}

bool loss_scale_ready(struct loss_scale *s, struct net *net) {
    if (s->overflow) {
        net_clear_gradients(net);
        *s = (struct loss_scale){ .scale = s->scale / 2, .on = true };
        return false;
    }
    if (s->scale != 1) net->be->ops->scale(net->be, net->n_param, 1 / s->scale, net->dev_grad);
    if (s->on && ++s->good >= LOSS_SCALE_PATIENCE) {
        s->good = 0;
        if (s->scale < LARGEST_SCALE) s->scale *= 2;
    }
    return true;
}
