/*
 * arrays.c - axpy, sum, dot, matmul, histograms: work on arrays, row by row or element by element.
 */
#include <string.h>

#include "kernels/kernels.h"

void kernel_axpy(int64_t begin, int64_t end, void *ctx)
{
	const filar_axpy *axpy = ctx;
	const double *restrict x = axpy->x;
	double *restrict y = axpy->y;
	double a = axpy->a;

	for (int64_t i = begin; i < end; i++)
		y[i] += a * x[i];
}

/* ---- sums ---- */

struct dot {
	const double *x, *y;
};

/* Four chains, so that additions need not wait for each other; in an order that depends on the
 * block alone. */
static void dot_block(int64_t begin, int64_t end, void *ctx, void *partial)
{
	const struct dot *dot = ctx;
	double sums[4] = { 0 };
	int64_t i = begin;

	for (; i + 4 <= end; i += 4) {
		for (int k = 0; k < 4; k++)
			sums[k] += dot->x[i + k] * dot->y[i + k];
	}
	for (; i < end; i++)
		sums[0] += dot->x[i] * dot->y[i];
	*(double *)partial += (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

static void sum_block(int64_t begin, int64_t end, void *ctx, void *partial)
{
	const double *x = ctx;
	double sums[4] = { 0 };
	int64_t i = begin;

	for (; i + 4 <= end; i += 4) {
		for (int k = 0; k < 4; k++)
			sums[k] += x[i + k];
	}
	for (; i < end; i++)
		sums[0] += x[i];
	*(double *)partial += (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

static void add_partial(void *into, const void *from, void *ctx)
{
	(void)ctx;
	*(double *)into += *(const double *)from;
}

enum filar_status kernel_sum(struct pool *pool, const struct loop_options *options, const double *x,
	int64_t count, double *result)
{
	struct reduction sum = { sum_block, add_partial, NULL, sizeof(double) };

	return pool_parallel_reduce(pool, options, 0, count, &sum, (void *)(uintptr_t)x, result);
}

enum filar_status kernel_dot(struct pool *pool, const struct loop_options *options, const double *x,
	const double *y, int64_t count, double *result)
{
	struct reduction sum = { dot_block, add_partial, NULL, sizeof(double) };
	struct dot dot = { x, y };

	return pool_parallel_reduce(pool, options, 0, count, &sum, &dot, result);
}

/* ---- matmul ---- */

/* A block of b this large stays in the first or second cache while rows of a pass over it. */
#define BLOCK_INNER   64
#define BLOCK_COLUMNS 256

static void matmul_block(const filar_matmul *m, int64_t row, int64_t inner, int64_t column)
{
	int64_t inner_end = inner + BLOCK_INNER < m->inner ? inner + BLOCK_INNER : m->inner;
	int64_t column_end =
		column + BLOCK_COLUMNS < m->columns ? column + BLOCK_COLUMNS : m->columns;
	double *restrict c = m->c + row * m->columns;

	for (int64_t k = inner; k < inner_end; k++) {
		const double *restrict b = m->b + k * m->columns;
		double a = m->a[row * m->inner + k];

		for (int64_t j = column; j < column_end; j++)
			c[j] += a * b[j];
	}
}

/* Each element of c is added up in the order of `inner`, whatever the rows of a piece. */
void kernel_matmul(int64_t begin, int64_t end, void *ctx)
{
	const filar_matmul *m = ctx;

	memset(m->c + begin * m->columns, 0,
		(size_t)(end - begin) * (size_t)m->columns * sizeof(double));
	for (int64_t column = 0; column < m->columns; column += BLOCK_COLUMNS) {
		for (int64_t inner = 0; inner < m->inner; inner += BLOCK_INNER) {
			for (int64_t row = begin; row < end; row++)
				matmul_block(m, row, inner, column);
		}
	}
}

/* ---- histograms ---- */

void kernel_histogram_racy(int64_t begin, int64_t end, void *ctx)
{
	const filar_histogram *histogram = ctx;
	_Atomic uint64_t *counts = (_Atomic uint64_t *)histogram->counts;

	/* A load and a store, each by itself: what a plain ++ is, but without undefined behaviour.
	 * Additions get lost; that is what it is for. */
	for (int64_t i = begin; i < end; i++) {
		_Atomic uint64_t *count = &counts[histogram->data[i]];

		store_relaxed(count, load_relaxed(count) + 1);
	}
}

void kernel_histogram_atomic(int64_t begin, int64_t end, void *ctx)
{
	const filar_histogram *histogram = ctx;
	_Atomic uint64_t *counts = (_Atomic uint64_t *)histogram->counts;

	for (int64_t i = begin; i < end; i++)
		fetch_add_relaxed(&counts[histogram->data[i]], 1);
}

void kernel_histogram_private(int64_t begin, int64_t end, void *ctx)
{
	const filar_histogram *histogram = ctx;
	_Atomic uint64_t *counts = (_Atomic uint64_t *)histogram->counts;
	uint64_t own[256] = { 0 };

	for (int64_t i = begin; i < end; i++)
		own[histogram->data[i]]++;
	for (int value = 0; value < 256; value++) {
		if (own[value] > 0)
			fetch_add_relaxed(&counts[value], own[value]);
	}
}
