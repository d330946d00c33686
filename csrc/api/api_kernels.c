/*
 * api_kernels.c - the public kernels: ranges as they are, whole computations with their sizes
 * checked.
 */
#include "api/pool_options.h"
#include "filar.h"
#include "green/preempt.h"
#include "kernels/kernels.h"

/* Without a guard: they touch nothing of filar's, and may be preempted like a body's own loop. */
#define X(name)                                                                                    \
	void filar_kernel_##name(int64_t begin, int64_t end, void *ctx)                            \
	{                                                                                          \
		kernel_##name(begin, end, ctx);                                                    \
	}
KERNEL_RANGES(X)
#undef X

static enum filar_status check_count(const char *what, int64_t value, int64_t least, int64_t most)
{
	if (value >= least && value <= most)
		return FILAR_OK;
	return status_detail(FILAR_INVALID, "%s is %lld; from %lld to %lld is possible", what,
		(long long)value, (long long)least, (long long)most);
}

static enum filar_status check_array(const void *array, int64_t count)
{
	enum filar_status status = check_count("the number of elements", count, 0, INT64_MAX / 8);

	if (status == FILAR_OK && array == NULL && count > 0)
		status = status_detail(FILAR_INVALID, "no array was given");
	return status;
}

int filar_sum(filar_pool *pool, const filar_loop_options *options, const double *x, int64_t count,
	double *result)
{
	PREEMPT_GUARD();
	struct loop_options inner;
	enum filar_status status = check_array(x, count);

	if (status == FILAR_OK)
		status = check_array(result, 1);
	if (status == FILAR_OK)
		status = pool_convert_loop(options, &inner);
	return status == FILAR_OK ? kernel_sum((struct pool *)pool, &inner, x, count, result)
				  : status;
}

int filar_dot(filar_pool *pool, const filar_loop_options *options, const double *x, const double *y,
	int64_t count, double *result)
{
	PREEMPT_GUARD();
	struct loop_options inner;
	enum filar_status status = check_array(x, count);

	if (status == FILAR_OK)
		status = check_array(y, count);
	if (status == FILAR_OK)
		status = check_array(result, 1);
	if (status == FILAR_OK)
		status = pool_convert_loop(options, &inner);
	return status == FILAR_OK ? kernel_dot((struct pool *)pool, &inner, x, y, count, result)
				  : status;
}

int filar_sieve(
	filar_pool *pool, const filar_loop_options *options, uint8_t *is_prime, int64_t count)
{
	PREEMPT_GUARD();
	struct loop_options inner;
	enum filar_status status = check_array(is_prime, count);

	if (status == FILAR_OK)
		status = pool_convert_loop(options, &inner);
	return status == FILAR_OK ? kernel_sieve((struct pool *)pool, &inner, is_prime, count)
				  : status;
}

int filar_nqueens(filar_pool *pool, const filar_loop_options *options, int32_t n, int64_t *result)
{
	PREEMPT_GUARD();
	struct loop_options inner;
	enum filar_status status = check_count("the number of queens", n, 1, NQUEENS_MAX);

	if (status == FILAR_OK)
		status = check_array(result, 1);
	if (status == FILAR_OK)
		status = pool_convert_loop(options, &inner);
	return status == FILAR_OK ? kernel_nqueens((struct pool *)pool, &inner, n, result) : status;
}

int filar_fib(filar_pool *pool, int32_t n, int64_t *result)
{
	PREEMPT_GUARD();
	enum filar_status status = check_count("the index of the Fibonacci number", n, 0, FIB_MAX);

	if (status == FILAR_OK)
		status = check_array(result, 1);
	return status == FILAR_OK ? kernel_fib((struct pool *)pool, n, result) : status;
}

int filar_merge_sort(filar_pool *pool, double *values, double *scratch, int64_t count)
{
	PREEMPT_GUARD();
	enum filar_status status = check_array(values, count);

	if (status == FILAR_OK)
		status = check_array(scratch, count);
	return status == FILAR_OK ? kernel_merge_sort((struct pool *)pool, values, scratch, count)
				  : status;
}
