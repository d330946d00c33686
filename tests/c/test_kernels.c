/*
 * test_kernels.c - each kernel, against arithmetic written down here in the plainest way, serially
 * and on every kind and size of pool.
 */
#include <math.h>

#include "base/compiler.h"
#include "base/random.h"
#include "check.h"
#include "filar.h"

static const bool small = FILAR_HARD || FILAR_TSAN || FILAR_ASAN || FILAR_FAIL;
static struct random dice;

static double draw(void)
{
	return (double)random_below(&dice, 2000001) / 1000.0 - 1000;
}

/* With no pool first, then on each kind and size. */
static void for_each_pool(void (*body)(filar_pool *pool))
{
	random_init(&dice, check_seed());
	body(NULL);
	for (uint32_t workers = 1; workers <= 3; workers++) {
		for (int32_t queues = FILAR_POOL_STEALING; queues <= FILAR_POOL_PINNED; queues++) {
			filar_pool_options options;
			filar_pool *pool;

			filar_pool_options_init(&options);
			options.workers = workers;
			options.queues = queues;
			CHECK_EQ(filar_pool_create(&pool, &options), FILAR_OK);
			body(pool);
			CHECK_EQ(filar_pool_shutdown_until(pool, false, FILAR_FOREVER), FILAR_OK);
			CHECK_EQ(filar_pool_destroy(pool), FILAR_OK);
		}
	}
}

/* Serially, or by each of the schedules. */
static void run(filar_pool *pool, int64_t count, filar_range_body body, void *ctx, int32_t schedule)
{
	filar_loop_options options;

	filar_loop_options_init(&options);
	options.schedule = schedule;
	if (pool == NULL)
		body(0, count, ctx);
	else
		CHECK_EQ(filar_parallel_for(pool, &options, 0, count, body, ctx), FILAR_OK);
}

/* ---- arrays ---- */

enum { MANY = 30000 };
static double x[MANY], y[MANY], expected[MANY], scratch[MANY];

static void axpy(filar_pool *pool)
{
	for (int32_t schedule = 0; schedule < 3; schedule++) {
		filar_axpy ctx = { 2.5, x, y };

		for (int i = 0; i < MANY; i++) {
			x[i] = draw();
			y[i] = draw();
			expected[i] = y[i] + 2.5 * x[i];
		}
		run(pool, MANY, filar_kernel_axpy, &ctx, schedule);
		for (int i = 0; i < MANY; i++)
			CHECK(fabs(y[i] - expected[i]) < 1e-9);
	}
}

TEST(axpy_adds_a_times_x)
{
	for_each_pool(axpy);
}

static double first_sum, first_dot;

static void sums(filar_pool *pool)
{
	double sum = 0, dot = 0, plain_sum = 0, plain_dot = 0;

	random_init(&dice, check_seed());
	for (int i = 0; i < MANY; i++) {
		x[i] = draw();
		y[i] = draw();
		plain_sum += x[i];
		plain_dot += x[i] * y[i];
	}
	CHECK_EQ(filar_sum(pool, NULL, x, MANY, &sum), FILAR_OK);
	CHECK_EQ(filar_dot(pool, NULL, x, y, MANY, &dot), FILAR_OK);
	CHECK(fabs(sum - plain_sum) < 1e-6 && fabs(dot - plain_dot) < 1e-2);
	if (pool == NULL) {
		first_sum = sum;
		first_dot = dot;
	}
	CHECK(sum == first_sum && dot == first_dot);
	CHECK_EQ(filar_sum(pool, NULL, NULL, 0, &sum), FILAR_OK);
	CHECK(sum == 0);
}

TEST(sum_and_dot_are_the_same_to_the_last_bit_everywhere)
{
	for_each_pool(sums);
}

static void matmul(filar_pool *pool)
{
	enum { ROWS = 37, INNER = 70, COLUMNS = 261 };
	static double a[ROWS * INNER], b[INNER * COLUMNS], c[ROWS * COLUMNS];
	filar_matmul ctx = { a, b, c, INNER, COLUMNS };

	for (int i = 0; i < ROWS * INNER; i++)
		a[i] = draw();
	for (int i = 0; i < INNER * COLUMNS; i++)
		b[i] = draw();
	memset(c, 0x7f, sizeof c);
	run(pool, ROWS, filar_kernel_matmul, &ctx, 0);
	for (int i = 0; i < ROWS; i++) {
		for (int j = 0; j < COLUMNS; j++) {
			double sum = 0;

			for (int k = 0; k < INNER; k++)
				sum += a[i * INNER + k] * b[k * COLUMNS + j];
			CHECK(fabs(c[i * COLUMNS + j] - sum) < 1e-3);
		}
	}
}

TEST(matmul_multiplies)
{
	for_each_pool(matmul);
}

static uint8_t bytes[MANY];

static void histograms(filar_pool *pool)
{
	static const filar_range_body bodies[] = { filar_kernel_histogram_atomic,
		filar_kernel_histogram_private, filar_kernel_histogram_racy };
	uint64_t plain[256] = { 0 };

	for (int i = 0; i < MANY; i++) {
		bytes[i] = (uint8_t)random_below(&dice, 200);
		plain[bytes[i]]++;
	}
	for (int kind = 0; kind < 3; kind++) {
		uint64_t counts[256] = { 0 };
		filar_histogram ctx = { bytes, counts };

		run(pool, MANY, bodies[kind], &ctx, 0);
		for (int value = 0; value < 256; value++) {
			/* The racy one may lose some, but only in company. */
			if (kind < 2 || pool == NULL)
				CHECK_EQ(counts[value], plain[value]);
			else
				CHECK_LE(counts[value], plain[value]);
		}
	}
}

TEST(histograms_count_each_byte)
{
	for_each_pool(histograms);
}

/* ---- pictures ---- */

static void mandelbrot(filar_pool *pool)
{
	enum { ROWS = 60, COLUMNS = 50, STEPS = 300 };
	static uint16_t picture[ROWS * COLUMNS];
	filar_mandelbrot ctx = { picture, ROWS, COLUMNS, -2, -1.25, 2.5, 2.5, STEPS };

	memset(picture, 0xff, sizeof picture);
	run(pool, ROWS, filar_kernel_mandelbrot, &ctx, 0);
	for (int row = 0; row < ROWS; row++) {
		for (int column = 0; column < COLUMNS; column++) {
			double cr = -2 + 2.5 * column / COLUMNS, ci = -1.25 + 2.5 * row / ROWS;
			double zr = 0, zi = 0;
			int steps = 0;

			for (; steps < STEPS && zr * zr + zi * zi < 4; steps++) {
				double next = zr * zr - zi * zi + cr;

				zi = 2 * zr * zi + ci;
				zr = next;
			}
			CHECK_EQ(picture[row * COLUMNS + column], steps);
		}
	}
}

TEST(mandelbrot_counts_the_steps_to_escape)
{
	for_each_pool(mandelbrot);
}

static int at(int value, int end)
{
	return value < 0 ? 0 : value >= end ? end - 1 : value;
}

static void blurs(filar_pool *pool)
{
	enum { ROWS = 23, COLUMNS = 31, CHANNELS = 3, RADIUS = 3 };
	static const int weights[5] = { 1, 4, 6, 4, 1 };
	static uint8_t source[ROWS][COLUMNS][CHANNELS], box[ROWS][COLUMNS][CHANNELS],
		gauss[ROWS][COLUMNS][CHANNELS];
	filar_blur ctx = { &source[0][0][0], &box[0][0][0], ROWS, COLUMNS, CHANNELS, RADIUS };

	for (size_t i = 0; i < sizeof source; i++)
		(&source[0][0][0])[i] = (uint8_t)random_next(&dice);
	run(pool, ROWS, filar_kernel_box_blur, &ctx, 0);
	ctx.target = &gauss[0][0][0];
	run(pool, ROWS, filar_kernel_gauss_blur, &ctx, 0);
	for (int row = 0; row < ROWS; row++) {
		for (int column = 0; column < COLUMNS; column++) {
			for (int k = 0; k < CHANNELS; k++) {
				int sum = 0, weighted = 0;

				for (int i = -RADIUS; i <= RADIUS; i++)
					for (int j = -RADIUS; j <= RADIUS; j++)
						sum += source[at(row + i, ROWS)]
							     [at(column + j, COLUMNS)][k];
				for (int i = -2; i <= 2; i++)
					for (int j = -2; j <= 2; j++)
						weighted += weights[i + 2] * weights[j + 2] *
							    source[at(row + i, ROWS)]
								  [at(column + j, COLUMNS)][k];
				CHECK_EQ(box[row][column][k], (sum + 24) / 49);
				CHECK_EQ(gauss[row][column][k], (weighted + 128) / 256);
			}
		}
	}
}

TEST(blurs_are_weighted_means_with_repeated_edges)
{
	for_each_pool(blurs);
}

/* ---- searching, forking ---- */

static void sieve(filar_pool *pool)
{
	static const int64_t counts[] = { 0, 1, 2, 3, 4, 5, 10, 1000, 200000 };
	static uint8_t is_prime[200000];

	for (size_t i = 0; i < sizeof counts / sizeof counts[0] - (small ? 1 : 0); i++) {
		int64_t count = counts[i];

		memset(is_prime, 7, sizeof is_prime);
		CHECK_EQ(filar_sieve(pool, NULL, is_prime, count), FILAR_OK);
		for (int64_t n = 0; n < count; n++) {
			bool prime = n > 1;

			for (int64_t d = 2; d * d <= n && prime; d++)
				prime = n % d != 0;
			CHECK_EQ(is_prime[n], prime);
		}
		if (count < 200000)
			CHECK_EQ(is_prime[count], 7);
	}
}

TEST(the_sieve_leaves_the_primes)
{
	for_each_pool(sieve);
}

static void queens(filar_pool *pool)
{
	static const int64_t ways[] = { 1, 0, 0, 2, 10, 4, 40, 92, 352, 724 };

	for (int32_t n = 1; n <= (small ? 8 : 10); n++) {
		int64_t found = -1;

		CHECK_EQ(filar_nqueens(pool, NULL, n, &found), FILAR_OK);
		CHECK_EQ(found, ways[n - 1]);
	}
}

TEST(queens_stand_in_the_known_number_of_ways)
{
	for_each_pool(queens);
}

static void fib(filar_pool *pool)
{
	int64_t a = 0, b = 1;

	for (int32_t n = 0; n <= (small ? 15 : 21); n++) {
		int64_t found = -1, next = a + b;

		CHECK_EQ(filar_fib(pool, n, &found), FILAR_OK);
		CHECK_EQ(found, a);
		a = b;
		b = next;
	}
}

TEST(fib_is_fibonacci)
{
	for_each_pool(fib);
}

static int compare(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

static void sort(filar_pool *pool)
{
	static const int counts[] = { 0, 1, 2, 33, 4097, MANY };

	for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
		for (int j = 0; j < counts[i]; j++)
			expected[j] = x[j] = draw();
		qsort(expected, (size_t)counts[i], sizeof expected[0], compare);
		CHECK_EQ(filar_merge_sort(pool, x, scratch, counts[i]), FILAR_OK);
		CHECK_EQ(memcmp(x, expected, (size_t)counts[i] * sizeof x[0]), 0);
	}
}

TEST(merge_sort_sorts)
{
	for_each_pool(sort);
}

/* ---- loads ---- */

static void loads(filar_pool *pool)
{
	enum { PLACES = 1000 };
	static int64_t next[PLACES], ends[PLACES];
	uint64_t sink = 0, plain = 0;
	filar_spin spin = { 20, &sink };
	filar_chase chase = { next, ends, 17 };

	for (int i = 0; i < PLACES; i++)
		next[i] = (i + 7) % PLACES;
	run(pool, PLACES, filar_kernel_spin, &spin, 0);
	run(pool, PLACES, filar_kernel_chase, &chase, 0);
	for (uint64_t i = 0; i < PLACES; i++) {
		uint64_t value = i | 1;

		for (int step = 0; step < 20; step++)
			value *= UINT64_C(6364136223846793005);
		plain += value;
		CHECK_EQ(ends[i], (i + 17 * 7) % PLACES);
	}
	CHECK(sink == plain);
}

TEST(spin_and_chase_take_so_many_steps)
{
	for_each_pool(loads);
}

TEST(sizes_out_of_range_are_refused_with_a_sentence)
{
	int64_t number = 0;
	double result;

	CHECK_EQ(filar_sum(NULL, NULL, x, -1, &result), FILAR_INVALID);
	CHECK_TEXT_HAS(filar_status_detail(), "-1");
	CHECK_EQ(filar_sum(NULL, NULL, NULL, 5, &result), FILAR_INVALID);
	CHECK_EQ(filar_dot(NULL, NULL, x, NULL, 5, &result), FILAR_INVALID);
	CHECK_EQ(filar_sieve(NULL, NULL, bytes, -5), FILAR_INVALID);
	CHECK_EQ(filar_nqueens(NULL, NULL, 0, &number), FILAR_INVALID);
	CHECK_EQ(filar_nqueens(NULL, NULL, 17, &number), FILAR_INVALID);
	CHECK_EQ(filar_fib(NULL, 51, &number), FILAR_INVALID);
	CHECK_EQ(filar_fib(NULL, 5, NULL), FILAR_INVALID);
	CHECK_EQ(filar_merge_sort(NULL, x, NULL, 10), FILAR_INVALID);
}

TEST_MAIN()
