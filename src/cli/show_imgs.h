/* -show_imgs: the first images of a training run as the network will see them. */
#ifndef CLI_SHOW_IMGS_H
#define CLI_SHOW_IMGS_H

#include "cli/session.h"

/* Writes aug_BATCH_INDEX_NAME.png into the current folder, boxes with their classes drawn in; *written: how many. */
enum status show_imgs(struct session *, const struct text_list *images, uint64_t seed, int *written);

#endif
