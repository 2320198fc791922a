/* Training a network inside a pruning run: the cfg's own settings, its whole schedule in fewer iterations. */
#ifndef RECIPE_FINETUNE_H
#define RECIPE_FINETUNE_H

#include "recipe/distill.h"
#include "train/trainer.h"

struct finetune {
    const char *dir, *base;       /* checkpoints: DIR/BASE_last.weights and its state, so that a killed run goes on */
    int iterations, first, total; /* so many of the `total` that the squeezed schedule has, behind the first `first` */
    double rate_factor;
    uint64_t seed;                /* of the draw of images and their augmentation */
    struct distill *teacher;      /* NULL: labels alone */
    struct backend *const *others; /* further devices, used where the mini-batch divides among them and labels alone teach */
    int n_other;
    bool quiet;                   /* what the trainer has to say about data and settings was said before */
    void (*news)(void *user, const struct train_news *);
    void *user;
    const volatile int *stop;
};

/* The rate policy, warm-up included, of max_batches iterations squeezed (or stretched) into `iterations`.  Steps that are where an
 * iteration number stands elsewhere in the cfg (stopbackward, burnin_update, dont_update) stay. */
void finetune_schedule(struct net_options *, int iterations);

/* net: unbound, with the weights to start from; the same afterwards, trained, seen = the images it was trained on.  What a killed run
 * left in DIR under BASE goes on and ends in the same weights.  ST_INTERRUPTED: saved there. */
enum status finetune_run(struct ctx *, struct backend *, struct net *net, const struct data_options *, const struct text_list *images,
                         const struct finetune *);
/* Removes the checkpoints: before a training that must not go on from older ones, and after it. */
void finetune_forget(const char *dir, const char *base);

#endif
