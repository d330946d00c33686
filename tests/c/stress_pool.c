/*
 * stress_pool.c - pools under crowds: what csrc/pool/README.md proves, tried.
 */
#include "filar.h"
#include "stress.h"

static filar_pool *pool;

static void start(uint32_t workers, int32_t queues, uint64_t queue_max)
{
	filar_pool_options options;

	filar_pool_options_init(&options);
	options.workers = workers;
	options.queues = queues;
	options.queue_max = queue_max;
	CHECK_EQ(filar_pool_create(&pool, &options), FILAR_OK);
}

static void stop(void)
{
	CHECK_EQ(filar_pool_shutdown_until(pool, false, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_pool_destroy(pool), FILAR_OK);
}

static void add_one(void *argument)
{
	fetch_add_relaxed((_Atomic uint32_t *)argument, 1);
}

/* ---- lost wake-ups ---- */

static void submit_and_wait(struct stress_thread *self)
{
	filar_waitgroup *group;
	filar_submit_options how;

	CHECK_EQ(filar_waitgroup_create(&group, NULL), FILAR_OK);
	filar_submit_options_init(&how);
	how.group = group;
	while (stress_goes_on()) {
		uint32_t calls = 1 + random_below(&self->random, 4);
		_Atomic uint32_t ran = 0;

		for (uint32_t i = 0; i < calls; i++) {
			how.priority = (int32_t)random_below(&self->random, 3) - 1;
			CHECK_EQ(filar_pool_submit(pool, &how, add_one, (void *)&ran), FILAR_OK);
			stress_jitter(&self->random);
		}
		CHECK_EQ(filar_pool_wait_until(pool, group, FILAR_FOREVER), FILAR_OK);
		CHECK_EQ(load_relaxed(&ran), calls);
		stress_jitter(&self->random);
	}
	CHECK_EQ(filar_waitgroup_destroy(group), FILAR_OK);
}

/* Hunts: a worker has looked into the lanes and is about to sleep; a call is pushed, its submitter
 * sees no sleeper, or a searcher that does not see the call (pinned); nobody runs it. */
TEST(no_call_is_left_behind)
{
	static void (*const bodies[])(struct stress_thread *) = { submit_and_wait };

	for (int32_t queues = FILAR_POOL_STEALING; queues <= FILAR_POOL_PINNED; queues++) {
		for (uint32_t workers = 1; workers <= 3; workers++) {
			start(workers, queues, 0);
			stress_run_kinds(bodies, 1, 3, NULL, 0.05);
			stop();
		}
	}
}

/* Hunts: "A full queue": a place becomes free between a submitter's look and its sleep. */
TEST(no_submitter_sleeps_beside_an_empty_place)
{
	static void (*const bodies[])(struct stress_thread *) = { submit_and_wait };

	for (uint64_t queue_max = 1; queue_max <= 3; queue_max++) {
		start(2, FILAR_POOL_STEALING, queue_max);
		stress_run_kinds(bodies, 1, 4, NULL, 0.1);
		stop();
	}
}

static void change_size(struct stress_thread *self)
{
	while (stress_goes_on()) {
		CHECK_EQ(filar_pool_resize(pool, 1 + random_below(&self->random, 5)), FILAR_OK);
		stress_jitter(&self->random);
		sched_yield();
	}
}

/* Hunts: a worker that goes to rest was granted a wake-up, or holds calls nobody else looks at. */
TEST(no_call_is_left_behind_while_the_size_changes)
{
	static void (*const bodies[])(
		struct stress_thread *) = { submit_and_wait, submit_and_wait, change_size };

	for (int32_t queues = FILAR_POOL_STEALING; queues <= FILAR_POOL_PINNED; queues++) {
		start(2, queues, 0);
		stress_run_kinds(bodies, 3, 3, NULL, 0.15);
		stop();
	}
}

/* ---- groups ---- */

struct counted {
	filar_waitgroup *group;
	_Atomic uint32_t ran;
	uint32_t sent;
};

/* A call, or a task that is cancelled at once, so that it is taken out of the middle. */
static void send(struct counted *counted, struct random *random)
{
	filar_submit_options how;
	filar_task task;

	filar_submit_options_init(&how);
	how.group = counted->group;
	how.priority = (int32_t)random_below(random, 8) == 0;
	if (random_below(random, 8) > 0) {
		CHECK_EQ(filar_pool_submit(pool, &how, add_one, (void *)&counted->ran), FILAR_OK);
		counted->sent++;
		return;
	}
	filar_task_init(&task, add_one, (void *)&counted->ran);
	CHECK_EQ(filar_pool_submit_task(pool, &how, &task), FILAR_OK);
	counted->sent += filar_task_cancel(&task) != FILAR_OK;
	CHECK_EQ(filar_task_wait_until(&task, FILAR_FOREVER), FILAR_OK);
}

static void use_two_groups(struct stress_thread *self)
{
	struct counted two[2];

	for (int i = 0; i < 2; i++)
		CHECK_EQ(filar_waitgroup_create(&two[i].group, NULL), FILAR_OK);
	while (stress_goes_on()) {
		uint32_t which = 0;

		for (int i = 0; i < 2; i++) {
			store_relaxed(&two[i].ran, 0);
			two[i].sent = 0;
		}
		/* Runs of one group and the other. */
		for (uint32_t i = random_below(&self->random, 100); i > 0; i--) {
			if (random_below(&self->random, 6) == 0)
				which = 1 - which;
			send(&two[which], &self->random);
			if (random_below(&self->random, 4) == 0)
				stress_jitter(&self->random);
		}
		for (int i = 0; i < 2; i++) {
			CHECK_EQ(filar_waitgroup_wait_until(two[i].group, FILAR_FOREVER), FILAR_OK);
			CHECK_EQ(load_relaxed(&two[i].ran), two[i].sent);
		}
	}
	for (int i = 0; i < 2; i++)
		CHECK_EQ(filar_waitgroup_destroy(two[i].group), FILAR_OK);
}

/* Hunts: a group that is empty before its calls have ended, or that never is, where several threads
 * share a lane that counts in advance ("Where calls are"), and calls are taken out of its middle.
 */
TEST(a_group_is_empty_when_its_last_call_has_ended)
{
	static void (*const bodies[])(struct stress_thread *) = { use_two_groups };

	for (uint32_t workers = 1; workers <= 3; workers++) {
		start(workers, workers < 3 ? FILAR_POOL_STEALING : FILAR_POOL_SHARED, 0);
		stress_run_kinds(bodies, 1, 6, NULL, 0.15);
		stop();
	}
}

/* ---- fork and join ---- */

struct tree {
	uint64_t seed;
	uint32_t depth;
	uint64_t nodes;
};

/* Uneven, with leaves of random length, so that joins find their fork private, public, being run,
 * done, and their thief with and without forks of its own. */
static void grow(void *argument)
{
	struct tree *self = argument, left, right;
	struct random random;

	random_init(&random, self->seed);
	self->nodes = 1;
	if (self->depth == 0 || random_below(&random, 16) == 0) {
		stress_jitter(&random);
		return;
	}
	left = (struct tree){ random_next(&random), self->depth - 1, 0 };
	right = (struct tree){ random_next(&random),
		self->depth - 1 - (self->depth > 1 && random_below(&random, 2)), 0 };
	CHECK_EQ(filar_join(grow, &left, grow, &right), FILAR_OK);
	self->nodes += left.nodes + right.nodes;
}

static void fork_and_join(struct stress_thread *self)
{
	while (stress_goes_on()) {
		struct tree serial = { random_next(&self->random), 9, 0 }, forked = serial;

		grow(&serial);
		CHECK_EQ(filar_pool_call(pool, grow, &forked), FILAR_OK);
		CHECK_EQ(forked.nodes, serial.nodes);
	}
}

/* Hunts: a fork is run twice or never (a claim by number after the slot was used again); a forker
 * sleeps though its thief has made forks public, or is done (J1, J2, F7). */
TEST(every_fork_is_run_once)
{
	static void (*const bodies[])(struct stress_thread *) = { fork_and_join };

	for (uint32_t workers = 1; workers <= 4; workers++) {
		start(workers, FILAR_POOL_STEALING, 0);
		stress_run_kinds(bodies, 1, 2, NULL, 0.15);
		stop();
	}
}

/* The second half is taken by the other worker and forks; it goes on only when what it forked has
 * run, which only the forker of the first fork, who has nothing else to do, can do. */
struct pair {
	_Atomic uint32_t begun;
	_Atomic uint32_t ran;
	uint64_t seed;
};

static void spin_until_begun(void *argument)
{
	while (load_acquire(&((struct pair *)argument)->begun) == 0)
		sched_yield();
}

static void spin_until_ran(void *argument)
{
	while (load_acquire(&((struct pair *)argument)->ran) == 0)
		sched_yield();
}

static void run_inner(void *argument)
{
	store_release(&((struct pair *)argument)->ran, 1);
}

static void fork_once_more(void *argument)
{
	struct pair *pair = argument;
	struct random random;

	store_release(&pair->begun, 1);
	random_init(&random, pair->seed);
	for (uint32_t i = random_below(&random, 60); i > 0; i--)
		stress_jitter(&random);
	CHECK_EQ(filar_join(spin_until_ran, pair, run_inner, pair), FILAR_OK);
}

static void fork_pair(void *argument)
{
	CHECK_EQ(filar_join(spin_until_begun, argument, fork_once_more, argument), FILAR_OK);
}

static void fork_pairs(struct stress_thread *self)
{
	struct pair pair = { 0 };

	while (stress_goes_on()) {
		store_relaxed(&pair.begun, 0);
		store_relaxed(&pair.ran, 0);
		pair.seed = random_next(&self->random);
		CHECK_EQ(filar_pool_call(pool, fork_pair, &pair), FILAR_OK);
	}
}

/* Hunts: a forker sleeps beside what its thief has made public (J1, J2). */
TEST(a_forker_that_sleeps_hears_of_what_its_thief_forks)
{
	static void (*const bodies[])(struct stress_thread *) = { fork_pairs };

	start(2, FILAR_POOL_STEALING, 0);
	stress_run_kinds(bodies, 1, 1, NULL, 0.5);
	stop();
}

/* ---- waiting on workers ---- */

struct branch {
	uint32_t depth;
	_Atomic uint32_t *leaves;
	uint64_t seed;
};

static void branch(void *argument)
{
	struct branch *self = argument, children[3];
	filar_waitgroup *group;
	filar_submit_options how;
	struct random random;

	random_init(&random, self->seed);
	stress_jitter(&random);
	if (self->depth == 0) {
		fetch_add_relaxed(self->leaves, 1);
		return;
	}
	CHECK_EQ(filar_waitgroup_create(&group, NULL), FILAR_OK);
	filar_submit_options_init(&how);
	how.group = group;
	for (int i = 0; i < 3; i++) {
		children[i] =
			(struct branch){ self->depth - 1, self->leaves, random_next(&random) };
		CHECK_EQ(filar_pool_submit(pool, &how, branch, &children[i]), FILAR_OK);
		stress_jitter(&random);
	}
	CHECK_EQ(filar_pool_wait_until(pool, group, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_waitgroup_destroy(group), FILAR_OK);
}

static void grow_branches(struct stress_thread *self)
{
	while (stress_goes_on()) {
		_Atomic uint32_t leaves = 0;
		struct branch root = { 4, &leaves, random_next(&self->random) };

		CHECK_EQ(filar_pool_call(pool, branch, &root), FILAR_OK);
		CHECK_EQ(load_relaxed(&leaves), 81);
	}
}

/* Hunts: all workers wait for calls that stand in lanes behind those that wait ("Waiting on a
 * worker"): a call in the middle of a move that nobody finds, a helper that is not told. */
TEST(workers_that_wait_never_all_sleep)
{
	static void (*const bodies[])(struct stress_thread *) = { grow_branches };

	for (int32_t queues = FILAR_POOL_STEALING; queues <= FILAR_POOL_PINNED; queues++) {
		for (uint32_t workers = 1; workers <= 3; workers++) {
			start(workers, queues, 0);
			stress_run_kinds(bodies, 1, 2, NULL, 0.05);
			stop();
		}
	}
}

/* Its group grows while its maker waits for it, and it goes on only when the new call has run. */
struct late {
	filar_waitgroup *group;
	_Atomic uint32_t begun;
	_Atomic uint32_t ran;
	uint64_t seed;
};

static void run_late(void *argument)
{
	store_release(&((struct late *)argument)->ran, 1);
}

static void submit_late(void *argument)
{
	struct late *late = argument;
	filar_submit_options how;
	struct random random;

	store_release(&late->begun, 1);
	random_init(&random, late->seed);
	filar_submit_options_init(&how);
	how.group = late->group;
	for (uint32_t i = random_below(&random, 1000); i > 0; i--)
		stress_jitter(&random);
	CHECK_EQ(filar_pool_submit(pool, &how, run_late, late), FILAR_OK);
	while (load_acquire(&late->ran) == 0)
		sched_yield();
}

static void wait_for_late(void *argument)
{
	struct late *late = argument;
	filar_submit_options how;

	filar_submit_options_init(&how);
	how.group = late->group;
	CHECK_EQ(filar_pool_submit(pool, &how, submit_late, late), FILAR_OK);
	/* The other worker takes it: this one is the only one left for what follows. */
	while (load_acquire(&late->begun) == 0)
		sched_yield();
	CHECK_EQ(filar_pool_wait_until(pool, late->group, FILAR_FOREVER), FILAR_OK);
}

static void grow_late(struct stress_thread *self)
{
	struct late late = { 0 };

	CHECK_EQ(filar_waitgroup_create(&late.group, NULL), FILAR_OK);
	while (stress_goes_on()) {
		store_relaxed(&late.begun, 0);
		store_relaxed(&late.ran, 0);
		late.seed = random_next(&self->random);
		CHECK_EQ(filar_pool_call(pool, wait_for_late, &late), FILAR_OK);
	}
	CHECK_EQ(filar_waitgroup_destroy(late.group), FILAR_OK);
}

/* Hunts: a worker sleeps as a helper, and is not told that its group has got a call that only it
 * can run. */
TEST(a_helper_that_sleeps_hears_of_new_calls)
{
	static void (*const bodies[])(struct stress_thread *) = { grow_late };

	start(2, FILAR_POOL_SHARED, 0);
	stress_run_kinds(bodies, 1, 1, NULL, 0.3);
	stop();
}

/* ---- loops ---- */

enum { STEPS = 3000 };

struct steps {
	_Atomic uint32_t done[STEPS];
	uint64_t seed;
};

static void take_steps(int64_t begin, int64_t end, void *ctx)
{
	struct steps *steps = ctx;
	struct random random;

	random_init(&random, steps->seed ^ (uint64_t)begin);
	stress_jitter(&random);
	for (int64_t i = begin; i < end; i++)
		fetch_add_relaxed(&steps->done[i], 1);
}

static void loop_away(struct stress_thread *self)
{
	struct steps *steps = calloc(1, sizeof *steps);
	filar_loop_options how;

	CHECK(steps != NULL);
	filar_loop_options_init(&how);
	while (stress_goes_on()) {
		int64_t count = 1 + random_below(&self->random, STEPS);

		how.schedule = (int32_t)random_below(&self->random, 3);
		how.grain = random_below(&self->random, 20);
		steps->seed = random_next(&self->random);
		for (int i = 0; i < STEPS; i++)
			store_relaxed(&steps->done[i], 0);
		CHECK_EQ(filar_parallel_for(pool, &how, 0, count, take_steps, steps), FILAR_OK);
		for (int i = 0; i < STEPS; i++)
			CHECK_EQ(load_relaxed(&steps->done[i]), i < count);
	}
	free(steps);
}

/* Hunts: a step done twice or never where a part is halved while its owner takes from it; a helper
 * that enters a loop whose caller has left. */
TEST(every_step_is_done_once)
{
	static void (*const bodies[])(
		struct stress_thread *) = { loop_away, loop_away, submit_and_wait };

	for (uint32_t workers = 1; workers <= 4; workers++) {
		start(workers, FILAR_POOL_STEALING, 0);
		stress_run_kinds(bodies, 3, 3, NULL, 0.15);
		stop();
	}
}

/* ---- the end ---- */

static void cancel_and_wait(struct stress_thread *self)
{
	while (stress_goes_on()) {
		_Atomic uint32_t ran = 0;
		filar_task task;
		int cancelled;

		filar_task_init(&task, add_one, (void *)&ran);
		CHECK_EQ(filar_pool_submit_task(pool, NULL, &task), FILAR_OK);
		stress_jitter(&self->random);
		cancelled = filar_task_cancel(&task);
		CHECK_EQ(filar_task_wait_until(&task, FILAR_FOREVER), FILAR_OK);
		CHECK_EQ(filar_task_outcome(&task),
			cancelled == FILAR_OK ? FILAR_CANCELLED : FILAR_OK);
		CHECK_EQ(load_relaxed(&ran), cancelled != FILAR_OK);
		memset(&task, 0x55, sizeof task);
	}
}

/* Hunts: a task that is run although it was cancelled, ended twice, or touched after its end. */
TEST(a_cancelled_task_is_dropped_once)
{
	static void (*const bodies[])(struct stress_thread *) = { cancel_and_wait };

	for (uint32_t workers = 1; workers <= 3; workers++) {
		start(workers, FILAR_POOL_STEALING, 0);
		stress_run_kinds(bodies, 1, 3, NULL, 0.1);
		stop();
	}
}

static void pools_come_and_go(struct stress_thread *self)
{
	while (stress_goes_on()) {
		_Atomic uint32_t ran = 0;
		filar_pool_options options;
		filar_pool *own;
		uint32_t calls = random_below(&self->random, 5);

		filar_pool_options_init(&options);
		options.workers = 1 + random_below(&self->random, 3);
		CHECK_EQ(filar_pool_create(&own, &options), FILAR_OK);
		for (uint32_t i = 0; i < calls; i++)
			CHECK_EQ(filar_pool_submit(own, NULL, add_one, (void *)&ran), FILAR_OK);
		CHECK_EQ(filar_pool_shutdown_until(own, false, FILAR_FOREVER), FILAR_OK);
		CHECK_EQ(load_relaxed(&ran), calls);
		CHECK_EQ(filar_pool_destroy(own), FILAR_OK);
	}
}

/* Hunts: a shutdown that nobody tells of the last call's end, or that is told too early. */
TEST(a_shutdown_waits_for_every_call_and_no_longer)
{
	static void (*const bodies[])(struct stress_thread *) = { pools_come_and_go };

	stress_run_kinds(bodies, 1, 3, NULL, 0.5);
}

TEST_MAIN()
