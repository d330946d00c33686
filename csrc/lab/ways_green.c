/*
 * ways_green.c - green threads: what a switch, a spawn and a hand-over cost, and how they scale;
 * kernel threads doing the same beside them.
 *
 * The green side is timed by a green thread (grove.h, "errand"), the kernel side by one of the
 * threads or by the driver.  Switches are counted, not assumed: the workers' counters on one side,
 * getrusage on the other.
 */
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include "base/check.h"
#include "base/memory.h"
#include "green/waiter.h"
#include "lab/crew.h"
#include "lab/grove.h"
#include "lab/registry.h"
#include "os/calls.h"
#include "os/clock.h"

/* ---- green-context: the bare switch ---- */

#define CONTEXT_STACK_BYTES ((size_t)64 * 1024)

struct bare {
	struct stack stack;           /* I */
	struct context driver, other; /* S */
	bool finished;                /* W  the driver, before it switches over */
};

static void go_back(void *transfer, void *argument)
{
	struct bare *bare = argument;

	while (!bare->finished)
		transfer = context_switch(&bare->other, &bare->driver, transfer);
	context_switch_last(&bare->other, &bare->driver, transfer);
}

static void teardown_context(struct way_run *run)
{
	struct bare *bare = run->state;

	if (bare != NULL && bare->stack.bytes > 0)
		stack_release(&bare->stack);
	memory_release(bare);
}

static enum filar_status setup_context(struct way_run *run)
{
	struct bare *bare = way_acquire_state(run, sizeof *bare);

	if (bare == NULL)
		return FILAR_NO_MEMORY;
	return stack_reserve(&bare->stack, CONTEXT_STACK_BYTES, page_bytes(), STACK_GUARD_BEST);
}

static enum filar_status sample_context(struct way_run *run)
{
	struct bare *bare = run->state;
	int64_t start, end;

	bare->finished = false;
	context_init_running(&bare->driver);
	context_init(&bare->other, bare->stack.low, bare->stack.bytes, go_back, bare);
	context_switch(&bare->driver, &bare->other, NULL);
	start = clock_now_ns();
	for (uint32_t i = 0; i < run->batch; i++)
		context_switch(&bare->driver, &bare->other, NULL);
	end = clock_now_ns();
	bare->finished = true;
	context_switch(&bare->driver, &bare->other, NULL);
	context_deinit(&bare->other);
	context_deinit(&bare->driver);
	run->values[0] = (double)(end - start) / run->batch / 2;
	run->values[1] = (double)(end - start) / run->batch;
	return FILAR_OK;
}

/* ---- green-yield ---- */

enum { YIELD_READY, YIELD_WORKERS, YIELD_OTHER_CPU };
enum { VALUE_ONE_WAY, VALUE_YIELDS, VALUE_STEALS, VALUE_STOLEN, VALUE_SLEEPS };

#define YIELDS_PER_LOOK 1024u /* at whether the plan is cancelled */

struct yielding {
	struct grove grove;
	struct way_run *run;      /* I */
	_Atomic uint32_t arrived; /* A  members that have run */
	_Atomic bool finished;    /* A  relaxed */
};

/*
 * The one place from which all of them yield: with two, each return from a switch would go where
 * the processor does not expect it, and with two ready that alone is half of what is measured.
 */
FILAR_NOINLINE static void yield_often(struct yielding *state, uint32_t times)
{
	while (times-- > 0 && !load_relaxed(&state->finished))
		green_yield();
}

static void yield_on(struct grove_member *member)
{
	struct yielding *state = member->grove->shared;

	fetch_add_relaxed(&state->arrived, 1);
	while (!load_relaxed(&state->finished))
		yield_often(state, UINT32_MAX);
}

static struct counters counters_of(struct grove *grove)
{
	struct counters sum;

	scheduler_read_counters(&grove->runtime->scheduler, &sum);
	return sum;
}

static double grown(_Atomic uint64_t *after, _Atomic uint64_t *before)
{
	return (double)(load_relaxed(after) - load_relaxed(before));
}

/* Rounds through the queue: with one worker each yield of the errand is `ready` switches. */
static enum filar_status measure_yields(struct yielding *state, uint32_t ready)
{
	struct way_run *run = state->run;
	uint32_t rounds = run->batch / ready + 1;
	struct counters before = counters_of(&state->grove), after;
	int64_t start = clock_now_ns(), end;
	double yields;

	for (uint32_t done = 0; done < rounds; done += YIELDS_PER_LOOK) {
		yield_often(
			state, rounds - done < YIELDS_PER_LOOK ? rounds - done : YIELDS_PER_LOOK);
		if (way_cancelled(run))
			return FILAR_CANCELLED;
	}
	end = clock_now_ns();
	after = counters_of(&state->grove);
	yields = grown(&after.yields, &before.yields);
	run->values[VALUE_ONE_WAY] = (double)(end - start) / yields;
	run->values[VALUE_YIELDS] = yields / (double)(end - start) * (double)NS_PER_S;
	run->values[VALUE_STEALS] = grown(&after.steals, &before.steals);
	run->values[VALUE_STOLEN] = grown(&after.stolen, &before.stolen);
	run->values[VALUE_SLEEPS] = grown(&after.sleeps, &before.sleeps);
	return FILAR_OK;
}

static enum filar_status yield_errand(void *pointer)
{
	struct yielding *state = pointer;
	uint32_t others = (uint32_t)state->run->params[YIELD_READY] - 1;
	enum filar_status status;

	store_relaxed(&state->finished, false);
	store_relaxed(&state->arrived, 0);
	status = grove_spawn(&state->grove, others, yield_on);
	if (status == FILAR_OK) {
		while (load_relaxed(&state->arrived) < others)
			green_yield();
		status = measure_yields(state, others + 1);
	}
	store_relaxed(&state->finished, true);
	grove_join(&state->grove);
	return status;
}

static enum filar_status setup_yield(struct way_run *run)
{
	enum filar_status status =
		param_check("ready", run->params[YIELD_READY], 2, GROVE_MEMBERS_MAX);
	struct yielding *state;

	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	state->run = run;
	return grove_open(&state->grove, run, run->params[YIELD_WORKERS],
		run->params[YIELD_OTHER_CPU], run->params[YIELD_READY], state);
}

static enum filar_status sample_yield(struct way_run *run)
{
	struct yielding *state = run->state;

	return grove_run(&state->grove, yield_errand, state);
}

static void teardown_yield(struct way_run *run)
{
	struct yielding *state = run->state;

	if (state != NULL)
		grove_close(&state->grove);
	memory_release(state);
}

/* ---- kthread-yield: the same with kernel threads and sched_yield ---- */

struct kernel_yielding {
	struct crew crew;
	struct way_run *run;   /* I */
	struct cpu_mask cpus;  /* I */
	_Atomic bool finished; /* A  relaxed */
	int64_t spent_ns;      /* S  member 0's until joined */
	double switches;       /* S  likewise */
};

/* Of the whole process. */
static double process_switches(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_nvcsw + usage.ru_nivcsw);
}

static void kernel_yield_body(struct crew_member *member)
{
	struct kernel_yielding *state = member->crew->shared;
	uint32_t rounds = state->run->batch / member->crew->count + 1;
	int64_t start;

	if (member->number > 0) {
		while (!load_relaxed(&state->finished))
			(void)sched_yield();
		return;
	}
	(void)sched_yield();
	state->switches = process_switches();
	start = clock_now_ns();
	for (uint32_t i = 0; i < rounds && !way_cancelled(state->run); i++)
		(void)sched_yield();
	state->spent_ns = clock_now_ns() - start;
	state->switches = process_switches() - state->switches;
	store_relaxed(&state->finished, true);
}

static enum filar_status setup_kernel_yield(struct way_run *run)
{
	enum filar_status status = param_check("ready", run->params[YIELD_READY], 2, 4096);
	int32_t cpus[] = { run->driver_cpu, (int32_t)run->params[YIELD_OTHER_CPU] };
	struct kernel_yielding *state;

	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	state->run = run;
	if (cpus[0] < 0)
		return crew_mask(&state->cpus, -1);
	return cpu_mask_from_list(&state->cpus, cpus, cpus[1] < 0 ? 1 : 2);
}

static enum filar_status sample_kernel_yield(struct way_run *run)
{
	struct kernel_yielding *state = run->state;
	enum filar_status status;

	store_relaxed(&state->finished, false);
	status = crew_create(&state->crew, (uint32_t)run->params[YIELD_READY], &state->cpus,
		kernel_yield_body, state);
	if (status != FILAR_OK)
		return status;
	crew_open(&state->crew);
	crew_join(&state->crew);
	if (way_cancelled(run))
		return FILAR_CANCELLED;
	if (state->switches > 0)
		run->values[VALUE_ONE_WAY] = (double)state->spent_ns / state->switches;
	run->values[VALUE_YIELDS] = state->switches / (double)state->spent_ns * (double)NS_PER_S;
	return FILAR_OK;
}

static void teardown_memory(struct way_run *run)
{
	memory_release(run->state);
}

/* ---- green-create, kthread-many ---- */

enum { CREATE_AT_ONCE, CREATE_FRESH };

struct creating {
	struct grove grove;
	struct way_run *run;  /* I */
	_Atomic uint64_t ran; /* A  relaxed: bodies that have run */
	pthread_t *threads;   /* W  driver; kthread-many */
};

static uint32_t groups_of(const struct way_run *run)
{
	uint32_t at_once = (uint32_t)run->params[CREATE_AT_ONCE];

	return (run->batch + at_once - 1) / at_once;
}

static void count_one(void *pointer)
{
	struct creating *state = pointer;

	fetch_add_relaxed(&state->ran, 1);
}

static enum filar_status spawn_and_join(struct creating *state, uint32_t at_once)
{
	struct grove_member *members = state->grove.members;
	enum filar_status status = FILAR_OK;
	uint32_t spawned = 0;

	while (spawned < at_once && status == FILAR_OK) {
		status = green_spawn(
			&members[spawned].ref, state->grove.runtime, NULL, count_one, state);
		spawned += status == FILAR_OK;
	}
	for (uint32_t i = 0; i < spawned; i++)
		FILAR_CHECK(green_join_until(members[i].ref, DEADLINE_NEVER) == FILAR_OK);
	return status;
}

static enum filar_status create_errand(void *pointer)
{
	struct creating *state = pointer;
	struct way_run *run = state->run;
	uint32_t at_once = (uint32_t)run->params[CREATE_AT_ONCE], groups = groups_of(run);
	enum filar_status status = FILAR_OK;
	int64_t start = clock_now_ns();

	for (uint32_t i = 0; i < groups && status == FILAR_OK; i++) {
		status = spawn_and_join(state, at_once);
		if (i % YIELDS_PER_LOOK == 0 && way_cancelled(run))
			status = FILAR_CANCELLED;
	}
	run->values[0] = (double)(clock_now_ns() - start) / groups / at_once;
	return status;
}

static enum filar_status begin_creating(
	struct creating **state, struct way_run *run, int64_t at_once_max)
{
	enum filar_status status =
		param_check("at_once", run->params[CREATE_AT_ONCE], 1, at_once_max);

	if (status != FILAR_OK)
		return status;
	*state = way_acquire_state(run, sizeof **state);
	if (*state == NULL)
		return FILAR_NO_MEMORY;
	(*state)->run = run;
	return FILAR_OK;
}

static enum filar_status setup_create(struct way_run *run)
{
	struct creating *state;
	enum filar_status status = begin_creating(&state, run, GROVE_MEMBERS_MAX);

	if (status != FILAR_OK || run->params[CREATE_FRESH] != 0)
		return status;
	return grove_open(&state->grove, run, 1, -1, run->params[CREATE_AT_ONCE], state);
}

/* Counts what is claimed. */
static enum filar_status check_ran(struct creating *state)
{
	unsigned long long ran = load_relaxed(&state->ran);
	unsigned long long wanted = (unsigned long long)groups_of(state->run) *
				    (unsigned long long)state->run->params[CREATE_AT_ONCE];

	return ran == wanted
		       ? FILAR_OK
		       : status_detail(FILAR_SYSTEM, "%llu threads ran, not %llu", ran, wanted);
}

static enum filar_status sample_create(struct way_run *run)
{
	struct creating *state = run->state;
	bool fresh = run->params[CREATE_FRESH] != 0;
	enum filar_status status = FILAR_OK;

	store_relaxed(&state->ran, 0);
	if (fresh)
		status = grove_open(&state->grove, run, 1, -1, run->params[CREATE_AT_ONCE], state);
	if (status == FILAR_OK)
		status = grove_run(&state->grove, create_errand, state);
	if (fresh)
		grove_close(&state->grove);
	return status == FILAR_OK ? check_ran(state) : status;
}

static void teardown_create(struct way_run *run)
{
	struct creating *state = run->state;

	if (state != NULL)
		grove_close(&state->grove);
	memory_release(state);
}

static void *kernel_ends(void *pointer)
{
	struct creating *state = pointer;

	fetch_add_relaxed(&state->ran, 1);
	return NULL;
}

static enum filar_status create_and_join(struct creating *state, uint32_t at_once)
{
	pthread_attr_t attributes;
	uint32_t created = 0;
	int error = 0;

	pthread_attr_init(&attributes);
	(void)pthread_attr_setstacksize(&attributes, CREW_STACK_BYTES);
	while (created < at_once && error == 0) {
		error = call_thread_create(
			&state->threads[created], &attributes, kernel_ends, state);
		created += error == 0;
	}
	pthread_attr_destroy(&attributes);
	for (uint32_t i = 0; i < created; i++)
		pthread_join(state->threads[i], NULL);
	return error == 0 ? FILAR_OK : status_from_errno(error, "pthread_create");
}

static enum filar_status setup_many(struct way_run *run)
{
	int64_t at_once = run->params[CREATE_AT_ONCE];
	struct creating *state;
	enum filar_status status = begin_creating(&state, run, CREW_MAX);

	if (status != FILAR_OK)
		return status;
	state->threads = memory_acquire((size_t)at_once, sizeof *state->threads);
	return state->threads != NULL ? FILAR_OK
				      : status_detail(FILAR_NO_MEMORY, "no memory for %lld handles",
						(long long)at_once);
}

static enum filar_status sample_many(struct way_run *run)
{
	struct creating *state = run->state;
	uint32_t at_once = (uint32_t)run->params[CREATE_AT_ONCE], groups = groups_of(run);
	enum filar_status status = FILAR_OK;
	int64_t start;

	store_relaxed(&state->ran, 0);
	start = clock_now_ns();
	for (uint32_t i = 0; i < groups && status == FILAR_OK; i++)
		status = way_cancelled(run) ? FILAR_CANCELLED : create_and_join(state, at_once);
	run->values[0] = (double)(clock_now_ns() - start) / groups / at_once;
	return status == FILAR_OK ? check_ran(state) : status;
}

static void teardown_many(struct way_run *run)
{
	struct creating *state = run->state;

	if (state != NULL)
		memory_release(state->threads);
	memory_release(state);
}

/* ---- skynet: a tree of tasks, ten to a parent, that add up their numbers ---- */

enum { SKYNET_KERNEL, SKYNET_DEPTH, SKYNET_WORKERS, SKYNET_OTHER_CPU };

#define SKYNET_CHILDREN  10
#define SKYNET_DEPTH_MAX 6

struct skynet {
	struct grove grove;
	struct way_run *run;           /* I */
	struct cpu_mask cpus;          /* I  of kernel threads */
	pthread_attr_t attributes;     /* I  likewise */
	_Atomic int32_t refused;       /* A  relaxed: status of a refused spawn */
	int64_t start_ns, end_ns;      /* S  the root's until it ends */
	struct counters before, after; /* S  likewise */
};

struct skynet_node {
	struct skynet *net;          /* I */
	uint64_t first, leaves, sum; /* S */
	bool spawned;                /* W  the parent */
	union {
		struct green_ref green;
		pthread_t thread;
	} handle; /* W  the parent */
};

static void skynet_green(void *node);
static void *skynet_thread(void *node);

static bool skynet_spawn(struct skynet_node *node)
{
	struct skynet *net = node->net;
	int error;

	if (net->run->params[SKYNET_KERNEL] == 0) {
		enum filar_status status = green_spawn(
			&node->handle.green, net->grove.runtime, NULL, skynet_green, node);

		if (status != FILAR_OK)
			store_relaxed(&net->refused, status);
		return status == FILAR_OK;
	}
	error = call_thread_create(&node->handle.thread, &net->attributes, skynet_thread, node);
	if (error != 0)
		store_relaxed(&net->refused, status_from_errno(error, "pthread_create"));
	return error == 0;
}

static void skynet_join(struct skynet_node *node)
{
	if (!node->spawned)
		return;
	if (node->net->run->params[SKYNET_KERNEL] == 0)
		FILAR_CHECK(green_join_until(node->handle.green, DEADLINE_NEVER) == FILAR_OK);
	else
		pthread_join(node->handle.thread, NULL);
}

/* A child that is refused is left out: the sum then says so, and the sample fails. */
static void skynet_run(struct skynet_node *node)
{
	struct skynet_node children[SKYNET_CHILDREN];
	uint64_t leaves = node->leaves / SKYNET_CHILDREN;

	if (node->leaves == 1) {
		node->sum = node->first;
		return;
	}
	for (uint32_t i = 0; i < SKYNET_CHILDREN; i++) {
		children[i] = (struct skynet_node){
			.net = node->net, .first = node->first + i * leaves, .leaves = leaves
		};
		children[i].spawned = skynet_spawn(&children[i]);
	}
	for (uint32_t i = 0; i < SKYNET_CHILDREN; i++) {
		skynet_join(&children[i]);
		node->sum += children[i].sum;
	}
}

static void skynet_green(void *node)
{
	skynet_run(node);
}

static void *skynet_thread(void *node)
{
	skynet_run(node);
	return NULL;
}

static enum filar_status skynet_root(void *pointer)
{
	struct skynet_node *root = pointer;
	struct skynet *net = root->net;

	net->start_ns = clock_now_ns();
	skynet_run(root);
	net->end_ns = clock_now_ns();
	return FILAR_OK;
}

static enum filar_status setup_skynet(struct way_run *run)
{
	const int64_t *params = run->params;
	bool kernel = params[SKYNET_KERNEL] != 0;
	int32_t cpus[] = { run->driver_cpu, (int32_t)params[SKYNET_OTHER_CPU] };
	enum filar_status status =
		param_check("depth", params[SKYNET_DEPTH], 0, kernel ? 3 : SKYNET_DEPTH_MAX);
	struct skynet *net;

	if (status != FILAR_OK)
		return status;
	net = way_acquire_state(run, sizeof *net);
	if (net == NULL)
		return FILAR_NO_MEMORY;
	net->run = run;
	pthread_attr_init(&net->attributes);
	if (!kernel)
		return grove_open(
			&net->grove, run, params[SKYNET_WORKERS], params[SKYNET_OTHER_CPU], 0, net);
	(void)pthread_attr_setstacksize(&net->attributes, CREW_STACK_BYTES);
	if (cpus[0] < 0)
		return FILAR_OK;
	status = cpu_mask_from_list(&net->cpus, cpus, cpus[1] < 0 ? 1 : 2);
	if (status == FILAR_OK)
		(void)pthread_attr_setaffinity_np(
			&net->attributes, net->cpus.bytes, net->cpus.bits);
	return status;
}

/* Of a tree with one leaf for each number: the leaves, and all above them. */
static uint64_t skynet_leaves(const struct way_run *run, uint64_t *tasks)
{
	uint64_t leaves = 1;

	*tasks = 1;
	for (int64_t i = 0; i < run->params[SKYNET_DEPTH]; i++) {
		leaves *= SKYNET_CHILDREN;
		*tasks += leaves;
	}
	return leaves;
}

static enum filar_status sample_skynet(struct way_run *run)
{
	struct skynet *net = run->state;
	bool kernel = run->params[SKYNET_KERNEL] != 0;
	uint64_t tasks, leaves = skynet_leaves(run, &tasks);
	struct skynet_node root = { .net = net, .leaves = leaves };
	enum filar_status status;

	store_relaxed(&net->refused, FILAR_OK);
	if (!kernel)
		net->before = counters_of(&net->grove);
	status = kernel ? skynet_root(&root) : grove_run(&net->grove, skynet_root, &root);
	if (status != FILAR_OK)
		return status;
	if (load_relaxed(&net->refused) != FILAR_OK)
		return status_detail((enum filar_status)load_relaxed(&net->refused),
			"a task of the tree was refused");
	if (root.sum != leaves * (leaves - 1) / 2)
		return status_detail(FILAR_SYSTEM, "the tree adds up to %llu, not %llu",
			(unsigned long long)root.sum,
			(unsigned long long)(leaves * (leaves - 1) / 2));
	run->values[0] = (double)(net->end_ns - net->start_ns) / (double)tasks;
	run->values[1] = (double)(net->end_ns - net->start_ns);
	if (!kernel) {
		net->after = counters_of(&net->grove);
		run->values[2] = grown(&net->after.steals, &net->before.steals);
		run->values[3] = grown(&net->after.stolen, &net->before.stolen);
		run->values[4] = grown(&net->after.sleeps, &net->before.sleeps);
	}
	return FILAR_OK;
}

static void teardown_skynet(struct way_run *run)
{
	struct skynet *net = run->state;

	if (net == NULL)
		return;
	grove_close(&net->grove);
	pthread_attr_destroy(&net->attributes);
	memory_release(net);
}

/* ---- ring: a token from thread to thread, each asleep until it comes ---- */

enum { RING_MEMBERS, RING_KERNEL };

/*
 * Where one waits for the token: NULL, the waiter, or TOKEN.
 *   K1  whoever gives puts TOKEN: release, all that it did.   K2  whoever takes: acquire.
 */
#define TOKEN ((struct waiter *)1)

struct stand {
	_Atomic(struct waiter *) waiter; /* A */
};

struct ring {
	struct grove grove;
	struct crew crew;
	struct way_run *run;      /* I */
	struct stand *stands;     /* I  one for each member, and the driver's */
	uint32_t count;           /* I  members */
	bool kernel;              /* I */
	bool populated;           /* W  driver: all members are there */
	uint64_t total, hops;     /* S  of whoever has the token: in all, still to go */
	bool going_home;          /* S  likewise */
	int64_t start_ns, end_ns; /* S  likewise */
};

static void stand_give(struct stand *stand)
{
	/* K1: release; pairs with K2. */
	struct waiter *waiter = exchange_acq_rel(&stand->waiter, TOKEN);

	if (waiter != NULL && waiter != TOKEN)
		waiter_wake(waiter);
}

static void stand_take(struct stand *stand)
{
	struct waiter waiter, *found = NULL;

	waiter_init(&waiter);
	/* K2: acquire; pairs with K1, whether the token is there already or comes by a wake. */
	if (cas_acq_rel(&stand->waiter, &found, &waiter))
		FILAR_CHECK(waiter_wait_until(&waiter, DEADLINE_NEVER, WAIT_EVENT, WAIT_SHIELDED) ==
			    FILAR_OK);
	else
		waiter_abandon(&waiter);
	(void)exchange_acq_rel(&stand->waiter, NULL);
}

/* Who has the token, and is to hand it on: false when that was the last time. */
static bool ring_hop(struct ring *ring)
{
	if (ring->hops == ring->total)
		ring->start_ns = clock_now_ns();
	if (ring->hops % YIELDS_PER_LOOK == 0 && way_cancelled(ring->run))
		ring->hops = 0;
	if (ring->hops > 0) {
		ring->hops--;
		return true;
	}
	ring->end_ns = clock_now_ns();
	return false;
}

static void ring_member(struct ring *ring, uint32_t number)
{
	uint32_t next = number + 1 < ring->count ? number + 1 : 0;
	bool home;

	do {
		stand_take(&ring->stands[number]);
		home = ring->going_home;
		if (home && next == 0)
			return;
		if (home || ring_hop(ring))
			stand_give(&ring->stands[next]);
		else
			stand_give(&ring->stands[ring->count]);
	} while (!home);
}

static void ring_green(struct grove_member *member)
{
	ring_member(member->grove->shared, member->number);
}

static void ring_thread(struct crew_member *member)
{
	ring_member(member->crew->shared, member->number);
}

static enum filar_status plant_ring(void *pointer)
{
	struct ring *ring = pointer;
	enum filar_status status = grove_spawn(&ring->grove, ring->count, ring_green);

	if (status == FILAR_OK)
		return FILAR_OK;
	/* The ring is not closed: each of those that are there gets a token, and goes. */
	ring->going_home = true;
	for (uint32_t i = 0; i < ring->grove.count; i++)
		stand_give(&ring->stands[i]);
	grove_join(&ring->grove);
	return status;
}

static enum filar_status populate_ring(struct way_run *run, struct ring *ring)
{
	enum filar_status status;
	struct cpu_mask cpus;

	if (ring->kernel) {
		status = crew_mask(&cpus, run->driver_cpu);
		if (status == FILAR_OK)
			status = crew_create(&ring->crew, ring->count, &cpus, ring_thread, ring);
		if (status == FILAR_OK)
			crew_open(&ring->crew);
	} else {
		status = grove_open(&ring->grove, run, 1, -1, ring->count, ring);
		if (status == FILAR_OK)
			status = grove_run(&ring->grove, plant_ring, ring);
	}
	ring->populated = status == FILAR_OK;
	return status;
}

static enum filar_status setup_ring(struct way_run *run)
{
	enum filar_status status = param_check("members", run->params[RING_MEMBERS], 2, CREW_MAX);
	struct ring *ring;

	if (status != FILAR_OK)
		return status;
	ring = way_acquire_state(run, sizeof *ring);
	if (ring == NULL)
		return FILAR_NO_MEMORY;
	ring->run = run;
	ring->count = (uint32_t)run->params[RING_MEMBERS];
	ring->kernel = run->params[RING_KERNEL] != 0;
	ring->stands = memory_acquire((size_t)ring->count + 1, sizeof *ring->stands);
	if (ring->stands == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a ring");
	return populate_ring(run, ring);
}

/* The driver gives the token, and waits as any thread does. */
static enum filar_status sample_ring(struct way_run *run)
{
	struct ring *ring = run->state;
	uint64_t hops = run->batch > ring->count ? run->batch : ring->count;

	ring->hops = ring->total = hops;
	stand_give(&ring->stands[0]);
	stand_take(&ring->stands[ring->count]);
	if (way_cancelled(run))
		return FILAR_CANCELLED;
	run->values[0] = (double)(ring->end_ns - ring->start_ns) / (double)hops;
	return FILAR_OK;
}

static void teardown_ring(struct way_run *run)
{
	struct ring *ring = run->state;

	if (ring == NULL)
		return;
	if (ring->populated) {
		ring->going_home = true;
		stand_give(&ring->stands[0]);
		if (ring->kernel)
			crew_join(&ring->crew);
		else
			grove_join(&ring->grove);
	}
	grove_close(&ring->grove);
	memory_release(ring->stands);
	memory_release(ring);
}

/* ---- the table ---- */

const struct way ways_green[] = {
	{ .name = "green-context",
		.summary = "a bare switch of registers and stack to a second stack and back",
		.metrics = { { "one way", "ns" }, { "round trip", "ns" } },
		.setup = setup_context,
		.sample = sample_context,
		.teardown = teardown_context },
	{ .name = "green-yield",
		.summary = "a yield of one of `ready` green threads that do nothing but yield",
		.params = { { "ready", 2 }, { "workers", 1 }, { "other_cpu", -1 } },
		.metrics = { { "one way", "ns" }, { "yields", "1/s" }, { "steals", "count" },
			{ "stolen", "count" }, { "sleeps", "count" } },
		.setup = setup_yield,
		.sample = sample_yield,
		.teardown = teardown_yield },
	{ .name = "kthread-yield",
		.summary =
			"a sched_yield of one of `ready` kernel threads that do nothing but yield, per "
			"switch counted",
		.params = { { "ready", 2 }, { "workers", 1 }, { "other_cpu", -1 } },
		.metrics = { { "one way", "ns" }, { "yields", "1/s" } },
		.setup = setup_kernel_yield,
		.sample = sample_kernel_yield,
		.teardown = teardown_memory },
	{ .name = "green-create",
		.summary =
			"spawn and join of a green thread with an empty body, `at_once` before the first "
			"join; fresh: each sample on a new runtime, whose stacks were never touched",
		.params = { { "at_once", 1 }, { "fresh", 0 } },
		.metrics = { { "create+join", "ns" } },
		.setup = setup_create,
		.sample = sample_create,
		.teardown = teardown_create },
	{ .name = "kthread-many",
		.summary =
			"create and join of a kernel thread with an empty body, `at_once` before the first "
			"join",
		.params = { { "at_once", 1 } },
		.metrics = { { "create+join", "ns" } },
		.setup = setup_many,
		.sample = sample_many,
		.teardown = teardown_many },
	{ .name = "skynet",
		.summary = "a tree of 10^depth leaves, each a thread of its own, that add up their "
			   "numbers; kernel: pthreads instead of green threads",
		.params = { { "kernel", 0 }, { "depth", 3 }, { "workers", 1 },
			{ "other_cpu", -1 } },
		.metrics = { { "per task", "ns" }, { "wall", "ns" }, { "steals", "count" },
			{ "stolen", "count" }, { "sleeps", "count" } },
		.batch_max = 1,
		.setup = setup_skynet,
		.sample = sample_skynet,
		.teardown = teardown_skynet },
	{ .name = "ring",
		.summary = "a token one step on in a ring of threads that sleep until it comes; "
			   "kernel: kernel threads on the driver's CPU",
		.params = { { "members", 1000 }, { "kernel", 0 } },
		.metrics = { { "one way", "ns" } },
		.setup = setup_ring,
		.sample = sample_ring,
		.teardown = teardown_ring },
	{ .name = NULL },
};
