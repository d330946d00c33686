/*
 * green_bench.c - what green threads cost here, each figure beside its bare floor in the same run.
 *
 *   G1  one switch of registers and stack              floor: swapcontext, for comparison
 *   G2  one yield, 2 ready                             floor: bare switches round a ring of 2
 *   G3  one yield, 1,000 and 10,000 ready              floor: bare switches round as large a ring
 *   G4  spawn + join of an empty body, one at a time   floor: a fresh context, in and out
 *   G5  spawn 100,000, then join all, each             floor: the same over 100,000 stacks
 *   G6  resident bytes per parked green thread (-m N)  floor: one page
 *   G9  10,000 green threads x yields, all workers
 *   G13 blocking_begin + _end around nothing           floor: two calls that do nothing
 *
 * Rounds are interleaved: each round measures everything once, so that drift hits all alike.  Shown
 * are the least and the median of CPU time per operation of the whole process (so that a busy
 * machine does not count; with one worker CPU time is what it costs), and the least wall time.
 *
 * Usage: green_bench [-r ROUNDS] [-w WORKERS] [-m MILLIONS-of-parked]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "arch/context.h"
#include "filar.h"
#include "green/runtime.h"
#include "os/clock.h"

#define ROUNDS_MAX 101
#define MANY       100000
#define OPERATIONS 2000000

struct row {
	const char *name;
	double cpu[ROUNDS_MAX], wall[ROUNDS_MAX];
	int count;
};

enum {
	SWITCH_BARE,
	SWITCH_UCONTEXT,
	RING_2,
	RING_1000,
	RING_10000,
	FRESH_ONE,
	FRESH_MANY,
	YIELD_2,
	YIELD_1000,
	YIELD_10000,
	SPAWN_JOIN,
	SPAWN_MANY,
	YIELD_ALL,
	CALLS_BARE,
	SECTIONS,
	ROWS
};

static struct row rows[ROWS] = {
	[SWITCH_BARE] = { .name = "G1 switch, bare" },
	[SWITCH_UCONTEXT] = { .name = "   swapcontext" },
	[RING_2] = { .name = "   bare ring of 2" },
	[YIELD_2] = { .name = "G2 yield, 2 ready" },
	[RING_1000] = { .name = "   bare ring of 1,000" },
	[YIELD_1000] = { .name = "G3 yield, 1,000 ready" },
	[RING_10000] = { .name = "   bare ring of 10,000" },
	[YIELD_10000] = { .name = "G3 yield, 10,000 ready" },
	[FRESH_ONE] = { .name = "   bare fresh context, in and out" },
	[SPAWN_JOIN] = { .name = "G4 spawn + join" },
	[FRESH_MANY] = { .name = "   bare, over 100,000 stacks" },
	[SPAWN_MANY] = { .name = "G5 spawn 100,000, then join" },
	[YIELD_ALL] = { .name = "G9 yield, 10,000, all workers" },
	[CALLS_BARE] = { .name = "   two empty calls" },
	[SECTIONS] = { .name = "G13 blocking begin + end" },
};
static const int shown[] = { SWITCH_BARE, SWITCH_UCONTEXT, RING_2, YIELD_2, RING_1000, YIELD_1000,
	RING_10000, YIELD_10000, FRESH_ONE, SPAWN_JOIN, FRESH_MANY, SPAWN_MANY, YIELD_ALL,
	CALLS_BARE, SECTIONS };

static int64_t cpu_start_ns, wall_start_ns;

static int64_t process_cpu_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (int64_t)time.tv_sec * NS_PER_S + time.tv_nsec;
}

static void begin(void)
{
	cpu_start_ns = process_cpu_ns();
	wall_start_ns = clock_now_ns();
}

static void end(int which, double operations)
{
	struct row *row = &rows[which];

	row->wall[row->count] = (double)(clock_now_ns() - wall_start_ns) / operations;
	row->cpu[row->count++] = (double)(process_cpu_ns() - cpu_start_ns) / operations;
}

static void check(int status, const char *what)
{
	if (status == FILAR_OK)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, filar_status_name(status), filar_status_detail());
	exit(1);
}

/* ---- floors ---- */

static struct context main_context;

struct bare {
	struct context context;
	struct context *next;
	char *stack;
};
static struct bare bares[MANY];
#define BARE_STACK_BYTES ((size_t)16 * 1024)

static void go_round(void *transfer, void *argument)
{
	struct bare *self = argument;

	for (;;)
		transfer = context_switch(&self->context, self->next, transfer);
}

static void leave_at_once(void *transfer, void *argument)
{
	struct bare *self = argument;

	context_switch_last(&self->context, &main_context, transfer);
}

static void make_bare_stacks(void)
{
	/* An odd number of pages apart, and coloured, as the real ones. */
	size_t stride = BARE_STACK_BYTES + 4096;
	char *slab = mmap(NULL, stride * MANY, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (slab == MAP_FAILED)
		check(FILAR_NO_MEMORY, "stacks");
	madvise(slab, stride * MANY, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < MANY; i++)
		bares[i].stack = slab + i * stride + 4096 - i % STACK_COLOURS * 64;
	context_init_running(&main_context);
}

static void bare_ring(int which, int members)
{
	int rounds = OPERATIONS / members;

	for (int i = 0; i < members; i++) {
		bares[i].next = i + 1 < members ? &bares[i + 1].context : &main_context;
		context_init(
			&bares[i].context, bares[i].stack, BARE_STACK_BYTES, go_round, &bares[i]);
	}
	context_switch(&main_context, &bares[0].context, NULL);
	begin();
	for (int i = 0; i < rounds; i++)
		context_switch(&main_context, &bares[0].context, NULL);
	end(which, (double)rounds * (members + 1));
}

static void bare_switch(void)
{
	bares[0].next = &main_context;
	context_init(&bares[0].context, bares[0].stack, BARE_STACK_BYTES, go_round, &bares[0]);
	begin();
	for (int i = 0; i < OPERATIONS; i++)
		context_switch(&main_context, &bares[0].context, NULL);
	end(SWITCH_BARE, 2.0 * OPERATIONS);
}

static ucontext_t user_main, user_other;

static void user_body(void)
{
	for (;;)
		swapcontext(&user_other, &user_main);
}

static void bare_ucontext(void)
{
	getcontext(&user_other);
	user_other.uc_stack.ss_sp = bares[0].stack;
	user_other.uc_stack.ss_size = BARE_STACK_BYTES;
	user_other.uc_link = NULL;
	makecontext(&user_other, user_body, 0);
	begin();
	for (int i = 0; i < OPERATIONS / 20; i++)
		swapcontext(&user_main, &user_other);
	end(SWITCH_UCONTEXT, 2.0 * OPERATIONS / 20);
}

static void bare_fresh(int which, int stacks)
{
	begin();
	for (int i = 0; i < MANY; i++) {
		struct bare *bare = &bares[i % stacks];

		context_init(&bare->context, bare->stack, BARE_STACK_BYTES, leave_at_once, bare);
		context_switch(&main_context, &bare->context, NULL);
	}
	end(which, MANY);
}

/* ---- the real ones ---- */

static struct runtime *runtime;
static struct green_ref refs[MANY];
static int yields_each;

static void on_green_thread(green_body *body, void *argument)
{
	struct green_ref ref;

	check(green_spawn(&ref, runtime, NULL, body, argument), "spawn");
	check(green_join_until(ref, DEADLINE_NEVER), "join");
}

static void yield_often(void *argument)
{
	(void)argument;
	for (int i = 0; i < yields_each; i++)
		green_yield();
}

struct yield_plan {
	int which, ready;
};

/* All are spawned before the first one runs; with one worker, this one included in the count of
 * those ready only until it parks in its join. */
static void measure_yields(void *argument)
{
	struct yield_plan *plan = argument;

	yields_each = (plan->which == YIELD_ALL ? 5 : 1) * OPERATIONS / plan->ready;
	if (plan->which == YIELD_ALL)
		begin(); /* others run while this one spawns */
	for (int i = 0; i < plan->ready; i++)
		check(green_spawn(&refs[i], runtime, NULL, yield_often, NULL), "spawn");
	if (plan->which != YIELD_ALL) {
		green_yield();
		begin();
	}
	for (int i = 0; i < plan->ready; i++)
		check(green_join_until(refs[i], DEADLINE_NEVER), "join");
	end(plan->which, (double)yields_each * plan->ready);
}

static void nothing(void *argument)
{
	(void)argument;
}

static void measure_spawn_join(void *argument)
{
	(void)argument;
	begin();
	for (int i = 0; i < MANY; i++) {
		check(green_spawn(&refs[0], runtime, NULL, nothing, NULL), "spawn");
		check(green_join_until(refs[0], DEADLINE_NEVER), "join");
	}
	end(SPAWN_JOIN, MANY);
}

static void measure_spawn_many(void *argument)
{
	(void)argument;
	begin();
	for (int i = 0; i < MANY; i++)
		check(green_spawn(&refs[i], runtime, NULL, nothing, NULL), "spawn");
	for (int i = 0; i < MANY; i++)
		check(green_join_until(refs[i], DEADLINE_NEVER), "join");
	end(SPAWN_MANY, MANY);
}

FILAR_NOINLINE static void empty_call(void)
{
	FILAR_COMPILER_BARRIER();
}

static void measure_sections(void *argument)
{
	(void)argument;
	begin();
	for (int i = 0; i < OPERATIONS; i++) {
		empty_call();
		empty_call();
	}
	end(CALLS_BARE, OPERATIONS);
	begin();
	for (int i = 0; i < OPERATIONS; i++) {
		filar_blocking_begin();
		filar_blocking_end();
	}
	end(SECTIONS, OPERATIONS);
}

static void start_runtime(uint32_t workers)
{
	struct runtime_options options;

	runtime_options_init(&options);
	options.workers = workers;
	check(runtime_create(&runtime, &options), "runtime");
}

static void stop_runtime(void)
{
	check(runtime_shutdown_until(runtime, DEADLINE_NEVER), "shutdown");
	check(runtime_destroy(runtime), "destroy");
}

static void one_round(uint32_t workers)
{
	struct yield_plan plans[] = { { YIELD_2, 2 }, { YIELD_1000, 1000 },
		{ YIELD_10000, 10000 } };
	struct yield_plan all = { YIELD_ALL, 10000 };

	bare_switch();
	bare_ucontext();
	bare_ring(RING_2, 1);
	bare_ring(RING_1000, 999);
	bare_ring(RING_10000, 9999);
	bare_fresh(FRESH_ONE, 1);
	bare_fresh(FRESH_MANY, MANY);
	start_runtime(1);
	for (int i = 0; i < 3; i++)
		on_green_thread(measure_yields, &plans[i]);
	on_green_thread(measure_spawn_join, NULL);
	on_green_thread(measure_spawn_many, NULL); /* touches the stacks */
	rows[SPAWN_MANY].count--;
	on_green_thread(measure_spawn_many, NULL);
	stop_runtime();
	start_runtime(workers);
	on_green_thread(measure_yields, &all);
	on_green_thread(measure_sections, NULL);
	stop_runtime();
}

/* ---- memory ---- */

static int64_t resident_bytes(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[256];
	int64_t kib = 0, value;

	while (file != NULL && fgets(line, sizeof line, file) != NULL) {
		if (sscanf(line, "VmRSS: %" SCNd64, &value) == 1 ||
			sscanf(line, "VmPTE: %" SCNd64, &value) == 1)
			kib += value;
	}
	if (file != NULL)
		fclose(file);
	return kib * 1024;
}

static void park(void *argument)
{
	(void)argument;
	(void)green_sleep_until(DEADLINE_NEVER);
}

static void measure_memory(int64_t count)
{
	int64_t before, after, start_ns;

	start_runtime(1);
	before = resident_bytes();
	start_ns = clock_now_ns();
	for (int64_t i = 0; i < count; i++)
		check(green_spawn(NULL, runtime, NULL, park, NULL), "spawn");
	while (runtime->scheduler.workers[0].counters.parks < (uint64_t)count)
		usleep(1000);
	after = resident_bytes();
	printf("G6 %" PRId64
	       " parked, each with a guard (%s): %.0f resident bytes each, page tables "
	       "included; %.2f s to make\n",
		count, stack_guard_name(runtime->pool.guard),
		(double)(after - before) / (double)count,
		(double)(clock_now_ns() - start_ns) / 1e9);
	runtime_cancel_all(runtime);
	stop_runtime();
}

/* ---- the table ---- */

static int compare(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

static void print_table(void)
{
	printf("%-34s %10s %10s %10s\n", "ns per operation", "CPU least", "CPU median",
		"wall least");
	for (size_t i = 0; i < FILAR_COUNT_OF(shown); i++) {
		struct row *row = &rows[shown[i]];

		qsort(row->cpu, (size_t)row->count, sizeof row->cpu[0], compare);
		qsort(row->wall, (size_t)row->count, sizeof row->wall[0], compare);
		printf("%-34s %10.1f %10.1f %10.1f\n", row->name, row->cpu[0],
			row->cpu[row->count / 2], row->wall[0]);
	}
}

int main(int argc, char **argv)
{
	int rounds = 5, option;
	uint32_t workers = 2;
	double millions = 0;

	while ((option = getopt(argc, argv, "r:w:m:")) != -1) {
		if (option == 'r')
			rounds = atoi(optarg);
		else if (option == 'w')
			workers = (uint32_t)atoi(optarg);
		else if (option == 'm')
			millions = atof(optarg);
		else
			return 2;
	}
	if (rounds < 1 || rounds > ROUNDS_MAX || workers < 1) {
		fprintf(stderr, "1 to %d rounds, at least one worker\n", ROUNDS_MAX);
		return 2;
	}
	make_bare_stacks();
	for (int i = 0; i < rounds; i++)
		one_round(workers);
	print_table();
	if (millions > 0)
		measure_memory((int64_t)(millions * 1e6));
	return 0;
}
