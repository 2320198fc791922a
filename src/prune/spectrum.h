/* The little linear algebra that criteria on feature maps need, in double; matrices are row-major. */
#ifndef PRUNE_SPECTRUM_H
#define PRUNE_SPECTRUM_H

#include "base/ctx.h"

/* Numerical rank: pivots of a factorisation with column pivoting that exceed max(rows, cols) * FLT_EPSILON times the largest.
 * Destroys a. */
int matrix_rank(double *a, int rows, int cols);
/* Eigenvalues of the symmetric a (n x n) and, in its place, orthonormal eigenvectors as columns. */
enum status symmetric_eigen(struct ctx *, double *a, int n, double *value);
/* loss[c]: by how much the sum of singular values of a (rows x cols) falls when row c becomes zero. */
enum status nuclear_loss(struct ctx *, const float *a, int rows, int cols, double *loss);

#endif
