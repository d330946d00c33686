/*
 * api_pool.c - the public pools: check the arguments, call down.
 */
#include "api/pool_options.h"
#include "filar.h"
#include "green/preempt.h"
#include "os/clock.h"
#include "pool/loop.h"
#include "pool/pool.h"
#include "pool/recording.h"
#include "pool/task.h"

_Static_assert((int)FILAR_POOL_STEALING == POOL_STEALING, "one meaning");
_Static_assert((int)FILAR_POOL_SHARED == POOL_SHARED, "one meaning");
_Static_assert((int)FILAR_POOL_PINNED == POOL_PINNED, "one meaning");
_Static_assert((int)FILAR_FULL_BLOCK == POOL_FULL_BLOCK, "one meaning");
_Static_assert((int)FILAR_FULL_REJECT == POOL_FULL_REJECT, "one meaning");
_Static_assert((int)FILAR_FULL_RUN == POOL_FULL_RUN, "one meaning");
_Static_assert((int)FILAR_SCHEDULE_ADAPTIVE == LOOP_ADAPTIVE, "one meaning");
_Static_assert((int)FILAR_SCHEDULE_STATIC == LOOP_STATIC, "one meaning");
_Static_assert((int)FILAR_SCHEDULE_DYNAMIC == LOOP_DYNAMIC, "one meaning");
_Static_assert(sizeof(struct token) <= sizeof(filar_token), "room for a token");
_Static_assert(sizeof(struct task) <= sizeof(filar_task), "room for a task");

static struct pool *inner(filar_pool *pool)
{
	return (struct pool *)pool;
}

static struct token *inner_token(filar_token *token)
{
	return (struct token *)token;
}

static struct task *inner_task(filar_task *task)
{
	return (struct task *)task;
}

/* A handle is the object itself: api_block.c. */
static struct waitgroup *inner_group(filar_waitgroup *group)
{
	return (struct waitgroup *)group;
}

static enum filar_status no_pool(void)
{
	return status_detail(FILAR_INVALID, "no pool");
}

static enum filar_status no_body(void)
{
	return status_detail(FILAR_INVALID, "the address of the function to call is 0");
}

/* ---- life ---- */

void filar_pool_options_init(filar_pool_options *options)
{
	*options = (filar_pool_options){ 0 };
}

static enum filar_status out_of_range(const char *what, int64_t value)
{
	return status_detail(FILAR_INVALID, "%s cannot be %lld", what, (long long)value);
}

static enum filar_status convert_options(
	const filar_pool_options *options, struct pool_options *inner_options)
{
	if (options->pin < FILAR_WORKERS_NOT_PINNED || options->pin > FILAR_WORKERS_LIST)
		return out_of_range("pin", options->pin);
	if (options->queues < FILAR_POOL_STEALING || options->queues > FILAR_POOL_PINNED)
		return out_of_range("queues", options->queues);
	if (options->when_full < FILAR_FULL_BLOCK || options->when_full > FILAR_FULL_RUN)
		return out_of_range("when_full", options->when_full);
	*inner_options = (struct pool_options){ .workers = options->workers,
		.workers_max = options->workers_max,
		.pin = (enum worker_pin)options->pin,
		.cpus = options->cpus,
		.cpu_count = options->cpu_count,
		.name = options->name,
		.stack_bytes = options->stack_bytes,
		.queues = (enum pool_queues)options->queues,
		.when_full = (enum pool_full)options->when_full,
		.queue_max = options->queue_max,
		.spares_max = options->spare_workers_max,
		.worker_begins = options->worker_begins,
		.worker_ends = options->worker_ends,
		.hook_argument = options->hook_argument };
	return FILAR_OK;
}

int filar_pool_create(filar_pool **pool, const filar_pool_options *options)
{
	PREEMPT_GUARD();
	struct pool_options inner_options;
	enum filar_status status = FILAR_OK;

	if (pool == NULL)
		return no_pool();
	*pool = NULL;
	pool_options_init(&inner_options);
	if (options != NULL)
		status = convert_options(options, &inner_options);
	return status == FILAR_OK ? pool_create((struct pool **)pool, &inner_options) : status;
}

int filar_pool_start(filar_pool *pool)
{
	PREEMPT_GUARD();

	return pool != NULL ? pool_start(inner(pool)) : no_pool();
}

int filar_pool_resize(filar_pool *pool, uint32_t workers)
{
	PREEMPT_GUARD();

	return pool != NULL ? pool_resize(inner(pool), workers) : no_pool();
}

int filar_pool_shutdown_until(filar_pool *pool, bool cancel, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	return pool != NULL ? pool_shutdown_until(inner(pool), cancel, deadline_ns) : no_pool();
}

int filar_pool_destroy(filar_pool *pool)
{
	PREEMPT_GUARD();

	return pool != NULL ? pool_destroy(inner(pool)) : no_pool();
}

/* ---- tokens ---- */

void filar_token_init(filar_token *token, int64_t deadline_ns)
{
	token_init(inner_token(token), deadline_ns);
}

void filar_token_cancel(filar_token *token)
{
	PREEMPT_GUARD();

	if (token != NULL)
		token_cancel(inner_token(token));
}

bool filar_token_is_cancelled(const filar_token *token)
{
	PREEMPT_GUARD();

	return token != NULL && token_check((const struct token *)token) != FILAR_OK;
}

bool filar_call_cancelled(void)
{
	PREEMPT_GUARD();

	return pool_call_cancelled();
}

/* ---- submitting ---- */

void filar_submit_options_init(filar_submit_options *options)
{
	*options = (filar_submit_options){ .worker = -1, .deadline_ns = DEADLINE_NEVER };
}

static enum filar_status convert_submission(
	const filar_submit_options *options, struct submission *how)
{
	submission_init(how);
	if (options == NULL)
		return FILAR_OK;
	if (options->priority < FILAR_PRIORITY_LOW || options->priority > FILAR_PRIORITY_HIGH)
		return out_of_range("priority", options->priority);
	how->group = inner_group(options->group);
	how->token = inner_token(options->token);
	how->priority = (enum pool_priority)(POOL_NORMAL - options->priority);
	how->worker = options->worker;
	how->deadline_ns = options->deadline_ns;
	return FILAR_OK;
}

int filar_pool_submit(
	filar_pool *pool, const filar_submit_options *options, filar_call_body body, void *argument)
{
	PREEMPT_GUARD();
	struct submission how;
	enum filar_status status;

	if (pool == NULL)
		return no_pool();
	if (body == NULL)
		return no_body();
	status = convert_submission(options, &how);
	return status == FILAR_OK ? pool_submit(inner(pool), &how, body, argument) : status;
}

static enum filar_status check_calls(const filar_call *calls, size_t count)
{
	if (calls == NULL && count > 0)
		return status_detail(FILAR_INVALID, "no calls were given");
	for (size_t i = 0; i < count; i++) {
		if (calls[i].body == NULL)
			return status_detail(FILAR_INVALID,
				"the address of the function to call is 0 in call %zu", i);
	}
	return FILAR_OK;
}

int filar_pool_submit_many(filar_pool *pool, const filar_submit_options *options,
	const filar_call *calls, size_t count, size_t *submitted)
{
	PREEMPT_GUARD();
	struct submission how;
	enum filar_status status;

	if (submitted != NULL)
		*submitted = 0;
	if (pool == NULL)
		return no_pool();
	status = check_calls(calls, count);
	if (status == FILAR_OK)
		status = convert_submission(options, &how);
	return status == FILAR_OK ? pool_submit_many(inner(pool), &how, calls, count, submitted)
				  : status;
}

int filar_pool_wait_until(filar_pool *pool, filar_waitgroup *group, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	if (pool == NULL)
		return no_pool();
	if (group == NULL)
		return status_detail(FILAR_INVALID, "no waitgroup was given");
	return pool_wait_until(inner(pool), inner_group(group), deadline_ns);
}

/* ---- tasks ---- */

void filar_task_init(filar_task *task, filar_call_body body, void *argument)
{
	task_init(inner_task(task), body, argument);
}

int filar_pool_submit_task(filar_pool *pool, const filar_submit_options *options, filar_task *task)
{
	PREEMPT_GUARD();
	struct submission how;
	enum filar_status status;

	if (pool == NULL)
		return no_pool();
	if (task == NULL)
		return status_detail(FILAR_INVALID, "no task was given");
	if (inner_task(task)->body == NULL)
		return no_body();
	status = convert_submission(options, &how);
	return status == FILAR_OK ? task_submit(inner(pool), &how, inner_task(task)) : status;
}

int filar_task_wait_until(filar_task *task, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	if (task == NULL)
		return status_detail(FILAR_INVALID, "no task was given");
	return task_wait_until(inner_task(task), deadline_ns);
}

int filar_task_outcome(const filar_task *task)
{
	PREEMPT_GUARD();

	return task != NULL ? task_outcome((const struct task *)task) : FILAR_INVALID;
}

int filar_task_cancel(filar_task *task)
{
	PREEMPT_GUARD();

	return task != NULL ? task_cancel(inner_task(task)) : FILAR_INVALID;
}

int filar_pool_call(filar_pool *pool, filar_call_body body, void *argument)
{
	PREEMPT_GUARD();

	if (pool == NULL)
		return no_pool();
	return body != NULL ? pool_call(inner(pool), body, argument) : no_body();
}

/* No guard: on a green thread it is two ordinary calls, and a pool's worker runs none. */
int filar_join(
	filar_call_body first, void *first_argument, filar_call_body second, void *second_argument)
{
	struct pool_worker *self;

	if (FILAR_UNLIKELY(first == NULL || second == NULL))
		return no_body();
	self = pool_worker_current();
	if (FILAR_LIKELY(self != NULL))
		return forks_join(&self->forks, first, first_argument, second, second_argument);
	return join_outside(first, first_argument, second, second_argument);
}

/* ---- loops ---- */

void filar_loop_options_init(filar_loop_options *options)
{
	*options = (filar_loop_options){ 0 };
}

enum filar_status pool_convert_loop(
	const filar_loop_options *options, struct loop_options *inner_options)
{
	*inner_options = (struct loop_options){ 0 };
	if (options == NULL)
		return FILAR_OK;
	if (options->grain < 0)
		return out_of_range("grain", options->grain);
	if (options->schedule < FILAR_SCHEDULE_ADAPTIVE ||
		options->schedule > FILAR_SCHEDULE_DYNAMIC)
		return out_of_range("schedule", options->schedule);
	*inner_options = (struct loop_options){ .grain = options->grain,
		.schedule = (enum loop_schedule)options->schedule,
		.threads = options->threads,
		.token = inner_token(options->token),
		.interrupted = options->interrupted,
		.interrupted_argument = options->interrupted_argument };
	return FILAR_OK;
}

int filar_parallel_for(filar_pool *pool, const filar_loop_options *options, int64_t begin,
	int64_t end, filar_range_body body, void *ctx)
{
	PREEMPT_GUARD();
	struct loop_options inner_options;
	enum filar_status status;

	if (pool == NULL)
		return no_pool();
	if (body == NULL)
		return no_body();
	status = pool_convert_loop(options, &inner_options);
	return status == FILAR_OK
		       ? pool_parallel_for(inner(pool), &inner_options, begin, end, body, ctx)
		       : status;
}

enum { PARTIAL_BYTES_MAX = 65536 };

static enum filar_status check_reduction(const filar_reduction *reduction, const void *result)
{
	if (reduction == NULL || result == NULL)
		return status_detail(FILAR_INVALID, "no %s was given",
			reduction == NULL ? "reduction" : "place for the result");
	if (reduction->body == NULL || reduction->combine == NULL)
		return no_body();
	if (reduction->bytes_each < 1 || reduction->bytes_each > PARTIAL_BYTES_MAX)
		return out_of_range("bytes_each", (int64_t)reduction->bytes_each);
	return FILAR_OK;
}

int filar_parallel_reduce(filar_pool *pool, const filar_loop_options *options, int64_t begin,
	int64_t end, const filar_reduction *reduction, void *ctx, void *result)
{
	PREEMPT_GUARD();
	struct loop_options inner_options;
	struct reduction inner_reduction;
	enum filar_status status;

	if (pool == NULL)
		return no_pool();
	status = check_reduction(reduction, result);
	if (status == FILAR_OK)
		status = pool_convert_loop(options, &inner_options);
	if (status != FILAR_OK)
		return status;
	inner_reduction = (struct reduction){ reduction->body, reduction->combine,
		reduction->identity, reduction->bytes_each };
	return pool_parallel_reduce(
		inner(pool), &inner_options, begin, end, &inner_reduction, ctx, result);
}

/* ---- looking ---- */

filar_pool *filar_pool_current(void)
{
	PREEMPT_GUARD();
	struct pool_worker *self = pool_worker_current();

	return self != NULL ? (filar_pool *)self->pool : NULL;
}

int32_t filar_pool_worker_index(void)
{
	PREEMPT_GUARD();
	struct pool_worker *self = pool_worker_current();

	return self != NULL ? (int32_t)self->worker->index : -1;
}

int filar_pool_read_stats(filar_pool *pool, filar_pool_stats *stats)
{
	PREEMPT_GUARD();

	if (pool == NULL || stats == NULL)
		return pool == NULL ? no_pool()
				    : status_detail(FILAR_INVALID, "no place for the statistics");
	pool_read_stats(inner(pool), stats);
	return FILAR_OK;
}

int filar_pool_describe_worker(filar_pool *pool, uint32_t index, filar_pool_worker *worker)
{
	PREEMPT_GUARD();

	if (pool == NULL || worker == NULL)
		return pool == NULL ? no_pool()
				    : status_detail(FILAR_INVALID, "no place for the description");
	return pool_describe_worker(inner(pool), index, worker);
}

int filar_pool_dump(filar_pool *pool, int fd)
{
	PREEMPT_GUARD();

	if (pool == NULL)
		return no_pool();
	if (fd < 0)
		return out_of_range("a file descriptor", fd);
	pool_dump(inner(pool), fd);
	return FILAR_OK;
}
