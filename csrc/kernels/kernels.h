/*
 * kernels.h - the native bodies that users, notebooks and experiments run: as ranges for parallel
 * loops, and as whole computations.  What each does stands in filar.h.
 */
#ifndef FILAR_KERNELS_KERNELS_H
#define FILAR_KERNELS_KERNELS_H

#include "pool/loop.h"

#define KERNEL_RANGES(X)                                                                           \
	X(axpy)                                                                                    \
	X(matmul)                                                                                  \
	X(mandelbrot)                                                                              \
	X(box_blur)                                                                                \
	X(gauss_blur)                                                                              \
	X(histogram_racy)                                                                          \
	X(histogram_atomic)                                                                        \
	X(histogram_private)                                                                       \
	X(spin)                                                                                    \
	X(chase)

#define X(name) void kernel_##name(int64_t begin, int64_t end, void *ctx);
KERNEL_RANGES(X)
#undef X

#define NQUEENS_MAX 16
#define FIB_MAX     50

/* pool may be NULL: serial. */
enum filar_status kernel_sum(struct pool *pool, const struct loop_options *options, const double *x,
	int64_t count, double *result);
enum filar_status kernel_dot(struct pool *pool, const struct loop_options *options, const double *x,
	const double *y, int64_t count, double *result);
enum filar_status kernel_sieve(
	struct pool *pool, const struct loop_options *options, uint8_t *is_prime, int64_t count);
enum filar_status kernel_nqueens(
	struct pool *pool, const struct loop_options *options, int32_t n, int64_t *result);
enum filar_status kernel_fib(struct pool *pool, int32_t n, int64_t *result);
enum filar_status kernel_merge_sort(
	struct pool *pool, double *values, double *scratch, int64_t count);

#endif
