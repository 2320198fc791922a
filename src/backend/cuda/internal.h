/* Shared by the files of the CUDA backend only. */
#ifndef BACKEND_CUDA_INTERNAL_H
#define BACKEND_CUDA_INTERNAL_H

#include "backend/cuda/device.h"

/* Device memory that grows as needed; contents hold until the next call for the same purpose. */
enum cuda_scratch { SCRATCH_STAGE, SCRATCH_TABLE, SCRATCH_SUMS, SCRATCH_COLUMNS, SCRATCH_SLOPES,
                    SCRATCH_NARROW_X, SCRATCH_NARROW_Y, SCRATCH_RESULT /* 16-bit copies */, SCRATCH_USES };

struct cuda_state {
    struct backend_ops ops;
    struct device *dev;
    void *scratch[SCRATCH_USES];
    size_t scratch_bytes[SCRATCH_USES];
    struct cuda_block { void *at; size_t bytes; } *block; /* what alloc gave out */
    size_t n_block, cap_block;
};

struct device *cuda_device(struct backend *be);
/* NULL, and a fault of the device, when there is no memory. */
void *cuda_scratch(struct backend *be, enum cuda_scratch use, size_t bytes);
/* A copy of host values in scratch memory; NULL as above. */
void *cuda_table(struct backend *be, enum cuda_scratch use, const void *host, size_t bytes);
/* The device's fault, if there is one. */
enum status cuda_fault(struct backend *be, struct ctx *ctx);

struct view view_of(const struct tensor *t); /* NULL: a view without data */
size_t elements_of(const struct tensor *t);
size_t cells_of(const struct tensor *t);

/* Each fills its part of the table. */
void cuda_map_ops(struct backend_ops *);
void cuda_norm_ops(struct backend_ops *);
void cuda_vector_ops(struct backend_ops *);
void cuda_conv_ops(struct backend_ops *);
extern const struct yolo_ops cuda_yolo_ops;
extern const struct pass_ops cuda_pass_ops;
extern const struct picture_ops cuda_picture_ops;

/* Queues a kernel; empty ones are none. */
#define RUN_EACH(be, name, args, n) \
    do { \
        struct device *dev_ = cuda_device(be); \
        if ((n) > 0 && !dev_->failed) dev_->ops->name(dev_, args, n); \
    } while (0)
#define RUN_COLUMNS(be, name, args, columns, rows) \
    do { \
        struct device *dev_ = cuda_device(be); \
        if ((columns) > 0 && !dev_->failed) dev_->ops->name(dev_, args, columns, rows); \
    } while (0)

#endif
