/*
 * forks.c - fork and join: fib, which is nothing but forks, and merge sort.
 */
#include <string.h>

#include "kernels/kernels.h"
#include "pool/recording.h"
#include "pool/task.h"

/* Outside of a pool: one after the other. */
static enum filar_status join(call_body *body, void *first, void *second)
{
	struct pool_worker *self = pool_worker_current();

	if (self != NULL)
		return forks_join(&self->forks, body, first, body, second);
	return join_outside(body, first, body, second);
}

static enum filar_status call(struct pool *pool, call_body *body, void *argument)
{
	if (pool != NULL)
		return pool_call(pool, body, argument);
	body(argument);
	return FILAR_OK;
}

/* ---- fib ---- */

struct fib {
	int32_t n;
	enum filar_status status;
	int64_t result;
};

static void fib(void *argument)
{
	struct fib *self = argument, left, right;

	self->status = FILAR_OK;
	if (self->n < 2) {
		self->result = self->n;
		return;
	}
	left.n = self->n - 1;
	right.n = self->n - 2;
	self->status = join(fib, &left, &right);
	if (self->status != FILAR_OK)
		return;
	self->status = left.status != FILAR_OK ? left.status : right.status;
	self->result = left.result + right.result;
}

static int64_t serial_fib(int32_t n)
{
	return n < 2 ? n : serial_fib(n - 1) + serial_fib(n - 2);
}

enum filar_status kernel_fib(struct pool *pool, int32_t n, int64_t *result)
{
	struct fib root = { .n = n };
	enum filar_status status;

	if (pool == NULL) {
		*result = serial_fib(n);
		return FILAR_OK;
	}
	status = pool_call(pool, fib, &root);
	if (status == FILAR_OK)
		status = root.status;
	if (status == FILAR_OK)
		*result = root.result;
	return status;
}

/* ---- merge sort ---- */

/* Shorter pieces are sorted by insertion; pieces up to FORK_MIN by their own thread. */
#define INSERT_MAX 32
#if FILAR_HARD
#define FORK_MIN 64
#else
#define FORK_MIN 4096
#endif

struct sort {
	double *values, *scratch;
	int64_t count;
	bool into_scratch; /* where the result is wanted */
	enum filar_status status;
};

static void insertion_sort(double *values, int64_t count)
{
	for (int64_t i = 1; i < count; i++) {
		double value = values[i];
		int64_t at = i;

		for (; at > 0 && values[at - 1] > value; at--)
			values[at] = values[at - 1];
		values[at] = value;
	}
}

static void merge(const double *left, int64_t left_count, const double *right, int64_t right_count,
	double *into)
{
	int64_t i = 0, j = 0;

	while (i < left_count && j < right_count)
		*into++ = right[j] < left[i] ? right[j++] : left[i++];
	memcpy(into, left + i, (size_t)(left_count - i) * sizeof *into);
	memcpy(into + (left_count - i), right + j, (size_t)(right_count - j) * sizeof *into);
}

/* The halves are sorted into the other array, then merged into the wanted one. */
static void sort(void *argument)
{
	struct sort *self = argument;
	int64_t half = self->count / 2;
	struct sort left = { self->values, self->scratch, half, !self->into_scratch, FILAR_OK };
	struct sort right = { self->values + half, self->scratch + half, self->count - half,
		!self->into_scratch, FILAR_OK };
	double *from = self->into_scratch ? self->values : self->scratch;
	double *into = self->into_scratch ? self->scratch : self->values;

	if (self->count <= INSERT_MAX) {
		insertion_sort(self->values, self->count);
		if (self->into_scratch)
			memcpy(self->scratch, self->values,
				(size_t)self->count * sizeof *self->values);
		return;
	}
	if (self->count < FORK_MIN) {
		sort(&left);
		sort(&right);
	} else {
		self->status = join(sort, &left, &right);
	}
	if (self->status == FILAR_OK)
		self->status = left.status != FILAR_OK ? left.status : right.status;
	if (self->status == FILAR_OK)
		merge(from, half, from + half, self->count - half, into);
}

enum filar_status kernel_merge_sort(
	struct pool *pool, double *values, double *scratch, int64_t count)
{
	struct sort root = { values, scratch, count, false, FILAR_OK };
	enum filar_status status = call(pool, sort, &root);

	return status == FILAR_OK ? root.status : status;
}
