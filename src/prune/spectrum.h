/* The little linear algebra that criteria on feature maps need, in double; matrices are row-major. */
#ifndef PRUNE_SPECTRUM_H
#define PRUNE_SPECTRUM_H

#include "base/ctx.h"

/* Singular values of a (rows x cols), the largest first: min(rows, cols) of them. */
enum status singular_values(struct ctx *, const float *a, int rows, int cols, double *value);
/* How many of them exceed max(rows, cols) * FLT_EPSILON times the largest: numerical rank as numpy.linalg.matrix_rank has it for
 * floats. */
int spectrum_rank(const double *value, int rows, int cols);
/* Effective rank (Roy & Vetterli 2007, exp of the entropy of the values over their sum) over n: near 0 where one value has it all, 1
 * where all are alike. */
double spectrum_flatness(const double *value, int n);
/* Eigenvalues of the symmetric a (n x n) and, in its place, orthonormal eigenvectors as columns. */
enum status symmetric_eigen(struct ctx *, double *a, int n, double *value);
/* loss[c]: by how much the sum of singular values of a (rows x cols) falls when row c becomes zero. */
enum status nuclear_loss(struct ctx *, const float *a, int rows, int cols, double *loss);

#endif
