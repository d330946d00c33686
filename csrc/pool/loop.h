/*
 * loop.h - parallel loops: pieces of a range, on the caller's thread and on workers that have
 * nothing else to do.
 */
#ifndef FILAR_POOL_LOOP_H
#define FILAR_POOL_LOOP_H

#include "pool/pool.h"

enum loop_schedule { LOOP_ADAPTIVE, LOOP_STATIC, LOOP_DYNAMIC };

typedef void range_body(int64_t begin, int64_t end, void *ctx);

struct loop_options {
	int64_t grain; /* 0: as it sees fit */
	enum loop_schedule schedule;
	uint32_t threads; /* 0: as many as the pool's workers */
	struct token *token;
	/* NULL, or asked now and then by the caller's thread; true ends the loop. */
	bool (*interrupted)(void *argument);
	void *interrupted_argument;
};

enum filar_status pool_parallel_for(struct pool *pool, const struct loop_options *options,
	int64_t begin, int64_t end, range_body *body, void *ctx);

typedef void partial_body(int64_t begin, int64_t end, void *ctx, void *partial);
typedef void combine_body(void *into, const void *from, void *ctx);

struct reduction {
	partial_body *body;
	combine_body *combine;
	const void *identity; /* NULL: zeroes */
	size_t bytes_each;
};

/* pool NULL: by the caller alone. */
enum filar_status pool_parallel_reduce(struct pool *pool, const struct loop_options *options,
	int64_t begin, int64_t end, const struct reduction *reduction, void *ctx, void *result);

/* For workers: a place in a loop that wants help; then the help itself. */
bool loops_enter(struct pool *pool, struct loop **loop, uint32_t *place);
void loop_help(struct pool_worker *self, struct loop *loop, uint32_t place);

#endif
