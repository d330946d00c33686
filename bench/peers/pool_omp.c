/*
 * pool_omp.c - OpenMP in the lines of pool.h, with whichever runtime it is linked to (libgomp,
 * LLVM's libomp): parallel for, and tasks.
 */
#include "pool.h"

#include <omp.h>

static int team;

static void start(int threads, bool submitting)
{
	team = threads + (submitting ? 1 : 0);
	omp_set_num_threads(team);
}

static void stop(void)
{
}

static void loop(enum pool_loop kind, int64_t count, pool_range *body, void *ctx)
{
	if (kind == POOL_LOOP_STATIC) {
#pragma omp parallel num_threads(team)
		{
			int64_t index = omp_get_thread_num(), threads = omp_get_num_threads();

			body(count * index / threads, count * (index + 1) / threads, ctx);
		}
	} else {
		int64_t piece = count >= 100000 ? count / 256 : 1;

#pragma omp parallel for schedule(dynamic, 1) num_threads(team)
		for (int64_t i = 0; i < (count + piece - 1) / piece; i++)
			body(i * piece, (i + 1) * piece < count ? (i + 1) * piece : count, ctx);
	}
}

static int64_t fork_fib(int n)
{
	int64_t left, right;

	if (n < 2)
		return n;
#pragma omp task shared(right)
	right = fork_fib(n - 2);
	left = fork_fib(n - 1);
#pragma omp taskwait
	return left + right;
}

static void fib(int n, int64_t *result)
{
	int64_t found = 0;

#pragma omp parallel num_threads(team) shared(found)
#pragma omp single
	found = fork_fib(n);
	*result = found;
}

int main(int argc, char **argv)
{
	static const struct pool_peer peer = { .start = start,
		.stop = stop,
		.loop = loop,
		.names = { "static", "dynamic", NULL },
		.fib = fib };

	return pool_main(&peer, argc, argv);
}
