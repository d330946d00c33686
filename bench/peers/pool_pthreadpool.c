/*
 * pool_pthreadpool.c - pthreadpool (the loops of XNNPACK and others) in the lines of pool.h.
 */
#include "pool.h"

#include <pthreadpool.h>

static pthreadpool_t pool;

static void start(int threads, bool submitting)
{
	(void)submitting;
	pool = pthreadpool_create((size_t)threads);
}

static void stop(void)
{
	pthreadpool_destroy(pool);
}

struct job {
	pool_range *body;
	void *ctx;
};

static void piece(void *pointer, size_t begin, size_t count)
{
	struct job *job = pointer;

	job->body((int64_t)begin, (int64_t)(begin + count), job->ctx);
}

static void loop(enum pool_loop kind, int64_t count, pool_range *body, void *ctx)
{
	struct job job = { body, ctx };
	size_t threads = pthreadpool_get_threads_count(pool), tile;

	/* Tiles are its way of saying how fine: one for each thread, or small ones to steal. */
	tile = kind == POOL_LOOP_STATIC ? ((size_t)count + threads - 1) / threads
	       : count >= 100000        ? (size_t)count / 256
					: 1;
	pthreadpool_parallelize_1d_tile_1d(pool, piece, &job, (size_t)count, tile, 0);
}

int main(int argc, char **argv)
{
	static const struct pool_peer peer = {
		.start = start, .stop = stop, .loop = loop, .names = { "static", "dynamic", NULL }
	};

	return pool_main(&peer, argc, argv);
}
