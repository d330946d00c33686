/*
 * pool_filar.c - our pool in the lines of pool.h, through filar.h as users have it.
 */
#include "pool.h"

#include "filar.h"

static filar_pool *pool;
static filar_waitgroup *group;
static filar_submit_options how;
static filar_call calls[POOL_TASKS];

static void check(int status, const char *what)
{
	if (status == FILAR_OK)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, filar_status_name(status), filar_status_detail());
	exit(1);
}

static void start(int threads, bool submitting)
{
	filar_pool_options options;

	(void)submitting;
	filar_pool_options_init(&options);
	options.workers = (uint32_t)threads;
	check(filar_pool_create(&pool, &options), "pool");
	check(filar_pool_start(pool), "start");
	check(filar_waitgroup_create(&group, NULL), "group");
	filar_submit_options_init(&how);
	how.group = group;
}

static void stop(void)
{
	check(filar_pool_shutdown_until(pool, false, FILAR_FOREVER), "shutdown");
	check(filar_pool_destroy(pool), "destroy");
	check(filar_waitgroup_destroy(group), "group");
}

static void submit(pool_body *body, void *argument)
{
	check(filar_pool_submit(pool, &how, body, argument), "submit");
}

static void submit_many(pool_body *body, int count)
{
	for (int i = 0; i < count; i++)
		calls[i] = (filar_call){ body, NULL };
	check(filar_pool_submit_many(pool, &how, calls, (size_t)count, NULL), "submit");
}

static void wait_for_all(void)
{
	check(filar_pool_wait_until(pool, group, FILAR_FOREVER), "wait");
}

static void loop(enum pool_loop kind, int64_t count, pool_range *body, void *ctx)
{
	filar_loop_options options;

	filar_loop_options_init(&options);
	options.schedule = kind == POOL_LOOP_STATIC    ? FILAR_SCHEDULE_STATIC
			   : kind == POOL_LOOP_DYNAMIC ? FILAR_SCHEDULE_DYNAMIC
						       : FILAR_SCHEDULE_ADAPTIVE;
	check(filar_parallel_for(pool, &options, 0, count, body, ctx), "loop");
}

struct fib {
	int n;
	int64_t result;
};

static void fork_fib(void *argument)
{
	struct fib *self = argument, left, right;

	if (self->n < 2) {
		self->result = self->n;
		return;
	}
	left.n = self->n - 1;
	right.n = self->n - 2;
	if (filar_join(fork_fib, &left, fork_fib, &right) != FILAR_OK)
		exit(1);
	self->result = left.result + right.result;
}

static void fib(int n, int64_t *result)
{
	struct fib root = { n, 0 };

	check(filar_pool_call(pool, fork_fib, &root), "call");
	*result = root.result;
}

int main(int argc, char **argv)
{
	static const struct pool_peer peer = { start, stop, submit, submit_many, wait_for_all, loop,
		{ "static", NULL, "best" }, fib };

	return pool_main(&peer, argc, argv);
}
