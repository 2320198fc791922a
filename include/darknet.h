/* The C interface that programs and ctypes wrappers written for Darknet expect, with its names, signatures and struct
 * layouts (field order is part of the interface).
 *
 * Pictures are planar RGB floats 0..1.  Pointers that the functions return belong to the caller and are released by the
 * function named free_..., except outputs of network_predict*, which live in the network until its next prediction.  A
 * function that fails prints one line on stderr and returns NULL, 0 or an empty picture; it never ends the process.  A
 * network belongs to one thread at a time. */
#ifndef DARKNET_API
#define DARKNET_API

#ifdef __cplusplus
extern "C" {
#endif

typedef struct { int w, h, c; float *data; } image;
typedef struct { float x, y, w, h; } box;   /* centre form */
typedef struct { int classes; char **names; } metadata;

/* uc: of [Gaussian_yolo], how unsure x, y, w, h are, and points says which point of the box its cell held (1 centre, 2 left top,
 * 4 right bottom); embeddings: of a [yolo] with embedding_layer; else NULL and 0.  sim and track_id are for the caller. */
typedef struct {
    box bbox;
    int classes, best_class_idx;
    float *prob, *mask;
    float objectness;
    int sort_class;
    float *uc;
    int points;
    float *embeddings;
    int embedding_size;
    float sim;
    int track_id;
} detection;

typedef struct { int num; detection *dets; } det_num_pair, *pdet_num_pair;

/* Sizes are for reading; to change the batch call set_batch_network. */
typedef struct network {
    int n, batch, w, h, c, inputs, outputs;
    void *handle;
} network;

typedef enum { DEFAULT_NMS, GREEDY_NMS, DIOU_NMS, CORNERS_NMS } NMS_KIND;

/* weights: NULL or "" leaves random ones.  clear: forget how many images were seen.  load_network takes the batch (of one
 * sub-division) from the cfg.  Unknown cfg keys are ignored. */
network *load_network(char *cfg, char *weights, int clear);
network *load_network_custom(char *cfg, char *weights, int clear, int batch);
void free_network(network net);
void free_network_ptr(network *net);          /* as in Darknet the struct itself stays, for free() */
int network_width(network *net);
int network_height(network *net);
void set_batch_network(network *net, int b);  /* buffers follow at the next prediction */

/* x: batch * inputs floats.  The output of the last layer, batch * outputs floats; a detection head's values are activated. */
float *network_predict(network net, float *x);
float *network_predict_ptr(network *net, float *x);
/* One picture of any size, batch 1: stretched to the network's size, or with its aspect kept. */
float *network_predict_image(network *net, image im);
float *network_predict_image_letterbox(network *net, image im);

/* Boxes of the last prediction's first image, without suppression.  w, h: of the original picture; relative: 0..1 instead of
 * pixels; letter: the picture was letterboxed.  hier and map are ignored. */
detection *get_network_boxes(network *net, int w, int h, float thresh, float hier, int *map, int relative, int *num, int letter);
detection *make_network_boxes(network *net, float thresh, int *num); /* as many empty ones as get_network_boxes would give */
void free_detections(detection *dets, int n);
/* im: batch_size pictures of the network's size, stacked; one list per picture. */
det_num_pair *network_predict_batch(network *net, image im, int batch_size, int w, int h, float thresh, float hier, int *map,
                                    int relative, int letter);
void free_batch_detections(det_num_pair *pairs, int n);

void do_nms_sort(detection *dets, int total, int classes, float thresh);
void do_nms_obj(detection *dets, int total, int classes, float thresh);
void diounms_sort(detection *dets, int total, int classes, float thresh, NMS_KIND kind, float beta);

image make_image(int w, int h, int c);
void free_image(image im);
image load_image_color(char *path, int w, int h);  /* w and h 0: as large as it is */
image resize_image(image im, int w, int h);
image letterbox_image(image im, int w, int h);
void rgbgr_image(image im);
void copy_image_from_bytes(image im, char *bytes); /* 8 bit, interleaved */

metadata get_metadata(char *data_file);            /* names: one allocation each, for free_ptrs */
void free_ptrs(void **ptrs, int n);

void reset_rnn(network *net);
void init_cpu(void);
void cuda_set_device(int n);                       /* GPU number of networks that this thread loads from then on; -1: the CPU */

#ifdef __cplusplus
}
#endif
#endif
