/*
 * pool.c - making, starting, resizing, ending a pool, and looking into it.
 */
#include "pool/pool.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"
#include "os/affinity.h"
#include "os/clock.h"
#include "os/topology.h"

void pool_options_init(struct pool_options *options)
{
	*options = (struct pool_options){ 0 };
}

bool pool_is_forked(const struct pool *pool)
{
	return pool->fork_generation != kthread_fork_generation();
}

static enum filar_status forked(void)
{
	return status_detail(FILAR_FORKED, "the pool runs in the parent process");
}

static struct pool *pool_of_scheduler(struct scheduler *scheduler)
{
	return FILAR_CONTAINER_OF(scheduler, struct pool, scheduler);
}

/* With the spares. */
static uint32_t local_count(const struct pool *pool)
{
	return pool->options.workers_max + pool->options.spares_max;
}

/* ---- hooks of the scheduler ---- */

static enum filar_status worker_begins(struct worker *worker)
{
	struct pool *pool = pool_of_scheduler(worker->scheduler);
	struct pool_worker *self = &pool->locals[worker->index];
	const struct pool_options *options = &pool->options;
	enum filar_status status;
	struct lane_block *block;
	int answer;

	self->worker = worker;
	worker->local = self;
	/* A worker that could not begin the last time has them already. */
	if (load_relaxed(&self->forks.array) == NULL) {
		status = forks_init(&self->forks, worker);
		if (status != FILAR_OK)
			return status;
	}
	block = lane_block_create();
	if (block == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a worker's queue");
	spinlock_lock(&self->lane.lock);
	if (lane_give_block(&self->lane, block))
		block = NULL;
	spinlock_unlock(&self->lane.lock);
	memory_release(block);
	answer = options->worker_begins != NULL
			 ? options->worker_begins(options->hook_argument, worker->index)
			 : FILAR_OK;
	return (enum filar_status)answer;
}

static void worker_ends(struct worker *worker)
{
	struct pool_worker *self = worker->local;
	const struct pool_options *options = &self->pool->options;

	if (options->worker_ends != NULL)
		options->worker_ends(options->hook_argument, worker->index);
}

/* ---- who is there ---- */

static uint64_t ended(struct pool *pool)
{
	/* S5: acquire; pairs with S4: what an ended call has submitted is visible. */
	uint64_t sum = load_acquire(&pool->ended_outside);

	for (uint32_t i = 0; pool->locals != NULL && i < local_count(pool); i++)
		sum += load_acquire(&pool->locals[i].counters.ended);
	return sum;
}

static uint64_t pushed(struct pool *pool)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < pool->lane_count; i++)
		sum += load_relaxed(&pool->lanes[i].pushed);
	for (uint32_t i = 0; pool->locals != NULL && i < local_count(pool); i++)
		sum += load_relaxed(&pool->locals[i].lane.pushed);
	return sum;
}

/* Ends first: if they are equal, nothing was alive in between ("Shutdown"). */
uint64_t pool_live(struct pool *pool)
{
	uint64_t ends = ended(pool);

	return pushed(pool) - ends;
}

void pool_check_drained(struct scheduler *scheduler)
{
	struct pool *pool = pool_of_scheduler(scheduler);

	if (pool_live(pool) > 0)
		return;
	/* S3: release; pairs with S6. */
	store_release(&pool->drained, true);
	eventcount_notify_all(&pool->drained_event);
}

void pool_ended_outside(struct pool *pool)
{
	/* S4, by one who is no worker. */
	fetch_add_acq_rel(&pool->ended_outside, 1);
	/* seq_cst, as sched/README.md, "Shutdown": whoever closes after this looks itself. */
	if (load_seq_cst(&pool->scheduler.closing))
		pool_check_drained(&pool->scheduler);
}

/* ---- create and start ---- */

static enum filar_status check_options(const struct pool_options *options)
{
	if (options->workers > WORKERS_MAX || options->workers_max > WORKERS_MAX)
		return status_detail(FILAR_INVALID, "a pool has at most %d workers", WORKERS_MAX);
	if (options->workers_max > 0 && options->workers > options->workers_max)
		return status_detail(FILAR_INVALID, "%u workers are more than workers_max, %u",
			options->workers, options->workers_max);
	if (options->spares_max > SPARES_MAX)
		return status_detail(
			FILAR_INVALID, "a pool has at most %d spare workers", SPARES_MAX);
	if (options->pin == WORKER_PIN_LIST && (options->cpus == NULL || options->cpu_count == 0))
		return status_detail(FILAR_INVALID, "a list of CPUs to pin to needs CPUs");
	if (options->pin == WORKER_PIN_LIST)
		return topology_check_list(options->cpus, options->cpu_count);
	return FILAR_OK;
}

static uint32_t default_workers(void)
{
	struct cpu_mask mask;
	int count = affinity_get(0, &mask) == FILAR_OK ? cpu_mask_count(&mask) : 1;

	return count < 1 ? 1 : count > WORKERS_MAX ? WORKERS_MAX : (uint32_t)count;
}

static void fill_defaults(struct pool_options *options)
{
	if (options->workers == 0)
		options->workers = default_workers();
	if (options->workers_max == 0)
		options->workers_max = POOL_WORKERS_MAX_DEFAULT;
	if (options->workers_max < options->workers)
		options->workers_max = options->workers;
}

/* Copies of what the caller keeps: one block, cpus and then the name. */
static enum filar_status copy_texts(struct pool_options *options)
{
	const char *name = options->name != NULL ? options->name : "pool";
	size_t cpu_bytes = options->cpu_count * sizeof *options->cpus;
	size_t name_bytes = strlen(name) + 1;
	char *copy = memory_acquire(1, cpu_bytes + name_bytes);

	if (copy == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a pool's options");
	if (cpu_bytes > 0)
		memcpy(copy, options->cpus, cpu_bytes);
	memcpy(copy + cpu_bytes, name, name_bytes);
	options->cpus = (const int32_t *)(void *)copy;
	options->name = copy + cpu_bytes;
	return FILAR_OK;
}

enum filar_status pool_create(struct pool **result, const struct pool_options *options)
{
	struct pool *pool;
	enum filar_status status = check_options(options);

	if (status != FILAR_OK)
		return status;
	pool = memory_acquire_aligned(1, sizeof *pool);
	if (pool == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a pool");
	pool->options = *options;
	fill_defaults(&pool->options);
	status = copy_texts(&pool->options);
	if (status != FILAR_OK) {
		memory_release(pool);
		return status;
	}
	pool->fork_generation = kthread_fork_generation();
	pool->one_by_one = pool->options.queues == POOL_SHARED || pool->options.queue_max > 0;
	/* A shared queue is one, and so is one with a bound. */
	pool->lane_count = pool->one_by_one ? POOL_PRIORITIES : POOL_LANES;
	atomic_init(&pool->workers, pool->options.workers);
	pthread_mutex_init(&pool->life, NULL);
	for (uint32_t i = 0; i < POOL_LANES; i++)
		lane_init(&pool->lanes[i], &pool->moves);
	for (int i = 0; i < POOL_PRIORITIES; i++)
		waitq_init(&pool->room[i], 0);
	spinlock_init_ranked(&pool->loops_lock, RANK_LOOPS);
	list_init(&pool->loops);
	eventcount_init(&pool->drained_event);
	*result = pool;
	return FILAR_OK;
}

static struct scheduler_options scheduler_options_of(const struct pool *pool)
{
	const struct pool_options *options = &pool->options;

	return (struct scheduler_options){ .workers = options->workers_max,
		.working = load_relaxed(&pool->workers),
		.pin = options->pin,
		.cpus = options->cpus,
		.cpu_count = options->cpu_count,
		.name = options->name,
		.stack_bytes = options->stack_bytes,
		.spares_max = options->spares_max,
		.worker_begins = worker_begins,
		.worker_ends = worker_ends,
		.quiet = pool_check_drained,
		.find = pool_find,
		.has_more = pool_has_more,
		.peek = pool_peek,
		.rests = pool_rests };
}

static void free_locals(struct pool *pool)
{
	for (uint32_t i = 0; pool->locals != NULL && i < local_count(pool); i++) {
		lane_deinit(&pool->locals[i].lane);
		forks_deinit(&pool->locals[i].forks);
	}
	memory_release(pool->locals);
	memory_release(pool->local_pointers);
	pool->locals = NULL;
	pool->local_pointers = NULL;
}

static enum filar_status allocate_locals(struct pool *pool)
{
	uint32_t count = local_count(pool);

	pool->locals = memory_acquire_aligned(count, sizeof *pool->locals);
	pool->local_pointers = memory_acquire(count, sizeof *pool->local_pointers);
	if (pool->locals == NULL || pool->local_pointers == NULL) {
		memory_release(pool->locals);
		memory_release(pool->local_pointers);
		pool->locals = NULL;
		pool->local_pointers = NULL;
		return status_detail(FILAR_NO_MEMORY, "no memory for %u workers", count);
	}
	for (uint32_t i = 0; i < count; i++) {
		struct pool_worker *self = &pool->locals[i];

		self->work.class = &pool_work_class;
		self->pool = pool;
		self->turns = POOL_TURNS;
		lane_init(&self->lane, &pool->moves);
		self->lane.pinned = pool->options.queues == POOL_PINNED;
		pool->local_pointers[i] = self;
	}
	return FILAR_OK;
}

static enum filar_status start_locked(struct pool *pool)
{
	struct scheduler_options options = scheduler_options_of(pool);
	enum filar_status status;

	if (load_relaxed(&pool->state) == POOL_RUNNING)
		return FILAR_OK;
	if (load_relaxed(&pool->state) == POOL_CLOSED)
		return status_detail(
			FILAR_WRONG_STATE, "the pool was shut down and takes no more calls");
	status = allocate_locals(pool);
	if (status != FILAR_OK)
		return status;
	clock_calibrate();
	status = scheduler_init(&pool->scheduler, &options, pool->local_pointers);
	if (status != FILAR_OK) {
		free_locals(pool);
		return status;
	}
	/* S1: release, the scheduler; pairs with S2. */
	store_release(&pool->state, POOL_RUNNING);
	return FILAR_OK;
}

enum filar_status pool_start_slow(struct pool *pool)
{
	enum filar_status status;

	if (pool_is_forked(pool))
		return forked();
	pthread_mutex_lock(&pool->life);
	status = start_locked(pool);
	pthread_mutex_unlock(&pool->life);
	return status;
}

/* ---- resize ---- */

static enum filar_status resize_locked(struct pool *pool, uint32_t workers)
{
	enum filar_status status = FILAR_OK;

	if (load_relaxed(&pool->state) == POOL_CLOSED)
		return status_detail(FILAR_WRONG_STATE, "the pool was shut down");
	if (load_relaxed(&pool->state) == POOL_RUNNING)
		status = scheduler_set_working(&pool->scheduler, workers);
	if (status == FILAR_OK)
		store_relaxed(&pool->workers, workers);
	return status;
}

enum filar_status pool_resize(struct pool *pool, uint32_t workers)
{
	enum filar_status status;

	if (pool_is_forked(pool))
		return forked();
	if (workers < 1 || workers > pool->options.workers_max)
		return status_detail(FILAR_INVALID, "a pool of up to %u workers cannot have %u",
			pool->options.workers_max, workers);
	pthread_mutex_lock(&pool->life);
	status = resize_locked(pool, workers);
	pthread_mutex_unlock(&pool->life);
	return status;
}

/* ---- shutdown ---- */

static void close_lane(struct lane *lane)
{
	spinlock_lock(&lane->lock);
	lane->closed = true;
	spinlock_unlock(&lane->lock);
}

static void close_locked(struct pool *pool, bool cancel)
{
	bool started = load_relaxed(&pool->state) != POOL_NEW && pool->locals != NULL;

	store_relaxed(&pool->state, POOL_CLOSED);
	if (cancel)
		store_relaxed(&pool->cancelled, true);
	for (uint32_t i = 0; i < pool->lane_count; i++)
		close_lane(&pool->lanes[i]);
	for (uint32_t i = 0; started && i < local_count(pool); i++)
		close_lane(&pool->locals[i].lane);
	/* Those who wait for room see that there will be none. */
	for (int i = 0; i < POOL_PRIORITIES; i++) {
		uint64_t word = waitq_lock(&pool->room[i]);
		struct list claimed;

		waitq_pop_all(&pool->room[i], &claimed);
		waitq_unlock(&pool->room[i], word);
		waitq_wake_all(&claimed);
	}
	if (started)
		scheduler_close(&pool->scheduler);
	else
		store_release(&pool->drained, true);
}

static enum filar_status wait_until_drained(struct pool *pool, int64_t deadline_ns)
{
	enum filar_status status = FILAR_OK;

	while (status == FILAR_OK) {
		uint32_t ticket = eventcount_prepare_wait(&pool->drained_event);

		/* S6: acquire; pairs with S3. */
		if (load_acquire(&pool->drained)) {
			eventcount_cancel_wait(&pool->drained_event);
			return FILAR_OK;
		}
		status = eventcount_commit_wait_until(&pool->drained_event, ticket, deadline_ns);
	}
	return load_acquire(&pool->drained) ? FILAR_OK : status;
}

/* "0x5581 (name in file)"; a static function has no name. */
static void describe_body(call_body *body, char *text, size_t bytes)
{
	const void *address;
	const char *file;
	Dl_info info;

	memcpy(&address, &body, sizeof address);
	if (dladdr(address, &info) == 0 || info.dli_fname == NULL) {
		snprintf(text, bytes, "%p", address);
		return;
	}
	file = strrchr(info.dli_fname, '/');
	file = file != NULL ? file + 1 : info.dli_fname;
	if (info.dli_sname != NULL)
		snprintf(text, bytes, "%s in %s", info.dli_sname, file);
	else
		snprintf(text, bytes, "%s+0x%zx", file,
			(size_t)((const char *)address - (const char *)info.dli_fbase));
}

/* Up to three workers that are in calls. */
static void describe_stuck(struct pool *pool, char *text, size_t bytes)
{
	uint32_t named = 0;
	size_t used = 0;

	text[0] = 0;
	for (uint32_t i = 0; i < local_count(pool) && named < 3; i++) {
		call_body *body = load_relaxed(&pool->locals[i].body);
		char one[80];
		int length;

		if (body == NULL)
			continue;
		describe_body(body, one, sizeof one);
		length = snprintf(text + used, bytes - used, "%sworker %u is in %s",
			named > 0 ? ", " : ": ", i, one);
		used += length > 0 && (size_t)length < bytes - used ? (size_t)length : 0;
		named++;
	}
}

static uint64_t queued(struct pool *pool)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < pool->lane_count; i++)
		sum += lane_count(&pool->lanes[i]);
	for (uint32_t i = 0; pool->locals != NULL && i < local_count(pool); i++)
		sum += lane_count(&pool->locals[i].lane);
	return sum;
}

enum filar_status pool_shutdown_until(struct pool *pool, bool cancel, int64_t deadline_ns)
{
	enum filar_status status;
	char stuck[200];

	if (pool_is_forked(pool))
		return forked();
	if (pool_worker_of(pool) != NULL)
		return status_detail(
			FILAR_DEADLOCK, "a call of the pool cannot wait for the end of all calls");
	pthread_mutex_lock(&pool->life);
	close_locked(pool, cancel);
	pthread_mutex_unlock(&pool->life);
	status = wait_until_drained(pool, deadline_ns);
	if (status == FILAR_OK)
		return status;
	describe_stuck(pool, stuck, sizeof stuck);
	return status_detail(status, "%llu calls have not ended%s; %llu wait in the queue",
		(unsigned long long)pool_live(pool), stuck, (unsigned long long)queued(pool));
}

static void free_pool(struct pool *pool)
{
	free_locals(pool);
	for (uint32_t i = 0; i < pool->lane_count; i++)
		lane_deinit(&pool->lanes[i]);
	memory_release((void *)(uintptr_t)pool->options.cpus);
	memory_release(pool);
}

enum filar_status pool_destroy(struct pool *pool)
{
	bool is_forked = pool_is_forked(pool);

	if (!is_forked && load_relaxed(&pool->state) == POOL_RUNNING)
		return status_detail(FILAR_BUSY, "the pool was not shut down");
	if (!is_forked && load_relaxed(&pool->state) == POOL_CLOSED &&
		!load_acquire(&pool->drained))
		return status_detail(FILAR_BUSY, "%llu calls of the pool have not ended",
			(unsigned long long)pool_live(pool));
	if (pool->locals != NULL && pool->scheduler.workers != NULL)
		scheduler_deinit(&pool->scheduler);
	if (!is_forked)
		pthread_mutex_destroy(&pool->life);
	free_pool(pool);
	return FILAR_OK;
}

/* ---- looking ---- */

static void sum_counters(struct pool *pool, struct pool_counters *sum)
{
	memset(sum, 0, sizeof *sum);
	for (uint32_t i = 0; pool->locals != NULL && i < local_count(pool); i++) {
		struct pool_counters *one = &pool->locals[i].counters;

#define X(name) store_relaxed(&sum->name, load_relaxed(&sum->name) + load_relaxed(&one->name));
		POOL_COUNTERS(X)
#undef X
	}
}

static bool has_scheduler(struct pool *pool)
{
	/* S2, again. */
	return load_acquire(&pool->state) != POOL_NEW && pool->locals != NULL;
}

void pool_read_stats(struct pool *pool, filar_pool_stats *stats)
{
	struct pool_counters sum;
	struct counters of_workers;
	uint64_t ends;

	memset(stats, 0, sizeof *stats);
	stats->workers = load_relaxed(&pool->workers);
	stats->workers_max = pool->options.workers_max;
	stats->rejected = load_relaxed(&pool->rejected);
	stats->inlined = load_relaxed(&pool->inlined);
	if (!has_scheduler(pool))
		return;
	ends = ended(pool);
	sum_counters(pool, &sum);
	scheduler_read_counters(&pool->scheduler, &of_workers);
	stats->started = load_relaxed(&pool->scheduler.started);
	stats->sleeping = IDLE_SLEEPING(load_relaxed(&pool->scheduler.idle.word));
	stats->submitted = pushed(pool);
	stats->ended = ends;
	stats->queued = queued(pool);
	/* Read at different moments: never less than none. */
	stats->running = load_relaxed(&sum.begun) > load_relaxed(&sum.ended)
				 ? load_relaxed(&sum.begun) - load_relaxed(&sum.ended)
				 : 0;
	stats->dropped = load_relaxed(&sum.dropped) + load_relaxed(&pool->ended_outside);
	stats->steals = load_relaxed(&sum.steals);
	stats->stolen = load_relaxed(&sum.stolen);
	stats->helpers = load_relaxed(&sum.helpers);
	stats->loops = load_relaxed(&pool->loops_run);
	for (uint32_t i = 0; i < local_count(pool); i++)
		stats->forks += load_relaxed(&pool->locals[i].forks.taken);
	stats->worker_sleeps = load_relaxed(&of_workers.sleeps);
	stats->worker_wakes = load_relaxed(&pool->scheduler.idle.wakes);
}

enum filar_status pool_describe_worker(
	struct pool *pool, uint32_t index, filar_pool_worker *description)
{
	struct pool_worker *self;
	struct worker *worker;

	memset(description, 0, sizeof *description);
	description->cpu = -1;
	if (index >= local_count(pool))
		return status_detail(FILAR_NOT_FOUND, "the pool has no worker %u", index);
	if (!has_scheduler(pool) || index >= scheduler_made(&pool->scheduler))
		return FILAR_OK;
	self = &pool->locals[index];
	worker = &pool->scheduler.workers[index];
	description->tid = load_relaxed(&worker->tid);
	description->cpu = worker->cpu;
	description->resting = load_relaxed(&worker->doing) == WORKER_RESTING;
	description->calls = load_relaxed(&self->counters.begun);
	description->body = load_relaxed(&self->body);
	description->argument = load_relaxed(&self->argument);
	description->queued = lane_count(&self->lane);
	return FILAR_OK;
}

static void dump_worker(struct pool_worker *self, int fd)
{
	call_body *body = load_relaxed(&self->body);
	char text[96] = "";

	if (body != NULL)
		describe_body(body, text, sizeof text);
	dprintf(fd, "pool worker %u: %llu in its queue, %u forks%s%s",
		(uint32_t)(self - self->pool->locals), (unsigned long long)lane_count(&self->lane),
		FORKS_SPLIT(load_relaxed(&self->forks.open)), body != NULL ? ", in " : "", text);
#define X(name)                                                                                    \
	dprintf(fd, ", %llu " #name, (unsigned long long)load_relaxed(&self->counters.name));
	POOL_COUNTERS(X)
#undef X
	dprintf(fd, "\n");
}

static uint64_t queued_normally(struct pool *pool)
{
	uint64_t sum = lane_count(&pool->lanes[POOL_NORMAL]);

	for (uint32_t i = POOL_PRIORITIES; i < pool->lane_count; i++)
		sum += lane_count(&pool->lanes[i]);
	return sum;
}

void pool_dump(struct pool *pool, int fd)
{
	static const char *const states[] = { "not started", "running", "closed" };

	dprintf(fd,
		"pool \"%s\": %s, %u of up to %u workers, %llu high, %llu normal, %llu low, %u loops\n",
		pool->options.name, states[load_relaxed(&pool->state)],
		load_relaxed(&pool->workers), pool->options.workers_max,
		(unsigned long long)lane_count(&pool->lanes[POOL_HIGH]),
		(unsigned long long)queued_normally(pool),
		(unsigned long long)lane_count(&pool->lanes[POOL_LOW]),
		load_relaxed(&pool->loops_open));
	if (!has_scheduler(pool))
		return;
	scheduler_dump(&pool->scheduler, fd);
	for (uint32_t i = 0; i < pool_worker_count(pool); i++)
		dump_worker(pool_worker_at(pool, i), fd);
}
