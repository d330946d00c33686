/*
 * search.c - the sieve and the queens: loops whose pieces are independent and uneven.
 */
#include <string.h>

#include "kernels/kernels.h"

/* Without a pool: the same body over the whole range. */
static enum filar_status run(struct pool *pool, const struct loop_options *options, int64_t count,
	range_body *body, void *ctx)
{
	if (pool != NULL)
		return pool_parallel_for(pool, options, 0, count, body, ctx);
	body(0, count, ctx);
	return FILAR_OK;
}

/* ---- sieve ---- */

/* Numbers in a segment: its flags stay in the first cache. */
#define SEGMENT 32768

struct sieve {
	uint8_t *is_prime;
	int64_t count;
	int64_t base_end; /* below this the flags are final */
};

static void strike_out(uint8_t *is_prime, int64_t prime, int64_t begin, int64_t end)
{
	int64_t first = (begin + prime - 1) / prime * prime;

	if (first < prime * prime)
		first = prime * prime;
	for (int64_t multiple = first; multiple < end; multiple += prime)
		is_prime[multiple] = 0;
}

/* Segments [first, last): each writes its own flags and reads those of the base. */
static void sieve_segments(int64_t first, int64_t last, void *ctx)
{
	const struct sieve *sieve = ctx;

	for (int64_t segment = first; segment < last; segment++) {
		int64_t begin = sieve->base_end + segment * SEGMENT;
		int64_t end = begin + SEGMENT < sieve->count ? begin + SEGMENT : sieve->count;

		memset(sieve->is_prime + begin, 1, (size_t)(end - begin));
		for (int64_t prime = 2; prime < sieve->base_end && prime * prime < end; prime++) {
			if (sieve->is_prime[prime])
				strike_out(sieve->is_prime, prime, begin, end);
		}
	}
}

/* All primes up to the root of `count`, by the caller. */
static int64_t sieve_base(uint8_t *is_prime, int64_t count)
{
	int64_t end = 2;

	while (end < count && (end - 1) * (end - 1) < count)
		end++;
	memset(is_prime, 1, (size_t)end);
	is_prime[0] = is_prime[1] = 0;
	for (int64_t prime = 2; prime * prime < end; prime++) {
		if (is_prime[prime])
			strike_out(is_prime, prime, prime * prime, end);
	}
	return end;
}

enum filar_status kernel_sieve(
	struct pool *pool, const struct loop_options *options, uint8_t *is_prime, int64_t count)
{
	struct sieve sieve = { is_prime, count, 0 };

	if (count <= 2) {
		memset(is_prime, 0, (size_t)count);
		return FILAR_OK;
	}
	sieve.base_end = sieve_base(is_prime, count);
	return run(pool, options, (count - sieve.base_end + SEGMENT - 1) / SEGMENT, sieve_segments,
		&sieve);
}

/* ---- queens ---- */

struct queens {
	int32_t n;
	_Atomic int64_t found; /* A  relaxed */
};

/* Columns and diagonals that are taken, as bits; a row for each call. */
static int64_t place_queens(uint32_t all, uint32_t columns, uint32_t left, uint32_t right)
{
	int64_t found = 0;
	uint32_t free_squares;

	if (columns == all)
		return 1;
	free_squares = all & ~(columns | left | right);
	while (free_squares != 0) {
		uint32_t square = free_squares & -free_squares;

		free_squares ^= square;
		found += place_queens(
			all, columns | square, (left | square) << 1, (right | square) >> 1);
	}
	return found;
}

/* Index: squares of the first two queens. */
static void queens_of_starts(int64_t begin, int64_t end, void *ctx)
{
	struct queens *queens = ctx;
	uint32_t all = (UINT32_C(1) << queens->n) - 1;
	int64_t found = 0;

	for (int64_t i = begin; i < end; i++) {
		uint32_t first = UINT32_C(1) << (i / queens->n);
		uint32_t second = UINT32_C(1) << (i % queens->n);
		uint32_t left = first << 1, right = first >> 1;

		if (((first | left | right) & second) != 0)
			continue;
		found += place_queens(
			all, first | second, (left | second) << 1, (right | second) >> 1);
	}
	fetch_add_relaxed(&queens->found, found);
}

enum filar_status kernel_nqueens(
	struct pool *pool, const struct loop_options *options, int32_t n, int64_t *result)
{
	struct queens queens = { .n = n };
	enum filar_status status;

	if (n == 1) {
		*result = 1;
		return FILAR_OK;
	}
	status = run(pool, options, (int64_t)n * n, queens_of_starts, &queens);
	if (status == FILAR_OK)
		*result = load_relaxed(&queens.found);
	return status;
}
