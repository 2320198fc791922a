/* -show_imgs: the first images of a training run as the network will see them. */
#ifndef CLI_SHOW_IMGS_H
#define CLI_SHOW_IMGS_H

#include "cfg/net_options.h"
#include "data/loader.h"

struct shown_run {
    /* Opens what the run trains on, as train_options.open_source does. */
    enum status (*open)(struct ctx *, void *user, const struct batch_request *, struct batch_source *);
    void *user;
    const struct text_list *names; /* of the classes; NULL: numbers */
    int classes;
    uint64_t seed;
};
/* Writes aug_BATCH_INDEX_NAME.png into the current folder, with boxes and their classes drawn in, or the classes of a classifier's
 * image with their shares; *written: how many. */
enum status show_imgs(struct ctx *, const struct net_options *, const struct shown_run *, int *written);

#endif
