/* What the detector commands open before they begin: .data file, network with weights, class names, backend.
 * Everything is read and checked before the first line is printed, so bad input ends in one line. */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include "cli/device.h"
#include "data/dataset.h"
#include "net/net.h"

struct session {
    struct ctx ctx;
    struct data_options data;
    struct text_list names;
    struct net *net;
    struct backend *be;
    struct devices others; /* with request.several */
    int *map, n_map; /* map= of the .data file, for a head with a word tree: the classes that are asked for; NULL: all */
    int layers;  /* how many layers came from the weights file; 0: there was none */
    int classes; /* of the last head, or of map= */
    int tree_classes; /* of the last head, where map= chooses among them */
    int last_head;
};
struct session_request {
    const char *data, *cfg, *weights; /* weights NULL: fresh ones from `seed` */
    bool strict;                      /* unknown cfg keys are errors */
    bool no_names;                    /* names= is not looked at */
    bool class_map;                   /* map= is read when the head has a word tree */
    bool several;                     /* the command can use all of -gpus */
    bool exact_names;                 /* as many names as classes, or an error */
    enum load_policy policy;          /* LOAD_WHOLE: the network will only run */
    uint64_t seed;
};
/* s->ctx is set up first, so console_fail(&s->ctx) works after any failure; session_close after either. */
enum status session_open(struct session *, const struct session_request *);
void session_close(struct session *);

/* Darknet's opening lines: the network's table and what was loaded (stderr), seen images (stdout). */
void session_print(const struct session *, const char *weights);
/* " Detection layer: ..." of each head, on stdout. */
void session_print_heads(const struct session *);
/* Name of class k; its number when the list has no name for it. */
const char *session_name(const struct session *, int k, char number[16]);
/* The list that `valid=` names, else the one of `train=`, else data/train.txt, as Darknet chooses. */
enum status session_valid(struct session *, struct text_list *);
/* Whether the set will do.  Problems of labels and images are told once and go on without; `list`: all of them are written there,
 * and the boxes of each class are told (training); NULL: neither. */
enum status session_check_set(struct session *, const struct text_list *images, enum dataset_use, const char *list);

#endif
