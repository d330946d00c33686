/*
 * pool_tbb.cpp - oneTBB in the lines of pool.h: task_group, parallel_for with its partitioners.
 */
#include <memory>

#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/parallel_invoke.h>
#include <tbb/task_group.h>

#include "pool.h"

static std::unique_ptr<tbb::global_control> limit;
static std::unique_ptr<tbb::task_group> group;

static void start(int threads, bool submitting)
{
	limit = std::make_unique<tbb::global_control>(
		tbb::global_control::max_allowed_parallelism, threads + (submitting ? 1 : 0));
	group = std::make_unique<tbb::task_group>();
}

static void stop(void)
{
	group.reset();
	limit.reset();
}

static void submit(pool_body *body, void *argument)
{
	group->run([=] { body(argument); });
}

static void wait_for_all(void)
{
	group->wait();
}

static void loop(enum pool_loop kind, int64_t count, pool_range *body, void *ctx)
{
	tbb::blocked_range<int64_t> range(0, count);
	auto piece = [=](const tbb::blocked_range<int64_t> &part) {
		body(part.begin(), part.end(), ctx);
	};

	if (kind == POOL_LOOP_STATIC)
		tbb::parallel_for(range, piece, tbb::static_partitioner());
	else
		tbb::parallel_for(range, piece, tbb::auto_partitioner());
}

static int64_t fork_fib(int n)
{
	int64_t left, right;

	if (n < 2)
		return n;
	tbb::task_group both;
	both.run([&] { right = fork_fib(n - 2); });
	left = fork_fib(n - 1);
	both.wait();
	return left + right;
}

static void fib(int n, int64_t *result)
{
	*result = fork_fib(n);
}

int main(int argc, char **argv)
{
	static const struct pool_peer peer = { start, stop, submit, nullptr, wait_for_all, loop,
		{ "static", nullptr, "best" }, fib };

	return pool_main(&peer, argc, argv);
}
